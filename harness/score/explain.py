"""Why a card's figures are not met: the smallest set of other settings under which all of them are.

The search knows neither models nor chips. It is given alternatives (a knob set otherwise than stated), a
function from sets of alternatives to figures, and what the card claims.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, Literal

TOLERANCE: Final = 0.005
"""A claim holds within this or its printed rounding, whichever is larger. Set 2026-11-21."""

MATERIAL: Final = 0.01
"""Smallest change of any claimed figure for which an alternative can be accused. Set 2026-11-21."""

APART: Final = 0.001
"""Sets whose worst claims lie closer together than this do equally well. Set 2026-11-21: reruns of the same
chips differ by less (orders of summation, half precision), and more is a difference between the settings."""

LARGEST: Final = 3
"""Alternatives that are tried together at most."""

PER_KNOB: Final = 2
"""Sets of the same knobs that are built upon: a knob with a hundred values must not crowd out the others."""

WIDTH: Final = 12
"""Sets that are built upon at one size."""

MOST: Final = 15_000
"""Sets that are looked at, whatever they cost; and as many again to see what does as well as a set that holds."""

Verdict = Literal["as stated", "found", "cannot be told", "unexplained"]
Figures = Mapping[str, float | None]
"""By metric id; None where a metric is undefined."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """One figure of a card."""

    metric: str
    """Id of the metric that it is about."""
    value: float
    """As printed."""
    rounding: float = 0.0
    """Half a unit of its last printed digit."""

    def off(self, figure: float | None) -> float:
        """How far a figure lies from it, beyond its rounding; an undefined figure lies 1 away."""
        return 1.0 if figure is None else max(0.0, abs(figure - self.value) - self.rounding)

    def met(self, figure: float | None) -> bool:
        """Whether a figure lies within `TOLERANCE` or the rounding."""
        return figure is not None and abs(figure - self.value) <= max(self.rounding, TOLERANCE) + 1e-12


@dataclass(frozen=True, slots=True)
class Alternative:
    """A knob set otherwise than stated."""

    id: str
    """Unique name."""
    knob: str
    """What it sets; two alternatives of one knob are never tried together."""
    says: str
    """What would be so, in words."""


@dataclass(frozen=True, slots=True)
class Tried:
    """A set of alternatives and what came of it."""

    alternatives: tuple[str, ...]
    """Their ids, sorted; empty for everything as stated."""
    figures: tuple[tuple[str, float | None], ...]
    """Claimed metrics and their values, in the claims' order."""
    met: int
    """Claims that hold."""
    worst: float
    """Largest distance of a figure from its claim, beyond rounding."""
    distance: float
    """Mean distance of the figures from their claims, beyond rounding."""


@dataclass(frozen=True, slots=True)
class Effect:
    """What one alternative does to the claimed figures."""

    alternative: str
    """Its id."""
    change: float
    """Largest change of any claimed figure, absolute; 1 where one becomes undefined or defined."""
    metric: str
    """Which figure changes most."""
    towards: float
    """By how much the mean distance to the claims falls; negative where it grows."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What the search says."""

    verdict: Verdict
    """as stated: the claims hold. found: one set explains them. cannot be told: several do equally well.
    unexplained: none that was tried does."""
    why: str
    """The reason in words."""
    sets: tuple[Tried, ...]
    """found: one; cannot be told: each; otherwise none. Of smallest size, every member material."""
    also: tuple[Tried, ...]
    """Of the same size, within tolerance too, but clearly worse than the best."""
    stated: Tried
    """Everything as stated."""
    partial: Tried | None
    """unexplained: the set that comes closest, if any comes closer; every member material. Not accused."""
    explains: float
    """Share of the mean distance that goes under the named sets, or under `partial`; 0 where there is none."""
    immaterial: tuple[Effect, ...]
    """Alternatives without material effect, on top of the named set or of everything as stated: whether
    they are as stated cannot be told from these claims."""
    tried: int
    """Sets looked at."""
    spent: float
    """Cost of looking, in the caller's unit."""
    complete: bool
    """False where the budget ran out before everything that this search would have looked at."""

    @property
    def accused(self) -> frozenset[str]:
        """Alternatives that stand in every set named."""
        named = [frozenset(each.alternatives) for each in self.sets]
        return frozenset.intersection(*named) if named else frozenset()


