"""Recipes under eval/recipes/: everything between a scene and a tensor, as data."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from harness.chips.chip import MODALITIES
from harness.claims.model import Source
from harness.claims.registry import Located, read_yaml, validated
from harness.errors import RecipeError, RegistryError
from harness.records import Strict

Resampling = Literal["none", "nearest", "bilinear", "as given"]
"""`none`: read on its own grid. `as given`: the source comes resampled and does not say how."""


class Dates(Strict):
    """Which acquisitions fill the timesteps."""

    policy: Literal["one", "repeat", "distinct", "given"]
    """one: a single date, not repeated. repeat: a single date, `count` times. distinct: `count`
    dates that differ. given: whatever the chip holds, if that is `count`."""
    count: int = Field(ge=1)
    """Timesteps that the source feeds."""
    window: str | None = None
    """Season or range, where the source names one."""


class Offset(Strict):
    """What happens to the 1000 DN that Sentinel-2 baselines from 04.00 on add."""

    policy: Literal["raw", "harmonise"]
    """raw: pixels as they are. harmonise: max(DN, 1000) - 1000 where a chip carries it."""


class Backscatter(Strict):
    """How Sentinel-1 enters."""

    unit: Literal["linear power", "dB"]
    """Unit that is normalised."""
    dtype: Literal["float16", "float32"]
    """Precision that the pixels passed through."""
    floor: float | None
    """Smallest linear power, applied before the logarithm; null where the source clips nothing."""


class Elevation(Strict):
    """How the DEM enters."""

    policy: Literal["given", "zeros"]
    """given: metres. zeros: 0 m everywhere, whatever the chip holds."""


class Statistics(Strict):
    """What one modality is normalised with."""

    mean: list[float]
    """By band, in `unit`."""
    std: list[float]
    """By band, in `unit`."""
    unit: str
    """Unit in which the figures were computed; it may differ from what a recipe feeds."""
    source: Source
    """Where they stand."""


class Missing(Strict):
    """What happens where there is nothing."""

    modality: Literal["error"]
    """A modality that is absent is always an error."""
    pixels: dict[str, float | Literal["error"]]
    """By modality: the value that nodata becomes before normalising, or `error`."""


class Remark(Strict):
    """Something to know about a knob."""

    knob: str
    """Field of the recipe."""
    evidence: Literal["source", "inference"]
    """`source` where the code says it, `inference` where we conclude it."""
    text: str
    """In one or two sentences."""
    source: Source | None = None
    """Where it stands."""


class Assumed(Strict):
    """A knob on which the sources are silent."""

    knob: str
    """Field of the recipe."""
    recipe: str
    """Recipe that it is taken from."""
    why: str
    """Why from there."""


class Recipe(Strict):
    """One file under eval/recipes/. No field has a default: a source states it or `assumed` says so."""

    id: str
    """Name; the file's stem."""
    version: str
    """Changes whenever a knob does."""
    title: str
    """For people."""
    origin: str
    """What kind of document gives it."""
    sources: list[Source] = Field(min_length=1)
    """Where it stands."""
    bands: dict[str, list[str]] = Field(min_length=1)
    """Modalities that enter, and their bands in order."""
    grid_snap: Literal["major-tom", "aoi-centre", "as given"]
    """major-tom: windows of a Major-TOM cell, from its north-west corner. aoi-centre: centred on
    the AOI's point, whatever the scene's grid. as given: chips come cut."""
    chip_size_px: int = Field(ge=16)
    """Side of a chip."""
    dates: Dates
    """Which acquisitions."""
    resampling: dict[str, Resampling]
    """By band group: `10m`, `20m` and `60m` of Sentinel-2, `S1RTC`, `DEM`."""
    s2_offset: Offset
    """The +1000."""
    s1: Backscatter
    """Sentinel-1."""
    dem: Elevation
    """DEM."""
    statistics: dict[str, Statistics]
    """By modality."""
    missing: Missing
    """Gaps."""
    precision: Literal["float32", "16-mixed"]
    """What the source computed in; arrays made here are float32 either way."""
    assumed: list[Assumed]
    """Knobs that the sources leave open; an empty list where none."""
    remarks: list[Remark]
    """What a reader should know; an empty list where nothing."""

    @model_validator(mode="after")
    def _whole(self) -> Recipe:
        for modality, bands in self.bands.items():
            if modality not in MODALITIES:
                raise ValueError(f"bands: {modality!r} is no modality; there are {', '.join(MODALITIES)}")
            if modality not in self.statistics:
                raise ValueError(f"statistics: {modality} has none")
            if modality not in self.missing.pixels:
                raise ValueError(f"missing: pixels: say what becomes of nodata in {modality}, a value or `error`")
            stats = self.statistics[modality]
            if not len(bands) == len(stats.mean) == len(stats.std):
                raise ValueError(
                    f"statistics: {modality} has {len(stats.mean)} means and {len(stats.std)} standard deviations "
                    f"for {len(bands)} bands"
                )
            if not all(map(math.isfinite, [*stats.mean, *stats.std])) or min(stats.std) <= 0:
                raise ValueError(f"statistics: {modality} needs finite means and positive standard deviations")
        for name, given in (("statistics", self.statistics), ("missing: pixels", self.missing.pixels)):
            if extra := sorted(set(given) - set(self.bands)):
                raise ValueError(f"{name}: {', '.join(extra)} has no bands in this recipe")
        for knob in (*(a.knob for a in self.assumed), *(r.knob for r in self.remarks)):
            if knob not in KNOBS:
                raise ValueError(f"{knob!r} is no knob; there are {', '.join(KNOBS)}")
        return self


