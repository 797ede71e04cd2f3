"""Where things lie on disk, and how a file is written: whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from harness.errors import RegistryError

PACKAGED = Path(__file__).resolve().parent / "data"
"""What a wheel carries of eval/; a checkout has no such folder."""


def eval_folder(root: Path | None = None) -> Path:
    """The eval/ folder: of `root`, else of the working folder, else of the checkout, else the packaged one.

    Raises:
        RegistryError: None of them holds claims.
    """
    places = [root / "eval"] if root else [Path.cwd() / "eval", PACKAGED.parents[1] / "eval", PACKAGED]
    for place in places:
        if any((place / "claims").glob("*.yaml")):
            return place
    raise RegistryError(f"no claims under {', '.join(str(p / 'claims') for p in places)}; name a checkout with --root")


def written_under(folder: Path) -> Path:
    """Where runs and reports go: into the eval folder itself, or eval/ of the working folder for the packaged one."""
    return Path.cwd() / "eval" if folder == PACKAGED else folder


def cache_folder() -> Path:
    """Where downloads and random weights lie: HARNESS_CACHE, else a folder in the user's cache."""
    given = os.environ.get("HARNESS_CACHE")
    if given:
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "eo-adapter-harness"


def write_file(path: Path, content: str | bytes) -> None:
    """Write a file in one step: a reader sees the old content or the new, never a part.

    Raises:
        RegistryError: The folder cannot be written.
    """
    raw = content.encode() if isinstance(content, str) else content
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as err:
        raise RegistryError(f"{path}: cannot be written ({err.strerror})") from err
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(raw)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except OSError as err:
        Path(temporary).unlink(missing_ok=True)
        raise RegistryError(f"{path}: cannot be written ({err.strerror}); nothing half-written stays") from err
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
