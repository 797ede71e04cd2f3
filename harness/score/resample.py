"""Resampling of clusters: bootstrap replicates, leave-one-out values, and the limits made of them.

Every function takes leading axes, so that a simulation runs thousands of worlds through the very
code that gives the intervals. The cells of a cluster are K x K, or 2 x K x K for two arms.

Sources: Efron and Tibshirani (1993), An Introduction to the Bootstrap (percentile, jackknife standard
error; sections not looked up); Efron (1987), Better bootstrap confidence intervals, JASA 82 (BCa, acceleration
from the jackknife; volume not looked up); Field and Welsh (2007), Bootstrapping clustered data, JRSS B
69(3), 369-390 (whole clusters are drawn); Tukey (1958), Bias and confidence in not quite large samples,
Ann. Math. Stat. 29(2), 614 (jackknife standard error).
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from harness.score.clusters import Estimand, Floats, StackMetric
from harness.score.student import t_quantile

NORMAL = NormalDist()
"""Mean 0, standard deviation 1."""

TENTHS = 10
"""Steps of one degree of freedom; rounding down widens an interval by a few per cent of itself at most."""

FEWEST_DF = 0.3
"""Fewer degrees of freedom give no interval: its width would be thousands of standard errors."""

SAME = 1e-12
"""Values closer than this differ by rounding of floats alone."""


class Limits(NamedTuple):
    """Ends of an interval, each with the leading axes of what it was made of; NaN where there is none."""

    low: Floats
    """Lower end."""
    high: Floats
    """Upper end."""


def draw_weights(rng: np.random.Generator, n: int, replicates: int) -> Floats:
    """How often each of `n` clusters is in each resample of `n` clusters; shape (replicates, n)."""
    return rng.multinomial(n, np.full(n, 1 / n), size=replicates).astype(np.float64)


def cluster_values(stack: Floats, metric: StackMetric, cell: int = 2) -> Floats:
    """Each cluster's own metric.

    Args:
        stack: (..., n, cells).
        metric: Of one cluster's cells.
        cell: Axes of the cells: 2 for K x K, 3 for two arms.

    Returns:
        (..., n); NaN where undefined.

    Raises:
        ValueError: The metric does not make one value of each cluster.
    """
    values = metric.of(stack)
    if values.shape != stack.shape[:-cell]:
        raise ValueError(f"metric {metric.name} made {values.shape} of {stack.shape}, not {stack.shape[:-cell]}")
    return values


def estimate(stack: Floats, metric: StackMetric, estimand: Estimand, cell: int = 2) -> Floats:
    """The estimand's value; shape (..., n, cells) to (...). NaN where undefined, also in one cluster."""
    if estimand == "pooled":
        return metric.of(stack.sum(-cell - 1))
    out: Floats = cluster_values(stack, metric, cell).mean(-1)
    return out


def replicate(stack: Floats, weights: Floats, metric: StackMetric, estimand: Estimand, cell: int = 2) -> Floats:
    """The estimand's value in each resample.

    Args:
        stack: (..., n, cells), pixels.
        weights: (B, n), from `draw_weights`.
        metric: Of the cells.
        estimand: What is estimated.
        cell: Axes of the cells.

    Returns:
        (..., B); NaN where a resample leaves the metric undefined.
    """
    if estimand == "per_cluster":
        n = weights.shape[-1]
        out: Floats = cluster_values(stack, metric, cell) @ weights.T / n
        return out
    lead, cells = stack.shape[: -cell - 1], stack.shape[-cell:]
    flat = stack.reshape(*lead, stack.shape[-cell - 1], math.prod(cells))
    return metric.of((weights @ flat).reshape(*lead, len(weights), *cells))


def leave_one_out(stack: Floats, metric: StackMetric, estimand: Estimand, cell: int = 2) -> Floats:
    """The estimand's value without each cluster; (..., n, cells) to (..., n). Needs n >= 2."""
    if estimand == "per_cluster":
        values = cluster_values(stack, metric, cell)
        n = values.shape[-1]
        out: Floats = (values.sum(-1, keepdims=True) - values) / (n - 1)
        return out
    return metric.of(stack.sum(-cell - 1, keepdims=True) - stack)


def jackknife_error(left_out: Floats) -> Floats:
    """Standard error from leave-one-out values (..., n): the root of (n - 1)/n x sum of squared deviations.

    For a mean it is the standard deviation over the root of n.
    """
    n = left_out.shape[-1]
    apart = left_out - left_out.mean(-1, keepdims=True)
    out: Floats = np.sqrt((n - 1) / n * (apart**2).sum(-1))
    return out