KNOBS = tuple(
    name
    for name in Recipe.model_fields
    if name not in ("id", "version", "title", "origin", "sources", "assumed", "remarks")
)
"""Fields that change the tensor."""


def read_recipes(folder: Path) -> dict[str, Recipe]:
    """Read all recipes of a folder.

    Args:
        folder: Holds one YAML file a recipe. A knob listed under `assumed` does not stand in the
            file itself; it is filled from the recipe that `assumed` names.

    Returns:
        Recipes by id.

    Raises:
        RecipeError: With file, line and field.
    """
    try:
        raws = {path: read_yaml(path) for path in sorted(folder.glob("*.yaml"))}
        by_id = {path.stem: raw for path, raw in raws.items()}
        out: dict[str, Recipe] = {}
        for path, raw in raws.items():
            recipe = validated(Recipe, _filled(raw, path, by_id), path, "recipe")
            if recipe.id != path.stem:
                line = raw.lines.get("id", 1)
                raise RecipeError(f"{path}:{line}: id: {recipe.id!r} differs from the file's name")
            out[recipe.id] = recipe
    except RegistryError as err:
        raise RecipeError(str(err)) from err
    if not out:
        raise RecipeError(f"{folder}: no recipes; give a folder with one .yaml file a recipe")
    return out


def _filled(raw: Located, path: Path, others: dict[str, Located]) -> Located:
    """The raw recipe with its assumed knobs taken from where it says."""
    out = Located(raw)
    out.line, out.lines = raw.line, dict(raw.lines)
    for item in raw.get("assumed") or []:
        entry = validated(Assumed, item, path, "recipe.assumed") if isinstance(item, Located) else None
        if entry is None:
            raise RecipeError(f"{path}:{raw.lines['assumed']}: assumed: a list of knob, recipe and why was expected")
        where = f"{path}:{item.line}: assumed.{entry.knob}"
        if entry.knob in raw:
            raise RecipeError(
                f"{where}: the file states this knob in line {raw.lines[entry.knob]}; drop one of the two"
            )
        if entry.recipe not in others:
            raise RecipeError(f"{where}: no recipe {entry.recipe!r}; there are {', '.join(others)}")
        if entry.knob not in others[entry.recipe]:
            raise RecipeError(f"{where}: {entry.recipe} does not state it either; take it from one that does")
        out[entry.knob] = others[entry.recipe][entry.knob]
        out.lines[entry.knob] = item.line
    return out


def differences(one: Recipe, other: Recipe) -> list[tuple[str, Any, Any]]:
    """Knobs in which two recipes differ, with both values, in the order of the recipe's fields."""
    pairs = ((knob, getattr(one, knob), getattr(other, knob)) for knob in KNOBS)
    return [(knob, a, b) for knob, a, b in pairs if a != b]
