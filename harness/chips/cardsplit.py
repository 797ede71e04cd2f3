"""The card's own split: which parents, in which order, which windows, and which AOIs lie in them. Reads nothing."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import numpy as np
import shapely
from numpy.typing import NDArray
from pydantic import Field
from pyproj import Transformer
from shapely.geometry.base import BaseGeometry

from harness.chips.chip import Grid
from harness.errors import ChipError, SourceError
from harness.records import Strict

S2, S1 = "Major-TOM/Core-S2L2A", "Major-TOM/Core-S1RTC"
"""Data sets on the Hub."""

PARENT_PX, PARENT_GSD_M = 1068, 10.0
"""Side of a parent and its pixel (cards of both data sets)."""

EARTH_KM, CELL_KM = 6378.137, 10.0
"""Sphere and spacing of the grid (ESA-PhiLab/Major-TOM, src/grid.py, at 414da8c)."""

CELL_NAME = re.compile(r"(\d+)([UD])_(\d+)([LR])")
"""A grid cell: rows up or down from the equator, columns left or right of Greenwich."""

CHIP_ID = re.compile(r"nyc_(\d+[UD]_\d+[LR])_r(\d+)c(\d+)")
"""A chip of the training set."""

Part = Literal["train", "val", "test", "dropped"]


@dataclass(frozen=True, slots=True)
class CardRule:
    """What the training scripts choose by.

    msradam/riprap-nyc at 6a82282: experiments/05_terramind_nyc_finetune/data/major_tom_nyc.py and
    slice_and_label_nyc.py; experiments/13_terramind_buildings/rasterize_buildings.py. Code may differ from what ran.
    """

    box: tuple[float, float, float, float] = (-74.30, 40.45, -73.65, 40.95)
    """West, south, east, north; a product's centre lies in it, edges included."""
    since: datetime = datetime(2020, 1, 1)
    """First instant, included."""
    until: datetime = datetime(2025, 12, 31)
    """Last instant, included: midnight, so 31 December itself is out."""
    cloud_percent: float = 30.0
    """Most cloud of a Sentinel-2 product."""
    nodata: float = 0.0
    """Most nodata of a Sentinel-2 product, as a share."""
    seed: int = 42
    """Of Python's random."""
    window_px: int = 256
    """Side of a chip; what is left over in the south and east is not used."""
    valid: float = 0.5
    """Least share of a window with a label."""


RULE = CardRule()
"""As the scripts have it."""


@dataclass(frozen=True, slots=True)
class Product:
    """One row of a metadata.parquet."""

    dataset: str
    """`S2` or `S1` by name."""
    product_id: str
    """As ESA names it."""
    cell: str
    """Grid cell, e.g. 452U_625L."""
    timestamp: datetime
    """Acquisition, UTC without zone."""
    lat: float
    """Of the centre, degrees."""
    lon: float
    """Of the centre, degrees."""
    crs: str
    """Reference system of the pixels, e.g. EPSG:32618."""
    file: str
    """Parquet file within the data set."""
    row: int
    """Row group in it; one row each."""


@dataclass(frozen=True, slots=True)
class Parent:
    """A grid cell with an image of each sensor."""

    cell: str
    """Grid cell."""
    s2: Product
    """First Sentinel-2 product by name."""
    s1: Product
    """First Sentinel-1 product by name."""


class GridRecord(Strict):
    """A parent's grid, as its GeoTIFF has it."""

    epsg: int
    """EPSG code."""
    transform: list[float]
    """Affine a, b, c, d, e, f."""
    height_px: int
    """Rows."""
    width_px: int
    """Columns."""


class ParentRecord(Strict):
    """One parent of the split."""

    cell: str
    """Grid cell."""
    part: Part
    """Where the shuffle put it; `dropped` where the buildings script leaves it out afterwards."""
    s2_product: str
    """Sentinel-2 product."""
    s2_time: str
    """Acquisition, ISO 8601, UTC."""
    s1_product: str
    """Sentinel-1 product."""
    centre: tuple[float, float]
    """Longitude, latitude."""
    epsg: int
    """Of the pixels."""
    grid: GridRecord | None = None
    """As read from the image; None where it was not, and the place is the centre and 1068 px around it."""
    chips: list[str] = Field(default_factory=list)
    """Ids of its windows that have enough label, in order."""


class CardSplit(Strict):
    """The training set's split, rebuilt."""

    schema_version: Literal[1] = 1
    """Version of this shape."""
    variant: Literal["lulc", "buildings"]
    """Which script."""
    revisions: dict[str, str]
    """Commit by data set."""
    found: dict[str, int]
    """Products by data set, after the filters; cells with both."""
    labels: bool
    """Whether labels decided about windows; otherwise all windows are listed."""
    parents: list[ParentRecord]
    """In shuffled order."""

    def ids(self, part: Part) -> list[str]:
        """Chip ids of a part, in the order in which the script writes them."""
        return [chip for parent in self.parents if parent.part == part for chip in parent.chips]


