"""Joules from a counter, joules from a model, and no joules: three types that do not mix.

The type checker refuses to add, subtract, divide or compare the first with the second, and so does
Python while it runs. A modelled figure can only be shown.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

_APART = "joules of a counter and modelled joules are never added or compared: one was measured, the other assumed"


@dataclass(frozen=True, slots=True)
class NotMeasured:
    """No figure, and why."""

    reason: str
    """What was wrong, and what to do where something can be done."""

    def __str__(self) -> str:
        return f"not measured: {self.reason}"


@dataclass(frozen=True, slots=True)
class Joules:
    """Energy that a counter of the hardware or its firmware accumulated.

    Only `harness.cost.trace` makes one from readings; sums, differences and shares of them follow.
    """

    value: float
    """In joules; negative only as a difference."""

    def __post_init__(self) -> None:
        _number(self.value)

    def __add__(self, other: Joules) -> Joules:
        return Joules(self.value + _measured(other))

    def __sub__(self, other: Joules) -> Joules:
        return Joules(self.value - _measured(other))

    def __mul__(self, factor: float) -> Joules:
        return Joules(self.value * factor)

    def __truediv__(self, divisor: float) -> Joules:
        return Joules(self.value / divisor)

    def __lt__(self, other: Joules) -> bool:
        return self.value < _measured(other)

    def __le__(self, other: Joules) -> bool:
        return self.value <= _measured(other)

    def over(self, other: Joules) -> float:
        """This as a multiple of other measured joules."""
        return self.value / _measured(other)

    if not TYPE_CHECKING:
        # mypy flags Joules == ModelledJoules by itself, unless it sees an __eq__ that takes anything.
        def __eq__(self, other: object) -> bool:
            return self.value == other.value if _alike(self, other) else NotImplemented

        def __hash__(self) -> int:
            return hash((Joules, self.value))


@dataclass(frozen=True, slots=True)
class ModelledJoules:
    """Energy that somebody's model gives: seconds times watts that were assumed, a load curve, a TDP.

    It has no arithmetic and no order: it is shown with its model, apart from what was measured.
    """

    value: float
    """In joules."""
    model: str
    """What was assumed, in words: `12.0 W for any Apple chip`, `codecarbon, cpu load`."""

    def __post_init__(self) -> None:
        _number(self.value)
        if not self.model.strip():
            raise ValueError("modelled joules must name their model")

    def __str__(self) -> str:
        return f"{self.value:.4g} J modelled ({self.model})"

    if not TYPE_CHECKING:

        def __eq__(self, other: object) -> bool:
            return (self.value, self.model) == (other.value, other.model) if _alike(self, other) else NotImplemented

        def __hash__(self) -> int:
            return hash((ModelledJoules, self.value, self.model))


def _number(value: float) -> None:
    if not math.isfinite(value):
        raise ValueError(f"{value} J is no energy; an unreadable meter is NotMeasured")


def _measured(other: object) -> float:
    if isinstance(other, Joules):
        return other.value
    if isinstance(other, ModelledJoules):
        raise TypeError(_APART)
    raise TypeError(f"{type(other).__name__} beside measured joules; both must be Joules")


def _alike(one: object, other: object) -> bool:
    """Whether both are of one type; two kinds of joules are an error and not merely unequal."""
    if {type(one), type(other)} == {Joules, ModelledJoules}:
        raise TypeError(_APART)
    return type(one) is type(other)
