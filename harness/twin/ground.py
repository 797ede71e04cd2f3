"""The twin's ground: water, beach, marsh, wood, meadow, built-up land, an airfield, and what they are made of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.features import rasterize
from rasterio.transform import Affine

from harness.twin.blocks import Building, Bytes, District, streets
from harness.twin.fields import Field, box_mean, enlarged, generator, levelled, smooth
from harness.twin.spectra import CODE

COARSE: Final = 4
"""10 m pixels to a side of the pixels (40 m) that coasts and woods are drawn on."""

LEVEL_PX: Final = 65
"""Window in which fields are levelled, in 40 m pixels: a chip's 2.56 km, so that each chip has all of it."""

LEAST_SHARE: Final = 0.02
"""Of a chip's pixels for each class; a chip with less gets a pond, a grove, a green or a pit."""

SMALL_RADIUS_M: Final = 260.0
"""Of those."""

KINDS: Final = {0: (80, 90), 2: (10, 20), 3: (30, 40), 4: (60,)}
"""WorldCover codes by class index, for the classes that a chip may lack; the first is put in."""


@dataclass(frozen=True)
class Zones:
    """Land cover and what was decided with it."""

    codes: Bytes
    """Shape (H, W): WorldCover codes."""
    blocks: NDArray[np.bool_]
    """Shape (H, W): built-up land with streets and blocks, without the airfield."""
    density: Field
    """Shape (H, W): 0 sparse to 1 dense."""
    wet: Field
    """Shape (H, W): how far into the water, from `SEA` on; below it how near."""
    shore: Field
    """Shape (W / 4,): metres from the northern edge to the ocean's mean line."""
    tone: Field
    """Shape (2, H, W): see city.City."""
    runway: NDArray[np.bool_]
    """Shape (H, W): runways and apron."""
    hangars: list[Building]
    """Of the airfield."""


SEA: Final = 1.0
"""Level of the field `wet` from which it is water."""


def zones(seed: int, size_px: int, cells: Sequence[tuple[int, int]], chip_px: int) -> Zones:
    """Draw the land.

    Args:
        seed: Of the city.
        size_px: Side at 10 m.
        cells: First row and column of every chip.
        chip_px: Side of a chip.
    """
    n = size_px // COARSE
    wet, wood, open_, pit, side, dense = (
        smooth(generator(seed, 1, k), n, w) for k, w in enumerate((22, 18, 15, 11, 30, 60))
    )
    wet, wood, open_, pit = (levelled(f, LEVEL_PX) for f in (wet, wood, open_, pit))
    across = (np.arange(n, dtype=np.float32) + 0.5) / n
    density = np.clip(0.1 + 0.8 * across[None, :] + 0.12 * dense, 0, 1).astype(np.float32)
    bend = smooth(generator(seed, 2), n, 50)[0]
    shore = (n * 40.0 - 1050.0 + 220.0 * bend).astype(np.float32)
    south = (np.arange(n, dtype=np.float32) + np.float32(0.5)) * 40
    wet = np.maximum(wet, SEA + (south[:, None] - shore[None, :]) / 400)
    fine = [enlarged(f, COARSE) for f in (wet, wood, open_, pit, side, density)]
    wet, wood, open_, pit, side, density = fine
    sparse = 1 - density
    codes = np.full((size_px, size_px), 50, np.uint8)
    codes[wood > 1.15 - 0.55 * sparse] = 20
    codes[wood > 1.25 - 0.55 * sparse] = 10
    green = open_ > 1.25 - 0.55 * sparse
    codes[green] = np.where(side > 0.3, 40, 30)[green]
    codes[pit > 1.75] = 60
    codes[(wet > SEA - 0.6) & (side < 0.2)] = 90
    codes[(wet > SEA - 0.4) & (side >= 0.2)] = 60
    codes[wet > SEA] = 80
    runway, field_, hangars = _airfield(codes, size_px)
    codes[field_], codes[runway] = 30, 50
    _complete(generator(seed, 3), codes, cells, chip_px, field_ | (wet > SEA - 0.5))
    speckle = generator(seed, 4)
    tone = np.stack([_tone(speckle, size_px) for _ in range(2)])
    tone[1] = 0.5 * tone[0] + 0.5 * tone[1]
    return Zones(codes, (codes == 50) & ~field_ & ~runway, density, wet, shore, tone, runway, hangars)


