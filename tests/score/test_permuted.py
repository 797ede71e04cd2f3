"""Permuted schemes: what the stored matrix shows, what only sources show, and what is no evidence."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.score.confusion import ConfusionMatrix
from harness.score.permuted import Contradiction, best_order, contradictions, permuted, scheme_order

NAMES = ["water", "developed", "forest"]
GOOD = ConfusionMatrix(((90, 5, 5), (10, 180, 10), (2, 8, 40)))


def outputs_moved(matrix: ConfusionMatrix, order: tuple[int, ...]) -> ConfusionMatrix:
    """What was output i stands at order[i]."""
    rows = []
    for row in matrix.counts:
        moved = [0] * len(order)
        for i, to in enumerate(order):
            moved[to] = row[i]
        rows.append(tuple(moved))
    return ConfusionMatrix(tuple(rows))


def test_a_good_matrix_is_as_stored() -> None:
    found = permuted(GOOD)
    assert (found.found, found.order) == ("as stored", (0, 1, 2))
    assert found.stored == found.best == pytest.approx((0.9 + 0.9 + 0.8) / 3)


@pytest.mark.parametrize("order", [o for o in permutations(range(3)) if o != (0, 1, 2)])
def test_permuted_outputs_are_found_with_their_order(order: tuple[int, ...]) -> None:
    found = permuted(outputs_moved(GOOD, order))
    assert (found.found, found.order) == ("another order", order)
    assert found.best == pytest.approx((0.9 + 0.9 + 0.8) / 3)
    assert found.stored < 0.5
    assert "which of the two is wrong the matrix does not say" in found.why


def test_permuted_names_leave_the_matrix_as_it_was() -> None:
    for order in permutations(range(3)):
        assert permuted(GOOD.relabelled(order)).found == "as stored"


def test_one_sided_confusion_is_no_permutation() -> None:
    """Forest goes to developed, and developed stays: no cycle."""
    found = permuted(ConfusionMatrix(((90, 5, 5), (10, 180, 10), (2, 46, 2))))
    assert (found.found, found.order) == ("as stored", (0, 1, 2))
    assert best_order(np.array([[0.90, 0.05, 0.05], [0.05, 0.90, 0.05], [0.04, 0.92, 0.04]])) == (0, 2, 1)
    assert "without moving a class that is where it belongs" in found.why


def test_confusion_beside_a_permutation_leaves_the_permutation() -> None:
    """0 and 1 exchanged, and 3 mostly predicted as 2."""
    found = permuted(ConfusionMatrix(((5, 90, 5, 0), (80, 10, 5, 5), (5, 5, 85, 5), (2, 2, 90, 6))))
    assert (found.found, found.order) == ("another order", (1, 0, 2, 3))


def test_a_constant_prediction_is_no_evidence() -> None:
    found = permuted(ConfusionMatrix(((0, 100, 0), (0, 50, 0), (0, 70, 0))))
    assert found.found == "as stored"
    found = permuted(ConfusionMatrix(((1, 99, 0), (0, 50, 0), (0, 69, 1))))
    assert found.found != "another order"


def test_a_weak_model_is_no_evidence() -> None:
    found = permuted(ConfusionMatrix(((30, 36, 34), (35, 31, 34), (33, 32, 35))))
    assert (found.found, found.order) == ("cannot be told", (1, 0, 2))
    assert "class [0, 1] has no cell that leads its row and column by 10 points" in found.why


def test_a_cell_must_lead_its_column_too() -> None:
    """Class 2 goes to output 1 nearly as often as class 0 does."""
    found = permuted(ConfusionMatrix(((10, 60, 30), (70, 20, 10), (0, 55, 45))))
    assert (found.found, found.order) == ("cannot be told", (1, 0, 2))
    assert "class [0] has no cell" in found.why


def test_the_margin_decides() -> None:
    assert permuted(ConfusionMatrix(((44, 56), (56, 44)))).found == "another order"
    assert permuted(ConfusionMatrix(((46, 54), (54, 46)))).found == "cannot be told"


def test_a_moved_class_without_a_label_cannot_be_placed() -> None:
    found = permuted(ConfusionMatrix(((5, 5, 90), (0, 0, 0), (90, 5, 5))))
    assert (found.found, found.order) == ("another order", (2, 1, 0))  # class 1 stays where it is
    found = permuted(ConfusionMatrix(((5, 90, 5), (0, 0, 0), (90, 5, 5))))
    assert found.found == "cannot be told"
    assert "class [1] has no label pixel" in found.why
    assert permuted(ConfusionMatrix.empty(2)).why == "no pixel is counted"


def test_an_order_that_hangs_on_one_scene_cannot_be_told() -> None:
    plain = ConfusionMatrix(((60, 40), (40, 60)))
    swapped = ConfusionMatrix(((0, 400), (400, 0)))
    whole = plain + plain + plain + swapped
    assert permuted(whole).found == "another order"
    found = permuted(whole, [plain, plain, plain, swapped])
    assert found.found == "cannot be told"
    assert "not without cluster 3" in found.why
    all_swapped = [outputs_moved(plain, (1, 0))] * 4
    found = permuted(all_swapped[0] + all_swapped[1] + all_swapped[2] + all_swapped[3], all_swapped)
    assert found.found == "another order"
    assert "also without each of 4 clusters" in found.why


def test_clusters_of_another_matrix_are_refused() -> None:
    with pytest.raises(ValueError, match="do not sum"):
        permuted(outputs_moved(GOOD, (1, 0, 2)), [GOOD])


def test_sources_that_name_an_index_differently_contradict() -> None:
    found = contradictions({"card": NAMES, "code": ["developed", "water", "forest"], "notes": NAMES})
    assert found == (
        Contradiction("card", "code", (0, 1), (1, 0, 2)),
        Contradiction("code", "notes", (0, 1), (1, 0, 2)),
    )


def test_an_order_leads_from_the_first_source_to_the_other() -> None:
    (found,) = contradictions({"a": NAMES, "b": ["forest", "water", "developed"]})
    assert found.order == (1, 2, 0)  # water is 0 in a and 1 in b


def test_other_names_give_no_order() -> None:
    (found,) = contradictions({"a": NAMES, "b": ["water", "impervious", "forest"]})
    assert (found.indices, found.order) == ((1,), None)
    (found,) = contradictions({"a": NAMES, "b": [*NAMES, "bare"]})
    assert (found.indices, found.order) == ((3,), None)
    assert contradictions({"a": NAMES}) == ()


def test_the_report_says_what_shows_it() -> None:
    swapped = outputs_moved(GOOD, (1, 0, 2))
    agree, differ = {"card": NAMES, "code": NAMES}, {"card": NAMES, "code": ["developed", "water", "forest"]}
    assert scheme_order(GOOD, agree).via == "neither"
    assert scheme_order(swapped, agree).via == "stored matrix"
    found = scheme_order(GOOD, differ)
    assert found.via == "contradicting sources"
    assert "card and code differ at index 0, 1 (the same names in another order, [1, 0, 2])" in found.why
    assert found.why.startswith("stored matrix: as stored, ")
    assert scheme_order(swapped, differ).via == "both"
    assert "2 sources do not contradict" in scheme_order(GOOD, agree).why


@given(st.integers(2, 6), st.integers(0, 10_000), st.booleans())
def test_the_best_order_is_that_of_all_orders(k: int, seed: int, ties: bool) -> None:
    gain = np.random.default_rng(seed).random((k, k))
    gain = np.round(gain, 1) if ties else gain
    found = best_order(gain)
    assert sorted(found) == list(range(k))
    most = max(sum(gain[i, order[i]] for i in range(k)) for order in permutations(range(k)))
    assert sum(gain[i, found[i]] for i in range(k)) == pytest.approx(most, abs=1e-7)


def test_ties_stay_as_stored() -> None:
    assert best_order(np.full((4, 4), 0.25)) == (0, 1, 2, 3)
    assert best_order(np.array([[0.5, 0.75], [0.25, 0.5]])) == (0, 1)
    assert best_order(np.zeros((11, 11))) == tuple(range(11))


@given(st.permutations(range(5)), st.integers(0, 1_000))
def test_any_order_of_a_good_model_is_found(order: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 60, (5, 5)) + 400 * np.eye(5, dtype=np.int64)
    good = ConfusionMatrix(tuple(map(tuple, counts.tolist())))
    found = permuted(outputs_moved(good, tuple(order)))
    assert found.order == tuple(order)
    assert found.found == ("as stored" if order == list(range(5)) else "another order")
