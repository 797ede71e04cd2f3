"""Faults planted between a card's figures and its statements. Nothing that detects may read this.

Figures are made here with arrays and formulas of this file's own, not with the code that is judged.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.chips.chip import Grid
from harness.claims.schemes import Scheme
from harness.knobs import Knob
from harness.score.explain import Claimed
from harness.workbench import Place, Setting

Logits = Callable[[str, Mapping[str, NDArray[np.float32]]], NDArray[np.float32]]
"""Adapter and tensors (C, T, H, W) by modality to logits (classes, H, W)."""

METRICS = {
    "lulc": ("mIoU", "accuracy", "iou.0", "iou.1", "iou.2", "iou.3", "iou.4"),
    "buildings": ("mIoU", "accuracy", "iou.0", "iou.1", "precision.1", "recall.1", "f1.1"),
}
"""What a card claims of each adapter."""

Fault = tuple[str, Any]
"""Kind and value."""


def faults(rng: np.random.Generator, stats: Mapping[str, Any], schemes: Sequence[str], sets: Sequence[str]) -> Fault:
    """One fault at random: what the two sides differ in."""
    kinds: dict[str, list[Any]] = {
        "outputs": [tuple(rng.permutation(5).tolist())],
        "names": [tuple(rng.permutation(5).tolist())],
        "threshold": [0.2, 0.25, 0.3, 0.35, 0.65, 0.7, 0.75, 0.8],
        "scheme": list(schemes),
        "statistics": [*stats, 0.5, 2.0],
        "s1 unit": ["linear power"],
        "offset": [("raw", 0), ("raw", 1000), ("harmonise", -1000)],
        "bands": [tuple(range(11, -1, -1)), (0, 3, 2, 1, *range(4, 12)), (1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10)],
        "polarisations": [(1, 0)],
        "shift": [(2, 0), (-1, 0), (0, 3), (0, -4), (-2, 0), (0, 1), (4, 0)],
        "dem": ["zeros"],
        "population": list(sets),
    }
    kind = str(rng.choice(list(kinds)))
    values = kinds[kind]
    return kind, values[int(rng.integers(len(values)))]


def draw(seed: int, stats: Mapping[str, Any], schemes: Sequence[str], sets: Sequence[str]) -> dict[str, Any]:
    """One to three faults of different kinds."""
    rng = np.random.default_rng(seed)
    out: dict[str, Any] = {}
    want = int(rng.integers(1, 4))
    while len(out) < want:
        kind, value = faults(rng, stats, schemes, sets)
        if kind not in out and value != tuple(range(5)):
            out[kind] = value
    return out


def faulty(nominal: Setting, planted: Mapping[str, Any], stats: Mapping[str, Any]) -> Setting:
    """A setting with faults in it, as a card would state it."""
    out = nominal
    for kind, value in planted.items():
        recipe = out.recipe
        if kind == "statistics" and isinstance(value, float):
            scaled = {m: s.model_copy(update={"std": [v * value for v in s.std]}) for m, s in recipe.statistics.items()}
            out = replace(out, recipe=recipe.model_copy(update={"statistics": scaled}))
        elif kind == "statistics":
            out = replace(out, recipe=recipe.model_copy(update={"statistics": stats[value]}))
        elif kind == "s1 unit":
            out = replace(out, recipe=recipe.model_copy(update={"s1": recipe.s1.model_copy(update={"unit": value})}))
        elif kind == "offset":
            offset = recipe.s2_offset.model_copy(update={"policy": value[0]})
            out = replace(out, recipe=recipe.model_copy(update={"s2_offset": offset}), extra_dn=value[1])
        elif kind == "dem":
            dem = recipe.dem.model_copy(update={"policy": value})
            out = replace(out, recipe=recipe.model_copy(update={"dem": dem}))
        else:
            out = replace(out, **{kind: value})
    return out


def rolled(array: NDArray[Any], shift: tuple[int, int], fill: int) -> NDArray[Any]:
    """A map moved down and right, with `fill` where nothing comes in."""
    out = np.roll(array, shift, (0, 1))
    rows, cols = shift
    if rows:
        out[slice(0, rows) if rows > 0 else slice(rows, None), :] = fill
    if cols:
        out[:, slice(0, cols) if cols > 0 else slice(cols, None)] = fill
    return out


def tensors(setting: Setting, place: Place) -> dict[str, NDArray[np.float32]]:
    """What the models are fed, made anew."""
    layers, recipe = place.chip.layers, setting.recipe
    s2 = layers["S2L2A"].data[0].astype(np.float64)[list(setting.bands)]
    if recipe.s2_offset.policy == "harmonise" and place.chip.s2_offset == 1000:
        s2 = np.clip(s2 - 1000, 0, None)
    s2 = s2 + setting.extra_dn if setting.extra_dn >= 0 else np.clip(s2 - 1000, 0, None)
    s1 = layers["S1RTC"].data[0].astype(np.float64)[list(setting.polarisations)]
    s1 = 10 * np.log10(s1) if recipe.s1.unit == "dB" else s1
    dem = layers["DEM"].data[0].astype(np.float64) * (recipe.dem.policy == "given")
    out = {}
    for name, raw in (("S2L2A", s2), ("S1RTC", s1), ("DEM", dem)):
        stats = recipe.statistics[name]
        mean, std = (np.array(v).reshape(-1, 1, 1) for v in (stats.mean, stats.std))
        one = ((raw - mean) / std).astype(np.float32)
        out[name] = np.ascontiguousarray(np.stack([one] * 4, axis=1))
    return out


def label(setting: Setting, place: Place, schemes: Mapping[str, Scheme], task: str) -> NDArray[np.int64]:
    """What is scored against, made anew; -1 is not scored."""
    buildings = rolled(place.buildings, setting.shift, -1)
    if task.startswith("buildings"):
        return buildings
    codes = rolled(place.codes, setting.shift, 0)
    out = np.full(codes.shape, -1, np.int64)
    for each in schemes[setting.scheme].classes:
        out[np.isin(codes, each.worldcover)] = each.index
    roofs = [c for c in schemes[setting.scheme].classes if c.other and not c.other.startswith(("less", "and"))]
    for each in roofs:
        out[buildings == 1] = each.index
    if roofs:
        built = [c.index for c in schemes[setting.scheme].classes if c.other and c.other.startswith("less")]
        out[np.isin(out, built) & (buildings == -1)] = -1
    return out


@dataclass
class Card:
    """Makes a card's figures under a true setting."""

    logits: Logits
    """The models."""
    populations: Mapping[str, Sequence[Place]]
    """Sets of chips."""
    schemes: Mapping[str, Scheme]
    """By id."""
    tasks: tuple[str, str] = ("lulc_twin", "buildings_twin")
    """Adapters: land cover, buildings."""

    def __post_init__(self) -> None:
        self._held: dict[str, dict[str, list[NDArray[np.float32]]]] = {}

    def claims(self, true: Setting, digits: int = 4) -> list[Claimed]:
        """Every figure, rounded as printed."""
        return [Claimed(m, round(v, digits), 0.5 * 10**-digits) for m, v in self.figures(true).items()]

    def figures(self, true: Setting) -> dict[str, float]:
        """By metric id, from all pixels together; nobody prints one that is undefined."""
        places = self.populations[true.population]
        fed = hashlib.sha256(true.population.encode())
        for array in tensors(true, places[0]).values():
            fed.update(array.tobytes())
        if fed.hexdigest() not in self._held:
            said = {t: [self.logits(t, tensors(true, p)) for p in places] for t in self.tasks}
            self._held[fed.hexdigest()] = said
        out: dict[str, float] = {}
        for task in self.tasks:
            truth = np.concatenate([label(true, p, self.schemes, task).ravel() for p in places])
            raw = np.concatenate([x.reshape(len(x), -1) for x in self._held[fed.hexdigest()][task]], axis=1)
            two = task.startswith("buildings")
            if two:  # softmax of two logits
                guess = (1 / (1 + np.exp(raw[0] - raw[1])) > np.float32(true.threshold)).astype(np.int64)
            else:
                place = np.argsort(true.outputs or range(len(raw)))  # output o stands for class place[o]
                guess = place[raw.argmax(0)]
            names = list(range(2)) if two else list(true.names or range(len(raw)))
            scores = [_scores(truth[truth >= 0] == c, guess[truth >= 0] == c) for c in names]
            for each in METRICS["buildings" if two else "lulc"]:
                name, _, index = each.partition(".")
                if name == "mIoU":
                    value = float(np.nanmean([s["iou"] for s in scores]))
                elif name == "accuracy":
                    value = float((guess == truth)[truth >= 0].mean())
                else:
                    value = scores[int(index)][name]
                if np.isfinite(value):
                    out[f"{task}.{each}"] = float(value)
        return out


