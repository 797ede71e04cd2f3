"""Three levels of agreement between two sets of logits, and the bounds of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.errors import WeightsError
from harness.models.devices.equivalence_inputs import label_of, logits_sha256
from harness.records.equivalence import Level, TaskEquivalence
from harness.score.confusion import ConfusionMatrix
from harness.score.metrics import iou, miou

Logits = NDArray[np.float32]

MAX_ABS = 1e-3
"""L1: bound of the largest |difference|, a share of the 99th percentile of |reference logit|."""
P999_ABS = 1e-4
"""L1: bound of the 99.9th percentile of |difference|, on the same scale."""
AGREEMENT = 0.999
"""L2: least share of pixels with the same class."""
MARGIN = 2e-3
"""L2: largest reference margin of a pixel with another class, on the same scale."""
IOU = 1e-3
"""L2: largest |difference| of an IoU."""


@dataclass(frozen=True)
class Runs:
    """Logits of one adapter, one array (classes, H, W) an input."""

    reference: Sequence[Logits]
    """Float32 on the CPU."""
    other: Sequence[Logits]
    """The other side."""
    again: Sequence[Logits]
    """The other side, run again."""
    fresh_sha256: str | None
    """Hash of a run in a new process; None where none was made."""


def judge(adapter: str, runs: Runs) -> TaskEquivalence:
    """Compare one adapter's logits; pixels are pooled over all inputs.

    Raises:
        WeightsError: The reference has no finite pixel, or shapes differ.
    """
    for a, b in zip(runs.reference, runs.other, strict=True):
        if a.shape != b.shape:
            raise WeightsError(f"{adapter}: logits are {a.shape} and {b.shape}; the two sides are not one model")
    reference, other = _pooled(runs.reference), _pooled(runs.other)
    classes = reference.shape[0]
    valid = np.isfinite(reference).all(axis=0)
    if not valid.any():
        raise WeightsError(f"{adapter}: no logit of the reference is finite; the weights are broken")
    finite = valid & np.isfinite(other).all(axis=0)
    scale = float(np.quantile(np.abs(reference[:, valid]), 0.99))
    if scale == 0:
        raise WeightsError(f"{adapter}: 99 of 100 logits of the reference are 0; the weights are broken")
    d = np.abs(other[:, finite] - reference[:, finite]) / scale
    top = np.sort(reference[:, valid], axis=0)
    same: NDArray[np.bool_] = np.equal(_classes(other), _classes(reference))
    changed = (~same | ~finite)[valid]
    margins = (top[-1] - top[-2])[changed] / scale
    worst, which, theirs = _scores(adapter, runs, classes)
    other_sha = logits_sha256(runs.other)
    out = TaskEquivalence(
        adapter=adapter,
        classes=classes,
        pixels=int(valid.sum()),
        nonfinite_px=int((valid & ~finite).sum()),
        scale=scale,
        max_abs=float(d.max()) if d.size else None,
        p999_abs=float(np.quantile(d, 0.999)) if d.size else None,
        agreement=(changed.size - int(changed.sum())) / changed.size,
        disagreeing_px=int(changed.sum()),
        largest_margin=float(margins.max()) if margins.size else None,
        iou_difference=worst,
        iou_of=which,
        reference_iou=theirs[0],
        other_iou=theirs[1],
        repeated=logits_sha256(runs.again) == other_sha,
        fresh_process=None if runs.fresh_sha256 is None else runs.fresh_sha256 == other_sha,
        reference_sha256=logits_sha256(runs.reference),
        other_sha256=other_sha,
        levels=[],
    )
    return out.model_copy(update={"levels": levels_of(out)})


def levels_of(t: TaskEquivalence) -> list[Level]:
    """The three levels by the numbers of one adapter; each level's own conditions, none inherited."""
    finite = {f"{t.nonfinite_px} of {t.pixels:,} px without a finite logit, none allowed": t.nonfinite_px == 0}
    l0 = {"a second run in the same process gives the same bytes": t.repeated}
    if t.fresh_process is not None:
        l0["a run in a new process gives the same bytes"] = t.fresh_process
    l1 = {
        f"largest |d| {_share(t.max_abs)}, at most {MAX_ABS:.0e} of the scale": _within(t.max_abs, MAX_ABS),
        f"99.9 % of |d| within {_share(t.p999_abs)}, at most {P999_ABS:.0e}": _within(t.p999_abs, P999_ABS),
        **finite,
    }
    score = "undefined" if t.iou_difference is None else f"{t.iou_difference:.5f} ({t.iou_of})"
    margin = "no pixel has another class" if t.largest_margin is None else f"largest margin {_share(t.largest_margin)}"
    l2 = {
        f"{_percent(t.agreement)} of {t.pixels:,} px have the same class, at least {100 * AGREEMENT:.1f} %": t.agreement
        >= AGREEMENT,
        f"{margin}, at most {MARGIN:.0e} where the class is another": t.largest_margin is None
        or t.largest_margin <= MARGIN,
        f"|d IoU| {score}, at most {IOU}": _within(t.iou_difference, IOU),
        **finite,
    }
    named: list[tuple[str, dict[str, bool]]] = [("L0", l0), ("L1", l1), ("L2", l2)]
    return [Level.model_validate({"level": n, "holds": all(c.values()), "conditions": c}) for n, c in named]


def _within(value: float | None, bound: float) -> bool:
    return value is not None and value <= bound


def _share(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.2e}"


def _percent(share: float) -> str:
    """Never rounded up to 100 %."""
    return f"{np.floor(share * 1e6) / 1e4:.4f} %"


def _pooled(logits: Sequence[Logits]) -> NDArray[np.float64]:
    """Shape (classes, pixels of all inputs)."""
    return np.concatenate([a.reshape(a.shape[0], -1) for a in logits], axis=1).astype(np.float64)


def _classes(logits: NDArray[np.float64] | Logits) -> NDArray[np.int64]:
    """Class of the largest logit; NaN counts as the smallest, so that the map holds a class everywhere."""
    out: NDArray[np.int64] = np.where(np.isnan(logits), -np.inf, logits).argmax(axis=0).astype(np.int64)
    return out


def _scores(
    adapter: str, runs: Runs, classes: int
) -> tuple[float | None, str | None, tuple[list[float | None], list[float | None]]]:
    """Largest difference of an IoU, which one, and the class IoUs of both sides."""
    mine = theirs = ConfusionMatrix.empty(classes)
    for i, (a, b) in enumerate(zip(runs.reference, runs.other, strict=True)):
        label = label_of(_classes(a), classes, f"{adapter}/{i}")
        mine += ConfusionMatrix.from_maps(label, _classes(a), classes)
        theirs += ConfusionMatrix.from_maps(label, _classes(b), classes)
    names = [f"class {k}" for k in range(classes)] + ["mIoU"]
    first = [iou(mine, k).value for k in range(classes)] + [miou(mine).value]
    second = [iou(theirs, k).value for k in range(classes)] + [miou(theirs).value]
    differences = [
        (abs(a - b), name) for a, b, name in zip(first, second, names, strict=True) if a is not None and b is not None
    ]
    worst, which = max(differences, default=(None, None), key=lambda pair: pair[0])
    return worst, which, (first[:-1], second[:-1])
