"""Recorded STAC items become candidates: scene, grid, footprint. Pure; a bad item is named, not raised."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final, Literal
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from shapely import GEOSException
from shapely.geometry import shape

from harness.chips.scenes import AssetRef, Scene

Json = Mapping[str, Any]
Box = tuple[float, float, float, float]
"""West, south, east, north."""

OFFSET_SINCE: Final = (4, 0)
"""Sentinel-2 processing baseline from which products carry +1000 DN."""

SIGNED: Final = frozenset({"sig", "se", "st", "sp", "sv", "sr", "skoid", "sktid", "skt", "ske", "sks", "skv"})
"""Query parameters of an Azure shared access signature; one of them makes an address a secret."""

TOKEN_TEXT: Final = re.compile(
    r"(?i)([?&\s'\"(]|%3f|%26|&amp;)(?:sig|se|st|sp|sv|sr|skoid|sktid|skt|ske|sks|skv)(?:=|%3d)[^\s'\"<>),]*"
)
"""A signature's parameters wherever they stand in a text, with all that follows in the query."""

USER_INFO: Final = re.compile(r"(?<=://)[^/@\s'\"]+@")
"""User and password in front of a host, as proxy addresses may hold them."""


@dataclass(frozen=True, slots=True)
class Profile:
    """How one catalogue names what we read. Two catalogues differ in this and in nothing else."""

    name: str
    """For people."""
    url: str
    """Address of the API; a run may be pointed elsewhere."""
    collections: Mapping[str, str]
    """STAC collection by modality; a modality that is absent is not offered."""
    assets: Mapping[str, Mapping[str, str]]
    """By modality: asset key to band, in our order. All of them must be there."""


S2_BANDS: Final = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12", "SCL")
"""What a scene must hold: twelve bands and the scene classification that judges cloud."""

PLANETARY_COMPUTER: Final = Profile(
    name="Planetary Computer",
    url="https://planetarycomputer.microsoft.com/api/stac/v1",
    collections=MappingProxyType(
        {"S2L2A": "sentinel-2-l2a", "S1RTC": "sentinel-1-rtc", "DEM": "cop-dem-glo-30", "LULC": "esa-worldcover"}
    ),
    assets=MappingProxyType(
        {
            "S2L2A": {band: band for band in S2_BANDS},
            "S1RTC": {"vv": "VV", "vh": "VH"},
            "DEM": {"data": "DEM"},
            "LULC": {"map": "LULC"},
        }
    ),
)
"""Signed addresses; Sentinel-2 as the agency processed it, offset included."""

EARTH_SEARCH: Final = Profile(
    name="Earth Search",
    url="https://earth-search.aws.element84.com/v1",
    collections=MappingProxyType({"S2L2A": "sentinel-2-l2a", "DEM": "cop-dem-glo-30"}),
    assets=MappingProxyType(
        {
            "S2L2A": dict(
                zip(
                    (
                        "coastal",
                        "blue",
                        "green",
                        "red",
                        "rededge1",
                        "rededge2",
                        "rededge3",
                        "nir",
                        "nir08",
                        "nir09",
                        "swir16",
                        "swir22",
                        "scl",
                    ),
                    S2_BANDS,
                    strict=True,
                )
            ),
            "DEM": {"data": "DEM"},
        }
    ),
)
"""Public addresses; Sentinel-2 with the offset taken out where `earthsearch:boa_offset_applied` says so."""

PROFILES: Final[Mapping[str, Profile]] = MappingProxyType(
    {"planetary-computer": PLANETARY_COMPUTER, "earth-search": EARTH_SEARCH}
)
"""By the word that a command takes."""

UNITS: Final = MappingProxyType({"S2L2A": "DN", "S1RTC": "linear power", "DEM": "m", "LULC": "class code"})
"""By modality. SCL is a class code."""

