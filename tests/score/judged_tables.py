"""The tables of docs/judged.md."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Protocol, TypeVar

from harness.score.bars import LABELS, MOSTLY, Part
from harness.score.bridge import FLOOR
from harness.score.permuted import MARGIN
from tests.score.secret import KINDS, SCENES

if TYPE_CHECKING:
    from tests.score.judged import Judged, Judgement, Ordered

Z = 1.959963984540054
"""97.5 % point of the normal distribution."""

RECALLS = ((0.0, 0.3), (0.3, 0.45), (0.45, 0.6), (0.6, 1.0))
"""Columns of the table of class schemes."""

HEAD = ("", *(f"{n} scenes" for n in SCENES), "all")


class WithN(Protocol):
    """Something of a world with so many scenes."""

    @property
    def n(self) -> int:
        """Scenes of each population."""


T = TypeVar("T", bound=WithN)


@dataclass(frozen=True)
class Case:
    """One planted cause."""

    n: int
    """Scenes of each population."""
    cause: str
    """knob, population or outside, the last with `, same scenes` where the claim was measured on ours."""
    planted: float
    """True effect."""
    found: float
    """Effect that was said."""
    detected: bool
    """Whether it was called an effect."""

    @property
    def landed(self) -> float:
        """How much of the planted effect stands at its cause, at most all of it, never less than nothing."""
        return min(max(math.copysign(1, self.planted) * self.found, 0.0), abs(self.planted))


def cases(judged: Iterable[Judged]) -> Iterator[Case]:
    """Each planted cause of each world that has a bridge."""
    for each in judged:
        if each.bridge is None:
            continue
        shares = {share.factor.id: share for share in each.bridge.shares}
        for name, planted in each.secret.planted.items():
            kind = "population" if name == "population" else "knob"
            yield Case(each.n, kind, planted, shares[name].effect, shares[name].detectable)
        if each.secret.outside and each.bridge.unexplained is not None:
            kind = "outside, same scenes" if each.secret.claim_scenes == "same" else "outside"
            yield Case(each.n, kind, each.secret.outside, each.bridge.unexplained, each.bridge.unexplained_beyond)


def wilson(k: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share."""
    if not n:
        return 0.0, 1.0
    p, z2 = k / n, Z * Z / n
    middle, half = (p + z2 / 2) / (1 + z2), Z * math.sqrt(p * (1 - p) / n + z2 / (4 * n)) / (1 + z2)
    return max(0.0, middle - half), min(1.0, middle + half)


def share(k: int, n: int) -> str:
    """A share in percent with its interval: `2.4 % (1.6..3.5)`; a dash of nothing."""
    low, high = wilson(k, n)
    return f"{100 * k / n:.1f} % ({100 * low:.1f}..{100 * high:.1f})" if n else "-"


def part_number(chosen: Sequence[Case], detected: bool = False) -> float:
    """How much of the planted effects stands where it was planted; NaN of nothing.

    Args:
        chosen: The causes.
        detected: Count only what was called an effect.
    """
    whole = math.fsum(abs(c.planted) for c in chosen)
    return math.fsum(c.landed for c in chosen if c.detected or not detected) / whole if whole else math.nan


def part(chosen: Sequence[Case]) -> str:
    """`part_number` in percent."""
    return f"{100 * part_number(chosen):.1f} %" if chosen else "-"


def part_told(chosen: Sequence[Case]) -> str:
    """The same, counting only what was called an effect."""
    return f"{100 * part_number(chosen, True):.1f} %" if chosen else "-"


def detected(chosen: Sequence[Case]) -> str:
    """Share of causes called an effect."""
    return share(sum(c.detected for c in chosen), len(chosen))


def error(chosen: Sequence[Case]) -> str:
    """Median distance of what was said and what is, in points."""
    return f"{100 * median(abs(c.found - c.planted) for c in chosen):.1f}" if chosen else "-"


def large(planted: Iterable[Case], *causes: str) -> list[Case]:
    """Causes of these sorts whose true effect is above the floor."""
    return [c for c in planted if abs(c.planted) > FLOOR and c.cause in causes]


