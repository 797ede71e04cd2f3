"""A value over clusters with its interval, or the reason why there is none.

Which method is used for how many clusters was decided by simulation (docs/coverage.md), and the
simulated coverage stands in every interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from harness.score.clusters import Estimand, Floats, StackMetric, effective_clusters, stacked
from harness.score.confusion import ConfusionMatrix
from harness.score.resample import (
    SAME,
    Limits,
    bca_limits,
    cluster_values,
    degrees,
    draw_weights,
    estimate,
    jackknife_error,
    leave_one_out,
    percentile_limits,
    replicate,
    t_limits,
)
from harness.score.simulated import Kind, Method, best, coverage, methods, simulated, told

REPLICATES = 4_000
"""Bootstrap resamples; the ends of a 95 % interval then move by some 3 % of its width with the seed."""

FEWEST_REPLICATES = 1_000
"""Below this the ends of a 95 % interval rest on fewer than 25 resamples."""

FEW = 10
"""Below so many clusters each cluster is shown, and the interval is called rough."""

LIKE_THREE = 2.5
"""Clusters that weigh like fewer are hardly more than two, and two give no useful interval."""

UNDEFINED_MOST = 0.05
"""Share of resamples without a value above which the others are no picture of the whole."""


@dataclass(frozen=True)
class Interval:
    """One value, what supports it, and what is not known about it."""

    value: float | None
    """The estimand's value; None where undefined."""
    low: float | None
    """Lower end; None where there is no interval."""
    high: float | None
    """Upper end; None where there is no interval."""
    useful: bool
    """Whether a conclusion may rest on the interval; False also where there is none."""
    method: Method | None
    """How the interval was made; None where there is none."""
    estimand: Estimand
    """What is estimated."""
    level: float
    """Confidence, e.g. 0.95."""
    n: int
    """Clusters that entered."""
    clusters: tuple[float | None, ...]
    """Each cluster's own metric in the order given; None where undefined. To be shown where n < FEW."""
    coverage_simulated: float | None
    """Lowest simulated coverage of this method at this many clusters; None where not simulated, for the number, the
    level or the metric."""
    effective: float | None
    """Clusters of equal weight that they amount to; None where there is no value. See `effective_clusters`."""
    error: float | None
    """Jackknife standard error, in units of the metric; None where n < 2 or undefined."""
    replicates: int
    """Bootstrap resamples; 0 for the t-intervals."""
    undefined: int
    """Resamples that had no value and were left out."""
    why: str
    """What the interval is, or why there is none, in one or two sentences."""

    @property
    def df(self) -> float | None:
        """Degrees of freedom of the jackknife error; None where there are too few to speak of."""
        df = math.nan if self.effective is None else float(degrees(np.asarray(self.effective)))
        return None if math.isnan(df) else df

    def text(self, digits: int = 4) -> str:
        """Value and interval in one line: `0.5866 [0.5601, 0.6131]`, with `(not useful)` where it is not."""
        if self.value is None:
            return "undefined"
        if self.low is None or self.high is None:
            return f"{self.value:.{digits}f}, no interval"
        ends = f"{self.value:.{digits}f} [{self.low:.{digits}f}, {self.high:.{digits}f}]"
        return ends if self.useful else f"{ends} (not useful)"


def interval(
    matrices: Sequence[ConfusionMatrix] | NDArray[np.integer[Any]],
    metric: StackMetric,
    estimand: Estimand,
    method: Method | Literal["best"] = "best",
    level: float = 0.95,
    seed: int = 0,
    replicates: int = REPLICATES,
) -> Interval:
    """Value and interval over clusters.

    A cluster without a counted pixel is no cluster. Pooled means over classes are over the classes
    that the pooled matrix defines, in every resample; means over clusters are of what each cluster
    itself defines, over the clusters that define anything. The order of clusters changes nothing.

    Args:
        matrices: One a cluster: matrices, or an integer array (n, K, K), pixels.
        metric: From `clusters.metric` or `clusters.each`.
        estimand: `pooled` or `per_cluster`.
        method: As `simulated.methods` allows for the estimand; `best` is decided by simulation.
        level: Confidence.
        seed: Of the bootstrap.
        replicates: Bootstrap resamples, 2,000 to 10,000 as a rule.

    Returns:
        Without an interval where there is one cluster or where the metric hangs on a single one.
        With two clusters the interval is given and not useful.

    Raises:
        ValueError: As `stacked`; a level outside 0..1, a method that is not of the estimand, fewer
            than FEWEST_REPLICATES resamples, or a class that the matrices do not have.
    """
    stack = stacked(matrices)
    return of_stack(stack, metric, estimand, estimand, method, level, seed, replicates)


