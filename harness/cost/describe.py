"""Windows as a record: means with intervals, per square kilometre, and reasons where there is nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from harness.cost.energy import Joules, NotMeasured
from harness.cost.meter import Meter
from harness.cost.protocol import Window, Windows
from harness.cost.statistics import Mean
from harness.errors import RegistryError
from harness.records.cost import CallCost, Dates, Figure, MeasuredEnergy, MeterRecord, Stage, WindowRecord

ASSUMPTIONS = (
    "Random weights change neither the number of operations nor their order: time and joules of a topology are those "
    "of its published adapters in shape only, and no claim is judged by them.",
    "Made-up inputs of unit variance take the time of real chips; their bits differ, and joules with them.",
    "Calls come one after another, each waited for.",
    "Intervals are over windows in one process on one day.",
)
"""Printed beside every table."""


@dataclass(frozen=True)
class What:
    """What was called, as far as windows do not know."""

    adapter: str
    """Adapter id."""
    stage: Stage
    """Which part."""
    chip_px: int
    """Side of a chip."""
    gsd_m: float
    """Side of a pixel."""
    input: Literal["real", "made-up"]
    """What went in."""
    input_ids: tuple[str, ...]
    """Which."""
    weights: Literal["published", "random", "other"]
    """Whose."""
    device: str
    """cpu, cuda, rocm or mps."""
    device_name: str
    """As its maker names it."""
    build: str
    """Torch and the library that drives the device."""
    dtype: str
    """Precision."""
    threads: int
    """On the CPU."""
    recipe: str | None = None
    """How chips became tensors."""
    tokens: str | None = None
    """How tokens were chosen."""
    best: bool = False
    """Whether the search chose the batch."""
    dates: Dates = "all at once"
    """How dates are encoded."""


def km2(chip_px: int, gsd_m: float) -> float:
    """Square kilometres that one chip maps: 5.0176 for 224 px at 10 m.

    Raises:
        RegistryError: No area.
    """
    if chip_px < 1 or not gsd_m > 0:
        raise RegistryError(f"a chip of {chip_px} px at {gsd_m} m has no area")
    return (chip_px * gsd_m / 1000) ** 2


def figure(found: Mean | NotMeasured, unit: str, divisor: float = 1.0) -> Figure:
    """A mean as a record."""
    if isinstance(found, NotMeasured):
        return Figure(unit=unit, reason=found.reason)
    scaled = replace(
        found,
        value=found.value / divisor,
        low=None if found.low is None else found.low / divisor,
        high=None if found.high is None else found.high / divisor,
    )
    return Figure(value=scaled.value, low=scaled.low, high=scaled.high, n=found.n, of=found.of, unit=unit)


def _over_calls(found: float | NotMeasured, calls: int) -> Figure:
    if isinstance(found, NotMeasured):
        return Figure(unit="s", n=0, of=calls, reason=found.reason)
    return Figure(value=found, n=calls, of=calls, unit="s")


def call_cost(windows: Windows, what: What) -> CallCost:
    """One call's windows as a record."""
    area, calls = km2(what.chip_px, what.gsd_m), len(windows.latencies_s)
    return CallCost(
        adapter=what.adapter,
        stage=what.stage,
        batch=windows.items,
        best=what.best,
        chip_px=what.chip_px,
        gsd_m=what.gsd_m,
        input=what.input,
        input_ids=list(what.input_ids),
        recipe=what.recipe,
        weights=what.weights,
        device=what.device,
        device_name=what.device_name,
        build=what.build,
        dtype=what.dtype,
        threads=what.threads,
        tokens=what.tokens,
        dates=what.dates,
        warm_up_calls=windows.warm_up.calls,
        warm_up_variation=windows.warm_up.variation,
        warm_up_reached=windows.warm_up.reached,
        latency=figure(windows.latency_s, "s"),
        median=_over_calls(windows.median_s, calls),
        p95=_over_calls(windows.percentile_s(95), calls),
        p99=_over_calls(windows.percentile_s(99), calls),
        throughput=figure(windows.throughput_per_s, "1/s"),
        seconds_per_km2=figure(windows.seconds_per_item, "s/km2", area),
        energy=MeasuredEnergy(
            gross=figure(windows.gross_per_item_j, "J"),
            net=figure(windows.net_per_item_j, "J"),
            gross_per_km2=figure(windows.gross_per_item_j, "J/km2", area),
            net_per_km2=figure(windows.net_per_item_j, "J/km2", area),
            idle_w=figure(windows.idle_w, "W"),
        ),
        meter=None if isinstance(windows.meter, NotMeasured) else _meter(windows.meter),
        windows=[_window(w) for w in windows.windows],
        shortfalls=windows.settings.short(),
    )


def _meter(meter: Meter) -> MeterRecord:
    return MeterRecord(
        name=meter.name,
        boundary=meter.boundary,
        covers=meter.covers,
        basis=meter.basis,
        period_s=meter.period_s,
        zones=[z.name for z in meter.zones],
        notes=list(meter.notes),
    )


def _window(window: Window) -> WindowRecord:
    found = {
        "gross": window.gross,
        "net": window.net,
        "idle before": window.before.power_w,
        "idle after": window.after.power_w,
    }
    values = {k: v.value if isinstance(v, Joules) else v for k, v in found.items() if not isinstance(v, NotMeasured)}
    reasons = dict.fromkeys(v.reason for v in found.values() if isinstance(v, NotMeasured))
    return WindowRecord(
        seconds=window.seconds,
        calls=window.calls,
        mean_s=sum(window.latencies_s) / window.calls,
        gross_j=values.get("gross"),
        net_j=values.get("net"),
        idle_before_w=values.get("idle before"),
        idle_after_w=values.get("idle after"),
        reasons=list(reasons),
        start=dict(window.conditions[0]),
        end=dict(window.conditions[1]),
    )
