"""A city from a seed: land cover, buildings, ground and the places in it that are looked at."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final, Literal

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import Transformer
from rasterio.features import rasterize
from rasterio.transform import Affine

from harness.chips.aois import Aoi
from harness.chips.chip import Grid
from harness.errors import ChipError
from harness.twin.blocks import Building, Bytes, buildings, districts, nearest_district
from harness.twin.fields import Field
from harness.twin.ground import materials, relief, zones

EPSG: Final = 32618
"""UTM zone 18 north."""

WEST_M: Final = 592_800.0
"""Western edge: open Atlantic south-east of Sandy Hook, so that nobody takes it for land that exists."""

NORTH_M: Final = 4_464_000.0
"""Northern edge. Both are multiples of 60 m, as Sentinel-2's pixels want."""

SIZE_PX: Final = 2400
"""Side at 10 m."""

CHIP_PX: Final = 256
"""Side of a scene's chip."""

FIRST_PX: Final = 48
"""Pixels from the city's edge to the first chip: a reader's reach of 16, and 306 m by which a
footprint drawn in degrees may be off."""

ACROSS: Final = 9
"""Chips a side."""

TRAIN_ROWS: Final = (3, 4, 5)
"""Rows of chips that are trained on; the others are looked at. Density changes from west to east, so
that every row sees all of it."""

CARD_CELLS: Final = ((1, 1), (1, 4), (1, 7), (7, 1), (7, 4), (7, 7))
"""Row and column of the chips that the twin's card is measured on."""

WINDOW: Final = (date(2024, 3, 15), date(2024, 11, 30))
"""Days from which dates are taken: four equal periods with a clear date each, August nearest the middle."""

CLASS_OF: Final = {80: 0, 90: 0, 95: 0, 50: 1, 10: 2, 20: 2, 30: 3, 40: 3, 60: 4, 70: 4, 100: 4}
"""Index by WorldCover code, as eval/schemes/training-code.yaml has it."""

Role = Literal["train", "card", "eval"]


@dataclass(frozen=True)
class City:
    """Everything that is true of the twin. Arrays lie on `grid` and are read-only."""

    seed: int
    """What it came from."""
    grid: Grid
    """10 m, EPSG:32618."""
    classes: Bytes
    """Shape (H, W): index of scheme training-code, 0 water to 4 other; every pixel has one."""
    building: NDArray[np.bool_]
    """Shape (H, W): pixel centre within a building that stands."""
    land: NDArray[np.bool_]
    """Shape (H, W): pixel centre within the boroughs' outline."""
    worldcover: Bytes
    """Shape (H, W): WorldCover codes."""
    elevation: Field
    """Shape (H, W): ground in metres, without buildings and trees."""
    height: Field
    """Shape (H, W): what stands on the ground, in metres."""
    density: Field
    """Shape (H, W): 0 sparse to 1 dense, the districts' knob."""
    materials: Bytes
    """Shape (4, H, W): material of the four 5 m quarters of each pixel, see spectra.MATERIALS."""
    tone: Field
    """Shape (2, H, W): brightness of the ground in the visible and beyond the red edge, around 1."""
    buildings: tuple[Building, ...]
    """All rows of the table, those that do not stand among them."""
    boroughs: tuple[shapely.Polygon, ...]
    """Five outlines in longitude and latitude."""


def make_city(seed: int) -> City:
    """The city of a seed: the same bytes every time, in a few seconds."""
    grid = Grid(EPSG, (10.0, 0.0, WEST_M, 0.0, -10.0, NORTH_M), SIZE_PX, SIZE_PX)
    found = districts(seed, SIZE_PX * 10.0, 7)
    district = nearest_district(found, SIZE_PX, 10.0)
    zone = zones(seed, SIZE_PX, [_cell(*at) for role in ("train", "card", "eval") for at in _cells(role)], CHIP_PX)
    drawn = zone.hangars + buildings(seed, found, district, zone.blocks, 0.5 + 0.48 * zone.density)
    built = [one for one in drawn if one.fate == "stands"]
    ground = relief(seed, zone)
    outlines = _boroughs(zone.shore)
    land = _burnt(outlines, 1)
    height = _burnt([lonlat(b.outline) for b in built], 1, [b.height_m for b in built])
    zone.codes[height > 0] = 50
    trees = (zone.codes == 10) & ~(height > 0)
    city = City(
        seed=seed,
        grid=grid,
        classes=np.array([CLASS_OF.get(code, 255) for code in range(256)], np.uint8)[zone.codes],
        building=height > 0,
        land=land > 0,
        worldcover=zone.codes,
        elevation=ground,
        height=np.where(trees, np.float32(8), height).astype(np.float32),
        density=zone.density,
        materials=materials(seed, zone, found, district, _roofs(drawn)),
        tone=zone.tone,
        buildings=tuple(drawn),
        boroughs=tuple(outlines),
    )
    for array in vars(city).values():
        if isinstance(array, np.ndarray):
            array.flags.writeable = False
    return city


def lonlat(outline: shapely.Polygon) -> shapely.Polygon:
    """An outline in metres from the north-western corner as longitude and latitude, to seven decimals (1 cm)."""
    at = shapely.get_coordinates(outline)
    lon, lat = Transformer.from_crs(EPSG, 4326, always_xy=True).transform(WEST_M + at[:, 0], NORTH_M - at[:, 1])
    return shapely.Polygon(np.column_stack([np.round(lon, 7), np.round(lat, 7)]))


