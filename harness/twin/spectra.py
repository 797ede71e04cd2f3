"""What the twin's ground looks like: reflectance and backscatter by material and season.

Invented, but ordered as such surfaces are: vegetation bright beyond the red edge, water dark in the
infrared, roofs much like streets.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

BANDS: Final = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")

SEASONS: Final = ("spring", "summer", "late summer", "autumn")

# Reflectance in percent by band, in the order of BANDS.
_WATER = (4.0, 4.2, 3.8, 2.6, 2.2, 1.8, 1.7, 1.5, 1.4, 1.3, 0.9, 0.7)
_SHALLOW = (5.5, 6.2, 7.4, 6.4, 5.6, 3.8, 3.4, 2.9, 2.6, 2.4, 1.3, 1.0)
_MUD = (6.0, 6.6, 7.8, 8.4, 9.0, 9.6, 10.0, 10.4, 10.6, 10.5, 8.0, 6.0)
_SAND = (13.0, 15.5, 19.5, 22.5, 24.0, 25.0, 26.0, 27.0, 27.5, 27.8, 31.0, 28.0)
_GRAVEL = (9.5, 11.0, 13.5, 15.5, 17.0, 18.0, 19.0, 20.0, 20.5, 20.8, 24.0, 21.5)
_ASPHALT = (8.0, 8.8, 9.6, 10.4, 11.0, 11.6, 12.2, 12.8, 13.2, 13.4, 14.6, 13.4)
_CONCRETE = (12.5, 14.5, 17.0, 18.8, 19.8, 20.6, 21.4, 22.2, 22.8, 23.0, 25.0, 23.0)
_DARK_ROOF = (7.2, 7.8, 8.4, 9.0, 9.6, 10.2, 10.8, 11.4, 11.8, 12.0, 13.6, 12.8)
_GREY_ROOF = (10.5, 12.0, 13.8, 15.0, 15.8, 16.4, 17.2, 18.0, 18.6, 18.8, 21.0, 19.8)
_SHED_ROOF = (20.0, 24.0, 27.0, 28.5, 29.5, 30.0, 30.8, 31.5, 32.0, 32.2, 31.0, 28.0)
_TILE_ROOF = (7.6, 8.4, 10.6, 15.0, 17.0, 18.2, 19.2, 20.4, 21.0, 21.2, 24.0, 21.0)

# Vegetation by season.
_LEAF = (
    (4.2, 4.8, 6.6, 6.4, 9.8, 15.5, 18.0, 19.5, 21.0, 21.2, 15.5, 9.5),
    (2.6, 2.9, 5.2, 3.4, 8.6, 27.0, 35.0, 38.0, 40.0, 40.2, 17.5, 7.4),
    (2.7, 3.0, 5.0, 3.6, 8.4, 24.0, 31.0, 33.5, 35.5, 35.8, 16.8, 7.4),
    (4.4, 5.2, 7.4, 8.6, 11.8, 16.0, 18.2, 19.5, 21.0, 21.2, 18.0, 11.0),
)
_SHADE = tuple(tuple(v * 0.55 for v in row) for row in _LEAF)
_NEEDLE = (
    (2.4, 2.6, 4.0, 2.9, 6.2, 15.5, 19.0, 20.5, 21.8, 22.0, 10.5, 5.0),
    (2.3, 2.6, 4.2, 2.9, 6.6, 18.5, 23.0, 25.0, 26.5, 26.8, 11.2, 5.0),
    (2.4, 2.6, 4.1, 2.9, 6.5, 17.5, 22.0, 24.0, 25.4, 25.6, 11.0, 5.0),
    (2.4, 2.6, 4.0, 3.0, 6.2, 15.5, 19.0, 20.5, 21.8, 22.0, 10.5, 5.0),
)
_GRASS = (
    (3.8, 4.6, 8.2, 6.2, 12.0, 26.0, 30.5, 32.5, 34.0, 34.2, 21.0, 12.0),
    (3.8, 4.5, 8.0, 5.6, 12.2, 29.0, 34.5, 37.0, 38.5, 38.8, 22.5, 12.0),
    (5.0, 6.2, 9.6, 9.8, 15.0, 24.0, 27.5, 29.5, 31.0, 31.2, 26.0, 16.5),
    (4.4, 5.4, 8.6, 8.0, 13.0, 22.0, 25.0, 27.0, 28.4, 28.6, 22.5, 14.0),
)
_DRY = (
    (6.0, 7.2, 10.2, 11.0, 14.6, 19.5, 21.5, 23.0, 24.2, 24.4, 26.0, 19.0),
    (5.0, 6.0, 9.4, 8.8, 14.2, 25.0, 29.0, 31.0, 32.4, 32.6, 26.0, 16.5),
    (7.0, 8.6, 12.0, 14.2, 17.6, 21.5, 23.5, 25.0, 26.2, 26.4, 30.0, 22.5),
    (6.6, 8.0, 11.0, 12.8, 16.0, 19.6, 21.2, 22.6, 23.8, 24.0, 27.5, 21.0),
)
_REED = (
    (4.6, 5.4, 7.6, 8.2, 11.0, 15.0, 16.8, 18.0, 19.0, 19.0, 15.0, 10.0),
    (3.6, 4.3, 7.4, 5.6, 11.2, 25.5, 30.5, 32.5, 34.0, 34.0, 17.5, 9.6),
    (4.2, 5.2, 8.2, 7.6, 12.4, 22.0, 25.8, 27.6, 29.0, 29.0, 19.0, 11.4),
    (5.0, 6.0, 8.6, 9.6, 12.4, 16.0, 17.8, 19.0, 20.0, 20.0, 16.5, 11.4),
)

# Name, reflectance (one row, or one a season), VV and VH in linear power, how much of it leaves add.
MATERIALS: Final = (
    ("water", _WATER, 0.012, 0.0014),
    ("shallow water", _SHALLOW, 0.016, 0.0018),
    ("reed", _REED, 0.110, 0.0180),
    ("mud", _MUD, 0.040, 0.0050),
    ("sand", _SAND, 0.030, 0.0040),
    ("gravel", _GRAVEL, 0.070, 0.0090),
    ("leaf", _LEAF, 0.150, 0.0420),
    ("leaf shade", _SHADE, 0.120, 0.0340),
    ("needle", _NEEDLE, 0.160, 0.0400),
    ("grass", _GRASS, 0.055, 0.0110),
    ("dry grass", _DRY, 0.060, 0.0120),
    ("asphalt", _ASPHALT, 0.060, 0.0070),
    ("concrete", _CONCRETE, 0.090, 0.0120),
    ("dark roof", _DARK_ROOF, 0.130, 0.0180),
    ("grey roof", _GREY_ROOF, 0.155, 0.0200),
    ("shed roof", _SHED_ROOF, 0.120, 0.0150),
    ("tile roof", _TILE_ROOF, 0.140, 0.0220),
)
"""In the order of their codes in City.materials."""

CODE: Final = {name: number for number, (name, *_) in enumerate(MATERIALS)}
"""Code by name."""

GREEN: Final = frozenset(("reed", "leaf", "leaf shade", "grass", "dry grass"))
"""Materials whose backscatter rises and falls with the season."""

LEAVES: Final = dict(zip(SEASONS, (0.85, 1.1, 1.0, 0.85), strict=True))
"""Factor on the backscatter of GREEN."""


def reflectance(band: str, season: str) -> NDArray[np.float32]:
    """Reflectance 0 to 1 by material code."""
    column, row = BANDS.index(band), SEASONS.index(season)
    rows = [table[row] if isinstance(table[0], tuple) else table for _, table, _, _ in MATERIALS]
    return np.array([values[column] / 100 for values in rows], np.float32)


def backscatter(polarisation: str, season: str) -> NDArray[np.float32]:
    """Gamma nought in linear power by material code."""
    picked = [(name, vv if polarisation == "VV" else vh) for name, _, vv, vh in MATERIALS]
    return np.array([v * (LEAVES[season] if name in GREEN else 1.0) for name, v in picked], np.float32)
