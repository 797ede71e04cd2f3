"""What may be otherwise than a card states, and what the figures would then be on the same chips."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise, permutations
from pathlib import Path
from typing import Any, Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from harness.chips.chip import Chip, Grid, Layer
from harness.chips.labels import IGNORE_INDEX
from harness.chips.recipe import Recipe, Statistics
from harness.chips.tensors import Inputs, Pixels, denormalised, normalised, to_inputs
from harness.chips.units import OFFSET, harmonised
from harness.chips.worldcover import NODATA, to_scheme, wants_buildings
from harness.claims.schemes import Scheme
from harness.errors import HarnessError, RegistryError
from harness.names import known
from harness.score.confusion import ConfusionMatrix
from harness.score.explain import LARGEST, Alternative, Claimed, Explanation, explain
from harness.score.metrics import METRIC_FUNCTIONS, OfClass
from harness.score.sweep import sweep

BUDGET: Final = 40.0
"""Sets of chips that may be sent through the models to explain one card."""

RELABEL: Final = 0.02
"""What counting predictions against other labels costs beside sending the chips through the models: 30 ms
beside 2 s for six chips of 256 px and two narrow models."""

THRESHOLDS: Final = tuple(round(0.05 * i, 2) for i in range(1, 20))
"""Tried for two-class adapters: those of a run's stored sweep."""

SHIFTS: Final = tuple((r * px, c * px) for px in (1, 2, 3, 4) for r, c in ((1, 0), (-1, 0), (0, 1), (0, -1)))
"""Rows down and columns right by which a label grid may lie off."""

BAND_ORDERS: Final[dict[str, tuple[int, ...]]] = {
    "reversed": tuple(range(11, -1, -1)),
    "B02 and B04 swapped": (0, 3, 2, 1, *range(4, 12)),
    "neighbours swapped": (1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10),
}
"""Orders in which the twelve bands of Sentinel-2 may have been read: position n holds band order[n]."""

SCALES: Final = (0.5, 2.0)
"""Factors on every standard deviation."""

SIZES_PX: Final = (224, 256)
"""Sides of chips."""

COARSE: Final = {"20m": (2, ("B05", "B06", "B07", "B8A", "B11", "B12")), "60m": (6, ("B01", "B09"))}
"""By band group of a recipe: pixels of 10 m along a native one, and the bands."""

ALL_ORDERS_UP_TO: Final = 5
"""Classes up to which every order is tried (119 others of 5); beyond, only two classes swapped."""


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


Knob = tuple[Alternative, Callable[[Setting], Setting]]


