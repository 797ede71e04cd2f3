"""Trivial maps against scikit-learn and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.dummy import DummyClassifier
from sklearn.metrics import confusion_matrix
from sklearn.neighbors import NearestCentroid

from harness.score import metrics
from harness.score.baselines import (
    Cover,
    by_chance,
    by_indices,
    class_sums,
    constant,
    contrast,
    majority,
    majority_class,
    nearest,
)
from harness.score.confusion import ConfusionMatrix

LABELS = st.lists(st.integers(0, 3), min_size=1, max_size=60)


def against(label: list[int], found: list[int]) -> ConfusionMatrix:
    return ConfusionMatrix.from_maps(np.array(label), np.array(found), 4)


@given(LABELS, LABELS)
def test_constants_and_the_majority_are_scikit_learns(label: list[int], other: list[int]) -> None:
    found = (other * len(label))[: len(label)]
    matrix = against(label, found)
    x = np.zeros((len(label), 1))
    for strategy, ours in [("most_frequent", majority(matrix)), *((k, constant(matrix, k)) for k in set(label))]:
        words = {"strategy": strategy} if isinstance(strategy, str) else {"strategy": "constant", "constant": strategy}
        theirs = DummyClassifier(**words).fit(x, label).predict(x)
        assert confusion_matrix(label, theirs, labels=range(4)).tolist() == [list(r) for r in ours.counts]
    assert constant(matrix, 3).predicted_px(3) == len(label)


@given(LABELS)
def test_chance_draws_at_the_shares_that_scikit_learn_draws_at(label: list[int]) -> None:
    matrix = against(label, label)
    x = np.zeros((len(label), 1))
    drawn = DummyClassifier(strategy="prior").fit(x, label)
    shares = dict(zip(drawn.classes_.tolist(), drawn.predict_proba(x[:1])[0].tolist(), strict=True))
    chance = by_chance(matrix)
    for i in set(label):
        for j in set(label):
            expected = matrix.label_px(i) * shares[j] * len(label)
            assert chance.counts[i][j] == pytest.approx(expected)


def test_a_class_that_is_not_there_is_refused() -> None:
    with pytest.raises(IndexError, match="class 4"):
        constant(against([0, 1], [0, 1]), 4)


def test_of_two_equal_majorities_the_lower_index_is_taken() -> None:
    assert majority_class(against([2, 1, 1, 2], [0, 0, 0, 0])) == 1


def test_left_out_pixels_stay_left_out() -> None:
    matrix = ConfusionMatrix(((3, 1), (2, 4)), ignored=7)
    assert constant(matrix, 1).ignored == 7


@pytest.mark.parametrize("seed", range(5))
def test_class_means_of_other_chips_give_scikit_learns_map(seed: int) -> None:
    rng = np.random.default_rng(seed)
    chips = [(rng.normal(size=(5, 6, 7)).astype(np.float32), rng.integers(-1, 4, (6, 7))) for _ in range(4)]
    for at, (pixels, label) in enumerate(chips):
        label[label == 2] = 1 if seed == 0 else 2  # once a class is nowhere
        others = [c for n, c in enumerate(chips) if n != at]
        sums = [class_sums(x, y, 4) for x, y in others]
        total = sums[0] + sums[1] + sums[2]
        x = np.concatenate([x[:, y >= 0].T for x, y in others]).astype(np.float64)
        y = np.concatenate([y[y >= 0] for _, y in others])
        theirs = NearestCentroid().fit(x, y).predict(pixels.reshape(5, -1).T.astype(np.float64))
        assert nearest(pixels, total.centroids).ravel().tolist() == theirs.tolist()
    if seed == 0:
        everywhere = class_sums(*chips[0], 4)
        assert np.isnan(everywhere.centroids[2]).all()


def test_a_missing_feature_enters_no_mean_and_gets_no_class() -> None:
    pixels = np.array([[[0.0, 1.0, np.nan]], [[0.0, 1.0, 5.0]]], np.float32)
    sums = class_sums(pixels, np.array([[0, 1, 1]]), 2)
    assert sums.pixels.tolist() == [1, 1]
    assert sums.centroids.tolist() == [[0, 0], [1, 1]]
    assert nearest(pixels, sums.centroids).tolist() == [[0, 1, -1]]
    with pytest.raises(ValueError, match="no class has a mean"):
        nearest(pixels, np.full((2, 2), np.nan))


def test_sums_that_do_not_fit_are_refused() -> None:
    pixels = np.zeros((3, 2, 2), np.float32)
    with pytest.raises(ValueError, match="features of"):
        class_sums(pixels, np.zeros((2, 3), int), 2)
    with pytest.raises(ValueError, match="holds class 2 of 2"):
        class_sums(pixels, np.full((2, 2), 2), 2)
    with pytest.raises(ValueError, match="do not add"):
        class_sums(pixels, np.zeros((2, 2), int), 2) + class_sums(pixels, np.zeros((2, 2), int), 3)


def test_contrast_of_dark_and_missing_pixels() -> None:
    high = np.array([0.3, 0.0, -0.01, 0.02, np.nan, 0.1], np.float32)
    low = np.array([0.1, 0.0, -0.02, -0.01, 0.1, np.nan], np.float32)
    found = contrast(high, low)
    assert found[:4].tolist() == [pytest.approx(0.5), 0, 0, 1]  # below 0 together: nothing; beyond 1: cut off
    assert np.isnan(found[4:]).all()


def test_index_rules_pixel_by_pixel() -> None:
    #                  water  trees  lawn   roof   edge 0.5  edge 0.2  NDWI 0  missing
    green = np.array([[0.08, 0.05, 0.10, 0.15, 0.05, 0.05, 0.20, 0.1]], np.float32)
    red = np.array([[0.05, 0.03, 0.12, 0.18, 0.25, 0.25, 0.20, np.nan]], np.float32)
    near = np.array([[0.03, 0.40, 0.25, 0.22, 0.75, 0.375, 0.20, 0.3]], np.float32)
    cover = Cover(5, water=0, full=2, some=3, bare=1)
    assert by_indices(green, red, near, cover).tolist() == [[0, 2, 3, 1, 2, 3, 1, -1]]


def test_chance_is_a_baseline_that_no_constant_can_stand_in_for() -> None:
    matrix = ConfusionMatrix(((60, 0), (0, 40)))
    assert metrics.miou(by_chance(matrix)).value == pytest.approx((0.36 / 0.84 + 0.16 / 0.64) / 2)
    assert metrics.miou(majority(matrix)).value == pytest.approx(0.3)
