"""Which scenes make a chip, with the true footprints of the tiles around New York."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.chips.chip import Grid
from harness.chips.coverage import bbox, bounds, chip_grid, cover, drawing_error_m, gap, touches
from harness.chips.items import PLANETARY_COMPUTER, Candidate, candidate
from harness.chips.recipe import Dates
from harness.chips.select import (
    Acquisition,
    DateRule,
    Sight,
    choose_dates,
    choose_passes,
    complete,
    date_rule,
    day,
    deduplicated,
    mosaic,
    one_offset,
    ordered,
    passes,
    sight,
    static_mosaic,
)
from tests.services import made_items as made

PLACES = {
    "st_george": (-74.075, 40.643),
    "jamaica": (-73.794, 40.702),
    "jfk": (-73.778, 40.640),
    "pelham": (-73.808, 40.871),
    "brooklyn_downtown": (-73.989, 40.692),
    "hudson_yards": (-74.000, 40.755),
    "lower_waterfront": (-74.014, 40.706),
    "midtown": (-73.984, 40.755),
    "jamaica_bay": (-73.840, 40.610),
    "coney_island": (-73.970, 40.575),
    "greenbelt": (-74.150, 40.585),
}
TILES = ("18TWL", "18TWK", "18TXL", "18TXK")


def read(item: dict[str, Any], modality: str = "S2L2A") -> Candidate:
    out = candidate(item, modality, PLANETARY_COMPUTER)
    assert isinstance(out, Candidate), out
    return out


def tile(name: str, **more: Any) -> Candidate:
    return read(made.s2(tile=name, **more))


def reached(place: str, size: int) -> dict[str, str]:
    """By tile that reaches the chip: what it leaves empty."""
    grid = chip_grid(PLACES[place], size)
    masks = {name: cover(tile(name), grid).possible for name in TILES}
    return {name: gap(mask) for name, mask in masks.items() if mask.any()}


def test_the_four_tiles_lie_where_the_products_lie() -> None:
    # 47XML and 53NKG as recorded items state them; 18TWL and 18TXL share 9.78 km
    assert made.tile_box("47XML", 81)[1] == (399_960, 8_990_220, 509_760, 9_100_020)
    assert made.tile_box("53NKG", 6)[1] == (199_980, 590_220, 309_780, 700_020)
    assert [made.tile_box(name)[1][0] for name in TILES] == [499_980, 499_980, 600_000, 600_000]
    assert [made.tile_box(name)[1][3] for name in TILES] == [4_600_020, 4_500_000, 4_600_020, 4_500_000]


@pytest.mark.parametrize(
    ("place", "size", "tiles"),
    [
        ("st_george", 224, {"18TWL": "no pixel empty", "18TWK": "66 of 224 rows empty"}),
        ("st_george", 256, {"18TWL": "no pixel empty", "18TWK": "82 of 256 rows empty"}),
        ("jamaica", 224, {"18TWL": "no pixel empty", "18TXL": "no pixel empty"}),
        ("jamaica", 256, {"18TWL": "no pixel empty", "18TXL": "no pixel empty"}),
        (
            "jfk",
            224,
            {
                "18TWL": "no pixel empty",
                "18TWK": "63 of 224 rows empty",
                "18TXL": "no pixel empty",
                "18TXK": "63 of 224 rows empty",
            },
        ),
        (
            "jfk",
            256,
            {
                "18TWL": "no pixel empty",
                "18TWK": "79 of 256 rows empty",
                "18TXL": "no pixel empty",
                "18TXK": "79 of 256 rows empty",
            },
        ),
        ("pelham", 224, {"18TWL": "no pixel empty", "18TXL": "67 of 224 columns empty"}),
        ("pelham", 256, {"18TWL": "no pixel empty", "18TXL": "83 of 256 columns empty"}),
        ("midtown", 224, {"18TWL": "no pixel empty"}),
        ("midtown", 256, {"18TWL": "no pixel empty"}),
        *[
            (place, size, {"18TWL": "no pixel empty", "18TWK": "no pixel empty"})
            for place in ("jamaica_bay", "coney_island", "greenbelt")
            for size in (224, 256)
        ],
    ],
)
def test_what_each_tile_leaves_empty(place: str, size: int, tiles: dict[str, str]) -> None:
    assert reached(place, size) == tiles


@pytest.mark.parametrize(
    ("corner", "gaps"),
    [
        ((499_980, 4_600_020), "112 of 224 rows and 112 of 224 columns empty"),
        ((609_780, 4_490_220), "112 of 224 rows and 112 of 224 columns empty"),
        ((550_000, 4_490_220), "112 of 224 rows empty"),
        ((609_780, 4_550_000), "112 of 224 columns empty"),
    ],
)
def test_all_four_edges_of_a_tile_cut(corner: tuple[float, float], gaps: str) -> None:
    # the footprint is drawn too large on purpose: the raster's own edge decides
    west, north = corner[0] - 1120, corner[1] + 1120
    grid = Grid(32618, (10.0, 0.0, west, 0.0, -10.0, north), 224, 224)
    large = tile("18TWL", footprint=made.polygon(32618, (480_000, 4_470_000, 630_000, 4_620_000), pieces=40))
    assert gap(cover(large, grid).possible) == gaps


@pytest.mark.parametrize("size", [224, 256])
@pytest.mark.parametrize("place", list(PLACES))
def test_no_chip_has_an_empty_strip_whatever_order_tiles_come_in(place: str, size: int) -> None:
    grid = chip_grid(PLACES[place], size)
    found = [tile(name) for name in TILES]
    for seed in range(4):
        random.Random(seed).shuffle(found)  # noqa: S311
        whole, dropped = complete(found, grid)
        southern = place in ("jamaica_bay", "coney_island", "greenbelt")  # two tiles fill these: the first by name
        assert [[c.scene.tile for c in a.scenes] for a in whole] == [["18TWK" if southern else "18TWL"]]
        assert (whole[0].sure, whole[0].gap, dropped) == (1.0, "no pixel empty", {})


@pytest.mark.parametrize("size", [224, 256])
@pytest.mark.parametrize(
    ("place", "partial"), [("st_george", ["18TWK"]), ("jfk", ["18TWK", "18TXK"]), ("pelham", ["18TXL"])]
)
def test_a_date_that_would_leave_a_strip_empty_is_not_used(place: str, partial: list[str], size: int) -> None:
    whole, dropped = complete([tile(name) for name in partial], chip_grid(PLACES[place], size))
    assert (whole, dropped) == ([], {"part of the chip empty": 1})


def cut(west: float, south: float, east: float, north: float) -> dict[str, Any]:
    return made.polygon(32618, (west, south, east, north), pieces=40)


def test_two_halves_make_a_whole_most_certain_first() -> None:
    # the swath's data end inside both tiles: the northern one lacks the chip's south, and the reverse
    grid = chip_grid(PLACES["jfk"], 224)
    _, south, _, north = bounds(grid)
    north_part = tile("18TWL", footprint=cut(500_000, south + 900, 609_780, 4_600_000))
    south_part = tile("18TWK", footprint=cut(500_000, 4_400_000, 609_780, north - 700))
    laid = mosaic([south_part, north_part], grid)
    assert laid is not None
    # 18TWK lacks 63 rows in the north by its raster and more by its data, 18TWL 90 in the south by its data
    assert sorted(c.scene.tile or "" for c in laid.scenes) == ["18TWK", "18TWL"]
    assert laid.gap == "no pixel empty"
    covers = [cover(c, grid).sure for c in laid.scenes]
    assert covers[0].sum() >= covers[1].sum()
    alone = mosaic([south_part], grid)
    assert alone is not None
    assert alone.gap == "63 of 224 rows empty"


def test_a_footprint_edge_is_doubted_by_its_drawing_error() -> None:
    grid = chip_grid(PLACES["midtown"], 224)
    _, south, _, _ = bounds(grid)
    edge = south + 1120
    seen = cover(tile("18TWL", footprint=cut(500_000, edge, 609_780, 4_600_000)), grid)
    slack = drawing_error_m(40.755)
    assert 280 < slack < 320
    sure_rows, possible_rows = int(seen.sure.all(axis=1).sum()), int(seen.possible.all(axis=1).sum())
    assert sure_rows == pytest.approx(112 - slack / 10, abs=1)
    assert possible_rows == pytest.approx(112 + slack / 10, abs=1)


def test_a_tile_drawn_with_four_corners_still_fills_a_chip_in_its_middle() -> None:
    grid = chip_grid((-74.3, 41.0), 224)
    assert cover(tile("18TWL"), grid).sure.all()


@pytest.mark.parametrize("size", [224, 256])
@pytest.mark.parametrize(
    ("place", "two"),
    [
        ("brooklyn_downtown", (True, True)),
        ("hudson_yards", (True, True)),
        ("lower_waterfront", (False, True)),
        ("midtown", (False, False)),
    ],
)
def test_the_edge_of_two_dem_cells_at_74_west(place: str, two: tuple[bool, bool], size: int) -> None:
    grid = chip_grid(PLACES[place], size)
    cells = [read(made.dem(40, -74), "DEM"), read(made.dem(40, -75), "DEM")]
    crossed = all(cover(c, grid).sure.any() for c in cells)
    assert crossed is two[0 if size == 224 else 1]
    laid = static_mosaic(cells, grid)
    assert laid is not None
    assert laid.sure == 1.0
    assert len(laid.scenes) == 1 + crossed


def test_the_ring_for_resampling_counts_and_one_cell_alone_says_what_it_lacks() -> None:
    # the lower waterfront's chip of 224 px ends 40 m west of the seam: more than one DEM pixel, less than two
    grid = chip_grid(PLACES["lower_waterfront"], 224)
    east = read(made.dem(40, -74), "DEM")
    assert not touches(east, grid, 1)
    assert touches(east, grid, 2)
    alone = static_mosaic([east], chip_grid(PLACES["hudson_yards"], 224))
    assert alone is not None
    assert 0 < alone.sure < 1
    assert "columns" in alone.gap
    assert static_mosaic([], grid) is None
    assert static_mosaic([read(made.dem(50, 0), "DEM")], grid) is None


def test_a_scene_of_the_neighbouring_zone_is_judged_in_its_own_system() -> None:
    # 72 W is the edge of zones 18 and 19; a chip on it in zone 18 is filled by a tile of zone 19
    grid = chip_grid((-72.001, 41.2), 224)
    assert grid.epsg == 32618
    other = tile("19TBF")
    assert other.scene.epsg == 32619
    assert cover(other, grid).sure.any()


@pytest.mark.parametrize("size", [16, 224, 225, 256])
def test_a_grid_is_centred_and_snapped_to_whole_pixels(size: int) -> None:
    grid = chip_grid(PLACES["midtown"], size)
    west, south, east, north = bounds(grid)
    assert west % 10 == north % 10 == 0
    assert (east - west, north - south) == (size * 10, size * 10)
    lo, la = PLACES["midtown"]
    degrees = bbox(grid)
    assert abs((degrees[0] + degrees[2]) / 2 - lo) < 1e-4
    assert abs((degrees[1] + degrees[3]) / 2 - la) < 1e-4


def test_of_two_processings_the_newest_stays() -> None:
    old = tile("18TWL", baseline="04.00", made="2024-06-16T20:00:00Z")
    new = tile("18TWL", baseline="05.10", made="2024-08-01T00:00:00Z")
    other = tile("18TWK", baseline="04.00", made="2024-06-16T20:00:00Z")
    for found in ([old, new, other, new], [new, other, new, old]):
        kept, dropped = deduplicated(found)
        assert {c.scene.item for c in kept} == {new.scene.item, other.scene.item}
        assert dropped == {"older processing": 1, "duplicate": 1}


@pytest.mark.parametrize("names", [("S2A_1", "S2A_2"), ("S2A_2", "S2A_1")])
def test_the_time_of_processing_decides_and_not_the_name(names: tuple[str, str]) -> None:
    old = _renamed(tile("18TWL", baseline="05.10", made="2024-06-16T20:00:00Z"), names[0])
    new = _renamed(tile("18TWL", baseline="05.00", made="2024-08-01T00:00:00Z"), names[1])
    assert deduplicated([new, old])[0] == [new]


def test_another_satellite_or_moment_is_no_duplicate() -> None:
    found = [tile("18TWL"), tile("18TWL", platform="Sentinel-2B"), tile("18TWL", when="2024-06-16T15:39:10.024000Z")]
    kept, dropped = deduplicated(found)
    assert (len(kept), dropped) == (3, {})


@given(st.permutations(range(6)))
def test_order_in_is_not_order_out(order: list[int]) -> None:
    found = [tile(name, when=f"2024-0{m}-16T15:39:09.024000Z") for m in (4, 5, 6) for name in ("18TWL", "18TWK")]
    assert ordered([found[i] for i in order]) == ordered(found)
    assert deduplicated([found[i] for i in order]) == deduplicated(found)


def test_a_pass_is_one_satellite_one_orbit_a_few_minutes() -> None:
    first = tile("18TWL")
    later = tile("18TWK", when="2024-06-16T15:43:09.024000Z")
    orbit = tile("18TWK", when="2024-06-16T15:43:09.024000Z", orbit=54)
    other = tile("18TWK", platform="Sentinel-2B")
    much = tile("18TWK", when="2024-06-16T15:59:09.024000Z")
    assert [len(g) for g in passes([much, other, orbit, later, first])] == [1, 2, 1, 1]


def test_cloud_is_judged_on_valid_pixels() -> None:
    scl = np.array([[0, 0, 4, 5], [3, 8, 9, 10], [6, 7, 11, 2], [1, 4, 4, 4]])
    assert sight(scl) == Sight(cloud=4 / 14, valid=14 / 16)
    nothing = sight(np.zeros((2, 2), dtype=np.uint8))
    assert np.isnan(nothing.cloud)
    assert nothing.valid == 0


GRID = chip_grid(PLACES["midtown"], 16)


def dates(*days: str, **more: Any) -> list[Acquisition]:
    found = [tile("18TWL", when=f"{d}T15:39:09.024000Z", **more) for d in days]
    return complete(found, GRID)[0]


def season(distinct: int = 4, **more: Any) -> DateRule:
    return DateRule(distinct, 1, day("2024-04-01"), day("2024-09-30", end=True), **more)


def seen(found: list[Acquisition], *clouds: float, valid: float = 1.0) -> dict[str, Sight]:
    return {a.id: Sight(c, valid) for a, c in zip(found, clouds, strict=True)}


def test_four_dates_are_spread_over_the_season() -> None:
    found = dates("2024-04-05", "2024-04-20", "2024-06-01", "2024-06-20", "2024-07-15", "2024-09-01", "2024-09-28")
    out = choose_dates(found, seen(found, 0.1, 0.0, 0.0, 0.1, 0.0, 0.05, 0.0), season())
    assert [str(a.when.date()) for a in out.chosen] == ["2024-04-20", "2024-06-01", "2024-07-15", "2024-09-28"]
    assert out.dropped == {"not chosen": 3}
    assert out.why[0] == (
        "2024-04-20: least cloud of 2 dates in period 1 of 4; cloud on the chip 0.0% (limit 20%), data 100.0%"
    )


def test_a_period_without_a_date_gives_its_turn_to_the_farthest() -> None:
    found = dates("2024-04-05", "2024-04-20", "2024-05-10", "2024-07-15", "2024-09-01")
    out = choose_dates(found, seen(found, 0.0, 0.1, 0.1, 0.1, 0.1), season())
    assert [str(a.when.date()) for a in out.chosen] == ["2024-04-05", "2024-05-10", "2024-07-15", "2024-09-01"]
    assert "period 2 of 4 has no usable date" in out.why[1]


def test_evenly_spaced_in_the_list() -> None:
    found = dates(*(f"2024-0{m}-1{d}" for m in (4, 5, 6) for d in (1, 4, 7)), "2024-09-01")
    out = choose_dates(found, seen(found, *[0.0] * 10), season(spread="list"))
    assert [found.index(a) for a in out.chosen] == [0, 3, 6, 9]


@pytest.mark.parametrize(
    ("cloud", "valid", "reason"),
    [
        (0.3, 1.0, "cloud on the chip"),
        (float("nan"), 1.0, "cloud on the chip"),
        (0.0, 0.5, "too little data on the chip"),
        (0.0, float("nan"), "too little data on the chip"),
        (None, None, "scene classification not readable"),
    ],
)
def test_a_date_that_cannot_be_used_is_counted_and_never_replaced(
    cloud: float | None, valid: float, reason: str
) -> None:
    found = dates("2024-04-05", "2024-05-20", "2024-07-15", "2024-09-01")
    sights = seen(found, 0.0, 0.0, 0.0, 0.0)
    if cloud is None:
        del sights[found[1].id]
    else:
        sights[found[1].id] = Sight(cloud, valid)
    out = choose_dates(found, sights, season())
    assert out.chosen == ()
    assert out.dropped == {reason: 1}
    assert out.why == (f"4 dates are wanted, 3 of 4 can be used (1 {reason})",)


def test_dates_outside_the_window_are_not_used() -> None:
    found = dates("2024-03-31", "2024-04-01", "2024-09-30", "2024-10-01")
    out = choose_dates(found, seen(found, *[0.0] * 4), season(distinct=2))
    assert [str(a.when.date()) for a in out.chosen] == ["2024-04-01", "2024-09-30"]
    assert out.dropped == {"outside the window": 2}


@given(
    st.lists(st.tuples(st.integers(0, 182), st.floats(0, 1)), max_size=12, unique_by=lambda p: p[0]),
    st.integers(1, 4),
    st.sampled_from(["season", "list"]),
)
def test_exactly_the_wanted_dates_or_a_refusal(points: list[tuple[int, float]], wanted: int, spread: Any) -> None:
    base = dates("2024-04-05")[0]
    found = [
        Acquisition(season().start + timedelta(days=d), (_renamed(base.scenes[0], str(d)),), 1.0, 1.0, "")
        for d, _ in points
    ]
    rule = season(distinct=wanted, spread=spread)
    out = choose_dates(found, seen(found, *[c for _, c in points]), rule)
    usable = sum(c <= rule.cloud_max for _, c in points)
    assert len(out.chosen) == (wanted if usable >= wanted else 0)
    assert len({a.id for a in out.chosen}) == len(out.chosen)
    assert list(out.chosen) == sorted(out.chosen, key=lambda a: a.when)
    assert len(out.chosen) + sum(out.dropped.values()) == (len(found) if out.chosen else len(found) - usable)


def _renamed(one: Candidate, name: str) -> Candidate:
    scene = one.scene.model_copy(update={"item": name})
    return Candidate(scene, one.modality, one.box, one.footprint, one.processed)


@pytest.mark.parametrize(
    ("policy", "count", "window", "expected"),
    [
        ("one", 1, None, (1, 1, 0.2, "season")),
        ("repeat", 4, "2020-01-01 to 2025-12-31, cloud <= 30 %", (1, 4, 0.3, "season")),
        (
            "distinct",
            4,
            "2024-04-01 to 2024-09-30, cloud under 20 %, evenly spaced in the list",
            (4, 1, 0.2, "list"),
        ),
    ],
)
def test_a_recipes_dates(policy: Any, count: int, window: str | None, expected: tuple[Any, ...]) -> None:
    rule = date_rule(Dates(policy=policy, count=count, window=window), day("2024-04-01"), day("2024-09-30", end=True))
    assert isinstance(rule, DateRule)
    assert (rule.distinct, rule.repeat, rule.cloud_max, rule.spread) == expected


def test_dates_as_given_cannot_be_searched_for() -> None:
    rule = date_rule(Dates(policy="given", count=1), day("2024-04-01"), day("2024-09-30"))
    assert isinstance(rule, str)
    assert "nothing to search for" in rule


def radar(*passes_: tuple[str, str], **more: Any) -> list[Acquisition]:
    found = [read(made.s1(when=f"{d}T22:51:00.000000Z", state=s, **more), "S1RTC") for d, s in passes_]
    return complete(found, GRID)[0]


def test_radar_is_of_one_direction_and_nearest_in_time() -> None:
    wanted = [day("2024-04-10"), day("2024-07-10")]
    found = radar(
        ("2024-04-10", "ascending"),
        ("2024-04-08", "descending"),
        ("2024-04-14", "descending"),
        ("2024-07-12", "descending"),
        ("2024-07-20", "ascending"),
    )
    out = choose_passes(wanted, found)
    # ascending is nearest once, but 10 days off the other time: descending is nearer in sum
    assert [a.orbit_state for a in out.chosen] == ["descending", "descending"]
    assert [str(a.when.date()) for a in out.chosen] == ["2024-04-08", "2024-07-12"]
    assert out.why[0] == "2024-04-08: descending, 1.0 days from 2024-04-10 (window 12 days)"
    assert out.dropped == {"not chosen": 3}


def test_directions_are_never_mixed_even_where_that_leaves_nothing() -> None:
    wanted = [day("2024-04-10"), day("2024-07-10")]
    out = choose_passes(wanted, radar(("2024-04-10", "ascending"), ("2024-07-10", "descending")))
    assert out.chosen == ()
    assert "within 12 days of every date" in out.why[0]


def test_a_pass_outside_the_window_is_not_nearest_enough() -> None:
    wanted = [day("2024-04-10")]
    assert choose_passes(wanted, radar(("2024-04-22", "ascending"))).chosen == ()
    assert len(choose_passes(wanted, radar(("2024-04-21", "ascending"))).chosen) == 1
    assert choose_passes(wanted, []).chosen == ()


def test_two_slices_of_a_pass_are_laid_together() -> None:
    grid = chip_grid(PLACES["midtown"], 224)
    _, south, _, north = bounds(grid)
    middle = (south + north) / 2
    box = (480_000.0, 4_400_000.0, 740_000.0, 4_620_000.0)
    upper = made.s1(when="2024-06-15T22:51:25Z", box=(box[0], middle - 600, box[2], box[3]))
    lower = made.s1(when="2024-06-15T22:51:00Z", box=(box[0], box[1], box[2], middle + 600))
    whole, _ = complete([read(upper, "S1RTC"), read(lower, "S1RTC")], grid)
    assert [len(a.scenes) for a in whole] == [2]
    alone, dropped = complete([read(upper, "S1RTC")], grid)
    assert (alone, dropped) == ([], {"part of the chip empty": 1})


def test_raw_recipes_take_one_offset() -> None:
    new = dates("2024-04-05", "2024-05-05")
    old = dates("2024-06-05", baseline="02.14")
    unknown = dates("2024-07-05", baseline="?")
    kept, dropped = one_offset([*old, *new, *unknown])
    assert kept == new
    assert dropped == {"offset unknown or mixed": 1, "another offset": 1}
    assert one_offset(unknown) == ([], {"offset unknown or mixed": 1})
    assert one_offset([]) == ([], {})


def test_a_mosaic_of_two_offsets_is_refused_for_raw_recipes() -> None:
    new, old = dates("2024-04-05")[0], dates("2024-04-05", baseline="02.14")[0]
    mixed = Acquisition(new.when, (*new.scenes, *old.scenes), 1.0, 1.0, "")
    assert one_offset([mixed]) == ([], {"offset unknown or mixed": 1})


def test_no_scene_no_mosaic() -> None:
    grid: Grid = chip_grid((10.0, 50.0), 224)
    assert mosaic([tile("18TWL")], grid) is None
    assert complete([tile("18TWL")], grid) == ([], {"no pixel on the chip": 1})
