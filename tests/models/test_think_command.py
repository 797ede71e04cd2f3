"""`harness think` from the command line, on the narrow family with random weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.cli import app
from harness.errors import ChipError, RecipeError, RegistryError, TopologyError
from tests.models.test_measure import place

__all__ = ["place"]


def run(place: Path, out: Path, *more: str) -> None:
    words = ["think", str(place / "chips"), "--chip=a", "--family=narrow", f"--root={place}", "--device=cpu"]
    app([*words, "--to=LULC", f"--out={out}", *more], standalone_mode=False)


def test_land_cover_is_generated_drawn_and_scored(place: Path, tmp_path: Path) -> None:
    run(place, tmp_path, f"--labels={place / 'eval' / 'labels' / 'terramesh-lulc.yaml'}")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    record = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert record["random_weights"] is True
    assert sum(record["lulc_px"]) == 64 * 64
    assert record["score"]["scheme"] == "training-code"
    assert record["score"]["evidence"] == "inference"
    assert sum(map(sum, record["score"]["confusion"])) + record["score"]["ignored_px"] == 64 * 64
    assert [c["entries"] for c in record["codebooks"]] == [4375]


@pytest.mark.parametrize(
    ("more", "error", "words"),
    [
        ("--chip=nowhere", ChipError, "no chip 'nowhere'; there are a, b"),
        ("--to=ROADS", TopologyError, "ROADS"),
        ("--from=LULC", (TopologyError, RecipeError), "LULC"),
    ],
)
def test_wrong_words_are_refused(place: Path, tmp_path: Path, more: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        run(place, tmp_path, more)
    assert not list(tmp_path.iterdir())


def test_spread_and_runtime_are_written_beside_the_pictures(place: Path, narrow_weights: Path, tmp_path: Path) -> None:
    run(place, tmp_path, f"--weights={narrow_weights}", "--seeds=3")
    held = json.loads((tmp_path / "tim_nyc-a-spread.json").read_text(encoding="utf-8"))
    assert held["spread"]["seeds"] == [0, 1, 2]
    assert 0 <= held["spread"]["changed"] <= 1
    assert held["spread"]["random_weights"] is True
    assert len(held["runtime"]["tim_s"]) == len(held["runtime"]["plain_s"]) > 1
    assert held["runtime"]["minimum"] <= held["runtime"]["median"] <= held["runtime"]["maximum"]
    assert held["stated"] == []


def test_one_seed_is_no_spread(place: Path, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="--seeds 1 shows no spread"):
        run(place, tmp_path, "--seeds=1")
