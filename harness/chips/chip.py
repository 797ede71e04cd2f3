"""A chip: raw pixels of several modalities on one grid, with units, dates, gaps and a hash."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.errors import ChipError

GRID_TOLERANCE = 1e-3
"""Pixels by which two grids may differ and still be one. Exports of one scene write transforms
that differ by rounding: 1e-10 of a pixel was seen, half a pixel is a real shift."""


@dataclass(frozen=True, slots=True)
class Modality:
    """What a modality's pixels are, in files and in chips."""

    name: str
    """As TerraTorch writes it; also the folder's name."""
    bands: tuple[str, ...]
    """In the order that files and models use."""
    units: tuple[str, ...]
    """Units that can be declared for it; a single one is a matter of course."""
    nodata: tuple[float, ...] = ()
    """Values that mean nodata whatever the file says."""
    changes: bool = True
    """Whether it differs from date to date; a DEM does not, and is repeated."""
    codes: bool = False
    """Whether pixels are class codes."""


MODALITIES: dict[str, Modality] = {
    m.name: m
    for m in (
        Modality(
            "S2L2A",
            ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12"),
            ("DN", "1"),
            (0, -9999),
        ),
        Modality("S1RTC", ("VV", "VH"), ("linear power", "dB"), (-32768, -9999)),
        Modality("DEM", ("DEM",), ("m",), (-32768, -32767, -9999), changes=False),
        Modality("LULC", ("LULC",), ("class code",), changes=False, codes=True),
        Modality("NDVI", ("NDVI",), ("1",)),
    )
}
"""Modalities that chips may hold. Nodata: Sentinel-2 products write 0, Sentinel-1 RTC on Planetary
Computer -32768, Major-TOM's DEM -32767 (card of Major-TOM/Core-DEM), ImpactMesh -9999."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Shape, transform and reference system of a chip."""

    epsg: int
    """EPSG code of a projected system in metres."""
    transform: tuple[float, float, float, float, float, float]
    """Affine a, b, c, d, e, f: x = a col + b row + c, y = d col + e row + f."""
    height_px: int
    """Rows."""
    width_px: int
    """Columns."""

    @property
    def gsd_m(self) -> float:
        """Side of a pixel along x, in metres."""
        return abs(self.transform[0])

    def differs(self, other: Grid) -> str | None:
        """How another grid differs, in words; None where they are the same within rounding."""
        if self.epsg != other.epsg:
            return f"EPSG:{self.epsg} against EPSG:{other.epsg}"
        if (self.height_px, self.width_px) != (other.height_px, other.width_px):
            return f"{self.height_px} x {self.width_px} px against {other.height_px} x {other.width_px} px"
        for row, col in ((0, 0), (0, self.width_px), (self.height_px, 0)):
            shift = max(abs(a - b) for a, b in zip(self._at(row, col), other._at(row, col), strict=True))
            if shift > GRID_TOLERANCE * self.gsd_m:
                return f"corners lie {shift:.4g} m apart"
        return None

    def _at(self, row: int, col: int) -> tuple[float, float]:
        a, b, c, d, e, f = self.transform
        return a * col + b * row + c, d * col + e * row + f


