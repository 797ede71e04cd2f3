"""Knobs found on small made chips with a linear model; one draw with the twin's weights where they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.chips.chip import MODALITIES, Chip, Grid, Layer
from harness.chips.recipe import read_recipes
from harness.chips.tensors import Inputs
from harness.claims.schemes import read_schemes
from harness.errors import RegistryError
from harness.knobs import SHIFTS, Sought, explain_card, knobs, orders
from harness.planted import METRICS, Card, displaced, draw, faulty, label, right, tensors
from harness.score.explain import Claimed
from harness.score.sweep import THRESHOLDS
from harness.workbench import RELABEL, Place, Setting, Workbench, moved, smoothed

ROOT = Path(__file__).resolve().parents[1]
SCHEMES = read_schemes(ROOT / "eval" / "schemes")
RECIPES = read_recipes(ROOT / "eval" / "recipes")
TWIN = read_recipes(ROOT / "harness" / "twin" / "data" / "eval" / "recipes")["twin"]
OTHERS = {r.id: r.statistics for r in RECIPES.values()}
NOMINAL = Setting(TWIN, "training-code", "here")
SIDE = 64
CODES = np.array([80, 50, 10, 30, 60], np.uint8)
"""By index of the scheme training-code."""


def _smooth(rng: np.random.Generator, px: int) -> NDArray[np.float64]:
    coarse = rng.normal(size=(SIDE // px, SIDE // px))
    return np.asarray(np.kron(coarse, np.ones((px, px))), np.float64)


def _blocks(band: NDArray[np.float64], px: int) -> NDArray[np.float64]:
    """What nearest neighbour leaves of native pixels of `px` that begin at the corner."""
    n = -(-SIDE // px) * px
    padded = np.pad(band, (0, n - SIDE), mode="edge")
    coarse = padded.reshape(n // px, px, n // px, px).mean(axis=(1, 3))
    return np.kron(coarse, np.ones((px, px)))[:SIDE, :SIDE]


def _place(name: str, seed: int, water: float = 0.0, dates: int = 1) -> Place:
    rng = np.random.default_rng(seed)
    votes = np.stack([_smooth(rng, 8) + 0.5 * _smooth(rng, 4) for _ in CODES])
    votes[0] += water
    classes = votes.argmax(axis=0)
    buildings = ((classes == 1) & (_smooth(rng, 2) > 0.3)).astype(np.int64)
    spectra = np.random.default_rng(1).uniform(0.75, 1.25, (len(CODES), 12)) * np.array(TWIN.statistics["S2L2A"].mean)
    days = []
    for t in range(dates):
        reflectance = spectra[classes].transpose(2, 0, 1) * (1 + 0.3 * t * (classes == 2))
        s2 = reflectance * rng.normal(1, 0.35, reflectance.shape) * (1 + 0.25 * buildings)
        for c, band in enumerate(MODALITIES["S2L2A"].bands):
            if band in ("B05", "B06", "B07", "B8A", "B11", "B12"):
                s2[c] = _blocks(s2[c], 2)
            if band in ("B01", "B09"):
                s2[c] = _blocks(s2[c], 6)
        days.append(np.maximum(np.round(s2), 1) + 1000)
    vv = np.array([-19.0, -7.0, -11.0, -13.0, -15.0])[classes] + 2 * buildings
    vh = np.array([-27.0, -16.0, -15.0, -21.0, -25.0])[classes]
    s1 = 10 ** ((np.stack([vv, vh]) + rng.normal(0, 3.0, (2, SIDE, SIDE))) / 10)
    dem = np.array([1.0, 8.0, 25.0, 14.0, 12.0])[classes] + rng.normal(0, 8, (SIDE, SIDE))
    grid = Grid(32618, (10.0, 0.0, 600_000.0, 0.0, -10.0, 4_460_000.0), SIDE, SIDE)

    def layer(modality: str, data: Any, unit: str) -> Layer:
        array = np.asarray(data, np.float32)
        days = (None,) * len(array)
        return Layer(modality, array, MODALITIES[modality].bands, unit, days, Path(name), declared=True)

    layers = {
        "S2L2A": layer("S2L2A", np.stack(days), "DN"),
        "S1RTC": layer("S1RTC", np.stack([s1] * dates), "linear power"),
        "DEM": layer("DEM", dem[None, None], "m"),
    }
    return Place(Chip(name, grid, layers, None, 1000), CODES[classes], buildings)


@dataclass
class _Answer:
    """What the linear model says."""

    logits: NDArray[np.float32]
    """Shape (classes, H, W)."""

    @property
    def probabilities(self) -> NDArray[np.float32]:
        """Softmax."""
        shifted_logits = np.exp(self.logits - self.logits.max(axis=0))
        out: NDArray[np.float32] = shifted_logits / shifted_logits.sum(axis=0)
        return out


@dataclass
class Linear:
    """A linear model of all bands, fitted once on the nominal tensors."""

    weights: dict[str, NDArray[np.float64]]
    """By adapter: (bands + 1, classes)."""
    calls: int = 0
    """Chips that were asked for."""

    def logits(self, task: str, arrays: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        """Of one chip, shape (classes, H, W)."""
        x = _features(arrays)
        out = (x @ self.weights[task]).T.reshape(-1, *next(iter(arrays.values())).shape[2:])
        return (6 * out).astype(np.float32)

    def predict(self, chip: Inputs, tasks: Sequence[str], /) -> Mapping[str, _Answer]:
        """As an ensemble does."""
        self.calls += 1
        return {task: _Answer(self.logits(task, chip.arrays)) for task in tasks}


def _features(arrays: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float64]:
    bands = np.concatenate([arrays[m].mean(axis=1) for m in ("S2L2A", "S1RTC", "DEM")]).astype(np.float64)
    flat = bands.reshape(len(bands), -1).T
    return np.concatenate([flat, np.ones((len(flat), 1))], axis=1)


TASKS: dict[str, Any] = {"lulc_twin": "land cover", "buildings_twin": "buildings"}


@cache
def _world() -> tuple[Linear, dict[str, list[Place]]]:

    populations = {
        "here": [_place(f"h{i}", i) for i in range(4)],
        "coast": [_place(f"c{i}", 50 + i, water=0.8) for i in range(4)],
    }
    weights = {}
    for task, classes in (("lulc_twin", 5), ("buildings_twin", 2)):
        x = np.concatenate([_features(tensors(NOMINAL, p)) for p in populations["here"]])
        y = np.concatenate([label(NOMINAL, p, SCHEMES, task).ravel() for p in populations["here"]])
        weights[task] = np.linalg.lstsq(x, np.eye(classes)[y], rcond=None)[0]
    return Linear(weights), populations


def _bench(populations: Mapping[str, Sequence[Place]] | None = None) -> Workbench:
    model, there = _world()
    return Workbench(model, TASKS, populations or there, SCHEMES, TWIN.resampling)


@cache
def _card() -> Card:
    model, populations = _world()
    return Card(model.logits, populations, SCHEMES)


def _explain(true: Setting, stated: Setting, bench: Workbench | None = None, **how: Any) -> Sought:
    return explain_card(_card().claims(true), stated, bench or _bench(), [*RECIPES.values(), TWIN], **how)


FAULTS = [
    ("outputs", (1, 0, 2, 3, 4)),
    ("outputs", (3, 4, 1, 2, 0)),
    ("names", (0, 1, 3, 2, 4)),
    ("threshold", 0.3),
    ("threshold", 0.7),
    ("scheme", "card"),
    ("scheme", "riprap-app"),
    ("statistics", "pretraining"),
    ("statistics", 2.0),
    ("s1 unit", "linear power"),
    ("offset", ("raw", 0)),
    ("offset", ("harmonise", -1000)),
    ("bands", (1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10)),
    ("bands", tuple(range(11, -1, -1))),
    ("polarisations", (1, 0)),
    ("dem", "zeros"),
    ("shift", (-2, 0)),
    ("shift", (0, 3)),
    ("population", "coast"),
]


@pytest.mark.parametrize(("kind", "value"), FAULTS, ids=[f"{k} {v}" for k, v in FAULTS])
def test_a_card_made_otherwise_than_it_states_is_found_out(kind: str, value: Any) -> None:
    """The card's figures were made with the fault; the statement is nominal."""
    got = _explain(faulty(NOMINAL, {kind: value}, OTHERS), NOMINAL).explanation
    assert got.verdict == "found", got.why
    (one,) = got.sets
    assert [i.partition(":")[0] for i in one.alternatives] == [kind]
    assert one.worst < 1e-4


