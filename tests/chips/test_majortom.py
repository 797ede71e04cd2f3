"""The card's own split from a loopback Hub whose parquet files have Major-TOM's columns."""

from __future__ import annotations

import io
import json
import math
import random
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyproj import Transformer
from rasterio.io import MemoryFile
from rasterio.transform import Affine

from harness.chips.cardsplit import (
    RULE,
    S1,
    S2,
    CardSplit,
    Parent,
    ParentRecord,
    Product,
    cell_box,
    cell_of,
    compare,
    grid_of,
    overlap,
    published_ids,
    shuffled,
    window_grid,
    windows,
)
from harness.chips.chip import Grid
from harness.chips.majortom import MajorTom, card_split
from harness.errors import ChipError, SourceError
from tests.services.hub import HubService
from tests.services.socrata import serving

BANDS = ["B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12", "cloud_mask"]
"""Image columns of Core-S2L2A."""

SIDE_PX = 1068
"""Of a parent."""

CELLS = [
    f"{row}U_{col}L"
    for row in (451, 452, 453, 454, 455)
    for col in (622, 623, 624, 625, 626, 627)
    if -74.30 <= sum(cell_box(f"{row}U_{col}L")[::2]) / 2 <= -73.65
][:21]
"""Cells of the box, in the order of a sorted folder."""


def centre(cell: str) -> tuple[float, float]:
    """Longitude and latitude of a cell's centre."""
    west, south, east, north = cell_box(cell)
    return (west + east) / 2, (south + north) / 2


def corner(cell: str) -> tuple[float, float]:
    """North-west corner of a cell's image in UTM 18 N, off the 10 m raster as real ones are."""
    x, y = Transformer.from_crs(4326, 32618, always_xy=True).transform(*centre(cell))
    return x - 5340.0, y + 5340.0


def image(cell: str) -> bytes:
    """A GeoTIFF of one band."""
    x, y = corner(cell)
    profile = {"driver": "GTiff", "dtype": "uint16", "count": 1, "height": SIDE_PX, "width": SIDE_PX}
    with MemoryFile() as held:
        with held.open(**profile, crs="EPSG:32618", compress="deflate", transform=Affine(10, 0, x, 0, -10, y)) as out:
            out.write(np.full((1, SIDE_PX, SIDE_PX), 1200, np.uint16))
        return bytes(held.read())


def metadata_row(cell: str, product: str, **columns: Any) -> dict[str, Any]:
    """One row of a metadata.parquet."""
    lon, lat = centre(cell)
    row, col = cell.split("_")
    return {
        "grid_cell": cell,
        "grid_row_u": int(row[:-1]),
        "grid_col_r": -int(col[:-1]),
        "product_id": product,
        "timestamp": datetime(2023, 6, 10, 15, 40),
        "cloud_cover": 4.5,
        "nodata": 0.0,
        "centre_lat": lat,
        "centre_lon": lon,
        "crs": "EPSG:32618",
        "parquet_url": "",
        "parquet_row": -1,
        **columns,
    }


def parquet(table: pa.Table, rows: int, statistics: bool = True) -> bytes:
    """A table as a parquet file of row groups of so many rows."""
    out = io.BytesIO()
    pq.write_table(table, out, row_group_size=rows, write_statistics=statistics)
    return out.getvalue()


def elsewhere(count: int, seed: int) -> list[dict[str, Any]]:
    """Rows in the southern hemisphere, with ids as long as the real ones."""
    noise = random.Random(seed)  # noqa: S311  # bytes to fill a file
    model = metadata_row("100D_5R", "")
    rows = []
    for _ in range(count):
        place = {"centre_lat": noise.uniform(-45, -35), "centre_lon": noise.uniform(10, 30)}
        rows.append({**model, **place, "product_id": f"S2A_MSIL2A_{noise.randbytes(24).hex()}"})
    return rows


