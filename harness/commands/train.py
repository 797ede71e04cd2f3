"""harness train."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.commands.console import err, live_clients, out, progress, refuse, short
from harness.errors import RegistryError


def train(
    context: typer.Context,
    config: Annotated[Path, typer.Argument(help="A training as YAML; with --smoke a TerraTorch CLI YAML.")],
    smoke: Annotated[
        bool, typer.Option("--smoke", help="Two steps on one made batch: what receives a gradient.")
    ] = False,
    export: Annotated[
        Path | None, typer.Option(help="With --smoke: also write the result in the published format into this folder.")
    ] = None,
    chips: Annotated[Path | None, typer.Option(help="Folder of labelled chips, see docs/chips-folder.md.")] = None,
    labels: Annotated[list[Path] | None, typer.Option(help="With --chips: label map; may repeat.")] = None,
    locks: Annotated[list[Path] | None, typer.Option("--lock", help="Lock of the training AOIs; may repeat.")] = None,
    held_out: Annotated[
        list[Path] | None, typer.Option(help="Lock of the test AOIs, written down and never trained on; may repeat.")
    ] = None,
    footprints: Annotated[str, typer.Option(help="With --lock: rule between footprints and pixels.")] = "stood",
    folder: Annotated[
        Path | None, typer.Option("--out", help="Folder of the family's weights: where the base is, or is to be.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace what is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The record as JSON.")] = False,
    root: Annotated[Path | None, typer.Option(help="Checkout with an eval/ folder.")] = None,
) -> None:
    """Train a narrow base or an adapter; or, with --smoke, say which tensors a configuration would train.

    Training is made for models that two cores can train. A published adapter's full size belongs to TerraTorch.

    Example: harness train config.yaml --smoke
    """
    if not smoke:
        refuse(context, ("export",), "--smoke; a training writes to --out")
    if not chips:
        refuse(context, ("labels",), "--chips; locks bring their labels")
    if not (locks or held_out):
        refuse(context, ("footprints",), "--lock")
    if not smoke:
        _fit(config, folder, chips, labels or [], locks or [], held_out or [], footprints, replace, as_json, root)
        return
    refuse(context, ("chips", "labels", "locks", "held_out", "footprints", "folder", "root"), "a training, not --smoke")
    if export is None:
        refuse(context, ("replace",), "--out or --export")
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


def _fit(
    config: Path,
    folder: Path | None,
    chips: Path | None,
    labels: list[Path],
    locks: list[Path],
    held_out: list[Path],
    footprints: str,
    replace: bool,
    as_json: bool,
    root: Path | None,
) -> None:
    if folder is None:
        raise RegistryError("name the folder of the family's weights with --out, or say --smoke")
    live_clients("harness train")
    from harness.teach import teach

    with progress() as step:
        done = teach(
            config,
            folder,
            chips=chips,
            labels=labels,
            locks=locks,
            held_out=held_out,
            footprints=footprints,
            replaced=replace,
            root=root,
            step=step,
        )
    if as_json:
        out.print(done.model_dump_json(indent=1), markup=False)
        return
    out.print(
        f"{done.config.adapter}: {done.config.steps} steps on {len(done.chips)} chips, loss {done.losses[0]:.3f} -> "
        f"{done.losses[-1]:.3f}, {done.duration_s:.0f} s",
        markup=False,
    )
    for each in done.files:
        out.print(f"  {short(folder / each.name)}  {each.size_bytes} bytes", markup=False)
