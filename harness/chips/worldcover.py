"""ESA WorldCover codes as indices of a class scheme, with building footprints where the scheme has them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.transform import Affine
from rasterio.vrt import WarpedVRT

from harness.chips.chip import Grid, Label
from harness.chips.labels import IGNORE_INDEX
from harness.claims.schemes import WORLDCOVER, Scheme
from harness.errors import ChipError

NODATA = 0
"""Of WorldCover v200 maps (Product User Manual V2.0)."""

LESS_BUILDINGS = "less building footprints"
"""A class's `other` that takes footprints out of it."""

BUILDINGS = "building footprints"
"""A class's `other` that puts footprints in it, unless it says `less`."""


def read_local(path: Path, grid: Grid) -> NDArray[np.uint8]:
    """Codes of a local map on a chip's grid, nearest neighbour, as the training code reads it.

    Args:
        path: WorldCover GeoTIFF; only the blocks under the grid are read.
        grid: The chip's grid.

    Returns:
        Shape (H, W); 0 where the map has nothing.

    Raises:
        ChipError: Unreadable, or not one band of 8-bit codes.
    """
    try:
        with rasterio.open(path) as source:
            if source.count != 1 or source.dtypes[0] != "uint8":
                raise ChipError(f"{path}: {source.count} bands of {source.dtypes[0]}; one band of uint8 was expected")
            if source.crs is None:
                raise ChipError(f"{path}: names no reference system; it is cut short, download it again")
            with WarpedVRT(
                source,
                crs=CRS.from_epsg(grid.epsg),
                transform=Affine(*grid.transform),
                width=grid.width_px,
                height=grid.height_px,
                resampling=Resampling.nearest,
                src_nodata=NODATA,
                nodata=NODATA,
            ) as warped:
                codes: NDArray[np.uint8] = warped.read(1)
    except (RasterioError, OSError) as err:
        raise ChipError(f"{path}: cannot be read as a map ({err}); download it again") from err
    return codes


def wants_buildings(scheme: Scheme) -> bool:
    """Whether a scheme has a class of building footprints."""
    return any(_takes(each.other) for each in scheme.classes)


def _takes(other: str | None) -> bool:
    return other is not None and BUILDINGS in other and LESS_BUILDINGS not in other


def to_scheme(
    codes: NDArray[np.uint8], scheme: Scheme, source: Path, buildings: NDArray[np.int64] | None = None
) -> Label:
    """WorldCover codes as a class map.

    Args:
        codes: Shape (H, W); 0 is nodata and never scored.
        scheme: Any scheme of eval/schemes/ with WorldCover codes.
        source: File of the codes.
        buildings: Shape (H, W): 1 building, 0 not, -1 nobody can say; needed where the scheme has a building
            class. Where nobody can say, a class that is meant less buildings has no label either.

    Raises:
        ChipError: A code that WorldCover does not have, a scheme without WorldCover codes, or one with a building
            class and no footprints.
    """
    table = {code: each.index for each in scheme.classes for code in each.worldcover}
    if not table:
        raise ChipError(f"scheme {scheme.id}: no class names a WorldCover code")
    if codes.ndim != 2 or (buildings is not None and buildings.shape != codes.shape):
        raise ChipError(
            f"{source}: codes have shape {codes.shape}, footprints "
            f"{None if buildings is None else buildings.shape}; one (H, W) was expected"
        )
    if unknown := sorted({int(c) for c in np.unique(codes)} - set(WORLDCOVER) - {NODATA}):
        raise ChipError(f"{source}: {unknown} are no ESA WorldCover v200 codes; is this another map?")
    data = np.full(codes.shape, IGNORE_INDEX, np.int64)
    for code, index in table.items():
        data[codes == code] = index
    unnamed = sorted({int(c) for c in np.unique(codes)} & set(WORLDCOVER) - set(table))
    why = [f"WorldCover v200 under scheme {scheme.id}; nodata is not scored"]
    if unnamed:
        why.append(f"codes {unnamed} stand in no class and are not scored")
    if wants_buildings(scheme):
        if buildings is None:
            raise ChipError(
                f"scheme {scheme.id} has a building class; give the footprints of the chip besides {source}"
            )
        for each in scheme.classes:
            if each.other is not None and LESS_BUILDINGS in each.other:
                data[(data == each.index) & (buildings == IGNORE_INDEX)] = IGNORE_INDEX
        for each in scheme.classes:
            if _takes(each.other):
                data[buildings == 1] = each.index
        why.append("footprints on top; built-up land where no footprints are kept has no label")
    return Label(data, scheme.id, source, "source", "; ".join(why), IGNORE_INDEX)
