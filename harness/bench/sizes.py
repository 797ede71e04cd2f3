"""Bytes on disk, bytes of tensors held, and the high-water mark of a child process."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from harness.bench.memory import in_a_child
from harness.records.bench import Size

if TYPE_CHECKING:
    from harness.models.ensemble import Ensemble


def sizes(ensemble: Ensemble, weights: Path, size_px: int) -> list[Size]:
    """Files of the weights, tensors in memory, and the high-water mark of a child process."""
    family, out = ensemble.family, list[Size]()
    pin = family.base()
    base = weights / (pin.file if pin and pin.file else "base.pt")
    files = {"base": base.stat().st_size}
    out.append(Size(id="disk/base", kind="disk", what="the base's file, float32", bytes=files["base"]))
    for adapter in family.adapters:
        if adapter.id not in ensemble.adapters:
            continue
        folder = weights / adapter.folder
        lora, decoder = ("adapter_model.safetensors", "decoder_head.safetensors")
        each = {name: (folder / name).stat().st_size for name in (lora, decoder)}
        files[adapter.id] = sum(p.stat().st_size for p in folder.iterdir() if p.is_file())
        for name, what, size in (
            ("adapter", "an adapter's folder, float32", files[adapter.id]),
            ("lora", "its LoRA", each[lora]),
            ("decoder", "its neck, decoder and head", each[decoder]),
        ):
            out.append(Size(id=f"disk/{name}/{adapter.id}", kind="disk", what=what, adapter=adapter.id, bytes=size))
    out.append(Size(id="disk/family", kind="disk", what="base and adapters together", bytes=sum(files.values())))
    held, distinct = ensemble.distinct_bytes()
    n = len(ensemble.adapters)
    out.append(Size(id="held/shared", kind="held memory", what=f"{n} adapters over one base", bytes=distinct))
    out.append(Size(id="held/apart", kind="held memory", what=f"{n} models with a base each (counted)", bytes=held))
    marks = in_a_child(family, weights, size_px, ensemble.device.kind)
    for name, what in (
        ("libraries", "a process that imported the libraries"),
        ("one", f"and loaded and ran {family.adapters[0].id}"),
        ("all", "and then loaded and ran all adapters"),
    ):
        mark = marks[name]
        out.append(
            Size(
                id=f"peak/{name}",
                kind="peak memory",
                what=what,
                bytes=mark,
                reason=None if mark is not None else "this system keeps no high-water mark that Python reads",
            )
        )
    return out


def memory_gib() -> int | None:
    """Main memory, rounded to GiB; None where the system does not tell."""
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
    except (AttributeError, ValueError, OSError):
        return None
