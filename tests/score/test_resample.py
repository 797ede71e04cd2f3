"""Limits against SciPy's bootstrap on the same resamples, and against hand-worked jackknifes."""

from __future__ import annotations

import importlib
import math
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.score.clusters import Estimand, Floats, StackMetric, each, metric, stacked
from harness.score.resample import (
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
from tests.score.worlds import WORLDS

STATS: Any = importlib.import_module("scipy.stats")


def scenes(n: int, world: int = 2, seed: int = 5) -> Floats:
    return WORLDS[world].draw(np.random.default_rng(seed), (n,))[:, 0].astype(np.float64)


@pytest.mark.parametrize("method", ["percentile", "BCa"])
@pytest.mark.parametrize("estimand", ["pooled", "per_cluster"])
@pytest.mark.parametrize("n", [6, 25])
def test_limits_equal_scipy_on_the_same_resamples(
    method: Literal["percentile", "BCa"], estimand: Estimand, n: int
) -> None:
    stack, of = scenes(n), metric("iou", 1)
    drawn = replicate(stack, draw_weights(np.random.default_rng(1), n, 2_000), of, estimand)

    def statistic(index: Floats, axis: int = -1) -> Floats:
        rows = stack[np.asarray(index).astype(int)]  # (..., n, K, K)
        return estimate(rows, of, estimand)

    theirs = STATS.bootstrap(
        (np.arange(n),),
        statistic,
        vectorized=True,
        n_resamples=0,
        method=method,
        bootstrap_result=SimpleNamespace(bootstrap_distribution=drawn),
    ).confidence_interval
    if method == "percentile":
        ours = percentile_limits(drawn, 0.95)
    else:
        ours = bca_limits(drawn, estimate(stack, of, estimand), leave_one_out(stack, of, estimand), 0.95)
    assert float(ours.low) == pytest.approx(float(theirs.low), abs=1e-12)
    assert float(ours.high) == pytest.approx(float(theirs.high), abs=1e-12)


def test_resamples_have_the_distribution_of_scipys() -> None:
    stack, of = scenes(12), metric("mIoU", over=(0, 1))

    def statistic(index: Floats, axis: int = -1) -> Floats:
        return estimate(stack[np.asarray(index).astype(int)], of, "pooled")

    rng = np.random.default_rng(2)
    theirs = STATS.bootstrap((np.arange(12),), statistic, vectorized=True, n_resamples=8_000, rng=rng)
    ours = replicate(stack, draw_weights(np.random.default_rng(3), 12, 8_000), of, "pooled")
    assert STATS.ks_2samp(ours, theirs.bootstrap_distribution).pvalue > 0.001


def test_replicates_are_metrics_of_sums() -> None:
    stack, of = scenes(4, world=1), metric("mIoU", over=range(5))
    weights = np.array([[4.0, 0, 0, 0], [1, 1, 1, 1], [0, 2, 0, 2]])
    found = replicate(stack, weights, of, "pooled")
    sums = [stack[0] * 4, stack.sum(0), 2 * stack[1] + 2 * stack[3]]
    assert found == pytest.approx([float(of.of(each_sum)) for each_sum in sums], rel=1e-14)
    own = cluster_values(stack, of)
    means = [own[0], own.mean(), (own[1] + own[3]) / 2]
    assert replicate(stack, weights, of, "per_cluster") == pytest.approx(means, rel=1e-14)


def test_leading_axes_change_nothing() -> None:
    several = np.stack([scenes(7, seed=s) for s in range(3)])
    weights = draw_weights(np.random.default_rng(0), 7, 50)
    of = metric("iou", 1)
    for estimand in ("pooled", "per_cluster"):
        value, left = estimate(several, of, estimand), leave_one_out(several, of, estimand)
        drawn = replicate(several, weights, of, estimand)
        ends = bca_limits(drawn, value, left, 0.9)
        for i in range(3):
            assert drawn[i] == pytest.approx(replicate(several[i], weights, of, estimand))
            one = bca_limits(drawn[i], value[i], left[i], 0.9)
            assert (ends.low[i], ends.high[i]) == pytest.approx((float(one.low), float(one.high)))


def test_weights_count_n_draws() -> None:
    weights = draw_weights(np.random.default_rng(0), 9, 4_000)
    assert (weights.sum(1) == 9).all()
    assert weights.mean(0) == pytest.approx(np.ones(9), abs=0.07)
    assert weights.var() == pytest.approx(8 / 9, abs=0.03)


@given(st.lists(st.floats(0, 1), min_size=3, max_size=30))
def test_the_jackknife_of_a_mean_is_students_interval(values: list[float]) -> None:
    v = np.array(values)
    left = (v.sum() - v) / (len(v) - 1)
    error = v.std(ddof=1) / math.sqrt(len(v))
    assert float(jackknife_error(left)) == pytest.approx(error, abs=1e-12)
    ends = t_limits(np.asarray(v.mean()), left, np.asarray(float(len(v))), 0.95)
    if error > 1e-6:
        low, high = STATS.t.interval(0.95, len(v) - 1, loc=v.mean(), scale=error)
        assert (float(ends.low), float(ends.high)) == pytest.approx((low, high), abs=1e-9)


def test_fewer_effective_clusters_widen_the_interval() -> None:
    left = np.array([0.5, 0.52, 0.49, 0.51])
    widths = []
    for effective in (4.0, 3.2, 2.0, 1.5):
        ends = t_limits(np.asarray(0.5), left, np.asarray(effective), 0.95)
        widths.append(float(ends.high - ends.low))
    assert widths == sorted(widths)
    assert widths[0] < widths[-1]
    assert math.isnan(float(t_limits(np.asarray(0.5), left, np.asarray(1.2), 0.95).low))


def test_degrees_of_freedom_are_rounded_down_to_tenths() -> None:
    found = degrees(np.array([4.0, 3.19, 3.2, 1.3, 1.29]))
    assert found[:4] == pytest.approx([3.0, 2.1, 2.2, 0.3])
    assert math.isnan(found[4])


def test_undefined_resamples_are_left_out_and_not_zero() -> None:
    drawn = np.array([0.4, math.nan, 0.5, 0.6, math.nan])
    ends = percentile_limits(drawn, 0.9)
    assert (float(ends.low), float(ends.high)) == pytest.approx((0.41, 0.59))
    left = np.array([0.45, 0.5, 0.56])
    a = bca_limits(drawn, np.asarray(0.5), left, 0.9)
    b = bca_limits(drawn[~np.isnan(drawn)], np.asarray(0.5), left, 0.9)
    assert (float(a.low), float(a.high)) == (float(b.low), float(b.high))


def test_bca_without_a_measure_of_bias_has_no_ends() -> None:
    left = np.array([0.45, 0.5, 0.56])
    assert math.isnan(float(bca_limits(np.array([0.6, 0.7]), np.asarray(0.5), left, 0.95).low))
    assert math.isnan(float(bca_limits(np.array([0.4, 0.6]), np.asarray(0.5), np.full(3, 0.5), 0.95).high))


def test_a_metric_that_makes_another_shape_is_refused() -> None:
    wrong = StackMetric("wrong", lambda m: m.sum(-1))
    with pytest.raises(ValueError, match="wrong made"):
        cluster_values(stacked(np.ones((3, 2, 2), np.int64)), wrong)


def test_leave_one_out_by_hand() -> None:
    stack = stacked(np.array([[[3, 1], [0, 4]], [[1, 1], [1, 1]], [[0, 2], [2, 0]]]))
    found = leave_one_out(stack, each("share", lambda m: m.correct / m.total), "pooled")
    assert found == pytest.approx([2 / 8, 7 / 12, 9 / 12])
