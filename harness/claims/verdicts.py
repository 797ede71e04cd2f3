"""Verdicts: what a measurement says about a claim, and when nothing may be said."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from harness.claims.groups import figure
from harness.claims.model import Claim
from harness.records import Measurement, Quantity

Word = Literal["reproduced", "not reproduced", "inconclusive", "not comparable", "not measured", "no claim"]
"""The only verdict words. Rules of 2026-11-21, set before any run."""

MUST_AGREE = (
    "subject",
    "metric",
    "variant",
    "class_index",
    "class_name",
    "scheme",
    "threshold",
    "averaging",
    "split",
    "place",
)
"""Parts of a quantity that must be equal before a verdict is given."""


@dataclass(frozen=True)
class Verdict:
    """One verdict and its reason."""

    word: Word
    """What is said."""
    why: str
    """The rule that led to it."""


def unlike(a: Quantity, b: Quantity) -> list[str]:
    """Parts in which two quantities differ, in words; a part that one leaves open counts."""
    out = []
    for name in MUST_AGREE:
        x, y = getattr(a, name), getattr(b, name)
        if x != y:
            out.append(
                f"{name.replace('_', ' ')} {'not stated' if x is None else x} against "
                f"{'not stated' if y is None else y}"
            )
    return out


def judge(claim: Claim, measurement: Measurement | None) -> Verdict:
    """Give the verdict on a claim.

    Equal quantities only. With d the claim's rounding interval widened by its tolerance:
    reproduced if the measured interval lies within d, not reproduced if it lies outside,
    inconclusive if it crosses an end, or if too few clusters support an interval. A claim with
    tolerance `rounding` is about something countable and needs no interval; nor does a measurement of every
    chip that the claim is about, on which the value alone decides.
    """
    if claim.tolerance is None:
        return Verdict("no claim", "a figure without a tolerance: context, not something to reproduce")
    if measurement is None:
        return Verdict("not measured", "no run holds this quantity")
    differ = unlike(claim.quantity, measurement.quantity)
    if differ:
        return Verdict("not comparable", "; ".join(differ))
    if measurement.value is None:
        return Verdict("not measured", measurement.reason or "unscored")
    exact = claim.tolerance == "rounding"
    slack = Fraction(0) if exact else Fraction(claim.tolerance)
    printed = figure(claim)
    lo, hi = printed.lo - slack, printed.hi + slack
    if measurement.interval is None and not exact and not measurement.whole:
        return Verdict("inconclusive", f"n = {measurement.n}: too few clusters for an interval")
    sampled = measurement.interval if not measurement.whole else None
    a, b = sampled or (measurement.value, measurement.value)
    if lo <= Fraction(a) and Fraction(b) <= hi:
        return Verdict("reproduced", f"within {claim.tolerance} of the printed figure")
    if Fraction(b) < lo or Fraction(a) > hi:
        return Verdict("not reproduced", f"outside {claim.tolerance} of the printed figure")
    return Verdict("inconclusive", f"the interval crosses the tolerance of {claim.tolerance}")
