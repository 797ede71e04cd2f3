"""Native pixels with NaN for nodata, and scenes laid over one another. Pure numpy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.errors import ChipError

Pixels = NDArray[np.float32]
Transform = tuple[float, float, float, float, float, float]

LATTICE_TOLERANCE = 1e-3
"""Pixels by which two windows' lattices may be out of step and still be one."""


@dataclass(frozen=True)
class Piece:
    """One band's native pixels."""

    data: Pixels
    """Shape (H, W); NaN where nodata."""
    epsg: int
    """Reference system."""
    transform: Transform
    """Affine of the north-west corner; north up."""


def masked(raw: NDArray[np.generic], nodata: Sequence[float], positive: bool = False) -> Pixels:
    """Pixels as float32 with NaN for every nodata value, and for what is not finite.

    Args:
        raw: Any shape, the file's own type.
        nodata: Values that mean nodata.
        positive: Whether zero and negative values are nodata too: linear power has some, unflagged, at borders.
    """
    gaps = np.zeros(raw.shape, bool)
    data = raw.astype(np.float32)
    if raw.dtype.kind in "ui":
        limits = np.iinfo(raw.dtype.name)
        for value in nodata:
            if limits.min <= value <= limits.max and value == int(value):  # others the type cannot hold
                gaps |= raw == raw.dtype.type(int(value))
    else:
        for value in nodata:
            gaps |= raw == np.float64(value)
        gaps |= ~np.isfinite(data)
    if positive:
        gaps |= data <= 0
    data[gaps] = np.nan
    return data


def offset_between(one: Piece, other: Piece) -> tuple[int, int] | None:
    """Rows and columns from one piece's corner to the other's; None where their lattices differ."""
    if one.epsg != other.epsg:
        return None
    a, b, x, d, e, y = one.transform
    a2, b2, x2, d2, e2, y2 = other.transform
    far = max(*one.data.shape, *other.data.shape)
    if max(abs(a2 - a) / abs(a), abs(e2 - e) / abs(e)) * far > LATTICE_TOLERANCE or b != b2 or d != d2:
        return None
    col, row = (x2 - x) / a, (y2 - y) / e
    if max(abs(col - round(col)), abs(row - round(row))) > LATTICE_TOLERANCE:
        return None
    return round(row), round(col)


def lay(pieces: Sequence[Piece]) -> list[Piece]:
    """Lay pieces together on their own lattice: the first that has a valid pixel gives it.

    Args:
        pieces: In order of preference. Those of one lattice become one, so that a kernel at a tile's
            edge finds its neighbours in the next tile. Where another lattice stands between them the
            order would change, so only runs are joined.

    Returns:
        One piece a run of one lattice, in order.

    Raises:
        ChipError: No pieces.
    """
    if not pieces:
        raise ChipError("no scene reaches the chip; look at the lock's tiles")
    out = [pieces[0]]
    for piece in pieces[1:]:
        step = offset_between(out[-1], piece)
        if step is None:
            out.append(piece)
        else:
            out[-1] = _joined(out[-1], piece, *step)
    return out


def _joined(first: Piece, second: Piece, row: int, col: int) -> Piece:
    """Two pieces of one lattice; `row` and `col` lead from the first's corner to the second's."""
    top, left = min(0, row), min(0, col)
    bottom = max(first.data.shape[0], row + second.data.shape[0])
    right = max(first.data.shape[1], col + second.data.shape[1])
    canvas = np.full((bottom - top, right - left), np.nan, np.float32)
    for piece, r, c in ((second, row, col), (first, 0, 0)):
        height, width = piece.data.shape
        place = canvas[r - top : r - top + height, c - left : c - left + width]
        np.copyto(place, piece.data, where=~np.isnan(piece.data))
    a, b, x, d, e, y = first.transform
    return Piece(canvas, first.epsg, (a, b, x + left * a, d, e, y + top * e))


def first_valid(layers: Sequence[Pixels]) -> Pixels:
    """Arrays of one shape laid over one another: the first that is not NaN gives the value."""
    out: Pixels = layers[0].copy()
    for layer in layers[1:]:
        np.copyto(out, layer, where=np.isnan(out))
    return out
