"""The joint search over two-class matrices: never wrong about a real one, and not blind."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.claims.feasible import METRICS_USED, possible
from harness.claims.interval import Interval

Figure = tuple[str, int | None, Interval]
cells = st.integers(0, 3000)


def exact(tp: int, fp: int, fn: int, tn: int) -> dict[tuple[str, int | None], Fraction]:
    """All metrics that are defined, in exact fractions."""
    n, out = tp + fp + fn + tn, {}

    def put(metric: str, index: int | None, top: int, below: int) -> None:
        if below:
            out[metric, index] = Fraction(top, below)

    for index, (hit, extra, miss) in {1: (tp, fp, fn), 0: (tn, fn, fp)}.items():
        put("iou", index, hit, hit + extra + miss)
        put("f1", index, 2 * hit, 2 * hit + extra + miss)
        put("recall", index, hit, hit + miss)
        put("class_accuracy", index, hit, hit + miss)
        put("precision", index, hit, hit + extra)
        put("prevalence", index, hit + miss, n)
    put("accuracy", None, tp + tn, n)
    put("mIoU_micro", None, tp + tn, n + fp + fn)
    for macro, single in (("mIoU", "iou"), ("f1_macro", "f1"), ("mean_class_accuracy", "recall")):
        if (single, 0) in out and (single, 1) in out:
            out[macro, None] = (out[single, 0] + out[single, 1]) / 2
    return out


def printed(value: Fraction, places: int) -> Interval:
    middle, half = Fraction(round(value * 10**places), 10**places), Fraction(1, 2 * 10**places)
    return Interval(middle - half, middle + half)


@settings(max_examples=400)
@given(cells, cells, cells, cells, st.integers(2, 6), st.data())
def test_a_real_matrix_is_never_called_impossible(
    tp: int, fp: int, fn: int, tn: int, places: int, data: st.DataObject
) -> None:
    if not tp + fp + fn + tn:
        return
    figures = exact(tp, fp, fn, tn)
    keys = data.draw(st.lists(st.sampled_from(sorted(figures, key=str)), min_size=1, unique=True))
    assert possible([(m, i, printed(figures[m, i], places)) for m, i in keys]) is not False


def test_every_metric_is_used() -> None:
    assert {m for m, _ in exact(3, 2, 1, 7)} == METRICS_USED


@pytest.mark.parametrize("key", sorted(exact(300, 200, 100, 700), key=str))
def test_each_metric_alone_can_refute(key: tuple[str, int | None]) -> None:
    """All other figures exact to four places, this one moved by 0.02: no matrix is left."""
    figures = {k: printed(v, 4) for k, v in exact(300, 200, 100, 700).items()}
    assert possible([(*k, v) for k, v in figures.items()]) is True
    figures[key] = figures[key] + Fraction(2, 100)
    assert possible([(*k, v) for k, v in figures.items()]) is False


def test_figures_that_fit_in_pairs_can_leave_no_matrix() -> None:
    """Accuracy and two recalls fix the prevalence, and with it the F1; no single identity joins them."""
    figures: list[Figure] = [
        ("accuracy", None, printed(Fraction("0.67"), 2)),
        ("recall", 0, printed(Fraction("0.52"), 2)),
        ("recall", 1, printed(Fraction("0.84"), 2)),
    ]
    assert possible([*figures, ("f1", 1, printed(Fraction("0.70"), 2))]) is True
    assert possible([*figures, ("f1", 1, printed(Fraction("0.80"), 2))]) is False


def test_perfect_maps_are_left_alone() -> None:
    assert possible([("iou", 1, printed(Fraction(1), 4)), ("accuracy", None, printed(Fraction(1), 4))]) is None
