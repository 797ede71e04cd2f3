"""One adapter's call, by the protocol: load, preprocess and forward apart.

Torch is imported where a model is.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.chips.chip import Chip
from harness.chips.recipe import Recipe
from harness.chips.tensors import Inputs, to_inputs
from harness.claims.families import Family
from harness.cost import conditions
from harness.cost.batches import Tried, best_batch
from harness.cost.describe import What, call_cost
from harness.cost.energy import NotMeasured
from harness.cost.meter import Meter
from harness.cost.protocol import Settings, Windows, measure_windows
from harness.errors import RegistryError
from harness.records.cost import CallCost, Dates, Stage

if TYPE_CHECKING:
    from harness.models.ensemble import Ensemble

MADE_UP_GSD_M = 10.0
"""Made-up inputs stand for pixels of Sentinel-2's finest bands."""


@dataclasses.dataclass(frozen=True)
class Source:
    """What goes into the calls."""

    inputs: tuple[Inputs, ...]
    """Tensors, at least one; a batch takes them in turn."""
    chips: tuple[Chip, ...] = ()
    """Raw chips that they were made of, in their order; none where they were made up."""
    recipe: Recipe | None = None
    """How."""

    @property
    def chip_px(self) -> int:
        """Side of a chip."""
        return int(next(iter(self.inputs[0].arrays.values())).shape[-1])

    @property
    def gsd_m(self) -> float:
        """Side of a pixel."""
        return self.chips[0].grid.gsd_m if self.chips else MADE_UP_GSD_M


def made_up(family: Family, task: str, size_px: int = 224, count: int = 4) -> Source:
    """Inputs of the family's shapes, four dates that differ, unit variance; where there are no chips."""
    from harness.models.devices.equivalence_inputs import make_inputs

    dates = family.build_of(task).timesteps or 1
    return Source(tuple(make_inputs(family, size_px, seed, dates, [task]) for seed in range(count)))


def real(chips: Sequence[Chip], recipe: Recipe, family: Family, task: str) -> Source:
    """Inputs of raw chips by a recipe.

    Raises:
        RegistryError: No chips, or chips of unlike size.
        RecipeError: The recipe cannot take one.
    """
    made = tuple(to_inputs(c, recipe, timesteps=family.build_of(task).timesteps or 1) for c in chips)
    sizes = {tuple(next(iter(i.arrays.values())).shape[-2:]) for i in made}
    if len(sizes) != 1:
        raise RegistryError(f"{len(made)} chips of {len(sizes)} sizes: measure chips of one size")
    return Source(made, tuple(chips), recipe)


def one_call(
    ensemble: Ensemble,
    task: str,
    source: Source,
    *,
    stage: Stage = "forward",
    batch: int = 1,
    meter: Meter | NotMeasured | None = None,
    settings: Settings | None = None,
    load: Callable[[], object] | None = None,
    best: bool = False,
    dates: Dates = "all at once",
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], None] = time.sleep,
    step: Callable[[str], None] = lambda _: None,
) -> CallCost:
    """Measure one stage of one adapter on the ensemble's device.

    Args:
        ensemble: A loaded family, see `harness.models.ensemble.load_family`.
        task: Adapter id.
        source: What goes in.
        stage: forward: tensors on the device to logits there. preprocess: raw chips to tensors there.
            load: what `load` does.
        batch: Chips in a call.
        meter: Of `harness.cost.meters.meter_for`; None for time alone.
        settings: As `measure_windows`.
        load: Loads the adapter anew, for stage load; the system's file cache stays as it is.
        best: Whether a search chose the batch.
        dates: all at once, as the published code encodes them, or one by one, as `Ensemble.predict` does.
        clock: Seconds.
        sleep: Rests.
        step: Told what is being done.

    Raises:
        RegistryError: A stage that these inputs or arguments do not allow.
        WeightsError, TopologyError, DeviceError: As `Ensemble.predict_many`.
    """
    from harness.models.devices.device import threads
    from harness.models.thinking import thinks

    def told(text: str) -> None:
        step(f"{task}, {stage}, batch {batch}: {text}")

    windows = measure_windows(
        _stage(ensemble, task, source, stage, batch, load, dates),
        synchronise=ensemble.device.synchronise,
        meter=meter,
        items=batch,
        settings=settings,
        conditions=conditions.now,
        clock=clock,
        sleep=sleep,
        step=told,
    )
    loaded = ensemble.loaded(task)
    thinking = thinks(loaded.model)
    what = What(
        adapter=task,
        stage=stage,
        chip_px=source.chip_px,
        gsd_m=source.gsd_m,
        input="real" if source.chips else "made-up",
        input_ids=tuple(i.chip_id for i in source.inputs),
        weights="random" if loaded.audit.random_weights else "published",
        device=ensemble.device.kind,
        device_name=ensemble.device.name,
        build=ensemble.device.build(),
        dtype=ensemble.dtype,
        threads=threads(),
        recipe=source.recipe.id if source.recipe else None,
        tokens=("most probable" if ensemble.greedy else "sampled, fixed seed") if thinking else None,
        best=best,
        dates=dates,
    )
    return call_cost(windows, what)


