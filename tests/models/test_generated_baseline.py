"""Generated land cover beside scores: the narrow family, a tokenizer's file in the published format, a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from harness.chips.chip import Chip
from harness.chips.recipe import read_recipes
from harness.chips.sources.files import each_chip
from harness.claims.families import Family
from harness.cli import app
from harness.errors import ChipError, RegistryError
from harness.models.devices.device import resolve
from harness.models.generation import baseline
from harness.models.generation import generate as generation
from harness.records.run import RunRecord
from tests.models.conftest import ROOT
from tests.models.test_measure import labels, place, record, run

__all__ = ["place"]

TOKENIZER = generation.TARGETS["LULC"].file
RANDOM = "random weights of this project"


@pytest.fixture(scope="module")
def published(narrow: Family, narrow_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder as published: no marker, and a tokenizer's file whose tensors are views of one row of numbers."""
    folder = tmp_path_factory.mktemp("published")
    (folder / "base.pt").symlink_to(narrow_weights / "base.pt")
    for name in ("lulc_nyc", "buildings_nyc"):
        (folder / name).mkdir()
        for path in (narrow_weights / name).iterdir():
            if path.suffix == ".json":
                (folder / name / path.name).write_text(path.read_text().replace(RANDOM, "somebody's base"))
            else:
                (folder / name / path.name).symlink_to(path)
    with pytest.MonkeyPatch.context() as patch:
        built = generation._build("terramind_v1_tiny_generate", ("LULC",), tuple(narrow.build.modalities))
        tokenizer = built.tokenizer[generation.TARGETS["LULC"].name]
        whole, wanted = (tokenizer.encoder, tokenizer.quant_proj), tokenizer.state_dict()
        source = torch.Generator().manual_seed(0)
        row = torch.empty(max(t.numel() for t in wanted.values())).uniform_(-0.05, 0.05, generator=source)
        torch.save({n: row[: t.numel()].view(t.shape) for n, t in wanted.items()}, folder / TOKENIZER)

        build = generation._build

        def again(name: str, to: Sequence[str], given: Sequence[str]) -> torch.nn.Module:
            """Built once, for time; loading drops the tokenizer's encoder."""
            if name != "terramind_v1_tiny_generate":
                return build(name, to, given)
            tokenizer.encoder, tokenizer.quant_proj = whole
            return built

        patch.setattr(generation, "_build", again)
        yield folder


@pytest.fixture(scope="module")
def made(narrow: Family, published: Path) -> baseline.Generating:
    """Loaded from the files."""
    found = baseline.generating(
        narrow, published, read_recipes(ROOT / "eval" / "recipes")["pretraining"], device=resolve("cpu"), seed=3
    )
    assert not isinstance(found, str)
    return found


@pytest.fixture(scope="module")
def chip(place: Path) -> Chip:
    """A chip of the folder."""
    found = dict(each_chip(place / "chips", {}, None, {}))["a"]
    assert isinstance(found, Chip)
    return found


def test_files_are_named_and_a_seed_fixes_the_map(made: baseline.Generating, chip: Chip) -> None:
    logits, by = made(chip)
    assert logits.shape == (10, 64, 64)
    assert np.array_equal(logits, made(chip)[0])
    assert [(p.part, p.file, p.weights) for p in by.parts] == [
        ("base", "base.pt", "file"),
        ("LULC tokenizer", TOKENIZER, "file"),
    ]
    assert all(len(p.sha256 or "") == 64 for p in by.parts)
    assert (by.given, by.recipe, by.seed, by.greedy) == (["S2L2A", "S1RTC", "DEM"], "pretraining 1", 3, False)
    assert (by.steps, by.temperature, by.top_p) == (1, 1.0, 0.8)
    assert by.outputs_px == np.bincount(logits.argmax(0).ravel(), minlength=10).tolist()
    assert "sampled tokens (top-p 0.8), seed 3 in 1 step" in by.words


def test_of_several_dates_the_first_is_taken_and_that_is_said(made: baseline.Generating, chip: Chip) -> None:
    layer = chip.layers["S2L2A"]
    other = layer.data[:1, :, ::-1].copy()
    two = replace(layer, data=np.concatenate([layer.data[:1], other]), dates=(None, None))
    flipped = replace(chip, layers={**chip.layers, "S2L2A": replace(layer, data=other, dates=layer.dates[:1])})
    assert not np.array_equal(made(flipped)[0], made(chip)[0])  # so that the later date would be noticed
    logits, by = made(replace(chip, layers={**chip.layers, "S2L2A": two}))
    assert by.notes[0] == "S2L2A: the first of 2 dates"
    assert np.array_equal(logits, made(chip)[0])


