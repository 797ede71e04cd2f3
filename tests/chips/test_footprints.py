"""NYC Open Data through the real client, against a loopback portal: pages, types, dates, snapshots, faults."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import shapely
from shapely.geometry import mapping

from harness.chips.footprints import COLUMNS, PAD_DEG, fetch_boroughs, fetch_footprints, footprints, outline, standing
from harness.chips.sources.socrata import BOROUGHS, FOOTPRINTS, Socrata, read_snapshot, write_snapshot
from harness.errors import ChipError, SourceError
from tests.services.socrata import Portal, serving

CHIP = (-73.99, 40.70, -73.96, 40.72)
"""Box of a chip, degrees."""

CITY = shapely.box(-74.05, 40.60, -73.80, 40.80)
"""Five boroughs, made small."""


def row(lon: float, lat: float, **columns: Any) -> dict[str, Any]:
    """A footprint of about 20 m, as the service would send it: numbers are strings."""
    held = {
        "bin": "1000000",
        "doitt_id": "1",
        "construction_year": "1931",
        "feature_code": "2100",
        "last_status_type": "Constructed",
        "last_edited_date": "2017-08-22T00:00:00.000",
        "the_geom": mapping(shapely.MultiPolygon([shapely.box(lon, lat, lon + 0.0002, lat + 0.0002)])),
    }
    return {**held, **columns}


def boroughs() -> list[dict[str, Any]]:
    """Five strips that make up `CITY`."""
    west, south, east, north = CITY.bounds
    step = (east - west) / 5
    return [
        {
            "borocode": str(i + 1),
            "boroname": f"Borough {i + 1}",
            "the_geom": mapping(
                shapely.MultiPolygon([shapely.box(west + i * step, south, west + (i + 1) * step, north)])
            ),
        }
        for i in range(5)
    ]


@pytest.fixture
def portal() -> Portal:
    rows = [row(-73.99 + 0.001 * i, 40.705, doitt_id=str(i)) for i in range(23)]
    return Portal({FOOTPRINTS: rows, BOROUGHS: boroughs()})


@pytest.fixture
def client(portal: Portal) -> Iterator[Socrata]:
    with serving(portal.app()) as address:
        yield Socrata(address, page=5, retries=3, timeout_s=(2, 5))


def test_every_page_is_read_in_a_fixed_order(portal: Portal, client: Socrata) -> None:
    got = fetch_footprints(CHIP, CITY, client)
    assert len(got.rows) == 23
    assert got.duplicates == 0
    pages = [q for q in portal.queries if "$offset" in q]
    assert [q["$offset"] for q in pages] == ["0", "5", "10", "15", "20"]
    assert {q["$order"] for q in pages} == {":id"}
    assert {q["$limit"] for q in pages} == {"5"}


def test_the_box_is_padded_in_degrees_so_that_a_building_on_the_edge_is_not_lost(
    portal: Portal, client: Socrata
) -> None:
    astride = row(CHIP[0] - 0.0001, 40.71)  # half inside: the portal's strict filter would drop it without the margin
    far = row(CHIP[0] - 2 * PAD_DEG, 40.71)
    portal.tables[FOOTPRINTS] = [astride, far]
    got = footprints(fetch_footprints(CHIP, CITY, client))
    assert [f.geometry.bounds[0] for f in got] == pytest.approx([CHIP[0] - 0.0001])


def test_pages_in_reverse_give_the_same_hash(portal: Portal, client: Socrata) -> None:
    straight = fetch_footprints(CHIP, CITY, client)
    portal.shuffled = True
    assert fetch_footprints(CHIP, CITY, client).sha256 == straight.sha256


def test_a_row_that_comes_twice_counts_once(portal: Portal, client: Socrata) -> None:
    straight = fetch_footprints(CHIP, CITY, client)
    portal.repeat_last = True
    got = fetch_footprints(CHIP, CITY, client)
    assert (len(got.rows), got.duplicates) == (23, 1)
    assert got.sha256 == straight.sha256


def test_a_row_that_never_comes_is_missed(portal: Portal, client: Socrata) -> None:
    portal.lost = {"row-000022"}
    with pytest.raises(SourceError, match="22 different rows read, 23 counted before and 23 after"):
        fetch_footprints(CHIP, CITY, client)


def test_a_table_that_changes_while_it_is_read_is_refused(portal: Portal, client: Socrata) -> None:
    portal.grows = True
    with pytest.raises(SourceError, match="changed while it was read"):
        fetch_footprints(CHIP, CITY, client)


def test_a_stale_id_names_its_successor(portal: Portal, client: Socrata) -> None:
    with pytest.raises(SourceError, match="nqwf-w8eh was retired; its successor is 5zhs-2jue"):
        client.read("nqwf-w8eh", COLUMNS)
    portal.moved["nqwf-w8eh"] = FOOTPRINTS
    with pytest.raises(SourceError, match="HTTP 301; nqwf-w8eh was retired; its successor is 5zhs-2jue"):
        client.read("nqwf-w8eh", COLUMNS)
    with pytest.raises(SourceError, match="look its successor up"):
        client.read("aaaa-bbbb", COLUMNS)


def test_an_empty_answer_over_land_is_an_error_and_over_water_is_not(portal: Portal, client: Socrata) -> None:
    portal.tables[FOOTPRINTS] = []
    with pytest.raises(SourceError, match="empty answer is no label"):
        fetch_footprints(CHIP, CITY, client)
    assert fetch_footprints((-74.30, 40.50, -74.28, 40.52), CITY, client).rows == ()


def test_faults_that_pass_are_waited_out(portal: Portal, client: Socrata) -> None:
    portal.faults = deque(["503", "429!", "429", "ok", "cut", "ok"])
    assert len(fetch_footprints(CHIP, CITY, client).rows) == 23
    assert len(portal.queries) == 1 + 3 + 5 + 1 + 1  # three retried counts, five pages, one cut, one last count


@pytest.mark.parametrize(
    ("faults", "words"),
    [(["503"] * 9, "HTTP 503"), (["html"], "HTTP 200 but no JSON"), (["cut"] * 9, "cut short"), (["400"], "HTTP 400")],
)
def test_faults_that_stay_are_one_clear_error(portal: Portal, client: Socrata, faults: list[str], words: str) -> None:
    portal.faults = deque(faults)
    with pytest.raises(SourceError, match=words) as caught:
        fetch_footprints(CHIP, CITY, client)
    assert caught.value.exit_code == 3


def test_no_network_is_one_clear_error() -> None:
    with pytest.raises(SourceError, match="no answer"):
        Socrata("http://127.0.0.1:9", retries=0).read(FOOTPRINTS, COLUMNS)


def test_a_renamed_column_is_the_services_error(portal: Portal, client: Socrata) -> None:
    for held in portal.tables[FOOTPRINTS]:
        held["cnstrct_yr"] = held.pop("construction_year")
    with pytest.raises(SourceError, match="No such column: construction_year"):
        fetch_footprints(CHIP, CITY, client)


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"feature_code": "9999"}, "feature_code is '9999'"),
        ({"feature_code": None}, "feature_code is None"),
        ({"construction_year": "19"}, "construction_year is '19'"),
        ({"construction_year": "1931.5"}, "construction_year is '1931.5'"),
        ({"last_status_type": "Gone"}, "last_status_type is 'Gone'"),
        ({"last_edited_date": "22/08/2017"}, "last_edited_date is '22/08/2017'"),
        ({"the_geom": {"type": "Point", "coordinates": [-74, 40.7]}}, "no polygon"),
        ({"the_geom": mapping(shapely.box(40.7, -74, 40.8, -73.9))}, "not in New York"),
    ],
)
def test_types_are_asserted(portal: Portal, client: Socrata, columns: dict[str, Any], words: str) -> None:
    portal.tables[FOOTPRINTS] = [row(-73.98, 40.71, **columns)]
    snapshot = client.read(FOOTPRINTS, COLUMNS)
    with pytest.raises(SourceError, match=words):
        footprints(snapshot)


def test_what_stood_at_a_date_is_kept_and_what_the_columns_leave_open_is_counted(
    portal: Portal, client: Socrata
) -> None:
    portal.tables[FOOTPRINTS] = [
        row(-73.98, 40.71),
        row(-73.98, 40.71, construction_year="0"),
        row(-73.98, 40.71, construction_year=None),
        row(-73.98, 40.71, construction_year="2024.0"),
        row(-73.98, 40.71, construction_year="2025"),
        row(-73.98, 40.71, last_status_type="Demolition", last_edited_date="2023-01-05T00:00:00.000"),
        row(-73.98, 40.71, last_status_type="Demolition", last_edited_date="2025-01-05T00:00:00.000"),
        row(-73.98, 40.71, last_status_type="Demolition", last_edited_date="2024-07-01T23:00:00.000"),
        row(-73.98, 40.71, last_status_type="Demolition", last_edited_date=None),
        row(-73.98, 40.71, last_status_type="Marked for Demolition"),
        row(-73.98, 40.71, feature_code="5100"),
    ]
    left = standing(footprints(client.read(FOOTPRINTS, COLUMNS)), date(2024, 7, 1), leave_out=[5100])
    assert dict(left.counts) == {
        "kept": 7,
        "unknown_year": 2,
        "same_year": 1,
        "demolition_later_or_undated": 2,
        "built_later": 1,
        "demolished": 2,
        "feature_code": 1,
    }
    assert len(left.kept) == 7
    assert {k.edited for k in left.kept if k.status == "demolition"} == {date(2025, 1, 5), None}


def test_a_snapshot_comes_back_and_a_flipped_bit_does_not(portal: Portal, client: Socrata, tmp_path: Path) -> None:
    got = fetch_footprints(CHIP, CITY, client)
    path = write_snapshot(got, tmp_path)
    assert path.name == f"{FOOTPRINTS}-{got.sha256[:12]}.json"
    back = read_snapshot(path, got.sha256)
    assert back == got
    assert back.sha256 == got.sha256
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(ChipError, match="the lock pins"):
        read_snapshot(path, "0" * 64)
    path.write_text(path.read_text().replace('"1931"', '"1932"', 1))
    with pytest.raises(ChipError, match="the file itself states"):
        read_snapshot(path)
    path.write_text(path.read_text()[:500])
    with pytest.raises(ChipError, match="not a whole snapshot"):
        read_snapshot(path)


def test_boroughs_make_the_city(portal: Portal, client: Socrata) -> None:
    city = outline(fetch_boroughs(client))
    assert city.symmetric_difference(CITY).area < 1e-9
    del portal.tables[BOROUGHS][2]
    with pytest.raises(SourceError, match="1 to 5, each once"):
        fetch_boroughs(client)


def test_the_portal_can_be_named_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_SOCRATA", "http://127.0.0.1:1/")
    assert Socrata().address == "http://127.0.0.1:1"
    monkeypatch.delenv("HARNESS_SOCRATA")
    assert Socrata().address == "https://data.cityofnewyork.us"