def table(head: Sequence[str], rows: Iterable[Sequence[str]], align: str = "--:") -> str:
    """A Markdown table."""
    out = [f"| {' | '.join(head)} |", f"|---|{f'{align}|' * (len(head) - 1)}"]
    return "\n".join(out + [f"| {' | '.join(row)} |" for row in rows]) + "\n"


def row(name: str, things: Sequence[T], cell: Callable[[Sequence[T]], str]) -> list[str]:
    """One row over the numbers of scenes, and all together."""
    return [name, *(cell([t for t in things if t.n == n]) for n in SCENES), cell(things)]


def section(title: str, text: str, body: str) -> str:
    """A heading, a paragraph and tables."""
    return f"## {title}\n\n{textwrap.fill(' '.join(text.split()), 120)}\n\n{body}"


def _count(what: Callable[[T], bool]) -> Callable[[Sequence[T]], str]:
    return lambda chosen: share(sum(map(what, chosen)), len(chosen))


def accused(nulls: Sequence[Judged]) -> str:
    """False accusations."""
    rows = [
        row("anything", nulls, _count(lambda j: bool(j.accused))),
        row("a knob", nulls, _count(lambda j: any(a.startswith("knob") for a in j.accused))),
        row("the population", nulls, _count(lambda j: "population" in j.accused)),
        row("the claim (*unexplained*)", nulls, _count(lambda j: "unexplained" in j.accused)),
    ]
    text = f"""{len(nulls):,} worlds in which nothing was planted; a world counts once, whatever is accused in it. Half
        of the claims were measured on other scenes, a quarter on the same; a quarter of the worlds has no claim."""
    return section("Accused without a fault", text, table(HEAD, rows))


def power(found: Sequence[Case]) -> str:
    """How often one cause of a set size is seen."""
    from tests.score.judged import SIZES

    rows = []
    for cause in dict.fromkeys(c.cause for c in found):
        for size in SIZES:
            chosen = [c for c in found if c.cause == cause and _nearest(c, SIZES) == size]
            rows.append(row(f"{cause}, {100 * size:g} points", chosen, detected))
    text = """One cause alone, three knobs and the population on the list, the claim on 6 to 48 other scenes; share of
        worlds in which the cause is called an effect. At 2 points the measured effect falls below 2 points in half of
        the worlds, and is not spoken of."""
    return section("Power", text, table(HEAD, rows))


def _nearest(case: Case, sizes: Sequence[float]) -> float:
    return min(sizes, key=lambda size: abs(size - abs(case.planted)))


def landed(planted: Sequence[Case]) -> str:
    """Where the planted effect goes."""
    rows = []
    for name, causes in (("knobs", ("knob",)), ("population", ("population",)), ("both", ("knob", "population"))):
        chosen = large(planted, *causes)
        rows.append(row(f"{name}: part of it there", chosen, part))
        rows.append(row(f"{name}: called an effect", chosen, part_told))
        rows.append(row(f"{name}: error, points", chosen, error))
    text = """Planted causes whose true share is above 2 points. *Part of it there*: what its bar shows in the right
        direction, at most all of it, summed and divided by what was planted; what a bar shows beyond that does not
        count. *Called an effect*: the same, counting only bars that are called one. *Error*: median distance of bar
        and truth."""
    return section("Where the planted effect goes", text, table(HEAD, rows))


@dataclass(frozen=True)
class _Sums:
    """Effects of one world, summed without signs."""

    n: int
    whole: float
    there: float
    stray: float


def _median(chosen: Sequence[_Sums]) -> str:
    return f"{100 * median(w.there / w.whole for w in chosen):.1f} %" if chosen else "-"


def _stray(chosen: Sequence[_Sums]) -> str:
    return f"{100 * sum(w.stray for w in chosen) / sum(w.whole for w in chosen):.1f} %" if chosen else "-"


def worlds(faulty: Sequence[Judged]) -> str:
    """The same, world by world."""
    sums = []
    for each in faulty:
        if each.bridge is None:
            continue
        own = [c for c in cases([each]) if not c.cause.startswith("outside")]
        whole = math.fsum(abs(c.planted) for c in own)
        stray = math.fsum(abs(s.effect) for s in each.bridge.shares if s.factor.id not in each.secret.planted)
        if whole > FLOOR:
            sums.append(_Sums(each.n, whole, math.fsum(c.landed for c in own), stray))
    rows = [
        row("worlds", sums, lambda chosen: f"{len(chosen):,}"),
        row("at least 80 % at the planted causes", sums, _count(lambda w: w.there >= 0.8 * w.whole)),
        row("median world", sums, _median),
        row(
            "at causes that were not planted",
            sums,
            _stray,
        ),
    ]
    text = "Worlds in which the planted effects, without their signs, sum to more than 2 points."
    return section("World by world", text, table(HEAD, rows))


