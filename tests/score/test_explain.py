"""The search judged in made-up worlds: figures are a function of settings that only the test knows."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from harness.score.binary import BinaryMatrix
from harness.score.explain import APART, MATERIAL, TOLERANCE, Alternative, Claimed, Explanation, explain
from harness.score.story import WITHIN, Story, check

METRICS = tuple(f"m{i}" for i in range(12))


@dataclass
class World:
    """Figures that fall away from a start with every alternative, and less the lower they are."""

    alternatives: list[Alternative]
    """Ids `KNOB: VALUE`."""
    pushes: dict[str, NDArray[np.float64]]
    """By alternative: change of every figure's logit."""
    start: NDArray[np.float64]
    """Logits as stated."""
    asked: Counter[frozenset[str]] = field(default_factory=Counter)
    """Sets that were looked at."""

    def figures(self, ids: frozenset[str]) -> dict[str, float | None]:
        """By metric."""
        self.asked[ids] += 1
        logits = self.start + sum((self.pushes[i] for i in ids), np.zeros(len(METRICS)))
        return {m: float(v) for m, v in zip(METRICS, 1 / (1 + np.exp(-logits)), strict=True)}

    def claims(self, ids: frozenset[str], digits: int = 4) -> list[Claimed]:
        """What a card prints that was measured under a set."""
        truth = World(self.alternatives, self.pushes, self.start).figures(ids)
        return [Claimed(m, round(v, digits), 0.5 * 10**-digits) for m, v in truth.items() if v is not None]

    def explain(self, claims: list[Claimed], **how: float) -> Explanation:
        """As the harness would."""
        return explain(claims, self.alternatives, self.figures, **how)  # type: ignore[arg-type]


def world(seed: int, knobs: int = 8, values: int = 3) -> World:
    rng = np.random.default_rng(seed)
    names = [Alternative(f"k{k}: {v}", f"k{k}", "") for k in range(knobs) for v in range(values)]
    # one sign a knob's value: settings are better or worse as a whole, by different amounts a figure
    pushes = {a.id: rng.choice([-1, 1]) * rng.uniform(0.3, 1.0) + rng.normal(0, 0.3, len(METRICS)) for a in names}
    return World(names, pushes, rng.normal(0.5, 0.7, len(METRICS)))


def planted(w: World, seed: int, n: int) -> frozenset[str]:
    rng = np.random.default_rng([seed, n])
    knobs = sorted({a.knob for a in w.alternatives})
    chosen = rng.choice(knobs, n, replace=False)
    return frozenset(str(rng.choice([a.id for a in w.alternatives if a.knob == k])) for k in chosen)


SEEDS = range(40)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_planted_sets_are_found_and_nothing_else_is_accused(n: int) -> None:
    found, wrong = 0, 0
    for seed in SEEDS:
        w = world(seed)
        truth = planted(w, seed, n)
        got = w.explain(w.claims(truth))
        named = [frozenset(t.alternatives) for t in got.sets]
        found += got.verdict == "found" and named == [truth]
        wrong += bool(named) and truth not in named
    assert wrong == 0
    assert found >= {1: 40, 2: 40, 3: 40}[n], found


def test_nothing_is_accused_where_nothing_is_wrong() -> None:
    for seed in SEEDS:
        w = world(seed)
        got = w.explain(w.claims(frozenset()))
        assert (got.verdict, got.sets, got.partial, got.explains) == ("as stated", (), None, 0.0)


def test_a_cause_outside_the_list_stays_unexplained() -> None:
    for seed in SEEDS:
        w = world(seed, knobs=5)
        outside = np.random.default_rng(seed + 999).normal(0, 0.5, len(METRICS))
        elsewhere = World(w.alternatives, w.pushes, w.start + outside)
        got = w.explain(elsewhere.claims(frozenset()))
        assert got.verdict == "unexplained"
        assert (got.sets, got.accused) == ((), frozenset())
        assert got.partial is None or got.partial.met < len(METRICS)
        assert 0 <= got.explains < 1
        assert got.complete


