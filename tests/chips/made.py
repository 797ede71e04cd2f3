"""Small made-up chips as GeoTIFF folders, the same pixels for the same arguments. No place on earth."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.transform import Affine

S2_BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")

Pixels = NDArray[np.float32]

COVERS: dict[int, tuple[tuple[int, ...], tuple[float, float]]] = {
    1: ((240, 180, 150, 110, 90, 80, 80, 70, 70, 100, 40, 30), (-20.0, -27.0)),
    2: ((250, 220, 400, 250, 700, 1900, 2400, 2500, 2700, 2800, 1300, 600), (-9.0, -15.0)),
    4: ((600, 700, 950, 900, 1500, 2400, 2800, 2900, 3000, 3000, 2300, 1500), (-12.0, -18.0)),
    5: ((1100, 1200, 1300, 1450, 1600, 1800, 1900, 2000, 2050, 2100, 2100, 1900), (-4.0, -11.0)),
    9: ((800, 950, 1250, 1600, 2000, 2300, 2450, 2550, 2700, 2700, 3100, 2400), (-13.0, -20.0)),
    6: ((1500, 1900, 2600, 3400, 3700, 3850, 4000, 4100, 4200, 4300, 5000, 4600), (-15.0, -24.0)),
}
"""By code of a TerraMesh-like LULC map: rounded DN of Sentinel-2 and dB of VV, VH. Plausible, not measured."""

COAST = (1, 2, 4, 5, 9)
"""Water, trees, crops, built, rangeland."""

DESERT = (6,)
"""Bright bare ground: nothing dark in the picture."""


def _relief(rng: np.random.Generator, size_px: int) -> NDArray[np.float64]:
    """A smooth surface between 0 and 1, shape (size_px, size_px)."""
    coarse = rng.random((7, 7))
    at, knots = np.linspace(0, 6, size_px), np.arange(7)
    rows = np.stack([np.interp(at, knots, row) for row in coarse])
    full = np.stack([np.interp(at, knots, column) for column in rows.T], axis=1)
    relief: NDArray[np.float64] = (full - full.min()) / (full.max() - full.min())
    return relief


def scene(
    name: str, size_px: int, timesteps: int, offset: int, seed: int, covers: Sequence[int]
) -> tuple[Pixels, Pixels, Pixels, NDArray[np.uint8]]:
    """Sentinel-2 DN (T, 12, H, W), backscatter in dB (T, 2, H, W), metres (H, W) and LULC codes (H, W)."""
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    relief = _relief(rng, size_px)
    edges = np.quantile(relief, np.linspace(0, 1, len(covers) + 1)[1:-1])
    codes = np.asarray(covers, np.uint8)[np.digitize(relief, edges)]
    optical = np.zeros((12, size_px, size_px))
    radar = np.zeros((2, size_px, size_px))
    for code in covers:
        spectrum, backscatter = COVERS[code]
        optical[:, codes == code] = np.reshape(spectrum, (12, 1))
        radar[:, codes == code] = np.reshape(backscatter, (2, 1))
    season = 1 + 0.06 * np.arange(timesteps).reshape(-1, 1, 1, 1)
    dn = optical * season * rng.normal(1, 0.08, (timesteps, *optical.shape)).clip(0.7, 1.3)
    db = radar + rng.normal(0, 1.5, (timesteps, *radar.shape))
    metres = np.round(180 * relief)
    return (
        np.maximum(np.round(dn), 1).astype(np.float32) + np.float32(offset),
        db.astype(np.float32),
        metres.astype(np.float32),
        codes,
    )


def write_tif(
    path: Path,
    data: NDArray[np.generic],
    bands: Sequence[str] | None = None,
    epsg: int | None = 32618,
    shift_m: float = 0.0,
    nodata: float | None = None,
    date: str | None = None,
) -> Path:
    """Write (C, H, W) pixels of 10 m, their north-west corner at (580000 + shift_m, 4510000)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count, height, width = data.shape
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=count,
        height=height,
        width=width,
        dtype=data.dtype,
        crs=None if epsg is None else f"EPSG:{epsg}",
        transform=Affine(10, 0, 580_000 + shift_m, 0, -10, 4_510_000),
        nodata=nodata,
    ) as out:
        out.write(data)
        if bands:
            out.descriptions = tuple(bands)
        if date:
            out.update_tags(datetime=f"{date}T15:40:00.000000000")
    return path


def write_folder(
    path: Path,
    ids: Sequence[str] = ("here", "there"),
    size_px: int = 224,
    timesteps: int = 1,
    s1_unit: Literal["dB", "linear power"] = "dB",
    offset: int = 0,
    seed: int = 0,
    covers: Sequence[int] = COAST,
    apart_m: float = 0.0,
) -> Path:
    """Write S2L2A/, S1RTC/, DEM/ and LULC/ with one chip an id, and return the folder.

    Several timesteps become `<id>_t0.tif` and so on for Sentinel-1 and -2. Bands are named. Each chip lies `apart_m`
    east of the one before it; at 0 all share their ground.
    """
    for number, name in enumerate(ids):
        east = number * apart_m
        dn, db, metres, codes = scene(name, size_px, timesteps, offset, seed, covers)
        radar = db if s1_unit == "dB" else (10 ** (db / 10)).astype(np.float32)
        for t in range(timesteps):
            file = f"{name}.tif" if timesteps == 1 else f"{name}_t{t}.tif"
            date = f"2024-0{4 + t}-15"
            write_tif(path / "S2L2A" / file, dn[t].astype(np.int16), S2_BANDS, shift_m=east, date=date)
            write_tif(path / "S1RTC" / file, radar[t], ("VV", "VH"), shift_m=east, date=date)
        write_tif(path / "DEM" / f"{name}.tif", metres[None].astype(np.int16), ("DEM",), shift_m=east)
        write_tif(path / "LULC" / f"{name}.tif", codes[None], shift_m=east)
    return path
