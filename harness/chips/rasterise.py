"""Footprints on a chip's grid: which pixels are building, which are not, and which nobody can say."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Literal

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import Transformer
from rasterio.features import rasterize
from rasterio.transform import Affine
from shapely.geometry.base import BaseGeometry

from harness.chips.chip import Grid, Label
from harness.chips.footprints import (
    COLUMNS,
    Footprint,
    Standing,
    fetch_footprints,
    footprints,
    outline,
    padded,
    standing,
)
from harness.chips.labels import IGNORE_INDEX
from harness.chips.sources.socrata import FOOTPRINTS, Snapshot, Socrata, write_snapshot
from harness.errors import ChipError

SCHEME = "footprints"
"""Id under eval/schemes/: 0 non-building, 1 building."""


@dataclass(frozen=True, slots=True)
class FootprintRule:
    """Knobs between footprints and a label, and what each rests on."""

    name: str
    """Short name, recorded with the label."""
    all_touched: bool
    """False: a pixel is building where its centre lies in a footprint. True: where a footprint touches it."""
    outside: Literal["unlabelled", "background"]
    """What a pixel outside the city's land is where no footprint covers it."""
    by_date: bool
    """Whether buildings that did not stand at the chip's date are left out."""
    leave_out: tuple[int, ...]
    """Feature codes that do not count as buildings."""
    evidence: Literal["source", "inference"]
    """`source` where somebody's code has these knobs, `inference` where we chose them."""
    why: str
    """What it rests on, in words."""


TRAINING_CODE = FootprintRule(
    name="training-code",
    all_touched=False,
    outside="background",
    by_date=False,
    leave_out=(),
    evidence="source",
    why=(
        "msradam/riprap-nyc, experiments/13_terramind_buildings/rasterize_buildings.py at 6a82282: every footprint of "
        "the table as downloaded, all_touched False, everything else 0, New Jersey and water too; no date and no "
        "feature code is looked at. Code may differ from what ran"
    ),
)
"""As the training set's masks were made."""

STOOD = FootprintRule(
    name="stood",
    all_touched=False,
    outside="unlabelled",
    by_date=True,
    leave_out=(1003, 5100),
    evidence="inference",
    why=(
        "our choice: pixel centres as in the training code; buildings that stood at the chip's date as far as the "
        "columns say, without placeholder triangles and buildings under construction; no label outside the city's land"
    ),
)
"""What can be said of a place at a date."""

RULES = {rule.name: rule for rule in (TRAINING_CODE, STOOD)}
"""By name."""


@dataclass(frozen=True)
class Burnt:
    """A label of footprints, and the rows behind it."""

    label: Label
    """0, 1 and -1 where unlabelled."""
    standing: Standing
    """Rows kept, and counts of the others by reason."""
    rule: FootprintRule
    """Knobs."""


def box_of(grid: Grid) -> tuple[float, float, float, float]:
    """West, south, east, north in degrees that enclose a grid, its bent edges included."""
    a, b, c, d, e, f = grid.transform
    if b or d:
        raise ChipError(f"EPSG:{grid.epsg}: a rotated grid {grid.transform}; only north-up ones are read")
    right, bottom = c + a * grid.width_px, f + e * grid.height_px
    to_degrees = Transformer.from_crs(grid.epsg, 4326, always_xy=True)
    west, south, east, north = to_degrees.transform_bounds(min(c, right), min(f, bottom), max(c, right), max(f, bottom))
    return west, south, east, north


def covered(shapes: Iterable[BaseGeometry], grid: Grid, *, all_touched: bool = False) -> NDArray[np.bool_]:
    """Which pixels lie in any of the shapes.

    Args:
        shapes: Polygons in longitude and latitude.
        grid: Where.
        all_touched: False: pixels whose centre lies in a shape. True: pixels that a shape touches.

    Returns:
        Shape (H, W).
    """
    size = (grid.height_px, grid.width_px)
    transformer = Transformer.from_crs(4326, grid.epsg, always_xy=True)
    geometries = np.asarray([g for g in shapes if not g.is_empty], dtype=object)
    if not len(geometries):
        return np.zeros(size, bool)
    here = shapely.transform(geometries, transformer.transform, interleaved=False)
    near = here[shapely.intersects(here, _extent(grid))]
    if not len(near):
        return np.zeros(size, bool)
    burnt = rasterize(
        [(g, 1) for g in near],
        out_shape=size,
        transform=Affine(*grid.transform),
        fill=0,
        all_touched=all_touched,
        dtype=np.uint8,
    )
    out: NDArray[np.bool_] = burnt.astype(bool)
    return out


