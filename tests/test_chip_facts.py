"""What a run writes down of each chip: counted where there is a label, said where something is not known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.chip_facts import Facts, pixel_facts
from harness.chips.cardsplit import CardSplit
from harness.chips.chip import Chip, Grid, Label, Layer
from harness.chips.lock import write_lock
from harness.chips.scenes import AoiLock, Lock
from harness.errors import ChipError
from harness.records import ChipScore
from tests.chips.test_ground import chip as grid_at
from tests.chips.test_ground import parent


def label(data: np.ndarray[tuple[int, int], np.dtype[np.int64]]) -> Label:
    return Label(data, "footprints", Path("made"), "source", "made")


def made(name: str, grid: Grid) -> Chip:
    pixels = np.zeros((1, 1, grid.height_px, grid.width_px), np.float32)
    layer = Layer("S2L2A", pixels, ("B02",), "DN", ("2022-06-03",), Path("made"))
    return Chip(name, grid, {"S2L2A": layer})


def score(name: str) -> ChipScore:
    return ChipScore(chip=name, sha256="00", scored=False, reason="made")


def split_file(root: Path, variant: str = "buildings") -> Path:
    path = root / "aois" / "locks" / f"card-{variant}.split.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    split = CardSplit(variant="buildings", revisions={}, found={}, labels=False, parents=[parent("452U_625L", "train")])
    path.write_text(split.model_dump_json(), encoding="utf-8")
    return path


def test_two_classes_have_bins_and_boundaries_more_classes_only_boundaries() -> None:
    truth = np.zeros((8, 8), np.int64)
    truth[2:6, 2:6] = 1
    truth[0] = -1
    p = np.stack([1 - 0.8 * (truth == 1), 0.8 * (truth == 1)]).astype(np.float32)
    two = pixel_facts(p, p.argmax(0), label(truth))
    assert sum(two["reliability"].px) == 56
    assert {(c.class_index, c.tolerance_px) for c in two["boundary"]} == {(0, 1), (0, 3), (1, 1), (1, 3)}
    assert all(c.label_near_px == c.label_px == c.predicted_px for c in two["boundary"])
    three = pixel_facts(np.concatenate([p, p[:1] * 0]), p.argmax(0), label(truth))
    assert "reliability" not in three
    assert len(three["boundary"]) == 6
    assert pixel_facts(p, p.argmax(0), "no label") == {}


def test_a_chip_on_training_ground_says_where_and_when(tmp_path: Path) -> None:
    path = split_file(tmp_path)
    facts = Facts(tmp_path / "eval", "terramind-nyc")
    found = facts.onto(score("a"), "buildings_nyc", made("a", grid_at(0))).nearest_training
    assert found is not None
    assert (found.share, found.cell, found.days, found.source) == (1.0, "452U_625L", 2, path.name)
    other = facts.onto(score("a"), "lulc_nyc", made("a", grid_at(0))).nearest_training
    assert other is not None
    assert other.reason == "the training split is not rebuilt; harness lock --split card --variant lulc does it"


@pytest.mark.parametrize(
    ("family", "adapter", "said"),
    [("twin", "buildings_nyc", "not known here"), ("terramind-nyc", "somebody's", "not known here")],
)
def test_an_unknown_training_ground_is_a_reason_and_no_zero(
    tmp_path: Path, family: str, adapter: str, said: str
) -> None:
    split_file(tmp_path)
    found = Facts(tmp_path / "eval", family).onto(score("a"), adapter, made("a", grid_at(0))).nearest_training
    assert found is not None
    assert found.share is None
    assert said in str(found.reason)


def test_a_broken_split_is_told(tmp_path: Path) -> None:
    split_file(tmp_path).write_text("{}", encoding="utf-8")
    facts = Facts(tmp_path / "eval", "terramind-nyc")
    found = facts.onto(score("a"), "buildings_nyc", made("a", grid_at(0))).nearest_training
    assert found is not None
    assert "cannot be read as a rebuilt split" in str(found.reason)


def test_chips_on_one_ground_are_named_once_and_for_every_adapter(tmp_path: Path) -> None:
    facts = Facts(tmp_path / "eval", "terramind-nyc")
    chips = {"a": grid_at(0), "b": grid_at(1_000), "c": grid_at(50_000)}
    found = {
        (name, task): facts.onto(score(name), task, made(name, grid)).shares_ground
        for name, grid in chips.items()
        for task in ("buildings_nyc", "lulc_nyc")
    }
    assert found == {(n, t): ["a"] if n == "b" else [] for n in chips for t in ("buildings_nyc", "lulc_nyc")}


def test_a_chip_that_was_not_read_has_no_place(tmp_path: Path) -> None:
    bare = Facts(tmp_path / "eval", "terramind-nyc").onto(score("a"), "buildings_nyc", ChipError("gone"))
    assert bare == score("a")


def test_roles_come_from_the_locks_of_the_recipe(tmp_path: Path) -> None:
    where = {"centre": (-73.9, 40.7), "epsg": 32618, "timesteps": [], "searches": []}
    aois = [
        AoiLock.model_validate({"aoi": "a", "recipe": "mine", "role": "tune", **where}),
        AoiLock.model_validate({"aoi": "a", "recipe": "other", "role": "test", **where}),
    ]
    write_lock(tmp_path / "x.lock.json", Lock(created="2026-01-01T00:00:00Z", aois=aois))
    facts = Facts(tmp_path / "eval", "terramind-nyc", (tmp_path / "x.lock.json",), "mine")
    assert facts.onto(score("a"), "buildings_nyc", made("a", grid_at(0))).role == "tune"
    assert facts.onto(score("b"), "buildings_nyc", made("b", grid_at(9_000))).role is None
