"""Student's t without SciPy: distribution function and quantile.

The distribution function is a regularised incomplete beta function (Abramowitz and Stegun, Handbook of
Mathematical Functions, 26.5.27), by its continued fraction (formula 26.5.8; number not looked up) in the way
of Lentz (1976, Applied Optics 15; volume not looked up).
"""

from __future__ import annotations

import functools
import math

STEPS = 20_000
"""Terms of the continued fraction; about the square root of the degrees of freedom are needed."""

TINY = 1e-300
"""Stands for a zero denominator in Lentz' method."""

CLOSE = 1e-16
"""The fraction has ended where a term changes it by less."""

FEWEST = 0.1
"""Degrees of freedom: with fewer, even the squares of floats do not reach into the tails."""

BRACKET = 1e150
"""No quantile is sought beyond: its square is still a float."""


def t_cdf(t: float, df: float) -> float:
    """Probability that Student's t with `df` degrees of freedom is at most `t`.

    Raises:
        ValueError: `df` is below FEWEST or not finite, or `t` is NaN.
    """
    _check_df(df)
    if math.isnan(t):
        raise ValueError("t is NaN; a number is needed")
    if math.isinf(t):
        return 1.0 if t > 0 else 0.0
    ratio = t * t / df
    if math.isinf(ratio):  # the tail beyond 1e154 holds at most 1e-15
        return 1.0 if t > 0 else 0.0
    tail = _beta_share(1 / (1 + ratio), ratio / (1 + ratio), df / 2, 0.5) / 2
    return 1 - tail if t > 0 else tail


@functools.lru_cache(maxsize=4096)
def t_quantile(p: float, df: float) -> float:
    """The t below which a share `p` of Student's distribution lies; `t_quantile(0.975, 9)` is 2.262.

    Args:
        p: Above 0 and below 1.
        df: Degrees of freedom, FEWEST or more.

    Raises:
        ValueError: `p` or `df` out of range, or the quantile beyond BRACKET.
    """
    _check_df(df)
    if not 0 < p < 1:
        raise ValueError(f"p {p} is not strictly between 0 and 1")
    if p == 0.5:
        return 0.0
    if p > 0.5:
        return -t_quantile(1 - p, df)  # the lower tail keeps its digits
    low, high = -1.0, 0.0
    while t_cdf(low, df) > p:
        low *= 2
        if low < -BRACKET:
            raise ValueError(f"the quantile of {p} with {df} degrees of freedom lies beyond {BRACKET:g}")
    while True:  # bisection down to neighbouring floats: some 60 steps, and nothing that can diverge
        middle = (low + high) / 2
        if not low < middle < high:
            return high
        low, high = (middle, high) if t_cdf(middle, df) < p else (low, middle)


def _check_df(df: float) -> None:
    if not FEWEST <= df < math.inf:
        raise ValueError(f"{df} degrees of freedom; a finite number of {FEWEST} or more is needed")


def _beta_share(x: float, y: float, a: float, b: float) -> float:
    """Regularised incomplete beta function I_x(a, b); y is 1 - x, given apart so that it keeps its digits."""
    if x <= 0 or y <= 0:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):
        return 1 - _beta_share(y, x, b, a)  # the fraction converges fast only on this side
    front = a * math.log(x) + b * math.log(y) + math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    c, d = 1.0, _away(1 - (a + b) * x / (a + 1))
    d = 1 / d
    out = d
    for m in range(1, STEPS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        before = out
        for term in (even, odd):
            d = 1 / _away(1 + term * d)
            c = _away(1 + term / c)
            out *= d * c
        if abs(out - before) <= CLOSE * abs(out):
            return math.exp(front) * out / a
    raise ArithmeticError(f"the continued fraction of I_{x}({a}, {b}) has not ended after {STEPS} terms")


def _away(value: float) -> float:
    return value if abs(value) > TINY else TINY
