"""Tiled inference: nothing lost, nothing moved, no seam; and its traps refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from harness.chips.tensors import Inputs
from harness.claims.families import Family
from harness.errors import HarnessError, RecipeError, TopologyError, WeightsError
from harness.models.ensemble import Ensemble, load_family
from harness.models.seams import agreement, seams
from harness.models.tiles import Predict, side, tiled
from tests.models.made import inputs

Image = dict[str, NDArray[np.float32]]


def image(height: int, width: int, seed: int = 0, steps: int = 2) -> Image:
    """Two modalities of normal numbers."""
    rng = np.random.default_rng(seed)
    return {m: rng.standard_normal((c, steps, height, width)).astype(np.float32) for m, c in (("a", 3), ("b", 1))}


def identity(batch: dict[str, Tensor]) -> Tensor:
    """One date of each modality's bands."""
    assert all(n % 32 == 0 for n in batch["a"].shape[-2:]), batch["a"].shape
    return torch.cat([batch["a"][:, :, 1], batch["b"][:, :, 0]], dim=1)


def off(out: NDArray[np.float32], of: Image) -> float:
    """Largest error of an identity, on the scale of 1 or of the value where that is larger."""
    wanted = np.concatenate([of["a"][:, 1], of["b"][:, 0]])
    assert out.shape == wanted.shape
    return float((np.abs(out - wanted) / np.maximum(1, np.abs(wanted))).max())


@pytest.mark.parametrize(
    ("height", "width"),
    [
        *((224, 224), (225, 225), (240, 240), (256, 256), (300, 300), (447, 447), (448, 448), (500, 333), (333, 500)),
        *((32, 32), (100, 100), (32, 225), (33, 500), (191, 300), (192, 300), (193, 300), (208, 300), (224, 225)),
    ],
)
def test_an_identity_comes_back_at_borders_too(height: int, width: int) -> None:
    picture = image(height, width)
    assert off(tiled(identity, picture), picture) <= 1e-6


