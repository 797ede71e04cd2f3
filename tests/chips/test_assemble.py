"""Lock to chip: the right pixel at the right place, masks, mosaics, offsets and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from harness.chips.assemble import Assembled, read_chip
from harness.chips.chip import Chip, Grid
from harness.chips.recipe import Recipe, read_recipes
from harness.chips.scenes import AoiLock, Scene
from harness.chips.sources.cog import CogReader
from harness.chips.store import Store
from harness.chips.tensors import to_inputs
from harness.chips.warp import project
from harness.errors import ChipError, RecipeError, SourceError
from tests.chips import faults
from tests.chips.cogs import GSD, PLACES, Country, Floats, Ramp

ROUNDING = 0.51
"""Pixels are whole DN: each may be half a DN off the plane. Half a pixel's shift is 1.5 DN at least."""


@pytest.fixture(scope="module")
def recipes() -> dict[str, Recipe]:
    return read_recipes(Path(__file__).resolve().parents[2] / "eval" / "recipes")


@pytest.fixture(scope="module")
def reader() -> Iterator[CogReader]:
    with CogReader(threads=4) as made:
        yield made


def country(tmp_path: Path, epsg: int = 32618, lonlat: tuple[float, float] | None = None) -> Country:
    return Country(tmp_path, str(tmp_path), epsg, lonlat or PLACES[epsg])


def fed(recipe: Recipe, *modalities: str) -> Recipe:
    """The recipe, feeding only some modalities."""
    return recipe.model_copy(update={"bands": {m: recipe.bands[m] for m in modalities}})


def off(found: Floats | np.ndarray[tuple[int, ...], np.dtype[np.float32]], wanted: Floats) -> float:
    return float(np.abs(found - wanted).max())


@pytest.mark.parametrize("epsg", sorted(PLACES))
def test_every_band_shows_where_its_pixels_lie_in_three_zones(
    epsg: int, tmp_path: Path, recipes: dict[str, Recipe], reader: CogReader
) -> None:
    made = country(tmp_path, epsg)
    lock = made.lock(S2L2A=[[made.optical("A")]])
    smooth = read_chip(lock, fed(recipes["published-rerun"], "S2L2A"), reader).chip
    assert smooth.grid.height_px == 224
    middle = (smooth.grid.transform[2] + 1120, smooth.grid.transform[5] - 1120)
    assert middle == pytest.approx(made.centre, abs=1e-6)
    blocky = read_chip(lock, fed(recipes["training-code"], "S2L2A"), reader).chip
    assert blocky.grid.height_px == 256
    assert blocky.grid.transform[2] % 10 == blocky.grid.transform[5] % 10 == 0
    for c, band in enumerate(smooth.layers["S2L2A"].bands):
        assert off(smooth.layers["S2L2A"].data[0, c], made.ramp.over(smooth.grid)) < ROUNDING + 0.05, band
        expected = made.ramp.nearest(blocky.grid, GSD[band])
        assert off(blocky.layers["S2L2A"].data[0, c], expected) < ROUNDING, band


def test_a_scene_half_a_pixel_off_is_seen(tmp_path: Path, recipes: dict[str, Recipe], reader: CogReader) -> None:
    made = country(tmp_path)
    lock = made.lock(S2L2A=[[made.optical("A")]])
    chip = read_chip(lock, fed(recipes["published-rerun"], "S2L2A"), reader).chip
    a, b, x, d, e, y = chip.grid.transform
    for shifted in ((a, b, x + 5, d, e, y), (a, b, x, d, e, y + 5)):
        wrong = made.ramp.over(Grid(chip.grid.epsg, shifted, 224, 224))
        assert off(chip.layers["S2L2A"].data[0, 1], wrong) > 1


@pytest.mark.parametrize("snap", ["published-rerun", "training-code"])
def test_across_a_zone_edge_two_zones_make_one_picture(
    snap: str, tmp_path: Path, recipes: dict[str, Recipe], reader: CogReader
) -> None:
    made = country(tmp_path, 32618, (-72.0, 41.0))
    middle = made.centre[0]
    west = made.optical("west", shape=lambda v, x, y: np.where(x < middle + 200, v, 0))
    east = made.optical("east", epsg=32619)
    found = read_chip(made.lock(S2L2A=[[west, east]]), fed(recipes[snap], "S2L2A"), reader)
    data = found.chip.layers["S2L2A"].data[0]
    assert {v.fraction for v in found.valid} == {1.0}
    for c, band in enumerate(found.chip.layers["S2L2A"].bands):
        # nearest: half a native pixel along each axis, in a zone turned by a degree or two
        reach = ROUNDING + 0.1 if snap == "published-rerun" else ROUNDING + 0.55 * GSD[band]
        if snap == "published-rerun":
            # Where the west scene ends, the last column of its kernels is one-sided: within half a native pixel.
            x = found.chip.grid.transform[2] + 10 * (np.arange(224) + 0.5)
            seam = np.abs(x - (middle + 200)) < 1.5 * GSD[band]
            assert off(data[c][:, ~seam], made.ramp.over(found.chip.grid)[:, ~seam]) < reach, band
            assert off(data[c][:, seam], made.ramp.over(found.chip.grid)[:, seam]) < 0.7 * GSD[band], band
        else:
            assert off(data[c], made.ramp.over(found.chip.grid)) < reach, band


