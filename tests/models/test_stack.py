"""The torch stack in fresh processes: torchvision mended only where it must be, no network, plain errors."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.models.stack import QUIET

NEEDS = """
import torch
@torch.library.register_fake("torchvision::{name}")
def fake(*args):
    return args
"""
"""What torchvision does while it is imported: a fake kernel for an operator of its extension."""

DEFINES = """
import torch
library = torch.library.Library("torchvision", "DEF")
library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
"""
"""What a loadable extension does."""

OFFLINE = """
import socket
outward = []
class Closed(socket.socket):
    def connect(self, address):
        outward.append(f"connect {address}")
        raise OSError("no connection in this test")
    def sendto(self, *args):
        outward.append(f"sendto {args[-1]}")
        raise OSError("no datagram in this test")
    connect_ex = connect
def refuse(*args, **kwargs):
    outward.append(f"getaddrinfo {args[:2]}")
    raise OSError("no name in this test")
socket.socket = Closed
socket.getaddrinfo = refuse
"""
"""Records every way out. A socket alone is none: urllib3 binds one to ::1 to see whether IPv6 is there."""


def run(code: str, root: Path, *first: Path) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter with these folders first on its path."""
    env = {k: v for k, v in os.environ.items() if k not in QUIET}
    return subprocess.run(  # noqa: S603 (our own interpreter and code)
        [sys.executable, "-W", "error", "-c", code],
        env={**env, "PYTHONPATH": os.pathsep.join(map(str, [*first, root]))},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def answer(code: str, root: Path, *first: Path) -> Any:
    """The last line that the code prints, read as JSON."""
    done = run(code, root, *first)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def fake_torchvision(folder: Path, text: str) -> Path:
    """A package torchvision of this text."""
    (folder / "torchvision").mkdir()
    (folder / "torchvision" / "__init__.py").write_text(text, encoding="utf-8")
    return folder


IMPORT = """
import json
from harness.models import stack
print(json.dumps([stack._import_torchvision(), len(stack._declared)]))
"""


@pytest.mark.parametrize("text", ["", DEFINES + NEEDS.format(name="nms")], ids=["needs nothing", "extension loads"])
def test_a_torchvision_that_imports_is_left_alone(text: str, tmp_path: Path, root: Path) -> None:
    assert answer(IMPORT, root, fake_torchvision(tmp_path, text)) == ["as installed", 0]


def test_a_torchvision_without_extension_gets_its_operators(tmp_path: Path, root: Path) -> None:
    text = NEEDS.format(name="nms") + NEEDS.format(name="qnms")
    said, declared = answer(IMPORT, root, fake_torchvision(tmp_path, text))
    assert said == "operators nms and qnms declared by hand, because torchvision has no compiled extension"
    assert declared == 1


def test_an_operator_that_we_do_not_know_is_not_made_up(tmp_path: Path, root: Path) -> None:
    done = run(IMPORT, root, fake_torchvision(tmp_path, NEEDS.format(name="folding")))
    assert done.returncode == 1
    assert "operator torchvision::folding does not exist" in done.stderr


def test_another_fault_of_torchvision_is_not_taken_for_a_missing_operator(tmp_path: Path, root: Path) -> None:
    done = run(IMPORT, root, fake_torchvision(tmp_path, "raise RuntimeError('built for another torch')"))
    assert done.returncode == 1
    assert done.stderr.rstrip().endswith("RuntimeError: built for another torch")


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The whole stack, prepared without network beside a torchvision whose extension does not load."""
    spec = importlib.util.find_spec("torchvision")
    assert spec is not None
    assert spec.origin is not None
    folder = tmp_path_factory.mktemp("broken")
    (folder / "torchvision").mkdir()
    for path in Path(spec.origin).parent.iterdir():
        if not path.name.startswith(("_C", "__pycache__")):
            (folder / "torchvision" / path.name).symlink_to(path)
    (folder / "torchvision" / "_C.so").write_text("no library", encoding="utf-8")
    code = f"""{OFFLINE}
import json, os, pathlib, sys, torch
from harness.models import stack
before = torch.get_float32_matmul_precision()
s = stack.prepare()
import torchvision
from terratorch.registry import BACKBONE_REGISTRY
print(json.dumps({{
    "torchvision": s.torchvision, "versions": s.versions, "outward": outward, "declared": len(stack._declared),
    "backbone": "terramind_v1_base" in BACKBONE_REGISTRY, "from": str(pathlib.Path(torchvision.__file__).parent),
    "precision": [before, torch.get_float32_matmul_precision()], "quiet": {{k: os.environ.get(k) for k in stack.QUIET}},
    "operators": all(hasattr(torch.ops.torchvision, name) for name in ("nms", "qnms")),
    "again": stack.prepare() is s,
}}))"""
    found: dict[str, Any] = answer(code, Path(__file__).parents[2], folder)
    assert found["from"] == str(folder / "torchvision")
    return found


def test_a_broken_extension_is_mended_and_terratorch_imports(broken: dict[str, Any]) -> None:
    assert broken["torchvision"].startswith("operators nms and qnms declared by hand, because torchvision's extension")
    assert "_C.so" in broken["torchvision"]
    assert broken["operators"]
    assert broken["declared"] == 1
    assert broken["backbone"]
    assert broken["again"]


def test_preparing_the_stack_asks_no_network(broken: dict[str, Any]) -> None:
    assert broken["outward"] == []
    assert all(broken["quiet"].values())  # terratorch sets one of them to another word


def test_no_import_changes_the_precision_of_float32(broken: dict[str, Any]) -> None:
    assert broken["precision"] == ["highest", "highest"]


def test_a_run_record_gets_every_version(broken: dict[str, Any]) -> None:
    assert {"torch", "torchvision", "terratorch", "peft", "safetensors", "numpy"} <= set(broken["versions"])


PREPARE = """
import sys
sys.modules.update(dict.fromkeys({absent}))
from harness.errors import StackError
from harness.models import stack
try:
    stack.prepare()
except StackError as err:
    print(repr(str(err)))
"""


@pytest.mark.parametrize("absent", [["peft"], ["torch", "terratorch"]])
def test_a_missing_package_is_named(absent: list[str], root: Path) -> None:
    done = run(PREPARE.format(absent=absent), root)
    assert f"not installed: {', '.join(absent)}; install the models extra" in done.stdout, done.stderr


def test_a_torch_that_does_not_load_is_an_error_of_the_stack(tmp_path: Path, root: Path) -> None:
    (tmp_path / "torch").mkdir()
    text = "raise OSError('libcudart.so.13: cannot open shared object file')"
    (tmp_path / "torch" / "__init__.py").write_text(text, encoding="utf-8")
    done = run(PREPARE.format(absent=[]), root, tmp_path)
    assert "does not import: OSError: libcudart.so.13" in done.stdout, done.stderr
    assert "harness doctor" in done.stdout
