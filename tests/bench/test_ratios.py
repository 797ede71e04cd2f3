"""Ratios, intervals and fits on figures whose truth is known."""

from __future__ import annotations

import random

import pytest

from harness.bench.pairs import take_turns
from harness.bench.ratios import exponent, geometric_mean, paired_ratio, ratio_of_means, slope


def test_a_ratio_of_pairs_ignores_the_load_that_both_halves_met() -> None:
    load = [1.0, 5.0, 2.0, 9.0]
    found = paired_ratio([3.0 * v for v in load], [1.0 * v for v in load])
    assert (found.value, found.low, found.high) == pytest.approx((3.0, 3.0, 3.0))
    assert found.n == 4


def test_its_interval_by_hand() -> None:
    # logarithms 0 and ln 4: mean ln 2, standard error ln 2; t(0.975, 1) = 12.706
    found = paired_ratio([1.0, 4.0], [1.0, 1.0])
    assert found.value == pytest.approx(2.0)
    assert found.high == pytest.approx(2.0 * 2.0**12.7062, rel=1e-3)
    assert found.low == pytest.approx(2.0 / 2.0**12.7062, rel=1e-3)


def test_intervals_hold_the_true_ratio_as_often_as_they_say() -> None:
    luck, held = random.Random(1), 0  # noqa: S311 (no secret)
    for _ in range(400):
        ours = [luck.lognormvariate(0, 0.2) for _ in range(8)]
        plain = [luck.lognormvariate(0.5, 0.2) for _ in range(8)]
        found = ratio_of_means(plain, ours)
        held += found.low <= 2.718281828**0.5 <= found.high
    assert 360 <= held <= 395  # 95 % of 400 is 380; three standard deviations are 13


def test_the_level_widens_the_interval() -> None:
    narrow, wide = (paired_ratio([1.0, 1.2, 1.1], [1.0, 1.0, 1.0], level) for level in (0.9, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high


@pytest.mark.parametrize(("a", "b"), [([1.0], [1.0]), ([1.0, 2.0], [1.0]), ([1.0, 0.0], [1.0, 1.0])])
def test_what_gives_no_ratio_is_refused(a: list[float], b: list[float]) -> None:
    with pytest.raises(ValueError, match="seconds"):
        paired_ratio(a, b)


def test_means_and_nothing_that_varies() -> None:
    assert geometric_mean([1.0, 4.0]).value == pytest.approx(2.0)
    same = ratio_of_means([2.0, 2.0], [1.0, 1.0])
    assert (same.low, same.value, same.high) == pytest.approx((2.0, 2.0, 2.0))
    with pytest.raises(ValueError, match="two figures"):
        ratio_of_means([1.0], [1.0, 2.0])


def test_slope_and_power_by_hand() -> None:
    found = slope([1.0, 2.0, 3.0], [1.0, 2.0, 4.0])
    # residuals 1/6, -1/3, 1/6: squared sum 1/6; error sqrt(1/6 / 1 / 2); t(0.975, 1) = 12.706
    assert found.value == pytest.approx(1.5)
    assert found.high - found.value == pytest.approx(12.7062 * (1 / 12) ** 0.5, rel=1e-3)
    assert exponent([1.0, 2.0, 4.0], [3.0, 12.0, 48.0]).value == pytest.approx(2.0)
    with pytest.raises(ValueError, match="three points"):
        slope([1.0, 1.0, 1.0], [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="above 0"):
        exponent([0.0, 1.0, 2.0], [1.0, 1.0, 1.0])


class Clock:
    """Time that passes only in calls."""

    now = 0.0

    def __call__(self) -> float:
        """Seconds."""
        return self.now


def test_turns_are_taken_backwards_every_other_round_and_the_first_is_not_kept() -> None:
    clock, order, seen = Clock(), list[str](), list[dict[str, str]]()

    def way(name: str, seconds: float) -> str:
        order.append(name)
        clock.now += seconds * (100 if len(order) <= 2 else 1)
        return name.upper()

    ways = {"a": lambda: way("a", 1.0), "b": lambda: way("b", 3.0)}
    took = take_turns(ways, 2, check=lambda found: seen.append(dict(found)), clock=clock)
    assert took == {"a": [1.0, 1.0], "b": [3.0, 3.0]}
    assert order == ["a", "b", "a", "b", "b", "a"]
    assert seen == [{"a": "A", "b": "B"}]


def test_nothing_is_timed_where_results_differ() -> None:
    calls = list[str]()

    def refuse(found: object) -> None:
        raise ValueError("differ")

    with pytest.raises(ValueError, match="differ"):
        take_turns({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 5, check=refuse)
    assert calls == ["a", "b"]
    with pytest.raises(ValueError, match="0 rounds"):
        take_turns({"a": lambda: None}, 0)
