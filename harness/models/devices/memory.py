"""Out of memory: the batch is halved, and that is said."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from harness.errors import DeviceError
from harness.models.devices.device import Device

Item = TypeVar("Item")
Result = TypeVar("Result")

TEXTS = ("MPS backend out of memory", "DefaultCPUAllocator: can't allocate memory", "DefaultCPUAllocator: not enough")
"""What torch says in a plain RuntimeError where there is no OutOfMemoryError for it: MPS before it
had one, and the CPU's allocator on Linux and macOS, and on Windows (c10/core/impl/alloc_cpu.cpp)."""


def out_of_memory(err: BaseException) -> bool:
    """Whether an error says that memory ran out: CUDA, ROCm, MPS, torch's CPU allocator or Python's own."""
    if isinstance(err, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(err, RuntimeError) and any(text in str(err) for text in TEXTS)


def in_batches(
    items: Sequence[Item],
    run: Callable[[Sequence[Item]], Sequence[Result]],
    size: int,
    device: Device,
    say: Callable[[str], None],
) -> list[Result]:
    """Run items in batches; where memory runs out, halve the batch, say so, and go on from there.

    Args:
        items: What to run.
        run: Takes at most `size` items and gives one result each, in their order. Called again with
            fewer of the same items after it ran out of memory.
        size: Items in the first batch, at least 1.
        device: Where it runs.
        say: Told of every halving.

    Returns:
        One result an item, in their order.

    Raises:
        DeviceError: Memory ran out at one item, or `run` gave another number of results.
    """
    if size < 1:
        raise DeviceError(f"batch of {size}: give 1 or more")
    out: list[Result] = []
    while len(out) < len(items):
        batch = items[len(out) : len(out) + size]
        failed: str | None = None
        try:
            results = list(run(batch))
        except (MemoryError, RuntimeError) as err:
            if not out_of_memory(err):
                raise
            failed = (str(err).strip() or type(err).__name__).splitlines()[0]
            if len(batch) == 1:
                device.release()
                raise DeviceError(
                    f"{device.name} ({device.kind}): out of memory at batch 1, item {len(out)}: {failed}. "
                    "Give smaller chips, close what else uses the device, or --device cpu"
                ) from err
        if failed is not None:  # out here the error's frames no longer hold what they had allocated
            device.release()
            size = len(batch) // 2
            where = f"{device.name} ({device.kind})"
            say(f"{where}: out of memory with {len(batch)} at a time; going on with {size}: {failed}")
            continue
        if len(results) != len(batch):
            raise DeviceError(f"a batch of {len(batch)} gave {len(results)} results; each item needs one")
        out += results
    return out
