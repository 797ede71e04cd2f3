"""GeoTIFF chips of one's own: one subfolder a modality, one file a chip; see docs/chips-folder.md."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field

from harness.chips.chip import MODALITIES, Chip, Grid, Label, Layer, Modality
from harness.chips.declared import agreed_unit, declared_units
from harness.chips.labels import LabelMap, checked, read_label_map, to_label
from harness.chips.sources.geotiff import read_raster
from harness.chips.units import MIXED, UNKNOWN, Evidence, by_slice, s1_unit, s2_unit
from harness.claims.registry import read_yaml, validated
from harness.claims.schemes import Scheme
from harness.errors import ChipError, RegistryError, UnitError
from harness.records import Strict

SETTINGS = "chips.yaml"
"""Optional file beside the modality folders."""

DATED = re.compile(r"(?P<id>.+)_t(?P<step>\d+)")
"""Stem of a file that holds one of several dates."""


def _number(value: object) -> object:
    return int(value) if isinstance(value, str) and value.isdigit() else value


class ChipSettings(Strict):
    """What chips.yaml may say about one chip."""

    dates: dict[str, list[str]] = Field(default_factory=dict)
    """By modality, one a timestep; a date in the file's tag `datetime` is used otherwise."""
    s2_offset: Annotated[Literal[0, 1000] | None, BeforeValidator(_number)] = None
    """DN that Sentinel-2 pixels carry on top."""


class FolderSettings(Strict):
    """chips.yaml."""

    units: dict[str, str] = Field(default_factory=dict)
    """By modality: what the pixels are in."""
    chips: dict[str, ChipSettings] = Field(default_factory=dict)
    """By chip."""
    label: LabelMap | None = None
    """Map from codes to class indices."""


def read_chips(
    folder: Path | str,
    declared_units: Mapping[str, str] | None = None,
    label_map: Path | None = None,
    schemes: Mapping[str, Scheme] | None = None,
) -> list[Chip]:
    """Read all chips of a folder.

    Args:
        folder: Holds S2L2A/, S1RTC/, DEM/, and LULC/ or NDVI/ where there are any, with `<chip id>.tif`,
            or `<chip id>_t0.tif` and so on for several dates; and chips.yaml, if one likes.
        declared_units: By modality; wins over chips.yaml.
        label_map: A file as under eval/labels/; wins over chips.yaml. Without a map from codes to
            indices a label folder gives no label: codes are never guessed.
        schemes: Known schemes, to hold the label map against.

    Returns:
        Chips by id. A modality that a chip lacks is missing there too; whether that is an error is
        for the recipe to say.

    Raises:
        ChipError: Empty folder, a file that is not what its place says, grids that differ, a gap in the dates.
        UnitError: A declared unit that does not exist or that the pixels contradict.
    """
    out: list[Chip] = []
    for _, chip in each_chip(folder, declared_units, label_map, schemes):
        if isinstance(chip, ChipError):
            raise chip
        out.append(chip)
    return out


def each_chip(
    folder: Path | str,
    declared_units: Mapping[str, str] | None = None,
    label_map: Path | None = None,
    schemes: Mapping[str, Scheme] | None = None,
) -> Iterator[tuple[str, Chip | ChipError]]:
    """As `read_chips`, one chip at a time: a chip that cannot be read is given as its error.

    Yields:
        Chip id, and the chip or why there is none.

    Raises:
        ChipError: The folder itself, its chips.yaml or a declared unit is wrong.
    """
    folder = Path(folder)
    settings = _settings(folder)
    units = _units(folder, settings.units, declared_units or {})
    mapping = read_label_map(label_map, schemes) if label_map else settings.label
    if mapping is not None and label_map is None and schemes is not None:
        checked(mapping, schemes, folder / SETTINGS)
    files = _files(folder)
    ids = sorted({chip for found in files.values() for chip in found})
    if unknown := sorted(set(settings.chips) - set(ids)):
        raise ChipError(f"{folder / SETTINGS}: chips: no files for {', '.join(unknown)}")
    for name in ids:
        own = {modality: found[name] for modality, found in files.items() if name in found}
        try:
            yield name, _chip(name, own, settings.chips.get(name, ChipSettings()), units, mapping)
        except ChipError as err:
            yield name, err


