"""harness bench energy."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from harness.commands.console import declared, out, progress, short, typed
from harness.errors import RegistryError

bench = typer.Typer(no_args_is_help=True, help="Measures what calls cost on this machine, by docs/energy.md.")


@bench.callback()
def _about() -> None:
    """Measures what calls cost on this machine, by docs/energy.md. Nothing else should run meanwhile."""


@bench.command()
def energy(
    target: Annotated[Path, typer.Option("--out", help="JSON file to write.")],
    family: Annotated[str, typer.Option(help="Family under eval/families/.")] = "terramind-nyc",
    weights: Annotated[str, typer.Option(help="Folder of weights, or `random`.")] = "random",
    tasks: Annotated[list[str] | None, typer.Option("--task", help="Adapter; may repeat; all where left out.")] = None,
    batches: Annotated[
        list[str] | None,
        typer.Option("--batch", help="Chips in a call, or `best`; may repeat; 1 and best if left out."),
    ] = None,
    stages: Annotated[
        list[str] | None, typer.Option("--stage", help="load, preprocess or forward; may repeat; forward if left out.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, rocm or mps.")] = "auto",
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "float32",
    meter: Annotated[str, typer.Option(help="auto, none, nvidia, amd, rapl or apple.")] = "auto",
    windows: Annotated[int, typer.Option(help="Windows; the protocol asks for 5.", min=1)] = 5,
    window_s: Annotated[float, typer.Option(help="Shortest window; the protocol asks for 10 s.", min=0.0)] = 10.0,
    chips: Annotated[Path | None, typer.Option(help="Folder of chips; made-up inputs where left out.")] = None,
    declare: Annotated[list[str] | None, typer.Option(help="Unit of a modality of --chips, as MODALITY=UNIT.")] = None,
    recipe: Annotated[str, typer.Option(help="Recipe for --chips.")] = "pretraining",
    size: Annotated[int, typer.Option(help="Side of made-up inputs in pixels.")] = 224,
    country: Annotated[
        str | None, typer.Option(help="ISO 3166 code of three letters: also models the run's kgCO2e.")
    ] = None,
    region: Annotated[str | None, typer.Option(help="State or province of it, in small letters.")] = None,
    root: Annotated[Path | None, typer.Option(help="Checkout with an eval/ folder.")] = None,
) -> None:
    """Measure seconds and joules of an adapter's calls; joules where this machine has a counter that can be read.

    Example: harness bench energy --weights random --task buildings_nyc --batch 1 --out eval/bench/my-machine.json
    """
    from harness.cost.series import Asked, run
    from harness.records.cost import write_cost

    unknown = {*(stages or [])} - {"load", "preprocess", "forward"}
    if unknown:
        raise RegistryError(f"--stage {', '.join(sorted(unknown))}: load, preprocess or forward")
    if bad := [b for b in batches or [] if b != "best" and not (b.isdigit() and int(b))]:
        raise RegistryError(f"--batch {', '.join(bad)}: a number from 1 on, or best")
    asked = Asked(
        family=family,
        weights=weights,
        tasks=tuple(tasks or ()),
        batches=tuple(batches or ("1", "best")),
        stages=tuple(stages or ("forward",)),
        device=device,
        dtype=dtype,
        meter=meter,
        windows=windows,
        window_s=window_s,
        chips=chips,
        declared=declared(declare or []),
        recipe=recipe,
        size_px=size,
        country=country,
        region=region,
        root=root,
    )
    if target.is_dir():
        raise RegistryError(f"{target}: is a folder; name a file, e.g. {target / 'my-machine.json'}")
    with progress() as step:
        record = run(asked, command=typed(), created=datetime.now(UTC).isoformat(timespec="seconds"), step=step)
    write_cost(record, target)
    for call in record.calls:
        median, gross = call.median, call.energy.gross
        joules = (
            f"{gross.value:.4g} J a chip gross" if gross.value is not None else f"joules not measured: {gross.reason}"
        )
        out.print(
            f"{call.adapter}, {call.stage}, batch {call.batch}, {call.device} {call.dtype}, {call.weights} weights: "
            f"median {median.value:.4g} s, {call.throughput.value:.4g} chips/s; {joules}",
            markup=False,
        )
        for line in call.shortfalls:
            out.print(f"  no evidence: {line}", markup=False)
        if not call.warm_up_reached:
            out.print(f"  had not settled: warm-up ended at a variation of {call.warm_up_variation:.1%}", markup=False)
    if record.shared:
        out.print(f"not at rest: {record.shared}", markup=False)
    for modelled in record.modelled:
        co2 = "" if modelled.kg_co2e is None else f", {modelled.kg_co2e:.3g} kg CO2e ({modelled.region})"
        out.print(f"modelled, not measured: {modelled.value_j:.4g} J{co2}: {modelled.model}", markup=False)
    if record.not_modelled:
        out.print(f"no kgCO2e: {record.not_modelled}", markup=False)
    out.print(f"Record: {short(target)}", markup=False)
