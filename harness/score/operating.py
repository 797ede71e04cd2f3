"""Operating points: a threshold chosen on some scenes and judged on others, and what choosing on the judged adds.

A scene is what shares ground: chips of one parent or overlapping chips are one, so that no pixel helps to choose the
threshold that it is judged at.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from harness.records import ChipScore
from harness.score.binary import BinaryMatrix
from harness.score.clusters import Floats, StackMetric, metric
from harness.score.confusion import ConfusionMatrix
from harness.score.interval import Interval, interval
from harness.score.paired import paired
from harness.score.scenes import sampled, scene_names
from harness.score.sweep import SweepPoint, pooled

Sweep = tuple[SweepPoint, ...]

Goal = Callable[[BinaryMatrix], float | None]
"""What a threshold is chosen for: greater is better; None where undefined."""

PER_PX = 1_000
"""Costs are stated per so many pixels."""

IOU, PRECISION, RECALL = metric("iou", 1), metric("precision", 1), metric("recall", 1)
"""Of class 1, for intervals."""


@dataclass(frozen=True)
class Scene:
    """Chips that share ground, as one."""

    name: str
    """Its chips, joined by `+`."""
    chips: tuple[str, ...]
    """Chip ids."""
    role: str | None
    """`tune` or `test`; `mixed` where its chips differ; None where no AOI file says."""
    sweep: Sweep
    """Added over the chips."""


def scenes(chips: Sequence[ChipScore]) -> list[Scene]:
    """Scored chips with a sweep as scenes, in the order of their first chips.

    What a scene is, `harness.score.scenes` says. Chips of role `probe` choose no threshold and judge none: they are
    left out.

    Raises:
        ValueError: Sweeps at other thresholds.
    """
    names = scene_names(chips)
    groups: dict[str, list[ChipScore]] = {}
    for chip in sampled(chips):
        if chip.sweep:
            groups.setdefault(names[chip.chip], []).append(chip)
    out = []
    for group in groups.values():
        rows = [[SweepPoint(r.threshold, BinaryMatrix(r.tp, r.fp, r.fn, r.tn)) for r in c.sweep] for c in group]
        roles = {c.role for c in group}
        ids = tuple(c.chip for c in group)
        out.append(Scene(" + ".join(ids), ids, roles.pop() if len(roles) == 1 else "mixed", pooled(rows)))
    return out


def best_iou(matrix: BinaryMatrix) -> float | None:
    """The goal where nobody states costs: IoU of class 1."""
    return matrix.iou1


def choose(points: Sequence[SweepPoint], goal: Goal = best_iou) -> float | None:
    """The threshold that serves the goal best; of equals the nearest to 0.5, then the lower one.

    Returns:
        None where the goal is undefined at every threshold.
    """
    known = [
        (value, -round(abs(p.threshold - 0.5), 9), -p.threshold)
        for p in points
        if (value := goal(p.matrix)) is not None
    ]
    return -max(known)[2] if known else None


def _chosen(given: Sequence[Scene], goal: Goal) -> float | None:
    """The threshold that scenes choose together; None where they hold no pixel of class 1, which can choose none."""
    points = pooled([s.sweep for s in given])
    return choose(points, goal) if points[0].matrix.tp + points[0].matrix.fn else None


def at(points: Sequence[SweepPoint], threshold: float) -> BinaryMatrix:
    """Counts at a swept threshold.

    Raises:
        ValueError: It was not swept.
    """
    for point in points:
        if math.isclose(point.threshold, threshold, abs_tol=1e-9):
            return point.matrix
    raise ValueError(
        f"threshold {threshold:g} was not swept; there are {', '.join(f'{p.threshold:g}' for p in points)}"
    )


@dataclass(frozen=True)
class Judged:
    """Scenes, each at a threshold, and the scores of all of them together."""

    names: tuple[str, ...]
    """Scenes."""
    thresholds: tuple[float, ...]
    """One a scene; all the same unless each scene was held out in turn."""
    matrices: tuple[BinaryMatrix, ...]
    """Counts of each scene at its threshold."""

    @property
    def total(self) -> BinaryMatrix:
        """Pooled counts."""
        return sum(self.matrices[1:], self.matrices[0])

    @property
    def stack(self) -> list[ConfusionMatrix]:
        """One matrix a scene, rows label."""
        return [ConfusionMatrix(((int(m.tn), int(m.fp)), (int(m.fn), int(m.tp)))) for m in self.matrices]

    def interval(self, of: StackMetric = IOU) -> Interval:
        """A pooled metric with its interval over scenes. The thresholds are taken as they are."""
        return interval(self.stack, of, "pooled")


def judged(given: Sequence[Scene], threshold: float) -> Judged:
    """Every scene at one threshold.

    Raises:
        ValueError: No scene, or a threshold that was not swept.
    """
    if not given:
        raise ValueError("no scene to judge")
    return Judged(tuple(s.name for s in given), (threshold,) * len(given), tuple(at(s.sweep, threshold) for s in given))


@dataclass(frozen=True)
class Choice:
    """A threshold chosen away from the scenes that it is judged on, beside the one chosen on these very scenes."""

    how: Literal["leave one scene out", "tune scenes"]
    """How it was chosen."""
    chosen_on: int
    """Scenes that the (or each) threshold was chosen on."""
    held_out: Judged
    """The judged scenes at the threshold chosen on others."""
    same: Judged
    """The judged scenes at the threshold chosen on all of them together: what a report must not show alone."""

    def optimism(self) -> Interval:
        """IoU of class 1 at the threshold chosen on the judged scenes, less that at the one chosen elsewhere.

        The interval is over scenes with both choices held as they are; what another choice of scenes would have
        chosen is not in it.
        """
        return paired(self.held_out.stack, self.same.stack, IOU, "pooled").difference


def leave_one_out(given: Sequence[Scene], goal: Goal = best_iou) -> Choice | str:
    """Each scene at the threshold that the other scenes choose.

    Returns:
        The choice, or why there is none.
    """
    if len(given) < 2:
        return f"{len(given)} scored scene{'' if len(given) == 1 else 's'}: there is no other to choose a threshold on"
    thresholds = []
    for held in given:
        found = _chosen([s for s in given if s is not held], goal)
        if found is None:
            return f"without {held.name} no threshold can be told from another: the others hold no class 1"
        thresholds.append(found)
    own = _chosen(given, goal)
    if own is None:
        return "no scene holds class 1"
    matrices = tuple(at(s.sweep, t) for s, t in zip(given, thresholds, strict=True))
    out = Judged(tuple(s.name for s in given), tuple(thresholds), matrices)
    return Choice("leave one scene out", len(given) - 1, out, judged(given, own))


def by_role(given: Sequence[Scene], goal: Goal = best_iou) -> Choice | str:
    """Test scenes at the threshold that the tune scenes choose.

    Returns:
        The choice, or why there is none.
    """
    tune, test = ([s for s in given if s.role == role] for role in ("tune", "test"))
    if not tune or not test:
        return f"{len(tune)} scored scenes of role tune and {len(test)} of role test"
    chosen, own = _chosen(tune, goal), _chosen(test, goal)
    if chosen is None or own is None:
        return (
            f"no threshold can be told from another: the {'tune' if chosen is None else 'test'} scenes hold no class 1"
        )
    return Choice("tune scenes", len(tune), judged(test, chosen), judged(test, own))


@dataclass(frozen=True)
class Costs:
    """What a wrong pixel costs somebody, in a unit of their own."""

    fn: float
    """A pixel of class 1 that is not marked."""
    fp: float
    """A pixel of class 0 that is marked."""

    def __post_init__(self) -> None:
        if not all(math.isfinite(c) and c >= 0 for c in (self.fn, self.fp)) or self.fn + self.fp == 0:
            raise ValueError(f"costs {self.fn:g} and {self.fp:g}: both 0 or more, finite, and not both 0")

    def of(self, matrix: BinaryMatrix) -> float | None:
        """Cost per 1,000 labelled pixels; None where there is none."""
        return PER_PX * (self.fn * matrix.fn + self.fp * matrix.fp) / matrix.total if matrix.total else None

    def goal(self, matrix: BinaryMatrix) -> float | None:
        """For `choose`: the cost with its sign turned."""
        cost = self.of(matrix)
        return None if cost is None else -cost

    def metric(self) -> StackMetric:
        """For intervals."""

        def cost(m: Floats) -> Floats:
            total = m.sum((-1, -2))
            wrong = PER_PX * (self.fn * m[..., 1, 0] + self.fp * m[..., 0, 1])
            out: Floats = wrong / total
            return out

        return StackMetric(f"cost per {PER_PX:,} px", cost, 0.0)


@dataclass(frozen=True)
class Bill:
    """What a ratio of costs asks for on these scenes."""

    costs: Costs
    """As stated."""
    threshold: float
    """Cheapest on all scenes together, so chosen on the scenes that it is judged on."""
    per_px: tuple[tuple[float, float], ...]
    """Threshold and cost per 1,000 px of each."""
    nothing: float
    """Cost per 1,000 px of a map that marks nothing."""
    everything: float
    """Cost per 1,000 px of a map that marks every pixel."""
    choice: Choice | str
    """Leave one scene out, by cost; or why not."""

    @property
    def end(self) -> Literal["lowest", "highest"] | None:
        """Which end of the sweep the cheapest threshold is; None where it lies within."""
        grid = [t for t, _ in self.per_px]
        return "lowest" if self.threshold == min(grid) else "highest" if self.threshold == max(grid) else None


def bill(given: Sequence[Scene], costs: Costs) -> Bill:
    """Costs of every threshold, and the cheapest.

    Raises:
        ValueError: No scene, or scenes without a labelled pixel.
    """
    points = pooled([s.sweep for s in given])
    found = choose(points, costs.goal)
    if found is None:
        raise ValueError("no labelled pixel to state costs for")
    m = points[0].matrix
    positive, negative = m.tp + m.fn, m.fp + m.tn
    nothing, everything = BinaryMatrix(0, 0, positive, negative), BinaryMatrix(positive, negative, 0, 0)
    return Bill(
        costs,
        found,
        tuple((p.threshold, costs.of(p.matrix) or 0.0) for p in points),
        costs.of(nothing) or 0.0,
        costs.of(everything) or 0.0,
        leave_one_out(given, costs.goal),
    )
