"""harness report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.commands.console import out, short
from harness.errors import RegistryError

if TYPE_CHECKING:
    from harness.score.operating import Costs


def report(
    run: Annotated[Path, typer.Argument(help="Folder of a run or a bridge, e.g. eval/runs/latest.")] = Path(
        "eval/runs/latest"
    ),
    root: Annotated[Path | None, typer.Option(help="Checkout with an eval/ folder.")] = None,
    fn_cost: Annotated[
        float | None,
        typer.Option("--fn-cost", help="Two classes: what a missed pixel costs you; 1 where only --fp-cost is given."),
    ] = None,
    fp_cost: Annotated[
        float | None,
        typer.Option("--fp-cost", help="Two classes: what a false pixel costs you; 1 where only --fn-cost is given."),
    ] = None,
) -> None:
    """Render a run's report again from its record, without torch, byte for byte.

    With costs it says at which threshold they are least; render without them to have the report as it was.
    A folder that `harness ablate` wrote has its page and figure rendered again.

    Example: harness report eval/runs/latest --fn-cost 5 --fp-cost 1
    """
    from harness.score.operating import Costs

    costs = None
    if fn_cost is not None or fp_cost is not None:
        try:
            costs = Costs(1.0 if fn_cost is None else fn_cost, 1.0 if fp_cost is None else fp_cost)
        except ValueError as err:
            raise RegistryError(f"--fn-cost, --fp-cost: {err}") from err
    if not (run / "run.json").exists():
        out.print(f"Bridge: {short(_bridge(run, costs))}", markup=False)
        return
    out.print(f"Report: {short(render_run(run, root, costs))}", markup=False)


def _bridge(folder: Path, costs: Costs | None) -> Path:
    """Render the page of a bridge into its folder; returns the page."""
    from harness.records.bridge import FILE
    from harness.report.bridge import write_bridge_report

    if not (folder / FILE).exists():
        raise RegistryError(
            f"{folder}: holds neither run.json, which `harness reproduce` writes, nor {FILE}, which `harness ablate` "
            "writes; name the folder of a run or a bridge"
        )
    if costs is not None:
        raise RegistryError(f"{folder}: holds a bridge; --fn-cost and --fp-cost go with a run")
    return write_bridge_report(folder)[-1]


def render_run(folder: Path, root: Path | None, costs: Costs | None = None) -> Path:
    """Render a run's report into its folder; returns the report.

    Args:
        folder: The run's.
        root: Checkout with an eval/ folder.
        costs: Of a wrong pixel, as somebody states them.

    Raises:
        RegistryError: No such run, or of a family that is not known here.
    """
    from harness.claims.audit import read_view
    from harness.places import eval_folder
    from harness.records.run import read_run
    from harness.report.run_report import write_report

    where = eval_folder(root)
    run = read_run(folder / "run.json")
    view = read_view(where)
    if run.family not in view.families:
        raise RegistryError(f"{folder}: family {run.family!r} is not known here")
    write_report(folder, view.families[run.family], view.schemes, view.rules, view.registry, costs)
    return folder / "report.md"
