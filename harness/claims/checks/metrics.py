"""Identities among the metrics of one card, one arm and one split."""

from __future__ import annotations

from collections.abc import Iterator

from harness.claims import identities as ids
from harness.claims.findings import Finding, Grade, Status
from harness.claims.groups import Group, View, figure
from harness.claims.interval import Interval, mean
from harness.claims.model import Claim


def _verdict(printed: Interval, derived: Interval) -> Status:
    return "consistent" if printed.meets(derived) else "inconsistent"


def compare(
    view: View,
    group: Group,
    check: str,
    name: str,
    target: Claim,
    inputs: list[Claim],
    derived: Interval | None,
    why: str,
    *,
    complete: bool = True,
) -> Iterator[Finding]:
    """One finding: does the printed target meet what the inputs allow?

    With `complete` False a mismatch is undetermined: some classes may be missing.
    """
    if derived is None:
        return
    printed = figure(target)
    status = _verdict(printed, derived)
    settles = None
    if status == "inconsistent" and not complete:
        status = "undetermined"
        settles = "the number of classes: add a claim of metric `classes`"
        why += " The card does not say that these are all classes, so the mismatch may only mean that some are missing."
    grade: Grade = "low" if status == "consistent" else "medium"
    off = float(printed.gap(derived))
    note = "" if status == "consistent" else f" The printed figure lies {off:.2g} outside."
    yield view.finding(
        check,
        f"{group.name}.{name}",
        [target, *inputs],
        status,
        claimed=f"{target.quantity.metric} {target.value}",
        derived=f"{derived.text(5)}",
        why=why + note,
        grade=grade,
        settles=settles,
        correction=f"{target.quantity.text()}: {target.value} does not follow from the figures beside it, which "
        f"give {derived.text(4)}."
        if status == "inconsistent"
        else None,
    )


_MACRO: tuple[tuple[str, str, str], ...] = (
    ("mIoU", "iou", "mIoU is the mean of the class IoUs"),
    ("f1_macro", "f1", "macro F1 is the mean of the class F1"),
    ("mean_class_accuracy", "class_accuracy", "mean class accuracy is the mean of the class recalls"),
)


def macro_means(view: View) -> Iterator[Finding]:
    """MIoU = mean of class IoUs; macro F1 = mean of class F1; likewise class accuracy.

    Identity of the definition of a macro average. Applied where indices 0..K-1 are all printed;
    a mismatch counts only where the card says that K is the number of classes.
    """
    for group in view.groups():
        for macro, single, why in _MACRO:
            target, parts = group.one(macro), group.by_class(single)
            if target is None or len(parts) < 2 or list(parts) != list(range(len(parts))):
                continue
            complete = view.classes(group.subject) == len(parts)
            yield from compare(
                view,
                group,
                "macro-mean",
                macro,
                target,
                list(parts.values()),
                mean([figure(c) for c in parts.values()]),
                f"{why}, here of {len(parts)} classes.",
                complete=complete,
            )


def f1_macro_from_ious(view: View) -> Iterator[Finding]:
    """Macro F1 = mean over classes of 2 IoU / (1 + IoU); `identities.f1_from_iou`."""
    for group in view.groups():
        target, ious = group.one("f1_macro"), group.by_class("iou")
        if target is None or len(ious) < 2 or list(ious) != list(range(len(ious))):
            continue
        derived = mean([ids.f1_from_iou(figure(c)) for c in ious.values()])
        yield from compare(
            view,
            group,
            "f1-from-iou",
            "f1_macro",
            target,
            list(ious.values()),
            derived,
            "F1 = 2 IoU / (1 + IoU) for each class, then the mean.",
            complete=view.classes(group.subject) == len(ious),
        )


