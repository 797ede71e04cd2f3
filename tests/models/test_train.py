"""Training configs, what they would train, and adapters written in the published format."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from harness.claims.families import Family
from harness.errors import TopologyError, WeightsError
from harness.models.audit import Loaded
from harness.models.load import Base, load_adapter
from harness.models.published import CONFIG, DECODER, LORA, read_adapter
from harness.models.training.export import ExportConfig, config_of, export_adapter
from harness.models.training.smoke import LoraPlace, Seen, Smoke, Trained, parts_of, places_of, smoke, words
from harness.models.training.train import build_task, read_config
from harness.models.weights import read_weights
from tests.models.made import inputs

PUBLISHED = """\
task_name: lulc_nyc
seed: 42
backbone:
  name: terramind_v1_tiny
  modalities: [S2L2A, S1RTC, DEM]
  use_temporal: true
  temporal_pooling: concat
  temporal_n_timestamps: 4
  hf_id: ibm-esa-geospatial/TerraMind-1.0-tiny
lora: {r: 16, alpha: 32, dropout: 0.05, target_modules: [attn.qkv, attn.proj]}
decoder: {name: UNetDecoder, channels: [64, 32, 16, 8], head_dropout: 0.1, select_indices: [2, 5, 8, 11]}
num_classes: 5
loss: ce
class_weights: [1.0, 1.0, 1.0, 1.0, 2.0]
ignore_index: -1
lora_lr: 5.0e-4
decoder_lr: 1e-4
max_epochs: 30
data: {module: impactmesh.impactmesh_datamodule.ImpactMeshDataModule}
"""

TERRATORCH = """\
seed_everything: 7
trainer: {max_epochs: 1, precision: 16-mixed}
data: {class_path: GenericMultiModalDataModule, init_args: {batch_size: 8}}
model:
  class_path: terratorch.tasks.SemanticSegmentationTask
  init_args:
    model_factory: EncoderDecoderFactory
    model_args:
      backbone: terramind_v1_tiny
      backbone_pretrained: true
      backbone_modalities: [S2L2A, S1RTC, DEM]
      backbone_use_temporal: true
      backbone_temporal_pooling: concat
      backbone_temporal_n_timestamps: 4
      necks:
        - {name: SelectIndices, indices: [2, 5, 8, 11]}
        - {name: ReshapeTokensToImage, remove_cls_token: false}
        - {name: LearnedInterpolateToPyramidal}
      decoder: UNetDecoder
      decoder_channels: [64, 32, 16, 8]
      head_dropout: 0.1
      num_classes: 5
      peft_config:
        method: LORA
        peft_config_kwargs: {r: 16, lora_alpha: 32, lora_dropout: 0.05, target_modules: [attn.qkv, attn.proj]}
    loss: dice
    ignore_index: -1
    lr: 1e-4
optimizer: {class_path: torch.optim.AdamW, init_args: {lr: 3e-4}}
"""

MODEL_ARGS = ("model", "init_args", "model_args")


def written(folder: Path, text: str, *changes: tuple[tuple[str, ...], Any]) -> Path:
    """A config's file, with values put in at paths; None takes the key out."""
    held = yaml.safe_load(text)
    for keys, value in changes:
        at = held
        for key in keys[:-1]:
            at = at[key]
        if value is None:
            del at[keys[-1]]
        else:
            at[keys[-1]] = value
    path = folder / "config.yaml"
    path.write_text(text if not changes else yaml.safe_dump(held))
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Two steps of the published form, narrow."""
    return smoke(written(tmp_path_factory.mktemp("published"), PUBLISHED), size_px=64)


@pytest.fixture(scope="module")
def with_peft(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Two steps of TerraTorch's form, LoRA by `peft_config`."""
    return smoke(written(tmp_path_factory.mktemp("terratorch"), TERRATORCH), size_px=64)


def parts(record: Smoke) -> dict[str, tuple[int, int, int, int]]:
    return {p.part: (p.trainable, p.learn, p.zero, p.without) for p in record.parts}


WHOLE = LoraPlace(
    place="encoder.encoder",
    pairs=24,
    forward="with gradient",
    trainable=24,
    first_a=0,
    first_b=24,
    learn=24,
    never=0,
)


