"""What one scene is, and that everything that speaks of scenes goes by the same rule."""

from __future__ import annotations

import pytest

from harness.claims.scored import clustered, headlines
from harness.records import ChipScore
from harness.records.run import SweepRow
from harness.score.operating import leave_one_out, scenes
from harness.score.scenes import label_of, sampled, scene_names, with_clusters
from tests.report.test_clusters import adapter


def chip(name: str, ground: list[str] | None = None, **more: object) -> ChipScore:
    """A scored two-class chip with a sweep."""
    rows = [SweepRow(threshold=t, tp=5, fp=f, fn=1, tn=10 - f) for t, f in ((0.3, 4), (0.5, 2), (0.7, 1))]
    made = ChipScore(chip=name, sha256="00", scored=True, reason=None, confusion=[[8, 2], [1, 5]], sweep=rows)
    return made.model_copy(update={"shares_ground": ground, **more})


@pytest.mark.parametrize(
    ("chips", "expected"),
    [
        ([chip("a", []), chip("b", [])], ["a", "b"]),
        ([chip("a", []), chip("b", ["a"])], ["a + b", "a + b"]),
        ([chip("a", []), chip("b", []), chip("c", ["a", "b"])], ["a + b + c"] * 3),
        ([chip("nyc_1U_2L_r0c0"), chip("nyc_1U_2L_r3c0"), chip("x_1U_3L_0_1")], ["1U_2L", "1U_2L", "1U_3L"]),
        ([chip("nyc_1U_2L_r0c0", []), chip("park", ["nyc_1U_2L_r0c0"])], ["1U_2L + park"] * 2),
        ([chip("a", cluster="x"), chip("b", cluster="y"), chip("c", cluster="x")], ["x", "y", "x"]),
        ([chip("1U_2L", cluster="tile")], ["tile"]),
        ([chip("a", ["gone"])], ["a"]),
        ([chip(c, list("abcdef"[:i])) for i, c in enumerate("abcde")], ["a + b + c + 2 more"] * 5),
    ],
)
def test_shared_ground_cells_and_the_record_make_one_scene(chips: list[ChipScore], expected: list[str]) -> None:
    assert list(scene_names(chips).values()) == expected
    recorded = with_clusters(chips)
    assert scene_names(recorded) == scene_names(chips)  # what is on record says the same again
    assert list(scene_names(recorded[-1:]).values()) == expected[-1:]  # and of a part of the chips as well


def test_a_chip_nobody_looked_at_has_no_scene_on_record() -> None:
    seen, unseen, cell = with_clusters([chip("a", []), chip("b"), chip("nyc_1U_2L_r0c0")])
    assert (seen.cluster, unseen.cluster, cell.cluster) == ("a", None, "1U_2L")


@pytest.mark.parametrize("recorded", [True, False])
def test_intervals_and_thresholds_count_the_same_scenes(recorded: bool) -> None:
    chips = [chip("a", []), chip("b", ["a"]), chip("nyc_1U_2L_r0c0", []), chip("nyc_1U_2L_r1c0", []), chip("c", [])]
    chips = with_clusters(chips) if recorded else chips
    groups = clustered(chips, None)
    assert list(groups) == ["a + b", "1U_2L", "c"]
    assert [m.total for m in groups.values()] == [32, 32, 16]
    assert [len(s.chips) for s in scenes(chips)] == [2, 2, 1]
    assert {m.n for m in headlines(adapter(chips))} == {3}


def test_probes_stand_in_no_interval_and_choose_no_threshold() -> None:
    chips = [chip("a", [], role="test"), chip("b", [], role="probe"), chip("c", [], role="tune")]
    assert [c.chip for c in sampled(chips)] == ["a", "c"]
    assert [list(m.clusters) for m in headlines(adapter(chips))] == [["a", "c"]] * 4
    found = leave_one_out(scenes(chips))
    assert not isinstance(found, str)
    assert found.held_out.names == ("a", "c")


def test_a_cell_is_found_inside_an_id() -> None:
    assert label_of("nyc_452U_625L_r0c3") == label_of("452U_625L_2_3") == "452U_625L"
    assert label_of("brooklyn_downtown") == "brooklyn_downtown"