def _units(folder: Path, own: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    return {**declared_units(own, where=str(folder / SETTINGS)), **declared_units(given, where="declared")}


def _settings(folder: Path) -> FolderSettings:
    if not folder.is_dir():
        raise ChipError(f"{folder}: no such folder")
    path = folder / SETTINGS
    if not path.exists():
        return FolderSettings()
    try:
        return validated(FolderSettings, read_yaml(path), path, "chips")
    except RegistryError as err:
        raise ChipError(str(err)) from err


def _files(folder: Path) -> dict[str, dict[str, list[Path]]]:
    """Files by modality and chip, dates in order."""
    out: dict[str, dict[str, list[Path]]] = {}
    for place in sorted(p for p in folder.iterdir() if p.is_dir()):
        if place.name in MODALITIES:
            out[place.name] = _dated(place)
        elif near := [m for m in MODALITIES if m.lower() == place.name.lower()]:
            raise ChipError(f"{place}: folders are named as modalities are: {near[0]}")
    if not any(out.values()):
        raise ChipError(
            f"{folder}: no chips; put GeoTIFFs at {folder / 'S2L2A'}/<chip id>.tif, and likewise in S1RTC and DEM"
        )
    return out


def _dated(place: Path) -> dict[str, list[Path]]:
    single: dict[str, Path] = {}
    steps: dict[str, dict[int, Path]] = {}
    for path in sorted(p for p in place.iterdir() if p.suffix.lower() in (".tif", ".tiff") and p.name[0] != "."):
        match = DATED.fullmatch(path.stem)
        taken = steps.setdefault(match["id"], {}) if match else {}
        step = int(match["step"]) if match else 0
        if path.stem in single or step in taken:
            raise ChipError(f"{path}: stands twice ({(single.get(path.stem) or taken[step]).name}); keep one")
        if match:
            taken[step] = path
        else:
            single[path.stem] = path
    out = {name: [path] for name, path in single.items()}
    for name, found in steps.items():
        if name in out:
            raise ChipError(f"{out[name][0]}: stands beside {found[min(found)].name}; give one date or numbered ones")
        if sorted(found) != list(range(len(found))):
            raise ChipError(
                f"{place / name}: dates t{', t'.join(map(str, sorted(found)))}; number them from t0 on, no gap"
            )
        out[name] = [found[step] for step in range(len(found))]
    return out


def _chip(
    name: str,
    files: Mapping[str, list[Path]],
    settings: ChipSettings,
    units: Mapping[str, str],
    mapping: LabelMap | None,
) -> Chip:
    layers: dict[str, Layer] = {}
    grid: tuple[Grid, Path] | None = None
    label: Label | None = None
    for modality in sorted(files, key=list(MODALITIES).index):
        layer, own = _layer(MODALITIES[modality], files[modality], settings, units.get(modality), name)
        if grid is None:
            grid = (own, layer.source)
        elif difference := grid[0].differs(own):
            raise ChipError(f"{layer.source}: not on the grid of {grid[1]}: {difference}; warp one to the other")
        layers[modality] = layer
        if mapping is not None and mapping.modality == modality:
            if layer.timesteps > 1:
                raise ChipError(f"{layer.source}: {layer.timesteps} dates; a label has one")
            label = to_label(mapping, layer.data[0, 0], layer.source)
    if grid is None:
        raise ChipError(f"chip {name}: no files")
    return Chip(name, grid[0], layers, label, settings.s2_offset)


def _layer(
    modality: Modality, paths: list[Path], settings: ChipSettings, declared: str | None, chip: str
) -> tuple[Layer, Grid]:
    rasters = [read_raster(path, modality) for path in paths]
    for path, raster in zip(paths[1:], rasters[1:], strict=True):
        if difference := rasters[0].grid.differs(raster.grid):
            raise ChipError(f"{path}: not on the grid of {paths[0].name}: {difference}")
    dates: list[str | None] = [raster.date for raster in rasters]
    if stated := settings.dates.get(modality.name):
        if len(stated) != len(paths):
            raise ChipError(
                f"{paths[0].parent.parent / SETTINGS}: chip {chip}: {modality.name}: {len(stated)} dates for "
                f"{len(paths)} files"
            )
        dates = list(stated)
    data = np.stack([raster.data for raster in rasters])
    seen = _seen(modality, data)
    if seen.verdict == MIXED:
        raise UnitError(f"{paths[0]}: {modality.name} is not in one unit: {seen.why}; write all dates and bands in one")
    unit = declared or ("unknown" if seen.verdict == UNKNOWN else seen.verdict)
    remarks = []
    if len(modality.bands) > 1 and not all(raster.named for raster in rasters):
        remarks.append(f"{paths[0].name} does not name its bands; taken to be {' '.join(modality.bands)}")
        _polarisations(modality, data, paths[0])
    if declared:  # before anything is taken out of the pixels
        agreed_unit(Layer(modality.name, data, modality.bands, unit, tuple(dates), paths[0], True), seen)
    if unit == "linear power" and (dead := int((data <= 0).sum())):
        remarks.append(f"{dead} values of zero or negative power taken as nodata")
        data = np.where(data <= 0, np.float32(np.nan), data)
    layer = Layer(
        modality.name, data, modality.bands, unit, tuple(dates), paths[0], declared is not None, tuple(remarks)
    )
    return layer, rasters[0].grid


def _seen(modality: Modality, data: NDArray[np.float32]) -> Evidence:
    if modality.name == "S1RTC":
        return by_slice(data, s1_unit)
    if modality.name == "S2L2A":
        return by_slice(data, s2_unit)
    return Evidence(modality.units[0], 0.0, "the only unit that it is read in; pixels were not asked")


def _polarisations(modality: Modality, data: NDArray[np.float32], path: Path) -> None:
    """Co-polarised backscatter exceeds cross-polarised over land and water alike: a swap shows."""
    if modality.name != "S1RTC" or not all(np.isfinite(data[:, c]).any() for c in (0, 1)):
        return
    vv, vh = (float(np.nanmedian(data[:, c])) for c in (0, 1))
    if vh > vv:
        raise ChipError(
            f"{path}: the second band is the brighter one (medians {vv:.4g} and {vh:.4g}), VH hardly ever is; the "
            "order is VV VH, and band descriptions would settle it"
        )