def test_the_published_config_trains_every_pair_and_the_whole_decoder(trained: Trained) -> None:
    record = trained.record
    assert record.places == [WHOLE]
    assert parts(record) == {
        "encoder": (0, 0, 0, 0),
        "decoder": (24, 24, 0, 0),
        "head": (2, 2, 0, 0),
        "neck": (8, 8, 0, 0),
    }
    assert record.forced == ["backbone_pretrained: True in the config, False here"]
    assert record.unread == ["data", "max_epochs", "task_name"]
    assert 1.0 < record.losses[0] < 3.0  # about ln 5 for five classes at random
    said = "\n".join(words(record))
    assert "24 of 24 LoRA pairs can learn" in said
    assert "in the first step only B receives gradient, because B starts at zero" in said


def test_terratorchs_own_form_comes_to_the_same(with_peft: Trained) -> None:
    record = with_peft.record
    assert record.places == [WHOLE]
    assert parts(record)["encoder"] == (0, 0, 0, 0)
    assert (record.form, record.loss, record.unread) == ("terratorch", "dice", ["data", "trainer"])
    assert 0 < record.losses[0] < 1  # dice


def test_learning_rates_are_read_as_numbers(tmp_path: Path) -> None:
    config = read_config(written(tmp_path, TERRATORCH))
    assert (config.lr, config.lora_lr, config.seed) == (3e-4, 3e-4, 7)
    assert config.task_args["lr"] == 1e-4  # YAML 1.1 reads 1e-4 as text
    config = read_config(written(tmp_path, PUBLISHED))
    assert (config.lr, config.lora_lr, config.seed) == (1e-4, 5e-4, 42)


def test_lora_may_be_said_in_a_block_of_its_own(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        TERRATORCH,
        ((*MODEL_ARGS, "peft_config"), None),
        (("lora",), {"r": 4, "alpha": 8, "target_modules": ["attn.qkv"]}),
    )
    places = smoke(path, size_px=64).record.places
    assert [(p.place, p.pairs, p.learn) for p in places] == [("encoder.encoder", 12, 12)]


def test_of_a_thinking_model_a_quarter_of_the_pairs_can_learn(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        PUBLISHED,
        (("backbone", "name"), "terramind_v1_tiny_tim"),
        (("backbone", "backbone_tim_modalities"), ["LULC"]),
    )
    record = smoke(path, size_px=64).record
    assert (record.learn, record.pairs) == (24, 96)
    assert [(p.place, p.forward, p.learn, p.never) for p in record.places] == [
        ("encoder.sampler.model.encoder", "without gradient", 0, 24),
        ("encoder.encoder", "with gradient", 24, 0),
        ("encoder.tokenizer.tok_lulc@224.encoder.blocks", "not run", 0, 24),
        ("encoder.tokenizer.tok_lulc@224.decoder.blocks", "not run", 0, 24),
    ]
    assert all(p.trainable == 24 for p in record.places)
    said = "\n".join(words(record))
    assert "24 of 96 LoRA pairs can learn" in said
    assert "gradient switched off" in said
    assert "no forward runs them" in said


def test_a_frozen_backbone_freezes_its_lora(tmp_path: Path) -> None:
    path = written(tmp_path, TERRATORCH, (("model", "init_args", "freeze_backbone"), True))
    record = smoke(path, size_px=64).record
    place = record.places[0]
    assert (place.pairs, place.trainable, place.learn, place.never) == (24, 0, 0, 24)
    assert "the config freezes 24 of them" in "\n".join(words(record))


def test_without_lora_the_encoder_trains(tmp_path: Path) -> None:
    record = smoke(written(tmp_path, TERRATORCH, ((*MODEL_ARGS, "peft_config"), None)), size_px=64).record
    assert record.places == []
    assert parts(record)["encoder"] == (127, 127, 0, 0)
    assert "The config asks for no LoRA." in words(record)


def test_a_frozen_decoder_is_told(tmp_path: Path) -> None:
    frozen = written(tmp_path, TERRATORCH, (("model", "init_args", "freeze_decoder"), True))
    assert parts(smoke(frozen, size_px=64).record)["decoder"] == (0, 0, 0, 0)


def test_auxiliary_heads_train_too(tmp_path: Path) -> None:
    head = {"name": "side", "decoder": "FCNDecoder", "decoder_args": {"decoder_channels": 8, "decoder_num_convs": 1}}
    heads = (("model", "init_args", "aux_heads"), [head])
    record = smoke(
        written(tmp_path, TERRATORCH, heads, (("model", "init_args", "aux_loss"), {"side": 0.5})), size_px=64
    )
    trainable, learn, _, _ = parts(record.record)["aux_heads"]
    assert trainable == learn > 0
    with pytest.raises(TopologyError, match="weights for nothing, aux_heads are side"):
        build_task(read_config(written(tmp_path, TERRATORCH, heads)))