def small(planted: Sequence[Case]) -> str:
    """Effects that should not be spoken of."""
    rows = []
    for low, high in ((0.0, FLOOR / 2), (FLOOR / 2, FLOOR)):
        chosen = [c for c in planted if low < abs(c.planted) <= high and c.cause in ("knob", "population")]
        rows.append(row(f"{100 * low:g} to {100 * high:g} points", chosen, _count(lambda c: not c.detected)))
    text = """Planted knobs and populations of at most 2 points that read *no detectable effect*. They are there, so
        that to call one an effect is no false accusation; it is called larger than it is."""
    return section("Small effects", text, table(HEAD, rows))


def untold(of: Judgement) -> str:
    """What cannot be told."""

    def only(j: Judged) -> bool:
        if j.told or j.bridge is None:
            return False
        left = [s.factor.id for s in j.bridge.shares if abs(s.effect) >= j.bridge.floor and not s.detectable]
        return left == ["population"]  # its label shares, or rates without a useful band

    def luck(j: Judged) -> bool:
        return j.told and not j.settled

    rows = [
        row("with faults", of.faulty, _count(lambda j: not j.told)),
        row("only for the population", of.faulty, _count(only)),
    ]
    for world, _ in KINDS:
        rows.append(
            row(world.name, [j for j in of.faulty if j.secret.world == world.name], _count(lambda j: not j.told))
        )
    rows += [
        row("*told but for sampling*, with faults", of.faulty, _count(luck)),
        row("*told but for sampling*, without a fault", of.nulls, _count(luck)),
        row("not *told* without reservation, with faults", of.faulty, _count(lambda j: not j.settled)),
        row("metric undefined", of.faulty, _count(lambda j: j.bridge is None)),
        row("with faults, same scenes at both ends", of.paired, _count(lambda j: not j.told)),
        row("without a fault", of.nulls, _count(lambda j: not j.told)),
    ]
    every = [j for j in [*of.faulty, *of.paired, *of.nulls] if not j.told]
    reasons = sum(bool(j.bridge.why if j.bridge is not None else j.why) for j in every)
    text = f"""A bridge is *told* where bars that are established hold at least {100 * MOSTLY:g} % of all bars of 2
        points or more, the label shares of other scenes counting as a bar; *told but for sampling* where beside them
        the rates of the other scenes make 2 points or more that other scenes might make, too. Otherwise it *cannot be
        told*, and the reason names the open bars with their intervals: {reasons:,} of {len(every):,} give one."""
    out = section("Cannot be told", text, table(HEAD, rows))
    example = next((j for j in of.faulty if j.bridge is not None and not j.told), None)
    if example is not None and example.bridge is not None:
        said = f"For example, with {example.n} scenes of each population: *{example.bridge.sentence}*"
        out += f"\n{textwrap.fill(said, 120)}\n"
    return out


