"""harness think."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.commands.console import declared, out, progress, short


def think(
    chips: Annotated[Path, typer.Argument(help="Folder of chips, see docs/chips-folder.md.")],
    to: Annotated[str, typer.Option(help="Modalities to generate, e.g. LULC,NDVI.")] = "LULC,NDVI",
    given: Annotated[str, typer.Option("--from", help="Modalities that go in.")] = "S2L2A",
    chip: Annotated[str | None, typer.Option(help="Chip id; all where left out.")] = None,
    family: Annotated[str, typer.Option(help="Family under eval/families/.")] = "terramind-nyc",
    weights: Annotated[str, typer.Option(help="Folder of weights, or `random`: mechanics only.")] = "random",
    declare: Annotated[list[str] | None, typer.Option(help="Unit of a modality's pixels, e.g. S1RTC=dB.")] = None,
    labels: Annotated[Path | None, typer.Option(help="Label map, to score generated land cover.")] = None,
    seed: Annotated[int, typer.Option(help="For tokens and noise.")] = 0,
    steps: Annotated[int, typer.Option(help="Diffusion steps.", min=1)] = 10,
    greedy: Annotated[bool, typer.Option("--greedy", help="Most probable token instead of sampling.")] = False,
    seeds: Annotated[
        int, typer.Option(help="Also: spread of the thinking adapter over this many seeds, and its runtime.", min=0)
    ] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, rocm or mps.")] = "auto",
    folder: Annotated[Path, typer.Option("--out", help="Folder for pictures and records.")] = Path("think"),
    root: Annotated[Path | None, typer.Option(help="Checkout with an eval/ folder.")] = None,
) -> None:
    """Draw what the base makes of a chip in other modalities: input, generated, reference.

    Example: harness think my-chips --to LULC,NDVI --weights my-weights --out pictures
    """
    from harness.think import think as run

    with progress() as step:
        written = run(
            chips,
            chip=chip,
            to=tuple(to.split(",")),
            given=tuple(given.split(",")),
            family=family,
            weights=weights,
            declared=declared(declare or []),
            labels=labels,
            seed=seed,
            steps=steps,
            greedy=greedy,
            seeds=seeds,
            device=device,
            root=root,
            out=folder,
            step=step,
        )
    for path in written:
        out.print(short(path), markup=False)
    if weights == "random":
        out.print("Random weights: mechanics only.")
