"""Peaks of the machine, and how cost grows with places, chip size, adapters and dates."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from harness.bench.models import one_date
from harness.bench.pairs import take_turns
from harness.chips.tensors import Inputs
from harness.claims.families import Family
from harness.cost.call import Source, made_up
from harness.records.bench import Growth, Peaks

if TYPE_CHECKING:
    from harness.models.devices.device import Device
    from harness.models.ensemble import Ensemble

Step = Callable[[str], None]
"""Told what is being done."""


def peaks(device: Device, side: int, copied: int, repeats: int) -> Peaks:
    """A float32 product of two square matrices, and a copy, both far larger than any cache where `copied` is."""
    import torch

    from harness.models.devices.precision import exact

    where, settle = device.torch, device.synchronise
    a, b = (torch.randn(side, side, device=where) for _ in range(2))
    source, target = (torch.ones(copied // 4, dtype=torch.float32, device=where) for _ in range(2))
    products, copies = [], []
    with torch.inference_mode(), exact():
        for _ in range(repeats + 1):
            settle()
            start = time.perf_counter()
            torch.mm(a, b)
            settle()
            middle = time.perf_counter()
            target.copy_(source)
            settle()
            end = time.perf_counter()
            products.append(2 * side**3 / (middle - start) / 1e9)
            copies.append(2 * (copied // 4 * 4) / (end - middle) / 1e9)
    return Peaks(matmul_gflops=products[1:], matmul_side=side, copy_gbs=copies[1:], copy_bytes=copied // 4 * 4)


def growth(ensemble: Ensemble, tasks: Sequence[str], size_px: int, rounds: int, step: Step) -> list[Growth]:
    """Small sweeps over places, chip size, adapters and dates, points of one sweep taking turns."""
    family, first = ensemble.family, tasks[0]
    small = max(64, size_px // 2 // 32 * 32)
    out: list[Growth] = []

    def run(of: str, what: str, points: dict[int, Callable[[], object]]) -> None:
        step(f"how cost grows with {of}")
        took = take_turns({str(x): call for x, call in points.items()}, rounds)
        out.extend(Growth(of=of, x=x, what=what, seconds=took[str(x)]) for x in points)  # type: ignore[arg-type]

    def call(inputs: Sequence[Inputs], names: Sequence[str]) -> Callable[[], object]:
        from harness.models.dates import DateCache

        def go() -> None:
            fresh = dataclasses.replace(ensemble, dates=DateCache())
            for one in inputs:
                fresh.predict(one, names)

        return go

    def source(task: str, px: int, count: int = 1) -> Source:
        return made_up(family, task, px, count)

    places = [dataclasses.replace(source(first, small, 4), inputs=(i,)) for i in source(first, small, 4).inputs]
    singles = [one_date(p) for p in places]
    run(
        "places",
        f"{first}, {small} px, one date at all timesteps",
        {n: call(singles[:n], [first]) for n in (1, 2, 4)},
    )
    sizes = sorted({64, small, size_px})
    run(
        "chip size",
        f"{first}, one date at all timesteps",
        {px: call([one_date(source(first, px))], [first]) for px in sizes},
    )
    whole = Source((one_date(_every(family, tasks, small)),))
    run(
        "adapters",
        f"{small} px, one date at all timesteps, in the order {', '.join(tasks)}",
        {n: call(whole.inputs, tasks[:n]) for n in range(1, len(tasks) + 1)},
    )
    steps = family.build_of(first).timesteps or 1
    run(
        "dates",
        f"{first}, {small} px, {steps} timesteps of which so many differ",
        {n: call([one_date(source(first, small), n)], [first]) for n in (1, 2, 4) if n <= steps},
    )
    return out


def _every(family: Family, tasks: Sequence[str], px: int) -> Source:
    from harness.models.devices.equivalence_inputs import make_inputs

    return Source((make_inputs(family, px, 0, 1, list(tasks)),))
