"""Which scenes make a chip: de-duplication, order, mosaics, dates. Pure and total; it reads no pixel itself."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from harness.chips.chip import Grid
from harness.chips.coverage import Cover, Mask, cover, gap, touches, union
from harness.chips.items import Candidate
from harness.chips.recipe import Dates

PASS: Final = timedelta(minutes=10)
"""Scenes of one satellite and orbit within this time are one acquisition. A neighbouring tile or
slice follows within seconds, the next orbit after about 100 minutes."""

CLOUDY: Final = (3, 8, 9, 10)
"""Scene classification: cloud shadow, cloud of medium and high probability, thin cirrus."""

CLOUD_MAX: Final = 0.2
"""Share of a chip's valid pixels under cloud or its shadow up to which a date is used, where the
recipe states no other. The published rerun's limit, which it applied to whole scenes."""

VALID_MIN: Final = 0.99
"""Share of a chip that must have data for a date to be used. Assumed; what is kept and what is
scored is decided again from the pixels of every band."""

S1_WINDOW: Final = timedelta(days=12)
"""Days between a Sentinel-1 pass and its Sentinel-2 date. One satellite repeats its orbit in 12."""

Spread = Literal["season", "list"]
"""season: one date from each of equal periods. list: evenly spaced in the sorted list of dates."""


@dataclass(frozen=True, slots=True)
class DateRule:
    """A recipe's dates, ready to be applied."""

    distinct: int
    """Dates that differ."""
    repeat: int
    """How often each stands along T."""
    start: datetime
    """First moment, UTC."""
    end: datetime
    """Last moment, UTC."""
    cloud_max: float = CLOUD_MAX
    """Share of valid pixels under cloud, judged on the chip."""
    valid_min: float = VALID_MIN
    """Share of the chip with data."""
    spread: Spread = "season"
    """How dates are spread."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What the scene classification shows on a chip."""

    cloud: float
    """Share of valid pixels under cloud or its shadow, 0 to 1; NaN where nothing is valid."""
    valid: float
    """Share of the chip that has data, 0 to 1."""


@dataclass(frozen=True)
class Acquisition:
    """One pass over a chip, and the scenes that together show it."""

    when: datetime
    """Of its first scene, UTC."""
    scenes: tuple[Candidate, ...]
    """In the order in which they are laid: the first that has a valid pixel gives it."""
    sure: float
    """Share of the chip that is covered for certain, by geometry."""
    possible: float
    """Share that may be covered."""
    gap: str
    """What is certainly empty, in words."""

    @property
    def id(self) -> str:
        """Of its first scene."""
        return self.scenes[0].scene.item

    @property
    def orbit_state(self) -> str | None:
        """Of its first scene."""
        return self.scenes[0].scene.orbit_state

    @property
    def offsets(self) -> frozenset[int | None]:
        """DN on top of the pixels of its scenes."""
        return frozenset(c.scene.s2_offset_dn for c in self.scenes)


@dataclass(frozen=True)
class Choice:
    """Chosen acquisitions, or the reason why there are none."""

    chosen: tuple[Acquisition, ...]
    """In time order; empty where `why` is a refusal."""
    why: tuple[str, ...]
    """One reason a chosen acquisition; the refusal where none was chosen."""
    dropped: Mapping[str, int]
    """Acquisitions not taken, counted by reason."""


def date_rule(dates: Dates, start: datetime, end: datetime) -> DateRule | str:
    """A recipe's dates within an AOI's window; or, in words, why nothing can be searched for them.

    `dates.window` is read for a cloud limit (`cloud under 20 %`) and for `evenly spaced in the list`.
    """
    if dates.policy == "given":
        return "the recipe takes the dates that a chip comes with; there is nothing to search for"
    text = dates.window or ""
    limit = re.search(r"cloud\s*(?:under|<=?|up to)\s*(\d+(?:\.\d+)?)\s*%", text)
    single = dates.policy in ("one", "repeat")
    return DateRule(
        distinct=1 if single else dates.count,
        repeat=dates.count if dates.policy == "repeat" else 1,
        start=start,
        end=end,
        cloud_max=float(limit[1]) / 100 if limit else CLOUD_MAX,
        spread="list" if "in the list" in text else "season",
    )


