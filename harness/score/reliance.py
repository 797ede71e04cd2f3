"""What one may rely on a map for: sentences made of numbers by rules that were written down before.

Rules of 2026-11-21 (RULES). A class is spoken for only where at least FEWEST scenes hold labels and the
interval of its IoU is useful. It is relied on where the lower end of the interval lies above the IoU of every trivial
map and where, scene by scene, the difference from every trivial map has an interval above 0. Otherwise it is not.
A trivial map that some scenes lack is held against ours on the scenes that have it, if these are at least FEWEST; with
fewer, or where no map that looks at pixels is on record, it cannot be told whether a class may be relied on.
Where IoU may be below HALF, what is relied on is candidates and not the class. With fewer scenes nothing is said
either way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import numpy as np

from harness.score.baselines import by_chance, constant
from harness.score.clusters import Floats, StackMetric, difference, metric, stacked
from harness.score.confusion import ConfusionMatrix
from harness.score.interval import FEW, REPLICATES, Interval, interval, of_stack
from harness.score.metrics import iou

RULES = "2026-11-21"
"""Date of the rules; they were written before any run of ours with published weights."""

FEWEST = FEW
"""Scenes below which nothing is said for or against a class: below so many, intervals are rough (docs/coverage.md)."""

LEVEL = 0.95
"""Confidence of every interval here."""

HALF = 0.5
"""IoU and precision below which most of it is something else: such a class is only a source of candidates."""

NOT_BY_A_RUN = ("generated land cover",)
"""Trivial maps that no run makes by itself (`harness think` does): where they are on no scene it is said, and it does
not stand in the way of a sentence."""

Kind = Literal["rely on", "not for", "cannot be told"]
ByScene = Mapping[str, ConfusionMatrix]


@dataclass(frozen=True)
class Finding:
    """One sentence."""

    kind: Kind
    """Where it stands."""
    rule: str
    """Rule that made it, in a word."""
    text: str
    """The sentence; plain text, not escaped."""


@dataclass(frozen=True)
class Evidence:
    """What sentences about one map are made of; all matrices are pixels pooled by scene."""

    classes: Sequence[str]
    """Names by index."""
    ours: ByScene
    """The map's own."""
    trivial: Mapping[str, ByScene]
    """Trivial maps that need pixels, by name, on the scenes that have them."""
    built: ByScene = field(default_factory=dict)
    """The map's own inside built-up land, where land cover is independent of the label."""
    strata: Mapping[str, ByScene] = field(default_factory=dict)
    """The map's own by kind of land, in words that follow `where`."""

    @property
    def two(self) -> bool:
        """Whether class 0 is only the rest."""
        return len(self.classes) == 2


def informedness() -> StackMetric:
    """TPR - FPR of class 1 of two: 0 for any map that does not look."""

    def of(m: Floats) -> Floats:
        positive, negative = m[..., 1, :].sum(-1), m[..., 0, :].sum(-1)
        both = (positive > 0) & (negative > 0)
        tpr = np.divide(m[..., 1, 1], positive, out=np.full(positive.shape, np.nan), where=both)
        fpr = np.divide(m[..., 0, 1], negative, out=np.full(positive.shape, np.nan), where=both)
        out: Floats = tpr - fpr
        return out

    def seen(m: Floats) -> Floats:
        return np.stack([m[..., 0, :].sum(-1), m[..., 1, :].sum(-1)], axis=-1)

    return StackMetric("TPR - FPR", of, -1.0, 1.0, seen, weakest=True)


def findings(evidence: Evidence) -> list[Finding]:
    """Every sentence that the rules allow, class by class."""
    seen = {s: m for s, m in evidence.ours.items() if m.total}
    chosen = [1] if evidence.two else range(len(evidence.classes))
    out = [one for k in chosen for one in _of_class(evidence, seen, k)]
    return out + (_inside_built(evidence) if evidence.two else [])


def scenes(n: int) -> str:
    """`1 scene`, `7 scenes`."""
    return f"{n} scene{'' if n == 1 else 's'}"


