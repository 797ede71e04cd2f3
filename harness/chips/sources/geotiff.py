"""One GeoTIFF: pixels with NaN for nodata, grid, band names and date. The only rasterio code of this source."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from harness.chips.chip import Grid, Modality
from harness.errors import ChipError

BAND_NAME = re.compile(r"(?:S2|B|BAND)?[ _]?0*(\d{1,2}A?)")
"""Sentinel-2 band names as files write them: B01, B1, b8a, Band 02."""


@dataclass(frozen=True, slots=True)
class Raster:
    """What a file holds."""

    data: NDArray[np.float32]
    """Shape (C, H, W); NaN where nodata."""
    grid: Grid
    """Shape, transform, EPSG code."""
    date: str | None
    """From the tag `datetime`, to the day; None where there is none."""
    named: bool
    """Whether the file names its bands, in the right order."""


GSD_M, SLACK_M = 10.0, 0.01
"""Pixel of every chip, and how far a transform may be off by rounding."""

WEB_MERCATOR = 3857
"""Its metres are metres at the equator alone."""


def band_name(text: str | None, modality: Modality) -> str | None:
    """The band that a description means; None where it means none of the modality's."""
    word = (text or "").strip().upper()
    if modality.name == "S2L2A" and (match := BAND_NAME.fullmatch(word)):
        digits = match.group(1)
        word = f"B{digits}" if digits.endswith("A") else f"B{int(digits):02d}"
    return word if word in modality.bands else None


def read_raster(path: Path, modality: Modality) -> Raster:
    """Read a GeoTIFF of a modality.

    Args:
        path: File.
        modality: Bands it must have, and values that mean nodata besides the file's own.

    Returns:
        Pixels as float32.

    Raises:
        ChipError: Unreadable, truncated, not a GeoTIFF, no reference system in metres, other bands or another order.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)  # said below, as an error
            with rasterio.open(path, driver="GTiff") as source:
                found = source.read()
                nodata = source.nodatavals
                crs, transform, shape = source.crs, source.transform, source.shape
                names = [band_name(d, modality) for d in source.descriptions]
                tags = source.tags()
    except (RasterioError, OSError) as err:
        cause = str(err.__cause__ or err).splitlines()[0]
        raise ChipError(f"{path}: not a readable GeoTIFF, or truncated ({cause}); fetch or write it again") from err
    if crs is None:
        raise ChipError(
            f"{path}: no coordinate reference system; write one (UTM), or chips cannot be laid side by side"
        )
    epsg = crs.to_epsg()
    if epsg is None or not crs.is_projected:
        raise ChipError(f"{path}: {crs.to_string()[:60]} is no projected system with an EPSG code; warp it to UTM")
    a, b, _, d, e, _ = tuple(transform)[:6]
    if crs.linear_units_factor[1] != 1.0 or epsg == WEB_MERCATOR:
        raise ChipError(f"{path}: EPSG:{epsg} does not measure in metres on the ground; warp it to UTM")
    if b or d or abs(a - GSD_M) > SLACK_M or abs(e + GSD_M) > SLACK_M:
        raise ChipError(
            f"{path}: pixels of {a:g} x {e:g} with rotation {b:g}, {d:g}; chips are north-up with {GSD_M:g} m "
            "pixels: warp it"
        )
    if len(found) != len(modality.bands):
        raise ChipError(
            f"{path}: {len(found)} band{'s' if len(found) > 1 else ''}; {modality.name} has {len(modality.bands)}: "
            f"{' '.join(modality.bands)}"
        )
    if wrong := [(i, n) for i, n in enumerate(names) if n is not None and n != modality.bands[i]]:
        i, name = wrong[0]
        raise ChipError(
            f"{path}: band {i + 1} is described as {name}, {modality.bands[i]} was expected there; order: "
            f"{' '.join(modality.bands)}"
        )
    if np.iscomplexobj(found):
        raise ChipError(f"{path}: complex pixels; give backscatter, not the signal")
    return Raster(
        _masked(found, nodata, modality),
        Grid(epsg, tuple(transform)[:6], *shape),
        _day(tags.get("datetime")),
        all(names),
    )


def _masked(found: NDArray[np.generic], nodata: tuple[float | None, ...], modality: Modality) -> NDArray[np.float32]:
    data = found.astype(np.float32)
    for band, value in zip(data, nodata, strict=True):
        gaps = np.isin(band, np.asarray(modality.nodata, np.float32)) if modality.nodata else np.zeros(band.shape, bool)
        if value is not None:
            gaps |= band == np.float32(value)
        band[gaps] = np.nan
    return data


def _day(text: str | None) -> str | None:
    return text[:10] if text and re.match(r"\d{4}-\d{2}-\d{2}", text) else None
