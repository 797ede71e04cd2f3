"""harness doctor."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from harness.commands.console import out, progress


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

        with progress() as step:
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
