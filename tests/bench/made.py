"""Records of the bench whose figures are known, made without running anything."""

from __future__ import annotations

import random
from typing import Any

from harness.cost.describe import What, call_cost
from harness.cost.protocol import Settings, measure_windows
from harness.records.bench import BenchRecord, Growth, Machine, Pairs, Part, Peaks, Size
from harness.records.cost import CallCost
from tests.cost.worlds import World

MACHINE: dict[str, Any] = {
    "system": "Linux x86_64",
    "cpu": "Maker(R) Model 7 (family 6, model 1)",
    "cores": 2,
    "memory_gib": 8,
    "device_kind": "cpu",
    "device": "Maker(R) Model 7 (family 6, model 1)",
    "build": "torch 1",
    "threads": 2,
    "packages": {"torch": "1"},
    "python": "3.11.0",
}
"""No machine."""


def pairs(
    id_: str, ours_s: float, reference_s: float, *, n: int = 9, seed: int = 0, noise: float = 0.02, load: float = 0.5
) -> Pairs:
    """A row about those seconds.

    Args:
        id_: Row.
        ours_s: Of ours, on a machine at rest.
        reference_s: Of the reference.
        n: Pairs.
        seed: Of the noise.
        noise: Of each reading, as a share.
        load: By how much more a pair may take because of what else runs; it meets both halves alike.
    """
    luck = random.Random(f"{id_} {seed}")  # noqa: S311 (no secret)
    busy = [1 + load * luck.random() for _ in range(n)]
    group: Any = id_.partition("/")[0]
    return Pairs(
        id=id_,
        group=group,
        adapter=id_.partition("/")[2] or None,
        ours="our way",
        reference="a plain way",
        ours_s=[ours_s * b * luck.gauss(1, noise) for b in busy],
        reference_s=[reference_s * b * luck.gauss(1, noise) for b in busy],
        processes="one process",
        same="equal",
        of="something",
    )


def call(adapter: str, seconds: float, *, tokens: str | None = None, weights: str = "random") -> CallCost:
    """A forward of so many seconds without a counter."""
    world = World(call_s=seconds)
    settings = Settings(windows=3, window_s=0, fewest_calls=2, warm_calls=2, cool_s=0, idle_s=0)
    windows = measure_windows(world.call, settings=settings, clock=world.clock, sleep=world.sleep)
    what: dict[str, Any] = {
        "adapter": adapter,
        "stage": "forward",
        "chip_px": 224,
        "gsd_m": 10.0,
        "input": "made-up",
        "input_ids": ("a",),
        "weights": weights,
        "device": "cpu",
        "device_name": "Maker",
        "build": "torch 1",
        "dtype": "float32",
        "threads": 2,
        "tokens": tokens,
    }
    return call_cost(windows, What(**what))


def record(*rows: Pairs, machine: dict[str, Any] | None = None, **changed: Any) -> BenchRecord:
    """A whole record with those rows."""
    given: dict[str, Any] = {
        "created": "2026-11-21T12:00:00+00:00",
        "harness": "0.1.0",
        "family": "terramind-nyc",
        "weights": "random",
        "topology": "narrow",
        "chip_px": 224,
        "rounds": 9,
        "machine": Machine(**{**MACHINE, **(machine or {})}),
        "conditions": {"load average": "0.10 over 1 min"},
        "shared": None,
        "rows": list(rows),
        "calls": [call("lulc_nyc", 0.5), call("tim_nyc", 1.0, tokens="sampled, fixed seed")],
        "no_joules": "no counter here",
        "peaks": Peaks(matmul_gflops=[99.0, 101.0, 100.0], matmul_side=64, copy_gbs=[10.0], copy_bytes=1_000_000),
        "parts": [
            Part(adapter="lulc_nyc", part="load", seconds=[2.0]),
            Part(adapter="lulc_nyc", part="head", seconds=[0.1], gflop=1.0, weight_bytes=100_000_000),
            Part(adapter="lulc_nyc", part="encoder", seconds=[0.3, 0.3, 9.0], gflop=15.0, weight_bytes=None),
        ],
        "growth": [Growth(of="places", x=x, what="w", seconds=[0.1 + 0.5 * x, 0.1 + 0.5 * x]) for x in (1, 2, 4)]
        + [Growth(of="chip size", x=x, what="w", seconds=[1e-6 * x**2.0] * 2) for x in (64, 128, 224)],
        "sizes": [
            Size(id="disk/base", kind="disk", what="the base's file", bytes=1_500_000_000),
            Size(id="disk/adapter/lulc_nyc", kind="disk", what="its folder", adapter="lulc_nyc", bytes=325_000_000),
            Size(id="peak/all", kind="peak memory", what="all", bytes=None, reason="no mark is kept"),
        ],
        "absent": ["report: not measured: not asked for"],
        "assumptions": ["An assumption."],
    }
    return BenchRecord(**{**given, **changed})
