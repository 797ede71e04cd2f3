"""eval/reports/bench.md: a pure function of the records under eval/bench/ and the claims."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from statistics import median

from harness.bench.beside import beside
from harness.bench.ratios import METHOD, Estimate, exponent, paired_ratio, slope
from harness.claims.model import Claim, Relation
from harness.cost.claims import UNSTATED, Row
from harness.records.bench import BenchRecord, Growth, Part, read_folder
from harness.records.cost import CostRecord, Figure
from harness.report.render import tidy
from harness.report.run_tables import escaped
from harness.report.words import environment

PAGE = "bench.md"
"""Below eval/reports/."""

POWER = "chip size"
"""Growth that is fitted as a power: area goes with the square."""

GROWS = {"places": "s a place", POWER: "power of the side", "adapters": "s an adapter", "dates": "s a date"}
"""What a fit gives, by what grows."""


@dataclass(frozen=True)
class Section:
    """One record, as the template wants it."""

    file: str
    """Its name below eval/bench/."""
    record: BenchRecord
    """The record."""
    ratios: dict[str, Estimate]
    """Reference over ours, by row id."""
    claims: list[Row]
    """Published figures beside it."""

    @property
    def title(self) -> str:
        """Machine and what ran."""
        m = self.record.machine
        what = "published topology, full size" if self.record.topology == "published" else "narrow family"
        where = f", {m.device}" if m.device_kind != "cpu" else ""
        return f"{m.cpu}, {m.cores} cores{where}: {what}, {self.record.weights} weights"

    def said(self, word: str) -> list[str]:
        """Rows of which `reading` says a word."""
        return [i for i, r in self.ratios.items() if reading(r) == word]


def reading(found: Estimate) -> str:
    """What a ratio of reference over ours allows to say."""
    return "faster" if found.low > 1 else "slower" if found.high < 1 else "no difference seen"


def sections(
    benches: Iterable[tuple[str, BenchRecord]], claims: Sequence[Claim], relations: list[Relation]
) -> list[Section]:
    """Records with what follows from them, full-size ones first."""
    made = [
        Section(name, r, {p.id: paired_ratio(p.reference_s, p.ours_s) for p in r.rows}, beside(claims, relations, r))
        for name, r in benches
    ]
    return sorted(made, key=lambda s: (s.record.topology != "published", s.file))


def render_bench(folder: Path, claims: Sequence[Claim], relations: Iterable[Relation]) -> str:
    """The page's text; the same for the same files.

    Args:
        folder: eval/bench/.
        claims: Of every card.
        relations: Of the same registry.

    Raises:
        RegistryError: A file is not of its shape.
    """
    benches, costs = read_folder(folder)
    text = (
        environment()
        .get_template("bench.md.j2")
        .render(
            sections=sections(benches, claims, list(relations)),
            costs=costs,
            method=METHOD,
            md=escaped,
            seconds=seconds,
            ratio=ratio,
            figure=figure,
            middle=median,
            reading=reading,
            part_rows=part_rows,
            growth_rows=growth_rows,
            claim_rows=claim_rows,
            shortfalls=shortfalls,
            energy_rows=energy_rows,
            mb=lambda n: f"{n / 1e6:,.1f}",
            gflops=lambda r: f"{median(r.peaks.matmul_gflops):.0f}",
            gbs=lambda r: f"{median(r.peaks.copy_gbs):.1f}",
        )
    )
    return tidy(text)


def seconds(value: float) -> str:
    """Seconds in the unit that suits, three digits."""
    for factor, unit in ((1.0, "s"), (1e3, "ms"), (1e6, "us")):
        if value * factor >= 1 or unit == "us":
            return f"{_three(value * factor)} {unit}"
    raise AssertionError(value)


def _three(value: float) -> str:
    """Three significant digits without an exponent; all digits of what is larger."""
    size = abs(value)
    digits = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3
    return f"{value:,.{digits}f}"


def ratio(found: Estimate) -> str:
    """A figure with its interval."""
    return f"{_three(found.value)} [{_three(found.low)}, {_three(found.high)}]"


def figure(found: Figure | None) -> str:
    """A figure of a record, or why there is none."""
    if found is None:
        return "not measured"
    if found.value is None:
        return f"not measured: {escaped(found.reason or '')}"
    ends = "" if found.low is None or found.high is None else f" [{_three(found.low)}, {_three(found.high)}]"
    unit = "" if found.unit == "1" else f" {found.unit}"
    return f"{_three(found.value)}{ends}{unit}"


def part_rows(record: BenchRecord) -> list[list[str]]:
    """Where one call's time goes, adapter by adapter; loading stands apart and has no share of a call."""
    out = []
    matmul, copy = median(record.peaks.matmul_gflops), median(record.peaks.copy_gbs)
    for adapter, held in groupby(sorted(record.parts, key=lambda p: p.adapter), key=lambda p: p.adapter):
        several = sorted(held, key=lambda p: _ORDER.index(p.part))
        whole = sum(median(p.seconds) for p in several if p.part != "load")
        for p in several:
            took = median(p.seconds)
            share = "once" if p.part == "load" else f"{took / whole:.0%}"
            out.append([adapter, p.part, seconds(took), share, *_achieved(p, took, matmul, copy)])
    return out


