"""Lock -> chip: every scene of an AOI read at its own pixels, masked, laid together and put on one grid."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from harness.chips.chip import MODALITIES, Chip, Grid, Layer, Modality
from harness.chips.mosaic import Piece, Pixels, Transform, first_valid, lay, masked
from harness.chips.reader import Offsets, Request, chip_grid, nodata_values, offsets, reach_of, resampling
from harness.chips.recipe import Recipe, Resampling
from harness.chips.scenes import AoiLock, AssetRef, Scene, Timestep
from harness.chips.sources.cog import CogReader, NativeWindow
from harness.chips.store import Store
from harness.chips.units import harmonised
from harness.chips.warp import coincide, onto, project
from harness.errors import ChipError, SourceError

LEAST_VALID: Final = 0.99
"""Share of a band's pixels on one date that must be valid, or the chip is not scored. A strip of
three rows of 224 is more than that."""


@dataclass(frozen=True, slots=True)
class Valid:
    """How much of one band on one date is there."""

    modality: str
    """Modality."""
    date: str | None
    """Acquisition."""
    index: int
    """Place along T."""
    band: str
    """Band."""
    fraction: float
    """Share of pixels that are not nodata."""


@dataclass(frozen=True)
class Assembled:
    """A chip and how it came about."""

    chip: Chip
    """Pixels on one grid."""
    valid: tuple[Valid, ...]
    """By modality, date and band."""
    read: int
    """Windows that came from the network."""
    stored: int
    """Windows that were in the store."""
    remarks: tuple[str, ...]
    """What was decided on the way, e.g. about mixed baselines; the layers hold their own."""


@dataclass(frozen=True, slots=True)
class _Slot:
    """One band of one date of the chip."""

    modality: str
    index: int
    band: str


@dataclass(frozen=True, slots=True)
class _Part:
    """One scene's share in a slot."""

    request: Request
    scene: Scene
    asset: AssetRef
    place: int
    """Band within the asset."""


_Lattice = tuple[int, Transform, tuple[int, ...], Resampling]
"""EPSG, corner, shape and knob: what pieces that are warped together share."""


def read_chip(
    lock: AoiLock,
    recipe: Recipe,
    reader: CogReader,
    store: Store | None = None,
    grid: Grid | None = None,
    least_valid: float = LEAST_VALID,
) -> Assembled:
    """Read an AOI's chip as a lock describes it; nothing is searched.

    Args:
        lock: Scenes, in the order in which they are laid.
        recipe: Grid, chip size, resampling and offset policy. Units stay what they were: tensors.py converts.
        reader: Reads what the store does not hold.
        store: Keeps native windows, so that another recipe or a second run reads nothing again.
        grid: In place of the recipe's grid, e.g. a window of a Major-TOM cell.
        least_valid: Share of valid pixels below which a band of a date makes the chip unscored; it
            counts for the modalities that the recipe feeds.

    Returns:
        The chip, NaN where nodata, with the valid share of each band and date.

    Raises:
        SourceError: A window cannot be read, an asset is missing, or the store cannot be written.
        ChipError: Too few valid pixels, mixed baselines under raw DN, or a lock with gaps.
        RecipeError: The recipe says no grid or resampling.
    """
    grid = grid or chip_grid(recipe, lock.centre, lock.epsg, project)
    if grid.epsg != lock.epsg:
        raise ChipError(f"{lock.aoi}: grid in EPSG:{grid.epsg}, the lock was made for EPSG:{lock.epsg}")
    (x,), (y,) = project([lock.centre[0]], [lock.centre[1]], 4326, grid.epsg)
    steps = _by_modality(lock)
    optical = [scene for step in steps.get("S2L2A", []) for scene in step.scenes]
    level = offsets(optical, recipe, lock.aoi) if optical else Offsets(None, frozenset(), None)
    parts = _parts(lock, steps, reach_of(grid, (x, y)))
    windows, read = _fetched([part.request for several in parts.values() for part in several], reader, store)
    data, notes = _on_grid(parts, windows, grid, recipe, level)
    layers = {name: _layer(lock, MODALITIES[name], found, data, notes) for name, found in steps.items()}
    valid = _valid(layers)
    _check(lock, recipe, valid, least_valid)
    chip = Chip(lock.aoi, grid, layers, s2_offset=level.chip if optical else None, cut_by=recipe.id)
    return Assembled(chip, valid, read, len(windows) - read, (level.remark,) if level.remark else ())


def _by_modality(lock: AoiLock) -> dict[str, list[Timestep]]:
    """Timesteps in order, by modality in the registry's order."""
    found: dict[str, list[Timestep]] = defaultdict(list)
    for step in lock.timesteps:
        if step.modality not in MODALITIES:
            raise ChipError(f"{lock.aoi}: the lock names {step.modality!r}; there are {', '.join(MODALITIES)}")
        if not step.scenes:
            raise ChipError(f"{lock.aoi}: {step.modality} t{step.index} has no scene in the lock; lock again")
        found[step.modality].append(step)
    for modality, steps in found.items():
        steps.sort(key=lambda step: step.index)
        if (have := [step.index for step in steps]) != list(range(len(steps))):
            raise ChipError(f"{lock.aoi}: {modality} has timesteps {have} in the lock; they count from 0 without a gap")
    return {name: found[name] for name in MODALITIES if name in found}


def _parts(lock: AoiLock, steps: Mapping[str, list[Timestep]], reach: Grid) -> dict[_Slot, list[_Part]]:
    out: dict[_Slot, list[_Part]] = {}
    for modality, several in steps.items():
        for step in several:
            for band in MODALITIES[modality].bands:
                out[_Slot(modality, step.index, band)] = [_part(lock, s, band, reach) for s in step.scenes]
    return out


