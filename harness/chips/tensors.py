"""Recipe x chip -> arrays that a model takes. Nothing is filled, converted or repeated unsaid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.chips.chip import MODALITIES, Chip, Layer
from harness.chips.declared import advice, agreed_unit
from harness.chips.recipe import Recipe
from harness.chips.units import (
    OFFSET,
    REFLECTANCE_SCALE,
    UNKNOWN,
    by_slice,
    harmonised,
    s1_unit,
    s2_offset,
    s2_unit,
    to_db,
    to_power,
)
from harness.errors import ChipError, RecipeError, UnitError

Pixels = NDArray[np.float32]

PATCH_PX = 16
"""Side of a TerraMind patch: height and width must be multiples of it."""


@dataclass(frozen=True)
class Inputs:
    """What one chip becomes under one recipe."""

    chip_id: str
    """Chip."""
    recipe_id: str
    """Recipe."""
    arrays: dict[str, Pixels]
    """By modality: shape (C, T, H, W), float32, C-contiguous, normalised, no NaN."""
    identical_dates: bool
    """Whether the pixels of all T are equal in every modality, so that one encoding serves all."""
    filled: dict[str, float]
    """By modality: share of values that a declared rule of the recipe made up."""
    notes: tuple[str, ...]
    """Conversions, what was decided about the offset, and knobs that given files leave no choice about."""


def to_inputs(chip: Chip, recipe: Recipe, timesteps: int = 4, multiple_px: int = PATCH_PX) -> Inputs:
    """Apply a recipe to a chip.

    Args:
        chip: Raw pixels, NaN where nodata.
        recipe: What to do with them.
        timesteps: T that the model takes.
        multiple_px: Height and width must be multiples of it; 1 for arrays that will be tiled.

    Returns:
        Normalised arrays and what was done on the way.

    Raises:
        ChipError: A modality is missing, bands are others or in another order, or the size does not fit.
        UnitError: Pixels are in another unit than declared or wanted, or carry an offset that
            cannot be told where the recipe has to know.
        RecipeError: Dates do not give `timesteps`, or the recipe does not allow nodata and there is some.
    """
    grid = chip.grid
    for name, size in (("height", grid.height_px), ("width", grid.width_px)):
        if size % multiple_px or size < multiple_px:
            fit = size // multiple_px * multiple_px
            advice = f"cut it to {fit} px" if fit else "give a larger one"
            raise ChipError(f"chip {chip.id}: {name} {size} px is no multiple of {multiple_px}; {advice}")
    notes = [] if chip.cut_by == recipe.id else [_given(chip, recipe)]
    arrays: dict[str, Pixels] = {}
    filled: dict[str, float] = {}
    for modality in recipe.bands:
        if modality == "DEM" and recipe.dem.policy == "zeros":
            raw = np.zeros((1, 1, grid.height_px, grid.width_px), np.float32)
            order = [0] * timesteps
            filled[modality] = 1.0
            notes.append("DEM: 0 m everywhere, as the recipe says; the chip's own DEM is not used")
        else:
            layer = _layer(chip, recipe, modality)
            order = _order(chip, recipe, layer, timesteps, notes)
            raw = _converted(chip, recipe, layer, notes)
            raw, filled[modality] = _without_gaps(chip, recipe, layer, raw)
        arrays[modality] = np.ascontiguousarray(normalised(raw, recipe, modality)[order].swapaxes(0, 1))
    same = all(bool((a == a[:, :1]).all()) for a in arrays.values())
    return Inputs(chip.id, recipe.id, arrays, same, filled, tuple(notes))


def normalised(raw: Pixels, recipe: Recipe, modality: str) -> Pixels:
    """(x - mean) / std by band, in float32 as torch does it; `raw` has shape (T, C, H, W)."""
    mean, std = _statistics(recipe, modality)
    return ((raw - mean) / std).astype(np.float32)


def denormalised(array: Pixels, recipe: Recipe, modality: str) -> Pixels:
    """The way back for pictures: x std + mean; `array` has shape (T, C, H, W), the unit is the recipe's."""
    mean, std = _statistics(recipe, modality)
    return (array * std + mean).astype(np.float32)


def _statistics(recipe: Recipe, modality: str) -> tuple[Pixels, Pixels]:
    stats = recipe.statistics[modality]
    mean, std = (np.asarray(v, np.float32).reshape(1, -1, 1, 1) for v in (stats.mean, stats.std))
    return mean, std


