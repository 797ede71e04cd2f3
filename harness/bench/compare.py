"""Two records of the bench: what changed beyond noise, what did not, what stands in one of them only.

Judged is ours over its reference: both took turns in each run, so what else a machine did meets both.
Seconds are shown where both runs are of one machine, and are never judged: a busy hour would change them.
Records of two machines are compared by these ratios alone, and that is said: a ratio within one run
carries over between like machines, seconds do not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from harness.bench.ratios import Estimate, ratio_of_means
from harness.errors import RegistryError
from harness.records.bench import BenchRecord, Machine, Pairs, Size

FLOOR = 0.10
"""A change must lie beyond this share with its whole interval: two runs of one code on one machine differ by
some per cent in how memory came to lie. Set 2026-11-21, before the first comparison."""

FAMILY_LEVEL = 0.95
"""Of all intervals of one comparison together (Bonferroni): the chance of one false alarm is 5 %, not 5 % a row."""

Word = Literal["slower", "faster", "larger", "smaller", "no change seen", "not comparable", "only in A", "only in B"]
"""What may be said of a row, of B against A."""

SAME: tuple[str, ...] = ("family", "topology", "weights", "chip_px")
"""Fields that must be equal, or another thing was measured."""

STEADY: tuple[str, ...] = ("system", "cpu", "cores", "device_kind", "device", "threads")
"""Fields of a machine that make it the same one; builds and versions may be what a comparison is about."""


@dataclass(frozen=True)
class Change:
    """One row of both."""

    id: str
    """Row or size."""
    word: Word
    """What may be said."""
    relative: Estimate | None = None
    """Ours over its reference, B over A; above 1 where ours became slower. Of sizes: bytes, B over A."""
    ours: Estimate | None = None
    """Seconds of ours, B over A; None for two machines."""
    reference: Estimate | None = None
    """Seconds of the reference, B over A."""
    note: str = ""
    """Why nothing may be said, or what else is seen."""


@dataclass(frozen=True)
class Comparison:
    """All of it."""

    changes: tuple[Change, ...]
    """Rows of A in their order, then those of B alone."""
    notes: tuple[str, ...]
    """What differs between the two runs besides the code."""

    def of(self, *words: Word) -> list[Change]:
        """Rows of which one of these is said."""
        return [c for c in self.changes if c.word in words]


def compare(a: BenchRecord, b: BenchRecord) -> Comparison:
    """What changed from A to B.

    Raises:
        RegistryError: Another thing was measured: names every field that differs.
    """
    other = [f"{n}: {getattr(a, n)} and {getattr(b, n)}" for n in SAME if getattr(a, n) != getattr(b, n)]
    if other:
        raise RegistryError(f"A and B measured different things ({'; '.join(other)}); compare like with like")
    differ = _differ(a.machine, b.machine)
    both = sum(b.row(r.id) is not None for r in a.rows)
    level = 1 - (1 - FAMILY_LEVEL) / max(1, both)
    changes = [_row(r, b.row(r.id), level, machines=bool(differ)) for r in a.rows]
    changes += [Change(r.id, "only in B", note=_why(a, r)) for r in b.rows if a.row(r.id) is None]
    changes = [c if c.word != "only in A" or c.note else _missing(c, b) for c in changes]
    return Comparison((*changes, *_sizes(a, b)), tuple(_notes(a, b, differ)))


def _differ(a: Machine, b: Machine) -> list[str]:
    return [f"{n}: {getattr(a, n)} and {getattr(b, n)}" for n in STEADY if getattr(a, n) != getattr(b, n)]


def _row(a: Pairs, b: Pairs | None, level: float, *, machines: bool) -> Change:
    if b is None:
        return Change(a.id, "only in A")
    unlike = [n for n in ("of", "reference", "processes") if getattr(a, n) != getattr(b, n)]
    if unlike:
        return Change(
            a.id, "not comparable", note=f"{', '.join(unlike)}: {getattr(a, unlike[0])}; {getattr(b, unlike[0])}"
        )
    relative = ratio_of_means(_quotients(b), _quotients(a), level)
    ours = None if machines else ratio_of_means(b.ours_s, a.ours_s, level)
    reference = None if machines else ratio_of_means(b.reference_s, a.reference_s, level)
    word = _word(relative)
    note = ""
    if word != "no change seen" and reference is not None and ours is not None and _word(ours) == "no change seen":
        note = "in seconds ours shows no change: the reference or the machine may have moved"
    return Change(a.id, word, relative, ours, reference, note)


def _quotients(row: Pairs) -> list[float]:
    return [o / r for o, r in zip(row.ours_s, row.reference_s, strict=True)]


def _word(found: Estimate) -> Literal["slower", "faster", "no change seen"]:
    if found.low > 1 + FLOOR:
        return "slower"
    return "faster" if found.high < 1 / (1 + FLOOR) else "no change seen"


def _why(record: BenchRecord, row: Pairs) -> str:
    """What the record that lacks a row says of it."""
    said = [line for line in record.absent if line.startswith((f"{row.id}:", f"{row.group}:"))]
    return said[0] if said else "the other record does not name it"


def _missing(change: Change, b: BenchRecord) -> Change:
    group = change.id.partition("/")[0]
    said = [line for line in b.absent if line.startswith((f"{change.id}:", f"{group}:"))]
    return Change(change.id, change.word, note=said[0] if said else "the other record does not name it")


def _sizes(a: BenchRecord, b: BenchRecord) -> Iterator[Change]:
    theirs = {s.id: s for s in b.sizes}
    for size in a.sizes:
        yield _size(size, theirs[size.id]) if size.id in theirs else Change(size.id, "only in A")
    known = {s.id for s in a.sizes}
    yield from (Change(i, "only in B") for i in theirs if i not in known)


def _size(a: Size, b: Size) -> Change:
    if not a.bytes or b.bytes is None:
        return Change(a.id, "not comparable", note=f"not measured: {a.reason or b.reason or 'no bytes in A'}")
    by = b.bytes / a.bytes
    floor = FLOOR if a.kind == "peak memory" else 0.0
    word: Word = "larger" if by > 1 + floor else "smaller" if by < 1 / (1 + floor) else "no change seen"
    return Change(a.id, word, Estimate(by, by, by, 1))


def _notes(a: BenchRecord, b: BenchRecord, differ: list[str]) -> Iterator[str]:
    if differ:
        yield f"two machines ({'; '.join(differ)}): ratios within each run are compared, seconds are not"
    for name in ("harness", "rounds"):
        if getattr(a, name) != getattr(b, name):
            yield f"{name}: {getattr(a, name)} and {getattr(b, name)}"
    for name in sorted({*a.machine.packages, *b.machine.packages}):
        mine, theirs = a.machine.packages.get(name, "none"), b.machine.packages.get(name, "none")
        if mine != theirs:
            yield f"{name}: {mine} and {theirs}"
    for label, record in (("A", a), ("B", b)):
        if record.shared:
            yield f"{label} was not at rest: {record.shared}"
