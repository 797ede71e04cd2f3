"""What stands beside each chip's score: trivial maps, ceilings, and the score by kind of land.

Everything but nearest class means is made while a chip is there. Those need the labels of the other scenes,
so class sums are kept and each chip is read once more at the end; its pixels are never kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from harness.chips.chip import Chip, Label
from harness.chips.cover import cover_of, is_buildings, land_of, land_schemes, reflectance
from harness.chips.generated import bridge_to
from harness.chips.labels import IGNORE_INDEX
from harness.claims.schemes import Scheme
from harness.errors import HarnessError, UnitError
from harness.given import Given
from harness.records import ChipScore
from harness.records.baselines import (
    BaselineCount,
    BaselineId,
    Beside,
    CeilingCount,
    Counts,
    GeneratedBy,
    LandCount,
    ShareRow,
    StratumCount,
)
from harness.score import strata as land_strata
from harness.score.baselines import WRITTEN, ClassSums, by_indices, class_sums, nearest
from harness.score.ceiling import LARGEST_PX, STEPS, area_mean, fit, fits_grid, share_points
from harness.score.confusion import ConfusionMatrix
from harness.score.scenes import label_of, scene_names

Arrays = dict[str, NDArray[np.generic]]
Scores = Mapping[str, Sequence[tuple[ChipScore, str | None]]]
Generating = Callable[[Chip], tuple[NDArray[np.float32], GeneratedBy]]

NOT_ASKED = "add --generated"
"""Why no land cover was generated where nobody asked for it."""


@dataclass
class Besides:
    """Makes what stands beside scores, chip by chip."""

    given: Given
    """Chips and labels."""
    schemes: Mapping[str, Scheme]
    """By id."""
    stride_px: int | None
    """Pixels from logit to logit of the family's decoder; None where nobody counted it."""
    generate: Generating | str = NOT_ASKED
    """Logits of a chip's generated land cover, shape (10, H, W), and how they were made; or why there are none."""
    steps: int = STEPS
    """Gradient steps of a ceiling's search."""
    _scene: dict[str, str] = field(default_factory=dict)
    _classes: dict[tuple[str, str], int] = field(default_factory=dict)
    _sums: dict[tuple[str, str], ClassSums] = field(default_factory=dict)
    _done: dict[tuple[str, str], tuple[list[BaselineCount], CeilingCount]] = field(default_factory=dict)
    _why: dict[tuple[str, str], str] = field(default_factory=dict)
    _land: dict[str, tuple[NDArray[np.int64], Label] | str] = field(default_factory=dict)
    _pixels: dict[str, tuple[NDArray[np.float32], tuple[str, ...]]] = field(default_factory=dict)
    _made: dict[str, tuple[NDArray[np.float32], GeneratedBy] | str] = field(default_factory=dict)

    def first(self, chip: Chip, label: Label, score: ChipScore, classes: int, arrays: Arrays, task: str) -> Beside:
        """What can be made of one chip alone.

        Args:
            chip: Raw pixels.
            label: The adapter's label on it.
            score: As scored, for its name.
            classes: K.
            arrays: The chip's arrays, with `classes:TASK`; the maps made are put beside them.
            task: Adapter id.
        """
        key = (score.chip, label.scheme)
        if score.chip not in self._land:
            self._land = {score.chip: self._land_cover(chip)}  # one chip at a time
        if key not in self._done:
            self._classes[key] = classes
            self._keep_sums(chip, label, classes, key)
            self._done[key] = self._baselines(chip, label, classes, arrays), self._ceiling(chip, label, classes, arrays)
        baselines, ceiling = self._done[key]
        prediction = np.asarray(arrays[f"classes:{task}"], np.int64)
        land = self._by_land(score.chip, label, prediction, classes, arrays)
        return Beside(scene=label_of(score.chip), rules=WRITTEN, baselines=list(baselines), ceiling=ceiling, land=land)

    def second(self, scores: Scores, arrays: Mapping[str, Arrays]) -> dict[str, list[tuple[ChipScore, str | None]]]:
        """The same scores with their scenes and nearest class means, each chip read once more.

        Which chips are one scene is known only now, when all have been seen.
        """
        self._scene = scene_names([score for pairs in scores.values() for score, _ in pairs])
        made: dict[tuple[str, str], BaselineCount] = {}
        for name in dict.fromkeys(name for name, _ in self._done):
            own = [scheme for chip, scheme in self._done if chip == name]
            chip = None if any((name, one) in self._why for one in own) else self.given.chip(name)
            for one in own:
                made[name, one] = self._centroid(chip, name, one, arrays[name])
        out: dict[str, list[tuple[ChipScore, str | None]]] = {}
        for task, pairs in scores.items():
            out[task] = []
            for score, scheme in pairs:
                if score.beside is not None and scheme is not None:
                    whole = [*score.beside.baselines, made[score.chip, scheme]]
                    beside = score.beside.model_copy(update={"baselines": whole, "scene": self._scene[score.chip]})
                    out[task].append((score.model_copy(update={"beside": beside}), scheme))
                else:
                    out[task].append((score, scheme))
        return out

    def _land_cover(self, chip: Chip) -> tuple[NDArray[np.int64], Label] | str:
        wanted = land_schemes(self.schemes)
        if not wanted:
            return "no scheme here has a class for built-up land and one for water"
        found = self.given.label_in(chip, wanted)
        return found if isinstance(found, str) else (land_of(found, self.schemes[found.scheme]), found)

    def _reflectance(self, chip: Chip) -> tuple[NDArray[np.float32], tuple[str, ...]]:
        """As `cover.reflectance`, made once for all that asks for it of one chip in a row."""
        if chip.id not in self._pixels:
            self._pixels = {}
            self._pixels = {chip.id: reflectance(chip)}
        return self._pixels[chip.id]

    def _keep_sums(self, chip: Chip, label: Label, classes: int, key: tuple[str, str]) -> None:
        try:
            pixels, _ = self._reflectance(chip)
        except UnitError as err:
            self._why[key] = str(err)
            return
        self._sums[key] = class_sums(pixels, label.data, classes)

    def _baselines(self, chip: Chip, label: Label, classes: int, arrays: Arrays) -> list[BaselineCount]:
        scheme = self.schemes[label.scheme]
        made = [self._mask(chip, label, arrays)] if is_buildings(scheme) else []
        cover = cover_of(scheme)

        def rules() -> tuple[NDArray[np.int64], str]:
            if isinstance(cover, str):
                raise UnitError(cover)
            pixels, bands = self._reflectance(chip)
            if lacking := [b for b in ("B03", "B04", "B08") if b not in bands]:
                raise UnitError(f"chip {chip.id} has no {', '.join(lacking)}")
            green, red, near = (pixels[bands.index(b)] for b in ("B03", "B04", "B08"))
            return by_indices(green, red, near, cover), "NDWI and NDVI of the first date, in reflectance"

        made.append(_counted("index rules", rules, label.data, label.scheme, classes, arrays))
        return [*made, self._generated(chip, label, classes, arrays)]

    def _generated(self, chip: Chip, label: Label, classes: int, arrays: Arrays) -> BaselineCount:
        if chip.id not in self._made:
            self._made = {chip.id: self._generate(chip)}  # one chip at a time, for all adapters
        made, bridge = self._made[chip.id], bridge_to(self.schemes[label.scheme])
        if isinstance(made, str) or isinstance(bridge, str):
            return BaselineCount(id="generated land cover", reason=made if isinstance(made, str) else str(bridge))
        logits, by = made

        def named() -> tuple[NDArray[np.int64], str]:
            return bridge.classes(logits), f"{by.words}; classes read by inference, {bridge.said}"

        counted = _counted("generated land cover", named, label.data, label.scheme, classes, arrays)
        classless = int(np.count_nonzero(bridge.classless(logits) & (label.data != label.ignore_index)))
        return counted.model_copy(update={"generated": by, "classless_px": classless, "instead": bridge.instead})

    def _generate(self, chip: Chip) -> tuple[NDArray[np.float32], GeneratedBy] | str:
        if isinstance(self.generate, str):
            return self.generate
        try:
            return self.generate(chip)
        except HarnessError as err:
            return str(err)

    def _mask(self, chip: Chip, label: Label, arrays: Arrays) -> BaselineCount:
        land = self._land[chip.id]
        if isinstance(land, str):
            return BaselineCount(id="built-up mask", reason=f"no land-cover map: {land}")
        known, source = land

        def mask() -> tuple[NDArray[np.int64], str]:
            out = (known == land_strata.BUILT).astype(np.int64)
            out[known == land_strata.UNKNOWN] = IGNORE_INDEX
            return out, f"built-up land of {source.scheme} as building"

        made = _counted("built-up mask", mask, label.data, label.scheme, 2, arrays)
        return made.model_copy(update={"same_source": source.source == label.source})

    def _ceiling(self, chip: Chip, label: Label, classes: int, arrays: Arrays) -> CeilingCount:
        stride, (rows, columns) = self.stride_px, label.data.shape
        if stride is None:
            return CeilingCount(reason="nobody counted how many pixels a logit of this family covers")
        base = CeilingCount(stride_px=stride, cell_m=stride * chip.grid.gsd_m)
        why = fits_grid((rows, columns), stride)
        if why is None and not (label.data != label.ignore_index).any():
            why = "no pixel is labelled"
        if why is not None:
            return base.model_copy(update={"reason": why})
        points = share_points(label.data, stride) if classes == 2 else ()
        found: dict[str, object] = {
            "area_mean": _rows(area_mean(label.data, classes, stride)),
            "shares": [_share(p.threshold, p.matrix.tp, p.matrix.fp, p.matrix.fn, p.matrix.tn) for p in points],
        }
        if max(rows, columns) > LARGEST_PX:
            found["reason"] = f"{rows} x {columns} px run in tiles; logits are sought up to {LARGEST_PX} px"
        else:
            best = fit(label.data, classes, stride, self.steps)
            arrays[f"beside:fitted:{label.scheme}"] = best.logits
            found |= {"fitted": _rows(best.matrix), "steps": self.steps}
        return base.model_copy(update=found)

    def _by_land(
        self, chip: str, label: Label, prediction: NDArray[np.int64], classes: int, arrays: Arrays
    ) -> LandCount:
        land = self._land[chip]
        if isinstance(land, str):
            return LandCount(reason=f"no land-cover map tells built-up land and water: {land}")
        known, source = land
        arrays["beside:land"] = known.astype(np.int8)
        cells = land_strata.strata(label.data, prediction, known, classes)
        built = known == land_strata.BUILT
        return LandCount(
            scheme=source.scheme,
            same_source=source.source == label.source,
            cell_px=land_strata.CELL_PX,
            known_px=int(np.count_nonzero(known != land_strata.UNKNOWN)),
            built_px=int(np.count_nonzero(built)),
            water_px=int(np.count_nonzero(known == land_strata.WATER)),
            strata=[
                StratumCount(land=s.land, above=s.above, to=s.to, cells=s.cells, confusion=_rows(s.matrix))
                for s in cells
            ],
            inside_built=_rows(land_strata.inside(label.data, prediction, built, classes)),
        )

    def _centroid(self, chip: Chip | HarnessError | None, name: str, scheme: str, arrays: Arrays) -> BaselineCount:
        scene = self._scene[name]
        others = {c: sums for (c, s), sums in self._sums.items() if s == scheme and self._scene[c] != scene}
        label = np.asarray(arrays[f"label:{scheme}"], np.int64)
        classes = self._classes[name, scheme]

        def means() -> tuple[NDArray[np.int64], str]:
            if isinstance(chip, HarnessError):
                raise chip
            if chip is None:
                raise UnitError(self._why[name, scheme])
            pixels, _ = self._reflectance(chip)
            fitted = {c: s for c, s in others.items() if s.sums.shape[1] == len(pixels) and s.pixels.any()}
            if not fitted:
                raise UnitError(f"no labelled scene besides {scene} to take class means from")
            total = sum(list(fitted.values())[1:], next(iter(fitted.values())))
            scenes = len({self._scene[c] for c in fitted})
            lacking = [str(k) for k in np.flatnonzero(total.pixels == 0)]
            chips = f"{len(fitted)} chip{'' if len(fitted) == 1 else 's'}"
            how = f"class means of {len(pixels)} bands from {scenes} other scene{'' if scenes == 1 else 's'}, {chips}"
            return nearest(pixels, total.centroids), how + (f"; none of class {', '.join(lacking)}" if lacking else "")

        return _counted("nearest centroid", means, label, scheme, classes, arrays)


def _counted(
    id: BaselineId,
    make: Callable[[], tuple[NDArray[np.int64], str]],
    label: NDArray[np.int64],
    scheme: str,
    classes: int,
    arrays: Arrays,
) -> BaselineCount:
    """A map against a label, kept among the arrays; the reason where it cannot be made on every labelled pixel."""
    try:
        made, how = make()
    except HarnessError as err:
        return BaselineCount(id=id, reason=str(err))
    lacking = int(np.count_nonzero((made < 0) & (label >= 0)))
    if lacking:
        return BaselineCount(
            id=id, reason=f"{lacking:,} labelled px have no value to make it from, so it would count other pixels"
        )
    made = np.maximum(made, 0)  # what is left has no label and is not counted
    arrays[f"beside:{id}:{scheme}"] = made.astype(np.uint8)
    return BaselineCount(id=id, how=how, confusion=_rows(ConfusionMatrix.from_maps(label, made, classes)))


def _rows(matrix: ConfusionMatrix) -> Counts:
    return [list(row) for row in matrix.counts]


def _share(threshold: float, tp: float, fp: float, fn: float, tn: float) -> ShareRow:
    return ShareRow(threshold=threshold, tp=int(tp), fp=int(fp), fn=int(fn), tn=int(tn))
