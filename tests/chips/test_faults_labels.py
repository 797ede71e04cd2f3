"""Label services that fail, all the way to the label: the same class map, or one error and no map."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import urllib3.util.retry
from shapely.geometry import box, mapping

from harness.chips.assemble import read_chip
from harness.chips.chip import Grid, Label
from harness.chips.footprints import COLUMNS, fetch_boroughs, fetch_footprints, footprints, outline
from harness.chips.rasterise import RULES, box_of, building_label
from harness.chips.scenes import AoiLock
from harness.chips.sources.cog import CogReader, Patience
from harness.chips.sources.socrata import (
    BOROUGHS,
    FOOTPRINTS,
    MOST_WAIT_S,
    Socrata,
    read_snapshot,
    write_snapshot,
)
from harness.chips.store import Store
from harness.chips.worldcover import read_local
from harness.errors import ChipError, SourceError
from tests.chips import faults
from tests.chips.cogs import PLACES, Country, write_cog
from tests.chips.realm import recipe
from tests.services.files import Fault, FileService, running
from tests.services.socrata import Portal, serving

GRID = Grid(32618, (10.0, 0.0, 585000.0, 0.0, -10.0, 4510000.0), 64, 64)
"""Manhattan, more or less."""

ON = date(2024, 7, 1)
"""Date of the chip."""


def houses() -> list[dict[str, Any]]:
    """Thirty houses of about 40 m over the grid."""
    west, south, east, north = box_of(GRID)
    rng = np.random.default_rng(5)
    out = []
    for i in range(30):
        lon, lat = rng.uniform(west, east), rng.uniform(south, north)
        out.append(
            {
                "bin": str(1_000_000 + i),
                "doitt_id": str(i),
                "construction_year": "1931",
                "feature_code": "2100",
                "last_status_type": "Constructed",
                "last_edited_date": "2017-08-22T00:00:00.000",
                "the_geom": {**mapping(box(lon, lat, lon + 0.0005, lat + 0.0004)), "type": "Polygon"},
            }
        )
    return out


def city() -> list[dict[str, Any]]:
    """Five strips: the boroughs."""
    lons = np.linspace(-74.1, -73.8, 6)
    return [
        {"borocode": str(i + 1), "boroname": f"{i + 1}", "the_geom": mapping(box(lons[i], 40.5, lons[i + 1], 40.9))}
        for i in range(5)
    ]


@pytest.fixture
def portal() -> Portal:
    return Portal({FOOTPRINTS: houses(), BOROUGHS: city()})


@pytest.fixture
def client(portal: Portal) -> Iterator[Socrata]:
    with serving(portal.app()) as address:
        yield Socrata(address, page=7, retries=3, timeout_s=(2, 5))


def label(client: Socrata) -> Label:
    """Everything from question to class map."""
    land = outline(fetch_boroughs(client))
    rows = footprints(fetch_footprints(box_of(GRID), land, client))
    return building_label(rows, land, GRID, ON, RULES["stood"], Path("footprints.json")).label


@pytest.fixture(scope="module")
def expected() -> str:
    """Hash of the label of a portal without faults."""
    with serving(Portal({FOOTPRINTS: houses(), BOROUGHS: city()}).app()) as address:
        found = label(Socrata(address))
    assert set(np.unique(found.data)) == {0, 1}
    return found.sha256


def refused(client: Socrata, words: str) -> str:
    """What the one error says; there is no label."""
    with pytest.raises(SourceError, match=words) as caught:
        label(client)
    assert caught.value.exit_code == 3
    return str(caught.value)


def test_pages_in_another_order(portal: Portal, client: Socrata, expected: str) -> None:
    portal.shuffled = True
    assert label(client).sha256 == expected
    pages = [q for q in portal.queries if "$offset" in q and q["dataset"] == FOOTPRINTS]
    assert len(pages) == 5
    assert {q["$order"] for q in pages} == {":id"}
    faults.record("labels", "pages of footprints out of order", "right result", "five pages; the label is the same")


def test_rows_that_come_twice(portal: Portal, client: Socrata, expected: str) -> None:
    portal.repeat_last = True
    assert label(client).sha256 == expected
    faults.record("labels", "rows that come twice", "right result", "each counts once; the label is the same")


def test_rows_that_never_come(portal: Portal, client: Socrata) -> None:
    portal.lost = {"row-000029"}
    refused(client, "29 different rows read, 30 counted before and 30 after")
    faults.record("labels", "a row that is counted and never sent", "one clear error", "no label with a house missing")


def test_a_table_that_changes(portal: Portal, client: Socrata) -> None:
    land = outline(fetch_boroughs(client))
    portal.grows = True
    with pytest.raises(SourceError, match="changed while it was read"):
        fetch_footprints(box_of(GRID), land, client)
    faults.record("labels", "a table that changes while it is read", "one clear error", "counted before and after")


def test_429_with_retry_after(portal: Portal, client: Socrata, expected: str) -> None:
    portal.faults = deque(["ok", "429=1"])
    assert label(client).sha256 == expected
    assert portal.came_s[2] - portal.came_s[1] >= 1
    faults.record("labels", "429 with Retry-After", "right result", "asked again no sooner than it said")


def test_429_for_an_hour(portal: Portal, client: Socrata, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(urllib3.util.retry.time, "sleep", waits.append)
    portal.faults = deque(["429=3600"] * 99)
    refused(client, "HTTP 429")
    assert [wait for wait in waits if wait > 10] == [MOST_WAIT_S] * 3
    assert len(portal.queries) == 4
    faults.record(
        "labels",
        "429 with a Retry-After of an hour",
        "one clear error",
        f"no single wait is longer than {MOST_WAIT_S} s",
    )


def test_bursts_of_503(portal: Portal, client: Socrata, expected: str) -> None:
    portal.faults = deque(["503", "ok", "ok", "ok", "503", "503", "ok", "503"])
    assert label(client).sha256 == expected
    assert not portal.faults
    faults.record("labels", "bursts of 503", "right result", "the label is the same")


def test_503_for_longer_than_patience(portal: Portal, expected: str) -> None:
    with serving(portal.app()) as address:
        client = Socrata(address, page=7, retries=1)
        portal.faults = deque(["ok", "ok", "ok", "ok", "503", "503"])
        refused(client, "HTTP 503")
        assert label(client).sha256 == expected
    faults.record(
        "labels",
        "503 for longer than patience",
        "one clear error",
        "no label of the rows that did come; later it is right",
    )


def test_an_empty_answer_over_land(portal: Portal, client: Socrata) -> None:
    portal.tables[FOOTPRINTS] = []
    refused(client, "holds land of the city; an empty answer is no label")
    faults.record("labels", "an empty answer over land", "one clear error", "no map of background comes of it")


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"feature_code": "house"}, "row row-000011: feature_code is 'house'"),
        ({"construction_year": "19th century"}, "row row-000011: construction_year is '19th century'"),
        ({"last_edited_date": "22/08/2017"}, "row row-000011: last_edited_date is '22/08/2017'"),
        ({"the_geom": {"type": "Point", "coordinates": [-74, 40.7]}}, "row row-000011: the_geom is no polygon"),
        ({"the_geom": mapping(box(40.7, -74, 40.8, -73.9))}, "row row-000011: the_geom lies at .*not in New York"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_wrong_types(columns: dict[str, Any], words: str, portal: Portal) -> None:
    portal.tables[FOOTPRINTS][11].update(columns)
    with serving(portal.app()) as address:
        client = Socrata(address, page=7)
        if "the_geom" in columns:  # a box filter of the service would not find it there
            rows = client.read(FOOTPRINTS, COLUMNS)
            with pytest.raises(SourceError, match=words):
                footprints(rows)
        else:
            refused(client, words)
    faults.record("labels", "a value of another type", "one clear error", "names dataset, row, column and value")


def test_a_body_cut_short(portal: Portal, client: Socrata, expected: str) -> None:
    portal.faults = deque(["ok", "cut", "ok", "ok", "ok", "cut"])
    assert label(client).sha256 == expected
    portal.faults = deque(["cut"] * 99)
    refused(client, "every answer was cut short")
    faults.record("labels", "a body cut short", "right result", "asked again; where every one is cut, one clear error")


def test_a_page_of_html(portal: Portal, client: Socrata) -> None:
    portal.faults = deque(["ok", "ok", "ok", "ok", "html"])
    refused(client, "HTTP 200 but no JSON")
    faults.record("labels", "a 200 with an HTML error page", "one clear error", "says that something else answers")


def test_a_stale_id(portal: Portal, client: Socrata) -> None:
    for moved in ({}, {"nqwf-w8eh": FOOTPRINTS}):
        portal.moved = dict(moved)
        with pytest.raises(SourceError, match=f"nqwf-w8eh was retired; its successor is {FOOTPRINTS}"):
            client.read("nqwf-w8eh", COLUMNS)
    faults.record(
        "labels",
        "a dataset id that was retired",
        "one clear error",
        "404 or redirect; names the successor, follows none",
    )


def test_a_slow_portal_and_none(portal: Portal) -> None:
    with serving(portal.app()) as address:
        portal.faults = deque(["slow"] * 9)
        refused(Socrata(address, retries=0, timeout_s=(1, 0.3)), "no answer")
    refused(Socrata("http://127.0.0.1:1", retries=0), "no answer")
    faults.record("labels", "a slow portal, or no network", "one clear error", "names the table's address")


def test_a_snapshot_that_was_damaged(client: Socrata, portal: Portal, tmp_path: Path) -> None:
    got = fetch_footprints(box_of(GRID), outline(fetch_boroughs(client)), client)
    path = write_snapshot(got, tmp_path)
    whole = path.read_bytes()
    for damaged, words in (
        (whole[: len(whole) // 2], "not a whole snapshot"),
        (whole.replace(b'"1931"', b'"1932"', 1), "where the file itself states"),
    ):
        path.write_bytes(damaged)
        with pytest.raises(ChipError, match=words):
            read_snapshot(path, got.sha256)
    path.write_bytes(whole)
    assert read_snapshot(path, got.sha256).rows == got.rows
    faults.record(
        "labels",
        "a snapshot of labels cut short or changed on disk",
        "one clear error",
        "never read; says to fetch it anew",
    )


def cover(folder: Path, base: str) -> tuple[Country, AoiLock, np.ndarray[Any, np.dtype[np.uint8]]]:
    """A WorldCover tile without a nodata pixel, and a lock of it and a Sentinel-2 date."""
    made = Country(folder, base)
    tile = made.geographic("cover", "LULC", PLACES[32618][0] - 0.035, 0.07, 50)
    codes = np.random.default_rng(2).choice(np.array([10, 30, 50, 80], np.uint8), (216, 252))
    transform = (1 / 3600, 0.0, PLACES[32618][0] - 0.035, 0.0, -1 / 3600, round((40.7 + 0.03) * 3600) / 3600)
    write_cog(folder / "cover.tif", codes, 4326, transform, nodata=0, compress="NONE")
    return made, made.lock(S2L2A=[[made.optical("A")]], LULC=[[tile]]), codes


def test_a_truncated_map_on_disk(tmp_path: Path) -> None:
    made, _, _ = cover(tmp_path, str(tmp_path))
    (x, y), path = made.centre, tmp_path / "cover.tif"
    grid = Grid(32618, (10.0, 0.0, x - 1000, 0.0, -10.0, y + 1000), 200, 200)
    right, whole = read_local(path, grid), path.read_bytes()
    assert (right != 0).all()
    outcomes = set()
    for share in (500 / len(whole), 0.02, 0.05, 0.2, 0.4, 0.6, 0.8, 0.95, 0.999):
        cut = tmp_path / f"cut{share}.tif"
        cut.write_bytes(whole[: int(len(whole) * share)])
        try:
            assert np.array_equal(read_local(cut, grid), right), share
            outcomes.add("map")
        except ChipError as err:
            assert re.search(rf"{cut}: (cannot be read as a map|names no reference system)", str(err))  # noqa: PT017
            outcomes.add("error")
    assert "error" in outcomes
    faults.record(
        "labels",
        "a truncated WorldCover file",
        "one clear error",
        "or the right codes; never zeros for the missing part",
    )


def test_a_map_that_is_cut_on_its_way(tmp_path: Path, root: Path) -> None:
    service = FileService(tmp_path / "served")
    with running(service):
        _, lock, _ = cover(service.folder, service.base)
        quick = Patience(attempts=2, backoff_s=0.01, connect_s=2, timeout_s=2)
        rules = recipe(root)
        optical = rules.model_copy(update={"bands": {"S2L2A": rules.bands["S2L2A"]}})
        store = Store(tmp_path / "store")
        with CogReader(threads=4, patience=quick) as reader:
            right = read_chip(lock, optical, reader).chip.layers["LULC"].data
            service.always["cover.tif"] = Fault(keep=0.3)
            away = AoiLock.model_validate_json(lock.model_dump_json().replace("cover.tif", "cover.tif?again"))
            with pytest.raises(SourceError, match=r"cover\.tif: not read in 2 attempts"):
                read_chip(away, optical, reader, store)
            assert store.verify().sound
            service.always.clear()
            found = read_chip(away, optical, reader, store)
        assert np.array_equal(found.chip.layers["LULC"].data, right)
        assert set(np.unique(right)) == {10, 30, 50, 80}
    faults.record(
        "labels",
        "WorldCover cut on its way, every time",
        "one clear error",
        "no chip, no zeros in the store; once the server is well the codes are right",
    )
