"""Chips of one's own from the command line to the report, on the narrow family."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from sklearn.metrics import confusion_matrix

from harness.claims.families import Family
from harness.cli import app
from harness.errors import HarnessError, UnscoredError
from harness.folders import reserved
from harness.records.run import RunRecord, read_run
from tests.chips.made import write_folder
from tests.models.conftest import ROOT

CARD = """\
schema: 1
card: narrow-card
family: narrow
kind: card
title: Card of the narrow family
author: Nobody
date: 2026-11-21
source: {repository: tests}
claims:
  - {id: blocks, quantity: {subject: lulc_nyc, metric: blocks}, value: "24", tolerance: rounding}
  - {id: alpha, quantity: {subject: lulc_nyc, metric: lora_alpha}, value: "32", tolerance: rounding}
  - {id: ft.blocks, quantity: {subject: lulc_nyc, metric: blocks, variant: full-fine-tune}, value: "12"}
  - {id: design.blocks, quantity: {subject: lulc_nyc, metric: blocks, conditions: {of: design}}, value: "12"}
  - {id: classes, quantity: {subject: lulc_nyc, metric: classes}, value: "5", tolerance: rounding}
"""


@pytest.fixture(scope="module")
def place(narrow: Family, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout of the narrow family."""
    root = tmp_path_factory.mktemp("checkout")
    for name in ("recipes", "schemes", "labels"):
        (root / "eval" / name).mkdir(parents=True)
        for path in (ROOT / "eval" / name).glob("*.yaml"):
            (root / "eval" / name / path.name).write_bytes(path.read_bytes())
    for name, text in (("claims/narrow-card", CARD), ("families/narrow", _family(narrow))):
        path = root / "eval" / f"{name}.yaml"
        path.parent.mkdir()
        path.write_text(text, encoding="utf-8")
    write_folder(root / "chips", ids=("a", "b"), size_px=64, apart_m=5000)
    return root


def _family(narrow: Family) -> str:
    data = narrow.model_dump(exclude_none=True, exclude_defaults=True)
    for adapter in data["adapters"]:
        if adapter["classes"] == 5:
            adapter["schemes"] = ["training-code"]
        else:
            adapter["scored_under"] = ["footprints"]
    return yaml.safe_dump(data, sort_keys=False)


def labels(root: Path) -> list[str]:
    """Both label maps, reduced to the codes that made chips hold or kept whole."""
    return [f"--labels={root / 'eval' / 'labels' / name}.yaml" for name in ("terramesh-lulc", "terramesh-built")]


def run(root: Path, weights: Path, out: Path, *more: str) -> None:
    """`harness reproduce --source files` as typed."""
    words = ["reproduce", "--family=narrow", f"--root={root}", "--source=files", f"--weights={weights}", f"--out={out}"]
    words += ["--recipe=pretraining", "--device=cpu", f"--chips={root / 'chips'}"]
    app([*words, *more], standalone_mode=False)


def record(out: Path) -> RunRecord:
    """The newest run."""
    return read_run(out / "latest" / "run.json")


def hashes(out: Path) -> dict[tuple[str, str], str | None]:
    """Hash of the probabilities by adapter and chip."""
    return {(a.adapter, c.chip): c.probabilities_sha256 for a in record(out).adapters for c in a.chips}