def test_of_a_cause_half_in_the_list_the_partial_set_names_that_half() -> None:
    w = world(3)
    truth = planted(w, 3, 1)
    push = np.zeros(len(METRICS))
    push[0] = 0.2  # one figure has another reason
    claims = World(w.alternatives, w.pushes, w.start + push).claims(truth)
    got = explain(claims, w.alternatives, w.figures, largest=1)
    assert got.verdict == "unexplained"
    assert got.partial is not None
    assert frozenset(got.partial.alternatives) == truth
    assert got.partial.met == len(METRICS) - 1
    assert got.explains > 0.7


def test_alternatives_that_do_the_same_cannot_be_told_apart() -> None:
    w = world(5)
    w.alternatives.append(Alternative("other: same", "other", ""))
    w.pushes["other: same"] = w.pushes["k0: 0"] + 1e-4
    got = w.explain(w.claims(frozenset({"k0: 0"})))
    assert got.verdict == "cannot be told"
    assert {t.alternatives for t in got.sets} == {("k0: 0",), ("other: same",)}
    assert got.accused == frozenset()
    assert "differs by more than 0.0000" in got.why


def test_of_a_pair_with_two_readings_the_common_half_is_accused() -> None:
    w = world(6)
    w.alternatives.append(Alternative("other: same", "other", ""))
    w.pushes["other: same"] = w.pushes["k1: 1"]
    got = w.explain(w.claims(frozenset({"k0: 0", "k1: 1"})))
    assert got.verdict == "cannot be told"
    assert {t.alternatives for t in got.sets} == {("k0: 0", "k1: 1"), ("k0: 0", "other: same")}
    assert got.accused == {"k0: 0"}


def test_a_clearly_worse_set_within_tolerance_is_listed_and_not_named() -> None:
    w = world(5)
    w.alternatives.append(Alternative("other: near", "other", ""))
    w.pushes["other: near"] = w.pushes["k0: 0"] + 0.012  # at most a quarter of that in a figure
    got = w.explain(w.claims(frozenset({"k0: 0"})))
    assert got.verdict == "found"
    assert [t.alternatives for t in got.sets] == [("k0: 0",)]
    assert [t.alternatives for t in got.also] == [("other: near",)]
    assert APART < got.also[0].worst < TOLERANCE


def hidden() -> tuple[list[Alternative], Counter[frozenset[str]], Any]:
    """Two orders that hide each other: `a1` seems right with any `b`, and only `a3` with `b3` is."""
    names = [Alternative(f"{knob}{v}", knob, "") for knob in "ab" for v in range(5)]
    asked: Counter[frozenset[str]] = Counter()

    def figures(ids: frozenset[str]) -> dict[str, float | None]:
        asked[ids] += 1
        if ids == {"a3", "b3"}:
            return {"m": 0.5}
        if "a1" in ids:
            return {"m": 0.4 if len(ids) == 1 else 0.496}
        return {"m": 0.2}

    return names, asked, figures


def test_two_settings_that_hide_each_other_are_found_two_exchanges_away() -> None:
    names, asked, figures = hidden()
    got = explain([Claimed("m", 0.5)], names, figures, cost=lambda _: 0.0)
    assert [t.alternatives for t in got.sets] == [("a3", "b3")]
    assert {t.alternatives for t in got.also} == {("a1", f"b{v}") for v in range(5)}
    assert max(asked.values()) == 1


def test_rivals_are_heard_though_as_many_sets_were_looked_at_as_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.score.explain.MOST", 20)
    names, _, figures = hidden()
    got = explain([Claimed("m", 0.5)], names, figures, cost=lambda _: 0.0)
    assert [t.alternatives for t in got.sets] == [("a3", "b3")]
    assert got.tried > 20


