"""A whole run of the bench as `harness bench run` asks for it: rows, parts, growth, sizes, peaks, one record."""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from harness.bench.narrow import narrow
from harness.bench.sizes import memory_gib, sizes
from harness.cost import conditions
from harness.cost.describe import ASSUMPTIONS
from harness.cost.energy import NotMeasured
from harness.cost.meters import meter_for
from harness.errors import RegistryError
from harness.places import cache_folder, eval_folder
from harness.records.bench import GROUPS, BenchRecord, Group, Growth, Machine, Pairs, Part, Peaks, Size
from harness.records.cost import CallCost

if TYPE_CHECKING:
    from harness.claims.families import Family
    from harness.models.devices.device import Device

READING = ("pyproj", "rasterio", "urllib3")
"""Packages of chip read and store."""

MODELS: frozenset[Group] = frozenset({"forward", "switch"})
"""What needs the family's models."""

CHEAP = 4
"""Rows that run no model have so many times the pairs."""

STAND_INS = (
    "A narrow family has the published wiring and none of its sizes: its ratios say how the code behaves, its seconds "
    "and bytes nothing of the published adapters.",
    "Pairs of one process on one day: the interval says how well this run repeats itself.",
    "Weights, inputs, scenes and labels are made up; scenes come from a server on the same machine.",
)
"""Printed beside those of the cost room."""


@dataclass(frozen=True)
class Asked:
    """What a user asked for."""

    family: str = "terramind-nyc"
    """Family id."""
    full: bool = False
    """Run the published topology instead of the narrow one."""
    weights: Path | None = None
    """Folder in the published format, with `full`; random ones where left out."""
    size_px: int = 224
    """Side of a chip."""
    rounds: int = 7
    """Pairs of a row that runs a model."""
    growth: bool = True
    """Also how cost grows, and sizes and peak memory, which take as long as the rows."""
    only: tuple[Group, ...] = GROUPS
    """What is timed; the rest is named as not measured."""
    device: str = "auto"
    """Where models run."""
    root: Path | None = None
    """Checkout with an eval/ folder."""

    def __post_init__(self) -> None:
        if self.weights is not None and not self.full:
            raise RegistryError("--weights are the published topology's: give --full with them")
        if self.rounds < 3:
            raise RegistryError(f"--rounds {self.rounds}: an interval and a slope need 3 or more")
        if unknown := set(self.only) - set(GROUPS):
            raise RegistryError(f"--only {', '.join(sorted(unknown))}: not one of {', '.join(GROUPS)}")


@dataclass
class _Found:
    """What has been measured so far."""

    rows: list[Pairs]
    calls: list[CallCost]
    parts: list[Part]
    growth: list[Growth]
    sizes: list[Size]
    absent: list[str]


def run(asked: Asked, *, created: str, step: Callable[[str], None] = lambda _: None) -> BenchRecord:
    """Measure everything that was asked for.

    Args:
        asked: What.
        created: Now, ISO 8601.
        step: Told what is being done.

    Raises:
        RegistryError: No such family, or two ways of one result differ.
        SourceError: Two ways of reading differ, or the bench's own server does not start.
        WeightsError: Weights are refused.
        DeviceError: The device is not there.
    """
    from harness.claims.families import read_families
    from harness.models import stack
    from harness.models.devices.device import resolve, threads

    before = conditions.now()
    shared = conditions.shared(os.getloadavg()[0], os.cpu_count() or 1)
    families = read_families(eval_folder(asked.root) / "families")
    if asked.family not in families:
        raise RegistryError(f"no family {asked.family!r}; there are {', '.join(sorted(families)) or 'none'}")
    published = families[asked.family]
    family = published if asked.full else narrow(published)
    own = _version()
    step("importing the torch stack")
    prepared = stack.prepare()
    device = resolve(asked.device)
    found = _Found([], [], [], [], [], [])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _without_models(asked, published, folder, found, step)
        random = _with_models(asked, family, folder, found, step) if MODELS & set(asked.only) else True
        step("what the machine does at most")
        most = _peaks(device)
    meter = meter_for(device.kind)
    why = (
        meter.reason if isinstance(meter, NotMeasured) else "pairs of single calls; `harness bench energy` counts them"
    )
    found.absent += [f"{g}: not measured: not asked for" for g in GROUPS if g not in asked.only]
    if "forward" not in asked.only or not asked.growth:
        found.absent.append("growth, sizes of models and peak memory: not measured: not asked for")
    measured = {r.group for r in found.rows} | {line.partition(":")[0] for line in found.absent}
    found.absent += [f"{g}: not measured" for g in GROUPS if g not in measured]
    order = {g: i for i, g in enumerate(GROUPS)}
    return BenchRecord(
        created=created,
        harness=own,
        family=family.id,
        weights="random" if random else "published",
        topology="published" if asked.full else "narrow",
        chip_px=asked.size_px,
        rounds=asked.rounds,
        machine=Machine(
            system=f"{platform.system()} {platform.machine()}",
            cpu=resolve("cpu").name,
            cores=os.cpu_count() or 1,
            memory_gib=memory_gib(),
            device_kind=device.kind,
            device=device.name,
            build=device.build(),
            threads=threads(),
            packages=dict(prepared.versions),
            python=platform.python_version(),
        ),
        conditions=before,
        shared=shared,
        rows=sorted(found.rows, key=lambda r: order[r.group]),
        calls=found.calls,
        no_joules=why,
        peaks=most,
        parts=found.parts,
        growth=found.growth,
        sizes=found.sizes,
        absent=found.absent,
        assumptions=[*STAND_INS, *ASSUMPTIONS],
    )


