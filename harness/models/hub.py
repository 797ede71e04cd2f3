"""Published weights in a folder: pinned, checked against their hashes, resumed, or taken from the cache offline.

It loads no torch; what it leaves on disk is the folder form that `harness.models.ensemble.load_family` takes.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from huggingface_hub import constants

from harness.claims.families import Family
from harness.errors import SourceError, WeightsError
from harness.models.hub_client import (
    Hub,
    Moved,
    RemoteFile,
    Step,
    Wanted,
    bare_address,
    duration_words,
    hashed,
    size_words,
)
from harness.places import write_file

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors", "decoder_head.safetensors")
"""What every adapter's folder must hold; harness.models.published reads them."""

BESIDES = ("splits/test.txt", "eval/metrics_lora.json")
"""What it may hold and we compare with."""

RECORD = "hub.json"
"""Written last: where each file of the folder came from."""

ASSUMED_MB_S = 10.0
"""Megabytes a second for the estimate before anything was measured; said with it."""

HEX = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
"""A git blob's id or a sha256: the names under which the cache keeps contents."""


@dataclass(frozen=True)
class Download:
    """What a fetch will do, known before the first byte of a file."""

    wanted: tuple[tuple[Wanted, RemoteFile], ...]
    """Files, and what the Hub says of them."""
    here: frozenset[str]
    """Targets that the cache already holds."""
    moved: tuple[Moved, ...]
    """Repositories whose branch has left the pin."""

    @property
    def missing_bytes(self) -> int:
        """Bytes still to come."""
        return sum(r.size_bytes for w, r in self.wanted if w.target not in self.here)

    def words(self, rate_mb_s: float = ASSUMED_MB_S) -> str:
        """One line for people: files, size, time."""
        files = sum(w.target not in self.here for w, _ in self.wanted)
        if not files:
            return f"{len(self.wanted)} files, all in the cache; nothing to download"
        seconds = self.missing_bytes / 1e6 / rate_mb_s
        return (
            f"{files} of {len(self.wanted)} files to download, {size_words(self.missing_bytes)}: about "
            f"{duration_words(seconds)} at {rate_mb_s:g} MB/s (assumed)"
        )


def wanted(family: Family, tasks: Sequence[str] | None = None) -> list[Wanted]:
    """Files that a family's folder needs, from its pins.

    Raises:
        WeightsError: The family pins no base file, or no repository of adapters.
        RegistryError: No such adapter.
    """
    base = family.base()
    adapters = next((p for p in family.pins if p.file is None), None)
    if base is None or base.file is None or adapters is None:
        raise WeightsError(
            f"family {family.id}: its pins must name the base's file and the adapters' repository; "
            "correct eval/families/"
        )
    pinned = {p.file: p.sha256 for p in family.pins if p.file and p.repository == adapters.repository}
    out = [Wanted(base.repository, base.revision, base.file, base.file, base.sha256)]
    for adapter in family.adapters if tasks is None else [family.adapter(t) for t in tasks]:
        for name in (*ADAPTER_FILES, *BESIDES):
            path = f"{adapter.folder}/{name}"
            required = name in ADAPTER_FILES
            out.append(Wanted(adapters.repository, adapters.revision, path, path, pinned.get(path), required))
    return out


def plan(family: Family, hub: Hub | None = None, tasks: Sequence[str] | None = None) -> Download:
    """What a fetch would do: sizes, what is here already, and what moved. Downloads nothing.

    Raises:
        SourceError: No answer, no such revision, or a file that must be there is not.
        WeightsError: As `wanted`.
    """
    hub = hub or Hub()
    files = wanted(family, tasks)
    listed = {key: hub.files(*key) for key in dict.fromkeys((w.repository, w.revision) for w in files)}
    pairs = []
    for want in files:
        remote = listed[want.repository, want.revision].get(want.path)
        if remote is not None:
            pairs.append((want, remote))
        elif want.required:
            near = [p for p in listed[want.repository, want.revision] if p.endswith(Path(want.path).name)]
            raise SourceError(
                f"{want.repository}@{want.revision[:12]}: has no {want.path}; "
                f"{'it has ' + ', '.join(sorted(near)) if near else 'correct folder or pin in eval/families/'}"
            )
    here = frozenset(w.target for w, _ in pairs if hub.cached(w) is not None)
    moved = [hub.moved(repository, revision) for repository, revision in listed]
    return Download(tuple(pairs), here, tuple(m for m in moved if m is not None))


