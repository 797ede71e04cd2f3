"""Means over windows with their interval, and percentiles over calls, or why there are none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from harness.cost.energy import NotMeasured
from harness.score.student import t_quantile

LEVEL = 0.95
"""Of the intervals."""


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean over windows."""

    value: float
    """The mean."""
    low: float | None
    """Lower end of the 95 % Student interval; None with one window."""
    high: float | None
    """Upper end; None with one window."""
    n: int
    """Windows that entered."""
    of: int
    """Windows that were run."""


def mean(values: Sequence[float | NotMeasured]) -> Mean | NotMeasured:
    """Mean and interval over the windows that have a value.

    Returns:
        Not measured where no window has one, with the first reason.
    """
    known = [v for v in values if not isinstance(v, NotMeasured)]
    if not known:
        first = next((v for v in values if isinstance(v, NotMeasured)), None)
        return first or NotMeasured("no window was run")
    value = fmean(known)
    if len(known) == 1:
        return Mean(value, None, None, 1, len(values))
    half = t_quantile((1 + LEVEL) / 2, len(known) - 1) * stdev(known) / math.sqrt(len(known))
    return Mean(value, value - half, value + half, len(known), len(values))


def percentile(values: Sequence[float], percent: int) -> float | NotMeasured:
    """The nearest-rank percentile: the smallest value that `percent` % of all values do not exceed.

    Returns:
        Not measured where fewer than 100 / (100 - percent) values leave none above the rank.
    """
    if not 0 < percent < 100:
        raise ValueError(f"percentile {percent}: give 1 to 99")
    fewest = -(-100 // (100 - percent))
    if len(values) < fewest:
        return NotMeasured(f"p{percent} needs {fewest} calls; there were {len(values)}")
    return sorted(values)[-(-percent * len(values) // 100) - 1]


def variation(values: Sequence[float]) -> float:
    """Coefficient of variation: standard deviation over mean; 0 where all are 0.

    Raises:
        ValueError: Fewer than two values.
    """
    if len(values) < 2:
        raise ValueError("a coefficient of variation needs two values")
    centre = fmean(values)
    return stdev(values) / centre if centre else 0.0