def sight(scl: NDArray[np.integer]) -> Sight:
    """Cloud and data on a chip, from its scene classification (codes; 0 is nodata), any shape."""
    valid = scl != 0
    seen = int(valid.sum())
    share = float(np.isin(scl, CLOUDY).sum() / seen) if seen else math.nan
    return Sight(share, float(seen / scl.size) if scl.size else 0.0)


def ordered(candidates: Iterable[Candidate]) -> list[Candidate]:
    """By acquisition, tile and id: a server's order means nothing and changes between calls."""
    return sorted(candidates, key=lambda c: (c.scene.datetime, c.scene.tile or "", c.scene.item))


def deduplicated(candidates: Iterable[Candidate]) -> tuple[list[Candidate], dict[str, int]]:
    """One candidate for each platform, moment and tile: the newest processing.

    Returns:
        Candidates in time order; how many were dropped, `duplicate` (the same id twice) or
        `older processing`.
    """
    newest: dict[tuple[str, str, str], Candidate] = {}
    dropped: Counter[str] = Counter()
    for one in ordered(candidates):
        key = one.key if one.scene.tile or one.modality == "S1RTC" else (*one.key[:2], one.scene.item)
        other = newest.get(key)
        if other is None:
            newest[key] = one
            continue
        dropped["duplicate" if other.scene.item == one.scene.item else "older processing"] += 1
        newest[key] = max(one, other, key=_newness)
    return ordered(newest.values()), dict(dropped)


def _newness(one: Candidate) -> tuple[str, tuple[int, ...], str, str]:
    baseline = tuple(int(n) for n in re.findall(r"\d+", one.scene.baseline or ""))
    return one.processed, baseline, one.scene.updated or "", one.scene.item


def passes(candidates: Iterable[Candidate]) -> list[list[Candidate]]:
    """Scenes grouped by pass: one platform and orbit within `PASS` of the first, in time order."""
    groups: list[list[Candidate]] = []
    for one in ordered(candidates):
        for group in reversed(groups):
            first = group[0]
            near = one.when - first.when <= PASS
            same = (one.scene.platform or "").lower() == (first.scene.platform or "").lower()
            if near and same and one.scene.relative_orbit == first.scene.relative_orbit:
                group.append(one)
                break
        else:
            groups.append([one])
    return groups


def mosaic(group: Sequence[Candidate], grid: Grid) -> Acquisition | None:
    """The fewest scenes of a pass that fill a chip, most certain first.

    Scenes are laid one by one, each time the one that surely adds most; where two add the same, the
    one that may add more, then the one whose tile comes first. It ends when the chip is
    surely full or nothing is added; a scene that may only lie under others is not taken.

    Returns:
        None where no scene of the pass has a pixel on the chip.
    """
    left = [c for c in (cover(one, grid) for one in ordered(group)) if c.possible.any()]
    laid: list[Cover] = []
    sure, possible = union([], grid), union([], grid)
    while left and not sure.all():
        best = max(left, key=lambda c: (_adds(c.sure, sure), _adds(c.possible, sure), -left.index(c)))
        if not _adds(best.possible, sure):
            break
        left.remove(best)
        laid.append(best)
        sure, possible = sure | best.sure, possible | best.possible
    if not laid:
        return None
    scenes = tuple(c.candidate for c in laid)
    return Acquisition(min(c.when for c in scenes), scenes, float(sure.mean()), float(possible.mean()), gap(possible))


def _adds(mask: Mask, have: Mask) -> int:
    return int((mask & ~have).sum())


