"""Training: the same bytes every time, killed or not, and what is trained is what is loaded."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from harness.chips.chip import Chip, Label
from harness.claims.families import read_families
from harness.errors import ChipError, HarnessError, RecipeError, RegistryError, TopologyError, WeightsError
from harness.models.audit import Loaded
from harness.models.dates import DateCache
from harness.models.ensemble import Ensemble, load_family
from harness.models.published import CONFIG, DECODER, LORA
from harness.models.topology import Topology, build_topology
from harness.models.training import batches, checkpoint, export, fit, job, steps
from harness.models.training.fit_config import FitConfig, FitRecord, read_fit_config
from tests.models.training_chips import SCHEME, chip, nano_family, recipe

BASE = "nano_base.safetensors"
CHIPS = [chip(seed) for seed in range(3)]

Kill = Callable[[pytest.MonkeyPatch], None]


def config(**changes: Any) -> FitConfig:
    """Three steps of a base; of an adapter where `adapter` is given."""
    held: dict[str, Any] = {
        "family": "nano",
        "adapter": "base",
        "recipe": "training-code",
        "scheme": SCHEME,
        "classes": 3,
        "steps": 3,
        "batch_size": 2,
        "learning_rate": 3e-3,
        "augment": "flips and turns",
        "dtype": "float16",
        "seed": 5,
        "threads": 1,
        "checkpoint_every": 1,
    }
    if changes.get("adapter", "base") != "base":
        held["lora"] = {"r": 4, "alpha": 8}
    return FitConfig.model_validate({**held, **changes})


def run(out: Path, told: FitConfig, *, chips: list[Chip] | None = None, **kwargs: Any) -> FitRecord:
    """`fit` on the made chips."""
    given = {"family": nano_family(), "recipe": recipe(), **kwargs}
    return fit.fit(told, CHIPS if chips is None else chips, out, **given)


def files(folder: Path) -> dict[str, bytes]:
    """Everything below a folder but the records, which hold durations."""
    found = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    return {name: p.read_bytes() for name, p in found.items() if not name.endswith(job.RECORD)}


@dataclass
class Trained:
    """A family as three trainings left it, on disk and in memory."""

    folder: Path
    """Weights."""
    records: list[FitRecord] = field(default_factory=list)
    """Of the trainings, base first."""
    models: dict[str, Topology] = field(default_factory=dict)
    """As they were when they were written."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A base and an adapter over it."""
    out = Trained(tmp_path_factory.mktemp("trained"))

    def kept(given: job.Job, topology: Topology, *rest: Any) -> FitRecord:
        out.models[given.config.adapter] = topology
        return write(given, topology, *rest)

    write = fit.write
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "write", kept)
        out.records.append(run(out.folder, config()))
        out.records.append(run(out.folder, config(adapter="cover"), held_out=["chip98", "chip99"]))
    return out


def family_of(trained: Trained, task: str = "cover") -> Ensemble:
    return load_family(nano_family(), trained.folder, tasks=[task], recipe=recipe(), device="cpu")


def test_what_was_trained_is_what_is_loaded_and_run(trained: Trained) -> None:
    ensemble = family_of(trained)
    audit = ensemble.adapters["cover"].audit
    memory = trained.models["cover"]
    held = replace(ensemble, adapters={"cover": Loaded(memory.model, memory, audit)}, dates=DateCache())
    for seed in (0, 7):
        loaded, own = (each.predict(chip(seed), ["cover"])["cover"].logits for each in (ensemble, held))
        assert float(np.abs(own).max()) > 0.05
        assert float(np.abs(loaded - own).max()) <= 1e-6
    assert audit.base_unused == {}
    assert (audit.base_loaded, audit.lora_applied, audit.decoder_loaded) == (audit.base_expected, 8, 61)
    assert all(norm > 0 for place in audit.places for norm in place.b_norms)
    assert (audit.batch_norm.policy, audit.batch_norm.moved) == ("from the file", 9)
    assert not audit.random_weights


def test_files_hold_half_precision_but_for_batch_norm_statistics(trained: Trained) -> None:
    assert sorted(files(trained.folder)) == sorted(
        [BASE, *(f"cover/{name}" for name in (CONFIG, LORA, DECODER, "splits/test.txt"))]
    )
    for name in (BASE, f"cover/{LORA}", f"cover/{DECODER}"):
        assert (trained.folder / name).stat().st_mode & 0o777 == 0o644
        for tensor, held in load_file(trained.folder / name).items():
            statistic = tensor.endswith(("running_mean", "running_var"))
            counter = tensor.endswith("num_batches_tracked")
            assert held.dtype == (torch.float32 if statistic else torch.int64 if counter else torch.float16), tensor
    assert (trained.folder / "cover/splits/test.txt").read_text() == "chip98\nchip99\n"


