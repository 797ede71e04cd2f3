"""Each date is encoded once: identical dates, and dates shared between chips or recipes.

No attention crosses time in the published topology: TerraTorch's temporal wrapper encodes dates
as if they were a batch, and joins their features afterwards (terratorch 1.2.11,
terratorch/models/utils.py). So features of a date depend on its pixels and on the weights alone.
This does not hold where tokens are sampled for each date; see `harness.models.thinking`.

Dates are encoded one by one, with and without reuse, so that reuse changes no bit: a library may
sum the products of a batch in another order than those of one date, and did on the CPU that this
was written on (4e-6 of logits up to 3).
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

LIMIT_BYTES = 512 * 1024**2
"""Features kept; the longest unused go first. One date of TerraMind base at 224 px takes 7.2 MB."""


@dataclass
class DateCache:
    """Features by date."""

    limit_bytes: int = LIMIT_BYTES
    """Most bytes kept."""
    encoded: int = 0
    """Dates that went through an encoder."""
    asked: int = 0
    """Dates that were asked for."""
    _held: OrderedDict[str, list[Tensor]] = field(default_factory=OrderedDict)
    _bytes: int = 0

    @contextmanager
    def over(self, encoder: nn.Module, key: str, *, reuse: bool = True) -> Iterator[None]:
        """While this lasts, `encoder` takes dates one by one, and none twice.

        Args:
            encoder: Takes {modality: (dates, C, H, W)} and gives a list of (dates, tokens, width).
            key: Everything else that features depend on: adapter, precision, device.
            reuse: False encodes every date, seen or not.
        """
        plain = encoder.forward

        def forward(flat: dict[str, Tensor], **kwargs: Any) -> list[Tensor]:
            n = next(iter(flat.values())).shape[0]
            names = _names(flat, n, key) if reuse else [f"{key}/{i}" for i in range(n)]
            rows: dict[str, list[Tensor]] = {}
            for i, name in enumerate(names):
                if name not in rows:
                    one = {m: t[i : i + 1] for m, t in flat.items()}
                    rows[name] = self._features(name, plain, one, kwargs) if reuse else self._encode(plain, one, kwargs)
            self.asked += n
            return [torch.cat([rows[name][layer] for name in names]) for layer in range(len(rows[names[0]]))]

        encoder.forward = forward
        try:
            yield
        finally:
            del encoder.forward  # the class's own method shows again

    def _features(self, name: str, plain: Any, one: dict[str, Tensor], kwargs: dict[str, Any]) -> list[Tensor]:
        if name in self._held:
            self._held.move_to_end(name)
            return self._held[name]
        features = self._encode(plain, one, kwargs)
        size = sum(f.numel() * f.element_size() for f in features)
        if size <= self.limit_bytes:
            self._held[name] = features
            self._bytes += size
        while self._bytes > self.limit_bytes:
            _, old = self._held.popitem(last=False)
            self._bytes -= sum(f.numel() * f.element_size() for f in old)
        return features

    def _encode(self, plain: Any, one: dict[str, Tensor], kwargs: dict[str, Any]) -> list[Tensor]:
        self.encoded += 1
        return list(plain(one, **kwargs))


def _names(flat: dict[str, Tensor], n: int, key: str) -> list[str]:
    """A name for each date, equal where all bits of all modalities are; only dates unlike those before are hashed."""
    raw = [{m: _bytes(t[i]) for m, t in flat.items()} for i in range(n)]
    out: list[str] = []
    for i, date in enumerate(raw):
        like = next((j for j in range(i) if all(np.array_equal(raw[j][m], date[m]) for m in date)), None)
        out.append(f"{key}/{_digest(flat, date)}" if like is None else out[like])
    return out


def _bytes(row: Tensor) -> NDArray[np.uint8]:
    """A date's bits, off the device: there, comparing views is not to be trusted (docs/devices.md)."""
    out: NDArray[np.uint8] = row.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return out


def _digest(flat: dict[str, Tensor], date: dict[str, NDArray[np.uint8]]) -> str:
    """SHA-256 of one date's tensors in all modalities, with their names, shapes and types."""
    digest = hashlib.sha256()
    for name, raw in date.items():
        digest.update(f"{name}{tuple(flat[name].shape[1:])}{flat[name].dtype};".encode())
        digest.update(raw.data)
    return digest.hexdigest()