def _tone(rng: np.random.Generator, size_px: int) -> Field:
    """Brightness around 1 in patches of 40 to 200 m."""
    n = size_px // COARSE
    field = 0.14 * smooth(rng, n, 5) + 0.10 * rng.standard_normal((n, n), dtype=np.float32)
    return np.clip(1 + enlarged(field.astype(np.float32), COARSE), 0.55, 1.6).astype(np.float32)


def _airfield(codes: Bytes, size_px: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_], list[Building]]:
    """Runways, their field and two hangars, where there is least water within a kilometre."""
    dry = box_mean(((codes == 80) | (codes == 90)).astype(np.float32)[::8, ::8], 25)
    inner = np.full_like(dry, np.inf)
    edge = len(dry) // 6
    inner[edge:-edge, edge:-edge] = dry[edge:-edge, edge:-edge]
    row, col = (int(v) for v in np.unravel_index(int(inner.argmin()), inner.shape))
    x, y = col * 80.0, row * 80.0
    cos, sin = 0.94, math.sqrt(1 - 0.94**2)

    def slab(east: float, south: float, long: float, wide: float, turn: bool = False) -> shapely.Polygon:
        c, s = (sin, -cos) if turn else (cos, sin)
        mid = (x + cos * east - sin * south, y + sin * east + cos * south)
        corners = [(u * long / 2, v * wide / 2) for u, v in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
        return shapely.Polygon([(mid[0] + c * u - s * v, mid[1] + s * u + c * v) for u, v in corners])

    paved = [slab(0, -150, 1700, 60), slab(250, 60, 640, 50, True), slab(-350, 10, 1000, 40), slab(-450, 200, 500, 180)]
    hangars = [Building(slab(at, 240, 110, 80), CODE["shed roof"], 18.0) for at in (-590, -430)]
    return _inside(paved, size_px), _inside([slab(0, 30, 1900, 720)], size_px), hangars


def _inside(shapes: Sequence[shapely.Polygon], size_px: int) -> NDArray[np.bool_]:
    burnt = rasterize(list(shapes), (size_px, size_px), transform=Affine(10, 0, 0, 0, 10, 0), dtype=np.uint8)
    return burnt > 0  # type: ignore[no-any-return]


def _complete(
    rng: np.random.Generator, codes: Bytes, cells: Sequence[tuple[int, int]], chip_px: int, taken: NDArray[np.bool_]
) -> None:
    """Put what a chip lacks on its built-up land, in place."""
    radius = int(SMALL_RADIUS_M / 10)
    down, over = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    disc = down * down + over * over <= radius * radius
    for top, left in cells:
        chip = codes[top : top + chip_px, left : left + chip_px]
        for own in KINDS.values():
            if np.isin(chip, own).mean() >= LEAST_SHARE:
                continue
            best: tuple[int, int, int] = (-1, 0, 0)
            for _ in range(40):
                row, col = (int(v) for v in rng.integers(radius, chip_px - radius, 2))
                where = np.s_[row - radius : row + radius + 1, col - radius : col + radius + 1]
                free = (chip[where] == 50) & ~taken[top : top + chip_px, left : left + chip_px][where]
                best = max(best, (int(free.sum()), row, col))
            _, row, col = best
            patch = chip[row - radius : row + radius + 1, col - radius : col + radius + 1]
            patch[disc] = own[0]


def relief(seed: int, zone: Zones) -> Field:
    """Ground in metres: 0 on water, under 1 in marshes, hills of some 40 m inland."""
    n = zone.codes.shape[0] // COARSE
    dry = (zone.codes[COARSE // 2 :: COARSE, COARSE // 2 :: COARSE] != 80).astype(np.float32)
    near, far = box_mean(box_mean(dry, 9), 9), box_mean(box_mean(dry, 31), 31)
    hills = np.maximum(smooth(generator(seed, 5), n, 40) + np.float32(0.6), 0)
    ground = enlarged((6 * near * near + 22 * far * far * hills).astype(np.float32), COARSE)
    for code, most in ((80, 0.0), (90, 0.8), (60, 4.0)):
        ground = np.where(zone.codes == code, np.minimum(ground, np.float32(most)), ground)
    return ground.astype(np.float32)


def materials(seed: int, zone: Zones, found: list[District], district: Bytes, roofs: Bytes) -> Bytes:
    """Material of each quarter pixel.

    Args:
        seed: Of the city.
        zone: Land cover.
        found: Districts.
        district: Number by 10 m pixel.
        roofs: Material by 5 m pixel where a building or its site is, 255 elsewhere.

    Returns:
        Shape (4, H, W): quarters in reading order.
    """
    size = zone.codes.shape[0]
    rng = generator(seed, 6)
    stand = enlarged(smooth(rng, size // COARSE, 6), COARSE)
    parcel, plot, lot, turf = (_patches(rng, size, w) for w in (16, 6, 2, 2))
    green = (
        np.array([d.green for d in found], np.float32)[district] * np.float32(1.15)
        + np.float32(0.15)
        - zone.density * np.float32(0.25)
    )
    out = np.zeros((4, size, size), np.uint8)
    at = np.arange(size, dtype=np.float32) * 10
    for quarter in range(4):
        down, over = divmod(quarter, 2)
        grain = rng.integers(0, 256, (size, size), dtype=np.uint8)
        road = streets(found, district, at + np.float32(2.5 + 5 * over), at + np.float32(2.5 + 5 * down))
        plane = _quarter(zone, stand, parcel, plot, lot, turf, grain, green)
        plane[zone.blocks & (road > 0)] = CODE["asphalt"]
        roof = roofs[down::2, over::2]
        out[quarter] = np.where(roof < 255, roof, plane)
    return out


def _patches(rng: np.random.Generator, size_px: int, width_px: int) -> Bytes:
    """Squares of one random number each."""
    cells = -(-size_px // width_px)
    coarse = rng.integers(0, 256, (cells, cells), dtype=np.uint8)
    return np.repeat(np.repeat(coarse, width_px, 0), width_px, 1)[:size_px, :size_px]


def _quarter(
    zone: Zones, stand: Field, parcel: Bytes, plot: Bytes, lot: Bytes, turf: Bytes, grain: Bytes, green: Field
) -> Bytes:
    c = {name: np.uint8(code) for name, code in CODE.items()}
    codes, wet = zone.codes, zone.wet
    canopy = np.where(stand > 0.7, c["needle"], np.where(grain < 100, c["leaf shade"], c["leaf"]))
    wood = np.where(lot < 62, np.where(plot < 128, c["grass"], c["dry grass"]), canopy)
    meadow = np.where(lot < 64, canopy, np.where(plot < 70, c["dry grass"], c["grass"]))
    meadow = np.where(lot > 244, c["gravel"], meadow)
    field_ = np.where(parcel < 100, c["dry grass"], np.where(parcel < 200, c["grass"], c["gravel"]))
    field_ = np.where(lot < 24, canopy, field_)
    scrub = np.where(lot < 140, canopy, np.where(plot < 128, c["grass"], c["dry grass"]))
    paved = np.where(
        turf < 130, c["asphalt"], np.where(turf < 190, c["concrete"], np.where(turf < 225, c["gravel"], c["sand"]))
    )
    planted = np.where(turf < 120, canopy, np.where(turf < 215, c["grass"], c["dry grass"]))
    yard = np.where(lot < green * 256, planted, paved)
    reed = np.where(
        lot < 30, c["mud"], np.where(lot < 48, c["shallow water"], np.where(lot < 125, c["grass"], c["reed"]))
    )
    bare = np.where(wet > SEA - 0.6, c["sand"], c["gravel"])
    bare = np.where(lot < 40, c["dry grass"], np.where(lot < 80, c["concrete"], np.where(lot < 96, c["gravel"], bare)))
    sea = np.where(wet < SEA + 0.25, c["shallow water"], c["water"])
    out = np.select(
        [codes == 80, codes == 90, codes == 60, codes == 10, codes == 20, codes == 30, codes == 40, zone.runway],
        [sea, reed, bare, wood, scrub, meadow, field_, np.full_like(codes, c["asphalt"])],
        yard,
    )
    return out.astype(np.uint8)
