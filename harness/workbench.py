"""Chips and loaded models, on which settings are tried: what a card's figures would be, were they made otherwise."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from harness.chips.chip import Chip, Grid, Layer
from harness.chips.labels import IGNORE_INDEX
from harness.chips.rasterise import SCHEME as FOOTPRINTS
from harness.chips.recipe import Recipe, Statistics
from harness.chips.tensors import Inputs, Pixels, denormalised, normalised, to_inputs
from harness.chips.units import harmonised
from harness.chips.worldcover import NODATA, to_scheme, wants_buildings
from harness.claims.schemes import Scheme
from harness.errors import ChipError, HarnessError, RegistryError
from harness.given import Given
from harness.names import known
from harness.score.binary import BinaryMatrix
from harness.score.confusion import ConfusionMatrix
from harness.score.metrics import METRIC_FUNCTIONS, OfClass
from harness.score.sweep import THRESHOLDS, sweep

RELABEL: Final = 0.02
"""What counting predictions against other labels costs beside sending the chips through the models: 30 ms
beside 2 s for six chips of 256 px and two narrow models."""

COARSE: Final = {"20m": (2, ("B05", "B06", "B07", "B8A", "B11", "B12")), "60m": (6, ("B01", "B09"))}
"""By band group of a recipe: pixels of 10 m along a native one, and the bands."""


class Said(Protocol):
    """What a model says of a chip."""

    @property
    def probabilities(self) -> NDArray[np.float32]:
        """Shape (classes, H, W)."""


class Predictor(Protocol):
    """`harness.models.ensemble.Ensemble`, as far as it is needed here: tensors of any recipe go through it."""

    def predict(self, chip: Inputs, tasks: Sequence[str], /) -> Mapping[str, Said]:
        """One prediction an adapter."""


@dataclass(frozen=True)
class Place:
    """A chip, and what its labels are made of."""

    chip: Chip
    """Raw pixels."""
    codes: NDArray[np.uint8]
    """WorldCover codes, shape (H, W); 0 where there are none."""
    buildings: NDArray[np.int64]
    """Shape (H, W): 1 building, 0 not, -1 nobody can say."""
    labels: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    """By scheme: class maps as they were given, shape (H, W), in place of those made from codes."""


def place(given: Given, name: str) -> Place:
    """A chip of a run with its land-cover codes and its footprints.

    Args:
        given: Where it comes from.
        name: Chip id.

    Raises:
        ChipError: It cannot be read, or has no land-cover map or no footprints.
        SourceError: A service does not answer.
    """
    chip = given.chip(name)
    if isinstance(chip, HarnessError):
        raise chip
    layer = chip.layers.get("LULC")
    if layer is None:
        raise ChipError(f"{name}: no land-cover map; schemes of land cover are made from its codes")
    buildings = given.label_in(chip, [FOOTPRINTS])
    if isinstance(buildings, str):
        raise ChipError(f"{name}: {buildings}")
    return Place(chip, np.nan_to_num(layer.data[0, 0], nan=NODATA).astype(np.uint8), buildings.data.astype(np.int64))


@dataclass(frozen=True)
class Setting:
    """How figures were made: what a card states, or an alternative to it."""

    recipe: Recipe
    """From chip to tensor; its knobs count, its name does not."""
    scheme: str
    """Of the land-cover labels."""
    population: str
    """Which set of chips."""
    threshold: float = 0.5
    """Of two-class adapters; above it is positive."""
    date: int | None = 0
    """Which of a chip's dates is fed alone; None feeds all."""
    bands: tuple[int, ...] = tuple(range(12))
    """Which band stands at each position of Sentinel-2."""
    polarisations: tuple[int, int] = (0, 1)
    """Which polarisation stands at each position of Sentinel-1."""
    extra_dn: int = 0
    """DN added after the recipe's own policy; where negative, taken away and cut off at 0."""
    shift: tuple[int, int] = (0, 0)
    """Rows down and columns right by which labels are moved."""
    outputs: tuple[int, ...] = ()
    """Class n of the scheme is output outputs[n] of the land-cover model; empty for the same order."""
    names: tuple[int, ...] = ()
    """Figures of class n are those of class names[n]; empty where they stand under their own names."""

    @cached_property
    def feed(self) -> str:
        """Everything that predictions depend on, as text."""
        return "|".join([self.population, *(self.modality(m) for m in self.recipe.bands)])

    def modality(self, name: str) -> str:
        """Everything that one modality's tensor depends on beside the chip, as text."""
        recipe = self.recipe
        stats: Statistics = recipe.statistics[name]
        parts: list[object] = [name, recipe.chip_size_px, stats.mean, stats.std, recipe.missing.pixels[name]]
        if name == "DEM":
            parts.append(recipe.dem.policy)
        else:
            parts += [self.date, recipe.dates.policy]
        if name == "S1RTC":
            parts += [repr(recipe.s1), self.polarisations]
        if name == "S2L2A":
            coarse = [recipe.resampling[group] for group in COARSE]
            parts += [recipe.s2_offset.policy, self.extra_dn, self.bands, coarse]
        return repr(parts)


