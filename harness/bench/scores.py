"""Preprocess, sweep and report against plain references: what runs no model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.bench.narrow import checkout
from harness.bench.pairs import take_turns
from harness.bench.plain import class_rows, counted, made_up_chip, preprocess, write_chip
from harness.chips.recipe import Recipe
from harness.chips.tensors import to_inputs
from harness.claims.families import Family
from harness.claims.schemes import Scheme, read_schemes
from harness.errors import RegistryError
from harness.measure import Request, measure
from harness.places import eval_folder
from harness.records.bench import Pairs
from harness.records.run import read_run
from harness.report.run_report import render_run
from harness.score.sweep import THRESHOLDS, sweep

CLOSE = 1e-4
"""Normalised pixels of two ways may differ by so many standard deviations: float32 against float64."""


def preprocess_row(recipe: Recipe, size_px: int, timesteps: int, rounds: int) -> Pairs:
    """A raw chip to tensors.

    Raises:
        RegistryError: The two ways give other numbers.
    """
    chip = made_up_chip(recipe, size_px)
    apart = [0.0]

    def check(found: Mapping[str, Mapping[str, NDArray[np.float32]]]) -> None:
        ours, plain = found["ours"], found["reference"]
        if ours.keys() != plain.keys() or any(ours[m].shape != plain[m].shape for m in ours):
            raise RegistryError("preprocess: the two ways give tensors of other shapes")
        apart[0] = max(float(np.abs(ours[m] - plain[m]).max()) for m in ours)
        if not apart[0] <= CLOSE:
            raise RegistryError(f"preprocess: the two ways differ by {apart[0]:.2g} standard deviations")

    took = take_turns(
        {
            "ours": lambda: to_inputs(chip, recipe, timesteps=timesteps).arrays,
            "reference": lambda: preprocess(chip, recipe, timesteps),
        },
        rounds,
        check=check,
    )
    return Pairs(
        id="preprocess",
        group="preprocess",
        ours="units, nodata, offset and dates checked, then normalised",
        reference="(x - mean) / std in float64 and the date repeated; nothing is checked",
        ours_s=took["ours"],
        reference_s=took["reference"],
        processes="one process",
        same=f"tensors differ by {apart[0]:.1e} standard deviations at most",
        of=f"one chip of {size_px} px, {timesteps} timesteps of one date, recipe {recipe.id}",
    )


def sweep_row(size_px: int, rounds: int) -> Pairs:
    """Confusion at all thresholds.

    Raises:
        RegistryError: The two ways count otherwise.
    """
    rng = np.random.default_rng(0)
    score = rng.random((size_px, size_px), dtype=np.float32)
    label = rng.integers(-1, 2, (size_px, size_px))

    def check(found: Mapping[str, Sequence[Any]]) -> None:
        ours = [(p.matrix.tp, p.matrix.fp, p.matrix.fn, p.matrix.tn) for p in found["ours"]]
        if ours != list(found["reference"]):
            raise RegistryError("sweep: the two ways count other pixels")

    ways: dict[str, Any] = {
        "ours": lambda: sweep(score, label, THRESHOLDS),
        "reference": lambda: counted(score, label, THRESHOLDS),
    }
    took = take_turns(ways, rounds, check=check)
    return Pairs(
        id="sweep",
        group="sweep",
        ours="one pass over the pixels for all thresholds, inputs checked",
        reference="each threshold counted anew over all pixels",
        ours_s=took["ours"],
        reference_s=took["reference"],
        processes="one process",
        same="all four counts equal at every threshold",
        of=f"{len(THRESHOLDS)} thresholds, {size_px} x {size_px} px",
    )


def run_folder(family: Family, weights: Path, folder: Path, chips: int, size_px: int) -> Path:
    """A run of every adapter on made-up chips with made-up labels, written as any other run.

    Returns:
        Folder of the run.
    """
    root = checkout(family, folder / "checkout", eval_folder())
    for i in range(chips):
        write_chip(folder / "chips", f"made-up-{i}", size_px, i)
    labels = tuple(root / "eval" / "labels" / f"{n}.yaml" for n in ("terramesh-lulc", "terramesh-built"))
    asked = Request(
        family=family.id,
        chips=folder / "chips",
        weights=weights,
        recipe="pretraining",
        declared={"S1RTC": "dB"},
        labels=labels,
        device="cpu",
        root=root,
        out=folder / "runs",
    )
    return measure(asked).folder


def report_row(folder: Path, family: Family, rounds: int) -> Pairs:
    """The page of a run.

    Raises:
        RegistryError: A row of the plain table does not stand in our page.
    """
    schemes: dict[str, Scheme] = dict(read_schemes(eval_folder() / "schemes"))
    run = read_run(folder / "run.json")

    def check(found: Mapping[str, Any]) -> None:
        page, rows = found["ours"]["report.md"], found["reference"]
        missing = [row for row in rows if row not in page]
        if missing or not rows:
            raise RegistryError(f"report: the page lacks {missing[:1] or 'every row'} of the plain table")

    ways: dict[str, Any] = {
        "ours": lambda: render_run(folder, family, schemes),
        "reference": lambda: class_rows(folder, schemes),
    }
    took = take_turns(ways, rounds, check=check)
    chips = len({c.chip for each in run.adapters for c in each.chips})
    return Pairs(
        id="report",
        group="report",
        ours="the whole page: every count recounted, pictures, sweeps, checks",
        reference="class tables alone, counted from the arrays with NumPy masks: no pictures, no checks",
        ours_s=took["ours"],
        reference_s=took["reference"],
        processes="one process",
        same="every row of the plain tables stands in the page",
        of=f"a run of {len(run.adapters)} adapters on {chips} made-up chips",
    )
