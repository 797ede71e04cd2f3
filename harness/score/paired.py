"""Two arms on the same chips: which is better, and by how much.

The test swaps the arms within clusters (Fisher 1935, The Design of Experiments, on Darwin's pairs;
section not looked up. Good 2005, Permutation, Parametric and Bootstrap Tests; not looked up): where the arms
do not differ, each cluster might as well have come the other way round, and the metric is computed anew from
the matrices so swapped.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from harness.score.clusters import Estimand, Floats, StackMetric, difference, stacked
from harness.score.confusion import ConfusionMatrix
from harness.score.interval import REPLICATES, Interval, of_stack
from harness.score.resample import SAME, estimate
from harness.score.simulated import Kind, Method

ENUMERATED = 14
"""Clusters up to which every one of the 2^n swaps is looked at."""

SWAPS = 20_000
"""Random swaps above that: a p of 0.05 is then known to 0.0015."""

BLOCK = 4_096
"""Swaps computed together."""

ALPHA = 0.05
"""The p-value that a reader looks for; named where no result can reach it."""


@dataclass(frozen=True)
class Paired:
    """Second arm against first."""

    first: float | None
    """The first arm's value; None where undefined."""
    second: float | None
    """The second arm's value."""
    difference: Interval
    """Second minus first, with the interval over the same clusters."""
    p: float | None
    """Two-sided: share of swaps whose difference is at least as far from 0; None where undefined."""
    exact: bool
    """True: every swap was looked at. False: random swaps, the observed one counted among them."""
    swaps: int
    """Swaps that p rests on; 0 where there is none."""
    undefined: int
    """Swaps that had no value; they count as far from 0, so that p is never too small."""
    smallest: float
    """The smallest p that so many clusters can reach."""
    why: str
    """What p says or cannot say."""


def paired(
    first: Sequence[ConfusionMatrix] | NDArray[np.integer[Any]],
    second: Sequence[ConfusionMatrix] | NDArray[np.integer[Any]],
    metric: StackMetric,
    estimand: Estimand,
    method: Method | Literal["best"] = "best",
    level: float = 0.95,
    seed: int = 0,
    same_labels: bool = True,
    replicates: int = REPLICATES,
) -> Paired:
    """Compare two arms cluster by cluster.

    Args:
        first: One arm's matrices, one a cluster, pixels.
        second: The other arm's on the same clusters in the same order.
        metric: From `clusters.metric`.
        estimand: `pooled`: the metric of the pooled matrix after each swap; `per_cluster`: the mean of
            the clusters' own differences, over clusters that define both.
        method: Of the difference's interval, as in `interval`.
        level: Confidence of the interval.
        seed: Of bootstrap and random swaps.
        same_labels: Refuse arms whose label pixels differ in a cluster: on the same chips they are
            equal. False where the arms are two labels or two schemes.
        replicates: Bootstrap resamples.

    Raises:
        ValueError: As `interval`; another number of clusters or classes, or other label pixels.
    """
    a, b = stacked(first), stacked(second)
    if a.shape != b.shape:
        raise ValueError(f"arms of shape {a.shape} and {b.shape} (clusters, K, K): not the same chips and scheme")
    if same_labels and (unlike := np.flatnonzero((a.sum(-1) != b.sum(-1)).any(-1))).size:
        raise ValueError(
            f"cluster {int(unlike[0])} has label pixels {a[unlike[0]].sum(-1).astype(int).tolist()} in one arm and "
            f"{b[unlike[0]].sum(-1).astype(int).tolist()} in the other: not the same chips, or another order"
        )
    pairs = np.stack([a, b], axis=1)
    minus = difference(metric)
    kind: Kind = "pooled difference" if estimand == "pooled" else "per_cluster difference"
    between = of_stack(pairs, minus, estimand, kind, method, level, seed, replicates)
    used = pairs[pairs.sum((1, 2, 3)) > 0]
    if estimand == "per_cluster":
        used = used[~np.isnan(minus.of(used))]
    n = len(used)
    smallest = 2.0 ** (1 - n) if 0 < n <= ENUMERATED else 1 / (SWAPS + 1) if n else 1.0
    if between.value is None:
        return Paired(None, None, between, None, False, 0, 0, smallest, between.why)
    settled = metric.settled(used.sum(0)) if estimand == "pooled" else metric
    if isinstance(settled, str):
        raise AssertionError(f"a difference with a value has one set of classes; got: {settled}")
    values = [float(estimate(used[:, arm], settled, estimand)) for arm in (0, 1)]
    p, swaps, undefined = _p(used, settled, estimand, np.random.default_rng(seed))
    return Paired(
        values[0],
        values[1],
        between,
        p,
        n <= ENUMERATED,
        swaps,
        undefined,
        smallest,
        _why(n, swaps, undefined, smallest),
    )


def _p(used: Floats, metric: StackMetric, estimand: Estimand, rng: np.random.Generator) -> tuple[float, int, int]:
    """p, swaps looked at, and how many of them had no value. `used` is (n, 2, K, K)."""
    n = len(used)
    used = used[np.lexsort(used.reshape(n, -1).T)]
    observed = abs(float(_swapped(used, metric, estimand, np.zeros((1, n), np.bool_))[0]))
    far = undefined = 0
    if n <= ENUMERATED:
        # Swapping all clusters turns the sign and no more, so the first cluster may stay as it is.
        patterns = np.array(list(itertools.product([False, True], repeat=n - 1)), dtype=np.bool_).reshape(
            1 << n - 1, n - 1
        )
        swaps = len(patterns)
        blocks = [np.hstack([np.zeros((swaps, 1), np.bool_), patterns])]
    else:
        swaps = SWAPS
        sizes = [min(BLOCK, SWAPS - start) for start in range(0, SWAPS, BLOCK)]
        blocks = [rng.random((size, n)) < 0.5 for size in sizes]
    for block in blocks:
        found = np.abs(_swapped(used, metric, estimand, block))
        missing = np.isnan(found)
        undefined += int(missing.sum())
        far += int((missing | (found >= observed - SAME)).sum())
    if n <= ENUMERATED:
        return far / swaps, 2 * swaps, 2 * undefined
    # The observed order is one of the possible ones: Davison and Hinkley (1997), p. 158.
    return (far + 1) / (swaps + 1), swaps, undefined


def _swapped(used: Floats, metric: StackMetric, estimand: Estimand, swap: NDArray[np.bool_]) -> Floats:
    """Difference of the arms under each pattern; `swap` is (B, n), the result (B,)."""
    if estimand == "per_cluster":
        own = metric.of(used[:, 1]) - metric.of(used[:, 0])
        out: Floats = np.where(swap, -1.0, 1.0) @ own / len(used)
        return out
    total, apart = used.sum(0), used[:, 1] - used[:, 0]
    k = used.shape[-1]
    moved = (swap.astype(np.float64) @ apart.reshape(len(used), -1)).reshape(-1, k, k)
    return metric.of(total[1] - moved) - metric.of(total[0] + moved)


def _why(n: int, swaps: int, undefined: int, smallest: float) -> str:
    if n <= ENUMERATED:
        said = f"all 2^{n} = {swaps:,} ways of swapping the arms within {n} clusters"
    else:
        said = f"{swaps:,} random swaps of the arms within {n} clusters"
    if undefined:
        said += f"; {undefined:,} of them had no value and count as far from 0"
    if smallest > ALPHA:
        least = math.ceil(1 - math.log2(ALPHA))
        said += (
            f". With {n} clusters p cannot fall below {smallest:g}: {ALPHA} is out of reach; it needs {least} clusters"
        )
    return said