def degrees(effective: Floats) -> Floats:
    """Degrees of freedom of `effective` clusters: one less, rounded down to tenths; NaN below FEWEST_DF."""
    df = np.floor((np.asarray(effective) - 1) * TENTHS + SAME) / TENTHS
    out: Floats = np.where(df >= FEWEST_DF, df, np.nan)
    return out


def t_limits(value: Floats, left_out: Floats, effective: Floats, level: float) -> Limits:
    """Value plus and minus t jackknife standard errors; for a mean, Student's interval.

    The degrees of freedom are those of the effective number of clusters: where few clusters hold most of
    the pixels, n - 1 promises more than there is (the idea is that of Carter, Schnepel and Steigerwald
    October 2017, Review of Economics and Statistics, 698-709; the simulation says what this form of it is worth).

    Args:
        value: (...).
        left_out: (..., n), from `leave_one_out`.
        effective: (...), from `effective_clusters`; n for a mean.
        level: Confidence, e.g. 0.95.

    Returns:
        NaN where the clusters amount to hardly more than one.
    """
    half = _t((1 + level) / 2, degrees(effective)) * jackknife_error(left_out)
    return Limits(np.asarray(value - half), np.asarray(value + half))


def percentile_limits(replicates: Floats, level: float) -> Limits:
    """The middle share `level` of the replicates (..., B); undefined ones are left out."""
    ordered = np.sort(replicates, axis=-1)
    shape = ordered.shape[:-1]
    tail = (1 - level) / 2
    return Limits(_at(ordered, np.full(shape, tail)), _at(ordered, np.full(shape, 1 - tail)))


def bca_limits(replicates: Floats, value: Floats, left_out: Floats, level: float) -> Limits:
    """Percentiles corrected for bias and acceleration (Efron 1987).

    Bias: how far from a half is the share of replicates below the value, ties counted half.
    Acceleration: a sixth of the skewness of the leave-one-out values.

    Args:
        replicates: (..., B); undefined ones are left out.
        value: (...).
        left_out: (..., n).
        level: Confidence.

    Returns:
        NaN where all replicates lie on one side of the value, so that the bias has no measure, or
        where the clusters do not differ.
    """
    ordered = np.sort(replicates, axis=-1)
    known = (~np.isnan(ordered)).sum(-1)
    at = np.asarray(value)[..., None]
    share = ((ordered < at).sum(-1) + (ordered <= at).sum(-1)) / np.maximum(2 * known, 1)
    apart = left_out.mean(-1, keepdims=True) - left_out
    spread = (apart**2).sum(-1)
    fine = (share > 0) & (share < 1) & (spread > SAME**2)
    bias = _inverse(np.where(fine, share, 0.5))
    speed = (apart**3).sum(-1) / (6 * np.where(fine, spread, 1.0) ** 1.5)
    ends = []
    for tail in ((1 - level) / 2, (1 + level) / 2):
        z = bias + NORMAL.inv_cdf(tail)
        ends.append(_at(ordered, np.where(fine, _below(bias + z / (1 - speed * z)), np.nan)))
    return Limits(*ends)


def _at(ordered: Floats, share: Floats) -> Floats:
    """Quantiles of sorted rows (..., B), NaNs last, at one share a row; linear between order statistics."""
    last = np.maximum((~np.isnan(ordered)).sum(-1) - 1, 0)
    missing = np.isnan(share)
    place = np.where(missing, 0.0, share) * last
    low = np.floor(place).astype(np.intp)
    high = np.minimum(low + 1, last)
    a = np.take_along_axis(ordered, low[..., None], -1)[..., 0]
    b = np.take_along_axis(ordered, high[..., None], -1)[..., 0]
    out: Floats = np.where(missing, np.nan, a + (b - a) * (place - low))
    return out


_INVERSE = np.frompyfunc(NORMAL.inv_cdf, 1, 1)
_BELOW = np.frompyfunc(NORMAL.cdf, 1, 1)


def _t(p: float, df: Floats) -> Floats:
    known = {float(each): t_quantile(p, float(each)) for each in np.unique(df[~np.isnan(df)])}
    flat = [known.get(float(each), math.nan) for each in df.ravel()]
    return np.array(flat).reshape(df.shape)


def _inverse(share: Floats) -> Floats:
    return np.asarray(_INVERSE(share), dtype=np.float64)


def _below(z: Floats) -> Floats:
    return np.asarray(_BELOW(z), dtype=np.float64)
