"""`harness think`: codebooks, strict weights, seeds, units, scores. TerraMind tiny with random weights."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from harness.chips.chip import Chip, Grid, Label, Layer
from harness.chips.labels import LabelMap
from harness.chips.recipe import Recipe, read_recipes
from harness.chips.tensors import Inputs
from harness.claims.families import Family
from harness.claims.schemes import Scheme, SchemeClass
from harness.errors import ChipError, RecipeError, TopologyError, WeightsError
from harness.models import synthetic
from harness.models.generation.generate import (
    TARGETS,
    Generator,
    _check_statistics,
    _codebook,
    fill_random,
    generate,
    load_generator,
    put_tokenizer,
)
from harness.models.generation.think import reference, score_generated, think
from harness.models.thinking import seeded
from harness.models.weights import WeightFile
from harness.records.think import LULC_CLASSES, NDVI_RANGE
from harness.score.confusion import ConfusionMatrix

BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
SIZE_PX = 32


def quick(name: str, shape: tuple[int, ...], scale: float, seed: int, centre: float = 0.0) -> torch.Tensor:
    """In place of `synthetic.uniform`, which takes 10 s for the tokenizers' 300 million numbers."""
    source = torch.Generator().manual_seed(seed + len(name))
    return torch.empty(shape).uniform_(centre - scale, centre + scale, generator=source)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Threads that wait for each other cost more than they bring at this size: ten times, on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def generator(narrow: Family) -> Generator:
    """Land cover and NDVI from Sentinel-2, all weights random."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthetic, "uniform", quick)
        return load_generator(narrow, None, device="cpu")


def made_inputs(seed: int = 0, size: tuple[int, int] = (SIZE_PX, SIZE_PX), dates: int = 1) -> Inputs:
    """Standardised noise."""
    drawn = np.random.default_rng(seed).standard_normal((12, dates, *size)).astype(np.float32)
    return Inputs(f"chip-{seed}", "pretraining", {"S2L2A": drawn}, True, {}, ())


def test_what_is_random_is_said_and_codebooks_are_as_published(generator: Generator) -> None:
    assert generator.random == ("base", "LULC tokenizer", "NDVI tokenizer")
    assert [(c.modality, c.levels, c.entries) for c in generator.codebooks] == [
        ("LULC", [7, 5, 5, 5, 5], 4375),
        ("NDVI", [8, 8, 8, 6, 5], 15360),
    ]
    assert all(p.loaded == 0 and p.expected > 100 for p in generator.parts)


def test_shapes_units_and_finite_weights(generator: Generator) -> None:
    assert all(bool(torch.isfinite(p).all()) for p in generator.model.parameters())
    found = generate(generator, made_inputs(), steps=1)
    assert found.arrays["LULC"].shape == (10, SIZE_PX, SIZE_PX)
    assert found.arrays["NDVI"].shape == (1, SIZE_PX, SIZE_PX)
    assert found.lulc.min() >= 0
    assert len(np.unique(found.lulc)) > 1
    assert np.array_equal(found.lulc, found.arrays["LULC"].argmax(axis=0))
    ndvi = found.arrays["NDVI"]
    assert NDVI_RANGE[0] - 1e-6 <= ndvi.min() < ndvi.max() <= NDVI_RANGE[1] + 1e-6
    assert ndvi.max() > 0.6  # something reaches the clip, so the range is where we say


def test_units_are_those_of_terratorchs_own_standardising(generator: Generator) -> None:
    """Raw pixels in, its `standardize` on: the same land cover and NDVI as ours."""
    given = made_inputs(1)
    ours = generate(generator, given, seed=4, steps=2)
    mean, std = (t["untok_sen2l2a@224"] for t in (generator.model.pretraining_mean, generator.model.pretraining_std))
    raw = torch.from_numpy(given.arrays["S2L2A"][:, 0])[None] * std + mean
    with seeded(4), torch.inference_mode():
        theirs = generator.model({"S2L2A": raw}, standardize=True, timesteps=2)
    assert np.allclose(ours.arrays["NDVI"], theirs["NDVI"][0].numpy(), atol=1e-4)
    assert np.allclose(ours.arrays["LULC"], theirs["LULC"][0].numpy(), atol=1e-3)


def test_a_seed_fixes_everything_and_callers_random_states_stay(generator: Generator) -> None:
    random.seed(1)
    torch.manual_seed(1)
    before = random.getstate(), torch.random.get_rng_state()
    first = generate(generator, made_inputs(), seed=9, steps=1)
    assert random.getstate() == before[0]
    assert torch.equal(torch.random.get_rng_state(), before[1])
    random.seed(2)
    torch.manual_seed(2)
    again = generate(generator, made_inputs(), seed=9, steps=1)
    other = generate(generator, made_inputs(), seed=10, steps=1)
    for modality in ("LULC", "NDVI"):
        assert np.array_equal(first.arrays[modality], again.arrays[modality])
        assert not np.array_equal(first.arrays[modality], other.arrays[modality])


def test_greedy_land_cover_depends_on_no_seed_but_on_the_input(generator: Generator) -> None:
    first = generate(generator, made_inputs(), seed=1, steps=1, greedy=True).arrays
    second = generate(generator, made_inputs(), seed=2, steps=1, greedy=True).arrays
    assert np.array_equal(first["LULC"], second["LULC"])
    assert not np.array_equal(first["NDVI"], second["NDVI"])  # noise
    other = generate(generator, made_inputs(5), seed=1, steps=1, greedy=True).arrays
    assert not np.array_equal(first["LULC"], other["LULC"])
    assert (generator.model.top_k, generator.model.top_p) == (0, 0.8)


@pytest.mark.parametrize(
    ("inputs", "steps", "words"),
    [
        (made_inputs(size=(32, 48)), 1, "32 x 48 px; the generator takes squares"),
        (made_inputs(size=(40, 40)), 1, "40 x 40 px; the generator takes squares, sides multiples of 16"),
        (made_inputs(dates=4), 1, r"S2L2A is \(12, 4, 32, 32\)"),
        (replace(made_inputs(), arrays={"DEM": np.zeros((1, 1, 32, 32), np.float32)}), 1, "takes S2L2A; there are DEM"),
        (made_inputs(), 0, "at least one"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(generator: Generator, inputs: Inputs, steps: int, words: str) -> None:
    with pytest.raises(TopologyError, match=words):
        generate(generator, inputs, steps=steps)


def test_damaged_output_is_refused(generator: Generator) -> None:
    def broken(*_: object, **__: object) -> dict[str, torch.Tensor]:
        return {"LULC": torch.full((1, 10, 32, 32), torch.nan), "NDVI": torch.zeros(1, 1, 32, 32)}

    stand_in = SimpleNamespace(top_k=0, top_p=0.8)
    call = type("Broken", (), {**vars(stand_in), "__call__": broken})()
    with pytest.raises(WeightsError, match="LULC holds NaN or infinity"):
        generate(replace(generator, model=call), made_inputs())


@pytest.mark.parametrize(
    ("to", "given", "words"),
    [
        (("LULC", "S2L1C"), ("S2L2A",), "S2L1C cannot be generated; LULC and NDVI can"),
        (("LULC", "LULC"), ("S2L2A",), "LULC, LULC cannot be generated"),
        ((), ("S2L2A",), "nothing cannot be generated"),
        (("LULC",), ("LULC",), "LULC cannot be given; S2L2A and S1RTC and DEM can"),
    ],
)
def test_other_modalities_are_refused(narrow: Family, to: tuple[str, ...], given: tuple[str, ...], words: str) -> None:
    with pytest.raises(TopologyError, match=words):
        load_generator(narrow, None, to, given, device="cpu")


def test_a_family_without_generator_is_refused(narrow: Family) -> None:
    other = narrow.model_copy(update={"build": narrow.build.model_copy(update={"backbone": "prithvi"})})
    with pytest.raises(TopologyError, match="prithvi_generate: TerraTorch has no such generator"):
        load_generator(other, None, device="cpu")


def stub(levels: list[int], entries: int, tokens: int, mean: float = 0.327) -> Any:
    """What is looked at of a generator."""
    name = TARGETS["NDVI"].name
    quantize = SimpleNamespace(_levels=torch.tensor(levels), codebook_size=entries)
    logits = SimpleNamespace(to_logits=SimpleNamespace(weight=torch.zeros(tokens, 1)))
    return SimpleNamespace(
        tokenizer={name: SimpleNamespace(quantize=quantize)},
        sampler=SimpleNamespace(model=SimpleNamespace(decoder_embeddings={name: logits})),
        pretraining_mean={name: torch.tensor([[[[mean]]]])},
        pretraining_std={name: torch.tensor([[[[0.322]]]])},
    )


def test_a_codebook_of_another_size_is_refused() -> None:
    assert _codebook(stub([8, 8, 8, 6, 5], 15360, 15360), "NDVI").entries == 15360
    with pytest.raises(TopologyError, match=r"4,375 codes \(7x5x5x5x5\), not 15,360"):
        _codebook(stub([7, 5, 5, 5, 5], 4375, 4375), "NDVI")
    with pytest.raises(TopologyError, match=r"15,360 codes \(5x6x8x8x8\), not 15,360 \(8x8x8x6x5\)"):
        _codebook(stub([5, 6, 8, 8, 8], 15360, 15360), "NDVI")
    with pytest.raises(TopologyError, match="one of 16,384 tokens, its tokenizer reads 15,360"):
        _codebook(stub([8, 8, 8, 6, 5], 15360, 16384), "NDVI")


def test_codebooks_are_those_of_the_claims(root: Path) -> None:
    from harness.claims.registry import read_registry

    claims = read_registry([root / "eval" / "claims"]).claims
    stated = {
        c.quantity.conditions["modality"]: int(str(c.value).replace(",", ""))
        for c in claims
        if c.quantity.metric == "codebook" and c.id.startswith("terramind-1.0/")
    }
    assert stated == {"most": 15360, "LULC": 4375}
    assert np.prod(TARGETS["LULC"].levels) == stated["LULC"]
    assert np.prod(TARGETS["NDVI"].levels) == stated["most"]


def test_other_statistics_are_refused() -> None:
    _check_statistics(stub([1], 1, 1), "NDVI")
    with pytest.raises(TopologyError, match="NDVI: TerraTorch standardises with mean"):
        _check_statistics(stub([1], 1, 1, mean=0.4), "NDVI")


def test_statistics_are_checked_while_loading(narrow: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TARGETS, "NDVI", replace(TARGETS["NDVI"], std=0.3))
    with pytest.raises(TopologyError, match=r"NDVI: TerraTorch standardises with std \[0.32"):
        load_generator(narrow, None, device="cpu")


@pytest.fixture
def linked(narrow_weights: Path, tmp_path: Path) -> Path:
    """A folder with the narrow family's base, and no marker of random weights."""
    (tmp_path / "base.pt").symlink_to(narrow_weights / "base.pt")
    return tmp_path