@dataclass
class Workbench:
    """Chips and a loaded model, on which settings are tried. One ensemble serves all recipes: it takes tensors."""

    predictor: Predictor
    """The models."""
    tasks: Mapping[str, Literal["land cover", "buildings"]]
    """By adapter: what its labels are."""
    populations: Mapping[str, Sequence[Place]]
    """Sets of chips by name."""
    schemes: Mapping[str, Scheme]
    """By id."""
    resampling: Mapping[str, str]
    """How the chips were read, by band group."""
    timesteps: int = 4
    """T that the models take."""
    said: dict[str, dict[str, tuple[NDArray[Any], ...]]] = field(default_factory=dict)
    """Predictions by what was fed, and by adapter: classes of each chip (H, W), or probability of class 1.
    Workbenches of the same chips and models may share it."""
    _arrays: dict[tuple[str, str], Pixels] = field(default_factory=dict)
    _labels: dict[tuple[object, ...], tuple[NDArray[np.int64], ...]] = field(default_factory=dict)
    _counts: dict[tuple[object, ...], tuple[ConfusionMatrix, ...]] = field(default_factory=dict)
    _values: dict[tuple[object, ...], float | None] = field(default_factory=dict)
    _pooled: dict[tuple[object, ...], ConfusionMatrix] = field(default_factory=dict)

    def cost(self, setting: Setting) -> float:
        """1 where the chips must go through the models, `RELABEL` where other labels are to be counted, else 0."""
        if setting.feed not in self.said:
            return 1.0
        return 0.0 if all(self._key(setting, task) in self._counts for task in self.tasks) else RELABEL

    def _key(self, setting: Setting, task: str) -> tuple[object, ...]:
        """What a matrix depends on, before orders and names."""
        what = setting.threshold if self.tasks[task] == "buildings" else setting.scheme
        return (setting.feed, task, setting.shift, what)

    def figures(self, setting: Setting, metrics: Iterable[str]) -> dict[str, float | None]:
        """Measure metrics under a setting, pixels of all chips pooled.

        Args:
            setting: How.
            metrics: Ids `ADAPTER.METRIC` or `ADAPTER.METRIC.CLASS`, with names of `METRIC_FUNCTIONS`.

        Raises:
            RegistryError: No such adapter, metric, scheme or population.
            HarnessError: The chips cannot be fed or labelled in this way.
        """
        out: dict[str, float | None] = {}
        keys = {task: (*self._key(setting, task), setting.outputs, setting.names) for task in self.tasks}
        for each in metrics:
            task, _, rest = each.partition(".")
            key = (*keys[known(task, self.tasks, "adapter")], rest)
            if key not in self._values:
                name, _, index = rest.partition(".")
                metric = METRIC_FUNCTIONS[known(name, METRIC_FUNCTIONS, "metric")]
                matrix = self.matrix(setting, task)
                of = metric.of(matrix, int(index)) if isinstance(metric, OfClass) else metric.of(matrix)
                self._values[key] = of.value
            out[each] = self._values[key]
        return out

    def matrix(self, setting: Setting, task: str) -> ConfusionMatrix:
        """Confusion of one adapter, all chips together; orders and names applied to the stored counts."""
        key = self._key(setting, task)
        if key not in self._pooled:
            each = self._counted(setting, task)
            self._pooled[key] = sum(each[1:], each[0])
        return self._named(setting, task, self._pooled[key])

    def matrices(self, setting: Setting, task: str) -> dict[str, ConfusionMatrix]:
        """Confusion of one adapter by chip.

        Raises:
            RegistryError: No such adapter, scheme or population.
            HarnessError: The chips cannot be fed or labelled in this way.
        """
        counted = self._counted(setting, known(task, self.tasks, "adapter"))
        names = [place.chip.id for place in self._places(setting)]
        return {name: self._named(setting, task, m) for name, m in zip(names, counted, strict=True)}

    def _named(self, setting: Setting, task: str, matrix: ConfusionMatrix) -> ConfusionMatrix:
        if self.tasks[task] == "buildings":
            return matrix
        if setting.outputs:
            matrix = ConfusionMatrix(tuple(tuple(row[j] for j in setting.outputs) for row in matrix.counts))
        return matrix.relabelled(setting.names) if setting.names else matrix

    def _counted(self, setting: Setting, task: str) -> tuple[ConfusionMatrix, ...]:
        key = self._key(setting, task)
        if key not in self._counts:
            said, labels = self._say(setting)[task], self._label(setting, task)
            pairs = list(zip(said, labels, strict=True))
            if self.tasks[task] == "buildings":
                grid = sorted({*THRESHOLDS, setting.threshold})
                swept = [sweep(p, label, grid, ignore_index=IGNORE_INDEX) for p, label in pairs]
                ignored = [int(np.count_nonzero(label == IGNORE_INDEX)) for label in labels]
                for points in zip(*swept, strict=True):
                    held = tuple(_two(p.matrix, n) for p, n in zip(points, ignored, strict=True))
                    self._counts[(*key[:3], points[0].threshold)] = held
            else:
                classes = len(self._scheme(setting).classes)
                self._counts[key] = tuple(
                    ConfusionMatrix.from_maps(label, p, classes, IGNORE_INDEX) for p, label in pairs
                )
        return self._counts[key]

    def feed(self, setting: Setting, task: str) -> tuple[NDArray[Any], ...]:
        """What one adapter says of each chip (H, W): classes, or probability of class 1."""
        return self._say(setting)[known(task, self.tasks, "adapter")]

    def _say(self, setting: Setting) -> dict[str, tuple[NDArray[Any], ...]]:
        feed = setting.feed
        if feed not in self.said:
            parts: dict[str, list[NDArray[Any]]] = {task: [] for task in self.tasks}
            for place in self._places(setting):
                for task, held in self.heard(setting, place.chip).items():
                    parts[task].append(held)
            self.said[feed] = {task: tuple(each) for task, each in parts.items()}
        return self.said[feed]

    def heard(self, setting: Setting, chip: Chip) -> dict[str, NDArray[Any]]:
        """What each adapter says of one chip (H, W): classes, or probability of class 1."""
        out: dict[str, NDArray[Any]] = {}
        for task, said in self.predictor.predict(self.inputs(setting, chip), tuple(self.tasks)).items():
            held = said.probabilities
            out[task] = held[1] if self.tasks[task] == "buildings" else held.argmax(axis=0).astype(np.uint8)
        return out

    def inputs(self, setting: Setting, chip: Chip) -> Inputs:
        """Tensors of one chip under a setting, each modality made once for all settings that share it."""
        arrays = {}
        for modality in setting.recipe.bands:
            key = (chip.id, setting.modality(modality))
            if key not in self._arrays:
                self._arrays[key] = self._array(setting, chip, modality)
            arrays[modality] = self._arrays[key]
        same = all(bool((a == a[:, :1]).all()) for a in arrays.values())
        return Inputs(chip.id, setting.recipe.id, arrays, same, {}, ())

    def _array(self, setting: Setting, chip: Chip, modality: str) -> Pixels:
        recipe = setting.recipe.model_copy(update={"bands": {modality: setting.recipe.bands[modality]}})
        fed = self._altered(setting, chip, modality)
        array = to_inputs(fed, recipe, self.timesteps, multiple_px=1).arrays[modality]
        if modality == "S2L2A" and setting.extra_dn:
            raw = denormalised(array.swapaxes(0, 1), recipe, modality)
            raw = raw + np.float32(setting.extra_dn) if setting.extra_dn > 0 else harmonised(raw)
            array = np.ascontiguousarray(normalised(raw, recipe, modality).swapaxes(0, 1))
        return array

    def _altered(self, setting: Setting, chip: Chip, modality: str) -> Chip:
        """The chip with one modality's bands, dates, size and resampling as the setting has them."""
        side = setting.recipe.chip_size_px
        height, width = min(side, chip.grid.height_px), min(side, chip.grid.width_px)
        grid = Grid(chip.grid.epsg, chip.grid.transform, height, width)
        layer = chip.layers.get(modality)
        if layer is None:
            return replace(chip, grid=grid, layers={}, label=None)
        data, dates = layer.data, layer.dates
        if setting.date is not None and len(data) > 1:
            data, dates = data[[setting.date]], (dates[setting.date],)
        if modality == "S2L2A":
            data = self._resampled(setting, layer, data)[:, list(setting.bands)]
        if modality == "S1RTC":
            data = data[:, list(setting.polarisations)]
        cut = replace(layer, data=np.ascontiguousarray(data[..., :height, :width]), dates=dates)
        return replace(chip, grid=grid, layers={modality: cut}, label=None)

    def _resampled(self, setting: Setting, layer: Layer, data: Pixels) -> Pixels:
        for group, (factor, bands) in COARSE.items():
            want, have = setting.recipe.resampling[group], self.resampling[group]
            if want == "bilinear" and have == "nearest":
                data = data.copy()
                for c in (layer.bands.index(b) for b in bands):
                    data[:, c] = smoothed(smoothed(data[:, c], factor, 1), factor, 2)
        return data

    def _label(self, setting: Setting, task: str) -> tuple[NDArray[np.int64], ...]:
        two, scheme = self.tasks[task] == "buildings", self._scheme(setting)
        side = setting.recipe.chip_size_px
        key = (setting.population, side, setting.shift, None if two else scheme.id)
        if key not in self._labels:
            parts = []
            for place in self._places(setting):
                buildings = moved(place.buildings, setting.shift, IGNORE_INDEX)
                if two:
                    data = buildings
                elif scheme.id in place.labels:
                    data = moved(place.labels[scheme.id], setting.shift, IGNORE_INDEX)
                else:
                    codes = moved(place.codes, setting.shift, NODATA)
                    there = buildings if wants_buildings(scheme) else None
                    data = to_scheme(codes, scheme, Path(place.chip.id), there).data
                parts.append(np.ascontiguousarray(data[:side, :side]))
            self._labels[key] = tuple(parts)
        return self._labels[key]

    def _scheme(self, setting: Setting) -> Scheme:
        return self.schemes[known(setting.scheme, self.schemes, "scheme")]

    def _places(self, setting: Setting) -> Sequence[Place]:
        return self.populations[known(setting.population, self.populations, "set of chips")]


