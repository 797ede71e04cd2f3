"""Confusion integers against scikit-learn, and what a map may not hold."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import TypeAdapter
from sklearn.metrics import confusion_matrix

from harness.score import confusion
from harness.score.binary import BinaryMatrix
from harness.score.confusion import ConfusionMatrix

Maps = tuple[NDArray[np.int64], NDArray[np.int64], int]

HAND = ConfusionMatrix(((5, 1, 0), (2, 7, 3), (0, 0, 4)), 6)
"""Rows label, columns prediction; no two rows or columns alike."""


@st.composite
def maps(draw: st.DrawFn, ignore_index: int = -1) -> Maps:
    """Label, prediction and K; some pixels ignored, some classes absent."""
    classes = draw(st.integers(2, 7))
    held = st.sampled_from(range(classes))
    of_label = draw(st.lists(held, min_size=1, unique=True))
    of_prediction = draw(st.lists(held, min_size=1, unique=True))
    pairs = st.tuples(st.sampled_from([*of_label, ignore_index]), st.sampled_from(of_prediction))
    pixels = np.array(draw(st.lists(pairs, min_size=1, max_size=60)), dtype=np.int64)
    return pixels[:, 0], pixels[:, 1], classes


@given(maps())
def test_counts_equal_scikit_learn(case: Maps) -> None:
    label, prediction, classes = case
    cm = ConfusionMatrix.from_maps(label, prediction, classes)
    known = label != -1
    assert cm.ignored == np.count_nonzero(~known)
    assert cm.total == np.count_nonzero(known)
    if known.any():  # scikit-learn refuses an empty map
        expected = confusion_matrix(label[known], prediction[known], labels=range(classes))
        assert np.array(cm.counts).tolist() == expected.tolist()
    else:
        assert cm.counts == ConfusionMatrix.empty(classes).counts


def test_rows_are_labels_and_columns_are_predictions() -> None:
    cm = ConfusionMatrix.from_maps(np.array([0, 0, 1, -1]), np.array([1, 1, 1, 0]), 2)
    assert cm == ConfusionMatrix(((0, 2), (0, 1)), 1)
    assert (cm.label_px(0), cm.predicted_px(0), cm.label_px(1), cm.predicted_px(1)) == (2, 0, 1, 3)


@given(maps(), st.integers(1, 59))
def test_matrices_add_over_chips(case: Maps, cut: int) -> None:
    label, prediction, classes = case
    parts = [
        ConfusionMatrix.from_maps(label[side], prediction[side], classes) for side in (slice(cut), slice(cut, None))
    ]
    assert sum(parts, ConfusionMatrix.empty(classes)) == ConfusionMatrix.from_maps(label, prediction, classes)


@given(maps(), st.randoms(use_true_random=False))
def test_relabelling_the_maps_is_relabelling_the_matrix(case: Maps, random: Any) -> None:
    label, prediction, classes = case
    order = list(range(classes))
    random.shuffle(order)
    new = np.argsort(order)  # old class -> its new index
    moved = ConfusionMatrix.from_maps(np.where(label == -1, -1, new[label]), new[prediction], classes)
    assert moved == ConfusionMatrix.from_maps(label, prediction, classes).relabelled(order)


def test_relabelling_says_which_old_class_each_new_one_is() -> None:
    moved = HAND.relabelled([2, 0, 1])
    assert moved.counts == ((4, 0, 0), (0, 5, 1), (3, 2, 7))
    assert moved.ignored == 6


@pytest.mark.parametrize("order", [[0, 1], [0, 1, 1], [1, 2, 3]])
def test_an_order_that_loses_a_class_is_refused(order: list[int]) -> None:
    with pytest.raises(ValueError, match=r"each of 0\.\.2 once"):
        HAND.relabelled(order)


def test_one_class_against_the_rest() -> None:
    assert HAND.binary(1) == BinaryMatrix(tp=7, fp=1, fn=5, tn=9)
    assert all(type(n) is int for n in (HAND.binary(0).tp, HAND.binary(0).fp, HAND.binary(0).fn, HAND.binary(0).tn))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.uint64])
def test_dtype_layout_and_piece_size_change_nothing(dtype: type[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(7)
    label, prediction = rng.integers(0, 4, (3, 37, 41)), rng.integers(0, 4, (3, 37, 41))
    label[0, :5] = 255 if dtype is np.uint8 else 9
    ignore = int(label[0, 0, 0])
    whole = ConfusionMatrix.from_maps(label, prediction, 4, ignore)
    known = label != ignore
    assert np.array(whole.counts).tolist() == confusion_matrix(label[known], prediction[known]).tolist()
    assert whole.ignored == 5 * 41
    monkeypatch.setattr(confusion, "PIECE_PX", 100)
    small = prediction.astype(dtype)
    assert ConfusionMatrix.from_maps(label.astype(dtype), small, 4, ignore) == whole
    assert ConfusionMatrix.from_maps(np.asfortranarray(label.astype(dtype)), small, 4, ignore) == whole
    assert ConfusionMatrix.from_maps(label[..., ::-1], prediction[..., ::-1], 4, ignore) == whole


def test_a_wrong_value_is_named_with_its_pixels_across_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confusion, "PIECE_PX", 64)
    label = np.zeros((40, 40), np.uint8)
    label[:, 3] = 255
    label[0, 0] = 7
    with pytest.raises(ValueError, match=r"label holds 255 on 40 px, 7 on 1 px; .* 0 to 4 and ignore_index -1"):
        ConfusionMatrix.from_maps(label, np.zeros_like(label), 5)


def test_a_wrong_prediction_is_refused_even_where_the_label_is_ignored() -> None:
    with pytest.raises(ValueError, match=r"prediction holds 3 on 1 px; its values must be the classes 0 to 2$"):
        ConfusionMatrix.from_maps(np.array([0, -1]), np.array([0, 3]), 3)
    with pytest.raises(ValueError, match=r"prediction holds -1 on 1 px"):
        ConfusionMatrix.from_maps(np.array([0, -1]), np.array([0, -1]), 3)


def test_many_wrong_values_are_cut_short() -> None:
    with pytest.raises(ValueError, match="and 5 more values"):
        ConfusionMatrix.from_maps(np.arange(2, 12), np.zeros(10, int), 2)


def test_no_ignore_index_means_each_pixel_has_a_class() -> None:
    with pytest.raises(ValueError, match=r"label holds -1 on 1 px; its values must be the classes 0 to 1$"):
        ConfusionMatrix.from_maps(np.array([0, -1]), np.array([0, 0]), 2, None)


def test_a_huge_unsigned_value_does_not_wrap_to_the_ignore_index() -> None:
    label = np.array([0, 2**64 - 1], np.uint64)
    with pytest.raises(ValueError, match="18446744073709551615 on 1 px"):
        ConfusionMatrix.from_maps(label, np.zeros(2, np.uint64), 2)


@pytest.mark.parametrize(
    ("label", "prediction", "classes", "ignore", "why"),
    [
        (np.zeros((2, 3), int), np.zeros((3, 2), int), 2, -1, "not the same pixels"),
        (np.zeros((1, 3), int), np.zeros((2, 3), int), 2, -1, "not the same pixels"),
        (np.zeros(3, np.float32), np.zeros(3, int), 2, -1, "label is float32"),
        (np.zeros(3, int), np.zeros(3, np.bool_), 2, -1, "prediction is bool"),
        (np.ma.masked_equal(np.zeros(3, int), 0), np.zeros(3, int), 2, -1, "label is a masked array"),
        (np.zeros(3, int), [0, 0, 0], 2, -1, "prediction is a list"),
        (np.zeros(3, int), np.zeros(3, int), 2, 1, "ignore_index 1 is a class"),
        (np.zeros(3, int), np.zeros(3, int), 1, -1, "1 classes"),
    ],
)
def test_what_is_no_pair_of_class_maps_is_refused(
    label: Any, prediction: Any, classes: int, ignore: int, why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        ConfusionMatrix.from_maps(label, prediction, classes, ignore)


def test_an_empty_map_has_an_empty_matrix() -> None:
    empty = np.zeros((0, 5), np.uint8)
    assert ConfusionMatrix.from_maps(empty, empty, 3) == ConfusionMatrix.empty(3)


@pytest.mark.parametrize(
    ("counts", "why"),
    [
        (((1, 2), (3,)), "K x K"),
        (((1,),), "K >= 2"),
        ((), "K >= 2"),
        (((1, -2), (3, 4)), "negative count -2"),
        (((1, 2.0), (3, 4)), "is a float"),
        (((True, 2), (3, 4)), "is a bool"),
        (((np.int64(1), 2), (3, 4)), "is a int64"),
    ],
)
def test_counts_are_whole_square_and_python_ints(counts: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        ConfusionMatrix(counts)
    with pytest.raises(ValueError, match="negative"):
        ConfusionMatrix(((1, 2), (3, 4)), -1)


def test_matrices_of_other_schemes_do_not_add() -> None:
    with pytest.raises(ValueError, match="3 and 2 classes"):
        HAND + ConfusionMatrix.empty(2)
    with pytest.raises(TypeError):
        HAND + 1  # type: ignore[operator]


@pytest.mark.parametrize("i", [-1, 3])
def test_a_class_outside_the_matrix_is_no_class_from_the_other_end(i: int) -> None:
    for of in (HAND.label_px, HAND.predicted_px, HAND.binary):
        with pytest.raises(IndexError, match=f"class {i}"):
            of(i)


def test_json_and_back_alone_and_as_a_pydantic_field() -> None:
    text = json.dumps(HAND.to_json())
    assert json.loads(text) == {"counts": [[5, 1, 0], [2, 7, 3], [0, 0, 4]], "ignored": 6}
    assert ConfusionMatrix.from_json(json.loads(text)) == HAND
    adapter = TypeAdapter(ConfusionMatrix)
    assert adapter.dump_python(HAND, mode="json") == HAND.to_json()
    assert adapter.validate_json(text) == HAND


@pytest.mark.parametrize("data", [{}, {"counts": [[1, 2], [3, 4]]}, {"counts": [[1, 2], [3, 4]], "ignored": 0, "k": 2}])
def test_json_with_other_keys_is_refused(data: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="keys counts and ignored"):
        ConfusionMatrix.from_json(data)
