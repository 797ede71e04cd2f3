"""What logits on a coarse grid could reach at best on a label: the bound that comes with a decoder's output size.

The published decoder gives one logit for 4 x 4 pixels (40 m) and bilinear interpolation fills in the rest.
Three figures come from the label alone: the map of cell majorities; for two classes the best map that is
constant within cells; and the best found among logits that are interpolated as the model interpolates them.
The last one is reached, so the true ceiling is there or above: it is a lower bound of the ceiling.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.score.binary import BinaryMatrix
from harness.score.confusion import ConfusionMatrix, check_integers

Floats = NDArray[np.float32]

STEPS = 120
"""Gradient steps of a fit; with the rounds that follow, 0.4 s for 224 x 224 px and two classes. On a made label of a
thousand small blocks they reach IoU 0.780 and eight times as many 0.790; three rounds of single moves lift the
0.780 to 0.795 (2026-11-21)."""

LOOK_EVERY = 6
"""Steps between two counts of the map that the logits give; the best one counted is kept."""

RATE = 2.0
"""First step length of a fit, in logits; it falls to a tenth along a cosine. With 1.0 the same label reaches 0.778."""

SWEEPS = 3
"""Rounds in which single logits are moved afterwards, for two classes."""

MOVES = tuple(sign * size for size in (0.25, 1.0, 4.0, 16.0) for sign in (1, -1))
"""Moves that are tried for a logit, in median absolute logits."""

SHARPNESS = 6.0
"""Logits that the fit starts from are (share - threshold) times this, so that few pixels start out settled."""

LARGEST_PX = 1024
"""Longest side that is fitted: larger chips run in tiles, whose seams this does not describe."""


@dataclass(frozen=True, slots=True)
class SharePoint:
    """Two-class counts of the map that marks each cell with at least a given share of positive pixels."""

    threshold: float
    """Share of the cell's labelled pixels; cells at it are marked."""
    matrix: BinaryMatrix
    """Whole pixels."""


@dataclass(frozen=True)
class Fitted:
    """The best logits found."""

    logits: Floats
    """Shape (K, H / stride, W / stride)."""
    classes: NDArray[np.int64]
    """Class of the largest interpolated logit, the lowest index where several are equal; shape (H, W)."""
    matrix: ConfusionMatrix
    """Label against `classes`."""


def fits_grid(shape: tuple[int, int], stride_px: int) -> str | None:
    """Why a map of that shape has no whole cells; None where it has."""
    if stride_px < 2:
        return f"logits every {stride_px} px are as fine as the pixels"
    if shape[0] % stride_px or shape[1] % stride_px or not min(shape):
        return f"{shape[0]} x {shape[1]} px are no whole cells of {stride_px} px"
    return None


def cell_counts(label: NDArray[np.integer[Any]], classes: int, stride_px: int) -> NDArray[np.int64]:
    """Labelled pixels of each class in each cell.

    Args:
        label: Class indices, shape (H, W); -1 where there is none.
        classes: K.
        stride_px: Side of a cell.

    Returns:
        Shape (K, H / stride, W / stride).

    Raises:
        ValueError: No class map, or no whole cells.
    """
    check_integers("label", label, classes, -1)
    if label.ndim != 2 or (why := fits_grid((label.shape[0], label.shape[1]), stride_px)) is not None:
        raise ValueError(f"label of shape {label.shape}: {why if label.ndim == 2 else '(H, W) is needed'}")
    h, w = label.shape[0] // stride_px, label.shape[1] // stride_px
    cells = label.reshape(h, stride_px, w, stride_px)
    return np.stack([np.count_nonzero(cells == k, axis=(1, 3)) for k in range(classes)]).astype(np.int64)


def area_mean(label: NDArray[np.integer[Any]], classes: int, stride_px: int) -> ConfusionMatrix:
    """The map whose cells hold the class that most of their labelled pixels have, the lowest index of several.

    Raises:
        ValueError: As `cell_counts`.
    """
    most = cell_counts(label, classes, stride_px).argmax(0)
    return ConfusionMatrix.from_maps(label, whole(most, stride_px), classes)


def whole(cells: NDArray[np.integer[Any]], stride_px: int) -> NDArray[np.int64]:
    """Each cell's value on each of its pixels, (h, w) to (H, W)."""
    return np.repeat(np.repeat(cells, stride_px, 0), stride_px, 1).astype(np.int64)


