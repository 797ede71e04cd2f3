"""What of the bench runs a model: forward, switch, and the parts of a forward.

Torch is imported inside functions, as in the cost room.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.bench.pairs import take_turns
from harness.chips.tensors import Inputs
from harness.cost import conditions
from harness.cost.call import Source
from harness.cost.describe import What, call_cost
from harness.cost.energy import NotMeasured
from harness.cost.protocol import Idle, Settings, WarmUp, Window, Windows
from harness.cost.statistics import variation
from harness.errors import RegistryError
from harness.records.bench import Pairs, Part
from harness.records.cost import CallCost

if TYPE_CHECKING:
    from harness.models.ensemble import Ensemble

AGREE = 1e-3
"""Logits of two ways of one forward may differ by this share of their largest value: rounding of another order."""

TURNS = "calls of it took turns with another way's, one call a window"
"""In what a call out of pairs falls short of the protocol besides its settings."""

NARROW = "a narrow model of the same wiring ran, not the published topology"
"""Why a call of the narrow family is beside no published figure but in a table."""


def one_date(source: Source, dates: int = 1) -> Inputs:
    """The source's first inputs with its first `dates` dates in turn at all timesteps: 1 repeats one date."""
    first = source.inputs[0]
    arrays = {m: np.ascontiguousarray(a[:, [t % dates for t in range(a.shape[1])]]) for m, a in first.arrays.items()}
    return dataclasses.replace(first, arrays=arrays, identical_dates=dates == 1)


def tensors(ensemble: Ensemble, task: str, inputs: Inputs) -> dict[str, Any]:
    """Tensors (1, C, T, H, W) by modality, on the device."""
    import torch

    from harness.models.devices.device import to_device

    arrays = ensemble.inputs(inputs, task).arrays
    return {m: to_device(torch.from_numpy(np.array(a))[None], ensemble.device) for m, a in arrays.items()}


def dates_once(ensemble: Ensemble, task: str, batch: dict[str, Any]) -> Callable[[], Any]:
    """Our forward: every date alone and none twice, nothing kept from an earlier call."""
    from harness.models.dates import DateCache

    def call() -> Any:
        logits = dataclasses.replace(ensemble, dates=DateCache(), reuse_dates=True).forward(task, batch)
        ensemble.device.synchronise()
        return logits

    return call


def all_at_once(ensemble: Ensemble, task: str, batch: dict[str, Any]) -> Callable[[], Any]:
    """The published forward: all dates as one batch."""
    fresh = dataclasses.replace(ensemble, reuse_dates=False)
    vars(fresh)["by_date"] = lambda _model: False

    def call() -> Any:
        logits = fresh.forward(task, batch)
        ensemble.device.synchronise()
        return logits

    return call


def forward(
    ensemble: Ensemble, task: str, source: Source, rounds: int, random: bool, *, narrow: bool
) -> tuple[Pairs, CallCost]:
    """One forward our way against the published one, and the published one as a call of the cost room."""
    from harness.models.thinking import thinks

    inputs = one_date(source)
    batch = tensors(ensemble, task, inputs)
    apart = [0.0]

    def check(found: Mapping[str, Any]) -> None:
        ours, plain = found["ours"].float(), found["reference"].float()
        apart[0] = float((ours - plain).abs().max() / plain.abs().max())
        if not apart[0] <= AGREE:
            raise RegistryError(f"{task}: the two ways of a forward differ by {apart[0]:.2g} of the largest logit")

    first = conditions.now()
    ways = {"ours": dates_once(ensemble, task, batch), "reference": all_at_once(ensemble, task, batch)}
    took = take_turns(ways, rounds, check=check)
    last = conditions.now()
    thinking = thinks(ensemble.loaded(task).model)
    same_way = thinking and not ensemble.greedy
    pairs = Pairs(
        id=f"forward/{task}",
        group="forward",
        adapter=task,
        ours="all dates as one batch: tokens are sampled for the whole batch, so no date can be shared"
        if same_way
        else "each date encoded once",
        reference="all dates as one batch, as the published code does",
        ours_s=took["ours"],
        reference_s=took["reference"],
        processes="one process",
        same=f"logits differ by {apart[0]:.1e} of the largest at most",
        of=f"one chip of {source.chip_px} px, one date at all timesteps, tensors to logits",
    )
    call = _call(ensemble, task, source, took["reference"], first, last, thinking, random)
    if narrow:
        call = call.model_copy(update={"shortfalls": [*call.shortfalls, NARROW]})
    return pairs, call


