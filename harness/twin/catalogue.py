"""STAC items of the twin, shaped as Planetary Computer sends them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from pyproj import Transformer

from harness.twin.imagery import Raster
from harness.twin.products import Look, Pass

API: Final = "https://planetarycomputer.microsoft.com/api/stac/v1"
"""What recorded items name in their links; nothing is asked there."""

EXTENSION: Final = "https://stac-extensions.github.io"

COG: Final = "image/tiff; application=geotiff; profile=cloud-optimized"


def items(records: Iterable[Raster], base: Callable[[Path], str]) -> list[dict[str, Any]]:
    """One STAC item a product, in the records' order.

    Args:
        records: As `imagery.write_imagery` gave them.
        base: Address of a file, from its path.
    """
    out = []
    for _, group in groupby(records, key=lambda record: record.product):
        files = list(group)
        product = files[0].product
        outline = _outline(files[0])
        ring = outline["coordinates"][0]
        lon, lat = [p[0] for p in ring], [p[1] for p in ring]
        properties, extensions = _properties(files)
        home = f"{API}/collections/{product.collection}"
        out.append(
            {
                "type": "Feature",
                "stac_version": "1.0.0",
                "stac_extensions": [f"{EXTENSION}/{name}/schema.json" for name in extensions],
                "id": product.id,
                "collection": product.collection,
                "geometry": outline,
                "bbox": [min(lon), min(lat), max(lon), max(lat)],
                "properties": properties,
                "links": [
                    {"rel": "collection", "type": "application/json", "href": home},
                    {"rel": "self", "type": "application/geo+json", "href": f"{home}/items/{product.id}"},
                ],
                "assets": {one.asset: _asset(one, base(one.path)) for one in files},
            }
        )
    return out


def _outline(one: Raster) -> dict[str, Any]:
    """The raster's box in degrees, a straight line an edge, as catalogues draw it. What is empty in it is not told."""
    west, south, east, north = _box(one)
    corners = [(west, north), (west, south), (east, south), (east, north), (west, north)]
    if one.epsg != 4326:
        to_degrees = Transformer.from_crs(one.epsg, 4326, always_xy=True)
        corners = [to_degrees.transform(*corner) for corner in corners]
    return {"type": "Polygon", "coordinates": [[[round(float(x), 7), round(float(y), 7)] for x, y in corners]]}


def _box(one: Raster) -> tuple[float, float, float, float]:
    a, _, west, _, e, north = one.transform
    return west, north + e * one.shape[0], west + a * one.shape[1], north


def _projection(one: Raster) -> dict[str, Any]:
    return {"proj:bbox": list(_box(one)), "proj:shape": list(one.shape), "proj:transform": list(one.transform)}


def _asset(one: Raster, href: str) -> dict[str, Any]:
    asset: dict[str, Any] = {"href": href, "type": COG, "roles": ["data"]}
    match one.product.collection:
        case "sentinel-2-l2a":
            asset |= _projection(one) | {"gsd": one.transform[0]}
            if one.asset != "SCL":
                asset["eo:bands"] = [{"name": one.asset}]
        case "sentinel-1-rtc":
            asset["file:size"] = one.size_bytes
            asset["raster:bands"] = [{"nodata": -32768, "data_type": "float32", "spatial_resolution": 10.0}]
        case "esa-worldcover":
            shape = {key: value for key, value in _projection(one).items() if key != "proj:bbox"}
            band = {"name": "Band1", "nodata": 0, "sampling": "area", "data_type": "uint8", "spatial_resolution": 10}
            asset |= shape | {"raster:bands": [band]}
    return asset


def _properties(files: list[Raster]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Properties of an item, and the extensions that define them."""
    one = files[0]
    product, look = one.product, one.product.look
    if isinstance(look, Look):
        found: dict[str, Any] = {
            "datetime": look.when,
            "platform": look.platform,
            "constellation": "Sentinel 2",
            "instruments": ["msi"],
            "proj:epsg": one.epsg,
            "eo:cloud_cover": look.cloud_percent,
            "sat:orbit_state": "descending",
            "sat:relative_orbit": 11,
            "s2:mgrs_tile": product.tile,
            "s2:processing_baseline": product.baseline,
            "s2:generation_time": product.made,
            "s2:product_uri": Path(product.folder).name,
            "s2:product_type": "S2MSI2A",
        }
        return found, ("eo/v1.0.0", "sat/v1.0.0", "projection/v1.1.0")
    if isinstance(look, Pass):
        found = {
            "datetime": look.when,
            "start_datetime": look.when,
            "end_datetime": look.when,
            "platform": "SENTINEL-1A",
            "constellation": "Sentinel-1",
            "proj:epsg": one.epsg,
            **_projection(one),
            "sat:orbit_state": look.state,
            "sat:relative_orbit": look.orbit,
            "sar:instrument_mode": "IW",
            "sar:product_type": "GRD",
            "sar:polarizations": ["VV", "VH"],
            "sar:looks_equivalent_number": 4.4,
        }
        return found, ("sar/v1.0.0", "sat/v1.0.0", "projection/v1.1.0", "file/v2.0.0", "raster/v1.0.0")
    if product.collection == "cop-dem-glo-30":
        shape = {key: value for key, value in _projection(one).items() if key != "proj:bbox"}
        found = {"datetime": product.made, "platform": "TanDEM-X", "gsd": 30, "proj:epsg": one.epsg, **shape}
        return found, ("projection/v1.0.0",)
    found = {
        "datetime": None,
        "start_datetime": "2021-01-01T00:00:00Z",
        "end_datetime": "2021-12-31T23:59:59Z",
        "created": product.made,
        "mission": "sentinel-1, sentinel-2",
        "grid:code": f"ESAWORLDCOVER-{product.tile}",
        "proj:epsg": one.epsg,
        "esa_worldcover:product_tile": product.tile,
        "esa_worldcover:product_version": "2.0.0",
    }
    return found, ("projection/v1.1.0", "raster/v1.1.0", "classification/v1.1.0", "grid/v1.0.0")
