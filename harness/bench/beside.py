"""Published figures of time, joules, bytes and memory beside one record of the bench, by `harness.cost.claims`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from harness.bench.ratios import Estimate, geometric_mean
from harness.claims.model import Claim, Relation
from harness.cost.claims import RANDOM, TOLERANCE, Row, Verdict, compare_ratio, rows
from harness.records.bench import BenchRecord, Size
from harness.records.cost import Figure

BYTES = {"B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9, "MiB": 2.0**20, "GiB": 2.0**30}
"""Units of sizes in claims; MB and GB as powers of ten."""

DISK = {
    "adapter_size": "disk/adapter/{}",
    "lora_size": "disk/lora/{}",
    "decoder_size": "disk/decoder/{}",
    "base_size": "disk/base",
    "family_size": "disk/family",
}
"""Which size of ours stands beside a claim, by metric; an adapter's id goes in."""

MEMORY = {
    "training_memory": "the claim is of training; the bench trains nothing",
    "accelerator_memory": "the claim is the size of a card; ours is what a process held at most",
}
"""Claims of memory, and what keeps ours from being held against them."""

RUNTIME = "runtime"
"""How a claimed ratio of two calls begins; other ratios are of training or storage."""

NARROW = "ours is of a narrow family, not of the published topology"


def beside(claims: Sequence[Claim], relations: Iterable[Relation], record: BenchRecord) -> list[Row]:
    """Every published figure of latency, energy, run time, size and memory beside ours.

    Claims of another variant (full fine-tunes) are left out: nothing of that kind is run here.

    Args:
        claims: Of every card.
        relations: Of the same registry.
        record: One run of the bench.
    """
    own = [c for c in claims if c.quantity.variant == "published"]
    timed = [
        _swap(row, record) if _part(row.claim) == "adapter swap" else row for row in rows(own, relations, record.calls)
    ]
    if record.topology == "narrow":
        timed = [row if row.ours is None else _narrow(row) for row in timed]
    return [*timed, *_doubled(own, record), *_sizes(own, record)]


def _narrow(row: Row) -> Row:
    """Whatever else is equal, a stand-in is not what the claim is of."""
    return replace(row, verdict="not comparable", missing=(*row.missing, NARROW))


def _part(claim: Claim) -> str | None:
    return claim.quantity.conditions.get("of")


def _swap(row: Row, record: BenchRecord) -> Row:
    """Ours of a swap is the bench's own row: no forward stands beside it."""
    found = record.row("switch")
    missing = tuple(m for m in row.missing if not m.startswith(("which part of a call", "ours falls short")))
    also = ("ours looks an adapter up and moves nothing; what the claim's swap does is not stated",)
    if found is None:
        return replace(row, ours=None, ours_of=None, missing=(*missing, "switch: not measured in this run"))
    return replace(
        row, ours=_figure(geometric_mean(found.ours_s), "s"), ours_of=f"switch {found.of}", missing=(*missing, *also)
    )


def _figure(found: Estimate, unit: str) -> Figure:
    return Figure(value=found.value, low=found.low, high=found.high, n=found.n, of=found.n, unit=unit)


def _doubled(claims: Sequence[Claim], record: BenchRecord) -> Iterator[Row]:
    for claim in claims:
        if claim.quantity.metric != "cost_ratio" or not (_part(claim) or "").startswith(RUNTIME):
            continue
        thinking = next((c for c in record.calls if c.tokens is not None), None)
        plain = next((c for c in record.calls if c.tokens is None), None)
        if thinking is None or plain is None:
            yield compare_ratio(claim, None, "an adapter that thinks over one that does not")
            continue
        row = compare_ratio(claim, (thinking, plain), f"{thinking.adapter} over {plain.adapter}, forward")
        short = tuple(m for m in _of_ours(record) if m not in row.missing)
        yield replace(row, verdict="not comparable", missing=(*row.missing, *short)) if short else row


def _sizes(claims: Sequence[Claim], record: BenchRecord) -> Iterator[Row]:
    held = {s.id: s for s in record.sizes}
    for claim in claims:
        metric, subject = claim.quantity.metric, claim.quantity.subject
        if metric in DISK:
            missing = list(_of_ours(record))
            if of := _part(claim):
                missing.append(f"the claim is of: {of}; ours is of files")
            yield compare_bytes(claim, held.get(DISK[metric].format(subject)), missing)
        elif metric in MEMORY:
            yield compare_bytes(claim, held.get("peak/all"), [MEMORY[metric], *_of_ours(record)])


def _of_ours(record: BenchRecord) -> Iterator[str]:
    if record.topology == "narrow":
        yield NARROW
    if record.weights == "random":
        yield RANDOM


def compare_bytes(claim: Claim, ours: Size | None, missing: Sequence[str]) -> Row:
    """A published size beside ours, 10 % either way of what is printed.

    Args:
        claim: In a unit of BYTES.
        ours: Ours; None where it was not measured.
        missing: Conditions that are not equal.
    """
    scale = BYTES[claim.unit]
    figure = of = None
    if ours is not None:
        of = ours.what if ours.adapter is None else f"{ours.adapter}: {ours.what}"
        if ours.bytes is None:
            figure = Figure(unit=claim.unit, reason=ours.reason)
        else:
            figure = Figure(value=ours.bytes / scale, n=1, of=1, unit=claim.unit)
    if missing:
        return Row(claim, "not comparable", tuple(missing), figure, of)
    if figure is None or figure.value is None:
        why = "not measured in this run" if figure is None or figure.reason is None else figure.reason
        return Row(claim, "not measured", (why,), figure, of)
    printed = claim.printed.need()
    within = (1 - TOLERANCE) * float(printed.lo) <= figure.value <= (1 + TOLERANCE) * float(printed.hi)
    word: Verdict = "reproduced" if within else "not reproduced"
    return Row(claim, word, (), figure, of)
