"""Sweeps against counting at each threshold, argmax, scikit-learn and themselves."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix, precision_recall_curve

from harness.score import confusion
from harness.score.binary import BinaryMatrix
from harness.score.confusion import ConfusionMatrix
from harness.score.sweep import SweepPoint, pooled, sweep

N = 40
GRID = (0.0, 0.05, 0.1, 0.3, 0.5, 0.6, 0.7, 1.0)

labels = arrays(np.int64, N, elements=st.sampled_from([-1, 0, 1]))
coarse = arrays(np.float32, N, elements=st.sampled_from([np.float32(t) for t in (*GRID, 0.25, 0.65)]))
fine = arrays(np.float32, N, elements=st.floats(0, 1, width=32))


def counted(score: NDArray[Any], label: NDArray[Any], threshold: float, positive: int = 1) -> BinaryMatrix:
    """The definition, one threshold at a time."""
    known = label != -1
    marked, truth = (score > threshold)[known], (label == positive)[known]
    (tn, fp), (fn, tp) = confusion_matrix(truth, marked, labels=[False, True]).tolist()
    return BinaryMatrix(tp, fp, fn, tn)


@given(coarse | fine, labels.filter(lambda a: bool((a != -1).any())), st.permutations(GRID))
def test_each_point_is_the_count_above_its_threshold(
    score: NDArray[np.float32], label: NDArray[np.int64], thresholds: list[float]
) -> None:
    points = sweep(score, label, thresholds)
    assert [p.threshold for p in points] == thresholds
    assert [p.matrix for p in points] == [counted(score, label, t) for t in thresholds]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_threshold_is_compared_in_the_dtype_of_the_score(dtype: type[Any]) -> None:
    score = np.array([0.6, np.nextafter(dtype(0.6), dtype(1))], dtype)
    point = sweep(score, np.array([1, 1]), [0.6])[0]
    assert point == SweepPoint(0.6, BinaryMatrix(1, 0, 1, 0))
    assert point.matrix == counted(score, np.array([1, 1]), 0.6)


logits = arrays(np.float32, (2, N), elements=st.floats(-30, 30, width=32))
near = st.builds(
    lambda base, step: np.stack([base, base + step * np.spacing(base)]),  # logits that differ by a few last bits
    arrays(np.float32, N, elements=st.floats(-30, 30, width=32)),
    arrays(
        np.float32,
        N,
        elements=st.sampled_from(
            [-2.0, -1.0, 0.0, 1.0, 2.0],
        ),
    ),
)


@given(logits | near, labels)
def test_half_is_argmax_of_two_classes_but_where_the_softmax_rounds_to_half(
    two: NDArray[np.float32], label: NDArray[np.int64]
) -> None:
    e = np.exp(two - two.max(axis=0))
    p = e / e.sum(axis=0)
    tie = p[1] == 0.5
    label = np.where(tie, -1, label)
    at_half = sweep(p[1], label, [0.5])[0].matrix
    for by in (two, p):
        assert at_half == ConfusionMatrix.from_maps(label, by.argmax(axis=0), 2).binary(1)


def test_an_exact_tie_is_negative_as_in_argmax() -> None:
    p = np.full((2, 3), 0.5, np.float32)
    label = np.array([1, 0, 1])
    assert sweep(p[1], label, [0.5])[0].matrix == ConfusionMatrix.from_maps(label, p.argmax(axis=0), 2).binary(1)
    assert sweep(p[1], label, [0.5])[0].matrix == BinaryMatrix(0, 0, 2, 1)


@given(fine, labels)
def test_recall_and_false_positives_never_rise_with_the_threshold(
    score: NDArray[np.float32], label: NDArray[np.int64]
) -> None:
    for lower, higher in pairwise(sweep(score, label, GRID)):
        assert higher.matrix.tp <= lower.matrix.tp
        assert higher.matrix.fp <= lower.matrix.fp
        assert (higher.matrix.tpr or 0) <= (lower.matrix.tpr or 0)
        assert higher.matrix.total == lower.matrix.total == np.count_nonzero(label != -1)


@given(st.data())
def test_precision_and_recall_equal_scikit_learns_curve_just_below_each_score(data: st.DataObject) -> None:
    score = data.draw(arrays(np.float64, N, elements=st.floats(0.1, 0.9)))
    label = data.draw(arrays(np.int64, N, elements=st.integers(0, 1)).filter(lambda a: bool(a.any())))
    precision, recall, thresholds = precision_recall_curve(label, score)  # positive AT its threshold
    points = sweep(score, label, [float(np.nextafter(t, 0)) for t in thresholds])
    for point, p, r in zip(points, precision, recall, strict=False):
        assert point.matrix.precision == pytest.approx(p, abs=1e-12)
        assert point.matrix.tpr == pytest.approx(r, abs=1e-12)


@given(fine, labels, st.integers(1, N - 1))
def test_sweeps_add_over_chips(score: NDArray[np.float32], label: NDArray[np.int64], cut: int) -> None:
    parts = [sweep(score[s], label[s], GRID) for s in (slice(cut), slice(cut, None))]
    assert pooled(parts) == sweep(score, label, GRID)


def test_sweeps_at_other_thresholds_do_not_add() -> None:
    score, label = np.zeros(2, np.float32), np.zeros(2, int)
    with pytest.raises(ValueError, match="do not add"):
        pooled([sweep(score, label, [0.5]), sweep(score, label, [0.6])])
    with pytest.raises(ValueError, match="no sweep"):
        pooled([])


def test_pieces_and_layout_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    score, label = rng.random((50, 60), np.float32), rng.integers(-1, 5, (50, 60)).astype(np.int16)
    whole = sweep(score, label, GRID, positive=4, classes=5)
    assert [p.matrix for p in whole] == [counted(score, label, t, 4) for t in GRID]
    monkeypatch.setattr(confusion, "PIECE_PX", 128)
    assert sweep(np.asfortranarray(score), label, GRID, positive=4, classes=5) == whole


def test_counts_are_python_ints() -> None:
    m = sweep(np.array([0.2, 0.9]), np.array([0, 1]), [0.5])[0].matrix
    assert [type(n) for n in (m.tp, m.fp, m.fn, m.tn)] == [int] * 4


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"score": np.array([0.1, np.nan, 0.2])}, "NaN or outside 0 to 1 on 1 of 3 px"),
        ({"score": np.array([-4.0, 7.5, 0.2])}, "on 2 of 3 px"),
        ({"score": np.array([0.1, 0.2, np.nan]), "label": np.array([0, 1, -1])}, "on 1 of 3 px"),
        ({"score": np.array([0, 1, 1])}, "score is int64"),
        ({"score": np.ma.masked_invalid([0.1, np.nan, 0.3])}, "masked array"),
        ({"score": np.zeros((3, 1))}, "not the same pixels"),
        ({"label": np.array([0, 1, 2])}, "label holds 2 on 1 px"),
        ({"label": np.array([0.0, 1, 1])}, "label is float64"),
        ({"thresholds": []}, "no threshold"),
        ({"thresholds": [0.5, 1.5]}, "threshold 1.5 is no probability"),
        ({"thresholds": [float("nan")]}, "threshold nan"),
        ({"positive": 2}, "positive class 2"),
        ({"ignore_index": 0}, "ignore_index 0 is a class"),
    ],
)
def test_what_is_no_probability_map_is_refused(changes: dict[str, Any], why: str) -> None:
    good: dict[str, Any] = {"score": np.array([0.1, 0.6, 0.9]), "label": np.array([0, 1, 1]), "thresholds": [0.5]}
    assert sweep(**good)[0].matrix == BinaryMatrix(2, 0, 0, 1)
    with pytest.raises(ValueError, match=why):
        sweep(**{**good, **changes})


def test_a_probability_that_blending_rounded_out_of_its_range_still_counts() -> None:
    score = np.array([1 + 2**-23, -(2**-23)], np.float32)
    assert sweep(score, np.array([1, 0]), [0.9])[0].matrix == BinaryMatrix(1, 0, 0, 1)
    with pytest.raises(ValueError, match="on 2 of 2 px"):
        sweep(score * 1000 - np.float32(500), np.array([1, 0]), [0.9])