def share_points(label: NDArray[np.integer[Any]], stride_px: int) -> tuple[SharePoint, ...]:
    """Maps of cells by their share of class 1, at every share that a fully labelled cell can have above 0.

    Among maps that are constant within cells, one that marks exactly the cells at or above some share has
    the highest IoU of class 1: at the optimum value J a cell raises it where its positives exceed J times its
    negatives (Dinkelbach 1967, Management Science 13(7); title and year not looked up). So the best of these
    is exact where no cell is partly labelled.

    Raises:
        ValueError: As `cell_counts`, for two classes.
    """
    counts = cell_counts(label, 2, stride_px)
    known = counts.sum(0)
    out = []
    for k in range(1, stride_px**2 + 1):
        marked = (counts[1] * stride_px**2 >= k * known) & (known > 0)
        tp, fp = int(counts[1][marked].sum()), int(counts[0][marked].sum())
        matrix = BinaryMatrix(tp, fp, int(counts[1].sum()) - tp, int(counts[0].sum()) - fp)
        out.append(SharePoint(k / stride_px**2, matrix))
    return tuple(out)


def interpolated(logits: Floats, stride_px: int) -> Floats:
    """Logits (K, h, w) on pixels by bilinear interpolation, (K, h * stride, w * stride).

    Pixel centres as torch.nn.functional.interpolate takes them with align_corners=False, which is what
    TerraTorch 1.2.11 does with logits (pixel_wise_model.py): beyond the outermost centres values stay.
    """
    return _along(_along(logits, stride_px).swapaxes(1, 2), stride_px).swapaxes(1, 2)


def _phases(stride_px: int) -> list[tuple[int, np.float32]]:
    """For each pixel of a cell: which logit lies before it (-1: the last cell's), and the weight of the one behind."""
    at = (np.arange(stride_px) + 0.5) / stride_px - 0.5
    return [(int(np.floor(x)), np.float32(x - np.floor(x))) for x in at]


def _along(logits: Floats, stride_px: int) -> Floats:
    """Interpolation along the second axis. Slices and no matrix product: threads of a BLAS cost more here."""
    k, h, w = logits.shape
    padded = np.concatenate([logits[:, :1], logits, logits[:, -1:]], axis=1)
    out = np.empty((k, h, stride_px, w), np.float32)
    for j, (low, t) in enumerate(_phases(stride_px)):
        out[:, :, j] = (1 - t) * padded[:, 1 + low : 1 + low + h] + t * padded[:, 2 + low : 2 + low + h]
    return out.reshape(k, h * stride_px, w)


def _gathered(slope: Floats, stride_px: int) -> Floats:
    """The transpose of `interpolated`: slopes on pixels to slopes on logits."""
    return _back(_back(slope, stride_px).swapaxes(1, 2), stride_px).swapaxes(1, 2)


def _back(slope: Floats, stride_px: int) -> Floats:
    k, rows, w = slope.shape
    h = rows // stride_px
    cells = slope.reshape(k, h, stride_px, w)
    padded = np.zeros((k, h + 2, w), np.float32)
    for j, (low, t) in enumerate(_phases(stride_px)):
        padded[:, 1 + low : 1 + low + h] += (1 - t) * cells[:, :, j]
        padded[:, 2 + low : 2 + low + h] += t * cells[:, :, j]
    padded[:, 1] += padded[:, 0]
    padded[:, -2] += padded[:, -1]
    return padded[:, 1:-1]


def fit(label: NDArray[np.integer[Any]], classes: int, stride_px: int, steps: int = STEPS) -> Fitted:
    """Look for the logits whose interpolated map agrees best with the label.

    Gradient ascent (Adam: Kingma and Ba, arXiv:1412.6980) on the soft Jaccard index: of class 1 for two classes, of
    all classes that the label holds, averaged, for more. Every few steps the map is counted as it would be scored, and
    the best one is kept; the start is counted, too. For two classes single logits are moved afterwards. What comes
    out is reached, hence no upper bound: on 30 made maps of four logits it ends 0.009 below the best of all
    logits tried on average, 0.14 at worst.

    Args:
        label: Class indices, shape (H, W); -1 where there is none.
        classes: K.
        stride_px: Pixels from logit to logit.
        steps: How long.

    Raises:
        ValueError: As `cell_counts`, or no labelled pixel.
    """
    counts = cell_counts(label, classes, stride_px)
    held = [k for k in range(classes) if counts[k].any()]
    if not held:
        raise ValueError("no pixel is labelled")
    aimed = [1] if classes == 2 and 1 in held else held
    target = [held.index(k) for k in aimed]
    shares = counts[held] / np.maximum(counts.sum(0), 1)
    logits = ((shares - 0.5) * (2 * SHARPNESS)).astype(np.float32)
    truth = np.stack([label == k for k in held]).astype(np.float32)
    weight = (label >= 0).astype(np.float32)
    names = np.asarray(held)
    best, kept = -1.0, logits
    first, second = np.zeros_like(logits), np.zeros_like(logits)
    for step in range(steps + 1):
        on_pixels = interpolated(logits, stride_px)
        if step % LOOK_EVERY == 0 or step == steps:
            value = _jaccard(label, names[on_pixels.argmax(0)], aimed)
            if value > best:
                best, kept = value, logits
        if step == steps or best == 1:
            break
        pull = _gathered(_slope(on_pixels, truth, weight, target), stride_px)
        first = np.float32(0.9) * first + np.float32(0.1) * pull
        second = np.float32(0.99) * second + np.float32(0.01) * pull**2
        rate = RATE * (0.55 + 0.45 * np.cos(np.pi * step / steps))
        scaled = (first / (1 - 0.9 ** (step + 1))) / (np.sqrt(second / (1 - 0.99 ** (step + 1))) + 1e-12)
        logits = (logits + np.float32(rate) * scaled).astype(np.float32)
    if aimed == [1] and len(held) == 2:
        field = _polished(kept[1] - kept[0], label, stride_px)
        kept = np.stack([np.zeros_like(field), field])
    out = np.full((classes, *kept.shape[1:]), kept.min() - 1, np.float32)  # classes that the label lacks never win
    out[held] = kept
    found = interpolated(out, stride_px).argmax(0).astype(np.int64)
    return Fitted(out, found, ConfusionMatrix.from_maps(label, found, classes))


