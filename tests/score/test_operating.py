"""Thresholds chosen on other scenes, against doing it by hand; optimism; costs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.records import ChipScore, SweepRow
from harness.score.binary import BinaryMatrix
from harness.score.operating import (
    PRECISION,
    Choice,
    Costs,
    Scene,
    at,
    bill,
    by_role,
    choose,
    judged,
    leave_one_out,
    scenes,
)
from harness.score.sweep import THRESHOLDS, SweepPoint, sweep


def made(name: str, seed: int, shift: float = 0.0, role: str | None = None, **over: object) -> ChipScore:
    """A chip whose probabilities lean by `shift`, so that scenes have thresholds of their own."""
    rng = np.random.default_rng(seed)
    label = (rng.random(900) < 0.3).astype(np.int64)
    p = np.clip(rng.normal(0.4 + 0.2 * label + shift, 0.15), 0, 1).astype(np.float32)
    rows = [
        SweepRow(threshold=q.threshold, **{k: int(getattr(q.matrix, k)) for k in ("tp", "fp", "fn", "tn")})
        for q in sweep(p, label, THRESHOLDS)
    ]
    return ChipScore(
        chip=name, sha256="00", scored=True, reason=None, confusion=[[1, 0], [0, 1]], sweep=rows, role=role
    ).model_copy(update=over)


def scene(name: str, rows: list[tuple[float, int, int, int, int]], role: str | None = None) -> Scene:
    points = tuple(SweepPoint(t, BinaryMatrix(tp, fp, fn, tn)) for t, tp, fp, fn, tn in rows)
    return Scene(name, (name,), role, points)


def added(given_: list[Scene], threshold: float) -> BinaryMatrix:
    cells = [at(s.sweep, threshold) for s in given_]
    return BinaryMatrix(*(sum(getattr(c, k) for c in cells) for k in ("tp", "fp", "fn", "tn")))


def test_each_scene_is_judged_at_the_threshold_of_the_others() -> None:
    held = scenes([made(f"s{i}", i, 0.08 * (i - 2)) for i in range(5)])
    found = leave_one_out(held)
    assert isinstance(found, Choice)
    for i, one in enumerate(held):
        others = [s for s in held if s is not one]
        best = max(THRESHOLDS, key=lambda t: (added(others, t).iou1 or 0.0, -abs(t - 0.5)))
        assert found.held_out.thresholds[i] == best
        assert found.held_out.matrices[i] == at(one.sweep, best)
    total = found.held_out.total
    assert found.held_out.interval().value == pytest.approx(total.iou1)
    assert found.held_out.interval(PRECISION).value == pytest.approx(total.precision)
    assert len(set(found.held_out.thresholds)) > 1, "otherwise nothing is tested here"
    same = max(added(held, t).iou1 or 0.0 for t in THRESHOLDS)
    assert found.same.total.iou1 == pytest.approx(same)
    assert found.optimism().value == pytest.approx(same - (total.iou1 or 0.0))
    assert found.optimism().n == 5


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.integers(2, 6))
def test_no_pixel_of_a_scene_reaches_its_own_threshold(seed: int, n: int) -> None:
    chips = [made(f"s{i}", seed + i, 0.05 * i) for i in range(n)]
    first = leave_one_out(scenes(chips))
    changed = leave_one_out(scenes([made("s0", seed + 99, -0.3), *chips[1:]]))
    assert isinstance(first, Choice)
    assert isinstance(changed, Choice)
    assert first.held_out.thresholds[0] == changed.held_out.thresholds[0]


def test_tune_scenes_choose_and_test_scenes_are_reported_probes_neither() -> None:
    chips = [made("a", 1, -0.1, "tune"), made("b", 2, 0.1, "test"), made("c", 3, 0.2, "test")]
    held = scenes([*chips, made("d", 4, 0.3, "probe")])
    found = by_role(held)
    assert isinstance(found, Choice)
    assert found.chosen_on == 1
    assert found.held_out.names == found.same.names == ("b", "c")
    assert set(found.held_out.thresholds) == {choose(held[0].sweep)}
    gain = found.optimism().value
    assert gain is not None
    assert gain >= 0, "the best threshold on the judged scenes cannot be worse there"
    assert by_role(scenes(chips[1:])) == "0 scored scenes of role tune and 2 of role test"


def test_chips_on_one_ground_are_one_scene_and_mixed_roles_serve_neither_side() -> None:
    chips = [
        made("a", 1, role="tune"),
        made("b", 2, role="test", shares_ground=["a"]),
        made("c", 3, role="test", shares_ground=["nowhere"]),
        made("d", 4, cluster="x"),
        made("e", 5, cluster="x"),
        made("f", 6).model_copy(update={"scored": False, "sweep": []}),
    ]
    held = scenes(chips)
    assert [(s.name, s.role) for s in held] == [("a + b", "mixed"), ("c", "test"), ("d + e", None)]
    assert held[0].sweep[0].matrix.total == 1800


def test_an_unscored_chip_can_join_two_scored_ones() -> None:
    between = made("b", 2, shares_ground=["a"]).model_copy(update={"scored": False, "sweep": []})
    assert [s.name for s in scenes([made("a", 1), between, made("c", 3, shares_ground=["b"])])] == ["a + c"]


def test_one_scene_or_none_with_the_class_chooses_nothing() -> None:
    only = leave_one_out(scenes([made("a", 1)]))
    assert only == "1 scored scene: there is no other to choose a threshold on"
    empty = scene("e", [(0.4, 0, 0, 0, 9), (0.6, 0, 0, 0, 9)])
    full = scene("f", [(0.4, 4, 1, 0, 4), (0.6, 2, 0, 2, 5)])
    assert str(leave_one_out([empty, full])).startswith("without f no threshold can be told")


def test_scenes_without_the_class_choose_no_threshold_even_where_false_alarms_would() -> None:
    """IoU is 0 at one threshold and undefined at the other: that is no choice."""
    empty = scene("e", [(0.4, 0, 3, 0, 6), (0.6, 0, 0, 0, 9)], role="tune")
    full = scene("f", [(0.4, 4, 1, 0, 4), (0.6, 2, 0, 2, 5)], role="test")
    assert str(leave_one_out([empty, full])).startswith("without f no threshold can be told")
    assert str(by_role([empty, full])).endswith("the tune scenes hold no class 1")
    swapped = [Scene(s.name, s.chips, r, s.sweep) for s, r in ((empty, "test"), (full, "tune"))]
    assert str(by_role(swapped)).endswith("the test scenes hold no class 1")


@pytest.mark.parametrize("pair", [(0.1, 0.9), (0.2, 0.8), (0.3, 0.7), (0.4, 0.6)])
def test_of_two_equally_near_the_lower_is_taken_whatever_the_last_bit_says(pair: tuple[float, float]) -> None:
    assert choose(scene("a", [(t, 4, 1, 1, 4) for t in pair]).sweep) == pair[0]


def test_ties_go_to_the_threshold_nearest_one_half_then_to_the_lower() -> None:
    rows = [(t, 4, 1, 1, 4) for t in (0.1, 0.45, 0.55, 0.9)]
    assert choose(scene("a", rows).sweep) == 0.45
    with pytest.raises(ValueError, match="was not swept"):
        at(scene("a", rows).sweep, 0.5)


def test_equal_choices_have_no_optimism_and_no_interval() -> None:
    rows = [(0.4, 5, 5, 0, 5), (0.5, 5, 0, 0, 10), (0.6, 1, 0, 4, 10)]
    found = leave_one_out([scene(n, rows) for n in "abc"])
    assert isinstance(found, Choice)
    gain = found.optimism()
    assert (gain.value, gain.low) == (0.0, None)


def test_costs_are_per_thousand_pixels_and_choose_their_own_threshold() -> None:
    held = scenes([made(f"s{i}", i, 0.03 * i) for i in range(4)])
    cheap_miss, dear_miss = bill(held, Costs(1, 4)), bill(held, Costs(4, 1))
    assert dear_miss.threshold < cheap_miss.threshold
    for found in (cheap_miss, dear_miss):
        for t, cost in found.per_px:
            m = added(held, t)
            assert cost == pytest.approx(1000 * (found.costs.fn * m.fn + found.costs.fp * m.fp) / m.total)
        assert dict(found.per_px)[found.threshold] == min(c for _, c in found.per_px)
        assert found.end is None
        assert isinstance(found.choice, Choice)
        total = found.choice.held_out.total
        said = found.choice.held_out.interval(found.costs.metric())
        assert said.value == pytest.approx(found.costs.of(total))
        assert said.low is not None
    m = added(held, 0.5)
    assert dear_miss.nothing == pytest.approx(1000 * 4 * (m.tp + m.fn) / m.total)
    assert dear_miss.everything == pytest.approx(1000 * (m.fp + m.tn) / m.total)


@pytest.mark.parametrize(("costs", "end"), [(Costs(500, 1), "lowest"), (Costs(1, 500), "highest")])
def test_a_ratio_whose_best_lies_at_the_end_is_told(costs: Costs, end: str) -> None:
    rows = [
        (t, round(100 * (1 - t)), round(200 * (1 - t) ** 2), 100 - round(100 * (1 - t)), 0) for t in (0.2, 0.5, 0.8)
    ]
    full = [(t, tp, fp, fn, 200 - fp) for t, tp, fp, fn, _ in rows]
    assert bill([scene("a", full)], costs).end == end


@pytest.mark.parametrize("pair", [(0, 0), (-1, 2), (math.nan, 1), (math.inf, 1)])
def test_senseless_costs_are_refused(pair: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="both 0 or more"):
        Costs(*pair)


def test_nothing_to_judge_is_an_error() -> None:
    with pytest.raises(ValueError, match="no scene"):
        judged([], 0.5)
