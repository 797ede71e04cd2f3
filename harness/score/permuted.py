"""Whether classes stand in another order than said: from the stored matrix, or from sources that contradict.

Two things go by the name of a permuted scheme. Where the *outputs* stand in another order than the label, the
matrix shows it: its large cells lie off the diagonal, one in each row and column. Where label and outputs
agree and only the *names* beside them are others, no matrix can show it, since renaming moves rows and columns
alike; only sources that name one index differently do. Closeness of IoUs is evidence of neither. Rules of
2026-11-21.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final, Literal

import numpy as np

from harness.score.clusters import Floats, stacked
from harness.score.confusion import ConfusionMatrix

MARGIN: Final = 0.10
"""By how much the cell of a moved class must exceed each other one in its row and its column, as shares of the
label class. Set 2026-11-21: confusion of likes is one-sided, so that a cycle of such cells is none."""

FEWEST: Final = 3
"""Clusters from which on the order must also hold without each of them; with fewer one may be all there is."""

Found = Literal["as stored", "another order", "cannot be told"]
"""as stored: no other order puts more on the diagonal without moving a class whose own cell leads its row by
MARGIN. another order: one does, each moved class by MARGIN. cannot be told: one does, but not so clearly, or
not without one cluster."""

Via = Literal["stored matrix", "contradicting sources", "both", "neither"]
"""What shows it."""


@dataclass(frozen=True)
class Permuted:
    """What a stored matrix says about the order of its outputs."""

    found: Found
    """The finding."""
    order: tuple[int, ...]
    """Label class i is predicted as output order[i] in the order that puts most on the diagonal, classes that are
    where they belong left there."""
    stored: float
    """Mean over label classes of the share on the diagonal as stored."""
    best: float
    """The same under `order`."""
    why: str
    """What it rests on, and what it does not say."""


@dataclass(frozen=True)
class Contradiction:
    """Two sources that name indices differently."""

    one: str
    """A source."""
    other: str
    """Another."""
    indices: tuple[int, ...]
    """Indices that have another name in each."""
    order: tuple[int, ...] | None
    """Index n of the one is index order[n] of the other; None where they do not hold the same names."""


@dataclass(frozen=True)
class SchemeOrder:
    """Whether classes stand in another order than said, and what shows it."""

    via: Via
    """What shows it; neither: nothing does, which is not the same as there being nothing."""
    matrix: Permuted
    """What the stored matrix says."""
    contradictions: tuple[Contradiction, ...]
    """What the sources say."""
    why: str
    """In words."""


def permuted(matrix: ConfusionMatrix, clusters: Sequence[ConfusionMatrix] = ()) -> Permuted:
    """Which order of the outputs would make a stored matrix diagonal-dominant, and whether that is evidence.

    It is evidence that label and output do not stand in one order where, in the order found, the cell of each
    moved class is the largest of its row and of its column by MARGIN; no other order can then do the same. It
    does not say which of the two is out of order, nor what any index is called. It is no evidence where
    a model is so weak that classes have no such cell, where a moved class has no label, or where it hangs on
    one cluster.

    Args:
        matrix: As stored, pooled.
        clusters: The matrices that it is the sum of; with FEWEST or more each is left out once.

    Raises:
        ValueError: The clusters do not sum to the matrix.
    """
    counts = stacked([matrix])[0]
    k = matrix.classes
    labelled = [i for i in range(k) if counts[i].sum() > 0]
    same = tuple(range(k))
    if not labelled:
        return Permuted("cannot be told", same, 0.0, 0.0, "no pixel is counted")
    rates = _rates(counts)
    order = _order(rates)
    stored, best = (float(np.mean([rates[i, to[i]] for i in labelled])) for to in (same, order))
    moved = [i for i in range(k) if order[i] != i]
    if not moved:
        why = f"no other order puts more on the diagonal ({100 * stored:.1f} % of each class on average)"
        if best_order(rates) != order:
            why += " without moving a class that is where it belongs: what goes to it from others is confusion"
        return Permuted("as stored", order, stored, best, why)
    said = f"in the order {list(order)} the diagonal holds {100 * best:.1f} % of each class on average, as stored "
    said += f"{100 * stored:.1f} %"
    if unlabelled := [i for i in moved if i not in labelled]:
        why = f"{said}; but class {unlabelled} has no label pixel, so that its place is not known"
        return Permuted("cannot be told", order, stored, best, why)
    if weak := [i for i in moved if _margin(rates, i, order[i]) < MARGIN]:
        why = f"{said}; but class {weak} has no cell that leads its row and column by {100 * MARGIN:g} points"
        return Permuted("cannot be told", order, stored, best, f"{why}: a weak model looks alike")
    if clusters:
        stack = stacked(clusters)
        if not np.array_equal(stack.sum(0), counts):
            raise ValueError("the clusters do not sum to the stored matrix")
        if len(stack) >= FEWEST:
            for at, one in enumerate(stack):
                if _order(_rates(counts - one)) != order:
                    why = f"{said}; but not without cluster {at}, so that it hangs on that one alone"
                    return Permuted("cannot be told", order, stored, best, why)
            said += f", also without each of {len(stack)} clusters"
    why = f"{said}: label and output stand in different orders; which of the two is wrong the matrix does not say"
    return Permuted("another order", order, stored, best, why)


def contradictions(sources: Mapping[str, Sequence[str]]) -> tuple[Contradiction, ...]:
    """Sources that name one index differently, pair by pair.

    Args:
        sources: Name of a source to class names by index.
    """
    out = []
    for one, other in combinations(sorted(sources), 2):
        a, b = list(sources[one]), list(sources[other])
        longest = max(len(a), len(b))
        unlike = tuple(i for i in range(longest) if a[i : i + 1] != b[i : i + 1])
        if not unlike:
            continue
        alike = sorted(a) == sorted(b) and len(set(a)) == len(a)
        out.append(Contradiction(one, other, unlike, tuple(b.index(name) for name in a) if alike else None))
    return tuple(out)


def scheme_order(
    matrix: ConfusionMatrix, sources: Mapping[str, Sequence[str]], clusters: Sequence[ConfusionMatrix] = ()
) -> SchemeOrder:
    """Look for a permuted scheme in the stored matrix and in the sources, and say which shows it.

    Args:
        matrix: As `permuted`.
        sources: As `contradictions`.
        clusters: As `permuted`.

    Raises:
        ValueError: As `permuted`.
    """
    seen, against = permuted(matrix, clusters), contradictions(sources)
    by_matrix = seen.found == "another order"
    via: Via = (
        "both"
        if by_matrix and against
        else "stored matrix"
        if by_matrix
        else "contradicting sources"
        if against
        else "neither"
    )
    pairs = []
    for each in against:
        how = "other names" if each.order is None else f"the same names in another order, {list(each.order)}"
        pairs.append(f"{each.one} and {each.other} differ at index {', '.join(map(str, each.indices))} ({how})")
    said = "; ".join(pairs) if pairs else f"{len(sources)} sources do not contradict each other"
    return SchemeOrder(via, seen, against, f"stored matrix: {seen.found}, {seen.why}. Sources: {said}.")


def best_order(gain: Floats) -> tuple[int, ...]:
    """The column for each row of (K, K), each column once, with the largest sum; of equals the one nearest as stored.

    Rows are placed one by one; each new one may push others along the cheapest path (the method of potentials
    for the assignment problem, Kuhn 1955 and Munkres 1957; K^3 steps).
    """
    k = len(gain)
    cost = -(gain + 1e-9 * np.eye(k))  # ties go to the diagonal
    row_potential, column_potential = np.zeros(k + 1), np.zeros(k + 1)
    owner = np.full(k + 1, -1)  # row that holds a column; column k is where a new row starts
    for row in range(k):
        owner[k] = row
        at = k
        least, back, done = np.full(k, np.inf), np.full(k, k), np.zeros(k + 1, dtype=np.bool_)
        while owner[at] != -1:
            done[at] = True
            here = int(owner[at])
            reduced = cost[here] - row_potential[here] - column_potential[:k]
            closer = ~done[:k] & (reduced < least)
            least[closer], back[closer] = reduced[closer], at
            nearest = int(np.argmin(np.where(done[:k], np.inf, least)))
            step = least[nearest]
            row_potential[owner[done]] += step
            column_potential[done] -= step
            least[~done[:k]] -= step
            at = nearest
        while at != k:
            owner[at] = owner[back[at]]
            at = int(back[at])
    out = [0] * k
    for column in range(k):
        out[int(owner[column])] = column
    return tuple(out)


def _order(rates: Floats) -> tuple[int, ...]:
    """`best_order`, but for cycles that would move a class whose own cell leads its row by MARGIN.

    A permutation moves every class of a cycle. Where one class is mostly predicted as another that stays where it is,
    the best order exchanges the two all the same; that is confusion and no permutation.
    """
    order = best_order(rates)
    out = list(order)
    for start in range(len(order)):
        cycle, at = [start], order[start]
        while at != start:
            cycle.append(at)
            at = order[at]
        if any(rates[i, i] - np.delete(rates[i], i).max() >= MARGIN for i in cycle):
            for i in cycle:
                out[i] = i
    return tuple(out)


def _rates(counts: Floats) -> Floats:
    """Rows as shares of the label class; a class without label has none."""
    labelled = counts.sum(-1, keepdims=True)
    out: Floats = np.divide(counts, labelled, out=np.zeros_like(counts), where=labelled > 0)
    return out


def _margin(rates: Floats, row: int, column: int) -> float:
    """By how much a cell exceeds every other one of its row and of its column."""
    others = np.concatenate([np.delete(rates[row], column), np.delete(rates[:, column], row)])
    return float(rates[row, column] - others.max())
