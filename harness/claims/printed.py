"""A figure as its author printed it, and the interval that it stands for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Literal

from harness.claims.interval import Interval
from harness.errors import PrintedValueError

APPROXIMATE = Fraction(1, 5)
"""Half-width of a figure printed with `~`, as a share of it: 20 %, set 2026-11-21.

Authors use `~` loosely; a wide reading means that only plain contradictions are found.
"""

SINGLE_ULP = Fraction(1, 2**22)
"""Half-width of an unrounded single-precision figure, as a share of it.

A float32 has 24 significant bits (IEEE 754-2019, table 3.2), so storing costs 2^-24 of the
value; metrics accumulated in float32 lose a little more, hence four times that.
"""

DOUBLE_ULP = Fraction(1, 2**50)
"""Half-width of an unrounded double-precision figure (53 bits), with the same margin.

Programs print floats with the fewest digits that read back to the same float, so `1.0` in such
a file is exactly one and its last decimal says nothing."""

LONG_FRACTION = 9
"""Significant digits from which a figure counts as unrounded single precision, unless the
registry says otherwise: nobody rounds a metric to nine digits."""

StoredAs = Literal["printed", "float32", "float64", "exact"]
Form = Literal["number", "approximate", "range", "at_most", "at_least", "text"]

_DIGITS = r"(?:\d{1,3}(?:,\d{3})+|\d{1,30})"
_NUMBER = rf"[+\-−]?{_DIGITS}(?:\.\d{{1,40}})?(?:[eE][+\-]?\d{{1,2}})?"
_SINGLE = re.compile(rf"^(?P<mark>~|≈|<=|>=|<|>|≤|≥)?\s*(?P<a>{_NUMBER})$")
_RANGE = re.compile(rf"^(?P<mark>~|≈)?\s*(?P<a>{_DIGITS}(?:\.\d+)?)\s*(?:-|–|\.\.)\s*(?P<b>{_DIGITS}(?:\.\d+)?)$")


@dataclass(frozen=True, slots=True)
class Printed:
    """One printed figure."""

    text: str
    """The figure as it stands in the source, without its unit."""
    form: Form
    """How it is written; `text` means that it holds no number."""
    interval: Interval | None
    """Every number that it may stand for; None for text and for one-sided bounds' open side."""
    decimals: int
    """Digits after the point; 0 for integers."""
    rounding: Interval | None = None
    """With `~`: the interval without the 20 %, for figures that enter a sum or ratio as inputs.
    The author's allowance belongs to what he concludes, not to each part."""

    @property
    def value(self) -> float:
        """Middle of the interval as a float.

        Raises:
            PrintedValueError: The figure is text.
        """
        return float(self.need().mid)

    def need(self) -> Interval:
        """The interval of a figure that must hold a number.

        Raises:
            PrintedValueError: The figure is text.
        """
        if self.interval is None:
            raise PrintedValueError(f"{self.text!r} holds no number")
        return self.interval


def _fraction(text: str) -> Fraction:
    try:
        return Fraction(Decimal(text.replace(",", "").replace("−", "-")))
    except InvalidOperation as err:
        raise PrintedValueError(f"{text!r} is not a number") from err


def _exponent(text: str) -> int:
    exponent = Decimal(text.replace(",", "").replace("−", "-")).as_tuple().exponent
    return exponent if isinstance(exponent, int) else 0


def _decimals(text: str) -> int:
    return max(0, -_exponent(text))


def _half_unit(text: str) -> Fraction:
    """Half a unit of the last printed digit: 0.00005 for 0.8107, 5,000 for 8.8e5."""
    return Fraction(10) ** _exponent(text) / 2


def _significant(text: str) -> int:
    return len(re.sub(r"[^\d]", "", text.split("e")[0].split("E")[0]).lstrip("0"))


def parse_printed(text: str, stored_as: StoredAs | None = None, *, count: bool = False) -> Printed:
    """Read a printed figure.

    Args:
        text: Figure without unit: `0.8107`, `+6.13`, `884,736`, `~325`, `25-40`, `<= 20`,
            or words such as `negligible`.
        stored_as: `float32`/`float64` for an unrounded figure from a file, `exact` for one
            that stands only for itself. Default: rounded at its last decimal, or `float32`
            from nine significant digits after the point.
        count: The figure counts things, so an integer without `~` is exact.

    Returns:
        The figure with its interval: half a unit of the last decimal either way, 20 % either
        way with `~`, both ends widened to rounding for a range.

    Raises:
        PrintedValueError: The text is empty.
    """
    clean = text.strip()
    if not clean:
        raise PrintedValueError("empty value; write null with a reason, or leave the claim out")
    if m := _RANGE.match(clean):
        a, b = _fraction(m["a"]), _fraction(m["b"])
        if a > b:
            raise PrintedValueError(f"range {clean!r} runs backwards")
        half = _half_unit(m["a"])
        return Printed(clean, "range", Interval(a - half, b + half), _decimals(m["a"]))
    m = _SINGLE.match(clean)
    if not m:
        return Printed(clean, "text", None, 0)
    number = _fraction(m["a"])
    decimals = _decimals(m["a"])
    mark = m["mark"]
    if mark in ("~", "≈"):
        last = _half_unit(m["a"])
        half = max(abs(number) * APPROXIMATE, last)
        return Printed(
            clean,
            "approximate",
            Interval(number - half, number + half),
            decimals,
            Interval(number - last, number + last),
        )
    if mark in ("<=", "<", "≤"):
        return Printed(clean, "at_most", Interval(number, number), decimals)
    if mark in (">=", ">", "≥"):
        return Printed(clean, "at_least", Interval(number, number), decimals)
    if stored_as == "exact" or (stored_as is None and count and decimals == 0):
        return Printed(clean, "number", Interval(number, number), decimals)
    if stored_as is None and decimals and _significant(m["a"]) >= LONG_FRACTION:
        stored_as = "float32"
    half = _half_unit(m["a"])
    if stored_as == "float32":
        half = abs(number) * SINGLE_ULP
    elif stored_as == "float64":
        half = abs(number) * DOUBLE_ULP
    return Printed(clean, "number", Interval(number - half, number + half), decimals)
