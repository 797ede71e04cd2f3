"""Of what other scenes do to a figure: the part that their label shares make up, and the rest.

Where a population was switched, two sets of scenes differ in how much of each class they hold and in how the
model does on each class there. The first is known: both sets are labelled, and the rates P(prediction | label) of
either set can be put together with the label shares of the other. So it is a bar. What is left, the rates, is a
remainder: harder scenes and the luck of which scenes were drawn look alike in it, and it stands within a band.

The two are Owen's shares (1977, Values of games with a priori unions) of two players within the population: of
all orders in which factors may be switched, those in which label shares and rates follow one another. They add up
to Shapley's share of the population.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.score.clusters import Floats
from harness.score.corners import Corners, Population
from harness.score.interval import LIKE_THREE
from harness.score.resample import SAME
from harness.score.tested import Tested, tested


@dataclass(frozen=True)
class Composition:
    """A population's share, split."""

    labels: Tested
    """What the other scenes' label shares do. Its interval is for these very shares, which are counted and not
    estimated; what varies are the rates."""
    rates: Tested
    """What is left of the population's share: other rates on the other scenes. Its interval is for other
    scenes, drawn anew."""


def composition(corners: Corners, factor: int, weights: Floats, level: float) -> Composition | str:
    """Split the share of a population.

    Args:
        corners: Every combination.
        factor: Number of the population among the corners' factors.
        weights: (2^k,) of corner values in the population's share.
        level: Confidence.

    Returns:
        The split, or why there is none: a class that only one of the two sets holds has no known rates in the
        other, and a mean needs the same classes everywhere.
    """
    bit = 1 << factor
    here = [m for m in range(len(corners.sets)) if not m & bit]
    there = [m | bit for m in here]
    weight = weights[there]
    whole = corners.pooled[:, None]
    shares = _shares(whole)

    def switched(counts: Floats, held: Floats) -> Floats:
        """What label shares do at each corner pair, either set's rates in turn: (pairs, n) weighted to (n,)."""
        ways = [corners.metric.of(_mixed(counts[of], held[there])) for of in (here, there)]
        ways += [-corners.metric.of(_mixed(counts[of], held[here])) for of in (here, there)]
        out: Floats = weight @ (sum(ways[1:], ways[0]) / 2)
        return out

    def both(counts: Floats) -> Floats:
        """Label shares with the shares held as they are; rates, with everything as counted: (2, n)."""
        of = corners.metric.of(counts)
        return np.stack([switched(counts, shares), weight @ (of[there] - of[here]) - switched(counts, _shares(counts))])

    found = both(whole)[:, 0]
    if np.isnan(found).any():
        held = whole[:, 0].sum(-1) > 0
        alone = np.flatnonzero((held[here] != held[there]).any(0))
        why = (
            f"class {alone[0]} has label pixels at one end alone" if alone.size else "the metric has no value at others"
        )
        return f"label shares cannot be told from rates: {why}"

    def without(each: Population, left: Floats) -> Floats:
        counts = np.repeat(whole, left.shape[1], axis=1)
        counts[list(each.corners)] = left
        return both(counts)

    spread = corners.jackknife(2, without)
    if np.isnan(spread.error).any():
        return "label shares cannot be told from rates: one of them hangs on a single scene"
    labels, rates = (
        tested(float(value), float(error), float(df), spread.effective, level)
        for value, error, df in zip(found, spread.error, spread.df, strict=True)
    )
    if spread.error[0] < SAME <= abs(found[0]) and spread.effective >= LIKE_THREE:
        labels = Tested(float(found[0]), 0.0, 0.0, "the same whatever scene is left out")
    return Composition(labels, rates)


def _shares(counts: Floats) -> Floats:
    """Label shares (..., K) of matrices (..., K, K)."""
    px = counts.sum(-1)
    whole = px.sum(-1, keepdims=True)
    out: Floats = np.divide(px, whole, out=np.full_like(px, np.nan), where=whole > 0)
    return out


def _mixed(counts: Floats, shares: Floats) -> Floats:
    """The rates of some matrices under other label shares; NaN where a class of some share has no rates."""
    px = counts.sum(-1, keepdims=True)
    rates = np.divide(counts, px, out=np.full_like(counts, np.nan), where=px > 0)
    out: Floats = np.where(shares[..., None] > 0, rates * shares[..., None], 0.0)
    return out
