"""The twin's pictures: Sentinel-2, Sentinel-1, elevation and land cover as GeoTIFFs, a file a band as served."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import numpy as np
import rasterio
from numpy.typing import NDArray
from pyproj import Transformer
from rasterio.transform import Affine

from harness.errors import SourceError
from harness.twin.city import EPSG, NORTH_M, SIZE_PX, WEST_M, City
from harness.twin.products import TILES, Look, Pass, Product, products
from harness.twin.sky import cloudy, scl, seen, speckled, surface
from harness.twin.spectra import BANDS

THREADS: Final = 2
"""Products written at a time; each file is written by one thread, so that its bytes do not depend on timing."""

GSD: Final = {"B02": 10, "B03": 10, "B04": 10, "B08": 10, "B01": 60, "B09": 60}
"""Pixel by band; all others, and SCL, 20 m."""

DEM_DEG: Final = 1 / 3600
"""Pixel of the elevation model."""

MAP_DEG: Final = 1 / 12000
"""Pixel of the land-cover map."""

RIM_PX: Final = 12
"""Pixels at a Sentinel-1 scene's edge without data."""

NO_POWER: Final = -32768.0
"""Nodata of Sentinel-1."""


@dataclass(frozen=True)
class Raster:
    """One file."""

    path: Path
    """Where it lies."""
    product: Product
    """What it belongs to."""
    asset: str
    """Key in the STAC item."""
    epsg: int
    """Reference system."""
    transform: tuple[float, float, float, float, float, float]
    """Affine a, b, c, d, e, f."""
    shape: tuple[int, int]
    """Rows, columns."""
    nodata: float | None
    """As the file declares it."""
    size_bytes: int
    """Of the file."""


def write_imagery(city: City, folder: Path) -> list[Raster]:
    """Write every file of the twin.

    Args:
        city: What is pictured.
        folder: Where; files that stand there are replaced.

    Returns:
        One record a file, in an order that does not change.

    Raises:
        SourceError: A file cannot be written.
    """
    order = {product: number for number, product in enumerate(products())}
    try:
        with ThreadPoolExecutor(THREADS) as pool:
            groups = [list(group) for _, group in groupby(products(), key=lambda one: one.look or one.id)]
            several = list(pool.map(lambda group: _written(city, group, folder), groups))
    except (OSError, rasterio.errors.RasterioError) as err:
        raise SourceError(f"{folder}: the twin's files cannot be written ({err}); free space or name another") from err
    return sorted((one for records in several for one in records), key=lambda one: order[one.product])


def _written(city: City, group: Sequence[Product], folder: Path) -> list[Raster]:
    out = []
    for product, (asset, pixels, epsg, transform, nodata) in layers(city, group):
        path = folder / product.folder / f"{product.stem}_{asset}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, pixels, epsg, transform, nodata)
        rows, cols = pixels.shape
        out.append(Raster(path, product, asset, epsg, transform, (rows, cols), nodata, path.stat().st_size))
    return out


Layer = tuple[str, NDArray[Any], int, tuple[float, float, float, float, float, float], float | None]
"""Asset, pixels (H, W), EPSG, transform, nodata."""


def layers(city: City, group: Sequence[Product]) -> Iterator[tuple[Product, Layer]]:
    """The rasters of products that picture one moment, as they are written; what they share is drawn once."""
    look = group[0].look
    if isinstance(look, Look):
        yield from _sentinel2(city, look, group)
    elif isinstance(look, Pass):
        for layer in _sentinel1(city, look):
            yield group[0], layer
    else:
        yield group[0], _elevation(city) if group[0].collection == "cop-dem-glo-30" else _map(city)


