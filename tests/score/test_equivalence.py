"""Equivalence, prediction and scenes needed, against closed forms and by simulation."""

from __future__ import annotations

import importlib
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from harness.score.clusters import metric
from harness.score.equivalence import ASSUMED, equivalence, prediction, tost
from harness.score.interval import Interval, interval
from harness.score.power import by_formula, scenes_needed
from tests.score.worlds import WORLDS

STATS: Any = importlib.import_module("scipy.stats")
MIOU = metric("mIoU")


def scenes(n: int, world: int = 0, seed: int = 5) -> NDArray[np.int64]:
    return WORLDS[world].draw(np.random.default_rng(seed), (n,))[:, 0]


def given_interval(low: float, high: float, useful: bool = True) -> Interval:
    value = (low + high) / 2
    return Interval(
        value, low, high, useful, "t", "per_cluster", 0.95, 9, (), None, 9.0, (high - low) / 4.6, 0, 0, "made up"
    )


@pytest.mark.parametrize(
    ("low", "high", "found"),
    [
        (0.49, 0.51, "equivalent"),
        (0.4801, 0.5199, "equivalent"),
        (0.47, 0.51, "undecided"),
        (0.4, 0.6, "undecided"),
        (0.40, 0.47, "different"),
        (0.53, 0.6, "different"),
        (0.51, 0.53, "undecided"),
    ],
)
def test_the_rule(low: float, high: float, found: str) -> None:
    said = equivalence(given_interval(low, high), 0.5, 0.02)
    assert said.found == found
    assert said.alpha == pytest.approx(0.025)
    assert said.difference == pytest.approx((low + high) / 2 - 0.5)


def test_rounding_of_the_claim_widens_the_tolerance() -> None:
    measured = given_interval(0.478, 0.51)
    assert equivalence(measured, 0.5, 0.02).found == "undecided"
    widened = equivalence(measured, 0.5, 0.02, rounding=0.005)
    assert widened.found == "equivalent"
    assert widened.tolerance == pytest.approx(0.025)


def test_no_useful_interval_decides_nothing() -> None:
    assert equivalence(given_interval(0.499, 0.501, useful=False), 0.5, 0.02).found == "undecided"
    two = equivalence(interval(scenes(2), MIOU, "pooled"), 0.1, 0.02)
    assert two.found == "undecided"
    assert "Two clusters" in two.why
    none = equivalence(interval(np.zeros((3, 2, 2), np.int64), MIOU, "pooled"), 0.5, 0.02)
    assert (none.found, none.difference, none.p) == ("undecided", None, None)


@given(st.floats(-0.05, 0.05), st.floats(0.001, 0.05), st.integers(2, 60))
def test_tost_equals_two_one_sided_tests_and_its_interval(apart: float, error: float, df: int) -> None:
    p = tost(0.5 + apart, error, df, 0.5, 0.02)
    above = float(STATS.t.sf((apart + 0.02) / error, df))
    below = float(STATS.t.cdf((apart - 0.02) / error, df))
    assert p == pytest.approx(max(above, below), abs=1e-9)
    half = float(STATS.t.ppf(0.975, df)) * error
    if abs(p - 0.025) > 1e-6:
        assert (p < 0.025) == (abs(apart) + half < 0.02)


def test_p_and_finding_agree_for_t_intervals() -> None:
    for seed in range(30):
        measured = interval(scenes(12, 1, seed), MIOU, "per_cluster", "t")
        said = equivalence(measured, 0.605, 0.025)
        assert said.p is not None
        assert (said.found == "equivalent") == (said.p < 0.025)


@pytest.mark.parametrize(("tolerance", "rounding"), [(0, 0), (-0.1, 0), (math.nan, 0), (0.1, -0.1), (0.1, math.nan)])
def test_a_tolerance_that_is_none_is_refused(tolerance: float, rounding: float) -> None:
    with pytest.raises(ValueError, match="tolerance"):
        equivalence(given_interval(0.4, 0.5), 0.5, tolerance, rounding)


def test_tost_without_error_is_refused() -> None:
    with pytest.raises(ValueError, match="error 0"):
        tost(0.5, 0.0, 5, 0.5, 0.1)


def test_a_prediction_by_hand() -> None:
    own = np.array([MIOU.of(m.astype(np.float64)) for m in scenes(7)])
    found = prediction(scenes(7), MIOU, "per_cluster", m=4)
    half = float(STATS.t.ppf(0.975, 6)) * own.std(ddof=1) * math.sqrt(1 / 7 + 1 / 4)
    assert found.low == pytest.approx(own.mean() - half)
    assert found.high == pytest.approx(own.mean() + half)
    assert ASSUMED in found.why
    assert found.holds(float(own.mean()))
    assert not found.holds(0.0)


