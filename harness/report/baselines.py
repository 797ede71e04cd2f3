"""Trivial maps, ceilings and kinds of land beside a run's scores, and what follows for a reader."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import get_args

from harness.records import ChipScore
from harness.records.baselines import BaselineCount, BaselineId, Counts, StratumCount
from harness.report.run_tables import Page, Table, escaped
from harness.report.words import num
from harness.score import metrics
from harness.score.baselines import by_chance, constant, majority_class
from harness.score.binary import BinaryMatrix
from harness.score.confusion import ConfusionMatrix
from harness.score.reliance import Evidence, Finding, Kind, findings
from harness.score.scenes import sampled, scene_names

SHAPES: dict[str, str] = {
    "built-up mask": "built-up mask of the land-cover map",
    "index rules": "NDVI and NDWI rules",
    "nearest centroid": "nearest class means, other scenes",
    "generated land cover": "generated land cover",
}
"""Names of trivial maps in tables."""

FEW_CHIPS = 4
"""More chips than these are counted and not named."""

LAND = {"built-up": "built-up land", "water": "water"}
"""Kinds of land in words."""


def matrix_of(counts: Counts) -> ConfusionMatrix:
    """Counts of a record as a matrix."""
    return ConfusionMatrix(tuple(map(tuple, counts)))


def summed(found: Iterable[ConfusionMatrix]) -> ConfusionMatrix | None:
    """Matrices of several chips added up; None for none."""
    out: ConfusionMatrix | None = None
    for one in found:
        out = one if out is None else out + one
    return out


def by_scene(pairs: Iterable[tuple[ChipScore, Counts]], scenes: Mapping[str, str]) -> dict[str, ConfusionMatrix]:
    """Matrices pooled by scene, of the chips that `scenes` names."""
    out: dict[str, ConfusionMatrix] = {}
    for chip, counts in pairs:
        if chip.chip in scenes:
            name, one = scenes[chip.chip], matrix_of(counts)
            out[name] = out[name] + one if name in out else one
    return out


@dataclass(frozen=True)
class BesidePage:
    """What stands beside one adapter's scores."""

    page: Page
    """The adapter's part of the report."""
    random: bool
    """Whether any weight of the run was random."""

    @property
    def chips(self) -> list[ChipScore]:
        """Scored chips."""
        return self.page.scored

    @property
    def two(self) -> bool:
        """Two classes, of which class 0 is the rest."""
        return self.page.run.load.classes == 2

    @cached_property
    def scenes(self) -> dict[str, str]:
        """The scene of every chip by its id."""
        return scene_names(self.page.run.chips)

    @cached_property
    def recorded(self) -> bool:
        """Whether any chip's record holds trivial maps."""
        return any(c.beside for c in self.chips)

    @cached_property
    def maps(self) -> dict[BaselineId, list[tuple[ChipScore, BaselineCount]]]:
        """Trivial maps that need pixels, measured or not, by name."""
        out: dict[BaselineId, list[tuple[ChipScore, BaselineCount]]] = {}
        for name in get_args(BaselineId):
            found = [(c, b) for c in self.chips if c.beside for b in c.beside.baselines if b.id == name]
            if found:
                out[name] = found
        return out

    def table(self) -> Table:
        """The score, trivial maps and ceilings, one a row."""
        names = [escaped(n) for n in self.page.key.names]
        head = ["map", "chips", "mIoU, macro (classes entered)", "accuracy", *(f"IoU {n}" for n in names)]
        head += [f"{word} {names[1]}" for word in ("precision", "recall", "FPR")] if self.two else []
        rows = [self._row(what, n, m) for what, n, m in self._matrices()]
        return Table(head, "l" + "r" * (len(head) - 1), list(rows))

    def _matrices(self) -> list[tuple[str, str, ConfusionMatrix | str]]:
        whole = self.page.matrix
        if whole is None:
            return []
        n = str(len(self.chips))
        out: list[tuple[str, str, ConfusionMatrix | str]] = [("**this run**", n, whole)]
        best = majority_class(whole)
        for i, name in enumerate(self.page.key.names):
            also = " (the majority)" if i == best else ""
            out.append((f"all {escaped(name)}{also}", n, constant(whole, i)))
        out.append(("by chance, at the labels' shares", n, by_chance(whole)))
        for name, pairs in self.maps.items():
            there = [b for _, b in pairs if b.confusion is not None]
            own = " (made from the label's own file)" if any(b.same_source for b in there) else ""
            made = summed(matrix_of(b.confusion) for b in there if b.confusion is not None)
            own += "".join(f" ({what})" for what in dict.fromkeys(b.instead for b in there if b.instead))
            out.append((SHAPES[name] + own, str(len(there)), made or "not measured"))
        if not self.recorded:
            out += [(SHAPES[name], "0", "not recorded") for name in get_args(BaselineId)]
        return out + self._ceilings()

    def _ceilings(self) -> list[tuple[str, str, ConfusionMatrix | str]]:
        held = [c.beside.ceiling for c in self.chips if c.beside]
        size = ", ".join(sorted({f"{c.cell_m:g} m" for c in held if c.cell_m is not None})) or "the logits' size"
        lacking = "not measured" if self.recorded else "not recorded"
        means = [c.area_mean for c in held if c.area_mean is not None]
        fitted = [c.fitted for c in held if c.fitted is not None]
        out: list[tuple[str, str, ConfusionMatrix | str]] = []
        area = summed(map(matrix_of, means)) or lacking
        out.append((f"ceiling: area means of {size}, most frequent label", str(len(means)), area))
        if self.two:
            best = self.best_share()
            if best is None:
                out.append((f"ceiling: area means of {size}, best share", "0", lacking))
            else:
                at, m = best
                cells = ((int(m.tn), int(m.fp)), (int(m.fn), int(m.tp)))
                n = sum(bool(c.shares) for c in held)
                out.append((f"ceiling: area means of {size}, marked from {at:g} on", str(n), ConfusionMatrix(cells)))
        best_found = summed(map(matrix_of, fitted)) or lacking
        out.append((f"ceiling: best logits found every {size}", str(len(fitted)), best_found))
        return out

    def best_share(self) -> tuple[float, BinaryMatrix] | None:
        """The share of class 1 from which marking whole cells gives the highest IoU on all chips together."""
        rows = [c.beside.ceiling.shares for c in self.chips if c.beside and c.beside.ceiling.shares]
        if not rows or len({tuple(r.threshold for r in row) for row in rows}) > 1:
            return None
        points = []
        for column in zip(*rows, strict=True):
            counts = [sum(getattr(r, name) for r in column) for name in ("tp", "fp", "fn", "tn")]
            points.append((column[0].threshold, BinaryMatrix(*counts)))
        return max(points, key=lambda point: (point[1].iou1 or 0.0, point[0]))

    def _row(self, what: str, n: str, found: ConfusionMatrix | str) -> Sequence[str]:
        k = len(self.page.key.names)
        if isinstance(found, str):
            return [what, n, *[found] * (2 + k + (3 if self.two else 0))]
        mean = metrics.miou(found)
        entered = "undefined" if mean.value is None else f"{num(mean.value)} ({mean.classes} of {k})"
        cells = [what, n, entered, num(metrics.accuracy(found).value)]
        cells += [num(metrics.iou(found, i).value) for i in range(k)]
        if self.two:
            b = found.binary(1)
            cells += [num(b.precision), num(b.tpr), num(b.fpr)]
        return cells

    def remarks(self) -> list[str]:
        """Why something is missing, of how many chips it is, and what it was made of."""
        out = []
        for name, pairs in self.maps.items():
            for why, who in grouped((c.chip, b.reason) for c, b in pairs if b.reason):
                out.append(f"*{SHAPES[name]}* not measured ({who}): {escaped(why)}.")
            there = [(c, b) for c, b in pairs if b.confusion is not None]
            for how, who in grouped((c.chip, b.how) for c, b in there):
                out.append(f"*{SHAPES[name]}* ({who}): {escaped(how)}.")
            if classless := sum(b.classless_px for _, b in there):
                counted = sum(sum(map(sum, b.confusion or [])) for _, b in there)
                out.append(
                    f"*{SHAPES[name]}*: on {classless:,} of {counted:,} px the most probable output has no class here."
                )
            if any(b.same_source for _, b in there):
                out.append(
                    f"*{SHAPES[name]}* and label come from one file: it is the label by another road, no baseline, and "
                    "enters no sentence above."
                )
            if 0 < len(there) < len(self.chips):
                ours = summed(matrix_of(c.confusion or []) for c, _ in there)
                if ours is not None:
                    said = f"mIoU {num(metrics.miou(ours).value)}, accuracy {num(metrics.accuracy(ours).value)}"
                    out.append(
                        f"*{SHAPES[name]}* is of {len(there)} of {len(self.chips)} chips; this run on those: {said}."
                    )
        reasons = [(c.chip, c.beside.ceiling.reason) for c in self.chips if c.beside and c.beside.ceiling.reason]
        out += [f"*Ceilings* ({who}): {escaped(why)}." for why, who in grouped(reasons)]
        steps = {c.beside.ceiling.steps for c in self.chips if c.beside and c.beside.ceiling.fitted}
        if steps:
            words = " or ".join(str(n) for n in sorted(steps))
            out.append(
                f"*Best logits found*: {words} gradient steps a chip towards its own label, then interpolated as the "
                "decoder's are; the true ceiling is there or above."
            )
        return out

    def findings(self) -> list[Finding]:
        """Sentences about this adapter; none for random weights or without score."""
        if self.random or not self.chips:
            return []
        chips = sampled(self.chips)
        scenes = {c.chip: self.scenes[c.chip] for c in chips}
        ours = by_scene(((c, c.confusion) for c in chips if c.confusion is not None), scenes)
        trivial: dict[str, Mapping[str, ConfusionMatrix]] = {}
        for name, pairs in self.maps.items():
            others = [(c, b) for c, b in pairs if not b.same_source]
            usable = [(c, b.confusion) for c, b in others if b.confusion is not None]
            made = {c.chip for c, _ in usable}
            whole = {s for s in ours if all(chip in made for chip, of in scenes.items() if of == s)}
            if others:
                trivial[SHAPES[name]] = {s: m for s, m in by_scene(usable, scenes).items() if s in whole}
        land = [(c, c.beside.land) for c in self.chips if c.beside]
        inside = ((c, x.inside_built) for c, x in land if x.inside_built is not None and not x.same_source)
        built = by_scene(inside, scenes)
        strata = {
            f"{LAND[kind]} covers {share}": by_scene(
                ((c, s.confusion) for c, s in rows if s.cells and c.beside and not c.beside.land.same_source), scenes
            )
            for (kind, share), rows in self.strata().items()
        }
        strata = {name: held for name, held in strata.items() if held}
        return findings(Evidence([plain(n) for n in self.page.key.names], ours, trivial, built, strata))

    def strata(self) -> dict[tuple[str, str], list[tuple[ChipScore, StratumCount]]]:
        """Strata of all chips by kind of land and share in words."""
        out: dict[tuple[str, str], list[tuple[ChipScore, StratumCount]]] = {}
        for chip in self.chips:
            for s in chip.beside.land.strata if chip.beside else []:
                share = "none of a cell" if s.above is None else f"{100 * s.above:g} to {100 * s.to:g} % of a cell"
                out.setdefault((s.land, share), []).append((chip, s))
        return out


