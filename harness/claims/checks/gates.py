"""Rules that an author set himself, applied to what he published."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from harness.claims.findings import Finding, Status
from harness.claims.groups import View
from harness.claims.model import Gate

BAD_WORDS = ("negative", "do not", "fail", "reject")
"""Names of bands that are not a pass."""


def _band(gate: Gate, lo: Fraction, hi: Fraction) -> str | None:
    for band in gate.bands:
        low = Fraction(band.lo) if band.lo is not None else None
        high = Fraction(band.hi) if band.hi is not None else None
        if (low is None or lo >= low) and (high is None or hi <= high):
            return band.name
    return None


def gates(view: View) -> Iterator[Finding]:
    """Which band of the author's own gate each figure falls into; no identity."""
    for card in view.registry.cards:
        for gate in card.gates:
            for ref in gate.of:
                claim = view.claim(ref)
                value = claim.printed.need()
                name = _band(gate, value.lo, value.hi)
                bad = name is not None and name.startswith(BAD_WORDS)
                status: Status = "undetermined" if name is None or bad else "consistent"
                yield view.finding(
                    "gate",
                    f"{gate.id.partition('/')[2]}.{ref.partition('/')[2]}",
                    [claim],
                    status,
                    grade="high" if bad else "low",
                    subject=gate.subject,
                    claimed=f"{claim.quantity.text()} {claim.value} "
                    f"{'' if claim.unit in ('fraction', '1') else claim.unit}".strip(),
                    derived=f"falls under {name!r}" if name else "its rounding interval crosses two bands",
                    why=f"{gate.text} ({gate.source.text()})"
                    + (f" In fairness: {gate.caveat}." if gate.caveat else ""),
                    settles="the author's word on whether the gate holds for this adapter" if bad else None,
                    correction=f"By the project's own gate ({gate.quote}) {claim.value} is a {name} result; say "
                    "so, or say that the gate does not apply here."
                    if bad
                    else None,
                )