def test_zero_gradient_and_no_gradient_are_told_apart() -> None:
    names = [
        *(f"encoder.encoder.blocks.{i}.attn.qkv.lora_{half}.default.weight" for i in range(4) for half in "AB"),
        *("neck.a", "neck.b", "neck.c", "neck.d", "head.w"),
    ]
    parameters = {n: torch.nn.Parameter(torch.zeros(2)) for n in names}
    parameters["neck.d"].requires_grad_(False)
    a, b = names[0:8:2], names[1:8:2]
    seen = Seen(
        nonzero=[{b[0], b[1], "neck.a"}, {a[0], b[0], b[1]}],
        reached={*a[:3], *b[:3], "neck.a", "neck.b"},
        ran={n.removesuffix(".lora_A.default.weight"): True for n in a[:3]},
    )
    found = {p.forward: p for p in places_of(parameters, seen)}
    ran = found["with gradient"]
    assert (ran.place, ran.pairs, ran.first_a, ran.first_b, ran.learn, ran.never) == ("encoder.blocks", 3, 0, 2, 1, 1)
    assert (found["not run"].pairs, found["not run"].never) == (1, 1)
    record = {p.part: p for p in parts_of(parameters, seen)}
    neck = record["neck"]
    assert (neck.tensors, neck.trainable, neck.learn, neck.zero, neck.without) == (4, 3, 1, 1, 1)
    assert record["head"].without == 1


def test_a_loss_that_is_no_number_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TopologyError, match="the loss is nan"):
        smoke(written(tmp_path, PUBLISHED), inputs=inputs(64), labels=np.full((64, 64), -1))


def test_a_chip_and_its_labels_are_used(tmp_path: Path) -> None:
    path = written(tmp_path, PUBLISHED)
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, (64, 64))
    labels[:8] = -1
    first = smoke(path, inputs=inputs(64), labels=labels).record
    other = smoke(path, inputs=inputs(64, seed=1), labels=labels).record
    assert first.data == "chip-0"
    assert first.losses != other.losses
    ignored = labels.copy()
    ignored[8:16] = -1
    assert smoke(path, inputs=inputs(64), labels=ignored).record.losses != first.losses
    with pytest.raises(TopologyError, match=r"values \[5\]"):
        smoke(path, inputs=inputs(64), labels=np.full((64, 64), 5))
    with pytest.raises(TopologyError, match=r"labels of shape \(32, 32\)"):
        smoke(path, inputs=inputs(64), labels=labels[:32, :32])
    lacking = inputs(64)
    del lacking.arrays["DEM"]
    with pytest.raises(TopologyError, match="takes S2L2A, S1RTC, DEM"):
        smoke(path, inputs=lacking)


def test_the_same_config_gives_the_same_and_leaves_the_random_state_alone(tmp_path: Path, trained: Trained) -> None:
    torch.manual_seed(3)
    random.seed(3)
    before = torch.random.get_rng_state(), random.getstate()
    again = smoke(written(tmp_path, PUBLISHED), size_px=64).record
    assert again.losses == trained.record.losses
    assert torch.equal(torch.random.get_rng_state(), before[0])
    assert random.getstate() == before[1]


@pytest.mark.parametrize(
    ("text", "change", "message"),
    [
        (PUBLISHED, (("loss",), "focal_tversky"), "focal_tversky"),
        (PUBLISHED, (("loss",), "nonsense"), "cannot be built"),
        (PUBLISHED, (("num_classes",), None), "num_classes: missing"),
        (PUBLISHED, (("backbone", "name"), "no_such_backbone"), "no_such_backbone"),
        (PUBLISHED, (("backbone", "modalities"), None), "backbone.modalities: missing"),
        (PUBLISHED, (("lora", "target_modules"), ["nowhere"]), "nowhere"),
        (PUBLISHED, (("lora", "r"), None), "r and target_modules"),
        (PUBLISHED, (("decoder",), None), "neither form"),
        (TERRATORCH, (("model", "class_path"), "os.system"), "only terratorch.tasks.SemanticSegmentationTask"),
        (TERRATORCH, (("model", "init_args", "model_factory"), None), "model_factory"),
        (TERRATORCH, (("model", "init_args", "no_such"), 1), "no_such"),
        (TERRATORCH, ((*MODEL_ARGS, "backbone"), None), "model_args.backbone: missing"),
        (TERRATORCH, ((*MODEL_ARGS, "peft_config", "method"), "LOHA"), "only LORA is known"),
        (TERRATORCH, (("lora",), {"r": 4, "target_modules": ["attn.qkv"]}), "LoRA is said twice"),
    ],
)
def test_configs_that_cannot_be_built_are_refused(tmp_path: Path, text: str, change: Any, message: str) -> None:
    path = written(tmp_path, text, change)
    with pytest.raises(TopologyError, match=message) as caught:
        build_task(read_config(path))
    assert str(path) in str(caught.value)


