"""harness equivalence."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.commands.console import out, progress, short


def equivalence(
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, rocm or mps: what is held against float32 on the CPU.")],
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "float32",
    merged: Annotated[bool, typer.Option("--merged", help="LoRA added into the weights.")] = False,
    family: Annotated[str, typer.Option(help="Family under eval/families/.")] = "terramind-nyc",
    weights: Annotated[str, typer.Option(help="Folder of weights, or `random`.")] = "random",
    tasks: Annotated[list[str] | None, typer.Option("--task", help="Adapter; may repeat; all where left out.")] = None,
    size: Annotated[int, typer.Option(help="Side of the chip in pixels, a multiple of 16.")] = 224,
    folder: Annotated[Path | None, typer.Option("--out", help="Folder for runs; eval/runs where left out.")] = None,
    root: Annotated[Path | None, typer.Option(help="Checkout with an eval/ folder.")] = None,
) -> None:
    """Hold a device or a precision against float32 on the CPU: same bytes, same logits, same maps?

    Exit 1 where level L2 (class maps and scores agree) does not hold for every adapter.

    Example: harness equivalence --device cuda --dtype bfloat16
    """
    from harness.compare import compare

    with progress() as step:
        path, holds = compare(
            family=family,
            weights=weights,
            tasks=tuple(tasks or ()),
            device=device,
            dtype=dtype,
            merged=merged,
            size_px=size,
            root=root,
            out=folder,
            step=step,
        )
    out.print("\n".join(path.read_text(encoding="utf-8").splitlines()[:12]), markup=False)
    out.print(f"Report: {short(path)}", markup=False)
    if not holds:
        raise typer.Exit(1)
