"""What float32 means while a comparison runs: products of float32 numbers, not of shortened ones.

Two defaults shorten them under the name of float32. cuDNN convolutions run in TF32 (10 bits of
mantissa) on NVIDIA GPUs from Ampere on, by PyTorch's own default: torch.backends.cudnn.conv.
fp32_precision is "tf32" in torch 2.13. And terratorch 1.2.11 sets products of matrices to "medium"
while it is imported (see `harness.models.stack`): TF32 on those GPUs, bfloat16 on CPUs with AMX.

PyTorch has two sets of switches. The old one (set_float32_matmul_precision, allow_tf32) refuses to
be read after the new one (fp32_precision by library and operation) has said something that it cannot
express: pytorch/pytorch#179445, #189955. The new one has a setter that writes the wrong place
(torch.backends.mkldnn.fp32_precision writes the generic one in 2.13), so each operation is set here.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

OPERATIONS = (
    ("cuda", "matmul"),
    ("cudnn", "conv"),
    ("cudnn", "rnn"),
    ("mkldnn", "matmul"),
    ("mkldnn", "conv"),
    ("mkldnn", "rnn"),
)
"""Library and operation under torch.backends, where the new switches are."""

EXACT = "ieee"
"""Their word for float32 as IEEE 754 has it."""

EXACT_OLD = {"float32_matmul_precision": "highest", "cudnn.allow_tf32": False}
"""The same in the old switches. One that cannot be read is left alone, since it could not be put
back; torch asks it nothing then, because only the new ones can have made it so."""

UNREADABLE = "unreadable: old and new switches were mixed"
"""For a switch of the old set that refuses to be read."""


def state() -> dict[str, str]:
    """Every switch that decides what a float32 product is, by name, as it stands now.

    A value is as torch gives it: `none` inherits from a wider switch, and for cuDNN and oneDNN that
    is IEEE where the wider one says nothing. `UNREADABLE` where torch refuses.
    """
    out = {f"{library}.{operation}": str(at.fp32_precision) for (library, operation), at in _new().items()}
    out |= {name: str(value) for name, value in _old().items()}
    out["cudnn.deterministic"] = str(torch.backends.cudnn.deterministic)
    out["cudnn.benchmark"] = str(torch.backends.cudnn.benchmark)
    return out


@contextmanager
def exact() -> Iterator[dict[str, str]]:
    """While this lasts, float32 is float32, and cuDNN chooses the same algorithm at every call.

    Gives the state of the switches inside. Everything is put back at the end, errors included. The
    switches belong to the process: two threads cannot have different ones.
    """
    new = {key: at.fp32_precision for key, at in _new().items()}
    old = _old()
    cudnn = torch.backends.cudnn
    chosen = (cudnn.deterministic, cudnn.benchmark)
    try:
        _set_old({name: value for name, value in EXACT_OLD.items() if old[name] != UNREADABLE})
        for at in _new().values():
            at.fp32_precision = EXACT
        cudnn.deterministic, cudnn.benchmark = True, False
        yield state()
    finally:
        cudnn.deterministic, cudnn.benchmark = chosen
        _set_old(old)  # first: it writes the new ones, too
        for key, at in _new().items():
            at.fp32_precision = new[key]


def _new() -> dict[tuple[str, str], Any]:
    """Holders of fp32_precision; none before torch 2.9."""
    found = {}
    for library, operation in OPERATIONS:
        at = getattr(getattr(torch.backends, library, None), operation, None)
        if hasattr(at, "fp32_precision"):
            found[library, operation] = at
    return found


def _old() -> dict[str, Any]:
    """The old switches; the value is UNREADABLE where torch refuses."""
    out: dict[str, Any] = {}
    reads = {
        "float32_matmul_precision": torch.get_float32_matmul_precision,
        "cudnn.allow_tf32": lambda: torch.backends.cudnn.allow_tf32,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that they are old is known
        for name, read in reads.items():
            try:
                out[name] = read()
            except RuntimeError:
                out[name] = UNREADABLE
    return out


def _set_old(values: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if values.get("float32_matmul_precision", UNREADABLE) != UNREADABLE:
            torch.set_float32_matmul_precision(values["float32_matmul_precision"])
        if values.get("cudnn.allow_tf32", UNREADABLE) != UNREADABLE:
            torch.backends.cudnn.allow_tf32 = values["cudnn.allow_tf32"]
