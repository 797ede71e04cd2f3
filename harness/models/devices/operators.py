"""Self-test of a device: the topologies' operators on fixed numbers, against float64 on the CPU.

Each case is an operator in a layout that has once given wrong values without a word on some device,
mostly Apple's (docs/devices.md names the reports). The bound also tells float32 from shortened
products: TF32 and bfloat16 miss it by a factor of 20 and more.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from harness.errors import DeviceError
from harness.models.devices.device import Device
from harness.models.devices.precision import exact
from harness.models.synthetic import uniform
from harness.records.equivalence import OperatorCheck

TOLERANCE = 2e-5
"""Largest |difference| over largest |reference|. Sums of 1,152 float32 products, the longest here,
stay near 1e-6; one TF32 product is off by up to 5e-4, one of bfloat16 by up to 4e-3."""

SEED = 20
"""Of the numbers."""


@dataclass(frozen=True)
class Case:
    """One operator in one layout."""

    operator: str
    """As torch calls it."""
    layout: str
    """How its operands lie in memory."""
    shapes: tuple[tuple[int, ...], ...]
    """Shapes of the contiguous numbers that it starts from."""
    run: Callable[..., Tensor]
    """Takes them and gives the result; makes views and copies itself."""
    exact: bool = False
    """Whether the result is indices or a selection, with nothing to round."""


def _halves(t: Tensor) -> Tensor:
    """Every other row of twice as many: a view that is not contiguous."""
    return t[::2]


def _heads(qkv: Tensor) -> tuple[Tensor, ...]:
    """Query, key and value as TerraMind's attention takes them out of one tensor (B, N, 3, heads, width)."""
    parts: tuple[Tensor, ...] = qkv.permute(2, 0, 3, 1, 4).unbind(0)
    return parts


def _channels_last(t: Tensor) -> Tensor:
    return t.contiguous(memory_format=torch.channels_last)


