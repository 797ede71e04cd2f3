"""From the twin's files to a chip by the harness's own road: items, search, lock, windows. Files are opened by path."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from rasterio.transform import Affine

from harness.chips.assemble import read_chip
from harness.chips.chip import Grid
from harness.chips.coverage import bounds, chip_grid
from harness.chips.items import PLANETARY_COMPUTER, Candidate, Json, Profile, candidate
from harness.chips.question import Found, Question, within
from harness.chips.recipe import Dates, Offset, Recipe, read_recipes
from harness.chips.resolve import resolve
from harness.chips.scenes import AoiLock, Scene
from harness.chips.select import Sight, sight
from harness.chips.sources.cog import CogReader
from harness.chips.worldcover import read_local, to_scheme
from harness.claims.schemes import read_schemes
from harness.twin.catalogue import items
from harness.twin.city import FIRST_PX, City, make_city, scenes, truth
from harness.twin.imagery import Raster, layers, write_imagery
from harness.twin.products import products

SEED = 7


@pytest.fixture(scope="module")
def city() -> City:
    return make_city(SEED)


@pytest.fixture(scope="module")
def records(city: City, tmp_path_factory: pytest.TempPathFactory) -> list[Raster]:
    return write_imagery(city, tmp_path_factory.mktemp("twin"))


@pytest.fixture(scope="module")
def sent(records: list[Raster]) -> list[Json]:
    return items(records, str)  # type: ignore[return-value]


class Shelf:
    """A catalogue in memory, with the semantics that questions have."""

    url = "https://catalogue.invalid/v1"
    profile: Profile = PLANETARY_COMPUTER

    def __init__(self, held: Sequence[Json]) -> None:
        self.held = held

    def ready(self) -> None:
        """Always."""

    def search(self, question: Question) -> Found:
        """Items that fit."""
        collection = self.profile.collections[question.modality]
        kept, dropped = within([one for one in self.held if one["collection"] == collection], question, collection)
        return Found(tuple(kept), len(kept) + sum(dropped.values()))

    def items(self, collection: str, ids: Sequence[str]) -> dict[str, Json]:
        """Items by id."""
        return {str(i["id"]): i for i in self.held if i["collection"] == collection and i["id"] in ids}


@lru_cache(maxsize=16)
def scl_of(path: str) -> tuple[NDArray[np.uint8], Affine]:
    with rasterio.open(path) as source:
        return source.read(1), source.transform


def look_at_scl(scenes_: Sequence[Scene], grid: Grid) -> Sight:
    """Cloud and data on a chip, from the files of a mosaic."""
    west, south, east, north = bounds(grid)
    codes = np.zeros((round((north - south) / 20), round((east - west) / 20)), np.uint8)
    for scene in scenes_:
        raster, transform = scl_of(scene.assets["SCL"].href)
        top, left = round((transform.f - north) / 20), round((west - transform.c) / 20)
        wide = np.zeros((codes.shape[0], codes.shape[1]), np.uint8)
        low, high = max(left, 0), min(left + wide.shape[1], raster.shape[1])
        wide[:, low - left : high - left] = raster[top : top + wide.shape[0], low:high]
        codes = np.where(codes == 0, wide, codes)
    return sight(codes)


@pytest.fixture(scope="module")
def recipe(root_of_module: Path) -> Recipe:
    return read_recipes(root_of_module / "eval" / "recipes")["training-code"]


@pytest.fixture(scope="module")
def root_of_module() -> Path:
    return Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def reader() -> Iterator[CogReader]:
    with CogReader(threads=2) as made:
        yield made


def with_dates(recipe: Recipe, dates: Dates, policy: str = "raw") -> Recipe:
    offset = Offset(policy=policy)  # type: ignore[arg-type]
    return recipe.model_copy(update={"dates": dates, "s2_offset": offset})


FOUR = Dates(policy="distinct", count=4)


def test_every_item_is_one_that_the_harness_reads(sent: list[Json]) -> None:
    modality = {collection: name for name, collection in PLANETARY_COMPUTER.collections.items()}
    for item in sent:
        read = candidate(item, modality[item["collection"]], PLANETARY_COMPUTER)
        assert isinstance(read, Candidate), read
        assert read.scene.epsg == (4326 if read.modality in ("DEM", "LULC") else 32618)
    assert Counter(item["collection"] for item in sent) == {
        "sentinel-2-l2a": 13,
        "sentinel-1-rtc": 6,
        "cop-dem-glo-30": 1,
        "esa-worldcover": 1,
    }
    assert len({item["id"] for item in sent}) == len(sent)


def test_items_state_both_sides_of_baseline_4_and_one_acquisition_twice(sent: list[Json]) -> None:
    read = [candidate(i, "S2L2A", PLANETARY_COMPUTER) for i in sent if i["collection"] == "sentinel-2-l2a"]
    scenes_ = [c for c in read if isinstance(c, Candidate)]
    assert {c.scene.s2_offset_dn for c in scenes_} == {0, 1000}
    twice = [key for key, count in Counter(c.key for c in scenes_).items() if count > 1]
    assert len(twice) == 1
    old, new = sorted((c for c in scenes_ if c.key == twice[0]), key=lambda c: c.processed)
    assert (old.scene.baseline, new.scene.baseline) == ("03.01", "05.10")
    assert {c.scene.tile for c in scenes_} == {"18TWK", "18TXK"}


def test_a_newer_baseline_adds_1000_dn_to_the_same_pixels(records: list[Raster]) -> None:
    june = [
        one for one in records if one.asset == "B8A" and "20240616" in one.product.id and one.product.tile == "18TWK"
    ]
    pixels = {}
    for one in june:
        with rasterio.open(one.path) as source:
            pixels[one.product.baseline] = source.read(1).astype(int)
    dark = pixels["03.01"] == 1
    assert dark.mean() < 0.001, "1 is the least that is no nodata"
    np.testing.assert_array_equal((pixels["05.10"] - pixels["03.01"])[~dark], 1000)


def test_addresses_come_from_the_caller(records: list[Raster]) -> None:
    folder = records[0].path.parents[7]
    for item in items(records[:30], lambda path: f"http://127.0.0.1:9/city/{path.name}"):
        for asset in item["assets"].values():
            assert asset["href"].startswith("http://127.0.0.1:9/city/")
    assert folder.exists()


def test_files_are_as_their_records_and_items_say(records: list[Raster], sent: list[Json]) -> None:
    by_id = {item["id"]: item for item in sent}
    kinds = {"sentinel-2-l2a": "uint16", "sentinel-1-rtc": "float32", "cop-dem-glo-30": "float32"}
    for one in records:
        with rasterio.open(one.path) as source:
            assert source.shape == one.shape
            assert source.crs.to_epsg() == one.epsg
            assert tuple(source.transform)[:6] == pytest.approx(one.transform)
            assert source.nodata == one.nodata
            assert source.block_shapes == [(256, 256)] or max(one.shape) < 256
            expected = "uint8" if one.asset in ("SCL", "map") else kinds[one.product.collection]
            assert source.dtypes[0] == expected
        asset = by_id[one.product.id]["assets"][one.asset]
        assert asset["href"] == str(one.path)
        assert tuple(asset.get("proj:shape", one.shape)) == one.shape
    assert sum(one.size_bytes for one in records) < 420e6


def test_products_are_the_same_bytes_twice(city: City, records: list[Raster], tmp_path: Path) -> None:
    """Of one product of each kind."""
    wanted = {"sentinel-1-rtc": 1, "esa-worldcover": 1, "cop-dem-glo-30": 1, "sentinel-2-l2a": 1}
    again = [p for p in products() if wanted.pop(p.collection, None)]
    import harness.twin.imagery as imagery

    for product in again:
        for one in imagery._written(city, [product], tmp_path):
            first = next(r for r in records if r.product == product and r.asset == one.asset)
            assert hashlib.sha256(one.path.read_bytes()).digest() == hashlib.sha256(first.path.read_bytes()).digest()


def rendered(city: City, lock: AoiLock, index: int, band: str) -> NDArray[np.float32]:
    """A chip's pixels straight from the arrays, on the 10 m pixels of the city; NaN where no scene has any."""
    row, col = place(city, lock)
    out = np.full((256, 256), np.nan, np.float32)
    step = next(
        s
        for s in lock.timesteps
        if s.modality in ("S2L2A", "S1RTC")
        and s.index == index
        and any(band in a.bands for a in s.scenes[0].assets.values())
    )
    for scene in step.scenes:
        product = next(p for p in products() if p.id == scene.item)
        for _, (asset, pixels, _, transform, _) in layers(city, [product]):
            if asset.upper() != band.upper():
                continue
            times = round(transform[0] / 10)
            whole = np.full((2400, 2400), np.nan, np.float32)
            left = round((transform[2] - city.grid.transform[2]) / 10)
            fine = np.repeat(np.repeat(pixels.astype(np.float32), times, 0), times, 1)
            whole[: fine.shape[0], left : left + fine.shape[1]] = np.where(fine > 0, fine, np.nan)
            here = whole[row : row + 256, col : col + 256]
            np.copyto(out, here, where=np.isnan(out))
            break
    return out