@dataclass
class Bench:
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
    said: dict[str, dict[str, NDArray[Any]]] = field(default_factory=dict)
    """Predictions by what was fed, and by adapter: classes of all chips, or probability of class 1. Benches
    of the same chips and models may share it."""
    _arrays: dict[tuple[str, str], Pixels] = field(default_factory=dict)
    _labels: dict[tuple[object, ...], NDArray[np.int64]] = field(default_factory=dict)
    _matrices: dict[tuple[object, ...], ConfusionMatrix] = field(default_factory=dict)

    def cost(self, setting: Setting) -> float:
        """1 where the chips must go through the models, `RELABEL` where other labels are to be counted, else 0."""
        if setting.feed not in self.said:
            return 1.0
        return 0.0 if all(self._key(setting, task) in self._matrices for task in self.tasks) else RELABEL

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
        matrices: dict[str, ConfusionMatrix] = {}
        for each in metrics:
            task, _, rest = each.partition(".")
            name, _, index = rest.partition(".")
            metric = METRIC_FUNCTIONS[known(name, METRIC_FUNCTIONS, "metric")]
            if task not in matrices:
                matrices[task] = self.matrix(setting, known(task, self.tasks, "adapter"))
            matrix = matrices[task]
            of = metric.of(matrix, int(index)) if isinstance(metric, OfClass) else metric.of(matrix)
            out[each] = of.value
        return out

    def matrix(self, setting: Setting, task: str) -> ConfusionMatrix:
        """Confusion of one adapter, all chips together; orders and names applied to the stored counts."""
        two = self.tasks[task] == "buildings"
        key = self._key(setting, task)
        if key not in self._matrices:
            said, label = self._say(setting)[task], self._label(setting, task)
            if two:
                grid = sorted({*THRESHOLDS, setting.threshold})
                for point in sweep(said, label, grid, ignore_index=IGNORE_INDEX):
                    m = point.matrix
                    counts = ((int(m.tn), int(m.fp)), (int(m.fn), int(m.tp)))
                    self._matrices[(*key[:3], point.threshold)] = ConfusionMatrix(counts)
            else:
                classes = len(self._scheme(setting).classes)
                self._matrices[key] = ConfusionMatrix.from_maps(label, said, classes, IGNORE_INDEX)
        matrix = self._matrices[key]
        if two:
            return matrix
        if setting.outputs:
            matrix = ConfusionMatrix(tuple(tuple(row[j] for j in setting.outputs) for row in matrix.counts))
        return matrix.relabelled(setting.names) if setting.names else matrix

    def _say(self, setting: Setting) -> dict[str, NDArray[Any]]:
        feed = setting.feed
        if feed not in self.said:
            parts: dict[str, list[NDArray[Any]]] = {task: [] for task in self.tasks}
            for place in self._places(setting):
                inputs = self.inputs(setting, place.chip)
                for task, said in self.predictor.predict(inputs, tuple(self.tasks)).items():
                    held = said.probabilities
                    two = self.tasks[task] == "buildings"
                    parts[task].append((held[1] if two else held.argmax(axis=0).astype(np.uint8)).ravel())
            self.said[feed] = {task: np.concatenate(each) for task, each in parts.items()}
        return self.said[feed]

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

    def _label(self, setting: Setting, task: str) -> NDArray[np.int64]:
        two, scheme = self.tasks[task] == "buildings", self._scheme(setting)
        side = setting.recipe.chip_size_px
        key = (setting.population, side, setting.shift, None if two else scheme.id)
        if key not in self._labels:
            parts = []
            for place in self._places(setting):
                buildings = moved(place.buildings, setting.shift, IGNORE_INDEX)
                if two:
                    data = buildings
                else:
                    codes = moved(place.codes, setting.shift, NODATA)
                    there = buildings if wants_buildings(scheme) else None
                    data = to_scheme(codes, scheme, Path(place.chip.id), there).data
                parts.append(data[:side, :side].ravel())
            self._labels[key] = np.concatenate(parts)
        return self._labels[key]

    def _scheme(self, setting: Setting) -> Scheme:
        return self.schemes[known(setting.scheme, self.schemes, "scheme")]

    def _places(self, setting: Setting) -> Sequence[Place]:
        return self.populations[known(setting.population, self.populations, "set of chips")]


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


def knobs(stated: Setting, bench: Bench, recipes: Iterable[Recipe]) -> list[Knob]:
    """Everything that may be otherwise than stated, as far as the chips and sets given allow it.

    Args:
        stated: What the card states.
        bench: Chips, schemes and models.
        recipes: Other recipes, whose statistics are tried.
    """
    places = [p for each in bench.populations.values() for p in each]
    found = [
        *_feeding(stated, places),
        *_statistics(stated, recipes),
        *_layers(stated, places),
        *_labels(stated, bench),
    ]
    for name in bench.populations:
        if name != stated.population:
            found.append(_knob("population", name, f"measured on {name}, not on {stated.population}", population=name))
    return found


def _knob(knob: str, value: object, says: str, **fields: Any) -> Knob:
    return Alternative(f"{knob}: {value}", knob, says), lambda s: replace(s, **fields)


def _in_recipe(knob: str, value: object, says: str, **fields: Any) -> Knob:
    def apply(setting: Setting) -> Setting:
        return replace(setting, recipe=setting.recipe.model_copy(update=fields))

    return Alternative(f"{knob}: {value}", knob, says), apply


