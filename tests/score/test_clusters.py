"""Metrics of stacks against those of single matrices, and what a stack refuses."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from harness.score.clusters import NAMES, difference, each, effective_clusters, metric, stacked
from harness.score.confusion import ConfusionMatrix
from harness.score.metrics import METRIC_FUNCTIONS, OfClass, Value, miou

cells = st.lists(st.sampled_from([0, 0, 1, 2, 7, 40]), min_size=9, max_size=9)


def matrix(flat: list[int]) -> ConfusionMatrix:
    k = math.isqrt(len(flat))
    return ConfusionMatrix(tuple(tuple(flat[k * i : k * i + k]) for i in range(k)))


def same(value: Value, found: float) -> bool:
    return math.isnan(found) if value.value is None else math.isclose(value.value, found, rel_tol=1e-13)


@given(st.lists(cells, min_size=1, max_size=4))
def test_every_metric_equals_the_one_of_single_matrices(flats: list[list[int]]) -> None:
    matrices = [matrix(flat) for flat in flats]
    stack = stacked(matrices)
    for name in NAMES:
        single = METRIC_FUNCTIONS[name]
        if isinstance(single, OfClass):
            for i in range(3):
                found = metric(name, i).of(stack)
                assert all(same(single.of(m, i), f) for m, f in zip(matrices, found, strict=True))
        else:
            found = metric(name).of(stack)
            assert all(same(single.of(m), f) for m, f in zip(matrices, found, strict=True))


@given(cells)
def test_a_mean_over_named_classes_is_undefined_where_one_is(flat: list[int]) -> None:
    m = matrix(flat)
    assert same(miou(m, absent="undefined"), float(metric("mIoU", over=range(3)).of(stacked([m]))[0]))


@given(cells)
def test_any_function_of_a_matrix_serves_as_a_metric(flat: list[int]) -> None:
    stack = stacked([matrix(flat), matrix([1] * 9)])
    np.testing.assert_allclose(each("mine", miou).of(stack), metric("mIoU").of(stack), rtol=1e-14)
    assert each("mine", lambda m: m.total / 9).of(stack)[1] == 1
    assert math.isnan(each("mine", lambda _: None).of(stack)[0])


def test_a_mean_is_settled_on_the_classes_of_the_pooled_matrix() -> None:
    pooled = np.array([[5.0, 1, 0], [2, 7, 0], [0, 0, 0]])
    settled = metric("mIoU").settled(pooled)
    assert not isinstance(settled, str)
    assert settled.of(pooled) == metric("mIoU", over=(0, 1)).of(pooled)
    lost = pooled.copy()
    lost[1] = lost[:, 1] = 0
    assert math.isnan(float(settled.of(lost)))
    assert not math.isnan(float(metric("mIoU").of(lost)))
    assert metric("mIoU").settled(np.zeros((3, 3))) == "no pixel is counted"


def test_arms_with_other_classes_are_not_one_quantity() -> None:
    arms = np.array([[[5.0, 0, 0], [0, 5, 0], [0, 0, 0]], [[5.0, 0, 0], [0, 4, 1], [0, 0, 0]]])
    said = difference(metric("mIoU")).settled(arms)
    assert isinstance(said, str)
    assert "[2]" in said
    assert not isinstance(difference(metric("mIoU", over=(0, 1))).settled(arms), str)


@given(cells, cells)
def test_a_difference_turns_with_its_arms(a: list[int], b: list[int]) -> None:
    arms = np.stack([stacked([matrix(a)])[0], stacked([matrix(b)])[0]])
    minus = difference(metric("iou", 1))
    np.testing.assert_array_equal(minus.of(arms), -minus.of(arms[::-1]))
    assert (minus.lo, minus.hi) == (-1, 1)


def test_effective_clusters_by_hand() -> None:
    even = np.array([[[6, 2], [1, 1]]] * 5)
    assert effective_clusters(stacked(even), metric("accuracy"), "pooled") == pytest.approx(5)
    uneven = stacked(np.array([[[9, 0], [0, 0]], [[0, 0], [0, 3]]]))
    assert effective_clusters(uneven, metric("accuracy"), "pooled") == pytest.approx(144 / 90)
    assert effective_clusters(uneven, metric("iou", 0), "pooled") == pytest.approx(1)
    assert effective_clusters(uneven, metric("accuracy"), "per_cluster") == 2
    # label pixels of class 1: 1 and 4, so 25 / 17; of class 0: 3 and 3, so 2
    rows = stacked(np.array([[[3, 0], [0, 1]], [[1, 2], [2, 2]]]))
    assert effective_clusters(rows, metric("recall", 1), "pooled") == pytest.approx(25 / 17)
    assert effective_clusters(rows, metric("mean_class_accuracy"), "pooled") == pytest.approx((25 / 17 + 2) / 2)
    arms = np.stack([rows, rows], axis=1)
    assert effective_clusters(arms, difference(metric("recall", 1)), "pooled", 3) == pytest.approx(25 / 17)


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((0, 2, 2), np.int64), "no cluster"),
        (np.zeros((3, 2), np.int64), "shape"),
        (np.zeros((3, 2, 3), np.int64), "shape"),
        (np.zeros((3, 1, 1), np.int64), "shape"),
        (np.ones((3, 2, 2)), "float64"),
        (np.array([[[1, 1], [1, 1]], [[1, -1], [1, 1]]]), "cluster 1"),
        (np.full((3, 2, 2), 1 << 52), "exact"),
    ],
)
def test_what_is_no_stack_is_refused(array: NDArray[Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        stacked(array)


def test_matrices_of_two_schemes_are_refused() -> None:
    with pytest.raises(ValueError, match="2, 3"):
        stacked([ConfusionMatrix.empty(2), ConfusionMatrix.empty(3)])
    with pytest.raises(ValueError, match="no cluster"):
        stacked([])


@pytest.mark.parametrize(
    ("name", "index", "over"),
    [
        ("kappa", None, None),
        ("iou", None, None),
        ("mIoU", 1, None),
        ("accuracy", None, (0,)),
        ("mIoU", None, ()),
        ("mIoU", None, (1, 1)),
        ("mIoU", None, (-1, 0)),
    ],
)
def test_a_metric_that_is_none_is_refused(name: str, index: int | None, over: tuple[int, ...] | None) -> None:
    with pytest.raises(ValueError, match=r"metric|class"):
        metric(name, index, over)


def test_a_class_that_the_matrices_lack_is_refused() -> None:
    stack = stacked(np.ones((2, 2, 2), np.int64))
    with pytest.raises(ValueError, match="class 2"):
        metric("iou", 2).of(stack)
    with pytest.raises(ValueError, match="class -1"):
        metric("iou", -1).of(stack)