def static_mosaic(candidates: Iterable[Candidate], grid: Grid) -> Acquisition | None:
    """All rasters of a thing without dates (DEM, WorldCover) that reach a chip or the ring around it.

    The ring is one pixel of the raster wide, so that resampling at the chip's edge has neighbours.
    """
    near = [one for one in ordered(candidates) if touches(one, grid)]
    covers = [cover(one, grid) for one in near]
    if not covers:
        return None
    covers.sort(key=lambda c: -int(c.sure.sum()))
    mask = union([c.sure for c in covers], grid)
    scenes = tuple(c.candidate for c in covers)
    share = float(mask.mean())
    return Acquisition(scenes[0].when, scenes, share, share, gap(mask))


def complete(candidates: Iterable[Candidate], grid: Grid) -> tuple[list[Acquisition], dict[str, int]]:
    """Passes that leave no pixel of a chip certainly empty; the others counted by reason."""
    whole: list[Acquisition] = []
    dropped: Counter[str] = Counter()
    for group in passes(candidates):
        laid = mosaic(group, grid)
        if laid is None:
            dropped["no pixel on the chip"] += 1
        elif laid.possible < 1:
            dropped["part of the chip empty"] += 1
        else:
            whole.append(laid)
    return whole, dict(dropped)


def one_offset(acquisitions: Sequence[Acquisition]) -> tuple[list[Acquisition], dict[str, int]]:
    """Acquisitions that share one known Sentinel-2 offset, for recipes that feed raw DN.

    Kept is the offset that most have; where two have as many, the newer product's, +1000.
    """
    alike = [a for a in acquisitions if len(a.offsets) == 1 and None not in a.offsets]
    counts = Counter(next(iter(a.offsets)) for a in alike)
    if not counts:
        return [], {"offset unknown or mixed": len(acquisitions)} if acquisitions else {}
    kept = max(counts, key=lambda dn: (counts[dn], dn or 0))
    out = [a for a in alike if a.offsets == {kept}]
    dropped = {"offset unknown or mixed": len(acquisitions) - len(alike), "another offset": len(alike) - len(out)}
    return out, {reason: n for reason, n in dropped.items() if n}


def choose_dates(acquisitions: Sequence[Acquisition], sights: Mapping[str, Sight], rule: DateRule) -> Choice:
    """Choose a rule's dates.

    season: the window is cut into as many equal periods as dates are wanted; from each comes the
    date with least cloud on the chip, where two tie the one nearer to the period's middle. A period
    without a usable date gives its turn to the date that lies farthest from those chosen. list:
    dates at even places of the sorted list, first and last included.

    Args:
        acquisitions: Complete ones.
        sights: By acquisition id; one that is missing was not readable.
        rule: What is wanted.

    Returns:
        Exactly `rule.distinct` acquisitions in time order, or none and why.
    """
    dropped: Counter[str] = Counter()
    usable: list[Acquisition] = []
    for one in sorted(acquisitions, key=lambda a: (a.when, a.id)):
        reason = _unusable(one, sights.get(one.id), rule)
        if reason:
            dropped[reason] += 1
        else:
            usable.append(one)
    if len(usable) < rule.distinct:
        refusal = (
            f"{rule.distinct} dates are wanted, {len(usable)} of {len(acquisitions)} can be used ({_said(dropped)})"
        )
        return Choice((), (refusal,), dict(dropped))
    picked = _from_list(usable, rule) if rule.spread == "list" else _from_season(usable, sights, rule)
    dropped["not chosen"] += len(usable) - len(picked)
    chosen = tuple(one for one in usable if one.id in picked)
    why = tuple(
        f"{one.when.date()}: {picked[one.id]}; "
        f"cloud on the chip {sights[one.id].cloud:.1%} (limit {rule.cloud_max:.0%}), data {sights[one.id].valid:.1%}"
        for one in chosen
    )
    return Choice(chosen, why, {reason: n for reason, n in dropped.items() if n})


def _unusable(one: Acquisition, seen: Sight | None, rule: DateRule) -> str | None:
    if not rule.start <= one.when <= rule.end:
        return "outside the window"
    if seen is None:
        return "scene classification not readable"
    if not seen.valid >= rule.valid_min:
        return "too little data on the chip"
    if not seen.cloud <= rule.cloud_max:
        return "cloud on the chip"
    return None


