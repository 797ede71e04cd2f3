"""Two classes: what two IoUs, recalls and the rest fix together."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from harness.claims import identities as ids
from harness.claims.checks.metrics import compare
from harness.claims.feasible import METRICS_USED, possible
from harness.claims.findings import Finding
from harness.claims.groups import Group, View, figure
from harness.claims.interval import Interval, mean
from harness.claims.model import Claim

MANY = 3
"""Figures from which a joint search can say more than single identities."""

WHOLE = frozenset({"mIoU", "mIoU_micro", "accuracy", "mean_class_accuracy", "f1_macro"})
"""Metrics of a whole map, which carry no class index."""


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
            yield from compare(view, group, "binary-accuracy", "accuracy", accuracy, inputs, derived, why)
        elif micro is not None and derived is not None:
            yield from compare(
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
            yield from compare(
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
            yield from compare(
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


def binary_joint(view: View) -> Iterator[Finding]:
    """Two classes: some confusion matrix must print all figures at once (`feasible.possible`).

    Sees what single identities miss: figures that fit in pairs and leave no matrix together. The
    claims named are those without which the rest fits; all of them where no single one explains it.
    """
    for group in view.groups():
        if view.classes(group.subject) != 2:
            continue
        claims = [
            c
            for c in group.claims
            if c.quantity.metric in METRICS_USED
            and c.printed.interval is not None
            and (c.quantity.class_index in (0, 1) or c.quantity.metric in WHOLE)
        ]
        if len(claims) < MANY:
            continue
        figures = [(c.quantity.metric, c.quantity.class_index, figure(c)) for c in claims]
        verdict = possible(figures)
        if verdict is None:
            continue
        suspects = (
            []
            if verdict
            else [
                c for i, c in enumerate(claims) if possible([f for k, f in enumerate(figures) if k != i]) is not False
            ]
        )
        rest = (
            f"without {' or '.join(c.quantity.text() + ' ' + c.value for c in suspects)} the rest fits"
            if suspects
            else ""
        )
        yield view.finding(
            "binary-joint",
            group.name,
            claims if verdict else suspects or claims,
            "consistent" if verdict else "inconsistent",
            grade="low" if verdict else "medium",
            claimed=f"{len(claims)} figures of one map: " + ", ".join(f"{c.quantity.metric} {c.value}" for c in claims),
            derived="one confusion matrix prints them all"
            if verdict
            else "no confusion matrix prints them all" + (f"; {rest}" if rest else ""),
            why="Searched over every two-class matrix, in exact terms TP, TN and FN per wrong pixel, with each figure "
            "allowed its rounding.",
            correction=None
            if verdict
            else f"At least one of these figures is off: {', '.join(c.value for c in suspects or claims)}.",
        )
