"""What paired seconds say: a ratio with its interval, and how seconds grow.

The interval is Student's on the logarithms of the paired ratios: turns meet the same load, so a ratio
within a pair is steadier than either way's seconds, and logarithms treat twice and half alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from harness.cost.statistics import LEVEL
from harness.score.student import t_quantile

METHOD = "geometric mean of the paired ratios; 95 % Student interval on their logarithms"
"""What stands beside every ratio."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its interval."""

    value: float
    """The figure."""
    low: float
    """Lower end."""
    high: float
    """Upper end."""
    n: int
    """Pairs or points that it rests on."""


def paired_ratio(dividend: Sequence[float], divisor: Sequence[float], level: float = LEVEL) -> Estimate:
    """How many times the divisor the dividend takes, pair by pair.

    Raises:
        ValueError: Fewer than two pairs, unequal lengths, or seconds that are not above 0.
    """
    if len(dividend) != len(divisor) or len(dividend) < 2:
        raise ValueError(f"{len(dividend)} and {len(divisor)} seconds: give two pairs or more")
    if min(*dividend, *divisor) <= 0:
        raise ValueError("seconds are above 0")
    logs = [math.log(a / b) for a, b in zip(dividend, divisor, strict=True)]
    return _of_logs(fmean(logs), stdev(logs) / math.sqrt(len(logs)), len(logs) - 1, len(logs), level)


def geometric_mean(seconds: Sequence[float], level: float = LEVEL) -> Estimate:
    """Geometric mean with Student's interval on the logarithms.

    Raises:
        ValueError: As `paired_ratio`.
    """
    return paired_ratio(seconds, [1.0] * len(seconds), level)


def ratio_of_means(after: Sequence[float], before: Sequence[float], level: float = LEVEL) -> Estimate:
    """Geometric mean of the one over that of the other, of two independent series; Welch's interval on logarithms.

    Args:
        after: Positive figures: seconds, or paired ratios.
        before: As many or not.
        level: Of the interval.

    Raises:
        ValueError: Fewer than two figures on a side, or one that is not above 0.
    """
    if min(len(after), len(before)) < 2 or min(*after, *before) <= 0:
        raise ValueError("two figures or more on each side, all above 0")
    a, b = [math.log(v) for v in after], [math.log(v) for v in before]
    va, vb = stdev(a) ** 2 / len(a), stdev(b) ** 2 / len(b)
    error = math.sqrt(va + vb)
    # Welch and Satterthwaite's degrees of freedom; 1 where nothing varies, which changes nothing then
    freedom = (va + vb) ** 2 / (va**2 / (len(a) - 1) + vb**2 / (len(b) - 1)) if error > 0 else 1.0
    return _of_logs(fmean(a) - fmean(b), error, freedom, min(len(a), len(b)), level)


def _of_logs(centre: float, error: float, freedom: float, n: int, level: float) -> Estimate:
    half = t_quantile((1 + level) / 2, freedom) * error
    return Estimate(math.exp(centre), math.exp(centre - half), math.exp(centre + half), n)


def slope(x: Sequence[float], y: Sequence[float], level: float = LEVEL) -> Estimate:
    """Slope of the least-squares line through points, with Student's interval.

    Raises:
        ValueError: Fewer than three points, or no two different x.
    """
    if len(x) != len(y) or len(x) < 3 or len(set(x)) < 2:
        raise ValueError("a slope needs three points at two places or more")
    mx, my = fmean(x), fmean(y)
    sxx = sum((v - mx) ** 2 for v in x)
    b = sum((v - mx) * (w - my) for v, w in zip(x, y, strict=True)) / sxx
    rest = sum((w - my - b * (v - mx)) ** 2 for v, w in zip(x, y, strict=True))
    half = t_quantile((1 + level) / 2, len(x) - 2) * math.sqrt(rest / (len(x) - 2) / sxx)
    return Estimate(b, b - half, b + half, len(x))


def exponent(x: Sequence[float], y: Sequence[float], level: float = LEVEL) -> Estimate:
    """The power of x with which y grows: the slope of the logarithms.

    Raises:
        ValueError: As `slope`, or a number that is not above 0.
    """
    if min(*x, *y) <= 0:
        raise ValueError("a power needs numbers above 0")
    return slope([math.log(v) for v in x], [math.log(v) for v in y], level)
