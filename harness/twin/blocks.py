"""The built city: districts with street grids of their own directions, and buildings in their blocks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import shapely
from numpy.typing import NDArray

from harness.twin.fields import generator
from harness.twin.spectra import CODE

Bytes = NDArray[np.uint8]

Fate = Literal["stands", "construction", "later", "demolished"]

PALETTE: Final = tuple(
    CODE[name] for name in ("dark roof", "grey roof", "grey roof", "tile roof", "dark roof", "grey roof")
)

STREET_M = 16.0
"""Width of a street."""

FATES: Final[tuple[tuple[float, Fate], ...]] = ((0.01, "construction"), (0.02, "later"), (0.03, "demolished"))
"""Shares, summed up, of rows that are no standing building."""

SIDE_M = (40.0, 120.0)
"""Shortest and longest side of a building."""

LEAST_AREA_M2 = 1200.0
"""What is left of an L-shaped building at least."""


@dataclass(frozen=True)
class District:
    """A part of the city with one street grid."""

    east_m: float
    """Its middle, metres from the city's western edge."""
    south_m: float
    """Its middle, metres from the city's northern edge."""
    turn: tuple[float, float]
    """Cosine and sine of the streets' direction."""
    pitch_m: tuple[float, float]
    """Distance between streets along both directions."""
    green: float
    """Share of a block's open ground that is grass or trees."""
    shed: float
    """Share of its roofs that are large and bright."""


@dataclass(frozen=True)
class Building:
    """One building as drawn."""

    outline: shapely.Polygon
    """Metres from the city's north-western corner, x east, y south."""
    roof: int
    """A material of spectra.MATERIALS."""
    height_m: float
    """Above ground."""
    fate: Fate = "stands"
    """construction: a building site. later: built after the pictures were taken. demolished: before."""


def districts(seed: int, side_m: float, across: int) -> list[District]:
    """Districts on a jittered lattice, `across` a side."""
    rng = generator(seed, 21)
    step = side_m / across
    out = []
    for row in range(across):
        for col in range(across):
            dx, dy, turn, u, v, green, shed = (float(x) for x in rng.random(7))
            angle = math.radians(-40 + 80 * turn)
            out.append(
                District(
                    (col + 0.15 + 0.7 * dx) * step,
                    (row + 0.15 + 0.7 * dy) * step,
                    (round(math.cos(angle), 6), round(math.sin(angle), 6)),
                    (105 + 50 * u, 115 + 75 * v),
                    0.2 + 0.6 * green,
                    0.08 + 0.3 * shed,
                )
            )
    return out


def nearest_district(found: list[District], size_px: int, gsd_m: float) -> Bytes:
    """Number of the nearest district, shape (size, size)."""
    at = ((np.arange(size_px) + 0.5) * gsd_m).astype(np.float32)
    best = np.full((size_px, size_px), np.inf, np.float32)
    out = np.zeros((size_px, size_px), np.uint8)
    for number, one in enumerate(found):
        far = (at[None, :] - np.float32(one.east_m)) ** 2 + (at[:, None] - np.float32(one.south_m)) ** 2
        nearer = far < best
        best[nearer] = far[nearer]
        out[nearer] = number
    return out


def streets(found: list[District], district: Bytes, east: NDArray[np.float32], south: NDArray[np.float32]) -> Bytes:
    """1 where a street runs, on points of a rectangle.

    Args:
        found: Districts.
        district: Number by point, shape (H, W).
        east: Metres from the western edge, shape (W,).
        south: Metres from the northern edge, shape (H,).
    """
    out = np.zeros(district.shape, np.uint8)
    table = np.array([(*d.turn, *d.pitch_m) for d in found], np.float32)
    for axis in (0, 1):
        cos, sin = table[:, 0][district], table[:, 1][district]
        along = (cos, sin) if axis == 0 else (-sin, cos)
        place = along[0] * east[None, :] + along[1] * south[:, None]
        pitch = table[:, 2 + axis][district]
        place -= np.floor(place / pitch) * pitch
        out |= (place < np.float32(STREET_M)).astype(np.uint8)
    return out