def find_batch(
    ensemble: Ensemble,
    task: str,
    source: Source,
    *,
    sizes: Sequence[int] = (1, 2, 4, 8, 16, 32, 64, 128, 256),
    seconds: float = 3.0,
    dates: Dates = "all at once",
    step: Callable[[str], None] = lambda _: None,
) -> tuple[int, tuple[Tried, ...]]:
    """The batch for a forward beyond which a larger one gains less than 5 %, and what was tried."""
    from harness.models.devices.memory import out_of_memory

    return best_batch(
        lambda size: _stage(ensemble, task, source, "forward", size, None, dates),
        synchronise=ensemble.device.synchronise,
        sizes=sizes,
        seconds=seconds,
        out_of_memory=out_of_memory,
        step=lambda text: step(f"{task}: looking for the best batch: {text}"),
    )


def _stage(
    ensemble: Ensemble,
    task: str,
    source: Source,
    stage: Stage,
    batch: int,
    load: Callable[[], object] | None,
    dates: Dates,
) -> Callable[[], object]:
    """The call that is measured."""
    if batch < 1 or not source.inputs:
        raise RegistryError(f"batch {batch} of {len(source.inputs)} inputs: give at least one of each")
    for one in source.inputs:
        if not all(array.any() for array in one.arrays.values()):
            raise RegistryError(f"{one.chip_id}: a modality is all zeros; joules depend on the bits, give real inputs")
    if stage == "load":
        if load is None or batch != 1:
            raise RegistryError("stage load needs what loads, and is measured one adapter at a time")
        return load
    # Nothing that an earlier call left behind may shorten this one.
    fresh = dataclasses.replace(ensemble, reuse_dates=False)
    fresh.refuse_merged()
    if dates == "all at once":
        vars(fresh)["by_date"] = lambda _model: False  # as terratorch and the published code encode them
    if stage == "preprocess":
        return _preprocess(fresh, task, source, batch)
    tensors = _on_device(fresh, task, [source.inputs[i % len(source.inputs)] for i in range(batch)])
    return lambda: fresh.forward(task, tensors)


def _preprocess(ensemble: Ensemble, task: str, source: Source, batch: int) -> Callable[[], object]:
    if not source.chips or source.recipe is None:
        raise RegistryError("stage preprocess needs raw chips and a recipe; inputs that were made up have none")
    recipe, steps = source.recipe, ensemble.family.build_of(task).timesteps or 1
    chosen = [source.chips[i % len(source.chips)] for i in range(batch)]
    return lambda: _on_device(ensemble, task, [to_inputs(c, recipe, timesteps=steps) for c in chosen])


def _on_device(ensemble: Ensemble, task: str, inputs: Sequence[Inputs]) -> dict[str, Any]:
    """Tensors (B, C, T, H, W) by modality, where the model is."""
    import numpy as np
    import torch

    from harness.models.devices.device import to_device

    taken = [ensemble.inputs(one, task) for one in inputs]
    return {
        m: to_device(torch.from_numpy(np.stack([one.arrays[m] for one in taken])), ensemble.device)
        for m in taken[0].arrays
    }


def load_again(family: Family, weights: Path, task: str, device: str, dtype: str) -> Callable[[], object]:
    """What stage `load` calls: base and one adapter from disk onto the device, strictly."""
    from harness.models.ensemble import load_family

    return lambda: load_family(family, weights, tasks=[task], device=device, dtype=dtype)


def windows_of(call: Callable[[], object], **options: Any) -> Windows:
    """`measure_windows` with the machine's conditions, for any other call: a read, a report, a swap."""
    return measure_windows(call, conditions=conditions.now, **options)
