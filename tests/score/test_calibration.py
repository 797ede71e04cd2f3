"""Calibration against scikit-learn, torchmetrics and the sweep."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from harness.models import stack
from harness.records.operating import Reliability
from harness.score import confusion
from harness.score.calibration import BINS, calibration, pooled_reliability, reliability
from harness.score.sweep import THRESHOLDS, sweep

N = 60
labels = arrays(np.int64, N, elements=st.sampled_from([-1, 0, 1])).filter(lambda a: bool((a != -1).any()))
shares = arrays(np.float32, N, elements=st.floats(0, 1, width=32))
on_edges = arrays(np.float32, N, elements=st.sampled_from([np.float32(i / 20) for i in range(21)]))


def drawn(seed: int, n: int = 4_000) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Over-confident probabilities with some pixels unlabelled."""
    rng = np.random.default_rng(seed)
    p = rng.beta(0.7, 1.3, n).astype(np.float32)
    label = (rng.random(n) < 0.6 * p + 0.1).astype(np.int64)
    label[rng.random(n) < 0.1] = -1
    return p, label


@pytest.mark.parametrize("seed", range(4))
def test_brier_and_curve_are_those_of_scikit_learn(seed: int) -> None:
    p, label = drawn(seed)
    known = label != -1
    exact = p[known].astype(np.float64)  # scikit-learn adds in the type that it is given
    found = calibration(reliability(p, label))
    assert found.brier.value == pytest.approx(brier_score_loss(label[known], exact), abs=1e-9)
    observed, mean = calibration_curve(label[known], exact, n_bins=BINS)
    full = [b for b in found.bins if b.px]
    assert [b.observed for b in full] == pytest.approx(observed.tolist(), abs=1e-12)
    assert [b.mean for b in full] == pytest.approx(mean.tolist(), abs=2e-9)
    assert sum(b.px for b in full) == found.px == known.sum()


@pytest.fixture(scope="module")
def tm() -> Any:
    """torchmetrics.classification; it imports torchvision, which prepare() makes importable."""
    stack.prepare()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its imports
        import torchmetrics.classification
    return torchmetrics.classification


@pytest.mark.parametrize("bins", [5, 10, 15, 20])
def test_ece_is_that_of_torchmetrics(tm: Any, bins: int) -> None:
    import torch

    p, label = drawn(7)
    known = label != -1
    theirs = tm.BinaryCalibrationError(n_bins=bins, norm="l1")
    theirs.update(torch.from_numpy(p[known]).double(), torch.from_numpy(label[known]))
    ours = calibration(reliability(p, label, bins=bins)).ece.value
    assert ours == pytest.approx(float(theirs.compute()), abs=1e-6)


@given(shares | on_edges, labels)
def test_bins_above_an_edge_are_what_a_threshold_there_marks(p: NDArray[np.float32], label: NDArray[np.int64]) -> None:
    found = reliability(p, label)
    for number, point in enumerate(sweep(p, label, THRESHOLDS), 1):
        assert sum(found.positive_px[number:]) == point.matrix.tp
        assert sum(found.px[number:]) == point.matrix.tp + point.matrix.fp


@given(shares, labels, st.integers(1, N - 1))
def test_bins_of_parts_add_to_those_of_the_whole(p: NDArray[np.float32], label: NDArray[np.int64], cut: int) -> None:
    parts = [reliability(p[:cut], label[:cut]), reliability(p[cut:], label[cut:])]
    assert pooled_reliability(parts) == reliability(p, label)


def test_pieces_add_to_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    p, label = drawn(3)
    whole = reliability(p, label)
    monkeypatch.setattr(confusion, "PIECE_PX", 64)
    assert reliability(p, label) == whole


def test_a_perfect_and_a_constant_forecast() -> None:
    label = np.array([0, 0, 0, 1], np.int64)
    perfect = calibration(reliability(label.astype(np.float32), label))
    assert (perfect.ece.value, perfect.brier.value) == (0.0, 0.0)
    constant = calibration(reliability(np.full(4, 0.25, np.float32), label))
    assert constant.ece.value == 0.0
    assert constant.brier.value == constant.brier_constant.value == 0.1875
    assert constant.mean.value == constant.prevalence.value == 0.25


def test_nothing_labelled_is_undefined_and_not_calibrated() -> None:
    found = calibration(reliability(np.full(3, 0.5, np.float32), np.full(3, -1)))
    assert found.px == 0
    assert found.ece.value is None
    assert found.brier.value is None
    assert found.ece.reason


def test_unlabelled_pixels_do_not_enter() -> None:
    p, label = drawn(5)
    known = label != -1
    assert reliability(p, label) == reliability(p[known], label[known], ignore_index=None)


@pytest.mark.parametrize(
    ("p", "label", "said"),
    [
        ([0.5, np.nan], [0, 1], "outside 0 to 1 on 1 of 2 px"),
        ([0.5, 1.5], [0, 1], "outside 0 to 1"),
        ([0.5, 0.5], [0, 2], "label holds 2 on 1 px"),
        ([0.5], [0, 1], "not the same pixels"),
    ],
)
def test_wrong_input_is_refused(p: list[float], label: list[int], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        reliability(np.array(p, np.float32), np.array(label))


def test_bins_that_do_not_fit_are_refused() -> None:
    one: dict[str, Any] = {"px": [3], "positive_px": [1], "probability_nano": [10], "squared_error_nano": 0}
    held = Reliability(**one)
    with pytest.raises(ValueError, match="do not add"):
        pooled_reliability([held, reliability(np.array([0.5], np.float32), np.array([1]))])
    with pytest.raises(ValueError, match="no reliability"):
        pooled_reliability([])
    for wrong in ({"positive_px": [4]}, {"probability_nano": [4_000_000_000]}, {"px": [3, 3]}):
        with pytest.raises(ValueError, match=r"a bin of|one number a bin"):
            Reliability(**(one | wrong))
