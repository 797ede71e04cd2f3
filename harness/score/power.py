"""How many scenes a question needs, from the spread between the scenes at hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.score.clusters import Estimand, Floats, StackMetric, effective_clusters, stacked
from harness.score.confusion import ConfusionMatrix
from harness.score.interval import interval
from harness.score.resample import NORMAL, SAME, estimate, leave_one_out, t_limits

MOST = 2_000
"""Scenes beyond which no answer is sought."""

SETS = 1_000
"""Simulated sets for each number of scenes: a probability of 0.8 is then known to 0.013."""

CELLS = 2_000_000
"""Matrix cells of leave-one-out sums held at once; 16 MB."""


@dataclass(frozen=True)
class Power:
    """Scenes needed so that the interval fits into the tolerance."""

    scenes: int | None
    """Fewest scenes found by simulation; None where MOST are too few, or the spread is not known."""
    by_formula: int | None
    """The same by the normal formula; None where the spread is not known."""
    reached: float | None
    """Simulated probability at `scenes`; None without."""
    spread: float | None
    """Standard deviation between scenes, in units of the metric: jackknife error x sqrt(n)."""
    tolerance: float
    """Half-width that the interval must fit into."""
    probability: float
    """Wanted."""
    why: str
    """What it rests on, or why there is no answer."""


def by_formula(spread: float, tolerance: float, probability: float, level: float = 0.95) -> int:
    """Scenes so that an interval lies within +- `tolerance` of the truth with `probability`.

    ((z(1 - (1 - probability)/2) + z((1 + level)/2)) x spread / tolerance)^2, rounded up: Schuirmann's
    test at a true difference of 0 under the normal distribution (Julious 2004, Statistics in Medicine
    23, 1921-1986; section not looked up). It knows no Student's t and is short by one or two where the
    answer is below 20.

    Raises:
        ValueError: `spread` or `tolerance` not above 0, or a probability or level outside 0..1.
    """
    _check(tolerance, probability, level)
    if not spread > 0:
        raise ValueError(f"spread {spread} must be above 0")
    both = NORMAL.inv_cdf((1 + probability) / 2) + NORMAL.inv_cdf((1 + level) / 2)
    return max(2, math.ceil((both * spread / tolerance) ** 2))


def scenes_needed(
    matrices: Sequence[ConfusionMatrix] | NDArray[np.integer[Any]],
    metric: StackMetric,
    estimand: Estimand,
    tolerance: float,
    probability: float = 0.8,
    level: float = 0.95,
    seed: int = 0,
) -> Power:
    """Scenes needed for an answer, if the scenes at hand are like those to come.

    Sets of N scenes are drawn from ours with replacement. The answer is the fewest N of which a share
    `probability` of sets has its t-interval within +- `tolerance` of our own value: a claim that is exactly
    right would then be confirmed. A claim that is off by something needs more.

    Args:
        matrices: Ours, one a cluster, as for `interval`; each scene of the plan weighs like these.
        metric: As for `interval`.
        estimand: As for `interval`.
        tolerance: In the metric's unit, above 0.
        probability: Wanted, e.g. 0.8 or 0.9.
        level: Confidence of the interval.
        seed: Of the drawn sets.

    Raises:
        ValueError: As `interval` and `by_formula`.
    """
    _check(tolerance, probability, level)
    ours = interval(matrices, metric, estimand, "jackknife_t" if estimand == "pooled" else "t", level)
    if ours.value is None or ours.error is None or ours.low is None or not ours.useful:
        return Power(None, None, None, None, tolerance, probability, f"no answer: {ours.why}")
    spread = ours.error * math.sqrt(ours.n)
    formula = by_formula(spread, tolerance, probability, level)
    stack = stacked(matrices)
    stack = stack[stack.sum((1, 2)) > 0]
    settled = metric.settled(stack.sum(0)) if estimand == "pooled" else metric
    if isinstance(settled, str):
        raise AssertionError(f"a value has one set of classes; got: {settled}")
    if estimand == "per_cluster":
        stack = stack[~np.isnan(metric.of(stack))]

    def share(scenes: int) -> float:
        return _share_within(stack, settled, estimand, scenes, tolerance, level, seed)

    why = f"from the spread {spread:.4f} between {ours.n} scenes, if those to come are like them and the claim is right"
    low, high = 1, min(max(formula, 2), MOST)
    while share(high) < probability:
        if high == MOST:
            return Power(None, formula, None, spread, tolerance, probability, f"more than {MOST:,} scenes, {why}")
        low, high = high, min(2 * high, MOST)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if share(middle) < probability else (low, middle)
    return Power(high, formula, share(high), spread, tolerance, probability, why)


def _share_within(
    stack: Floats, metric: StackMetric, estimand: Estimand, scenes: int, tolerance: float, level: float, seed: int
) -> float:
    """Share of sets of `scenes` drawn scenes whose t-interval lies within `tolerance` of the value of all."""
    rng = np.random.default_rng(seed)
    truth = float(estimate(stack, metric, estimand))
    at_once = max(1, CELLS // (scenes * stack.shape[-1] ** 2))
    within = 0
    for start in range(0, SETS, at_once):
        rows = rng.integers(len(stack), size=(min(at_once, SETS - start), scenes))
        drawn = stack[rows]
        weight = effective_clusters(drawn, metric, estimand)
        ends = t_limits(estimate(drawn, metric, estimand), leave_one_out(drawn, metric, estimand), weight, level)
        # A set without the class has no interval (NaN), one of a single scene drawn N times has no width.
        fits = (ends.low >= truth - tolerance) & (ends.high <= truth + tolerance) & (ends.high - ends.low > SAME)
        within += int(fits.sum())
    return within / SETS


def _check(tolerance: float, probability: float, level: float) -> None:
    if not tolerance > 0:
        raise ValueError(f"tolerance {tolerance} must be above 0")
    for name, value in (("probability", probability), ("level", level)):
        if not 0 < value < 1:
            raise ValueError(f"{name} {value} is not between 0 and 1")