def _call(
    ensemble: Ensemble,
    task: str,
    source: Source,
    seconds: Sequence[float],
    first: Mapping[str, str],
    last: Mapping[str, str],
    thinking: bool,
    random: bool,
) -> CallCost:
    from harness.models.devices.device import threads

    why = NotMeasured("windows of one call: joules need `harness bench energy`")
    rest = Idle(0.0, why)
    settings = Settings(windows=len(seconds), window_s=0, fewest_calls=1, warm_calls=2, cool_s=0, idle_s=0)
    spread = variation(seconds) if len(seconds) > 1 else 0.0
    windows = Windows(
        1,
        WarmUp(1, seconds[0], spread, reached=False),
        tuple(Window(s, (s,), why, rest, rest, (first, last)) for s in seconds),
        settings,
        why,
    )
    what = What(
        adapter=task,
        stage="forward",
        chip_px=source.chip_px,
        gsd_m=source.gsd_m,
        input="made-up",
        input_ids=(source.inputs[0].chip_id,),
        weights="random" if random else "published",
        device=ensemble.device.kind,
        device_name=ensemble.device.name,
        build=ensemble.device.build(),
        dtype=ensemble.dtype,
        threads=threads(),
        tokens=("most probable" if ensemble.greedy else "sampled, fixed seed") if thinking else None,
    )
    cost = call_cost(windows, what)
    return cost.model_copy(update={"shortfalls": [*cost.shortfalls, TURNS]})


def switch(ensemble: Ensemble, weights: Path, task: str, rounds: int) -> Pairs:
    """From one adapter to the next: what `predict` does for it, against loading base and adapter anew."""
    from harness.models.ensemble import load_family

    def ours() -> object:
        ensemble.refuse_merged()
        return ensemble.loaded(task).model

    def plain() -> object:
        fresh = load_family(ensemble.family, weights, tasks=[task], device=ensemble.device, dtype=ensemble.dtype)
        return fresh.loaded(task).model

    def check(found: Mapping[str, Any]) -> None:
        mine, theirs = found["ours"].state_dict(), found["reference"].state_dict()
        if mine.keys() != theirs.keys() or any(not bool((mine[k] == theirs[k]).all()) for k in mine):
            raise RegistryError(f"{task}: loaded anew it holds other tensors than beside the other adapters")

    took = take_turns({"ours": ours, "reference": plain}, rounds, check=check)
    return Pairs(
        id="switch",
        group="switch",
        adapter=task,
        ours="every adapter's modules over one base: look it up, and check that nothing is merged",
        reference="load base and adapter anew, checked as strictly; files in the page cache",
        ours_s=took["ours"],
        reference_s=took["reference"],
        processes="one process",
        same="every tensor equal",
        of=f"to {task}, {len(ensemble.adapters)} adapters loaded",
    )


def parts(ensemble: Ensemble, task: str, source: Source, repeats: int) -> list[Part]:
    """Seconds and operations of encoder, neck, decoder and head in the published forward."""
    from torch.utils.flop_counter import FlopCounterMode

    call = all_at_once(ensemble, task, tensors(ensemble, task, source.inputs[0]))
    model = ensemble.loaded(task).model
    names = [n for n in ("encoder", "neck", "decoder", "head") if getattr(model, n, None) is not None]
    took: dict[str, list[float]] = {n: [] for n in names}
    with _watched(model, names, ensemble.device.synchronise, time.perf_counter) as spent:
        for _ in range(repeats):
            spent.clear()
            call()
            for name in names:
                took[name].append(spent[name])
    counter = FlopCounterMode(display=False)
    with counter, _watched(model, names, lambda: None, lambda: float(counter.get_total_flops())) as operations:
        call()
        gflop = dict(operations)
    return [
        Part(
            adapter=task,
            part=name,  # type: ignore[arg-type]
            seconds=took[name],
            gflop=gflop[name] / 1e9,
            weight_bytes=_bytes(getattr(model, name)),
        )
        for name in names
    ]


@contextmanager
def _watched(
    model: Any, names: Sequence[str], settle: Callable[[], None], read: Callable[[], float]
) -> Iterator[dict[str, float]]:
    """By child of the model: how far `read` goes while it runs, added up over its calls."""
    spent: dict[str, float] = {}
    began: dict[str, float] = {}

    def before(name: str) -> Callable[..., None]:
        def hook(*_: object) -> None:
            settle()
            began[name] = read()

        return hook

    def after(name: str) -> Callable[..., None]:
        def hook(*_: object) -> None:
            settle()
            spent[name] = spent.get(name, 0.0) + read() - began[name]

        return hook

    handles = []
    for name in names:
        module = getattr(model, name)
        handles += [module.register_forward_pre_hook(before(name)), module.register_forward_hook(after(name))]
    try:
        yield spent
    finally:
        for handle in handles:
            handle.remove()


def _bytes(module: Any) -> int:
    seen = {t.data_ptr(): t.numel() * t.element_size() for t in [*module.parameters(), *module.buffers()]}
    return sum(seen.values())
