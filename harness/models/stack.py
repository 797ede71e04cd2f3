"""The torch stack, prepared once and imported only by commands that run a model.

Nothing here touches the network: lightly and albumentations would look up their own versions
while they are imported, and are told not to.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import sys
import warnings
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

from harness.errors import StackError

QUIET = {
    "LIGHTLY_DID_VERSION_CHECK": "True",
    "NO_ALBUMENTATIONS_UPDATE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}
"""Environment variables that keep imports off the network (lightly/api/_version_checking.py,
albumentations/check_version.py, huggingface_hub/constants.py)."""

PACKAGES = ("torch", "torchvision", "terratorch", "peft", "safetensors", "timm", "numpy")
"""Packages whose versions a run record keeps."""

TORCHVISION_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
"""Operators that torchvision 0.28 registers meta kernels for while it is imported
(torchvision/_meta_registrations.py); without its extension they do not exist."""

_declared: list[object] = []  # torch.library.Library undoes its definitions when it is collected


@dataclass(frozen=True, slots=True)
class Stack:
    """What was found."""

    versions: dict[str, str]
    """Installed versions by package."""
    torchvision: str
    """`as installed`, or that two of its operators were declared by hand, and why."""
    matmul: str
    """`as torch has it`, or which precision an import had set and that it was put back."""


def _import_torchvision() -> str:
    """Import torchvision, with the operators that it lacks declared where that is why it fails.

    The Linux build of torchvision in the package index is made for CUDA: beside a CPU-only torch
    its extension cannot be loaded, and importing it fails with "operator torchvision::nms does
    not exist". TerraMind uses none of its operators, so their schemas are enough.

    Returns:
        `as installed`, or what was declared and why.
    """
    try:
        importlib.import_module("torchvision")
    except RuntimeError as err:
        if not re.search(r"operator torchvision::\w+ does not exist", str(err)):
            raise
    else:
        return "as installed"
    import torch

    for name in [m for m in sys.modules if m.partition(".")[0] == "torchvision"]:
        del sys.modules[name]  # what the failed import left behind
    library = torch.library.Library("torchvision", "DEF")
    for schema in TORCHVISION_SCHEMAS:
        library.define(schema)
    _declared.append(library)
    importlib.import_module("torchvision")
    return f"operators nms and qnms declared by hand, because {_why_not_loaded()}"


def _why_not_loaded() -> str:
    """What keeps torchvision's extension from loading."""
    import torch

    found = importlib.util.find_spec("torchvision")
    folder = Path(found.origin).parent if found is not None and found.origin is not None else Path()
    extension = next((p for p in sorted(folder.glob("_C*")) if p.suffix in (".so", ".pyd")), None)
    if extension is None:
        return "torchvision has no compiled extension"
    try:
        torch.ops.load_library(str(extension))
    except OSError as err:
        reason = str(err.__cause__ or err).strip().splitlines()[0]  # torch's own words name the file only
        return f"torchvision's extension does not load beside this torch ({reason})"
    return "torchvision's extension does not define them"


@cache
def prepare() -> Stack:
    """Import torch, torchvision, terratorch and peft; 8-10 s in a fresh process.

    Returns:
        Versions and what had to be done about torchvision.

    Raises:
        StackError: A package is missing or cannot be imported.
    """
    os.environ.update({k: v for k, v in QUIET.items() if k not in os.environ})
    missing = [p for p in ("torch", "torchvision", "terratorch", "peft", "safetensors") if not _installed(p)]
    if missing:
        raise StackError(
            f"not installed: {', '.join(missing)}; install the models extra: pip install 'eo-adapter-harness[models]'"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of other people's imports; nothing of ours runs in here
        try:
            before = _matmul_precision()
            torchvision = _import_torchvision()
            for name in ("terratorch.models", "peft"):
                importlib.import_module(name)
        except (ImportError, OSError, RuntimeError) as err:
            raise StackError(
                f"the torch stack does not import: {type(err).__name__}: {err}; `harness doctor` lists versions"
            ) from err
    return Stack({p: metadata.version(p) for p in PACKAGES if _installed(p)}, torchvision, _restore_matmul(before))


def _matmul_precision() -> str:
    import torch

    return str(torch.get_float32_matmul_precision())


def _restore_matmul(before: str) -> str:
    """Undo what an import did to float32 products of the whole process.

    terratorch 1.2.11 sets "medium" while it is imported (terratorch/models/backbones/clay_v15/
    model.py, line 16). Products of float32 matrices then run in bfloat16 on CPUs that have AMX, and
    in TF32 on NVIDIA GPUs: relative errors of 1e-3 under the name of float32.
    """
    import torch

    after = _matmul_precision()
    if after == before:
        return "as torch has it"
    torch.set_float32_matmul_precision(before)
    return f"an import set float32 products to {after!r}; put back to {before!r}"


def _installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):  # half removed, or put aside by whoever runs us
        return False
