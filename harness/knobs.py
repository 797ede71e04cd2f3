"""What may be otherwise than a card states, and which of it would make the card's figures come out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from typing import Any, Final

from harness.chips.recipe import Recipe, Statistics
from harness.chips.units import OFFSET
from harness.errors import HarnessError
from harness.names import known
from harness.score.explain import LARGEST, Alternative, Claimed, Explanation, explain
from harness.score.sweep import THRESHOLDS
from harness.workbench import COARSE, Place, Setting, Workbench

BUDGET: Final = 150.0
"""Sets of chips that may be sent through the models to explain one card."""

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

ALL_ORDERS_UP_TO: Final = 5
"""Classes up to which every order is tried (119 others of 5); beyond, only two classes swapped."""

Knob = tuple[Alternative, Callable[[Setting], Setting]]


def knobs(stated: Setting, bench: Workbench, recipes: Iterable[Recipe]) -> list[Knob]:
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


def _labels(stated: Setting, bench: Workbench) -> Iterator[Knob]:
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
    bench: Workbench,
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