@pytest.mark.parametrize(("kind", "value"), FAULTS, ids=[f"{k} {v}" for k, v in FAULTS])
def test_a_wrong_statement_beside_true_figures_is_found_out(kind: str, value: Any) -> None:
    """The figures are nominal; the statement has the fault. Label files that lie off lose their edges."""
    stated, bench = faulty(NOMINAL, {kind: value}, OTHERS), _bench()
    if kind == "shift":
        stated, bench = NOMINAL, _bench({n: displaced(p, value) for n, p in _world()[1].items()})
    got = _explain(NOMINAL, stated, bench)
    sets = [[i.partition(":")[0] for i in each.alternatives] for each in got.explanation.sets]
    if kind == "shift":  # a tenth of so small a chip is lost with the edges
        closest = got.explanation.sets or (got.explanation.partial,)
        back = f"shift: {-value[0]:+d} rows {-value[1]:+d} columns"
        assert any(each is not None and back in each.alternatives for each in closest)
    else:
        assert sets == [[kind]], got.explanation.why


def test_two_schemes_that_label_these_chips_alike_cannot_be_told() -> None:
    """They part on snow, mangroves and wetland, of which there is none here."""
    got = _explain(faulty(NOMINAL, {"scheme": "training-doc"}, OTHERS), NOMINAL).explanation
    assert got.verdict == "cannot be told"
    assert [t.alternatives for t in got.sets] == [("scheme: published-rerun",), ("scheme: training-doc",)]
    assert "no claimed figure differs by more than 0.0000" in got.why