def precision_recall(view: View) -> Iterator[Finding]:
    """F1 = 2 IoU / (1 + IoU) of one class, and IoU = PR / (P + R - PR)."""
    for group in view.groups():
        indices = {c.quantity.class_index for c in group.claims}
        for index in sorted(indices, key=lambda i: -1 if i is None else i):
            found = {m: group.at(m, index) for m in ("iou", "f1", "precision", "recall", "class_accuracy")}
            iou, f1 = found["iou"], found["f1"]
            name = f"class-{index}"
            if iou is not None and f1 is not None:
                yield from compare(
                    view,
                    group,
                    "f1-from-iou",
                    name,
                    f1,
                    [iou],
                    ids.f1_from_iou(figure(iou)),
                    "F1 = 2 IoU / (1 + IoU).",
                )
            precision, recall = found["precision"], found["recall"] or found["class_accuracy"]
            if precision is None or recall is None:
                continue
            derived = ids.iou_from_precision_recall(figure(precision), figure(recall))
            if iou is not None:
                yield from compare(
                    view,
                    group,
                    "iou-from-precision-recall",
                    name,
                    iou,
                    [precision, recall],
                    derived,
                    "IoU = PR / (P + R - PR).",
                )
            elif f1 is not None:
                yield from compare(
                    view,
                    group,
                    "f1-from-precision-recall",
                    name,
                    f1,
                    [precision, recall],
                    ids.f1_from_iou(derived),
                    "F1 = 2PR / (P + R).",
                )


def recall_bounds_iou(view: View) -> Iterator[Finding]:
    """IoU never exceeds recall, precision or F1 of its class: it has the largest denominator."""
    for group in view.groups():
        for index, iou in group.by_class("iou").items():
            for metric in ("recall", "class_accuracy", "precision", "f1"):
                other = group.of_class(metric, index)
                if other is None:
                    continue
                ok = figure(iou).lo <= figure(other).hi
                yield view.finding(
                    "iou-bound",
                    f"{group.name}.class-{index}.{metric}",
                    [iou, other],
                    "consistent" if ok else "inconsistent",
                    grade="low" if ok else "medium",
                    claimed=f"IoU {iou.value}, {metric} {other.value}",
                    derived=f"IoU <= {metric}",
                    why="TP / (TP+FP+FN) has the same numerator and a larger denominator.",
                    correction=None if ok else f"IoU of class {index} cannot exceed its {metric}.",
                )


def micro_iou(view: View) -> Iterator[Finding]:
    """Micro IoU = acc / (2 - acc); `identities.micro_iou`."""
    for group in view.groups():
        target, accuracy = group.one("mIoU_micro"), group.one("accuracy")
        if target is not None and accuracy is not None:
            yield from compare(
                view,
                group,
                "micro-iou",
                "micro",
                target,
                [accuracy],
                ids.micro_iou(figure(accuracy)),
                "Over all classes each wrong pixel is one FP and one FN, so micro IoU = acc / (2 - acc).",
            )


def accuracy_between_recalls(view: View) -> Iterator[Finding]:
    """Accuracy = sum of prevalence x recall, so it lies between the smallest and largest recall.

    With all prevalences printed the sum itself is checked.
    """
    for group in view.groups():
        accuracy = group.one("accuracy")
        for metric in ("class_accuracy", "recall"):
            recalls = group.by_class(metric)
            if accuracy is None or len(recalls) < 2 or list(recalls) != list(range(len(recalls))):
                continue
            complete = view.classes(group.subject) == len(recalls)
            shares = group.by_class("prevalence")
            values = [figure(c) for c in recalls.values()]
            if list(shares) == list(recalls):
                derived = ids.accuracy_from_recalls([figure(c) for c in shares.values()], values)
                inputs, why = [*recalls.values(), *shares.values()], "Accuracy = sum of prevalence x recall."
            else:
                derived = Interval(min(v.lo for v in values), max(v.hi for v in values))
                inputs, why = list(recalls.values()), "Accuracy is a weighted mean of the class recalls."
            yield from compare(
                view,
                group,
                "accuracy-from-recalls",
                metric,
                accuracy,
                inputs,
                derived,
                why,
                complete=complete,
            )


def prevalence_sum(view: View) -> Iterator[Finding]:
    """Prevalences of all classes add up to 1; those of some classes to at most 1."""
    for group in view.groups():
        shares = group.by_class("prevalence")
        if len(shares) < 2:
            continue
        total = mean([figure(c) for c in shares.values()]) * len(shares)
        complete = view.classes(group.subject) == len(shares)
        ok = 1 in total if complete else total.lo <= 1
        yield view.finding(
            "prevalence-sum",
            group.name,
            list(shares.values()),
            "consistent" if ok else "inconsistent",
            grade="low" if ok else "medium",
            claimed=" + ".join(c.value for c in shares.values()),
            derived=total.text(),
            why=f"Every pixel has one class, so the shares of {'all' if complete else 'these'} {len(shares)} classes "
            f"make {'1' if complete else 'at most 1'}.",
            correction=None if ok else f"The class shares add up to {total.text()}.",
        )
