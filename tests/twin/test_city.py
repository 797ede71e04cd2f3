"""The simulated city: what is in it, that it is the same twice, and that pixels alone do not give it away."""

from __future__ import annotations

import hashlib
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import shapely
from numpy.typing import NDArray
from pyproj import Transformer

from harness.chips.aois import Aoi
from harness.chips.chip import Grid
from harness.chips.coverage import chip_grid
from harness.chips.footprints import footprints, outline
from harness.chips.rasterise import STOOD, building_label
from harness.chips.sources.socrata import BOROUGHS, FOOTPRINTS, Snapshot
from harness.claims.schemes import read_schemes
from harness.errors import ChipError
from harness.twin import city as twin
from harness.twin.city import City, make_city, scenes, truth
from harness.twin.footprints import borough_rows, rows
from harness.twin.imagery import GSD
from harness.twin.products import TIMES
from harness.twin.sky import cloudy, seen
from harness.twin.spectra import BANDS, CODE

SEED = 7


@pytest.fixture(scope="module")
def city() -> City:
    return make_city(SEED)


def digest(city: City) -> str:
    """Of every array and of every row."""
    found = hashlib.sha256()
    for name, value in vars(city).items():
        if isinstance(value, np.ndarray):
            found.update(name.encode() + str((value.dtype, value.shape)).encode() + value.tobytes())
    found.update(repr(rows(city)).encode() + repr(borough_rows(city)).encode())
    return found.hexdigest()


def grid_of(aoi: Aoi) -> Grid:
    return chip_grid(aoi.centre, twin.CHIP_PX)


def every_scene(city: City) -> list[Aoi]:
    return [aoi for role in ("train", "card", "eval") for aoi in scenes(city, role)]


def test_a_seed_gives_the_same_bytes_and_another_seed_another_city(city: City) -> None:
    assert digest(make_city(SEED)) == digest(city)
    assert digest(make_city(SEED + 1)) != digest(city)


def test_nothing_of_a_city_can_be_changed_by_accident(city: City) -> None:
    with pytest.raises(ValueError, match="read-only"):
        city.classes[0, 0] = 1


def test_it_lies_in_the_sea_off_new_york_across_the_border_of_two_tiles(city: City) -> None:
    back = Transformer.from_crs(twin.EPSG, 4326, always_xy=True)
    west, east = twin.WEST_M, twin.WEST_M + twin.SIZE_PX * 10
    lon, lat = back.transform([west, east], [twin.NORTH_M - twin.SIZE_PX * 10, twin.NORTH_M])
    assert west < 600_000 < east, "the border of 18TWK and 18TXK"
    assert lon[0] > -73.95, "east of the coast of New Jersey, which runs at 74.0 W or west of it here"
    assert lat[1] < 40.35, "south of Long Island and of Sandy Hook"


def test_classes_follow_the_scheme_of_the_training_code(city: City, root: Path) -> None:
    scheme = read_schemes(root / "eval" / "schemes")["training-code"]
    by_code = {code: each.index for each in scheme.classes for code in each.worldcover}
    assert by_code == twin.CLASS_OF
    for code in np.unique(city.worldcover).tolist():
        assert set(np.unique(city.classes[city.worldcover == code]).tolist()) == {by_code[code]}


def test_it_holds_what_a_coastal_city_holds(city: City) -> None:
    standing = [b for b in city.buildings if b.fate == "stands"]
    assert len(standing) >= 3000
    share = {code: float((city.worldcover == code).mean()) for code in np.unique(city.worldcover).tolist()}
    assert set(share) == {10, 20, 30, 40, 50, 60, 80, 90}
    assert min(share.values()) > 0.01
    for name in ("sand", "mud", "reed", "asphalt", "shed roof", "tile roof", "needle", "leaf"):
        assert (city.materials == CODE[name]).any(), name
    assert not city.elevation[city.worldcover == 80].any()
    assert city.elevation[city.worldcover == 90].max() <= 0.8
    assert city.elevation.max() > 15
    assert 0.04 < city.building.mean() < 0.2
    assert not (city.building & (city.classes != 1)).any(), "buildings stand on built-up land"