OUR_NODATA: Final = MappingProxyType({"S2L2A": 0.0, "S1RTC": -32768.0, "DEM": None, "LULC": 0.0})
"""Where an item declares none. Sentinel-2 items of Planetary Computer declare none and write 0."""

GSD_M: Final = MappingProxyType({"S1RTC": 10.0, "DEM": 30.0, "LULC": 10.0})
"""Where neither asset nor item says; Sentinel-2 always says."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A scene, and where it has pixels."""

    scene: Scene
    """As a lock keeps it."""
    modality: str
    """S2L2A, S1RTC, DEM, LULC."""
    box: Box
    """Extent of the rasters in `scene.epsg`."""
    footprint: Json
    """GeoJSON polygon in longitude and latitude: where the item says that it has data."""
    processed: str
    """When the product was made, ISO 8601; empty where the item does not say."""

    @property
    def when(self) -> datetime:
        """Acquisition in UTC."""
        return datetime.fromisoformat(self.scene.datetime)

    @property
    def key(self) -> tuple[str, str, str]:
        """Platform, second of acquisition and tile: equal for two processings of one thing.

        A Sentinel-1 slice has no tile; its start stands in the datetime.
        """
        return (self.scene.platform or "").lower(), self.scene.datetime[:19], self.scene.tile or ""


@dataclass(frozen=True, slots=True)
class Unusable:
    """An item that cannot be read, and why."""

    item: str
    """STAC id, or `?` where it has none."""
    reason: Literal["asset missing", "no projection", "no date", "no footprint", "wrong nodata", "no item"]
    """Counted in the lock."""
    detail: str
    """What exactly, for people."""


class _BadItemError(Exception):
    """Ends the reading of one item; never leaves this module."""


def candidates(items: Iterable[Json], modality: str, profile: Profile) -> tuple[list[Candidate], list[Unusable]]:
    """Read items; nothing is raised and nothing is lost: each lands in one of the two lists."""
    good: list[Candidate] = []
    bad: list[Unusable] = []
    for item in items:
        read = candidate(item, modality, profile)
        if isinstance(read, Candidate):
            good.append(read)
        else:
            bad.append(read)
    return good, bad


def candidate(item: Any, modality: str, profile: Profile) -> Candidate | Unusable:
    """Read one STAC item.

    Args:
        item: As the catalogue sent it; `proj:epsg` and `proj:code` are both understood, at the
            item or at its assets.
        modality: What it is searched for as.
        profile: Whose names it uses.

    Returns:
        The candidate, with hrefs unsigned; or why it cannot be used.
    """
    name = item.get("id") if isinstance(item, Mapping) else None
    if not isinstance(name, str) or not isinstance(item.get("properties"), Mapping):
        return Unusable(str(name or "?"), "no item", "an id and properties were expected")
    try:
        return _read(item, modality, profile)
    except _BadItemError as err:
        reason, detail = err.args
        return Unusable(name, reason, detail)


def _read(item: Json, modality: str, profile: Profile) -> Candidate:
    props: Json = item["properties"]
    assets = item.get("assets")
    rasters: dict[str, Json] = {}
    for key in profile.assets[modality]:
        asset = assets.get(key) if isinstance(assets, Mapping) else None
        if not isinstance(asset, Mapping) or not isinstance(asset.get("href"), str) or not asset["href"]:
            raise _BadItemError("asset missing", f"{key} is not among the assets")
        rasters[key] = asset
    lead = max(rasters.values(), key=lambda asset: _shape(asset)[0])
    refs = {key: _asset(rasters[key], band, modality, item, profile) for key, band in profile.assets[modality].items()}
    geometry = _footprint(item.get("geometry"))
    baseline = props.get("s2:processing_baseline", props.get("processing:version"))
    scene = Scene(
        collection=str(item.get("collection") or profile.collections[modality]),
        item=item["id"],
        datetime=_when(props),
        platform=_text(props.get("platform")),
        baseline=_text(baseline) if modality == "S2L2A" else None,
        s2_offset_dn=offset_dn(props) if modality == "S2L2A" else None,
        orbit_state=_text(props.get("sat:orbit_state")),
        relative_orbit=_int(props.get("sat:relative_orbit")) or _orbit_of(item["id"], props),
        tile=_tile(item, modality),
        epsg=_epsg(lead, props),
        updated=_text(props.get("updated")),
        cloud_percent=_number(props.get("eo:cloud_cover")),
        assets=refs,
    )
    return Candidate(scene, modality, _box(lead, props), geometry, _processed(item["id"], props))


