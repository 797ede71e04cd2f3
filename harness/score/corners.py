"""All combinations of switched factors as arrays, checked, and how far their values hang on the clusters.

Factors other than a population are paired: the same clusters stand in both corners, and a cluster that is
left out is left out of all corners at once. A population brings clusters of its own; where two populations
share a cluster it is left out of both, so that what they have in common cancels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from harness.score.clusters import Floats, StackMetric, effective_clusters, metric, stacked
from harness.score.confusion import ConfusionMatrix
from harness.score.metrics import METRIC_FUNCTIONS, OfMap
from harness.score.resample import FEWEST_DF, SAME, TENTHS, degrees, jackknife_error
from harness.score.shapley import LARGEST, corner_sets

Kind = Literal["scheme", "population", "recipe", "precision", "device", "labels", "unlabelled"]
"""What sort of difference a factor is. population: other scenes. scheme, labels: other classes or another
vintage of the labels. unlabelled: what becomes of land that no label names. recipe, precision, device: how
the same scenes are fed and run."""

Corner = Mapping[str, ConfusionMatrix]
"""Cluster id to matrix, at one combination of switched factors."""

SAME_LABELS: tuple[Kind, ...] = ("precision", "device")
"""Kinds that cannot change a label pixel."""


class UndefinedBridgeError(ValueError):
    """The metric has no value at some combination; the message says which, and why."""


@dataclass(frozen=True)
class Factor:
    """One thing that differs between the two ends."""

    id: str
    """Short name, e.g. `statistics`."""
    kind: Kind
    """What sort of difference it is."""
    says: str
    """What differs, in words: `statistics of published-rerun instead of training-code`."""


@dataclass(frozen=True)
class Population:
    """Corners that stand on the same clusters."""

    ids: tuple[str, ...]
    """Its clusters, sorted."""
    corners: tuple[int, ...]
    """Numbers of its corners."""
    stack: Floats
    """(corners, clusters, K, K), pixels."""


@dataclass(frozen=True)
class Spread:
    """Standard errors of weighted sums of corner values, and what they rest on."""

    error: Floats
    """(rows,); NaN where a value hangs on one cluster, or a population has only one."""
    df: Floats
    """(rows,) degrees of freedom, by Satterthwaite (1946; the paper itself not looked up, the formula as
    von Davier, arXiv:2409.14606, attributes it) over the populations; NaN where there is no error."""
    effective: float
    """Clusters of equal weight that the smallest population amounts to."""


class Corners:
    """Every combination of some factors, with the metric's value at each.

    Raises:
        ValueError: No factor, too many, two of one name, a combination missing or one too many, other clusters
            where no population was switched, other classes, or other label pixels under another device.
        UndefinedBridgeError: The metric is undefined at a combination, or a mean over classes is not over the
            same classes at each.
    """

    def __init__(
        self,
        factors: Sequence[Factor],
        corners: Mapping[frozenset[str], Corner],
        name: str,
        class_index: int | None,
        over: Sequence[int] | None,
    ) -> None:
        self.factors = sorted(factors, key=lambda f: f.id)  # one order, whatever order they came in
        check_factors(factors)
        self.sets = corner_sets([f.id for f in self.factors])
        _check_sets(self.sets, corners)
        self.populations = _populations(self.factors, self.sets, corners)
        pooled = self.pooled
        self._check_labels()
        if not pooled.sum((1, 2)).all():
            at = int(np.flatnonzero(pooled.sum((1, 2)) == 0)[0])
            raise UndefinedBridgeError(f"no pixel is counted {switched(self.sets[at])}")
        settled = metric(name, class_index, over).settled(pooled)
        if isinstance(settled, str):
            raise UndefinedBridgeError(f"{name} is not one quantity over the {len(self.sets)} combinations: {settled}")
        self.metric: StackMetric = settled
        self.values: Floats = settled.of(pooled)
        if np.isnan(self.values).any():
            at = int(np.flatnonzero(np.isnan(self.values))[0])
            why = _reason(pooled[at], name, class_index) or "a class of the mean is undefined"
            raise UndefinedBridgeError(f"{settled.name} is undefined {switched(self.sets[at])}: {why}")

    @property
    def clusters(self) -> tuple[str, ...]:
        """All cluster ids, of every population."""
        return tuple(sorted({i for each in self.populations for i in each.ids}))

    def at(self, corner: int) -> Population:
        """The population that a corner stands on."""
        return next(each for each in self.populations if corner in each.corners)

    @property
    def pooled(self) -> Floats:
        """Pixels of all clusters together at each corner: (2^k, K, K)."""
        out = np.empty((len(self.sets), *self.populations[0].stack.shape[-2:]))
        for each in self.populations:
            out[list(each.corners)] = each.stack.sum(1)
        return out

    def spread(self, weights: Floats) -> Spread:
        """Delete-one jackknife errors of `weights` (rows, 2^k) times the corner values."""
        return self.jackknife(len(weights), lambda each, left: weights[:, list(each.corners)] @ self.metric.of(left))

    def jackknife(self, rows: int, of: Callable[[Population, Floats], Floats]) -> Spread:
        """Delete-one jackknife errors of anything that hangs on the pooled matrices.

        Each cluster of a population is left out of all its corners together; the deviations of a cluster that
        several populations hold add up before they are squared. With one population it is the jackknife.

        Args:
            rows: Quantities at once.
            of: A population and its matrices (its corners, n, K, K), each pooled without one of its n clusters,
                to the quantities (rows, n), or to that part of each that the population contributes.
        """
        place = {name: at for at, name in enumerate(self.clusters)}
        apart = np.zeros((rows, len(place)))
        member: dict[str, tuple[int, ...]] = dict.fromkeys(place, ())
        for number, each in enumerate(self.populations):
            n = len(each.ids)
            if n < 2:
                return Spread(np.full(rows, np.nan), np.full(rows, np.nan), 1.0)
            moved = of(each, each.stack.sum(1, keepdims=True) - each.stack)
            apart[:, [place[i] for i in each.ids]] += math.sqrt((n - 1) / n) * (moved - moved.mean(-1, keepdims=True))
            for i in each.ids:
                member[i] += (number,)
        variance = np.zeros(rows)
        over_df = np.zeros(rows)
        for group in sorted(set(member.values())):
            ids = [i for i in place if member[i] == group]
            part = (apart[:, [place[i] for i in ids]] ** 2).sum(-1)
            variance += part
            over_df += part**2 / _df(self._effective(ids, group))
        error = np.sqrt(variance)
        df = np.divide(variance**2, over_df, out=np.full(rows, np.nan), where=over_df > 0)
        df = np.maximum(np.floor(df * TENTHS + SAME) / TENTHS, FEWEST_DF)
        least = min(self._effective(list(p.ids), (number,)) for number, p in enumerate(self.populations))
        return Spread(np.where(error < SAME, 0.0, error), df, least)

    def error_at(self, corner: int) -> tuple[float, float]:
        """Jackknife error of one corner's value, and the effective number of its clusters."""
        each = self.at(corner)
        stack = each.stack[each.corners.index(corner)]
        if len(each.ids) < 2:
            return math.nan, 1.0
        left_out = self.metric.of(stack.sum(0, keepdims=True) - stack)
        return float(jackknife_error(left_out)), float(effective_clusters(stack, self.metric, "pooled"))

    def _effective(self, ids: Sequence[str], group: Sequence[int]) -> float:
        found = []
        for number in group:
            each = self.populations[number]
            rows = [each.ids.index(i) for i in ids]
            found.append(effective_clusters(each.stack[:, rows], self.metric, "pooled").mean())
        return float(np.mean(found))

    def _check_labels(self) -> None:
        for bit, factor in enumerate(self.factors):
            if factor.kind not in SAME_LABELS:
                continue
            for each in self.populations:
                here = {c: row for row, c in enumerate(each.corners)}
                for corner, row in here.items():
                    other = here.get(corner | 1 << bit)
                    if other is None:
                        continue
                    unlike = (each.stack[row].sum(-1) != each.stack[other].sum(-1)).any(-1)
                    if unlike.any():
                        raise ValueError(
                            f"cluster {each.ids[int(np.flatnonzero(unlike)[0])]!r} has other label pixels under "
                            f"{factor.id}, a {factor.kind}: the two are not runs on the same chips"
                        )