def _said(dropped: Mapping[str, int]) -> str:
    return ", ".join(f"{n} {reason}" for reason, n in sorted(dropped.items())) or "none was found"


def _from_list(usable: list[Acquisition], rule: DateRule) -> dict[str, str]:
    """By acquisition id: why it was picked."""
    last, many = len(usable) - 1, rule.distinct
    places = [round(k * last / (many - 1)) for k in range(many)] if many > 1 else [last // 2]
    return {usable[p].id: f"place {p + 1} of {len(usable)} in the list" for p in places}


def _from_season(usable: list[Acquisition], sights: Mapping[str, Sight], rule: DateRule) -> dict[str, str]:
    """By acquisition id: why it was picked."""
    span = (rule.end - rule.start) / rule.distinct
    picked: list[Acquisition] = []
    why: dict[str, str] = {}
    idle: list[int] = []
    for number in range(rule.distinct):
        begin = rule.start + number * span
        last = number == rule.distinct - 1
        here = [a for a in usable if begin <= a.when and (a.when < begin + span or last)]
        if not here:
            idle.append(number + 1)
            continue
        middle = begin + span / 2
        best = min(here, key=lambda a: (sights[a.id].cloud, abs(a.when - middle), a.when, a.id))
        picked.append(best)
        why[best.id] = f"least cloud of {len(here)} dates in period {number + 1} of {rule.distinct}"
    for number in idle:
        free = [a for a in usable if a.id not in why]
        best = max(free, key=lambda a: (min((abs(a.when - p.when) for p in picked), default=timedelta()), a.id))
        picked.append(best)
        why[best.id] = f"farthest from the others, as period {number} of {rule.distinct} has no usable date"
    return why


def choose_passes(
    dates: Sequence[datetime], acquisitions: Sequence[Acquisition], window: timedelta = S1_WINDOW
) -> Choice:
    """Choose a Sentinel-1 pass for each date, all of one orbit direction.

    The direction is the one that serves every date within the window with the least time between,
    in sum; where two are alike, the first by name. An item that does not state its direction is
    not used: ascending and descending look at different walls.

    Returns:
        As many acquisitions as dates, in their order, or none and why.
    """
    by_state: dict[str, list[Acquisition]] = {}
    for one in sorted(acquisitions, key=lambda a: (a.when, a.id)):
        if one.orbit_state:
            by_state.setdefault(one.orbit_state.lower(), []).append(one)
    unknown = sum(1 for a in acquisitions if not a.orbit_state)
    dropped = {"orbit direction not stated": unknown} if unknown else {}
    ways: list[tuple[timedelta, str, list[Acquisition]]] = []
    short: list[str] = []
    for state, found in sorted(by_state.items()):
        nearest = [min(found, key=lambda a: (abs(a.when - date), a.when)) for date in dates]
        apart = [abs(a.when - date) for a, date in zip(nearest, dates, strict=True)]
        if all(gap <= window for gap in apart):
            ways.append((sum(apart, timedelta()), state, nearest))
        else:
            short.append(f"{state}: {max(apart).total_seconds() / 86400:.1f} days at worst")
    if not ways or not dates:
        said = "; ".join(short) or "no pass covers the chip"
        return Choice((), (f"no orbit direction has a pass within {window.days} days of every date ({said})",), dropped)
    _, state, nearest = min(ways, key=lambda way: (way[0], way[1]))
    why = tuple(
        f"{a.when.date()}: {state}, {abs(a.when - date).total_seconds() / 86400:.1f} days from {date.date()} "
        f"(window {window.days} days)"
        for a, date in zip(nearest, dates, strict=True)
    )
    left = len(acquisitions) - unknown - len({a.id for a in nearest})
    return Choice(tuple(nearest), why, {**dropped, **({"not chosen": left} if left else {})})


def day(text: str, end: bool = False) -> datetime:
    """A date such as `2024-04-01` as its first moment in UTC, or its last."""
    start = datetime.fromisoformat(text).replace(tzinfo=UTC)
    return start + timedelta(days=1, microseconds=-1) if end else start
