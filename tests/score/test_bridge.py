"""Bridges against cases worked by hand, and what must hold of every one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from harness.score.bridge import Bridge, Factor, UndefinedBridgeError, bridge
from harness.score.clusters import metric
from harness.score.confusion import ConfusionMatrix
from harness.score.corners import Corner, Corners, Kind
from harness.score.paired import paired
from harness.score.shapley import (
    LARGEST,
    alone_weights,
    corner_sets,
    interactions,
    share_weights,
    shares,
)
from harness.score.tested import holm
from tests.score.worlds import WORLDS

NOTHING: frozenset[str] = frozenset()


def factor(name: str, kind: Kind = "recipe") -> Factor:
    return Factor(name, kind, f"{name} set otherwise")


def right(*per_mille: int) -> Corner:
    """Scenes of 1,000 px in each of two classes, of which so many are right in both: accuracy in thousandths."""
    return {f"s{i}": ConfusionMatrix(((n, 1000 - n), (1000 - n, n))) for i, n in enumerate(per_mille)}


def corner(counts: NDArray[np.int64], letter: str = "s") -> Corner:
    return {f"{letter}{i}": ConfusionMatrix(tuple(map(tuple, each))) for i, each in enumerate(counts.tolist())}


def shapley_by_orders(ids: list[str], value: Mapping[frozenset[str], float]) -> dict[str, float]:
    """The definition, walked through."""
    out = dict.fromkeys(ids, 0.0)
    for order in permutations(ids):
        there: frozenset[str] = NOTHING
        for name in order:
            out[name] += (value[there | {name}] - value[there]) / math.factorial(len(ids))
            there |= {name}
    return out


def drawn(seed: int, ids: list[str], scenes: int = 4, classes: int = 2) -> dict[frozenset[str], Corner]:
    rng = np.random.default_rng(seed)
    return {
        s: corner(rng.integers(1, 500, (scenes, classes, classes)) + 300 * np.eye(classes, dtype=np.int64))
        for s in corner_sets(ids)
    }


# shares ---------------------------------------------------------------------------------------------------


def test_two_factors_by_hand() -> None:
    values = np.array([0.50, 0.60, 0.70, 0.90])  # nothing, a, b, both
    np.testing.assert_allclose(shares(values), [(0.10 + 0.20) / 2, (0.20 + 0.30) / 2])
    ((i, j, index),) = interactions(values)
    assert (i, j, round(index, 12)) == (0, 1, 0.1)  # 0.90 - 0.60 - 0.70 + 0.50


def test_three_factors_by_hand() -> None:
    """Only a and b together do anything, and c adds a tenth: a glove game with a bystander."""
    values = np.array([0.0, 0.0, 0.0, 0.6, 0.1, 0.1, 0.1, 0.7])
    np.testing.assert_allclose(shares(values), [0.3, 0.3, 0.1])
    assert [(i, j, round(v, 12)) for i, j, v in interactions(values)] == [(0, 1, 0.6), (0, 2, 0.0), (1, 2, 0.0)]


@given(st.integers(1, LARGEST), st.integers(0, 10_000))
def test_shares_are_the_average_over_all_orders_and_sum_to_the_difference(k: int, seed: int) -> None:
    values = np.random.default_rng(seed).random(1 << k)
    ids = [f"f{i}" for i in range(k)]
    found = shares(values)
    assert found.sum() == pytest.approx(values[-1] - values[0], abs=1e-12)
    if k <= 5:
        expected = shapley_by_orders(ids, dict(zip(corner_sets(ids), values.tolist(), strict=True)))
        np.testing.assert_allclose(found, list(expected.values()), atol=1e-12)


def test_the_interaction_of_two_of_three_factors_averages_over_the_third() -> None:
    values = np.zeros(8)
    values[7] = 1.0  # all three are needed
    assert interactions(values) == [(0, 1, 0.5), (0, 2, 0.5), (1, 2, 0.5)]
    assert interactions(np.array([0.2, 0.5])) == []


def test_what_is_switched_first_and_what_last() -> None:
    first, last = alone_weights(2)
    values = np.array([0.50, 0.60, 0.70, 0.90])
    np.testing.assert_allclose(first @ values, [0.10, 0.20])
    np.testing.assert_allclose(last @ values, [0.20, 0.30])


def test_weights_cannot_be_changed_behind_the_cache() -> None:
    with pytest.raises(ValueError, match="read-only"):
        share_weights(2)[0, 0] = 1


@pytest.mark.parametrize("corners", [1, 3, 128])
def test_values_of_no_factorial_are_refused(corners: int) -> None:
    with pytest.raises(ValueError, match="corners; 2 to 64"):
        shares(np.zeros(corners))


# bridges --------------------------------------------------------------------------------------------------


def test_a_bridge_by_hand() -> None:
    corners = {
        NOTHING: right(800, 820, 780, 810),
        frozenset("a"): right(850, 872, 829, 861),
        frozenset("b"): right(800, 820, 780, 810),
        frozenset("ab"): right(850, 872, 829, 861),
    }
    found = bridge([factor("a"), factor("b")], corners, "accuracy", None)
    a, b = found.shares
    assert (found.start, found.end, found.n) == (0.8025, 0.853, 4)
    assert a.effect == pytest.approx(0.0505)
    assert (a.from_start, a.from_end) == pytest.approx((0.0505, 0.0505))
    spread = np.std([0.050, 0.052, 0.049, 0.051], ddof=1) / 2
    assert a.low == pytest.approx(0.0505 - 3.182446305 * spread)
    assert a.high == pytest.approx(0.0505 + 3.182446305 * spread)
    assert a.detectable
    assert (b.effect, b.low, b.high, b.detectable) == (0, None, None, False)
    assert "nothing changes in any cluster" in b.why
    assert found.verdict == "told"
    assert found.sentence.startswith(
        "accuracy 0.8025 to 0.8530: a gap of +5.0 points; a explains +5.0 [+4.8, +5.3]; no"
    )


def test_one_factor_has_the_interval_of_the_paired_difference() -> None:
    both = WORLDS[2].draw(np.random.default_rng(3), (9,))
    first, second = corner(both[:, 0]), corner(both[:, 1])
    for name, index in (("mIoU", None), ("iou", 1)):
        one = bridge([factor("x")], {NOTHING: first, frozenset("x"): second}, name, index).shares[0]
        two = paired(both[:, 0], both[:, 1], metric(name, index), "pooled", "jackknife_t", same_labels=False).difference
        assert (one.effect, one.low, one.high) == pytest.approx((two.value, two.low, two.high), abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 4), st.integers(0, 10_000), st.sampled_from([("mIoU", None), ("iou", 1), ("accuracy", None)]))
def test_effects_sum_to_the_gap(k: int, seed: int, what: tuple[str, int | None]) -> None:
    ids = [f"f{i}" for i in range(k)]
    found = bridge([factor(i) for i in ids], drawn(seed, ids, classes=2 + seed % 2), *what, claimed=0.5)
    assert math.fsum(s.effect for s in found.shares) == pytest.approx(found.end - found.start, abs=1e-9)
    assert found.unexplained is not None
    whole = math.fsum([found.unexplained, *(s.effect for s in found.shares)])
    assert whole == pytest.approx(found.end - 0.5, abs=1e-9)


@pytest.mark.parametrize("k", [1, 3, LARGEST])
def test_effects_sum_to_the_gap_up_to_six_factors(k: int) -> None:
    ids = [f"f{i}" for i in range(k)]
    found = bridge([factor(i) for i in ids], drawn(k, ids, 3, 5), "mIoU", None)
    assert abs(math.fsum(s.effect for s in found.shares) - (found.end - found.start)) < 1e-9
    assert len(found.interactions) == k * (k - 1) // 2
    sizes = [abs(v) for _, _, v in found.interactions]
    assert sizes == sorted(sizes, reverse=True)


def test_factors_that_do_the_same_get_the_same() -> None:
    low, middle, high = right(700, 720, 690), right(760, 790, 740), right(880, 900, 870)
    corners = {NOTHING: low, frozenset("a"): middle, frozenset("b"): middle, frozenset("ab"): high}
    a, b = bridge([factor("a"), factor("b")], corners, "mIoU", None).shares
    assert a.effect == pytest.approx(b.effect, abs=1e-15)
    assert (a.low, a.high, a.p) == pytest.approx((b.low, b.high, b.p), abs=1e-12)


def test_a_factor_that_changes_nothing_has_no_share_whatever_the_others_do() -> None:
    some = drawn(5, ["a", "b"])
    corners = {s | extra: m for s, m in some.items() for extra in (NOTHING, frozenset({"null"}))}
    found = bridge([factor("a"), factor("null"), factor("b")], corners, "mIoU", None)
    assert found.shares[1].effect == pytest.approx(0, abs=1e-15)
    assert not found.shares[1].detectable
    alone = bridge([factor("a"), factor("b")], some, "mIoU", None)
    assert [s.effect for s in found.shares[::2]] == pytest.approx([s.effect for s in alone.shares])


def test_neither_the_order_of_factors_nor_that_of_scenes_changes_anything() -> None:
    ids = ["a", "b", "c"]
    corners = drawn(8, ids)
    turned = {s: dict(reversed(list(m.items()))) for s, m in reversed(list(corners.items()))}
    one = bridge([factor(i) for i in ids], corners, "mIoU", None, 0.6)
    two = bridge([factor(i) for i in reversed(ids)], turned, "mIoU", None, 0.6)
    assert one.shares == two.shares[::-1]
    assert (one.start, one.end, one.band, one.interactions) == (two.start, two.end, two.band, two.interactions)


def test_an_effect_below_the_floor_is_not_spoken_of_however_sure() -> None:
    corners = {NOTHING: right(800, 820, 780, 810), frozenset("a"): right(810, 830, 791, 820)}
    (a,) = bridge([factor("a")], corners, "accuracy", None).shares
    assert a.low is not None
    assert a.low > 0
    assert not a.detectable
    assert a.why == "no detectable effect: smaller than 2 points"
    (a,) = bridge([factor("a")], corners, "accuracy", None, floor=0.005).shares
    assert a.detectable


def test_a_large_effect_that_one_scene_makes_cannot_be_told() -> None:
    corners = {NOTHING: right(800, 800, 800, 800), frozenset("a"): right(800, 800, 800, 980)}
    found = bridge([factor("a")], corners, "accuracy", None)
    (a,) = found.shares
    assert a.effect == pytest.approx(0.045)
    assert not a.detectable
    assert "other scenes might show up to 18.8 points" in a.why
    assert (found.verdict, found.why.split(":")[0]) == ("cannot be told", "a +4.5 [-9.8, +18.8]")
    assert "Cannot be told" in found.sentence


def test_a_small_open_share_beside_a_large_sure_one_is_told_and_named() -> None:
    steady, wild = (800, 800, 800, 800), (805, 800, 805, 890)
    corners = {
        NOTHING: right(*steady),
        frozenset("a"): right(*(n - 300 + d for n, d in zip(steady, (0, 4, -4, 0), strict=True))),
        frozenset("b"): right(*wild),
        frozenset("ab"): right(*(n - 300 + d for n, d in zip(wild, (0, 4, -4, 0), strict=True))),
    }
    found = bridge([factor("a"), factor("b")], corners, "accuracy", None)
    assert [s.detectable for s in found.shares] == [True, False]
    assert found.verdict == "told"
    assert "open stays b +2.5" in found.why


def test_less_than_four_fifths_established_cannot_be_told() -> None:
    steady, wild = (800, 800, 800, 800), (805, 800, 805, 890)
    for drop, verdict in ((90, "cannot be told"), (110, "told")):  # beside an open 25: 78 % and 81 %
        less = (0, 4, -4, 0)
        corners = {
            NOTHING: right(*steady),
            frozenset("a"): right(*(n - drop + d for n, d in zip(steady, less, strict=True))),
            frozenset("b"): right(*wild),
            frozenset("ab"): right(*(n - drop + d for n, d in zip(wild, less, strict=True))),
        }
        assert bridge([factor("a"), factor("b")], corners, "accuracy", None).verdict == verdict


def test_two_scenes_give_no_useful_interval() -> None:
    found = bridge([factor("a")], {NOTHING: right(800, 810), frozenset("a"): right(900, 911)}, "accuracy", None)
    (a,) = found.shares
    assert a.low is not None
    assert (a.p, a.detectable) == (None, False)
    assert "weigh like 2.0" in a.why
    assert found.verdict == "cannot be told"


def test_one_scene_gives_no_interval() -> None:
    found = bridge([factor("a")], {NOTHING: right(800), frozenset("a"): right(900)}, "accuracy", None, 0.7)
    (a,) = found.shares
    assert (a.low, a.high, a.detectable, found.band) == (None, None, False, None)
    assert "no interval" in a.why
    assert "no band" in found.band_why
    assert found.verdict == "cannot be told"


def test_what_holds_one_class_in_one_scene_has_no_interval() -> None:
    def both(right_px: int) -> Corner:
        plain = ConfusionMatrix(((900, 100), (0, 0)))
        return {"s0": plain, "s1": plain, "s2": plain, "s3": ConfusionMatrix(((900, 0), (1000 - right_px, right_px)))}

    found = bridge([factor("a")], {NOTHING: both(500), frozenset("a"): both(900)}, "recall", 1)
    assert found.shares[0].effect == pytest.approx(0.4)
    assert found.shares[0].low is None
    assert "hangs on a single one" in found.shares[0].why


# populations ----------------------------------------------------------------------------------------------


def test_other_scenes_have_the_error_of_two_samples() -> None:
    here, there = (800, 820, 780, 810, 790), (700, 760, 720)
    corners = {
        NOTHING: right(*here),
        frozenset("p"): {f"t{i}": m for i, m in enumerate(right(*there).values())},
    }
    found = bridge([factor("p", "population")], corners, "accuracy", None)
    (p,) = found.shares
    v, w = np.var(here, ddof=1) / 5e6, np.var(there, ddof=1) / 3e6
    df = math.floor(10 * (v + w) ** 2 / (v**2 / 4 + w**2 / 2)) / 10  # Welch's, to tenths
    assert found.n == 8
    assert p.effect == pytest.approx(np.mean(there) / 1000 - 0.8)
    assert 2 < df < 3
    assert p.high is not None
    half = p.high - p.effect
    assert half == pytest.approx(_t(df) * math.sqrt(v + w))


def _t(df: float) -> float:
    from harness.score.student import t_quantile

    return t_quantile(0.975, df)


def test_scenes_that_both_populations_hold_cancel() -> None:
    many = {f"s{i}": m for i, m in enumerate(right(800, 900, 700, 850, 750, 820).values())}
    half = {name: m for name, m in many.items() if name != "s5"}
    apart = {f"t{i}": m for i, m in enumerate(half.values())}
    shared = bridge([factor("p", "population")], {NOTHING: many, frozenset("p"): half}, "accuracy", None).shares[0]
    other = bridge([factor("p", "population")], {NOTHING: many, frozenset("p"): apart}, "accuracy", None).shares[0]
    assert shared.effect == pytest.approx(other.effect)
    assert shared.high is not None
    assert other.high is not None
    assert shared.high - shared.effect < 0.5 * (other.high - other.effect)


def test_a_knob_stays_paired_within_each_population() -> None:
    a, b = WORLDS[0].draw(np.random.default_rng(1), (8,)), WORLDS[0].draw(np.random.default_rng(2), (8,))
    corners = {
        NOTHING: corner(a[:, 0]),
        frozenset("k"): corner(a[:, 1]),
        frozenset("p"): corner(b[:, 0], "t"),
        frozenset("kp"): corner(b[:, 1], "t"),
    }
    knob, people = bridge([factor("k"), factor("p", "population")], corners, "mIoU", None).shares
    assert knob.high is not None
    assert people.high is not None
    assert knob.high - knob.effect < 0.35 * (people.high - people.effect)
    own = [
        bridge([factor("k")], {NOTHING: corner(x[:, 0]), frozenset("k"): corner(x[:, 1])}, "mIoU", None) for x in (a, b)
    ]
    assert knob.effect == pytest.approx(sum(each.shares[0].effect for each in own) / 2)


def test_a_scene_without_a_pixel_is_no_scene() -> None:
    empty = {"none": ConfusionMatrix.empty(2)}
    plain = {NOTHING: right(800, 820, 780), frozenset("a"): right(900, 930, 870)}
    with_it = {s: {**m, **empty} for s, m in plain.items()}
    assert bridge([factor("a")], with_it, "accuracy", None) == bridge([factor("a")], plain, "accuracy", None)


# the claim ------------------------------------------------------------------------------------------------


def claimed(value: float, **more: object) -> Bridge:
    corners = {NOTHING: right(800, 820, 780, 810), frozenset("a"): right(850, 872, 829, 861)}
    return bridge([factor("a")], corners, "accuracy", None, value, **more)  # type: ignore[arg-type]


def test_what_the_rerun_does_not_meet_stays_unexplained() -> None:
    found = claimed(0.9)
    assert found.unexplained == pytest.approx(0.8025 - 0.9)
    error = np.std([0.8, 0.82, 0.78, 0.81], ddof=1) / 2 * math.sqrt(2)
    assert found.band == pytest.approx((-0.0975 - 3.182446305 * error, -0.0975 + 3.182446305 * error))
    assert "assumed as many as here" in found.band_why
    assert found.unexplained_beyond
    assert "-9.8 stays unexplained, beyond what other scenes would do [-13.6, -5.9]" in found.sentence
    assert found.shares[0].effect == pytest.approx(claimed(0.1).shares[0].effect)


def test_a_remainder_within_the_band_is_not_beyond_sampling() -> None:
    found = claimed(0.825)
    assert found.unexplained == pytest.approx(-0.0225)
    assert not found.unexplained_beyond
    assert "not beyond" in found.sentence


def test_a_small_remainder_that_is_sure_is_not_called_within_the_band() -> None:
    steady = right(*(800 + d for d in range(12)))
    found = bridge([factor("a")], {NOTHING: steady, frozenset("a"): steady}, "accuracy", None, 0.79)
    assert found.band is not None
    assert found.band[0] > 0
    assert "less than 2 points, though beyond what other scenes would do" in found.sentence
    assert not found.unexplained_beyond


@pytest.mark.parametrize(("scenes", "said"), [((800,), "there is no band"), ((800, 820), "the band is not useful")])
def test_a_remainder_that_nothing_can_be_said_of_is_no_remainder_within_a_band(
    scenes: tuple[int, ...], said: str
) -> None:
    found = bridge([factor("a")], {NOTHING: right(*scenes), frozenset("a"): right(*scenes)}, "accuracy", None, 0.5)
    assert f"stays unexplained, whether other scenes would do that is not known: {said}" in found.sentence
    assert "not beyond" not in found.sentence


@pytest.mark.parametrize(("scenes", "gain"), [((800,), 15), ((800, 810), 15), ((800,), 200)])
def test_what_no_interval_speaks_of_is_neither_told_nor_without_effect(scenes: tuple[int, ...], gain: int) -> None:
    moved = right(*(n + gain + i for i, n in enumerate(scenes)))
    found = bridge([factor("a")], {NOTHING: right(*scenes), frozenset("a"): moved}, "accuracy", None)
    assert (found.verdict, found.shares[0].why.split(";")[0]) == ("cannot be told", "not testable")
    assert "not testable: a (+" in found.sentence
    assert "no detectable effect" not in found.sentence


def test_what_changes_nothing_anywhere_has_no_effect_however_few_scenes() -> None:
    found = bridge([factor("a")], {NOTHING: right(800), frozenset("a"): right(800)}, "accuracy", None)
    assert found.verdict == "told"
    assert found.why == "no share reaches 2 points"
    assert found.shares[0].why.startswith("no detectable effect; no interval")


def test_small_shares_with_a_wide_interval_say_how_far_others_may_lie() -> None:
    moved = right(800, 700, 900, 830)
    found = bridge([factor("a")], {NOTHING: right(*[800] * 4), frozenset("a"): moved}, "accuracy", None)
    assert found.verdict == "told"
    assert found.why.startswith("no share reaches 2 points, though other scenes might show up to ")


def test_a_claim_on_few_scenes_has_a_wide_band() -> None:
    wide, narrow = claimed(0.9, claim_clusters=1).band, claimed(0.9, claim_clusters=1000).band
    assert wide is not None
    assert narrow is not None
    ratio = (wide[1] - wide[0]) / (narrow[1] - narrow[0])
    assert ratio == pytest.approx(math.sqrt(5 / 1.004))


def test_on_the_same_scenes_no_sampling_lies_between() -> None:
    found = claimed(0.825, claim_scenes="same")
    assert (found.band, found.unexplained_beyond) == (None, True)
    assert "same scenes" in found.band_why
    assert not claimed(0.81, claim_scenes="same").unexplained_beyond
    said = claimed(0.81, claim_scenes="same").sentence
    assert "-0.8 stays unexplained, less than 2 points, on the same scenes." in said


def test_without_a_claim_there_is_no_remainder() -> None:
    found = bridge([factor("a")], {NOTHING: right(800, 820, 780), frozenset("a"): right(900, 930, 870)}, "mIoU", None)
    assert (found.claimed, found.unexplained, found.band, found.band_why) == (None, None, None, "")


# what is looked at together -------------------------------------------------------------------------------


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([0.01, None]) == [pytest.approx(0.02), None]
    assert holm([]) == []


def test_more_factors_and_a_claim_ask_for_more_evidence() -> None:
    first, second = right(800, 820, 780, 810), right(815, 870, 800, 850)
    corners: dict[frozenset[str], Corner] = {NOTHING: first, frozenset("a"): second}
    alone = bridge([factor("a")], corners, "accuracy", None).shares[0]
    beside_a_claim = bridge([factor("a")], corners, "accuracy", None, 0.8025).shares[0]
    corners |= {frozenset("b"): right(803, 818, 781, 809), frozenset("ab"): right(818, 868, 801, 849)}
    beside_b = bridge([factor("a"), factor("b")], corners, "accuracy", None).shares[0]
    assert alone.p is not None
    assert beside_a_claim.p == pytest.approx(2 * alone.p)
    assert beside_b.p == pytest.approx(2 * alone.p, rel=0.01)
    assert (beside_a_claim.low, beside_a_claim.high) == (alone.low, alone.high)
    assert (alone.detectable, beside_a_claim.detectable) == (True, False)


# refused --------------------------------------------------------------------------------------------------


def refused(match: str, factors: list[Factor], corners: Mapping[frozenset[str], Corner], **more: object) -> None:
    with pytest.raises(ValueError, match=match):
        bridge(factors, corners, "mIoU", None, **more)  # type: ignore[arg-type]


def test_seven_factors_are_refused_and_what_to_group_is_named() -> None:
    many = [factor(f"r{i}") for i in range(5)] + [factor("s", "scheme"), factor("p", "population")]
    refused("7 factors make 128 combinations; at most 6.* Group r0, r1, r2, r3, r4 into one .2 or more", many, {})


def test_what_is_no_full_factorial_is_refused() -> None:
    a, b = right(800, 820), right(900, 910)
    refused("no factor", [], {NOTHING: a})
    refused("several factors called a", [factor("a"), factor("a")], {NOTHING: a})
    refused("1 of 2 combinations are missing, the first with a switched", [factor("a")], {NOTHING: a})
    refused("names what is no factor", [factor("a")], {NOTHING: a, frozenset("a"): b, frozenset("z"): b})
    refused("no cluster with a switched", [factor("a")], {NOTHING: a, frozenset("a"): {}})


def test_only_a_population_may_bring_other_scenes() -> None:
    corners = {NOTHING: right(800, 820, 810), frozenset("a"): right(900, 910)}
    refused("'s2' is there .* not in both, and no population", [factor("a")], corners)
    assert bridge([factor("a", "population")], corners, "mIoU", None).n == 3


def test_schemes_of_other_sizes_are_refused() -> None:
    three = {f"s{i}": ConfusionMatrix(((5, 1, 1), (1, 5, 1), (1, 1, 5))) for i in range(2)}
    refused(r"matrices of \[2, 3\] classes", [factor("a", "scheme")], {NOTHING: right(800, 1), frozenset("a"): three})


def test_another_device_cannot_change_the_label() -> None:
    first, second = right(800, 820, 790), dict(right(801, 821, 791))
    assert bridge([factor("d", "device")], {NOTHING: first, frozenset("d"): second}, "mIoU", None).n == 3
    second["s1"] = ConfusionMatrix(((820, 180), (179, 820)))
    refused(
        "'s1' has other label pixels under d, a device",
        [factor("d", "device")],
        {NOTHING: first, frozenset("d"): second},
    )
    assert bridge([factor("d")], {NOTHING: first, frozenset("d"): second}, "mIoU", None).n == 3


def test_numbers_that_are_none_are_refused() -> None:
    corners = {NOTHING: right(800, 820), frozenset("a"): right(900, 910)}
    refused("level 1.0", [factor("a")], corners, level=1.0)
    refused("floor -1", [factor("a")], corners, floor=-1)
    refused("nan is no number", [factor("a")], corners, claimed=math.nan)
    refused("claim on 0 scenes", [factor("a")], corners, claimed=0.5, claim_clusters=0)
    refused("claim_scenes 'ours'", [factor("a")], corners, claim_scenes="ours")


def test_an_undefined_metric_is_named_with_its_reason_and_never_zero() -> None:
    none = {f"s{i}": ConfusionMatrix(((900, 0), (0, 0))) for i in range(3)}
    some = right(800, 820, 790)
    with pytest.raises(UndefinedBridgeError, match=r"iou\[1\] is undefined with a switched: class 1 is in neither"):
        bridge([factor("a")], {NOTHING: some, frozenset("a"): none}, "iou", 1)
    with pytest.raises(UndefinedBridgeError, match=r"recall\[1\] is undefined with nothing switched"):
        bridge([factor("a")], {NOTHING: none, frozenset("a"): some}, "recall", 1)
    empty = {f"s{i}": ConfusionMatrix.empty(2) for i in range(3)}
    with pytest.raises(UndefinedBridgeError, match="no pixel is counted with a switched"):
        bridge(
            [factor("a", "population")], {NOTHING: some, frozenset("a"): {"t": ConfusionMatrix.empty(2)}}, "mIoU", None
        )
    with pytest.raises(UndefinedBridgeError, match="no pixel is counted with a switched"):
        bridge([factor("a")], {NOTHING: some, frozenset("a"): empty}, "mIoU", None)


def test_a_mean_over_other_classes_is_no_bridge_unless_the_classes_are_said() -> None:
    two = {f"s{i}": ConfusionMatrix(((800 + i, 100, 0), (90, 700, 0), (0, 0, 0))) for i in range(3)}
    three = {f"s{i}": ConfusionMatrix(((800, 90, 5), (90, 700 + i, 5), (9, 9, 90))) for i in range(3)}
    corners = {NOTHING: two, frozenset("a"): three}
    with pytest.raises(UndefinedBridgeError, match=r"not one quantity over the 2 combinations: class \[2\]"):
        bridge([factor("a")], corners, "mIoU", None)
    found = bridge([factor("a")], corners, "mIoU", None, over=(0, 1))
    first = np.mean([(2403) / (2403 + 300 + 270), 2100 / (2100 + 270 + 300)])
    assert found.start == pytest.approx(float(first))


def test_the_jackknife_of_a_bridge_is_that_of_leaving_scenes_out() -> None:
    """Shares computed anew without each scene, against the errors by weights."""
    ids = ["a", "b"]
    corners = drawn(11, ids, scenes=5)
    factors = [factor(i) for i in ids]
    whole = Corners(factors, corners, "mIoU", None, None)
    found = whole.spread(share_weights(2))
    without = []
    for gone in corners[NOTHING]:
        less = {s: {i: m for i, m in each.items() if i != gone} for s, each in corners.items()}
        without.append(share_weights(2) @ Corners(factors, less, "mIoU", None, None).values)
    apart = np.array(without) - np.mean(without, axis=0)
    np.testing.assert_allclose(found.error, np.sqrt(4 / 5 * (apart**2).sum(0)))