@dataclass(frozen=True)
class Comparison:
    """Our ids against a published list."""

    missing: tuple[str, ...]
    """Published, and not ours."""
    extra: tuple[str, ...]
    """Ours, and not published."""
    same_order: bool
    """Whether the ids that both have come in one order."""
    elsewhere: Mapping[str, tuple[str, ...]]
    """Published test cells that our split puts into another part, or does not have: cells by part."""

    @property
    def same(self) -> bool:
        """Whether both lists are equal, order included."""
        return not self.missing and not self.extra and self.same_order

    def words(self) -> str:
        """One line for people."""
        if self.same:
            return "the published list, id by id"
        parts = [f"{len(v)} {k} ({', '.join(v[:4])}{', ...' if len(v) > 4 else ''})" for k, v in self._lists() if v]
        parts += [f"cells {', '.join(cells)} are {part} here" for part, cells in self.elsewhere.items()]
        parts += [] if self.same_order else ["common ids come in another order"]
        return "; ".join(parts)

    def _lists(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        return (("published ids are not ours", self.missing), ("of ours are not published", self.extra))


@dataclass(frozen=True, slots=True)
class Overlap:
    """Ground that an AOI or probe shares with one parent."""

    aoi: str
    """AOI id."""
    cell: str
    """Parent."""
    part: Part
    """Where the parent is."""
    share: float
    """Share of the AOI's area inside the parent."""
    chips: tuple[str, ...]
    """Chips of the parent that touch it."""
    chips_share: float
    """Share of the AOI's area inside those chips."""
    exact: bool
    """Whether the parent's grid was read from its image; otherwise it is drawn around its centre."""


def parents(s2: Iterable[Product], s1: Iterable[Product]) -> list[Parent]:
    """Cells with both sensors, in the order in which the script walks its folders: by row, then by cell, as text.

    Of several products of a cell, the first by name.
    """
    optical, radar = _first(s2), _first(s1)
    cells = sorted(optical.keys() & radar.keys(), key=lambda cell: (cell.split("_")[0], cell))
    return [Parent(cell, optical[cell], radar[cell]) for cell in cells]


def _first(products: Iterable[Product]) -> dict[str, Product]:
    out: dict[str, Product] = {}
    for product in products:
        held = out.get(product.cell)
        if held is None or product.product_id < held.product_id:
            out[product.cell] = product
    return out


def shuffled(
    found: Sequence[Parent], variant: Literal["lulc", "buildings"], rule: CardRule = RULE
) -> list[tuple[Parent, Part]]:
    """Parents in the shuffle's order, each with its part.

    The two scripts cut the same shuffle at other places: lulc at int(0.7 n) and int(0.15 n) after it,
    buildings at int(0.7 n) and int(0.85 n).
    """
    order = list(found)
    random.Random(rule.seed).shuffle(order)  # noqa: S311  # the script's own
    n = len(order)
    first = int(0.7 * n)
    second = first + int(0.15 * n) if variant == "lulc" else int(0.85 * n)
    return [(p, "train" if i < first else "val" if i < second else "test") for i, p in enumerate(order)]


def windows(
    cell: str,
    size: tuple[int, int] = (PARENT_PX, PARENT_PX),
    valid: NDArray[np.bool_] | None = None,
    rule: CardRule = RULE,
) -> list[str]:
    """Chip ids of a parent, row by row from its north-west corner.

    Args:
        cell: Grid cell.
        size: Rows and columns of the parent.
        valid: Shape `size`: pixels with a label; None keeps every window.
        rule: Side of a window, and the least share of label.

    Raises:
        ChipError: `valid` has another shape.
    """
    if valid is not None and valid.shape != size:
        raise ChipError(f"{cell}: label of {valid.shape} px for a parent of {size} px")
    side = rule.window_px
    out = []
    for row in range(size[0] // side):
        for col in range(size[1] // side):
            held = None if valid is None else valid[row * side : (row + 1) * side, col * side : (col + 1) * side]
            if held is None or held.mean() >= rule.valid:
                out.append(f"nyc_{cell}_r{row}c{col}")
    return out


def grid_of(parent: ParentRecord) -> Grid:
    """A parent's grid: its own where it was read, else 1068 px around its centre."""
    if parent.grid is not None:
        a, b, c, d, e, f = parent.grid.transform
        return Grid(parent.grid.epsg, (a, b, c, d, e, f), parent.grid.height_px, parent.grid.width_px)
    x, y = Transformer.from_crs(4326, parent.epsg, always_xy=True).transform(*parent.centre)
    half = PARENT_PX * PARENT_GSD_M / 2
    return Grid(parent.epsg, (PARENT_GSD_M, 0.0, x - half, 0.0, -PARENT_GSD_M, y + half), PARENT_PX, PARENT_PX)


def window_grid(parent: ParentRecord, chip: str, rule: CardRule = RULE) -> Grid:
    """Grid of one chip of a parent.

    Raises:
        ChipError: Not a chip of it.
    """
    match = CHIP_ID.fullmatch(chip)
    if match is None or match.group(1) != parent.cell:
        raise ChipError(f"{chip}: not a chip of {parent.cell}")
    row, col = int(match.group(2)), int(match.group(3))
    grid, side = grid_of(parent), rule.window_px
    a, b, c, d, e, f = grid.transform
    corner = (a, b, c + col * side * a, d, e, f + row * side * e)
    return Grid(grid.epsg, corner, side, side)


def published_ids(text: str, source: str) -> list[str]:
    """Ids of a published splits/*.txt.

    Raises:
        SourceError: A line that is no id, or no line at all; names the line.
    """
    out = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        if not CHIP_ID.fullmatch(line.strip()):
            raise SourceError(f"{source}:{number}: {line.strip()[:80]!r} is no chip id like nyc_452U_625L_r0c0")
        out.append(line.strip())
    if not out:
        raise SourceError(f"{source}: holds no chip id")
    return out


def compare(split: CardSplit, published: Sequence[str], part: Part = "test") -> Comparison:
    """Hold a published list against ours."""
    ours = split.ids(part)
    here, there = set(ours), set(published)
    common = here & there
    by_cell = {parent.cell: parent.part for parent in split.parents}
    elsewhere: dict[str, list[str]] = {}
    for cell in dict.fromkeys(match.group(1) for i in published if (match := CHIP_ID.fullmatch(i))):
        if (where := by_cell.get(cell, "no parent")) != part:
            elsewhere.setdefault(where, []).append(cell)
    return Comparison(
        missing=tuple(i for i in published if i not in here),
        extra=tuple(i for i in ours if i not in there),
        same_order=[i for i in ours if i in common] == [i for i in published if i in common],
        elsewhere={k: tuple(v) for k, v in elsewhere.items()},
    )


def overlap(split: CardSplit, places: Mapping[str, Grid], rule: CardRule = RULE) -> list[Overlap]:
    """Which AOIs and probes lie in which parents.

    Args:
        split: With every parent, whatever its part: the caller asks for `train`.
        places: Chip grids by AOI or probe id.
        rule: Side of a window.

    Returns:
        One entry for each pair that shares ground, by AOI, then by shared area, largest first.
    """
    out: list[Overlap] = []
    for parent in split.parents:
        ground = grid_of(parent)
        for aoi, grid in places.items():
            place = _outline(grid, grid.epsg)
            shared = _outline(ground, grid.epsg).intersection(place).area
            if shared <= 0:
                continue
            touching = {chip: _outline(window_grid(parent, chip, rule), grid.epsg) for chip in parent.chips}
            touching = {chip: area for chip, area in touching.items() if area.intersection(place).area > 0}
            inside = shapely.union_all(list(touching.values())).intersection(place).area if touching else 0.0
            share = shared / place.area
            out.append(
                Overlap(
                    aoi, parent.cell, parent.part, share, tuple(touching), inside / place.area, parent.grid is not None
                )
            )
    order = list(places)
    return sorted(out, key=lambda o: (order.index(o.aoi), -o.share, o.cell))


def _outline(grid: Grid, epsg: int) -> BaseGeometry:
    """A grid's outline in a reference system, with a corner every half kilometre or so."""
    a, _, c, _, e, f = grid.transform
    edges = shapely.box(c, f + e * grid.height_px, c + a * grid.width_px, f)
    if epsg == grid.epsg:
        return edges
    transformer = Transformer.from_crs(grid.epsg, epsg, always_xy=True)
    return shapely.transform(shapely.segmentize(edges, 500.0), transformer.transform, interleaved=False)


def _steps(row: int) -> tuple[float, float]:
    """Height and width in degrees of the cells of a row."""
    height = 180.0 / math.ceil(math.pi * EARTH_KM / CELL_KM)
    around = 2 * math.pi * EARTH_KM * math.cos(math.radians(row * height))
    return height, 360.0 / math.ceil(around / CELL_KM)


def cell_of(lon: float, lat: float) -> str:
    """Name of the grid cell that a place lies in; a cell is named by its south-west corner."""
    row = math.floor(lat / _steps(0)[0])
    col = math.floor(lon / _steps(row)[1])
    return f"{abs(row)}{'U' if row >= 0 else 'D'}_{abs(col)}{'R' if col >= 0 else 'L'}"


def cell_box(name: str) -> tuple[float, float, float, float]:
    """West, south, east, north of a grid cell, in degrees.

    The image of a cell is larger (10.68 km) and in UTM, so neighbours overlap; its own grid is exact.

    Raises:
        ChipError: Not a cell's name.
    """
    match = CELL_NAME.fullmatch(name)
    if match is None:
        raise ChipError(f"{name!r}: a grid cell is named like 452U_625L")
    row = int(match.group(1)) * (1 if match.group(2) == "U" else -1)
    col = int(match.group(3)) * (1 if match.group(4) == "R" else -1)
    height, width = _steps(row)
    return col * width, row * height, (col + 1) * width, (row + 1) * height