def test_where_looking_has_a_price_one_exchange_is_what_is_paid_for() -> None:
    names, asked, figures = hidden()
    got = explain([Claimed("m", 0.5)], names, figures)
    assert got.verdict == "cannot be told"
    assert got.accused == {"a1"}
    assert not asked[frozenset({"a3", "b3"})]


def test_what_hides_everything_else_is_found_with_what_it_hid() -> None:
    """As stated, one knob pins every figure; only with it set right does the second one show."""
    w = world(8)

    def figures(ids: frozenset[str]) -> dict[str, float | None]:
        return w.figures(ids) if "k0: 0" in ids else dict.fromkeys(METRICS, 0.01)

    for other in ("k3: 1", "k5: 2"):
        claims = w.claims(frozenset({"k0: 0", other}))
        got = explain(claims, w.alternatives, figures)
        assert [t.alternatives for t in got.sets] == [("k0: 0", other)]


def test_what_a_true_setting_hides_is_said_to_have_no_material_effect() -> None:
    w = world(8)

    def figures(ids: frozenset[str]) -> dict[str, float | None]:
        return dict.fromkeys(METRICS, 0.01) if "k0: 0" in ids else w.figures(ids)

    claims = [Claimed(m, 0.01, 0.00005) for m in METRICS]
    got = explain(claims, w.alternatives, figures)
    assert [t.alternatives for t in got.sets] == [("k0: 0",)]
    assert {e.alternative for e in got.immaterial} == {a.id for a in w.alternatives if a.knob != "k0"}
    assert all(e.change == 0 for e in got.immaterial)


def test_an_alternative_without_material_effect_is_reported_and_never_accused() -> None:
    w = world(9)
    w.alternatives.append(Alternative("small: 1", "small", ""))
    w.pushes["small: 1"] = np.full(len(METRICS), 0.035)  # 0.00875 at most: past the tolerance, short of MATERIAL
    got = w.explain(w.claims(frozenset({"small: 1"})))
    assert got.verdict == "unexplained"
    assert "small: 1" in {e.alternative for e in got.immaterial}
    assert got.partial is None or "small: 1" not in got.partial.alternatives
    with_another = w.explain(w.claims(frozenset({"small: 1", "k0: 0"})), largest=2)
    assert all("small: 1" not in t.alternatives for t in with_another.sets)


def test_a_smaller_set_wins_over_a_larger_one() -> None:
    w = world(10)
    w.alternatives.append(Alternative("both: 1", "both", ""))
    w.pushes["both: 1"] = w.pushes["k0: 0"] + w.pushes["k1: 0"]
    got = w.explain(w.claims(frozenset({"k0: 0", "k1: 0"})))
    assert [t.alternatives for t in got.sets] == [("both: 1",)]


def test_two_values_of_one_knob_are_never_tried_together() -> None:
    w = world(11)
    w.explain(w.claims(planted(w, 1, 3)))
    knobs = {a.id: a.knob for a in w.alternatives}
    for ids in w.asked:
        assert len({knobs[i] for i in ids}) == len(ids)


def test_every_set_is_looked_at_once() -> None:
    w = world(12)
    got = w.explain(w.claims(planted(w, 12, 2)))
    assert set(w.asked.values()) == {1}
    assert got.tried == len(w.asked)


def test_a_budget_is_kept_and_said() -> None:
    w = world(13)
    truth = planted(w, 13, 2)
    full = w.explain(w.claims(truth))
    assert full.complete
    assert full.spent == full.tried
    short = w.explain(w.claims(truth), budget=10)
    assert short.spent <= 10
    assert not short.complete
    assert short.sets == ()


def test_what_is_free_is_looked_at_beyond_the_budget() -> None:
    w = world(14)
    truth = planted(w, 14, 2)
    got = explain(w.claims(truth), w.alternatives, w.figures, budget=0, cost=lambda _: 0.0)
    assert [frozenset(t.alternatives) for t in got.sets] == [truth]
    assert (got.spent, got.complete) == (0.0, True)


