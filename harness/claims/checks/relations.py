"""What authors say about their figures: differences, ratios, sums, shares, words."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from harness.claims import identities as ids
from harness.claims.findings import Finding, Status
from harness.claims.groups import View, figure, figure_in
from harness.claims.interval import Interval, mean
from harness.claims.model import Claim, Relation
from harness.claims.verdicts import unlike
from harness.errors import RegistryError
from harness.vocabulary import METRICS, convertible

_FORMULA = {
    "difference": "First less second",
    "ratio": "First / second",
    "sum": "Sum of the parts",
    "product": "Product of the parts",
    "mean": "Mean of the parts",
    "share": "100 x first / second",
}


def _expected(relation: Relation, parts: list[Interval], below: list[Interval]) -> Interval | None:
    first, rest = parts[0], parts[1:]
    if relation.kind == "difference":
        return first - rest[0]
    if relation.kind == "ratio":
        top, bottom = (_sum(parts), _sum(below)) if below else (first, rest[0])
        return None if bottom.lo <= 0 else top / bottom
    if relation.kind == "sum":
        return _sum(parts)
    if relation.kind == "product":
        return ids.product_of(parts)
    if relation.kind == "mean":
        return mean(parts)
    return None if rest[0].lo <= 0 else 100 * first / rest[0]


def _sum(parts: list[Interval]) -> Interval:
    return mean(parts) * len(parts)


def stated_arithmetic(view: View) -> Iterator[Finding]:
    """A printed difference, ratio, sum, product, mean or percentage must follow from its parts.

    `difference`: a - b, times 100 where the result is printed in points. `share`: 100 a / b.
    A figure printed with `~` enters as printed; only the result gets the 20 % of its own `~`.
    """
    for card in view.registry.cards:
        for relation in card.relations:
            if relation.kind not in _FORMULA or relation.states is None:
                continue
            stated = view.claim(relation.states)
            parts = [view.claim(ref) for ref in relation.of]
            unit = METRICS[stated.quantity.metric].unit if stated.quantity.metric in METRICS else stated.unit
            below = [view.claim(ref) for ref in relation.over]
            if relation.kind == "ratio":
                first = parts[0]
                unit = METRICS[first.quantity.metric].unit if first.quantity.metric in METRICS else first.unit
            alike = relation.kind in ("sum", "mean", "ratio")
            for part in (*parts, *below) if alike else ():
                own = METRICS[part.quantity.metric].unit if part.quantity.metric in METRICS else part.unit
                if not convertible(own, unit):
                    raise RegistryError(
                        f"{card.path}:{relation.line}: {relation.id}: {part.id} is in {own!r}, which cannot be turned "
                        f"into {unit!r}"
                    )
            values = [figure_in(c, unit) if alike else figure(c, as_input=True) for c in parts]
            derived = _expected(relation, values, [figure_in(c, unit) for c in below])
            if derived is None:
                continue
            printed = stated.printed.need()
            if relation.kind == "difference" and stated.unit == "points":
                derived = 100 * derived
            elif relation.kind not in ("difference", "share"):
                printed = figure(stated)
            ok = printed.meets(derived)
            formula = _FORMULA[relation.kind]
            digits = 2 if abs(derived.hi) > 10 else 4
            yield view.finding(
                f"stated-{relation.kind.replace('_', '-')}",
                relation.id.partition("/")[2],
                [stated, *parts, *below],
                "consistent" if ok else "inconsistent",
                grade="low" if ok else "medium",
                subject=relation.subject,
                claimed=f"{stated.quantity.text()} {stated.value} "
                f"{'' if stated.unit in ('fraction', '1') else stated.unit}".strip()
                + (f" ({relation.text})" if relation.text else ""),
                derived=(
                    "" if derived.width == 0 or relation.kind != "ratio" else f"{float(derived.mid):.2f}, that is "
                )
                + f"{derived.text(digits)} from "
                + ", ".join(f"{c.value}{'' if c.unit in ('fraction', '1') else ' ' + c.unit}" for c in parts)
                + (" over " + ", ".join(f"{c.value} {c.unit}" for c in below) if below else ""),
                why=f"{formula}."
                if ok
                else f"{formula}; the printed figure lies {float(printed.gap(derived)):.2g} outside."
                + _last_place(stated, derived),
                correction=None
                if ok
                else relation.correction
                or f"{stated.quantity.text()}: {derived.text(stated.printed.decimals)}, not {stated.value}.",
            )
            if stated.quantity.metric == "energy" and relation.kind == "product" and ok:
                yield _modelled(view, relation, stated, parts)


def _modelled(view: View, relation: Relation, stated: Claim, parts: list[Claim]) -> Finding:
    """An energy that is a latency times a constant."""
    marked = f" The author's own mark: {stated.caveat}." if stated.caveat else ""
    return view.finding(
        "modelled-energy",
        relation.id.partition("/")[2],
        [stated, *parts],
        "undetermined",
        grade="high",
        evidence="arithmetic",
        subject=relation.subject,
        claimed=f"energy of one call: {stated.value} {stated.unit}",
        derived=" x ".join(f"{c.value} {c.unit}" for c in parts) + f" = {stated.value} {stated.unit} within rounding",
        why=(
            "The printed energy is the printed latency times an assumed power, so it holds no measurement of "
            "energy: it can "
            "neither confirm nor refute any consumption, and compares devices only by time." + marked
        ),
        settles="an energy counter read over a window of many calls",
        correction=relation.correction,
    )


def _last_place(stated: Claim, derived: Interval) -> str:
    """Say where a percentage is off by one in its last place, as double rounding does."""
    step = Fraction(1, 10**stated.printed.decimals)
    return " It is off by one in the last place." if stated.printed.need().gap(derived) < step else ""


def class_weights(view: View) -> Iterator[Finding]:
    """Weights said to be inverse frequencies imply a prevalence: f1 = w0 / (w0 + w1).

    Compared with the prevalence that the same card's test figures imply
    (`identities.binary_prevalence`). Training and test sets may differ, so a large ratio is
    not a contradiction; it is stated.
    """
    for card in view.registry.cards:
        for relation in card.relations:
            if relation.kind != "inverse_frequency":
                continue
            weights = [view.claim(ref) for ref in relation.of]
            implied = ids.inverse_frequency_prevalence(figure(weights[0]), figure(weights[1]))
            test = test_prevalence(view, relation.subject)
            if test is None:
                continue
            share, inputs = test
            ok = implied.meets(share)
            ratio = float(implied.mid / share.mid)
            yield view.finding(
                "class-weights",
                relation.id.partition("/")[2],
                [*weights, *inputs],
                "consistent" if ok else "undetermined",
                grade="low" if ok else "medium",
                subject=relation.subject,
                claimed=f"{relation.said}: [{weights[0].value}, {weights[1].value}]",
                derived=f"{100 * float(implied.mid):.1f} % of class 1 in training, against "
                f"{100 * float(share.mid):.2f} % in the test set",
                why=(
                    "w0/w1 = f1/f0 with f0 + f1 = 1. The test share follows from the card's own IoUs and recall. "
                    f"They differ {ratio:.1f} times: either the weights are not inverse frequencies, or training and "
                    "test set hold very different shares of the class."
                ),
                settles="the number of label pixels in each split",
                correction=relation.correction,
            )


def test_prevalence(view: View, subject: str) -> tuple[Interval, list[Claim]] | None:
    """Prevalence of class 1 on a subject's test split, from its IoUs and recall; sharpest group."""
    best: tuple[Interval, list[Claim]] | None = None
    for group in view.groups():
        if group.subject != subject or group.key[3] != "test" or group.key[2] != "published":
            continue
        ious = group.by_class("iou")
        recall = group.of_class("class_accuracy", 1) or group.of_class("recall", 1)
        if list(ious) != [0, 1] or recall is None:
            continue
        share = ids.binary_prevalence(figure(ious[0]), figure(ious[1]), figure(recall))
        if share is not None and (best is None or share.width < best[0].width):
            best = share, [ious[0], ious[1], recall]
    return best


