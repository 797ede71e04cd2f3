"""Strict loading: what is accounted for, and every refusal with its cause."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from harness.claims.families import Family
from harness.errors import HarnessError, WeightsError
from harness.models import synthetic
from harness.models.audit import Loaded
from harness.models.ensemble import load_family
from harness.models.load import Base, load_adapter, load_base
from harness.models.published import CONFIG, DECODER, LORA, read_adapter
from harness.models.synthetic import MARKER, write_adapter
from harness.models.topology import build_topology, inject_lora
from harness.models.weights import read_weights

Change = Callable[[dict[str, Tensor]], dict[str, Tensor]]


def load(family: Family, folder: Path, adapter: str = "lulc_nyc", **more: object) -> Loaded:
    """One adapter over its base."""
    base = Base(read_weights(folder / "base.pt"))
    files = read_adapter(family, family.adapter(adapter), folder)
    return load_adapter(family, files, base, random_weights=True, **more)  # type: ignore[arg-type]


@pytest.fixture
def folder(narrow_weights: Path, tmp_path: Path) -> Path:
    """The narrow family's files, to be damaged: links, so that a test replaces and never changes them."""
    for path in narrow_weights.rglob("*"):
        if path.is_file():
            copy = tmp_path / path.relative_to(narrow_weights)
            copy.parent.mkdir(exist_ok=True)
            copy.symlink_to(path)
    return tmp_path


def rewrite(path: Path, change: Change) -> None:
    """Replace a safetensors file by a changed copy."""
    tensors = change(load_file(path))
    path.unlink()
    save_file(tensors, path)


def configure(folder: Path, adapter: str = "lulc_nyc", **fields: object) -> None:
    """Change an adapter's config."""
    path = folder / adapter / CONFIG
    held = json.loads(path.read_text())
    path.unlink()
    path.write_text(json.dumps({**held, **fields}))


def renamed(old: str, new: str) -> Change:
    """Replace a part of every name once."""
    return lambda tensors: {n.replace(old, new, 1): t for n, t in tensors.items()}


def test_every_tensor_is_accounted_for(narrow: Family, narrow_weights: Path) -> None:
    audit = load(narrow, narrow_weights).audit
    assert audit.random_weights
    assert (audit.base_expected, audit.base_loaded) == (155, 155)
    assert (audit.lora_expected, audit.lora_applied, audit.lora_r) == (24, 24, 16)
    assert (audit.decoder_expected, audit.decoder_loaded) == (61, 61)
    assert audit.batch_norm.model_dump() == {"layers": 9, "in_file": 9, "moved": 9, "policy": "from the file"}
    assert (audit.blocks, audit.classes) == (12, 5)
    held = {r.name: r for r in audit.tensors}
    files = [load_file(narrow_weights / "lulc_nyc" / name) for name in (LORA, DECODER)]
    base = torch.load(narrow_weights / "base.pt", weights_only=True)
    for tensors in (*files, base):
        for name, tensor in tensors.items():
            assert held[name].shape == list(tensor.shape)
            assert len(held[name].sha256 or "") == 64
    assert len(held) == sum(map(len, files)) + len(base)
    states = {r.state for r in audit.tensors}
    assert states == {"loaded", "unused"}
    assert sum(audit.base_unused.values()) == sum(r.state == "unused" for r in audit.tensors) == len(base) - 155
    assert all(r.reason for r in audit.tensors if r.state == "unused")


def test_sha256_is_that_of_the_tensors_bytes(narrow: Family, narrow_weights: Path) -> None:
    import hashlib

    record = next(r for r in load(narrow, narrow_weights).audit.tensors if r.name == "head.head.2.weight")
    raw = load_file(narrow_weights / "lulc_nyc" / DECODER)["head.head.2.weight"].numpy().tobytes()
    assert record.sha256 == hashlib.sha256(raw).hexdigest()


def test_the_models_tensors_are_the_files(narrow: Family, narrow_weights: Path) -> None:
    state = load(narrow, narrow_weights).model.state_dict()
    lora = load_file(narrow_weights / "lulc_nyc" / LORA)
    decoder = load_file(narrow_weights / "lulc_nyc" / DECODER)
    base = torch.load(narrow_weights / "base.pt", weights_only=True)
    for name, tensor in {**lora, **decoder}.items():
        assert torch.equal(state[name], tensor), name
    qkv = "encoder.encoder.encoder.3.attn.qkv.base_layer.weight"
    assert torch.equal(state[qkv], base["encoder.3.attn.qkv.weight"])


