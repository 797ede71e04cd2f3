"""Sentences from worlds whose answer is known; none is stronger than its evidence."""

from __future__ import annotations

import re

import numpy as np
import pytest

from harness.score.clusters import metric
from harness.score.confusion import ConfusionMatrix
from harness.score.interval import interval
from harness.score.operating import Costs
from harness.score.reliance import FEWEST, Evidence, _drawn, findings, informedness

NAMES = ("rest", "building")


def scenes(n: int, tpr: float, fpr: float, share: float = 0.25, seed: int = 0) -> dict[str, ConfusionMatrix]:
    """So many scenes of about 10,000 px whose rates scatter a little."""
    rng = np.random.default_rng(seed)
    out = {}
    for i in range(n):
        positive = int(10_000 * share * rng.uniform(0.8, 1.2))
        tp = int(positive * np.clip(tpr + rng.normal(0, 0.03), 0, 1))
        fp = int((10_000 - positive) * np.clip(fpr + rng.normal(0, 0.03), 0, 1))
        out[f"s{i}"] = ConfusionMatrix(((10_000 - positive - fp, fp), (positive - tp, tp)))
    return out


def poor(ours: dict[str, ConfusionMatrix]) -> dict[str, dict[str, ConfusionMatrix]]:
    """A trivial map of pixels that is worse on every scene: it marks everything that ours does not."""
    rows = {s: [ours[s].counts[i][::-1] for i in (0, 1)] for s in ours}
    return {"nearest class means": {s: ConfusionMatrix((tuple(a), tuple(b))) for s, (a, b) in rows.items()}}


def kinds(evidence: Evidence) -> list[tuple[str, str]]:
    return [(f.kind, f.rule) for f in findings(evidence)]


def test_rates_of_a_class_that_two_scenes_hold_are_no_better_known_than_two_scenes_allow() -> None:
    """TPR - FPR once read [0.9275, 0.9329], useful, with the positives of 2 of 12 scenes."""
    held = [((5000, 200), (300, 4500)) if i < 2 else ((9985, 10), (3, 2)) for i in range(12)]
    stack = [ConfusionMatrix(counts) for counts in held]
    for one in (stack, [ConfusionMatrix((c.counts[1][::-1], c.counts[0][::-1])) for c in stack]):
        found = interval(one, informedness(), "pooled")
        assert found.effective == pytest.approx(2.02, abs=0.01)
        assert not found.useful
    assert interval(stack, metric("recall", 1), "pooled").effective == pytest.approx(2.02, abs=0.01)


def test_no_simulated_coverage_is_told_for_a_metric_that_was_not_simulated() -> None:
    stack = list(scenes(12, 0.9, 0.1).values())
    for known in (metric("iou", 1), metric("recall", 1), metric("mIoU"), metric("accuracy")):
        assert interval(stack, known, "pooled").coverage_simulated is not None
    for unlike in (informedness(), Costs(1.0, 5.0).metric(), metric("precision", 1)):
        found = interval(stack, unlike, "pooled")
        assert found.low is not None
        assert found.coverage_simulated is None
        assert f"its coverage was not simulated for {unlike.name}" in found.why
    assert interval(stack, metric("recall", 1), "per_cluster").coverage_simulated is None


def test_few_scenes_say_nothing_however_good_the_map_is() -> None:
    for n in (1, 3, FEWEST - 1):
        found = findings(Evidence(NAMES, scenes(n, 1.0, 0.0), {}))
        assert {f.kind for f in found} == {"cannot be told"}
        assert f"cannot be told from {n} scene" in found[0].text
        assert "IoU here 0.9" in found[0].text or "IoU here 1.0" in found[0].text
    assert FEWEST == 10


def test_a_good_map_of_enough_scenes_is_relied_on_with_its_figures() -> None:
    ours = scenes(FEWEST, 0.95, 0.02)
    found = findings(Evidence(NAMES, ours, poor(ours)))
    assert [(f.kind, f.rule) for f in found] == [("rely on", "trivial maps"), ("cannot be told", "built-up land")]
    assert found[0].text.startswith("building: IoU 0.9")
    assert "from 10 scenes; best trivial map: building everywhere, 0.2" in found[0].text


