"""Chips beside each other and beside training parents, on places whose distances are known by hand."""

from __future__ import annotations

import pytest

from harness.chips.cardsplit import CardSplit, GridRecord, ParentRecord, Part, windows
from harness.chips.chip import Grid
from harness.chips.coverage import chip_grid
from harness.chips.ground import Ground, centre, same_parent, share_ground

WEST, NORTH = 580_000.0, 4_520_000.0
"""UTM 18N, near New York."""


def parent(
    cell: str, part: Part, east_m: float = 0.0, read: bool = True, time: str = "2022-06-01T15:40:00"
) -> ParentRecord:
    """1068 px from the given corner eastwards."""
    at = Grid(32618, (10.0, 0.0, WEST + east_m, 0.0, -10.0, NORTH), 1068, 1068)
    return ParentRecord(
        cell=cell,
        part=part,
        s2_product="S2",
        s2_time=time,
        s1_product="S1",
        centre=centre(at),
        epsg=32618,
        grid=GridRecord(epsg=32618, transform=list(at.transform), height_px=1068, width_px=1068) if read else None,
        chips=windows(cell),
    )


def ground(*parents: ParentRecord) -> Ground:
    split = CardSplit(variant="lulc", revisions={}, found={}, labels=False, parents=list(parents))
    return Ground(split, "card-lulc.split.json", "ab" * 32)


def chip(east_m: float, south_m: float = 0.0, px: int = 224) -> Grid:
    return Grid(32618, (10.0, 0.0, WEST + east_m, 0.0, -10.0, NORTH - south_m), px, px)


def test_a_chip_inside_a_parent_shares_all_of_its_ground() -> None:
    found = ground(parent("452U_625L", "train")).beside(chip(0), ["2022-06-11", None, "2024-01-01"])
    assert (found.share, found.windows_share, found.validation_share) == (1.0, 1.0, 0.0)
    assert (found.distance_m, found.cell, found.days, found.exact) == (0.0, "452U_625L", 10, True)
    assert found.overlaps is True


def test_half_a_chip_over_the_edge_is_half() -> None:
    found = ground(parent("452U_625L", "train")).beside(chip(10_680 - 1_120), [])
    assert found.share == pytest.approx(0.5, abs=1e-3)
    # the last 44 px of a parent are in no window
    assert found.windows_share == pytest.approx((1_120 - 440) / 2_240, abs=1e-3)
    assert found.days is None


def test_touching_edges_share_nothing_and_lie_at_distance_zero_or_so() -> None:
    found = ground(parent("452U_625L", "train")).beside(chip(10_680), ["2022-06-01"])
    assert found.overlaps is False
    assert found.share == found.windows_share == 0.0
    assert found.distance_m == pytest.approx(0.0, abs=1.0)


def test_the_distance_is_from_edge_to_edge() -> None:
    found = ground(parent("452U_625L", "train")).beside(chip(10_680 + 5_000), [])
    # on the ground: UTM shrinks by 0.9997 here
    assert found.distance_m == pytest.approx(5_000, rel=1e-3)
    assert not found.overlaps


def test_validation_and_test_parents_are_no_training_ground() -> None:
    others = ground(
        parent("452U_626L", "val"), parent("452U_627L", "test"), parent("452U_620L", "train", 40_000)
    ).beside(chip(0), [])
    assert others.validation_share == 1.0
    assert others.share == 0.0
    assert (others.cell, others.parents) == ("452U_620L", 1)
    assert others.distance_m == pytest.approx(40_000 - 2_240, rel=1e-3)


def test_two_parents_over_one_chip_count_their_ground_once() -> None:
    found = ground(parent("452U_625L", "train"), parent("452U_624L", "train", 500)).beside(chip(1_000), [])
    assert found.share == 1.0


def test_parents_without_their_own_grid_are_called_so() -> None:
    found = ground(parent("452U_625L", "train", read=False)).beside(chip(0, 4_000), [])
    assert found.exact is False
    assert found.share == pytest.approx(1.0, abs=0.01)


def test_another_continent_has_a_distance_and_no_overlap() -> None:
    far = chip_grid((151.2, -33.9), 224)
    found = ground(parent("452U_625L", "train")).beside(far, ["2020-01-01"])
    assert found.overlaps is False
    assert found.distance_m == pytest.approx(15.99e6, rel=0.01)  # New York to Sydney


def test_a_split_without_training_parents_knows_nothing() -> None:
    found = ground(parent("452U_625L", "test")).beside(chip(0), [])
    assert found.share is None
    assert found.reason == "card-lulc.split.json has no training parent"


def test_ground_is_shared_across_zones_and_not_along_an_edge() -> None:
    assert share_ground(chip(0), chip(2_230))
    assert not share_ground(chip(0), chip(2_240))
    assert not share_ground(chip(0), chip(50_000))
    # one place cut in two zones: 72 degrees west parts 18 and 19
    one, other = chip_grid((-72.001, 41.0), 224), chip_grid((-71.999, 41.0), 224)
    assert one.epsg != other.epsg
    assert share_ground(one, other)


def test_windows_of_a_parent_are_known_by_name() -> None:
    assert same_parent("nyc_452U_625L_r0c0", "nyc_452U_625L_r3c1")
    assert not same_parent("nyc_452U_625L_r0c0", "nyc_452U_624L_r0c0")
    assert not same_parent("midtown", "midtown")
