"""The table at the end: every probe, and what trivial maps get, in words."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from harness.score.probes import Judged, OrderReading, Tally, any_order, tally
from probes.evidence import Run
from probes.expectations import ProbeSet

HEAD = ("probe", "predicted", "bound", "label shares", "verdict", "trivial maps that pass")


def heading(run: Run | str) -> list[str]:
    """What was judged."""
    if isinstance(run, str):
        return ["Nothing was judged."]
    it = run.record
    words = f"run {it.id}: {it.family or 'no family'}, recipe {it.recipe}, chips from {it.source or 'nowhere named'}"
    if it.weights != "published":
        return [words, f"Weights are {it.weights}: this shows mechanics and nothing about an adapter."]
    return [words]


def table(results: Sequence[Judged]) -> list[str]:
    """One line a probe, columns padded; the reason below where there is no verdict."""
    rows = [HEAD, *(_row(r) for r in results)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEAD))]
    lines: list[str] = []
    for row, result in zip(rows, [None, *results], strict=True):
        lines.append("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        if result is not None and result.reason:
            lines.append(f"    {result.reason}")
    return lines


def _row(result: Judged) -> tuple[str, ...]:
    probe = result.probe
    judged = result.verdict in ("passed", "failed")
    bound = probe.formula.worked(result.shares) if judged else probe.formula.text
    passing = [*(n for n, ok in result.trivial.items() if ok)]
    if result.elsewhere:
        passing.append(f"{sum(result.elsewhere.values())} of {len(result.elsewhere)} other places")
    trivial = ", ".join(passing) or ("none" if result.trivial else "-")
    return (
        probe.name,
        _shares(result, "predicted"),
        bound,
        _shares(result, "label"),
        result.verdict,
        trivial,
    )


def _shares(result: Judged, side: str) -> str:
    said = [n for n in result.probe.formula.names if n.startswith(f"{side}.") and n in result.shares]
    return ", ".join(f"{n.partition('.')[2]} {result.shares[n]:.3f}" for n in said) or "-"


def verdicts(each: ProbeSet, results: Sequence[Judged], run: Run | str) -> list[str]:
    """What one set came to for one adapter: pass rate, trivial maps, order of the outputs, date."""
    sums = tally(results)
    lines = [f"{each.id}, {results[0].probe.adapter}: {each.title}"]
    lines.append(f"  {_rate(sums)}")
    if not isinstance(run, str):
        lines.append(f"  {_age(each.written, run)}")
    if sums.judged:
        lines += [f"  {line}" for line in _trivial(sums)]
        reading = any_order(results)
        if reading is not None:
            lines.append(f"  {_order(reading, results[0].probe.output)}")
    return lines


def _rate(sums: Tally) -> str:
    rest = [f"{sums.not_judged} not judged"] if sums.not_judged else []
    rest += [f"{sums.unreadable} unreadable"] if sums.unreadable else []
    tail = f" ({', '.join(rest)})" if rest else ""
    if not sums.judged:
        return f"nothing judged{tail}: no pass rate, and whether the set is weak cannot be said"
    return f"{sums.passed} of {sums.judged} judged probes pass{tail}"


def _age(written: date, run: Run) -> str:
    made = run.record.created[:10]
    if made < written.isoformat():
        return f"written {written}, AFTER the run of {made}: these were no expectations when it ran"
    return f"written {written}, run {made}"


def _trivial(sums: Tally) -> list[str]:
    said = []
    for one in sums.trivial:
        if one.most is not None:
            said.append(f"{one.name} {one.passed:.1f} of {one.of} on average, {one.most} at most")
        else:
            said.append(f"{one.name} {one.passed:.0f} of {one.of}")
    lines = [f"trivial maps: {'; '.join(said)}"]
    top = sums.strongest
    if top is not None and top.share is not None:
        share = f"{top.name} passes {100 * top.share:.0f} % of them"
        lines.append(
            f"WEAK SET: {share}, so a pass rate here says little"
            if sums.weak
            else f"not weak: of all trivial maps, {share}, and none more"
        )
    if sums.toothless:
        lines.append(f"a constant map passes {len(sums.toothless)} of them: {', '.join(sums.toothless)}")
    return lines


def _order(reading: OrderReading, output: tuple[str, ...]) -> str:
    if reading.best <= reading.written:
        return f"order of outputs: none of the {reading.tried - 1} others passes more than the written one"
    first = ", ".join(f"{i} {output[c]}" for i, c in enumerate(reading.orders[0]))
    more = f" ({len(reading.orders)} orders reach that)" if len(reading.orders) > 1 else ""
    return (
        f"order of outputs: as written {reading.written} of {reading.of} pass; with {first} it would be "
        f"{reading.best}{more}. Chosen after the fact: a hint at the scheme, and no pass"
    )
