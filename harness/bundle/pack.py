"""Packs a run into one file for somebody else, and checks it as the receiver will."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from harness.bundle.archive import file_hash, read_json, write_archive
from harness.bundle.check import lock_name, read_record, registry_hashes
from harness.bundle.leaks import cleaned, leak
from harness.bundle.receive import verify
from harness.errors import BundleError
from harness.folders import commit_of
from harness.places import eval_folder, written_under
from harness.records import RunRecord
from harness.records.bridge import FILE as BRIDGE
from harness.records.bundle import NAME, Manifest, PackedFile, read_manifest
from harness.records.run import read_run
from harness.report.run_tables import stem
from harness.report.runs_table import arrays_name


@dataclass(frozen=True)
class Packed:
    """What came of packing."""

    path: Path
    """The file."""
    sha256: str
    """Of it."""
    manifest: Manifest
    """What it holds."""
    said: list[str] = field(default_factory=list)
    """What the receiver will be told."""
    unchecked: list[str] = field(default_factory=list)
    """What the receiver cannot check."""


def bundle(
    folder: Path,
    path: Path | None = None,
    *,
    who: str | None = None,
    machine: str = "",
    locks: Sequence[Path] = (),
    riders: Sequence[Path] = (),
    arrays: bool = True,
    root: Path | None = None,
) -> Packed:
    """Pack a run. The same run gives the same bytes.

    Paths, passwords and queries of addresses are taken out of its texts, and the manifest says where; what looks
    like a token ends it. The file is checked as the receiver will check it, and is not written where that fails.

    Args:
        folder: Of the run.
        path: Of the bundle; `<run id>.zip` in the working folder where left out.
        who: Name that is published with the run; the record's where left out.
        machine: The machine in a few words.
        locks: Lock files that the run read; those kept in the run's folder or under aois/locks/ where left out.
        riders: Comparisons (`harness equivalence`) and bench files that ride along: files or folders.
        arrays: Whether maps and probabilities go with it; without them nobody can count the matrices again.
        root: Checkout with an eval/ folder.

    Raises:
        RegistryError: No such run.
        BundleError: The file to write is one that is no bundle, or lies in the run's folder; a bridge and no run, a
            lock is missing or another one, a text holds a secret, a rider is none, or the run does not hold against
            itself.
    """
    folder = folder.resolve()
    where = eval_folder(root)
    if (folder / BRIDGE).is_file() and not (folder / "run.json").is_file():
        raise BundleError(
            f"{folder}: holds a bridge ({BRIDGE}), and bundles hold runs, not bridges; name the folder of a run, "
            "which `harness reproduce` writes"
        )
    run = read_run(folder / "run.json")
    target = _target(path or Path(f"{run.id}.zip"), run.id, folder)
    raw = (folder / "run.json").read_bytes()
    redacted: list[str] = []
    held = read_json(raw, str(folder / "run.json"))
    if who is not None and who != run.who:
        held["who"] = who
        redacted.append("run.json: who")
    files: dict[str, bytes | Path] = {"run.json": _fit(held, raw, "run.json", redacted)}
    for name, digest in run.locks.items():
        files[lock_name(name)] = _lock(
            name,
            digest,
            [
                *locks,
                folder / "locks" / name,
                folder / "locks" / stem(name),
                written_under(where).parent / "aois" / "locks" / name,
            ],
        )
    for rider in riders:
        for name, source in _rider(rider).items():
            if name in files:
                raise BundleError(f"{source}: two files of one name ride along; rename one")
            content = source.read_bytes()
            files[name] = _fit(read_json(content, str(source)), content, name, redacted)
    if arrays:
        for chip in {c.chip for each in run.adapters for c in each.chips}:
            source = folder / "arrays" / f"{chip}.npz"
            if source.is_file():
                files[arrays_name(chip)] = source
    sent = read_record(_bytes(files["run.json"]), RunRecord, "run.json")
    commit, dirty = commit_of(where)
    manifest = Manifest(
        harness=_version(),
        commit=commit,
        dirty=dirty,
        run=run.id,
        who=sent.who,
        machine=machine,
        redacted=sorted(redacted),
        registry=registry_hashes(where, run.family, run.recipe),
        files={name: _packed(held) for name, held in sorted(files.items())},
    ).sealed()
    with tempfile.TemporaryDirectory(prefix="harness-bundle-") as scratch:
        trial = Path(scratch) / "trial.zip"
        write_archive(trial, {**files, NAME: manifest.text().encode()})
        seen = verify(trial, root=root)
        if seen.wrong:
            more = "".join(f"\n  - {each}" for each in seen.wrong[:20])
            raise BundleError(f"{folder}: not packed; the receiver would refuse it:{more}")
        write_archive(target, {**files, NAME: manifest.text().encode()})
    return Packed(target, file_hash(target), manifest, seen.said, seen.unchecked)


def _target(path: Path, run: str, folder: Path) -> Path:
    """The file to write.

    Raises:
        BundleError: It would take the place of something that is no bundle, or lie among the run's own files.
    """
    target = path / f"{run}.zip" if path.is_dir() else path
    if target.resolve().is_relative_to(folder):
        raise BundleError(f"{target}: lies in the folder of the run, where no bundle belongs; name another with --out")
    if not target.exists() and not target.is_symlink():
        return target
    try:
        if not target.is_file():
            raise ValueError("no file")
        with zipfile.ZipFile(target) as held, held.open(NAME) as raw:
            read_manifest(raw.read())
    except (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, BundleError):
        raise BundleError(
            f"{target}: is there already and is no bundle; nothing is overwritten: name another with --out"
        ) from None
    return target


def _fit(held: Any, raw: bytes, name: str, redacted: list[str]) -> bytes:
    """A JSON file fit to leave the machine: as it is, or with what must not leave taken out.

    Raises:
        BundleError: It holds a secret.
    """
    before = json.dumps(held)
    fit = cleaned(held, str(Path.home()), lambda place: redacted.append(f"{name}: {place}"))
    given = leak(fit, environment=os.environ)
    if given is not None:
        raise BundleError(
            f"{name}: {given}; nothing is packed. Take it out of what you typed, run again, and revoke it"
        )
    if json.dumps(fit) == before and json.loads(raw) == held:
        return raw
    return (json.dumps(fit, indent=1, ensure_ascii=False) + "\n").encode()


def _lock(name: str, digest: str, places: Sequence[Path]) -> bytes:
    """The lock with that hash.

    Raises:
        BundleError: None of these places has it, or it holds what must not leave the machine.
    """
    seen = [place for place in places if place.is_file()]
    for place in seen:
        raw = place.read_bytes()
        if hashlib.sha256(raw).hexdigest() == digest:
            given = leak(read_json(raw, name), addresses=True, environment=os.environ)
            if given is not None:
                raise BundleError(f"{place}: {given}; a lock cannot be changed without another hash: lock again")
            return raw
    why = "has changed since the run" if seen else "is not in the run's folder and not under aois/locks/"
    raise BundleError(f"lock {name}, sha256 {digest[:12]}: {why}; name the one that the run read with --lock")


def _rider(path: Path) -> dict[str, Path]:
    """A file that rides along, by its name in the bundle.

    Raises:
        BundleError: It is none.
    """
    if (path / "equivalence.json").is_file():
        return {f"equivalence/{stem(path.resolve().name)}.json": path / "equivalence.json"}
    if path.name == "equivalence.json" and path.is_file():
        return {f"equivalence/{stem(path.resolve().parent.name)}.json": path}
    if path.suffix == ".json" and path.is_file():
        return {f"bench/{stem(path.name)}": path}
    raise BundleError(f"{path}: neither the folder of a comparison nor a bench file (.json)")


def _bytes(held: bytes | Path) -> bytes:
    return held if isinstance(held, bytes) else held.read_bytes()


def _packed(held: bytes | Path) -> PackedFile:
    if isinstance(held, bytes):
        return PackedFile(sha256=hashlib.sha256(held).hexdigest(), size_bytes=len(held))
    return PackedFile(sha256=file_hash(held), size_bytes=held.stat().st_size)


def _version() -> str:
    try:
        return version("eo-adapter-harness")
    except PackageNotFoundError:
        return "unknown"


def redactions(manifest: Manifest) -> Mapping[str, int]:
    """How many fields of each file were redacted."""
    out: dict[str, int] = {}
    for place in manifest.redacted:
        name = place.partition(":")[0]
        out[name] = out.get(name, 0) + 1
    return out
