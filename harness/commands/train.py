"""harness train."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.commands.console import err, out, progress
from harness.errors import RegistryError


def train(
    config: Annotated[Path, typer.Argument(help="TerraTorch CLI YAML, or an adapter's own config.yaml.")],
    smoke: Annotated[
        bool, typer.Option("--smoke", help="Two steps on one made batch: what receives a gradient.")
    ] = False,
    export: Annotated[
        Path | None, typer.Option(help="Also write the result in the published format into this folder.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Let --export replace what is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The record as JSON.")] = False,
) -> None:
    """Say which tensors a training configuration would train, without data, weights or network.

    Example: harness train config.yaml --smoke
    """
    if not smoke:
        raise RegistryError("only --smoke is there: training itself stays with TerraTorch")
    from harness.models.training.export import config_of, export_adapter
    from harness.models.training.smoke import smoke as run
    from harness.models.training.smoke import words
    from harness.models.training.train import read_config

    with progress() as step:
        step("building the model and taking two steps")
        done = run(config)
    out.print(done.record.model_dump_json(indent=1) if as_json else "\n".join(words(done.record)), markup=False)
    if export is not None:
        export_adapter(done.task.model, export, config_of(read_config(config)), replace=replace)
        err.print(f"written: {export}", markup=False)
