"""Takes a bundle in: unpack, check, keep under eval/runs/, list."""

from __future__ import annotations

import shutil
import tempfile
from datetime import datetime
from pathlib import Path

from harness.bundle.archive import shown, unpack
from harness.bundle.check import Verified, check, read_bundled_run
from harness.errors import BundleError
from harness.places import eval_folder, write_file, written_under
from harness.records.bundle import FOLDER, NAME, Manifest, read_manifest
from harness.report.runs_table import PAGE, folder_files, render_runs, strays


def verify(path: Path, *, root: Path | None = None, now: datetime | None = None) -> Verified:
    """Check a bundle, or the folder of a contributed run, without keeping anything.

    Args:
        path: The file, or a folder with a manifest.
        root: Checkout with an eval/ folder: its claims, schemes, families and history.
        now: The time, with a zone, later than which no run can be; of this machine where left out.

    Raises:
        BundleError: It cannot be read as a bundle at all. What is wrong inside stands in the answer.
    """
    where = eval_folder(root)
    if path.is_dir():
        manifest = _manifest(path / NAME)
        run = read_bundled_run({"run.json": path / "run.json"} if (path / "run.json").is_file() else {})
        # What else lies in the folder is held against the manifest like an entry of the file.
        files = folder_files(manifest, run, path)
        files |= {f"{name} (on disk)" if name in files else name: p for name, p in strays(manifest, run, path).items()}
        return check(files, manifest, run, path, where, now)
    with tempfile.TemporaryDirectory(prefix="harness-verify-") as scratch:
        return _unpacked(path, Path(scratch), where, now)


def add(path: Path, *, root: Path | None = None) -> tuple[Verified, Path, Path]:
    """Check a bundle and keep it: eval/runs/contributed-<run id>/, then render the table of runs.

    Returns:
        What came of checking, the folder, the table.

    Raises:
        BundleError: It is refused, or another bundle of a run of that id is kept already.
        RegistryError: eval/ cannot be written.
    """
    where = eval_folder(root)
    runs = written_under(where) / "runs"
    try:
        runs.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=runs, prefix=".adding-") as scratch:
            done = _unpacked(path, Path(scratch), where)
            done.refuse()
            target = runs / f"{FOLDER}{done.run.id}"
            laid = Path(scratch) / "run"
            write_file(laid / NAME, done.manifest.text())
            if target.exists():
                if _manifest(target / NAME).sha256 != done.manifest.sha256:
                    raise BundleError(f"{target}: another bundle of this run is kept already; remove it first")
            else:
                laid.chmod(0o755)
                laid.rename(target)
    except OSError as err:
        raise BundleError(f"{runs}: cannot be written ({err.strerror or err}); nothing is kept") from err
    page = written_under(where) / "reports" / PAGE
    write_file(page, render_runs(runs))
    return done, target, page


def _manifest(path: Path) -> Manifest:
    try:
        return _whole(path.read_bytes())
    except OSError as err:
        raise BundleError(f"{path}: cannot be read ({err.strerror}); a contributed run has a manifest") from err


def _whole(raw: bytes) -> Manifest:
    try:
        return read_manifest(raw)
    except BundleError as err:  # it may repeat what a stranger wrote
        raise BundleError(shown(str(err))) from None


def _unpacked(path: Path, scratch: Path, where: Path, now: datetime | None = None) -> Verified:
    """Unpack, lay out as a run folder below `scratch`/run, check."""
    (raw := scratch / "raw").mkdir()
    files = unpack(path, raw)
    if NAME not in files:
        raise BundleError(f"{path}: no {NAME}: no bundle of `harness bundle`")
    manifest = _whole(files.pop(NAME).read_bytes())
    run = read_bundled_run(files)
    # A name that no record leads to is refused by the check; until then it lies where it can do nothing.
    wanted = folder_files(manifest, run, scratch / "run")
    laid: dict[str, Path] = {}
    for name, source in files.items():
        target = wanted.get(name, scratch / "stray" / source.name)
        if target.exists():
            raise BundleError(f"{path}: {name} and another file are one file on this disk; unpack it on another")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(source, target)
        laid[name] = target
    return check(laid, manifest, run, scratch / "run", where, now)