def plain(name: str) -> str:
    """A class's name without its index."""
    index, _, rest = name.partition(" ")
    return rest if index.isdigit() and rest else name


def grouped(pairs: Iterable[tuple[str, str | None]]) -> list[tuple[str, str]]:
    """Equal words once, with the chips they are about; pairs without words are left out."""
    found: dict[str, list[str]] = {}
    for chip, words in pairs:
        if words:
            found.setdefault(words, []).append(chip)
    return [(w, _chips(who)) for w, who in found.items()]


def _chips(names: Sequence[str]) -> str:
    return ", ".join(map(escaped, names)) if len(names) <= FEW_CHIPS else f"{len(names)} chips"


def told(pages: Sequence[BesidePage]) -> dict[str, list[tuple[str, str]]]:
    """Sentences of all adapters by where they stand: adapter and sentence, escaped."""
    out: dict[str, list[tuple[str, str]]] = {"rely on": [], "not for": [], "cannot be told": []}
    for each in pages:
        for kind, text in merged(each.findings()):
            out[kind].append((each.page.id, escaped(text)))
    return out


def merged(found: Sequence[Finding]) -> list[tuple[Kind, str]]:
    """Sentences of one map by kind, those that give the same reason in the same words as one line.

    A sentence is a subject (a class, or a class on a kind of land), a colon, what is said of it, and perhaps figures
    behind it: subjects of which the same is said are named together, and the figures of each follow.
    """
    groups: dict[tuple[Kind, str, str], list[tuple[str, str]]] = {}
    for one in found:
        subject, _, rest = one.text.partition(": ")
        said, full_stop, more = rest.partition(". ")
        groups.setdefault((one.kind, one.rule, said + full_stop.strip()), []).append((subject, more))
    out: list[tuple[Kind, str]] = []
    for (kind, _, said), about in groups.items():
        names = [subject for subject, _ in about]
        single = len(about) == 1
        behind = [more if single else f"{subject}: {more}" for subject, more in about if more]
        out.append((kind, " ".join([f"{_listed(names)}: {said}" if said else names[0], *behind])))
    return out


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
