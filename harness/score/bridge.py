"""From one figure to another: how much of the gap each factor explains, and what nobody can say.

A bridge leads from A, a claim or a run, to B, a run. The factors are what differs between the two; each
combination of them was run (`corners`). Each gets its Shapley share, and the shares add up to the difference
of the two ends. What a published figure differs by from its own rerun is no share: it stays *unexplained*,
with a band of what other scenes would do. Nor is the luck of which scenes were drawn: of other scenes, what their
label shares do is a bar, and what is left of them a remainder with its band. Rules of 2026-11-21, judged in
docs/judged.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from harness.score.bars import (
    BEYOND,
    UNTESTABLE,
    Share,
    Verdict,
    parts_of,
    points,
    share_of,
    untestable,
    verdict_of,
    with_interval,
)
from harness.score.composition import composition
from harness.score.corners import Corner, Corners, Factor, Kind, UndefinedBridgeError
from harness.score.shapley import alone_weights, interactions, share_weights
from harness.score.tested import Scenes, Tested, holm, remainder, tested

__all__ = ["Bridge", "Corner", "Factor", "Kind", "Share", "UndefinedBridgeError", "bridge"]

RULES: Final = "2026-11-21, second"
"""Date of the rules below; the first of that day did not split a population."""

FLOOR: Final = 0.02
"""Smallest effect that is spoken of: 2 points. Smaller ones read *no detectable effect*, however sure."""

LEVEL: Final = 0.95
"""Confidence of intervals; 1 - LEVEL is the chance of any false accusation in one bridge."""


@dataclass(frozen=True)
class Bridge:
    """The chain from A to B."""

    metric: str
    """Name of the metric, e.g. `mIoU`, `iou[1]`."""
    start: float
    """Pooled metric with nothing switched: A as rerun here."""
    end: float
    """Pooled metric with everything switched: B."""
    shares: tuple[Share, ...]
    """In the order of the factors; effects sum to end - start."""
    interactions: tuple[tuple[str, str, float], ...]
    """What two factors do together beyond what each does (Shapley interaction index), largest first."""
    claimed: float | None
    """The published figure at A's end; None where A is a run."""
    unexplained: float | None
    """start - claimed: what a rerun at A's own settings does not meet. None without a claim."""
    band: tuple[float, float] | None
    """Sampling interval around `unexplained`; None without a claim or where `band_why` says so."""
    n: int
    """Clusters, those of all populations together."""
    verdict: Verdict
    """Whether the bridge tells where the gap comes from."""
    why: str
    """Reason for the verdict."""
    sentence: str
    """What was found, made of the numbers."""
    band_why: str = ""
    """What the band is, or why there is none."""
    unexplained_reading: str = ""
    """`unexplained` in words: beyond what other scenes would do, not beyond it, or why that is not known."""
    unexplained_beyond: bool = False
    """Whether `unexplained` is at least the floor and beyond what other scenes would do."""
    level: float = LEVEL
    """Confidence of the intervals and the band."""
    floor: float = FLOOR
    """Smallest effect that is spoken of."""
    rules: str = RULES
    """Date of the rules."""