def offset_dn(props: Json) -> Literal[0, 1000] | None:
    """DN on top of Sentinel-2 pixels: 1000 from baseline 04.00 on, 0 before, None where nobody says.

    The baseline decides and not the date: older scenes were reprocessed. Earth Search states that
    it took the offset out; then nothing is left on top, whatever the baseline.
    """
    if props.get("earthsearch:boa_offset_applied") is True:
        return 0
    match = re.fullmatch(r"(\d{1,2})\.(\d{1,2})", str(props.get("s2:processing_baseline", "")).strip())
    if match is None:
        return None
    return 1000 if (int(match[1]), int(match[2])) >= OFFSET_SINCE else 0


def _asset(asset: Json, band: str, modality: str, item: Json, profile: Profile) -> AssetRef:
    codes = band == "SCL"
    raster = asset.get("raster:bands") or asset.get("bands") or [{}]
    first: Json = raster[0] if isinstance(raster, list) and raster and isinstance(raster[0], Mapping) else {}
    declared = _number(first.get("nodata", asset.get("nodata")))
    nodata = OUR_NODATA[modality] if declared is None else declared
    if modality == "S2L2A" and nodata != 0:
        raise _BadItemError("wrong nodata", f"{band} declares {nodata:g}; Sentinel-2 products write 0")
    gsd = (
        _number(asset.get("gsd"))
        or _number(first.get("spatial_resolution", first.get("raster:spatial_resolution")))
        or _gsd_of(asset, item["properties"], modality)
    )
    if gsd is None:
        raise _BadItemError("no projection", f"{band} states no pixel size")
    return AssetRef(
        href=unsigned(asset["href"]),
        bands=[band],
        gsd_m=gsd,
        unit="class code" if codes else UNITS[modality],
        nodata=nodata,
        size_bytes=_int(asset.get("file:size")),
    )


def _gsd_of(asset: Json, props: Json, modality: str) -> float | None:
    if modality in GSD_M:
        return GSD_M[modality]
    transform: Any = asset.get("proj:transform", props.get("proj:transform"))
    return abs(float(transform[0])) if _numbers(transform, 6) else None


def _footprint(geometry: Any) -> Json:
    if not isinstance(geometry, Mapping) or geometry.get("type") not in ("Polygon", "MultiPolygon"):
        raise _BadItemError("no footprint", "geometry is no polygon")
    try:
        polygon = shape(geometry)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, GEOSException) as err:
        raise _BadItemError("no footprint", f"geometry cannot be read: {err}") from err
    if polygon.is_empty or not all(map(math.isfinite, polygon.bounds)):
        raise _BadItemError("no footprint", "geometry is empty")
    return geometry


def _shape(asset: Json) -> tuple[int, int]:
    size: Any = asset.get("proj:shape")
    return (int(size[0]), int(size[1])) if _numbers(size, 2) else (0, 0)


def _box(asset: Json, props: Json) -> Box:
    """From proj:bbox, else from proj:transform and proj:shape, of the asset, else of the item."""
    for place in (asset, props):
        box: Any = place.get("proj:bbox")
        if _numbers(box, 4):
            return _sound(*(float(v) for v in box[:4]))
        transform: Any = place.get("proj:transform")
        size: Any = place.get("proj:shape")
        if _numbers(transform, 6) and _numbers(size, 2):
            a, b, c, d, e, f = (float(v) for v in transform[:6])
            if b or d:
                raise _BadItemError("no projection", "the raster is rotated")
            corners = (c, c + a * float(size[1])), (f, f + e * float(size[0]))
            return _sound(min(corners[0]), min(corners[1]), max(corners[0]), max(corners[1]))
    raise _BadItemError("no projection", "neither proj:bbox nor proj:transform with proj:shape")