def test_names_of_classes_with_nearly_equal_figures_are_not_accused() -> None:
    """IoU 0.848 and 0.842: the claims are missed by 0.006, and nothing that small is accused."""
    got = _explain(faulty(NOMINAL, {"names": (0, 2, 1, 3, 4)}, OTHERS), NOMINAL).explanation
    assert got.verdict == "unexplained"
    assert "names: 0 2 1 3 4" in {e.alternative for e in got.immaterial}


def test_nothing_is_accused_where_card_and_statement_agree() -> None:
    for planted in ({}, {"dem": "zeros"}, {"scheme": "card", "threshold": 0.3}, {"outputs": (1, 0, 2, 3, 4)}):
        setting = faulty(NOMINAL, planted, OTHERS)
        got = _explain(setting, setting).explanation
        assert (got.verdict, got.sets, got.stated.met) == ("as stated", (), len(got.stated.figures))


@pytest.mark.parametrize(
    "planted",
    [
        {"dem": "zeros", "threshold": 0.3},
        {"dem": "zeros", "outputs": (1, 0, 2, 3, 4)},
        {"dem": "zeros", "shift": (2, 0), "threshold": 0.7},
    ],
    ids=lambda p: " + ".join(p),
)
def test_faults_together_are_found_together(planted: dict[str, Any]) -> None:
    got = _explain(faulty(NOMINAL, planted, OTHERS), NOMINAL).explanation
    assert got.verdict == "found", got.why
    assert {i.partition(":")[0] for i in got.sets[0].alternatives} == set(planted)


