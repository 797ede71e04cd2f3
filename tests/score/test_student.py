"""Student's t against SciPy, closed forms and printed tables."""

from __future__ import annotations

import importlib
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.score.student import t_cdf, t_quantile

STATS: Any = importlib.import_module("scipy.stats")


@pytest.mark.parametrize(("p", "df", "printed"), [(0.975, 9, "2.262"), (0.95, 5, "2.015"), (0.975, 1, "12.706")])
def test_quantiles_of_printed_tables(p: float, df: int, printed: str) -> None:
    assert f"{t_quantile(p, df):.3f}" == printed


@pytest.mark.parametrize("df", [0.3, 0.7, 1, 1.5, 2, 3, 7.9, 19, 60, 499, 20_000])
@pytest.mark.parametrize("p", [1e-6, 0.005, 0.025, 0.3, 0.499, 0.6, 0.95, 0.995])
def test_quantiles_equal_scipy(p: float, df: float) -> None:
    assert t_quantile(p, df) == pytest.approx(float(STATS.t.ppf(p, df)), rel=2e-9)


@given(st.floats(-60, 60), st.floats(0.3, 400))
def test_distribution_equals_scipy(t: float, df: float) -> None:
    assert t_cdf(t, df) == pytest.approx(float(STATS.t.cdf(t, df)), rel=1e-10, abs=1e-14)


@given(st.floats(-30, 30))
def test_one_and_two_degrees_of_freedom_in_closed_form(t: float) -> None:
    assert t_cdf(t, 1) == pytest.approx(0.5 + math.atan(t) / math.pi, abs=1e-13)
    assert t_cdf(t, 2) == pytest.approx(0.5 + t / (2 * math.sqrt(2 + t * t)), abs=1e-13)


@given(st.floats(1e-4, 1 - 1e-4), st.floats(0.5, 300))
def test_the_quantile_undoes_the_distribution(p: float, df: float) -> None:
    assert t_cdf(t_quantile(p, df), df) == pytest.approx(p, rel=1e-10)


def test_ends_of_the_line() -> None:
    assert t_cdf(math.inf, 3) == 1
    assert t_cdf(-math.inf, 3) == 0
    assert t_cdf(0, 3) == 0.5
    assert t_quantile(0.5, 3) == 0
    assert t_cdf(1e200, 3) == 1


@pytest.mark.parametrize(
    ("p", "df"), [(0.0, 3), (1.0, 3), (math.nan, 3), (0.9, 0), (0.9, -1), (0.9, 0.05), (0.9, math.inf)]
)
def test_what_is_no_quantile_is_refused(p: float, df: float) -> None:
    with pytest.raises(ValueError, match=r"needed|strictly"):
        t_quantile(p, df)


def test_a_quantile_beyond_floats_is_refused() -> None:
    with pytest.raises(ValueError, match="beyond"):
        t_quantile(1e-100, 0.1)


def test_nan_has_no_probability() -> None:
    with pytest.raises(ValueError, match="NaN"):
        t_cdf(math.nan, 3)
