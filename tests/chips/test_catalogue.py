"""The real pystac-client against a local STAC API, well and badly behaved."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from harness.chips.catalogue import StacCatalogue
from harness.chips.items import EARTH_SEARCH, PLANETARY_COMPUTER
from harness.chips.question import Question, within
from harness.chips.select import day
from harness.errors import SourceError
from tests.services import made_items as made
from tests.services.stac import CONFORMS, StacService, served

BOX = (-74.0, 40.74, -73.96, 40.77)
SUMMER = Question("S2L2A", BOX, day("2024-06-01"), day("2024-06-30", end=True), 50.0)


def month() -> list[dict[str, Any]]:
    """Thirty days of June, every third too cloudy, and what does not belong."""
    out = [
        made.s2(when=f"2024-06-{d:02d}T15:39:09.024000Z", cloud=90.0 if d % 3 == 0 else float(d)) for d in range(1, 31)
    ]
    out.append(made.s2(when="2024-07-01T15:39:09.024000Z"))
    out.append(made.s2(tile="18TYN"))
    random.Random(1).shuffle(out)  # noqa: S311
    return out


@pytest.fixture
def service() -> StacService:
    return StacService(month(), page=7)


@pytest.fixture
def catalogue(service: StacService) -> Iterator[StacCatalogue]:
    with served(service.app()) as url:
        yield StacCatalogue(address=url, retries=3, backoff_s=0.01, timeout_s=(2.0, 5.0))


def days(catalogue: StacCatalogue) -> list[int]:
    found = catalogue.search(SUMMER)
    return [int(item["properties"]["datetime"][8:10]) for item in found.items]


WANTED = [d for d in range(1, 31) if d % 3]


def test_a_search_follows_all_pages_and_asks_for_what_it_wants(service: StacService, catalogue: StacCatalogue) -> None:
    found = catalogue.search(SUMMER)
    assert [int(i["properties"]["datetime"][8:10]) for i in found.items] == WANTED
    assert (found.found, found.dropped) == (20, {})
    assert len(service.asked) == 3
    first = service.asked[0]
    assert first["collections"] == ["sentinel-2-l2a"]
    assert first["query"] == {"eo:cloud_cover": {"lte": 50.0}}
    assert first["datetime"] == "2024-06-01T00:00:00.000000Z/2024-06-30T23:59:59.999999Z"
    assert first["sortby"]


def test_a_server_that_ignores_order_and_filter_changes_nothing(service: StacService, catalogue: StacCatalogue) -> None:
    service.sorts = service.filters = False
    found = catalogue.search(SUMMER)
    assert days(catalogue) == WANTED
    assert (found.found, found.dropped) == (30, {"scene too cloudy": 10})


def test_pages_out_of_order_and_with_duplicates(service: StacService, catalogue: StacCatalogue) -> None:
    service.sorts = False
    service.repeats = 3
    found = catalogue.search(SUMMER)
    assert days(catalogue) == WANTED
    assert found.dropped["sent twice"] == found.found - 20 > 0


def test_items_of_another_place_time_or_collection_are_dropped() -> None:
    far, late = made.s2(tile="18TYN"), made.s2(when="2024-07-01T00:00:00Z")
    unclear, unknown = made.s2(when="2024-06-02T00:00:00Z"), made.s2(when="2024-06-03T00:00:00Z")
    del unknown["properties"]["eo:cloud_cover"]
    unclear["properties"]["datetime"] = "yesterday"
    other = {**made.s2(), "collection": "landsat"}
    kept, dropped = within([far, late, unclear, unknown, other, {"id": None}, made.s2()], SUMMER, "sentinel-2-l2a")
    assert [i["id"] for i in kept] == [made.s2()["id"]]
    assert dropped == {
        "elsewhere": 1,
        "another time": 1,
        "no date": 1,
        "cloud not stated": 1,
        "another collection": 1,
        "no item": 1,
    }


def test_a_catalogue_that_says_it_does_not_filter_is_an_error(service: StacService, catalogue: StacCatalogue) -> None:
    service.conforms = [c for c in CONFORMS if not c.endswith("#query")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as most programs have it; in the tests every warning is an error anyway
        with pytest.raises(SourceError, match=r"does not conform to QUERY.*choose a catalogue that filters"):
            catalogue.search(SUMMER)
    assert service.asked == []


def test_a_post_is_repeated_after_429_and_503(service: StacService, catalogue: StacCatalogue) -> None:
    service.faults = [(429, {"Retry-After": "0"}), (503, {}), (503, {})]
    assert days(catalogue) == WANTED
    assert service.faults == []


def test_a_burst_longer_than_the_retries_is_one_clear_error(service: StacService, catalogue: StacCatalogue) -> None:
    service.faults = [(503, {})] * 9
    with pytest.raises(SourceError, match=r"Planetary Computer .*sentinel-2-l2a: the service could not be asked.*503"):
        catalogue.search(SUMMER)
    assert len(service.asked) == 1 + catalogue.retries


def test_a_retry_waits_as_long_as_the_server_says(
    service: StacService, catalogue: StacCatalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("urllib3.util.retry.time.sleep", waits.append)
    service.faults = [(429, {"Retry-After": "7"})]
    assert days(catalogue) == WANTED
    assert 7 in waits


@pytest.mark.parametrize("fault", ["html", "cut"])
def test_a_page_that_is_no_stac_is_one_clear_error(fault: str, service: StacService, catalogue: StacCatalogue) -> None:
    service.faults = [fault]
    with pytest.raises(SourceError, match="the answer is no STAC"):
        catalogue.search(SUMMER)


def test_a_client_error_is_not_repeated(service: StacService, catalogue: StacCatalogue) -> None:
    service.faults = [(400, {})]
    with pytest.raises(SourceError, match="answered HTTP 400"):
        catalogue.search(SUMMER)
    assert len(service.asked) == 1


def test_a_slow_server_is_given_up(service: StacService, catalogue: StacCatalogue) -> None:
    service.faults = ["slow"]
    quick = replace(catalogue, timeout_s=(1.0, 0.3), retries=0)
    with pytest.raises(SourceError, match="could not be asked"):
        quick.search(SUMMER)


def test_no_network_is_one_clear_error() -> None:
    catalogue = StacCatalogue(address="http://127.0.0.1:1", retries=0, timeout_s=(1.0, 1.0))
    with pytest.raises(SourceError, match="could not be asked"):
        catalogue.search(SUMMER)


def test_pages_without_end_are_given_up(
    service: StacService, catalogue: StacCatalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.chips.catalogue.MOST_ITEMS", 60)
    service.endless = True
    with pytest.raises(SourceError, match="more than 60 items"):
        catalogue.search(SUMMER)


def test_items_by_id_leave_out_what_is_gone(service: StacService, catalogue: StacCatalogue) -> None:
    some = [service.items[0]["id"], service.items[5]["id"]]
    assert set(catalogue.items("sentinel-2-l2a", [*some, "gone"])) == set(some)


def test_earth_search_is_the_same_interface(service: StacService) -> None:
    service.items = [made.earth_search(), made.dem()]
    with served(service.app()) as url:
        catalogue = StacCatalogue(EARTH_SEARCH, url)
        assert len(catalogue.search(SUMMER).items) == 1
        assert len(catalogue.search(Question("DEM", BOX)).items) == 1
        with pytest.raises(SourceError, match="Earth Search offers no S1RTC; it has S2L2A, DEM"):
            catalogue.search(Question("S1RTC", BOX))


def test_a_question_without_dates_sends_neither_time_nor_order(service: StacService) -> None:
    service.items = [made.dem()]
    with served(service.app()) as url:
        StacCatalogue(address=url).search(Question("DEM", BOX))
    assert set(service.asked[0]) == {"collections", "bbox", "limit"}


def test_an_address_with_a_password_is_not_printed() -> None:
    catalogue = StacCatalogue(address="http://me:secret@127.0.0.1:1", retries=0, timeout_s=(1.0, 1.0))
    with pytest.raises(SourceError) as caught:
        catalogue.search(SUMMER)
    assert "secret" not in str(caught.value)


def test_the_usual_settings() -> None:
    usual = StacCatalogue()
    assert (usual.retries, usual.backoff_s, usual.timeout_s) == (5, 1.0, (5.0, 60.0))
    assert usual.url == PLANETARY_COMPUTER.url
