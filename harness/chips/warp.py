"""Native windows onto a chip's grid: by GDAL between reference systems, in numpy within one.

A nodata pixel never takes part in a value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.transform import Affine
from rasterio.warp import reproject
from rasterio.warp import transform as transform_points

from harness.chips.chip import Grid
from harness.chips.mosaic import Piece, Pixels, offset_between
from harness.chips.recipe import Resampling as Knob
from harness.errors import RecipeError

Places = NDArray[np.floating[Any]]
"""Coordinates in pixels, shape (n,)."""

Index = slice | NDArray[np.intp]
"""Rows or columns."""

KERNELS = {"none": Resampling.nearest, "nearest": Resampling.nearest, "bilinear": Resampling.bilinear}
"""By knob. `none` is nearest where the grids do not coincide; `coincide` tells, and the caller says so."""


def project(xs: Sequence[float], ys: Sequence[float], source: int, target: int) -> tuple[list[float], list[float]]:
    """Coordinates in another reference system; x is easting or longitude."""
    found = transform_points(f"EPSG:{source}", f"EPSG:{target}", list(xs), list(ys))
    return list(found[0]), list(found[1])


def coincide(piece: Piece, grid: Grid) -> tuple[int, int] | None:
    """Rows and columns from the piece's corner to the grid's where pixels coincide; None where they do not."""
    return offset_between(
        piece, Piece(np.empty((grid.height_px, grid.width_px), np.float32), grid.epsg, grid.transform)
    )


def onto(pieces: Sequence[Piece], grid: Grid, how: Knob) -> Pixels:
    """Resample pieces of one lattice and shape onto a grid.

    Where pixels coincide they are copied, whatever the knob. Otherwise a value is the kernel's mean
    over valid pixels only, and a chip pixel is nodata exactly where the native pixel under its
    centre is nodata or missing: a gap neither grows nor shrinks by the kernel.

    Args:
        pieces: All with the same shape, transform and EPSG; NaN where nodata.
        grid: Target.
        how: The recipe's knob.

    Returns:
        Shape (N, H, W), NaN where nodata.

    Raises:
        RecipeError: No such kernel.
    """
    if how not in KERNELS:
        raise RecipeError(
            f"resampling {how!r} cannot be applied to pixels on their own grid; say none, nearest or bilinear"
        )
    stack = np.stack([piece.data for piece in pieces])
    if (step := coincide(pieces[0], grid)) is not None:
        return _copied(stack, grid, *step)
    if pieces[0].epsg == grid.epsg:
        return _shifted(stack, pieces[0], grid, KERNELS[how])
    kernel = KERNELS[how]
    out = _warped(stack, pieces[0], grid, kernel)
    if kernel is Resampling.nearest or not (np.isnan(out).any() or np.isnan(stack).any()):
        return out  # a value everywhere from no gap: each pixel's centre has a native pixel under it
    nearest = _warped(stack, pieces[0], grid, Resampling.nearest)
    # Rounding in GDAL may leave a centre on a pixel's very edge without a bilinear value; its own pixel has one.
    out = np.where(np.isnan(out), nearest, out)
    out[np.isnan(nearest)] = np.nan
    return out


def _copied(stack: Pixels, grid: Grid, row: int, col: int) -> Pixels:
    out = np.full((len(stack), grid.height_px, grid.width_px), np.nan, np.float32)
    _, height, width = stack.shape
    top, left = max(row, 0), max(col, 0)
    bottom, right = min(row + grid.height_px, height), min(col + grid.width_px, width)
    if bottom > top and right > left:
        out[:, top - row : bottom - row, left - col : right - col] = stack[:, top:bottom, left:right]
    return out


def _shifted(stack: Pixels, piece: Piece, grid: Grid, kernel: Resampling) -> Pixels:
    """Within one reference system rows and columns are apart: two matrix-free passes, six times as fast as GDAL."""
    a, _, x, _, e, y = piece.transform
    ga, _, gx, _, ge, gy = grid.transform
    rows = (gy + ge * (np.arange(grid.height_px) + 0.5) - y) / e
    cols = (gx + ga * (np.arange(grid.width_px) + 0.5) - x) / a
    _, height, width = stack.shape
    left = int(np.clip(np.floor(cols[0] - 0.5), 0, width - 1))
    right = int(np.clip(np.floor(cols[-1] + 0.5), 0, width - 1))
    inner = cols - left  # columns beyond take part in no value
    down, across = _Taps.at(rows, height, 0), _Taps.at(inner, right + 1 - left, 1)
    here = _index(rows, height), _index(inner, right + 1 - left)
    out: Pixels = np.empty((len(stack), grid.height_px, grid.width_px), np.float32)
    for whole, filled in zip(stack, out, strict=True):  # one at a time: its steps stay in the processor's cache
        band = whole[:, left : right + 1]
        gaps = np.isnan(band)
        if kernel is Resampling.nearest:
            filled[:] = _taken(_taken(band, here[0], 0), here[1], 1)
        elif not gaps.any():
            filled[:] = across.mean(down.mean(band))
        else:
            there = across.mean(down.mean((~gaps).astype(np.float32)))
            total = across.mean(down.mean(np.where(gaps, np.float32(0), band)))
            filled[:] = np.nan
            np.divide(total, there, out=filled, where=there > 0)
            filled[_taken(_taken(gaps, here[0], 0), here[1], 1)] = np.nan
    out[:, (rows < 0) | (rows >= height)] = np.nan
    out[:, :, (cols < 0) | (cols >= width)] = np.nan
    return out


def _index(places: Places, size: int) -> Index:
    """The pixels that hold these places, the border's beyond it; a slice where they are neighbours."""
    at = np.clip(np.floor(places), 0, size - 1).astype(np.intp)
    if at[-1] - at[0] == len(at) - 1 and (np.diff(at) == 1).all():
        return slice(int(at[0]), int(at[-1]) + 1)
    return at


