"""Each row of the bench holds its two ways against each other before it times them; no time is asserted."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from harness.bench import memory, models, plain, reads, scores
from harness.bench.growth import growth, peaks
from harness.bench.narrow import checkout, narrow
from harness.bench.series import Asked
from harness.bench.sizes import sizes
from harness.chips.recipe import Recipe, read_recipes
from harness.claims.families import Family, read_families
from harness.claims.schemes import read_schemes
from harness.cli import app
from harness.cost.call import made_up
from harness.errors import RegistryError, SourceError
from harness.models import stack
from harness.models.ensemble import Ensemble, load_family
from harness.models.synthetic import write_family
from harness.records.bench import GROUPS, Pairs, read_bench

ROOT = Path(__file__).resolve().parents[2]
TASKS = ["lulc_nyc", "buildings_nyc"]

stack.prepare()


@pytest.fixture(autouse=True, scope="module")
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def recipes() -> dict[str, Recipe]:
    return dict(read_recipes(ROOT / "eval" / "recipes"))


@pytest.fixture(scope="module")
def family() -> Family:
    """Without the adapter that thinks, which takes longer than all others."""
    whole = narrow(read_families(ROOT / "eval" / "families")["terramind-nyc"])
    return whole.model_copy(update={"adapters": [a for a in whole.adapters if a.id in TASKS]})


@pytest.fixture(scope="module")
def weights(family: Family, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_family(family, tmp_path_factory.mktemp("bench"))


@pytest.fixture(scope="module")
def ensemble(family: Family, weights: Path) -> Ensemble:
    return load_family(family, weights, device="cpu")


def timed(row: Pairs, n: int) -> bool:
    return len(row.ours_s) == len(row.reference_s) == n


def test_the_narrow_family_keeps_the_wiring_and_no_size(family: Family) -> None:
    published = read_families(ROOT / "eval" / "families")["terramind-nyc"]
    for task in TASKS:
        small, whole = family.build_of(task), published.build_of(task)
        assert small.backbone == "terramind_v1_tiny"
        assert small.decoder_channels == [c // 8 for c in whole.decoder_channels]
        same = {"backbone", "decoder_channels"}
        assert small.model_dump(exclude=same) == whole.model_dump(exclude=same)
    thinking = narrow(published).build_of("tim_nyc")
    assert (thinking.backbone, thinking.tim_modalities) == ("terramind_v1_tiny_tim", ["LULC"])
    other = published.model_copy(update={"build": published.build.model_copy(update={"backbone": "prithvi_300"})})
    with pytest.raises(RegistryError, match="no small sister of prithvi_300"):
        narrow(other)


def test_preprocess_is_held_against_the_plain_way(recipes: dict[str, Recipe], monkeypatch: pytest.MonkeyPatch) -> None:
    row = scores.preprocess_row(recipes["pretraining"], 64, 4, 2)
    assert timed(row, 2)
    assert row.same.startswith("tensors differ by")

    def off(*given: Any) -> dict[str, Any]:
        return {m: a + np.float32(0.01) for m, a in plain.preprocess(*given).items()}

    monkeypatch.setattr(scores, "preprocess", off)
    with pytest.raises(RegistryError, match=r"preprocess: the two ways differ by 0\.01"):
        scores.preprocess_row(recipes["pretraining"], 64, 4, 2)


def test_the_sweep_is_held_against_the_plain_way(monkeypatch: pytest.MonkeyPatch) -> None:
    assert timed(scores.sweep_row(64, 3), 3)

    def off(*given: Any) -> list[tuple[int, int, int, int]]:
        (tp, fp, fn, tn), *rest = plain.counted(*given)
        return [(tp + 1, fp, fn, tn), *rest]

    monkeypatch.setattr(scores, "counted", off)
    with pytest.raises(RegistryError, match="sweep: the two ways count other pixels"):
        scores.sweep_row(64, 3)


def test_the_report_is_held_against_the_plain_tables(
    family: Family, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = scores.run_folder(family, weights, tmp_path, 1, 64)
    row = scores.report_row(folder, family, 2)
    assert timed(row, 2)
    assert row.of == "a run of 2 adapters on 1 made-up chips"
    schemes = read_schemes(ROOT / "eval" / "schemes")
    rows = plain.class_rows(folder, dict(schemes))
    assert len(rows) == 7
    monkeypatch.setattr(scores, "class_rows", lambda *_: [rows[0].replace("0.", "9.")])
    with pytest.raises(RegistryError, match=r"report: the page lacks .*9\."):
        scores.report_row(folder, family, 2)


def test_reads_and_store_are_held_against_rasterio_and_numpy(
    recipes: dict[str, Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, kept = reads.reads(tmp_path / "a", recipes["published-rerun"], 2, lambda _: None, delay=0.0)
    assert [r.id for r in rows] == ["chip read", "store", "store/windows"]
    assert all(timed(r, 2 if r.id != "store/windows" else 8) for r in rows)
    assert kept[0].bytes is not None
    assert kept[0].bytes > 57 * 1000
    straight = reads.by_rasterio

    def off(requests: Any) -> dict[str, Any]:
        found = straight(requests)
        name = next(iter(found))
        changed = found[name].copy()
        changed.flat[0] += 1
        return {**found, name: changed}

    monkeypatch.setattr(reads, "by_rasterio", off)
    with pytest.raises(SourceError, match="the two ways read other pixels"):
        reads.reads(tmp_path / "b", recipes["published-rerun"], 2, lambda _: None, delay=0.0)


def test_what_was_remembered_from_an_earlier_call_is_noticed(
    recipes: dict[str, Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, held = reads.by_reader, list[Any]()

    def once(requests: Any) -> dict[str, Any]:
        held[:] = held or [ours(requests)]
        found: dict[str, Any] = held[0]
        return found

    monkeypatch.setattr(reads, "by_reader", once)
    monkeypatch.setattr(reads, "by_rasterio", once)
    with pytest.raises(SourceError, match="something was kept"):
        reads.reads(tmp_path, recipes["published-rerun"], 2, lambda _: None, delay=0.0)


def test_a_forward_is_held_against_all_dates_at_once(ensemble: Ensemble, monkeypatch: pytest.MonkeyPatch) -> None:
    source = made_up(ensemble.family, "lulc_nyc", 64)
    row, call = models.forward(ensemble, "lulc_nyc", source, 3, random=True, narrow=True)
    assert timed(row, 3)
    assert [w.seconds for w in call.windows] == row.reference_s
    assert (call.weights, call.energy.gross.reason is None) == ("random", False)
    assert models.NARROW in call.shortfalls
    assert models.NARROW not in models.forward(ensemble, "lulc_nyc", source, 3, True, narrow=False)[1].shortfalls
    straight = models.all_at_once
    monkeypatch.setattr(models, "all_at_once", lambda *given: lambda: straight(*given)() * 1.01)
    with pytest.raises(RegistryError, match=r"two ways of a forward differ by 0\.0"):
        models.forward(ensemble, "lulc_nyc", source, 3, random=True, narrow=True)


def test_a_switch_is_held_against_loading_anew(ensemble: Ensemble, weights: Path, tmp_path: Path) -> None:
    assert timed(models.switch(ensemble, weights, "buildings_nyc", 2), 2)
    other = write_family(ensemble.family, tmp_path, seed=1)
    with pytest.raises(RegistryError, match="loaded anew it holds other tensors"):
        models.switch(ensemble, other, "buildings_nyc", 2)


def test_parts_hold_all_operations_of_a_forward(ensemble: Ensemble) -> None:
    found = models.parts(ensemble, "lulc_nyc", made_up(ensemble.family, "lulc_nyc", 64), 2)
    assert [p.part for p in found] == ["encoder", "neck", "decoder", "head"]
    by = {p.part: p for p in found}
    assert by["head"].gflop == pytest.approx(
        2 * 8 * 5 * 16 * 16 / 1e9
    )  # 8 channels to 5 classes, at a quarter of each side
    assert by["head"].weight_bytes == 4 * (8 * 5 + 5)
    assert by["encoder"].gflop is not None
    assert by["encoder"].gflop > 10 * (by["head"].gflop or 1.0)


def test_a_mark_is_of_the_program_and_not_of_whoever_started_it() -> None:
    """What getrusage tells is carried over exec: a child of a process of 400 MB began with 400 MB."""
    held = np.ones(50_000_000)
    code = "from harness.bench.memory import peak_bytes; print(peak_bytes())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)  # noqa: S603
    mark = int(done.stdout)
    assert 5_000_000 < mark < 300_000_000 < held.nbytes


def test_growth_peaks_sizes_and_memory(ensemble: Ensemble, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = growth(ensemble, TASKS, 64, 2, lambda _: None)
    points = {of: [g.x for g in found if g.of == of] for of in ("places", "chip size", "adapters", "dates")}
    assert points == {"places": [1, 2, 4], "chip size": [64], "adapters": [1, 2], "dates": [1, 2, 4]}
    most = peaks(ensemble.device, 64, 4096, 3)
    assert (len(most.matmul_gflops), len(most.copy_gbs)) == (3, 3)
    given = {"family": ensemble.family.model_dump(mode="json"), "weights": str(weights), "size_px": 64, "device": "cpu"}
    marks = memory.child(given)  # in this process: a child imports everything again
    assert list(marks) == ["libraries", "one", "all"]
    monkeypatch.setattr("harness.bench.sizes.in_a_child", lambda *_: {**marks, "one": None})
    found_sizes = {s.id: s for s in sizes(ensemble, weights, 64)}
    kept = {i: s.bytes for i, s in found_sizes.items()}
    assert found_sizes["peak/one"].reason == "this system keeps no high-water mark that Python reads"
    lora = weights / "lulc_nyc" / "adapter_model.safetensors"
    assert kept["disk/lora/lulc_nyc"] == lora.stat().st_size
    assert kept["held/apart"] is not None
    assert kept["held/shared"] is not None
    assert kept["held/apart"] > kept["held/shared"]
    assert kept["peak/libraries"] is not None
    assert kept["peak/all"] is not None
    assert 10**8 < kept["peak/libraries"] <= kept["peak/all"] < 10**11
    assert memory.peak_bytes() is not None


def test_a_child_that_fails_or_hangs_is_named(family: Family, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing = [sys.executable, "-c", "import sys; sys.exit('no such file')"]
    monkeypatch.setattr(memory, "COMMAND", failing)
    with pytest.raises(RegistryError, match="the child process ended with 1: no such file"):
        memory.in_a_child(family, tmp_path / "none", 64, "cpu")
    monkeypatch.setattr(memory, "COMMAND", [sys.executable, "-c", "import time; time.sleep(60)"])
    monkeypatch.setattr(memory, "LIMIT_S", 0.2)
    with pytest.raises(RegistryError, match="did not end within"):
        memory.in_a_child(family, tmp_path / "none", 64, "cpu")
    monkeypatch.setattr(memory, "COMMAND", [sys.executable, "-c", "print('said'); print('{\"one\": 7}')"])
    assert memory.in_a_child(family, tmp_path, 64, "cpu") == {"one": 7}


def test_a_checkout_of_the_family_reads_back(family: Family, tmp_path: Path) -> None:
    root = checkout(family, tmp_path, ROOT / "eval")
    back = read_families(root / "eval" / "families")["terramind-nyc"]
    assert back.build == family.build
    assert [a.id for a in back.adapters] == TASKS


def test_the_command_names_what_it_did_not_measure(tmp_path: Path) -> None:
    words = ["bench", "run", "--only=sweep", "--only=preprocess", "--size=64", "--rounds=3", "--device=cpu"]
    done = CliRunner().invoke(app, [*words, f"--out={tmp_path}"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    record = read_bench(next(tmp_path.glob("*.json")))
    assert [r.id for r in record.rows] == ["preprocess", "sweep"]
    assert [len(r.ours_s) for r in record.rows] == [12, 12]
    named = {line.partition(":")[0] for line in record.absent}
    assert named == {*(set(GROUPS) - {"preprocess", "sweep"}), "growth, sizes of models and peak memory"}
    assert "forward: not measured: not asked for" in done.output
    assert record.topology == "narrow"
    assert record.no_joules


@pytest.mark.parametrize(
    ("word", "said"), [("--only=nap", "give chip read"), ("--size=100", "multiple of 32"), ("--rounds=2", "3 or more")]
)
def test_the_command_refuses_what_it_does_not_know(word: str, said: str) -> None:
    with pytest.raises(RegistryError, match=said):
        CliRunner().invoke(app, ["bench", "run", word], catch_exceptions=False)


def test_weights_of_ones_own_are_the_published_topologys() -> None:
    with pytest.raises(RegistryError, match="give --full with them"):
        Asked(weights=Path("w"))