def _polished(field: Floats, label: NDArray[np.integer[Any]], stride_px: int) -> Floats:
    """Logits of class 1 less those of class 0, moved one at a time wherever that raises the IoU of class 1.

    Every second logit along both axes reaches pixels of its own, so that they are moved together. At IoU J a move
    that gains positives and negatives (G, H) raises it where G - J H > 0 (Dinkelbach, as in `share_points`).
    """
    positive, negative = label == 1, (label >= 0) & (label != 1)
    scale = float(np.median(np.abs(field))) or 1.0
    for _ in range(SWEEPS):
        for down, across in ((0, 0), (0, 1), (1, 0), (1, 1)):
            chosen = field[down::2, across::2]
            if not chosen.size:
                continue
            bump = np.zeros((1, *field.shape), np.float32)
            bump[0, down::2, across::2] = 1
            reach, before = interpolated(bump, stride_px)[0], interpolated(field[None], stride_px)[0]
            marked = before > 0
            hit, union = (int(np.count_nonzero(x)) for x in (marked & positive, positive | (marked & negative)))
            j = hit / max(union, 1)
            worth = positive - j * negative
            starts = [_starts(n, stride_px, at) for n, at in zip(field.shape, (down, across), strict=True)]
            best, step = np.full(chosen.shape, 1e-9), np.zeros(chosen.shape, np.float32)
            for move in MOVES:
                by = np.float32(move * scale)
                gain = worth * ((before + by * reach > 0).astype(np.int8) - marked)
                total = np.add.reduceat(np.add.reduceat(gain, starts[0], axis=0), starts[1], axis=1)
                step = np.where(total > best, by, step)
                best = np.maximum(total, best)
            field = field.copy()
            field[down::2, across::2] += step
    return field


def _starts(cells: int, stride_px: int, first: int) -> NDArray[np.int64]:
    """First pixel along one axis that only each of the logits `first`, `first` + 2, ... reaches."""
    many = len(range(first, cells, 2))
    at = (np.arange(cells * stride_px) + 0.5) / stride_px - 0.5
    owner = np.clip(np.floor((at - first + 1) / 2), 0, many - 1)
    return np.searchsorted(owner, np.arange(many)).astype(np.int64)


def _slope(logits: Floats, truth: Floats, weight: Floats, target: Sequence[int]) -> Floats:
    """Derivative of the mean soft Jaccard index of some classes by the logits on pixels, (K, H, W)."""
    raised = np.exp(logits - logits.max(0))
    p = raised / raised.sum(0)
    by_p = np.zeros_like(p)
    for k in target:
        y = truth[k]
        hit = float((weight * y * p[k]).sum())
        union = float((weight * (y + p[k] - y * p[k])).sum())
        by_p[k] = weight * (y * np.float32(union) - (1 - y) * np.float32(hit)) / np.float32(union**2 * len(target))
    out: Floats = p * (by_p - (p * by_p).sum(0))
    return out


def _jaccard(label: NDArray[np.integer[Any]], found: NDArray[np.integer[Any]], target: Sequence[int]) -> float:
    """Mean IoU over some classes that the label holds, on labelled pixels."""
    known = label >= 0
    parts = []
    for k in target:
        a, b = label == k, (found == k) & known
        parts.append(np.count_nonzero(a & b) / np.count_nonzero(a | b))
    return float(np.mean(parts))