def _given(chip: Chip, recipe: Recipe) -> str:
    grid = chip.grid
    steps = ", ".join(f"{group} {how}" for group, how in recipe.resampling.items())
    return (
        f"cut and resampled before it came here: {grid.height_px} x {grid.width_px} px of {grid.gsd_m:g} m; the recipe "
        f"says {recipe.chip_size_px} px, grid {recipe.grid_snap}, resampling {steps}"
    )


def _layer(chip: Chip, recipe: Recipe, modality: str) -> Layer:
    layer = chip.layers.get(modality)
    if layer is None:
        folder = chip.folder()
        place = f"{folder / modality / chip.id}.tif" if folder else f"{modality}/{chip.id}.tif"
        raise ChipError(f"chip {chip.id}: {modality} is missing, recipe {recipe.id} needs it; put it at {place}")
    wanted = tuple(recipe.bands[modality])
    if len(layer.bands) != len(wanted):
        raise ChipError(
            f"{layer.source}: {len(layer.bands)} bands; recipe {recipe.id} takes {len(wanted)} of {modality}"
        )
    if layer.bands != wanted:
        raise ChipError(
            f"{layer.source}: bands {' '.join(layer.bands)}; recipe {recipe.id} takes them as {' '.join(wanted)}"
        )
    return layer


def _order(chip: Chip, recipe: Recipe, layer: Layer, timesteps: int, notes: list[str]) -> list[int]:
    """Which of the layer's dates stands at which timestep."""
    have, policy = layer.timesteps, recipe.dates.policy
    head = f"{layer.source}: chip {chip.id}: {layer.modality} has {have} date{'s' if have > 1 else ''}"
    if not MODALITIES[layer.modality].changes:
        if have not in (1, timesteps):
            raise RecipeError(f"{head}; one that is repeated or {timesteps} were expected")
        return [0] * timesteps if have == 1 else list(range(timesteps))
    if policy in ("one", "repeat"):
        if any(not np.array_equal(layer.data[0], later, equal_nan=True) for later in layer.data[1:]):
            raise RecipeError(f"{head}; recipe {recipe.id} feeds a single one (dates: {policy}); keep one of them")
        if policy == "one" and timesteps != 1:
            raise RecipeError(f"{head}; recipe {recipe.id} feeds one date once, the model takes {timesteps} timesteps")
        if timesteps != recipe.dates.count:
            notes.append(f"{layer.modality}: {timesteps} timesteps; the recipe's source fed {recipe.dates.count}")
        return [0] * timesteps
    if have != timesteps or (policy == "distinct" and timesteps != recipe.dates.count):
        files = f"{layer.modality}/{chip.id}_t0.tif to {chip.id}_t{timesteps - 1}.tif"
        what = f"{recipe.dates.count} that differ" if policy == "distinct" else "as many as the model takes"
        raise RecipeError(
            f"{head}; recipe {recipe.id} feeds {what} (dates: {policy}) and the model takes {timesteps}; "
            f"give {files}, or use a recipe that repeats one date"
        )
    if policy == "distinct":
        twins = [
            (i, j)
            for j in range(have)
            for i in range(j)
            if np.array_equal(layer.data[i], layer.data[j], equal_nan=True)
        ]
        if twins and layer.modality == "S2L2A":
            raise RecipeError(
                f"{head}, but t{twins[0][0]} and t{twins[0][1]} hold the same pixels; give dates that differ"
            )
        if twins:
            notes.append(f"{layer.modality}: t{twins[0][0]} and t{twins[0][1]} hold the same pixels")
    return list(range(timesteps))


def _converted(chip: Chip, recipe: Recipe, layer: Layer, notes: list[str]) -> Pixels:
    """Pixels in the recipe's unit, shape (T, C, H, W), NaN where nodata."""
    notes.extend(f"{layer.modality}: {remark}" for remark in layer.remarks)
    if layer.modality == "S1RTC":
        return _backscatter(recipe, layer, notes)
    if layer.modality == "S2L2A":
        return _reflectance(chip, recipe, layer, notes)
    if layer.modality == "DEM":
        notes.append("DEM: taken as metres; pixels cannot tell metres from feet")
    return layer.data