def dataset(name: str, rows: list[dict[str, Any]], images: bool) -> dict[str, bytes]:
    """Files of a data set: metadata, and one part with a row group for each row that has an image."""
    noise = random.Random(1)  # noqa: S311  # bytes to fill a file
    kept: list[dict[str, Any]] = []
    for row in rows:
        row["parquet_row"] = len(kept)
        row["parquet_url"] = f"https://huggingface.co/datasets/{name}/resolve/main/images/part_00001.parquet"
        kept.append({"product_id": row["product_id"], "grid_cell": row["grid_cell"], "product_datetime": "x"})
        kept[-1]["thumbnail"] = noise.randbytes(20_000)
        for band in BANDS if images else ["vv", "vh"]:
            kept[-1][band] = image(row["grid_cell"]) if band == "B02" else noise.randbytes(3_000)
    table = [*elsewhere(4000, 2), *rows, *elsewhere(4000, 3)]
    absent = [] if name == S2 else ["cloud_cover"]
    columns = [c for c in table[0] if c not in absent]
    held = {c: [row[c] for row in table] for c in columns}
    if name == S1:
        held["orbit_state"] = ["ascending"] * len(table)
    part = pa.table({c: [row[c] for row in kept] for c in kept[0]})
    return {"metadata.parquet": parquet(pa.table(held), 500), "images/part_00001.parquet": parquet(part, 1, False)}


def rows_s2() -> list[dict[str, Any]]:
    """The 21 cells, and rows that each filter must drop."""
    rows = [metadata_row(cell, f"S2A_{cell}") for cell in CELLS]
    rows.append(metadata_row(CELLS[4], "S2A_000_first_by_name"))  # comes last in the table, first by name
    rows.append(metadata_row("455U_621L", "S2A_no_radar", centre_lon=-73.70))
    dropped: tuple[dict[str, Any], ...] = (
        {"cloud_cover": 30.01},
        {"nodata": 0.001},
        {"timestamp": datetime(2019, 12, 31, 23, 59)},
        {"timestamp": datetime(2025, 12, 31, 0, 0, 1)},
        {"centre_lon": -74.3001},
        {"centre_lat": 40.9501},
        {"cloud_cover": math.nan},
    )
    for i, columns in enumerate(dropped):
        rows.append(
            metadata_row(f"456U_{600 + i}L", f"S2A_out_{i}", **{"centre_lat": 40.94, "centre_lon": -73.9, **columns})
        )
    rows[3]["cloud_cover"], rows[5]["timestamp"] = 30.0, datetime(2025, 12, 31)  # on the edge, and in
    return rows


def rows_s1() -> list[dict[str, Any]]:
    """Radar for all cells, for the cells that Sentinel-2 drops, and with nodata, which nobody asks about."""
    rows = [metadata_row(cell, f"S1A_{cell}", nodata=0.4) for cell in CELLS]
    return rows + [
        metadata_row(f"456U_{600 + i}L", f"S1A_out_{i}", centre_lat=40.94, centre_lon=-73.9) for i in range(7)
    ]


@pytest.fixture(scope="module")
def files() -> dict[str, dict[str, bytes]]:
    return {S2: dataset(S2, rows_s2(), True), S1: dataset(S1, rows_s1(), False)}


@pytest.fixture
def service(files: dict[str, dict[str, bytes]]) -> HubService:
    made = HubService()
    for name, held in files.items():
        made.put(name, f"{name} now", dict(held), "datasets")
    return made


@pytest.fixture
def source(service: HubService, monkeypatch: pytest.MonkeyPatch) -> Iterator[MajorTom]:
    with serving(service.app()) as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        yield MajorTom()


@pytest.fixture
def split(source: MajorTom) -> CardSplit:
    return card_split(source)


def part_of(split: CardSplit, part: str) -> list[str]:
    return [p.cell for p in split.parents if p.part == part]


def test_the_grid_is_major_toms() -> None:
    """Places of three TerraMesh chips whose names state their cells, and the NYC cell that the ids name."""
    assert cell_of(34.066, -3.401) == "38D_378R"
    assert cell_of(-72.479, -38.830) == "433D_629L"
    assert cell_of(-83.952, 54.780) == "609U_541L"
    west, south, east, north = cell_box("452U_625L")
    assert (round(west, 4), round(south, 4), round(east, 4), round(north, 4)) == (-73.9402, 40.5988, -73.8219, 40.6886)
    for cell in CELLS:
        assert cell_of(*centre(cell)) == cell
    with pytest.raises(ChipError, match="named like 452U_625L"):
        cell_box("452_625")