ALL = ("S2L2A", "S1RTC", "DEM")


@pytest.mark.parametrize("marked", [False, True])
def test_a_base_file_is_loaded_whole(
    narrow: Family, linked: Path, marked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(synthetic, "uniform", quick)
    if marked:
        (linked / synthetic.MARKER).write_text("{}")
    found = load_generator(narrow, linked, ("LULC",), ALL, device="cpu")
    base, tokenizer = found.parts
    assert (base.weights, tokenizer.weights) == ("random file" if marked else "file", "random")
    assert found.random == (("base", "LULC tokenizer") if marked else ("LULC tokenizer",))
    assert base.loaded == base.expected
    assert base.unused == {"embedding of a modality that is not built": 4}
    held = torch.load(linked / "base.pt", weights_only=True)
    state = found.model.state_dict()
    mine = [n for n in state if n.startswith("sampler.model.")]
    assert len(mine) == base.expected
    assert all(torch.equal(state[n], held[n.removeprefix("sampler.model.")]) for n in mine)
    assert not any(n.startswith(("tokenizer.tok_lulc@224.encoder.", "tokenizer.tok_lulc@224.quant")) for n in state)


def test_a_base_without_the_modality_is_refused(narrow: Family, linked: Path) -> None:
    with pytest.raises(WeightsError, match=r"tensors missing for terramind_v1_tiny_generate, first .*tok_ndvi@224"):
        load_generator(narrow, linked, ("NDVI",), ALL, device="cpu")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t | {"strange.weight": torch.zeros(1)}, "1 tensors have no place .* strange.weight"),
        (lambda t: t | {"mask_token": torch.zeros(1, 1, 7)}, r"mask_token is \[1, 1, 7\]"),
    ],
)
def test_an_unexplained_base_tensor_is_refused(
    narrow: Family, narrow_weights: Path, tmp_path: Path, change: Callable[[Any], Any], words: str
) -> None:
    held = torch.load(narrow_weights / "base.pt", weights_only=True)
    torch.save(change(held), tmp_path / "base.pt")
    with pytest.raises(WeightsError, match=words):
        load_generator(narrow, tmp_path, ("LULC",), ALL, device="cpu")


