"""Metrics against scikit-learn and torchmetrics, and where their conventions are not ours.

docs/metrics.md tells the differences in words; each has its test here.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics as sk

from harness.models.stack import prepare
from harness.score.binary import BinaryMatrix
from harness.score.confusion import ConfusionMatrix
from harness.score.metrics import (
    METRIC_FUNCTIONS,
    OfClass,
    Value,
    accuracy,
    f1,
    f1_macro,
    iou,
    mean_class_accuracy,
    miou,
    miou_micro,
    precision,
    prevalence,
    recall,
    summary,
)
from harness.score.sweep import sweep
from harness.vocabulary import METRICS
from tests.score.test_confusion import Maps, maps

PER_CLASS = (iou, precision, recall, f1)
MEANS = {miou: iou, mean_class_accuracy: recall, f1_macro: f1}

ABSENT = (np.array([0, 0, 1, 1, 1, 0]), np.array([0, 1, 1, 1, 0, 0]))
"""Three classes, of which class 2 is in neither map; both other IoUs are 0.5."""

UNLABELLED = (np.array([0, 0, 1, 1, 1, 0]), np.array([0, 1, 1, 2, 0, 0]))
"""Class 2 is predicted and has no label; recalls of the others are 2/3 and 1/3."""

cells = st.integers(0, 50)
matrices = st.integers(2, 6).flatmap(
    lambda k: st.lists(st.lists(cells, min_size=k, max_size=k), min_size=k, max_size=k).map(
        lambda rows: ConfusionMatrix(tuple(map(tuple, rows)))
    )
)


@pytest.fixture(scope="module")
def tm() -> Any:
    """torchmetrics.classification; it imports torchvision, which prepare() makes importable."""
    prepare()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its imports
        import torchmetrics.classification
    return torchmetrics.classification


def known(case: Maps) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Without the ignored pixels, as scikit-learn wants them."""
    label, prediction, classes = case
    return label[label != -1], prediction[label != -1], classes


def of(pair: tuple[NDArray[Any], NDArray[Any]], classes: int = 3) -> ConfusionMatrix:
    return ConfusionMatrix.from_maps(*pair, classes)


def value(v: Value) -> float:
    assert v.value is not None, v.reason
    return v.value


# --- against scikit-learn


@given(maps().filter(lambda case: bool((case[0] != -1).any())))
def test_metrics_equal_scikit_learn(case: Maps) -> None:
    label, prediction, classes = known(case)
    cm = ConfusionMatrix.from_maps(*case)
    every = {"labels": range(classes), "zero_division": np.nan}
    expected: dict[Callable[[ConfusionMatrix, int], Value], NDArray[np.float64]] = {
        precision: sk.precision_score(label, prediction, average=None, **every),
        recall: sk.recall_score(label, prediction, average=None, **every),
        f1: sk.f1_score(label, prediction, average=None, **every),
        iou: sk.jaccard_score(label, prediction, average=None, labels=range(classes), zero_division=0),
    }
    held = {*label.tolist(), *prediction.tolist()}
    expected[iou][[i for i in range(classes) if i not in held]] = np.nan  # jaccard_score takes no NaN
    for metric, row in expected.items():
        for i, x in enumerate(row):
            ours = metric(cm, i)
            assert (ours.value is None) == math.isnan(x)
            assert ours.value is None or ours.value == pytest.approx(x, abs=1e-12)
    assert value(accuracy(cm)) == pytest.approx(sk.accuracy_score(label, prediction), abs=1e-12)
    assert value(miou(cm)) == pytest.approx(sk.jaccard_score(label, prediction, average="macro"), abs=1e-12)
    assert value(miou_micro(cm)) == pytest.approx(sk.jaccard_score(label, prediction, average="micro"), abs=1e-12)
    assert value(f1_macro(cm)) == pytest.approx(sk.f1_score(label, prediction, average="macro", **every), abs=1e-12)
    macro = sk.recall_score(label, prediction, average="macro", **every)
    assert value(mean_class_accuracy(cm)) == pytest.approx(macro, abs=1e-12)
    assert [value(prevalence(cm, i)) for i in range(classes)] == pytest.approx(
        (np.bincount(label, minlength=classes) / label.size).tolist(), abs=1e-12
    )


