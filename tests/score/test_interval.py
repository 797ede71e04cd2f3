"""Intervals over clusters: what is given, what is refused, and what changes nothing."""

from __future__ import annotations

import itertools
import math
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from harness.score.clusters import Estimand, each, metric
from harness.score.confusion import ConfusionMatrix
from harness.score.interval import FEW, Interval, interval
from harness.score.simulated import Method, best, told
from tests.score.worlds import WORLDS

METHODS: list[tuple[Estimand, Method]] = [
    ("pooled", "percentile"),
    ("pooled", "bca"),
    ("pooled", "jackknife_t"),
    ("per_cluster", "percentile"),
    ("per_cluster", "bca"),
    ("per_cluster", "t"),
]
IOU = metric("iou", 1)


def scenes(n: int, world: int = 0, seed: int = 5) -> NDArray[np.int64]:
    return WORLDS[world].draw(np.random.default_rng(seed), (n,))[:, 0]


def ends(found: Interval) -> tuple[float, float]:
    assert found.low is not None
    assert found.high is not None
    return found.low, found.high


@pytest.mark.parametrize(("estimand", "method"), METHODS)
def test_the_order_of_clusters_changes_nothing(estimand: Estimand, method: Method) -> None:
    matrices = scenes(8)
    a = interval(matrices, IOU, estimand, method, seed=3, replicates=1_000)
    b = interval(matrices[::-1], IOU, estimand, method, seed=3, replicates=1_000)
    assert ends(a) == pytest.approx(ends(b), abs=1e-14)
    assert a.value == pytest.approx(b.value, abs=1e-15)
    assert a.clusters == b.clusters[::-1]


@pytest.mark.parametrize(("estimand", "method"), METHODS)
def test_relabelling_classes_together_with_the_metric_changes_nothing(estimand: Estimand, method: Method) -> None:
    matrices = scenes(9, world=1)
    turned = matrices[:, ::-1, ::-1]
    a = interval(matrices, metric("iou", 1), estimand, method, replicates=1_000, seed=1)
    b = interval(turned, metric("iou", 3), estimand, method, replicates=1_000, seed=1)
    if method in ("t", "jackknife_t"):
        assert ends(a) == pytest.approx(ends(b), abs=1e-12)
    assert a.value == pytest.approx(b.value, abs=1e-12)


@pytest.mark.parametrize(("estimand", "method"), METHODS)
def test_clusters_given_twice_narrow_the_interval(estimand: Estimand, method: Method) -> None:
    matrices = scenes(6)
    once = ends(interval(matrices, IOU, estimand, method))
    twice = ends(interval(np.concatenate([matrices, matrices]), IOU, estimand, method))
    assert twice[1] - twice[0] < 0.85 * (once[1] - once[0])


@pytest.mark.parametrize(("estimand", "method"), METHODS)
def test_a_higher_level_widens_and_holds_the_value(estimand: Estimand, method: Method) -> None:
    found = [interval(scenes(10, 2), IOU, estimand, method, level, replicates=2_000) for level in (0.8, 0.95, 0.99)]
    for narrow, wide in itertools.pairwise(map(ends, found)):
        assert wide[0] < narrow[0]
        assert narrow[1] < wide[1]
    assert all(low <= (f.value or 0) <= high for f, (low, high) in zip(found, map(ends, found), strict=True))


@pytest.mark.parametrize("estimand", ["pooled", "per_cluster"])
def test_the_value_is_the_estimands(estimand: Estimand) -> None:
    matrices = scenes(5)
    found = interval(matrices, IOU, estimand)
    own = [m[1, 1] / (m[1].sum() + m[:, 1].sum() - m[1, 1]) for m in matrices]
    whole = matrices.sum(0)
    pooled = whole[1, 1] / (whole[1].sum() + whole[:, 1].sum() - whole[1, 1])
    assert found.value == pytest.approx(pooled if estimand == "pooled" else np.mean(own))
    assert found.clusters == pytest.approx(own)
    assert abs(pooled - float(np.mean(own))) > 1e-4  # the two are not one quantity