def test_a_map_that_does_not_look_is_not_relied_on() -> None:
    found = findings(Evidence(NAMES, scenes(20, 0.5, 0.5), {}))
    assert (found[0].kind, found[0].rule) == ("not for", "trivial maps")
    assert "building everywhere" in found[0].text


def test_one_trivial_map_that_is_as_good_is_enough_against_it() -> None:
    ours = scenes(20, 0.8, 0.1)
    twin = {s: ConfusionMatrix(m.counts) for s, m in ours.items()}
    found = findings(Evidence(NAMES, ours, {"nearest class means": twin}))
    assert found[0].kind == "not for"
    assert "Not shown to be better than nearest class means" in found[0].text
    worse = {"nearest class means": scenes(20, 0.4, 0.3)}
    assert findings(Evidence(NAMES, ours, worse))[0].kind == "rely on"


def test_a_trivial_map_that_is_worse_on_the_whole_but_better_here_and_there_is_not_cleared() -> None:
    ours = scenes(12, 0.9, 0.05)
    shaky = {}
    for n, (name, m) in enumerate(ours.items()):
        negative, positive = m.label_px(0), m.label_px(1)
        missed, extra = (0, 0) if n % 3 else (positive * 7 // 10, positive // 5)
        shaky[name] = ConfusionMatrix(((negative - extra, extra), (missed, positive - missed)))
    found = findings(Evidence(NAMES, ours, {"nearest class means": shaky}))
    assert "best trivial map: nearest class means, 0.7" in found[0].text
    assert found[0].kind == "not for"
    assert found[0].text.endswith("Not shown to be better than nearest class means.")


def test_two_scenes_that_hold_nearly_all_pixels_give_no_sentence() -> None:
    ours = scenes(12, 0.95, 0.02)
    for name, tp in (("s0", 25_000_000), ("s1", 24_000_000)):
        ours[name] = ConfusionMatrix(((75_000_000, 1_000_000), (2_000_000, tp)))
    found = findings(Evidence(NAMES, ours, {}))
    assert (found[0].kind, found[0].rule) == ("cannot be told", "no interval")
    assert "[0." in found[0].text
    assert "(not useful)" in found[0].text


def mask(ours: dict[str, ConfusionMatrix], left_out: int) -> dict[str, ConfusionMatrix]:
    """A built-up mask that is nearly right, missing on some scenes."""
    held = list(ours.items())[left_out:]
    return {s: ConfusionMatrix(((m.label_px(0) - 10, 10), (5, m.label_px(1) - 5))) for s, m in held}


@pytest.mark.parametrize(
    ("left_out", "on"), [(0, ""), (1, " on 11 of 12 scenes (this map there 0.7"), (2, " on 10 of")]
)
def test_a_better_trivial_map_is_not_forgotten_because_a_scene_lacks_it(left_out: int, on: str) -> None:
    """With the mask missing on one of 12 scenes, a class once read *rely on*, beside `building everywhere`."""
    ours = scenes(12, 0.85, 0.05)
    found = findings(Evidence(NAMES, ours, {**poor(ours), "built-up mask": mask(ours, left_out)}))
    assert [f.kind for f in found if f.rule == "trivial maps"] == ["not for"]
    assert re.search(r"best trivial map: built-up mask, 0\.99\d" + re.escape(on), found[0].text)
    assert found[0].text.endswith("Not shown to be better than built-up mask.")


@pytest.mark.parametrize("left_out", [3, 11, 12])
def test_a_trivial_map_of_too_few_scenes_stands_in_the_way_of_relying(left_out: int) -> None:
    ours = scenes(12, 0.9, 0.05)
    found = findings(Evidence(NAMES, ours, {**poor(ours), "built-up mask": mask(ours, left_out)}))
    assert (found[0].kind, found[0].rule) == ("cannot be told", "baseline missing")
    assert "rely on" not in [f.kind for f in found]
    held = (
        rf"built-up mask, 0\.99\d on {12 - left_out} of 12 scenes" if left_out < 12 else "built-up mask is on none of"
    )
    assert re.search(f"not to be told against {held}", found[0].text)


def test_a_partial_map_that_is_beaten_where_it_is_does_not_stand_in_the_way() -> None:
    ours = scenes(12, 0.9, 0.05)
    part = dict(list(poor(ours)["nearest class means"].items())[:11])
    assert findings(Evidence(NAMES, ours, {"index rules": part}))[0].kind == "rely on"


def test_without_a_trivial_map_of_pixels_nothing_is_relied_on() -> None:
    none: list[dict[str, dict[str, ConfusionMatrix]]] = [{}, {"generated land cover": {}}, {"built-up mask": {}}]
    for trivial in none:
        found = findings(Evidence(NAMES, scenes(20, 0.95, 0.02), trivial))
        assert (found[0].kind, found[0].rule) == ("cannot be told", "baseline missing")
        assert "no trivial map that looks at pixels is on record" in found[0].text
    ours = scenes(20, 0.95, 0.02)
    found = findings(Evidence(NAMES, ours, {**poor(ours), "generated land cover": {}}))
    assert [f.kind for f in found][:2] == ["rely on", "cannot be told"]
    assert found[1].text == "building against generated land cover: not measured on any of 20 scenes."


def test_low_precision_makes_candidates_and_rules_out_areas() -> None:
    ours = scenes(20, 0.85, 0.2, share=0.1)
    found = findings(Evidence(NAMES, ours, poor(ours)))
    assert [(f.kind, f.rule) for f in found][:2] == [("rely on", "trivial maps"), ("not for", "precision")]
    assert found[0].text.startswith("Candidates for building, no more: IoU 0.")
    assert found[1].text.startswith("Area or counts of building: most of what is marked is something else")


@pytest.mark.parametrize(
    ("n", "tpr", "fpr", "expected"),
    [(20, 0.9, 0.9, "not for"), (20, 0.9, 0.2, None), (5, 0.9, 0.9, "cannot be told")],
)
def test_inside_built_up_land_the_rates_must_part(n: int, tpr: float, fpr: float, expected: str | None) -> None:
    found = findings(Evidence(NAMES, scenes(20, 0.9, 0.05), {}, built=scenes(n, tpr, fpr, 0.5)))
    about = [f for f in found if f.rule == "built-up land"]
    assert [f.kind for f in about] == ([] if expected is None else [expected])


def test_a_stratum_in_which_the_map_is_no_better_than_chance_is_named() -> None:
    strata = {"water covers none of a cell": scenes(20, 0.9, 0.05), "water covers much": scenes(20, 0.3, 0.3)}
    strata["few"] = scenes(9, 0.3, 0.3)
    ours = scenes(20, 0.9, 0.05)
    found = findings(Evidence(NAMES, ours, poor(ours), strata=strata))
    about = [f.text for f in found if f.rule == "stratum"]
    assert len(about) == 1
    assert about[0].startswith("building where water covers much: IoU ")


def test_one_scene_that_outweighs_all_gives_no_sentence() -> None:
    ours = scenes(12, 0.95, 0.02)
    ours["s0"] = ConfusionMatrix(((75_000_000, 1_000_000), (2_000_000, 25_000_000)))
    assert ("cannot be told", "no interval") in kinds(Evidence(NAMES, ours, {}))


def test_classes_are_judged_one_by_one_and_absent_ones_said() -> None:
    good = {s: ConfusionMatrix(((900 + i, 30, 0), (20 + i, 800, 0), (0, 0, 0))) for i, s in enumerate("abcdefghijkl")}
    bare = {s: ConfusionMatrix((m.counts[0], m.counts[0], m.counts[2])) for s, m in good.items()}
    found = findings(Evidence(("water", "developed", "other"), good, {"index rules": bare}))
    assert [f.kind for f in found] == ["rely on", "rely on", "cannot be told"]
    assert "other: class 2 is in neither label nor prediction" in found[2].text


def test_chance_keeps_the_labels_of_each_scene() -> None:
    matrix = ConfusionMatrix(((7, 3), (1, 4)))
    drawn = _drawn(matrix, [2, 1])
    assert [sum(r) for r in drawn.counts] == [10, 5]
    assert drawn.counts == ((7, 3), (3, 2))
