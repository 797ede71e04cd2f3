"""Looks for a confusion matrix that prints exactly the figures of a card.

Where one exists, no reader of the figures can tell that one was moved. The search is damped
Gauss-Newton on the distances to the rounding intervals, in plain floats with no library, so
that it ends alike on every machine; what it finds is checked again in whole pixels and
fractions. Finding nothing proves nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import product

from harness.claims.model import Card, Claim
from tests.claims.cards_generator import FINE_TUNE, GeneratedCard, Matrix, exact_figures

PIXELS = 10**12
"""Pixels of a matrix that is handed back: fine enough that rounding it to whole pixels is lost."""
ROUNDS = 25
"""Steps before the search gives up."""
SLACK = 0.01
"""Weight of the step's length against the distances; keeps the system solvable where figures depend."""
AIM = 0.9
"""A figure counts as met within this share of its rounding interval, so that the exact check passes too."""
MEANS = {"mIoU": "iou", "f1_macro": "f1", "mean_class_accuracy": "class_accuracy"}

Weights = tuple[tuple[int, float], ...]
"""Cell (counted row by row) and weight, where the weight is not 0."""
Ratio = tuple[Weights, Weights]
"""Numerator and denominator as weights on the cells."""


@dataclass(frozen=True)
class Target:
    """One printed figure as the search sees it."""

    metric: str
    """Name of the metric."""
    index: int | None
    """Class index, None for a figure over all classes."""
    lo: Fraction
    """Smallest value that prints so, as a fraction."""
    hi: Fraction
    """Largest value that prints so."""


@cache
def ratios(metric: str, index: int | None, size: int) -> tuple[Ratio, ...]:
    """The metric as a mean of ratios of sums over cells."""
    if metric in MEANS:
        return tuple(ratios(MEANS[metric], i, size)[0] for i in range(size))

    def weigh(on_diagonal: float, in_row: float, in_column: float, elsewhere: float = 0.0) -> Weights:
        out = []
        for row, col in product(range(size), repeat=2):
            here = (row == index and in_row) or (col == index and in_column) or elsewhere
            out.append(on_diagonal if row == col and (index is None or row == index) else here)
        return tuple((cell, float(weight)) for cell, weight in enumerate(out) if weight)

    hit, every, union = weigh(1, 0, 0), weigh(1, 1, 1, 1), weigh(1, 1, 1)
    pairs: dict[str, Ratio] = {
        "iou": (hit, union),
        "f1": (weigh(2, 0, 0), weigh(2, 1, 1)),
        "precision": (hit, weigh(1, 0, 1)),
        "recall": (hit, weigh(1, 1, 0)),
        "class_accuracy": (hit, weigh(1, 1, 0)),
        "prevalence": (weigh(1, 1, 0), every),
        "accuracy": (hit, every),
        "mIoU_micro": (hit, weigh(1, 2, 2, 2)),
    }
    return (pairs[metric],)


def _value(parts: tuple[Ratio, ...], cells: list[float]) -> tuple[float, dict[int, float]] | None:
    """The metric and its gradient by cell; None where it is 0/0."""
    total = 0.0
    slope: dict[int, float] = {}
    for top, bottom in parts:
        bottom_sum = sum(w * cells[n] for n, w in bottom)
        if bottom_sum <= 0:
            return None
        share = sum(w * cells[n] for n, w in top) / bottom_sum
        total += share / len(parts)
        unit = 1 / (bottom_sum * len(parts))
        for n, w in top:
            slope[n] = slope.get(n, 0.0) + w * unit
        for n, w in bottom:
            slope[n] = slope.get(n, 0.0) - share * w * unit
    return total, slope


def solve(matrix: list[list[float]], right: list[float]) -> list[float]:
    """Solution of a positive definite system by elimination."""
    size = len(right)
    rows = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    for i in range(size):
        for j in range(i + 1, size):
            factor = rows[j][i] / rows[i][i]
            if factor:
                for k in range(i, size + 1):
                    rows[j][k] -= factor * rows[i][k]
    out = [0.0] * size
    for i in reversed(range(size)):
        out[i] = (rows[i][size] - sum(rows[i][k] * out[k] for k in range(i + 1, size))) / rows[i][i]
    return out