def test_buildings_are_40_to_120_m_and_their_streets_turn(city: City) -> None:
    turns, sides = [], []
    for one in city.buildings:
        at = shapely.get_coordinates(one.outline)
        edges = np.diff(at, axis=0)
        sides.append(max(np.hypot(*edges[0]), np.hypot(*edges[-1])))
        turns.append(np.degrees(np.arctan2(edges[0][1], edges[0][0])) % 90)
    assert min(sides) >= 39.999
    assert max(sides) <= 120.001
    assert len(np.unique(np.round(turns))) > 15


def test_an_airfield_lies_in_it(city: City) -> None:
    """Runways: a run of asphalt longer than any block, along a direction that is no street's."""
    asphalt = (city.materials == CODE["asphalt"]).all(axis=0)
    solid = np.ones_like(asphalt)
    for down in range(-2, 3):
        for over in range(-2, 3):
            solid &= np.roll(asphalt, (down, over), (0, 1))
    assert solid.sum() > 300, "paved 50 m wide and more, over hectares"


@pytest.mark.parametrize("role", ["train", "card", "eval"])
def test_every_scene_holds_every_class(city: City, role: twin.Role) -> None:
    for aoi in scenes(city, role):
        labels = truth(city, grid_of(aoi))
        share = np.bincount(labels["classes"].ravel(), minlength=5) / labels["classes"].size
        assert share.min() > 0.015, (aoi.id, share)
        assert (labels["building"] == 1).sum() >= 100, aoi.id


def test_scenes_to_look_at_share_no_pixel_with_each_other_nor_with_training(city: City) -> None:
    used = np.zeros((twin.SIZE_PX, twin.SIZE_PX), np.uint8)
    masks = {}
    for role in ("card", "eval", "train"):
        for aoi in scenes(city, role):
            a, _, west, _, _, north = grid_of(aoi).transform
            row, col = round((twin.NORTH_M - north) / a), round((west - twin.WEST_M) / a)
            here = np.s_[row : row + twin.CHIP_PX, col : col + twin.CHIP_PX]
            if role != "train":
                assert not used[here].any(), aoi.id
            used[here] = 1
        masks[role] = used.copy()
        used[:] = 0
    assert not (masks["card"] & masks["eval"]).any()
    assert not (masks["train"] & (masks["card"] | masks["eval"])).any()
    assert [len(scenes(city, role)) for role in ("card", "eval", "train")] == [6, 48, 43]
    ids = [aoi.id for aoi in every_scene(city)]
    assert len(set(ids)) == len(ids)


def test_reach_of_every_scene_lies_within_the_city(city: City) -> None:
    for aoi in every_scene(city):
        truth(city, chip_grid(aoi.centre, 288))


def test_dense_and_sparse_places_differ_in_buildings(city: City) -> None:
    share = {
        kind: np.mean(
            [truth(city, grid_of(a))["building"].clip(0).mean() for a in scenes(city, "eval") if kind in a.name]
        )
        for kind in ("sparse", "dense")
    }
    assert share["dense"] > 1.5 * share["sparse"]


def test_truth_off_the_citys_pixels_is_refused(city: City) -> None:
    grid = grid_of(scenes(city, "card")[0])
    a, b, west, d, e, north = grid.transform
    with pytest.raises(ChipError, match="not on the pixels of the twin"):
        truth(city, Grid(grid.epsg, (a, b, west + 4, d, e, north), 256, 256))
    with pytest.raises(ChipError, match="over the edge"):
        truth(city, Grid(grid.epsg, (a, b, twin.WEST_M - 10, d, e, north), 256, 256))


def snapshot(dataset: str, found: list[dict[str, object]]) -> Snapshot:
    return Snapshot(dataset, "https://portal.invalid", None, "2026-01-01T00:00:00+00:00", tuple(found))


