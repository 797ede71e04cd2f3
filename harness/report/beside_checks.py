"""Trivial maps, ceilings and strata of a record, counted again from the arrays beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.records import AdapterRun, ChipScore
from harness.records.baselines import Beside, Counts
from harness.report.run_checks import Arrays, Ledger
from harness.score.ceiling import area_mean, interpolated, share_points
from harness.score.confusion import ConfusionMatrix
from harness.score.strata import BUILT, UNKNOWN, WATER, inside, strata

MAPS = "Trivial maps equal a recount of label against map"
CELLS = "Area means and shares of cells equal a recount of the label"
LOGITS = "The best logits found give the counts on record"
LAND = "Counts by kind of land equal a recount"


def expect(out: Ledger) -> None:
    """List the checks, so that they show even where nothing comes to them."""
    for title in (MAPS, CELLS, LOGITS, LAND):
        out.expect(title)


def see(out: Ledger, each: AdapterRun, score: ChipScore, arrays: Arrays) -> None:
    """Count again what stands beside one chip's score through one adapter."""
    label = arrays.label(each.scheme)
    if score.beside is None:
        return
    case, k = f"{each.adapter} on {score.chip}", each.load.classes
    if label is None:
        for title in (MAPS, CELLS, LOGITS, LAND):
            out.hold(title, case, "the arrays hold no label")
        return
    for one in score.beside.baselines:
        if one.confusion is not None:
            made = arrays.beside.get(f"{one.id}:{each.scheme}")
            out.hold(MAPS, f"{case}, {one.id}", _told(one.confusion, made, lambda a: _counts(label, a, k)))
    _ceiling(out, case, score.beside, label, arrays.beside.get(f"fitted:{each.scheme}"), k)
    if score.beside.land.scheme is not None:
        land, classes = arrays.beside.get("land"), arrays.classes[each.adapter]
        out.hold(LAND, case, _by_land(score.beside, label, classes.astype(np.int64), land, k))


def _counts(label: NDArray[np.int64], made: NDArray[Any], k: int) -> Counts:
    return [list(row) for row in ConfusionMatrix.from_maps(label, made.astype(np.int64), k).counts]


def _told(told: Counts | None, made: NDArray[Any] | None, count: Callable[[NDArray[Any]], Counts]) -> str | None:
    """What is wrong with counts on record; None where a recount gives the same."""
    if made is None:
        return "the arrays hold no such map"
    try:
        again = count(made)
    except (ValueError, IndexError) as err:
        return str(err)
    return None if again == told else f"{told} on record, {again} counted"


def _ceiling(
    out: Ledger, case: str, beside: Beside, label: NDArray[np.int64], logits: NDArray[Any] | None, k: int
) -> None:
    ceiling = beside.ceiling
    stride = ceiling.stride_px
    if stride is None:
        return
    if ceiling.area_mean is not None:

        def means(_: NDArray[Any]) -> Counts:
            return [list(row) for row in area_mean(label, k, stride).counts]

        wrong = _told(ceiling.area_mean, label, means)
        if wrong is None and ceiling.shares:
            points = [(p.threshold, p.matrix) for p in share_points(label, stride)]
            again = [(t, m.tp, m.fp, m.fn, m.tn) for t, m in points]
            told = [(r.threshold, r.tp, r.fp, r.fn, r.tn) for r in ceiling.shares]
            wrong = None if again == told else "shares of cells differ"
        out.hold(CELLS, case, wrong)
    if ceiling.fitted is not None:

        def of_logits(held: NDArray[Any]) -> Counts:
            if held.ndim != 3 or len(held) != k:
                raise ValueError(f"logits of shape {held.shape}; {k} classes on a grid are needed")
            return _counts(label, interpolated(held.astype(np.float32), stride).argmax(0), k)

        out.hold(LOGITS, case, _told(ceiling.fitted, logits, of_logits))


def _by_land(
    beside: Beside, label: NDArray[np.int64], classes: NDArray[np.int64], land: NDArray[Any] | None, k: int
) -> str | None:
    told = beside.land
    if land is None:
        return "the arrays hold no land map"
    if land.shape != label.shape:
        return f"the land map covers {land.shape} px, the label {label.shape}"
    sizes = [int(np.count_nonzero(x)) for x in (land != UNKNOWN, land == BUILT, land == WATER)]
    if sizes != [told.known_px, told.built_px, told.water_px]:
        return f"{told.known_px:,} px known, {told.built_px:,} built-up, {told.water_px:,} water; counted {sizes}"
    try:
        again = strata(label, classes, land, k)
        within = inside(label, classes, land == BUILT, k)
    except ValueError as err:
        return str(err)
    rows = [(s.land, s.above, s.to, s.cells, s.confusion) for s in told.strata]
    if rows != [(s.land, s.above, s.to, s.cells, [list(r) for r in s.matrix.counts]) for s in again]:
        return "strata differ"
    return None if told.inside_built == [list(r) for r in within.counts] else "counts inside built-up land differ"
