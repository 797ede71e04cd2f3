"""The console script `harness`."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from harness.claims.audit import audit_view, read_view, view_of
from harness.claims.findings import Audit, Finding
from harness.claims.registry import read_registry
from harness.errors import HarnessError, RegistryError, UnscoredError

if TYPE_CHECKING:
    from harness.measure import Measured

app = typer.Typer(
    name="harness",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Audits what model cards of Earth-observation adapters claim, and renders gap reports.",
)
out = Console(soft_wrap=True, highlight=False)
err = Console(stderr=True, soft_wrap=True, highlight=False)


class FailOn(StrEnum):
    """What makes `audit` exit with 1."""

    never = "never"
    inconsistent = "inconsistent"
    medium = "medium"
    high = "high"


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Exit status: 0 done, 1 a finding you asked to fail on, 2 usage or input, 3 a source or device failed."""
    context.obj = {"debug": debug}
    if version:
        out.print(f"harness {installed_version('eo-adapter-harness')}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        raise typer.Exit


def _fails(finding: Finding, on: FailOn) -> bool:
    if on is FailOn.never or finding.status != "inconsistent":
        return False
    grades = {"inconsistent": ("low", "medium", "high"), "medium": ("medium", "high"), "high": ("high",)}
    return finding.grade in grades[on.value]


def _show(audit: Audit, everything: bool) -> None:
    marks = {"inconsistent": "[ ]", "undetermined": "[?]", "consistent": "[x]"}
    for finding in audit.findings:
        if finding.status == "consistent" and not everything:
            continue
        out.print(f"{marks[finding.status]} {finding.id}  ({finding.grade}, {finding.evidence})", markup=False)
        out.print(f"      claimed  {finding.claimed}", markup=False)
        out.print(f"      derived  {finding.derived}", markup=False)
        out.print(f"      why      {finding.why}", markup=False)
    count = {status: len(audit.of(status)) for status in ("consistent", "inconsistent", "undetermined")}
    out.print(
        f"{audit.claims} figures in {len(audit.cards)} documents, {len(audit.findings)} checks: "
        f"{count['consistent']} fit, {count['inconsistent']} do not, {count['undetermined']} cannot be decided."
    )
    if not audit.findings:
        out.print(
            "No check found its inputs: an identity needs at least two related figures, e.g. mIoU and all class IoUs."
        )


@app.command()
def audit(
    cards: Annotated[
        list[Path] | None, typer.Argument(help="Claims files or folders; the project's own where left out.")
    ] = None,
    from_model_card: Annotated[
        Path | None, typer.Option(help="Draft a claims file from a Hugging Face model card.", metavar="README.md")
    ] = None,
    draft: Annotated[
        Path | None,
        typer.Option("--out", help="With --from-model-card: write the draft here and audit it.", metavar="CARD.yaml"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Findings and counterfactuals as JSON.")] = False,
    fail_on: Annotated[
        FailOn, typer.Option(help="Exit 1 on inconsistent findings of at least this grade.")
    ] = FailOn.never,
    everything: Annotated[bool, typer.Option("--all", help="Show the checks that fit, too.")] = False,
    root: Annotated[Path | None, typer.Option(help="Checkout with an eval/ folder.")] = None,
) -> None:
    """Check published figures against each other. No network, no torch.

    Example: harness audit path/to/card.yaml --fail-on medium
    """
    from harness.places import eval_folder

    if from_model_card is not None:
        from harness.claims.modelcard import draft_from_model_card, draft_yaml
        from harness.places import write_file

        if cards:
            raise RegistryError("give either claims files or --from-model-card, not both")
        drafted = draft_from_model_card(from_model_card)
        text = draft_yaml(drafted)
        err.print(
            f"{from_model_card}: {len(drafted.claims)} figures read, {len(drafted.unread)} not read", markup=False
        )
        for item in drafted.unread:
            err.print(f"  line {item.line}: {item.text} ({item.why})", markup=False)
        if draft is None:
            out.print(text, markup=False, end="")
            return
        write_file(draft, text)
        err.print(f"written: {draft}", markup=False)
        cards = [draft]
    elif draft is not None:
        raise RegistryError("--out goes with --from-model-card")
    if cards:
        view = view_of(read_registry(cards))
        folder = eval_folder(root) if root else None
        if folder is not None:
            view = read_view(folder, cards)
    else:
        view = read_view(eval_folder(root))
    result = audit_view(view)
    if as_json:
        sys.stdout.write(json.dumps(result.model_dump(mode="json", by_alias=True), indent=1, ensure_ascii=False) + "\n")
    else:
        _show(result, everything)
    if any(_fails(f, fail_on) for f in result.findings):
        raise typer.Exit(1)


class Source(StrEnum):
    """Where `reproduce` takes chips from."""

    files = "files"


class Missing(StrEnum):
    """What to do with a decoder file that has no running statistics."""

    refuse = "refuse"
    initial = "initial"
    recomputed = "recomputed"


def _declared(pairs: list[str]) -> dict[str, str]:
    out = {}
    for pair in pairs:
        name, sign, unit = pair.partition("=")
        if not sign or not name or not unit:
            raise RegistryError(f"--declare {pair!r}: write MODALITY=UNIT, e.g. S1RTC=dB")
        out[name] = unit
    return out


@app.command()
def reproduce(
    family: Annotated[str, typer.Option(help="Family under eval/families/.")] = "terramind-nyc",
    source: Annotated[
        Source | None, typer.Option(help="Run the adapters on chips: `files` takes GeoTIFFs of your own.")
    ] = None,
    chips: Annotated[Path | None, typer.Option(help="With --source files: folder of chips.")] = None,
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
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit 1 if the reports on disk differ.")
    ] = False,
    folder: Annotated[
        Path | None, typer.Option("--out", help="Folder for the reports, or for the run with --source.")
    ] = None,
    root: Annotated[Path | None, typer.Option(help="Checkout with an eval/ folder.")] = None,
) -> None:
    """Audit a family's published figures and render its gap reports; with --source, run the adapters.

    Example: harness reproduce --source files --chips my-chips --weights my-weights --recipe pretraining
    """
    if source is None:
        options = (("--chips", chips), ("--weights", weights), ("--labels", labels), ("--task", tasks))
        given = [n for n, v in (*options, ("--declare", declare), ("--greedy", greedy)) if v]
        if given:
            raise RegistryError(f"{given[0]} goes with --source files")
        _reproduce_cards(family, check, folder, root)
        return
    if check:
        raise RegistryError("--check goes without --source: it compares the committed reports")
    if chips is None:
        raise RegistryError("--source files needs --chips FOLDER; docs/chips-folder.md shows the form")
    from harness.measure import Request, measure

    with _progress() as step:
        done = measure(
            Request(
                family=family,
                chips=chips,
                weights=Path(weights) if weights and weights != "random" else None,
                random_weights=weights == "random",
                recipe=recipe,
                tasks=tuple(tasks or ()),
                declared=_declared(declare or []),
                labels=tuple(labels or ()),
                device=device,
                dtype=dtype,
                batch_norm=bn.value,
                seed=seed,
                greedy=greedy,
                command=shlex.join(["harness", *sys.argv[1:]]),
                root=root,
                out=folder,
            ),
            step,
        )
    _tell_run(done, root)


def _reproduce_cards(family: str, check: bool, folder: Path | None, root: Path | None) -> None:
    from harness.run import reproduce as run

    with _progress() as step:
        outcome = run(family, root, folder, compare=check, step=step)
    done = "up to date" if check else "rendered"
    out.print(f"\nGap reports {done}:")
    for path in outcome.reports[:-1]:
        title = path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
        out.print(f"  {_short(path)}\n      {title}", markup=False)
    out.print(f"Overview: {_short(outcome.reports[-1])}", markup=False)
    a = outcome.audit
    out.print(
        f"{a.claims} published figures, {len(a.findings)} checks: {len(a.of('consistent'))} fit, "
        f"{len(a.of('inconsistent'))} do not, {len(a.of('undetermined'))} cannot be decided. "
        "Nothing was measured and nothing was downloaded."
    )


def _tell_run(done: Measured, root: Path | None) -> None:
    """Render the run's report, name it, and fail where a chip did."""
    path = _render_run(done.folder, root)
    run = done.run
    out.print(f"\nReport: {_short(path)}", markup=False)
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


def _render_run(folder: Path, root: Path | None) -> Path:
    from harness.claims.families import read_families
    from harness.claims.schemes import read_schemes
    from harness.places import eval_folder
    from harness.records.run import read_run
    from harness.report.run_report import write_report

    where = eval_folder(root)
    run = read_run(folder / "run.json")
    families = read_families(where / "families")
    if run.family not in families:
        raise RegistryError(f"{folder}: family {run.family!r} is not known here")
    write_report(folder, families[run.family], read_schemes(where / "schemes"))
    return folder / "report.md"


@app.command()
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

    with _progress() as step:
        written = run(
            chips,
            chip=chip,
            to=tuple(to.split(",")),
            given=tuple(given.split(",")),
            family=family,
            weights=weights,
            declared=_declared(declare or []),
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
        out.print(_short(path), markup=False)
    if weights == "random":
        out.print("Random weights: mechanics only.")


@app.command()
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

    with _progress() as step:
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
    out.print(f"Report: {_short(path)}", markup=False)
    if not holds:
        raise typer.Exit(1)


@app.command()
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

    with _progress() as step:
        step("building the model and taking two steps")
        done = run(config)
    out.print(done.record.model_dump_json(indent=1) if as_json else "\n".join(words(done.record)), markup=False)
    if export is not None:
        export_adapter(done.task.model, export, config_of(read_config(config)), replace=replace)
        err.print(f"written: {export}", markup=False)


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="Folder of a run, e.g. eval/runs/latest.")] = Path("eval/runs/latest"),
    root: Annotated[Path | None, typer.Option(help="Checkout with an eval/ folder.")] = None,
) -> None:
    """Render a run's report again from its record, without torch, byte for byte.

    Example: harness report eval/runs/latest
    """
    out.print(f"Report: {_short(_render_run(run, root))}", markup=False)


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """A line that says what is being done; a line each where nobody looks at a terminal."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task("starting")

        def step(text: str) -> None:
            progress.update(task, description=text)
            if not err.is_terminal:
                err.print(f"... {text}", markup=False)

        yield step


def _short(path: Path) -> str:
    try:
        return str(path.resolve().relative_to(Path.cwd().resolve()))
    except ValueError:
        return str(path)


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="The same as JSON.")] = False,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for the services, all together.", min=0.1)] = 5.0,
    backbones: Annotated[
        bool, typer.Option("--backbones", help="Build every backbone without weights; about a minute.")
    ] = False,
) -> None:
    """Say what is installed and reachable, and what each missing thing would enable.

    Example: harness doctor --timeout 2
    """
    if backbones:
        from harness.models import backbones as room

        with _progress() as step:
            found = room.survey(step=step)
        if as_json:
            sys.stdout.write(json.dumps(room.to_dict(found), indent=1) + "\n")
        else:
            out.print(room.render(found), markup=False)
        return
    from harness.doctor import diagnose, render, to_dict

    diagnosis = diagnose(timeout_s=timeout)
    if as_json:
        sys.stdout.write(json.dumps(to_dict(diagnosis), indent=1) + "\n")
    else:
        out.print(render(diagnosis), markup=False)


def main() -> None:
    """Entry point: runs the command, prints errors without a traceback."""
    debug = "--debug" in sys.argv[1:]
    try:
        app()
    except HarnessError as error:
        if debug:
            raise
        err.print(f"error: {error}", markup=False, style=None)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader of a pipe went away; point stdout elsewhere so that closing it stays quiet.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


if __name__ == "__main__":
    main()
