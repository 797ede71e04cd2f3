"""Generated land cover to stand beside a run's scores: one map a chip, of the family's own base."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.chips.chip import Chip
from harness.chips.recipe import Recipe
from harness.chips.tensors import to_inputs
from harness.claims.families import Family
from harness.errors import ChipError, DeviceError, TopologyError, WeightsError
from harness.models import synthetic
from harness.models.devices.device import Device
from harness.models.devices.memory import out_of_memory
from harness.models.ensemble import LARGEST_CHIP_PX
from harness.models.generation.generate import TARGETS, Generator, generate, load_generator
from harness.records.baselines import GeneratedBy
from harness.records.think import LULC_CLASSES

MODALITY = "LULC"
"""What is generated."""

HOME = "ibm-esa-geospatial/TerraMind-1.0-Tokenizer-LULC"
"""Where the tokenizer is published (terratorch 1.2.11, tokenizer_register.py)."""

Generating = Callable[[Chip], tuple[NDArray[np.float32], GeneratedBy]]
"""Logits of a chip's land cover, shape (10, H, W), and how they were made."""


def generating(
    family: Family, weights: Path | None, recipe: Recipe, *, device: Device, seed: int = 0, greedy: bool = False
) -> Generating | str:
    """What generates a chip's land cover, from all modalities that the family takes.

    Args:
        family: Its base generates, see `load_generator`.
        weights: Folder with the base's file and the tokenizer's; HARNESS_WEIGHTS where left out.
        recipe: `pretraining`, with which the base was trained.
        device: Where it runs, in float32.
        seed: For tokens, the same for every chip.
        greedy: Take the most probable token everywhere.

    Returns:
        That, or why nothing can be generated: random weights show mechanics only, and a tokenizer that is not
        there is not made up.

    Raises:
        WeightsError: No folder is named, or a file that is there is refused.
    """
    at = weights or os.environ.get("HARNESS_WEIGHTS")
    if not at:
        raise WeightsError(f"{family.id}: no weights; name their folder")
    folder, target = Path(at), TARGETS[MODALITY]
    if (folder / synthetic.MARKER).is_file():
        return "the weights are random, and land cover generated with them shows mechanics only"
    if not (folder / target.file).is_file():
        return (
            f"the folder of weights holds no {target.file}, which turns tokens into classes; {HOME} holds it, put it "
            "beside the base's file"
        )
    try:
        generator = load_generator(family, folder, (MODALITY,), tuple(family.build.modalities), device=device)
    except TopologyError as err:
        return str(err)
    if generator.random:
        return f"random weights in {', '.join(generator.random)}, which show mechanics only"
    return _Maker(generator, recipe, seed, greedy)


@dataclass(frozen=True)
class _Maker:
    """Generates land cover of one chip after the other."""

    generator: Generator
    """Loaded, without random weights."""
    recipe: Recipe
    """`pretraining`."""
    seed: int
    """For tokens."""
    greedy: bool
    """Whether the most probable token is taken everywhere."""

    def __call__(self, chip: Chip) -> tuple[NDArray[np.float32], GeneratedBy]:
        """Logits, shape (10, H, W), and how they were made.

        Raises:
            ChipError, UnitError, RecipeError: The chip does not fit.
            TopologyError, WeightsError: As `generate`.
            DeviceError: Memory ran out.
        """
        height, width = chip.grid.height_px, chip.grid.width_px
        if max(height, width) > LARGEST_CHIP_PX:
            raise ChipError(
                f"{height} x {width} px run in tiles; land cover is generated up to {LARGEST_CHIP_PX} px, the largest "
                "that its tokenizer was trained on"
            )
        given, model = self.generator.given, self.generator.model
        only = self.recipe.model_copy(update={"bands": {m: self.recipe.bands[m] for m in given}})
        first, notes = _first_date(chip, given)
        inputs = to_inputs(first, only, timesteps=1)
        try:
            made = generate(self.generator, inputs, self.seed, 1, greedy=self.greedy)
        except (MemoryError, RuntimeError) as err:
            if not out_of_memory(err):
                raise
            raise DeviceError(f"{chip.id}: memory ran out while land cover was generated") from err
        by = GeneratedBy(
            generator=self.generator.name,
            recipe=f"{self.recipe.id} {self.recipe.version}",
            given=list(given),
            parts=list(self.generator.parts),
            seed=self.seed,
            greedy=self.greedy,
            steps=int(model.decoding_steps),
            temperature=float(model.temps),
            top_p=None if self.greedy else float(model.top_p),
            device=self.generator.device.name,
            notes=[*notes, *inputs.notes],
            outputs_px=np.bincount(made.lulc.ravel(), minlength=len(LULC_CLASSES)).tolist(),
        )
        return made.arrays[MODALITY], by


def _first_date(chip: Chip, given: tuple[str, ...]) -> tuple[Chip, list[str]]:
    """The chip with the first date of each modality, and which had others."""
    cut = {
        name: replace(layer, data=layer.data[:1], dates=layer.dates[:1])
        for name, layer in chip.layers.items()
        if name in given
    }
    notes = [f"{m}: the first of {chip.layers[m].timesteps} dates" for m in cut if chip.layers[m].timesteps > 1]
    return replace(chip, layers=cut, label=None), notes