def _extent(grid: Grid) -> BaseGeometry:
    a, _, c, _, e, f = grid.transform
    right, bottom = c + a * grid.width_px, f + e * grid.height_px
    return shapely.box(min(c, right), min(f, bottom), max(c, right), max(f, bottom))


def building_label(
    rows: Iterable[Footprint], city: BaseGeometry, grid: Grid, on: date, rule: FootprintRule, source: Path
) -> Burnt:
    """Footprints as a class map of the scheme `footprints`.

    Args:
        rows: Footprints of the chip's padded box.
        city: The boroughs' land in longitude and latitude.
        grid: The chip's grid.
        on: The chip's date.
        rule: Knobs.
        source: Snapshot that the rows come from.

    Returns:
        1 where a footprint is, 0 elsewhere on the city's land, and elsewhere what the rule says.
    """
    everything = tuple(rows)
    left = standing(everything, on, rule.leave_out) if rule.by_date else _all(everything, on, rule.leave_out)
    building = covered((row.geometry for row in left.kept), grid, all_touched=rule.all_touched)
    land = covered([city], grid, all_touched=False)
    outside = IGNORE_INDEX if rule.outside == "unlabelled" else 0
    data = np.where(building, 1, np.where(land, 0, outside)).astype(np.int64)
    counted = ", ".join(f"{name} {count}" for name, count in left.counts.items() if count)
    why = f"rule {rule.name}: {rule.why}. Rows at {on.isoformat()}: {counted or 'none'}"
    return Burnt(Label(data, SCHEME, source, rule.evidence, why, IGNORE_INDEX), left, rule)


def fetch_label(
    grid: Grid, on: date, boroughs: Snapshot, folder: Path, rule: FootprintRule = STOOD, client: Socrata | None = None
) -> Burnt:
    """A chip's building label from the live table, with a snapshot of the rows.

    Args:
        grid: The chip's grid.
        on: The chip's date.
        boroughs: As `fetch_boroughs` or a snapshot gives them.
        folder: Where the snapshot goes.
        rule: Knobs.
        client: Where to ask.

    Raises:
        SourceError: As `fetch_footprints`, or a value of another type.
    """
    city = outline(boroughs)
    got = fetch_footprints(box_of(grid), city, client)
    rows = footprints(got)  # before anything is written
    return building_label(rows, city, grid, on, rule, write_snapshot(got, folder))


def has_footprints(grid: Grid, client: Socrata | None = None) -> bool:
    """Whether any footprint lies in a grid, asked without reading rows where a count can tell.

    Raises:
        SourceError: As `Socrata.read`.
    """
    asked = client or Socrata()
    if asked.count(FOOTPRINTS, _inner_box(grid)):
        return True
    rows = footprints(asked.read(FOOTPRINTS, COLUMNS, padded(box_of(grid))))
    return bool(covered((row.geometry for row in rows), grid, all_touched=True).any())


def _inner_box(grid: Grid) -> tuple[float, float, float, float]:
    """West, south, east, north in degrees of a box that lies wholly in a grid."""
    edges = shapely.segmentize(_extent(grid), grid.gsd_m * grid.width_px / 16)
    middle = edges.centroid
    x, y = shapely.get_coordinates(edges.exterior).T
    lon, lat = Transformer.from_crs(grid.epsg, 4326, always_xy=True).transform(x, y)
    left, low = x < middle.x - 0.499 * np.ptp(x), y < middle.y - 0.499 * np.ptp(y)
    right, high = x > middle.x + 0.499 * np.ptp(x), y > middle.y + 0.499 * np.ptp(y)
    return float(lon[left].max()), float(lat[low].max()), float(lon[right].min()), float(lat[high].min())


def _all(rows: tuple[Footprint, ...], on: date, leave_out: tuple[int, ...]) -> Standing:
    kept = tuple(row for row in rows if row.feature_code not in leave_out)
    return Standing(on, kept, {"kept": len(kept), "feature_code": len(rows) - len(kept)})