def of_stack(
    stack: Floats,
    metric: StackMetric,
    estimand: Estimand,
    kind: Kind,
    method: Method | Literal["best"],
    level: float,
    seed: int,
    replicates: int,
) -> Interval:
    """As `interval`, of checked cells (n, ..., K, K); `kind` says which simulation speaks for it."""
    if not 0 < level < 1:
        raise ValueError(f"level {level} is not between 0 and 1; 0.95 is usual")
    if estimand not in ("pooled", "per_cluster"):
        raise ValueError(f"estimand {estimand!r}; pooled or per_cluster")
    if method != "best" and method not in methods(estimand):
        raise ValueError(f"method {method!r} for {estimand}; {', '.join(methods(estimand))} or best")
    if replicates < FEWEST_REPLICATES:
        raise ValueError(f"{replicates} resamples; {FEWEST_REPLICATES:,} or more are needed")
    cell = stack.ndim - 1
    own = cluster_values(stack, metric, cell)
    shown = tuple(None if math.isnan(v) else float(v) for v in own)

    def none(value: float | None, n: int, why: str, error: float | None = None, undefined: int = 0) -> Interval:
        drawn = replicates if undefined else 0
        weight = None if value is None else float(effective_clusters(stack, metric, estimand, cell))
        return Interval(
            value, None, None, False, None, estimand, level, n, shown, None, weight, error, drawn, undefined, why
        )

    counted = stack.sum(tuple(range(1, stack.ndim))) > 0
    stack = stack[counted & ~np.isnan(own)] if estimand == "per_cluster" else stack[counted]
    n = len(stack)
    if not n:
        return none(None, 0, "no cluster has a value")
    settled = metric.settled(stack.sum(0)) if estimand == "pooled" else metric
    if isinstance(settled, str):
        return none(None, n, settled)
    stack = stack[np.lexsort(stack.reshape(n, -1).T)]  # one order, whatever order they came in
    value = float(estimate(stack, settled, estimand, cell))
    if math.isnan(value):
        return none(None, n, f"{metric.name} is undefined on the pooled pixels")
    if n == 1:
        return none(value, 1, "one cluster: nothing is known about the spread between clusters")
    left_out = leave_one_out(stack, settled, estimand, cell)
    if np.isnan(left_out).any():
        return none(value, n, f"{metric.name} is undefined without one of the {n} clusters: it hangs on that one alone")
    error = float(jackknife_error(left_out))
    effective = effective_clusters(stack, settled, estimand, cell)
    if error < SAME:
        return none(value, n, f"all {n} clusters say the same: their spread gives no interval", error)
    chosen = best(kind, n) if method == "best" else method
    undefined = 0
    if chosen in ("t", "jackknife_t"):
        ends = t_limits(np.asarray(value), left_out, effective, level)
    else:
        drawn = replicate(stack, draw_weights(np.random.default_rng(seed), n, replicates), settled, estimand, cell)
        undefined = int(np.isnan(drawn).sum())
        if undefined > UNDEFINED_MOST * replicates:
            why = f"{metric.name} is undefined in {undefined:,} of {replicates:,} resamples: too few clusters hold it"
            return none(value, n, why, error, undefined)
        ends = (
            percentile_limits(drawn, level)
            if chosen == "percentile"
            else bca_limits(drawn, np.asarray(value), left_out, level)
        )
    low, high = _within(ends, metric)
    if not low - SAME <= value <= high + SAME:  # NaN, too
        why = (
            f"the {chosen} interval of {n} clusters that weigh like {float(effective):.1f} has no ends around the value"
        )
        return none(value, n, why, error, undefined)
    unlike = None if simulated(kind, metric.name) else metric.name
    known = told(kind, chosen, n) if unlike is None and math.isclose(level, coverage().level) else None
    return Interval(
        value=value,
        low=min(low, value),
        high=max(high, value),
        useful=float(effective) >= LIKE_THREE,
        method=chosen,
        estimand=estimand,
        level=level,
        n=n,
        clusters=shown,
        coverage_simulated=None if known is None else known.coverage,
        effective=float(effective),
        error=error,
        replicates=0 if chosen in ("t", "jackknife_t") else replicates,
        undefined=undefined,
        why=_what_it_is(
            n, float(effective), chosen, level, None if known is None else (known.coverage, known.clusters), unlike
        ),
    )


def _within(ends: Limits, metric: StackMetric) -> tuple[float, float]:
    low, high = float(ends.low), float(ends.high)
    if metric.lo is not None and low < metric.lo:
        low = metric.lo
    if metric.hi is not None and high > metric.hi:
        high = metric.hi
    return low, high


NAMES: dict[Method, str] = {
    "percentile": "percentile cluster bootstrap",
    "bca": "BCa cluster bootstrap",
    "jackknife_t": "delete-one jackknife with Student's t",
    "t": "Student's t over clusters",
}
"""Methods in words."""


def _what_it_is(
    n: int, effective: float, method: Method, level: float, known: tuple[float, int] | None, unlike: str | None
) -> str:
    held = f"its coverage at {100 * level:g} % was not simulated"
    if unlike is not None:
        held = f"its coverage was not simulated for {unlike}"
    if known is not None:
        share, clusters = known
        held = f"in simulation it held the truth in {100 * share:.1f} % of samples of {clusters}, in the worst case"
    said = f"{100 * level:g} % interval, {NAMES[method]}, {n} clusters; {held}"
    if n == 2:
        return f"{said}. Two clusters give no useful interval: at most one degree of freedom; look at both values"
    if effective < LIKE_THREE:
        return f"{said}. They weigh like {effective:.1f}, because few of them hold most pixels: no useful interval"
    if n < FEW:
        return f"{said}. Rough: fewer than {FEW} clusters; look at each cluster's value"
    return said