def place(city: City, lock: AoiLock) -> tuple[int, int]:
    aoi = next(a for role in ("train", "card", "eval") for a in scenes(city, role) if a.id == lock.aoi)
    name = aoi.id.rsplit("_", 1)[1].replace("h", ".5")
    row, col = (float(v) for v in name[1:].split("c"))
    return round(FIRST_PX + row * 256), round(FIRST_PX + col * 256)


def test_a_scene_is_locked_and_read_to_the_pixels_of_the_arrays(
    city: City, sent: list[Json], recipe: Recipe, reader: CogReader, root_of_module: Path
) -> None:
    aoi = next(a for a in scenes(city, "train") if a.id.endswith("r4c2"))
    lock = resolve(aoi, with_dates(recipe, FOUR), Shelf(sent), look_at_scl)
    optical = [step for step in lock.timesteps if step.modality == "S2L2A"]
    assert [step.scenes[0].datetime[:7] for step in optical] == ["2024-04", "2024-06", "2024-08", "2024-11"]
    assert {s.tile for s in optical[0].scenes} == {"18TWK", "18TXK"}, "its column lies on the tiles' border"
    got = read_chip(lock, with_dates(recipe, FOUR), reader)
    assert got.chip.s2_offset == 1000
    for band in ("B02", "B05", "B09", "B12"):
        here = got.chip.layers["S2L2A"].data[2, got.chip.layers["S2L2A"].bands.index(band)]
        np.testing.assert_array_equal(here, rendered(city, lock, 2, band), err_msg=band)
    for number, band in enumerate(("VV", "VH")):
        np.testing.assert_array_equal(got.chip.layers["S1RTC"].data[2, number], rendered(city, lock, 2, band))
    row, col = place(city, lock)
    ground = city.elevation[row : row + 256, col : col + 256]
    assert np.abs(got.chip.layers["DEM"].data[0, 0] - ground).mean() < 3.5
    labels = truth(city, got.chip.grid)
    codes = got.chip.layers["LULC"].data[0, 0].astype(np.uint8)
    np.testing.assert_array_equal(codes, city.worldcover[row : row + 256, col : col + 256])
    scheme = read_schemes(root_of_module / "eval" / "schemes")["training-code"]
    np.testing.assert_array_equal(to_scheme(codes, scheme, Path("map")).data, labels["classes"])


