"""What a meter is: one or more counters of joules, and what is known of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from harness.errors import DeviceError

Boundary = Literal["device", "package", "machine"]
"""device: one accelerator board; package: processor packages and what sits in or beside them;
machine: everything behind one plug. Joules of unlike boundary are not comparable."""

Basis = Literal["sensor", "on-chip model", "not documented"]
"""What the counter accumulates, as far as anybody has said."""


class MeterError(DeviceError):
    """A counter could not be read this time; the message says which and why."""


@dataclass(frozen=True)
class Zone:
    """One counter of a meter."""

    name: str
    """As the machine calls it: `package-0`, `GPU 0`."""
    most_w: float
    """Power that it cannot exceed; a step above it is a fault of the counter. Generous."""
    range_j: float | None = None
    """Joules after which it starts again at 0; None where it does not within any run."""

    def __post_init__(self) -> None:
        if not self.most_w > 0 or (self.range_j is not None and not self.range_j > 0):
            raise ValueError(f"{self.name}: range and largest power must be positive")


@dataclass(frozen=True)
class Meter:
    """A meter that answered when it was opened."""

    name: str
    """Its line in `harness.cost.meters.METERS`."""
    boundary: Boundary
    """What kind of thing it measures."""
    covers: str
    """What exactly, on this machine, and what is outside."""
    basis: Basis
    """What its counters accumulate."""
    period_s: float
    """Seconds between two updates of the counter, the longest that is known of."""
    zones: tuple[Zone, ...]
    """Its counters; their joules are summed."""
    read: Callable[[], tuple[float, ...]]
    """Joules of each zone since some moment, in the order of `zones`; raises MeterError."""
    conditions: Callable[[], Mapping[str, str]] = field(default=dict)
    """Clocks, limits and temperatures of the same device, as far as they can be read now."""
    notes: tuple[str, ...] = ()
    """What a reader must know of this machine's counters."""

    def __post_init__(self) -> None:
        if not self.zones or not (self.period_s > 0 and math.isfinite(self.period_s)):
            raise ValueError(f"{self.name}: a meter has zones and a period")