def label_shares(judged: Sequence[Judged]) -> str:
    """What is said of the label shares of the very scenes."""
    split = [j for j in judged if part_of(j, LABELS) is not None]
    seen = [j for j in split if abs(j.secret.labels or 0.0) >= FLOOR]

    def off(chosen: Sequence[Judged]) -> str:
        found = [abs(_effect(j) - (j.secret.labels or 0.0)) for j in chosen]
        return f"{100 * median(found):.1f}" if found else "-"

    def holds(j: Judged) -> bool:
        each = part_of(j, LABELS)
        return (
            each is not None
            and each.low is not None
            and each.high is not None
            and each.low <= (j.secret.labels or 0.0) <= each.high
        )

    def wrong(j: Judged) -> bool:
        each, true = part_of(j, LABELS), j.secret.labels or 0.0
        return each is not None and each.established and each.effect * true <= 0

    def called(j: Judged) -> bool:
        each = part_of(j, LABELS)
        return each is not None and each.established

    rows = [
        row("worlds that can be split", judged, _count(lambda j: part_of(j, LABELS) is not None)),
        row("interval holds the truth", split, _count(holds)),
        row("error, points", split, off),
        row("truth of 2 points or more: established", seen, _count(called)),
        row("truth below 2 points: established", [j for j in split if j not in seen], _count(called)),
        row("established, in the wrong direction", split, _count(wrong)),
    ]
    text = """Where the other end stands on other scenes, what their label shares do is a bar of its own. Both sets are
        labelled, so the shares are counted; the truth is what these very shares do at the true rates of both
        populations. Worlds with and without faults: also where nothing was planted, a few scenes hold other shares
        than a few others. That is said of these scenes, and is no accusation of their population. An interval should
        hold the truth in 95 %; these hold it a little less often. What is established at 2 points or more may truly be
        a little below."""
    return section("Label shares of these scenes", text, table(HEAD, rows))


def part_of(judged: Judged, what: str) -> Part | None:
    """Label shares or rates of the population; None where it was not split."""
    shares = judged.bridge.shares if judged.bridge is not None else ()
    return next((p for s in shares for p in s.parts if p.what == what), None)


def _effect(judged: Judged) -> float:
    each = part_of(judged, LABELS)
    return each.effect if each is not None else math.nan


def outside(planted: Sequence[Case]) -> str:
    """Causes that no factor stands for."""
    rows = []
    for name, cause in (("claim on the same scenes", "outside, same scenes"), ("claim on other scenes", "outside")):
        chosen = large(planted, cause)
        rows.append(row(f"{name}: part in *unexplained*", chosen, part))
        rows.append(row(f"{name}: called beyond sampling", chosen, detected))
        rows.append(row(f"{name}: error, points", chosen, error))
    text = """The claim's run had a cause of more than 2 points that is no factor. It should stand in *unexplained*,
        which is what claim and rerun differ by; on other scenes their luck stands there, too, and the band says how
        much that may be. Same scenes leave no sampling between the two; what is missing is what these scenes differ
        by from all scenes. Columns are our scenes; the claim's number is drawn apart from it."""
    return section("Causes outside the list", text, table(HEAD, rows))


def orders(found: Sequence[Ordered]) -> str:
    """Permuted class schemes."""
    head = ("", *(f"recall {100 * a:g} to {100 * b:g} %" for a, b in RECALLS), "all")

    def line(name: str, kind: str, what: Callable[[Ordered], bool]) -> list[str]:
        cells = []
        for low, high in (*RECALLS, (0.0, 1.0)):
            chosen = [o for o in found if o.planted == kind and low <= o.recall < high]
            cells.append(share(sum(map(what, chosen)), len(chosen)))
        return [name, *cells]

    rows = [
        line("outputs permuted: found, in the right order", "outputs", lambda o: o.called and o.right),
        line("outputs permuted: found, in a wrong order", "outputs", lambda o: o.called and not o.right),
        line("outputs permuted: cannot be told", "outputs", lambda o: o.found == "cannot be told"),
        line("outputs permuted: read as stored", "outputs", lambda o: o.found == "as stored"),
        line("nothing permuted: called permuted", "none", lambda o: o.via != "neither"),
        line("nothing permuted: cannot be told", "none", lambda o: o.found == "cannot be told"),
        line("one class predicted as another: called permuted", "confused", lambda o: o.via != "neither"),
        line("one class predicted as another: cannot be told", "confused", lambda o: o.found == "cannot be told"),
        line("names permuted: matrix calls it permuted", "names", lambda o: o.called),
        line("names permuted: found from contradicting sources", "names", lambda o: o.via == "contradicting sources"),
    ]
    text = f"""Five classes, models from chance upwards; *recall* is the mean over classes in the right order. A moved
        class must lead its row and its column by {100 * MARGIN:g} points, and the order must hold without each scene.
        Where outputs are permuted the sources agree and only the stored matrix shows it; where names are permuted, the
        matrix is as good as before and only a second source that names the indices otherwise shows it. With one source
        nobody can. In a quarter of the worlds nothing is permuted, but one class is mostly predicted as another."""
    return section("Permuted class schemes", text, table(head, rows))
