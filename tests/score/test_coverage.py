"""The simulated coverage: page and file agree, what is promised holds, and the choice follows the rule."""

from __future__ import annotations

import itertools
import json
from typing import get_args

import numpy as np
import pytest
from pydantic import ValidationError

from harness.score.clusters import metric
from harness.score.interval import interval
from harness.score.resample import Limits
from harness.score.simulated import FILE, WANTED, Coverage, Kind, Row, best, coverage, told
from tests.score.coverage import (
    CLUSTERS,
    LEVEL,
    PAGE,
    REPLICATES,
    SAMPLES,
    as_text,
    differing,
    judged,
    limits,
    measure,
    simulate,
    truths,
    within,
)
from tests.score.coverage_page import page
from tests.score.worlds import WORLDS, spread

KINDS = get_args(Kind)


def row(method: str, covered: list[int], width: list[float], given: list[int] | None = None, world: str = "w") -> Row:
    return Row.model_validate(
        {
            "kind": "pooled",
            "world": world,
            "metric": "m",
            "method": method,
            "covered": covered,
            "given": given or [100] * len(covered),
            "width": width,
        }
    )


def made(*rows: Row, clusters: tuple[int, ...] = (4, 10)) -> Coverage:
    return Coverage(
        schema=1, seed=1, drawn=100, replicates=10, level=0.95, clusters=list(clusters), truths={}, rows=list(rows)
    )


def test_the_page_is_the_file() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(coverage())


def test_the_file_is_what_the_simulation_writes() -> None:
    assert FILE.read_text(encoding="utf-8") == as_text(coverage())
    assert (coverage().drawn, coverage().replicates, coverage().level) == (SAMPLES, REPLICATES, LEVEL)
    assert tuple(coverage().clusters) == CLUSTERS
    expected = {(kind, world.name, name) for world in WORLDS for kind, _, name, _, _ in judged(world)}
    assert {(r.kind, r.world, r.metric) for r in coverage().rows} == expected


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [20, 30, 35, 50, 400])
def test_from_twenty_clusters_on_the_used_interval_covers_93_percent(kind: Kind, n: int) -> None:
    each = told(kind, best(kind, n), n)
    assert each is not None
    assert each.coverage >= WANTED


@pytest.mark.parametrize("kind", KINDS)
def test_no_simulated_method_covers_better_than_the_used_one(kind: Kind) -> None:
    for n in (2, 4, 6, 10, 20, 50):
        chosen = told(kind, best(kind, n), n)
        assert chosen is not None
        for method in ("percentile", "bca", "jackknife_t", "t"):
            other = told(kind, method, n)
            if other is not None:
                assert min(other.coverage, LEVEL) <= min(chosen.coverage, LEVEL)


def test_the_even_worlds_have_the_spread_that_was_seen_between_scenes() -> None:
    assert spread(WORLDS[0], metric("mIoU"), 20_000) == pytest.approx(0.047, abs=0.002)
    assert spread(WORLDS[1], metric("mIoU"), 20_000) == pytest.approx(0.037, abs=0.002)


def test_rates_and_share_of_a_scene_go_together() -> None:
    m = WORLDS[0].draw(np.random.default_rng(1), (5_000,))[:, 0].astype(np.float64)
    share = m[:, 1].sum(-1) / m.sum((1, 2))
    recall, fpr = m[:, 1, 1] / m[:, 1].sum(-1), m[:, 0, 1] / m[:, 0].sum(-1)
    assert np.corrcoef(recall, fpr)[0, 1] > 0.2
    assert np.corrcoef(share, recall)[0, 1] > 0.1
    assert np.corrcoef(share, fpr)[0, 1] > 0.1


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.name)
def test_drawn_pixels_are_the_expected_ones(world: object) -> None:
    for each in WORLDS:
        if each is world:
            drawn = each.draw(np.random.default_rng(2), (30,))
            expected = each.expected(np.random.default_rng(2), (30,))
            assert np.abs(drawn - expected).max() < 1
            assert drawn.shape == (30, 2, len(each.shares), len(each.shares))
            if not each.held:
                assert (drawn.sum(-1) > 0).all()
                return
            assert ((drawn[:, 0].sum(-1) == 0).mean(0)[:-1] == 0).all()
            assert 0 < (drawn[:, 0, -1].sum(-1) == 0).mean() < 0.6


def test_the_truth_is_what_samples_come_to() -> None:
    world = WORLDS[0]
    true = truths(world, scenes=100_000)
    drawn = world.draw(np.random.default_rng(99), (40_000,))[:, 0]
    for at, (kind, _, _, of, _) in enumerate(judged(world)):
        if kind == "pooled":
            assert float(of.of(drawn.sum(0).astype(np.float64))) == pytest.approx(true[at], abs=0.002)
        if kind == "per_cluster":
            assert float(of.of(drawn.astype(np.float64)).mean()) == pytest.approx(true[at], abs=0.002)


