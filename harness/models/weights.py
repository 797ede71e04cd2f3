"""Weight files, opened without running anything that is in them."""

from __future__ import annotations

import hashlib
import os
import pickle
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from harness.errors import WeightsError

BLOCK = 1 << 24
"""Bytes hashed at a time."""


@dataclass(frozen=True)
class WeightFile:
    """One file of tensors, read and hashed."""

    path: Path
    """Where it was read from."""
    sha256: str
    """Of the whole file."""
    size_bytes: int
    """Bytes on disk."""
    pinned: bool
    """Whether a sha256 was asked for (and agreed)."""
    tensors: dict[str, Tensor]
    """Tensors by name, on the CPU, as stored."""

    @property
    def entries(self) -> int:
        """Numbers in all tensors."""
        return sum(t.numel() for t in self.tensors.values())

    @cached_property
    def hashes(self) -> dict[str, str]:
        """SHA-256 of each tensor by name; hashing releases the interpreter, so all cores take part."""
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return dict(zip(self.tensors, pool.map(sha256_tensor, self.tensors.values()), strict=True))


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes.

    Raises:
        WeightsError: The file is not there or cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            while block := stream.read(BLOCK):
                digest.update(block)
    except OSError as err:
        raise WeightsError(f"{path}: cannot be read: {err.strerror or err}; download it again") from err
    return digest.hexdigest()


def sha256_tensor(tensor: Tensor) -> str:
    """SHA-256 of a tensor's bytes, row-major, as stored (little-endian on every machine we run on)."""
    flat = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    return hashlib.sha256(flat.numpy().data).hexdigest()


def read_weights(path: Path, sha256: str | None = None) -> WeightFile:
    """Read a `.safetensors` file, or a `.pt` file that holds tensors only.

    Args:
        path: The file.
        sha256: What its bytes must hash to; None where nobody states it.

    Raises:
        WeightsError: Not there, truncated, another hash, a pickle that would run code, not a flat
            table of tensors, or a tensor with NaN or infinity.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: no such file; the folder must hold it under this name")
    actual = sha256_file(path)
    if sha256 is not None and actual != sha256:
        raise WeightsError(
            f"{path}: sha256 {actual} where {sha256} is pinned; the file is of another revision, or damaged: "
            "download it again, or correct the pin in eval/families/"
        )
    with path.open("rb") as stream:
        head = stream.read(64)
    if head.startswith((b"version https://git-lfs", b"<!DOCTYPE", b"<!doctype", b"<html")):
        kind = "a Git LFS pointer" if head.startswith(b"version") else "a web page"
        raise WeightsError(f"{path}: is {kind} and not the file itself; download it again")
    tensors = _safetensors(path) if path.suffix == ".safetensors" else _pickle(path)
    if not tensors:
        raise WeightsError(f"{path}: holds no tensors")
    bad = [name for name, t in tensors.items() if t.is_floating_point() and not bool(torch.isfinite(t).all())]
    if bad:
        raise WeightsError(f"{path}: NaN or infinity in {len(bad)} tensors, first {bad[0]}; the file is damaged")
    negative = [n for n, t in tensors.items() if n.endswith("running_var") and bool((t < 0).any())]
    if negative:
        raise WeightsError(f"{path}: {negative[0]} is a variance and negative; the file is damaged")
    return WeightFile(path, actual, path.stat().st_size, sha256 is not None, tensors)


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError, ValueError) as err:
        raise WeightsError(
            f"{path}: not a whole safetensors file ({_line(err)}); it is truncated or damaged: download it again"
        ) from err
    return tensors


def _pickle(path: Path) -> dict[str, Tensor]:
    try:
        held = torch.load(path, map_location="cpu", weights_only=True, mmap=False)
    except pickle.UnpicklingError as err:
        named = re.search(r"(?:GLOBAL|global) (\S+)", str(err))
        raise WeightsError(
            f"{path}: refused: the pickle would run code ({named.group(1) if named else _line(err)}); "
            "nothing of it was run. Ask its author for safetensors"
        ) from err
    except (RuntimeError, EOFError, ValueError, OSError) as err:
        raise WeightsError(
            f"{path}: not a whole torch file ({_line(err)}); it is truncated or damaged: download it again"
        ) from err
    if not isinstance(held, dict) or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in held.items()):
        raise WeightsError(f"{path}: not a flat table of names and tensors; a state dict is needed")
    tensors: dict[str, Tensor] = held
    return tensors


def _line(err: Exception) -> str:
    return (str(err).strip().splitlines() or [type(err).__name__])[0]
