"""What every command says things with: two consoles, a line of progress, short paths."""

from __future__ import annotations

import importlib.util
import re
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from harness.errors import RegistryError, StackError

INSTALL = "pip install 'eo-adapter-harness[models,live,twin]', or run the command through nox in a checkout"
"""What brings every package that some command needs; pip finds the name where the harness is installed."""

out = Console(soft_wrap=True, highlight=False)
err = Console(stderr=True, soft_wrap=True, highlight=False)


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """A line that says what is being done; a line each where nobody looks at a terminal."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task("starting")

        def step(text: str) -> None:
            progress.update(task, description=text)
            if not err.is_terminal:
                err.print(f"... {text}", markup=False)

        yield step


def short(path: Path) -> str:
    """A path from the working folder where it lies in it, else whole."""
    try:
        return str(path.resolve().relative_to(Path.cwd().resolve()))
    except ValueError:
        return str(path)


def declared(pairs: list[str]) -> dict[str, str]:
    """`S1RTC=dB` and the like as units by modality.

    Raises:
        RegistryError: Not of that form.
    """
    units = {}
    for pair in pairs:
        name, sign, unit = pair.partition("=")
        if not sign or not name or not unit:
            raise RegistryError(f"--declare {pair!r}: write MODALITY=UNIT, e.g. S1RTC=dB")
        units[name] = unit
    return units


def refuse(context: typer.Context, names: Iterable[str], goes_with: str) -> None:
    """Refuse options that were typed and would be ignored.

    Args:
        context: Of the running command.
        names: Its parameters, as its function names them.
        goes_with: What they need, as the message says it.

    Raises:
        RegistryError: One was typed, be it with its default.
        KeyError: The command has no such parameter.
    """
    options = {each.name: max(each.opts, key=len) for each in context.command.params}
    for name in names:
        spelled = options[name]
        source = context.get_parameter_source(name)
        if source is None or source.name != "DEFAULT":
            raise RegistryError(f"{spelled} goes with {goes_with}")


def not_installed(error: ModuleNotFoundError) -> StackError | None:
    """What to say where a package is missing; None where the module is our own, which is a defect."""
    name = (error.name or "harness").partition(".")[0]
    if name == "harness":
        return None
    return StackError(f"{name} is not installed; models, imagery, services and the twin come with extras: {INSTALL}")


def live_clients(command: str) -> None:
    """Nothing, if the clients of the live services are installed.

    Raises:
        RegistryError: One is missing.
    """
    wanted = ("pystac_client", "planetary_computer", "huggingface_hub", "pyarrow", "shapely", "pyproj", "rasterio")
    if missing := [name for name in wanted if importlib.util.find_spec(name) is None]:
        raise RegistryError(f"{command} needs {', '.join(missing)}, which come with extras; {INSTALL}")


def typed() -> str:
    """The command as typed, without what must not stand in a record: passwords and queries of addresses."""
    words = [re.sub(r"(?<=://)[^/@\s]+@", "***@", re.sub(r"(?<=\S)\?\S*", "?...", w)) for w in sys.argv[1:]]
    return shlex.join(
        ["harness", *(word if "://" in full else full for word, full in zip(words, sys.argv[1:], strict=True))]
    )
