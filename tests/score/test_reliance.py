"""Sentences from worlds whose answer is known; none is stronger than its evidence."""

from __future__ import annotations

import numpy as np
import pytest

from harness.score.confusion import ConfusionMatrix
from harness.score.reliance import FEWEST, Evidence, _drawn, findings

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


def kinds(evidence: Evidence) -> list[tuple[str, str]]:
    return [(f.kind, f.rule) for f in findings(evidence)]


def test_few_scenes_say_nothing_however_good_the_map_is() -> None:
    for n in (1, 3, FEWEST - 1):
        found = findings(Evidence(NAMES, scenes(n, 1.0, 0.0), {}))
        assert {f.kind for f in found} == {"cannot be told"}
        assert f"cannot be told from {n} scene" in found[0].text
        assert "IoU here 0.9" in found[0].text or "IoU here 1.0" in found[0].text
    assert FEWEST == 10


def test_a_good_map_of_enough_scenes_is_relied_on_with_its_figures() -> None:
    found = findings(Evidence(NAMES, scenes(FEWEST, 0.95, 0.02), {}))
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


def test_a_trivial_map_of_some_scenes_only_is_said_to_be_missing() -> None:
    ours = scenes(12, 0.9, 0.05)
    part = dict(list(ours.items())[:11])
    found = findings(Evidence(NAMES, ours, {"index rules": part}))
    assert ("cannot be told", "baseline missing") in [(f.kind, f.rule) for f in found]
    assert any("against index rules: not measured on all 12 scenes" in f.text for f in found)


def test_low_precision_makes_candidates_and_rules_out_areas() -> None:
    found = findings(Evidence(NAMES, scenes(20, 0.85, 0.2, share=0.1), {}))
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
    found = findings(Evidence(NAMES, scenes(20, 0.9, 0.05), {}, strata=strata))
    about = [f.text for f in found if f.rule == "stratum"]
    assert len(about) == 1
    assert about[0].startswith("building where water covers much: IoU ")


def test_one_scene_that_outweighs_all_gives_no_sentence() -> None:
    ours = scenes(12, 0.95, 0.02)
    ours["s0"] = ConfusionMatrix(((75_000_000, 1_000_000), (2_000_000, 25_000_000)))
    assert ("cannot be told", "no interval") in kinds(Evidence(NAMES, ours, {}))


def test_classes_are_judged_one_by_one_and_absent_ones_said() -> None:
    good = {s: ConfusionMatrix(((900 + i, 30, 0), (20 + i, 800, 0), (0, 0, 0))) for i, s in enumerate("abcdefghijkl")}
    found = findings(Evidence(("water", "developed", "other"), good, {}))
    assert [f.kind for f in found] == ["rely on", "rely on", "cannot be told"]
    assert "other: class 2 is in neither label nor prediction" in found[2].text


def test_chance_keeps_the_labels_of_each_scene() -> None:
    matrix = ConfusionMatrix(((7, 3), (1, 4)))
    drawn = _drawn(matrix, [2, 1])
    assert [sum(r) for r in drawn.counts] == [10, 5]
    assert drawn.counts == ((7, 3), (3, 2))
