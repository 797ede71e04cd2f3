"""Ceilings against brute force on small maps, and the search against its own rules."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.score import ceiling, metrics
from harness.score.ceiling import area_mean, cell_counts, fit, fits_grid, interpolated, share_points, whole
from harness.score.confusion import ConfusionMatrix


def blocks(seed: int, side: int = 8, share: float = 0.4) -> NDArray[np.int64]:
    """Rectangles on a ground, shape (side, side)."""
    rng = np.random.default_rng(seed)
    out = np.zeros((side, side), np.int64)
    while out.mean() < share:
        top, left = rng.integers(0, side, 2)
        height, width = rng.integers(1, 5, 2)
        out[top : top + height, left : left + width] = 1
    return out


def iou(label: NDArray[np.int64], found: NDArray[np.int64]) -> float:
    value = metrics.iou(ConfusionMatrix.from_maps(label, found, 2), 1).value
    assert value is not None
    return value


def constant_cells(side: int, stride: int) -> Iterator[NDArray[np.int64]]:
    """Every two-class map that is constant within cells."""
    n = side // stride
    for bits in itertools.product((0, 1), repeat=n * n):
        yield whole(np.array(bits).reshape(n, n), stride)


@pytest.mark.parametrize("seed", range(8))
def test_the_best_share_is_the_best_of_all_cell_maps(seed: int) -> None:
    label = blocks(seed, 12)
    best = max(p.matrix.iou1 or 0 for p in share_points(label, 4))
    assert best == pytest.approx(max(iou(label, found) for found in constant_cells(12, 4)))


@pytest.mark.parametrize("seed", range(4))
def test_area_means_have_the_highest_accuracy_of_all_cell_maps(seed: int) -> None:
    label = blocks(seed, 8)
    label[0, :3] = -1
    best = max(int((label == found)[label >= 0].sum()) for found in constant_cells(8, 4))
    assert area_mean(label, 2, 4).correct == best


def test_shares_are_marked_from_the_threshold_on() -> None:
    label = np.zeros((4, 8), np.int64)
    label[:2, :4] = 1  # half of the first cell
    points = {p.threshold: p.matrix for p in share_points(label, 4)}
    assert (points[0.5].tp, points[0.5].fp) == (8, 8)
    assert (points[0.5625].tp, points[0.5625].fp, points[0.5625].fn) == (0, 0, 8)
    assert len(points) == 16


def test_unlabelled_pixels_are_counted_nowhere() -> None:
    label = np.full((4, 8), -1)
    label[0, 0] = 1
    counts = cell_counts(label, 2, 4)
    assert counts.tolist() == [[[0, 0]], [[1, 0]]]
    assert all(p.matrix.total == 1 for p in share_points(label, 4))
    assert area_mean(label, 2, 4).total == 1


def by_hand(logits: NDArray[np.float32], stride: int) -> NDArray[np.float64]:
    """Bilinear interpolation from the definition, one pixel at a time."""
    k, h, w = logits.shape
    out = np.zeros((k, h * stride, w * stride))
    for y in range(h * stride):
        for x in range(w * stride):
            v = min(max((y + 0.5) / stride - 0.5, 0), h - 1)
            u = min(max((x + 0.5) / stride - 0.5, 0), w - 1)
            i, j, i1, j1 = int(v), int(u), min(int(v) + 1, h - 1), min(int(u) + 1, w - 1)
            a, b = v - i, u - j
            top = (1 - b) * logits[:, i, j] + b * logits[:, i, j1]
            bottom = (1 - b) * logits[:, i1, j] + b * logits[:, i1, j1]
            out[:, y, x] = (1 - a) * top + a * bottom
    return out


@pytest.mark.parametrize(("stride", "size"), [(4, (3, 5)), (2, (1, 4)), (3, (2, 2)), (5, (1, 1))])
def test_interpolation_is_bilinear_between_pixel_centres(stride: int, size: tuple[int, int]) -> None:
    logits = np.random.default_rng(stride).normal(size=(2, *size)).astype(np.float32)
    assert np.allclose(interpolated(logits, stride), by_hand(logits, stride), atol=1e-6)


def test_slopes_are_gathered_by_the_transpose() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(3, 4, 5)).astype(np.float32)
    slope = rng.normal(size=(3, 16, 20)).astype(np.float32)
    there, back = interpolated(logits, 4), ceiling._gathered(slope, 4)
    assert float((there * slope).sum()) == pytest.approx(float((logits * back).sum()), rel=1e-4)


def test_the_slope_is_that_of_the_soft_jaccard_index() -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(3, 4, 4)).astype(np.float32)
    label = rng.integers(0, 3, (4, 4))
    truth = np.stack([label == k for k in range(3)]).astype(np.float32)
    weight = (rng.random((4, 4)) > 0.2).astype(np.float32)

    def soft(at: NDArray[np.float64]) -> float:
        p = np.exp(at) / np.exp(at).sum(0)
        parts = [
            (weight * truth[k] * p[k]).sum() / (weight * (truth[k] + p[k] - truth[k] * p[k])).sum() for k in (0, 2)
        ]
        return float(np.mean(parts))

    slope = ceiling._slope(logits, truth, weight, [0, 2])
    for where in [(0, 0, 0), (1, 2, 3), (2, 3, 1)]:
        step = np.zeros(logits.shape)
        step[where] = 1e-4
        numeric = (soft(logits + step) - soft(logits - step)) / 2e-4
        assert slope[where] == pytest.approx(numeric, abs=1e-5)


def test_the_search_finds_nearly_what_trying_all_logits_finds() -> None:
    levels = (-8.0, -4.0, -2.0, -1.0, 0.0, 1.0, 2.0, 4.0, 8.0)
    fields = np.array(list(itertools.product(levels, repeat=4)), np.float32).reshape(-1, 2, 2)
    maps = interpolated(fields, 4) > 0
    short = []
    for seed in range(30):
        label = blocks(seed, 8)
        tried = (maps & (label == 1)).sum((1, 2)) / (maps | (label == 1)).sum((1, 2))
        found = fit(label, 2, 4)
        reached = iou(label, interpolated(found.logits, 4).argmax(0).astype(np.int64))
        assert metrics.iou(found.matrix, 1).value == reached
        short.append(float(tried.max()) - reached)
    assert np.mean(short) < 0.015
    assert max(short) < 0.2


@pytest.mark.parametrize(("size", "stride"), [((5, 7), 4), ((3, 3), 3), ((1, 4), 2), ((1, 1), 4)])
def test_single_moves_never_lower_the_iou(size: tuple[int, int], stride: int) -> None:
    rng = np.random.default_rng(2)
    label = rng.integers(-1, 2, (size[0] * stride, size[1] * stride))
    field = rng.normal(size=size).astype(np.float32)
    moved = ceiling._polished(field, label, stride)

    def value(at: NDArray[np.float32]) -> float:
        return iou(label, (interpolated(at[None], stride)[0] > 0).astype(np.int64))

    assert value(moved) >= value(field)
    assert size == (1, 1) or value(moved) > value(field)


def test_the_search_never_ends_below_its_start_and_steps_help() -> None:
    label = blocks(3, 64)
    values = [iou(label, fit(label, 2, 4, steps).classes) for steps in (0, 30, 120)]
    assert values[0] < values[1] <= values[2] < 1
    assert values[2] > iou(label, whole(cell_counts(label, 2, 4).argmax(0), 4))


def test_a_label_that_the_grid_can_hold_is_reached() -> None:
    cells = np.random.default_rng(0).integers(0, 3, (4, 4))
    found = fit(np.full((16, 16), 2), 5, 4)
    assert found.matrix.correct == 256
    assert area_mean(whole(cells, 4), 3, 4).correct == 256


def test_classes_that_the_label_lacks_are_never_given() -> None:
    label = np.where(blocks(1, 32) == 1, 3, 1)
    found = fit(label, 5, 4)
    assert set(np.unique(found.classes)) <= {1, 3}
    assert [found.matrix.predicted_px(k) for k in (0, 2, 4)] == [0, 0, 0]


def test_a_chip_without_positives_is_all_negative() -> None:
    assert fit(np.zeros((8, 8), np.int64), 2, 4).matrix.counts == ((64, 0), (0, 0))


def test_maps_without_whole_cells_are_refused() -> None:
    assert fits_grid((8, 8), 4) is None
    assert "no whole cells" in str(fits_grid((8, 9), 4))
    assert "as fine as the pixels" in str(fits_grid((8, 8), 1))
    with pytest.raises(ValueError, match="no whole cells of 4 px"):
        cell_counts(np.zeros((6, 8), np.int64), 2, 4)
    with pytest.raises(ValueError, match="no pixel is labelled"):
        fit(np.full((8, 8), -1), 2, 4)
