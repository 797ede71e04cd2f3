"""Checkpoints of a training: whole or not there, and of one training only."""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harness.errors import RegistryError, WeightsError
from harness.places import write_file


@dataclass(frozen=True)
class Held:
    """What a checkpoint holds."""

    path: Path
    """Where it was read from."""
    fingerprint: str
    """Of the training that it belongs to."""
    losses: list[float]
    """Of every step taken."""
    tensors: dict[str, Tensor]
    """Everything that training changes, by name in the model."""
    optimiser: dict[str, Any]
    """The optimiser's state."""

    @property
    def step(self) -> int:
        """Steps taken."""
        return len(self.losses)

    def into(self, tensors: dict[str, Tensor], optimiser: Any) -> None:
        """Put it into a model's own tensors and an optimiser.

        Raises:
            WeightsError: Names or shapes differ.
        """
        shapes = ({n: t.shape for n, t in held.items()} for held in (self.tensors, tensors))
        if next(shapes) != next(shapes):
            raise WeightsError(f"{self.path}: of another model; delete it")
        with torch.no_grad():
            for name, tensor in tensors.items():
                tensor.copy_(self.tensors[name])
        optimiser.load_state_dict(self.optimiser)


def save(path: Path, fingerprint: str, tensors: dict[str, Tensor], optimiser: Any, losses: Sequence[float]) -> None:
    """Write a checkpoint in one step, over the one before.

    Raises:
        WeightsError: It cannot be written.
    """
    held = {
        "fingerprint": fingerprint,
        "losses": list(losses),
        "tensors": {n: t.detach() for n, t in tensors.items()},
        "optimiser": optimiser.state_dict(),
    }
    buffer = io.BytesIO()
    torch.save(held, buffer)
    try:
        write_file(path, buffer.getvalue())
    except (OSError, RegistryError) as err:
        raise WeightsError(f"{path}: the checkpoint cannot be written: {err}") from err


def read(path: Path) -> Held | None:
    """Read a checkpoint; None where there is none. Nothing in it is run.

    Raises:
        WeightsError: It is damaged.
    """
    if not path.is_file():
        return None
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
        return Held(path, held["fingerprint"], held["losses"], held["tensors"], held["optimiser"])
    except (OSError, RuntimeError, EOFError, KeyError, TypeError, ValueError, pickle.UnpicklingError) as err:
        raise WeightsError(f"{path}: not a whole checkpoint ({type(err).__name__}); delete it and train again") from err


def digest(*parts: str) -> str:
    """SHA-256 of texts, each told apart from the next."""
    out = hashlib.sha256()
    for part in parts:
        out.update(f"{len(part)}:{part}".encode())
    return out.hexdigest()
