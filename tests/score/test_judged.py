"""The worlds with secret causes do what they say, and the page is made of what was judged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import harness
from harness.score.bridge import RULES
from harness.score.clusters import metric
from tests.score.judged import PAGE, WORLDS, Judged, judge, main, measure, ordered
from tests.score.judged_page import EXPECTED, page
from tests.score.judged_tables import Case, cases, error, part, part_told, row, share, table, wilson
from tests.score.secret import KINDS, SCENES, Plan, Truth, by_orders, direction, expected, faulty_plan, make, null_plan


@pytest.mark.parametrize("kind", range(len(KINDS)))
def test_with_many_scenes_a_bridge_finds_what_was_planted(kind: int) -> None:
    plan = Plan(kind, 700, 3, (0.05, -0.03), population=0.06, outside=-0.04, claim="same", together=True)
    found = judge(make(plan, [1, kind]))
    assert found.bridge is not None
    assert len(found.secret.planted) == 3
    for share_ in found.bridge.shares:
        planted = found.secret.planted.get(share_.factor.id, 0.0)
        apart = 0.035 if share_.factor.id == "population" else 0.006
        assert share_.effect == pytest.approx(planted, abs=apart)
    assert found.bridge.unexplained == pytest.approx(-0.04, abs=0.006)
    assert found.secret.outside == pytest.approx(-0.04, abs=0.001)


def test_planted_effects_have_the_size_that_was_asked_for() -> None:
    truth = Truth(0, [5])
    rng = np.random.default_rng(5)
    for wanted in (0.02, -0.05, 0.10):
        move = truth.sized(direction(truth.world, rng), wanted)
        assert truth.value(move.cells) - truth.value() == pytest.approx(wanted, abs=1e-4)
    with pytest.raises(ValueError, match="no size"):
        truth.sized(direction(truth.world, rng), 2.0)


def test_a_null_world_holds_nothing_and_its_scenes_are_those_of_the_coverage_page() -> None:
    plan = Plan(0, 300, 2)
    made = make(plan, [3])
    assert (made.planted, made.outside) == ({}, 0.0)
    px = {name: each.total for name, each in made.corners[frozenset()].items()}
    assert len(px) == 300
    values = np.array([np.array(m.counts) for m in made.corners[frozenset()].values()], dtype=np.float64)
    assert float(np.std(metric("mIoU").of(values))) == pytest.approx(0.047, abs=0.006)
    here, there = (set(made.corners[frozenset(s)]) for s in ([], ["population"]))
    assert not here & there
    assert len(made.corners) == 8


def test_the_same_scenes_at_both_ends_have_no_population() -> None:
    made = make(faulty_plan(np.random.default_rng(1), 0, people=False), [4])
    assert all(f.kind == "recipe" for f in made.factors)
    assert "population" not in made.planted
    assert len({frozenset(each) for each in made.corners.values()}) == 1


def test_the_judged_code_gets_no_truth() -> None:
    made = judge(make(faulty_plan(np.random.default_rng(1), 0), [4]))
    assert made.secret.corners == {}
    assert made.secret.planted
    for path in sorted(Path(harness.__file__).parent.rglob("*.py")):
        assert "score.secret" not in path.read_text(encoding="utf-8")


def test_true_shares_walk_through_all_orders() -> None:
    value = {"": 0.5, "a": 0.6, "b": 0.7, "ab": 0.9}
    found = by_orders(["a", "b"], lambda chosen: value["".join(sorted(chosen))])
    assert found == {"a": pytest.approx(0.15), "b": pytest.approx(0.25)}


def test_plans_cover_each_kind_and_number_of_scenes_alike() -> None:
    rng = np.random.default_rng(2)
    seen = [(p.kind, p.n) for p in (null_plan(rng, i) for i in range(32))]
    assert sorted(seen) == sorted([(k, n) for k in range(len(KINDS)) for n in SCENES] * 2)
    for number in range(50):
        plan = faulty_plan(rng, number)
        assert 1 <= len(plan.effects) <= 3
        assert len(plan.effects) <= plan.knobs
        assert plan.population


def test_expected_pixels_are_those_of_the_scene() -> None:
    drawn = expected(np.log([[0.75, 0.25]]), np.log([[[0.9, 0.1], [0.4, 0.6]]]), np.array([1000.0]))
    np.testing.assert_allclose(drawn, [[[675, 75], [100, 150]]])


def test_a_case_counts_what_stands_at_its_cause() -> None:
    over, under, wrong = (Case(6, "knob", -0.04, found, True) for found in (-0.06, -0.03, 0.02))
    assert [c.landed for c in (over, under, wrong)] == pytest.approx([0.04, 0.03, 0.0])
    assert part([over, under]) == "87.5 %"
    assert part_told([over, Case(6, "knob", 0.04, 0.04, False)]) == "50.0 %"
    assert part([]) == part_told([]) == error([]) == "-"
    assert error([over, under, wrong]) == "2.0"


def test_shares_with_their_intervals() -> None:
    assert wilson(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)  # Wilson (1927), as any table has it
    assert share(5, 100) == "5.0 % (2.2..11.2)"
    assert share(0, 0) == "-"
    rows = [row("x", [Case(6, "knob", 1, 1, True), Case(48, "knob", 1, 1, False)], lambda chosen: str(len(chosen)))]
    assert rows == [["x", "1", "0", "0", "1", "2"]]
    assert table(("a", "b"), [("c", "d")]) == "| a | b |\n|---|--:|\n| c | d |\n"


def test_only_what_was_planted_is_a_case() -> None:
    found = [judge(make(faulty_plan(np.random.default_rng(i), i), [9, i])) for i in range(4)]
    kinds = [c.cause for c in cases(found)]
    assert kinds.count("population") == 4
    assert kinds.count("knob") == sum(len(j.secret.planted) for j in found) - 4
    assert [c.cause for c in cases([Judged(found[0].secret, None, "undefined")])] == []


def test_accusations_are_counted_with_the_claim() -> None:
    found = judge(make(Plan(0, 24, 2, (0.09,), outside=0.09, claim="same"), [12]))
    assert "unexplained" in found.accused
    assert [a for a in found.accused if a in found.secret.planted]
    assert Judged(found.secret, None, "undefined").accused == []
    assert not Judged(found.secret, None, "undefined").told


def test_class_schemes_are_planted_as_they_say() -> None:
    found = [ordered(i) for i in range(16)]
    assert [o.planted for o in found[:4]] == ["none", "outputs", "names", "confused"]
    good = [o for o in found if o.recall > 0.6 and o.planted == "outputs"]
    assert good
    assert all(o.called and o.right for o in good)
    assert all(o.via == "contradicting sources" for o in found if o.planted == "names")


def test_the_page_is_of_these_rules_and_names_every_expectation() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert f"Rules of {RULES}" in text
    assert f"{WORLDS:,} worlds in which nothing was planted" in text
    for question, _, said in EXPECTED:
        assert f"| {question} |" in text
        assert said in text


def test_a_small_page_has_every_part(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--worlds", "16"]) == 0
    small, whole = capsys.readouterr().out, PAGE.read_text(encoding="utf-8")
    heads = [line for line in whole.splitlines() if line.startswith("#")]
    assert [line for line in small.splitlines() if line.startswith("#")] == heads
    assert small == page(measure(16))  # the same worlds give the same page
    with pytest.raises(SystemExit):
        main(["--worlds", "16", "--check"])
