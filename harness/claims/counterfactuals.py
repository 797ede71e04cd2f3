"""What a published operating point would score at another prevalence, and under what condition."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from harness.claims.findings import Counterfactual
from harness.claims.groups import View
from harness.claims.model import Claim
from harness.claims.sweeps import card_matrices, sweeps
from harness.score.binary import BinaryMatrix, OperatingPoint

CONSTANT_RATES = "recall (TPR) and false-positive rate stay what they were while the share of label pixels changes"
"""The prior-shift assumption, in the words that stand beside every result."""


@dataclass(frozen=True)
class Pair:
    """A card's test set and a rerun's set of one two-class adapter."""

    subject: str
    """Adapter."""
    card: BinaryMatrix
    """Card's test set, fractions."""
    rerun: BinaryMatrix
    """Rerun's set at threshold 0.5, pixels."""
    card_miou: Claim
    """The card's headline."""
    rerun_miou: Claim
    """The rerun's headline."""


def _point(matrix: BinaryMatrix) -> OperatingPoint:
    if matrix.tpr is None or matrix.fpr is None:
        raise ValueError(f"rates undefined in {matrix}")
    return OperatingPoint(matrix.tpr, matrix.fpr)


def pairs(view: View) -> list[Pair]:
    """Every adapter with a two-class operating point on both sides."""
    cards = card_matrices(view)
    out = []
    for sweep in sweeps(view):
        if sweep.subject not in cards:
            continue
        family = view.family_of(sweep.card)
        headline = _headline(view, sweep.subject, "test", family)
        rerun = _headline(view, sweep.subject, sweep.split, family)
        if headline is not None and rerun is not None:
            out.append(Pair(sweep.subject, cards[sweep.subject], sweep.at(Fraction(1, 2)), headline, rerun))
    return out


def _headline(view: View, subject: str, split: str, family: str) -> Claim | None:
    found = [
        c
        for card in view.registry.cards
        if card.family == family
        for c in card.claims
        if (c.quantity.subject, c.quantity.metric, c.quantity.split, c.quantity.variant)
        == (subject, "mIoU", split, "published")
    ]
    # The card itself outranks documents that repeat its figure.
    ranked = sorted(found, key=lambda c: (view.registry.card(c.card).kind not in ("card", "rerun"), c.line))
    return ranked[0] if ranked else None


def counterfactuals(view: View) -> Iterator[Counterfactual]:
    """Move each operating point to the other set's prevalence, for mIoU and for IoU of class 1."""
    for pair in pairs(view):
        sides = (
            ("card-at-rerun", pair.card, pair.rerun, "card's operating point at the rerun's prevalence"),
            ("rerun-at-card", pair.rerun, pair.card, "rerun's operating point at the card's prevalence"),
        )
        for name, moved, target, words in sides:
            share = target.prevalence
            if share is None:
                continue
            expected = _point(moved).at(share)
            for metric in ("miou", "iou1"):
                here, there, then = getattr(moved, metric), getattr(target, metric), getattr(expected, metric)
                if here is None or there is None or then is None:
                    continue
                yield Counterfactual(
                    id=f"{pair.subject}.{name}.{metric}",
                    subject=pair.subject,
                    quantity=f"{'mIoU' if metric == 'miou' else 'IoU of class 1'}: {words}",
                    assumes=CONSTANT_RATES,
                    claimed=here,
                    observed=there,
                    expected_at_observed_prevalence=then,
                    prevalence_effect=then - here,
                    remainder=there - then,
                    claims=[pair.card_miou.id, pair.rerun_miou.id],
                )


@dataclass(frozen=True)
class BuiltUp:
    """The condition under which an adapter that marks built-up land would score as the rerun did."""

    inside_precision: float
    """Share of marked pixels that are building, in the card's test set."""
    rerun_precision: float
    """The same in the rerun."""
    marked_share: float
    """Share of the rerun's pixels that it marks."""
    low: float
    """mIoU at the card's precision, recall between the card's and 1: lower end."""
    high: float
    """Upper end."""


def built_up_condition(pair: Pair) -> BuiltUp | None:
    """If every pixel of built-up land is marked and building density inside it is the card's.

    A map that marks a share m of the pixels with precision q and recall r has TP = qm, FP =
    (1-q)m, FN = TP (1/r - 1). Here q is the card's precision, r anything from the card's recall
    to 1, and m is the rerun's own marked share: a condition to be tested with strata, not
    evidence for it. The rerun's own precision is shown beside it and not put in, because with
    it the formula would only restate the rerun's score.
    """
    m, q, r, q_rerun = pair.rerun.predicted_share, pair.card.precision, pair.card.tpr, pair.rerun.precision
    if m is None or q is None or q_rerun is None or not r:
        return None

    def score(recall: float) -> float:
        tp = q * m
        fn = min(tp * (1 / recall - 1), 1 - m)
        return BinaryMatrix(tp, (1 - q) * m, fn, 1 - m - fn).miou or 0.0

    low, high = sorted((score(r), score(1.0)))
    return BuiltUp(q, q_rerun, m, low, high)
