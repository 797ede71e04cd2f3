"""A series of measurements as `harness bench energy` asks for it: load once, then stage by stage."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

from harness.cost import conditions
from harness.cost.carbon import Account, ModelledCarbon, carbon_of
from harness.cost.describe import ASSUMPTIONS
from harness.cost.energy import NotMeasured
from harness.cost.meter import Meter
from harness.cost.meters import meter_for, open_meter
from harness.cost.protocol import Settings
from harness.errors import RegistryError
from harness.places import cache_folder, eval_folder
from harness.records.cost import CallCost, CostRecord, ModelledEnergy, Stage

if TYPE_CHECKING:
    from harness.claims.families import Family
    from harness.cost.call import Source


@dataclass(frozen=True)
class Asked:
    """What a user asked for."""

    family: str
    """Family id."""
    weights: str
    """Folder in the published format, or `random`."""
    tasks: tuple[str, ...] = ()
    """Adapter ids; all where empty."""
    batches: tuple[str, ...] = ("1", "best")
    """Numbers and `best`."""
    stages: tuple[str, ...] = ("forward",)
    """Stages."""
    device: str = "auto"
    """As `harness.models.devices.device.resolve` takes it."""
    dtype: str = "float32"
    """Precision."""
    meter: str = "auto"
    """auto, none, or a line of METERS."""
    windows: int = 5
    """How many."""
    window_s: float = 10.0
    """The shortest."""
    chips: Path | None = None
    """Folder of chips; None makes inputs up."""
    declared: Mapping[str, str] = field(default_factory=dict)
    """Units by modality of `chips`."""
    recipe: str = "pretraining"
    """For `chips`."""
    size_px: int = 224
    """Side of made-up inputs."""
    country: str | None = None
    """For kgCO2e; None models none."""
    region: str | None = None
    """State or province of it."""
    root: Path | None = None
    """Checkout with an eval/ folder."""


def run(asked: Asked, *, command: str, created: str, step: Callable[[str], None] = lambda _: None) -> CostRecord:
    """Measure everything that was asked for.

    Args:
        asked: What.
        command: As typed.
        created: Now, ISO 8601.
        step: Told what is being done.

    Raises:
        RegistryError: No such family, recipe, meter or stage, or nothing for it.
        ChipError: No chips in the folder.
        WeightsError: Weights are refused.
        DeviceError: The device is not there.
    """
    from harness.claims.families import read_families
    from harness.models import stack
    from harness.models.devices.device import resolve

    folder = eval_folder(asked.root)
    families = read_families(folder / "families")
    if asked.family not in families:
        raise RegistryError(f"no family {asked.family!r}; there are {', '.join(sorted(families)) or 'none'}")
    family = families[asked.family]
    before = conditions.now()
    shared = conditions.shared(os.getloadavg()[0], os.cpu_count() or 1)
    where = resolve(asked.device)
    meter = _meter(asked.meter, where.kind)
    weights = Path(asked.weights)
    if asked.weights == "random":
        from harness.models.synthetic import write_family

        weights = cache_folder() / f"random-{family.id}-0"
        step(f"random weights in {weights}; written now where they are not there, about 1.8 GB")
        write_family(family, weights)
    calls: list[CallCost] = []
    tried: dict[str, dict[str, float | str]] = {}
    with ExitStack() as around:
        account = around.enter_context(carbon_of(asked.country, asked.region)) if asked.country else None
        for task in dict.fromkeys(asked.tasks) or tuple(a.id for a in family.adapters):
            calls += _of_task(asked, family, task, weights, where.kind, meter, tried, step)
    return CostRecord(
        schema=1,
        created=created,
        command=command,
        family=family.id,
        machine={**conditions.machine(), **{f"package {k}": v for k, v in stack.prepare().versions.items()}},
        before=before,
        shared=shared,
        calls=calls,
        tried=tried,
        modelled=_modelled(account),
        not_modelled=account.carbon.reason if account and isinstance(account.carbon, NotMeasured) else None,
        assumptions=list(ASSUMPTIONS),
    )


def _of_task(
    asked: Asked,
    family: Family,
    task: str,
    weights: Path,
    device: str,
    meter: Meter | NotMeasured,
    tried: dict[str, dict[str, float | str]],
    step: Callable[[str], None],
) -> list[CallCost]:
    """All stages and batches of one adapter, which is loaded for them and let go."""
    from harness.cost.call import find_batch, load_again, made_up, one_call
    from harness.models.ensemble import load_family

    step(f"{task}: loading")
    ensemble = load_family(family, weights, tasks=[task], device=device, dtype=asked.dtype)
    source = _real(asked, asked.chips, family, task) if asked.chips else made_up(family, task, asked.size_px)
    settings = Settings(windows=asked.windows, window_s=asked.window_s)
    out: list[CallCost] = []
    for name in asked.stages:
        stage = cast(Stage, name)
        if stage == "load":
            again = load_again(family, weights, task, device, asked.dtype)
            out.append(
                one_call(ensemble, task, source, stage=stage, meter=meter, settings=settings, load=again, step=step)
            )
            continue
        sizes: dict[int, bool] = {}
        for batch in asked.batches if stage == "forward" else asked.batches[:1]:
            if batch == "best":
                best, found = find_batch(ensemble, task, source, step=step)
                tried[task] = {
                    str(t.batch): str(t.per_s) if isinstance(t.per_s, NotMeasured) else t.per_s for t in found
                }
                sizes[best] = True
            else:
                sizes.setdefault(int(batch), False)
        for size, is_best in sizes.items():
            out.append(
                one_call(
                    ensemble,
                    task,
                    source,
                    stage=stage,
                    batch=size,
                    meter=meter,
                    settings=settings,
                    best=is_best,
                    step=step,
                )
            )
    return out


def _real(asked: Asked, folder: Path, family: Family, task: str) -> Source:
    from harness.chips.chip import Chip
    from harness.chips.recipe import read_recipes
    from harness.chips.sources.files import each_chip
    from harness.claims.schemes import read_schemes
    from harness.cost.call import real

    recipes = read_recipes(eval_folder(asked.root) / "recipes")
    if asked.recipe not in recipes:
        raise RegistryError(f"no recipe {asked.recipe!r}; there are {', '.join(sorted(recipes))}")
    found = dict(each_chip(folder, asked.declared, None, dict(read_schemes(eval_folder(asked.root) / "schemes"))))
    for chip in found.values():
        if not isinstance(chip, Chip):
            raise chip
    return real([c for c in found.values() if isinstance(c, Chip)], recipes[asked.recipe], family, task)


def _meter(name: str, device: str) -> Meter | NotMeasured:
    if name == "none":
        return NotMeasured("no meter was asked for")
    return meter_for(device) if name == "auto" else open_meter(name)


def _modelled(account: Account | None) -> list[ModelledEnergy]:
    if account is None or not isinstance(account.carbon, ModelledCarbon):
        return []
    c = account.carbon
    where = c.country + (f", {c.region}" if c.region else "")
    return [
        ModelledEnergy(
            value_j=c.energy.value,
            model=c.mode,
            kg_co2e=c.kg_co2e,
            region=f"{where}, {c.kg_per_kwh:.4g} kg/kWh, yearly mean",
            of=f"the whole run, {c.seconds:.0f} s: loading, warm-up, windows, idles and cool-downs",
        )
    ]
