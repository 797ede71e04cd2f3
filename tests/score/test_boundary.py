"""Boundary counts against a brute force over all pairs of pixels, and what the score must and must not see."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from harness.records.spatial import BoundaryCount
from harness.score.boundary import boundary_counts, edge, near, pooled_boundary

Map = NDArray[np.int64]

shapes = st.tuples(st.integers(1, 7), st.integers(1, 7))
pairs = shapes.flatmap(
    lambda shape: st.tuples(
        arrays(np.int64, shape, elements=st.sampled_from([-1, 0, 0, 1, 1, 2])),
        arrays(np.int64, shape, elements=st.integers(0, 2)),
    )
)


def brute_edge(classes: Map, label: Map, index: int) -> set[tuple[int, int]]:
    """Pixel by pixel, as the definition says it."""
    height, width = classes.shape
    out = set()
    for y in range(height):
        for x in range(width):
            if label[y, x] == -1 or classes[y, x] != index:
                continue
            for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                inside = 0 <= v < height and 0 <= u < width
                if inside and label[v, u] != -1 and classes[v, u] != index:
                    out.add((y, x))
    return out


def brute_near(own: set[tuple[int, int]], others: set[tuple[int, int]], tolerance: int) -> int:
    """Every pixel against every other."""
    return sum(any((y - v) ** 2 + (x - u) ** 2 <= tolerance**2 for v, u in others) for y, x in own)


@settings(max_examples=150)
@given(pairs)
def test_counts_are_those_of_the_brute_force(maps: tuple[Map, Map]) -> None:
    label, guess = maps
    for c in boundary_counts(label, guess, 3, tolerances_px=(0, 1, 2, 3)):
        true = brute_edge(label, label, c.class_index)
        marked = brute_edge(guess, label, c.class_index)
        assert (c.label_px, c.predicted_px) == (len(true), len(marked))
        assert c.label_near_px == brute_near(true, marked, c.tolerance_px)
        assert c.predicted_near_px == brute_near(marked, true, c.tolerance_px)


def square(shift: int = 0) -> Map:
    out = np.zeros((20, 20), np.int64)
    out[5:15, 5 + shift : 15 + shift] = 1
    return out


def f1_of(label: Map, guess: Map, index: int, tolerance: int) -> float | None:
    found = pooled_boundary([boundary_counts(label, guess, 2)])
    return next(s.f1.value for s in found if (s.class_index, s.tolerance_px) == (index, tolerance))


def test_a_perfect_map_scores_one_and_a_shifted_one_within_its_shift() -> None:
    assert f1_of(square(), square(), 1, 1) == 1.0
    assert f1_of(square(), square(1), 1, 1) == 1.0
    two = f1_of(square(), square(2), 1, 1)
    assert two is not None
    assert two < 1.0
    assert f1_of(square(), square(2), 1, 3) == 1.0


def test_the_border_of_the_image_and_of_unlabelled_ground_is_no_boundary() -> None:
    ones = np.ones((6, 6), bool)
    assert not edge(ones, ones).any()
    label = square()
    label[:, 10:] = -1
    guess = square()
    guess[:, 10:] = 0  # whatever is predicted where nobody knows
    assert all(c.label_near_px == c.label_px == c.predicted_px for c in boundary_counts(label, guess, 2))


def test_diagonal_neighbours_are_no_boundary_and_distance_is_euclidean() -> None:
    lone = np.zeros((5, 5), bool)
    lone[2, 2] = True
    assert near(lone, 1).sum() == 5
    assert near(lone, 2).sum() == 13
    assert near(np.ones((1, 1), bool), 3).all()


def test_what_is_undefined_says_so_and_nothing_that_meets_is_zero() -> None:
    flat = np.zeros((9, 9), np.int64)
    none = pooled_boundary([boundary_counts(flat, flat, 2)])
    assert all(s.f1.value is None and s.precision.value is None and s.recall.value is None for s in none)
    missed = pooled_boundary([boundary_counts(square(), np.zeros_like(square()), 2)])
    assert all(s.f1.value == 0.0 and s.precision.value is None and s.recall.value == 0.0 for s in missed)


def test_counts_pool_before_the_ratio() -> None:
    one = BoundaryCount(
        class_index=1, tolerance_px=1, label_px=10, label_near_px=10, predicted_px=10, predicted_near_px=10
    )
    other = one.model_copy(update={"label_px": 90, "label_near_px": 0, "predicted_px": 30, "predicted_near_px": 0})
    (found,) = pooled_boundary([[one], [other]])
    assert (found.recall.value, found.precision.value) == (0.1, 0.25)
    assert found.f1.value == pytest.approx(2 * 0.1 * 0.25 / 0.35)
    with pytest.raises(ValueError, match="do not add"):
        pooled_boundary([[one], [other.model_copy(update={"tolerance_px": 3})]])


@pytest.mark.parametrize(
    ("label", "guess", "said"),
    [
        (np.zeros((3, 3), np.int64), np.zeros((3, 4), np.int64), "one shape"),
        (np.full((3, 3), 5), np.zeros((3, 3), np.int64), "label holds 5 on 9 px"),
        (np.zeros((3, 3), np.int64), np.full((3, 3), -1), "prediction holds -1"),
        (np.zeros(9, np.int64), np.zeros(9, np.int64), "one shape"),
    ],
)
def test_wrong_maps_are_refused(label: Any, guess: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        boundary_counts(label, guess, 2)


def test_impossible_counts_are_no_record() -> None:
    with pytest.raises(ValueError, match="more boundary pixels"):
        BoundaryCount(class_index=0, tolerance_px=1, label_px=1, label_near_px=2, predicted_px=0, predicted_near_px=0)