def explain(
    claims: Sequence[Claimed],
    alternatives: Sequence[Alternative],
    evaluate: Callable[[frozenset[str]], Figures],
    *,
    budget: float = math.inf,
    cost: Callable[[frozenset[str]], float] = lambda _: 1.0,
    largest: int = LARGEST,
    thorough: bool = True,
) -> Explanation:
    """Search for the smallest set of alternatives under which every claim holds.

    All singles are tried first. Then pairs, then triples, on top of the sets that come closest to the
    claims; what costs nothing is tried first, and what builds upon a set that comes no closer than
    everything as stated last. Once a set holds, each of its members is exchanged for every other
    alternative, to see what does equally well.

    Args:
        claims: What the card says.
        alternatives: What may be otherwise.
        evaluate: Ids of a set to figures; holds at least the claimed metrics. Called once a set.
        budget: Most that may be spent; the stated setting and singles that cost nothing come first.
        cost: What looking at a set would cost now, 0 where it is as good as free.
        largest: Most alternatives at once.
        thorough: Spend what is left of the budget to see which alternatives have no material effect on top
            of what was found; otherwise only those are known that cost nothing.

    Raises:
        ValueError: No claim, or two claims on one metric, or two alternatives of one id.
    """
    for kind, names in (
        ("claims on", [c.metric for c in claims]),
        ("alternatives called", [a.id for a in alternatives]),
    ):
        if twice := [name for name, n in Counter(names).items() if n > 1]:
            raise ValueError(f"several {kind} {', '.join(twice)}")
    if not claims:
        raise ValueError("no claim to explain")
    search = _Search(claims, {a.id: a.knob for a in alternatives}, evaluate, budget, cost, thorough)
    stated = search.need(frozenset())
    if stated.met == len(claims):
        return search.told("as stated", f"all {len(claims)} claims hold as stated", stated)
    for size, first in [*((n, True) for n in range(1, largest + 1)), *((n, False) for n in range(2, largest + 1))]:
        if holding := search.level(size, first=first):
            return search.named(holding, stated)
    return search.unexplained(stated)


