"""What to read and what it means, decided before anything is read: grid, window, nodata, offset.

Total functions over plain values; nothing here opens a file. Coordinates change system through a
`Project` that the caller hands in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from harness.chips.chip import MODALITIES, Grid
from harness.chips.recipe import Recipe, Resampling
from harness.chips.scenes import AssetRef, Scene
from harness.chips.units import OFFSET
from harness.errors import ChipError, RecipeError

Project = Callable[[Sequence[float], Sequence[float], int, int], tuple[list[float], list[float]]]
"""(xs, ys, from EPSG, to EPSG) -> (xs, ys); x is easting or longitude whatever the EPSG's own axis order."""

GSD_M: Final = 10.0
"""Pixel of a chip: the finest band of Sentinel-2."""

REACH_PX: Final = 288
"""Side of what is fetched round a chip's centre, in chip pixels: the largest chip of any recipe (256)
and 16 on each side for grid snap, so that an ablation over recipes finds everything in the store."""

MARGIN_PX: Final = 2
"""Native pixels fetched beyond the reach on each side: a bilinear kernel needs one, rounding another."""

EDGE_POINTS: Final = 9
"""Points a side that are projected to find a window: a straight edge bows by under a metre over 3 km."""

FIRST_WITH_OFFSET: Final = 4.0
"""Sentinel-2 processing baseline that brought +1000 DN (Sentinel-2 L2A product format, January 2022)."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a raster file says about itself."""

    epsg: int
    """Reference system."""
    transform: tuple[float, float, float, float, float, float]
    """Affine a, b, c, d, e, f of the full resolution."""
    height_px: int
    """Rows."""
    width_px: int
    """Columns."""
    count: int
    """Bands."""
    dtype: str
    """Of the file."""
    nodata: float | None
    """Declared by the file."""


@dataclass(frozen=True, slots=True)
class Window:
    """Rows and columns of a raster at full resolution."""

    row: int
    """First row."""
    col: int
    """First column."""
    height_px: int
    """Rows; 0 where the raster does not reach the place."""
    width_px: int
    """Columns; 0 likewise."""


@dataclass(frozen=True, slots=True)
class Request:
    """One window of one asset, as known before the file is opened."""

    href: str
    """Unsigned address."""
    reach: Grid
    """What must be covered."""
    bands: int
    """Bands that the file must have."""
    epsg: int | None = None
    """Reference system that the lock states; None where it states none."""
    etag: str | None = None
    """As locked: another version of a file is another request."""
    size_bytes: int | None = None
    """As locked."""
    margin_px: int = MARGIN_PX
    """Native pixels beyond the reach."""


def chip_grid(recipe: Recipe, centre: tuple[float, float], epsg: int, project: Project) -> Grid:
    """The grid of a chip round a point.

    Args:
        recipe: `aoi-centre` puts the point exactly in the middle, across the scenes' pixels;
            `major-tom` lies on the 10 m pixels of Sentinel-2, as every window of a Major-TOM cell does
            (which window of which cell is the split's affair, and such a grid is handed in whole).
        centre: Longitude, latitude.
        epsg: UTM zone of the chip.
        project: Changes coordinates.

    Raises:
        RecipeError: The recipe takes chips as given and knows no grid.
    """
    if recipe.grid_snap == "as given":
        raise RecipeError(
            f"recipe {recipe.id} takes chips as they are given and says no grid; read them under one that does, "
            "or hand in a grid"
        )
    (x,), (y,) = project([centre[0]], [centre[1]], 4326, epsg)
    half = recipe.chip_size_px / 2 * GSD_M
    west, north = x - half, y + half
    if recipe.grid_snap == "major-tom":
        west, north = round(west / GSD_M) * GSD_M, round(north / GSD_M) * GSD_M
    return Grid(epsg, (GSD_M, 0.0, west, 0.0, -GSD_M, north), recipe.chip_size_px, recipe.chip_size_px)


def reach_of(grid: Grid, centre: tuple[float, float]) -> Grid:
    """What is fetched for a chip: the same for every recipe that cuts it round the same point.

    Args:
        grid: The chip's, north up.
        centre: Easting, northing of the AOI's point; it decides, so that a snap changes nothing. A
            grid that lies elsewhere, as a window of a Major-TOM cell may, is covered round itself.

    Raises:
        ChipError: Not north up.
    """
    a, b, west, d, e, north = grid.transform
    if a <= 0 or e != -a or b or d:
        raise ChipError(
            f"grid of EPSG:{grid.epsg} with transform {grid.transform}; square pixels, north up, were expected"
        )
    east, south = west + grid.width_px * a, north - grid.height_px * a
    x, y = (round(v / a) * a for v in centre)
    half = REACH_PX / 2 * a
    if x - half <= west and east <= x + half and y - half <= south and north <= y + half:
        return Grid(grid.epsg, (a, 0.0, x - half, 0.0, -a, y + half), REACH_PX, REACH_PX)
    return Grid(grid.epsg, (a, 0.0, west, 0.0, -a, north), grid.height_px, grid.width_px)


