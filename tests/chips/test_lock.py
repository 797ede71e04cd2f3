"""Resolving, writing, reading and checking locks."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from harness.chips import lock as locks
from harness.chips.aois import Aoi, read_aois
from harness.chips.catalogue import StacCatalogue
from harness.chips.chip import Grid
from harness.chips.items import EARTH_SEARCH, PLANETARY_COMPUTER, Profile
from harness.chips.lock import Stat, check, guard_path, lock_of, locked, put, read_lock, with_stats, write_lock
from harness.chips.question import Found, Question, within
from harness.chips.recipe import Dates, Offset, Recipe, read_recipes
from harness.chips.resolve import resolve, resolve_all
from harness.chips.scenes import AoiLock, Lock, Scene
from harness.chips.select import Sight
from harness.errors import RecipeError, RegistryError, SourceError
from tests.services import made_items as made
from tests.services.stac import StacService, served

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SECRET = "st=2024-01-01&se=2024-01-02&sp=rl&sig=s3cr3t%3D"  # noqa: S105
DAYS = ["2024-04-12", "2024-05-02", "2024-06-16", "2024-07-21", "2024-08-10", "2024-09-14"]


class Shelf:
    """A catalogue in memory behind the same interface; counts what it is asked."""

    def __init__(self, items: list[dict[str, Any]], profile: Profile = PLANETARY_COMPUTER) -> None:
        self.held, self.profile, self.url = items, profile, "https://catalogue.example"
        self.asked: list[Question] = []

    def ready(self) -> None:
        """As the interface has it."""

    def search(self, question: Question) -> Found:
        """As the interface has it."""
        self.asked.append(question)
        collection = self.profile.collections[question.modality]
        kept, dropped = within(self.held, question, collection)
        return Found(tuple(kept), len(self.held), dropped)

    def items(self, collection: str, ids: Sequence[str]) -> dict[str, Any]:
        """As the interface has it."""
        return {i["id"]: i for i in self.held if i["collection"] == collection and i["id"] in ids}


class Shut:
    """A catalogue that nobody may ask."""

    profile, url = PLANETARY_COMPUTER, "https://catalogue.example"

    def ready(self) -> None:
        """Never."""
        raise AssertionError("the catalogue was opened")

    def search(self, question: Question) -> Found:
        """Never."""
        raise AssertionError("a run with a lock searched")

    def items(self, collection: str, ids: Sequence[str]) -> dict[str, Any]:
        """As the interface has it."""
        raise AssertionError("a run with a lock asked for items")


def new_york() -> list[dict[str, Any]]:
    """A season over Staten Island: both tiles, an old processing, both radar directions, DEM, WorldCover."""
    out = [made.s2(tile=t, when=f"{d}T15:39:09.024000Z", made=f"{d}T23:00:00Z") for d in DAYS for t in TILES]
    out.append(made.s2("18TWL", f"{DAYS[0]}T15:39:09.024000Z", made="2024-04-12T18:00:00Z"))
    out.append(made.s2("18TWK", "2024-08-30T15:39:09.024000Z"))
    out += [made.s1(f"2024-{m:02d}-{d:02d}T22:51:00Z") for m in range(4, 10) for d in (5, 17, 29)]
    out += [made.s1("2024-06-16T10:51:00Z", "descending", orbit=4)]
    out += [made.dem(40, -74), made.dem(40, -75), made.worldcover(), made.worldcover(year=2020)]
    return out


TILES = ("18TWL", "18TWK")


def clear(scenes: Sequence[Scene], grid: Grid) -> Sight:
    return Sight(0.01, 1.0)


@pytest.fixture
def aoi(root: Path) -> Aoi:
    return next(a for a in read_aois(root / "aois/nyc-eval.geojson") if a.id == "statenisland_stgeorge")


@pytest.fixture
def recipes(root: Path) -> dict[str, Recipe]:
    return read_recipes(root / "eval/recipes")


@pytest.fixture
def lock(aoi: Aoi, recipes: dict[str, Recipe]) -> Lock:
    return Lock(created="2026-01-02", aois=[resolve(aoi, recipes["published-rerun"], Shelf(new_york()), clear)])


def steps(one: AoiLock, modality: str) -> list[str]:
    return [t.scenes[0].datetime[:10] for t in one.timesteps if t.modality == modality]


def test_every_modality_is_resolved_and_every_choice_is_written_down(lock: Lock) -> None:
    one = lock.aois[0]
    assert [(t.modality, t.index) for t in one.timesteps] == [
        *(("S2L2A", i) for i in range(4)),
        *(("S1RTC", i) for i in range(4)),
        ("DEM", 0),
        ("LULC", 0),
    ]
    assert one.epsg == 32618
    assert steps(one, "S2L2A") == ["2024-04-12", "2024-06-16", "2024-07-21", "2024-09-14"]  # places 1, 3, 4, 6 of 6
    assert {s.orbit_state for t in one.timesteps if t.modality == "S1RTC" for s in t.scenes} == {"ascending"}
    assert steps(one, "S1RTC") == ["2024-04-17", "2024-06-17", "2024-07-17", "2024-09-17"]
    assert [s.tile for s in one.timesteps[8].scenes] == ["N40W075"]
    assert [s.item for s in one.timesteps[9].scenes] == ["ESA_WorldCover_10m_2021_v200_N39W075"]
    assert [s.tile for t in one.timesteps[:4] for s in t.scenes] == ["18TWL"] * 4
    optical = one.searches[0]
    assert optical.found == len(new_york())
    assert {k: optical.dropped[k] for k in ("older processing", "part of the chip empty", "not chosen")} == {
        "older processing": 1,
        "part of the chip empty": 1,
        "not chosen": 2,
    }
    assert "cloud on the chip 1.0% (limit 20%)" in one.timesteps[0].why
    assert "ascending, 5.3 days from 2024-04-12 (window 12 days)" in one.timesteps[4].why
    assert "18TWL; 100.0% of 288 px squared covered for certain" in one.timesteps[0].why


def test_one_date_repeated_as_the_recipe_says(aoi: Aoi, recipes: dict[str, Recipe]) -> None:
    one = resolve(aoi, recipes["training-code"], Shelf(new_york()), clear)
    assert len(set(steps(one, "S2L2A"))) == len(set(steps(one, "S1RTC"))) == 1
    assert [t.index for t in one.timesteps if t.modality == "S2L2A"] == [0, 1, 2, 3]
    assert "stands 4 times" in one.timesteps[0].why


def test_cloud_on_the_chip_decides_and_not_that_of_the_scene(aoi: Aoi, recipes: dict[str, Recipe]) -> None:
    shelf = Shelf(new_york())
    for item in shelf.held:
        if item["properties"]["datetime"] and item["properties"]["datetime"].startswith("2024-06-16"):
            item["properties"]["eo:cloud_cover"] = 70.0

    def see(scenes: Sequence[Scene], grid: Grid) -> Sight:
        assert (grid.height_px, scenes[0].tile) == (288, "18TWL")
        return Sight(0.9 if scenes[0].datetime.startswith("2024-04-12") else 0.0, 1.0)

    one = resolve(aoi, recipes["published-rerun"], shelf, see)
    assert "2024-06-16" in steps(one, "S2L2A")
    assert "2024-04-12" not in steps(one, "S2L2A")
    assert one.searches[0].dropped["cloud on the chip"] == 1


def test_an_unreadable_classification_drops_the_date_and_says_so(aoi: Aoi, recipes: dict[str, Recipe]) -> None:
    told: list[str] = []

    def see(scenes: Sequence[Scene], grid: Grid) -> Sight:
        if scenes[0].datetime.startswith("2024-04-12"):
            raise SourceError(f"https://a.blob.core.windows.net/c/x.tif?{SECRET}: HTTP 404")
        return Sight(0.0, 1.0)

    one = resolve(aoi, recipes["published-rerun"], Shelf(new_york()), see, told.append)
    assert one.searches[0].dropped["scene classification not readable"] == 1
    assert any("HTTP 404" in line for line in told)
    assert "s3cr3t" not in "".join(told)


@pytest.mark.parametrize(
    ("without", "message"),
    [
        ("S2L2A", r"S2L2A: 4 dates are wanted, 0 of 0 can be used"),
        ("S1RTC", r"S1RTC: no orbit direction has a pass within 12 days of every date"),
        ("DEM", r"DEM: no raster on the chip"),
        ("LULC", r"LULC: no raster on the chip"),
    ],
)
def test_too_little_is_an_error_that_names_it(without: str, message: str, aoi: Aoi, recipes: dict[str, Recipe]) -> None:
    gone = PLANETARY_COMPUTER.collections[without]
    shelf = Shelf([i for i in new_york() if i["collection"] != gone])
    with pytest.raises(SourceError, match=f"statenisland_stgeorge: {message}.*Widen the AOI's window"):
        resolve(aoi, recipes["published-rerun"], shelf, clear)


def test_a_chip_on_the_dem_seam_with_one_cell_missing_is_refused(root: Path, recipes: dict[str, Recipe]) -> None:
    brooklyn = next(a for a in read_aois(root / "aois/nyc-eval.geojson") if a.id == "brooklyn_downtown")
    whole = resolve(brooklyn, recipes["published-rerun"], Shelf(new_york()), clear)
    assert len(next(t for t in whole.timesteps if t.modality == "DEM").scenes) == 2
    shelf = Shelf([i for i in new_york() if "W075" not in i["id"] or "DEM" not in i["id"]])
    with pytest.raises(SourceError, match=r"brooklyn_downtown: DEM: \d+ of 288 columns empty"):
        resolve(brooklyn, recipes["published-rerun"], shelf, clear)


def test_a_missing_asset_is_counted_and_its_date_not_used(aoi: Aoi, recipes: dict[str, Recipe]) -> None:
    shelf = Shelf(new_york())
    for item in shelf.held:
        if item["id"].startswith("S2A_MSIL2A_20240616"):
            del item["assets"]["B11"]
    one = resolve(aoi, recipes["published-rerun"], shelf, clear)
    assert "2024-06-16" not in steps(one, "S2L2A")
    assert one.searches[0].dropped["asset missing"] == 2


def test_mixed_baselines_are_left_out_where_the_recipe_takes_raw_dn(aoi: Aoi, recipes: dict[str, Recipe]) -> None:
    shelf = Shelf(new_york())
    for item in shelf.held:
        if item["id"].startswith("S2A_MSIL2A_20240616"):
            item["properties"]["s2:processing_baseline"] = "02.14"
    raw = resolve(aoi, recipes["published-rerun"], shelf, clear)
    assert {s.s2_offset_dn for t in raw.timesteps[:4] for s in t.scenes} == {1000}
    assert raw.searches[0].dropped["another offset"] == 1
    recipe = recipes["published-rerun"].model_copy(update={"s2_offset": Offset(policy="harmonise")})
    either = resolve(aoi, recipe, shelf, clear)
    assert {s.s2_offset_dn for t in either.timesteps[:4] for s in t.scenes} == {0, 1000}


def test_dates_as_given_are_a_recipe_error(aoi: Aoi, recipes: dict[str, Recipe]) -> None:
    recipe = recipes["pretraining"].model_copy(update={"dates": Dates(policy="given", count=1)})
    with pytest.raises(RecipeError, match=r"pretraining: .*nothing to search for"):
        resolve(aoi, recipe, Shelf(new_york()), clear)


def test_one_aoi_that_fails_does_not_stop_the_others(root: Path, recipes: dict[str, Recipe]) -> None:
    both = [a for a in read_aois(root / "aois/nyc-eval.geojson") if a.id in ("statenisland_stgeorge", "queens_jamaica")]
    shelf = Shelf([i for i in new_york() if "N40_00_W074" not in i["id"]])
    lock, failed = resolve_all(both, recipes["published-rerun"], shelf, clear, NOW)
    assert [a.aoi for a in lock.aois] == ["statenisland_stgeorge"]
    assert list(failed) == ["queens_jamaica"]
    assert "DEM: no raster" in failed["queens_jamaica"]
    assert lock.created == "2026-01-02T03:04:05.000000Z"


def test_the_second_catalogue_has_its_own_offset_rule(aoi: Aoi, recipes: dict[str, Recipe]) -> None:
    recipe = recipes["published-rerun"]
    optical = recipe.model_copy(update={"bands": {"S2L2A": recipe.bands["S2L2A"], "DEM": recipe.bands["DEM"]}})
    here = aoi.model_copy(update={"labels": ("nyc-footprints",)})
    items = [made.earth_search(t, f"{d}T15:53:{54 - n * 14}.1Z") for d in DAYS for n, t in enumerate(TILES)]
    one = resolve(here, optical, Shelf([*items, made.dem(40, -75)], EARTH_SEARCH), clear)
    assert {s.s2_offset_dn for t in one.timesteps[:4] for s in t.scenes} == {0}
    assert {s.baseline for t in one.timesteps[:4] for s in t.scenes} == {"05.10"}
    assert len(one.timesteps) == 5


def test_a_lock_comes_back_as_it_was_written(tmp_path: Path, lock: Lock) -> None:
    path = tmp_path / "locks" / "nyc.lock.json"
    write_lock(path, lock)
    assert read_lock(path) == lock
    before = path.read_bytes()
    write_lock(path, read_lock(path))
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["nyc.lock.json"]


def test_no_signature_reaches_a_lock(tmp_path: Path, aoi: Aoi, recipes: dict[str, Recipe]) -> None:
    shelf = Shelf(new_york())
    for item in shelf.held:
        for asset in item["assets"].values():
            asset["href"] += f"?{SECRET}"
    one = Lock(created="now", aois=[resolve(aoi, recipes["published-rerun"], shelf, clear)])
    write_lock(tmp_path / "x.lock.json", one)
    text = (tmp_path / "x.lock.json").read_text()
    assert "blob.core.windows.net" in text
    for word in ("sig=", "se=", "st=", "s3cr3t", "?"):
        assert word not in text


def test_writers_at_the_same_moment_take_turns(tmp_path: Path, lock: Lock, monkeypatch: pytest.MonkeyPatch) -> None:
    path, names = tmp_path / "locks" / "nyc.lock.json", [f"aoi{n}" for n in range(6)]

    def slow(path: Path, lock: Lock) -> None:
        time.sleep(0.05)  # what was read before is old by now, if others may write
        write_lock(path, lock)

    monkeypatch.setattr(locks, "write_lock", slow)
    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(lambda name: put(path, lock.aois[0].model_copy(update={"aoi": name}), "now"), names))
    assert [one.aoi for one in read_lock(path).aois] == names


def test_an_entry_that_stands_is_replaced_only_on_renewal(tmp_path: Path, lock: Lock) -> None:
    path, first = tmp_path / "nyc.lock.json", lock.aois[0]
    other = first.model_copy(update={"epsg": 32617})
    assert put(path, first, "now") is first
    assert put(path, other, "later") == first
    assert read_lock(path) == Lock(created="now", aois=[first])
    assert put(path, other, "later", renew=True) is other
    assert read_lock(path) == Lock(created="later", aois=[other])


def test_a_lock_that_another_process_holds_or_spoilt_is_not_written(
    tmp_path: Path, lock: Lock, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "nyc.lock.json"
    monkeypatch.setattr(locks, "GUARD_S", 0.2)
    with FileLock(guard_path(path)), pytest.raises(RegistryError, match=r"has been writing it for 0\.2 s; run again"):
        put(path, lock.aois[0], "now")
    assert not path.exists()
    path.write_text("{")
    with pytest.raises(RegistryError, match=r"nyc\.lock\.json: "):
        put(path, lock.aois[0], "now")
    assert path.read_text() == "{"
    with pytest.raises(RegistryError, match="cannot be written"):
        put(path / "below" / "nyc.lock.json", lock.aois[0], "now")


def signed(lock: Lock) -> Lock:
    raw = json.loads(lock.model_dump_json())
    raw["aois"][0]["timesteps"][0]["scenes"][0]["assets"]["B02"]["href"] += f"?{SECRET}"
    return Lock.model_validate(raw)


def test_a_signed_address_is_neither_written_nor_read(tmp_path: Path, lock: Lock) -> None:
    path = tmp_path / "x.lock.json"
    with pytest.raises(SourceError, match="B02: a signed address") as refused:
        write_lock(path, signed(lock))
    assert not path.exists()
    path.write_text(signed(lock).model_dump_json())
    with pytest.raises(RegistryError, match="a signed address") as unread:
        read_lock(path)
    assert "s3cr3t" not in str(refused.value) + str(unread.value)


def test_a_spoilt_lock_is_named_with_its_field_and_without_its_content(tmp_path: Path, lock: Lock) -> None:
    path = tmp_path / "x.lock.json"
    raw = json.loads(signed(lock).model_dump_json())
    raw["aois"][0]["timesteps"][0]["scenes"][0]["assets"]["B02"]["gsd_m"] = f"x?{SECRET}"
    path.write_text(json.dumps(raw))
    with pytest.raises(RegistryError, match=r"aois\.0\.timesteps\.0\.scenes\.0\.assets\.B02\.gsd_m") as caught:
        read_lock(path)
    assert "s3cr3t" not in f"{caught.value!r} {caught.value.__cause__!r}"
    path.write_text(json.dumps({"schema_version": 2, "created": "x", "aois": []}))
    with pytest.raises(RegistryError, match="schema_version"):
        read_lock(path)


def test_a_run_with_a_lock_never_searches(tmp_path: Path, lock: Lock, recipes: dict[str, Recipe], aoi: Aoi) -> None:
    path = tmp_path / "x.lock.json"

    def make(catalogue: Any) -> Lock:
        return Lock(created="x", aois=[resolve(aoi, recipes["published-rerun"], catalogue, clear)])

    with pytest.raises(AssertionError, match="a run with a lock searched"):
        lock_of(path, lambda: make(Shut()))
    first = lock_of(path, lambda: make(Shelf(new_york())))
    again = lock_of(path, lambda: make(Shut()))
    assert again == first
    assert locked(again, "statenisland_stgeorge", "published-rerun") == first.aois[0]
    path.write_text("{")
    with pytest.raises(RegistryError):
        lock_of(path, lambda: make(Shelf(new_york())))


def test_reading_a_lock_loads_nothing_that_could_search(root: Path) -> None:
    code = "import sys, harness.chips.lock; print(sorted({m.partition('.')[0] for m in sys.modules}))"
    done = subprocess.run(  # noqa: S603 (our own interpreter and code)
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True, timeout=60
    )
    assert "'harness'" in done.stdout
    for name in ("pystac", "pystac_client", "planetary_computer", "requests", "rasterio"):
        assert f"'{name}'" not in done.stdout


def test_an_aoi_that_a_lock_does_not_hold_is_an_error_and_no_search(lock: Lock) -> None:
    with pytest.raises(RegistryError, match=r"holds no queens_jamaica.*statenisland_stgeorge \(published-rerun\)"):
        locked(lock, "queens_jamaica", "published-rerun")


def test_a_sound_lock_has_no_findings(lock: Lock) -> None:
    assert check(lock, Shelf(new_york())) == []


def kinds(lock: Lock, shelf: Shelf) -> list[tuple[str, str]]:
    return [(f.kind, f.item) for f in check(lock, shelf)]


def test_what_vanished_was_reprocessed_or_moved(lock: Lock) -> None:
    used = [t.scenes[0].item for t in lock.aois[0].timesteps]
    gone, again, newer, moved, radar = used[0], used[1], used[2], used[3], used[4]
    shelf = Shelf([i for i in new_york() if i["id"] not in (gone, again, radar)])
    shelf.held = [i for i in shelf.held if not i["id"].startswith(gone[:19]) or "T18TWL" not in i["id"]]
    shelf.held.append(made.s2("18TWL", "2024-06-16T15:39:09.024000Z", "05.11", "2025-01-01T00:00:00Z"))
    shelf.held.append(made.s2("18TWL", "2024-07-21T15:39:09.024000Z", "05.11", "2025-01-01T00:00:00Z"))
    for item in shelf.held:
        if item["id"] == moved:
            item["assets"]["B02"]["href"] = "https://elsewhere.blob.core.windows.net/c/B02.tif"
            del item["assets"]["B03"]
    found = {f.item: f for f in check(lock, shelf)}
    assert {name: f.kind for name, f in found.items()} == {
        gone: "vanished",
        again: "reprocessed",
        newer: "reprocessed",
        moved: "moved",
        radar: "vanished",
    }
    assert "stands in its place" in found[again].detail
    assert "is a newer processing" in found[newer].detail
    assert found[moved].detail == "asset missing: B03 is not among the assets"


def test_a_changed_address_is_a_move_and_a_changed_baseline_a_reprocessing(lock: Lock) -> None:
    used = [t.scenes[0].item for t in lock.aois[0].timesteps]
    shelf = Shelf(new_york())
    for item in shelf.held:
        if item["id"] == used[0]:
            item["assets"]["B02"]["href"] = f"https://elsewhere.blob.core.windows.net/c/B02.tif?{SECRET}"
        if item["id"] == used[1]:
            item["properties"]["s2:processing_baseline"] = "05.11"
    findings = check(lock, shelf)
    assert [(f.kind, f.item) for f in findings] == [("moved", used[0]), ("reprocessed", used[1])]
    assert findings[0].detail == "B02: another address; now https://elsewhere.blob.core.windows.net/c/B02.tif"


def test_a_date_that_stands_four_times_is_checked_once(aoi: Aoi, recipes: dict[str, Recipe]) -> None:
    shelf = Shelf(new_york())
    one = Lock(created="x", aois=[resolve(aoi, recipes["training-code"], shelf, clear)])
    optical = one.aois[0].timesteps[0].scenes[0].item
    shelf.held = [i for i in shelf.held if optical[:19] not in i["id"]]
    shelf.asked.clear()
    assert kinds(one, shelf) == [("vanished", optical)]
    assert len(shelf.asked) == 2


def test_a_file_that_changed_in_place(lock: Lock) -> None:
    tags: dict[str, str] = {}

    def stat(href: str) -> Stat:
        assert "?" not in href
        return Stat(tags.get(href, "one"), None)

    stamped = with_stats(lock, stat)
    first = stamped.aois[0].timesteps[0].scenes[0]
    assert {a.etag for a in first.assets.values()} == {"one"}
    assert check(stamped, Shelf(new_york()), stat) == []
    tags[first.assets["B02"].href] = "two"
    assert [(f.kind, f.item, f.detail) for f in check(stamped, Shelf(new_york()), stat)] == [
        ("reprocessed", first.item, "B02: the file changed in place")
    ]


@pytest.fixture
def api() -> Iterator[tuple[StacService, str]]:
    service = StacService(new_york(), page=9, sorts=False, filters=False, repeats=2)
    with served(service.app()) as url:
        yield service, url


def test_the_same_lock_through_the_real_client_and_nothing_secret_in_its_log(
    api: tuple[StacService, str],
    lock: Lock,
    aoi: Aoi,
    recipes: dict[str, Recipe],
    caplog: pytest.LogCaptureFixture,
) -> None:
    service, url = api
    for item in service.items:
        for asset in item["assets"].values():
            asset["href"] += f"?{SECRET}"
    caplog.set_level(logging.DEBUG)
    catalogue = StacCatalogue(address=url, backoff_s=0.01)
    one = resolve(aoi, recipes["published-rerun"], catalogue, clear)
    assert one.timesteps == lock.aois[0].timesteps
    assert one.searches[0].dropped["sent twice"] > 0
    assert check(Lock(created="x", aois=[one]), catalogue) == []
    service.items = [i for i in service.items if i["id"] != one.timesteps[1].scenes[0].item]
    assert [f.kind for f in check(Lock(created="x", aois=[one]), catalogue)] == ["vanished"]
    assert "s3cr3t" not in caplog.text


def test_a_check_that_gets_no_answer_is_an_error_and_no_clean_bill(lock: Lock) -> None:
    with pytest.raises(SourceError):
        check(lock, StacCatalogue(address="http://127.0.0.1:1", retries=0, timeout_s=(1.0, 1.0)))