def test_the_split_follows_order_shuffle_and_cuts_of_the_script(split: CardSplit) -> None:
    assert len(CELLS) == 21
    assert split.found == {S2: 23, S1: 28, "cells": 21}
    assert part_of(split, "test") == [CELLS[8], CELLS[0], CELLS[3], CELLS[20]]  # facts for n = 21
    assert (len(part_of(split, "train")), len(part_of(split, "val"))) == (14, 3)
    assert {p.cell for p in split.parents} == set(CELLS)
    assert (len(split.ids("train")), len(split.ids("val")), len(split.ids("test"))) == (224, 48, 64)
    assert split.ids("test")[:6] == [
        *(f"nyc_{CELLS[8]}_r0c{c}" for c in range(4)),
        f"nyc_{CELLS[8]}_r1c0",
        f"nyc_{CELLS[8]}_r1c1",
    ]


def test_of_two_products_the_first_by_name_is_taken(split: CardSplit) -> None:
    held = {p.cell: p for p in split.parents}
    assert held[CELLS[4]].s2_product == "S2A_000_first_by_name"
    assert held[CELLS[5]].s2_product == f"S2A_{CELLS[5]}"
    assert held[CELLS[5]].s1_product == f"S1A_{CELLS[5]}"


def test_tables_are_read_by_row_groups_and_columns(service: HubService, source: MajorTom) -> None:
    card_split(source)
    whole = len(service.repositories["datasets", S2][service.branches[S2]]["metadata.parquet"])
    reads = [a for a in service.asked if a.path.endswith(f"{S2}/resolve/{service.branches[S2]}/metadata.parquet")]
    assert all(a.span is not None for a in reads if a.method == "GET")
    assert 0 < sum(a.sent for a in reads) < whole / 4
    assert service.bytes_of("part_00001.parquet") == 0


def test_one_band_of_one_row_is_read_for_a_grid(service: HubService, source: MajorTom, files: Any) -> None:
    split = card_split(source, grids=True)
    for parent in split.parents:
        assert parent.grid is not None
        assert parent.grid.transform[2::3] == pytest.approx(corner(parent.cell))
        assert (parent.grid.epsg, parent.grid.height_px) == (32618, SIDE_PX)
    bands = sum(len(image(cell)) for cell in CELLS)
    whole = len(files[S2]["images/part_00001.parquet"])
    tails = 21 * 65_536  # where pyarrow looks for the footer; it holds the rest of these small files' ends too
    assert tails < service.bytes_of("part_00001.parquet") < tails + bands
    assert service.bytes_of("part_00001.parquet") / 21 < whole / 20
    assert not [a for a in service.asked if a.path.endswith(".parquet") and a.method == "GET" and a.span is None]


def test_the_commit_is_kept_and_can_be_asked_for_again(service: HubService, source: MajorTom, split: CardSplit) -> None:
    before = service.branches[S2]
    assert split.revisions == {S2: before, S1: service.branches[S1]}
    service.put(S2, "later", dataset(S2, rows_s2()[:9], True), "datasets")
    assert card_split(MajorTom(source.endpoint, split.revisions)) == split
    assert card_split(MajorTom(source.endpoint)).found["cells"] == 9


def test_windows_with_too_little_label_are_dropped(source: MajorTom) -> None:
    valid = np.ones((SIDE_PX, SIDE_PX), bool)
    valid[:256, :128] = False  # r0c0: exactly half is left, and stays
    valid[256:512, :129] = False  # r1c0: a little less, and goes
    valid[1024:] = False  # beyond the windows
    split = card_split(source, valid=lambda _: valid)
    assert split.labels
    assert len(split.ids("test")) == 4 * 15
    assert f"nyc_{CELLS[0]}_r0c0" in split.ids("test")
    assert f"nyc_{CELLS[0]}_r1c0" not in split.ids("test")
    with pytest.raises(ChipError, match="label of"):
        windows(CELLS[0], valid=valid[:100])


