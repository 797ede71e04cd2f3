"""Two-class confusion against hand-worked cases, scikit-learn and exact algebra."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, jaccard_score, precision_score, recall_score

from harness.score.binary import ALL_ONES, ALL_ZEROS, BinaryMatrix, OperatingPoint, coin

counts = st.integers(min_value=0, max_value=40)


def test_a_perfect_prediction_scores_one() -> None:
    m = BinaryMatrix(30, 0, 0, 70)
    assert (m.miou, m.iou1, m.accuracy, m.precision, m.tpr, m.fpr) == (1, 1, 1, 1, 1, 0)


def test_an_absent_class_is_undefined_and_not_zero() -> None:
    m = BinaryMatrix(0, 0, 0, 100)
    assert m.iou1 is None
    assert m.miou is None
    assert m.tpr is None
    assert m.precision is None


def test_negative_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        BinaryMatrix(-1, 0, 0, 1)


def test_pixels_of_two_places_add() -> None:
    assert BinaryMatrix(1, 2, 3, 4) + BinaryMatrix(10, 20, 30, 40) == BinaryMatrix(11, 22, 33, 44)
    with pytest.raises(TypeError):
        BinaryMatrix(1, 2, 3, 4) + 1  # type: ignore[operator]


@given(counts, counts, counts, counts)
def test_metrics_equal_scikit_learn(tp: int, fp: int, fn: int, tn: int) -> None:
    truth = np.array([1] * tp + [0] * fp + [1] * fn + [0] * tn)
    predicted = np.array([1] * tp + [1] * fp + [0] * fn + [0] * tn)
    m = BinaryMatrix(tp, fp, fn, tn)
    if tp + fp + fn:
        assert m.iou1 == pytest.approx(jaccard_score(truth, predicted, zero_division=0.0))
        assert m.f1 == pytest.approx(f1_score(truth, predicted, zero_division=0.0))
    if tn + fp + fn:
        assert m.iou0 == pytest.approx(jaccard_score(truth, predicted, pos_label=0, zero_division=0.0))
    if tp + fp:
        assert m.precision == pytest.approx(precision_score(truth, predicted))
    if tp + fn:
        assert m.tpr == pytest.approx(recall_score(truth, predicted))
    if tp + fp + fn + tn:
        assert m.accuracy == pytest.approx(accuracy_score(truth, predicted))


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0.01, 0.99))
def test_rates_survive_a_move_of_the_prevalence(tpr: float, fpr: float, share: float) -> None:
    m = OperatingPoint(tpr, fpr).at(share)
    assert m.total == pytest.approx(1)
    assert m.prevalence == pytest.approx(share)
    assert m.tpr == pytest.approx(tpr)
    assert m.fpr == pytest.approx(fpr)


def test_constant_maps_in_closed_form() -> None:
    zeros, ones = ALL_ZEROS.at(0.25), ALL_ONES.at(0.25)
    assert zeros.miou == pytest.approx(0.75 / 2)
    assert ones.iou1 == pytest.approx(0.25)
    assert ones.miou == pytest.approx(0.25 / 2)
    assert coin(0.25).at(0.25).predicted_share == pytest.approx(0.25)


def test_a_prevalence_above_one_is_refused() -> None:
    with pytest.raises(ValueError, match="no share"):
        ALL_ONES.at(1.2)
