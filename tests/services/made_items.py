"""STAC items shaped as the catalogues send them, with true geometry; nothing in them is copied from one."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
from pyproj import Transformer

COLUMNS = {1: "ABCDEFGH", 2: "JKLMNPQR", 0: "STUVWXYZ"}
"""Letters of the 100 km columns, by zone modulo 3."""

ROWS = "ABCDEFGHJKLMNPQRSTUV"
"""Letters of the 100 km rows; in even zones they begin at F."""

S2_GSD = {"B02": 10, "B03": 10, "B04": 10, "B08": 10, "B01": 60, "B09": 60}
"""Pixel size in metres; all others 20."""

S2_KEYS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12", "SCL")

EARTH_SEARCH_KEYS = (
    "coastal blue green red rededge1 rededge2 rededge3 nir nir08 nir09 swir16 swir22 scl".split()  # noqa: SIM905
)


def tile_box(tile: str, lat: float = 40.0) -> tuple[int, tuple[float, float, float, float]]:
    """EPSG code and extent of a Sentinel-2 tile, from its name.

    A tile begins at its 100 km square's corner, moved outward to a multiple of 60 m, and is 109.8 km
    wide: the square and 9.8 km of its neighbours to the east and south. `lat` tells which of the
    squares of that name, which repeat every 2000 km, is meant.
    """
    zone, column, row = int(tile[:2]), tile[3], tile[4]
    east = (COLUMNS[zone % 3].index(column) + 1) * 100_000
    north = (ROWS.index(row) - (5 if zone % 2 == 0 else 0)) % 20 * 100_000
    near = Transformer.from_crs(4326, 32600 + zone, always_xy=True).transform(zone * 6 - 183, lat)[1]
    north += round((near - north) / 2_000_000) * 2_000_000
    west, top = math.floor(east / 60) * 60, math.ceil((north + 100_000) / 60) * 60
    return 32600 + zone, (west, top - 109_800, west + 109_800, top)


def polygon(epsg: int, box: tuple[float, float, float, float], pieces: int = 1) -> dict[str, Any]:
    """A box as a GeoJSON polygon in degrees; one straight line an edge, as catalogues draw it."""
    west, south, east, north = box
    corners = [(west, north), (east, north), (east, south), (west, south), (west, north)]
    points = [
        (x0 + (x1 - x0) * t, y0 + (y1 - y0) * t)
        for (x0, y0), (x1, y1) in pairwise(corners)
        for t in np.linspace(0, 1, pieces, endpoint=False)
    ]
    to_degrees = Transformer.from_crs(epsg, 4326, always_xy=True)
    ring = [[round(float(v), 7) for v in to_degrees.transform(*p)] for p in (*points, points[0])]
    return {"type": "Polygon", "coordinates": [ring]}


def s2(
    tile: str = "18TWL",
    when: str = "2024-06-16T15:39:09.024000Z",
    baseline: str = "05.10",
    made: str = "2024-06-17T01:00:00.000000Z",
    cloud: float = 5.0,
    platform: str = "Sentinel-2A",
    orbit: int = 11,
    footprint: dict[str, Any] | None = None,
    code: bool = False,
    host: str = "https://sentinel2l2a01.blob.core.windows.net/sentinel2-l2",
) -> dict[str, Any]:
    """A Sentinel-2 item as Planetary Computer sends it; `code` writes proj:code for proj:epsg."""
    epsg, box = tile_box(tile)
    day = "".join(c for c in when[:19] if c.isalnum())
    stamp = "".join(c for c in made[:19] if c.isalnum())
    name = f"{platform[0]}2{platform[-1]}_MSIL2A_{day}_R{orbit:03d}_T{tile}_{stamp}"
    assets = {}
    for band in S2_KEYS:
        gsd = S2_GSD.get(band, 20)
        side = 109_800 // gsd
        assets[band] = {
            "href": f"{host}/{tile[:2]}/{tile[2]}/{tile[3:]}/{name}.SAFE/T{tile}_{day}_{band}_{gsd}m.tif",
            "proj:bbox": [float(v) for v in box],
            "proj:shape": [side, side],
            "proj:transform": [float(gsd), 0.0, box[0], 0.0, -float(gsd), box[3]],
            "gsd": float(gsd),
            "type": "image/tiff; application=geotiff; profile=cloud-optimized",
            "roles": ["data"],
        }
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "collection": "sentinel-2-l2a",
        "geometry": footprint or polygon(epsg, box),
        "bbox": [-75.0, 39.0, -72.0, 42.0],
        "links": [],
        "stac_extensions": [],
        "properties": {
            "datetime": when,
            "platform": platform,
            ("proj:code" if code else "proj:epsg"): f"EPSG:{epsg}" if code else epsg,
            "s2:mgrs_tile": tile,
            "s2:processing_baseline": baseline,
            "s2:generation_time": made,
            "sat:orbit_state": "descending",
            "sat:relative_orbit": orbit,
            "eo:cloud_cover": cloud,
        },
        "assets": assets,
    }


def earth_search(
    tile: str = "18TWL",
    when: str = "2024-06-16T15:53:54.123000Z",
    baseline: str = "05.10",
    applied: bool | None = True,
) -> dict[str, Any]:
    """A Sentinel-2 item as Earth Search sends it: other asset names, no orbit, transforms in place of boxes."""
    item = s2(tile, when, baseline, code=True, host="https://sentinel-cogs.s3.us-west-2.amazonaws.com/s2")
    assets = {}
    for key, band in zip(EARTH_SEARCH_KEYS, S2_KEYS, strict=True):
        asset = item["assets"][band]
        del asset["proj:bbox"], asset["gsd"]
        resolution = asset["proj:transform"][0]
        assets[key] = {**asset, "raster:bands": [{"nodata": 0, "spatial_resolution": resolution, "offset": -0.1}]}
    properties = item["properties"]
    del properties["s2:mgrs_tile"], properties["sat:relative_orbit"], properties["sat:orbit_state"]
    properties.update({"grid:code": f"MGRS-{tile}", "platform": "sentinel-2a", "updated": "2024-06-17T03:00:00.000Z"})
    properties["s2:product_uri"] = f"{item['id']}.SAFE"
    if applied is not None:
        properties["earthsearch:boa_offset_applied"] = applied
    return {**item, "id": f"S2A_{tile}_{when[:10].replace('-', '')}_0_L2A", "assets": assets}


def s1(
    when: str = "2024-06-15T22:51:00.000000Z",
    state: str = "ascending",
    box: tuple[float, float, float, float] = (480_000, 4_400_000, 740_000, 4_620_000),
    orbit: int = 33,
    footprint: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """A Sentinel-1 RTC item of Planetary Computer over New York."""
    name = f"S1A_IW_GRDH_1SDV_{''.join(c for c in when[:19] if c.isalnum())}_{state[:3]}_rtc"
    shape = [int((box[3] - box[1]) / 10), int((box[2] - box[0]) / 10)]
    href = f"https://sentinel1euwestrtc.blob.core.windows.net/sentinel1-grd-rtc/GRD/{name}/measurement"
    raster = {"raster:bands": [{"nodata": -32768, "data_type": "float32", "spatial_resolution": 10.0}]}
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "collection": "sentinel-1-rtc",
        "geometry": footprint or polygon(32618, box, pieces=20),
        "bbox": [-75.0, 39.0, -72.0, 42.0],
        "links": [],
        "stac_extensions": [],
        "properties": {
            "datetime": when,
            "platform": "SENTINEL-1A",
            "proj:epsg": 32618,
            "proj:bbox": list(box),
            "proj:shape": shape,
            "proj:transform": [10.0, 0.0, box[0], 0.0, -10.0, box[3], 0.0, 0.0, 1.0],
            "sat:orbit_state": state,
            "sat:relative_orbit": orbit,
        },
        "assets": {
            "vh": {"href": f"{href}/iw-vh.rtc.tiff", "file:size": 838_000_000, **raster},
            "vv": {"href": f"{href}/iw-vv.rtc.tiff", "file:size": 840_000_000, **raster},
            "tilejson": {"href": "https://example.org/tilejson.json", "roles": ["tiles"]},
        },
    }


def dem(lat: int = 40, lon: int = -74) -> dict[str, Any]:
    """A Copernicus GLO-30 item: a cell of one degree, moved by half a pixel as its pixels are points."""
    half = 1 / 7200
    name = f"Copernicus_DSM_COG_10_N{lat:02d}_00_W{-lon:03d}_00_DEM"
    west, north = lon - half, lat + 1 + half
    ring = [[west, north - 1], [west, north], [west + 1, north], [west + 1, north - 1], [west, north - 1]]
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "collection": "cop-dem-glo-30",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": [west, north - 1, west + 1, north],
        "links": [],
        "stac_extensions": [],
        "properties": {
            "datetime": "2021-04-22T00:00:00Z",
            "platform": "TanDEM-X",
            "gsd": 30,
            "proj:epsg": 4326,
            "proj:shape": [3600, 3600],
            "proj:transform": [1 / 3600, 0.0, west, 0.0, -1 / 3600, north],
        },
        "assets": {"data": {"href": f"https://elevationeuwest.blob.core.windows.net/copernicus-dem/{name}.tif"}},
    }


def worldcover(cell: str = "N39W075", year: int = 2021) -> dict[str, Any]:
    """An ESA WorldCover item: three degrees; a range in place of a datetime."""
    lat, lon = int(cell[1:3]), -int(cell[4:])
    name = f"ESA_WorldCover_10m_{year}_v{200 if year == 2021 else 100}_{cell}"
    ring = [[lon, lat], [lon, lat + 3], [lon + 3, lat + 3], [lon + 3, lat], [lon, lat]]
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "collection": "esa-worldcover",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": [lon, lat, lon + 3, lat + 3],
        "links": [],
        "stac_extensions": [],
        "properties": {
            "datetime": None,
            "start_datetime": f"{year}-01-01T00:00:00Z",
            "end_datetime": f"{year}-12-31T23:59:59Z",
            "platform": "sentinel-1a, sentinel-1b, sentinel-2a, sentinel-2b",
            "proj:epsg": 4326,
            "esa_worldcover:product_tile": cell,
        },
        "assets": {
            "map": {
                "href": f"https://ai4edataeuwest.blob.core.windows.net/esa-worldcover/v200/{year}/map/{name}_Map.tif",
                "proj:shape": [36000, 36000],
                "proj:transform": [1 / 12000, 0.0, lon, 0.0, -1 / 12000, lat + 3],
                "raster:bands": [{"nodata": 0, "data_type": "uint8", "spatial_resolution": 10}],
            }
        },
    }
