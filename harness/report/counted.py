"""Reliability bins and boundary counts of a run: held against the arrays, or counted from them for older records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.records import AdapterRun, ChipScore
from harness.records.operating import Reliability
from harness.records.spatial import BoundaryCount
from harness.report.run_checks import UNLABELLED, Arrays, Ledger
from harness.score.boundary import TOLERANCES_PX, boundary_counts
from harness.score.calibration import BINS, reliability

RELIABILITY = "Reliability bins equal a recount of probabilities and label"
BOUNDARY = "Boundary pixels equal a recount of label and prediction"


@dataclass
class Counted:
    """What was counted now, because the record does not hold it."""

    now: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    """By adapter and chip: fields of a ChipScore."""

    def expect(self, out: Ledger) -> None:
        """List the checks, so that they show even where nothing comes to them."""
        out.expect(RELIABILITY)
        out.expect(BOUNDARY)

    def see(self, out: Ledger, each: AdapterRun, score: ChipScore, arrays: Arrays) -> None:
        """Hold one chip's counts against the arrays, or count them."""
        label = arrays.label(each.scheme)
        if not score.scored or label is None:
            return
        case, k = f"{each.adapter} on {score.chip}", each.load.classes
        tolerances = sorted({c.tolerance_px for c in score.boundary}) or list(TOLERANCES_PX)
        bins = len(score.reliability.px) if score.reliability else BINS
        held, probabilities = self.now.setdefault((each.adapter, score.chip), {}), arrays.probabilities[each.adapter]
        try:
            edges = boundary_counts(label, arrays.classes[each.adapter], k, UNLABELLED, tolerances)
            shares = reliability(probabilities[1], label, UNLABELLED, bins) if k == len(probabilities) == 2 else None
        except ValueError as err:  # the recount of the confusion matrix says the same
            for title, there in ((BOUNDARY, score.boundary), (RELIABILITY, score.reliability)):
                if there:
                    out.hold(title, case, str(err))
            return
        if score.boundary:
            out.hold(BOUNDARY, case, _edges_differ(score.boundary, edges))
        else:
            held["boundary"] = edges
        if score.reliability is not None:
            out.hold(RELIABILITY, case, _bins_differ(score.reliability, shares))
        elif shares is not None:
            held["reliability"] = shares

    def chips(self, each: AdapterRun) -> list[ChipScore]:
        """An adapter's chips with what was counted."""
        return [c.model_copy(update=self.now.get((each.adapter, c.chip), {})) for c in each.chips]

    def late(self, each: AdapterRun, what: str) -> bool:
        """Whether a field of some chip was counted now."""
        return any(what in self.now.get((each.adapter, c.chip), {}) for c in each.chips)


def _edges_differ(told: Sequence[BoundaryCount], counted: Sequence[BoundaryCount]) -> str | None:
    recount = {(c.class_index, c.tolerance_px): c for c in counted}
    for c in told:
        again = recount.pop((c.class_index, c.tolerance_px), None)
        if again is None:
            return f"class {c.class_index} within {c.tolerance_px} px stands twice, or is no class"
        for name in ("label_px", "label_near_px", "predicted_px", "predicted_near_px"):
            a, b = getattr(c, name), getattr(again, name)
            if a != b:
                return f"class {c.class_index} within {c.tolerance_px} px: {name} {a:,} on record, {b:,} counted"
    return f"{len(recount)} classes and tolerances are missing" if recount else None


def _bins_differ(told: Reliability, counted: Reliability | None) -> str | None:
    if counted is None:
        return "bins of an adapter that has not two classes"
    for name in ("px", "positive_px", "probability_nano"):
        for number, (a, b) in enumerate(zip(getattr(told, name), getattr(counted, name), strict=True), 1):
            if a != b:
                return f"bin {number}: {name} {a:,} on record, {b:,} counted"
    a, b = told.squared_error_nano, counted.squared_error_nano
    return None if a == b else f"squared_error_nano {a:,} on record, {b:,} counted"
