"""Splits a difference between two ends among the factors that were switched between them.

A *corner* is a set of switched factors; its value is what the metric then comes to. With k factors there are
2^k corners, and corner number m holds factor i where bit i of m is set. Every quantity here is a weighted sum
of corner values, so that one matrix of weights serves values, leave-one-out values and whole simulations.

Shares are Shapley's (1953, A value for n-person games, Contributions to the Theory of Games II): a factor's
effect, averaged over all orders in which the factors may be switched. They add up to the difference, a factor
that never changes anything gets 0, and factors that do the same get the same. The interaction of two factors
is the Shapley interaction index (Murofushi and Soneda 1993; in the form of Grabisch, Marichal and Roubens
2000, Equivalent representations of set functions, Mathematics of Operations Research 25(2)).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np

from harness.score.clusters import Floats

LARGEST = 6
"""Factors at most: 64 corners, each of them a run."""


def corner_sets(ids: Sequence[str]) -> list[frozenset[str]]:
    """Every set of factors, by corner number: the first is empty, the last holds all."""
    return [frozenset(name for i, name in enumerate(ids) if m >> i & 1) for m in range(1 << len(ids))]


@functools.cache
def share_weights(k: int) -> Floats:
    """Weights (k, 2^k) that make shares of corner values.

    Raises:
        ValueError: `k` is not between 1 and LARGEST.
    """
    if not 1 <= k <= LARGEST:
        raise ValueError(f"{k} factors; 1 to {LARGEST} can be split")
    out = np.zeros((k, 1 << k))
    for m in range(1 << k):
        size = m.bit_count()
        for i in range(k):
            if m >> i & 1:
                out[i, m] = 1 / (k * math.comb(k - 1, size - 1))
            else:
                out[i, m] = -1 / (k * math.comb(k - 1, size))
    out.flags.writeable = False
    return out


@functools.cache
def alone_weights(k: int) -> tuple[Floats, Floats]:
    """Weights (k, 2^k) of a factor switched alone at the start, and of the one switched last at the end."""
    first, last = np.zeros((k, 1 << k)), np.zeros((k, 1 << k))
    full = (1 << k) - 1
    for i in range(k):
        first[i, 1 << i], first[i, 0] = 1, -1
        last[i, full], last[i, full ^ 1 << i] = 1, -1
    return first, last


def shares(values: Floats) -> Floats:
    """Shares of corner values: (..., 2^k) to (..., k); each row sums to the last corner minus the first.

    Raises:
        ValueError: The last axis is no power of two from 2 to 2^LARGEST.
    """
    return values @ share_weights(_factors(values)).T


def interactions(values: Floats) -> list[tuple[int, int, float]]:
    """What two factors do together beyond the sum of what each does, for corner values (2^k,).

    Returns:
        (i, j, index) with i < j, the largest absolute index first; empty for a single factor.
    """
    k = _factors(values)
    out = []
    for i in range(k):
        for j in range(i + 1, k):
            parts = []
            for m in range(1 << k):
                if m >> i & 1 or m >> j & 1:
                    continue
                a, b = m | 1 << i, m | 1 << j
                weight = 1 / ((k - 1) * math.comb(k - 2, m.bit_count()))
                parts.append(weight * float(values[a | b] - values[a] - values[b] + values[m]))
            out.append((i, j, math.fsum(parts)))
    return sorted(out, key=lambda each: (-abs(each[2]), each[:2]))


def _factors(values: Floats) -> int:
    corners = int(values.shape[-1])
    k = corners.bit_length() - 1
    if corners != 1 << k or not 1 <= k <= LARGEST:
        raise ValueError(f"{corners} corners; 2 to {1 << LARGEST}, a power of two, are needed")
    return k