def weight_file(tensors: dict[str, torch.Tensor]) -> WeightFile:
    """As read."""
    return WeightFile(Path("TerraMind_Tokenizer_NDVI.pt"), "0" * 64, 1, False, tensors)


def test_a_tokenizer_file_is_loaded_whole_or_refused() -> None:
    module = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    tensors = {n: torch.full_like(t, 2.0) for n, t in module.state_dict().items()}
    part = put_tokenizer(module, "NDVI", weight_file(tensors))
    assert (part.weights, part.expected, part.loaded, part.unused) == ("file", 4, 4, {})
    assert all(bool((t == 2).all()) for t in module.state_dict().values())
    less = {n: t for n, t in tensors.items() if n != "1.bias"}
    with pytest.raises(WeightsError, match=r"1 tensors of the NDVI tokenizer missing and 0 without .* 1\.bias"):
        put_tokenizer(module, "NDVI", weight_file(less))
    with pytest.raises(WeightsError, match=r"0 tensors of the NDVI tokenizer missing and 1 without .* other"):
        put_tokenizer(module, "NDVI", weight_file(tensors | {"other": torch.zeros(1)}))
    with pytest.raises(WeightsError, match=r"1.bias is \[2\], the NDVI tokenizer wants \[1\]"):
        put_tokenizer(module, "NDVI", weight_file(tensors | {"1.bias": torch.zeros(2)}))