def test_thinking_has_pairs_that_no_forward_reads(narrow: Family, narrow_weights: Path) -> None:
    audit = load(narrow, narrow_weights, "tim_nyc").audit
    assert (audit.lora_expected, audit.lora_applied) == (96, 96)
    assert [(p.place.rpartition(".")[2], p.pairs, p.runs) for p in audit.places] == [
        ("encoder", 24, True),
        ("encoder", 24, True),
        ("encoder", 24, False),
        ("decoder", 24, False),
    ]
    assert all(norm == 0 for p in audit.places if not p.runs for norm in p.b_norms)
    assert all(norm > 0 for p in audit.places if p.runs for norm in p.b_norms)
    assert audit.not_run == sum(r.state == "not run" for r in audit.tensors) > 0


def test_buffers_that_never_moved_are_told(narrow: Family, folder: Path) -> None:
    def still(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        start = {"running_mean": torch.zeros_like, "running_var": torch.ones_like}
        return {n: start.get(n.rpartition(".")[2], lambda t: t)(t) for n, t in tensors.items()}

    rewrite(folder / "lulc_nyc" / DECODER, still)
    assert load(narrow, folder).audit.batch_norm.moved == 0


@pytest.mark.parametrize(
    ("claim", "words"),
    [(32.0, "agrees with the registered claim of 32"), (16.0, "no tensor can tell"), (None, "unverifiable")],
)
def test_alpha_is_held_against_the_claim(narrow: Family, narrow_weights: Path, claim: float, words: str) -> None:
    assert words in load(narrow, narrow_weights, alpha_claim=claim).audit.lora_alpha_verdict


def test_alpha_changes_the_model_and_no_tensor(narrow: Family, folder: Path) -> None:
    before = load(narrow, folder)
    configure(folder, lora_alpha=64)
    after = load(narrow, folder)
    same = [(a.name, a.sha256) for a in before.audit.tensors] == [(b.name, b.sha256) for b in after.audit.tensors]
    layer = "encoder.encoder.encoder.0.attn.qkv"
    scales = [m.get_submodule(layer).scaling["default"] for m in (before.model, after.model)]
    assert (same, scales) == (True, [2.0, 4.0])


def _no_base_name(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {n.removeprefix("encoder."): t for n, t in tensors.items()}


def _drop(part: str) -> Change:
    return lambda tensors: {n: t for n, t in tensors.items() if part not in n}


def _halve_rank(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {n: (t[:8] if ".lora_A." in n else t[:, :8]).contiguous() for n, t in tensors.items()}


def _narrower(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {n: (t[:, :96] if ".lora_A." in n else t).contiguous() for n, t in tensors.items()}


def _not_a_number(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    first = next(n for n, t in tensors.items() if t.is_floating_point())
    tensors[first] = torch.full_like(tensors[first], float("nan"))
    return tensors


LORA_REFUSALS = [
    ("one encoder too few", _no_base_name, "one `encoder.` too few"),
    ("one encoder too many", lambda d: {f"encoder.{n}": t for n, t in d.items()}, "one `encoder.` too many"),
    ("no adapter name", renamed(".default.", "."), r"lack PEFT's adapter name `\.default\.`"),
    ("incomplete", _drop("encoder.7.attn.proj"), r"2 of 48 LoRA tensors of the model unmatched.*incomplete"),
    ("something more", lambda d: {**d, "encoder.extra.weight": torch.zeros(1)}, "left over, first encoder.extra"),
    ("another rank", _halve_rank, r"rank \[8\] by its shapes.* r = 16"),
    ("another width", _narrower, "base of another width"),
    ("not a number", _not_a_number, "NaN or infinity in 1 tensors"),
]


@pytest.mark.parametrize(("change", "words"), [c[1:] for c in LORA_REFUSALS], ids=[c[0] for c in LORA_REFUSALS])
def test_lora_is_refused(narrow: Family, folder: Path, change: Change, words: str) -> None:
    rewrite(folder / "lulc_nyc" / LORA, change)
    with pytest.raises(WeightsError, match=words):
        load(narrow, folder)


DECODER_REFUSALS = [
    ("no buffers", _drop("running_"), "batch-norm buffers .* are missing.*--bn initial"),
    ("some buffers of a layer", _drop("running_mean"), "damaged file|are missing"),
    ("tensor missing", _drop("fpn1.3.weight"), "1 tensors missing, first neck.2.fpn1.3.weight"),
    ("something more", lambda d: {**d, "aux.weight": torch.zeros(1)}, "without a place, first aux.weight"),
    (
        "another width",
        lambda d: {n: t[..., :1].contiguous() if n == "neck.2.fpn2.0.weight" else t for n, t in d.items()},
        "another width",
    ),
    ("not a number", _not_a_number, "NaN or infinity"),
]


@pytest.mark.parametrize(("change", "words"), [c[1:] for c in DECODER_REFUSALS], ids=[c[0] for c in DECODER_REFUSALS])
def test_the_decoder_is_refused(narrow: Family, folder: Path, change: Change, words: str) -> None:
    rewrite(folder / "lulc_nyc" / DECODER, change)
    with pytest.raises(WeightsError, match=words):
        load(narrow, folder)


def test_some_buffers_of_a_layer_are_refused_under_any_policy(narrow: Family, folder: Path) -> None:
    rewrite(folder / "lulc_nyc" / DECODER, _drop("running_mean"))
    with pytest.raises(WeightsError, match="some of its batch-norm buffers and not all"):
        load(narrow, folder, batch_norm="initial")


def test_buffers_may_be_left_at_their_start_where_somebody_asks_for_it(
    narrow: Family, tmp_path: Path, narrow_weights: Path
) -> None:
    write_adapter(narrow, narrow.adapter("lulc_nyc"), tmp_path, buffers=False)
    (tmp_path / "base.pt").symlink_to(narrow_weights / "base.pt")
    with pytest.raises(WeightsError, match="the 27 batch-norm buffers"):
        load(narrow, tmp_path)
    loaded = load(narrow, tmp_path, batch_norm="initial")
    assert loaded.audit.decoder_loaded == 34
    assert loaded.audit.batch_norm.model_dump() == {"layers": 9, "in_file": 0, "moved": 0, "policy": "initial"}
    assert sum(r.state == "initial" for r in loaded.audit.tensors) == 27
    entries = next(f.entries for f in loaded.audit.files if f.role == "decoder")
    assert entries == loaded.audit.decoder_parameters  # without buffers the two counts are one


def test_classes_of_config_and_head_must_agree(narrow: Family, folder: Path) -> None:
    configure(folder, num_classes=2)
    with pytest.raises(WeightsError, match=r"gives 5 classes.*num_classes = 2"):
        load(narrow, folder)


def test_another_set_of_layers_is_refused(narrow: Family, folder: Path) -> None:
    configure(folder, target_modules=["attn.qkv"])
    with pytest.raises(WeightsError, match="target_modules"):
        load(narrow, folder)


def test_a_thinking_adapter_on_a_plain_base_is_refused_and_the_other_way_round(narrow: Family, folder: Path) -> None:
    plain, thinking = folder / "lulc_nyc" / LORA, folder / "tim_nyc" / LORA
    one, other = plain.resolve(), thinking.resolve()
    for path, target in ((plain, other), (thinking, one)):
        path.unlink()
        path.symlink_to(target)
    with pytest.raises(WeightsError, match="belongs to a Thinking-in-Modalities backbone, the model is the plain one"):
        load(narrow, folder)
    with pytest.raises(WeightsError, match="belongs to the plain backbone, the model is the Thinking"):
        load(narrow, folder, "tim_nyc")


def test_a_generator_left_random_is_refused(narrow: Family, folder: Path) -> None:
    held = torch.load(folder / "base.pt", weights_only=True)
    encoder_only = {n: t for n, t in held.items() if not n.startswith(("decoder", "mask_token"))}
    (folder / "base.pt").unlink()
    torch.save(encoder_only, folder / "base.pt")
    assert load(narrow, folder).audit.base_loaded == 155
    with pytest.raises(WeightsError, match="generator, which would stay random"):
        load(narrow, folder, "tim_nyc")


def test_the_base_comes_before_lora(narrow: Family, narrow_weights: Path) -> None:
    topology = build_topology(narrow.build_of("lulc_nyc"), 5)
    inject_lora(topology.model.encoder, 16, 32, ["attn.qkv", "attn.proj"])
    with pytest.raises(WeightsError, match="after LoRA was injected"):
        load_base(topology, Base(read_weights(narrow_weights / "base.pt")), "lulc_nyc")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: {f"model.{n}": t for n, t in d.items()}, "155 tensors missing"),
        (lambda d: {**d, "surprise.weight": torch.zeros(1)}, "no place in lulc_nyc's encoder and no reason is known"),
        (
            lambda d: {n: t[:96].contiguous() if n == "encoder_norm.weight" else t for n, t in d.items()},
            "another width",
        ),
        (lambda d: {n: t for n, t in d.items() if "encoder.4.norm1.weight" not in n}, "1 tensors missing"),
    ],
    ids=["rooted elsewhere", "unexplained tensor", "another width", "one missing"],
)
def test_the_base_is_refused(narrow: Family, folder: Path, change: Change, words: str) -> None:
    held = torch.load(folder / "base.pt", weights_only=True)
    (folder / "base.pt").unlink()
    torch.save(change(held), folder / "base.pt")
    with pytest.raises(WeightsError, match=words):
        load(narrow, folder)


class _Harm:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("echo harm > harmed",)


def test_a_pickle_that_runs_code_is_refused_and_not_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "bad.pt"
    torch.save({"a": _Harm()}, path)
    with pytest.raises(WeightsError, match=r"would run code \(posix\.system\)"):
        read_weights(path)
    path.write_bytes(pickle.dumps(_Harm(), protocol=2))
    with pytest.raises(WeightsError, match=r"refused|not a whole"):
        read_weights(path)
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.999])
@pytest.mark.parametrize("name", ["base.pt", f"lulc_nyc/{LORA}", f"lulc_nyc/{DECODER}"])
def test_a_truncated_file_is_refused(narrow: Family, folder: Path, name: str, keep: float) -> None:
    path = folder / name
    raw = path.read_bytes()
    path.unlink()
    path.write_bytes(raw[: int(keep * len(raw))])
    with pytest.raises(WeightsError, match="truncated or damaged"):
        load(narrow, folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p: p.unlink(), "cannot be read.*folder form"),
        (lambda p: p.write_text("{"), "not JSON"),
        (lambda p: p.write_text("{}"), "Field required"),
        (lambda p: p.write_text(p.read_text().replace("LORA", "IA3")), "only LoRA|only LORA"),
    ],
)
def test_a_config_is_refused(narrow: Family, folder: Path, change: Callable[[Path], object], words: str) -> None:
    path = folder / "lulc_nyc" / CONFIG
    text = path.read_text()
    path.unlink()
    path.write_text(text)
    change(path)
    with pytest.raises(WeightsError, match=words):
        load(narrow, folder)