def scenes(city: City, role: Role) -> list[Aoi]:
    """Places of one role: 6 of the card, 48 to evaluate, 43 to train on.

    Chips of card and eval never overlap one another, nor those of train; those of train overlap
    among themselves. Names say how dense the place is.
    """
    return [_aoi(city, role, row, col) for row, col in _cells(role)]


def _cells(role: Role) -> list[tuple[float, float]]:
    """Row and column of a role's chips on the lattice; halves lie between."""
    lattice = [(row, col) for row in range(ACROSS) for col in range(ACROSS)]
    if role == "train":
        between = [(row + 0.5, col + 0.5) for row in TRAIN_ROWS[:-1] for col in range(ACROSS - 1)]
        return [at for at in lattice if at[0] in TRAIN_ROWS] + between
    return [at for at in lattice if at[0] not in TRAIN_ROWS and (at in CARD_CELLS) == (role == "card")]


def _aoi(city: City, role: Role, row: float, col: float) -> Aoi:
    top, left = _cell(row, col)
    half = CHIP_PX / 2
    x, y = WEST_M + (left + half) * 10, NORTH_M - (top + half) * 10
    lon, lat = Transformer.from_crs(EPSG, 4326, always_xy=True).transform(x, y)
    dense = float(city.density[top : top + CHIP_PX, left : left + CHIP_PX].mean(dtype=np.float64))
    kind = "dense" if dense > 0.6 else "sparse" if dense < 0.4 else "middling"
    place = f"r{row:g}c{col:g}".replace(".5", "h")
    return Aoi(
        id=f"twin_{role}_{place}",
        name=f"Twin, {kind} district ({place})",
        role="tune" if role == "train" else "test",
        centre=(round(float(lon), 9), round(float(lat), 9)),
        window=WINDOW,
        labels=("worldcover-2021", "nyc-footprints"),
        source=f"simulated city of seed {city.seed}",
    )


def truth(city: City, grid: Grid) -> dict[str, NDArray[np.int64]]:
    """True labels on a chip's grid.

    Args:
        city: The city.
        grid: Pixels of the city's own.

    Returns:
        `classes`, indices of scheme training-code; `building`, 0 and 1, and -1 outside the boroughs
        where no building is. Shape (H, W).

    Raises:
        ChipError: The grid does not lie on the city's pixels, or reaches over its edge.
    """
    a, b, west, d, e, north = grid.transform
    left, top = (west - WEST_M) / 10, (NORTH_M - north) / 10
    row, col = round(top), round(left)
    own = grid.epsg == EPSG and (a, b, d, e) == (10.0, 0.0, 0.0, -10.0)
    if not own or max(abs(top - row), abs(left - col)) > 1e-3:
        raise ChipError(f"EPSG:{grid.epsg} {grid.transform}: not on the pixels of the twin; its truth is not resampled")
    if min(row, col) < 0 or max(row + grid.height_px, col + grid.width_px) > SIZE_PX:
        raise ChipError(f"{grid.transform}: reaches over the edge of the twin, {SIZE_PX} px from {WEST_M}, {NORTH_M}")
    here = np.s_[row : row + grid.height_px, col : col + grid.width_px]
    unlabelled = ~city.land[here] & ~city.building[here]
    return {
        "classes": city.classes[here].astype(np.int64),
        "building": np.where(unlabelled, -1, city.building[here]).astype(np.int64),
    }


def _cell(row: float, col: float) -> tuple[int, int]:
    """First row and column in pixels of a chip."""
    return round(FIRST_PX + row * CHIP_PX), round(FIRST_PX + col * CHIP_PX)


def _burnt(outlines: Sequence[shapely.Polygon], fill: float, values: Sequence[float] | None = None) -> Field:
    """Outlines in longitude and latitude on the city's pixels, by pixel centre; 0 elsewhere."""
    to_metres = Transformer.from_crs(4326, EPSG, always_xy=True)
    moved = [shapely.transform(one, to_metres.transform, interleaved=False) for one in outlines]
    pairs = list(zip(moved, values or [fill] * len(moved), strict=True))
    out: Field = rasterize(
        pairs, (SIZE_PX, SIZE_PX), transform=Affine(10, 0, WEST_M, 0, -10, NORTH_M), dtype=np.float32
    )
    return out


def _roofs(drawn: Sequence[Building]) -> Bytes:
    """Material of roofs and building sites on 5 m pixels, 255 elsewhere; shape (2 H, 2 W)."""
    pairs = [(one.outline, one.roof) for one in drawn if one.fate in ("stands", "construction")]
    out: Bytes = rasterize(
        pairs, (2 * SIZE_PX, 2 * SIZE_PX), fill=255, transform=Affine(5, 0, 0, 0, 5, 0), dtype=np.uint8
    )
    return out


def _boroughs(shore: Field) -> list[shapely.Polygon]:
    """Five strips from west to east, from the northern edge to the ocean's shore.

    Args:
        shore: Metres from the northern edge to the ocean, on 40 m columns.
    """
    side = SIZE_PX * 10.0
    out = []
    for number in range(5):
        west, east = side * number / 5, side * (number + 1) / 5
        inner = [(x, float(shore[int(x // 40)])) for x in np.arange(math.ceil(west / 200) * 200 + 100, east, 200.0)]
        ends = [(x, float(shore[min(int(x // 40), len(shore) - 1)])) for x in (west, east)]
        ring = [(west, 0.0), (east, 0.0), ends[1], *reversed(inner), ends[0]]
        out.append(lonlat(shapely.Polygon(ring)))
    return out