def test_buildings_drops_parents_without_footprints_after_the_shuffle(source: MajorTom) -> None:
    without = {CELLS[0], CELLS[3], CELLS[8]}
    split = card_split(source, "buildings", has_footprints=lambda p: p.cell not in without)
    assert part_of(split, "test") == [CELLS[20]]
    assert set(part_of(split, "dropped")) == without
    assert len(split.ids("test")) == 16
    assert split.ids("dropped") == []
    with pytest.raises(ChipError, match="give has_footprints"):
        card_split(source, "buildings")


@pytest.mark.parametrize(
    ("n", "lulc", "buildings"),
    [
        (21, (14, 3, 4), (14, 3, 4)),
        (22, (15, 3, 4), (15, 3, 4)),
        (27, (18, 4, 5), (18, 4, 5)),
        (10, (7, 1, 2), (7, 1, 2)),
        (13, (9, 1, 3), (9, 2, 2)),
    ],
)
def test_the_two_scripts_cut_at_their_own_places(
    n: int, lulc: tuple[int, int, int], buildings: tuple[int, int, int]
) -> None:
    found = [made_parent(str(i)) for i in range(n)]
    sizes = []
    for order in (shuffled(found, "lulc"), shuffled(found, "buildings")):
        parts = [part for _, part in order]
        sizes.append((parts.count("train"), parts.count("val"), parts.count("test")))
    assert sizes == [lulc, buildings]
    numbers = list(range(n))
    random.Random(42).shuffle(numbers)  # noqa: S311  # the script's own
    assert [p.cell for p, _ in shuffled(found, "lulc")] == [str(i) for i in numbers]


def made_parent(cell: str) -> Parent:
    """A parent; its cell is all that matters."""
    product = Product(S2, "x", cell, datetime(2023, 1, 1), 40.6, -73.9, "EPSG:32618", "images/x.parquet", 0)
    return Parent(cell, product, product)


def test_a_published_list_is_held_against_ours(split: CardSplit) -> None:
    ours = split.ids("test")
    same = compare(split, published_ids("\n".join(ours) + "\n", "splits/test.txt"))
    assert same.same
    assert same.words() == "the published list, id by id"
    train = part_of(split, "train")[0]
    other = [f"nyc_{train}_r0c0", "nyc_1U_1L_r0c0", *ours[:1:-1]]
    found = compare(split, other)
    assert not found.same
    assert found.missing == (f"nyc_{train}_r0c0", "nyc_1U_1L_r0c0")
    assert found.extra == tuple(ours[:2])
    assert not found.same_order
    assert found.elsewhere == {"train": (train,), "no parent": ("1U_1L",)}
    assert f"cells {train} are train here" in found.words()


def test_a_published_list_of_something_else_is_refused() -> None:
    with pytest.raises(SourceError, match=r"test.txt:2: 'version https' is no chip id"):
        published_ids("nyc_452U_625L_r0c0\nversion https\n", "test.txt")
    with pytest.raises(SourceError, match="holds no chip id"):
        published_ids("\n", "test.txt")


def test_an_aoi_on_a_training_chip_is_found(source: MajorTom) -> None:
    split = card_split(source, grids=True)
    parent = next(p for p in split.parents if p.part == "train")
    chip = f"nyc_{parent.cell}_r1c2"
    inside = window_grid(parent, chip)
    x, y = corner(parent.cell)
    assert inside.transform == pytest.approx((10, 0, x + 2 * 2560, 0, -10, y - 2560))
    far = Grid(32618, (10.0, 0.0, 700000.0, 0.0, -10.0, 4600000.0), 224, 224)
    found = overlap(split, {"on it": inside, "far": far})
    assert {o.aoi for o in found} == {"on it"}
    first = found[0]
    assert (first.cell, first.part, first.exact) == (parent.cell, "train", True)
    assert (first.share, first.chips_share) == pytest.approx((1.0, 1.0))
    assert first.chips == (chip,)