def test_a_hash_is_held_against_its_pin(narrow: Family, narrow_weights: Path) -> None:
    import hashlib

    path = narrow_weights / "lulc_nyc" / LORA
    right = hashlib.sha256(path.read_bytes()).hexdigest()
    assert read_weights(path, right).pinned
    with pytest.raises(WeightsError, match=f"sha256 {right} where {'0' * 64} is pinned.*another revision"):
        read_weights(path, "0" * 64)


def test_published_weights_must_have_the_pinned_hash(nyc: Family, narrow_weights: Path, tmp_path: Path) -> None:
    shutil.copy(narrow_weights / "base.pt", tmp_path / "TerraMind_v1_base.pt")
    with pytest.raises(WeightsError, match="where 83c3a093"):
        load_family(nyc, tmp_path, device="cpu")


def test_no_weights_says_how_to_name_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HARNESS_WEIGHTS", raising=False)
    with pytest.raises(HarnessError, match=r"--weights.*HARNESS_WEIGHTS"):
        load_family("terramind-nyc", device="cpu")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"use_rslora": True}, "use_rslora: this changes what LoRA does"),
        ({"use_dora": True}, "use_dora"),
        ({"alpha_pattern": {"attn.qkv": 8}}, "alpha_pattern"),
        ({"bias": "lora_only"}, "bias"),
        ({"lora_param_count": 1}, "lora_param_count 1, adapter_model.safetensors holds"),
        ({"decoder_param_count": 7}, "decoder_param_count 7"),
        ({"lora_alpha": float("inf")}, "lora_alpha"),
    ],
)
def test_config_fields_that_would_be_ignored_are_refused(
    narrow: Family, folder: Path, fields: dict[str, object], words: str
) -> None:
    configure(folder, "lulc_nyc", **fields)
    with pytest.raises(WeightsError, match=words):
        load(narrow, folder)


