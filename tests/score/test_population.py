"""What another population does: closed form, strata, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.score.binary import BinaryMatrix, OperatingPoint
from harness.score.confusion import ConfusionMatrix
from harness.score.population import (
    composition_effect,
    prevalence_effect,
    shifted,
)
from harness.score.story import ASSUMES, Story, check

RATES = st.floats(0.01, 0.99)


def cm(*rows: tuple[int, ...]) -> ConfusionMatrix:
    return ConfusionMatrix(rows)


def test_the_prevalence_effect_by_hand() -> None:
    here = BinaryMatrix(tp=80, fp=90, fn=20, tn=810)  # TPR 0.8, FPR 0.1, prevalence 0.1
    found = prevalence_effect(here, (0.5, 0.5), "iou", 1)
    assert found.here == pytest.approx(80 / 190)
    assert found.there == pytest.approx(0.40 / (0.40 + 0.05 + 0.10))
    assert found.effect == pytest.approx(found.there - found.here)
    assert found.assumes == ASSUMES


@given(RATES, RATES, RATES, RATES)
def test_two_classes_are_the_operating_point(tpr: float, fpr: float, here: float, there: float) -> None:
    matrix = OperatingPoint(tpr, fpr).at(here)
    expected = OperatingPoint(tpr, fpr).at(there)
    assert prevalence_effect(matrix, (1 - there, there), "iou", 1).there == pytest.approx(expected.iou1)
    assert prevalence_effect(matrix, (1 - there, there), "mIoU").there == pytest.approx(expected.miou)
    assert prevalence_effect(matrix, (1 - here, here), "mIoU").effect == pytest.approx(0, abs=1e-12)
    story = check(Story(matrix, 0.5, there))
    assert prevalence_effect(matrix, (1 - there, there), "iou", 1).effect == pytest.approx(story.effect)


def test_land_cover_with_its_whole_matrix_keeps_each_row() -> None:
    matrix = cm((80, 10, 10), (5, 90, 5), (20, 20, 60))
    moved = shifted(matrix, (0.2, 0.5, 0.3))
    assert moved.sum() == pytest.approx(1)
    np.testing.assert_allclose(moved[1], [0.025, 0.45, 0.025])
    accuracy = prevalence_effect(matrix, (0.2, 0.5, 0.3), "accuracy")
    assert accuracy.there == pytest.approx(0.2 * 0.8 + 0.5 * 0.9 + 0.3 * 0.6)
    assert prevalence_effect(matrix, (0.2, 0.5, 0.3), "mean_class_accuracy").effect == pytest.approx(0, abs=1e-12)


def test_rates_of_an_absent_class_are_not_known() -> None:
    absent = cm((8, 2, 0), (1, 9, 0), (0, 0, 0))
    with pytest.raises(ValueError, match=r"class \[2\] has a share there and no label pixel here"):
        prevalence_effect(absent, (0.4, 0.4, 0.2), "accuracy")
    assert prevalence_effect(absent, (0.5, 0.5, 0.0), "accuracy").effect == pytest.approx(0)
    with pytest.raises(ValueError, match="not one quantity here and there"):
        prevalence_effect(cm((8, 2, 0), (1, 9, 0), (0, 0, 5)), (0.5, 0.5, 0.0), "mIoU")
    with pytest.raises(ValueError, match=r"iou\[2\] is undefined there"):
        prevalence_effect(cm((8, 2, 0), (1, 9, 0), (0, 0, 5)), (0.5, 0.5, 0.0), "iou", 2)
    with pytest.raises(ValueError, match=r"class \[0, 1\] has a share there and no label pixel"):
        prevalence_effect(cm((0, 0), (0, 0)), (0.5, 0.5), "accuracy")


@pytest.mark.parametrize(
    ("shares", "match"),
    [((0.5, 0.6), "sum to 1.1"), ((1.2, -0.2), "share 1.2 of class 0"), ((0.2, 0.3, 0.5), "3 shares for 2 classes")],
)
def test_shares_that_are_none_are_refused(shares: tuple[float, ...], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        shifted(cm((8, 2), (1, 9)), shares)


DENSE, OPEN = cm((30, 20), (10, 40)), cm((95, 5), (0, 0))
"""Accuracy 0.7 and 0.95, on 100 px each."""


def test_another_composition_by_hand() -> None:
    scenes = {f"s{i}": {"dense": DENSE, "open": OPEN} for i in range(3)}
    found = composition_effect(scenes, {"dense": 0.8, "open": 0.2}, "accuracy")
    assert found.value == pytest.approx(0.8 * 0.7 + 0.2 * 0.95 - 0.825)
    assert found.low is None  # all scenes say the same
    same = composition_effect(scenes, {"dense": 0.5, "open": 0.5}, "mIoU")
    assert same.value == pytest.approx(0, abs=1e-12)


def test_the_interval_of_a_composition_leaves_scenes_out() -> None:
    rng = np.random.default_rng(1)
    scenes = {
        f"s{i}": {
            name: ConfusionMatrix(tuple(map(tuple, (rng.integers(10, 60, (2, 2)) + base).tolist())))
            for name, base in (("dense", 20), ("open", 100))
        }
        for i in range(6)
    }
    there = {"dense": 0.9, "open": 0.1}
    found = composition_effect(scenes, there, "iou", 1)
    assert found.value is not None
    assert found.error is not None
    left = [
        composition_effect({k: v for k, v in scenes.items() if k != gone}, there, "iou", 1).value for gone in scenes
    ]
    values = np.array([v for v in left if v is not None])
    assert len(values) == 6
    assert found.error == pytest.approx(math.sqrt(5 / 6 * ((values - values.mean()) ** 2).sum()))
    assert found.low is not None
    assert found.low < found.value
    assert (found.method, found.n) == ("jackknife_t", 6)


def test_a_scene_need_not_hold_each_stratum() -> None:
    scenes = {"a": {"dense": DENSE}, "b": {"dense": DENSE, "open": OPEN}, "c": {"open": OPEN}}
    found = composition_effect(scenes, {"dense": 1.0}, "accuracy")
    assert found.value == pytest.approx(0.7 - 0.825)
    assert composition_effect(scenes, {"dense": 1.0, "water": 0.0}, "accuracy") == found


def test_what_hangs_on_one_scene_has_no_interval() -> None:
    scenes = {"a": {"dense": DENSE}, "b": {"dense": cm((33, 17), (10, 40))}, "c": {"open": OPEN}}
    found = composition_effect(scenes, {"dense": 0.5, "open": 0.5}, "accuracy")
    assert found.low is None
    assert "hangs on that one" in found.why


def test_a_stratum_without_a_pixel_here_is_refused() -> None:
    with pytest.raises(ValueError, match=r"stratum water makes up 30\.0 % there and no pixel here"):
        composition_effect({"a": {"dense": DENSE}}, {"dense": 0.7, "water": 0.3}, "accuracy")
    with pytest.raises(ValueError, match=r"sum to 0\.9"):
        composition_effect({"a": {"dense": DENSE}}, {"dense": 0.9}, "accuracy")
    with pytest.raises(ValueError, match=r"matrices of \[2, 3\] classes"):
        composition_effect({"a": {"dense": DENSE, "open": ConfusionMatrix.empty(3)}}, {"dense": 1.0}, "accuracy")
    with pytest.raises(ValueError, match=r"matrices of \[\] classes"):
        composition_effect({}, {"dense": 1.0}, "accuracy")
    lone = {"a": {"dense": cm((9, 1, 0), (1, 9, 0), (0, 0, 0)), "wet": cm((9, 1, 0), (1, 9, 0), (0, 0, 8))}}
    with pytest.raises(ValueError, match="not one quantity here and there"):
        composition_effect(lone, {"dense": 1.0, "wet": 0.0}, "mIoU")


def test_reweighting_to_the_own_composition_changes_nothing() -> None:
    scenes = {"a": {"dense": DENSE, "open": OPEN}, "b": {"dense": cm((5, 5), (5, 25)), "open": cm((70, 10), (5, 5))}}
    px = {name: sum(each[name].total for each in scenes.values()) for name in ("dense", "open")}
    there = {name: n / sum(px.values()) for name, n in px.items()}
    for name, index in (("mIoU", None), ("iou", 1), ("precision", 1)):
        assert composition_effect(scenes, there, name, index).value == pytest.approx(0, abs=1e-12)