@pytest.fixture(scope="module")
def done(place: Path, narrow_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with both labels."""
    out = tmp_path_factory.mktemp("runs")
    run(place, narrow_weights, out, *labels(place))
    return out


def test_every_adapter_ran_every_chip_and_was_scored(done: Path) -> None:
    held = record(done)
    assert held.weights == "random"
    assert [a.adapter for a in held.adapters] == ["lulc_nyc", "tim_nyc", "buildings_nyc"]
    assert [a.scheme for a in held.adapters] == ["training-code", "training-code", "footprints"]
    for adapter in held.adapters:
        assert [c.chip for c in adapter.chips] == ["a", "b"]
        for chip in adapter.chips:
            assert chip.scored
            assert sum(map(sum, chip.confusion or [])) + chip.ignored_px == 64 * 64
            assert sum(chip.predicted_px) == 64 * 64
            assert len(chip.sweep) == (19 if adapter.adapter == "buildings_nyc" else 0)


def test_confusion_integers_are_those_of_scikit_learn(done: Path) -> None:
    for adapter in record(done).adapters:
        for chip in adapter.chips:
            with np.load(done / "latest" / "arrays" / f"{chip.chip}.npz") as arrays:
                label = arrays[f"label:{adapter.scheme}"].ravel()
                classes = arrays[f"classes:{adapter.adapter}"].ravel()
            k = adapter.load.classes
            kept = label >= 0
            theirs = confusion_matrix(label[kept], classes[kept], labels=range(k))
            assert theirs.tolist() == chip.confusion


def test_every_check_of_the_report_holds(done: Path) -> None:
    text = (done / "latest" / "report.md").read_text(encoding="utf-8")
    assert "- [x]" in text
    assert "- [ ]" not in text


def test_random_weights_never_become_measurements(done: Path) -> None:
    held = record(done)
    assert held.measurements == []
    rows = {r.claim: (r.counted, r.fits) for r in held.adapters[0].structure}
    assert rows == {
        "narrow-card/blocks": (12.0, False),
        "narrow-card/alpha": (32.0, True),
        "narrow-card/classes": (5.0, True),
    }
    text = (done / "latest" / "report.md").read_text(encoding="utf-8")
    assert text.startswith("# [mechanics only: random weights]")
    assert "reproduced" not in text


def test_the_newest_run_is_latest_and_two_in_one_second_stand_apart(
    place: Path, narrow_weights: Path, tmp_path: Path
) -> None:
    for _ in range(2):
        run(place, narrow_weights, tmp_path, "--task=lulc_nyc")
    runs = sorted(p for p in tmp_path.iterdir() if p.is_dir() and not p.is_symlink())
    assert len(runs) == 2
    assert (tmp_path / "latest").resolve() in runs
    assert record(tmp_path).created == max(read_run(r / "run.json").created for r in runs)
    assert reserved(tmp_path, "same") != reserved(tmp_path, "same")


def test_pixels_exactly_at_a_threshold_are_below_it(done: Path) -> None:
    chip = next(a for a in record(done).adapters if a.adapter == "buildings_nyc").chips[0]
    with np.load(done / "latest" / "arrays" / "a.npz") as arrays:
        probability = arrays["probabilities:buildings_nyc"][1]
    for threshold, count in chip.predicted_above.items():
        assert count == int((probability > np.float32(threshold)).sum())
    row = next(r for r in chip.sweep if r.threshold == 0.5)
    assert row.tp + row.fp <= chip.predicted_above["0.5"]


def test_a_code_without_a_class_is_unscored_and_the_chip_still_runs(
    place: Path, narrow_weights: Path, tmp_path: Path
) -> None:
    text = (place / "eval" / "labels" / "terramesh-lulc.yaml").read_text(encoding="utf-8")
    partial = tmp_path / "partial.yaml"
    partial.write_text(text.replace("5: 1, ", ""), encoding="utf-8")
    run(place, narrow_weights, tmp_path / "runs", "--task=lulc_nyc", f"--labels={partial}")
    for chip in record(tmp_path / "runs").adapters[0].chips:
        assert not chip.scored
        assert "code 5 stands neither" in (chip.reason or "")
        assert chip.probabilities_sha256


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--check"], "--check goes without --source"),
        (["--device=tpu"], "device 'tpu' is not known"),
        (["--dtype=float8"], "dtype 'float8'"),
        (["--declare=S1RTC"], "write MODALITY=UNIT"),
        (["--task=roads"], "no adapter 'roads'"),
        (["--recipe=none"], "no recipe 'none'"),
        (["--chips=nowhere"], "nowhere: no such folder"),
    ],
)
def test_wrong_words_are_usage_errors(
    place: Path, narrow_weights: Path, tmp_path: Path, more: list[str], words: str
) -> None:
    with pytest.raises(HarnessError, match=words) as caught:
        run(place, narrow_weights, tmp_path, *more)
    assert caught.value.exit_code == 2
    assert not list(tmp_path.iterdir())


def test_published_weights_become_measurements(place: Path, narrow_weights: Path, tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    weights.mkdir()
    for path in narrow_weights.iterdir():
        if path.suffix != ".json":
            (weights / path.name).symlink_to(path)
    (weights / "lulc_nyc").unlink()
    shutil.copytree(narrow_weights / "lulc_nyc", weights / "lulc_nyc")
    config = weights / "lulc_nyc" / "adapter_config.json"
    config.write_text(config.read_text().replace("random weights of this project", "somebody's base"))
    run(place, weights, tmp_path / "runs", "--task=lulc_nyc")
    held = record(tmp_path / "runs")
    assert held.weights == "published"
    assert {m.quantity.metric: m.value for m in held.measurements} == {"blocks": 12, "lora_alpha": 32, "classes": 5}


def test_a_damaged_chip_is_unscored_and_the_exit_says_so(place: Path, narrow_weights: Path, tmp_path: Path) -> None:
    write_folder(tmp_path / "chips", ids=("a", "b"), size_px=64)
    path = tmp_path / "chips" / "S1RTC" / "a.tif"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(UnscoredError, match="1 of 2 did not run") as caught:
        run(
            place, narrow_weights, tmp_path / "runs", f"--chips={tmp_path / 'chips'}", "--task=lulc_nyc", *labels(place)
        )
    assert caught.value.exit_code == 3
    bad, good = record(tmp_path / "runs").adapters[0].chips
    assert (bad.scored, bad.confusion, bad.probabilities_sha256) == (False, None, None)
    assert "a.tif" in (bad.reason or "")
    assert good.scored
    assert "n = 1 of 2" in (tmp_path / "runs" / "latest" / "report.md").read_text(encoding="utf-8")


def test_a_unit_that_the_recipe_does_not_take_is_told(place: Path, narrow_weights: Path, tmp_path: Path) -> None:
    with pytest.raises(UnscoredError):
        run(place, narrow_weights, tmp_path, "--task=lulc_nyc", "--recipe=training-code")
    reasons = [c.reason or "" for c in record(tmp_path).adapters[0].chips]
    assert all("dB" in r and ".tif" in r and "declare" in r for r in reasons)
    run(place, narrow_weights, tmp_path / "again", "--task=lulc_nyc", "--recipe=training-code", "--declare=S1RTC=dB")
    assert all(c.probabilities_sha256 for c in record(tmp_path / "again").adapters[0].chips)


def test_without_labels_nothing_is_scored(place: Path, narrow_weights: Path, tmp_path: Path) -> None:
    run(place, narrow_weights, tmp_path, "--task=buildings_nyc")
    chip = record(tmp_path).adapters[0].chips[0]
    assert not chip.scored
    assert "buildings_nyc: no label in footprints; given: none" in (chip.reason or "")
    above = list(chip.predicted_above.values())
    assert above == sorted(above, reverse=True)
    assert chip.predicted_above["0.5"] == chip.predicted_px[1]


def test_the_report_is_rendered_again_without_torch_byte_for_byte(done: Path, place: Path, tmp_path: Path) -> None:
    before = {p.name: p.read_bytes() for p in (done / "latest").rglob("*.*") if p.suffix in (".md", ".png", ".svg")}
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise ImportError('no torch here')")
    told = subprocess.run(  # noqa: S603 (our own command)
        [sys.executable, "-m", "harness.cli", "report", str(done / "latest"), f"--root={place}"],
        env={"PATH": "", "PYTHONPATH": f"{tmp_path}:{ROOT}", "MPLCONFIGDIR": str(tmp_path), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    after = {p.name: p.read_bytes() for p in (done / "latest").rglob("*.*") if p.suffix in (".md", ".png", ".svg")}
    assert len(before) > 3
    assert before == after


def test_a_run_is_repeatable(done: Path, place: Path, narrow_weights: Path, tmp_path: Path) -> None:
    run(place, narrow_weights, tmp_path, *labels(place))
    assert hashes(done) == hashes(tmp_path)


def test_the_record_holds_every_tensor(done: Path) -> None:
    raw = json.loads((done / "latest" / "run.json").read_text(encoding="utf-8"))
    for adapter in raw["adapters"]:
        states = {t["state"] for t in adapter["load"]["tensors"]}
        assert states <= {"loaded", "unused", "not run"}
        assert all(len(t["sha256"]) == 64 for t in adapter["load"]["tensors"] if t["state"] != "not run")
