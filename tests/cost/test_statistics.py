"""Means with intervals and percentiles by nearest rank, on numbers that can be checked by hand."""

from __future__ import annotations

import pytest

from harness.cost.energy import NotMeasured
from harness.cost.statistics import Mean, mean, percentile, variation


def test_nearest_rank_takes_the_value_that_the_share_does_not_exceed() -> None:
    hundred = [float(n) for n in range(100, 0, -1)]
    assert percentile(hundred, 99) == 99.0
    assert percentile(hundred, 95) == 95.0
    assert percentile(hundred, 50) == 50.0
    assert percentile(hundred[:99], 95) == 96.0, "of 2 to 100: rank 95 of 99"
    assert percentile([3.0, 1.0], 50) == 1.0


@pytest.mark.parametrize(("percent", "fewest"), [(50, 2), (95, 20), (99, 100)])
def test_a_percentile_needs_calls_above_it(percent: int, fewest: int) -> None:
    assert not isinstance(percentile([1.0] * fewest, percent), NotMeasured)
    assert isinstance(percentile([1.0] * (fewest - 1), percent), NotMeasured)
    with pytest.raises(ValueError, match="give 1 to 99"):
        percentile([1.0], 100)


def test_mean_and_student_interval_of_five_windows() -> None:
    found = mean([1.0, 2.0, 3.0, 4.0, 5.0])
    assert isinstance(found, Mean)
    assert found.value == 3.0
    assert found.low == pytest.approx(3 - 2.776445 * 1.5811388 / 5**0.5, abs=1e-5)
    assert found.high == pytest.approx(3 + 2.776445 * 1.5811388 / 5**0.5, abs=1e-5)


def test_windows_that_were_not_measured_are_left_out_and_counted() -> None:
    found = mean([1.0, NotMeasured("reset"), 3.0])
    assert isinstance(found, Mean)
    assert (found.value, found.n, found.of) == (2.0, 2, 3)
    one = mean([NotMeasured("reset"), 3.0])
    assert one == Mean(3.0, None, None, 1, 2)
    assert mean([NotMeasured("reset"), NotMeasured("stuck")]) == NotMeasured("reset")
    assert mean([]) == NotMeasured("no window was run")


def test_variation_is_spread_over_mean() -> None:
    assert variation([9.0, 11.0]) == pytest.approx(2**0.5 / 10)
    assert variation([0.0, 0.0]) == 0.0
    with pytest.raises(ValueError, match="two values"):
        variation([1.0])
