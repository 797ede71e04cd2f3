"""The audit on cards whose truth is known: right cards raise no alarm, moved figures are seen.

`python -m tests.claims.judge` measures the same on many more cards and writes docs/audit-judged.md.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal
from fractions import Fraction
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from harness.claims.audit import audit_registry
from harness.claims.registry import Registry
from tests.claims import judge
from tests.claims.cards_generator import (
    GeneratedCard,
    Matrix,
    cards,
    exact_figures,
    full_card,
    random_matrix,
    rounded,
    through_yaml,
)
from tests.claims.judge_page import in_equation, page, wilson
from tests.claims.witness import targets_of, witness

SEED = 7


def test_no_alarm_on_a_thousand_right_cards(tmp_path: Path) -> None:
    wrong = [alarm.text() for _, _, alarm in judge.alarms(cards(SEED, 1000), tmp_path) if alarm]
    assert not wrong, f"{len(wrong)} false alarms, the first on\n{wrong[0]}"


def test_ten_units_are_seen_on_two_class_cards(tmp_path: Path) -> None:
    found = [
        judge.trial(generated, audit, (10,))
        for generated, audit, alarm in judge.alarms(cards(SEED + 1, 500, 2), tmp_path)
        if alarm is None
    ]
    trials = [t for t in found if t is not None and in_equation(t)]
    assert len(trials) > 200
    missed = [f"{t.metric} in {', '.join(t.checks)}" for t in trials if not t.seen[-1]]
    assert len(missed) <= 0.05 * len(trials), f"{len(missed)} of {len(trials)} missed: {sorted(missed)}"


@pytest.mark.parametrize("seed", range(40))
def test_figures_equal_scikit_learn(seed: int) -> None:
    rng = Random(seed)  # noqa: S311 - a test's dice
    size = rng.randrange(2, 9)
    matrix = random_matrix(rng, size, rng.randrange(20, 2000))
    truth = np.repeat(np.arange(size), [sum(row) for row in matrix])
    guess = np.concatenate([np.repeat(np.arange(size), row) for row in matrix])
    labels = list(range(size))
    assert sk.confusion_matrix(truth, guess, labels=labels).tolist() == [list(row) for row in matrix]
    by_class = {
        "iou": sk.jaccard_score,
        "f1": sk.f1_score,
        "precision": sk.precision_score,
        "class_accuracy": sk.recall_score,
    }
    figures = exact_figures(matrix)
    for name, score in by_class.items():
        each = score(truth, guess, labels=labels, average=None, zero_division=0)
        for index in labels:
            if (name, index) in figures:
                assert float(figures[name, index]) == pytest.approx(each[index], abs=1e-12)
    for name, part in (("mIoU", "iou"), ("f1_macro", "f1"), ("mean_class_accuracy", "class_accuracy")):
        expected = by_class[part](truth, guess, labels=labels, average="macro", zero_division=0)
        if (name, None) in figures:
            assert float(figures[name, None]) == pytest.approx(expected, abs=1e-12)
    micro = sk.jaccard_score(truth, guess, labels=labels, average="micro")
    assert float(figures["mIoU_micro", None]) == pytest.approx(micro, abs=1e-12)
    assert float(figures["accuracy", None]) == pytest.approx(sk.accuracy_score(truth, guess), abs=1e-12)


def test_a_metric_of_zero_over_zero_has_no_value_and_no_mean() -> None:
    figures = exact_figures(((5, 0, 2), (0, 0, 0), (1, 0, 4)))
    absent = {("iou", 1), ("f1", 1), ("precision", 1), ("class_accuracy", 1)}
    means = {("mIoU", None), ("f1_macro", None), ("mean_class_accuracy", None)}
    assert not (absent | means) & set(figures)
    assert figures["prevalence", 1] == 0


@given(st.integers(0, 10**7), st.integers(0, 4), st.booleans())
def test_printed_text_is_rounded_as_decimals_are(millionths: int, decimals: int, half_up: bool) -> None:
    how = ROUND_HALF_UP if half_up else ROUND_HALF_EVEN
    expected = (Decimal(millionths) / 10**6).quantize(Decimal(1).scaleb(-decimals), rounding=how)
    assert rounded(Fraction(millionths, 10**6), decimals, half_up=half_up) == str(expected)


@st.composite
def zero_one_edges(draw: st.DrawFn) -> GeneratedCard:
    """Cards from a handful of pixels: empty, perfect and never predicted classes are common."""
    size = draw(st.integers(2, 3))
    cell = st.sampled_from((0, 0, 0, 1, 2, 7, 1000))
    matrix: Matrix = tuple(tuple(draw(cell) for _ in range(size)) for _ in range(size))
    if not any(map(sum, matrix)):
        matrix = ((1, *matrix[0][1:]), *matrix[1:])
    return full_card(matrix, draw(st.integers(2, 4)), percent=draw(st.booleans()), half_up=draw(st.booleans()))


@settings(max_examples=150, deadline=None)
@given(zero_one_edges())
def test_no_alarm_where_figures_are_zero_or_one(generated: GeneratedCard) -> None:
    found = audit_registry(generated.registry).of("inconsistent")
    assert not found, judge.Alarm(generated.card, tuple(found)).text()


def test_yaml_and_model_classes_give_the_same_card(tmp_path: Path) -> None:
    for generated in cards(SEED, 20):
        read = through_yaml(generated.card, tmp_path)
        plain = read.model_copy(
            update={
                "path": "",
                "claims": [c.model_copy(update={"line": 0}) for c in read.claims],
                "relations": [r.model_copy(update={"line": 0}) for r in read.relations],
            }
        )
        assert plain == generated.card


def test_printed_figures_round_the_truth() -> None:
    for generated in cards(SEED, 100):
        for claim in generated.card.claims:
            off = abs(Fraction(claim.value) - generated.truth[claim.id])
            assert off <= Fraction(1, 2 * 10 ** len(claim.value.partition(".")[2]))


def test_cards_cover_what_real_cards_show() -> None:
    made = list(cards(SEED, 600))
    figures = [exact_figures(g.matrix) for g in made]
    assert 0.4 < sum(g.classes == 2 for g in made) / len(made) < 0.6
    assert {g.classes for g in made} == set(range(2, 9))
    assert {(g.decimals, g.percent) for g in made} == {(d, p) for d in (2, 3, 4) for p in (True, False)}
    shares = [f["prevalence", 1] for g, f in zip(made, figures, strict=True) if g.classes == 2]
    assert min(shares) < Fraction(2, 1000)
    assert max(shares) > Fraction(99, 100)
    assert any(("mIoU", None) not in f for f in figures), "no card with an undefined mean"
    assert any(f.get(("iou", i)) == 1 for g, f in zip(made, figures, strict=True) for i in range(g.classes))
    assert any(g.card.relations for g in made)
    assert any(g.places for g in made)


def test_one_seed_gives_one_card_and_one_page() -> None:
    first, second = judge.measure(120), judge.measure(120)
    assert page(first[0], first[2]) == page(second[0], second[2])
    assert first[0][17].card == next(c for n, c in enumerate(cards(judge.SEED, 18)) if n == 17).card


def test_a_false_alarm_fails_the_judge_with_the_card(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    right = full_card(((50, 7), (3, 40)), 4, percent=False, half_up=True)
    off = judge.moved(next(c for c in right.card.claims if c.quantity.metric == "mIoU"), 10)
    assert off is not None
    wrong = GeneratedCard(judge.replaced(right.card, off), right.matrix, None, {}, right.truth, 4, False, True)
    monkeypatch.setattr(judge, "cards", lambda seed, count: iter([wrong] * count))
    assert judge.main(["--cards", "2"]) == 1
    assert f"value: '{off.value}'" in capsys.readouterr().err


def test_a_moved_figure_keeps_its_form_and_its_range() -> None:
    card = full_card(((50, 0), (3, 40)), 4, percent=False, half_up=True).card
    by_name = {c.id.partition("/")[2]: c for c in card.claims}
    assert by_name["precision.1"].value == "1.0000"
    assert judge.moved(by_name["precision.1"], 1) is None
    below = judge.moved(by_name["precision.1"], -10)
    assert below is not None
    assert below.value == "0.9990"
    assert below.printed.decimals == 4


def test_no_alarm_where_another_matrix_prints_the_moved_card(tmp_path: Path) -> None:
    told = 0
    for generated, audit, alarm in judge.alarms(cards(SEED, 200, 2), tmp_path):
        rng = Random(generated.card.id)  # noqa: S311 - a test's dice
        choices = [] if alarm else judge.movable(generated, audit)
        claim = judge.moved(rng.choice(choices), rng.choice((1, -1))) if choices else None
        if claim is None or claim.quantity.place:
            continue
        card = judge.replaced(generated.card, claim)
        if witness(generated, claim, card) is not None:
            told += 1
            assert not audit_registry(Registry((card,))).of("inconsistent")
    assert told > 20


def test_the_witness_is_found_for_a_bound_and_not_for_a_broken_mean() -> None:
    generated = full_card(((50, 7, 1), (3, 40, 5), (2, 2, 80)), 4, percent=False, half_up=True)
    by_name = {c.id.partition("/")[2]: c for c in generated.card.claims}
    cases = ((("iou.1", "precision.1"), "precision.1", True), (("iou.0", "iou.1", "iou.2", "mIoU"), "mIoU", False))
    for kept, name, found in cases:
        off = judge.moved(by_name[name], 10)
        assert off is not None
        few = generated.card.model_copy(update={"claims": [by_name[k] for k in kept]})
        card = judge.replaced(few, off)
        matrix = witness(generated, off, card)
        assert (matrix is not None) is found
        if matrix is not None:
            figures = exact_figures(matrix)
            assert all(t.lo <= figures[t.metric, t.index] <= t.hi for t in targets_of(card, "published"))


def test_wilson_gives_the_textbook_interval() -> None:
    lo, hi = wilson(8, 10)
    assert (round(lo, 4), round(hi, 4)) == (0.4902, 0.9433)
    assert wilson(0, 10_000)[0] == 0