def _sentinel2(city: City, look: Look, group: Sequence[Product]) -> Iterator[tuple[Product, Layer]]:
    cloud = cloudy(city.seed, look)
    for band in (*BANDS, "SCL"):
        gsd = GSD.get(band, 20)
        drawn = scl(city, cloud) if band == "SCL" else np.rint(seen(city, look, band, cloud, gsd // 10) * 10000)
        for product in group:
            west, east = TILES[product.tile]
            pixels = drawn[:, round((west - WEST_M) / gsd) : round((east - WEST_M) / gsd)]
            if band != "SCL":
                pixels = np.clip(pixels + product.offset, 1, 65535).astype(np.uint16)
            yield product, (band, _halved(pixels, look), EPSG, (float(gsd), 0.0, west, 0.0, -float(gsd), NORTH_M), None)


def _halved(pixels: NDArray[Any], look: Look) -> NDArray[Any]:
    """Pixels, the eastern half 0 where the look says so."""
    if look.half:
        pixels = pixels.copy()
        pixels[:, pixels.shape[1] // 2 :] = 0
    return pixels


def _sentinel1(city: City, over: Pass) -> Iterator[Layer]:
    for band in ("VV", "VH"):
        power = speckled(city, over, band)[:, : round(SIZE_PX * over.share)]
        for edge in (np.s_[:RIM_PX], np.s_[-RIM_PX:], np.s_[:, :RIM_PX], np.s_[:, -RIM_PX:]):
            power[edge] = NO_POWER
        yield band.lower(), power, EPSG, (10.0, 0.0, WEST_M, 0.0, -10.0, NORTH_M), NO_POWER


def _degrees(step: float) -> tuple[NDArray[np.intp], NDArray[np.intp], tuple[float, float, float, float, float, float]]:
    """Rows and columns of the city's pixels under a raster in degrees that holds the city, and its transform.

    Pixels outside the city get -1.
    """
    east, south = WEST_M + SIZE_PX * 10, NORTH_M - SIZE_PX * 10
    box = Transformer.from_crs(EPSG, 4326, always_xy=True).transform_bounds(WEST_M, south, east, NORTH_M)
    left, bottom, right, top = (round(v / step) + margin for v, margin in zip(box, (-3, -3, 3, 3), strict=True))
    lon = (left + np.arange(right - left) + 0.5) * step
    lat = (top - np.arange(top - bottom) - 0.5) * step
    back = Transformer.from_crs(4326, EPSG, always_xy=True)
    x, y = back.transform(*np.meshgrid(lon, lat))
    col, row = np.floor((x - WEST_M) / 10).astype(np.intp), np.floor((NORTH_M - y) / 10).astype(np.intp)
    outside = (np.minimum(row, col) < 0) | (np.maximum(row, col) >= SIZE_PX)
    row[outside], col[outside] = -1, -1
    return row, col, (step, 0.0, left * step, 0.0, -step, top * step)


def _map(city: City) -> Layer:
    row, col, transform = _degrees(MAP_DEG)
    codes = np.where(row < 0, np.uint8(0), city.worldcover[row, col])
    return "map", codes, 4326, transform, 0.0


def _elevation(city: City) -> Layer:
    """The surface at the pixels' centres; 0 beyond the city."""
    row, col, transform = _degrees(DEM_DEG)
    metres = np.where(row < 0, np.float32(0), surface(city)[row, col])
    return "data", metres, 4326, transform, None


def _write(
    path: Path,
    pixels: NDArray[Any],
    epsg: int,
    transform: tuple[float, float, float, float, float, float],
    nodata: float | None,
) -> None:
    profile: dict[str, Any] = {
        "driver": "GTiff",
        "height": pixels.shape[0],
        "width": pixels.shape[1],
        "count": 1,
        "dtype": pixels.dtype,
        "crs": f"EPSG:{epsg}",
        "transform": Affine(*transform),
        "nodata": nodata,
        "tiled": True,
        "blockxsize": 256,
        "blockysize": 256,
        "compress": "deflate",
        "zlevel": 1,
        "predictor": 1 if pixels.dtype == np.uint8 else 3 if pixels.dtype == np.float32 else 2,
    }
    with rasterio.open(path, "w", **profile) as out:
        out.write(pixels, 1)
