"""Folders that runs and bridges are written to: a name of its own, the newest named, who made it of which commit."""

from __future__ import annotations

import getpass
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.errors import RegistryError
from harness.places import PACKAGED, write_file

Arrays = dict[str, NDArray[np.generic]]
"""Arrays of one chip by name."""


def usable(runs: Path) -> None:
    """Try that a folder can be made in `runs`, before hours of work depend on it; nothing of the trial stays.

    Raises:
        RegistryError: It cannot.
    """
    made: list[Path] = []
    try:
        for place in [*reversed(runs.absolute().parents), runs.absolute()]:
            if not place.is_dir():
                place.mkdir()
                made.append(place)
        Path(tempfile.mkdtemp(dir=runs, prefix=".trial-")).rmdir()
    except FileExistsError as err:
        raise RegistryError(f"{err.filename}: is no folder; name another with --out") from None
    except OSError as err:
        raise RegistryError(f"{runs}: cannot be written: {err.strerror or err}; name another with --out") from err
    finally:
        for place in reversed(made):
            with suppress(OSError):  # another process put something there meanwhile
                place.rmdir()


def reserved(runs: Path, name: str) -> Path:
    """A new folder of that name, with a number behind it where the name is taken.

    Raises:
        RegistryError: It cannot be made.
    """
    for number in range(1, 1000):
        target = runs / (name if number == 1 else f"{name}-{number}")
        try:
            target.mkdir(parents=True)
        except FileExistsError:
            if not runs.is_dir():
                raise RegistryError(f"{runs}: is no folder; name another with --out") from None
        except OSError as err:
            raise RegistryError(f"{runs}: cannot be written: {err.strerror or err}; name another with --out") from err
        else:
            return target
    raise RegistryError(f"{runs}: {name} is taken a thousand times")


def write_arrays(folder: Path, arrays: Mapping[str, Arrays]) -> None:
    """One compressed file a chip; each whole or not there.

    Raises:
        RegistryError: The disk refuses; the run's whole folder, which holds `folder`, is then taken away.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, held in arrays.items():
            part = folder / f".{name}.part.npz"
            try:
                np.savez_compressed(part, **held)  # type: ignore[arg-type]
                part.replace(folder / f"{name}.npz")
            finally:
                part.unlink(missing_ok=True)
    except OSError as err:
        shutil.rmtree(folder.parent, ignore_errors=True)
        raise RegistryError(
            f"{folder.parent}: the run cannot be written ({err.strerror or err}); nothing of it stays; free some space "
            "or name another folder with --out"
        ) from err


def write_locks(folder: Path, held: Mapping[str, bytes], read: Mapping[str, str]) -> None:
    """Keep the locks that were read, as they were: the file that they stand in grows with the next AOI.

    Args:
        folder: locks/ of the run.
        held: Content by name.
        read: sha256 by name, as the record has them; a lock that another process wrote meanwhile is not kept.
    """
    for name, raw in held.items():
        if hashlib.sha256(raw).hexdigest() == read.get(name):
            write_file(folder / name, raw)


def latest(target: Path) -> None:
    """Point `latest` beside a run at it."""
    link = target.parent / "latest"
    fresh = target.parent / f".latest-{target.name}"
    try:
        fresh.symlink_to(target.name, target_is_directory=True)
        fresh.replace(link)
    except OSError:  # a file system without links: the newest run is found by its date
        fresh.unlink(missing_ok=True)


def who() -> str:
    """Who runs: HARNESS_WHO, else the user of the machine, else `unknown`."""
    try:
        return os.environ.get("HARNESS_WHO") or getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def commit_of(folder: Path) -> tuple[str, bool]:
    """Commit of the checkout that holds eval/, and whether it was changed; `unknown` outside a checkout.

    A wheel may be installed in an environment inside somebody's repository, whose commit says nothing of the harness.
    """
    if folder == PACKAGED:
        return "unknown", False

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(  # noqa: S603 (fixed words)
                ["git", "-C", str(folder), *words],  # noqa: S607
                capture_output=True,
                text=True,
                timeout=20,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    return (commit, bool(git("status", "--porcelain"))) if commit else ("unknown", False)