def _scores(is_it: NDArray[np.bool_], said: NDArray[np.bool_]) -> dict[str, float]:
    """Of one class; NaN where undefined."""
    both, either = int((is_it & said).sum()), int((is_it | said).sum())
    parts = {"iou": either, "precision": int(said.sum()), "recall": int(is_it.sum())}
    out = {name: both / whole if whole else np.nan for name, whole in parts.items()}
    out["f1"] = 2 * both / (either + both) if either else np.nan
    return out


def displaced(places: Sequence[Place], shift: tuple[int, int]) -> list[Place]:
    """The same chips with label files that lie off; what moves out is lost."""
    return [replace(p, codes=rolled(p.codes, shift, 0), buildings=rolled(p.buildings, shift, -1)) for p in places]


def middle(place: Place, side: int) -> Place:
    """The middle of a chip: one date, without its label layer."""
    grid = place.chip.grid
    r, c = (grid.height_px - side) // 2, (grid.width_px - side) // 2
    cut = (slice(r, r + side), slice(c, c + side))
    layers = {
        name: replace(each, data=np.ascontiguousarray(each.data[:1, :, cut[0], cut[1]]), dates=each.dates[:1])
        for name, each in place.chip.layers.items()
        if name != "LULC"
    }
    a, b, x, d, e, y = grid.transform
    small = Grid(grid.epsg, (a, b, x + a * c + b * r, d, e, y + d * c + e * r), side, side)
    chip = replace(place.chip, grid=small, layers=layers, label=None)
    return Place(chip, place.codes[cut].copy(), place.buildings[cut].copy())


