"""One base, many adapters: what is shared, what is not, and what a call leaves behind."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from peft.tuners.lora import LoraLayer

from harness.chips.recipe import read_recipes
from harness.chips.sources.files import read_chips
from harness.chips.tensors import to_inputs
from harness.claims.families import Family
from harness.errors import DeviceError, RecipeError, RegistryError, TopologyError, WeightsError
from harness.models.batchnorm import recompute
from harness.models.ensemble import Ensemble, load_family
from harness.models.synthetic import MARKER, write_adapter
from harness.models.thinking import repeatable
from tests.chips.made import write_folder
from tests.models.conftest import ROOT
from tests.models.made import inputs

PLAIN = ["lulc_nyc", "buildings_nyc"]


@pytest.fixture(scope="module")
def shared(narrow: Family, narrow_weights: Path) -> Ensemble:
    """All three adapters; tests leave it as it was."""
    return load_family(narrow, narrow_weights, device="cpu", greedy=True)


@pytest.fixture
def ensemble(shared: Ensemble) -> Ensemble:
    """The same models with an empty cache of dates."""
    return replace(shared, dates=type(shared.dates)())


def test_each_task_gives_its_own_classes(ensemble: Ensemble) -> None:
    out = ensemble.predict(inputs(), ["buildings_nyc", "lulc_nyc"])
    assert list(out) == ["buildings_nyc", "lulc_nyc"]
    assert out["lulc_nyc"].logits.shape == (5, 64, 64)
    assert out["buildings_nyc"].logits.shape == (2, 64, 64)
    for prediction in out.values():
        np.testing.assert_allclose(prediction.probabilities.sum(axis=0), 1, atol=1e-6)
        assert np.array_equal(prediction.probabilities.argmax(axis=0), prediction.classes)


def test_the_base_is_held_once(narrow: Family, narrow_weights: Path, shared: Ensemble) -> None:
    plain = load_family(narrow, narrow_weights, tasks=PLAIN, device="cpu")
    for each in (plain, shared):
        content: dict[str, int] = {}
        for loaded in each.adapters.values():
            for t in [*loaded.model.parameters(), *loaded.model.buffers()]:
                raw = t.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
                content[hashlib.sha256(raw).hexdigest()] = len(raw)
        held, distinct = each.distinct_bytes()
        assert distinct <= 1.1 * sum(content.values())
        assert held > 1.1 * sum(content.values())
    weights = [
        plain.adapters[task].model.get_submodule("encoder.encoder.encoder.5.mlp.fc1").weight.data_ptr()
        for task in PLAIN
    ]
    assert weights[0] == weights[1]


def test_a_hundred_switches_change_no_bit(ensemble: Ensemble) -> None:
    ensemble.reuse_dates = False
    x = inputs()
    tasks = [*PLAIN, "tim_nyc"]
    before = {t: p.logits for t, p in ensemble.predict(x, tasks).items()}
    small = inputs(32, seed=1)
    ensemble.reuse_dates = True  # only neck and decoder run again: it is the switches that are tested
    for i in range(100):
        ensemble.predict(small, [tasks[i % 3]])
    ensemble.reuse_dates = False
    after = {t: p.logits for t, p in ensemble.predict(x, tasks).items()}
    assert all(np.array_equal(before[t], after[t]) for t in tasks)
    assert not np.array_equal(before["lulc_nyc"], before["tim_nyc"])


def test_an_adapter_alone_is_the_adapter_among_others(narrow: Family, narrow_weights: Path, ensemble: Ensemble) -> None:
    alone = load_family(narrow, narrow_weights, tasks=["buildings_nyc"], device="cpu")
    x = inputs()
    a, b = (e.predict(x, ["buildings_nyc"])["buildings_nyc"].logits for e in (alone, ensemble))
    assert np.array_equal(a, b)


@pytest.mark.parametrize("task", ["lulc_nyc", "tim_nyc"])
def test_merged_weights_give_the_same(ensemble: Ensemble, task: str) -> None:
    x = inputs(identical=False)
    own = ensemble.predict(x, [task])[task]
    merged = ensemble.merged(task)
    assert all(m.merged for m in merged.modules() if isinstance(m, LoraLayer))
    with torch.inference_mode(), repeatable(merged, 0, greedy=True):
        out = merged({m: torch.from_numpy(a)[None] for m, a in x.arrays.items()}).output[0].numpy()
    assert np.abs(out - own.logits).max() <= 1e-5 * max(1.0, np.abs(own.logits).max())
    assert np.array_equal(out.argmax(0), own.classes)
    assert np.array_equal(ensemble.predict(x, [task])[task].logits, own.logits)


def test_a_merge_in_place_is_never_used_in_silence(narrow: Family, narrow_weights: Path) -> None:
    ensemble = load_family(narrow, narrow_weights, tasks=PLAIN, device="cpu")
    layer = next(m for m in ensemble.adapters["lulc_nyc"].model.modules() if isinstance(m, LoraLayer))
    layer.merge()
    with pytest.raises(
        WeightsError, match=r"merged in place or switched off at encoder\.encoder\.encoder\.0\.attn\.qkv"
    ):
        ensemble.predict(inputs(), ["lulc_nyc"])


def test_a_merge_of_one_adapter_stops_the_others_too(narrow: Family, narrow_weights: Path) -> None:
    ensemble = load_family(narrow, narrow_weights, tasks=PLAIN, device="cpu")
    layer = next(m for m in ensemble.adapters["lulc_nyc"].model.modules() if isinstance(m, LoraLayer))
    layer.merge()
    with pytest.raises(WeightsError, match="lulc_nyc: LoRA was merged in place"):
        ensemble.predict(inputs(), ["buildings_nyc"])


def test_lora_that_was_switched_off_is_refused(narrow: Family, narrow_weights: Path) -> None:
    ensemble = load_family(narrow, narrow_weights, tasks=["lulc_nyc"], device="cpu")
    layer = next(m for m in ensemble.adapters["lulc_nyc"].model.modules() if isinstance(m, LoraLayer))
    layer.enable_adapters(False)
    with pytest.raises(WeightsError, match="switched off"):
        ensemble.predict(inputs(), ["lulc_nyc"])


def test_logits_that_are_no_numbers_are_never_a_class(narrow: Family, narrow_weights: Path) -> None:
    ensemble = load_family(narrow, narrow_weights, tasks=["lulc_nyc"], device="cpu")
    layer = ensemble.adapters["lulc_nyc"].model.get_submodule("head.head.2")
    layer.bias.data[1] = float("nan")
    with pytest.raises(WeightsError, match=r"4,096 logits of chip-0 are not finite in float32"):
        ensemble.predict(inputs(), ["lulc_nyc"])


def test_float32_is_exact_inside_a_forward(ensemble: Ensemble, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    hook = ensemble.adapters["lulc_nyc"].model.register_forward_pre_hook(
        lambda *_: seen.append(torch.get_float32_matmul_precision())
    )
    torch.set_float32_matmul_precision("medium")
    try:
        ensemble.predict(inputs(), ["lulc_nyc"])
    finally:
        torch.set_float32_matmul_precision("highest")
        hook.remove()
    assert seen == ["highest"]


def test_lora_matters(narrow: Family, narrow_weights: Path) -> None:
    ensemble = load_family(narrow, narrow_weights, tasks=["lulc_nyc"], device="cpu")
    x = inputs()
    before = ensemble.predict(x, ["lulc_nyc"])["lulc_nyc"].logits
    for module in ensemble.adapters["lulc_nyc"].model.modules():
        if isinstance(module, LoraLayer):
            module.scaling["default"] = 0.0
    ensemble.dates = type(ensemble.dates)()
    assert np.abs(ensemble.predict(x, ["lulc_nyc"])["lulc_nyc"].logits - before).max() > 1e-2


def test_identical_dates_are_encoded_once_and_no_bit_changes(ensemble: Ensemble) -> None:
    for identical, passes in ((True, 1), (False, 4)):
        x = inputs(identical=identical)
        ensemble.dates = type(ensemble.dates)()
        once = ensemble.predict(x, ["lulc_nyc"])["lulc_nyc"]
        ensemble.reuse_dates = False
        each = ensemble.predict(x, ["lulc_nyc"])["lulc_nyc"]
        ensemble.reuse_dates = True
        assert (once.dates_encoded, each.dates_encoded) == (passes, 4)
        assert np.array_equal(once.logits, each.logits)


def test_one_by_one_is_what_terratorch_gives_for_the_batch(ensemble: Ensemble) -> None:
    x = inputs(identical=False)
    own = ensemble.predict(x, ["lulc_nyc"])["lulc_nyc"].logits
    with torch.inference_mode():
        batch = {m: torch.from_numpy(a)[None] for m, a in x.arrays.items()}
        whole = ensemble.adapters["lulc_nyc"].model(batch).output[0].numpy()
    assert np.abs(whole - own).max() <= 1e-5 * max(1.0, np.abs(own).max())
    assert np.array_equal(whole.argmax(0), own.argmax(0))


def test_dates_shared_between_chips_are_encoded_once(ensemble: Ensemble) -> None:
    first = inputs(identical=False)
    arrays = {m: a.copy() for m, a in first.arrays.items()}
    arrays["S2L2A"][:, 3] += 1
    second = replace(first, chip_id="other", arrays=arrays)
    assert ensemble.predict(first, ["lulc_nyc"])["lulc_nyc"].dates_encoded == 4
    assert ensemble.predict(second, ["lulc_nyc"])["lulc_nyc"].dates_encoded == 1
    assert ensemble.predict(second, ["buildings_nyc"])["buildings_nyc"].dates_encoded == 4
    assert ensemble.predict(second, ["lulc_nyc"])["lulc_nyc"].dates_encoded == 0


def test_a_date_with_another_dem_is_another_date(ensemble: Ensemble) -> None:
    x = inputs()
    arrays = {m: a.copy() for m, a in x.arrays.items()}
    arrays["DEM"][:, 2] += 0.5
    assert ensemble.predict(replace(x, arrays=arrays), ["lulc_nyc"])["lulc_nyc"].dates_encoded == 2


def test_the_cache_of_dates_has_a_limit(ensemble: Ensemble) -> None:
    ensemble.dates.limit_bytes = 1
    x = inputs()
    assert ensemble.predict(x, ["lulc_nyc"])["lulc_nyc"].dates_encoded == 1
    assert ensemble.predict(x, ["lulc_nyc"])["lulc_nyc"].dates_encoded == 1
    assert ensemble.dates._bytes == 0


def test_sampled_tokens_are_never_shared_between_dates(ensemble: Ensemble) -> None:
    ensemble.greedy = False
    assert ensemble.predict(inputs(), ["tim_nyc"])["tim_nyc"].dates_encoded == 4
    assert ensemble.dates.encoded == 0


def test_half_precision_is_another_result_and_never_cached_with_the_other(ensemble: Ensemble) -> None:
    x = inputs()
    full = ensemble.predict(x, ["lulc_nyc"])["lulc_nyc"]
    ensemble.dtype = "bfloat16"
    half = ensemble.predict(x, ["lulc_nyc"])["lulc_nyc"]
    assert half.dates_encoded == 1
    assert half.logits.dtype == np.float32
    assert 0 < np.abs(half.logits - full.logits).max() < 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a: {k: v for k, v in a.items() if k != "DEM"}, "needs DEM; the chip has S2L2A, S1RTC"),
        (lambda a: {**a, "S2L2A": a["S2L2A"][:11]}, r"S2L2A is \(11, 4, 64, 64\).*takes \(12, 4, H, W\)"),
        (lambda a: {**a, "S1RTC": a["S1RTC"][:, :3]}, r"\(2, 3, 64, 64\)"),
        (lambda a: {k: v[..., :31] for k, v in a.items()}, "32 px or more"),
    ],
    ids=["modality", "bands", "dates", "size"],
)
def test_tensors_that_do_not_suit_are_refused(ensemble: Ensemble, change, words: str) -> None:  # type: ignore[no-untyped-def]
    x = inputs()
    with pytest.raises(TopologyError, match=words):
        ensemble.predict(replace(x, arrays=change(x.arrays)), ["lulc_nyc"])


def test_larger_and_uneven_images_are_tiled(ensemble: Ensemble) -> None:
    for size, tiles in ((60, 1), (256, 1), (288, 4)):
        prediction = ensemble.predict(inputs(size), ["buildings_nyc"])["buildings_nyc"]
        assert prediction.logits.shape == (2, size, size)
        assert prediction.dates_encoded == tiles


def test_a_batch_that_does_not_fit_is_halved_and_that_is_said(
    ensemble: Ensemble, monkeypatch: pytest.MonkeyPatch
) -> None:
    chips = [inputs(seed=i) for i in range(3)]
    alone = [ensemble.predict(c, ["lulc_nyc"])["lulc_nyc"].logits for c in chips]
    plain, said = type(ensemble).forward, list[str]()

    def tight(self: Ensemble, task: str, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        if next(iter(batch.values())).shape[0] > limit:
            raise torch.OutOfMemoryError("out of memory, says the test")
        out: torch.Tensor = plain(self, task, batch)
        return out

    monkeypatch.setattr(type(ensemble), "forward", tight)
    limit = 1
    together = ensemble.predict_many(chips, "lulc_nyc", batch=3, say=said.append)
    assert len(said) == 1
    assert "out of memory with 3 at a time; going on with 1" in said[0]
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one, other.logits, atol=1e-5)
    limit = 0
    with pytest.raises(DeviceError, match="out of memory at batch 1"):
        ensemble.predict(chips[0], ["lulc_nyc"])


def test_the_order_and_number_of_modalities_given_change_no_bit(ensemble: Ensemble) -> None:
    x = inputs()
    turned = {m: x.arrays[m] for m in reversed(list(x.arrays))} | {"NDVI": x.arrays["DEM"]}
    one, two = (ensemble.predict(each, ["lulc_nyc"])["lulc_nyc"].logits for each in (x, replace(x, arrays=turned)))
    assert np.array_equal(one, two)


def test_an_unknown_task_is_refused(ensemble: Ensemble) -> None:
    with pytest.raises(RegistryError, match="no adapter 'roads'; it has lulc_nyc, tim_nyc, buildings_nyc"):
        ensemble.predict(inputs(), ["roads"])


def test_a_raw_chip_goes_through_the_named_recipe(ensemble: Ensemble, tmp_path: Path) -> None:
    write_folder(tmp_path, ids=("a",), size_px=64)
    chip = read_chips(tmp_path)[0]
    recipes = read_recipes(ROOT / "eval" / "recipes")
    with pytest.raises(TopologyError, match="needs a recipe"):
        ensemble.predict(chip, ["lulc_nyc"])
    ensemble.recipe = recipes["pretraining"]
    raw = ensemble.predict(chip, ["lulc_nyc"])["lulc_nyc"].logits
    made = ensemble.predict(to_inputs(chip, recipes["pretraining"]), ["lulc_nyc"])["lulc_nyc"].logits
    assert np.array_equal(raw, made)
    ensemble.recipe = recipes["published-rerun"]
    with pytest.raises(RecipeError):
        ensemble.predict(chip, ["lulc_nyc"])


def test_models_are_in_evaluation_mode_and_frozen(ensemble: Ensemble) -> None:
    for loaded in ensemble.adapters.values():
        assert not any(m.training for m in loaded.model.modules())
        assert not any(p.requires_grad for p in loaded.model.parameters())


def test_batch_norm_can_be_counted_on_chips(narrow: Family, narrow_weights: Path, tmp_path: Path) -> None:
    write_adapter(narrow, narrow.adapter("lulc_nyc"), tmp_path, buffers=False)
    (tmp_path / "base.pt").symlink_to(narrow_weights / "base.pt")
    (tmp_path / MARKER).touch()
    ensemble = load_family(narrow, tmp_path, tasks=["lulc_nyc"], device="cpu", batch_norm="recomputed")
    chips = [inputs(seed=i) for i in range(3)]
    before = ensemble.predict(chips[0], ["lulc_nyc"])["lulc_nyc"].logits
    recompute(ensemble, "lulc_nyc", chips)
    loaded = ensemble.adapters["lulc_nyc"]
    assert loaded.audit.batch_norm.model_dump() == {"layers": 9, "in_file": 0, "moved": 9, "policy": "recomputed"}
    assert sum(t.state == "recomputed" for t in loaded.audit.tensors) == 27
    assert not any(m.training for m in loaded.model.modules())
    after = ensemble.predict(chips[0], ["lulc_nyc"])["lulc_nyc"].logits
    assert not np.array_equal(before, after)
    layer = loaded.model.get_submodule("decoder.decoder.blocks.0.conv1.1")
    assert int(layer.num_batches_tracked) == 3
    features = []
    conv = loaded.model.get_submodule("decoder.decoder.blocks.0.conv1.0")
    hook = conv.register_forward_hook(lambda _m, _i, out: features.append(out.mean(dim=(0, 2, 3))))
    for module in loaded.model.get_submodule("neck").modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.train()
    for chip in chips:
        ensemble.predict(chip, ["lulc_nyc"])
    hook.remove()
    torch.testing.assert_close(torch.stack(features).mean(0), layer.running_mean, rtol=1e-4, atol=1e-5)
    with pytest.raises(WeightsError, match="nothing to recompute"):
        recompute(load_family(narrow, narrow_weights, tasks=["lulc_nyc"], device="cpu"), "lulc_nyc", chips)
