"""Major-TOM's tables and images on the Hub, and the card's own split rebuilt from them.

The only code that touches pyarrow and the Hub's file system: row groups and columns through byte ranges,
never whole files.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from httpx2 import HTTPError
from huggingface_hub import HfFileSystem, constants
from numpy.typing import NDArray
from rasterio.errors import RasterioError
from rasterio.io import MemoryFile

from harness.chips.cardsplit import (
    CELL_NAME,
    PARENT_PX,
    RULE,
    S1,
    S2,
    CardRule,
    CardSplit,
    GridRecord,
    Parent,
    ParentRecord,
    Part,
    Product,
    parents,
    shuffled,
    windows,
)
from harness.chips.chip import Grid
from harness.errors import ChipError, SourceError


class MajorTom:
    """Major-TOM's data sets on a Hub, each at the commit that `main` had when it was first asked for."""

    def __init__(self, endpoint: str | None = None, revisions: Mapping[str, str] | None = None) -> None:
        """Prepare; nothing is asked yet.

        Args:
            endpoint: Address; HF_ENDPOINT, else the Hub, where left out.
            revisions: Commits by data set, for a split that is to be rebuilt as it was.
        """
        self.endpoint = (endpoint or os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")
        self.revisions = dict(revisions or {})
        token: str | bool = os.environ.get("HF_TOKEN") or False
        self._files = HfFileSystem(endpoint=self.endpoint, token=token, skip_instance_cache=True)

    def products(self, dataset: str, rule: CardRule = RULE) -> list[Product]:
        """Products of a data set that the scripts choose, in the table's order.

        Cloud and nodata are asked of Sentinel-2 only, as the scripts do.

        Raises:
            SourceError: No answer, or a table of another shape.
        """
        optical = dataset == S2
        columns = [
            "grid_cell",
            "product_id",
            "timestamp",
            "centre_lat",
            "centre_lon",
            "crs",
            "parquet_url",
            "parquet_row",
        ]
        columns += ["cloud_cover", "nodata"] if optical else []
        west, south, east, north = rule.box
        out: list[Product] = []
        with self._parquet(dataset, "metadata.parquet") as table:
            names = set(table.schema_arrow.names)
            if missing := [c for c in columns if c not in names]:
                raise SourceError(f"{dataset}/metadata.parquet: has no column {', '.join(missing)}; its shape changed")
            for group in range(table.num_row_groups):
                if not _may_hold(table, group, {"centre_lon": (west, east), "centre_lat": (south, north)}):
                    continue
                place = table.read_row_group(group, columns=["centre_lat", "centre_lon"])
                lat, lon = place["centre_lat"].to_numpy(), place["centre_lon"].to_numpy()
                inside = np.flatnonzero((lon >= west) & (lon <= east) & (lat >= south) & (lat <= north))
                if not len(inside):
                    continue
                for row in table.read_row_group(group, columns=columns).take(inside).to_pylist():
                    when = _time(row["timestamp"], dataset)
                    clear = not optical or (
                        _within(row["cloud_cover"], rule.cloud_percent) and _within(row["nodata"], rule.nodata)
                    )
                    if rule.since <= when <= rule.until and clear:
                        out.append(_product(row, dataset, when))
        return out

    def read(self, product: Product, column: str) -> bytes:
        """One image of a product: one column of one row group.

        Raises:
            SourceError: No answer, no such column, or another product's row.
        """
        with self._parquet(product.dataset, product.file) as table:
            if column not in table.schema_arrow.names or product.row >= table.num_row_groups:
                raise SourceError(f"{product.dataset}/{product.file}: has no {column} in row group {product.row}")
            held = table.read_row_group(product.row, columns=["product_id", "grid_cell", column])
        found = (held["product_id"][0].as_py(), held["grid_cell"][0].as_py())
        if held.num_rows != 1 or found != (product.product_id, product.cell):
            raise SourceError(
                f"{product.dataset}/{product.file}: row group {product.row} holds {found}, not "
                f"{(product.product_id, product.cell)}; metadata and images are of different revisions"
            )
        content: bytes = held[column][0].as_py()
        return content

    def grid(self, product: Product, column: str = "B02") -> Grid:
        """Grid of a product's image.

        Raises:
            SourceError: As `read`, or not a GeoTIFF.
        """
        try:
            with MemoryFile(self.read(product, column)) as held, held.open() as image:
                epsg = image.crs.to_epsg() if image.crs else None
                if epsg is None:
                    raise SourceError(f"{product.product_id} {product.cell}: {column} names no EPSG code")
                a, b, c, d, e, f = list(image.transform)[:6]
                return Grid(epsg, (a, b, c, d, e, f), image.height, image.width)
        except RasterioError as err:
            raise SourceError(f"{product.product_id} {product.cell}: {column} is no GeoTIFF ({err})") from err

    @contextmanager
    def _parquet(self, dataset: str, file: str) -> Iterator[pq.ParquetFile]:
        with self._errors(f"{dataset}/{file}"):
            path = f"datasets/{dataset}@{self._revision(dataset)}/{file}"
            with self._files.open(path, "rb", cache_type="none") as stream, pq.ParquetFile(stream) as table:
                yield table

    def _revision(self, dataset: str) -> str:
        if dataset not in self.revisions:
            with self._errors(dataset):
                self.revisions[dataset] = str(self._files._api.dataset_info(dataset).sha)
        return self.revisions[dataset]

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as err:
            raise SourceError(f"{what}: not on the Hub at this revision; its layout changed") from err
        except (pa.ArrowException, KeyError) as err:
            raise SourceError(f"{what}: not a whole parquet file ({_line(err)})") from err
        except (HTTPError, OSError) as err:
            raise SourceError(f"{what}: no answer ({_line(err)}); check the network and try again") from err


def _line(err: BaseException) -> str:
    text = (str(err).strip().splitlines() or [type(err).__name__])[0][:160]
    token = os.environ.get("HF_TOKEN")
    return text.replace(token, "***") if token else text


def _may_hold(table: pq.ParquetFile, group: int, ranges: Mapping[str, tuple[float, float]]) -> bool:
    """Whether a row group's statistics allow a value in every range; true where it has none."""
    held = table.metadata.row_group(group)
    for i in range(held.num_columns):
        column = held.column(i)
        if column.path_in_schema in ranges and column.is_stats_set and column.statistics.has_min_max:
            low, high = ranges[column.path_in_schema]
            if column.statistics.max < low or column.statistics.min > high:
                return False
    return True


def _within(value: float | None, most: float) -> bool:
    return value is not None and 0.0 <= value <= most  # NaN is not


def _time(value: object, dataset: str) -> datetime:
    try:
        when = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError as err:
        raise SourceError(f"{dataset}/metadata.parquet: timestamp {value!r} is no time") from err
    return when.astimezone(UTC).replace(tzinfo=None) if when.tzinfo else when


def _product(row: Mapping[str, Any], dataset: str, when: datetime) -> Product:
    file = re.search(r"(images/[^/?]+\.parquet)", str(row["parquet_url"]))
    if file is None or not CELL_NAME.fullmatch(str(row["grid_cell"])):
        raise SourceError(f"{dataset}/metadata.parquet: {row['grid_cell']!r} at {row['parquet_url']!r} is no product")
    crs = str(row["crs"]).replace("EPSG:EPSG:", "EPSG:")
    place = float(row["centre_lat"]), float(row["centre_lon"])
    return Product(
        dataset,
        str(row["product_id"]),
        str(row["grid_cell"]),
        when,
        *place,
        crs,
        file.group(1),
        int(row["parquet_row"]),
    )


def card_split(
    source: MajorTom,
    variant: Literal["lulc", "buildings"] = "lulc",
    *,
    rule: CardRule = RULE,
    grids: bool = False,
    valid: Callable[[ParentRecord], NDArray[np.bool_]] | None = None,
    has_footprints: Callable[[ParentRecord], bool] | None = None,
    step: Callable[[str], None] = lambda _: None,
) -> CardSplit:
    """Rebuild the split of the training set.

    Args:
        source: The Hub.
        variant: `lulc` (lulc_nyc and tim_nyc) or `buildings`.
        rule: What the scripts choose by.
        grids: Read each parent's own grid, one image band each; needed for exact overlaps and for labels.
        valid: WorldCover pixels with a label, on a parent's grid; None keeps every window and says so.
        has_footprints: Whether any footprint lies in a parent; buildings drops the others after the shuffle.
        step: Told what happens.

    Raises:
        SourceError: As `MajorTom`; or no parent at all.
        ChipError: `buildings` without `has_footprints`.
    """
    if variant == "buildings" and has_footprints is None:
        raise ChipError("buildings: the script drops parents without footprints; give has_footprints")
    step(f"{S2}: products in the box")
    optical = source.products(S2, rule)
    step(f"{S1}: products in the box")
    radar = source.products(S1, rule)
    found = parents(optical, radar)
    if not found:
        raise SourceError(f"{S2}, {S1}: no cell with both in {rule.box}; an empty split is none")
    records = []
    for i, (parent, part) in enumerate(shuffled(found, variant, rule), 1):
        grid = None
        if grids:
            step(f"{parent.cell}: grid ({i} of {len(found)})")
            grid = source.grid(parent.s2)
        record = _record(parent, part, grid)
        if variant == "buildings" and has_footprints is not None and not has_footprints(record):
            records.append(record.model_copy(update={"part": "dropped"}))
            continue
        size = (PARENT_PX, PARENT_PX) if grid is None else (grid.height_px, grid.width_px)
        chips = windows(parent.cell, size, None if valid is None else valid(record), rule)
        records.append(record.model_copy(update={"chips": chips}))
    counts = {S2: len(optical), S1: len(radar), "cells": len(found)}
    return CardSplit(
        variant=variant, revisions=dict(source.revisions), found=counts, labels=valid is not None, parents=records
    )


def _record(parent: Parent, part: Part, grid: Grid | None) -> ParentRecord:
    code = re.search(r"(\d{4,6})$", parent.s2.crs)
    if code is None:
        raise SourceError(f"{parent.cell}: reference system {parent.s2.crs!r} names no EPSG code")
    held = None
    if grid is not None:
        held = GridRecord(
            epsg=grid.epsg, transform=list(grid.transform), height_px=grid.height_px, width_px=grid.width_px
        )
    return ParentRecord(
        cell=parent.cell,
        part=part,
        s2_product=parent.s2.product_id,
        s2_time=parent.s2.timestamp.isoformat(),
        s1_product=parent.s1.product_id,
        centre=(parent.s2.lon, parent.s2.lat),
        epsg=int(code.group(1)),
        grid=held,
    )