def test_scikit_learn_counts_an_absent_class_as_its_zero_division_where_labels_are_listed() -> None:
    three = {"average": "macro", "labels": [0, 1, 2]}
    assert sk.jaccard_score(*ABSENT, zero_division=0, **three) == pytest.approx(1 / 3)
    assert sk.jaccard_score(*ABSENT, zero_division=1, **three) == pytest.approx(2 / 3)
    assert sk.f1_score(*ABSENT, zero_division=0, **three) == pytest.approx(4 / 9)
    assert sk.jaccard_score(*ABSENT, average="macro") == pytest.approx(1 / 2)  # classes that it saw
    assert miou(of(ABSENT)) == Value(0.5, classes=2)
    assert value(f1_macro(of(ABSENT))) == pytest.approx(2 / 3)


def test_scikit_learn_refuses_an_undefined_iou() -> None:
    with pytest.raises(ValueError, match="zero_division"):
        sk.jaccard_score(*ABSENT, average="macro", labels=[0, 1, 2], zero_division=np.nan)


def test_a_class_without_label_leaves_the_mean_accuracy_as_in_balanced_accuracy() -> None:
    with pytest.warns(UserWarning, match="y_pred contains classes not in y_true"):
        assert sk.balanced_accuracy_score(*UNLABELLED) == pytest.approx(0.5)
    ours = mean_class_accuracy(of(UNLABELLED))
    assert ours.value == pytest.approx(0.5)
    assert ours.classes == 2
    assert sk.recall_score(*UNLABELLED, average="macro", zero_division=0) == pytest.approx(1 / 3)


def test_scikit_learn_drops_a_label_that_is_not_listed_without_a_word() -> None:
    label, prediction = np.array([0, 0, 1, 255]), np.array([0, 1, 1, 1])
    assert sk.confusion_matrix(label, prediction, labels=[0, 1]).sum() == 3
    with pytest.raises(ValueError, match="label holds 255 on 1 px"):
        ConfusionMatrix.from_maps(label, prediction, 2)


def test_scikit_learn_refuses_an_empty_map() -> None:
    nothing = np.zeros(0, int)
    with pytest.raises(ValueError, match="empty input array"):
        sk.confusion_matrix(nothing, nothing, labels=[0, 1])
    assert of((nothing, nothing), 2) == ConfusionMatrix.empty(2)


# --- against torchmetrics


@given(case=maps().filter(lambda case: bool((case[0] != -1).any())))
def test_metrics_equal_torchmetrics(tm: Any, case: Maps) -> None:
    import torch

    label, prediction, classes = case
    cm = ConfusionMatrix.from_maps(*case)
    t, p = torch.from_numpy(label.copy()), torch.from_numpy(prediction.copy())

    def theirs(name: str, average: str | None) -> Any:
        metric = getattr(tm, f"Multiclass{name}")(num_classes=classes, ignore_index=-1, average=average)
        return metric(p, t).tolist()

    matrix = tm.MulticlassConfusionMatrix(num_classes=classes, ignore_index=-1)(p, t)
    assert matrix.tolist() == [list(row) for row in cm.counts]
    for name, metric in {"JaccardIndex": iou, "Precision": precision, "Recall": recall, "F1Score": f1}.items():
        for i, x in enumerate(theirs(name, None)):
            own = metric(cm, i).value  # where ours is undefined, theirs reads 0
            assert x == (0 if own is None else pytest.approx(own, abs=1e-6))
    assert theirs("JaccardIndex", "macro") == pytest.approx(miou(cm).value, abs=1e-6)
    assert theirs("JaccardIndex", "micro") == pytest.approx(miou_micro(cm).value, abs=1e-6)
    assert theirs("F1Score", "macro") == pytest.approx(f1_macro(cm).value, abs=1e-6)
    assert theirs("Accuracy", "micro") == pytest.approx(accuracy(cm).value, abs=1e-6)
    # Theirs divides by the classes that either map holds, ours by those that the label holds.
    ours, held = mean_class_accuracy(cm), miou(cm).classes
    assert ours.classes is not None
    assert held is not None
    assert theirs("Accuracy", "macro") == pytest.approx(value(ours) * ours.classes / held, abs=1e-6)