def _digest(words: Iterable[str], arrays: Iterable[NDArray[np.generic]]) -> str:
    digest = hashlib.sha256()
    for word in words:
        digest.update(word.encode() + b"\0")
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class Layer:
    """Pixels of one modality."""

    modality: str
    """A name from `MODALITIES`."""
    data: NDArray[np.float32]
    """Shape (T, C, H, W), read-only; NaN where nodata, nothing filled."""
    bands: tuple[str, ...]
    """Names along C."""
    unit: str
    """`DN`, `1` (reflectance or index), `linear power`, `dB`, `m`, `class code`, or `unknown` where the
    pixels do not say and nobody declared it."""
    dates: tuple[str | None, ...]
    """Acquisition along T as the file or chips.yaml gives it; None where neither does."""
    source: Path
    """File it came from; the first one where every date has its own."""
    declared: bool = False
    """Whether somebody declared the unit; otherwise it is what the pixels look like."""
    remarks: tuple[str, ...] = ()
    """What the reader saw and had to trust, e.g. a band order that the file does not name."""

    def __post_init__(self) -> None:
        data = np.ascontiguousarray(self.data, dtype=np.float32)
        known = MODALITIES.get(self.modality)
        if known is None:
            raise ChipError(f"{self.source}: {self.modality!r} is no modality; there are {', '.join(MODALITIES)}")
        if data.ndim != 4 or data.shape[1] != len(self.bands) or data.shape[0] != len(self.dates) or not data.size:
            raise ChipError(
                f"{self.source}: {self.modality} has shape {data.shape}; (T, C, H, W) with C = {len(self.bands)} "
                f"bands and T = {len(self.dates)} dates was expected"
            )
        if np.isinf(data).any():
            raise ChipError(f"{self.source}: {self.modality} holds infinite values; write nodata as NaN")
        view = data.view()
        view.flags.writeable = False
        object.__setattr__(self, "data", view)

    @property
    def timesteps(self) -> int:
        """T."""
        return int(self.data.shape[0])

    @property
    def valid_fraction(self) -> float:
        """Share of values that are not nodata."""
        return float(np.isfinite(self.data).mean())

    @cached_property
    def sha256(self) -> str:
        """Hash of bands, unit, shape and pixels; the file's name, compression and dates do not enter."""
        canonical = np.where(np.isnan(self.data), np.float32(np.nan), self.data + np.float32(0))  # one NaN, one zero
        words = [self.modality, ",".join(self.bands), self.unit, str(self.data.shape)]
        return _digest(words, [canonical.astype("<f4")])


@dataclass(frozen=True)
class Label:
    """A class map."""

    data: NDArray[np.int64]
    """Shape (H, W): indices of `scheme`, `ignore_index` where a pixel has no class."""
    scheme: str
    """Id of a scheme under eval/schemes/."""
    source: Path
    """File of the codes."""
    evidence: str
    """`source` or `inference`: what the map from codes to indices rests on."""
    why: str
    """The reason in words."""
    ignore_index: int = -1
    """Marks pixels that are not scored."""

    @cached_property
    def sha256(self) -> str:
        """Hash of scheme and pixels."""
        return _digest([self.scheme, str(self.data.shape)], [self.data.astype("<i8")])


@dataclass(frozen=True)
class Chip:
    """Everything known about one place, before any recipe."""

    id: str
    """Name, unique in its folder."""
    grid: Grid
    """Grid of every layer."""
    layers: dict[str, Layer]
    """By modality."""
    label: Label | None = None
    """Class map; None where none was given or no map of its codes was."""
    s2_offset: int | None = None
    """DN that Sentinel-2 pixels carry on top, as declared: 0 or 1000; None where nobody said."""
    cut_by: str | None = None
    """Recipe under which it was cut and resampled; None where it came cut."""

    def __post_init__(self) -> None:
        size = (self.grid.height_px, self.grid.width_px)
        shapes = {name: layer.data.shape[-2:] for name, layer in self.layers.items()}
        if self.label is not None:
            shapes["label"] = self.label.data.shape
        for name, shape in shapes.items():
            if shape != size:
                raise ChipError(f"chip {self.id}: {name} has {shape} px, its grid {size}")

    def folder(self) -> Path | None:
        """The folder that holds the modality folders; None for a chip without layers."""
        return next((layer.source.parent.parent for layer in self.layers.values()), None)

    @cached_property
    def sha256(self) -> str:
        """Hash of grid, layers and label: the same pixels at the same place give the same hash.

        Coordinates enter rounded to a thousandth of a pixel, as grids that differ less are one.
        """
        step = GRID_TOLERANCE * self.grid.gsd_m
        where = [str(self.grid.epsg), *(str(round(v / step)) for v in self.grid.transform)]
        parts = [f"{name}={layer.sha256}" for name, layer in sorted(self.layers.items())]
        return _digest([*where, *parts, "" if self.label is None else self.label.sha256], [])