class Tied(nn.Module):
    """An embedding that also predicts, a norm, a layer, a position."""

    def __init__(self) -> None:
        super().__init__()
        self.token_emb = nn.Embedding(5, 4)
        self.to_logits = nn.Linear(4, 5, bias=False)
        self.to_logits.weight = self.token_emb.weight
        self.norm = nn.LayerNorm(4)
        self.layer = nn.Linear(4, 4)
        self.pos_emb = nn.Parameter(torch.ones(1, 2, 4))


def test_random_weights_are_fixed_by_name_and_seed() -> None:
    one, two, three = Tied(), Tied(), Tied()
    for module, seed in ((one, 0), (two, 0), (three, 1)):
        fill_random(module, "part", seed)
    assert torch.equal(one.layer.weight, two.layer.weight)
    assert not torch.equal(one.layer.weight, three.layer.weight)
    assert one.to_logits.weight is one.token_emb.weight
    assert bool((one.layer.bias == 0).all())
    assert bool((one.norm.weight == 1).all())
    assert bool((one.pos_emb == 1).all())
    assert 0 < float(one.token_emb.weight.detach().abs().max()) < 0.035
    other = nn.Module()
    other.scale = nn.Parameter(torch.ones(3))
    with pytest.raises(TopologyError, match=r"part\.\.scale: no rule for random numbers"):
        fill_random(other, "part", 0)


CODES = LabelMap(
    modality="LULC",
    scheme="made",
    codes={1: 0, 2: 1, 9: 1},
    ignore=[8],
    evidence="inference",
    why="made for a test",
    sources=[],
)
SCHEME = Scheme(
    id="made",
    title="Made",
    origin="test",
    sources=[],
    classes=[SchemeClass(index=0, name="wet"), SchemeClass(index=1, name="green")],
    evidence="none",
)


def label(data: list[list[int]], scheme: str = "made") -> Label:
    """A label of that scheme."""
    return Label(np.array(data, np.int64), scheme, Path("LULC.tif"), "inference", "made for a test")


def test_generated_land_cover_is_scored_under_the_labels_scheme() -> None:
    lulc = np.array([[1, 2, 9, 8], [1, 0, 2, 1]])
    matrix = score_generated(lulc, label([[0, 1, 1, 1], [1, 0, -1, 0]]), CODES, 2)
    # clouds on green and no data on wet count against the generator, as a class of their own
    assert matrix == ConfusionMatrix(((2, 0, 1), (1, 2, 1), (0, 0, 0)), ignored=1)


