"""Effects and remainders held against their errors, and corrected for all that is looked at."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from harness.score.corners import Corners
from harness.score.interval import LIKE_THREE
from harness.score.resample import SAME, degrees
from harness.score.student import t_cdf, t_quantile

Scenes = Literal["same", "others"]
"""Scenes of a claimed figure: the very ones of the rerun at its end, or others like them."""


@dataclass(frozen=True)
class Tested:
    """A value with its error."""

    value: float
    """In units of the metric."""
    half: float | None
    """Half-width of its interval; None where there is none."""
    p: float | None
    """Two-sided p against 0, not corrected; None where the interval is missing or not useful."""
    why: str
    """Why there is no useful interval, or what it is; may be empty."""


def tested(value: float, error: float, df: float, effective: float, level: float) -> Tested:
    """A value against 0.

    Args:
        value: In units of the metric.
        error: Jackknife error; NaN where there is none, 0 where the clusters do not differ.
        df: Its degrees of freedom.
        effective: Clusters of equal weight that the clusters amount to.
        level: Confidence of the interval.
    """
    if math.isnan(error):
        return Tested(value, None, None, "no interval: one cluster, or the metric hangs on a single one")
    if error < SAME:
        same = "nothing changes in any cluster" if abs(value) < SAME else "all clusters change alike"
        return Tested(value, None, None, f"no interval: {same}, so their spread gives none")
    half = t_quantile((1 + level) / 2, df) * error
    if effective < LIKE_THREE:
        return Tested(value, half, None, f"the clusters weigh like {effective:.1f}: the interval is not useful")
    return Tested(value, half, 2 * (1 - t_cdf(abs(value) / error, df)), "")


def remainder(
    corners: Corners, claimed: float | None, scenes: Scenes, clusters: int | None, level: float
) -> Tested | None:
    """The first corner minus the claim, with the half-width of its band; None without a claim.

    Where the claim was measured on other scenes, its own sampling adds to ours. A card gives no variance, so
    each of its `clusters` scenes is taken to vary as one of ours does.
    """
    if claimed is None:
        return None
    value = float(corners.values[0]) - claimed
    if scenes == "same":
        return Tested(value, None, None, "no band: the same scenes, so that no sampling lies between the two")
    n = len(corners.at(0).ids)
    error, effective = corners.error_at(0)
    df = float(degrees(np.asarray(effective)))
    if math.isnan(error) or math.isnan(df) or error < SAME:
        return Tested(value, None, None, f"no band: {n} clusters say nothing of the spread between scenes")
    m = n if clusters is None else clusters
    error *= math.sqrt(1 + n / m)
    half = t_quantile((1 + level) / 2, df) * error
    many = f"{m} scenes" + ("" if clusters is not None else " (not stated, so assumed as many as here)")
    why = (
        f"{100 * level:g} % band: how far the figure of {many} may lie from that of the {n} here by sampling alone; "
        "the spread between the claim's scenes is assumed equal to ours"
    )
    if effective < LIKE_THREE:
        return Tested(value, half, None, f"{why}. Ours weigh like {effective:.1f}: the band is not useful")
    return Tested(value, half, 2 * (1 - t_cdf(abs(value) / error, df)), why)


def holm(ps: Sequence[float | None]) -> list[float | None]:
    """p-values corrected for all that was looked at (Holm 1979, Scandinavian Journal of Statistics 6, 65-70).

    The chance that any of them falls below alpha falsely is at most alpha, however they hang together. Those
    that are None count as looked at and stay None.
    """
    order = sorted((p, i) for i, p in enumerate(ps) if p is not None)
    out: list[float | None] = [None] * len(ps)
    highest = 0.0
    for rank, (p, i) in enumerate(order):
        highest = max(highest, min(1.0, (len(ps) - rank) * p))
        out[i] = highest
    return out
