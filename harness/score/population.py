"""What another population alone does to a figure: in closed form from rates, else stratum by stratum.

Both ways hold something constant and say what. The closed form holds the rates of each label class; it needs the
matrix that they are in, never IoUs alone. Strata hold the matrix of each stratum, for example of
cells by their built-up share, and change how much of the land each makes up.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from harness.score.binary import BinaryMatrix
from harness.score.clusters import Floats, StackMetric, metric, stacked
from harness.score.confusion import ConfusionMatrix
from harness.score.interval import REPLICATES, Interval, of_stack
from harness.score.story import ASSUMES

STRATA_ASSUME = "in each stratum the confusion stays what it was; only how much land each stratum makes up changes"
"""What reweighting strata takes for granted."""

WHOLE = 1e-6
"""Shares of all strata, or of all classes, may miss 1 by this."""


@dataclass(frozen=True)
class Shift:
    """What prevalence alone would do."""

    here: float
    """The metric as it is."""
    there: float
    """The metric at the other class shares."""
    assumes: str
    """What was held constant."""

    @property
    def effect(self) -> float:
        """There minus here."""
        return self.there - self.here


def shifted(matrix: ConfusionMatrix | BinaryMatrix, shares: Sequence[float]) -> Floats:
    """Confusion in fractions of all pixels if the label's classes had other shares; rates as they are.

    Args:
        matrix: Its rows, P(prediction | label), are held constant.
        shares: Label shares there, by class index, summing to 1; two for a `BinaryMatrix`: negative, positive.

    Returns:
        (K, K), rows label, summing to 1.

    Raises:
        ValueError: Other than K shares, a share below 0, a sum other than 1, or a class with a share there
            and no label pixel here, whose rates nobody knows.
    """
    if isinstance(matrix, BinaryMatrix):
        counts = np.array([[matrix.tn, matrix.fp], [matrix.fn, matrix.tp]], dtype=np.float64)
    else:
        counts = stacked([matrix])[0]
    there = np.asarray(shares, dtype=np.float64)
    if there.shape != counts.shape[:1]:
        raise ValueError(f"{there.size} shares for {len(counts)} classes")
    _check_shares({str(i): float(s) for i, s in enumerate(there)}, "class")
    labelled = counts.sum(-1, keepdims=True)
    if unknown := [i for i in range(len(counts)) if there[i] > 0 and labelled[i, 0] == 0]:
        raise ValueError(f"class {unknown} has a share there and no label pixel here: its rates are not known")
    out: Floats = np.divide(counts, labelled, out=np.zeros_like(counts), where=labelled > 0) * there[:, None]
    return out


def prevalence_effect(
    matrix: ConfusionMatrix | BinaryMatrix,
    shares: Sequence[float],
    name: str,
    class_index: int | None = None,
    over: Sequence[int] | None = None,
) -> Shift:
    """What other class shares alone would do to a metric, under the prior-shift assumption.

    Args:
        matrix: As `shifted`. IoUs alone do not give it: K figures for K x K cells.
        shares: As `shifted`.
        name: As `clusters.metric`.
        class_index: For a metric of one class.
        over: For a mean over classes, which; None: those defined, the same here and there.

    Raises:
        ValueError: As `shifted`, or the metric is undefined here or there.
    """
    there = shifted(matrix, shares)
    now = shifted(matrix, _own_shares(matrix))
    of = metric(name, class_index, over).settled(np.stack([now, there]))
    if isinstance(of, str):
        raise ValueError(f"{name} is not one quantity here and there: {of}")
    a, b = float(of.of(now)), float(of.of(there))
    if math.isnan(a) or math.isnan(b):
        raise ValueError(f"{of.name} is undefined {'here' if math.isnan(a) else 'there'}")
    return Shift(a, b, ASSUMES)


def composition_effect(
    clusters: Mapping[str, Mapping[str, ConfusionMatrix]],
    there: Mapping[str, float],
    name: str,
    class_index: int | None = None,
    over: Sequence[int] | None = None,
    level: float = 0.95,
) -> Interval:
    """What another composition of the land alone would do to a metric, with its interval over our clusters.

    The strata's matrices are pooled over the clusters and weighted as the other population has them; see
    STRATA_ASSUME. The other population's shares are taken as known.

    Args:
        clusters: Cluster id to stratum to matrix; a stratum that a cluster does not hold is left out.
        there: Share of the counted pixels in each stratum there, summing to 1.
        name: As `clusters.metric`.
        class_index: For a metric of one class.
        over: For a mean over classes, which; None: those defined, the same here and there.
        level: Confidence.

    Returns:
        The metric there minus here, as an `Interval`.

    Raises:
        ValueError: No cluster or stratum, shares that are none, a stratum there that has no pixel here, matrices
            of several schemes, or a mean over other classes here and there.
    """
    _check_shares(dict(there), "stratum")
    names = sorted({s for each in clusters.values() for s in each} | set(there))
    sizes = {m.classes for each in clusters.values() for m in each.values()}
    if len(sizes) != 1:
        raise ValueError(f"matrices of {sorted(sizes)} classes: one scheme and at least one matrix are needed")
    nothing = ConfusionMatrix.empty(sizes.pop())
    flat = stacked([clusters[c].get(s, nothing) for c in sorted(clusters) for s in names])
    stack = flat.reshape(len(clusters), len(names), *flat.shape[1:])
    pixels = stack.sum((0, 2, 3))
    if unseen := [s for s, px in zip(names, pixels, strict=True) if there.get(s, 0.0) > 0 and px == 0]:
        raise ValueError(
            f"stratum {', '.join(unseen)} makes up {100 * sum(there[s] for s in unseen):.1f} % there and no pixel "
            "here: what the model does in it is not known"
        )
    weights = np.array([there.get(s, 0.0) for s in names])
    of = metric(name, class_index, over)
    settled = of.settled(np.stack([stack.sum((0, 1)), _weighted(stack.sum(0), weights)]))
    if isinstance(settled, str):
        raise ValueError(f"{name} is not one quantity here and there: {settled}")
    known = settled

    def minus(cells: Floats) -> Floats:
        return known.of(_weighted(cells, weights)) - known.of(cells.sum(-3))

    def seen(cells: Floats) -> Floats:
        whole = cells.sum(-3)
        return known.seen(whole) if known.seen else whole.sum((-1, -2))[..., None]

    effect = StackMetric(f"composition effect on {known.name}", minus, seen=seen)
    return of_stack(stack, effect, "pooled", "pooled difference", "jackknife_t", level, 0, REPLICATES)


def _weighted(cells: Floats, weights: Floats) -> Floats:
    """Strata (..., S, K, K) to one matrix in fractions; NaN where a stratum of some weight holds nothing."""
    whole = cells.sum((-1, -2), keepdims=True)
    share = np.divide(cells, whole, out=np.full_like(cells, np.nan), where=whole > 0)
    used = weights > 0
    out: Floats = np.einsum("s,...sij->...ij", weights[used], share[..., used, :, :])
    return out


def _own_shares(matrix: ConfusionMatrix | BinaryMatrix) -> list[float]:
    if isinstance(matrix, BinaryMatrix):
        px = [matrix.tn + matrix.fp, matrix.fn + matrix.tp]
    else:
        px = [matrix.label_px(i) for i in range(matrix.classes)]
    return [each / sum(px) for each in px]


def _check_shares(shares: Mapping[str, float], what: str) -> None:
    if wrong := [name for name, share in shares.items() if not 0 <= share <= 1]:
        raise ValueError(f"share {shares[wrong[0]]} of {what} {wrong[0]} is not between 0 and 1")
    if abs(math.fsum(shares.values()) - 1) > WHOLE:
        raise ValueError(f"shares of all {what} sum to {math.fsum(shares.values()):.6f}, not to 1")
