"""The console script, as a user types it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

WRONG = """\
schema: 1
card: wrong
family: f
kind: card
title: t
author: a
source: {repository: r}
claims:
  - {id: m, quantity: {subject: s, metric: mIoU}, value: "0.60"}
  - {id: a, quantity: {subject: s, metric: iou, class_index: 0}, value: "0.70"}
  - {id: b, quantity: {subject: s, metric: iou, class_index: 1}, value: "0.30"}
  - {id: k, quantity: {subject: s, metric: classes}, value: "2"}
"""


def harness(*args: str, cwd: Path = ROOT, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-m", "harness.cli", *args],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200", **env},
    )


def test_the_package_runs_as_a_module() -> None:
    words = [sys.executable, "-m", "harness", "audit", "--help"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
    assert done.returncode == 0, done.stderr
    assert "--from-model-card" in done.stdout


def test_json_has_the_agreed_shape() -> None:
    done = harness("audit", "--json")
    assert done.returncode == 0, done.stderr
    audit = json.loads(done.stdout)
    assert audit["schema"] == 1
    for finding in audit["findings"]:
        assert {
            "id",
            "family",
            "card",
            "check",
            "status",
            "grade",
            "evidence",
            "claims",
            "claimed",
            "derived",
            "why",
        } <= set(finding)
        assert finding["status"] in {"consistent", "inconsistent", "undetermined"}
        assert finding["evidence"] in {"arithmetic", "source", "inference"}
    for item in audit["counterfactuals"]:
        assert {
            "id",
            "quantity",
            "assumes",
            "claimed",
            "observed",
            "expected_at_observed_prevalence",
            "prevalence_effect",
            "remainder",
        } <= set(item)


@pytest.mark.parametrize(
    ("flag", "status"),
    [("never", 0), ("inconsistent", 1), ("medium", 1), ("high", 0)],
)
def test_fail_on_decides_the_exit_status(tmp_path: Path, flag: str, status: int) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(WRONG, encoding="utf-8")
    done = harness("audit", str(path), "--fail-on", flag)
    assert done.returncode == status, done.stderr
    assert "macro-mean" in done.stdout


@pytest.mark.parametrize(
    ("args", "status", "words"),
    [
        (["audit", "nowhere.yaml"], 2, "cannot be read"),
        (["audit", "--root", "/nonexistent"], 2, "no claims under"),
        (["audit", "--out", "x.yaml"], 2, "goes with --from-model-card"),
        (["audit", "--from-model-card", "nowhere.md"], 2, "nowhere.md"),
        (["audit", "--fail-on", "sometimes"], 2, "sometimes"),
        (["reproduce", "--family", "unknown"], 2, "no family 'unknown'"),
        (["reproduce", "--aoi", "midtown"], 2, "--aoi goes with --source lock"),
        (["reproduce", "--live", "--source", "lock"], 2, "give either --live or --source"),
        (["reproduce", "--live", "--chips", "folder"], 2, "--chips goes with --source files"),
        (["reproduce", "--require-live"], 2, "--require-live goes with --live"),
        (["reproduce", "--check", "--recipe", "training-code"], 2, "--recipe goes with --source or --live"),
        (["reproduce", "--seed", "0"], 2, "--seed goes with --source or --live"),
        (["reproduce", "--twin-seed", "1"], 2, "--twin-seed goes with --twin"),
        (
            ["reproduce", "--source", "lock", "--lock", "x.json", "--catalogue", "earth-search"],
            2,
            "--catalogue goes with --live",
        ),
        (["reproduce", "--source", "files", "--twin-scenes", "3"], 2, "--twin-scenes goes with neither"),
        (["reproduce", "--source", "lock"], 2, "needs --lock FILE"),
        (["reproduce", "--source", "lock", "--lock", "nowhere.json"], 2, "nowhere.json: cannot be read"),
        (["lock", "--aoi", "midtwn"], 2, "did you mean 'midtown'?"),
        (["lock", "nowhere.geojson"], 2, "nowhere.geojson: cannot be read"),
        (["lock", "--check", "nowhere.json"], 2, "nowhere.json: cannot be read"),
        (["lock", "--recipe", "trainingcode"], 2, "did you mean 'training-code'?"),
        (["chips"], 2, "give locks to read, --verify or --prune"),
        (["chips", "--prune", "--drop"], 2, "--drop goes with --verify"),
        (["chips", "--verify", "--recipe", "training-code"], 2, "--recipe goes with locks to read"),
        (["chips", "x.json", "--workers", "2"], 2, "--workers goes with --scheduler local"),
        (["chips", "--verify", "--cap", "1"], 2, "--cap goes with locks to read or --prune"),
        (["train", "x.yaml", "--chips", "here", "--footprints", "stood"], 2, "--footprints goes with --lock"),
        (["train", "x.yaml", "--smoke", "--footprints", "stood"], 2, "--footprints goes with --lock"),
        (["train", "x.yaml", "--smoke", "--replace"], 2, "--replace goes with --out or --export"),
        (["train", "x.yaml", "--lock", "x.json", "--labels", "y.yaml"], 2, "--labels goes with --chips"),
        (["nonsense"], 2, "No such command"),
    ],
)
def test_errors_say_what_is_wrong_without_a_traceback(args: list[str], status: int, words: str) -> None:
    done = harness(*args)
    assert done.returncode == status
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_debug_shows_the_traceback() -> None:
    assert "Traceback" in harness("--debug", "audit", "nowhere.yaml").stderr


def test_undetermined_findings_never_fail_a_run(tmp_path: Path) -> None:
    """Without the number of classes the mismatch is undecided, and undecided is no contradiction."""
    path = tmp_path / "partial.yaml"
    path.write_text("\n".join(line for line in WRONG.splitlines() if "classes" not in line) + "\n", encoding="utf-8")
    findings = json.loads(harness("audit", str(path), "--json").stdout)["findings"]
    assert {f["status"] for f in findings} == {"undetermined"}
    assert harness("audit", str(path), "--fail-on", "inconsistent").returncode == 0


def test_reproduce_names_the_reports_last_and_check_compares_them(tmp_path: Path) -> None:
    done = harness("reproduce", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    for name in ("buildings", "lulc", "tim"):
        assert f"terramind-nyc-{name}.md" in done.stdout
    assert "[not measured] buildings_nyc: the card's mIoU 0.5518" in done.stdout
    assert "checking" in done.stderr
    assert harness("reproduce", "--check", "--out", str(tmp_path)).returncode == 0
    report = tmp_path / "terramind-nyc-tim.md"
    report.write_text(report.read_text(encoding="utf-8").replace("1.57", "2.57"), encoding="utf-8")
    (tmp_path / "figures" / "terramind-nyc-extra.svg").write_text("<svg/>", encoding="utf-8")
    stale = harness("reproduce", "--check", "--out", str(tmp_path))
    assert stale.returncode == 1
    assert "terramind-nyc-tim.md differs from line" in stale.stderr
    assert "terramind-nyc-extra.svg is rendered by nothing" in stale.stderr


def test_audit_needs_no_network(tmp_path: Path) -> None:
    """Every socket call is refused in the child; the audit and the reports do not notice."""
    guard = tmp_path / "sitecustomize.py"
    guard.write_text(
        "import socket\n"
        "def refuse(*a, **k):\n    raise SystemExit('network touched')\n"
        "socket.socket.connect = refuse\nsocket.create_connection = refuse\nsocket.getaddrinfo = refuse\n",
        encoding="utf-8",
    )
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    probe = subprocess.run(
        [sys.executable, "-c", "import socket; socket.create_connection(('127.0.0.1', 9))"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert "network touched" in probe.stderr
    for args in (["audit"], ["reproduce", "--out", str(tmp_path / "out")]):
        done = harness(*args, PYTHONPATH=path)
        assert done.returncode == 0, done.stderr


def test_a_model_card_is_drafted_and_audited(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(
        "---\nlicense: mit\n---\n# Shiny segmenter\n\n| Model | Test mIoU | IoU bld | Sparkle |\n|---|--:|--:|--:|\n"
        "| base | 0.50 | 0.40 | 7.5 |\n| ours | **0.61** | 0.52 | 9.1 |\n",
        encoding="utf-8",
    )
    shown = harness("audit", "--from-model-card", str(readme))
    assert shown.returncode == 0, shown.stderr
    assert "Sparkle" in shown.stderr
    assert "unread" in shown.stdout
    draft = tmp_path / "draft.yaml"
    done = harness("audit", "--from-model-card", str(readme), "--out", str(draft))
    assert done.returncode == 0, done.stderr
    assert draft.exists()
    assert harness("audit", str(draft)).returncode == 0