def tensors(*arrays: Any) -> list[Any]:
    import torch

    return [torch.tensor(a) for a in arrays]


def test_torchmetrics_leaves_an_absent_class_out_of_the_mean_but_prints_zero_for_it(tm: Any) -> None:
    t, p = tensors(*ABSENT)
    assert tm.MulticlassJaccardIndex(3, average="macro")(p, t).item() == pytest.approx(0.5)
    assert tm.MulticlassJaccardIndex(3, average=None)(p, t).tolist() == pytest.approx([0.5, 0.5, 0.0])
    assert tm.MulticlassAccuracy(3, average=None)(p, t)[2].item() == 0
    cm = of(ABSENT)
    assert miou(cm) == Value(0.5, classes=2)
    assert iou(cm, 2) == Value(None, "class 2 is in neither label nor prediction")
    assert recall(cm, 2) == Value(None, "class 2 has no label pixel")


def test_zero_division_changes_what_torchmetrics_prints_and_not_its_mean(tm: Any) -> None:
    t, p = tensors(*ABSENT)
    for name in ("MulticlassJaccardIndex", "MulticlassF1Score"):
        metric = getattr(tm, name)
        assert metric(3, average=None, zero_division=1.0)(p, t)[2].item() == 1
        assert metric(3, zero_division=1.0)(p, t).item() == pytest.approx(metric(3)(p, t).item())


def test_torchmetrics_marks_a_pixel_above_the_threshold_and_not_at_it(tm: Any) -> None:
    import torch

    score, label = np.array([0.6, 0.7, 0.5], np.float32), np.array([1, 1, 0])
    (tn, fp), (fn, tp) = tm.BinaryConfusionMatrix(threshold=0.6)(
        torch.from_numpy(score), torch.from_numpy(label)
    ).tolist()
    assert sweep(score, label, [0.6])[0].matrix == BinaryMatrix(tp, fp, fn, tn) == BinaryMatrix(1, 0, 1, 1)


def test_torchmetrics_counts_a_class_without_label_as_zero_in_the_mean_accuracy(tm: Any) -> None:
    t, p = tensors(*UNLABELLED)
    assert tm.MulticlassAccuracy(3, average="macro")(p, t).item() == pytest.approx(1 / 3)
    assert mean_class_accuracy(of(UNLABELLED)).value == pytest.approx(1 / 2)
    assert iou(of(UNLABELLED), 2) == Value(0.0)  # a false alarm is a defined zero, in both
    assert tm.MulticlassJaccardIndex(3)(p, t).item() == pytest.approx(value(miou(of(UNLABELLED))))


def test_torchmetrics_reads_nothing_but_ignored_pixels_as_nan_or_zero(tm: Any) -> None:
    t, p = tensors([-1, -1, -1], [0, 1, 1])
    assert math.isnan(tm.MulticlassJaccardIndex(2, ignore_index=-1)(p, t).item())
    assert tm.MulticlassJaccardIndex(2, ignore_index=-1, average="micro")(p, t).item() == 0
    assert tm.MulticlassF1Score(2, ignore_index=-1)(p, t).item() == 0
    cm = ConfusionMatrix.from_maps(np.full(3, -1), np.array([0, 1, 1]), 2)
    assert [m(cm) for m in (miou, f1_macro, mean_class_accuracy)] == [Value(None, "no pixel is counted", 0)] * 3
    assert [m(cm) for m in (miou_micro, accuracy)] == [Value(None, "no pixel is counted")] * 2