def check_factors(factors: Sequence[Factor]) -> None:
    """Refuse factors that cannot be split.

    Raises:
        ValueError: None, two of one name, or more than LARGEST; names what to group.
    """
    ids = [f.id for f in factors]
    if not ids:
        raise ValueError("no factor: the two ends do not differ, so there is nothing to split")
    if twice := sorted({i for i in ids if ids.count(i) > 1}):
        raise ValueError(f"several factors called {', '.join(twice)}")
    if len(ids) > LARGEST:
        kinds: dict[str, list[str]] = {}
        for factor in factors:
            kinds.setdefault(factor.kind, []).append(factor.id)
        most = max(kinds.values(), key=len)
        what = f"{', '.join(most)} into one" if len(most) > 1 else "some that belong together into one"
        raise ValueError(
            f"{len(ids)} factors make {1 << len(ids)} combinations; at most {LARGEST} factors are split. "
            f"Group {what} ({len(ids) - LARGEST + 1} or more must become one)"
        )


def _df(effective: float) -> float:
    """Degrees of freedom of so many clusters of equal weight, as `resample.degrees`, and never fewer than FEWEST_DF."""
    df = float(degrees(np.asarray(effective)))
    return FEWEST_DF if math.isnan(df) else df


def switched(ids: frozenset[str]) -> str:
    """A combination in words."""
    return f"with {', '.join(sorted(ids))} switched" if ids else "with nothing switched"