_ORDER = ("load", "preprocess", "encoder", "neck", "decoder", "head")


def _achieved(part: Part, took: float, matmul: float, copy: float) -> list[str]:
    """Operations a second and weights a second, each with its share of what the machine does at most."""
    if not part.gflop:
        flops = ["none counted", ""]
    else:
        flops = [f"{_three(part.gflop / took)}", f"{part.gflop / took / matmul:.0%}"]
    if not part.weight_bytes:
        return [*flops, "", ""]
    rate = part.weight_bytes / took / 1e9
    return [*flops, f"{_three(rate)}", f"{rate / copy:.0%}"]


def growth_rows(record: BenchRecord) -> list[list[str]]:
    """Every sweep: points, and the fit over all repeats."""
    out = []
    for of, held in groupby(record.growth, key=lambda g: g.of):
        several = list(held)
        points = ", ".join(f"{g.x}: {seconds(median(g.seconds))}" for g in several)
        out.append([of, several[0].what, points, _fitted(of, several)])
    return out


def _fitted(of: str, several: Sequence[Growth]) -> str:
    x = [float(g.x) for g in several for _ in g.seconds]
    y = [s for g in several for s in g.seconds]
    if len(set(x)) < 2 or len(x) < 3:
        return "not fitted: fewer than two points"
    fit = exponent if of == POWER else slope
    return f"{ratio(fit(x, y))} {GROWS[of]}"


def claim_rows(section: Section) -> list[list[str]]:
    """Published figures of time, joules, bytes and memory beside ours, and what keeps them apart."""
    return [
        [
            row.claim.id,
            row.claim.quantity.subject,
            row.claim.value if row.claim.unit == "1" else f"{row.claim.value} {row.claim.unit}".strip(),
            row.verdict,
            f"{figure(row.ours)}{f' ({escaped(row.ours_of)})' if row.ours_of else ''}",
            escaped(shortly(row.missing)) or "all conditions equal",
        ]
        for row in section.claims
    ]


def shortly(missing: Sequence[str]) -> str:
    """Missing conditions with those of one kind in one phrase; every distinct one is still named."""
    before, after = (re.escape(part) for part in UNSTATED.split("{}"))
    unstated = [m[1] for line in missing if (m := re.fullmatch(f"{before}(.+){after}", line))]
    short = [m[1] for line in missing if (m := re.fullmatch(r"\S+ falls short of the protocol: (.+)", line))]
    rest = [
        line
        for line in dict.fromkeys(missing)
        if not re.fullmatch(f"{before}.+{after}", line) and " falls short of the protocol: " not in line
    ]
    out = [f"not stated: {', '.join(unstated)}"] if unstated else []
    out += rest
    if short:
        out.append(f"ours falls short of the protocol in {len(set(short))} points, listed above")
    return "; ".join(out)


def shortfalls(record: BenchRecord) -> list[str]:
    """In what the calls of a record fall short of the protocol, each once."""
    return list(dict.fromkeys(line for call in record.calls for line in call.shortfalls))


def energy_rows(costs: Iterable[tuple[str, CostRecord]]) -> list[list[str]]:
    """Calls of `harness bench energy`, one a row."""
    return [
        [
            escaped(f"{call.device}: {call.device_name}"),
            escaped(f"{call.adapter}, {call.stage}, {call.dtype}, batch {call.batch}, {call.weights} weights"),
            figure(call.median),
            figure(call.throughput),
            figure(call.energy.gross),
            figure(call.energy.net),
            figure(call.seconds_per_km2),
            figure(call.energy.gross_per_km2),
            escaped("; ".join(call.shortfalls)) or "none",
        ]
        for _, cost in costs
        for call in cost.calls
    ]
