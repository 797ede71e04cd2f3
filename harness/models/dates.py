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

import torch
from torch import Tensor, nn

LIMIT_BYTES = 512 * 1024**2
"""Features kept; the longest unused go first. One date of TerraMind base at 224 px takes 7.2 MB."""

INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""By bytes of an element: as what its bits are compared."""


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
            first = [_first(flat, i) if reuse else i for i in range(n)]  # only dates unlike those before are hashed
            digests = {i: f"{key}/{_digest(flat, i) if reuse else i}" for i in dict.fromkeys(first)}
            names = [digests[i] for i in first]
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


def _first(flat: dict[str, Tensor], i: int) -> int:
    """The first date whose tensors hold the very bits of date i, in all modalities; NaN and signed zeros are bits."""
    bits = {m: t.view(INTEGERS[t.element_size()]) for m, t in flat.items()}
    return next(j for j in range(i + 1) if j == i or all(torch.equal(t[j], t[i]) for t in bits.values()))


def _digest(flat: dict[str, Tensor], i: int) -> str:
    """SHA-256 of one date's tensors in all modalities, with their names, shapes and types."""
    digest = hashlib.sha256()
    for name, tensor in flat.items():
        row = tensor[i].detach().cpu().contiguous()
        digest.update(f"{name}{tuple(row.shape)}{row.dtype};".encode())
        digest.update(row.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