def _part(lock: AoiLock, scene: Scene, band: str, reach: Grid) -> _Part:
    asset = next((a for a in scene.assets.values() if band in a.bands), None)
    if asset is None:
        raise SourceError(
            f"{lock.aoi}: {scene.collection}/{scene.item} has no asset with {band}; nothing stands in for it: "
            "run `harness lock --check`, or lock another scene"
        )
    request = Request(asset.href, reach, len(asset.bands), scene.epsg, asset.etag, asset.size_bytes)
    return _Part(request, scene, asset, asset.bands.index(band))


def _fetched(
    requests: Sequence[Request], reader: CogReader, store: Store | None
) -> tuple[dict[Request, NativeWindow], int]:
    """Windows by request, and how many of them came from the network."""
    wanted = list(dict.fromkeys(requests))
    if store is None:
        return reader.read_all(wanted), len(wanted)
    found = {request: kept for request in wanted if (kept := store.get(request)) is not None}
    absent = [request for request in wanted if request not in found]
    if absent:
        found |= reader.read_all(absent, store.put)
        store.prune()
    return found, len(absent)


def _on_grid(
    parts: Mapping[_Slot, Sequence[_Part]],
    windows: Mapping[Request, NativeWindow],
    grid: Grid,
    recipe: Recipe,
    level: Offsets,
) -> tuple[dict[_Slot, Pixels], dict[str, list[str]]]:
    """Every slot on the chip's grid, (H, W). Slots of one lattice are warped in one go."""
    together: dict[_Lattice, list[tuple[_Slot, int, Piece]]] = defaultdict(list)
    notes: dict[str, list[str]] = defaultdict(list)
    for slot, several in parts.items():
        pieces = [p for part in several if (p := _piece(slot, part, windows[part.request], level)) is not None]
        how = resampling(recipe, slot.modality, several[0].asset.gsd_m)
        for order, piece in enumerate(lay(pieces) if pieces else []):
            together[piece.epsg, piece.transform, piece.data.shape, how].append((slot, order, piece))
    runs: dict[_Slot, dict[int, Pixels]] = defaultdict(dict)
    for (_, _, _, how), members in together.items():
        if how == "none" and coincide(members[0][2], grid) is None:
            for modality in {slot.modality for slot, _, _ in members} - notes.keys():
                notes[modality].append("pixels are not the chip's own, as the recipe's `none` has it; laid by nearest")
        for (slot, order, _), pixels in zip(members, onto([p for _, _, p in members], grid, how), strict=True):
            runs[slot][order] = pixels
    empty = np.full((grid.height_px, grid.width_px), np.nan, np.float32)
    out = {slot: first_valid([runs[slot][i] for i in sorted(runs[slot])]) if runs[slot] else empty for slot in parts}
    return out, notes


def _piece(slot: _Slot, part: _Part, found: NativeWindow, level: Offsets) -> Piece | None:
    """One scene's masked native pixels; None where the scene does not reach the place."""
    if not found.data.size:
        return None
    nodata = nodata_values(slot.modality, part.asset, found.header.nodata)
    data = masked(found.data[part.place], nodata, positive=part.asset.unit == "linear power")
    if part.scene.item in level.subtract:
        data = harmonised(data)
    return Piece(data, found.header.epsg, found.transform)


def _layer(
    lock: AoiLock,
    modality: Modality,
    steps: Sequence[Timestep],
    data: Mapping[_Slot, Pixels],
    notes: Mapping[str, Sequence[str]],
) -> Layer:
    units = {asset.unit for step in steps for s in step.scenes for asset in s.assets.values() if _of(asset, modality)}
    if len(units) != 1 or not units <= set(modality.units):
        raise ChipError(
            f"{lock.aoi}: {modality.name} in {', '.join(sorted(units))}; one of {', '.join(modality.units)}"
        )
    stack = np.stack([[data[_Slot(modality.name, step.index, band)] for band in modality.bands] for step in steps])
    dates = tuple(step.scenes[0].datetime[:10] for step in steps)
    source = Path(lock.aoi) / modality.name / steps[0].scenes[0].item
    remarks = (*notes.get(modality.name, ()), *(f"t{step.index}: {step.why}" for step in steps if step.why))
    return Layer(modality.name, stack, modality.bands, units.pop(), dates, source, True, remarks)


def _of(asset: AssetRef, modality: Modality) -> bool:
    return any(band in modality.bands for band in asset.bands)


def _valid(layers: Mapping[str, Layer]) -> tuple[Valid, ...]:
    return tuple(
        Valid(name, date, t, band, float(np.isfinite(layer.data[t, c]).mean()))
        for name, layer in layers.items()
        for t, date in enumerate(layer.dates)
        for c, band in enumerate(layer.bands)
    )


def _check(lock: AoiLock, recipe: Recipe, valid: Sequence[Valid], least: float) -> None:
    fed = {name for name in recipe.bands if not (name == "DEM" and recipe.dem.policy == "zeros")}
    poor = [v for v in valid if v.modality in fed and v.fraction < least]
    if poor:
        worst = min(poor, key=lambda v: v.fraction)
        raise ChipError(
            f"{lock.aoi}: not scored: {worst.modality} {worst.band} of {worst.date} has {worst.fraction:.1%} valid "
            f"pixels, {least:.1%} are asked for (least_valid); {len(poor)} of {len(valid)} bands and dates fall short: "
            "another date, or a second tile in the lock, may cover the rest"
        )
