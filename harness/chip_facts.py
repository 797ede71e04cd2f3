"""What a run writes down of each chip beside its confusion matrix: reliability, boundaries, role and ground."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from harness.chips.chip import Chip, Grid, Label
from harness.errors import HarnessError
from harness.places import written_under
from harness.records import ChipScore, SweepRow
from harness.records.spatial import NearestTraining
from harness.score.boundary import boundary_counts
from harness.score.calibration import reliability
from harness.score.sweep import THRESHOLDS, sweep

if TYPE_CHECKING:
    from harness.chips.ground import Ground

RGB = ("B04", "B03", "B02")
"""Bands of a picture, red first."""


def pixel_facts(
    probabilities: NDArray[np.float32], classes: NDArray[np.integer[Any]], label: Label | str | HarnessError
) -> dict[str, Any]:
    """Fields of a ChipScore that are counted over pixels: `reliability` and `boundary`; none without a label.

    Args:
        probabilities: Shape (K, H, W).
        classes: Shape (H, W), predicted class.
        label: Or why there is none.
    """
    if not isinstance(label, Label):
        return {}
    out: dict[str, Any] = {"boundary": boundary_counts(label.data, classes, len(probabilities), label.ignore_index)}
    if len(probabilities) == 2:
        out["reliability"] = reliability(probabilities[1], label.data, label.ignore_index)
    return out


def sweep_rows(probabilities: NDArray[np.float32], label: Label) -> list[SweepRow]:
    """Two-class counts at every threshold; probabilities of shape (2, H, W), none for more classes."""
    if len(probabilities) != 2:
        return []
    points = sweep(probabilities[1], label.data, THRESHOLDS, ignore_index=label.ignore_index)
    return [
        SweepRow(
            threshold=p.threshold,
            tp=int(p.matrix.tp),
            fp=int(p.matrix.fp),
            fn=int(p.matrix.fn),
            tn=int(p.matrix.tn),
        )
        for p in points
    ]


def picture(chip: Chip | HarnessError) -> dict[str, NDArray[np.generic]]:
    """Red, green and blue of the first date, stretched between the 2nd and 98th percentile of all three."""
    if isinstance(chip, HarnessError):
        return {}
    out: dict[str, NDArray[np.generic]] = {"gsd_m": np.array(chip.grid.gsd_m)}
    layer = chip.layers.get("S2L2A")
    if layer is None or not set(RGB) <= set(layer.bands):
        return out
    bands = layer.data[0, [layer.bands.index(b) for b in RGB]]
    lo, hi = np.nanpercentile(bands, [2, 98]) if np.isfinite(bands).any() else (0.0, 1.0)
    scaled = np.clip((bands - lo) / max(hi - lo, 1e-6), 0, 1)
    out["rgb"] = (np.nan_to_num(scaled) * 255).astype(np.uint8).transpose(1, 2, 0)
    return out


def on_ground(name: str, grid: Grid, places: Mapping[str, Grid]) -> list[str] | None:
    """Which of the chips at `places` lie on a chip's ground or are of its parent; None without libraries to tell."""
    try:
        from harness.chips.ground import same_parent, share_ground
    except ImportError:
        return None
    return [other for other, there in places.items() if same_parent(name, other) or share_ground(grid, there)]


@dataclass
class Facts:
    """Facts about the place of each chip, in the order in which a run reads them."""

    folder: Path
    """eval/ of the checkout; rebuilt splits stand in aois/locks/ beside it."""
    family: str
    """Family id."""
    locks: Sequence[Path] = ()
    """Locks of the run; they know the roles."""
    recipe: str = ""
    """Recipe id, for the locks."""
    _places: dict[str, Grid] = field(default_factory=dict)
    """Chips read so far."""
    _known: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Role and shared ground by chip."""
    _beside: dict[tuple[str, str], NearestTraining] = field(default_factory=dict)
    """By chip and adapter."""
    _grounds: dict[str, Ground | str] = field(default_factory=dict)
    """By split file: its ground, or why there is none."""
    _roles: dict[str, str | None] | None = None
    """By AOI; None before the locks are read."""

    def onto(self, score: ChipScore, adapter: str, chip: Chip | HarnessError) -> ChipScore:
        """The score with `role`, `shares_ground` and `nearest_training`; as it is where the chip was not read."""
        if not isinstance(chip, Chip):
            return score
        if score.chip not in self._known:
            self._known[score.chip] = {"role": self._role(score.chip), "shares_ground": self._shared(score.chip, chip)}
            self._places[score.chip] = chip.grid
        key = (score.chip, adapter)
        if key not in self._beside:
            self._beside[key] = self._training(adapter, chip)
        return score.model_copy(update={**self._known[score.chip], "nearest_training": self._beside[key]})

    def _role(self, name: str) -> str | None:
        if self._roles is None:
            self._roles = {}
            if self.locks:
                from harness.chips.lock import read_lock

                held = [one for path in self.locks for one in read_lock(path).aois if one.recipe == self.recipe]
                self._roles = {one.aoi: one.role for one in held}
        return self._roles.get(name)

    def _shared(self, name: str, chip: Chip) -> list[str] | None:
        return on_ground(name, chip.grid, self._places)

    def _training(self, adapter: str, chip: Chip) -> NearestTraining:
        ground = self._ground(adapter)
        if isinstance(ground, str):
            return NearestTraining(reason=ground)
        layer = chip.layers.get("S2L2A")
        return ground.beside(chip.grid, layer.dates if layer else ())

    def _ground(self, adapter: str) -> Ground | str:
        """The training ground of an adapter, or why it is not known."""
        try:
            from harness.chips.cardsplit import CardSplit
            from harness.chips.ground import Ground
            from harness.split import ADAPTERS, FAMILY
        except ImportError as err:
            return f"{err.name} is not installed; the project's extra named live has it"
        variant = next((v for v, names in ADAPTERS.items() if self.family == FAMILY and adapter in names), None)
        if variant is None:
            return f"where {adapter} was trained is not known here"
        path = written_under(self.folder).parent / "aois" / "locks" / f"card-{variant}.split.json"
        if path.name not in self._grounds:
            try:
                raw = path.read_bytes()
                self._grounds[path.name] = Ground(
                    CardSplit.model_validate_json(raw), path.name, hashlib.sha256(raw).hexdigest()
                )
            except FileNotFoundError:
                self._grounds[path.name] = (
                    f"the training split is not rebuilt; harness lock --split card --variant {variant} does it"
                )
            except (OSError, ValidationError) as err:
                first = str(err).splitlines()[0]
                self._grounds[path.name] = f"{path.name} cannot be read as a rebuilt split ({first})"
        return self._grounds[path.name]