def test_torchmetrics_ignores_a_class_in_the_mean_iou_but_not_in_the_other_means(tm: Any) -> None:
    t, p = tensors([2, 1, 0, 0, 1], [2, 1, 0, 1, 0])
    assert tm.MulticlassJaccardIndex(3, ignore_index=0)(p, t).item() == pytest.approx((1 / 2 + 1) / 2)
    assert tm.MulticlassAccuracy(3, ignore_index=0, average="macro")(p, t).item() == pytest.approx((0 + 1 / 2 + 1) / 3)
    assert tm.MulticlassF1Score(3, ignore_index=0)(p, t).item() == pytest.approx((0 + 2 / 3 + 1) / 3)
    with pytest.raises(ValueError, match="ignore_index 0 is a class"):
        ConfusionMatrix.from_maps(t.numpy(), p.numpy(), 3, ignore_index=0)


@pytest.mark.parametrize("nodata", [-1, 255])
def test_torchmetrics_fails_on_a_label_value_that_it_was_not_told_to_ignore(tm: Any, nodata: int) -> None:
    t, p = tensors([0, 0, nodata], [0, 1, 1])
    with pytest.raises(RuntimeError, match=r"non-negative|is invalid for input of size"):
        tm.MulticlassJaccardIndex(2)(p, t)


def test_torchmetrics_counts_a_class_never_predicted_as_zero_in_the_mean_precision(tm: Any) -> None:
    t, p = tensors([0, 2, 1], [0, 0, 1])
    assert tm.MulticlassPrecision(3, average="macro")(p, t).item() == pytest.approx((1 / 2 + 1 + 0) / 3)
    assert precision(of((t.numpy(), p.numpy())), 2) == Value(None, "class 2 is never predicted")


def test_torchmetrics_counts_a_prediction_beyond_the_classes_as_another_pixel(tm: Any) -> None:
    t, p = tensors([0, 0, 2], [0, 3, 2])
    assert tm.MulticlassConfusionMatrix(3)(p, t).tolist() == [[1, 0, 0], [1, 0, 0], [0, 0, 1]]
    with pytest.raises(ValueError, match="prediction holds 3 on 1 px"):
        ConfusionMatrix.from_maps(t.numpy(), p.numpy(), 3)


def test_mean_iou_of_torchmetrics_segmentation_is_a_mean_over_images_and_classes(tm: Any) -> None:
    import torch
    from torchmetrics.segmentation import MeanIoU

    t, p = torch.tensor([[[0, 1, 1]], [[2, 2, 2]]]), torch.tensor([[[0, 0, 1]], [[2, 2, 1]]])
    metric = MeanIoU(num_classes=3, input_format="index")
    metric.update(p, t)
    # IoU of (image, class): 1/2, 1/2; class 1 in the second image 0, class 2 there 2/3.
    assert metric.compute().item() == pytest.approx((1 / 2 + 1 / 2 + 0 + 2 / 3) / 4)
    assert value(miou(of((t.numpy(), p.numpy())))) == pytest.approx((1 / 2 + 1 / 3 + 2 / 3) / 3)
    one = MeanIoU(num_classes=3, input_format="index")
    one.update(p[:1], t[:1])  # a single image: the same as ours
    assert one.compute().item() == pytest.approx(value(miou(of((t[:1].numpy(), p[:1].numpy())))))
    rows = MeanIoU(num_classes=3, input_format="index", per_class=True)
    rows.update(p[:1], t[:1])
    assert rows.compute()[2].item() == -1  # absent
    with pytest.raises(RuntimeError, match="non-negative"):
        one.update(p[:1], torch.full_like(t[:1], -1))  # it knows no ignored pixels