def stated_words(view: View) -> Iterator[Finding]:
    """Words about two figures: `greater` needs equal quantities, `negligible` a small difference.

    No identity: the difference is computed and set beside the word. Two quantities are equal
    where class index, class name, scheme, threshold, averaging and split are.
    """
    for card in view.registry.cards:
        for relation in card.relations:
            if relation.kind == "greater":
                yield from _greater(view, relation)
            elif relation.kind == "negligible":
                yield from _negligible(view, relation)


def _greater(view: View, relation: Relation) -> Iterator[Finding]:
    a, b = (view.claim(ref) for ref in relation.of[:2])
    left_open = {"class index", "scheme"}
    apart = [
        u for u in unlike(a.quantity, b.quantity) if not ("not stated" in u and any(u.startswith(x) for x in left_open))
    ]
    true = figure(a).lo > figure(b).hi
    status: Status = "consistent" if true and not apart else "undetermined" if true else "inconsistent"
    yield view.finding(
        "stated-greater",
        relation.id.partition("/")[2],
        [a, b],
        status,
        grade="high" if apart else "low",
        subject=relation.subject,
        card=relation.id.partition("/")[0],
        source=relation.source,
        claimed=relation.said,
        derived=f"{float(figure(a).mid):.4g} against {float(figure(b).mid):.4g}"
        + (", but not one quantity: " + "; ".join(apart) if apart else ""),
        why=(
            "The figures are in that order. A score can be called higher only where it measures the same thing; "
            "these differ in "
            + ", ".join(u.split(" ")[0] if not u.startswith("class") else " ".join(u.split(" ")[:2]) for u in apart)
            + "."
            if apart and true
            else "Equal quantities, and in that order."
            if true
            else "The figures are not in that order."
        ),
        settles="a run of both on the same chips" if apart else None,
        correction=relation.correction,
    )


def _negligible(view: View, relation: Relation) -> Iterator[Finding]:
    a, b = (view.claim(ref) for ref in relation.of[:2])
    if a.quantity.metric == "label_px":
        side = next(
            (int(figure(c).lo) for c in view.registry.claims if c.card == a.card and c.quantity.metric == "chip_px"),
            None,
        )
        if side is None:
            return
        label, marked, area = int(figure(a).lo), int(figure(b).lo), side * side
        yield view.finding(
            "stated-words",
            relation.id.partition("/")[2],
            [a, b],
            "undetermined",
            grade="medium",
            subject=relation.subject,
            source=relation.source,
            claimed=relation.said,
            derived=f"{100 * marked / area:.2f} % of the chip is marked; {100 * label / area:.1f} % of it is building",
            why=(
                "A map that marks nearly every pixel covers nearly every building, as a map that marks all of "
                "them does. "
                "So the sentence is true and says nothing about skill."
            ),
            settles="precision, or recall at a fixed share of marked pixels",
            correction=relation.correction,
        )
        return
    loss = 100 * (figure(a) - figure(b))
    big = loss.lo > 1
    yield view.finding(
        "stated-words",
        relation.id.partition("/")[2],
        [a, b],
        "inconsistent" if big else "consistent",
        grade="medium" if big else "low",
        subject=relation.subject,
        source=relation.source,
        claimed=relation.said,
        derived=f"{loss.text(2)} points",
        why="Difference of the two printed figures, in points. One point is the limit we use for 'negligible'.",
        correction=relation.correction if big else None,
    )