def _feeding(stated: Setting, places: Sequence[Place]) -> Iterator[Knob]:
    recipe = stated.recipe
    carries = any(p.chip.s2_offset != 0 for p in places)
    levels = [("harmonise", -OFFSET), ("harmonise", 0), ("raw", 0), ("raw", OFFSET)]
    words = ["taken out twice", "taken out", "left in", "added on top"]
    if not carries:
        levels, words = [("raw", -OFFSET), ("raw", 0), ("raw", OFFSET)], ["taken out", "not there", "added"]
    now = (recipe.s2_offset.policy if carries else "raw", stated.extra_dn)
    for (policy, extra), what in zip(levels, words, strict=True):
        if (policy, extra) != now:
            offset = recipe.s2_offset.model_copy(update={"policy": policy})

            def level(s: Setting, offset: object = offset, extra: int = extra) -> Setting:
                return replace(s, recipe=s.recipe.model_copy(update={"s2_offset": offset}), extra_dn=extra)

            yield Alternative(f"offset: {what}", "offset", f"the {OFFSET} DN of Sentinel-2 were {what}"), level
    unit = "linear power" if recipe.s1.unit == "dB" else "dB"
    s1 = recipe.s1.model_copy(update={"unit": unit})
    yield _in_recipe("s1 unit", unit, f"Sentinel-1 was fed as {unit}", s1=s1)
    policy = "zeros" if recipe.dem.policy == "given" else "given"
    dem = recipe.dem.model_copy(update={"policy": policy})
    yield _in_recipe("dem", policy, f"the DEM was fed as {'0 m everywhere' if policy == 'zeros' else 'it is'}", dem=dem)
    coarse = [recipe.resampling[group] for group in COARSE]
    for how in ("nearest", "bilinear"):
        if set(coarse) <= {"nearest", "bilinear"} and any(c != how for c in coarse):
            fields = {"resampling": {**recipe.resampling, **dict.fromkeys(COARSE, how)}}
            yield _in_recipe("resampling", how, f"bands of 20 and 60 m were resampled {how}", **fields)
    largest = max(max(p.chip.grid.height_px, p.chip.grid.width_px) for p in places)
    for side in SIZES_PX:
        if side != min(recipe.chip_size_px, largest) and side <= largest:
            yield _in_recipe("size", side, f"chips had {side} px", chip_size_px=side)


def _statistics(stated: Setting, recipes: Iterable[Recipe]) -> Iterator[Knob]:
    own = stated.recipe.statistics
    seen = [_figures(own)]
    for other in recipes:
        if set(own) <= set(other.statistics) and _figures(other.statistics) not in seen:
            stats = {m: other.statistics[m] for m in own}
            seen.append(_figures(stats))
            yield _in_recipe("statistics", other.id, f"normalised with those of recipe {other.id}", statistics=stats)
    for scale in SCALES:
        stats = {m: s.model_copy(update={"std": [v * scale for v in s.std]}) for m, s in own.items()}
        if _figures(stats) not in seen:
            says = f"standard deviations {scale:g} times"
            yield _in_recipe("statistics", f"std x {scale:g}", says, statistics=stats)


def _figures(stats: Mapping[str, Statistics]) -> list[tuple[str, list[float], list[float]]]:
    return sorted((m, s.mean, s.std) for m, s in stats.items())


def _layers(stated: Setting, places: Sequence[Place]) -> Iterator[Knob]:
    for name, order in BAND_ORDERS.items():
        bands = tuple(stated.bands[i] for i in order)
        yield _knob("bands", name, f"bands of Sentinel-2 were {name}", bands=bands)
    yield _knob("polarisations", "swapped", "VV and VH were swapped", polarisations=stated.polarisations[::-1])
    layers = [p.chip.layers["S2L2A"] for p in places if "S2L2A" in p.chip.layers]
    steps = min((each.timesteps for each in layers), default=1)
    if steps == 1 or all((each.data == each.data[:1]).all() for each in layers):
        return  # one date is all there is
    for date in (*range(steps), None):
        if date != stated.date:
            policy = "given" if date is None else "repeat"
            how = stated.recipe.dates.model_copy(update={"policy": policy})
            what = f"all {steps}" if date is None else f"t{date} repeated"

            def dated(s: Setting, how: object = how, date: int | None = date) -> Setting:
                return replace(s, recipe=s.recipe.model_copy(update={"dates": how}), date=date)

            yield Alternative(f"dates: {what}", "dates", f"fed dates: {what}"), dated