@given(st.integers(3, 12), st.integers(0, 10_000), st.integers(2, 1_000))
@settings(max_examples=30)
def test_pixels_of_another_size_change_nothing(n: int, seed: int, factor: int) -> None:
    matrices = scenes(n, 1, seed) // 1_000
    a = interval(matrices, metric("mIoU"), "pooled", "jackknife_t")
    b = interval(matrices * factor, metric("mIoU"), "pooled", "jackknife_t")
    assert ends(a) == pytest.approx(ends(b), abs=1e-10)


def test_the_seed_decides_the_bootstrap_and_nothing_else() -> None:
    matrices = scenes(12)
    one, again, other = (interval(matrices, IOU, "pooled", "bca", seed=s) for s in (1, 1, 2))
    assert one == again
    assert ends(one) != ends(other)
    assert ends(one) == pytest.approx(ends(other), abs=0.01)
    assert interval(matrices, IOU, "pooled", "jackknife_t", seed=1) == interval(
        matrices, IOU, "pooled", "jackknife_t", seed=2
    )


def test_best_is_what_the_simulation_says_and_its_coverage_is_told() -> None:
    for n in (3, 7, 20, 40):
        found = interval(scenes(n), IOU, "pooled")
        method = best("pooled", n)
        expected = told("pooled", method, n)
        assert expected is not None
        assert (found.method, found.coverage_simulated) == (method, expected.coverage)
        assert f"{100 * expected.coverage:.1f} %" in found.why
        assert ("Rough" in found.why) == (n < FEW)
        assert found.useful
    other = interval(scenes(20), IOU, "pooled", level=0.9)
    assert other.coverage_simulated is None
    assert "not simulated" in other.why


def test_two_clusters_give_no_useful_interval_and_say_so() -> None:
    found = interval(scenes(2), IOU, "pooled")
    assert not found.useful
    assert found.value is not None
    assert len(found.clusters) == 2
    assert "Two clusters give no useful interval" in found.why
    assert found.text().endswith("(not useful)")


def test_one_cluster_gives_a_value_and_no_interval() -> None:
    found = interval(scenes(1), IOU, "pooled")
    assert found.value is not None
    assert (found.low, found.high, found.method, found.useful, found.error) == (None, None, None, False, None)
    assert "one cluster" in found.why
    assert found.text().endswith("no interval")


def test_one_giant_among_dwarfs_is_like_one_cluster() -> None:
    matrices = scenes(6)
    matrices[0] *= 500
    found = interval(matrices, IOU, "pooled", "jackknife_t")
    assert not found.useful
    assert found.effective == pytest.approx(1, abs=0.05)
    assert found.df is None
    assert found.low is None
    matrices = scenes(6)
    matrices[:2] *= 40
    found = interval(matrices, IOU, "pooled", "jackknife_t")
    assert not found.useful
    assert found.effective == pytest.approx(2.1, abs=0.1)
    assert "few of them hold most pixels" in found.why
    assert interval(matrices, IOU, "per_cluster").useful


def test_clusters_that_say_the_same_give_no_interval() -> None:
    found = interval(np.repeat(scenes(1), 5, axis=0), IOU, "pooled")
    assert found.value is not None
    assert found.low is None
    assert "say the same" in found.why
    perfect = interval(np.array([[[5, 0], [0, 3]], [[4, 0], [0, 9]], [[7, 0], [0, 1]]]), metric("mIoU"), "pooled")
    assert perfect.value == 1
    assert perfect.low is None


def test_a_class_in_one_cluster_alone_gives_no_interval() -> None:
    matrices = scenes(6)
    matrices[1:, 0, 0] += matrices[1:, 1].sum(-1) + matrices[1:, 0, 1]
    matrices[1:, 1] = 0
    matrices[1:, :, 1] = 0
    found = interval(matrices, IOU, "pooled")
    assert found.value is not None
    assert found.low is None
    assert "hangs on that one alone" in found.why
    assert found.clusters[1:] == (None,) * 5


