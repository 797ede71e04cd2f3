"""Predictions and labels out of a run's folder, and why there are none where there are none."""

from __future__ import annotations

import difflib
import os
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from harness.errors import RegistryError
from harness.records.run import ChipScore, RunRecord, read_run
from harness.score.probes import Judged, Map, Probe, judge

NEEDS = (
    "`harness lock aois/{aois}.geojson` finds the scenes",
    "`harness reproduce --source lock --lock aois/locks/{aois}.lock.json --weights FOLDER` makes the run to judge",
)
"""Commands that lead to a run that these probes can judge, in order."""

DAMAGE = (OSError, EOFError, ValueError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error)
"""What numpy and zipfile raise on a damaged file; RuntimeError for a compression or encryption that is none."""


@dataclass(frozen=True)
class Run:
    """A run whose predictions are judged."""

    folder: Path
    """Holds run.json and arrays/."""
    record: RunRecord
    """What it says of itself."""
    held: dict[str, dict[str, Map] | str] = field(default_factory=dict)
    """Class maps by place as far as they were read, or why they cannot be."""

    def adapter(self, name: str) -> list[ChipScore] | str:
        """What the run did with an adapter, or why it did nothing."""
        there = {a.adapter: a.chips for a in self.record.adapters}
        if name in there:
            return there[name]
        near = difflib.get_close_matches(name, there, 1, 0.6)
        hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(there) or 'none'}"
        return f"run {self.record.id} has no adapter {name}; {hint}"

    def maps(self, place: str) -> dict[str, Map]:
        """Class maps of a place: predictions and labels.

        Raises:
            RegistryError: No such file, or damaged.
        """
        if place not in self.held:
            try:
                self.held[place] = _maps(self.folder / "arrays" / f"{place}.npz")
            except RegistryError as err:
                self.held[place] = str(err)
        found = self.held[place]
        if isinstance(found, str):
            raise RegistryError(found)
        return found

    def prediction(self, adapter: str, chip: ChipScore) -> Map:
        """What an adapter predicted at a place.

        Raises:
            RegistryError: Not there, damaged, or not what the record counted.
        """
        maps, where = self.maps(chip.chip), f"arrays/{chip.chip}.npz"
        if f"classes:{adapter}" not in maps:
            raise RegistryError(f"{where}: run.json says that {adapter} ran here, and there is no classes:{adapter}")
        found = maps[f"classes:{adapter}"]
        if found.dtype.kind not in "iu" or found.ndim != 2 or (found.size and found.min() < 0):
            raise RegistryError(
                f"{where}: classes:{adapter}: {found.dtype} {found.shape}; a map of class indices was expected"
            )
        counted = np.bincount(found.astype(np.int64).ravel(), minlength=len(chip.predicted_px)).tolist()
        if counted != chip.predicted_px:
            raise RegistryError(
                f"{where}: classes:{adapter} has {counted} px by class, run.json has {chip.predicted_px}; "
                "they are not of one run"
            )
        return found


def _maps(path: Path) -> dict[str, Map]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as held:
            return {name: held[name] for name in held.files if name.startswith(("classes:", "label:"))}
    except FileNotFoundError as err:
        raise RegistryError(
            f"arrays/{path.name}: run.json names this chip, and the file is not there; run again"
        ) from err
    except DAMAGE as err:
        raise RegistryError(f"arrays/{path.name}: damaged ({err}); run again") from err


def open_run(path: Path) -> Run:
    """A run by its folder or its run.json.

    Raises:
        RegistryError: No such run, or not of this shape.
    """
    file = path if path.name == "run.json" else path / "run.json"
    return Run(file.parent, read_run(file))


def newest_run(runs: Path) -> Run | str:
    """The run that `latest` points at, if these probes may judge it unasked; otherwise why not.

    Args:
        runs: eval/runs/.
    """
    latest = runs / "latest"
    if not (latest / "run.json").exists():
        return f"no run: {latest} is not there"
    try:
        run = open_run(latest.resolve())
    except RegistryError as err:
        return str(err)
    if run.record.weights != "published":
        return f"{latest} is run {run.record.id} of {run.record.weights} weights, which shows mechanics only"
    if run.record.source != "lock":
        return (
            f"{latest} is run {run.record.id}, whose chips came from {run.record.source or 'nowhere named'} and no lock"
        )
    return run


def advice(root: Path, aois: str | None) -> str:
    """What is missing for a run at these places, and the commands that would get it."""
    name = aois or "AOIS"
    lock = root / "aois" / "locks" / f"{name}.lock.json"
    weights = os.environ.get("HARNESS_WEIGHTS")
    missing = [] if lock.exists() else [f"no lock (aois/locks/{lock.name})"]
    if not weights:
        missing.append("no published weights (HARNESS_WEIGHTS is not set)")
    elif not Path(weights).is_dir():
        missing.append(f"no published weights (HARNESS_WEIGHTS: {weights} is no folder)")
    steps = " and ".join(NEEDS if not lock.exists() else NEEDS[1:]).format(aois=name)
    return f"{'missing: ' + ', '.join(missing) + '; ' if missing else ''}{steps}"


def judged(run: Run | str, probe: Probe, places: Sequence[str]) -> Judged:
    """Hold one probe against a run.

    Args:
        run: The run, or why there is none.
        probe: What is expected.
        places: Places of the probe's set, for the predictions of other places.
    """
    if isinstance(run, str):
        return Judged(probe, "not judged", run)
    chips = run.adapter(probe.adapter)
    if isinstance(chips, str):
        return Judged(probe, "not judged", chips)
    by_place = {chip.chip: chip for chip in chips}
    chip = by_place.get(probe.place)
    if chip is None:
        return Judged(probe, "not judged", f"run {run.record.id} has no chip {probe.place} for {probe.adapter}")
    ran = chip.probabilities_sha256 is not None
    if ran and len(chip.predicted_px) != len(probe.output):
        return Judged(
            probe,
            "not judged",
            f"{probe.adapter} has {len(chip.predicted_px)} outputs in run {run.record.id}; scheme "
            f"{probe.output_scheme} names {len(probe.output)}",
        )
    missing = f"{probe.adapter} has no prediction: {chip.reason}"
    try:
        maps = run.maps(probe.place)
        own = run.prediction(probe.adapter, chip) if ran else None
    except RegistryError as err:
        return Judged(probe, "unreadable", str(err)) if ran else Judged(probe, "not judged", missing)
    label = maps.get(f"label:{probe.label_scheme}")
    if label is None and ran:
        have = ", ".join(sorted(n.removeprefix("label:") for n in maps if n.startswith("label:"))) or "none"
        told = f" ({chip.reason})" if chip.reason else ""
        missing = f"no label under scheme {probe.label_scheme}; the chip has {have}{told}"
    return judge(probe, own, label, missing, _others(run, probe, by_place, places))


def _others(run: Run, probe: Probe, by_place: Mapping[str, ChipScore], places: Sequence[str]) -> dict[str, Map]:
    out: dict[str, Map] = {}
    for place in places:
        other = by_place.get(place)
        if other is not None and other.probabilities_sha256 is not None:
            with suppress(RegistryError):  # told at that place
                out[place] = run.prediction(probe.adapter, other)
    return out