def _norm(t: Tensor, mean: Tensor, var: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return functional.batch_norm(t, mean, var.abs() + 0.5, weight, bias, training=False)


def _wide(t: Tensor, size: int, mode: str) -> Tensor:
    corners = None if mode == "nearest" else False
    return functional.interpolate(t, size=(size, size), mode=mode, align_corners=corners)


IMAGE, KERNEL = (2, 16, 14, 14), (32, 16, 3, 3)
NORM = ((16,), (16,), (16,), (16,))

CASES: tuple[Case, ...] = (
    Case("linear", "contiguous", ((4, 49, 768), (256, 768), (256,)), lambda x, w, b: functional.linear(x, w, b)),
    Case("linear", "input transposed", ((2, 192, 49), (64, 192)), lambda x, w: functional.linear(x.mT, w)),
    Case("linear", "weight sliced", ((4, 49, 192), (128, 192)), lambda x, w: functional.linear(x, _halves(w))),
    Case("linear", "input expanded", ((1, 49, 192), (64, 192)), lambda x, w: functional.linear(x.expand(5, -1, -1), w)),
    Case("matmul", "transposed", ((6, 49, 64), (6, 49, 64)), lambda q, k: torch.matmul(q, k.mT)),
    Case(
        "scaled_dot_product_attention",
        "contiguous",
        ((2, 3, 98, 64),) * 3,
        lambda q, k, v: functional.scaled_dot_product_attention(q, k, v, scale=0.125),
    ),
    Case(
        "scaled_dot_product_attention",
        "permuted out of one tensor, as TerraMind does",
        ((2, 98, 3, 3, 64),),
        lambda t: functional.scaled_dot_product_attention(*_heads(t), scale=0.125),
    ),
    Case(
        "scaled_dot_product_attention",
        "permuted, short sequences",
        ((84, 3, 3, 3, 64),),
        lambda t: functional.scaled_dot_product_attention(*_heads(t), scale=0.125),
    ),
    Case("layer_norm", "contiguous", ((4, 49, 192), (192,)), lambda x, w: functional.layer_norm(x, (192,), w)),
    Case("layer_norm", "slice", ((4, 49, 192), (192,)), lambda x, w: functional.layer_norm(x[1:3], (192,), w)),
    Case("layer_norm", "transposed", ((4, 192, 49), (192,)), lambda x, w: functional.layer_norm(x.mT, (192,), w)),
    Case("gelu", "contiguous", ((4, 49, 192),), lambda x: functional.gelu(x)),
    Case("gelu", "transposed", ((4, 192, 49),), lambda x: functional.gelu(x.mT)),
    Case("softmax", "transposed", ((4, 192, 49),), lambda x: functional.softmax(x.mT, dim=-1)),
    Case("conv2d", "contiguous", ((2, 128, 14, 14), (32, 128, 3, 3)), lambda x, w: functional.conv2d(x, w, padding=1)),
    Case("conv2d", "input sliced by channel", (IMAGE, (32, 8, 3, 3)), lambda x, w: functional.conv2d(x[:, ::2], w)),
    Case(
        "conv2d",
        "channels last, sliced by channel",
        (IMAGE, (32, 8, 3, 3)),
        lambda x, w: functional.conv2d(_channels_last(x)[:, :8], w),
    ),
    Case("conv2d", "weight sliced", (IMAGE, (*KERNEL, 3)), lambda x, w: functional.conv2d(x, w[..., 1])),
    Case("conv2d", "one pixel", (IMAGE, (5, 16, 1, 1), (5,)), lambda x, w, b: functional.conv2d(x, w, b)),
    Case(
        "conv_transpose2d",
        "contiguous",
        (IMAGE, (16, 8, 2, 2), (8,)),
        lambda x, w, b: functional.conv_transpose2d(x, w, b, stride=2),
    ),
    Case(
        "conv_transpose2d",
        "input transposed",
        ((2, 196, 16), (16, 8, 2, 2)),
        lambda x, w: functional.conv_transpose2d(x.mT.unflatten(2, (14, 14)), w, stride=2),
    ),
    Case("batch_norm", "contiguous", (IMAGE, *NORM), _norm),
    Case("batch_norm", "slice", (IMAGE, *NORM), lambda x, *n: _norm(x[1:], *n)),
    Case(
        "batch_norm",
        "channels last, sliced by channel",
        ((2, 32, 14, 14), *NORM),
        lambda x, *n: _norm(_channels_last(x)[:, :16], *n),
    ),
    Case("max_pool2d", "contiguous", (IMAGE,), lambda x: functional.max_pool2d(x, 2), exact=True),
    Case("interpolate", "nearest", (IMAGE,), lambda x: _wide(x, 28, "nearest"), exact=True),
    Case("interpolate", "bilinear", (IMAGE,), lambda x: _wide(x, 56, "bilinear")),
    Case("interpolate", "bilinear, transposed", (IMAGE,), lambda x: _wide(x.mT, 56, "bilinear")),
    Case("interpolate", "bicubic, permuted", ((1, 14, 14, 16),), lambda x: _wide(x.permute(0, 3, 1, 2), 4, "bicubic")),
    Case("cat", "permuted", (IMAGE, IMAGE), lambda x, y: torch.cat([x.mT, y], dim=1), exact=True),
    Case("add", "transposed and broadcast", (IMAGE, (14, 1)), lambda x, y: x.mT + y),
    Case("relu_", "in place, transposed", (IMAGE,), lambda x: functional.relu_(x.clone().mT), exact=True),
    Case("add_", "in place, transposed", ((49, 64), (49, 64)), lambda x, y: x.clone().mT.add_(y.mT)),
    Case("copy_", "in place, slice", ((50, 64), (25, 64)), lambda x, y: _into(x, y), exact=True),
    Case("addcmul_", "in place, transposed", ((49, 64),) * 3, lambda x, y, z: x.clone().mT.addcmul_(y.mT, z.mT)),
    Case(
        "addcdiv_",
        "in place, transposed, others contiguous",
        ((49, 64), (64, 49), (64, 49)),
        lambda x, y, z: x.clone().mT.addcdiv_(y, z.abs() + 1),
    ),
    Case("argmax", "over channels", (IMAGE,), lambda x: x.argmax(dim=1), exact=True),
    Case("topk", "transposed", ((4, 192, 49),), lambda x: x.mT.topk(5, dim=-1).indices, exact=True),
)
"""One line a case. In-place operators work on a copy; what was written is read back as a whole."""


def _into(x: Tensor, y: Tensor) -> Tensor:
    """Write every other row of a copy, and give all of it."""
    whole = x.clone()
    whole[::2].copy_(y)
    return whole


def numbers(case: Case) -> list[Tensor]:
    """What a case starts from: uniform in -1..1, float32, on the CPU, the same on every machine."""
    return [uniform(f"{case.operator}/{case.layout}/{i}", shape, 1.0, SEED) for i, shape in enumerate(case.shapes)]


def self_test(device: Device) -> list[OperatorCheck]:
    """Run every case on a device, with float32 exact, and compare with float64 on the CPU.

    Nothing is raised for a wrong value or an operator that is not there: the check says so.
    """
    out = []
    with torch.inference_mode(), exact():
        for case in CASES:
            given = numbers(case)
            reference = case.run(*(t.double() for t in given)).contiguous()
            try:
                got = case.run(*(t.to(device.torch) for t in given)).cpu().contiguous()
            except (RuntimeError, NotImplementedError, TypeError) as err:
                why = f"{type(err).__name__}: {(str(err).splitlines() or [''])[0]}"
                out.append(_check(case, None, why))
            else:
                out.append(_compared(case, got, reference))
    return out


def _compared(case: Case, got: Tensor, reference: Tensor) -> OperatorCheck:
    if got.shape != reference.shape:
        return _check(case, None, f"shape {list(got.shape)}, not {list(reference.shape)}")
    wanted = reference.double().to(torch.float32).double() if case.exact else reference.double()
    scale = float(wanted.abs().max())
    difference = float((got.double() - wanted).abs().max())
    error = difference / scale if scale else difference
    if not math.isfinite(error):
        return _check(case, None, "values that are not finite")
    wrong = error > (0.0 if case.exact else TOLERANCE)
    return _check(case, error, "wrong values" if wrong else None)


def _check(case: Case, error: float | None, why: str | None) -> OperatorCheck:
    bound = 0.0 if case.exact else TOLERANCE
    return OperatorCheck(
        operator=case.operator, layout=case.layout, error=error, bound=bound, passed=why is None, why=why
    )


def require(device: Device) -> list[OperatorCheck]:
    """Run the self-test and refuse a device that fails it.

    On MPS a case is also run as the models run there, with contiguous operands; a device is refused
    for what is wrong then, or in place, and not for views that no model hands it.

    Raises:
        DeviceError: Names every operator that is wrong.
    """
    with device.running():
        checks = self_test(device)
    wrong = [c for c in checks if not c.passed]
    if wrong:
        named = "; ".join(f"{c.operator} ({c.layout}): {c.why}, {_percent(c.error)}" for c in wrong)
        raise DeviceError(
            f"{device.name} ({device.kind}): {len(wrong)} of {len(checks)} operators fail the self-test: {named}. "
            "Use --device cpu, or another build of torch"
        )
    return checks


def _percent(error: float | None) -> str:
    return "no value" if error is None else f"off by {error:.1e} of the largest value"
