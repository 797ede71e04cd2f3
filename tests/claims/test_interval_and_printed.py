"""Printed figures and the arithmetic on them."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.claims.interval import Interval, mean
from harness.claims.printed import parse_printed
from harness.errors import PrintedValueError

numbers = st.fractions(min_value=-50, max_value=50, max_denominator=1000)
intervals = st.tuples(numbers, numbers).map(lambda p: Interval(min(p), max(p)))


@given(intervals, intervals, st.integers(0, 4), st.integers(0, 4))
def test_every_operation_holds_the_result_of_any_two_members(a: Interval, b: Interval, i: int, j: int) -> None:
    x, y = a.lo + a.width * i / 4, b.lo + b.width * j / 4
    assert x + y in a + b
    assert x - y in a - b
    assert x * y in a * b
    if 0 not in b:
        assert x / y in a / b


def test_division_by_an_interval_that_holds_zero_is_refused() -> None:
    with pytest.raises(ZeroDivisionError):
        Interval(Fraction(1), Fraction(2)) / Interval(Fraction(-1), Fraction(1))


def test_whole_numbers_within_an_interval_include_both_ends() -> None:
    assert list(Interval(Fraction(2), Fraction(5)).integers()) == [2, 3, 4, 5]
    assert list(Interval(Fraction(21, 10), Fraction(29, 10)).integers()) == []
    assert list(Interval(Fraction(-3, 2), Fraction(1, 2)).integers()) == [-1, 0]


def test_ends_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(ValueError, match="wrong order"):
        Interval(Fraction(2), Fraction(1))


def test_mean_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no intervals"):
        mean([])


@pytest.mark.parametrize(
    ("text", "lo", "hi"),
    [
        ("0.8107", "0.81065", "0.81075"),
        ("0.8910", "0.89095", "0.89105"),
        ("+6.13", "6.125", "6.135"),
        ("-0.2313", "-0.23135", "-0.23125"),
        ("−0.5", "-0.55", "-0.45"),
        ("~325", "260", "390"),
        ("25-40", "24.5", "40.5"),
        ("100–300", "99.5", "300.5"),
        ("<= 20", "20", "20"),
        ("8.8e5", "875000", "885000"),
        ("5e-4", "0.00045", "0.00055"),
        ("1,234.5", "1234.45", "1234.55"),
    ],
)
def test_a_printed_figure_stands_for_its_rounding_interval(text: str, lo: str, hi: str) -> None:
    printed = parse_printed(text).need()
    assert (printed.lo, printed.hi) == (Fraction(lo), Fraction(hi))


def test_counts_are_exact_unless_marked() -> None:
    assert parse_printed("884,736", count=True).need().width == 0
    assert parse_printed("~6", count=True).need().width > 2
    assert parse_printed("5").need().width == 1


def test_inputs_marked_about_enter_as_printed() -> None:
    printed = parse_printed("~3.5")
    assert printed.rounding == Interval(Fraction("3.45"), Fraction("3.55"))


def test_unrounded_figures_from_files_are_sharp_but_not_points() -> None:
    single = parse_printed("0.8107223510742188").need()
    double = parse_printed("0.8107223510742188", "float64").need()
    assert Fraction(1, 10**8) < single.width < Fraction(1, 10**6)
    assert 0 < double.width < Fraction(1, 10**14)
    assert parse_printed("1.0", "float64").need().lo > Fraction(999, 1000)


@pytest.mark.parametrize("text", ["0,58", "1,23", "12,34,567", "1.2.3", "20/20", "1e999"])
def test_odd_groupings_are_words_and_not_numbers(text: str) -> None:
    assert parse_printed(text).interval is None


def test_words_hold_no_number() -> None:
    printed = parse_printed("negligible")
    assert printed.form == "text"
    with pytest.raises(PrintedValueError, match="no number"):
        printed.need()


@pytest.mark.parametrize("text", ["", "   ", "40-25"])
def test_unreadable_values_are_refused(text: str) -> None:
    with pytest.raises(PrintedValueError):
        parse_printed(text)


@given(st.decimals(min_value=0, max_value=1, places=6), st.integers(2, 4))
def test_the_interval_holds_the_figure_that_was_rounded(value: object, places: int) -> None:
    text = f"{value:.{places}f}"
    assert Fraction(str(value)) in parse_printed(text).need()