def test_footprint_rows_read_as_the_portal_s_and_burn_to_the_truth(city: City) -> None:
    read = footprints(snapshot(FOOTPRINTS, rows(city)))
    land = outline(snapshot(BOROUGHS, borough_rows(city)))
    assert {f.feature_code for f in read} == {2100, 5100}
    assert any(f.status == "demolition" for f in read)
    assert any(f.year is None for f in read)
    for aoi in [*scenes(city, "card"), scenes(city, "eval")[-3]]:
        grid = grid_of(aoi)
        burnt = building_label(read, land, grid, date(2024, 8, 5), STOOD, Path("x"))
        assert (burnt.label.data != truth(city, grid)["building"]).sum() == 0, aoi.id
        assert burnt.standing.counts["feature_code"] + burnt.standing.counts["built_later"] > 0


def confusion(true: NDArray[np.int64], said: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    """IoU by class."""
    matrix = np.bincount(true * classes + said, minlength=classes**2).reshape(classes, classes)
    hit = np.diag(matrix)
    return hit / (matrix.sum(0) + matrix.sum(1) - hit)  # type: ignore[no-any-return]


def by_pixel(city: City, role: str, count: int) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """August's Sentinel-2 in DN without offset, classes and buildings, of pixels drawn from a role's rows."""
    rng = np.random.default_rng(5)
    rows_ = rng.integers(twin.FIRST_PX, twin.SIZE_PX - twin.FIRST_PX, 4 * count)
    cols = rng.integers(twin.FIRST_PX, twin.SIZE_PX - twin.FIRST_PX, 4 * count)
    trained = np.isin((rows_ - twin.FIRST_PX) // twin.CHIP_PX, twin.TRAIN_ROWS)
    keep = np.flatnonzero(trained == (role == "train"))[:count]
    at = rows_[keep], cols[keep]
    features = []
    for band in BANDS:
        times = GSD.get(band, 20) // 10
        pixels = seen(city, TIMES[3], band, cloudy(city.seed, TIMES[3]), times)
        features.append(np.rint(pixels[at[0] // times, at[1] // times] * 10000))
    return (
        np.stack(features, 1).astype(np.float64),
        city.classes[at].astype(np.int64),
        city.building[at].astype(np.int64),
    )


def nearest_centroid(
    train: NDArray[np.float64], labels: NDArray[np.int64], test: NDArray[np.float64], classes: int
) -> NDArray[np.int64]:
    means = [train[labels == k].mean(0) for k in range(classes)]
    return np.stack([((test - mean) ** 2).sum(1) for mean in means]).argmin(0)  # type: ignore[no-any-return]


def quadratic(
    train: NDArray[np.float64], labels: NDArray[np.int64], test: NDArray[np.float64], classes: int
) -> NDArray[np.int64]:
    """Quadratic discriminant: a Gaussian a class with its own covariance."""
    scores = []
    for k in range(classes):
        mine = train[labels == k]
        spread = np.cov(mine.T)
        away = test - mine.mean(0)
        far = (away @ np.linalg.inv(spread) * away).sum(1)
        scores.append(np.log((labels == k).mean()) - (np.linalg.slogdet(spread)[1] + far) / 2)
    return np.stack(scores).argmax(0)  # type: ignore[no-any-return]


def test_pixels_alone_do_not_give_the_classes_away_and_are_not_useless(city: City) -> None:
    train, classes, building = by_pixel(city, "train", 60_000)
    test, true, built = by_pixel(city, "eval", 60_000)
    for name, labels, truth_, k, bands in (
        ("land cover", classes, true, 5, ((0.35, 0.55), (0.5, 0.63))),
        ("buildings", building, built, 2, ((0.35, 0.56), (0.45, 0.65))),
    ):
        for how, (low, high) in zip((nearest_centroid, quadratic), bands, strict=True):
            iou = confusion(truth_, how(train, labels, test, k), k)
            print(f"{name}, {how.__name__}: mIoU {iou.mean():.3f}, by class {iou.round(2).tolist()}")
            assert low <= iou.mean() <= high, (name, how.__name__, iou)
