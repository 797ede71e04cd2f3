"""Meters by name: one module each, one line each in METERS.

`open_meter` gives a meter that has answered once, or the reason why it does not. No library is
imported before its meter is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from harness.cost.energy import NotMeasured
from harness.cost.meter import Meter, MeterError
from harness.cost.meters import amd, apple, nvidia, rapl
from harness.errors import RegistryError


@dataclass(frozen=True)
class Kind:
    """One line of the table."""

    open: Callable[[int], Meter | NotMeasured]
    """Opens it; takes the accelerator's index, which meters of a whole machine ignore."""
    devices: tuple[str, ...]
    """Devices of ours whose work it covers."""


METERS: dict[str, Kind] = {
    "nvidia": Kind(nvidia.open_meter, ("cuda",)),
    "amd": Kind(amd.open_meter, ("rocm",)),
    "rapl": Kind(rapl.open_meter, ("cpu",)),
    "apple": Kind(apple.open_meter, ("mps", "cpu")),
}
"""Every meter. On one device the first that opens is taken."""


def open_meter(name: str, index: int = 0) -> Meter | NotMeasured:
    """The meter of that name, after one reading that succeeded.

    Args:
        name: A line of METERS.
        index: Which accelerator, as torch counts them.

    Raises:
        RegistryError: No such meter.
    """
    if name not in METERS:
        raise RegistryError(f"no meter {name!r}; there are {', '.join(METERS)}, auto and none")
    meter = METERS[name].open(index)
    if isinstance(meter, NotMeasured):
        return meter
    try:
        joules = meter.read()
    except MeterError as err:
        return NotMeasured(str(err))
    if len(joules) != len(meter.zones):
        return NotMeasured(f"{name}: {len(joules)} readings of {len(meter.zones)} counters")
    return meter


def meter_for(device: str, index: int = 0) -> Meter | NotMeasured:
    """The first meter that covers a device and opens.

    Args:
        device: cpu, cuda, rocm or mps.
        index: Which accelerator.

    Returns:
        Not measured with the reason of each meter that was tried.
    """
    reasons = []
    for name, kind in METERS.items():
        if device in kind.devices:
            found = open_meter(name, index)
            if isinstance(found, Meter):
                return found
            reasons.append(found.reason)
    return NotMeasured("; ".join(reasons) or f"no meter covers {device}")