def test_an_aoi_astride_two_parents_and_off_the_windows_is_measured(source: MajorTom) -> None:
    split = card_split(source, grids=True)
    parent = next(p for p in split.parents if p.cell == CELLS[0])
    x, y = corner(parent.cell)
    # 224 px whose west half lies in the 44 px that no window uses and beyond the parent
    place = Grid(32618, (10.0, 0.0, x + 10680 - 1120, 0.0, -10.0, y - 100.0), 224, 224)
    mine = next(o for o in overlap(split, {"edge": place}) if o.cell == parent.cell)
    assert mine.share == pytest.approx(0.5)
    assert mine.chips_share == pytest.approx((1120 - 440) / 2240)
    assert mine.chips == (f"nyc_{parent.cell}_r0c3",)


def test_an_aoi_in_another_zone_is_found_at_the_same_place(split: CardSplit) -> None:
    parent = split.parents[0]
    ground = grid_of(parent)
    lon, lat = centre(parent.cell)
    x, y = Transformer.from_crs(4326, 32617, always_xy=True).transform(lon, lat)
    place = Grid(32617, (10.0, 0.0, x - 1120, 0.0, -10.0, y + 1120), 224, 224)
    mine = next(o for o in overlap(split, {"zone 17": place}) if o.cell == parent.cell)
    assert mine.share == pytest.approx(1.0)
    assert not mine.exact
    assert set(mine.chips) == {f"nyc_{parent.cell}_r{r}c{c}" for r in (1, 2) for c in (1, 2)}
    assert ground.transform[2] + 5340 == pytest.approx(x_of(parent))


def x_of(parent: ParentRecord) -> float:
    """Easting of a parent's centre."""
    return float(Transformer.from_crs(4326, parent.epsg, always_xy=True).transform(*parent.centre)[0])


def test_the_record_survives_json(split: CardSplit) -> None:
    assert CardSplit.model_validate(json.loads(split.model_dump_json())) == split


def broken(service: HubService, name: str, file: str, change: Any) -> None:
    """Replace one file of a data set by what `change` makes of it."""
    held = service.repositories["datasets", name][service.branches[name]]
    held[file] = change(held[file])


def test_faults_are_one_clear_error(service: HubService, source: MajorTom, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    service.faults["metadata.parquet"] = deque(["404"])
    with pytest.raises(SourceError, match=r"Core-S2L2A/metadata.parquet"):
        card_split(source)
    broken(service, S2, "metadata.parquet", lambda b: b[: len(b) // 2])
    with pytest.raises(SourceError, match="not a whole parquet file"):
        card_split(MajorTom(source.endpoint))
    del service.repositories["datasets", S2]
    with pytest.raises(SourceError, match="Core-S2L2A"):
        card_split(MajorTom(source.endpoint))


def test_no_network_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    with pytest.raises(SourceError, match="no answer"):
        card_split(MajorTom("http://127.0.0.1:9"))


def test_a_renamed_column_is_said(service: HubService, source: MajorTom) -> None:
    def renamed(content: bytes) -> bytes:
        table = pq.read_table(io.BytesIO(content))
        return parquet(table.rename_columns([c.replace("cloud_cover", "clouds") for c in table.column_names]), 100)

    broken(service, S2, "metadata.parquet", renamed)
    with pytest.raises(SourceError, match="has no column cloud_cover"):
        card_split(source)


def test_images_of_another_revision_are_refused(service: HubService, source: MajorTom) -> None:
    def turned(content: bytes) -> bytes:
        table = pq.read_table(io.BytesIO(content))
        return parquet(table.take(list(range(table.num_rows - 1, -1, -1))), 1)

    broken(service, S2, "images/part_00001.parquet", turned)
    with pytest.raises(SourceError, match="metadata and images are of different revisions"):
        card_split(source, grids=True)


def test_an_empty_box_is_no_split(source: MajorTom) -> None:
    with pytest.raises(SourceError, match="an empty split is none"):
        card_split(source, rule=replace(RULE, box=(0.0, 0.0, 1.0, 1.0)))


def test_the_token_is_sent_and_never_shown(
    service: HubService, source: MajorTom, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = "hf_" + "never" * 6
    service.private = token
    with pytest.raises(SourceError) as caught:
        card_split(MajorTom(source.endpoint))
    monkeypatch.setenv("HF_TOKEN", token)
    assert card_split(MajorTom(source.endpoint)).found["cells"] == 21
    assert service.asked[-1].token == f"Bearer {token}"
    assert token not in str(caught.value)
