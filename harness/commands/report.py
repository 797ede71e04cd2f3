"""harness report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.commands.console import out, short
from harness.errors import RegistryError


def report(
    run: Annotated[Path, typer.Argument(help="Folder of a run, e.g. eval/runs/latest.")] = Path("eval/runs/latest"),
    root: Annotated[Path | None, typer.Option(help="Checkout with an eval/ folder.")] = None,
) -> None:
    """Render a run's report again from its record, without torch, byte for byte.

    Example: harness report eval/runs/latest
    """
    out.print(f"Report: {short(render_run(run, root))}", markup=False)


def render_run(folder: Path, root: Path | None) -> Path:
    """Render a run's report into its folder; returns the report.

    Raises:
        RegistryError: No such run, or of a family that is not known here.
    """
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