def test_an_adapter_leaves_its_base_alone(trained: Trained) -> None:
    base = load_file(trained.folder / BASE)
    inside = {
        n.removeprefix("encoder.").replace(".base_layer.", "."): t
        for n, t in trained.models["cover"].model.encoder.state_dict().items()
        if "lora_" not in n
    }
    assert inside.keys() == base.keys()
    assert all(torch.equal(t, base[n].float()) for n, t in inside.items())


def test_records_say_what_was_done(trained: Trained) -> None:
    base, cover = trained.records
    assert cover.base_sha256 == base.files[0].sha256
    assert (base.base_sha256, base.held_out, cover.held_out) == (None, [], ["chip98", "chip99"])
    assert (cover.chips, cover.encoded_once, cover.resumed_at) == (["chip0", "chip1", "chip2"], True, 0)
    assert [f.name for f in cover.files] == [f"cover/{name}" for name in (CONFIG, LORA, DECODER)]
    assert len(cover.losses) == 3
    lora = sum(t.numel() for t in load_file(trained.folder / "cover" / LORA).values())
    outside = trained.models["cover"].model
    decoder = sum(p.numel() for n, p in outside.named_parameters() if not n.startswith("encoder."))
    assert cover.trained_parameters == lora + decoder
    assert base.trained_parameters == sum(p.numel() for p in trained.models["base"].model.parameters())


def test_the_same_training_gives_the_same_bytes(trained: Trained, tmp_path: Path) -> None:
    torch.manual_seed(77)  # what came before in the process does not matter
    run(tmp_path, config(checkpoint_every=3))
    run(tmp_path, config(adapter="cover"), held_out=["chip98", "chip99"])
    assert files(tmp_path) == files(trained.folder)


def test_another_seed_gives_other_bytes(trained: Trained, tmp_path: Path) -> None:
    run(tmp_path, config(seed=6))
    assert files(tmp_path)[BASE] != files(trained.folder)[BASE]


# ---- killed


class Killed(BaseException):
    """Stands for a signal: nothing here catches it."""


def after(number: int) -> Kill:
    """Killed once a checkpoint of that many steps is written."""

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        def save(path: Path, fingerprint: str, tensors: Any, optimiser: Any, losses: list[float]) -> None:
            plain(path, fingerprint, tensors, optimiser, losses)
            if len(losses) == number:
                raise Killed

        plain = checkpoint.save
        monkeypatch.setattr(checkpoint, "save", save)

    return patch


def at(module: Any, name: str, *, before: bool) -> Kill:
    """Killed before or after a function has done its work."""

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        def killed(*args: Any, **kwargs: Any) -> Any:
            if not before:
                plain(*args, **kwargs)
            raise Killed

        plain = getattr(module, name)
        monkeypatch.setattr(module, name, killed)

    return patch


KILLS = {
    "after one step": after(1),
    "after two steps": after(2),
    "before anything is written": at(fit, "write", before=True),
    "after the tensors": at(export, "save_file", before=False),
    "before the record": at(fit, "write_file", before=True),
    "after the record": at(fit, "write_file", before=False),
    "after everything": at(fit, "write", before=False),
}


