"""Footprints on a grid: the same pixels as an independent method, and no label where nobody can say."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pytest
import shapely
from numpy.typing import NDArray
from pyproj import Transformer
from shapely.geometry import mapping
from shapely.geometry.base import BaseGeometry

from harness.chips.chip import Grid
from harness.chips.footprints import Footprint, fetch_boroughs, footprints, outline
from harness.chips.rasterise import (
    RULES,
    STOOD,
    TRAINING_CODE,
    box_of,
    building_label,
    covered,
    fetch_label,
    has_footprints,
)
from harness.chips.sources.socrata import BOROUGHS, FOOTPRINTS, Socrata, read_snapshot
from harness.errors import ChipError
from tests.services.socrata import Portal, serving

GRID = Grid(32618, (10.0, 0.0, 585000.0, 0.0, -10.0, 4510000.0), 64, 48)
"""In Brooklyn; taller than wide, so that swapped axes show."""

TO_DEGREES = Transformer.from_crs(32618, 4326, always_xy=True)


def degrees(shape: BaseGeometry) -> BaseGeometry:
    """A shape given in metres of the grid's system, in longitude and latitude."""
    return shapely.transform(shape, TO_DEGREES.transform, interleaved=False)


def footprint(shape: BaseGeometry, year: int | None = 1931, code: int = 2100) -> Footprint:
    """A standing building of that outline, given in metres."""
    return Footprint("row", code, year, "constructed", date(2017, 8, 22), degrees(shape))


def by_points(shapes: list[BaseGeometry], grid: Grid, every: int = 1) -> NDArray[np.float64]:
    """Share of a pixel's sample points inside the shapes: every x every points, each asked of the polygons in degrees.

    With one point a pixel it is the pixel's centre. Shapely and pyproj only: no rasteriser takes part.
    """
    a, _, c, _, e, f = grid.transform
    steps = (np.arange(every) + 0.5) / every
    cols = (np.arange(grid.width_px)[:, None] + steps).ravel()
    rows = (np.arange(grid.height_px)[:, None] + steps).ravel()
    x, y = np.meshgrid(c + a * cols, f + e * rows)
    lon, lat = Transformer.from_crs(grid.epsg, 4326, always_xy=True).transform(x, y)
    inside = shapely.contains_xy(shapely.union_all(shapes), lon, lat)
    out: NDArray[np.float64] = inside.reshape(grid.height_px, every, grid.width_px, every).mean(axis=(1, 3))
    return out


def city_blocks(seed: int) -> list[BaseGeometry]:
    """Turned rectangles, one with a courtyard, of 5 to 120 m, some over the grid's edge."""
    random = np.random.default_rng(seed)
    shapes: list[BaseGeometry] = []
    for _ in range(40):
        x, y = 585000 + random.uniform(-40, 520), 4510000 - random.uniform(-40, 680)
        w, h = random.uniform(5, 120, 2)
        outer = shapely.affinity.rotate(shapely.box(x, y, x + w, y + h), random.uniform(0, 90))
        hole = shapely.affinity.scale(outer, 0.4, 0.4)
        shapes.append(degrees(outer.difference(hole) if w > 80 else outer))
    return shapes


@pytest.mark.parametrize("seed", range(4))
def test_centres_agree_with_points_in_polygons(seed: int) -> None:
    shapes = city_blocks(seed)
    ours, theirs = covered(shapes, GRID), by_points(shapes, GRID) == 1
    assert 300 < theirs.sum() < 2800
    assert np.array_equal(ours, theirs)


def test_all_touched_takes_every_pixel_that_a_fine_sample_touches() -> None:
    shapes = city_blocks(9)
    touched, centres, share = covered(shapes, GRID, all_touched=True), covered(shapes, GRID), by_points(shapes, GRID, 8)
    assert touched[share > 0].all()
    assert touched.sum() > centres.sum()
    assert np.abs(share.mean() - centres.mean()) < 0.01  # the centre rule keeps the area, all_touched does not
    assert touched.mean() - share.mean() > 0.03


def test_a_known_rectangle_lies_at_the_right_pixels() -> None:
    shape = shapely.box(585000 + 30, 4510000 - 60, 585000 + 70, 4510000 - 50)
    ours = covered([degrees(shape)], GRID)
    expected = np.zeros((64, 48), bool)
    expected[5, 3:7] = True
    assert np.array_equal(ours, expected)


def test_outside_the_citys_land_is_unlabelled_and_not_background() -> None:
    city = degrees(shapely.box(585000, 4509000, 585240, 4511000))  # the west half is land, the east New Jersey
    on_pier = footprint(shapely.box(585300, 4509900, 585340, 4509940))
    in_town = footprint(shapely.box(585100, 4509900, 585140, 4509940))
    burnt = building_label([on_pier, in_town], city, GRID, date(2024, 7, 1), STOOD, Path("snapshot.json"))
    data = burnt.label.data
    assert data[:, :24].min() == 0
    assert (data[:, 24:] == -1).sum() == 64 * 24 - 16
    assert (data == 1).sum() == 32
    assert burnt.label.scheme == "footprints"
    assert burnt.label.ignore_index == -1
    theirs = building_label([on_pier, in_town], city, GRID, date(2024, 7, 1), TRAINING_CODE, Path("snapshot.json"))
    assert (theirs.label.data == 0).sum() == 64 * 48 - 32


