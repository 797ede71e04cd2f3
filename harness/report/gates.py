"""Gates in reports: what an author asked of himself, his figure, ours with its interval, and the answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.claims.gates import put
from harness.claims.groups import View, figure
from harness.records import RunRecord
from harness.records.gates import GateAnswer
from harness.report.run_tables import escaped
from harness.report.words import num, pct


@dataclass(frozen=True)
class GateRow:
    """One gate of a run's report; every field is escaped."""

    gate: str
    """Id."""
    adapter: str
    """Whose."""
    what: str
    """What is asked, with its unit."""
    least: str
    """The bound."""
    measured: str
    """Value and interval, or `not measured`."""
    n: str
    """Clusters."""
    word: str
    """The answer."""
    why: str
    """What it rests on."""
    rule: str
    """Id of the author's rule."""


@dataclass(frozen=True)
class GapGate:
    """One gate of a gap report."""

    text: str
    """The rule in one sentence."""
    quote: str
    """The author's phrase; empty where there is none."""
    source: str
    """Where it stands."""
    caveat: str
    """What keeps the gate from applying fully, and what is our reading."""
    published: list[tuple[str, str, str]]
    """Published figures: arm, figure, and the band that it falls into by its value alone."""
    ours: GateRow | None
    """The newest run's answer; None where no run puts it."""


def gate_rows(found: Sequence[GateAnswer]) -> list[GateRow]:
    """A run's gates as its report prints them."""
    return [_row(each) for each in found]


def _row(a: GateAnswer) -> GateRow:
    digits = 2 if a.unit == "points" else 4
    measured = "not measured" if a.value is None else num(a.value, digits)
    if a.interval is not None:
        measured += f" [{num(a.interval[0], digits)}, {num(a.interval[1], digits)}]"
    why = f"{a.why.rstrip('.')}."
    if a.coverage_simulated is not None:
        why += f" Simulated coverage {pct(a.coverage_simulated, 1)}."
    if a.p is not None:
        why += f" p = {a.p:.3g} against no difference at all."
    if a.band is not None:
        why += f" By its value alone it would be {a.band!r}."
    if a.value is not None and not a.same_set:
        why += " The chips are not the set that the rule speaks of: this puts the rule to other ground."
    return GateRow(
        gate=escaped(a.gate),
        adapter=escaped(a.adapter),
        what=escaped(a.metric),
        least=f"{a.least:g}",
        measured=escaped(measured),
        n=str(a.n),
        word=a.word,
        why=escaped(why),
        rule=a.rule,
    )


def gap_gates(view: View, runs: Sequence[RunRecord], family: str, adapter: str) -> list[GapGate]:
    """The gates of one adapter with the published figures that fall under them and the newest run's answer."""
    file = view.gates.get(family)
    out = []
    for one in put(file, view.registry) if file else []:
        q = one.question
        if q.adapter != adapter:
            continue
        published = []
        for ref in one.rule.of:
            claim = view.claim(ref)
            value = figure(claim)
            bands = {one.band(float(end)) for end in (value.lo, value.hi)}
            arm = claim.quantity.variant.replace("-", " ")
            band = repr(bands.pop()) if len(bands) == 1 else "between two bands"
            published.append((arm, claim.value, band))
        answer = next(
            (a for run in reversed(runs) for a in run.gates if a.gate == q.id and a.word != "not measured"), None
        )
        out.append(
            GapGate(
                one.rule.text,
                one.rule.quote or "",
                one.rule.source.text(),
                "; ".join(filter(None, (one.rule.caveat, q.inferred and f"{q.inferred} (inference)"))),
                published,
                None if answer is None else _row(answer),
            )
        )
    return out