def _backscatter(recipe: Recipe, layer: Layer, notes: list[str]) -> Pixels:
    seen = by_slice(layer.data, s1_unit)
    unit, wanted = agreed_unit(layer, seen), recipe.s1.unit
    if unit != wanted and not layer.declared:
        raise UnitError(
            f"{layer.source}: recipe {recipe.id} takes S1RTC in {wanted}, the pixels look like {unit} "
            f"(confidence {seen.confidence:.3f}: {seen.why}); if they are, {advice('S1RTC', unit)}, and they are "
            "converted"
        )
    told = "declared" if layer.declared else f"not declared, read off the pixels with confidence {seen.confidence:.3f}"
    data: Pixels = layer.data
    if unit == wanted:
        notes.append(f"S1RTC: {unit} ({told}), as the recipe takes it")
    else:
        data = to_power(data) if wanted == "linear power" else to_db(data)
        notes.append(f"S1RTC: {unit} ({told}; {seen.why}), converted to {wanted}")
    if recipe.s1.floor is not None:
        floor = np.float32(recipe.s1.floor if wanted == "linear power" else 10 * np.log10(recipe.s1.floor))
        if raised := int((data < floor).sum()):
            notes.append(f"S1RTC: {raised} values below a power of {recipe.s1.floor:g} raised to it")
        data = np.maximum(data, floor)
    if recipe.s1.dtype == "float16":
        data = data.astype(np.float16).astype(np.float32)
        notes.append("S1RTC: passed through float16, as the recipe says")
    return data


def _reflectance(chip: Chip, recipe: Recipe, layer: Layer, notes: list[str]) -> Pixels:
    seen = by_slice(layer.data, s2_unit)
    unit = agreed_unit(layer, seen)
    data: Pixels = layer.data
    if unit == "1":
        if not layer.declared:
            raise UnitError(
                f"{layer.source}: recipe {recipe.id} takes S2L2A in DN, the pixels look like reflectance ({seen.why}); "
                f"multiply by {REFLECTANCE_SCALE}, or {advice('S2L2A', '1')}, and they are"
            )
        data = data * np.float32(REFLECTANCE_SCALE)
        notes.append(f"S2L2A: reflectance (declared), multiplied by {REFLECTANCE_SCALE}")
    gaps = 1 - layer.valid_fraction
    if gaps:
        notes.append(f"S2L2A: {gaps:.2%} of values are nodata (DN 0 or the file's nodata)")
    return np.stack([_levelled(chip, recipe, layer, step, t, notes) for t, step in enumerate(data)])


def _levelled(chip: Chip, recipe: Recipe, layer: Layer, data: Pixels, t: int, notes: list[str]) -> Pixels:
    """One date, shape (C, H, W), with the offset dealt with."""
    seen = s2_offset(data, layer.bands)
    date = f"t{t}" if layer.timesteps > 1 else "the date"
    what = f"{seen.verdict}, confidence {seen.confidence:.3f}: {seen.why}"
    if chip.s2_offset == OFFSET and seen.verdict == "none":
        raise UnitError(
            f"{layer.source}: chip {chip.id} is declared to carry +{OFFSET}, but {seen.why}; correct s2_offset in "
            "chips.yaml"
        )
    if recipe.s2_offset.policy == "raw":
        said = "" if chip.s2_offset is None else f" (declared: {chip.s2_offset})"
        notes.append(f"S2L2A: raw DN, as the recipe says; offset of {date}{said}: {what}")
        return data
    carries = chip.s2_offset == OFFSET if chip.s2_offset is not None else seen.verdict == "+1000"
    if chip.s2_offset is None and seen.verdict == UNKNOWN:
        raise UnitError(
            f"{layer.source}: recipe {recipe.id} harmonises, but whether {date} of chip {chip.id} carries +{OFFSET} "
            f"cannot be told: {seen.why}; declare it in chips.yaml: chips: {{{chip.id}: {{s2_offset: {OFFSET}}}}}, or 0"
        )
    by = "declared" if chip.s2_offset is not None else "read off the pixels"
    notes.append(f"S2L2A: {date} {'harmonised' if carries else 'left as it is'} ({by}); offset: {what}")
    return harmonised(data) if carries else data


def _without_gaps(chip: Chip, recipe: Recipe, layer: Layer, data: Pixels) -> tuple[Pixels, float]:
    gaps = np.isnan(data)
    share = float(gaps.mean())
    rule = recipe.missing.pixels[layer.modality]
    if share == 0:
        return data, 0.0
    if rule == "error":
        raise RecipeError(
            f"{layer.source}: chip {chip.id}: {share:.2%} of {layer.modality} is nodata, which recipe {recipe.id} does "
            "not fill (missing: pixels); give a whole chip or another recipe"
        )
    return np.where(gaps, np.float32(rule), data), share
