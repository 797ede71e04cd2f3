"""Stated causes of a gap, and where a gain comes from."""

from __future__ import annotations

from collections.abc import Iterator

from harness.claims.counterfactuals import CONSTANT_RATES, built_up_condition, counterfactuals, pairs
from harness.claims.findings import Finding
from harness.claims.groups import Group, View, figure
from harness.claims.interval import Interval

MOST = 0.75
"""Share of a gain from which one class is said to carry it."""


def stated_cause(view: View) -> Iterator[Finding]:
    """A gap said to come from composition, against what prevalence alone does to the score.

    For two classes with known rates the prevalence effect is closed form
    (`score.binary.OperatingPoint.at`). For more classes IoUs alone do not fix the rates, so
    nothing can be computed and the finding says so.
    """
    found = {p.subject: p for p in pairs(view)}
    effects = {c.id: c for c in counterfactuals(view)}
    for card in view.registry.cards:
        for relation in card.relations:
            if relation.kind != "cause":
                continue
            claims = [view.claim(ref) for ref in relation.of]
            pair = found.get(relation.subject)
            if pair is None:
                yield view.finding(
                    "stated-cause",
                    relation.id.partition("/")[2],
                    claims,
                    "undetermined",
                    grade="medium",
                    subject=relation.subject,
                    card=card.id,
                    source=relation.source,
                    claimed=relation.said,
                    derived="no prevalence effect can be computed from class IoUs alone",
                    why="With more than two classes, IoUs do not fix the rates at which each class is taken for "
                    "each other one; that needs the confusion matrix.",
                    settles="the full confusion matrix on both sets",
                    correction=relation.correction,
                )
                continue
            move = effects[f"{relation.subject}.card-at-rerun.miou"]
            back = effects[f"{relation.subject}.rerun-at-card.miou"]
            share_card, share_rerun = pair.card.prevalence or 0.0, pair.rerun.prevalence or 0.0
            gap = move.observed - move.claimed
            wrong_way = move.prevalence_effect * gap < 0
            built = built_up_condition(pair)
            condition = (
                " A composition story can still be true in another form: if the adapter marks built-up land as "
                "a whole "
                f"(precision inside about {built.inside_precision:.2f}, the card's) and built-up land is "
                f"{100 * built.marked_share:.0f} % of these tiles, mIoU would be {built.low:.2f} to "
                f"{built.high:.2f}. That "
                f"{100 * built.marked_share:.0f} % is the rerun's own predicted share, so this is a condition to "
                "test with strata, not evidence."
                if built
                else ""
            )
            yield view.finding(
                "stated-cause",
                relation.id.partition("/")[2],
                claims,
                "inconsistent" if wrong_way else "undetermined",
                grade="high",
                subject=relation.subject,
                card=card.id,
                source=relation.source,
                claimed=relation.said,
                derived=(
                    f"prevalence {100 * share_card:.2f} % to {100 * share_rerun:.1f} % alone moves mIoU "
                    f"{move.claimed:.3f} to "
                    f"{move.expected_at_observed_prevalence:.3f} ({100 * move.prevalence_effect:+.1f} points); "
                    f"the gap is {100 * gap:+.1f}. "
                    f"Back: {back.claimed:.3f} to {back.expected_at_observed_prevalence:.3f}"
                ),
                why=(
                    f"Assumption: {CONSTANT_RATES}. Under it the share of building pixels moves the score the "
                    "other way, so the "
                    "explanation fails in that form. This does not show what the cause is." + condition
                    if wrong_way
                    else f"Assumption: {CONSTANT_RATES}." + condition
                ),
                settles="scores in strata of built-up share on the same chips, and the card's own chips under "
                "both recipes",
                correction=relation.correction,
            )


def gain_by_class(view: View) -> Iterator[Finding]:
    """A gain in mIoU is the mean of the class gains: (a_k - b_k) / K from each class k."""
    for card in view.registry.cards:
        for relation in card.relations:
            if relation.kind != "difference" or relation.states is None:
                continue
            a, b = (view.claim(ref) for ref in relation.of)
            if a.quantity.metric != "mIoU" or b.quantity.metric != "mIoU" or a.quantity.split != b.quantity.split:
                continue
            groups = [group_of(view, c.id) for c in (a, b)]
            ious = [g.by_class("iou") if g else {} for g in groups]
            if len(ious[0]) < 2 or list(ious[0]) != list(ious[1]):
                continue
            gains: dict[int, Interval] = {k: figure(ious[0][k]) - figure(ious[1][k]) for k in ious[0]}
            total = float(sum(g.mid for g in gains.values()))
            if total <= 0:
                continue
            top = max(gains, key=lambda k: gains[k].mid)
            share = float(gains[top].mid) / total
            name = ious[0][top].quantity.class_name or "no name"
            carried = share >= MOST
            stated = view.claim(relation.states)
            rest = 100 * (total - float(gains[top].mid)) / len(gains)
            yield view.finding(
                "gain-by-class",
                relation.id.partition("/")[2],
                [stated, a, b, *ious[0].values(), *ious[1].values()],
                "undetermined" if carried else "consistent",
                grade="medium" if carried else "low",
                subject=relation.subject,
                claimed=f"{stated.value} {stated.unit}",
                derived=f"{100 * share:.0f} % of it from class {top} ({name}: {ious[1][top].value} to "
                f"{ious[0][top].value}); the other {len(gains) - 1} classes together {rest:+.2f} points",
                why=(
                    f"mIoU is a mean over {len(gains)} classes, so each contributes a {_ordinal(len(gains))} of "
                    "its own gain. "
                    f"Class {top} has the lowest score of them, and its very name is disputed (see class-scheme)."
                    if carried
                    else f"mIoU is a mean over {len(gains)} classes."
                ),
                settles="a paired run on the same independent scenes, per class" if carried else None,
                correction=f"{stated.value} points: {100 * share:.0f} % of the gain comes from class {top} alone "
                f"({ious[1][top].value} to {ious[0][top].value})."
                if carried
                else None,
            )


def _ordinal(n: int) -> str:
    return {2: "half", 3: "third", 4: "quarter", 5: "fifth"}.get(n, f"{n}th")


def group_of(view: View, claim_id: str) -> Group | None:
    """The group that a claim stands in."""
    for group in view.groups():
        if any(c.id == claim_id for c in group.claims):
            return group
    return None