def _search(targets: list[Target], start: Matrix) -> list[float] | None:
    """Cells of a matrix (summing to 1) that meets all targets, from a matrix nearby."""
    size = len(start)
    pixels = sum(map(sum, start))
    cells = [max(x / pixels, 1e-9) for row in start for x in row]
    # A target cut by 0 or 1 may be a single point; it keeps a little width to aim at.
    goals = [
        (ratios(t.metric, t.index, size), float(t.lo + t.hi) / 2, max(float(t.hi - t.lo) / 2, 1e-9)) for t in targets
    ]
    for _ in range(ROUNDS):
        total = sum(cells)
        cells = [x / total for x in cells]
        off: list[float] = []
        slopes: list[dict[int, float]] = []
        met = True
        for parts, centre, half in goals:
            found = _value(parts, cells)
            if found is None:
                return None
            by = (found[0] - centre) / half
            met = met and abs(by) <= AIM
            # Figures that fit already are held where they are, or the steps undo each other.
            off.append(min(max(by, -AIM / 2), AIM / 2) - by if abs(by) > AIM else 0.0)
            slopes.append({n: s / half for n, s in found[1].items()})
        if met:
            return cells
        # Steps in proportion to the cell: small cells stay small, and none turns negative.
        scale = [x + 1e-7 for x in cells]
        bent = [{n: s * scale[n] for n, s in slope.items()} for slope in slopes]
        gram = [[0.0] * len(bent) for _ in bent]
        for i, x in enumerate(bent):
            for j in range(i + 1):
                gram[i][j] = gram[j][i] = sum(a * bent[j][n] for n, a in x.items() if n in bent[j])
            gram[i][i] += SLACK + 1e-8 * gram[i][i]
        push = solve(gram, off)
        steps = [0.0] * len(cells)
        for p, x in zip(push, bent, strict=True):
            for n, a in x.items():
                steps[n] += p * a
        cells = [min(max(c + w * s, 0.1 * c), 10 * c + 1e-6) for c, w, s in zip(cells, scale, steps, strict=True)]
    return None


def _bounds(claim: Claim) -> tuple[Fraction, Fraction]:
    """Every number that prints like the claim, in the claim's unit."""
    half = Fraction(1, 2 * 10 ** len(claim.value.partition(".")[2]))
    return Fraction(claim.value) - half, Fraction(claim.value) + half


def targets_of(card: Card, variant: str) -> Iterator[Target]:
    """The rates of one arm as fractions, cut to 0..1."""
    for claim in card.claims:
        q = claim.quantity
        if q.variant != variant or q.place or q.metric in ("delta_points", "classes", "chips"):
            continue
        scale = 100 if claim.unit == "%" else 1
        lo, hi = _bounds(claim)
        yield Target(q.metric, q.class_index, max(lo / scale, Fraction(0)), min(hi / scale, Fraction(1)))


def witness(generated: GeneratedCard, moved: Claim, card: Card) -> Matrix | None:
    """A confusion matrix that prints every figure of `card`, or None where none was found.

    Args:
        generated: The card before the move, with its truth.
        moved: The figure that was moved.
        card: The card with the moved figure.

    Returns:
        The matrix of the arm that `moved` is about; the other arm keeps its true matrix. Cards
        with rows of pixel counts are not searched.
    """
    if generated.places:
        return None
    ours = moved.quantity.variant != FINE_TUNE
    start = generated.matrix if ours else generated.baseline
    other = generated.baseline if ours else generated.matrix
    assert start is not None
    targets = list(targets_of(card, "published" if ours else FINE_TUNE))
    for claim in card.claims:
        if claim.quantity.metric == "delta_points" and other is not None:
            beside = exact_figures(other)["mIoU", None]
            lo, hi = (end / 100 for end in _bounds(claim))
            lo, hi = (beside + lo, beside + hi) if ours else (beside - hi, beside - lo)
            targets.append(Target("mIoU", None, lo, hi))
    cells = _search(targets, start)
    if cells is None:
        return None
    size = len(start)
    whole = tuple(tuple(int(PIXELS * cells[size * i + j]) for j in range(size)) for i in range(size))
    figures = exact_figures(whole)
    fits = all((t.metric, t.index) in figures and t.lo <= figures[t.metric, t.index] <= t.hi for t in targets)
    return whole if fits else None