def bridge(
    factors: Sequence[Factor],
    corners: Mapping[frozenset[str], Corner],
    metric: str,
    class_index: int | None,
    claimed: float | None = None,
    *,
    claim_scenes: Scenes = "others",
    claim_clusters: int | None = None,
    over: Sequence[int] | None = None,
    level: float = LEVEL,
    floor: float = FLOOR,
) -> Bridge:
    """Split a gap among factors.

    Args:
        factors: What differs between A and B, 1 to 6.
        corners: All 2^k sets of factor ids, those switched from A's setting to B's, with the matrices run at
            each: cluster id to matrix. Only a population brings other clusters.
        metric: As `clusters.metric`.
        class_index: For a metric of one class.
        claimed: The published figure at A's end.
        claim_scenes: Whether it was measured on the very scenes of A's end here; then no sampling lies
            between the two.
        claim_clusters: Scenes that it was measured on; None: assumed as many as here.
        over: For a mean over classes, which; None: those that the pooled matrices define, which must be the
            same at all combinations.
        level: Confidence.
        floor: Smallest effect that is spoken of, in units of the metric.

    Raises:
        ValueError: As `Corners`; a level outside 0..1, a floor or a number of scenes below 0, or a claim that is
            no finite number.
        UndefinedBridgeError: As `Corners`.
    """
    if not 0 < level < 1 or floor < 0:
        raise ValueError(f"level {level} and floor {floor}: 0 < level < 1 and floor >= 0 are needed")
    if claimed is not None and not math.isfinite(claimed):
        raise ValueError(f"claimed figure {claimed} is no number")
    if claim_clusters is not None and claim_clusters < 1:
        raise ValueError(f"a claim on {claim_clusters} scenes")
    if claim_scenes not in ("same", "others"):
        raise ValueError(f"claim_scenes {claim_scenes!r}; same or others")
    all_corners = Corners(factors, corners, metric, class_index, over)
    ids = [f.id for f in all_corners.factors]
    values = all_corners.values
    weights = share_weights(len(ids))
    effects = weights @ values
    spread = all_corners.spread(weights)
    found = [
        tested(float(value), float(error), float(df), spread.effective, level)
        for value, error, df in zip(effects, spread.error, spread.df, strict=True)
    ]
    rest = remainder(all_corners, claimed, claim_scenes, claim_clusters, level)
    split = {
        f.id: composition(all_corners, i, weights[i], level)
        for i, f in enumerate(all_corners.factors)
        if f.kind == "population"
    }
    halves = {i: (s.labels, s.rates) for i, s in split.items() if not isinstance(s, str)}
    family = holm([t.p for t in [*found, *(t for pair in halves.values() for t in pair), *([rest] if rest else [])]])
    ps = iter(family[len(ids) :])
    parts = {i: parts_of(pair, (next(ps), next(ps)), floor, level) for i, pair in halves.items()}
    first, last = alone_weights(len(ids))
    made = {
        f.id: replace(
            share_of(f, t, p, float(a), float(b), floor, level),
            parts=parts.get(f.id, ()),
            parts_why=why if isinstance(why := split.get(f.id), str) else "",
        )
        for f, t, p, a, b in zip(
            all_corners.factors, found, family[: len(ids)], first @ values, last @ values, strict=True
        )
    }
    shares = tuple(made[f.id] for f in factors)
    start, end = float(values[0]), float(values[-1])
    beyond = rest is not None and abs(rest.value) >= floor and _past(rest, family[-1], claim_scenes, level)
    reading = "" if rest is None else _reading(rest, family[-1], beyond, claim_scenes, floor, level)
    verdict, why = verdict_of(shares, len(all_corners.clusters), floor)
    unexplained = None if rest is None else rest.value
    band = None if rest is None or rest.half is None else (rest.value - rest.half, rest.value + rest.half)
    name = all_corners.metric.name
    return Bridge(
        metric=name,
        start=start,
        end=end,
        shares=shares,
        interactions=tuple((ids[i], ids[j], index) for i, j, index in interactions(values)),
        claimed=claimed,
        unexplained=unexplained,
        band=band,
        n=len(all_corners.clusters),
        verdict=verdict,
        why=why,
        sentence=_sentence(name, start, end, shares, claimed, unexplained, band, reading, verdict, why),
        band_why="" if rest is None else rest.why,
        unexplained_reading=reading,
        unexplained_beyond=beyond,
        level=level,
        floor=floor,
    )


def _past(rest: Tested, p: float | None, scenes: Scenes, level: float) -> bool:
    return scenes == "same" or (p is not None and p < 1 - level)


def _reading(rest: Tested, p: float | None, beyond: bool, scenes: Scenes, floor: float, level: float) -> str:
    """The remainder in words."""
    small = f"less than {100 * floor:g} points"
    if scenes == "same":
        return "on the same scenes, where no sampling lies between" if beyond else f"{small}, on the same scenes"
    if rest.half is None:
        return "whether other scenes would do that is not known: there is no band"
    if p is None:
        return "whether other scenes would do that is not known: the band is not useful"
    if beyond:
        return BEYOND
    return f"{small}, though {BEYOND}" if _past(rest, p, scenes, level) else f"not {BEYOND}"


def _sentence(
    metric: str,
    start: float,
    end: float,
    shares: Sequence[Share],
    claimed: float | None,
    unexplained: float | None,
    band: tuple[float, float] | None,
    reading: str,
    verdict: Verdict,
    why: str,
) -> str:
    gap = end - (start if claimed is None else claimed)
    if claimed is None:
        ends = f"{metric} {start:.4f} to {end:.4f}"
    else:
        ends = f"{metric} {claimed:.4f} claimed, {start:.4f} as rerun here at its settings, {end:.4f} at the other end"
    parts = []
    for share in sorted((s for s in shares if s.detectable), key=lambda s: -abs(s.effect)):
        parts.append(with_interval(f"{share.factor.id} explains", share))
    quiet_ones = [s for s in shares if not s.detectable]
    for share in quiet_ones:
        parts += [
            with_interval(f"of {share.factor.id} ({points(share.effect)}), {part.what} explain", part)
            for part in share.parts
            if part.established
        ]
    named = [s for s in quiet_ones if any(part.established for part in s.parts)]
    for words, of in (("no detectable effect of", False), (f"{UNTESTABLE}:", True)):
        quiet = [f"{s.factor.id} ({points(s.effect)})" for s in quiet_ones if s not in named and untestable(s) is of]
        if quiet:
            parts.append(f"{words} {', '.join(quiet)}")
    if unexplained is not None:
        within = "" if band is None else f" [{points(band[0])}, {points(band[1])}]"
        parts.append(f"{points(unexplained)} stays unexplained, {reading}{within}")
    said = f"{ends}: a gap of {points(gap)} points; {'; '.join(parts)}."
    if verdict == "cannot be told":
        return f"{said} Cannot be told: {why}."
    return said if verdict == "told" else f"{said} Told but for sampling: {why}."
