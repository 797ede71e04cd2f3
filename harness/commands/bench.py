"""harness bench run, compare, report, energy."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from harness.commands.console import declared, out, progress, short, typed
from harness.errors import RegistryError, StaleReportError
from harness.folders import usable
from harness.places import eval_folder, write_file, written_under

bench = typer.Typer(no_args_is_help=True, help="Measures what calls cost on this machine.")


@bench.callback()
def _about() -> None:
    """Measures what calls cost on this machine. Nothing else should run meanwhile."""


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
    from harness.records.cost import read_cost, write_cost

    unknown = {*(stages or [])} - {"load", "preprocess", "forward"}
    if unknown:
        raise RegistryError(f"--stage {', '.join(sorted(unknown))}: load, preprocess or forward")
    if bad := [b for b in batches or [] if b != "best" and not re.fullmatch("0*[1-9][0-9]*", b)]:
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
    if target.exists():
        try:
            read_cost(target)
        except RegistryError as err:
            raise RegistryError(f"{target}: is there and is no record of costs; name another file ({err})") from err
    if not math.isfinite(window_s):
        raise RegistryError(f"--window-s {window_s:g}: seconds, e.g. 10")
    usable(target.parent)
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


@bench.command()
def run(
    folder: Annotated[
        Path | None, typer.Option("--out", help="Folder for the record; eval/bench where left out.")
    ] = None,
    family: Annotated[str, typer.Option(help="Family under eval/families/.")] = "terramind-nyc",
    full: Annotated[
        bool, typer.Option("--full", help="The published topology, not a narrow one; minutes more.")
    ] = False,
    weights: Annotated[
        Path | None, typer.Option(help="With --full: folder of weights; random ones if left out.")
    ] = None,
    size: Annotated[int, typer.Option(help="Side of a chip in pixels, a multiple of 32.", min=64)] = 224,
    rounds: Annotated[int, typer.Option(help="Pairs of a row that runs a model, 3 or more.")] = 7,
    growth: Annotated[bool, typer.Option(help="Also how cost grows, sizes and peak memory.")] = True,
    only: Annotated[
        list[str] | None,
        typer.Option(
            help="chip read, store, preprocess, forward, switch, sweep or report; may repeat; all if left out."
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, rocm or mps.")] = "auto",
    root: Annotated[Path | None, typer.Option(help="Checkout with an eval/ folder.")] = None,
) -> None:
    """Time every step of a call against a plain reference, and write a record of this machine; then the page.

    Example: harness bench run
    """
    from harness.bench.series import Asked, run
    from harness.records.bench import GROUPS, write_bench

    if bad := set(only or ()) - set(GROUPS):
        raise RegistryError(f"--only {', '.join(sorted(bad))}: give {', '.join(GROUPS)}")
    if size % 32:
        raise RegistryError(f"--size {size}: give a multiple of 32")
    chosen = tuple(g for g in GROUPS if only is None or g in only)
    asked = Asked(
        family=family,
        full=full,
        weights=weights,
        size_px=size,
        rounds=rounds,
        growth=growth,
        only=chosen,
        device=device,
        root=root,
    )
    with progress() as step:
        record = run(asked, created=datetime.now(UTC).isoformat(timespec="seconds"), step=step)
    written = write_bench(record, folder or written_under(eval_folder(root)) / "bench")
    from harness.bench.page import ratio, reading, seconds
    from harness.bench.ratios import paired_ratio

    for row in record.rows:
        found = paired_ratio(row.reference_s, row.ours_s)
        middle = sorted(row.ours_s)[len(row.ours_s) // 2]
        line = f"{row.id}: ours {seconds(middle)}, reference / ours {ratio(found)}: {reading(found)}"
        out.print(line, markup=False)
    for line in record.absent:
        out.print(line, markup=False)
    if record.shared:
        out.print(f"not at rest: {record.shared}", markup=False)
    out.print(f"Record: {short(written)}", markup=False)
    if folder is None:
        _page(root)


@bench.command()
def compare(
    a: Annotated[Path, typer.Argument(help="Record before.")],
    b: Annotated[Path, typer.Argument(help="Record after.")],
    fail_on: Annotated[str, typer.Option(help="slower: exit 1 where a row of B is slower than noise allows.")] = "",
) -> None:
    """Say what changed from one record of the bench to another beyond noise.

    Judged is ours over its reference within each run; seconds stand beside it for one machine.

    Example: harness bench compare eval/bench/before.json eval/bench/after.json
    """
    from harness.bench.compare import compare
    from harness.bench.page import ratio
    from harness.records.bench import read_bench

    if fail_on not in ("", "slower"):
        raise RegistryError(f"--fail-on {fail_on}: slower is all there is")
    found = compare(read_bench(a), read_bench(b))
    for note in found.notes:
        out.print(f"note: {note}", markup=False)
    for change in found.changes:
        words = [f"{change.id}: {change.word}"]
        if change.relative is not None:
            words.append(f"B over A, against the reference {ratio(change.relative)}")
        if change.ours is not None:
            words.append(f"in seconds {ratio(change.ours)}")
        if change.reference is not None:
            words.append(f"the reference's seconds {ratio(change.reference)}")
        out.print("; ".join([*words, *([change.note] if change.note else [])]), markup=False)
    changed = found.of("slower", "faster", "larger", "smaller")
    lacking = found.of("only in A", "only in B", "not comparable")
    out.print(
        f"{len(changed)} of {len(found.changes)} changed beyond noise: {', '.join(c.id for c in changed) or 'none'}; "
        f"{len(lacking)} could not be compared",
        markup=False,
    )
    if fail_on and found.of("slower"):
        raise typer.Exit(1)


@bench.command()
def report(
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit 1 where the page on disk differs.")
    ] = False,
    root: Annotated[Path | None, typer.Option(help="Checkout with an eval/ folder.")] = None,
) -> None:
    """Render eval/reports/bench.md from the records under eval/bench/ and the claims.

    Example: harness bench report --check
    """
    _page(root, check=check)


def _page(root: Path | None, *, check: bool = False) -> None:
    from harness.bench.page import PAGE, render_bench
    from harness.claims.registry import read_registry

    folder = eval_folder(root)
    kept = written_under(folder)
    registry = read_registry([folder / "claims"])
    text = render_bench(kept / "bench", registry.claims, [r for c in registry.cards for r in c.relations])
    target = kept / "reports" / PAGE
    if not check:
        write_file(target, text)
    elif not target.is_file() or target.read_text(encoding="utf-8") != text:
        raise StaleReportError(f"{target}: differs from what its records render; `harness bench report` writes it anew")
    out.print(f"Report: {short(target)}", markup=False)