def test_files_that_are_no_config_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TopologyError, match="cannot be read"):
        read_config(tmp_path / "none.yaml")
    path = tmp_path / "c.yaml"
    path.write_text("a: [1,\nb: }")
    with pytest.raises(TopologyError, match=r"c.yaml:2: not YAML"):
        read_config(path)
    path.write_text("- 1\n")
    with pytest.raises(TopologyError, match="neither form"):
        read_config(path)


def test_weights_named_in_a_config_are_not_read(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        TERRATORCH,
        ((*MODEL_ARGS, "backbone_ckpt_path"), "/nowhere/base.pt"),
        ((*MODEL_ARGS, "backbone_pretrained"), True),
    )
    config = read_config(path)
    assert set(config.forced) == {
        "backbone_ckpt_path: left out, no weights are read",
        "backbone_pretrained: True in the config, False here",
    }
    assert config.model_args["backbone_pretrained"] is False
    assert "backbone_ckpt_path" not in config.model_args
    build_task(config)


# ---- export


def loaded(family: Family, folder: Path, base: Base) -> Loaded:
    return load_adapter(family, read_adapter(family, family.adapter("lulc_nyc"), folder), base)


def logits(model: torch.nn.Module, seed: int = 5) -> torch.Tensor:
    batch = {m: torch.from_numpy(a)[None] for m, a in inputs(64, seed=seed).arrays.items()}
    with torch.inference_mode():
        out: torch.Tensor = model(batch).output
    return out


def own_base(trained: Trained, folder: Path, wrapped: str = "") -> Base:
    """The random base that a model was trained on, as a base file."""
    state = trained.task.model.encoder.state_dict()
    held = {
        n.removeprefix(wrapped).removeprefix("encoder.").replace(".base_layer.", "."): t.clone()
        for n, t in state.items()
        if "lora_" not in n
    }
    torch.save(held, folder / "base.pt")
    return Base(read_weights(folder / "base.pt"))


