"""Made-up scenes to read from: the 57 files of one chip with four dates, and the lock that names them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.transform import Affine

from harness.chips.chip import MODALITIES, Grid
from harness.chips.reader import Request, chip_grid, reach_of
from harness.chips.recipe import Recipe
from harness.chips.scenes import AoiLock, AssetRef, Scene, Timestep
from harness.chips.warp import project

LONLAT, EPSG, DATES = (-73.98, 40.7), 32618, 4
"""The place, its UTM zone, and how many dates."""

GSD = dict.fromkeys(("B02", "B03", "B04", "B08"), 10)
GSD |= dict.fromkeys(("B05", "B06", "B07", "B8A", "B11", "B12"), 20)
GSD |= dict.fromkeys(("B01", "B09"), 60)


def write_cog(
    path: Path, data: NDArray[np.generic], epsg: int, transform: Sequence[float], nodata: float | None = None
) -> Path:
    """Write (H, W) pixels as a cloud-optimised GeoTIFF with blocks of 512 px and overviews."""
    with rasterio.open(
        path,
        "w",
        driver="COG",
        count=1,
        height=data.shape[0],
        width=data.shape[1],
        dtype=data.dtype,
        crs=f"EPSG:{epsg}",
        transform=Affine(*transform[:6]),
        nodata=nodata,
        BLOCKSIZE=512,
        COMPRESS="DEFLATE",
    ) as out:
        out.write(data, 1)
    return path


def write_scenes(folder: Path, base: str) -> AoiLock:
    """57 files under names of their own: one picture a pixel size, linked."""
    (x,), (y,) = project([LONLAT[0]], [LONLAT[1]], 4326, EPSG)
    rng = np.random.default_rng(0)
    made: dict[str, Path] = {}
    for gsd, side in ((10, 2560), (20, 1280), (60, 426)):
        west, north = (round(v / 60) * 60.0 for v in (x - side * gsd / 2, y + side * gsd / 2))
        data = rng.integers(200, 4000, (side, side)).astype(np.uint16)
        made[f"{gsd}"] = write_cog(folder / f"s2_{gsd}.tif", data, EPSG, (gsd, 0, west, 0, -gsd, north))
        if gsd == 10:
            power = rng.gamma(4, 0.02, (side, side)).astype(np.float32)
            made["S1"] = write_cog(folder / "s1.tif", power, EPSG, (10, 0, west, 0, -10, north), nodata=-32768)
    step = 1 / 3600
    metres = rng.normal(20, 5, (1200, 1200)).astype(np.float32)
    corner = (step, 0, LONLAT[0] - 600 * step, 0, -step, LONLAT[1] + 600 * step)
    made["DEM"] = write_cog(folder / "dem.tif", metres, 4326, corner)

    def scene(item: str, date: str, modality: str, epsg: int, unit: str, nodata: float | None) -> Scene:
        assets = {}
        for band in MODALITIES[modality].bands:
            kind = str(GSD[band]) if modality == "S2L2A" else "S1" if modality == "S1RTC" else "DEM"
            name = f"{item}_{band}.tif"
            if not (folder / name).exists():
                os.link(made[kind], folder / name)
            gsd = {"S1": 10, "DEM": 30}.get(kind) or int(kind)
            assets[band] = AssetRef(href=f"{base}/{name}", bands=[band], gsd_m=gsd, unit=unit, nodata=nodata)
        when = f"{date}T15:40:00Z"
        return Scene(collection=modality, item=item, datetime=when, baseline="05.10", epsg=epsg, assets=assets)

    steps = [Timestep(modality="DEM", index=0, scenes=[scene("dem", "2021-04-22", "DEM", 4326, "m", None)], why="")]
    for t in range(DATES):
        date = f"2024-0{4 + t}-01"
        optical, radar = (
            scene(f"s2_{t}", date, "S2L2A", EPSG, "DN", 0),
            scene(f"s1_{t}", date, "S1RTC", EPSG, "linear power", -32768),
        )
        steps.append(Timestep(modality="S2L2A", index=t, scenes=[optical], why=""))
        steps.append(Timestep(modality="S1RTC", index=t, scenes=[radar], why=""))
    return AoiLock(aoi="bench", recipe="published-rerun", centre=LONLAT, epsg=EPSG, timesteps=steps, searches=[])


def requests_of(lock: AoiLock, recipe: Recipe) -> list[Request]:
    """Every window of the lock's chip."""
    (x,), (y,) = project([LONLAT[0]], [LONLAT[1]], 4326, EPSG)
    reach = reach_of(grid_of(lock, recipe), (x, y))
    scenes = [s for step in lock.timesteps for s in step.scenes]
    return [Request(a.href, reach, 1, s.epsg) for s in scenes for a in s.assets.values()]


def grid_of(lock: AoiLock, recipe: Recipe) -> Grid:
    """The chip's grid."""
    return chip_grid(recipe, lock.centre, lock.epsg, project)
