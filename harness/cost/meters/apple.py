"""Apple chips: IOReport's energy channels, through zeus-apple-silicon; no sudo.

Period: not documented. The library warns of windows under 10 ms (its README, 1.1.0); `powermetrics`,
which reads the same channels, goes down to about 100 ms
(https://livebook.manning.com/learn/concepts/powermetrics--tool/quantization-and-fast-inference). 100 ms
is taken.

Boundary: package. CPU, GPU, GPU memory, neural engine and DRAM, as far as the chip has channels for
them: `covers` names those that were there. Display, disk and power supply are outside. Every process
is inside.

Counts millijoules from a moment that is fixed while the monitor lives; 64 bits here, so it does not wrap.

Known faults:

- The values are believed to be a model from load, clock and voltage, not a sensor (README of
  zeus-apple-silicon 1.1.0), and Apple's own page calls them estimates that may be inaccurate and are not
  for comparing devices (quoted there and in the book above; the page itself was not looked up). They
  are shown as measured with this basis, and compared with nothing from another meter.
- Some chips lack channels: DRAM on older ones, GPU memory on M5 (README). What is absent is outside.
- Values can be far below those of the chip's own sensors (https://www.github.com/tlkh/asitop/issues/50).
- IOReport is private to Apple; names change with the chip.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import Any

from harness.cost.energy import NotMeasured
from harness.cost.meter import Meter, MeterError, Zone

PERIOD_S = 0.1
"""See above."""

MOST_W = 1000.0
"""No Apple chip draws more."""

PARTS = ("cpu_total_mj", "gpu_mj", "gpu_sram_mj", "ane_mj", "dram_mj")
"""Channels that add up without counting anything twice: clusters and cores lie within cpu_total."""


def open_meter(
    _index: int = 0,
    load: Callable[[], Any] = lambda: importlib.import_module("zeus_apple_silicon"),
    system: str = sys.platform,
) -> Meter | NotMeasured:
    """The chip of this Mac.

    Args:
        _index: Not used: there is one chip.
        load: Gives the module zeus_apple_silicon.
        system: As `sys.platform`.
    """
    if system != "darwin":
        return NotMeasured(f"apple: this is {system}, not macOS")
    try:
        library = load()
    except ImportError as err:
        return NotMeasured(
            f"apple: zeus-apple-silicon does not load ({err}); pip install 'eo-adapter-harness[cost-mac]'"
        )
    try:
        monitor = library.AppleEnergyMonitor()
        first = monitor.get_cumulative_energy()
    except RuntimeError as err:
        return NotMeasured(f"apple: IOReport gives no energy channels: {err}")
    there = tuple(part for part in PARTS if getattr(first, part, None) is not None)
    if "cpu_total_mj" not in there:
        return NotMeasured("apple: IOReport shows no CPU energy; a chip that zeus-apple-silicon does not know")

    def read() -> tuple[float, ...]:
        try:
            now = monitor.get_cumulative_energy()
        except RuntimeError as err:
            raise MeterError(f"apple: {err}") from err
        values = [getattr(now, part, None) for part in there]
        if any(v is None for v in values):
            raise MeterError(f"apple: a channel of {', '.join(there)} is gone")
        return (sum(float(v) for v in values if v is not None) / 1000,)

    named = ", ".join(part.removesuffix("_mj").removesuffix("_total") for part in there)
    missing = [part.removesuffix("_mj") for part in PARTS if part not in there]
    return Meter(
        name="apple",
        boundary="package",
        covers=f"{named} of the chip, all processes" + (f"; no channel for {', '.join(missing)}" if missing else ""),
        basis="on-chip model",
        period_s=PERIOD_S,
        zones=(Zone("chip", MOST_W),),
        read=read,
        notes=("believed to be modelled on the chip; not for comparing devices",),
    )