def _version() -> str:
    try:
        return version("eo-adapter-harness")
    except PackageNotFoundError:
        return "not installed: a checkout on the path"


def _without_models(asked: Asked, published: Family, folder: Path, found: _Found, step: Callable[[str], None]) -> None:
    """Chip read, store, preprocess, sweep, report: the same whichever topology runs."""
    from harness.chips.recipe import read_recipes

    recipes, many = read_recipes(eval_folder(asked.root) / "recipes"), asked.rounds * CHEAP
    if {"chip read", "store"} & set(asked.only):
        lacking = [n for n in READING if find_spec(n) is None]
        if lacking:
            found.absent += [
                f"{g}: not measured: {', '.join(lacking)} not installed; install .[live]"
                for g in ("chip read", "store")
            ]
        else:
            from harness.bench.reads import reads

            rows, kept = reads(folder / "reads", recipes["published-rerun"], min(asked.rounds, 7), step)
            found.rows += [r for r in rows if r.group in asked.only]
            found.sizes += kept
    from harness.bench import scores

    if "preprocess" in asked.only:
        step("preprocess")
        steps = published.build.timesteps or 1
        found.rows.append(scores.preprocess_row(recipes["pretraining"], asked.size_px, steps, many))
    if "sweep" in asked.only:
        step("sweep of thresholds")
        found.rows.append(scores.sweep_row(asked.size_px, many))
    if "report" in asked.only:
        from harness.models.synthetic import write_family

        small = narrow(published)
        step("report: a run to render")
        weights = write_family(small, folder / "narrow")
        place = scores.run_folder(small, weights, folder / "run", 2, 64)
        step("report: rendering")
        found.rows.append(scores.report_row(place, small, asked.rounds))


def _with_models(asked: Asked, family: Family, folder: Path, found: _Found, step: Callable[[str], None]) -> bool:
    """Forward, switch, parts, growth and sizes; returns whether the weights were random."""
    from harness.bench.growth import growth
    from harness.bench.models import forward, parts, switch
    from harness.cost.call import made_up
    from harness.models.ensemble import load_family
    from harness.models.synthetic import write_family

    weights = asked.weights
    if weights is None:
        weights = cache_folder() / f"random-{family.id}-0" if asked.full else folder / "narrow"
        step(f"random weights in {weights}, where they are not there yet" if asked.full else "narrow weights")
        write_family(family, weights)
    step("loading every adapter")
    ensemble = load_family(family, weights, device=asked.device)
    tasks = list(ensemble.adapters)
    for task in tasks if "forward" in asked.only else []:
        step(f"{task}: forward, ours and all dates at once in turns")
        random = ensemble.loaded(task).audit.random_weights
        source = made_up(ensemble.family, task, asked.size_px)
        row, call = forward(ensemble, task, source, asked.rounds, random, narrow=not asked.full)
        found.rows.append(row)
        found.calls.append(call)
        step(f"{task}: parts of a forward")
        found.parts += parts(ensemble, task, source, 3)
    if "switch" in asked.only:
        step("switch")
        row = switch(ensemble, weights, tasks[-1], max(3, asked.rounds // 2))
        found.rows.append(row)
        found.parts.append(Part(adapter=tasks[-1], part="load", seconds=row.reference_s))
    if ready := next((r for r in found.rows if r.group == "preprocess"), None):
        found.parts += [Part(adapter=t, part="preprocess", seconds=ready.ours_s) for t in tasks]
    if "forward" in asked.only and asked.growth:
        found.growth += growth(ensemble, tasks, asked.size_px, 3, step)
        step("bytes on disk, bytes held, peak memory of a process")
        found.sizes += sizes(ensemble, weights, asked.size_px)
    return any(loaded.audit.random_weights for loaded in ensemble.adapters.values())


def _peaks(device: Device) -> Peaks:
    from harness.bench.growth import peaks

    return peaks(device, 2048, 256 * 2**20, 7)
