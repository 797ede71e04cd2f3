"""What passes over the twin and when: dates, tiles, baselines, orbits. Everything a catalogue knows before a pixel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from harness.twin.city import SIZE_PX, WEST_M

TILES: Final = {"18TWK": (WEST_M, 600_720.0), "18TXK": (600_000.0, WEST_M + SIZE_PX * 10)}
"""Easting of both edges of what is kept of a tile. 600 km is the true border of the two; they overlap
by 720 m, so that the chips of one column need both. Both edges are multiples of 60 m."""

Clouds = Literal["none", "west", "east", "all"]


@dataclass(frozen=True)
class Look:
    """One pass of a Sentinel-2."""

    when: str
    """UTC, ISO 8601."""
    season: str
    """One of spectra.SEASONS."""
    platform: str
    """As Planetary Computer writes it."""
    clouds: Clouds
    """Where they stand."""
    cloud_percent: float
    """As the items state it, of the whole tile and so of no use for a chip."""
    number: int
    """Stream of its noise."""
    half: bool = False
    """Whether the eastern half of each tile is empty although the item's outline covers it."""


@dataclass(frozen=True)
class Pass:
    """One pass of Sentinel-1."""

    when: str
    """UTC, ISO 8601."""
    season: str
    """One of spectra.SEASONS."""
    state: Literal["ascending", "descending"]
    """Direction."""
    orbit: int
    """Relative orbit."""
    number: int
    """Stream of its speckle."""
    share: float = 1.0
    """Western part of the city that its scene reaches."""


@dataclass(frozen=True)
class Product:
    """One STAC item to be."""

    collection: str
    """STAC id."""
    id: str
    """STAC id of the item."""
    look: Look | Pass | None
    """What it pictures; None for things without a date."""
    tile: str
    """MGRS tile, or the name of a tile in degrees; empty for Sentinel-1."""
    baseline: str
    """Processing baseline; empty but for Sentinel-2."""
    made: str
    """When it was processed, UTC."""
    folder: str
    """Below the twin's."""
    stem: str
    """How its files' names begin."""

    @property
    def offset(self) -> int:
        """DN on top of reflectance times 10000."""
        return 1000 if self.baseline >= "04.00" else 0


TIMES: Final = (
    Look("2024-04-12T15:38:09.024000Z", "spring", "Sentinel-2A", "none", 3.1, 0),
    Look("2024-05-05T15:38:11.024000Z", "spring", "Sentinel-2B", "all", 61.4, 1),
    Look("2024-06-16T15:38:09.024000Z", "summer", "Sentinel-2A", "west", 14.2, 2),
    Look("2024-08-05T15:38:11.024000Z", "summer", "Sentinel-2B", "east", 11.8, 3),
    Look("2024-09-14T15:38:09.024000Z", "late summer", "Sentinel-2A", "none", 1.6, 4),
    Look("2024-10-09T15:38:09.024000Z", "autumn", "Sentinel-2A", "none", 0.4, 5, half=True),
    Look("2024-11-13T15:38:11.024000Z", "autumn", "Sentinel-2B", "none", 2.7, 6),
)
"""May is under cloud everywhere, and says 61 %; October is half empty and does not say so."""

BASELINES: Final = {
    0: ("05.10",),
    1: ("05.10",),
    2: ("03.01", "05.10"),
    3: ("05.10",),
    4: ("03.01",),
    5: ("05.10",),
    6: ("05.11",),
}
"""Processings by the number of a look. June was processed twice; September never since baseline 03.01."""

KEPT: Final = {1: {"05.10": ("18TWK",)}, 2: {"03.01": ("18TWK",)}, 5: {"05.10": ("18TWK",)}}
"""Tiles of a processing, where not both are there."""

PASSES: Final = (
    Pass("2024-04-14T22:51:09.436706Z", "spring", "descending", 33, 0),
    Pass("2024-06-13T22:51:11.436706Z", "summer", "descending", 33, 1),
    Pass("2024-06-20T10:42:10.436706Z", "summer", "ascending", 106, 2, 0.5),
    Pass("2024-08-12T22:51:12.436706Z", "summer", "descending", 33, 3),
    Pass("2024-09-17T22:51:13.436706Z", "late summer", "descending", 33, 4),
    Pass("2024-11-16T22:51:12.436706Z", "autumn", "descending", 33, 5),
)
"""Every 12 days on one orbit; one pass of another direction a day farther from June's picture."""

STATIC: Final = (
    Product(
        "cop-dem-glo-30",
        "Copernicus_DSM_COG_10_N40_00_W074_00_DEM",
        None,
        "N40_00_W074_00",
        "",
        "2021-04-22T00:00:00Z",
        "copernicus-dem/COP30_hh",
        "Copernicus_DSM_COG_10_N40_00_W074_00_DEM",
    ),
    Product(
        "esa-worldcover",
        "ESA_WorldCover_10m_2021_v200_N39W075",
        None,
        "N39W075",
        "",
        "2022-10-24T12:37:50.971960Z",
        "esa-worldcover/v200/2021/map",
        "ESA_WorldCover_10m_2021_v200_N39W075",
    ),
)
"""Elevation and land cover."""


def products() -> list[Product]:
    """All of them, dated ones first."""
    out = []
    for look in TIMES:
        for baseline in BASELINES[look.number]:
            for tile in KEPT.get(look.number, {}).get(baseline, tuple(TILES)):
                out.append(_sentinel2(look, baseline, tile))
    return [*out, *map(_sentinel1, PASSES), *STATIC]


def _compact(when: str) -> str:
    return when[:19].replace("-", "").replace(":", "")


def _sentinel2(look: Look, baseline: str, tile: str) -> Product:
    made = f"{look.when[:10]}T21:{10 + look.number}:44.000000Z"
    if baseline < "04.00":
        made = f"{look.when[:10]}T19:{10 + look.number}:02.000000Z"
    elif len(BASELINES[look.number]) > 1:
        made = f"2024-12-{10 + look.number}T03:20:44.000000Z"
    unit, sensed, stamp = look.platform[-1], _compact(look.when), _compact(made)
    name = f"S2{unit}_MSIL2A_{sensed}_R011_T{tile}_{stamp}"
    safe = f"S2{unit}_MSIL2A_{sensed}_N{baseline.replace('.', '')}_R011_T{tile}_{stamp}.SAFE"
    place = f"sentinel2-l2/{tile[:2]}/{tile[2]}/{tile[3:]}/{look.when[:10].replace('-', '/')}/{safe}"
    return Product("sentinel-2-l2a", name, look, tile, baseline, made, place, f"T{tile}_{sensed}")


def _sentinel1(over: Pass) -> Product:
    begin = _compact(over.when)
    name = f"S1A_IW_GRDH_1SDV_{begin}_{begin[:-2]}59_{53400 + over.number:06d}_{0x67DF0 + over.number:06X}"
    place = f"sentinel1-grd-rtc/GRD/{over.when[:10].replace('-', '/')}/IW/DV/{name}"
    return Product("sentinel-1-rtc", f"{name}_rtc", over, "", "", over.when, place, "iw")