def _labels(stated: Setting, bench: Bench) -> Iterator[Knob]:
    if "buildings" in bench.tasks.values():
        for t in THRESHOLDS:
            if t != stated.threshold:
                yield _knob("threshold", f"{t:g}", f"two-class maps were cut at {t:g}", threshold=t)
    for rows, cols in SHIFTS:
        to = (stated.shift[0] + rows, stated.shift[1] + cols)
        yield _knob("shift", f"{rows:+d} rows {cols:+d} columns", "labels lie off by that", shift=to)
    if "land cover" not in bench.tasks.values():
        return
    now = bench.schemes[known(stated.scheme, bench.schemes, "scheme")]
    for each in bench.schemes.values():
        if each.id != now.id and len(each.classes) == len(now.classes) and any(c.worldcover for c in each.classes):
            yield _knob("scheme", each.id, f"labels were made under scheme {each.id}", scheme=each.id)
    for order in orders(len(now.classes)):
        of = " ".join(map(str, order))
        outputs = tuple((stated.outputs or range(len(order)))[i] for i in order)
        yield _knob("outputs", of, f"outputs stand for the classes in the order {of}", outputs=outputs)
        names = tuple((stated.names or range(len(order)))[i] for i in order)
        yield _knob("names", of, f"figures of the classes in the order {of} stand under the names", names=names)


def orders(classes: int) -> Iterator[tuple[int, ...]]:
    """Orders of classes but the given one: all of them up to `ALL_ORDERS_UP_TO`, else two classes swapped."""
    same = tuple(range(classes))
    if classes <= ALL_ORDERS_UP_TO:
        yield from (order for order in permutations(same) if order != same)
        return
    for j in same:
        for i in range(j):
            swapped = list(same)
            swapped[i], swapped[j] = j, i
            yield tuple(swapped)


@dataclass(frozen=True)
class Sought:
    """What came of explaining a card."""

    explanation: Explanation
    """The verdict and the sets."""
    alternatives: tuple[Alternative, ...]
    """All that there were, with their words."""
    refused: tuple[tuple[tuple[str, ...], str], ...]
    """Sets that could not be tried on these chips, and why; their figures count as undefined."""


def explain_card(
    claims: Sequence[Claimed],
    stated: Setting,
    bench: Bench,
    recipes: Iterable[Recipe],
    budget: float = BUDGET,
    largest: int = LARGEST,
    thorough: bool = True,
) -> Sought:
    """Find which of the stated things are wrong where a card's figures are not met.

    Args:
        claims: Figures with metric ids as `Bench.figures` takes them.
        stated: What the card states.
        bench: Chips and models.
        recipes: Other recipes, whose statistics are tried.
        budget: Sets of chips that may be sent through the models, counting with other labels at `RELABEL`.
        largest: Most alternatives at once.
        thorough: As `explain`.

    Raises:
        RegistryError: The card names an adapter, metric, scheme or set of chips that is not there.
        HarnessError: Not even the stated setting can be run.
        ValueError: No claim, or two on one metric.
    """
    table = {a.id: (a, apply) for a, apply in knobs(stated, bench, recipes)}
    metrics = [c.metric for c in claims]
    refused: dict[tuple[str, ...], str] = {}

    made: dict[frozenset[str], Setting] = {}

    def setting(ids: frozenset[str]) -> Setting:
        if ids not in made:
            out = stated
            for each in sorted(ids):
                out = table[each][1](out)
            made[ids] = out
        return made[ids]

    def evaluate(ids: frozenset[str]) -> Mapping[str, float | None]:
        try:
            return bench.figures(setting(ids), metrics)
        except HarnessError as err:
            if not ids:
                raise
            refused[tuple(sorted(ids))] = str(err)
            return dict.fromkeys(metrics)

    alternatives = tuple(a for a, _ in table.values())
    found = explain(
        claims,
        alternatives,
        evaluate,
        budget=budget,
        cost=lambda ids: bench.cost(setting(ids)),
        largest=largest,
        thorough=thorough,
    )
    return Sought(found, alternatives, tuple(refused.items()))
