"""Metrics of a confusion matrix. Undefined is a value with its reason, never 0.

docs/metrics.md says where these conventions differ from scikit-learn's and torchmetrics'.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from harness.score.confusion import ConfusionMatrix

Absent = Literal["exclude", "undefined"]
"""What a mean over classes does with a class whose own metric is undefined: leave it out of the
mean, or be undefined itself."""

NOTHING = "no pixel is counted"
"""Reason for every metric of an empty matrix."""


@dataclass(frozen=True, slots=True)
class Value:
    """A metric's value, or the reason why there is none."""

    value: float | None
    """As `harness.vocabulary.METRICS` says; None where undefined."""
    reason: str | None = None
    """Why there is no value; None where there is one."""
    classes: int | None = None
    """Classes that entered a mean over classes; None where the metric is no such mean."""

    def __post_init__(self) -> None:
        if (self.value is None) == (not self.reason):
            raise ValueError("a metric has either a value or the reason why there is none")
        if self.value is not None and not math.isfinite(self.value):
            raise ValueError(f"{self.value} is no value; say why it is undefined")


def _ratio(part: int, whole: int, reason: str) -> Value:
    return Value(part / whole) if whole else Value(None, reason)


def iou(cm: ConfusionMatrix, i: int) -> Value:
    """TP / (TP + FP + FN) of class `i`; undefined where neither map holds the class."""
    union = cm.label_px(i) + cm.predicted_px(i) - cm.counts[i][i]
    return _ratio(cm.counts[i][i], union, f"class {i} is in neither label nor prediction")


def recall(cm: ConfusionMatrix, i: int) -> Value:
    """TP / (TP + FN) of class `i`; undefined where the label does not hold the class."""
    return _ratio(cm.counts[i][i], cm.label_px(i), f"class {i} has no label pixel")


def precision(cm: ConfusionMatrix, i: int) -> Value:
    """TP / (TP + FP) of class `i`; undefined where the class is never predicted."""
    return _ratio(cm.counts[i][i], cm.predicted_px(i), f"class {i} is never predicted")


def f1(cm: ConfusionMatrix, i: int) -> Value:
    """2 TP / (2 TP + FP + FN) of class `i`; undefined where neither map holds the class."""
    both = cm.label_px(i) + cm.predicted_px(i)
    return _ratio(2 * cm.counts[i][i], both, f"class {i} is in neither label nor prediction")


def prevalence(cm: ConfusionMatrix, i: int) -> Value:
    """Share of the counted pixels that the label gives to class `i`; 0 where it gives none."""
    return _ratio(cm.label_px(i), cm.total, NOTHING)


def label_px(cm: ConfusionMatrix, i: int) -> Value:
    """Pixels that the label gives to class `i`."""
    return Value(cm.label_px(i))


def predicted_px(cm: ConfusionMatrix, i: int) -> Value:
    """Pixels that the prediction gives to class `i`, where there is a label."""
    return Value(cm.predicted_px(i))


def accuracy(cm: ConfusionMatrix) -> Value:
    """Share of the counted pixels whose prediction is their label."""
    return _ratio(cm.correct, cm.total, NOTHING)


def miou_micro(cm: ConfusionMatrix) -> Value:
    """Sum of TP over classes / sum of (TP + FP + FN) over classes: accuracy / (2 - accuracy)."""
    return _ratio(cm.correct, 2 * cm.total - cm.correct, NOTHING)


def _mean(cm: ConfusionMatrix, of: Callable[[ConfusionMatrix, int], Value], absent: Absent) -> Value:
    if absent not in ("exclude", "undefined"):
        raise ValueError(f"absent={absent!r}; exclude or undefined")
    parts = [of(cm, i) for i in range(cm.classes)]
    missing = [part.reason for part in parts if part.reason is not None]
    known = [part.value for part in parts if part.value is not None]
    if not known:
        return Value(None, NOTHING, 0)
    if missing and absent == "undefined":
        return Value(None, "; ".join(missing), len(known))
    return Value(math.fsum(known) / len(known), classes=len(known))


def miou(cm: ConfusionMatrix, absent: Absent = "exclude") -> Value:
    """Mean of the class IoUs (macro), over the classes that label or prediction hold."""
    return _mean(cm, iou, absent)


def mean_class_accuracy(cm: ConfusionMatrix, absent: Absent = "exclude") -> Value:
    """Mean of the class recalls (macro), over the classes that the label holds."""
    return _mean(cm, recall, absent)


def f1_macro(cm: ConfusionMatrix, absent: Absent = "exclude") -> Value:
    """Mean of the class F1 (macro), over the classes that label or prediction hold."""
    return _mean(cm, f1, absent)


@dataclass(frozen=True, slots=True)
class OfClass:
    """A metric of one class."""

    of: Callable[[ConfusionMatrix, int], Value]
    """Matrix and class index to value."""


@dataclass(frozen=True, slots=True)
class OfMap:
    """A metric of the whole map."""

    of: Callable[[ConfusionMatrix], Value]
    """Matrix to value."""


METRIC_FUNCTIONS: dict[str, OfClass | OfMap] = {
    "accuracy": OfMap(accuracy),
    "mIoU": OfMap(miou),
    "mIoU_micro": OfMap(miou_micro),
    "mean_class_accuracy": OfMap(mean_class_accuracy),
    "f1_macro": OfMap(f1_macro),
    "iou": OfClass(iou),
    "class_accuracy": OfClass(recall),
    "precision": OfClass(precision),
    "recall": OfClass(recall),
    "f1": OfClass(f1),
    "prevalence": OfClass(prevalence),
    "label_px": OfClass(label_px),
    "predicted_px": OfClass(predicted_px),
}
"""By the names of `harness.vocabulary.METRICS`, which hold unit, range and direction."""


def summary(cm: ConfusionMatrix) -> dict[str, Value | tuple[Value, ...]]:
    """Every metric of METRIC_FUNCTIONS: one value, or one for each class by index."""
    return {
        name: metric.of(cm) if isinstance(metric, OfMap) else tuple(metric.of(cm, i) for i in range(cm.classes))
        for name, metric in METRIC_FUNCTIONS.items()
    }
