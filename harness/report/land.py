"""A run's scores by kind of land: tables and remarks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.records import ChipScore
from harness.records.baselines import Counts
from harness.report.baselines import LAND, BesidePage, grouped, matrix_of, summed
from harness.report.run_tables import Table, escaped
from harness.report.words import num, pct
from harness.score import metrics
from harness.score.baselines import majority


@dataclass(frozen=True)
class LandPage:
    """One adapter's scores by kind of land."""

    beside: BesidePage
    """What stands beside its scores."""

    def table(self) -> Table | None:
        """The score by kind of land; None where no land cover is known."""
        rows = [
            self._row(f"{LAND[kind]}: {share}", [(c, s.confusion, s.cells) for c, s in found if s.cells])
            for (kind, share), found in self.beside.strata().items()
        ]
        if not rows:
            return None
        inside = [
            (c, c.beside.land.inside_built, None)
            for c in self.beside.chips
            if c.beside and c.beside.land.inside_built is not None and c.beside.land.built_px
        ]
        rows.append(self._row("**inside built-up land, by pixel**", inside))
        head = ["where", "cells", "chips", "scenes", "labelled px", "mIoU (entered)", "accuracy", "accuracy, one class"]
        if self.beside.two:
            name = escaped(self.beside.page.key.names[1])
            head += [f"share of {name}", "IoU", "precision", "recall", "FPR"]
        return Table(head, "l" + "r" * (len(head) - 1), rows)

    def _row(self, where: str, found: Sequence[tuple[ChipScore, Counts, int | None]]) -> Sequence[str]:
        whole = summed(matrix_of(counts) for _, counts, _ in found)
        cells = "" if any(n is None for _, _, n in found) else f"{sum(n or 0 for _, _, n in found):,}"
        row = [where, cells, str(len(found)), str(len({self.beside.scenes[c.chip] for c, _, _ in found}))]
        if whole is None or not whole.total:
            return [*row, "0", *["undefined"] * (8 if self.beside.two else 3)]
        mean = metrics.miou(whole)
        row += [f"{whole.total:,}", f"{num(mean.value)} ({mean.classes} of {whole.classes})"]
        row += [num(metrics.accuracy(whole).value), num(metrics.accuracy(majority(whole)).value)]
        if self.beside.two:
            b = whole.binary(1)
            row += [pct(b.prevalence, 1), num(b.iou1), num(b.precision), num(b.tpr), num(b.fpr)]
        return row

    def chips(self) -> Table:
        """Each chip's scene and kind of land."""
        rows: list[Sequence[str]] = []
        for chip in self.beside.chips:
            land = chip.beside.land if chip.beside else None
            known = land.known_px if land else 0
            shares = (
                [pct(px / known, 1) for px in (land.built_px, land.water_px)] if land and known else ["unknown"] * 2
            )
            rows.append([escaped(chip.chip), escaped(self.beside.scenes[chip.chip]), *shares])
        return Table(["chip", "scene", "built-up", "water"], "llrr", rows)

    def remarks(self) -> list[str]:
        """Where kinds of land come from, or why they are not known."""
        held = [(c, c.beside.land) for c in self.beside.chips if c.beside]
        out = [f"Not measured ({who}): {escaped(why)}." for why, who in grouped((c.chip, x.reason) for c, x in held)]
        for scheme, who in grouped((c.chip, x.scheme) for c, x in held):
            out.append(f"Built-up land and water are those of a land-cover map in scheme {escaped(scheme)} ({who}).")
        if any(x.same_source for _, x in held):
            out.append(
                "Land cover and label come from one file here, so these rows sort the label by itself: inside built-up "
                "land every label says so, and nothing about telling one kind of it from another can be read there."
            )
        return out
