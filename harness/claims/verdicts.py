"""Verdicts: what a measurement says about a claim, and when nothing may be said.

The rules are data, with their date: eval/rules.yaml.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal

from harness.claims.groups import View, figure
from harness.claims.model import Claim
from harness.claims.rules import Rules, own_rules
from harness.records import Measurement, Quantity
from harness.score.equivalence import Prediction, predicted
from harness.vocabulary import METRICS

Word = Literal["reproduced", "not reproduced", "inconclusive", "not comparable", "not measured", "no claim"]
"""The only verdict words; when each is given stands in eval/rules.yaml."""


BEHIND = "how many scenes stand behind its figure is read from the number of its chips (inference)"
"""Of a prediction for a card's set; to be printed beside it."""

PARTS = ("train", "val", "test")
"""Splits of a data set, whose chips are cut from parents; places that somebody chose are scenes of their own."""


@dataclass(frozen=True)
class Verdict:
    """One verdict and its reason."""

    word: Word
    """What is said."""
    why: str
    """The rule that led to it."""


def unlike(a: Quantity, b: Quantity, rules: Rules | None = None) -> list[str]:
    """Parts in which two quantities differ, in words; a part that one leaves open counts."""
    out = []
    for name in (rules or own_rules()).must_agree:
        x, y = getattr(a, name), getattr(b, name)
        if x != y:
            out.append(
                f"{name.replace('_', ' ')} {'not stated' if x is None else x} against "
                f"{'not stated' if y is None else y}"
            )
    return out


def scenes_of(view: View, claim: Claim) -> int | None:
    """How many independent scenes a claim's set holds, by its own documents; None where none says.

    Chips of a part of the data set that are whole parents, where documents of the family say how many chips a
    parent has, count as parents: that is read from the slicing script and is inference. Otherwise every chip
    counts as a scene, which makes a prediction narrower than it may be.
    """
    q, family = claim.quantity, view.family_of(claim.card)
    mine = [c for card in view.registry.cards if card.family == family for c in card.claims]
    chips = next(
        (
            c
            for c in mine
            if c.quantity.metric == "chips" and (c.quantity.subject, c.quantity.split) == (q.subject, q.split)
        ),
        None,
    )
    if chips is None or q.place is not None:
        return None
    each = next((int(figure(c).lo) for c in mine if c.quantity.metric == "chips_per_parent"), 1)
    whole, rest = divmod(int(figure(chips).lo), each)
    return int(figure(chips).lo) if rest or q.split not in PARTS else whole


def expected(measurement: Measurement, scenes: int, rules: Rules) -> Prediction | None:
    """Where the figure of `scenes` other scenes should lie, `scenes` being inferred as `scenes_of` says.

    None where the record holds no usable spread.
    """
    m = measurement
    if m.value is None or m.error is None or m.df is None or m.interval is None or scenes < 1:
        return None
    known = METRICS.get(m.quantity.metric)
    lo, hi = (None, None) if known is None else (known.lo, known.hi)
    found = predicted(m.value, m.error, m.df, m.n, scenes, rules.prediction.level, lo, hi)
    return replace(found, why=f"{found.why}; {BEHIND}")


def judge(
    claim: Claim, measurement: Measurement | None, rules: Rules | None = None, scenes: int | None = None
) -> Verdict:
    """Give the verdict on a claim.

    Equal quantities only. With d the claim's rounding interval widened by its tolerance: reproduced if the
    measured interval lies within d (two one-sided tests), not reproduced if it lies outside and the card's
    figure lies outside the prediction interval for so many scenes as the card's set holds, inconclusive
    otherwise, or if too few clusters support an interval. A claim with tolerance `rounding` is about something
    countable and needs no interval; nor does a measurement of every chip that the claim is about, on which the
    value alone decides.

    Args:
        claim: The claim.
        measurement: What was measured of it; None where nothing was.
        rules: Those of eval/rules.yaml; the project's own where left out.
        scenes: Independent scenes behind the claim's figure, from `scenes_of`; None where nobody says, and
            then the claim's own sampling error is not known and not allowed for.
    """
    rules = rules or own_rules()
    if claim.tolerance is None:
        return Verdict("no claim", "a figure without a tolerance: context, not something to reproduce")
    if measurement is None:
        return Verdict("not measured", "no run holds this quantity")
    differ = unlike(claim.quantity, measurement.quantity, rules)
    if differ:
        return Verdict("not comparable", "; ".join(differ))
    if measurement.value is None:
        return Verdict("not measured", measurement.reason or "unscored")
    exact = claim.tolerance == "rounding"
    slack = Fraction(0) if exact else Fraction(claim.tolerance)
    printed = figure(claim)
    lo, hi = printed.lo - slack, printed.hi + slack
    sampled = None if measurement.whole else measurement.interval
    if not exact and not measurement.whole:
        test = rules.equivalence
        if sampled is None or measurement.n < test.fewest_clusters:
            return Verdict("inconclusive", f"n = {measurement.n}: too few clusters for an interval")
        if measurement.level not in (None, test.level):
            return Verdict("inconclusive", f"the interval is at {measurement.level:g}; the rules ask {test.level:g}")
    a, b = sampled or (measurement.value, measurement.value)
    if lo <= Fraction(a) and Fraction(b) <= hi:
        return Verdict("reproduced", f"within {claim.tolerance} of the printed figure")
    if Fraction(b) < lo or Fraction(a) > hi:
        band = None if sampled is None or scenes is None else expected(measurement, scenes, rules)
        if band is not None and band.overlaps(float(printed.lo), float(printed.hi)):
            return Verdict(
                "inconclusive",
                f"outside {claim.tolerance} of the printed figure, which lies within [{band.low:.4f}, "
                f"{band.high:.4f}], where another set should lie: {band.why}",
            )
        return Verdict("not reproduced", f"outside {claim.tolerance} of the printed figure")
    return Verdict("inconclusive", f"the interval crosses the tolerance of {claim.tolerance}")