def test_undefined_figures_meet_no_claim() -> None:
    names = [Alternative("a: 1", "a", "")]
    claims = [Claimed("x", 0.5), Claimed("y", 0.5)]
    got = explain(claims, names, lambda ids: {"x": 0.5, "y": None if ids else 0.4})
    assert got.verdict == "unexplained"
    assert got.partial is None
    assert got.stated.met == 1


def test_claims_hold_within_their_printed_rounding() -> None:
    """0.59 may be 0.5851 to 0.5949; printed with two digits, half a digit is the larger bound."""
    names = [Alternative("a: 1", "a", "")]
    for figure, stated in ((0.5999, False), (0.5949, True)):
        got = explain([Claimed("x", 0.59, 0.005)], names, lambda _, f=figure: {"x": f})  # type: ignore[misc]
        assert (got.verdict == "as stated") is stated
    assert Claimed("x", 0.5, 0.05).met(0.549)
    assert not Claimed("x", 0.5, 0.0).met(0.506)
    assert Claimed("x", 0.5, 0.0).met(0.505)


def test_wrong_questions_are_refused() -> None:
    one = Alternative("a: 1", "a", "")
    with pytest.raises(ValueError, match="no claim"):
        explain([], [one], lambda _: {})
    with pytest.raises(ValueError, match="several claims on x"):
        explain([Claimed("x", 0.1), Claimed("x", 0.2)], [one], lambda _: {"x": 0.1})
    with pytest.raises(ValueError, match="several alternatives called a: 1"):
        explain([Claimed("x", 0.1)], [one, one], lambda _: {"x": 0.1})


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 3), st.integers(2, 4))
def test_whatever_is_named_holds_and_is_minimal(seed: int, n: int, digits: int) -> None:
    w = world(seed, knobs=5, values=2)
    claims = w.claims(planted(w, seed, n), digits)
    got = w.explain(claims)
    assert (got.verdict == "cannot be told") == (len(got.sets) > 1)
    for each in got.sets:
        ids = frozenset(each.alternatives)
        figures = w.figures(ids)
        assert all(c.met(figures[c.metric]) for c in claims)
        for i in ids:
            less = w.figures(ids - {i})
            assert not all(c.met(less[c.metric]) for c in claims)
            assert max(abs(a - b) for a, b in _pairs(figures, less)) >= MATERIAL
    for effect in got.immaterial:
        assert effect.change < MATERIAL


def _pairs(a: dict[str, float | None], b: dict[str, float | None]) -> Iterator[tuple[float, float]]:
    for m in METRICS:
        x, y = a[m], b[m]
        assert x is not None
        assert y is not None
        yield x, y


# composition stories -----------------------------------------------------------------------------------


def test_a_true_story_leaves_nothing() -> None:
    here = BinaryMatrix(tp=160, fp=80, fn=40, tn=720)  # TPR 0.8, FPR 0.1, prevalence 0.2
    # at prevalence 0.05 of 1000: TP 40, FN 10, FP 95: IoU 40 / 145
    got = check(Story(here, round(40 / 145, 4), 0.05))
    assert got.holds
    assert got.effect == pytest.approx(40 / 145 - 160 / 280)
    assert abs(got.remainder) < 1e-4
    assert "explains the gap" in got.why


def test_a_false_story_leaves_what_prevalence_does_not_do() -> None:
    here = BinaryMatrix(tp=160, fp=80, fn=40, tn=720)
    got = check(Story(here, 0.40, 0.19))
    assert not got.holds
    assert got.gap == pytest.approx(0.40 - 160 / 280)
    assert got.effect + got.remainder == pytest.approx(got.gap)
    assert got.remainder < -WITHIN
    assert "does not explain" in got.why


def test_a_story_without_rates_is_refused() -> None:
    with pytest.raises(ValueError, match="rates undefined"):
        check(Story(BinaryMatrix(0, 10, 0, 90), 0.1, 0.1))
    assert math.isclose(check(Story(BinaryMatrix(1, 0, 0, 1), 1.0, 0.9)).gap, 0.0)