def test_tensors_that_are_one_in_the_model_must_be_equal_in_the_file(narrow: Family, folder: Path) -> None:
    held = torch.load(folder / "base.pt", weights_only=True)
    name = next(n for n in held if n.endswith("to_logits.weight"))
    held[name] = held[name] + 1
    (folder / "base.pt").unlink()
    torch.save(held, folder / "base.pt")
    with pytest.raises(WeightsError, match="are one tensor in the model and differ in the file"):
        load(narrow, folder, "tim_nyc")


def test_statistics_that_moved_in_variance_alone_have_moved(narrow: Family, folder: Path) -> None:
    rewrite(
        folder / "lulc_nyc" / DECODER,
        lambda d: {n: torch.zeros_like(t) if n.endswith("running_mean") else t for n, t in d.items()},
    )
    assert load(narrow, folder).audit.batch_norm.moved == 9


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        (LORA, lambda d: {n: t.to(torch.int32) for n, t in d.items()}, "is of type torch.int32"),
        (LORA, lambda d: {n: t[:, 0].contiguous() if ".lora_B." in n else t for n, t in d.items()}, "two dimensions"),
        (DECODER, lambda d: {n: -t if n.endswith("running_var") else t for n, t in d.items()}, "variance and negative"),
    ],
)
def test_tensors_of_another_kind_are_refused(
    narrow: Family, folder: Path, name: str, change: Change, words: str
) -> None:
    rewrite(folder / "lulc_nyc" / name, change)
    with pytest.raises(WeightsError, match=words):
        load(narrow, folder)