def test_two_tiles_of_one_zone_join_without_a_seam(
    tmp_path: Path, recipes: dict[str, Recipe], reader: CogReader
) -> None:
    made = country(tmp_path)
    x, y = made.centre
    upper = made.optical("upper", centre=(x, y + 2400))
    lower = made.optical("lower", centre=(x, y - 2340))
    recipe = fed(recipes["published-rerun"], "S2L2A")
    chip = read_chip(made.lock(S2L2A=[[upper, lower]]), recipe, reader).chip
    assert off(chip.layers["S2L2A"].data[0, 0], made.ramp.over(chip.grid)) < ROUNDING + 0.05
    with pytest.raises(ChipError, match=r"not scored: S2L2A \w+ of 2024-05-01 has \d+\.\d% valid"):
        read_chip(made.lock(S2L2A=[[upper]]), recipe, reader)
    half = read_chip(made.lock(S2L2A=[[upper]]), recipe, reader, least_valid=0.3)
    assert {0.3 < v.fraction < 0.7 for v in half.valid} == {True}
    assert np.isnan(half.chip.layers["S2L2A"].data[0, :, -1]).all()


def test_a_scene_that_does_not_reach_the_chip_adds_nothing(
    tmp_path: Path, recipes: dict[str, Recipe], reader: CogReader
) -> None:
    made = country(tmp_path)
    far = made.optical("far", centre=(made.centre[0] + 30_000, made.centre[1]))
    recipe = fed(recipes["published-rerun"], "S2L2A")
    with_far = read_chip(made.lock(S2L2A=[[far, made.optical("A")]]), recipe, reader).chip
    assert off(with_far.layers["S2L2A"].data[0, 3], made.ramp.over(with_far.grid)) < ROUNDING + 0.05
    with pytest.raises(ChipError, match=r"not scored.* 0\.0% valid"):
        read_chip(made.lock(S2L2A=[[far]]), recipe, reader)


def test_dem_and_worldcover_are_laid_across_two_tiles(
    tmp_path: Path, recipes: dict[str, Recipe], reader: CogReader
) -> None:
    made = country(tmp_path, 32618, (-74.002, 40.7))
    height = Ramp(made.epsg, *made.centre, base=50, per_m=(0.01, 0.02))
    dem = [made.geographic("dem-w", "DEM", -74.06, 0.06, height), made.geographic("dem-e", "DEM", -74.0, 0.06, height)]
    cover = [made.geographic("wc-w", "LULC", -74.06, 0.06, 50), made.geographic("wc-e", "LULC", -74.0, 0.06, 80)]
    lock = made.lock(DEM=[dem], LULC=[cover])
    found = read_chip(lock, fed(recipes["published-rerun"], "DEM"), reader).chip
    assert off(found.layers["DEM"].data[0, 0], height.over(found.grid)) < 0.005  # 5 m along a slope of 1 % is 0.05 m
    assert found.layers["DEM"].unit == "m"
    codes = found.layers["LULC"].data[0, 0]
    assert set(np.unique(codes)) == {50, 80}  # no mean of codes at the edge
    (edge,) = set(map(int, np.argmax(codes == 80, axis=1)[112:113]))
    (x,), _ = project([-74.0], [40.7], 4326, made.epsg)
    assert abs(found.grid.transform[2] + edge * 10 - x) <= 10


