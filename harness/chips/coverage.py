"""Which pixels of a chip a scene can fill: raster extents and data footprints on the chip's grid. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import Transformer
from shapely.geometry import shape as as_shape

from harness.chips.chip import Grid
from harness.chips.items import Candidate

Mask = NDArray[np.bool_]

GSD_M: Final = 10.0
"""Pixel of every chip."""

TILE_M: Final = 109_800.0
"""Side of a Sentinel-2 tile, the longest edge that a footprint draws as one straight line."""

DRAWN_M: Final = 100.0
"""How far a footprint's corners may lie off: catalogues simplify polygons. Assumed."""

EARTH_M: Final = 6_371_000.0
"""Mean radius."""

MARGIN_PX: Final = 1.0
"""Pixels of a static raster that must lie around a chip, so that bilinear resampling has neighbours."""


def utm(lon: float, lat: float) -> int:
    """EPSG code of the UTM zone that a point lies in, without the exceptions of Norway and Svalbard."""
    zone = min(60, int((lon + 180) // 6) + 1)
    return (32600 if lat >= 0 else 32700) + zone


def chip_grid(centre: tuple[float, float], size_px: int, gsd_m: float = GSD_M) -> Grid:
    """A north-up grid centred on a point, its corner snapped to whole pixels of the Sentinel-2 grid.

    Args:
        centre: Longitude, latitude in degrees.
        size_px: Rows and columns.
        gsd_m: Side of a pixel; Sentinel-2 tiles begin at multiples of 60 m, so at multiples of 10.
    """
    epsg = utm(*centre)
    x, y = _transformer(4326, epsg).transform(*centre)
    half = size_px * gsd_m / 2
    west, north = round((x - half) / gsd_m) * gsd_m, round((y + half) / gsd_m) * gsd_m
    return Grid(epsg, (gsd_m, 0.0, west, 0.0, -gsd_m, north), size_px, size_px)


def bounds(grid: Grid) -> tuple[float, float, float, float]:
    """West, south, east, north of a north-up grid, in its own system."""
    a, _, c, _, e, f = grid.transform
    return c, f + e * grid.height_px, c + a * grid.width_px, f


def bbox(grid: Grid, margin_m: float = 0.0) -> list[float]:
    """West, south, east, north in degrees of a box that holds the grid and a margin around it."""
    west, south, east, north = bounds(grid)
    box = _transformer(grid.epsg, 4326).transform_bounds(
        west - margin_m, south - margin_m, east + margin_m, north + margin_m, densify_pts=21
    )
    return [round(float(v), 6) for v in box]


def drawing_error_m(lat: float) -> float:
    """How far a footprint's straight edges may lie off the tile's true edge, in metres.

    A tile's edge runs along the grid, the polygon's edge straight from corner to corner in degrees:
    over an edge of length L they part by up to L^2 tan(lat) / 8R, 206 m at 41 degrees.
    """
    return DRAWN_M + TILE_M**2 * math.tan(math.radians(min(abs(lat), 84.0))) / (8 * EARTH_M)


@dataclass(frozen=True)
class Cover:
    """What one scene gives to a chip."""

    candidate: Candidate
    """The scene."""
    sure: Mask
    """Shape (H, W): pixels inside raster and footprint whatever the footprint's drawing error."""
    possible: Mask
    """Shape (H, W): pixels that may be inside. Everything else is certainly empty."""


def cover(candidate: Candidate, grid: Grid) -> Cover:
    """Pixels of a chip that a scene fills, for sure and possibly, judged at pixel centres.

    A raster in degrees (DEM, WorldCover) is full wherever it is; a footprint only repeats its box.
    """
    cols, rows = np.meshgrid(np.arange(grid.width_px) + 0.5, np.arange(grid.height_px) + 0.5)
    a, _, c, _, e, f = grid.transform
    x, y = c + a * cols, f + e * rows
    epsg = candidate.scene.epsg
    assert epsg is not None  # noqa: S101 (items.candidate never leaves it open)
    sx, sy = (x, y) if epsg == grid.epsg else _transformer(grid.epsg, epsg).transform(x, y)
    west, south, east, north = candidate.box
    inside: Mask = (sx >= west) & (sx <= east) & (sy >= south) & (sy <= north)
    if epsg == 4326 or not inside.any():
        return Cover(candidate, inside, inside)
    lat = float(_transformer(grid.epsg, 4326).transform(float(x.mean()), float(y.mean()))[1])
    slack = drawing_error_m(lat)
    polygon = _projected(candidate.footprint, grid)
    return Cover(
        candidate,
        inside & _within(polygon.buffer(-slack), x, y),
        inside & _within(polygon.buffer(slack), x, y),
    )


def touches(candidate: Candidate, grid: Grid, margin_px: float = MARGIN_PX) -> bool:
    """Whether a raster reaches the chip or the ring of its own pixels around it."""
    epsg = candidate.scene.epsg
    assert epsg is not None  # noqa: S101
    gsd = max(asset.gsd_m for asset in candidate.scene.assets.values())
    west, south, east, north = bounds(grid)
    ring = margin_px * gsd
    here = _transformer(grid.epsg, epsg).transform_bounds(
        west - ring, south - ring, east + ring, north + ring, densify_pts=21
    )
    box = candidate.box
    return bool(here[0] < box[2] and here[2] > box[0] and here[1] < box[3] and here[3] > box[1])


def gap(mask: Mask) -> str:
    """What a mask leaves empty, in words; rows and columns where whole ones are."""
    empty = ~mask
    if not empty.any():
        return "no pixel empty"
    rows, cols = int(empty.all(axis=1).sum()), int(empty.all(axis=0).sum())
    height, width = mask.shape
    if rows == height:
        return "every pixel empty"
    named = [f"{rows} of {height} rows"] * bool(rows) + [f"{cols} of {width} columns"] * bool(cols)
    return f"{' and '.join(named) or f'{int(empty.sum())} of {mask.size} pixels'} empty"


def _projected(footprint: Any, grid: Grid) -> Any:
    """A footprint in the grid's system; edges are cut into short pieces first, as they are straight in degrees."""
    polygon = shapely.segmentize(as_shape(footprint), 0.02)
    to_grid = _transformer(4326, grid.epsg)
    moved = shapely.transform(polygon, lambda xy: np.column_stack(to_grid.transform(xy[:, 0], xy[:, 1])))
    return moved if moved.is_valid else shapely.make_valid(moved)


def _within(polygon: Any, x: NDArray[np.float64], y: NDArray[np.float64]) -> Mask:
    if polygon.is_empty:
        return np.zeros(x.shape, dtype=np.bool_)
    shapely.prepare(polygon)
    inside: Mask = shapely.contains_xy(polygon, x, y)
    return inside


@lru_cache(maxsize=64)
def _transformer(source: int, target: int) -> Transformer:
    return Transformer.from_crs(source, target, always_xy=True)


def union(masks: Sequence[Mask], grid: Grid) -> Mask:
    """Pixels that any of the masks holds; none of them where there is no mask."""
    out = np.zeros((grid.height_px, grid.width_px), dtype=np.bool_)
    for mask in masks:
        out |= mask
    return out
