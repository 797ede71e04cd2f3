"""`pytest probes/` as a child process over made runs: verdicts, the table, and everything that can be missing."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.claims.families import read_families
from harness.errors import RegistryError
from harness.score.probes import Judged, judge
from probes.evidence import advice, judged, newest_run, open_run
from probes.expectations import ProbeSet, read_probes
from probes.summary import verdicts

PX = 20
"""Side of the made chips."""

SCHEME = """
id: three
title: Sea, sand and roof
origin: made for a test
sources: []
classes:
  - {index: 0, name: sea}
  - {index: 1, name: sand}
  - {index: 2, name: roof}
evidence: made
"""

PROBES = """
schema: 1
id: coast
title: What a coast shows
written: 2026-11-21
known: nothing
adapters: [coast_map]
output: three
label: three
labelled_at_least: 0.5
probes:
  - id: sea_at_its_size
    places: [pier, moor, town]
    expect: "label.sea - 0.1 <= predicted.sea <= label.sea + 0.1"
    reason: the edge is sharp
  - id: roofs
    places: [pier, moor, town]
    expect: "0.5 * label.roof <= predicted.roof <= 2 * label.roof + 0.05"
    reason: roofs are bright
"""

LABELS = {"pier": (0.6, 0.3, 0.1), "moor": (0.3, 0.6, 0.1), "town": (0.1, 0.2, 0.7)}
"""Shares of sea, sand and roof."""

LOAD: dict[str, Any] = {
    "adapter": "coast_map",
    "random_weights": False,
    "files": [],
    "base_expected": 1,
    "base_loaded": 1,
    "base_unused": {},
    "not_run": 0,
    "lora_expected": 1,
    "lora_applied": 1,
    "lora_r": 4,
    "lora_alpha": 8.0,
    "lora_alpha_verdict": "unverifiable",
    "places": [],
    "decoder_expected": 1,
    "decoder_loaded": 1,
    "batch_norm": {"layers": 1, "in_file": 1, "moved": 1, "policy": "from the file"},
    "blocks": 12,
    "encoder_parameters": 10,
    "lora_parameters": 10,
    "decoder_parameters": 10,
    "classes": 3,
}


def blocks(*part: float, unlabelled: float = 0.0) -> NDArray[np.int64]:
    """A map of whole rows: so large a share of each class, then of no label."""
    rows = [round(p * PX) for p in (*part, unlabelled)]
    assert sum(rows) == PX
    return np.repeat([*range(len(part)), -1], rows)[:, None].repeat(PX, axis=1)


@dataclass
class Made:
    """A folder of probes and a run to judge."""

    folder: Path
    """Holds probes/ and run/."""
    root: Path
    """The checkout."""
    predicted: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    """By place."""
    labels: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    """By place."""
    record: dict[str, Any] = field(default_factory=dict)
    """Fields of run.json that differ."""

    def __post_init__(self) -> None:
        self.labels = {place: blocks(*part) for place, part in LABELS.items()}
        self.predicted = {place: blocks(*part) for place, part in LABELS.items()}
        (self.folder / "probes" / "schemes").mkdir(parents=True)
        (self.folder / "probes" / "schemes" / "three.yaml").write_text(SCHEME, encoding="utf-8")
        self.probes.write_text(PROBES, encoding="utf-8")

    @property
    def probes(self) -> Path:
        """The file of probes."""
        return self.folder / "probes" / "coast.yaml"

    def arrays(self, place: str) -> Path:
        """Where a place's maps lie."""
        return self.folder / "run" / "arrays" / f"{place}.npz"

    def write(self) -> None:
        """Write the run."""
        (self.folder / "run" / "arrays").mkdir(parents=True, exist_ok=True)
        chips = []
        for place in self.labels:
            held = {"label:three": self.labels[place]}
            chip: dict[str, Any] = {"chip": place, "sha256": "ab" * 32, "scored": False, "reason": "made to be missing"}
            if place in self.predicted:
                held["classes:coast_map"] = self.predicted[place].astype(np.uint8)
                counts = np.bincount(self.predicted[place].ravel(), minlength=3).tolist()
                chip |= {"scored": True, "reason": None, "predicted_px": counts, "probabilities_sha256": "cd" * 32}
            np.savez_compressed(self.arrays(place), **held)  # type: ignore[arg-type]
            chips.append(chip)
        adapter = {"adapter": "coast_map", "recipe": "made 1", "scheme": "three", "load": LOAD, "chips": chips}
        record = {
            "schema": 1,
            "id": "made-run",
            "created": "2026-12-01T00:00:00+00:00",
            "who": "a test",
            "command": "none",
            "commit": "unknown",
            "dirty": False,
            "family": "coast",
            "source": "lock",
            "device": "cpu",
            "dtype": "float32",
            "recipe": "made",
            "adapters": [adapter],
            "measurements": [],
        }
        (self.folder / "run" / "run.json").write_text(json.dumps(record | self.record), encoding="utf-8")

    def judge(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run `pytest probes/` over them."""
        given = ["--probes-folder", str(self.folder / "probes"), "--run-record", str(self.folder / "run")]
        return child(self.root, *given, *words)

    def sets(self) -> list[ProbeSet]:
        """The probes, as the runner reads them."""
        return read_probes(self.folder / "probes", self.root / "eval", self.root / "aois")

    def judged(self, place: str, probe: str = "roofs") -> Judged:
        """One judgement, without pytest."""
        (each,) = self.sets()
        (one,) = [p for p in each.probes if (p.place, p.id) == (place, probe)]
        return judged(open_run(self.folder / "run"), one, [*LABELS])


def child(root: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    keep = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "COV_", "HARNESS_"))}
    return subprocess.run(  # noqa: S603 (our own interpreter and code)
        [sys.executable, "-m", "pytest", "probes/", "-p", "no:cacheprovider", "-v", *words],
        cwd=root,
        env={**keep, "COLUMNS": "200", **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def made(tmp_path: Path, root: Path) -> Made:
    """Three places, predicted as labelled."""
    return Made(tmp_path, root)


def verdict(done: subprocess.CompletedProcess[str], name: str) -> str:
    """PASSED, FAILED or SKIPPED, of one test."""
    found = re.search(rf"\[{re.escape(name)}\] (\w+)", done.stdout)
    assert found is not None, done.stdout + done.stderr
    return found[1]


def test_probes_pass_and_fail_by_name_and_the_table_says_with_what(made: Made) -> None:
    made.predicted["moor"] = blocks(0.3, 0.2, 0.5)
    made.write()
    done = made.judge()
    assert done.returncode == 1, done.stdout + done.stderr
    assert verdict(done, "coast_map-pier-sea_at_its_size") == "PASSED"
    assert verdict(done, "coast_map-moor-roofs") == "FAILED"
    assert "is 0.050 <= 0.500 <= 0.250" in done.stdout
    assert "expected because: roofs are bright" in done.stdout
    row = next(line for line in done.stdout.splitlines() if line.startswith("coast_map-moor-roofs "))
    assert re.split(r"  +", row) == [
        "coast_map-moor-roofs",
        "roof 0.500",
        "0.050 <= 0.500 <= 0.250",
        "roof 0.100",
        "failed",
        "1 of 2 other places",
    ]
    assert "5 of 6 judged probes pass" in done.stdout
    assert "written 2026-11-21, run 2026-12-01" in done.stdout
    assert "order of outputs: none of the 5 others passes more" in done.stdout


def test_a_set_that_trivial_maps_pass_is_called_weak(made: Made) -> None:
    made.probes.write_text(PROBES.replace("0.5 * label.roof <= predicted.roof <= 2 *", "predicted.roof <= 2 *"))
    made.write()
    done = made.judge("-k", "roofs")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 of 3 judged probes pass" in done.stdout
    assert "WEAK SET: sea everywhere passes 100 % of them" in done.stdout


def test_trivial_maps_stand_beside_the_pass_rate(made: Made) -> None:
    made.write()
    (each,) = made.sets()
    lines = verdicts(each, [made.judged(p.place, p.id) for p in each.probes], open_run(made.folder / "run"))
    assert lines[1:] == [
        "  6 of 6 judged probes pass",
        "  written 2026-11-21, run 2026-12-01",
        "  trivial maps: sea everywhere 0 of 6; sand everywhere 1 of 6; roof everywhere 2 of 6; "
        "the label's majority everywhere 2 of 6; another place's prediction 1.0 of 6 on average, 1 at most",
        "  not weak: of all trivial maps, roof everywhere passes 33 % of them, and none more",
        "  a constant map passes 2 of them: coast_map-town-sea_at_its_size, coast_map-town-roofs",
        "  order of outputs: none of the 5 others passes more than the written one",
    ]


def test_what_is_not_there_is_not_judged_and_the_reason_told(made: Made) -> None:
    made.labels["pier"] = blocks(0.0, 0.0, 0.0, unlabelled=1.0)
    del made.predicted["moor"]
    made.write()
    held = {"classes:coast_map": made.predicted["town"], "label:four": made.labels["town"]}
    np.savez(made.arrays("town"), **held)  # type: ignore[arg-type]
    done = made.judge()
    assert done.returncode == 0, done.stdout + done.stderr
    assert {verdict(done, f"coast_map-{place}-roofs") for place in LABELS} == {"SKIPPED"}
    assert "0.0 % of the chip has a label under three; the probe asks for 50 %" in done.stdout
    assert "coast_map has no prediction: made to be missing" in done.stdout
    assert "no label under scheme three; the chip has four" in done.stdout
    assert "nothing judged (6 not judged): no pass rate, and whether the set is weak cannot be said" in done.stdout


def test_a_label_on_too_small_a_part_is_not_judged(made: Made) -> None:
    made.labels["moor"] = blocks(0.3, 0.1, 0.0, unlabelled=0.6)
    made.write()
    assert made.judged("moor").verdict == "not judged"
    made.labels["moor"] = blocks(0.3, 0.1, 0.1, unlabelled=0.5)
    made.write()
    half = made.judged("moor")
    assert (half.verdict, half.shares["label.roof"], half.shares["predicted.roof"]) == ("failed", 0.2, 0.0)


def test_missing_or_truncated_arrays_of_a_chip_that_ran_are_an_error_and_no_skip(made: Made) -> None:
    made.write()
    made.arrays("pier").unlink()
    whole = made.arrays("moor").read_bytes()
    made.arrays("moor").write_bytes(whole[: len(whole) // 2])
    done = made.judge()
    assert done.returncode == 1
    assert verdict(done, "coast_map-pier-roofs") == verdict(done, "coast_map-moor-roofs") == "FAILED"
    assert verdict(done, "coast_map-town-roofs") == "PASSED"
    assert "arrays/pier.npz: run.json names this chip, and the file is not there; run again" in done.stdout
    assert "arrays/moor.npz: damaged" in done.stdout
    assert "2 of 2 judged probes pass (4 unreadable)" in done.stdout
    assert "Traceback" not in done.stdout


def test_a_file_cut_anywhere_is_unreadable(made: Made) -> None:
    made.write()
    whole = made.arrays("pier").read_bytes()
    for keep in range(0, len(whole), 7):
        made.arrays("pier").write_bytes(whole[:keep])
        assert made.judged("pier").verdict == "unreadable"


def test_no_flipped_byte_changes_a_judgement_in_silence(made: Made) -> None:
    made.write()
    whole = made.arrays("pier").read_bytes()
    right = made.judged("pier")
    assert right.verdict == "passed"
    unreadable = 0
    for at in range(0, len(whole), 3):
        made.arrays("pier").write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        result = made.judged("pier")
        unreadable += result.verdict == "unreadable"
        # a name that changed in the file's table is a label or a prediction that is not there
        assert result.verdict in ("unreadable", "not judged") or result == right
    assert unreadable > len(whole) / 9


def test_objects_in_a_file_are_not_unpickled(made: Made) -> None:
    made.write()
    np.savez(made.arrays("pier"), **{"classes:coast_map": np.array([{}], dtype=object)})  # type: ignore[arg-type]
    result = made.judged("pier")
    assert result.verdict == "unreadable"
    assert "arrays/pier.npz: damaged (Object arrays cannot be loaded" in result.reason


def test_arrays_of_another_run_are_unreadable(made: Made) -> None:
    made.write()
    other = {"classes:coast_map": blocks(0.5, 0.4, 0.1), "label:three": made.labels["pier"]}
    np.savez(made.arrays("pier"), **other)  # type: ignore[arg-type]
    result = made.judged("pier")
    assert result.verdict == "unreadable"
    assert "they are not of one run" in result.reason


def test_an_adapter_with_another_number_of_outputs_is_not_judged(made: Made) -> None:
    made.write()
    path = made.folder / "run" / "run.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    record["adapters"][0]["chips"][0]["predicted_px"].append(0)
    path.write_text(json.dumps(record), encoding="utf-8")
    result = made.judged("pier")
    assert (result.verdict, result.reason) == (
        "not judged",
        "coast_map has 4 outputs in run made-run; scheme three names 3",
    )


def test_a_damaged_place_takes_no_part_in_rotations(made: Made) -> None:
    made.write()
    assert set(made.judged("pier").elsewhere) == {"moor", "town"}
    made.arrays("moor").write_bytes(b"")
    assert set(made.judged("pier").elsewhere) == {"town"}


def test_a_place_or_adapter_that_the_run_does_not_have_is_not_judged(made: Made) -> None:
    made.write()
    made.probes.write_text(PROBES.replace("[pier, moor, town]", "[mole]"), encoding="utf-8")
    assert made.judged("mole").reason == "run made-run has no chip mole for coast_map"
    made.probes.write_text(PROBES.replace("[coast_map]", "[coast_mop]"), encoding="utf-8")
    assert made.judged("pier").reason == "run made-run has no adapter coast_mop; did you mean coast_map?"
    assert made.judged("pier").verdict == "not judged"


def test_a_permuted_class_list_fails_and_the_order_is_named(made: Made) -> None:
    moved = np.array([1, 2, 0])
    made.predicted = {place: moved[own] for place, own in made.predicted.items()}
    made.record = {"weights": "random", "created": "2026-11-20T23:59:59+00:00"}
    made.write()
    done = made.judge()
    assert done.returncode == 1
    assert verdict(done, "coast_map-moor-sea_at_its_size") == "FAILED"
    assert re.search(
        r"order of outputs: as written \d of 6 pass; with 0 roof, 1 sea, 2 sand it would be 6", done.stdout
    )
    assert "Chosen after the fact: a hint at the scheme, and no pass" in done.stdout
    assert "Weights are random: this shows mechanics and nothing about an adapter." in done.stdout
    assert "written 2026-11-21, AFTER the run of 2026-11-20" in done.stdout


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("label.sea + 0.1", "label.see + 0.1", r"coast\.yaml:\d+: sea_at_its_size: .*did you mean 'label\.sea'"),
        ("label.sea + 0.1", "abs(label.sea)", r"'abs\(label\.sea\)' is not of the language"),
        ("output: three", "output: thre", r"coast\.yaml:8: output: no scheme 'thre'; did you mean 'three'"),
        ("labelled_at_least: 0.5", "labelled_at_least: 50", r"coast\.yaml:10: probes\.labelled_at_least"),
        ("id: roofs", "id: sea_at_its_size", "coast_map-pier-sea_at_its_size stands already"),
        ("written: 2026-11-21", "written: soon", r"coast\.yaml:5: probes\.written"),
        ("schema: 1", "schema: 2", "this version reads '1'"),
        ("id: coast\n", "id: coats\n", "differs from the file's name"),
        ("known: nothing", "aois: nyc-probs\nknown: nothing", "no file nyc-probs.geojson; did you mean 'nyc-probes'"),
        ("known: nothing", "aois: nyc-probes\nknown: nothing", "no place 'pier' in nyc-probes"),
        ("reason: roofs are bright", "why: roofs are bright", r"why: no such field|reason: field is missing"),
        (PROBES, "[]", "a mapping was expected"),
    ],
)
def test_a_wrong_file_of_probes_names_file_line_and_field(made: Made, old: str, new: str, message: str) -> None:
    assert old in PROBES
    made.probes.write_text(PROBES.replace(old, new), encoding="utf-8")
    with pytest.raises(RegistryError, match=message):
        made.sets()


def test_a_wrong_file_of_probes_is_one_clear_message(made: Made) -> None:
    made.probes.write_text(PROBES.replace("label.sea + 0.1", "label.see + 0.1"), encoding="utf-8")
    made.write()
    done = made.judge()
    assert done.returncode == 4
    assert "coast.yaml:14: sea_at_its_size: formula" in done.stderr
    assert "did you mean 'label.sea'?" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_without_probes_is_told(made: Made) -> None:
    made.probes.unlink()
    with pytest.raises(RegistryError, match=r"holds no \*\.yaml with probes"):
        made.sets()


def test_a_run_that_is_not_there_is_one_clear_message(made: Made) -> None:
    done = made.judge()
    assert done.returncode == 4
    assert "no such run" in done.stderr


# The committed probes


@pytest.fixture(scope="module")
def committed() -> list[ProbeSet]:
    """The NYC probes."""
    root = Path(__file__).resolve().parents[1]
    return read_probes(root / "probes", root / "eval", root / "aois")


def test_every_place_has_its_probes(committed: list[ProbeSet], root: Path) -> None:
    family = next(f for name, f in read_families(root / "eval" / "families").items() if name == "terramind-nyc")
    places = {f["properties"]["id"] for f in json.loads((root / "aois" / "nyc-probes.geojson").read_text())["features"]}
    found = {(p.adapter, p.place) for each in committed for p in each.probes}
    assert found == {(adapter.id, place) for adapter in family.adapters for place in places}
    assert sum(len(each.probes) for each in committed) >= 20
    assert {each.aois for each in committed} == {"nyc-probes"}


@pytest.mark.parametrize("part", [0.02, 0.1, 0.3, 0.5, 0.8, 0.97])
def test_no_constant_map_passes_a_committed_probe_where_the_label_has_two_classes(
    committed: list[ProbeSet], part: float
) -> None:
    px = 100
    for probe in (p for each in committed for p in each.probes if p.id != "no_building_beyond_built_up_land"):
        named = [n.partition(".")[2] for n in probe.formula.names if n.startswith("label.")]
        index = 0 if named == ["largest"] else [name.lower() for name in probe.label].index(named[0])
        other = 2 if index == 1 and len(probe.label) > 2 else (index + 1) % len(probe.label)
        label = np.full((px, px), other)
        label[: round(part * px)] = index
        result = judge(probe, label if probe.output == probe.label else None, label)
        assert set(result.trivial.values()) == {False}, (probe.name, part, result.trivial)
        assert result.verdict == "passed" or probe.id == "marks_what_its_rates_mark", (probe.name, part)


def test_a_map_that_marks_as_the_card_does_passes_what_is_made_of_its_rates(committed: list[ProbeSet]) -> None:
    for probe in (p for each in committed for p in each.probes if p.id == "marks_what_its_rates_mark"):
        for part in (5, 20, 50):
            label = np.zeros((100, 100), np.int64)
            label[:part] = 1
            own = np.zeros((100, 100), np.int64)
            own[:part, :84] = 1
            own[part:, :18] = 1
            assert judge(probe, own, label).verdict == "passed", (probe.name, part)


def test_an_empty_building_map_is_right_over_open_water(committed: list[ProbeSet]) -> None:
    it = next(p for each in committed for p in each.probes if p.id == "no_building_beyond_built_up_land")
    water = np.zeros((10, 10), np.int64)
    assert judge(it, np.zeros((10, 10), np.int64), water).verdict == "passed"
    assert judge(it, np.ones((10, 10), np.int64), water).verdict == "failed"


def test_without_a_run_the_nyc_probes_are_skipped_with_what_to_do(root: Path) -> None:
    if (root / "eval" / "runs" / "latest").exists():
        pytest.skip("this checkout has a run of its own")
    done = child(root)
    assert done.returncode == 0, done.stdout + done.stderr
    assert verdict(done, "buildings_nyc-coney_island-not_twice_the_footprints") == "SKIPPED"
    assert " passed" not in done.stdout
    said = [
        "eval/runs/latest is not there",
        "HARNESS_WEIGHTS is not set",
        "`harness reproduce --source lock --lock aois/locks/nyc-probes.lock.json --weights FOLDER`",
    ]
    assert [words for words in said if words not in done.stdout] == []


def test_the_advice_names_what_is_missing_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_WEIGHTS", str(tmp_path / "gone"))
    both = advice(tmp_path, "nyc-probes")
    assert "no lock (aois/locks/nyc-probes.lock.json)" in both
    assert "gone is no folder" in both
    assert both.index("`harness lock aois/nyc-probes.geojson`") < both.index("`harness reproduce --source lock")
    monkeypatch.setenv("HARNESS_WEIGHTS", str(tmp_path))
    (tmp_path / "aois" / "locks").mkdir(parents=True)
    (tmp_path / "aois" / "locks" / "nyc-probes.lock.json").touch()
    assert advice(tmp_path, "nyc-probes").startswith("`harness reproduce --source lock --lock")


@pytest.mark.parametrize(
    ("record", "why"),
    [
        ({}, None),
        ({"weights": "random"}, "of random weights, which shows mechanics only"),
        ({"source": "files"}, "whose chips came from files and no lock"),
        ({"schema": 9}, "this version reads 1"),
    ],
)
def test_only_a_run_of_published_weights_over_a_lock_is_judged_unasked(
    made: Made, record: dict[str, Any], why: str | None
) -> None:
    made.record = record
    made.write()
    (made.folder / "latest").symlink_to("run")
    found = newest_run(made.folder)
    if why is None:
        assert not isinstance(found, str)
        assert found.record.id == "made-run"
    else:
        assert isinstance(found, str)
        assert why in found
