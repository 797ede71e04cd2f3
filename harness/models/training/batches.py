"""Chips as training samples, and which of them a step sees: fixed by seed and step alone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from harness.chips.chip import Chip
from harness.chips.recipe import Recipe
from harness.chips.tensors import Inputs, to_inputs
from harness.claims.families import Build
from harness.errors import ChipError
from harness.models.tiles import EVEN_PX

IGNORE = -1
"""Marks pixels without a class, whatever number a label marks them with."""

Augment = Literal["none", "flips", "flips and turns"]


@dataclass(frozen=True, slots=True)
class Draw:
    """One chip in one of the eight symmetries of a square."""

    chip: int
    """Index of the chip."""
    turns: int
    """Quarter turns, 0 to 3, after the mirror."""
    mirrored: bool
    """Left and right exchanged."""


@dataclass(frozen=True)
class Samples:
    """Everything a training sees."""

    ids: list[str]
    """Chip ids."""
    arrays: list[dict[str, Tensor]]
    """By chip and modality: (C, T, H, W), normalised; T is 1 where `once`."""
    labels: list[Tensor]
    """By chip: (H, W) of int16, `IGNORE` where there is no class."""
    once: bool
    """Whether every chip repeats one date."""
    size_px: tuple[int, int]
    """Height and width of all of them."""
    sha256: str
    """Of ids, pixels and labels, in order."""


def read_samples(
    chips: Iterable[Chip], recipe: Recipe, build: Build, *, scheme: str, classes: int, augment: Augment = "none"
) -> Samples:
    """Take chips through a recipe, exactly as prediction does.

    A chip of 256 px takes 4 MB where its dates repeat, 16 MB where four differ.

    Args:
        chips: With labels; all of one size, a multiple of 32 px.
        recipe: From pixels to tensors.
        build: Modalities, bands and timesteps that the model takes.
        scheme: Which labels must be in.
        classes: Labels are 0 to classes - 1, or their own ignore_index.
        augment: Quarter turns need square chips.

    Raises:
        ChipError: No chips, an id twice, no label, a label of another scheme or with other values or
            without any class, or sizes that do not fit.
        UnitError, RecipeError: As `harness.chips.tensors.to_inputs`.
    """
    ids: list[str] = []
    arrays: list[dict[str, Tensor]] = []
    labels: list[Tensor] = []
    identical: list[bool] = []
    steps = build.timesteps or 1
    for chip in chips:
        if chip.id in ids:
            raise ChipError(f"chip {chip.id}: stands twice in the training set")
        inputs = to_inputs(chip, recipe, timesteps=steps, multiple_px=EVEN_PX)
        first = next(iter(inputs.arrays.values())).shape[2:]
        if arrays and first != labels[0].shape:
            raise ChipError(
                f"chip {chip.id}: {first} px; {ids[0]} has {tuple(labels[0].shape)}, a batch needs one size"
            )
        labels.append(_label(chip, scheme, classes))
        held = _arrays(inputs, build)
        if inputs.identical_dates:
            held = {m: a[:, :1].clone() for m, a in held.items()}
        ids.append(chip.id)
        arrays.append(held)
        identical.append(inputs.identical_dates)
    if not ids:
        raise ChipError("no chips to train on; give at least one with a label")
    height, width = labels[0].shape
    if augment == "flips and turns" and height != width:
        raise ChipError(f"chip {ids[0]}: {height} x {width} px cannot be turned by a quarter; augment: flips")
    once = all(identical)
    if not once:  # chips that repeat a date get it back, so that all go one way
        arrays = [{m: a.expand(-1, steps, -1, -1) for m, a in held.items()} for held in arrays]
    digest = hashlib.sha256()
    for name, held, label in zip(ids, arrays, labels, strict=True):
        digest.update(f"{name}\0{','.join(f'{m}{tuple(a.shape)}' for m, a in held.items())}\0".encode())
        for tensor in (*held.values(), label):
            digest.update(tensor.contiguous().numpy().data)
    return Samples(ids, arrays, labels, once, (int(height), int(width)), digest.hexdigest())


def _arrays(inputs: Inputs, build: Build) -> dict[str, Tensor]:
    out = {}
    for modality in build.modalities:
        array = inputs.arrays.get(modality)
        wanted = (len(build.bands.get(modality, ())), build.timesteps or 1)
        if array is None or array.shape[:2] != wanted:
            given = "no such modality" if array is None else f"shape {array.shape}"
            raise ChipError(
                f"chip {inputs.chip_id}: {modality}: {given} under recipe {inputs.recipe_id}; the family takes "
                f"({wanted[0]}, {wanted[1]}, H, W)"
            )
        out[modality] = torch.from_numpy(array)
    return out


def _label(chip: Chip, scheme: str, classes: int) -> Tensor:
    label = chip.label
    if label is None:
        raise ChipError(f"chip {chip.id}: has no label; leave it out of the training set")
    if label.scheme != scheme:
        raise ChipError(
            f"{label.source}: chip {chip.id} is labelled in scheme {label.scheme}, the training in {scheme}"
        )
    valid = label.data != label.ignore_index
    other = sorted(set(np.unique(label.data[valid]).tolist()) - set(range(classes)))
    if other:
        raise ChipError(f"{label.source}: chip {chip.id} has classes {other[:5]}; 0 to {classes - 1} are trained")
    if not valid.any():
        raise ChipError(f"{label.source}: chip {chip.id} has no pixel with a class; leave it out")
    return torch.from_numpy(np.where(valid, label.data, IGNORE).astype(np.int16))


def draws(seed: int, step: int, chips: int, batch_size: int, augment: Augment) -> list[Draw]:
    """What one step sees: all chips in a new order each time round, whatever the batch size.

    Args:
        seed: Of the training.
        step: From 0.
        chips: How many there are.
        batch_size: How many a step sees.
        augment: As `FitConfig.augment`.
    """
    out = []
    for place in range(step * batch_size, (step + 1) * batch_size):
        turn, at = divmod(place, chips)
        order = np.random.Generator(np.random.Philox(key=[seed, 2 * turn])).permutation(chips)
        symmetry = np.random.Generator(np.random.Philox(key=[seed, 2 * turn + 1])).integers(0, 8, chips)
        which = {"none": 0, "flips": int(symmetry[at]) & 0b110, "flips and turns": int(symmetry[at])}[augment]
        out.append(Draw(int(order[at]), which & 0b11, bool(which & 0b100)))
    return out


def turned(tensor: Tensor, draw: Draw) -> Tensor:
    """A tensor (..., H, W) in a draw's symmetry."""
    out = tensor.flip(-1) if draw.mirrored else tensor
    return torch.rot90(out, draw.turns, (-2, -1))


def batch(samples: Samples, drawn: Sequence[Draw]) -> tuple[dict[str, Tensor], Tensor]:
    """Tensors (B, C, T, H, W) by modality, and labels (B, H, W), of one step."""
    modalities = samples.arrays[0]
    x = {m: torch.stack([turned(samples.arrays[d.chip][m], d) for d in drawn]) for m in modalities}
    y = torch.stack([turned(samples.labels[d.chip], d) for d in drawn]).long()
    return x, y