def test_predictions_hold_new_sets_as_often_as_they_say() -> None:
    rng = np.random.default_rng(12)
    world, held = WORLDS[0], 0
    for _ in range(400):
        ours, theirs = world.draw(rng, (8,))[:, 0], world.draw(rng, (10,))[:, 0]
        found = prediction(ours, MIOU, "pooled", m=10)
        held += bool(found.holds(float(MIOU.of(theirs.sum(0).astype(np.float64)))))
    assert 0.92 <= held / 400 <= 0.98


def test_more_scenes_on_the_other_side_narrow_a_prediction_down_to_the_interval() -> None:
    own = interval(scenes(9), MIOU, "pooled", "jackknife_t")
    found = [prediction(scenes(9), MIOU, "pooled", m) for m in (1, 10, 100, 10**9)]
    widths = [(f.high or 0) - (f.low or 0) for f in found]
    assert widths == sorted(widths, reverse=True)
    assert (found[-1].low, found[-1].high) == pytest.approx((own.low, own.high))


def test_without_an_interval_nothing_is_predicted() -> None:
    found = prediction(scenes(2), MIOU, "pooled", m=5)
    assert (found.low, found.high, found.holds(0.5)) == (None, None, None)
    assert "no prediction" in found.why
    with pytest.raises(ValueError, match="0 scenes"):
        prediction(scenes(5), MIOU, "pooled", m=0)


def test_scenes_by_formula_equal_the_normal_probability() -> None:
    for tolerance, probability in ((0.02, 0.8), (0.02, 0.9), (0.01, 0.8)):
        n = by_formula(0.037, tolerance, probability)
        reach = [2 * STATS.norm.cdf(tolerance * math.sqrt(k) / 0.037 - STATS.norm.ppf(0.975)) - 1 for k in (n - 1, n)]
        assert reach[0] < probability <= reach[1]


def test_scenes_needed_fit_what_the_spread_asks_for() -> None:
    ours = scenes(40, world=1)
    found = scenes_needed(ours, MIOU, "per_cluster", tolerance=0.02, probability=0.8)
    assert found.scenes is not None
    assert found.by_formula is not None
    assert found.reached is not None
    assert found.reached >= 0.8
    assert found.spread == pytest.approx(0.037, rel=0.3)
    assert found.scenes == pytest.approx(found.by_formula, rel=0.2)
    more = scenes_needed(ours, MIOU, "per_cluster", tolerance=0.02, probability=0.9)
    assert more.scenes is not None
    assert more.scenes > found.scenes
    closer = scenes_needed(ours, MIOU, "pooled", tolerance=0.015, probability=0.8)
    assert closer.scenes is not None
    assert closer.scenes > found.scenes


def test_scenes_needed_are_confirmed_by_fresh_worlds() -> None:
    world, rng = WORLDS[1], np.random.default_rng(8)
    big = world.draw(rng, (400,))[:, 0]
    needed = scenes_needed(big, MIOU, "pooled", tolerance=0.025, probability=0.8)
    assert needed.scenes is not None
    truth = float(MIOU.of(world.expected(rng, (40_000,))[:, 0].sum(0)))
    within = 0
    for _ in range(300):
        found = interval(world.draw(rng, (needed.scenes,))[:, 0], MIOU, "pooled", "jackknife_t")
        within += equivalence(found, truth, 0.025).found == "equivalent"
    assert within / 300 == pytest.approx(0.8, abs=0.1)


def test_a_question_beyond_reach_has_no_answer() -> None:
    found = scenes_needed(scenes(5, world=2), MIOU, "per_cluster", tolerance=0.001)
    assert found.scenes is None
    assert found.by_formula is not None
    assert found.by_formula > 2_000
    assert "more than 2,000" in found.why
    nothing = scenes_needed(scenes(2), MIOU, "pooled", tolerance=0.02)
    assert (nothing.scenes, nothing.by_formula, nothing.spread) == (None, None, None)


@pytest.mark.parametrize(
    "keywords", [{"tolerance": 0}, {"tolerance": 0.1, "probability": 1}, {"tolerance": 0.1, "level": 0}]
)
def test_wrong_questions_are_refused(keywords: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"tolerance|between"):
        scenes_needed(scenes(4), MIOU, "pooled", **keywords)
    with pytest.raises(ValueError, match="spread"):
        by_formula(0, 0.1, 0.8)