def test_no_footprint_far_from_the_city_leaves_everything_unlabelled() -> None:
    nowhere = degrees(shapely.box(600000, 4509000, 600100, 4509100))
    burnt = building_label([], nowhere, GRID, date(2024, 7, 1), STOOD, Path("snapshot.json"))
    assert (burnt.label.data == -1).all()
    assert "none" in burnt.label.why


def test_the_date_decides_under_our_rule_and_not_under_the_training_codes() -> None:
    city = degrees(shapely.box(584000, 4509000, 586000, 4511000))
    old = footprint(shapely.box(585000, 4509990, 585010, 4510000))
    new = footprint(shapely.box(585020, 4509990, 585030, 4510000), year=2025)
    site = footprint(shapely.box(585040, 4509990, 585050, 4510000), code=5100)
    unknown = footprint(shapely.box(585060, 4509990, 585070, 4510000), year=None)
    rows = [old, new, site, unknown]
    ours = building_label(rows, city, GRID, date(2024, 7, 1), STOOD, Path("s"))
    assert ours.label.data[0, :8].tolist() == [1, 0, 0, 0, 0, 0, 1, 0]
    assert ours.standing.counts["unknown_year"] == 1
    assert "kept 2, unknown_year 1, built_later 1, feature_code 1" in ours.label.why
    theirs = building_label(rows, city, GRID, date(2024, 7, 1), TRAINING_CODE, Path("s"))
    assert theirs.label.data[0, :8].tolist() == [1, 0, 1, 0, 1, 0, 1, 0]
    assert (theirs.label.evidence, ours.label.evidence) == ("source", "inference")


def portal_row(shape: BaseGeometry) -> dict[str, object]:
    """A row of the footprints table, the outline given in metres."""
    return {
        "bin": "1",
        "doitt_id": "1",
        "construction_year": "1931",
        "feature_code": "2100",
        "last_status_type": "Constructed",
        "last_edited_date": "2017-08-22T00:00:00.000",
        "the_geom": mapping(degrees(shape)),
    }


def test_a_label_comes_from_the_portal_with_a_snapshot_that_gives_it_again(tmp_path: Path) -> None:
    land = shapely.box(584000, 4508000, 585240, 4511000)
    strips = [{"borocode": str(i + 1), "boroname": "x", "the_geom": mapping(degrees(land))} for i in range(5)]
    portal = Portal({FOOTPRINTS: [portal_row(shapely.box(585100, 4509900, 585140, 4509940))], BOROUGHS: strips})
    with serving(portal.app()) as address:
        client = Socrata(address)
        boroughs = fetch_boroughs(client)
        burnt = fetch_label(GRID, date(2024, 7, 1), boroughs, tmp_path, client=client)
        assert (burnt.label.data == 1).sum() == 16
        assert (burnt.label.data == -1).sum() == 64 * 24
        asked = len(portal.queries)
        again = read_snapshot(burnt.label.source)
        label = building_label(footprints(again), outline(boroughs), GRID, date(2024, 7, 1), STOOD, burnt.label.source)
        assert label.label.sha256 == burnt.label.sha256
        assert len(portal.queries) == asked


def test_whether_a_parent_has_footprints_is_counted_and_its_edge_looked_at() -> None:
    inside, edge = shapely.box(585200, 4509700, 585210, 4509710), shapely.box(584990, 4509700, 585001, 4509710)
    beyond = shapely.box(584980, 4509700, 584999, 4509710)
    portal = Portal({FOOTPRINTS: [portal_row(inside)]})
    with serving(portal.app()) as address:
        client = Socrata(address)
        assert has_footprints(GRID, client)
        assert len(portal.queries) == 1
        portal.tables[FOOTPRINTS] = [portal_row(edge)]
        assert has_footprints(GRID, client)
        portal.tables[FOOTPRINTS] = [portal_row(beyond)]
        assert not has_footprints(GRID, client)


def test_a_building_in_the_box_of_degrees_and_not_in_the_grid_is_no_footprint() -> None:
    parent = Grid(32618, (10.0, 0.0, 585000.0, 0.0, -10.0, 4510000.0), 1068, 1068)  # turned by 0.7 degrees
    west, _, _, north = box_of(parent)
    x, y = Transformer.from_crs(4326, 32618, always_xy=True).transform(west, north)
    assert x < 585000 - 60
    in_the_corner, beside_the_edge = (x + 25, y - 45, x + 45, y - 25), (584940, 4509400, 584960, 4509420)
    portal = Portal({FOOTPRINTS: [portal_row(shapely.box(*b)) for b in (in_the_corner, beside_the_edge)]})
    with serving(portal.app()) as address:
        assert not has_footprints(parent, Socrata(address))
        assert len(portal.queries) == 4  # a count of the inner box, then rows of the padded one between two counts


def test_rules_are_known_by_name() -> None:
    assert set(RULES) == {"training-code", "stood"}
    assert not any(rule.all_touched for rule in RULES.values())


def test_the_box_of_a_grid_encloses_its_corners_and_bent_edges() -> None:
    west, south, east, north = box_of(GRID)
    x, y = np.meshgrid(585000 + np.linspace(0, 480, 49), 4510000 - np.linspace(0, 640, 65))
    lon, lat = TO_DEGREES.transform(x, y)
    assert west <= lon.min() < west + 1e-6
    assert east - 1e-6 < lon.max() <= east
    assert south <= lat.min() < south + 1e-6
    assert north - 1e-6 < lat.max() <= north
    with pytest.raises(ChipError, match="rotated"):
        box_of(Grid(32618, (10.0, 1.0, 0.0, 1.0, -10.0, 0.0), 4, 4))
