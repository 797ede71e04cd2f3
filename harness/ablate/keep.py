"""Predictions kept as files, so that a bridge that was interrupted goes on where it was."""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.chips.chip import Chip
from harness.places import cache_folder, write_file
from harness.workbench import Setting, Workbench

if TYPE_CHECKING:
    from harness.models.ensemble import Ensemble

CODE = ("chips/tensors.py", "chips/units.py", "workbench.py", "models/*.py", "models/devices/precision.py")
"""Sources between a chip and a prediction: where one of them changes, nothing that was kept is taken."""


@cache
def code_sha256() -> str:
    """Hash of the sources named in `CODE`."""
    here = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for pattern in CODE:
        for path in sorted(here.glob(pattern)):
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def fingerprint(ensemble: Ensemble, adapter: str, versions: dict[str, str]) -> str:
    """Everything but chip and feed that a prediction depends on: weights, device, precision, seed, code."""
    audit = ensemble.adapters[adapter].audit
    parts = [
        *(f"{f.role} {f.sha256}" for f in audit.files),
        f"{ensemble.family.id} {adapter} alpha {audit.lora_alpha} batch norm {audit.batch_norm.policy}",
        f"{ensemble.device.kind} {ensemble.device.name} {ensemble.dtype} seed {ensemble.seed} greedy {ensemble.greedy}",
        *(f"{name} {version}" for name, version in sorted(versions.items())),
        code_sha256(),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


@dataclass
class Keep:
    """A folder of predictions, one small file each, whole or not there."""

    folder: Path = field(default_factory=lambda: cache_folder() / "ablate")
    """Where."""
    seconds: list[float] = field(default_factory=list)
    """How long each forward of this call took."""
    found: set[str] = field(default_factory=set)
    """Keys of an earlier call that were taken."""
    mine: set[str] = field(default_factory=set)
    """Keys written by this call."""
    said: Callable[[], None] = lambda: None
    """Told after each forward."""

    def path(self, key: str) -> Path:
        """Where a prediction lies."""
        return self.folder / key[:2] / f"{key}.npz"

    def get(self, key: str) -> NDArray[Any] | None:
        """A prediction; None where there is none, or its file is damaged."""
        try:
            raw = io.BytesIO(self.path(key).read_bytes())
            with np.load(raw, allow_pickle=False) as held:
                array: NDArray[Any] = held["said"]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
            return None
        if key not in self.mine:
            self.found.add(key)
        return array

    def put(self, key: str, array: NDArray[Any], seconds: float) -> None:
        """Write a prediction.

        Raises:
            RegistryError: The folder cannot be written.
        """
        out = io.BytesIO()
        np.savez_compressed(out, said=array)
        write_file(self.path(key), out.getvalue())
        self.mine.add(key)
        self.seconds.append(seconds)
        self.said()


@dataclass
class KeptBench(Workbench):
    """A workbench whose predictions outlive it. Of one adapter."""

    keep: Keep = field(default_factory=Keep)
    """Where they are kept."""
    made_by: str = ""
    """See `fingerprint`."""

    def key(self, setting: Setting, chip: Chip) -> str:
        """What a prediction of one chip depends on, as a hash."""
        fed = [setting.modality(m) for m in sorted(setting.recipe.bands)]
        read = sorted(self.resampling.items())
        words = [self.made_by, chip.sha256, repr(chip.s2_offset), repr(read), repr(self.timesteps), *fed]
        return hashlib.sha256("\0".join(words).encode()).hexdigest()

    def ready(self, setting: Setting, chip: Chip) -> None:
        """Make the tensors of a chip, unless what is said of them is there already.

        Raises:
            HarnessError: The chip cannot be fed in this way.
        """
        if not self.keep.path(self.key(setting, chip)).is_file():
            self.inputs(setting, chip)

    def heard(self, setting: Setting, chip: Chip) -> dict[str, NDArray[Any]]:
        """From the folder where it is there; else the model is asked, and what it says is kept."""
        (task,) = self.tasks
        key = self.key(setting, chip)
        held = self.keep.get(key)
        if held is None:
            self.inputs(setting, chip)  # tensors are made, or refused, before the clock starts
            started = perf_counter()
            held = super().heard(setting, chip)[task]
            self.keep.put(key, held, perf_counter() - started)
        return {task: held}
