"""harness reproduce."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.commands.console import declared, err, live_clients, out, progress, refuse, short, typed
from harness.commands.lock import Catalogue
from harness.commands.report import render_run
from harness.errors import RegistryError, SourceError, UnscoredError

if TYPE_CHECKING:
    from harness.measure import Measured, Request


class Source(StrEnum):
    """Where `reproduce` takes chips from."""

    files = "files"
    lock = "lock"


class Missing(StrEnum):
    """What to do with a decoder file that has no running statistics."""

    refuse = "refuse"
    initial = "initial"
    recomputed = "recomputed"


def reproduce(
    context: typer.Context,
    family: Annotated[str, typer.Option(help="Family under eval/families/.")] = "terramind-nyc",
    source: Annotated[
        Source | None,
        typer.Option(help="Run the adapters: on `files` of your own, or on the scenes of a `lock`."),
    ] = None,
    live: Annotated[
        bool, typer.Option("--live", help="Weights from the Hub, imagery and labels from the live services, then run.")
    ] = False,
    require_live: Annotated[
        bool, typer.Option("--require-live", help="With --live: exit 3 where a service does not answer.")
    ] = False,
    chips: Annotated[Path | None, typer.Option(help="With --source files: folder of chips.")] = None,
    locks: Annotated[
        list[Path] | None, typer.Option("--lock", help="With --source lock: lock file; may repeat.")
    ] = None,
    aois: Annotated[
        list[str] | None, typer.Option("--aoi", help="With a lock or --live: AOI id; may repeat; all where left out.")
    ] = None,
    scheme: Annotated[
        str | None, typer.Option(help="With a lock or --live: scheme in which land cover is scored; training-code.")
    ] = None,
    footprints: Annotated[
        str | None, typer.Option(help="With a lock or --live: rule between footprints and pixels; stood.")
    ] = None,
    catalogue: Annotated[Catalogue, typer.Option(help="With --live: where to search.")] = Catalogue.planetary_computer,
    address: Annotated[str | None, typer.Option(help="With --live: another address of that catalogue.")] = None,
    weights: Annotated[
        str | None, typer.Option(help="Folder of weights in the published format, or `random`: mechanics only.")
    ] = None,
    recipe: Annotated[str, typer.Option(help="Recipe under eval/recipes/.")] = "training-code",
    tasks: Annotated[list[str] | None, typer.Option("--task", help="Adapter; may repeat; all where left out.")] = None,
    declare: Annotated[
        list[str] | None, typer.Option(help="Unit of a modality's pixels, e.g. S1RTC=dB; may repeat.")
    ] = None,
    labels: Annotated[
        list[Path] | None, typer.Option(help="Label map as under eval/labels/; may repeat, one a scheme.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, rocm or mps.")] = "auto",
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "float32",
    bn: Annotated[Missing, typer.Option(help="Where a decoder file has no running statistics.")] = Missing.refuse,
    seed: Annotated[int, typer.Option(help="For sampled tokens and random weights.")] = 0,
    greedy: Annotated[bool, typer.Option("--greedy", help="Most probable token instead of sampling.")] = False,
    generated: Annotated[
        bool,
        typer.Option("--generated", help="With --source or --live: land cover that the base generates, as a baseline."),
    ] = False,
    twin: Annotated[
        bool, typer.Option("--twin", help="Also run the whole chain on the simulated city, whose truth is known.")
    ] = False,
    scenes: Annotated[
        int, typer.Option("--twin-scenes", help="With --twin: scenes besides the card's six, up to 48.", min=1, max=48)
    ] = 12,
    twin_seed: Annotated[
        int, typer.Option("--twin-seed", help="With --twin: seed from which planted faults are drawn.", min=0)
    ] = 0,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit 1 if the reports on disk differ.")
    ] = False,
    folder: Annotated[
        Path | None, typer.Option("--out", help="Folder for the reports, or for the run with --source or --live.")
    ] = None,
    root: Annotated[Path | None, typer.Option(help="Checkout with an eval/ folder.")] = None,
) -> None:
    """Audit a family's published figures and render its gap reports; with --source or --live, run the adapters.

    Example: harness reproduce --source files --chips my-chips --weights my-weights --recipe pretraining
    """
    of_run = ("weights", "recipe", "tasks", "device", "dtype", "bn", "seed", "greedy")
    of_files = ("chips", "labels", "declare")
    of_lock = ("aois", "scheme", "footprints")
    of_live = ("require_live", "catalogue", "address")
    if live and source is not None:
        raise RegistryError("--live makes its own locks; give either --live or --source")
    if source is None and not live:
        refuse(context, of_run, "--source or --live")
        refuse(context, ("generated",), "--source or --live")
        refuse(context, of_files, "--source files")
        refuse(context, (*of_lock, "locks"), "--source lock")
        refuse(context, of_live, "--live")
        if check and twin:
            raise RegistryError("--check writes nothing; run --twin without it")
        if not twin:
            refuse(context, ("scenes", "twin_seed"), "--twin")
        _reproduce_cards(family, check, folder, root)
        if twin:
            _twin(scenes, twin_seed, folder, root)
        return
    refuse(context, ("twin", "scenes", "twin_seed"), "neither --source nor --live")
    if check:
        raise RegistryError("--check goes without --source and --live: it compares the committed reports")
    if source is Source.files:
        refuse(context, (*of_lock, "locks"), "--source lock")
        if chips is None:
            raise RegistryError("--source files needs --chips FOLDER; docs/chips-folder.md shows the form")
    else:
        refuse(context, of_files, "--source files")
        live_clients("reproduce --live" if live else "reproduce --source lock")
    if source is Source.lock and not locks:
        raise RegistryError("--source lock needs --lock FILE; `harness lock` writes one")
    if not live:
        refuse(context, of_live, "--live")
    from harness.measure import Request, measure

    request = Request(
        family=family,
        chips=chips,
        locks=tuple(locks or ()),
        aois=tuple(dict.fromkeys(aois or ())),
        scheme=scheme,
        footprints=footprints or "stood",
        weights=Path(weights) if weights and weights != "random" else None,
        random_weights=weights == "random",
        recipe=recipe,
        tasks=tuple(tasks or ()),
        declared=declared(declare or []),
        labels=tuple(labels or ()),
        device=device,
        dtype=dtype,
        batch_norm=bn.value,
        seed=seed,
        greedy=greedy,
        generated=generated,
        command=typed(),
        root=root,
        out=folder,
    )
    if live:
        _live(request, catalogue, address, require_live)
        return
    with progress() as step:
        done = measure(request, step)
    _tell_run(done, root)


def _twin(scenes: int, seed: int, folder: Path | None, root: Path | None) -> None:
    """Run the self-check, write its page, and fail where it does."""
    live_clients("reproduce --twin")
    from harness.places import eval_folder, write_file, written_under
    from harness.report.twin import FULL, NAME, page
    from harness.selfcheck import ALL, DRAWS, MANY, SHIFT, selfcheck
    from harness.selfcheck import refuse as failed

    with progress() as step:
        done = selfcheck(step, scenes, draws=MANY if scenes >= ALL else DRAWS, seed=seed)
    path = (folder or written_under(eval_folder(root)) / "reports") / (FULL if scenes >= ALL else NAME)
    for name, drawn in done.figures.items():
        write_file(path.parent / "figures" / f"{path.stem}-{name}", drawn)
    write_file(
        path,
        page(
            done.same,
            done.other,
            done.planted,
            [f"{path.stem}-{name}" for name in done.figures],
            done.requests,
            done.outside,
            done.problems,
            SHIFT,
        ),
    )
    held = sum(row.verdict == "reproduced" for row in done.same)
    out.print(
        f"Twin self-check: {short(path)}: {held} of {len(done.same)} true claims hold on the card's scenes, "
        f"{sum(row.verdict == 'reproduced' for row in done.other)} of {len(done.other)} on others",
        markup=False,
    )
    failed(done)


def _live(request: Request, catalogue: Catalogue, address: str | None, required: bool) -> None:
    """Run live, render the family's reports with what came of it, and say what was proved."""
    from harness.live import live as run
    from harness.locking import Sources
    from harness.run import reproduce as cards

    with progress() as step:
        done = run(request, Sources(catalogue.value, address), step=step)
        if request.out is None:
            cards(request.family, request.root, unreachable=done.words(), step=step)
    for line in done.proved:
        out.print(f"seen working: {line}", markup=False)
    for service, why in done.unreachable.items():
        err.print(f"not measured: {service} unreachable: {why}", markup=False, style=None)
    if done.measured is not None:
        _tell_run(done.measured, request.root)
    elif done.failed:
        for aoi, why in done.failed.items():
            err.print(f"unscored: {aoi}: {why}", markup=False, style=None)
        raise UnscoredError(f"none of {len(done.failed)} AOIs could be locked; nothing was run")
    elif required:
        raise SourceError(f"{done.words()}; nothing was measured")