def test_land_cover_read_from_degrees_is_the_truth_pixel_by_pixel(city: City, records: list[Raster]) -> None:
    path = next(one.path for one in records if one.asset == "map")
    for role in ("train", "card", "eval"):
        for aoi in scenes(city, role):
            grid = chip_grid(aoi.centre, 288)
            west, _, _, north = bounds(grid)
            row, col = round((city.grid.transform[5] - north) / 10), round((west - city.grid.transform[2]) / 10)
            np.testing.assert_array_equal(read_local(path, grid), city.worldcover[row : row + 288, col : col + 288])


def test_every_scene_finds_its_dates_and_the_bad_ones_are_rejected_for_their_reasons(
    city: City, sent: list[Json], recipe: Recipe
) -> None:
    shelf, dropped, months, mosaics = Shelf(sent), Counter[str](), Counter[str](), 0
    for role in ("card", "eval"):
        for aoi in scenes(city, role):
            lock = resolve(aoi, with_dates(recipe, FOUR, "harmonise"), shelf, look_at_scl)
            optical = [s for s in lock.timesteps if s.modality == "S2L2A"]
            dropped.update(lock.searches[0].dropped)
            months.update(s.scenes[0].datetime[:7] for s in optical)
            mosaics += any(len(s.scenes) > 1 for s in optical)
            assert {s.scenes[0].orbit_state for s in lock.timesteps if s.modality == "S1RTC"} == {"descending"}
    assert months["2024-05"] == 0, "all cloud"
    assert months["2024-09"] > 0, "in place of a cloudy August, with the other offset"
    assert dropped["cloud on the chip"] > 10
    assert dropped["too little data on the chip"] > 0, "the half-empty scene, whose outline does not tell"
    assert dropped["older processing"] > 0
    assert mosaics >= 6


def test_one_date_is_august_where_no_cloud_is(city: City, sent: list[Json], recipe: Recipe) -> None:
    found = Counter[str]()
    for aoi in scenes(city, "train"):
        lock = resolve(aoi, recipe, Shelf(sent), look_at_scl)
        found[next(s for s in lock.timesteps if s.modality == "S2L2A").scenes[0].datetime[:10]] += 1
    assert found["2024-08-05"] > 30, found
    assert set(found) <= {"2024-08-05", "2024-06-16", "2024-09-14", "2024-04-12", "2024-11-13"}
