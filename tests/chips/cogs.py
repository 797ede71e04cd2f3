"""Made-up scenes as cloud-optimised GeoTIFFs whose pixels say where they lie, and locks that name them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.transform import Affine

from harness.chips.chip import MODALITIES, Grid
from harness.chips.scenes import AoiLock, AssetRef, Scene, Timestep
from harness.chips.warp import project

Floats = NDArray[np.float64]

GSD = dict.fromkeys(("B02", "B03", "B04", "B08"), 10)
GSD |= dict.fromkeys(("B05", "B06", "B07", "B8A", "B11", "B12"), 20)
GSD |= dict.fromkeys(("B01", "B09"), 60)

PLACES = {32617: (-80.2, 37.1), 32618: (-73.98, 40.7), 32619: (-68.3, 44.6)}
"""A point in each of three UTM zones, by EPSG code."""


@dataclass(frozen=True)
class Ramp:
    """A plane over one zone's eastings and northings: bilinear weights give it back exactly."""

    epsg: int
    """Zone whose coordinates it is written in."""
    east: float
    """Easting of the value `base`."""
    north: float
    """Northing of the value `base`."""
    base: float = 4000.0
    """Value there."""
    per_m: tuple[float, float] = (0.7, 0.3)
    """Rise towards east and towards north; half a pixel of 10 m is 3.5 and 1.5."""

    def at(self, x: Floats, y: Floats, epsg: int) -> Floats:
        """Values at points of a reference system."""
        if epsg != self.epsg:
            shape = x.shape
            xs, ys = project(x.ravel().tolist(), y.ravel().tolist(), epsg, self.epsg)
            x, y = np.reshape(xs, shape), np.reshape(ys, shape)
        out: Floats = self.base + self.per_m[0] * (x - self.east) + self.per_m[1] * (y - self.north)
        return out

    def over(self, grid: Grid) -> Floats:
        """Values at a grid's pixel centres, (H, W)."""
        return self.at(*centres(grid.transform, grid.height_px, grid.width_px), grid.epsg)

    def nearest(self, grid: Grid, step: float) -> Floats:
        """Values at the centres of the native pixels, multiples of `step`, that hold a grid's centres."""
        x, y = centres(grid.transform, grid.height_px, grid.width_px)
        return self.at((np.floor(x / step) + 0.5) * step, (np.floor(y / step) + 0.5) * step, grid.epsg)


def centres(transform: Sequence[float], height: int, width: int) -> tuple[Floats, Floats]:
    """Coordinates of pixel centres, each (H, W)."""
    col, row = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    return transform[2] + transform[0] * col, transform[5] + transform[4] * row


def write_cog(
    path: Path,
    data: NDArray[np.generic],
    epsg: int,
    transform: Sequence[float],
    nodata: float | None = None,
    compress: str = "DEFLATE",
    block_px: int = 128,
) -> Path:
    """Write (H, W) pixels with overviews."""
    path.parent.mkdir(parents=True, exist_ok=True)
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
        BLOCKSIZE=block_px,
        COMPRESS=compress,
    ) as out:
        out.write(data, 1)
    return path