def _sound(west: float, south: float, east: float, north: float) -> Box:
    if not all(map(math.isfinite, (west, south, east, north))) or west >= east or south >= north:
        raise _BadItemError("no projection", f"the raster's extent {west}, {south}, {east}, {north} is empty")
    return west, south, east, north


def _epsg(asset: Json, props: Json) -> int:
    for place in (asset, props):
        code = _int(place.get("proj:epsg"))
        if code is None and (match := re.fullmatch(r"EPSG:(\d{4,6})", str(place.get("proj:code", "")))):
            code = int(match[1])
        if code is not None:
            if code == 4326 or (1 <= code % 100 <= 60 and code // 100 in (326, 327)):
                return code
            raise _BadItemError("no projection", f"EPSG:{code} is neither UTM nor 4326")
    raise _BadItemError("no projection", "neither proj:epsg nor proj:code")


def _when(props: Json) -> str:
    for field in ("datetime", "start_datetime"):
        try:
            read = datetime.fromisoformat(str(props.get(field)))
        except ValueError:
            continue
        return stamp(read)
    raise _BadItemError("no date", "neither datetime nor start_datetime")


def stamp(when: datetime) -> str:
    """A moment as every record here writes it: UTC, microseconds, `Z`. Without a zone it is UTC."""
    aware = when if when.tzinfo else when.replace(tzinfo=UTC)
    return aware.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _processed(name: str, props: Json) -> str:
    for field in ("s2:generation_time", "processing:datetime"):
        try:
            return stamp(datetime.fromisoformat(str(props.get(field))))
        except ValueError:
            continue
    made = re.search(r"_(\d{8}T\d{6})(?:\.SAFE)?$", str(props.get("s2:product_uri") or name))
    return stamp(datetime.strptime(made[1], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)) if made else ""


def _orbit_of(name: str, props: Json) -> int | None:
    match = re.search(r"_R(\d{3})_", str(props.get("s2:product_uri") or name))
    return int(match[1]) if match else None


def _tile(item: Json, modality: str) -> str | None:
    props: Json = item["properties"]
    if modality == "S2L2A":
        grid = str(props.get("grid:code", ""))
        named = props.get("s2:mgrs_tile") or (grid.removeprefix("MGRS-") if grid.startswith("MGRS-") else None)
        return str(named) if named else None
    if modality == "LULC" and props.get("esa_worldcover:product_tile"):
        return str(props["esa_worldcover:product_tile"])
    cell = re.search(r"([NS]\d{2})(?:_00)?_?([EW]\d{3})", item["id"]) if modality in ("DEM", "LULC") else None
    return f"{cell[1]}{cell[2]}" if cell else None


def unsigned(href: str) -> str:
    """An address without a signature: the query goes if a parameter of one stands in it."""
    parts = urlsplit(href)
    if any(name.lower() in SIGNED for name, _ in parse_qsl(parts.query, keep_blank_values=True)):
        return urlunsplit(parts._replace(query="", fragment=""))
    return href


def redacted(text: str) -> str:
    """A text fit for a log or an error: signatures and proxy passwords taken out, the rest kept."""
    return USER_INFO.sub("***@", TOKEN_TEXT.sub(r"\1[token removed]", text))


def _numbers(value: Any, least: int) -> bool:
    return isinstance(value, list | tuple) and len(value) >= least and all(_number(v) is not None for v in value)


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value)


def _int(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _text(value: object) -> str | None:
    return None if value is None else str(value)