def _reproduce_cards(family: str, check: bool, folder: Path | None, root: Path | None) -> None:
    from harness.run import reproduce as run

    with progress() as step:
        outcome = run(family, root, folder, compare=check, step=step)
    done = "up to date" if check else "rendered"
    out.print(f"\nGap reports {done}:")
    for path in outcome.reports[:-1]:
        title = path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
        out.print(f"  {short(path)}\n      {title}", markup=False)
    out.print(f"Overview: {short(outcome.reports[-1])}", markup=False)
    a = outcome.audit
    out.print(
        f"{a.claims} published figures, {len(a.findings)} checks: {len(a.of('consistent'))} fit, "
        f"{len(a.of('inconsistent'))} do not, {len(a.of('undetermined'))} cannot be decided. "
        "Nothing was measured and nothing was downloaded."
    )


def _tell_run(done: Measured, root: Path | None) -> None:
    """Render the run's report, name it, and fail where a chip did."""
    path = render_run(done.folder, root)
    run = done.run
    out.print(f"\nReport: {short(path)}", markup=False)
    if run.weights == "random":
        out.print("Random weights: this run shows mechanics only, and nothing about the published adapters.")
    for each in run.adapters:
        ran = [c for c in each.chips if c.probabilities_sha256]
        scored = sum(c.scored for c in each.chips)
        out.print(f"  {each.adapter}: {len(ran)} of {len(each.chips)} chips ran, {scored} scored", markup=False)
    if done.unscored:
        for chip in done.unscored:
            err.print(f"unscored: {chip.chip}: {chip.reason}", markup=False, style=None)
        raise UnscoredError(f"{len(done.unscored)} of {sum(len(a.chips) for a in run.adapters)} did not run; see above")