def test_what_the_training_stack_prints_is_pooled_over_the_split(tm: Any) -> None:
    import torch
    from terratorch.tasks import SemanticSegmentationTask

    rng = np.random.default_rng(5)
    label, prediction = rng.integers(-1, 3, (4, 8, 8)), rng.integers(0, 3, (4, 8, 8))
    label[0], prediction[0] = np.where(label[0] == 2, 1, label[0]), np.where(prediction[0] == 2, 0, prediction[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lightning warns that the model is saved twice
        task = SemanticSegmentationTask(model=torch.nn.Identity(), model_args={"num_classes": 3}, ignore_index=-1)
    logged = task.test_metrics[0]
    for batch in (slice(1), slice(1, 4)):  # unequal batches, one without class 2
        logged.update(torch.from_numpy(prediction[batch]), torch.from_numpy(label[batch]))
    got = {name.removeprefix("test/"): x.item() for name, x in logged.compute().items()}
    cm = of((label, prediction))
    expected = {
        "mIoU": miou(cm),
        "mIoU_Micro": miou_micro(cm),
        "F1_Score": f1_macro(cm),
        "Pixel_Accuracy": accuracy(cm),
    }
    expected |= {"Accuracy": mean_class_accuracy(cm)}
    expected |= {f"IoU_{i}": iou(cm, i) for i in range(3)}
    expected |= {f"Class_Accuracy_{i}": recall(cm, i) for i in range(3)}
    assert set(got) - set(expected) == {"Boundary_mIoU"}
    assert {k: got[k] for k in expected} == pytest.approx({k: v.value for k, v in expected.items()}, abs=1e-6)
    batches = [of((label[b], prediction[b])) for b in (slice(1), slice(1, 4))]
    assert abs(got["mIoU"] - sum(value(miou(b)) for b in batches) / 2) > 0.001


# --- on their own


@given(matrices)
def test_an_absent_class_is_undefined_with_its_reason_and_leaves_the_means(cm: ConfusionMatrix) -> None:
    for i in range(cm.classes):
        for metric in PER_CLASS:
            v = metric(cm, i)
            assert (v.value is None) == bool(v.reason)
            assert v.reason is None or v.reason.startswith(f"class {i} ")
        assert (iou(cm, i).value is None) == (cm.label_px(i) + cm.predicted_px(i) == 0)
        assert (recall(cm, i).value is None) == (cm.label_px(i) == 0)
        assert (precision(cm, i).value is None) == (cm.predicted_px(i) == 0)
    for mean, part in MEANS.items():
        parts = [x for i in range(cm.classes) if (x := part(cm, i).value) is not None]
        assert mean(cm).classes == len(parts)
        assert mean(cm).value == (pytest.approx(sum(parts) / len(parts)) if parts else None)
        if len(parts) < cm.classes:
            assert mean(cm, "undefined").value is None
        else:
            assert mean(cm, "undefined") == mean(cm)


def test_an_undefined_mean_names_each_class_that_is_missing() -> None:
    cm = ConfusionMatrix(((3, 0, 0), (0, 0, 0), (0, 0, 0)))
    assert miou(cm, "undefined").reason == (
        "class 1 is in neither label nor prediction; class 2 is in neither label nor prediction"
    )
    assert miou(cm) == Value(1.0, classes=1)
    with pytest.raises(ValueError, match="exclude or undefined"):
        miou(cm, "zero")  # type: ignore[arg-type]


@given(st.lists(st.integers(1, 50), min_size=2, max_size=6))
def test_a_perfect_prediction_is_one(pixels: list[int]) -> None:
    k = len(pixels)
    cm = ConfusionMatrix(tuple(tuple(n if i == j else 0 for j in range(k)) for i, n in enumerate(pixels)))
    assert {m(cm).value for m in (accuracy, miou_micro, miou, mean_class_accuracy, f1_macro)} == {1.0}
    assert {m(cm, i).value for m in PER_CLASS for i in range(k)} == {1.0}


@given(matrices, st.randoms(use_true_random=False))
def test_relabelling_permutes_class_metrics_and_leaves_the_others(cm: ConfusionMatrix, random: Any) -> None:
    order = list(range(cm.classes))
    random.shuffle(order)
    moved = cm.relabelled(order)
    for metric in (*PER_CLASS, prevalence):
        assert [metric(moved, new).value for new in range(cm.classes)] == [metric(cm, old).value for old in order]
    for whole in (accuracy, miou_micro, miou, mean_class_accuracy, f1_macro):
        assert whole(moved) == whole(cm)


@given(matrices.filter(lambda cm: cm.total > 0))
def test_micro_iou_is_accuracy_over_two_less_accuracy(cm: ConfusionMatrix) -> None:
    a = Fraction(cm.correct, cm.total)
    assert value(miou_micro(cm)) == float(a / (2 - a))
    parts = [cm.binary(i) for i in range(cm.classes)]
    union = sum(m.tp + m.fp + m.fn for m in parts)
    assert value(miou_micro(cm)) == pytest.approx(sum(m.tp for m in parts) / union)


@given(matrices)
def test_a_class_against_the_rest_scores_as_it_does_among_all(cm: ConfusionMatrix) -> None:
    for i in range(cm.classes):
        m = cm.binary(i)
        assert (iou(cm, i).value, recall(cm, i).value, precision(cm, i).value) == (m.iou1, m.tpr, m.precision)
        assert (f1(cm, i).value, prevalence(cm, i).value) == (m.f1, m.prevalence)


def test_the_worst_prediction_is_a_defined_zero() -> None:
    cm = ConfusionMatrix(((0, 4), (6, 0)))
    assert {m(cm).value for m in (accuracy, miou_micro, miou, mean_class_accuracy, f1_macro)} == {0.0}
    assert {m(cm, i).value for m in PER_CLASS for i in (0, 1)} == {0.0}


@given(matrices)
def test_the_summary_holds_every_metric_under_its_name_and_in_its_range(cm: ConfusionMatrix) -> None:
    table = summary(cm)
    assert list(table) == list(METRIC_FUNCTIONS)
    for name, entry in table.items():
        by_class = isinstance(METRIC_FUNCTIONS[name], OfClass)
        assert isinstance(entry, tuple) == by_class
        values = entry if isinstance(entry, tuple) else (entry,)
        assert len(values) == (cm.classes if by_class else 1)
        lo, hi = METRICS[name].lo, METRICS[name].hi
        for v in values:
            assert v.value is None or ((lo is None or v.value >= lo) and (hi is None or v.value <= hi))
    assert table["recall"] == table["class_accuracy"]


def test_the_summary_of_a_matrix_worked_by_hand() -> None:
    table = summary(ConfusionMatrix(((5, 1, 0), (2, 7, 3), (0, 0, 2))))

    def row(name: str) -> list[float | None]:
        entry = table[name]
        return [v.value for v in (entry if isinstance(entry, tuple) else (entry,))]

    assert row("label_px") == [6, 12, 2]
    assert row("predicted_px") == [7, 8, 5]
    assert row("iou") == [5 / 8, 7 / 13, 2 / 5]
    assert row("precision") == [5 / 7, 7 / 8, 2 / 5]
    assert row("recall") == [5 / 6, 7 / 12, 1]
    assert row("f1") == [10 / 13, 14 / 20, 4 / 7]
    assert row("prevalence") == [6 / 20, 12 / 20, 2 / 20]
    assert row("accuracy") == [14 / 20]
    assert row("mIoU_micro") == [14 / 26]
    assert row("mIoU") == [pytest.approx((5 / 8 + 7 / 13 + 2 / 5) / 3)]
    assert row("mean_class_accuracy") == [pytest.approx((5 / 6 + 7 / 12 + 1) / 3)]
    assert row("f1_macro") == [pytest.approx((10 / 13 + 14 / 20 + 4 / 7) / 3)]


@pytest.mark.parametrize("wrong", [(None, None), (0.5, "why"), (None, ""), (math.nan, None), (math.inf, None)])
def test_a_value_is_a_number_or_a_reason(wrong: tuple[float | None, str | None]) -> None:
    with pytest.raises(ValueError, match=r"reason why|say why"):
        Value(*wrong)
