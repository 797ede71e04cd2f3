"""What Apple's GPUs need: contiguous operands, and a count of what went to the CPU instead.

MPS has given wrong values without a word for operands that are views: attention of permuted
tensors, which is how TerraMind calls it, linear layers, convolutions, norms (docs/devices.md names
the reports). So every operator of the list below gets contiguous copies of its operands there.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

ARITHMETIC = ("add", "sub", "mul", "div", "mean", "sum")
"""Of `torch` and of tensors; each makes a new tensor."""

OPERATORS: frozenset[Callable[..., Any]] = frozenset(
    {
        functional.linear,
        functional.scaled_dot_product_attention,
        functional.layer_norm,
        functional.gelu,
        functional.softmax,
        functional.conv2d,
        functional.conv_transpose2d,
        functional.batch_norm,
        functional.max_pool2d,
        functional.interpolate,
        torch.matmul,
        torch.bmm,
        torch.cat,
        torch.stack,
        torch.topk,
        torch.argmax,
        torch.cumsum,
        *(getattr(torch, name) for name in ARITHMETIC),
        *(getattr(Tensor, name) for name in ARITHMETIC),
        *(getattr(Tensor, f"__{name}__") for name in ("add", "radd", "sub", "mul", "rmul", "truediv", "matmul")),
    }
)
"""Operators of the topologies that compute and change nothing in place."""

FELL_BACK = re.compile(r"The operator '([^']+)' is not currently supported on the MPS backend")
"""pytorch aten/src/ATen/mps/MPSFallback.mm, the warning of every operator that runs on the CPU instead."""


class _Contiguous(TorchFunctionMode):
    """Gives operators of OPERATORS contiguous operands."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in OPERATORS:
            args = tuple(_contiguous(a) for a in args)
            kwargs = {k: _contiguous(v) for k, v in kwargs.items()}
        return func(*args, **kwargs)


def _contiguous(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.contiguous()
    if isinstance(value, (list, tuple)) and any(isinstance(v, Tensor) for v in value):
        return type(value)(_contiguous(v) for v in value)
    return value


@contextmanager
def contiguous_operands() -> Iterator[None]:
    """While this lasts, operators of OPERATORS get contiguous operands; values are the same."""
    with _Contiguous():
        yield


@contextmanager
def fallbacks() -> Iterator[Counter[str]]:
    """While this lasts, count calls of operators that MPS lacks and torch sent to the CPU.

    Torch warns once a process, and so names one operator of several; here it warns every time.
    Other warnings are shown as before, after the end. No effect on other devices.
    """
    counted: Counter[str] = Counter()
    always = torch.is_warn_always_enabled()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.set_warn_always(True)
        try:
            yield counted
        finally:
            torch.set_warn_always(always)
    seen: set[tuple[str, str, int]] = set()
    for w in caught:
        found = FELL_BACK.search(str(w.message))
        if found:
            counted[found.group(1)] += 1
        elif (at := (str(w.message), w.filename, w.lineno)) not in seen:
            seen.add(at)
            warnings.warn_explicit(w.message, w.category, w.filename, w.lineno)