def right(kind: str, stated: Setting, true: Setting, table: Sequence[Knob]) -> str | None:
    """Id of the alternative to a stated setting that puts one kind of fault right; None where there is none."""
    want = _of_kind(kind, true)
    return next((a.id for a, apply in table if a.knob == kind and _of_kind(kind, apply(stated)) == want), None)


def _of_kind(kind: str, setting: Setting) -> object:
    recipe = setting.recipe
    if kind in ("outputs", "names"):
        return tuple(getattr(setting, kind) or range(5))
    if kind == "statistics":
        return sorted((m, v.mean, v.std) for m, v in recipe.statistics.items())
    of_recipe = {"s1 unit": recipe.s1, "offset": (recipe.s2_offset, setting.extra_dn), "dem": recipe.dem}
    return of_recipe[kind] if kind in of_recipe else getattr(setting, kind)


def told(kind: str, value: Any) -> str:
    """A fault in words."""
    if kind == "statistics":
        return f"standard deviations times {value:g}" if isinstance(value, float) else f"statistics of recipe {value}"
    if kind == "offset":
        policy, extra = value
        return f"offset of Sentinel-2: {policy}" + (f", {extra:+d} DN on top" if extra else "")
    if kind == "shift":
        return f"labels moved by {value[0]:+d} rows, {value[1]:+d} columns"
    if kind in ("bands", "polarisations", "outputs", "names"):
        whose = {"bands": "Sentinel-2 bands", "polarisations": "polarisations", "outputs": "model outputs"}
        return f"{whose.get(kind, 'class names')} in the order {' '.join(map(str, value))}"
    words = {"threshold": "threshold", "scheme": "class scheme", "s1 unit": "Sentinel-1 in", "dem": "DEM as"}
    return f"{words.get(kind, 'scenes of the set')} {value}"