def _taken(band: NDArray[Any], index: Index, axis: int) -> NDArray[Any]:
    """Rows or columns of a band (H, W); a view where they are neighbours."""
    if isinstance(index, slice):
        return band[index] if axis == 0 else band[:, index]
    return np.take(band, index, axis)


@dataclass(frozen=True)
class _Taps:
    """Two neighbours of each place along an axis, and the second one's weight."""

    first: Index
    second: Index
    weight: Pixels
    axis: int

    @classmethod
    def at(cls, places: Places, size: int, axis: int) -> _Taps:
        """Places are counted in pixels from the first one's edge."""
        first = np.floor(places - 0.5)
        weight = (places - 0.5 - first).astype(np.float32).reshape((-1, 1) if axis == 0 else (1, -1))
        return cls(_index(first, size), _index(first + 1, size), weight, axis)

    def mean(self, band: Pixels) -> Pixels:
        """Interpolate a band (H, W) along the axis."""
        one, other = _taken(band, self.first, self.axis), _taken(band, self.second, self.axis)
        out: Pixels = other - one
        out *= self.weight
        out += one
        return out


def _warped(stack: Pixels, piece: Piece, grid: Grid, kernel: Resampling) -> Pixels:
    out = np.full((len(stack), grid.height_px, grid.width_px), np.nan, np.float32)
    reproject(
        stack,
        out,
        src_transform=Affine(*piece.transform),
        src_crs=f"EPSG:{piece.epsg}",
        dst_transform=Affine(*grid.transform),
        dst_crs=f"EPSG:{grid.epsg}",
        src_nodata=np.nan,
        dst_nodata=np.nan,
        resampling=kernel,
        tolerance=0,  # GDAL would otherwise place pixels up to an eighth of a pixel off
        XSCALE="1",  # a 2 x 2 kernel: between zones GDAL would take a scale of 0.9996 for a reason to smooth,
        YSCALE="1",  # and be off by a twentieth of a pixel
        UNIFIED_SRC_NODATA="NO",  # a gap in one band is none in another
    )
    return out
