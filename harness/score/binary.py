"""Two-class confusion: metrics, operating points at other prevalences, trivial predictors."""

from __future__ import annotations

from dataclasses import dataclass


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole > 0 else None


@dataclass(frozen=True, slots=True)
class BinaryMatrix:
    """Confusion of a two-class map, in pixels or in fractions of all pixels.

    A metric whose denominator is zero is undefined and reads None, never 0.
    """

    tp: float
    """Positive in label and prediction."""
    fp: float
    """Positive in the prediction only."""
    fn: float
    """Positive in the label only."""
    tn: float
    """Positive in neither."""

    def __post_init__(self) -> None:
        if min(self.tp, self.fp, self.fn, self.tn) < 0:
            raise ValueError(f"negative count in {self}")

    def __add__(self, other: BinaryMatrix) -> BinaryMatrix:
        """Pixels of both; for counts, since fractions of different wholes do not add."""
        if not isinstance(other, BinaryMatrix):
            return NotImplemented
        return BinaryMatrix(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn, self.tn + other.tn)

    @property
    def total(self) -> float:
        """All pixels."""
        return self.tp + self.fp + self.fn + self.tn

    @property
    def prevalence(self) -> float | None:
        """(TP + FN) / all."""
        return _ratio(self.tp + self.fn, self.total)

    @property
    def predicted_share(self) -> float | None:
        """(TP + FP) / all."""
        return _ratio(self.tp + self.fp, self.total)

    @property
    def tpr(self) -> float | None:
        """Recall: TP / (TP + FN)."""
        return _ratio(self.tp, self.tp + self.fn)

    @property
    def fpr(self) -> float | None:
        """FP / (FP + TN)."""
        return _ratio(self.fp, self.fp + self.tn)

    @property
    def precision(self) -> float | None:
        """TP / (TP + FP)."""
        return _ratio(self.tp, self.tp + self.fp)

    @property
    def iou1(self) -> float | None:
        """IoU of the positive class: TP / (TP + FP + FN)."""
        return _ratio(self.tp, self.tp + self.fp + self.fn)

    @property
    def iou0(self) -> float | None:
        """IoU of the negative class: TN / (TN + FP + FN)."""
        return _ratio(self.tn, self.tn + self.fp + self.fn)

    @property
    def miou(self) -> float | None:
        """Macro mIoU over both classes; None where either is undefined."""
        a, b = self.iou0, self.iou1
        return None if a is None or b is None else (a + b) / 2

    @property
    def accuracy(self) -> float | None:
        """(TP + TN) / all."""
        return _ratio(self.tp + self.tn, self.total)

    @property
    def f1(self) -> float | None:
        """2 TP / (2 TP + FP + FN)."""
        return _ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """A predictor described by its two rates, as if they did not depend on the scene."""

    tpr: float
    """Share of positive label pixels that it marks."""
    fpr: float
    """Share of negative label pixels that it marks."""

    def at(self, prevalence: float) -> BinaryMatrix:
        """Confusion in fractions of all pixels where `prevalence` of them are positive.

        Holding both rates constant while prevalence changes is the prior-shift assumption
        (Saerens, Latinne and Decaestecker 2002, Neural Computation 14(1)): P(prediction |
        label) stays, P(label) moves. It is an assumption and must be written beside the result.

        Args:
            prevalence: Share of positive label pixels, 0 to 1.
        """
        if not 0 <= prevalence <= 1:
            raise ValueError(f"prevalence {prevalence} is no share")
        return BinaryMatrix(
            tp=self.tpr * prevalence,
            fp=self.fpr * (1 - prevalence),
            fn=(1 - self.tpr) * prevalence,
            tn=(1 - self.fpr) * (1 - prevalence),
        )


ALL_ZEROS = OperatingPoint(0.0, 0.0)
"""Predicts the negative class everywhere."""

ALL_ONES = OperatingPoint(1.0, 1.0)
"""Predicts the positive class everywhere."""


def coin(share: float) -> OperatingPoint:
    """Marks each pixel by chance with probability `share`, whatever the label."""
    return OperatingPoint(share, share)