def test_scores_that_mean_nothing_are_refused() -> None:
    lulc = np.array([[1, 2]])
    with pytest.raises(ChipError, match="scheme other, the map goes to made"):
        score_generated(lulc, label([[0, 1]], "other"), CODES, 2)
    with pytest.raises(ChipError, match=r"label \(1, 3\) px, generated \(1, 2\) px"):
        score_generated(lulc, label([[0, 1, 1]]), CODES, 2)
    with pytest.raises(ChipError, match="holds 1 to 10; outputs are 0 to 9"):
        score_generated(np.array([[1, 10]]), label([[0, 1]]), CODES, 2)


def chip(*, labelled: bool) -> Chip:
    """A raw chip in DN, dark enough to be known for without offset."""
    rng = np.random.default_rng(3)
    optical = rng.uniform(30, 3000, (1, 12, SIZE_PX, SIZE_PX)).astype(np.float32)
    codes = rng.integers(0, 2, (SIZE_PX, SIZE_PX))
    ndvi = np.full((1, 1, SIZE_PX, SIZE_PX), 0.5, np.float32)
    layers = {
        "S2L2A": Layer("S2L2A", optical, BANDS, "DN", (None,), Path("S2L2A/c.tif"), True),
        "NDVI": Layer("NDVI", ndvi, ("NDVI",), "1", (None,), Path("NDVI/c.tif")),
    }
    grid = Grid(32618, (10.0, 0.0, 580000.0, 0.0, -10.0, 4500000.0), SIZE_PX, SIZE_PX)
    return Chip("c", grid, layers, label(codes.tolist()) if labelled else None)


@pytest.fixture(scope="module")
def recipes() -> dict[str, Recipe]:
    """All recipes."""
    return read_recipes(Path(__file__).resolve().parents[2] / "eval" / "recipes")


def test_a_thought_is_written_down(generator: Generator, recipes: dict[str, Recipe]) -> None:
    thought = think(
        generator, chip(labelled=True), recipes["pretraining"], seed=2, steps=1, label_map=CODES, scheme=SCHEME
    )
    record, arrays = thought.record, thought.generated.arrays
    assert (record.chip, record.recipe, record.given, record.to) == ("c", "pretraining 1", ["S2L2A"], ["LULC", "NDVI"])
    assert record.random_weights
    assert record.lulc_px == np.bincount(thought.generated.lulc.ravel(), minlength=10).tolist()
    assert record.lulc_evidence == "inference"
    assert record.ndvi_mean_abs_difference == pytest.approx(np.abs(arrays["NDVI"] - 0.5).mean(), rel=1e-5)
    assert record.unscored is None
    assert record.score is not None
    assert record.score.classes == ["wet", "green", "no class of made"]
    assert sum(map(sum, record.score.confusion)) == SIZE_PX**2
    assert len(record.score.iou) == 2
    assert type(record).model_validate_json(record.model_dump_json()) == record
    by_hand = generate(generator, _standardised(chip(labelled=False), recipes["pretraining"]), 2, 1)
    assert np.array_equal(by_hand.arrays["LULC"], arrays["LULC"])


def _standardised(raw: Chip, recipe: Recipe) -> Inputs:
    stats = recipe.statistics["S2L2A"]
    mean, std = (np.array(v, np.float32).reshape(12, 1, 1, 1) for v in (stats.mean, stats.std))
    return replace(made_inputs(), arrays={"S2L2A": (raw.layers["S2L2A"].data.swapaxes(0, 1) - mean) / std})


def test_a_chip_without_label_is_not_scored_and_says_why(generator: Generator, recipes: dict[str, Recipe]) -> None:
    record = think(generator, chip(labelled=False), recipes["pretraining"], steps=1).record
    assert record.score is None
    assert record.unscored == "the chip has no label, or no map from its codes to a scheme was given"
    assert reference(chip(labelled=False), "LULC") is None


def test_another_recipe_is_refused(generator: Generator, recipes: dict[str, Recipe]) -> None:
    with pytest.raises(RecipeError, match="generation takes pretraining"):
        think(generator, chip(labelled=False), recipes["training-code"], steps=1)


def test_there_are_as_many_names_as_outputs() -> None:
    assert len(set(LULC_CLASSES)) == TARGETS["LULC"].channels
