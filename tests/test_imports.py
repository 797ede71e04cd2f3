"""What importing the package loads, and that the documented example of a card loads."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness.claims.audit import audit_registry
from harness.claims.registry import read_card, read_registry

HEAVY = ("torch", "torchvision", "terratorch", "peft", "safetensors", "timm", "rasterio", "requests", "pandas")
"""Never on the audit's path; what runs a model or reads a chip loads it when it does."""

DRAWING = ("matplotlib", "jinja2")
"""Only the report room draws."""


def loaded(module: str, decoys: tuple[str, ...], folder: Path, root: Path) -> set[str]:
    """Top-level names that a fresh interpreter holds after importing `module`.

    An empty package of each decoy's name comes first on the path, so that an import guarded by
    try/except is seen on a machine that does not have the package.
    """
    for decoy in decoys:
        (folder / decoy).mkdir()
        (folder / decoy / "__init__.py").touch()
    code = f"import json, sys, {module}; print(json.dumps(sorted({{m.partition('.')[0] for m in sys.modules}})))"
    done = subprocess.run(  # noqa: S603 (our own interpreter and code)
        [sys.executable, "-c", code],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout))


@pytest.mark.parametrize(
    "module", ["harness", "harness.claims.audit", "harness.score", "harness.score.binary", "harness.records"]
)
def test_claims_and_score_load_nothing_heavy_and_draw_nothing(module: str, tmp_path: Path, root: Path) -> None:
    assert loaded(module, HEAVY + DRAWING, tmp_path, root).isdisjoint(HEAVY + DRAWING)


@pytest.mark.parametrize(
    "module",
    [
        *("harness.cli", "harness.run", "harness.doctor", "harness.models", "harness.models.stack"),
        *("harness.models.backbones", "harness.models.wheels"),
    ],
)
def test_the_console_script_loads_nothing_heavy(module: str, tmp_path: Path, root: Path) -> None:
    assert loaded(module, HEAVY, tmp_path, root).isdisjoint(HEAVY)


READING = (
    *("assemble", "catalogue", "cluster", "footprints", "majortom", "many", "rasterise"),
    *("sight", "store", "tables", "warp", "worldcover"),
)
"""Modules of the chips room that read rasters or ask services; the rest decides and records."""


def chips_modules(root: Path) -> list[str]:
    """Every module of the chips room."""
    paths = [path.relative_to(root).with_suffix("") for path in (root / "harness" / "chips").rglob("*.py")]
    return sorted(".".join(path.parts).removesuffix(".__init__") for path in paths)


def test_the_chips_room_loads_nothing_heavy_until_it_reads(tmp_path: Path, root: Path) -> None:
    outside = ("harness.chips.sources.", *(f"harness.chips.{name}" for name in READING))
    modules = [module for module in chips_modules(root) if not module.startswith(outside)]
    assert {"harness.chips", "harness.chips.select", "harness.chips.tensors"} <= {*modules}
    assert loaded(", ".join(modules), HEAVY, tmp_path, root).isdisjoint(HEAVY)


def test_the_readers_of_the_chips_room_load_no_torch(tmp_path: Path, root: Path) -> None:
    others = ("torch", "pandas")
    assert loaded(", ".join(chips_modules(root)), others, tmp_path, root).isdisjoint(others)


def test_a_heavy_import_would_be_seen(tmp_path: Path, root: Path) -> None:
    assert "torch" in loaded("harness.errors, torch", HEAVY, tmp_path, root)


def test_the_example_card_in_contributing_loads_and_fits(tmp_path: Path, root: Path) -> None:
    text = (root / "CONTRIBUTING.md").read_text(encoding="utf-8")
    examples = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert len(examples) == 1
    path = tmp_path / "example-card.yaml"
    path.write_text(examples[0], encoding="utf-8")
    card = read_card(path)
    assert [claim.id.removeprefix("example-card/") for claim in card.claims] == [
        *("mIoU", "full.mIoU", "delta", "classes", "iou.0", "iou.1", "tile.harbour.iou", "tile.park.iou"),
    ]
    findings = audit_registry(read_registry([path])).findings
    assert {finding.check for finding in findings} == {"macro-mean", "stated-difference", "binary-joint"}
    assert {finding.status for finding in findings} == {"consistent"}