def fetch_family(
    family: Family,
    folder: Path,
    step: Step = lambda _: None,
    *,
    offline: bool = False,
    tasks: Sequence[str] | None = None,
    hub: Hub | None = None,
) -> Path:
    """Put a family's published files into a folder, as `load_family` takes it.

    Args:
        family: With its pins.
        folder: Where; made if needed. Files are links into huggingface_hub's cache where the system has links,
            copies elsewhere.
        step: Told what happens: size and time before the first download, what moved, progress.
        offline: Ask nobody; HF_HUB_OFFLINE=1 does the same.
        tasks: Adapter ids; all where left out.
        hub: Which Hub and cache.

    Returns:
        The folder, with `hub.json` that says where each file came from.

    Raises:
        SourceError: A file cannot be had, or is not what the Hub lists.
        WeightsError: A file is not of the pinned sha256, or the folder holds somebody else's file of that name.
    """
    hub = hub or Hub()
    offline = offline or os.environ.get("HF_HUB_OFFLINE", "").upper() in constants.ENV_VARS_TRUE_VALUES
    listed: dict[str, RemoteFile] = {}
    moved: tuple[Moved, ...] = ()
    if offline:
        files = [w for w in wanted(family, tasks) if w.required or hub.cached(w) is not None]
        step(f"{family.id}: {len(files)} files from the cache, offline")
    else:
        download = plan(family, hub, tasks)
        files = [w for w, _ in download.wanted]
        listed = {w.target: r for w, r in download.wanted}
        moved = download.moved
        for each in moved:
            step(each.words())
        step(f"{family.id}: {download.words()}")
        _room(hub, download.missing_bytes)
    _foreign(folder, files)
    record = []
    for i, want in enumerate(files, 1):
        step(f"{want.target} ({i} of {len(files)})")
        remote = listed.get(want.target)
        path = hub.fetch(want, remote, offline=offline, step=step)
        sha256 = _checked(want, path, remote.oid if remote else None)
        _place(path, folder / want.target)
        record.append({**asdict(want), "sha256": sha256, "size_bytes": path.stat().st_size})
    held = {
        "schema": 1,
        "family": family.id,
        "endpoint": bare_address(hub.endpoint),
        "offline": offline,
        "files": record,
    }
    held["moved"] = [asdict(m) for m in moved]
    write_file(folder / RECORD, json.dumps(held, indent=1) + "\n")
    return folder


def _room(hub: Hub, needed: int) -> None:
    at = Path(hub.cache or constants.HF_HUB_CACHE).absolute()
    while not at.exists():
        at = at.parent
    free = shutil.disk_usage(at).free
    if needed > free:
        raise SourceError(
            f"{at}: {size_words(needed)} to download, {size_words(free)} free; free some, or set HF_HOME elsewhere"
        )


def _foreign(folder: Path, files: Iterable[Wanted]) -> None:
    """Refuse to write over files that are nobody's links and stand in no record of ours."""
    try:
        known = {f["target"]: f["sha256"] for f in json.loads((folder / RECORD).read_text())["files"]}
    except FileNotFoundError:
        known = {}
    except (OSError, ValueError, KeyError, TypeError) as err:
        raise WeightsError(f"{folder / RECORD}: not a record of a download; name another folder") from err
    for want in files:
        at = folder / want.target
        if at.exists() and not at.is_symlink() and hashed(at)[1] != known.get(want.target):
            raise WeightsError(f"{at}: holds another file that this did not download; name another folder")


def _checked(want: Wanted, path: Path, listed: str | None) -> str:
    """sha256 of a file that is what the pin, the Hub and the cache say it is.

    A file that is not is taken out of the cache, so that the next fetch downloads it again.
    """
    blob, sha256 = hashed(path)
    content = path.resolve()
    named = content.name if HEX.fullmatch(content.name) else None
    for source, oid in (("the Hub lists", listed), ("the cache keeps it as", named)):
        if oid is not None and oid not in (blob, sha256):
            content.unlink(missing_ok=True)
            path.unlink(missing_ok=True)
            raise SourceError(
                f"{want.target}: sha256 {sha256} where {source} {oid}; the file is damaged and was taken out of the "
                "cache: fetch it again"
            )
    if want.sha256 is not None and sha256 != want.sha256:
        raise WeightsError(
            f"{want.target}: sha256 {sha256} where eval/families/ pins {want.sha256}; {want.repository}@"
            f"{want.revision[:12]} holds another file than the pin says: correct the pin, or do not use it"
        )
    return sha256


def _place(source: Path, target: Path) -> None:
    """A link to the cache, or a copy where there are no links; the name never points at half a file."""
    content = source.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    try:
        try:
            temporary.symlink_to(content)
        except OSError:
            shutil.copyfile(content, temporary)
        temporary.replace(target)
    except OSError as err:
        raise SourceError(f"{target}: cannot be written: {err.strerror or err}") from err
    finally:
        temporary.unlink(missing_ok=True)
