"""Every identity, against exact metrics of whole-number confusions."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from harness.claims import identities as ids
from harness.claims.interval import Interval

whole = st.integers(min_value=1, max_value=300)


def near(value: Fraction, width: int = 4) -> Interval:
    half = Fraction(1, 2 * 10**width)
    return Interval(max(Fraction(0), value - half), min(Fraction(1), value + half))


@given(whole, whole, whole, whole)
def test_two_ious_and_a_recall_fix_everything_else(tp: int, fp: int, fn: int, tn: int) -> None:
    n = tp + fp + fn + tn
    i0, i1 = Fraction(tn, tn + fp + fn), Fraction(tp, tp + fp + fn)
    r0, r1 = Fraction(tn, tn + fp), Fraction(tp, tp + fn)
    p0, p1, q0, q1 = Interval.of(i0), Interval.of(i1), Interval.of(r0), Interval.of(r1)
    parts = ids.binary_fractions(p0, p1)
    assert parts is not None
    assert (parts["tp"].lo, parts["tn"].lo, parts["errors"].lo) == (
        Fraction(tp, n),
        Fraction(tn, n),
        Fraction(fp + fn, n),
    )
    assert ids.binary_accuracy(p0, p1) == Interval.of(Fraction(tp + tn, n))
    assert ids.binary_closure(p0, p1, q0, q1) == Interval.of(1)
    assert ids.binary_prevalence(p0, p1, q1) == Interval.of(Fraction(tp + fn, n))
    assert ids.binary_fpr(p0, p1, q1) == Interval.of(Fraction(fp, fp + tn))
    assert ids.precision_from_iou_recall(p1, q1) == Interval.of(Fraction(tp, tp + fp))
    assert ids.iou_from_precision_recall(Interval.of(Fraction(tp, tp + fp)), q1) == p1
    assert ids.micro_iou(Interval.of(Fraction(tp + tn, n))) == Interval.of(Fraction(tp + tn, n + fp + fn))
    assert ids.f1_from_iou(p1) == Interval.of(Fraction(2 * tp, 2 * tp + fp + fn))


@given(whole, whole, whole, whole)
def test_rounded_inputs_give_intervals_that_hold_the_truth(tp: int, fp: int, fn: int, tn: int) -> None:
    n = tp + fp + fn + tn
    i0, i1 = near(Fraction(tn, tn + fp + fn)), near(Fraction(tp, tp + fp + fn))
    r0, r1 = near(Fraction(tn, tn + fp)), near(Fraction(tp, tp + fn))
    accuracy, closure = ids.binary_accuracy(i0, i1), ids.binary_closure(i0, i1, r0, r1)
    share, fpr = ids.binary_prevalence(i0, i1, r1), ids.binary_fpr(i0, i1, r1)
    assert accuracy is not None
    assert Fraction(tp + tn, n) in accuracy
    assume(closure is not None and share is not None and fpr is not None)
    assert closure is not None
    assert share is not None
    assert fpr is not None
    assert 1 in closure
    assert Fraction(tp + fn, n) in share
    assert Fraction(fp, fp + tn) in fpr


def test_perfect_maps_have_no_odds() -> None:
    one = Interval.of(1)
    assert ids.binary_fractions(one, one) is None
    assert ids.binary_accuracy(one, one) is None
    assert ids.binary_closure(one, one, one, one) is None
    assert ids.precision_from_iou_recall(Interval.of(Fraction(1, 2)), Interval.of(Fraction(1, 4))) is None
    assert ids.iou_from_precision_recall(Interval.of(0), one) == Interval.of(0)


def test_lora_adds_in_plus_out_for_each_rank() -> None:
    assert 16 * ids.lora_parameters_per_rank([(768, 2304), (768, 768)]) == 73_728


def test_inverse_frequency_weights_fix_the_share() -> None:
    share = ids.inverse_frequency_prevalence(Interval.of(Fraction("0.6")), Interval.of(Fraction("1.6")))
    assert share == Interval.of(Fraction(6, 22))


@given(st.lists(st.tuples(whole, whole), min_size=2, max_size=5))
def test_accuracy_is_the_prevalence_weighted_recall(rows: list[tuple[int, int]]) -> None:
    n = sum(hit + miss for hit, miss in rows)
    shares = [Interval.of(Fraction(h + m, n)) for h, m in rows]
    recalls = [Interval.of(Fraction(h, h + m)) for h, m in rows]
    assert ids.accuracy_from_recalls(shares, recalls) == Interval.of(Fraction(sum(h for h, _ in rows), n))


def test_an_impossible_recall_is_seen() -> None:
    i0, i1 = near(Fraction("0.8107")), near(Fraction("0.2928"))
    closure = ids.binary_closure(i0, i1, near(Fraction("0.8231")), near(Fraction("0.7396")))
    assert closure is not None
    assert 1 not in closure
    assert float(closure.mid) == pytest.approx(1.065, abs=0.01)