def _two(matrix: BinaryMatrix, ignored: int) -> ConfusionMatrix:
    return ConfusionMatrix(((int(matrix.tn), int(matrix.fp)), (int(matrix.fn), int(matrix.tp))), ignored)


def moved(array: NDArray[Any], shift: tuple[int, int], fill: int) -> NDArray[Any]:
    """A map (H, W) moved down and right by pixels; `fill` where nothing comes in."""
    rows, cols = shift
    out = np.full_like(array, fill)
    height, width = array.shape
    to = (slice(max(rows, 0), height + min(rows, 0)), slice(max(cols, 0), width + min(cols, 0)))
    of = (slice(max(-rows, 0), height + min(-rows, 0)), slice(max(-cols, 0), width + min(-cols, 0)))
    out[to] = array[of]
    return out


def smoothed(data: Pixels, factor: int, axis: int) -> Pixels:
    """Bilinear weights along one axis in place of the blocks that nearest neighbour left.

    Args:
        data: Shape (T, H, W): blocks of `factor` equal pixels, wherever they begin.
        factor: Pixels of a block.
        axis: 1 for rows, 2 for columns.

    Raises:
        RegistryError: The pixels are no such blocks: they were not read with nearest neighbour.
    """
    n = data.shape[axis]
    lines = np.moveaxis(data, axis, 0)
    at = np.flatnonzero([not np.array_equal(a, b, equal_nan=True) for a, b in pairwise(lines)])
    begins = {int(i + 1) % factor for i in at}
    if len(begins) > 1:
        raise RegistryError(
            f"pixels change inside blocks of {factor}: the chips were not read with nearest neighbour, and what "
            "bilinear would have given cannot be made from them; read them again"
        )
    first = begins.pop() if begins else 0
    starts = sorted({0, *range(first, n, factor)})
    centres = np.array([first - factor / 2 if s < first else s + factor / 2 for s in starts])
    if len(starts) < 2:
        return data
    where = np.arange(n) + 0.5
    left = np.clip(np.searchsorted(centres, where) - 1, 0, len(starts) - 2)
    share = np.clip((where - centres[left]) / (centres[left + 1] - centres[left]), 0, 1).astype(np.float32)
    share = share.reshape(-1, *[1] * (data.ndim - 1))
    known_at = lines[starts]
    mixed = known_at[left] * (1 - share) + known_at[left + 1] * share
    return np.ascontiguousarray(np.moveaxis(mixed, 0, axis)).astype(np.float32)
