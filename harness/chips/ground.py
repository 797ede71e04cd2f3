"""Ground that chips share with each other and with the parents that an adapter was trained on. Reads no pixel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

import shapely
from pyproj import Geod, Transformer
from shapely.geometry.base import BaseGeometry

from harness.chips.cardsplit import CHIP_ID, CardSplit, ParentRecord, grid_of, window_grid
from harness.chips.chip import Grid
from harness.records.spatial import NearestTraining

STEP_M = 500.0
"""A grid's edges get a corner at least every so many metres before they are brought to another system."""

FAR_M = 100_000.0
"""Between centres; beyond it nothing is held against each other edge by edge but the nearest parent."""

GEOD = Geod(ellps="WGS84")


@lru_cache(maxsize=256)
def _transformer(source: str, target: str) -> Any:
    return Transformer.from_crs(source, target, always_xy=True)


def centre(grid: Grid) -> tuple[float, float]:
    """Longitude and latitude of a grid's middle."""
    a, b, c, d, e, f = grid.transform
    col, row = grid.width_px / 2, grid.height_px / 2
    lon, lat = _transformer(f"EPSG:{grid.epsg}", "EPSG:4326").transform(a * col + b * row + c, d * col + e * row + f)
    return float(lon), float(lat)


def _local(place: tuple[float, float]) -> str:
    """A system in metres around a place, in which distances from it are true and areas near it nearly so."""
    return f"+proj=aeqd +lon_0={place[0]:.9f} +lat_0={place[1]:.9f} +datum=WGS84 +units=m"


def _outline(grid: Grid, system: str) -> BaseGeometry:
    a, b, c, d, e, f = grid.transform
    corners = [
        (a * col + b * row + c, d * col + e * row + f)
        for col, row in ((0, 0), (grid.width_px, 0), (grid.width_px, grid.height_px), (0, grid.height_px))
    ]
    edges = shapely.segmentize(shapely.Polygon(corners), STEP_M)
    return shapely.transform(edges, _transformer(f"EPSG:{grid.epsg}", system).transform, interleaved=False)


def _apart_m(a: tuple[float, float], b: tuple[float, float]) -> float:
    return float(GEOD.inv(*a, *b)[2])


def _half_m(grid: Grid) -> float:
    """From a grid's middle to its corner."""
    return grid.gsd_m * math.hypot(grid.height_px, grid.width_px) / 2


LEAST_M2 = 1.0
"""Shared ground below this is rounding of two systems along a common edge: a hundredth of a pixel of 10 m."""


def share_ground(one: Grid, other: Grid) -> bool:
    """Whether two grids lie on common ground."""
    here = centre(one)
    if _apart_m(here, centre(other)) > 1.01 * (_half_m(one) + _half_m(other)):
        return False
    system = _local(here)
    return bool(_outline(one, system).intersection(_outline(other, system)).area > LEAST_M2)


def same_parent(one: str, other: str) -> bool:
    """Whether two chips are named as windows of one parent of the training set."""
    a, b = CHIP_ID.fullmatch(one), CHIP_ID.fullmatch(other)
    return a is not None and b is not None and a.group(1) == b.group(1)


@dataclass(frozen=True)
class Ground:
    """The parents of a rebuilt split, ready to be held against chips."""

    split: CardSplit
    """As rebuilt."""
    source: str
    """Its file's name."""
    sha256: str
    """Of the file."""

    def beside(self, chip: Grid, dates: Sequence[str | None]) -> NearestTraining:
        """Where a chip lies beside the training ground.

        Args:
            chip: Its grid.
            dates: Its acquisitions, ISO 8601; None where unknown.
        """
        here = centre(chip)
        system = _local(here)
        place = _outline(chip, system)
        train = [p for p in self.split.parents if p.part == "train"]
        if not train:
            return NearestTraining(
                reason=f"{self.source} has no training parent", source=self.source, sha256=self.sha256
            )
        apart = {p.cell: _apart_m(here, p.centre) for p in self.split.parents}
        reach = max(FAR_M, min(apart[p.cell] for p in train) + 2 * 1.5 * 10_680.0)
        close = {
            p.cell: _outline(grid_of(p), system)
            for p in self.split.parents
            if p.part in ("train", "val") and apart[p.cell] <= reach
        }

        def share(part: str) -> float:
            parts = [close[p.cell] for p in self.split.parents if p.part == part and p.cell in close]
            return min(1.0, shapely.union_all(parts).intersection(place).area / place.area) if parts else 0.0

        windows = [
            window
            for p in train
            if p.cell in close and close[p.cell].intersects(place)
            for window in self._windows(p, system)
        ]
        in_windows = shapely.union_all(windows).intersection(place).area / place.area if windows else 0.0
        nearest = min(
            (p for p in train if p.cell in close),
            key=lambda p: (-close[p.cell].intersection(place).area, close[p.cell].distance(place), p.cell),
        )
        shared = share("train")
        if shared * place.area <= LEAST_M2:
            shared = 0.0
        return NearestTraining(
            source=self.source,
            sha256=self.sha256,
            parents=len(train),
            share=round(shared, 6),
            windows_share=round(min(1.0, in_windows), 6) if shared else 0.0,
            validation_share=round(share("val"), 6),
            cell=nearest.cell,
            distance_m=0.0 if shared else round(float(close[nearest.cell].distance(place)), 1),
            date=nearest.s2_time,
            days=_days(nearest.s2_time, dates),
            exact=all(p.grid is not None for p in self.split.parents if p.cell in close),
        )

    def _windows(self, parent: ParentRecord, system: str) -> list[BaseGeometry]:
        return [_outline(window_grid(parent, chip), system) for chip in parent.chips]


def _days(taken: str, dates: Sequence[str | None]) -> int | None:
    """Whole days from a parent's image to the nearest date of a chip."""
    try:
        day = datetime.fromisoformat(taken).date()
        return min(abs((datetime.fromisoformat(d).date() - day).days) for d in dates if d is not None)
    except ValueError:  # no date, or one that is no ISO date
        return None