def test_an_integer_base_is_refused(narrow: Family, folder: Path) -> None:
    held = torch.load(folder / "base.pt", weights_only=True)
    held["encoder_norm.weight"] = held["encoder_norm.weight"].to(torch.int64)
    (folder / "base.pt").unlink()
    torch.save(held, folder / "base.pt")
    with pytest.raises(WeightsError, match=r"encoder_norm\.weight is of type torch\.int64"):
        load(narrow, folder)


def test_a_pointer_in_place_of_a_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "base.pt"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(WeightsError, match="a Git LFS pointer"):
        read_weights(path)
    path.write_text("<!DOCTYPE html><html></html>")
    with pytest.raises(WeightsError, match="a web page"):
        read_weights(path)


def test_an_adapters_file_is_held_against_its_pin(narrow: Family, folder: Path) -> None:
    pin = narrow.pins[0].model_copy(update={"file": f"lulc_nyc/{LORA}", "sha256": "0" * 64})
    pinned = narrow.model_copy(update={"pins": [*narrow.pins, pin]})
    with pytest.raises(WeightsError, match="is pinned"):
        load(pinned, folder)


def test_random_weights_stay_random_without_their_marker(narrow: Family, folder: Path) -> None:
    (folder / MARKER).unlink()
    ensemble = load_family(narrow, folder, tasks=["lulc_nyc"], device="cpu")
    assert ensemble.adapters["lulc_nyc"].audit.random_weights


def test_a_killed_writer_leaves_its_marker(narrow: Family, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(synthetic, "write_adapter", killed)
    with pytest.raises(KeyboardInterrupt):
        synthetic.write_family(narrow, tmp_path)
    assert (tmp_path / MARKER).is_file()
    assert json.loads((tmp_path / MARKER).read_text())["unfinished"]


def test_random_weights_of_an_older_writer_are_written_anew(narrow: Family, tmp_path: Path) -> None:
    synthetic.write_family(narrow, tmp_path, only=["lulc_nyc"])
    base = tmp_path / "base.pt"
    base.write_bytes(b"old")
    synthetic.write_family(narrow, tmp_path, only=["lulc_nyc"])
    assert base.read_bytes() == b"old"  # the same writer: kept
    held = json.loads((tmp_path / MARKER).read_text())
    (tmp_path / MARKER).write_text(json.dumps({**held, "writer": 1}))
    synthetic.write_family(narrow, tmp_path, only=["lulc_nyc"])
    assert load(narrow, tmp_path).audit.base_loaded == 155