@pytest.mark.parametrize("which", ["trained", "with_peft"])
def test_what_was_trained_comes_back_bit_for_bit(
    which: str, narrow: Family, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    two_steps: Trained = request.getfixturevalue(which)
    text = PUBLISHED if which == "trained" else TERRATORCH
    config = config_of(read_config(written(tmp_path, text)))
    export_adapter(two_steps.task.model, tmp_path / "lulc_nyc", config)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.yaml", "lulc_nyc"]
    assert sorted(p.name for p in (tmp_path / "lulc_nyc").iterdir()) == sorted([CONFIG, LORA, DECODER])
    base = own_base(two_steps, tmp_path, "base_model.model." if which == "with_peft" else "")
    back = loaded(narrow, tmp_path, base)
    assert torch.equal(logits(back.model), logits(two_steps.task.model))
    assert (back.audit.lora_applied, back.audit.decoder_loaded) == (24, 61)
    assert all(norm > 0 for norm in back.audit.places[0].b_norms)
    assert back.audit.batch_norm.moved == 9
    names = set(load_file(tmp_path / "lulc_nyc" / LORA))
    assert names == {
        f"encoder.encoder.encoder.{i}.attn.{layer}.lora_{half}.default.weight"
        for i in range(12)
        for layer in ("qkv", "proj")
        for half in "AB"
    }


def test_an_adapter_that_was_loaded_is_written_as_it_was(narrow: Family, narrow_weights: Path, tmp_path: Path) -> None:
    base = Base(read_weights(narrow_weights / "base.pt"))
    first = loaded(narrow, narrow_weights, base)
    held = json.loads((narrow_weights / "lulc_nyc" / CONFIG).read_text())
    export_adapter(first.model, tmp_path / "lulc_nyc", ExportConfig.model_validate(held))
    for name in (LORA, DECODER):
        old, new = (load_file(folder / "lulc_nyc" / name) for folder in (narrow_weights, tmp_path))
        assert old.keys() == new.keys()
        assert all(torch.equal(old[n], new[n]) and old[n].dtype == new[n].dtype for n in old)
    assert json.loads((tmp_path / "lulc_nyc" / CONFIG).read_text()) == held
    assert torch.equal(logits(loaded(narrow, tmp_path, base).model), logits(first.model))


@pytest.fixture
def config(tmp_path: Path) -> ExportConfig:
    """What the trained one's config says."""
    return config_of(read_config(written(tmp_path, PUBLISHED)))


def test_nothing_is_overwritten_without_being_told(trained: Trained, config: ExportConfig, tmp_path: Path) -> None:
    folder = tmp_path / "a" / "lulc_nyc"
    (folder / "splits").mkdir(parents=True)
    (folder / "splits" / "test.txt").write_text("kept")
    (folder / CONFIG).write_text("old")
    with pytest.raises(WeightsError, match="holds something already"):
        export_adapter(trained.task.model, folder, config)
    assert (folder / CONFIG).read_text() == "old"
    assert not (folder / LORA).exists()
    export_adapter(trained.task.model, folder, config, replace=True)
    assert (folder / "splits" / "test.txt").read_text() == "kept"
    assert json.loads((folder / CONFIG).read_text())["num_classes"] == 5
    assert [p.name for p in folder.parent.iterdir()] == ["lulc_nyc"]


def test_a_failure_leaves_the_old_folder_and_nothing_else(
    trained: Trained, config: ExportConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "a" / "lulc_nyc"
    folder.mkdir(parents=True)
    (folder / LORA).write_text("old")

    def full(tensors: dict[str, torch.Tensor], path: Path) -> None:
        save_file(tensors, path)
        if path.name == DECODER:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("harness.models.training.export.save_file", full)
    with pytest.raises(WeightsError, match="No space left"):
        export_adapter(trained.task.model, folder, config, replace=True)
    monkeypatch.setattr(
        "harness.models.training.export.save_file",
        lambda tensors, path: save_file({n: t + 1 for n, t in tensors.items()}, path),
    )
    with pytest.raises(WeightsError, match="not what was written"):
        export_adapter(trained.task.model, folder, config, replace=True)
    assert [p.name for p in folder.parent.iterdir()] == ["lulc_nyc"]
    assert [p.read_text() for p in folder.iterdir()] == ["old"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"r": 8, "lora_alpha": 16.0}, "rank 16, the config says r = 8"),
        ({"lora_alpha": 16.0}, "scaled by 2.0"),
        ({"num_classes": 2}, "the head gives 5 classes"),
        ({"target_modules": ["attn.qkv"]}, "attn.proj: carries LoRA"),
    ],
)
def test_a_config_that_is_not_true_of_the_model_is_refused(
    trained: Trained, config: ExportConfig, tmp_path: Path, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(WeightsError, match=message):
        export_adapter(trained.task.model, tmp_path / "x", config.model_copy(update=fields))
    assert not (tmp_path / "x").exists()


def test_what_the_format_cannot_hold_is_refused(config: ExportConfig, tmp_path: Path) -> None:
    model = build_task(read_config(tmp_path / "config.yaml")).model
    layer = model.encoder.encoder.encoder[0].attn.qkv
    layer.base_layer.bias.requires_grad_(True)
    with pytest.raises(WeightsError, match="1 tensors of the base are trainable"):
        export_adapter(model, tmp_path / "x", config)
    layer.base_layer.bias.requires_grad_(False)
    layer.merge()
    with pytest.raises(WeightsError, match="merged into the weight"):
        export_adapter(model, tmp_path / "x", config)
    layer.unmerge()
    model.aux_heads["extra"] = torch.nn.Linear(1, 1)
    with pytest.raises(WeightsError, match="auxiliary heads"):
        export_adapter(model, tmp_path / "x", config)
    del model.aux_heads["extra"]
    with torch.no_grad():
        next(model.neck.parameters())[0] = float("nan")
    with pytest.raises(WeightsError, match="NaN or infinity in 1 tensors, first neck"):
        export_adapter(model, tmp_path / "x", config)
    plain = build_task(read_config(written(tmp_path, TERRATORCH, ((*MODEL_ARGS, "peft_config"), None)))).model
    plain.encoder.requires_grad_(False)
    with pytest.raises(WeightsError, match="carries no LoRA"):
        export_adapter(plain, tmp_path / "x", config)
    with pytest.raises(WeightsError, match="asks for no LoRA"):
        config_of(read_config(tmp_path / "config.yaml"))
    assert not (tmp_path / "x").exists()