def test_simulated_ends_are_those_of_reports() -> None:
    stack = WORLDS[2].draw(np.random.default_rng(4), (8,))[:, 0]
    ordered = stack[np.lexsort(stack.reshape(8, -1).T)]
    weights = np.random.default_rng(7).multinomial(8, np.full(8, 1 / 8), size=1_000).astype(np.float64)
    of = metric("iou", 1)
    found = limits(ordered[None].astype(np.float64), weights, of, "pooled", 2)
    for method in ("percentile", "bca", "jackknife_t"):
        ours = interval(stack, of, "pooled", method, seed=7, replicates=1_000)
        assert ours.low == pytest.approx(float(found[method].low[0]), abs=1e-14)
        assert ours.high == pytest.approx(float(found[method].high[0]), abs=1e-14)


def test_a_small_simulation_agrees_with_the_file() -> None:
    world = WORLDS[0]
    old = {(r.kind, r.metric, r.method): r for r in coverage().rows if r.world == world.name}
    at = CLUSTERS.index(6)
    for (which, method), (held, given, _) in simulate(world, 6, 300, truths(world, scenes=60_000)).items():
        kind, _, name, _, _ = judged(world)[which]
        filed = old[kind, name, method]  # type: ignore[index]
        assert given == 300
        assert held / given == pytest.approx(filed.covered[at] / filed.given[at], abs=0.09)


def test_a_new_measurement_is_compared_cell_by_cell() -> None:
    small = measure(40, (3, 4), scenes=20_000)
    assert list(differing(small, small)) == []
    data = small.model_dump(by_alias=True)
    data["rows"][5]["covered"][1] = 2
    assert len(list(differing(Coverage.model_validate(data), small))) == 1
    data["rows"][5]["given"][1] = 0
    assert "in one of the two only" in next(differing(Coverage.model_validate(data), small))
    fewer = small.model_copy(update={"rows": small.rows[1:]})
    assert "other worlds" in next(differing(small, fewer))
    assert Coverage.model_validate(json.loads(as_text(small))) == small


def test_ends_are_cut_to_the_range_as_in_reports() -> None:
    ends = within(Limits(np.array([-0.2, 0.3, np.nan]), np.array([0.4, 1.2, np.nan])), metric("accuracy"))
    np.testing.assert_array_equal(ends.low, [0, 0.3, np.nan])
    np.testing.assert_array_equal(ends.high, [0.4, 1, np.nan])


def test_of_two_good_methods_the_narrower_is_used() -> None:
    by = made(row("percentile", [94, 96], [1.0, 1.0]), row("jackknife_t", [97, 99], [2.0, 1.1]))
    assert best("pooled", 4, by) == "jackknife_t"
    assert best("pooled", 10, by) == "percentile"


def test_of_bad_methods_the_one_that_covers_most_is_used() -> None:
    by = made(row("percentile", [80, 95], [1.0, 1.0]), row("jackknife_t", [91, 96], [2.0, 1.1]))
    assert best("pooled", 4, by) == "jackknife_t"


def test_the_worst_world_speaks() -> None:
    by = made(
        row("percentile", [96, 96], [1.0, 1.0]),
        row("percentile", [70, 90], [1.0, 1.0], world="v"),
        row("jackknife_t", [95, 95], [2.0, 2.0]),
        row("jackknife_t", [90, 94], [2.0, 2.0], world="v"),
    )
    found = told("pooled", "percentile", 10, by)
    assert found == (0.9, 10, 1.0)
    assert best("pooled", 10, by) == "jackknife_t"


def test_between_two_simulated_numbers_the_smaller_speaks() -> None:
    by = made(row("percentile", [80, 95], [1.0, 1.0]))
    assert [(told("pooled", "percentile", n, by) or (0, 0))[1] for n in (4, 9, 10, 99)] == [4, 4, 10, 10]
    assert told("pooled", "percentile", 3, by) is None
    assert told("pooled", "t", 9, by) is None
    with pytest.raises(ValueError, match="no coverage was simulated"):
        best("pooled", 3, by)


def test_worlds_that_seldom_allow_an_interval_do_not_speak() -> None:
    by = made(row("bca", [90, 90], [1.0, 1.0]), row("bca", [10, 40], [1.0, 1.0], [40, 60], world="v"))
    assert (told("pooled", "bca", 4, by) or (0,))[0] == 0.9
    assert (told("pooled", "bca", 10, by) or (0,))[0] == pytest.approx(40 / 60)


def test_a_file_of_another_shape_is_refused() -> None:
    for data in ({"clusters": [4, 4]}, {"clusters": [10, 4]}, {"clusters": [4]}, {"schema": 2}, {"more": 1}):
        whole = {**made(row("bca", [90, 90], [1.0, 1.0])).model_dump(by_alias=True), **data}
        with pytest.raises(ValidationError):
            Coverage.model_validate(whole)


def test_coverage_grows_with_clusters_for_the_bootstrap() -> None:
    for r in coverage().rows:
        if r.method == "percentile":
            shares = [held / given for held, given in zip(r.covered, r.given, strict=True) if given]
            assert shares[0] < 0.7  # two clusters: the percentile bootstrap is far off
            assert shares[-1] > 0.9
            assert all(b > a - 0.03 for a, b in itertools.pairwise(shares))
