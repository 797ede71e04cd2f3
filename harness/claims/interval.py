"""Exact interval arithmetic on printed figures.

A figure printed with four decimals stands for every number that rounds to it. All
arithmetic here is on `fractions.Fraction`, so no rounding of our own is added and an
identity that holds for the unrounded figures can never raise a false alarm.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

Number = int | Fraction


@dataclass(frozen=True, slots=True)
class Interval:
    """Closed interval of rationals."""

    lo: Fraction
    """Lower end, included."""
    hi: Fraction
    """Upper end, included."""

    def __post_init__(self) -> None:
        if self.lo > self.hi:
            raise ValueError(f"interval ends in the wrong order: {self.lo} > {self.hi}")

    @classmethod
    def of(cls, value: Interval | Number) -> Interval:
        """The interval itself, or the single point `value`."""
        return value if isinstance(value, Interval) else cls(Fraction(value), Fraction(value))

    @property
    def mid(self) -> Fraction:
        """Middle of the interval."""
        return (self.lo + self.hi) / 2

    @property
    def width(self) -> Fraction:
        """Upper end less lower end."""
        return self.hi - self.lo

    def __add__(self, other: Interval | Number) -> Interval:
        o = Interval.of(other)
        return Interval(self.lo + o.lo, self.hi + o.hi)

    __radd__ = __add__

    def __neg__(self) -> Interval:
        return Interval(-self.hi, -self.lo)

    def __sub__(self, other: Interval | Number) -> Interval:
        return self + (-Interval.of(other))

    def __rsub__(self, other: Number) -> Interval:
        return Interval.of(other) - self

    def __mul__(self, other: Interval | Number) -> Interval:
        o = Interval.of(other)
        ends = (self.lo * o.lo, self.lo * o.hi, self.hi * o.lo, self.hi * o.hi)
        return Interval(min(ends), max(ends))

    __rmul__ = __mul__

    def __truediv__(self, other: Interval | Number) -> Interval:
        o = Interval.of(other)
        if o.lo <= 0 <= o.hi:
            raise ZeroDivisionError("divisor interval holds zero")
        return self * Interval(1 / o.hi, 1 / o.lo)

    def __rtruediv__(self, other: Number) -> Interval:
        return Interval.of(other) / self

    def meets(self, other: Interval) -> bool:
        """Whether the two intervals share a point."""
        return self.lo <= other.hi and other.lo <= self.hi

    def gap(self, other: Interval) -> Fraction:
        """Distance between the two intervals; 0 where they meet."""
        return max(Fraction(0), self.lo - other.hi, other.lo - self.hi)

    def clip(self, lo: Number, hi: Number) -> Interval | None:
        """The part within [lo, hi], or None where nothing is left."""
        a, b = max(self.lo, Fraction(lo)), min(self.hi, Fraction(hi))
        return Interval(a, b) if a <= b else None

    def integers(self) -> range:
        """Every integer within the interval, ends included."""
        first = -((-self.lo.numerator) // self.lo.denominator)
        last = self.hi.numerator // self.hi.denominator
        return range(first, last + 1)

    def __contains__(self, value: Number) -> bool:
        return self.lo <= value <= self.hi

    def text(self, digits: int = 4) -> str:
        """Both ends in decimals, or one number where they agree to `digits`.

        The ends are rounded to nearest for reading; decisions use the exact ends.
        """
        a, b = f"{float(self.lo):.{digits}f}", f"{float(self.hi):.{digits}f}"
        return a if a == b else f"{a}..{b}"


def mean(parts: list[Interval]) -> Interval:
    """Arithmetic mean of at least one interval."""
    if not parts:
        raise ValueError("mean of no intervals")
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total / len(parts)
