"""A catalogue that fails, all the way to the lock: the same lock as without the fault, or one error and none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import urllib3.util.retry

from harness.chips.catalogue import MOST_ITEMS, MOST_WAIT_S, StacCatalogue
from harness.chips.chip import Grid
from harness.chips.lock import check, lock_of
from harness.chips.question import Question
from harness.chips.resolve import resolve
from harness.chips.scenes import AoiLock, Lock, Scene
from harness.chips.select import Sight
from harness.errors import SourceError
from tests.chips import faults
from tests.chips.realm import AOI, recipe
from tests.services import made_items as made
from tests.services.stac import CONFORMS, StacService, served

DAYS = [f"2024-{month:02d}-{day:02d}" for month in range(4, 10) for day in (2, 12, 22)]
"""Sentinel-2 dates."""


def season() -> list[dict[str, Any]]:
    """Eighteen dates of two tiles, some too cloudy, radar passes, DEM, WorldCover; in no order."""
    out = [
        made.s2(tile, f"{d}T15:39:09.024000Z", made=f"{d}T23:00:00Z", cloud=95.0 if i % 3 == 2 else 5.0)
        for i, d in enumerate(reversed(DAYS))
        for tile in ("18TWK", "18TWL")
    ]
    out += [made.s1(f"2024-{month:02d}-{day:02d}T22:51:00Z") for month in range(9, 3, -1) for day in (29, 5, 17)]
    return [*out, made.dem(40, -75), made.dem(40, -74), made.worldcover(), made.worldcover(year=2020)]


def seen(scenes: Sequence[Scene], grid: Grid) -> Sight:
    """Cloud by the month, so that dates differ."""
    return Sight(abs(int(scenes[0].datetime[5:7]) - 7) / 100, 1.0)


@pytest.fixture
def service() -> StacService:
    return StacService(season(), page=7)


@pytest.fixture
def catalogue(service: StacService) -> Iterator[StacCatalogue]:
    with served(service.app()) as url:
        yield StacCatalogue(address=url, retries=3, backoff_s=0.01, timeout_s=(2.0, 5.0))


@pytest.fixture(scope="module")
def expected() -> AoiLock:
    """From a server without faults, in one page."""
    with served(StacService(season()).app()) as url:
        return resolved(StacCatalogue(address=url))


def resolved(catalogue: StacCatalogue) -> AoiLock:
    return resolve(AOI, recipe(Path(__file__).resolve().parents[2]), catalogue, seen)


def same(catalogue: StacCatalogue, expected: AoiLock) -> AoiLock:
    """The lock, whose scenes are those without any fault."""
    found = resolved(catalogue)
    assert [t.model_dump() for t in found.timesteps] == [t.model_dump() for t in expected.timesteps]
    assert {t.modality for t in found.timesteps} == {"S2L2A", "S1RTC", "DEM", "LULC"}
    return found


def refused(catalogue: StacCatalogue, folder: Path) -> str:
    """What the one error says; no lock is written."""
    path = folder / "lock.json"
    with pytest.raises(SourceError) as caught:
        lock_of(path, lambda: Lock(created="now", aois=[resolved(catalogue)]))
    assert list(folder.iterdir()) == []
    assert catalogue.url in str(caught.value)
    return str(caught.value)


def test_429_with_retry_after(service: StacService, catalogue: StacCatalogue, expected: AoiLock) -> None:
    service.faults = ["ok", (429, {"Retry-After": "1"})]
    same(catalogue, expected)
    assert service.came_s[2] - service.came_s[1] >= 1
    faults.record(
        "catalogue", "429 with Retry-After", "right result", "on a second page; asked again no sooner than it said"
    )


def test_429_for_an_hour(
    service: StacService, catalogue: StacCatalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(urllib3.util.retry.time, "sleep", waits.append)
    service.faults = [(429, {"Retry-After": "3600"})] * 99
    assert "could not be asked" in refused(catalogue, tmp_path)
    long = [wait for wait in waits if wait > 1]
    assert long == [MOST_WAIT_S] * catalogue.retries
    assert len(service.asked) == 1 + catalogue.retries
    faults.record(
        "catalogue",
        "429 with a Retry-After of an hour",
        "one clear error",
        f"no single wait is longer than {MOST_WAIT_S} s; no lock is written",
    )


def test_bursts_of_503(service: StacService, catalogue: StacCatalogue, expected: AoiLock) -> None:
    burst: list[Any] = [(503, {})] * 3
    service.landing, service.faults = [*burst], [*burst, "ok", "ok", *burst, "ok", *burst]
    same(catalogue, expected)
    assert not service.faults
    assert not service.landing
    faults.record(
        "catalogue", "bursts of 503", "right result", "at the landing page and at three pages; the lock is the same"
    )


def test_503_for_longer_than_patience(
    service: StacService, catalogue: StacCatalogue, expected: AoiLock, tmp_path: Path
) -> None:
    service.faults = ["ok", *[(503, {})] * 9]
    assert "503" in refused(catalogue, tmp_path)
    service.faults = []
    same(catalogue, expected)
    faults.record(
        "catalogue",
        "503 for longer than patience",
        "one clear error",
        "no lock of the pages that did come; the same client goes on once the server is back",
    )


def test_pages_out_of_order_with_duplicates(service: StacService, catalogue: StacCatalogue, expected: AoiLock) -> None:
    service.sorts, service.repeats = False, 3
    assert same(catalogue, expected).searches[0].dropped["sent twice"] > 0
    faults.record(
        "catalogue",
        "pages out of order and with duplicates",
        "right result",
        "the lock is the same and says how many items came twice",
    )


def test_pages_that_repeat_for_ever(service: StacService, catalogue: StacCatalogue, tmp_path: Path) -> None:
    service.endless, service.page = True, 100
    service.items = [made.s2(when=f"2024-{m:02d}-{d:02d}T15:39:09Z") for m in range(4, 8) for d in range(1, 26)]
    assert f"more than {MOST_ITEMS} items" in refused(catalogue, tmp_path)
    assert len(service.asked) == MOST_ITEMS // 100 + 1
    faults.record(
        "catalogue", "pages that repeat for ever", "one clear error", f"given up after {MOST_ITEMS} items; no lock"
    )


@pytest.mark.parametrize("place", ["landing", "first page", "second page"])
def test_a_page_of_html(place: str, service: StacService, catalogue: StacCatalogue, tmp_path: Path) -> None:
    if place == "landing":
        service.landing = ["html"]
    else:
        service.faults = ["html"] if place == "first page" else ["ok", "html"]
    assert "is no STAC" in refused(catalogue, tmp_path)
    if place == "second page":
        faults.record(
            "catalogue",
            "a 200 with an HTML error page",
            "one clear error",
            "as landing page, first page or second page; no lock of the pages that did come",
        )


@pytest.mark.parametrize("fault", ["cut", "broken"])
def test_a_body_that_ends_too_soon(fault: str, service: StacService, catalogue: StacCatalogue, tmp_path: Path) -> None:
    service.faults = ["ok", fault]
    refused(catalogue, tmp_path)
    if fault == "broken":
        faults.record(
            "catalogue",
            "a connection cut in mid-body",
            "one clear error",
            "also half a JSON with a whole length; no lock",
        )


def test_a_slow_server(service: StacService, catalogue: StacCatalogue, tmp_path: Path) -> None:
    service.faults = ["ok", "slow", "slow"]
    quick = replace(catalogue, timeout_s=(1.0, 0.3), retries=0)
    assert "could not be asked" in refused(quick, tmp_path)
    patient = replace(catalogue, timeout_s=(1.0, 0.3), retries=2)
    service.faults = ["slow"]
    assert len(patient.search(Question("DEM", (-74.1, 40.6, -73.9, 40.8))).items) > 0
    faults.record(
        "catalogue",
        "a slow server",
        "one clear error",
        "given up after the stated time; one slow answer is asked for again",
    )


def test_no_network(tmp_path: Path) -> None:
    said = refused(StacCatalogue(address="http://127.0.0.1:1", retries=0, timeout_s=(1.0, 1.0)), tmp_path)
    assert "could not be asked" in said
    faults.record("catalogue", "no network", "one clear error", "names the address; no lock")


def test_a_server_that_ignores_the_filter(service: StacService, catalogue: StacCatalogue, expected: AoiLock) -> None:
    service.filters = False
    found = same(catalogue, expected)
    assert found.searches[0].dropped["scene too cloudy"] > 0
    faults.record(
        "catalogue",
        "a server that ignores `query` without a word",
        "right result",
        "every item is held against the question; the lock is the same",
    )


def test_a_server_that_says_that_it_does_not_filter(
    service: StacService, catalogue: StacCatalogue, tmp_path: Path
) -> None:
    service.conforms = [c for c in CONFORMS if not c.endswith("#query")]
    assert "choose a catalogue that filters" in refused(catalogue, tmp_path)
    assert service.asked == []
    faults.record(
        "catalogue", "a server that says that it knows no `query`", "one clear error", "nothing is searched; no lock"
    )


def test_a_check_without_an_answer_is_no_clean_bill(
    service: StacService, catalogue: StacCatalogue, expected: AoiLock
) -> None:
    lock = Lock(created="now", aois=[expected])
    assert check(lock, catalogue) == []
    service.faults = ["ok", *[(503, {})] * 9]
    with pytest.raises(SourceError, match="503"):
        check(lock, catalogue)
    faults.record(
        "catalogue",
        "503 while a lock is checked",
        "one clear error",
        "a lock is not called sound for want of an answer",
    )


def test_an_item_without_an_asset_that_is_needed(
    service: StacService, catalogue: StacCatalogue, expected: AoiLock
) -> None:
    chosen = expected.timesteps[0].scenes[0].item
    for item in service.items:
        if item["id"] == chosen:
            del item["assets"]["B11"]
    found = resolved(catalogue)
    assert found.timesteps[0].scenes[0].item not in (chosen, "")
    assert len(found.timesteps[0].scenes[0].assets) == len(expected.timesteps[0].scenes[0].assets)
    assert found.searches[0].dropped["asset missing"] == 1
    faults.record(
        "catalogue", "an item without an asset that is needed", "right result", "another date; the lock counts the item"
    )