def test_what_the_table_has_no_knob_for_stays_unexplained() -> None:
    model, populations = _world()
    noisy = Card(lambda t, a: model.logits(t, {m: v * np.float32(0.7) for m, v in a.items()}), populations, SCHEMES)
    got = explain_card(noisy.claims(NOMINAL), NOMINAL, _bench(), RECIPES.values()).explanation
    assert got.verdict == "unexplained"
    assert got.sets == ()
    assert "stay unmet" in got.why


def test_dates_that_differ_are_a_knob_and_equal_ones_are_not() -> None:
    model, _ = _world()
    populations = {"here": [_place(f"d{i}", 80 + i, dates=4) for i in range(3)]}
    bench = Workbench(model, TASKS, populations, SCHEMES, TWIN.resampling)
    metrics = [f"lulc_twin.{m}" for m in METRICS["lulc"]]
    given = TWIN.model_copy(update={"dates": TWIN.dates.model_copy(update={"policy": "given"})})
    for true, name in (
        (replace(NOMINAL, date=2), "dates: t2 repeated"),
        (replace(NOMINAL, date=None, recipe=given), "dates: all 4"),
    ):
        figures = bench.figures(true, metrics)
        claims = [Claimed(m, v) for m, v in figures.items() if v is not None]
        got = explain_card(claims, NOMINAL, bench, []).explanation
        assert [t.alternatives for t in got.sets] == [(name,)]
    fed = bench.inputs(replace(NOMINAL, date=2), populations["here"][0].chip).arrays["S2L2A"]
    other = bench.inputs(NOMINAL, populations["here"][0].chip).arrays["S2L2A"]
    assert (fed == fed[:, :1]).all()
    assert not np.array_equal(fed, other)
    same = {"here": [_place("one", 3)]}
    assert not [a for a, _ in knobs(NOMINAL, replace(bench, populations=same), []) if a.knob == "dates"]


def test_orders_and_thresholds_need_no_model() -> None:
    model, _ = _world()
    bench = _bench()
    bench.figures(NOMINAL, ["lulc_twin.mIoU"])
    before = model.calls
    bench.figures(replace(NOMINAL, outputs=(1, 0, 2, 3, 4), names=(4, 3, 2, 1, 0)), ["lulc_twin.mIoU"])
    bench.figures(replace(NOMINAL, threshold=0.35, shift=(1, 0)), ["buildings_twin.mIoU"])
    bench.figures(replace(NOMINAL, scheme="card"), ["lulc_twin.iou.2"])
    assert model.calls == before
    assert bench.cost(replace(NOMINAL, outputs=(1, 0, 2, 3, 4), threshold=0.1)) == RELABEL  # never counted yet
    bench.figures(NOMINAL, ["buildings_twin.mIoU"])
    assert bench.cost(replace(NOMINAL, outputs=(1, 0, 2, 3, 4), threshold=0.1)) == 0
    assert bench.cost(replace(NOMINAL, bands=tuple(range(11, -1, -1)))) == 1


def test_budget_counts_sets_of_chips_sent_through_the_models() -> None:
    bench = _bench()
    model, before = _world()[0], _world()[0].calls
    got = _explain(faulty(NOMINAL, {"dem": "zeros"}, OTHERS), NOMINAL, bench, budget=5).explanation
    assert got.spent <= 5
    assert (model.calls - before) == 4 * int(got.spent)  # four chips a set; labels are fractions
    assert not got.complete


def test_what_chips_cannot_give_is_refused_and_said() -> None:
    """Backscatter of 0 has no decibels, and the recipe fills no gaps."""
    places = [replace(p, chip=_with_zero_power(p.chip)) for p in _world()[1]["here"]]
    linear = faulty(NOMINAL, {"s1 unit": "linear power"}, OTHERS)
    card = Card(_world()[0].logits, {"here": places}, SCHEMES)
    claims = card.claims(faulty(linear, {"dem": "zeros"}, OTHERS))
    got = explain_card(claims, linear, _bench({"here": places}), [])
    assert [t.alternatives for t in got.explanation.sets] == [("dem: zeros",)]
    assert any(ids == ("s1 unit: dB",) and "nodata" in why for ids, why in got.refused)


