"""Whole pixels behind printed rates: what sweeps, tile rows and two-class cards determine."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import lcm

from harness.claims import identities as ids
from harness.claims.groups import View, figure
from harness.claims.interval import Interval
from harness.claims.model import Card, Claim
from harness.score.binary import BinaryMatrix

SetKey = tuple[str, str, str, int | None]
"""Subject, split, arm, class index."""


@dataclass(frozen=True)
class Row:
    """One threshold of a sweep."""

    threshold: Fraction
    """Decision threshold."""
    claims: dict[str, Claim]
    """iou, precision, recall, f1 as printed."""


@dataclass(frozen=True)
class Sweep:
    """A sweep whose confusion counts are known as whole pixels."""

    subject: str
    """Adapter."""
    split: str
    """Set of chips."""
    card: str
    """Card that prints it."""
    pixels: int
    """All pixels of the split."""
    positives: int
    """Label pixels of the class."""
    rows: list[Row]
    """By ascending threshold."""
    matrices: list[BinaryMatrix]
    """Counts of each row."""

    def at(self, threshold: Fraction) -> BinaryMatrix:
        """Counts at a threshold that the sweep holds."""
        for row, matrix in zip(self.rows, self.matrices, strict=True):
            if row.threshold == threshold:
                return matrix
        raise KeyError(threshold)


def set_of(claim: Claim) -> SetKey | None:
    """Subject, split, arm and class that a claim about a set of chips belongs to."""
    q = claim.quantity
    return None if q.split is None else (q.subject, q.split, q.variant, q.class_index)


def _number(threshold: str | None) -> Fraction | None:
    try:
        return None if threshold is None else Fraction(threshold)
    except ValueError:
        return None  # "argmax" and other words are no threshold


def sweep_rows(card: Card) -> dict[SetKey, list[Row]]:
    """Rows of every sweep of a card: one class at several thresholds, the sharpest figure of each metric.

    A row needs recall and precision; rows that print less are left out.
    """
    found: dict[SetKey, dict[Fraction, dict[str, Claim]]] = {}
    for claim in card.claims:
        key, threshold = set_of(claim), _number(claim.quantity.threshold)
        if key is None or threshold is None or claim.quantity.place or claim.printed.interval is None:
            continue
        row = found.setdefault(key, {}).setdefault(threshold, {})
        old = row.get(claim.quantity.metric)
        if old is None or figure(claim).width < figure(old).width:
            row[claim.quantity.metric] = claim
    out = {}
    for key, rows in found.items():
        full = [Row(t, rows[t]) for t in sorted(rows) if {"recall", "precision"} <= set(rows[t])]
        if len(full) > 1:
            out[key] = full
    return out


def split_pixels(card: Card, subject: str, split: str) -> int | None:
    """Pixels of a split: chips x side x side, where the card prints both."""
    side = chips = None
    for claim in card.claims:
        q = claim.quantity
        if q.subject == subject and q.split == split:
            if q.metric == "chip_px":
                side = int(figure(claim).lo)
            elif q.metric == "chips":
                chips = int(figure(claim).lo)
    return None if side is None or chips is None else chips * side * side


TRIED = 20_000
"""Numbers of label pixels tried at most; more fit only where the printed rates fix next to nothing."""


def solve_sweep(
    card: Card, rows: list[Row], pixels: int, subject: str, split: str, most: int = 2
) -> list[Sweep] | None:
    """Whole-pixel solutions of a sweep, at most `most` of them.

    Each recall is k / positives. The printed doubles determine k / positives in lowest terms
    (best rational with denominator up to the number of pixels), so `positives` is a multiple of
    the least common multiple of the denominators; a multiple is a solution if every row's TP and
    TP + FP = TP / precision are whole within the printed digits and fit into the pixels.

    Returns:
        None where more than `TRIED` numbers would have to be tried.
    """
    base = 1
    for row in rows:
        recall = row.claims.get("recall")
        if recall is None:
            return []
        base = lcm(base, figure(recall).mid.limit_denominator(pixels).denominator)
        if base > pixels:
            return []
    if pixels // base > TRIED:
        return None
    solutions: list[Sweep] = []
    for positives in range(base, pixels + 1, base):
        matrices = [_row_matrix(row, positives, pixels) for row in rows]
        if all(m is not None for m in matrices):
            solutions.append(
                Sweep(subject, split, card.id, pixels, positives, rows, [m for m in matrices if m is not None])
            )
            if len(solutions) == most:
                break
    return solutions


def _row_matrix(row: Row, positives: int, pixels: int) -> BinaryMatrix | None:
    hits = (figure(row.claims["recall"]) * positives).integers()
    if len(hits) != 1:
        return None
    tp = hits[0]
    precision = row.claims.get("precision")
    if precision is None:
        return None
    if tp == 0:
        return BinaryMatrix(0, 0, positives, pixels - positives) if 0 in figure(precision) else None
    if figure(precision).lo <= 0:
        return None
    marked = (Interval.of(tp) / figure(precision)).integers()
    if len(marked) != 1 or marked[0] < tp or marked[0] - tp + positives > pixels:
        return None
    fp = marked[0] - tp
    return BinaryMatrix(tp, fp, positives - tp, pixels - positives - fp)


def sweeps(view: View) -> list[Sweep]:
    """Every sweep of the registry that has exactly one whole-pixel solution."""
    out = []
    for card in view.registry.cards:
        for (subject, split, variant, _), rows in sweep_rows(card).items():
            pixels = split_pixels(card, subject, split) if variant == "published" else None
            if pixels is not None:
                found = solve_sweep(card, rows, pixels, subject, split)
                if found is not None and len(found) == 1:
                    out.append(found[0])
    return out


@dataclass(frozen=True)
class Tile:
    """One tile row."""

    place: str
    """Name."""
    label: Claim
    """Label pixels."""
    predicted: Claim
    """Predicted pixels."""
    iou: Claim
    """IoU of the class."""

    def hits(self) -> range:
        """Whole TP that the printed IoU allows: TP = IoU (L + P) / (1 + IoU)."""
        both = figure(self.label) + figure(self.predicted)
        iou = figure(self.iou)
        lo = iou.lo * both.lo / (1 + iou.lo)
        hi = iou.hi * both.hi / (1 + iou.hi)
        limit = min(figure(self.label).hi, figure(self.predicted).hi)
        return Interval(lo, max(lo, min(hi, limit))).integers() if lo <= limit else range(0)


def tiles(card: Card) -> dict[SetKey, list[Tile]]:
    """Tile rows: places with label, predicted and IoU of one class."""
    found: dict[tuple[SetKey, str], dict[str, Claim]] = {}
    for claim in card.claims:
        q, key = claim.quantity, set_of(claim)
        if key is not None and q.place and q.metric in ("label_px", "predicted_px", "iou"):
            found.setdefault((key, q.place), {})[q.metric] = claim
    out: dict[SetKey, list[Tile]] = {}
    for (key, place), row in found.items():
        if len(row) == 3:
            out.setdefault(key, []).append(Tile(place, row["label_px"], row["predicted_px"], row["iou"]))
    return out


def card_matrices(view: View) -> dict[str, BinaryMatrix]:
    """Binary operating point of each subject's test split as a matrix in fractions, where fixed."""
    out: dict[str, BinaryMatrix] = {}
    sharp: dict[str, Fraction] = {}
    for group in view.groups():
        ious = group.by_class("iou")
        recall = group.of_class("class_accuracy", 1) or group.of_class("recall", 1)
        if view.classes(group.subject) != 2 or list(ious) != [0, 1] or recall is None or group.key[3] != "test":
            continue
        parts = ids.binary_fractions(figure(ious[0]), figure(ious[1]))
        if parts is None:
            continue
        width = figure(ious[0]).width + figure(recall).width
        if group.subject in sharp and sharp[group.subject] <= width:
            continue
        tp, tn, errors = (float(parts[k].mid) for k in ("tp", "tn", "errors"))
        fn = tp * (1 / float(figure(recall).mid) - 1)
        out[group.subject] = BinaryMatrix(tp, max(0.0, errors - fn), fn, tn)
        sharp[group.subject] = width
    return out