def _check_sets(sets: Sequence[frozenset[str]], corners: Mapping[frozenset[str], Corner]) -> None:
    if missing := [s for s in sets if s not in corners]:
        raise ValueError(f"{len(missing)} of {len(sets)} combinations are missing, the first {switched(missing[0])}")
    if extra := sorted(set(corners) - set(sets), key=sorted):
        raise ValueError(f"a combination {switched(extra[0])} names what is no factor")
    if empty := [s for s in sets if not corners[s]]:
        raise ValueError(f"no cluster {switched(empty[0])}")


def _populations(
    factors: Sequence[Factor], sets: Sequence[frozenset[str]], corners: Mapping[frozenset[str], Corner]
) -> list[Population]:
    moves = frozenset(f.id for f in factors if f.kind == "population")
    groups: dict[tuple[str, ...], list[int]] = {}
    first: dict[frozenset[str], int] = {}
    classes: set[int] = set()
    for number, ids in enumerate(sets):
        own = tuple(sorted(corners[ids]))
        known = first.setdefault(ids & moves, number)
        if own != tuple(sorted(corners[sets[known]])):
            strange = sorted(set(own) ^ set(corners[sets[known]]))
            raise ValueError(
                f"cluster {strange[0]!r} is there {switched(ids)} or {switched(sets[known])}, not in both, "
                f"and no population was switched between them"
            )
        groups.setdefault(own, []).append(number)
        classes |= {m.classes for m in corners[ids].values()}
    if len(classes) > 1:
        raise ValueError(f"matrices of {sorted(classes)} classes: bring all combinations to one scheme")
    out = []
    for own, numbers in groups.items():
        flat = stacked([corners[sets[number]][i] for number in numbers for i in own])
        stack = flat.reshape(len(numbers), len(own), *flat.shape[1:])
        counted = stack.sum((0, 2, 3)) > 0  # a cluster without a pixel at any corner is no cluster
        ids_kept = tuple(i for i, kept in zip(own, counted, strict=True) if kept)
        out.append(Population(ids_kept, tuple(numbers), stack[:, counted]))
    return out


def _reason(pooled: Floats, name: str, class_index: int | None) -> str | None:
    cm = ConfusionMatrix(tuple(tuple(int(cell) for cell in row) for row in pooled))
    known = METRIC_FUNCTIONS[name]
    value = known.of(cm) if isinstance(known, OfMap) else known.of(cm, class_index or 0)
    return value.reason