def _pooled(matrices: ByScene) -> ConfusionMatrix:
    found = list(matrices.values())
    return sum(found[1:], found[0])


def _arms(evidence: Evidence, seen: ByScene, index: int) -> dict[str, ByScene]:
    """Trivial maps of a class on the scenes at hand: constants and chance, and those that were made of pixels."""
    whole = _pooled(seen)
    shares = [whole.label_px(i) for i in range(whole.classes)]
    out: dict[str, ByScene] = {
        f"{evidence.classes[index]} everywhere": {s: constant(m, index) for s, m in seen.items()},
        "chance at the labels' shares": {s: _drawn(m, shares) for s, m in seen.items()},
    }
    return out | {name: {s: m for s, m in arm.items() if s in seen} for name, arm in evidence.trivial.items()}


def _drawn(matrix: ConfusionMatrix, shares: Sequence[int]) -> ConfusionMatrix:
    """Expected counts of a map drawn at given shares, to the nearest pixel, with the label's own row sums."""
    rows = []
    for i in range(matrix.classes):
        edges = [round(matrix.label_px(i) * part / max(sum(shares), 1)) for part in np.cumsum([0, *shares]).tolist()]
        rows.append(tuple(b - a for a, b in pairwise(edges)))
    return ConfusionMatrix(tuple(rows))


def _of_class(evidence: Evidence, seen: ByScene, index: int) -> list[Finding]:
    name, n = evidence.classes[index], len(seen)
    if not n:
        return [Finding("cannot be told", "no label", f"{name}: no scene has a label.")]
    value = iou(_pooled(seen), index)
    if value.value is None:
        return [Finding("cannot be told", "absent", f"{name}: {value.reason}, in {scenes(n)}.")]
    arms = [_against(seen, arm, a, index) for a, arm in _arms(evidence, seen, index).items()]
    best = max((a for a in arms if a.on), key=lambda a: a.value)
    beside = f"best trivial map: {best.text(n)}"
    if n < FEWEST:
        text = f"{name}: cannot be told from {scenes(n)}; {FEWEST} are needed. IoU here {value.value:.3f}; {beside}."
        return [Finding("cannot be told", "few scenes", text)]
    ours = interval(list(seen.values()), metric("iou", index), "pooled")
    if not ours.useful or ours.low is None:
        return [Finding("cannot be told", "no interval", f"{name}: {ours.text(3)} from {scenes(n)}; {ours.why}.")]
    said = f"IoU {ours.text(3)} from {scenes(n)}; {beside}"
    if unbeaten := [
        a.text(n) if a.on < n and a is not best else a.name for a in arms if a.on >= FEWEST and not a.beaten
    ]:
        against = ", ".join(unbeaten)
        return [Finding("not for", "trivial maps", f"{name}: {said}. Not shown to be better than {against}.")]
    if lacking := _lacking(evidence, arms, n):
        text = f"{name}: {said}. Better than the maps it was held against, but {lacking}."
        return [Finding("cannot be told", "baseline missing", text)]
    out = []
    precision = interval(list(seen.values()), metric("precision", index), "pooled")
    recall = interval(list(seen.values()), metric("recall", index), "pooled")
    rest = f"precision {precision.text(3)}, recall {recall.text(3)}"
    what = f"Candidates for {name}, no more" if ours.low < HALF else name
    out.append(Finding("rely on", "trivial maps", f"{what}: {said}; {rest}."))
    if precision.useful and precision.high is not None and precision.high < HALF:
        text = f"Area or counts of {name}: most of what is marked is something else, {rest}, from {scenes(n)}."
        out.append(Finding("not for", "precision", text))
    for a in arms:
        if not a.on:  # one that no run makes by itself
            text = f"{name} against {a.name}: not measured on any of {scenes(n)}."
            out.append(Finding("cannot be told", "baseline missing", text))
    return out + _by_stratum(evidence, index)