@settings(max_examples=60)
@given(
    height=st.integers(32, 200),
    width=st.integers(32, 200),
    crop=st.sampled_from([64, 96, 128]),
    data=st.data(),
)
def test_an_identity_comes_back_for_any_numbers(height: int, width: int, crop: int, data: st.DataObject) -> None:
    delta = data.draw(st.integers(1, 20))
    stride = 16 * data.draw(st.integers(max(1, crop // 64), (crop - 2 * delta - 1) // 16))
    picture = image(height, width)
    assert off(tiled(identity, picture, crop, stride, delta, data.draw(st.integers(1, 5))), picture) <= 1e-6


@given(size=st.integers(32, 2000), crop=st.integers(3, 10), delta=st.integers(1, 40))
def test_a_plan_covers_its_side_in_step(size: int, crop: int, delta: int) -> None:
    crop *= 32
    plan = side(size, crop, 16, delta)
    outer = plan.padded_px + 2 * delta
    assert size <= plan.padded_px < size + 32
    assert plan.crop_px % 32 == 0
    assert plan.crop_px <= crop
    assert (outer - plan.crop_px) % 16 == 0
    assert plan.crop_px == (crop if size + 2 * delta > crop else outer)


@pytest.mark.parametrize(("height", "width", "delta"), [(448, 333, 16), (225, 500, 8), (100, 300, 12)])
def test_all_tiles_are_in_step(height: int, width: int, delta: int) -> None:
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    seen: set[tuple[float, float]] = set()

    def predict(batch: dict[str, Tensor]) -> Tensor:
        place = batch["a"][0, :, 0, delta, delta]  # first pixel that is kept
        seen.add((float(place[0]) % 16, float(place[1]) % 16))
        return batch["a"][:, :, 0]

    out = tiled(predict, {"a": np.stack([rows, columns])[:, None]}, stride_px=176, delta_px=delta)
    assert seen == {(0.0, 0.0)}
    np.testing.assert_allclose(out, np.stack([rows, columns]), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("height", "width"), [(224, 304), (96, 400), (448, 240)])
def test_a_model_that_sees_no_further_than_delta_shows_no_seam(height: int, width: int) -> None:
    picture = image(height, width)
    kernel = torch.from_numpy(np.random.default_rng(1).standard_normal((2, 4, 17, 17)).astype(np.float32)) / 34
    convolve = torch.nn.functional.conv2d
    stacked = torch.from_numpy(np.concatenate([picture["a"][:, 1], picture["b"][:, 0]]))[None]
    wanted = convolve(torch.nn.functional.pad(stacked, (8, 8, 8, 8), mode="reflect"), kernel)[0].numpy()
    out = tiled(lambda batch: convolve(identity(batch), kernel, padding=8), picture)
    np.testing.assert_allclose(out, wanted, atol=2e-5)
    near = tiled(lambda batch: convolve(identity(batch), kernel, padding=8), picture, delta_px=4)
    assert np.abs(near - wanted).max() > 0.1


def test_batches_change_nothing() -> None:
    picture = image(300, 460)
    sizes: list[int] = []

    def counted(batch: dict[str, Tensor]) -> Tensor:
        sizes.append(batch["a"].shape[0])
        return identity(batch)

    assert np.array_equal(tiled(counted, picture, batch=4), tiled(identity, picture))
    assert sizes == [4, 2]


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ({"delta_px": 0}, "empty tensor"),
        ({"stride_px": 224}, "stride must be from 1 to 191"),
        ({"stride_px": 192}, "stride must be from 1 to 191"),
        ({"stride_px": 0}, "stride must be from 1 to 191"),
        ({"delta_px": 24}, "stride must be from 1 to 175"),
        ({"stride_px": 168}, "out of step"),
        ({"crop_px": 208}, "multiple of 32"),
        ({"crop_px": 0}, "multiple of 32"),
        ({"batch": 0}, "batch"),
        ({"crop_px": 160, "stride_px": 48, "delta_px": 48}, "smaller delta"),
    ],
)
def test_numbers_that_terratorch_gets_wrong_are_refused(numbers: dict[str, int], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        tiled(identity, image(32, 225), **numbers)


def test_the_trap_is_still_there() -> None:
    from terratorch.tasks.tiled_inference import tiled_inference

    picture = {m: torch.from_numpy(a)[None] for m, a in image(300, 300).items()}
    assert tiled_inference(identity, picture, crop=224, stride=192, delta=0, batch_size=1).numel() == 0


def without(picture: Image, modality: str) -> Image:
    picture[modality] = picture[modality][..., :-1]
    return picture


def holed(picture: Image) -> Image:
    picture["b"][0, 0, 3, 3] = np.nan
    return picture


@pytest.mark.parametrize(
    ("picture", "words"),
    [
        ({}, "no arrays"),
        (image(31, 300), "a side of 31 px"),
        (without(image(64, 64), "b"), "one T, H and W"),
        ({"a": np.zeros((3, 64, 64), np.float32)}, "one T, H and W"),
        (holed(image(64, 64)), "NaN or infinity in b"),
    ],
)
def test_images_that_cannot_be_tiled_are_refused(picture: Image, words: str) -> None:
    with pytest.raises(TopologyError, match=words):
        tiled(identity, picture)


def growing() -> Predict:
    calls: list[int] = []

    def predict(batch: dict[str, Tensor]) -> Tensor:
        calls.append(1)
        return identity(batch)[:, : 1 + (len(calls) > 1)]

    return predict


@pytest.mark.parametrize(
    ("predict", "words"),
    [
        (lambda batch: identity(batch)[..., ::4, ::4], "for 1 tiles of 224 x 224 px"),
        (lambda batch: identity(batch)[0], "for 1 tiles"),
        (lambda batch: identity(batch) * float("nan"), "the model gave NaN"),
        (growing(), "2 classes after 1"),
    ],
)
def test_a_model_that_gives_something_else_is_refused(predict: Predict, words: str) -> None:
    with pytest.raises(TopologyError, match=words):
        tiled(predict, image(225, 225))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda out: out[..., :0, :0], "tiled inference gave"),
        (lambda out: out * 1.01, "do not add up"),
        (lambda out: out / (out[:, -1:] != 7) / 0.0, "do not add up"),
    ],
)
def test_blending_that_goes_wrong_is_noticed(
    answer: Callable[[Tensor], Tensor], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import terratorch.tasks.tiled_inference as theirs

    plain = theirs.tiled_inference
    monkeypatch.setattr(theirs, "tiled_inference", lambda *a, **k: answer(plain(*a, **k)))
    with pytest.raises(TopologyError, match=words):
        tiled(identity, image(225, 225))


def test_pixels_without_a_value_are_an_error_and_other_errors_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    import terratorch.tasks.tiled_inference as theirs

    def fails(text: str) -> Callable[..., Tensor]:
        def tiled_inference(*_args: object, **_kwargs: object) -> Tensor:
            raise RuntimeError(text)

        return tiled_inference

    monkeypatch.setattr(theirs, "tiled_inference", fails("Some pixels did not receive a classification!"))
    with pytest.raises(TopologyError, match="225 x 225 px: TerraTorch left pixels"):
        tiled(identity, image(225, 225))
    monkeypatch.setattr(theirs, "tiled_inference", fails("out of memory"))
    with pytest.raises(RuntimeError, match="out of memory"):
        tiled(identity, image(225, 225))


@pytest.fixture(scope="module")
def ensemble(narrow: Family, narrow_weights: Path) -> Ensemble:
    return load_family(narrow, narrow_weights, tasks=["lulc_nyc", "buildings_nyc"], device="cpu")


def test_what_fits_in_a_tile_is_predicted_as_ever(ensemble: Ensemble) -> None:
    chip = inputs(224)
    assert np.array_equal(
        ensemble.predict_tiled(chip, "lulc_nyc").logits, ensemble.predict(chip, ["lulc_nyc"])["lulc_nyc"].logits
    )


def cut(chip: Inputs, rows: slice, columns: slice) -> Inputs:
    return replace(chip, arrays={m: a[..., rows, columns] for m, a in chip.arrays.items()})


def test_an_odd_number_of_patches_stays_in_step(ensemble: Ensemble) -> None:
    chip = inputs(224)
    whole = ensemble.predict(chip, ["lulc_nyc"])["lulc_nyc"].logits[:, 40:168, 40:168]
    odd = cut(chip, slice(208), slice(208))
    bare = ensemble.forward("lulc_nyc", {m: torch.from_numpy(a.copy())[None] for m, a in odd.arrays.items()})[0].numpy()
    ours = ensemble.predict_tiled(odd, "lulc_nyc").logits
    assert ours.shape == bare.shape == (5, 208, 208)
    apart, apart_bare = (float(np.abs(out[:, 40:168, 40:168] - whole).mean()) for out in (ours, bare))
    assert apart < 0.3 * apart_bare


def test_tiled_agrees_with_one_pass(ensemble: Ensemble) -> None:
    chip = inputs(320)
    direct = ensemble.predict(chip, ["lulc_nyc"])["lulc_nyc"].logits
    in_step = agreement(ensemble.predict_tiled(chip, "lulc_nyc").logits, direct)
    out_of_step = agreement(ensemble.predict_tiled(chip, "lulc_nyc", delta_px=8).logits, direct)
    assert in_step.mean_difference < 0.6 * out_of_step.mean_difference


def test_an_image_of_odd_size_is_predicted_whole(ensemble: Ensemble) -> None:
    chip = inputs(300)
    chip = cut(chip, slice(241), slice(None))
    out = ensemble.predict_tiled(chip, "buildings_nyc")
    assert out.logits.shape == (2, 241, 300)
    assert np.isfinite(out.logits).all()
    assert out.dates_encoded == 4  # four tiles, each with one date four times
    again = ensemble.predict_tiled(chip, "buildings_nyc", batch=3)
    assert again.dates_encoded == 0
    np.testing.assert_allclose(again.logits, out.logits, atol=1e-4)


def test_what_predict_refuses_is_refused_tiled(narrow: Family, narrow_weights: Path) -> None:
    own = load_family(narrow, narrow_weights, tasks=["lulc_nyc"], device="cpu")
    chip = inputs(240)
    lacking = replace(chip, arrays={m: a for m, a in chip.arrays.items() if m != "DEM"})
    three = replace(chip, arrays={m: a[:, :3] for m, a in chip.arrays.items()})
    for wrong, words in ((lacking, "needs DEM"), (three, "takes")):
        with pytest.raises(TopologyError, match=words):
            own.predict_tiled(wrong, "lulc_nyc")
    with pytest.raises(HarnessError, match="not loaded"):
        own.predict_tiled(chip, "tim_nyc")
    own.adapters["lulc_nyc"].model.encoder.encoder.encoder[0].attn.qkv.merge()
    with pytest.raises(WeightsError, match="merged in place"):
        own.predict_tiled(chip, "lulc_nyc")


def spread_out(ensemble: Ensemble, task: str, size_px: int) -> Predict:
    """The model with each class moved to mean 0 and spread 1: random weights would call nearly all pixels one class."""
    logits = torch.from_numpy(ensemble.predict(inputs(size_px, seed=9), [task])[task].logits)[None]
    mean, std = logits.mean((2, 3), keepdim=True), logits.std((2, 3), keepdim=True)
    return lambda batch: (ensemble.forward(task, batch) - mean) / std


@pytest.mark.parametrize("task", ["lulc_nyc", "buildings_nyc"])
def test_tiles_disagree_at_seams_hardly_more_than_inside(ensemble: Ensemble, task: str) -> None:
    predict = spread_out(ensemble, task, 224)
    found = [seams(predict, inputs(336, seed=seed)) for seed in (1, 2)]
    dropped, near, interior = (float(np.mean([getattr(s, n) for s in found])) for n in ("dropped", "near", "interior"))
    assert 0.05 < interior < 0.6  # the classes vary, so the ratio says something
    assert near <= 1.5 * interior
    assert dropped > 1.5 * interior  # what tiling leaves out for it
    assert all(s.pairs == 4 for s in found)


def test_disagreement_is_told_by_distance_from_the_edge() -> None:
    def framed(batch: dict[str, Tensor]) -> Tensor:
        out = torch.zeros_like(batch["S2L2A"][:, :2, 0])
        out[:, 0] = 1
        out[:, 1, :, :10] = out[:, 1, :, -10:] = out[:, 1, :10] = out[:, 1, -10:] = 2
        return out

    found = seams(framed, inputs(192), crop_px=128, delta_px=8, shift_px=64)
    assert found.pairs == 4
    assert found.by_distance.tolist() == [1.0] * 10 + [0.0] * 22
    assert (found.dropped, found.near, found.interior, found.ratio) == (1.0, 0.25, 0.0, None)
    assert found.logits_by_distance.tolist() == [1.0] * 10 + [0.0] * 22
    with pytest.raises(TopologyError, match="leaves nothing beyond"):
        seams(framed, inputs(448), shift_px=192)
    with pytest.raises(TopologyError, match="holds no two tiles"):
        seams(framed, inputs(224))


def test_two_predictions_are_compared(ensemble: Ensemble) -> None:
    chip = inputs(256)
    tiles, direct = ensemble.predict_tiled(chip, "lulc_nyc"), ensemble.predict(chip, ["lulc_nyc"])["lulc_nyc"]
    found = agreement(tiles.logits, direct.logits)
    assert found.pixels == 256 * 256
    assert found.argmax == (tiles.classes == direct.classes).mean()
    assert 0 < found.mean_difference < found.max_difference
    assert agreement(direct.logits, direct.logits).argmax == 1.0
    with pytest.raises(TopologyError, match="cannot be compared"):
        agreement(tiles.logits, direct.logits[:, :100])
