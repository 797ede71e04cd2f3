"""The console script `harness`: its commands and how they end."""

from __future__ import annotations

import os
import sys
from importlib.metadata import version as installed_version
from typing import Annotated

import typer

from harness.commands.ablate import ablate
from harness.commands.audit import audit
from harness.commands.bench import bench
from harness.commands.bundle import bundle, verify
from harness.commands.chips import chips
from harness.commands.console import err, not_installed, out
from harness.commands.doctor import doctor
from harness.commands.equivalence import equivalence
from harness.commands.lock import lock
from harness.commands.report import report
from harness.commands.reproduce import reproduce
from harness.commands.think import think
from harness.commands.train import train
from harness.errors import HarnessError

app = typer.Typer(
    name="harness",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Audits what model cards of Earth-observation adapters claim, and renders gap reports.",
)
for command in (audit, lock, chips, reproduce, ablate, think, equivalence, train, report, bundle, verify, doctor):
    app.command()(command)
app.add_typer(bench, name="bench")


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


def main() -> None:
    """Entry point: runs the command, prints errors without a traceback."""
    debug = "--debug" in sys.argv[1:]
    try:
        app()
    except (HarnessError, ModuleNotFoundError) as error:
        said = not_installed(error) if isinstance(error, ModuleNotFoundError) else error
        if debug or said is None:
            raise
        err.print(f"error: {said}", markup=False, style=None)
        sys.exit(said.exit_code)
    except BrokenPipeError:
        # The reader of a pipe went away; point stdout elsewhere so that closing it stays quiet.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


if __name__ == "__main__":
    main()