@dataclass(frozen=True)
class _Arm:
    """A trivial map beside ours, on the scenes that have it."""

    name: str
    """Which."""
    on: int
    """Scenes that have it."""
    value: float
    """Its IoU there; 0 where class and map hold nothing."""
    ours: float
    """Ours on the same scenes."""
    beaten: bool
    """Whether ours is shown to be better on them: the lower end of its interval lies above, and so does that of the
    difference, scene by scene, above 0."""

    def text(self, n: int) -> str:
        """`built-up mask, 0.990`, with the scenes that have it where some of `n` do not."""
        there = "" if self.on == n else f" on {self.on} of {scenes(n)} (this map there {self.ours:.3f})"
        return f"{self.name}, {self.value:.3f}{there}"


def _against(seen: ByScene, arm: ByScene, name: str, index: int) -> _Arm:
    if not arm:
        return _Arm(name, 0, 0.0, 0.0, False)
    mine = {s: seen[s] for s in arm}
    own = interval(list(mine.values()), metric("iou", index), "pooled")
    value = _iou(arm, index)
    above = own.useful and own.low is not None and own.low > value
    return _Arm(name, len(arm), value, _iou(mine, index), above and _clears(arm, mine, index))


def _lacking(evidence: Evidence, arms: Sequence[_Arm], n: int) -> str:
    """Why the trivial maps at hand are too few to rely on anything; empty where they are not."""
    if not any(a.on for a in arms if a.name in evidence.trivial):
        return "no trivial map that looks at pixels is on record, and one must be beaten"
    few = [a for a in arms if a.on < FEWEST and not (a.name in NOT_BY_A_RUN and not a.on)]
    if not few:
        return ""
    held = "; ".join(
        f"{a.text(n)}, of which {FEWEST} are needed" if a.on else f"{a.name} is on none of {scenes(n)}" for a in few
    )
    return f"not to be told against {held}"


def _iou(arm: ByScene, index: int) -> float:
    return iou(_pooled(arm), index).value or 0.0  # undefined only where class and map hold nothing


def _clears(arm: ByScene, mine: ByScene, index: int) -> bool:
    """Whether ours minus the arm's has an interval above 0 on the same scenes."""
    pairs = stacked([m for s in mine for m in (arm[s], mine[s])])
    pairs = pairs.reshape(len(mine), 2, *pairs.shape[1:])
    minus = difference(metric("iou", index))
    found = of_stack(pairs, minus, "pooled", "pooled difference", "best", LEVEL, 0, REPLICATES)
    return found.useful and found.low is not None and found.low > 0


def _by_stratum(evidence: Evidence, index: int) -> list[Finding]:
    """Where a class that is relied on as a whole does not clear constants and chance."""
    out = []
    for where, matrices in evidence.strata.items():
        seen = {s: m for s, m in matrices.items() if m.total}
        if len(seen) < FEWEST:
            continue  # the table says how many
        own = interval(list(seen.values()), metric("iou", index), "pooled")
        whole = _pooled(seen)
        best = max(iou(m, index).value or 0.0 for m in (constant(whole, index), by_chance(whole)))
        if own.useful and own.low is not None and own.low <= best:
            text = (
                f"{evidence.classes[index]} where {where}: IoU {own.text(3)} from {scenes(len(seen))}, "
                f"best constant or chance map {best:.3f}."
            )
            out.append(Finding("not for", "stratum", text))
    return out


def _inside_built(evidence: Evidence) -> list[Finding]:
    """Whether class 1 is told from other built-up land."""
    name = evidence.classes[1]
    what = f"Telling {name} from other built-up land"
    seen = {s: m for s, m in evidence.built.items() if m.total}
    if not seen:
        return [Finding("cannot be told", "built-up land", f"{what}: no independent land cover inside built-up land.")]
    if len(seen) < FEWEST:
        text = f"{what}: cannot be told from {scenes(len(seen))}; {FEWEST} are needed."
        return [Finding("cannot be told", "built-up land", text)]
    found: Interval = interval(list(seen.values()), informedness(), "pooled")
    if not found.useful or found.low is None:
        return [Finding("cannot be told", "built-up land", f"{what}: {found.why}.")]
    if found.low <= 0:
        text = f"{what}: TPR - FPR there {found.text(3)} from {scenes(len(seen))}."
        return [Finding("not for", "built-up land", text)]
    return []
