"""Identities among the metrics of one card, one arm and one split."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from harness.claims import identities as ids
from harness.claims.findings import Finding, Grade, Status
from harness.claims.groups import Group, View, figure
from harness.claims.interval import Interval, mean
from harness.claims.model import Claim


def _verdict(printed: Interval, derived: Interval) -> Status:
    return "consistent" if printed.meets(derived) else "inconsistent"


def _compare(
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
    """One finding: does the printed target meet what the inputs allow?"""
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
            yield from _compare(
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
        yield from _compare(
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
                yield from _compare(
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
                yield from _compare(
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
                yield from _compare(
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
            yield from _compare(
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
            yield from _compare(
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


def _binary_ious(view: View, group: Group) -> tuple[Interval, Interval, list[Claim]] | None:
    """Both IoUs of a two-class group; the second from mIoU where only one is printed."""
    if view.classes(group.subject) != 2:
        return None
    ious, macro = group.by_class("iou"), group.one("mIoU")
    if list(ious) == [0, 1]:
        return figure(ious[0]), figure(ious[1]), [ious[0], ious[1]]
    if macro is None or len(ious) != 1:
        return None
    index, claim = next(iter(ious.items()))
    other = (2 * figure(macro) - figure(claim)).clip(0, 1)
    if other is None:
        return None
    pair = (other, figure(claim)) if index == 1 else (figure(claim), other)
    return pair[0], pair[1], [claim, macro]


def binary_identities(view: View) -> Iterator[Finding]:
    """Two classes: accuracy, macro F1, recalls and prevalence all follow from two IoUs.

    IoU0 and IoU1 fix TP, TN and FP+FN as fractions (`identities.binary_fractions`); a class
    recall then fixes prevalence, precision and false-positive rate.
    """
    for group in view.groups():
        both = _binary_ious(view, group)
        if both is None:
            continue
        iou0, iou1, inputs = both
        accuracy, micro, f1 = group.one("accuracy"), group.one("mIoU_micro"), group.one("f1_macro")
        derived = ids.binary_accuracy(iou0, iou1)
        why = "With two classes the IoUs fix TP, TN and FP+FN, and accuracy is TP + TN."
        if accuracy is not None:
            yield from _compare(view, group, "binary-accuracy", "accuracy", accuracy, inputs, derived, why)
        elif micro is not None and derived is not None:
            yield from _compare(
                view,
                group,
                "binary-accuracy",
                "micro",
                micro,
                inputs,
                ids.micro_iou(derived),
                why + " Micro IoU = acc / (2 - acc).",
            )
        if f1 is not None and len(inputs) == 2 and inputs[1].quantity.metric == "mIoU":
            yield from _compare(
                view,
                group,
                "f1-from-iou",
                "f1_macro-via-mIoU",
                f1,
                inputs,
                mean([ids.f1_from_iou(iou0), ids.f1_from_iou(iou1)]),
                "The other IoU is 2 mIoU less this one; F1 = 2 IoU / (1 + IoU).",
            )
        yield from _binary_recalls(view, group, iou0, iou1, inputs)


def _binary_recalls(view: View, group: Group, iou0: Interval, iou1: Interval, inputs: list[Claim]) -> Iterator[Finding]:
    recall: Callable[[int], Claim | None] = lambda i: group.of_class("class_accuracy", i) or group.of_class("recall", i)  # noqa: E731
    recall0, recall1 = recall(0), recall(1)
    if recall0 is not None and recall1 is not None:
        total = ids.binary_closure(iou0, iou1, figure(recall0), figure(recall1))
        if total is not None:
            ok = 1 in total
            yield view.finding(
                "binary-closure",
                group.name,
                [recall0, recall1, *inputs],
                "consistent" if ok else "inconsistent",
                grade="low" if ok else "medium",
                claimed=f"recalls {recall0.value} and {recall1.value}",
                derived=f"FN and FP together are {total.text(5)} of all errors",
                why="With the IoUs, each recall gives that class's misses; both must add up to all errors, that is 1.",
                correction=None if ok else "The two class accuracies do not fit the two IoUs.",
            )
    for metric in ("precision",):
        precision = group.of_class(metric, 1)
        if precision is not None and recall1 is not None and group.of_class("iou", 1) is None:
            derived = ids.iou_from_precision_recall(figure(precision), figure(recall1))
            if not derived.meets(iou1):
                yield view.finding(
                    "iou-from-precision-recall",
                    f"{group.name}.class-1-via-mIoU",
                    [precision, recall1, *inputs],
                    "inconsistent",
                    grade="medium",
                    claimed=f"IoU1 from mIoU {iou1.text()}",
                    derived=derived.text(),
                    why="IoU = PR / (P + R - PR).",
                    correction="Precision and recall do not fit the IoUs.",
                )
    prevalence = group.of_class("prevalence", 1)
    if recall1 is not None:
        share = ids.binary_prevalence(iou0, iou1, figure(recall1))
        fpr = ids.binary_fpr(iou0, iou1, figure(recall1))
        hit = ids.precision_from_iou_recall(iou1, figure(recall1))
        fractions = ids.binary_fractions(iou0, iou1)
        if share is not None and prevalence is not None:
            yield from _compare(
                view,
                group,
                "binary-prevalence",
                "prevalence",
                prevalence,
                [recall1, *inputs],
                share,
                "TP from both IoUs, divided by the recall.",
            )
        if share is not None and fpr is not None and hit is not None and fractions is not None:
            yield view.finding(
                "binary-fractions",
                group.name,
                [*inputs, recall1],
                "consistent",
                claimed=f"IoU0 {inputs[0].value}, IoU1 {inputs[-1].value}, recall {recall1.value}",
                derived=(
                    f"TP {fractions['tp'].text()}, TN {fractions['tn'].text()}, FP+FN {fractions['errors'].text()}; "
                    f"prevalence {share.text()}, precision {hit.text()}, FPR {fpr.text()}"
                ),
                why="Two IoUs fix TP, TN and FP+FN as fractions of all pixels; recall splits the errors.",
            )