def window(header: Header, request: Request, project: Project) -> Window:
    """Native pixels that cover a request's reach, with its margin, cut at the raster's edge.

    Full resolution always: no overview ever stands in for it.
    """
    grid, margin = request.reach, request.margin_px
    a, _, x0, _, e, y0 = grid.transform
    steps = [i / (EDGE_POINTS - 1) for i in range(EDGE_POINTS)]
    edge = [(s, t) for s in steps for t in (0.0, 1.0)] + [(t, s) for s in steps for t in (0.0, 1.0)]
    xs = [x0 + s * grid.width_px * a for s, _ in edge]
    ys = [y0 + t * grid.height_px * e for _, t in edge]
    if header.epsg != grid.epsg:
        xs, ys = project(xs, ys, grid.epsg, header.epsg)
    ha, _, hx, _, he, hy = header.transform
    cols, rows = [(x - hx) / ha for x in xs], [(y - hy) / he for y in ys]
    if not all(map(math.isfinite, (*cols, *rows))):
        return Window(0, 0, 0, 0)
    near = 1e-6  # a corner on a pixel's edge belongs to no further pixel
    top, left = (max(math.floor(min(v) + near) - margin, 0) for v in (rows, cols))
    bottom = min(math.ceil(max(rows) - near) + margin, header.height_px)
    right = min(math.ceil(max(cols) - near) + margin, header.width_px)
    if bottom <= top or right <= left:
        return Window(0, 0, 0, 0)
    return Window(top, left, bottom - top, right - left)


def window_transform(header: Header, win: Window) -> tuple[float, float, float, float, float, float]:
    """Affine of a window of a north-up raster."""
    a, b, c, d, e, f = header.transform
    return (a, b, c + win.col * a, d, e, f + win.row * e)


def nodata_values(modality: str, asset: AssetRef, declared: float | None) -> tuple[float, ...]:
    """Every value that means nodata: the modality's, the lock's and the file's own."""
    values = {*map(float, MODALITIES[modality].nodata)}
    values |= {float(v) for v in (asset.nodata, declared) if v is not None and not math.isnan(v)}
    return tuple(sorted(values))


def resampling(recipe: Recipe, modality: str, gsd_m: float) -> Resampling:
    """How a band comes onto the chip's grid.

    Class codes are never averaged, whatever the recipe. A DEM that the recipe replaces by zeros is
    laid as other recipes have it, bilinear.

    Raises:
        RecipeError: The recipe says nothing of this group.
    """
    if MODALITIES[modality].codes:
        return "nearest"
    group = f"{gsd_m:g}m" if modality == "S2L2A" else modality
    how = recipe.resampling.get(group)
    if how is None or how == "as given":
        raise RecipeError(
            f"recipe {recipe.id}: resampling: {group} is {how or 'not there'}; say none, nearest or bilinear"
        )
    if modality == "DEM" and recipe.dem.policy == "zeros":
        return "bilinear"
    return how


def item_offset(scene: Scene) -> int | None:
    """DN on top of a Sentinel-2 item: as the catalogue says, else by its baseline, never by its date.

    None where neither is stated.
    """
    if scene.s2_offset_dn is not None:
        return scene.s2_offset_dn
    try:
        return OFFSET if float(scene.baseline or "") >= FIRST_WITH_OFFSET else 0
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class Offsets:
    """What becomes of the +1000 in one chip."""

    chip: int | None
    """What the chip's pixels carry afterwards; None where nobody knows."""
    subtract: frozenset[str]
    """Items that are harmonised one by one before they are laid together."""
    remark: str | None
    """What a reader of the result should know."""


def offsets(scenes: Sequence[Scene], recipe: Recipe, aoi: str) -> Offsets:
    """Decide about the +1000 of all Sentinel-2 items of a chip.

    One baseline side everywhere: pixels stay raw and the chip says what they carry, so that a recipe
    can choose later. Both sides: harmonised item by item where the recipe harmonises, refused where
    it takes raw DN, for such a chip would hold steps of 1000 DN that no date explains.

    Raises:
        ChipError: Mixed or partly unknown, and the recipe does not resolve it; names the items.
    """
    by_item = {scene.item: item_offset(scene) for scene in scenes}
    found = set(by_item.values())
    if found <= {0} or found == {OFFSET}:
        return Offsets(next(iter(found), None), frozenset(), None)
    unknown = sorted(item for item, value in by_item.items() if value is None)
    if found == {None}:
        return Offsets(None, frozenset(), "no item states its processing baseline; the offset is not known")
    listed = ", ".join(f"{item} {'unknown' if value is None else f'+{value}'}" for item, value in by_item.items())
    if unknown:
        raise ChipError(
            f"{aoi}: some Sentinel-2 items do not state their processing baseline: {listed}; their DN cannot be laid "
            "beside the others'; lock items that state it"
        )
    if recipe.s2_offset.policy == "raw":
        raise ChipError(
            f"{aoi}: Sentinel-2 items of mixed processing baselines: {listed}; recipe {recipe.id} takes raw DN, which "
            "would put steps of 1000 DN into one chip; lock items of one side of 04.00, or harmonise (s2_offset)"
        )
    subtract = frozenset(item for item, value in by_item.items() if value == OFFSET)
    return Offsets(0, subtract, f"mixed baselines, harmonised item by item: {listed}")
