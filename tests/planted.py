"""Faults planted between a card's figures and its statements. Only tests read this; nothing that detects does.

Figures are made here with arrays and formulas of this file's own, not with the code that is judged.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.claims.schemes import Scheme
from harness.knobs import Place, Setting
from harness.score.explain import Claimed

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


def shifted(places: Sequence[Place], shift: tuple[int, int]) -> list[Place]:
    """The same chips with label files that lie off; what moves out is lost."""
    return [replace(p, codes=rolled(p.codes, shift, 0), buildings=rolled(p.buildings, shift, -1)) for p in places]


@dataclass(frozen=True)
class Row:
    """What became of one planted fault, or of one accusation."""

    kind: str
    """Kind of the fault, or knob accused."""
    outcome: str
    """found, among ties, hidden, missed, or accused where nothing was planted."""


def outcomes(planted: Mapping[str, Any], undo: Mapping[str, str | None], found: Any) -> list[Row]:
    """Hold an explanation against what was planted.

    Args:
        planted: Kinds and values.
        undo: By kind: id of the alternative that would put it right; None where there is none.
        found: An `Explanation`.
    """
    sets = [frozenset(t.alternatives) for t in found.sets]
    weak = {e.alternative for e in found.immaterial}
    rows = []
    for kind in planted:
        right = undo[kind]
        if sets and all(right in each for each in sets):
            rows.append(Row(kind, "found"))
        elif any(right in each for each in sets):
            rows.append(Row(kind, "among ties"))
        else:
            rows.append(Row(kind, "no material effect" if right in weak else "missed"))
    rights = set(undo.values())
    if sets and not any(each <= rights for each in sets):
        rows += [Row(i.partition(":")[0], "falsely accused") for i in sorted(found.accused - rights)] or [
            Row("ties", "all wrong")
        ]
    return rows