def _with_zero_power(chip: Chip) -> Chip:
    data = chip.layers["S1RTC"].data.copy()
    data[0, :, 0, 0] = 0
    return replace(chip, layers={**chip.layers, "S1RTC": replace(chip.layers["S1RTC"], data=data)})


def test_unknown_names_are_errors() -> None:
    bench = _bench()
    for setting, metric, words in (
        (NOMINAL, "lulc_twni.mIoU", "no adapter 'lulc_twni'; did you mean 'lulc_twin'"),
        (NOMINAL, "lulc_twin.mioU", "no metric"),
        (replace(NOMINAL, scheme="training_code"), "lulc_twin.mIoU", "no scheme"),
        (replace(NOMINAL, population="there"), "lulc_twin.mIoU", "no set of chips"),
    ):
        with pytest.raises(RegistryError, match=words):
            bench.figures(setting, [metric])


def test_the_table_holds_what_it_should() -> None:
    table = [a for a, _ in knobs(NOMINAL, _bench(), [*RECIPES.values(), TWIN])]
    assert len({a.id for a in table}) == len(table)
    by: dict[str, int] = {}
    for each in table:
        by[each.knob] = by.get(each.knob, 0) + 1
    assert by["outputs"] == by["names"] == 119
    assert by["shift"] == len(SHIFTS) == 16
    assert by["threshold"] == len(THRESHOLDS) - 1
    assert by["scheme"] == 4
    assert by["statistics"] == 4  # training-code's, pretraining's and two scales: others repeat these
    assert by["offset"] == by["bands"] == 3
    assert by["s1 unit"] == by["dem"] == by["polarisations"] == by["population"] == by["resampling"] == 1
    assert "size" not in by  # chips of 64 px cannot be 224


def test_orders_of_many_classes_are_swaps() -> None:
    assert len(list(orders(3))) == 5
    swaps = list(orders(7))
    assert len(swaps) == 21
    assert all(sum(a != b for a, b in enumerate(order)) == 2 for order in swaps)


def test_moved_maps_lose_what_goes_over_the_edge() -> None:
    array = np.arange(12).reshape(3, 4)
    assert moved(array, (1, 0), -1).tolist() == [[-1] * 4, [0, 1, 2, 3], [4, 5, 6, 7]]
    assert moved(array, (0, -2), -1).tolist() == [[2, 3, -1, -1], [6, 7, -1, -1], [10, 11, -1, -1]]


@pytest.mark.parametrize("first", range(6))
def test_smoothing_takes_blocks_back_to_their_centres(first: int) -> None:
    """A ramp in blocks of six, wherever they begin, becomes the straight line between the centres."""
    at = np.arange(60)
    block = (at - first) // 6
    centres = block * 6.0 + first + 3
    data = np.broadcast_to(centres.astype(np.float32), (1, 5, 60)).copy()
    got = smoothed(data, 6, 2)
    inner = slice(6, 54)
    assert np.allclose(got[0, :, inner], (at + 0.5)[inner], atol=1e-4)
    assert np.allclose(smoothed(data.swapaxes(1, 2), 6, 1), got.swapaxes(1, 2))
    with pytest.raises(RegistryError, match="not read with nearest"):
        smoothed(got, 6, 2)


def test_draws_hold_against_what_was_planted() -> None:
    """A few random draws of the judge, on the linear model: nothing wrong is ever named alone."""
    wrong = []
    for seed in range(6):
        planted = draw(seed, OTHERS, ["training-doc", "card", "published-rerun"], ["coast"])
        true = faulty(NOMINAL, planted, OTHERS)
        got = _explain(true, NOMINAL)
        undo = {right(kind, NOMINAL, true, knobs(NOMINAL, _bench(), [*RECIPES.values(), TWIN])) for kind in planted}
        sets = [set(each.alternatives) for each in got.explanation.sets]
        if sets and not any(each <= undo for each in sets):
            wrong.append((seed, planted, sets))
        assert got.explanation.verdict != "as stated"
    assert wrong == []