def test_backscatter_is_masked_before_it_is_resampled(
    tmp_path: Path, recipes: dict[str, Recipe], reader: CogReader
) -> None:
    made = country(tmp_path)
    scene = made.radar("R")
    lock = made.lock(S1RTC=[[scene]])
    x0 = round((made.centre[0] - made.side_m / 2) / 60) * 60
    edge = Grid(made.epsg, (10, 0, x0 + 3.0, 0, -10, made.centre[1] + 160), 32, 32)
    chip = read_chip(lock, fed(recipes["published-rerun"], "S1RTC"), reader, grid=edge, least_valid=0.5).chip
    data = chip.layers["S1RTC"].data[0, 0]
    assert np.isnan(data[:, :2]).all()  # centres at 8, 18: in columns 0 and 1, -32768 and 0
    assert np.isnan(data[:, 2]).all()  # at 28, in column 2, the negative one
    assert off(data[:, 4:], made.ramp.over(edge)[:, 4:] * 1e-5) < 1e-6
    assert np.nanmin(data) > 0.9 * made.ramp.over(edge).min() * 1e-5  # no -32768 in any kernel
    assert chip.layers["S1RTC"].unit == "linear power"


@pytest.mark.parametrize("band", ["B02", "B05", "B01"])
def test_a_gap_keeps_its_outline_and_spoils_no_neighbour(
    band: str, tmp_path: Path, recipes: dict[str, Recipe], reader: CogReader
) -> None:
    made = country(tmp_path)

    def hole(values: Floats, x: Floats, y: Floats) -> Floats:
        out = values.copy()
        out[len(out) // 2, len(out) // 2] = 0
        return out

    scene = made.optical("A", shape=hole)
    recipe = fed(recipes["published-rerun"], "S2L2A")
    chip = read_chip(made.lock(S2L2A=[[scene]]), recipe, reader).chip
    c = chip.layers["S2L2A"].bands.index(band)
    data = chip.layers["S2L2A"].data[0, c]
    gap = np.isnan(data)
    gsd = GSD[band]
    assert gap.sum() == (gsd / 10) ** 2
    wanted = made.ramp.over(chip.grid)
    assert float(np.abs(data - wanted)[~gap].max()) < ROUNDING + 0.05 + 0.7 * gsd  # one-sided next to the hole, never 0
    assert float(np.abs(data - wanted)[~np.isnan(data)].mean()) < 0.3


def test_one_band_with_a_gap_leaves_the_others_whole(
    tmp_path: Path, recipes: dict[str, Recipe], reader: CogReader
) -> None:
    made = country(tmp_path)
    scene = made.optical("A")
    holed = made.optical("H", bands=["B03"], shape=lambda v, x, y: np.where(x < made.centre[0], 0, v))
    mixed = scene.model_copy(update={"assets": {**scene.assets, **holed.assets}})
    recipe = fed(recipes["published-rerun"], "S2L2A")
    found = read_chip(made.lock(S2L2A=[[mixed]]), recipe, reader, least_valid=0.4)
    by_band = {v.band: v.fraction for v in found.valid}
    assert by_band.pop("B03") == pytest.approx(0.5, abs=0.01)
    assert set(by_band.values()) == {1.0}


def mixed_lock(made: Country) -> tuple[AoiLock, Scene, Scene]:
    old = made.optical("old", "2021-06-01", "03.01")
    new = made.optical("new", "2024-06-01", "05.10", plus=1000)
    return made.lock(S2L2A=[[old], [new]]), old, new


def test_mixed_baselines_are_refused_raw_and_levelled_item_by_item(
    tmp_path: Path, recipes: dict[str, Recipe], reader: CogReader
) -> None:
    made = country(tmp_path)
    lock, old, new = mixed_lock(made)
    raw = fed(recipes["published-rerun"], "S2L2A")
    with pytest.raises(ChipError, match=r"mixed processing baselines: old \+0, new \+1000"):
        read_chip(lock, raw, reader)
    level = raw.model_copy(update={"s2_offset": raw.s2_offset.model_copy(update={"policy": "harmonise"})})
    found = read_chip(lock, level, reader)
    assert found.chip.s2_offset == 0
    assert off(found.chip.layers["S2L2A"].data[1, 2], made.ramp.over(found.chip.grid)) < ROUNDING + 0.05
    assert "new +1000" in found.remarks[0]
    # within one date: two tiles of two baselines are levelled before they are laid together
    one = read_chip(made.lock(S2L2A=[[old, new]]), level, reader).chip
    assert off(one.layers["S2L2A"].data[0, 2], made.ramp.over(one.grid)) < ROUNDING + 0.05
    alone = read_chip(made.lock(S2L2A=[[new]]), level, reader).chip
    assert alone.s2_offset == 1000
    assert off(alone.layers["S2L2A"].data[0, 2], made.ramp.over(alone.grid) + 1000) < ROUNDING + 0.05


def test_an_unknown_baseline_beside_a_known_one_is_refused(
    tmp_path: Path, recipes: dict[str, Recipe], reader: CogReader
) -> None:
    made = country(tmp_path)
    lock = made.lock(S2L2A=[[made.optical("A")], [made.optical("B", baseline=None)]])
    with pytest.raises(ChipError, match=r"do not state their processing baseline.*B unknown"):
        read_chip(lock, fed(recipes["published-rerun"], "S2L2A"), reader)


def test_a_missing_asset_is_an_error_and_no_band_of_zeros(
    tmp_path: Path, recipes: dict[str, Recipe], reader: CogReader
) -> None:
    made = country(tmp_path)
    scene = made.optical("A")
    scene = scene.model_copy(update={"assets": {k: v for k, v in scene.assets.items() if k != "B09"}})
    with pytest.raises(SourceError, match="sentinel-2-l2a/A has no asset with B09"):
        read_chip(made.lock(S2L2A=[[scene]]), fed(recipes["published-rerun"], "S2L2A"), reader)
    faults.record(
        "reading", "an asset is missing from the item", "one clear error", "names AOI, item and band; no chip"
    )


def test_other_faults_of_a_lock_are_said(tmp_path: Path, recipes: dict[str, Recipe], reader: CogReader) -> None:
    made = country(tmp_path)
    scene = made.optical("A")
    recipe = fed(recipes["published-rerun"], "S2L2A")
    other = scene.model_copy(update={"epsg": 32617})
    with pytest.raises(SourceError, match=r"EPSG:32618, the lock says EPSG:32617"):
        read_chip(made.lock(S2L2A=[[other]]), recipe, reader)
    with pytest.raises(ChipError, match="t0 has no scene"):
        read_chip(made.lock(S2L2A=[[]]), recipe, reader)
    gap = made.lock(S2L2A=[[scene], [scene]])
    gap = gap.model_copy(update={"timesteps": [gap.timesteps[1]]})
    with pytest.raises(ChipError, match=r"timesteps \[1\]"):
        read_chip(gap, recipe, reader)
    with pytest.raises(RecipeError, match="as they are given"):
        read_chip(made.lock(S2L2A=[[scene]]), fed(recipes["pretraining"], "S2L2A"), reader)


def whole(tmp_path: Path, reader: CogReader, recipe: Recipe, store: Store | None) -> tuple[Assembled, AoiLock]:
    made = country(tmp_path)
    height = Ramp(made.epsg, *made.centre, base=50, per_m=(0.01, 0.02))
    lock = made.lock(
        S2L2A=[[made.optical(f"S{i}", f"2024-0{4 + i}-01", plus=40 * i)] for i in range(4)],
        S1RTC=[[made.radar(f"R{i}", f"2024-0{4 + i}-02")] for i in range(4)],
        DEM=[[made.geographic("dem", "DEM", -74.02, 0.08, height)]],
    )
    return read_chip(lock, recipe, reader, store), lock


def test_a_chip_from_a_lock_goes_through_the_recipe_as_any_chip(
    tmp_path: Path, recipes: dict[str, Recipe], reader: CogReader
) -> None:
    recipe = recipes["published-rerun"]
    store = Store(tmp_path / "store")
    found, lock = whole(tmp_path, reader, recipe, store)
    assert isinstance(found.chip, Chip)
    assert (found.read, found.stored) == (57, 0)
    assert found.chip.layers["S2L2A"].dates == ("2024-04-01", "2024-05-01", "2024-06-01", "2024-07-01")
    inputs = to_inputs(found.chip, recipe)
    assert inputs.arrays["S2L2A"].shape == (12, 4, 224, 224)
    assert inputs.arrays["S1RTC"].shape == (2, 4, 224, 224)
    again = read_chip(lock, recipe, reader, store)
    assert (again.read, again.stored) == (0, 57)
    assert again.chip.sha256 == found.chip.sha256
    # an ablation over recipes finds everything in the store
    other = read_chip(lock, recipes["training-code"], reader, store)
    assert other.read == 0
    assert other.chip.grid.height_px == 256
    assert store.verify().sound


def test_a_file_of_another_band_count_is_refused(tmp_path: Path, recipes: dict[str, Recipe], reader: CogReader) -> None:
    made = country(tmp_path)
    scene = made.optical("A")
    twin = scene.assets["B02"].model_copy(update={"bands": ["B02", "B03"]})
    odd = scene.model_copy(update={"assets": {**scene.assets, "B02": twin}})
    with pytest.raises(SourceError, match="1 bands, the lock says 2"):
        read_chip(made.lock(S2L2A=[[odd]]), fed(recipes["published-rerun"], "S2L2A"), reader)