@pytest.mark.parametrize("kill", list(KILLS))
@pytest.mark.parametrize("adapter", ["base", "cover"])
def test_a_killed_training_goes_on_to_the_same_bytes(
    adapter: str, kill: str, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tests: dict[str, Any] = {} if adapter == "base" else {"held_out": ["chip98", "chip99"]}
    wanted = files(trained.folder)
    if adapter == "base":
        wanted = {BASE: wanted[BASE]}
    else:
        (tmp_path / BASE).write_bytes(wanted[BASE])
    with monkeypatch.context() as patch:
        KILLS[kill](patch)
        with pytest.raises(Killed):
            run(tmp_path, config(adapter=adapter), **tests)
    seen = {name for name in files(tmp_path) if not name.startswith(".")}
    assert seen in ({BASE} & set(seen), set(wanted))  # whole or not there
    said: list[str] = []
    record = run(tmp_path, config(adapter=adapter), step=said.append, **tests)
    assert files(tmp_path) == wanted
    assert not [p.name for p in tmp_path.iterdir() if p.name.startswith(".")]
    assert record.losses == trained.records[adapter == "cover"].losses
    if kill.startswith("after t") and kill.endswith("steps"):
        assert record.resumed_at == 2
        assert said[0] == f"{adapter}: going on after step 2 of 3"
    if kill == "after everything":
        assert said[0].startswith(f"{adapter}: trained already")


def test_a_full_disk_is_told_and_leaves_no_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_args: object, **_kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write_file", full)
        with pytest.raises(WeightsError, match=r"checkpoint cannot be written: .*No space left"):
            run(tmp_path, config())
    with monkeypatch.context() as patch:
        patch.setattr(export, "save_file", full)
        with pytest.raises(WeightsError, match="cannot be written: No space left"):
            run(tmp_path, config())
    assert [n for n in files(tmp_path) if not n.startswith(".")] == []
    run(tmp_path, config())
    assert list(files(tmp_path)) == [BASE]


def test_a_checkpoint_of_another_training_is_not_taken_up(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        after(2)(patch)
        with pytest.raises(Killed):
            run(tmp_path, config(learning_rate=1e-3))
    said: list[str] = []
    assert run(tmp_path, config(), step=said.append).resumed_at == 0
    assert "of another training" in said[0]
    assert files(tmp_path) == {BASE: files(trained.folder)[BASE]}


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    at = tmp_path / ".training-base" / "checkpoint.pt"
    at.parent.mkdir()
    at.write_bytes(b"PK\x03\x04 half")
    with pytest.raises(WeightsError, match="not a whole checkpoint"):
        run(tmp_path, config())


def test_a_finished_training_is_not_done_again_and_nothing_is_replaced_unasked(
    trained: Trained, tmp_path: Path
) -> None:
    for name, raw in files(trained.folder).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(raw)
    tests: dict[str, Any] = {"held_out": ["chip98", "chip99"]}
    with pytest.raises(WeightsError, match="cover: holds something that this training did not write"):
        run(tmp_path, config(adapter="cover"), **tests)
    (tmp_path / "cover" / "README.md").write_text("kept")
    first = run(tmp_path, config(adapter="cover"), replace=True, **tests)
    assert (tmp_path / "cover" / "README.md").read_text() == "kept"
    said: list[str] = []
    assert run(tmp_path, config(adapter="cover"), step=said.append, **tests) == first
    assert len(said) == 1
    assert "trained already" in said[0]
    with pytest.raises(WeightsError, match="holds something"):
        run(tmp_path, config(adapter="cover"), chips=CHIPS[::-1], **tests)
    (tmp_path / "cover" / LORA).write_bytes(b"damaged")
    with pytest.raises(WeightsError, match="holds something"):
        run(tmp_path, config(adapter="cover"), **tests)
    with pytest.raises(WeightsError, match="holds something"):
        run(tmp_path, config(seed=6))


# ---- learning


def test_a_base_and_an_adapter_over_it_learn(tmp_path: Path) -> None:
    taught = {"steps": 40, "batch_size": 4, "checkpoint_every": 40, "warmup_steps": 4}
    many = [chip(seed) for seed in range(8)]
    base = run(tmp_path, config(**taught), chips=many)
    cover = run(tmp_path, config(adapter="cover", **taught), chips=many)
    for record in (base, cover):
        assert len(record.losses) == 20
        assert record.losses[-1] < 0.7 * record.losses[0]
    ensemble = load_family(nano_family(), tmp_path, tasks=["cover"], recipe=recipe(), device="cpu")
    unseen = chip(99)
    assert unseen.label is not None
    right = ensemble.predict(unseen, ["cover"])["cover"].classes == unseen.label.data
    assert right[2:].mean() > 0.6  # a third by chance


def losses_of(monkeypatch: pytest.MonkeyPatch, out: Path, **patched: Any) -> list[float]:
    with monkeypatch.context() as patch:
        for name, value in patched.items():
            patch.setattr(steps, name, value)
        return run(out, config()).losses


def test_a_repeated_date_is_encoded_once_and_nothing_else_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def counted(encoder: nn.Module, _steps: int) -> AbstractContextManager[None]:
        encoder.register_forward_pre_hook(lambda _, args: seen.append(next(iter(args[0].values())).shape[0]))
        return nullcontext()

    four = losses_of(monkeypatch, tmp_path / "four", encoded_once=counted)
    assert seen == [8, 8, 8]
    once = losses_of(monkeypatch, tmp_path / "once")
    assert np.allclose(once, four, rtol=0, atol=2e-4)

    def doubled(flat: dict[str, torch.Tensor]) -> list[torch.Tensor]:
        seen.append(len(flat["S2L2A"]))
        return [flat["S2L2A"] * 2]

    seen.clear()
    encoder = nn.Module()
    encoder.forward = doubled
    with steps.encoded_once(encoder, 4):
        (out,) = encoder.forward({"S2L2A": torch.arange(8.0)[:, None]})
    assert seen == [2]
    assert out[:, 0].tolist() == [0, 0, 0, 0, 8, 8, 8, 8]


def test_dates_that_differ_are_all_encoded(tmp_path: Path) -> None:
    four = [chip(seed, dates=4) for seed in range(2)]
    record = run(tmp_path, config(steps=1), chips=four, recipe=recipe(distinct=True))
    assert not record.encoded_once
    with pytest.raises(RecipeError, match="has 4 dates"):
        run(tmp_path / "other", config(steps=1), chips=four)


def test_dropout_order_and_symmetry_come_from_seed_and_step_alone() -> None:
    def seen(augment: batches.Augment, seed: int = 3) -> list[batches.Draw]:
        return [d for step in range(40) for d in batches.draws(seed, step, 5, 2, augment)]

    every = seen("flips and turns")
    assert every == seen("flips and turns")
    assert every != seen("flips and turns", seed=4)
    rounds = [[d.chip for d in every[i : i + 5]] for i in range(0, 80, 5)]
    assert all(sorted(each) == [0, 1, 2, 3, 4] for each in rounds)
    assert len({tuple(each) for each in rounds}) > 10
    assert [d.chip for d in batches.draws(3, 0, 5, 4, "none")] == [d.chip for d in every[:4]]
    assert {(d.turns, d.mirrored) for d in every} == {(t, m) for t in range(4) for m in (False, True)}
    assert {(d.turns, d.mirrored) for d in seen("flips")} == {(t, m) for t in (0, 2) for m in (False, True)}
    assert {(d.turns, d.mirrored) for d in seen("none")} == {(0, False)}


def test_pixels_and_labels_turn_together() -> None:
    made = [replace(c, label=replace_label(c, c.layers["DEM"].data[0, 0] > 0.5)) for c in CHIPS]
    given = recipe().model_copy(update={"dem": recipe().dem.model_copy(update={"policy": "given"})})
    samples = batches.read_samples(made, given, nano_family().build, scheme=SCHEME, classes=2)
    for turns in range(4):
        for mirrored in (False, True):
            x, y = batches.batch(samples, [batches.Draw(i, turns, mirrored) for i in (2, 0)])
            dem = x["DEM"][:, 0, 0] * 189.363 + 141.786
            assert torch.equal(dem > 0.5, y == 1)
            assert x["S2L2A"].shape == (2, 12, 1, 64, 64)
    plain = samples.labels[0]
    shown = {batches.turned(plain, batches.Draw(0, t, m)).numpy().tobytes() for t in range(4) for m in (False, True)}
    assert len(shown) == 8


def replace_label(given: Chip, data: Any) -> Label:
    assert given.label is not None
    return replace(given.label, data=np.asarray(data).astype(np.int64))


def test_ignored_pixels_teach_nothing() -> None:
    samples = batches.read_samples(CHIPS, recipe(), nano_family().build, scheme=SCHEME, classes=3)
    assert all(bool((label[:2] == batches.IGNORE).all()) for label in samples.labels)
    assert all(bool((label[2:] >= 0).all()) for label in samples.labels)


def test_the_learning_rate_rises_and_falls() -> None:
    shares = [steps.share(i, 20, 4) for i in range(20)]
    assert shares[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert shares[4:] == sorted(shares[4:], reverse=True)
    assert 0 < shares[-1] < 0.02
    assert steps.share(0, 1, 0) == 1.0


@pytest.fixture
def switches() -> Iterator[None]:
    """The process's random state and switches are as before."""
    torch.manual_seed(3)
    random.seed(3)

    def state() -> tuple[Any, ...]:
        return (
            torch.random.get_rng_state().tolist(),
            random.getstate(),
            torch.get_num_threads(),
            torch.are_deterministic_algorithms_enabled(),
            torch.utils.deterministic.fill_uninitialized_memory,
        )

    before = state()
    yield
    assert state() == before


@pytest.mark.usefixtures("switches")
def test_a_training_leaves_the_process_as_it_was(tmp_path: Path) -> None:
    seen: list[tuple[int, bool]] = []
    run(
        tmp_path,
        config(steps=1, threads=2),
        step=lambda _: seen.append((torch.get_num_threads(), torch.are_deterministic_algorithms_enabled())),
    )
    assert seen[0] == (2, True)


@pytest.mark.usefixtures("switches")
def test_a_training_that_diverges_is_an_error_and_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"the loss is nan in step 1; the training diverged"):
        run(tmp_path, config(classes=4, class_weights=[0.0, 0.0, 0.0, 1.0]))  # no pixel of class 3: 0 / 0
    assert list(files(tmp_path)) == []


# ---- export


def test_weights_are_rounded_before_they_are_written_or_not_at_all(tmp_path: Path) -> None:
    topology = build_topology(nano_family().build, 3, initialise=True)
    with pytest.raises(WeightsError, match="would change in float16"):
        export.export_base(topology, tmp_path / "base.pt", dtype="float16")
    export.round_weights(topology.model.state_dict(), "float16")
    export.export_base(topology, tmp_path / "base.pt", dtype="float16")
    export.export_base(topology, tmp_path / "again.pt", dtype="float16")
    assert (tmp_path / "base.pt").read_bytes() == (tmp_path / "again.pt").read_bytes()
    with pytest.raises(WeightsError, match="is there already"):
        export.export_base(topology, tmp_path / "base.pt", dtype="float16")
    statistic = {"layer.running_var": torch.tensor([1e-9]), "layer.weight": torch.tensor([1e-9])}
    export.round_weights(statistic, "float16")
    assert [float(t) > 0 for t in statistic.values()] == [True, False]
    with pytest.raises(WeightsError, match="too large for float16"):
        export.round_weights({"w": torch.tensor([1e5])}, "float16")
    with pytest.raises(WeightsError, match="float32 or float16"):
        export.round_weights({"w": torch.tensor([1.0])}, "int8")


def test_a_base_with_lora_is_no_base(trained: Trained, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="carries LoRA"):
        export.export_base(trained.models["cover"], tmp_path / "base.pt")
    assert list(tmp_path.iterdir()) == []


def test_full_precision_and_a_torch_file_come_back_too(tmp_path: Path) -> None:
    family = nano_family("nano_base.pt")
    for told in (config(dtype="float32"), config(adapter="houses", classes=2, dtype="float32")):
        two = [replace(c, label=replace_label(c, c.label.data % 2)) for c in CHIPS if c.label is not None]
        run(tmp_path, told, chips=two if told.classes == 2 else None, family=family)
    ensemble = load_family(family, tmp_path, tasks=["houses"], recipe=recipe(), device="cpu")
    assert {t.dtype for t in ensemble.adapters["houses"].audit.tensors} == {"float32", "int64"}
    assert (tmp_path / "in" / "houses" / job.RECORD).is_file()


# ---- refused


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"family": "other"}, RegistryError, "asks for family other, was given nano"),
        ({"recipe": "card"}, RegistryError, "asks for recipe card, was given training-code"),
        ({"adapter": "hauses"}, RegistryError, "no adapter 'hauses'"),
        ({"adapter": "cover", "classes": 4}, RegistryError, "4 classes are trained; the family has 3"),
        ({"adapter": "cover", "scheme": "other"}, RegistryError, "labels in scheme other; the family names made"),
        ({"scheme": "other"}, ChipError, "labelled in scheme made, the training in other"),
        ({"classes": 2}, ChipError, r"has classes \[2\]; 0 to 1 are trained"),
        ({"adapter": "cover"}, WeightsError, "no such file"),
    ],
)
def test_what_does_not_agree_is_refused(
    changes: dict[str, Any], error: type[HarnessError], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        run(tmp_path, config(**changes))
    assert list(tmp_path.iterdir()) == []


def without_class(given: Chip) -> Chip:
    return replace(given, label=replace_label(given, np.full((64, 64), 255)))


@pytest.mark.parametrize(
    ("chips", "message"),
    [
        ([], "no chips to train on"),
        ([CHIPS[0], CHIPS[0]], "stands twice"),
        ([replace(CHIPS[0], label=None)], "has no label"),
        ([without_class(CHIPS[0])], "no pixel with a class"),
        ([chip(0, height_px=96)], "cannot be turned by a quarter"),
        ([CHIPS[0], chip(1, height_px=96, width_px=96)], "a batch needs one size"),
        ([chip(0, height_px=48, width_px=48)], "no multiple of 32"),
    ],
)
def test_chips_that_do_not_fit_are_refused(chips: list[Chip], message: str, tmp_path: Path) -> None:
    with pytest.raises(ChipError, match=message):
        run(tmp_path, config(), chips=chips)


def test_test_chips_are_not_trained_on(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="1 test chips are among those trained on, first chip1"):
        run(tmp_path, config(), held_out=["chip1", "chip9"])


def test_a_thinking_backbone_is_not_trained(tmp_path: Path) -> None:
    family = nano_family()
    thinking = family.model_copy(update={"build": family.build.model_copy(update={"tim_modalities": ["LULC"]})})
    with pytest.raises(TopologyError, match="samples its tokens"):
        run(tmp_path, config(), family=thinking)


def test_a_base_of_another_width_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"encoder.0.norm1.weight": torch.ones(64)}, tmp_path / BASE)
    with pytest.raises(WeightsError, match="another width"):
        run(tmp_path, config(adapter="cover"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("steps: 0", r"t.yaml:6: training.steps: Input should be greater than or equal to 1"),
        ("steps: many", r"t.yaml:6: training.steps"),
        ("no_such: 1", r"training.no_such: no such field"),
        ("lora: {r: 4, alpha: 8}", "a base is trained without"),
        ("lora_learning_rate: 0.1", "a base is trained without LoRA"),
        ("class_weights: [1, 2]", "2 weights for 3 classes"),
        ("class_weights: [1, 2, -1]", "finite and not negative"),
        ("warmup_steps: 3", "3 of 3 steps"),
        ("augment: scale", "augment"),
        ("dtype: int8", "dtype"),
        ("learning_rate: .inf", "learning_rate"),
    ],
)
def test_files_that_say_no_training_are_refused(change: str, message: str, tmp_path: Path) -> None:
    text = {
        "family": "nano",
        "adapter": "base",
        "recipe": "training-code",
        "scheme": SCHEME,
        "classes": "3",
        "steps": "3",
        "batch_size": "2",
        "learning_rate": "3e-3",
        "augment": "flips and turns",
        "dtype": "float16",
        "seed": "5",
        "threads": "1",
        "checkpoint_every": "1",
    }
    path = tmp_path / "t.yaml"
    path.write_text("".join(f"{k}: {v}\n" for k, v in text.items()))
    assert read_fit_config(path) == config()
    key, _, value = change.partition(": ")
    path.write_text("".join(f"{k}: {v}\n" for k, v in {**text, key: value}.items()))
    with pytest.raises(RegistryError, match=message):
        read_fit_config(path)


