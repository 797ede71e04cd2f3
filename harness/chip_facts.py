"""What a run writes down of each chip beside its confusion matrix: reliability, boundaries, role and ground."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from harness.chips.chip import Chip, Grid, Label
from harness.errors import HarnessError
from harness.records import ChipScore
from harness.records.spatial import NearestTraining
from harness.score.boundary import boundary_counts
from harness.score.calibration import reliability

if TYPE_CHECKING:
    from harness.chips.ground import Ground


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
        """Chips before it on the same ground or of the same parent; None without the libraries to tell."""
        try:
            from harness.chips.ground import same_parent, share_ground
        except ImportError:
            return None
        return [
            other for other, grid in self._places.items() if same_parent(name, other) or share_ground(chip.grid, grid)
        ]

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
        path = self.folder.parent / "aois" / "locks" / f"card-{variant}.split.json"
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