class _Search:
    """What has been looked at."""

    def __init__(
        self,
        claims: Sequence[Claimed],
        knobs: Mapping[str, str],
        evaluate: Callable[[frozenset[str]], Figures],
        budget: float,
        cost: Callable[[frozenset[str]], float],
        thorough: bool,
    ) -> None:
        self.claims, self.knobs, self.evaluate, self.budget, self.cost = claims, knobs, evaluate, budget, cost
        self.thorough = thorough
        self.seen: dict[frozenset[str], Tried] = {}
        self.spent, self.complete, self.most = 0.0, True, MOST

    # looking -------------------------------------------------------------------------------------------

    def need(self, ids: frozenset[str]) -> Tried:
        """Look at a set, whatever it costs."""
        if ids not in self.seen:
            self.spent += self.cost(ids)
            figures = self.evaluate(ids)
            kept = tuple((c.metric, figures[c.metric]) for c in self.claims)
            off = [c.off(figure) for c, (_, figure) in zip(self.claims, kept, strict=True)]
            met = sum(c.met(figure) for c, (_, figure) in zip(self.claims, kept, strict=True))
            self.seen[ids] = Tried(tuple(sorted(ids)), kept, met, max(off), math.fsum(off) / len(off))
        return self.seen[ids]

    def look(self, ids: frozenset[str]) -> Tried | None:
        """Look at a set if the budget allows."""
        if ids not in self.seen:
            price = self.cost(ids)
            if self.full or (price and self.spent + price > self.budget):
                self.complete = False
                return None
        return self.need(ids)

    @property
    def full(self) -> bool:
        """Whether no more sets are looked at."""
        if len(self.seen) >= self.most:
            self.complete = False
        return len(self.seen) >= self.most

    def free(self, ids: frozenset[str]) -> bool:
        """Whether looking costs nothing."""
        return ids in self.seen or not self.cost(ids)

    def grown(self, ids: frozenset[str]) -> Iterator[frozenset[str]]:
        """A set with one more alternative, of a knob that it does not set; nearest to the claims first."""
        taken = {self.knobs[i] for i in ids}
        return (ids | {i} for i in sorted(self.knobs, key=self._alone) if self.knobs[i] not in taken)

    def _alone(self, i: str) -> float:
        one = self.seen.get(frozenset({i}))
        return math.inf if one is None else one.distance

    def level(self, size: int, *, first: bool) -> list[Tried]:
        """Look at sets of one size; those under which all claims hold and whose members are all material.

        Args:
            size: Alternatives at once.
            first: Build upon what comes closest; otherwise upon the rest.
        """
        parents = [frozenset[str]()] if size == 1 else self.parents(size - 1)[0 if first else 1]
        return self.rivals(self.built(parents, size, every=size == 1), size)

    def built(self, parents: Sequence[frozenset[str]], size: int, *, every: bool = False) -> list[Tried]:
        """Look at sets of one size that build upon others until one holds: all that costs nothing, then by price.

        What a size may spend is half of what is left, so that larger sets have something left to spend.
        """
        cap = self.spent + (self.budget - self.spent) / (1 if every else 2)
        ahead = (ids for parent in parents for ids in self.grown(parent) if ids not in self.seen)
        some = dict.fromkeys(islice(ahead, max(0, self.most - len(self.seen))))
        self.complete &= next(ahead, None) is None
        priced = sorted((self.cost(ids), n, ids) for n, ids in enumerate(some))
        found = self.holding(size)
        for price, _, ids in priced:
            if self.full or (price and found and not every):
                break
            if price and self.spent + self.cost(ids) > cap:
                self.complete = False
                continue
            if (got := self.look(ids)) is not None and self.holds(got):
                found = self.holding(size)
        return found

    def parents(self, size: int) -> tuple[list[frozenset[str]], list[frozenset[str]]]:
        """Sets of one size, the closest to the claims first: those to build upon first, and the rest.

        First come sets that are closer than everything as stated, at most `PER_KNOB` of the same knobs.
        """
        start = self.seen[frozenset()].distance
        ranked = sorted((t for s, t in self.seen.items() if len(s) == size), key=_rank)
        first: list[frozenset[str]] = []
        rest: list[frozenset[str]] = []
        per: Counter[frozenset[str]] = Counter()
        for each in ranked:
            ids = frozenset(each.alternatives)
            kind = frozenset(self.knobs[i] for i in ids)
            moves = each.distance < start and per[kind] < PER_KNOB and len(first) < WIDTH
            (first if moves else rest).append(ids)
            per[kind] += moves
        return first, rest

    def rivals(self, found: list[Tried], size: int) -> list[Tried]:
        """What else holds: each member of each set found, exchanged for every alternative.

        What that finds is exchanged again as long as looking costs nothing: where two alternatives hide each
        other, such as two wrong orders, the better set may lie two exchanges away.
        """
        ahead, queued = list(found), {t.alternatives for t in found}
        given = len(ahead)
        if found:  # whoever is accused, the rivals must have been heard
            self.most = len(self.seen) + MOST
        for number, each in enumerate(ahead):  # grows while it is walked through
            for gone in each.alternatives:
                rest = frozenset(each.alternatives) - {gone}
                for ids in self.grown(rest):
                    if number >= given and not self.free(ids):
                        continue
                    got = self.look(ids)
                    if got is not None and got.alternatives not in queued and self.holds(got):
                        queued.add(got.alternatives)
                        ahead.append(got)
        return self.holding(size)

    # judging -------------------------------------------------------------------------------------------

    def holding(self, size: int) -> list[Tried]:
        return [t for s, t in list(self.seen.items()) if len(s) == size and self.holds(t)]

    def holds(self, tried: Tried) -> bool:
        """All claims hold, and none of the members could be left out without a material change."""
        return tried.met == len(self.claims) and self.material(tried)

    def material(self, tried: Tried) -> bool:
        ids = frozenset(tried.alternatives)
        return all(self.effect(i, ids - {i}, self.need(ids - {i}), tried).change >= MATERIAL for i in ids)

    def effect(self, i: str, base: frozenset[str], before: Tried, after: Tried) -> Effect:
        changes = [
            (abs(b - a) if a is not None and b is not None else float(a is not b), metric)
            for (metric, a), (_, b) in zip(before.figures, after.figures, strict=True)
        ]
        change, metric = max(changes, key=lambda each: each[0])
        return Effect(i, change, metric, before.distance - after.distance)

    # telling -------------------------------------------------------------------------------------------

    def named(self, holding: list[Tried], stated: Tried) -> Explanation:
        best = min(t.worst for t in holding)
        ties = sorted((t for t in holding if t.worst <= best + APART), key=_rank)
        also = tuple(sorted((t for t in holding if t.worst > best + APART), key=_rank))
        if len(ties) == 1:
            why = f"all {len(self.claims)} claims hold within {ties[0].worst:.4f} beyond their rounding"
            return self.told("found", why, stated, ties, also)
        apart = _apart(ties)
        why = (
            f"{len(ties)} sets meet all {len(self.claims)} claims, each within {best + APART:.4f} beyond rounding; "
            f"no claimed figure differs by more than {apart:.4f} between them"
        )
        return self.told("cannot be told", why, stated, ties, also)

    def unexplained(self, stated: Tried) -> Explanation:
        better = sorted((t for s, t in list(self.seen.items()) if s and t.distance < stated.distance), key=_rank)
        partial = next((t for t in better if self.material(t)), None)
        missed = len(self.claims) - (partial or stated).met
        why = f"no set of up to {LARGEST} alternatives meets all claims; {missed} of {len(self.claims)} stay unmet"
        if partial is not None:
            why += f" under {' + '.join(partial.alternatives)}, the closest"
        return self.told("unexplained", why, stated, partial=partial)

    def told(
        self,
        verdict: Verdict,
        why: str,
        stated: Tried,
        sets: Iterable[Tried] = (),
        also: tuple[Tried, ...] = (),
        partial: Tried | None = None,
    ) -> Explanation:
        named = tuple(sets)
        shown = named[0] if named else partial
        gone = 1 - shown.distance / stated.distance if shown and stated.distance else 0.0
        on = frozenset(named[0].alternatives) if named else frozenset[str]()
        weak = tuple(e for e in self._on_top(on) if e.change < MATERIAL)
        return Explanation(
            verdict, why, named, also, stated, partial, gone, weak, len(self.seen), self.spent, self.complete
        )

    def _on_top(self, ids: frozenset[str]) -> Iterator[Effect]:
        """Effects on top of a set, of every alternative that the budget allows."""
        base = self.need(ids)
        for more in self.grown(ids):
            if (self.thorough or self.free(more)) and (got := self.look(more)) is not None:
                yield self.effect(next(iter(more - ids)), ids, base, got)


def _rank(tried: Tried) -> tuple[float, tuple[str, ...]]:
    return tried.distance, tried.alternatives


def _apart(ties: Sequence[Tried]) -> float:
    """Largest difference of a figure between any two of them; 1 where it is undefined in one and not in another."""
    found = 0.0
    for column in zip(*(t.figures for t in ties), strict=True):
        values = [value for _, value in column if value is not None]
        mixed = 0 < len(values) < len(column)
        found = max(found, 1.0 if mixed else max(values, default=0.0) - min(values, default=0.0))
    return found