@dataclass
class Country:
    """Scenes round one point, written as they are asked for."""

    folder: Path
    """Where files go."""
    base: str
    """Address under which they are served; the folder itself reads them from disk."""
    epsg: int = 32618
    """Zone of the chip."""
    lonlat: tuple[float, float] = PLACES[32618]
    """Centre."""
    side_m: float = 4800.0
    """Side of a scene."""
    ramp: Ramp = field(init=False)
    """What pixels hold."""

    def __post_init__(self) -> None:
        (x,), (y,) = project([self.lonlat[0]], [self.lonlat[1]], 4326, self.epsg)
        self.centre = (x, y)
        self.ramp = Ramp(self.epsg, x, y)

    def optical(
        self,
        item: str,
        date: str = "2024-05-01",
        baseline: str | None = "05.10",
        epsg: int | None = None,
        shape: Callable[[Floats, Floats, Floats], Floats] | None = None,
        bands: Sequence[str] | None = None,
        centre: tuple[float, float] | None = None,
        plus: float = 0.0,
    ) -> Scene:
        """A Sentinel-2 item; `shape` may change values, given values, eastings and northings in its zone."""
        epsg = epsg or self.epsg
        middle = centre or self._middle(epsg)
        assets = {}
        for band in bands or MODALITIES["S2L2A"].bands:
            gsd = GSD[band]
            transform, size = self._frame(middle, gsd)
            x, y = centres(transform, size, size)
            values = self.ramp.at(x, y, epsg) + plus
            if shape is not None:
                values = shape(values, x, y)
            name = f"{item}_{band}.tif"
            write_cog(self.folder / name, np.round(values).astype(np.uint16), epsg, transform)
            assets[band] = AssetRef(href=f"{self.base}/{name}", bands=[band], gsd_m=gsd, unit="DN", nodata=0)
        return Scene(
            collection="sentinel-2-l2a",
            item=item,
            datetime=f"{date}T15:40:00Z",
            baseline=baseline,
            tile=item,
            epsg=epsg,
            assets=assets,
        )

    def radar(self, item: str, date: str = "2024-05-02") -> Scene:
        """A Sentinel-1 item in linear power, with -32768, a zero and a negative in its first rows."""
        transform, size = self._frame(self._middle(self.epsg), 10)
        x, y = centres(transform, size, size)
        assets = {}
        for band, factor in (("VV", 1e-5), ("VH", 1e-6)):
            values = (self.ramp.at(x, y, self.epsg) * factor).astype(np.float32)
            values[:, 0], values[:, 1], values[:, 2] = -32768, 0, -0.01
            name = f"{item}_{band}.tif"
            write_cog(self.folder / name, values, self.epsg, transform, nodata=-32768)
            href = f"{self.base}/{name}"
            assets[band] = AssetRef(href=href, bands=[band], gsd_m=10, unit="linear power", nodata=-32768)
        return Scene(
            collection="sentinel-1-rtc",
            item=item,
            datetime=f"{date}T22:50:00Z",
            epsg=self.epsg,
            assets=assets,
        )

    def geographic(self, item: str, band: str, west: float, width_deg: float, values: Ramp | int) -> Scene:
        """A DEM or WorldCover tile in degrees, one arc second a pixel, from `west` on."""
        step = 1 / 3600
        north = round((self.lonlat[1] + 0.03) / step) * step
        transform = (step, 0.0, west, 0.0, -step, north)
        height, width = round(0.06 / step), round(width_deg / step)
        codes = isinstance(values, int)
        x, y = centres(transform, height, width)
        data = np.full(x.shape, values, np.uint8) if codes else values.at(x, y, 4326).astype(np.float32)  # type: ignore[union-attr]
        name = f"{item}.tif"
        write_cog(self.folder / name, data, 4326, transform)
        unit, nodata = ("class code", 0.0) if codes else ("m", None)
        asset = AssetRef(href=f"{self.base}/{name}", bands=[band], gsd_m=30, unit=unit, nodata=nodata)
        return Scene(collection=band, item=item, datetime="2021-04-22T00:00:00Z", epsg=4326, assets={"data": asset})

    def lock(self, **steps: list[list[Scene]]) -> AoiLock:
        """A lock of these scenes: by modality, a list a date."""
        timesteps = [
            Timestep(modality=modality, index=i, scenes=scenes, why="")
            for modality, dates in steps.items()
            for i, scenes in enumerate(dates)
        ]
        return AoiLock(
            aoi="made-up", recipe="any", centre=self.lonlat, epsg=self.epsg, timesteps=timesteps, searches=[]
        )

    def _middle(self, epsg: int) -> tuple[float, float]:
        (x,), (y,) = project([self.lonlat[0]], [self.lonlat[1]], 4326, epsg)
        return x, y

    def _frame(self, middle: tuple[float, float], gsd: int) -> tuple[tuple[float, ...], int]:
        """Transform and side in pixels: corners on multiples of 60 m, as Sentinel-2 tiles have them."""
        west = round((middle[0] - self.side_m / 2) / 60) * 60.0
        north = round((middle[1] + self.side_m / 2) / 60) * 60.0
        return (float(gsd), 0.0, west, 0.0, -float(gsd), north), int(self.side_m // gsd)