# ---- the family of the simulated city


def test_the_twins_family_is_what_is_built_and_stays_small(root: Path) -> None:
    family = read_families(root / "harness" / "twin" / "data" / "eval" / "families")["twin"]
    stated = family.topology
    assert stated is not None
    stored, rank = 0, 8
    for i, adapter in enumerate(family.adapters):
        build = family.build_of(adapter.id)
        topology = build_topology(build, adapter.classes)
        encoder, model = topology.model.encoder, topology.model
        outside = {n: t for n, t in model.state_dict().items() if not n.startswith("encoder.")}
        parameters = [p for n, p in model.named_parameters() if not n.startswith("encoder.")]
        assert len(list(encoder.encoder.encoder)) == stated.blocks
        assert sum(p.numel() for p in encoder.parameters()) == stated.encoder_parameters
        assert sum(p.numel() for p in parameters) == stated.decoder_parameters(adapter.classes)
        assert sum(t.numel() for t in outside.values()) - sum(p.numel() for p in parameters) == stated.decoder_buffers
        assert outside["head.head.2.weight"].shape[1] == stated.head_inputs
        for linear in stated.linears:
            weight = encoder.get_submodule(f"encoder.encoder.0.{linear.name}").weight
            assert tuple(weight.shape) == (linear.outputs, linear.inputs)
        lora = stated.blocks * rank * sum(linear.inputs + linear.outputs for linear in stated.linears)
        stored += 2 * (lora + sum(t.numel() for t in outside.values()))
        stored += 0 if i else 2 * sum(t.numel() for t in encoder.state_dict().values())
    assert stored < 6.4e6  # of 6.5 MB for everything that is committed
