"""One adapter's call on a narrow family: what is called, on what, and what the command writes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from typer.testing import CliRunner

from harness.chips.chip import Chip
from harness.chips.recipe import read_recipes
from harness.chips.sources.files import each_chip
from harness.claims.families import Family
from harness.cli import app
from harness.cost import call as calls
from harness.cost.call import find_batch, load_again, made_up, one_call, real
from harness.cost.energy import NotMeasured
from harness.cost.protocol import Settings
from harness.errors import RegistryError
from harness.models import stack
from harness.models.ensemble import Ensemble, load_family
from harness.models.synthetic import write_family
from harness.records.cost import Dates, read_cost
from tests.chips.made import write_folder
from tests.models.made import narrow_family

stack.prepare()

TASK = "buildings_nyc"
QUICK = Settings(windows=2, window_s=0.0, fewest_calls=2, warm_calls=2, warm_most_calls=2, cool_s=0.0)
WAYS: tuple[Dates, Dates] = ("all at once", "one by one")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True, scope="module")
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def family() -> Family:
    return narrow_family()


@pytest.fixture(scope="module")
def weights(family: Family, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_family(family, tmp_path_factory.mktemp("cost"), only=[TASK, "tim_nyc"])


@pytest.fixture(scope="module")
def ensemble(family: Family, weights: Path) -> Ensemble:
    return load_family(family, weights, tasks=[TASK, "tim_nyc"], device="cpu")


def test_a_forward_is_measured_and_its_conditions_stand_beside_it(ensemble: Ensemble, family: Family) -> None:
    source = made_up(family, TASK, 64)
    found = one_call(ensemble, TASK, source, batch=2, meter=NotMeasured("none here"), settings=QUICK)
    assert (found.stage, found.batch, found.weights, found.input) == ("forward", 2, "random", "made-up")
    assert (found.device, found.dtype, found.threads) == ("cpu", "float32", 1)
    assert found.throughput.value is not None
    assert found.energy.gross.reason == "none here"
    assert found.seconds_per_km2.value == pytest.approx(1 / found.throughput.value / 0.64**2, rel=0.05)
    assert found.shortfalls
    assert "load average" in found.windows[0].start
    assert found.tokens is None


def test_every_call_computes_everything_again(ensemble: Ensemble, family: Family) -> None:
    source = made_up(family, TASK, 64)
    kept = replace(ensemble, reuse_dates=True)
    passed: list[int] = []
    encoder = ensemble.loaded(TASK).model.encoder.encoder
    handle = encoder.encoder[0].register_forward_hook(lambda _m, args, _out: passed.append(args[0].shape[0]))
    try:
        for dates, due in zip(WAYS, ([4], [1, 1, 1, 1]), strict=True):
            passed.clear()
            go = calls._stage(kept, TASK, source, "forward", 1, None, dates)
            go()
            go()
            assert passed == due * 2
    finally:
        handle.remove()
    assert kept.reuse_dates, "the caller's ensemble is left as it was"


def test_both_ways_of_encoding_dates_give_the_same_logits(ensemble: Ensemble, family: Family) -> None:
    source = made_up(family, TASK, 64)
    one, other = (calls._stage(ensemble, TASK, source, "forward", 1, None, d)() for d in WAYS)
    assert isinstance(one, torch.Tensor)
    assert isinstance(other, torch.Tensor)
    assert torch.allclose(one, other, atol=1e-4)


def test_a_batch_takes_the_inputs_in_turn(ensemble: Ensemble, family: Family) -> None:
    source = made_up(family, TASK, 64, count=2)
    tensors = calls._on_device(ensemble, TASK, [source.inputs[i % 2] for i in range(3)])
    assert tensors["S2L2A"].shape == (3, 12, 4, 64, 64)
    assert torch.equal(tensors["S2L2A"][0], tensors["S2L2A"][2])
    assert not torch.equal(tensors["S2L2A"][0], tensors["S2L2A"][1])


def test_zeros_are_refused(ensemble: Ensemble, family: Family) -> None:
    source = made_up(family, TASK, 64)
    zeros = replace(source.inputs[0], arrays={m: np.zeros_like(a) for m, a in source.inputs[0].arrays.items()})
    with pytest.raises(RegistryError, match="all zeros"):
        one_call(ensemble, TASK, replace(source, inputs=(zeros,)), settings=QUICK)


def test_how_tokens_were_chosen_is_told(ensemble: Ensemble, family: Family) -> None:
    found = one_call(ensemble, "tim_nyc", made_up(family, "tim_nyc", 64), settings=QUICK)
    assert found.tokens == "sampled, fixed seed"


def test_load_and_preprocess_are_measured_apart(
    ensemble: Ensemble, family: Family, weights: Path, tmp_path: Path
) -> None:
    source = made_up(family, TASK, 64)
    with pytest.raises(RegistryError, match="needs raw chips"):
        one_call(ensemble, TASK, source, stage="preprocess", settings=QUICK)
    with pytest.raises(RegistryError, match="needs what loads"):
        one_call(ensemble, TASK, source, stage="load", settings=QUICK)
    again = load_again(family, weights, TASK, "cpu", "float32")
    assert one_call(ensemble, TASK, source, stage="load", load=again, settings=QUICK).stage == "load"
    write_folder(tmp_path, ids=("a", "b"), size_px=64)
    chips = [c for _, c in each_chip(tmp_path, {}, None, {}) if isinstance(c, Chip)]
    recipe = read_recipes(ROOT / "eval" / "recipes")["pretraining"]
    made = real(chips, recipe, family, TASK)
    found = one_call(ensemble, TASK, made, stage="preprocess", settings=QUICK)
    assert (found.input, found.input_ids, found.recipe) == ("real", ["a", "b"], "pretraining")
    assert (found.chip_px, found.gsd_m) == (64, 10.0)


def test_the_search_for_a_batch_runs_the_model(ensemble: Ensemble, family: Family) -> None:
    best, tried = find_batch(ensemble, TASK, made_up(family, TASK, 64), sizes=(1, 2), seconds=0.05)
    assert best in (1, 2)
    assert [t.batch for t in tried] == [1, 2]


def place(family: Family, root: Path) -> Path:
    """A checkout of the narrow family."""
    for name in ("recipes", "schemes", "claims"):
        (root / "eval" / name).mkdir(parents=True)
        for path in (ROOT / "eval" / name).glob("*.yaml"):
            (root / "eval" / name / path.name).write_bytes(path.read_bytes())
    (root / "eval" / "families").mkdir()
    data = family.model_dump(exclude_none=True, exclude_defaults=True)
    (root / "eval" / "families" / "narrow.yaml").write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")
    return root


def test_the_command_writes_a_record_and_says_what_is_no_evidence(
    family: Family, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, out = place(family, tmp_path), tmp_path / "bench" / "m.json"
    words = ["bench", "energy", "--family=narrow", f"--root={root}", f"--weights={weights}", f"--task={TASK}"]
    more = ["--batch=1", "--size=64", "--windows=1", "--window-s=0.1", "--device=cpu", "--meter=none", f"--out={out}"]
    monkeypatch.setitem(sys.modules, "codecarbon", None)
    more.append("--country=USA")
    done = CliRunner().invoke(app, [*words, *more], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    record = read_cost(out)
    assert record.calls[0].windows[0].calls >= 10
    assert record.calls[0].energy.gross.reason == "no meter was asked for"
    assert record.assumptions[0].startswith("Random weights")
    assert record.machine["package torch"]
    flat = " ".join(done.output.split())
    assert "joules not measured: no meter was asked for" in flat
    assert record.modelled == []
    assert "no kgCO2e: codecarbon is not installed" in flat
    assert "no evidence: windows 1 where the protocol asks for 5" in flat


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("--batch=0", "a number from 1 on, or best"),
        ("--stage=sleep", "load, preprocess or forward"),
        ("--meter=watts", "no meter"),
    ],
)
def test_the_command_refuses_what_it_does_not_know(
    family: Family, weights: Path, tmp_path: Path, word: str, said: str
) -> None:
    root = place(family, tmp_path)
    words = [
        "bench",
        "energy",
        "--family=narrow",
        f"--root={root}",
        f"--weights={weights}",
        f"--out={tmp_path / 'm.json'}",
    ]
    with pytest.raises(RegistryError, match=said):
        CliRunner().invoke(app, [*words, "--device=cpu", word], catch_exceptions=False)


def test_a_file_that_is_no_record_of_costs_is_not_replaced(family: Family, weights: Path, tmp_path: Path) -> None:
    notes = tmp_path / "notes.json"
    notes.write_text('{"mine": 1}', encoding="utf-8")
    words = ["bench", "energy", "--family=narrow", f"--root={place(family, tmp_path)}", f"--weights={weights}"]
    with pytest.raises(RegistryError, match=r"notes\.json: is there and is no record of costs; name another file"):
        CliRunner().invoke(app, [*words, "--device=cpu", f"--out={notes}"], catch_exceptions=False)
    assert notes.read_text(encoding="utf-8") == '{"mine": 1}'
