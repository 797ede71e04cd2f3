"""Maps that cost nothing, to stand beside a score: constants, chance, rules on two indices, class means.

Constants and chance follow from the label's counts alone. The others take pixels; each is a rule that
was written down before any of our runs (WRITTEN), with no figure tuned on a label.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.score.confusion import ConfusionMatrix

Floats = NDArray[np.float32]

WRITTEN = "2026-11-21"
"""Date of the rules and thresholds below."""

NDWI_WATER = 0.0
"""Open water is where NDWI is above this: (green - near infrared) / (green + near infrared), McFeeters 1996."""

NDVI_BARE = 0.2
"""Below this NDVI there is no vegetation to speak of. Set by us; a usual round figure, not looked up."""

NDVI_FULL = 0.5
"""From this NDVI on, vegetation covers the ground. Set by us; a usual round figure, not looked up."""


def majority_class(matrix: ConfusionMatrix) -> int:
    """The most frequent label, the lowest index of several."""
    return max(range(matrix.classes), key=lambda i: (matrix.label_px(i), -i))


def constant(matrix: ConfusionMatrix, index: int) -> ConfusionMatrix:
    """The map that gives every pixel class `index`, against the same label.

    Raises:
        IndexError: No such class.
    """
    k = matrix.classes
    if not 0 <= index < k:
        raise IndexError(f"class {index} of a matrix with classes 0 to {k - 1}")
    return ConfusionMatrix(
        tuple(tuple(matrix.label_px(i) if j == index else 0 for j in range(k)) for i in range(k)), matrix.ignored
    )


def majority(matrix: ConfusionMatrix) -> ConfusionMatrix:
    """The map that gives every pixel the most frequent label (the lowest index of several)."""
    return constant(matrix, majority_class(matrix))


def by_chance(matrix: ConfusionMatrix) -> ConfusionMatrix:
    """The map that draws each pixel's class at the labels' shares; expected counts times all pixels.

    Label i meets prediction j on n_i n_j / N pixels in expectation. Times N these are whole, and a
    metric that is a ratio of counts is the same.
    """
    shares = [matrix.label_px(i) for i in range(matrix.classes)]
    return ConfusionMatrix(tuple(tuple(a * b for b in shares) for a in shares))


@dataclass(frozen=True, slots=True)
class Cover:
    """Classes that rules on indices can name, by index in a scheme."""

    classes: int
    """K."""
    water: int
    """Where NDWI says water."""
    full: int
    """Where NDVI says full vegetation."""
    some: int
    """Where NDVI says something between."""
    bare: int
    """Elsewhere: roofs, streets, soil."""


def contrast(high: Floats, low: Floats) -> Floats:
    """(high - low) / (high + low); 0 where both together reflect nothing, NaN where either is missing.

    Args:
        high: Reflectance, any shape; NaN where missing. A little below 0 where the atmosphere was
            over-corrected.
        low: The same.

    Returns:
        -1 to 1: over-corrected bands can lead beyond, and are cut off there.
    """
    both = high + low
    out = np.zeros_like(both)
    np.divide(high - low, both, out=out, where=both > 0)
    out[np.isnan(both)] = np.nan
    cut: Floats = np.clip(out, -1, 1)
    return cut


def by_indices(green: Floats, red: Floats, near: Floats, cover: Cover) -> NDArray[np.int64]:
    """A class map from NDWI and NDVI.

    Args:
        green: Reflectance of B03, shape (H, W); NaN where missing.
        red: B04.
        near: B08.
        cover: Which class each rule gives.

    Returns:
        Class indices, same shape; -1 where a band is missing.
    """
    ndwi, ndvi = contrast(green, near), contrast(near, red)
    out = np.full(ndvi.shape, cover.bare, np.int64)
    out[ndvi >= NDVI_BARE] = cover.some
    out[ndvi >= NDVI_FULL] = cover.full
    out[ndwi > NDWI_WATER] = cover.water
    out[np.isnan(ndwi) | np.isnan(ndvi)] = -1
    return out


@dataclass(frozen=True)
class ClassSums:
    """Sums of features by class: what remains of a chip for class means, and adds over chips."""

    pixels: NDArray[np.int64]
    """Labelled pixels with all features by class, shape (K,)."""
    sums: NDArray[np.float64]
    """Sum of each feature over them, shape (K, F)."""

    def __add__(self, other: ClassSums) -> ClassSums:
        if self.sums.shape != other.sums.shape:
            raise ValueError(f"sums of {self.sums.shape} and {other.sums.shape} (classes, features) do not add")
        return ClassSums(self.pixels + other.pixels, self.sums + other.sums)

    @property
    def centroids(self) -> NDArray[np.float64]:
        """Mean features by class, shape (K, F); NaN for a class without a pixel."""
        out = np.full(self.sums.shape, np.nan)
        has = self.pixels > 0
        out[has] = self.sums[has] / self.pixels[has, None]
        return out


def class_sums(features: Floats, label: NDArray[np.integer[Any]], classes: int) -> ClassSums:
    """Sums over the labelled pixels of one chip.

    Args:
        features: Shape (F, H, W); NaN where missing, and such pixels do not enter.
        label: Class indices, shape (H, W); -1 where there is none.
        classes: K.

    Raises:
        ValueError: Shapes that do not fit, or a label beyond the classes.
    """
    if features.ndim != 3 or features.shape[1:] != label.shape:
        raise ValueError(f"features of {features.shape} for a label of {label.shape}; (F, H, W) and (H, W)")
    if label.size and int(label.max()) >= classes:
        raise ValueError(f"label holds class {int(label.max())} of {classes}")
    used = (label >= 0) & np.isfinite(features).all(0)
    of, flat = label[used], features[:, used].astype(np.float64)
    sums = np.zeros((classes, len(flat)))
    for f, each in enumerate(flat):
        sums[:, f] = np.bincount(of, weights=each, minlength=classes)
    return ClassSums(np.bincount(of, minlength=classes).astype(np.int64), sums)


def nearest(features: Floats, centroids: NDArray[np.float64]) -> NDArray[np.int64]:
    """The class whose mean is nearest, by Euclidean distance in the features' own units.

    Args:
        features: Shape (F, H, W); NaN where missing.
        centroids: Shape (K, F); rows of NaN are classes without a mean, which are never given.

    Returns:
        Class indices, the lowest of several; -1 where a feature is missing. Shape (H, W).

    Raises:
        ValueError: No class has a mean.
    """
    there = np.flatnonzero(np.isfinite(centroids).all(1))
    if not there.size:
        raise ValueError("no class has a mean")
    pixels = features.astype(np.float64)
    apart = np.stack([((pixels - centroids[k][:, None, None]) ** 2).sum(0) for k in there])
    out: NDArray[np.int64] = there[apart.argmin(0)].astype(np.int64)
    out[~np.isfinite(features).all(0)] = -1
    return out