def test_another_seed_is_another_map(made: baseline.Generating, chip: Chip) -> None:
    assert isinstance(made, baseline._Maker)
    assert not np.array_equal(replace(made, seed=made.seed + 1)(chip)[0], made(chip)[0])


def test_what_does_not_fit_is_refused(made: baseline.Generating, chip: Chip) -> None:
    with pytest.raises(ChipError, match="DEM is missing"):
        made(replace(chip, layers={m: x for m, x in chip.layers.items() if m != "DEM"}))
    large = replace(chip.grid, height_px=512, width_px=512)
    with pytest.raises(ChipError, match="512 x 512 px run in tiles; land cover is generated up to 256 px"):
        made(replace(chip, grid=large, layers={}, label=None))


def reasons(held: RunRecord) -> set[str]:
    """Why there is no generated land cover."""
    return {
        str(b.reason)
        for a in held.adapters
        for c in a.chips
        for b in (c.beside.baselines if c.beside else [])
        if b.id == "generated land cover"
    }


def test_a_run_has_it_beside_every_score_and_predicts_the_same(place: Path, published: Path, tmp_path: Path) -> None:
    words = ["--task=lulc_nyc", "--task=buildings_nyc", *labels(place)]
    run(place, published, tmp_path / "with", *words, "--generated", "--seed=3")
    held = record(tmp_path / "with")
    hashes = []
    for adapter in held.adapters:
        for chip in adapter.chips:
            assert chip.beside is not None
            one = next(b for b in chip.beside.baselines if b.id == "generated land cover")
            assert one.confusion is not None
            assert one.generated is not None
            assert sum(map(sum, one.confusion)) == sum(map(sum, chip.confusion or []))
            assert (one.generated.seed, one.generated.parts[1].file) == (3, TOKENIZER)
            assert one.instead == ("built area as building" if adapter.adapter == "buildings_nyc" else None)
            hashes.append((adapter.adapter, chip.chip, chip.probabilities_sha256))
    text = (tmp_path / "with" / "latest" / "report.md").read_text(encoding="utf-8")
    assert "| generated land cover (built area as building) | 2 |" in text
    assert "- [x] Trivial maps equal a recount of label against map" in text
    run(place, published, tmp_path / "without", *words, "--seed=3")
    plain = record(tmp_path / "without")
    assert reasons(plain) == {"add --generated"}
    assert [(a.adapter, c.chip, c.probabilities_sha256) for a in plain.adapters for c in a.chips] == hashes


def test_random_weights_generate_nothing(place: Path, narrow_weights: Path, tmp_path: Path) -> None:
    run(place, narrow_weights, tmp_path, "--task=lulc_nyc", *labels(place), "--generated")
    assert reasons(record(tmp_path)) == {
        "the weights are random, and land cover generated with them shows mechanics only"
    }
    text = (tmp_path / "latest" / "report.md").read_text(encoding="utf-8")
    assert "| generated land cover | 0 | not measured |" in text


def test_without_a_tokenizer_or_a_generator_the_reason_says_so(
    narrow: Family, narrow_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "base.pt").symlink_to(narrow_weights / "base.pt")
    recipe = read_recipes(ROOT / "eval" / "recipes")["pretraining"]
    monkeypatch.setenv("HARNESS_WEIGHTS", str(tmp_path))
    found = baseline.generating(narrow, None, recipe, device=resolve("cpu"))
    assert isinstance(found, str)
    assert f"the folder of weights holds no {TOKENIZER}" in found
    assert str(tmp_path) not in found
    (tmp_path / TOKENIZER).write_bytes(b"")
    other = narrow.model_copy(update={"build": narrow.build.model_copy(update={"backbone": "prithvi"})})
    found = baseline.generating(other, tmp_path, recipe, device=resolve("cpu"))
    assert found == "prithvi_generate: TerraTorch has no such generator"


def test_the_option_goes_with_a_run() -> None:
    with pytest.raises(RegistryError, match="--generated goes with --source or --live"):
        app(["reproduce", "--generated"], standalone_mode=False)