def buildings(
    seed: int, found: list[District], district: Bytes, built: NDArray[np.bool_], density: NDArray[np.float32]
) -> list[Building]:
    """Buildings in the blocks of built-up land, at most one a block.

    Args:
        seed: Of the city.
        found: Districts.
        district: Number by 10 m pixel.
        built: Built-up land by 10 m pixel.
        density: Share of blocks with a building by 10 m pixel, 0 to 1.
    """
    size_m = built.shape[0] * 10.0
    out: list[Building] = []
    for number, one in enumerate(found):
        rng = generator(seed, 22, number)
        reach = 2 * size_m / math.sqrt(len(found))
        (cos, sin), (pu, pv) = one.turn, one.pitch_m
        first = [
            math.floor((mid - reach) / pitch)
            for mid, pitch in zip(_turned(one, one.east_m, one.south_m), one.pitch_m, strict=True)
        ]
        count = [math.ceil(2 * reach / pitch) for pitch in one.pitch_m]
        luck = rng.random((*count, 10))
        u, v = (first[0] + np.arange(count[0]) + 0.5)[:, None] * pu, (first[1] + np.arange(count[1]) + 0.5)[None] * pv
        row, col = (np.floor(m / 10).astype(int) for m in (sin * u + cos * v, cos * u - sin * v))
        inside = (np.minimum(row, col) >= 0) & (np.maximum(row, col) < len(built))
        row, col = (np.where(inside, at, 0) for at in (row, col))
        wanted = inside & (district[row, col] == number) & built[row, col] & (luck[..., 7] < density[row, col])
        for i, j in np.argwhere(wanted).tolist():
            made = _building(luck[i, j], one, (first[0] + i, first[1] + j))
            ring = np.array([(cos * u - sin * v, sin * u + cos * v) for u, v in made.ring])
            rows, cols = np.floor(ring[:, 1] / 10).astype(int), np.floor(ring[:, 0] / 10).astype(int)
            if min(rows.min(), cols.min()) < 1 or max(rows.max(), cols.max()) >= len(built) - 1:
                continue
            if ((district[rows, cols] == number) & built[rows, cols]).all():
                out.append(Building(shapely.Polygon(ring), made.roof, made.height_m, made.fate))
    return out


def _turned(one: District, east: float, south: float) -> tuple[float, float]:
    """A place in a district's own directions."""
    cos, sin = one.turn
    return cos * east + sin * south, cos * south - sin * east


@dataclass(frozen=True)
class _Drawn:
    ring: list[tuple[float, float]]
    roof: int
    height_m: float
    fate: Fate


def _building(luck: NDArray[np.float64], one: District, block: tuple[int, int]) -> _Drawn:
    """One block's building, whether it stands or not: every block draws the same count of numbers."""
    room = [pitch - STREET_M - 8 for pitch in one.pitch_m]
    side = [max(SIDE_M[0], min(SIDE_M[1], r * (0.6 + 0.4 * float(x)))) for r, x in zip(room, luck[:2], strict=True)]
    u, v = (
        k * pitch + STREET_M + 4 + (r - s) * float(x)
        for k, pitch, r, s, x in zip(block, one.pitch_m, room, side, luck[2:4], strict=True)
    )
    a, b = side
    ring = [(u, v), (u + a, v), (u + a, v + b), (u, v + b)]
    if luck[4] < 0.3 and a * b > 2 * LEAST_AREA_M2:
        ring = [(u, v), (u + a, v), (u + a, v + b * 0.5), (u + a * 0.5, v + b * 0.5), (u + a * 0.5, v + b), (u, v + b)]
    fate: Fate = "stands"
    for share, other in FATES:
        if luck[9] < share:
            fate = other
            break
    roof = CODE["shed roof"] if luck[5] < one.shed else PALETTE[int(luck[6] * len(PALETTE))]
    if fate == "construction":
        roof = CODE["gravel"]
    return _Drawn(ring, roof, 6.0 + 34.0 * float(luck[8]) ** 3, fate)