def test_undefined_resamples_are_counted_and_too_many_refused() -> None:
    matrices = scenes(5)
    matrices[2:, 0, 0] += matrices[2:, 1].sum(-1) + matrices[2:, 0, 1]
    matrices[2:, 1] = 0
    matrices[2:, :, 1] = 0
    found = interval(matrices, IOU, "pooled", "percentile", replicates=2_000)
    assert found.undefined / 2_000 == pytest.approx((3 / 5) ** 5, abs=0.02)
    assert found.low is None
    assert "too few clusters hold it" in found.why
    rare = scenes(9)
    rare[5:, 0, 0] += rare[5:, 1].sum(-1) + rare[5:, 0, 1]
    rare[5:, 1] = 0
    rare[5:, :, 1] = 0
    kept = interval(rare, IOU, "pooled", "percentile", replicates=4_000)
    assert 0 < kept.undefined < 20
    assert kept.low is not None


def test_undefined_is_never_zero() -> None:
    matrices = np.array(
        [[[5, 0, 0], [1, 4, 0], [0, 0, 0]], [[6, 1, 0], [1, 4, 0], [0, 0, 0]], [[2, 1, 0], [1, 4, 0], [0, 0, 0]]]
    )
    nothing = interval(matrices, metric("iou", 2), "pooled")
    assert (nothing.value, nothing.low) == (None, None)
    assert "undefined" in nothing.why
    assert nothing.text() == "undefined"
    assert interval(matrices, metric("iou", 2), "per_cluster").n == 0
    two = interval(matrices, metric("mIoU"), "pooled")
    assert two.value == pytest.approx(interval(matrices[:, :2, :2], metric("mIoU"), "pooled").value)
    part = matrices.copy()
    part[0, 2, 2] = 3
    own = interval(part, metric("iou", 2), "per_cluster")
    assert (own.value, own.n, own.clusters) == (1, 1, (1, None, None))


def test_a_cluster_without_pixels_is_no_cluster() -> None:
    matrices = scenes(5)
    padded = np.concatenate([matrices, np.zeros((2, 2, 2), np.int64)])
    a, b = interval(matrices, IOU, "pooled"), interval(padded, IOU, "pooled")
    assert (a.value, a.low, a.high, a.n) == (b.value, b.low, b.high, 5)
    assert b.clusters[5:] == (None, None)
    assert interval(np.zeros((3, 2, 2), np.int64), IOU, "pooled").value is None


def test_ends_stay_in_the_range_of_the_metric() -> None:
    found = interval(scenes(3, 2, seed=1), IOU, "pooled", level=0.999)
    assert ends(found) == (0, 1)
    free = interval(scenes(3, 2, seed=1), each("iou", lambda m: m.binary(1).iou1), "pooled", "jackknife_t", 0.999)
    assert ends(free)[0] < 0
    assert ends(free)[1] > 1


def test_confusion_matrices_serve_as_well_as_arrays() -> None:
    matrices = scenes(4)
    listed = [ConfusionMatrix(tuple(tuple(row) for row in m.tolist())) for m in matrices]
    assert interval(listed, IOU, "pooled") == interval(matrices, IOU, "pooled")


def test_the_jackknife_error_of_a_mean_is_the_standard_error() -> None:
    found = interval(scenes(8), IOU, "per_cluster")
    own = np.array(found.clusters, dtype=float)
    assert found.error == pytest.approx(own.std(ddof=1) / math.sqrt(8))
    assert (found.df, found.effective) == (7, 8)


@pytest.mark.parametrize(
    ("keywords", "said"),
    [
        ({"level": 1.0}, "level"),
        ({"level": 95}, "level"),
        ({"method": "t"}, "jackknife_t"),
        ({"method": "magic"}, "magic"),
        ({"estimand": "mean"}, "estimand"),
        ({"replicates": 200}, "1,000"),
    ],
)
def test_wrong_questions_are_refused(keywords: dict[str, Any], said: str) -> None:
    words: dict[str, Any] = {"estimand": "pooled", **keywords}
    with pytest.raises(ValueError, match=said):
        interval(scenes(4), IOU, **words)


def test_methods_belong_to_their_estimand() -> None:
    wrong: Literal["jackknife_t"] = "jackknife_t"
    with pytest.raises(ValueError, match="percentile, bca, t or best"):
        interval(scenes(4), IOU, "per_cluster", wrong)
