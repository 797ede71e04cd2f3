"""Is a measured value the claimed one, to within a tolerance? Rules of 2026-11-21, set before any run.

Two one-sided tests (Schuirmann 1987, J. Pharmacokinetics and Biopharmaceutics 15(6), 657-680): equivalent at
alpha where the interval at level 1 - 2 alpha lies within the tolerance. A 95 % interval therefore
tests at 2.5 %, more strictly than the usual 5 %, which is a 90 % interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from harness.score.clusters import Estimand, StackMetric
from harness.score.confusion import ConfusionMatrix
from harness.score.interval import Interval, interval
from harness.score.student import t_cdf, t_quantile

RULES = "2026-11-21"
"""Date of the rules below."""

Found = Literal["equivalent", "different", "undecided"]
"""equivalent: the interval lies within the tolerance; different: it lies outside on one side;
undecided: it crosses an end, or there is no useful interval."""

ASSUMED = "the spread between the other set's scenes is assumed equal to ours, because its card gives none"
"""What a prediction interval rests on; to be printed beside it."""


@dataclass(frozen=True)
class Equivalence:
    """What an interval says about a claimed value."""

    found: Found
    """The finding."""
    difference: float | None
    """Measured minus claimed; None where nothing was measured."""
    tolerance: float
    """Half-width around the claimed value, rounding included."""
    alpha: float
    """Level of each one-sided test that `found` amounts to: (1 - level) / 2."""
    p: float | None
    """Larger p of the two one-sided t-tests on the jackknife error; None where there is no error."""
    why: str
    """The rule that led to it."""


@dataclass(frozen=True)
class Prediction:
    """Where the value of another set of scenes is to be expected."""

    value: float | None
    """Our value."""
    low: float | None
    """Lower end; None where there is no such interval."""
    high: float | None
    """Upper end."""
    n: int
    """Our clusters."""
    m: int
    """Clusters of the other set."""
    level: float
    """Share of such other sets that should lie within."""
    why: str
    """What it assumes, or why there is none."""

    def holds(self, claimed: float) -> bool | None:
        """Whether the claimed value lies within, so that the two do not disagree; None without an interval."""
        return None if self.low is None or self.high is None else self.low <= claimed <= self.high

    def overlaps(self, low: float, high: float) -> bool:
        """Whether any value of low..high, a printed figure's rounding interval, lies within; False without one."""
        return self.low is not None and self.high is not None and self.low <= high and low <= self.high


def tost(value: float, error: float, df: float, claimed: float, tolerance: float) -> float:
    """Schuirmann's p: the larger of two one-sided t-tests, against `claimed` - and + `tolerance`.

    Args:
        value: Measured.
        error: Its standard error, above 0.
        df: Degrees of freedom of the error.
        claimed: What it is held against.
        tolerance: Half-width that still counts as equal, above 0.

    Raises:
        ValueError: `error` or `tolerance` is not above 0, or `df` as `t_cdf` says.
    """
    if not error > 0 or not tolerance > 0:
        raise ValueError(f"error {error} and tolerance {tolerance}: both must be above 0")
    apart = value - claimed
    return max(t_cdf((apart - tolerance) / error, df), t_cdf((-apart - tolerance) / error, df))


def equivalence(measured: Interval, claimed: float, tolerance: float, rounding: float = 0.0) -> Equivalence:
    """Hold an interval against a claimed value.

    Args:
        measured: From `interval`, or the difference of a paired comparison with `claimed` 0.
        claimed: The claimed value, in the metric's unit.
        tolerance: Half-width around it that was set before the run, above 0.
        rounding: Half a unit of the claim's last printed place, added to the tolerance; 0 or more.

    Raises:
        ValueError: A tolerance that is not above 0, or a negative rounding.
    """
    if not tolerance > 0 or not rounding >= 0:
        raise ValueError(f"tolerance {tolerance} must be above 0, rounding {rounding} not below")
    wide = tolerance + rounding
    alpha = (1 - measured.level) / 2
    apart = None if measured.value is None else measured.value - claimed
    p = None
    if measured.value is not None and measured.error and measured.df is not None:
        p = tost(measured.value, measured.error, measured.df, claimed, wide)

    def say(found: Found, why: str) -> Equivalence:
        return Equivalence(found, apart, wide, alpha, p, why)

    if measured.low is None or measured.high is None or not measured.useful:
        return say("undecided", f"no useful interval: {measured.why}")
    ends = f"{100 * measured.level:g} % interval [{measured.low:.4f}, {measured.high:.4f}]"
    band = f"{claimed:.4f} +- {wide:.4f}"
    if claimed - wide <= measured.low and measured.high <= claimed + wide:
        return say("equivalent", f"the {ends} lies within {band} (two one-sided tests at {100 * alpha:g} %)")
    if measured.high < claimed - wide or measured.low > claimed + wide:
        return say("different", f"the {ends} lies outside {band}")
    return say("undecided", f"the {ends} crosses an end of {band}")


def prediction(
    matrices: Sequence[ConfusionMatrix] | NDArray[np.integer[Any]],
    metric: StackMetric,
    estimand: Estimand,
    m: int,
    level: float = 0.95,
) -> Prediction:
    """Where the value of `m` other scenes of the same population should lie.

    Value +- t x s x sqrt(1/n + 1/m), where s is the spread between scenes: the jackknife error times
    sqrt(n), and t has the degrees of freedom of our interval, n - 1 for a mean (Hahn and Meeker 1991,
    Statistical Intervals, for a mean of m; section not looked up).

    Args:
        matrices: Ours, one a cluster, as for `interval`.
        metric: As for `interval`.
        estimand: As for `interval`.
        m: Scenes behind the other value, 1 or more.
        level: Share of such sets that should lie within.

    Raises:
        ValueError: As `interval`, or `m` below 1.
    """
    if m < 1:
        raise ValueError(f"{m} scenes of another set; 1 or more are needed, from the card")
    ours = interval(matrices, metric, estimand, "jackknife_t" if estimand == "pooled" else "t", level)
    if ours.value is None or ours.error is None or ours.df is None or not ours.useful:
        return Prediction(ours.value, None, None, ours.n, m, level, f"no prediction: {ours.why}")
    return predicted(ours.value, ours.error, ours.df, ours.n, m, level, metric.lo, metric.hi)


def predicted(
    value: float,
    error: float,
    df: float,
    n: int,
    m: int,
    level: float = 0.95,
    lo: float | None = None,
    hi: float | None = None,
) -> Prediction:
    """As `prediction`, from a jackknife error that is on record.

    Args:
        value: Ours.
        error: Its jackknife standard error, 0 or more.
        df: Degrees of freedom of the error.
        n: Our clusters.
        m: Clusters of the other set, 1 or more.
        level: Share of such sets that should lie within.
        lo: Smallest possible value.
        hi: Largest possible value.
    """
    half = t_quantile((1 + level) / 2, df) * error * math.sqrt(1 + n / m)
    low, high = value - half, value + half
    if lo is not None:
        low = max(low, lo)
    if hi is not None:
        high = min(high, hi)
    why = f"{100 * level:g} % prediction for {m} scenes from our {n}; {ASSUMED}"
    return Prediction(value, low, high, n, m, level, why)
