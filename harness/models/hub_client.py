"""One Hub or mirror: what a repository holds at a commit, what moved since, and files that come resumed and whole.

The only code that asks the Hub for weights. It loads no torch.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from filelock import FileLock
from httpx2 import HTTPError
from huggingface_hub import HfApi, constants, hf_hub_download, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import (
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import http_get, repo_folder_name
from huggingface_hub.hf_api import RepoFile
from tqdm import tqdm

from harness.errors import SourceError, UnreachableError

BLOCK = 1 << 24
"""Bytes hashed at a time."""

RESUME_BYTES = 20_000_000
"""From this size on a download that was killed goes on where it stopped. huggingface_hub 2.4 resumes within
one call only: it names its temporary file anew each time, and removes it."""

Step = Callable[[str], None]
"""Told what happens, in words."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file of a repository at a commit, as the Hub lists it."""

    path: str
    """Within the repository."""
    size_bytes: int
    """Bytes."""
    oid: str
    """sha256 of a large file, git blob id of a small one: equal ids are equal contents."""


@dataclass(frozen=True, slots=True)
class Moved:
    """What changed between the pinned commit and where the branch is now."""

    repository: str
    """owner/name."""
    pinned: str
    """Commit that the family pins."""
    branch: str
    """Branch that was looked at."""
    now: str
    """Its commit."""
    added: tuple[RemoteFile, ...]
    """Files that the pinned commit does not have."""
    removed: tuple[RemoteFile, ...]
    """Files that the branch no longer has."""
    changed: tuple[tuple[RemoteFile, RemoteFile], ...]
    """Files with other contents: as pinned, as now."""

    def words(self) -> str:
        """One line for people."""
        parts = [
            f"changed {a.path} ({size_words(a.size_bytes)} {a.oid[:12]} -> {size_words(b.size_bytes)} {b.oid[:12]})"
            for a, b in self.changed
        ]
        parts += [f"added {f.path} ({size_words(f.size_bytes)})" for f in self.added]
        parts += [f"removed {f.path}" for f in self.removed]
        return (
            f"{self.repository}: {self.branch} is at {self.now[:12]}, the pin at {self.pinned[:12]}; "
            f"{'; '.join(parts) or 'no file differs'}. The pinned files are used"
        )


@dataclass(frozen=True, slots=True)
class Wanted:
    """One file that the folder needs."""

    repository: str
    """owner/name."""
    revision: str
    """Pinned commit."""
    path: str
    """Within the repository."""
    target: str
    """Within the folder."""
    sha256: str | None
    """As the family pins it; None where it pins the commit only."""
    required: bool = True
    """Whether the folder is of no use without it."""


@dataclass(frozen=True)
class Hub:
    """One Hub or mirror, as the environment names it."""

    endpoint: str = field(default_factory=lambda: (os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/"))
    """Address; HF_ENDPOINT where set."""
    cache: Path | None = None
    """Where huggingface_hub keeps files; its own default where None."""

    def files(self, repository: str, revision: str, kind: str = "model") -> dict[str, RemoteFile]:
        """Files of a repository at a revision, by path.

        Raises:
            SourceError: No answer, no such repository or revision.
        """
        with self._errors(repository, revision):
            tree = self._api().list_repo_tree(repository, recursive=True, revision=revision, repo_type=kind)
            found = [entry for entry in tree if isinstance(entry, RepoFile)]
        return {f.path: RemoteFile(f.path, f.size, f.lfs.sha256 if f.lfs else f.blob_id) for f in found}

    def commit(self, repository: str, revision: str = "main", kind: str = "model") -> str:
        """Commit that a branch, tag or commit stands for.

        Raises:
            SourceError: As `files`.
        """
        with self._errors(repository, revision):
            sha = self._api().repo_info(repository, revision=revision, repo_type=kind).sha
        if not sha:
            raise SourceError(f"{self._where(repository, revision)}: the Hub names no commit")
        return str(sha)

    def moved(self, repository: str, pinned: str, branch: str = "main", kind: str = "model") -> Moved | None:
        """What changed since the pinned commit; None where the branch still is there.

        Raises:
            SourceError: As `files`.
        """
        now = self.commit(repository, branch, kind)
        if now == pinned:
            return None
        before, after = self.files(repository, pinned, kind), self.files(repository, now, kind)
        both = sorted(before.keys() & after.keys())
        return Moved(
            repository,
            pinned,
            branch,
            now,
            added=tuple(after[p] for p in sorted(after.keys() - before.keys())),
            removed=tuple(before[p] for p in sorted(before.keys() - after.keys())),
            changed=tuple((before[p], after[p]) for p in both if before[p].oid != after[p].oid),
        )

    def cached(self, want: Wanted) -> Path | None:
        """The file in the cache; None where it is not there whole."""
        found = try_to_load_from_cache(want.repository, want.path, cache_dir=self.cache, revision=want.revision)
        return Path(found) if isinstance(found, str) else None

    def fetch(self, want: Wanted, remote: RemoteFile | None, *, offline: bool, step: Step) -> Path:
        """Download one file, or go on where a broken download stopped.

        Args:
            want: Which file.
            remote: As the Hub lists it; None offline.
            offline: Take it from the cache or fail.
            step: Told how far it is, once a second.

        Raises:
            SourceError: No answer, no such file, no room, or offline and not in the cache.
        """
        with self._errors(want.repository, want.revision, want.path):
            if remote is not None and len(remote.oid) == 64 and remote.size_bytes >= RESUME_BYTES:
                self._resume(want, remote, step)
            return Path(
                hf_hub_download(
                    want.repository,
                    want.path,
                    revision=want.revision,
                    cache_dir=self.cache,
                    token=_token(),
                    local_files_only=offline,
                    endpoint=self.endpoint,
                    tqdm_class=_bar(step, want.target),
                )
            )

    def _resume(self, want: Wanted, remote: RemoteFile, step: Step) -> None:
        """Bring a large file's contents into the cache under their hash, where hf_hub_download finds them.

        What came is kept beside it until it is whole, so that the next process goes on from there.
        """
        folder = repo_folder_name(repo_id=want.repository, repo_type="model")
        blob = Path(self.cache or constants.HF_HUB_CACHE) / folder / "blobs" / remote.oid
        if blob.exists():
            return
        blob.parent.mkdir(parents=True, exist_ok=True)
        part = blob.with_name(f"{remote.oid}.part")
        with FileLock(blob.with_name(f"{remote.oid}.part.lock")):
            if blob.exists():
                return
            with part.open("ab") as out:
                if out.tell() > remote.size_bytes:
                    out.truncate(0)
                if out.tell():
                    step(f"{want.target}: goes on after {size_words(out.tell())} of {size_words(remote.size_bytes)}")
                http_get(
                    hf_hub_url(want.repository, want.path, revision=want.revision, endpoint=self.endpoint),
                    out,
                    resume_size=out.tell(),
                    headers=_headers(),
                    expected_size=remote.size_bytes,
                    tqdm_class=_bar(step, want.target),
                )
            sha256 = hashed(part)[1]
            if sha256 != remote.oid:
                part.unlink()
                raise SourceError(
                    f"{want.target}: sha256 {sha256} where the Hub lists {remote.oid}; the file is damaged and was "
                    "thrown away: fetch it again"
                )
            part.replace(blob)

    def _api(self) -> HfApi:
        return HfApi(endpoint=self.endpoint, token=_token())

    def _where(self, repository: str, revision: str, path: str = "") -> str:
        return f"{bare_address(self.endpoint)}/{repository}@{revision[:12]}{'/' if path else ''}{path}"

    @contextmanager
    def _errors(self, repository: str, revision: str, path: str = "") -> Iterator[None]:
        where = self._where(repository, revision, path)
        try:
            yield
        except (LocalEntryNotFoundError, OfflineModeIsEnabled) as err:
            if _dropped(err):
                raise UnreachableError(f"{where}: no answer ({_clean(err)}); check the network and try again") from err
            raise SourceError(f"{where}: not in the cache, and offline; fetch it once with a network") from err
        except RevisionNotFoundError as err:
            raise SourceError(f"{where}: no such revision any more; correct the pin in eval/families/") from err
        except RepositoryNotFoundError as err:
            raise SourceError(
                f"{where}: no such repository, or a private one (HF_TOKEN is {'set' if _token() else 'not set'})"
            ) from err
        except HfHubHTTPError as err:
            raise SourceError(f"{where}: HTTP {err.response.status_code}; {_clean(err)}") from err
        except HTTPError as err:
            raise UnreachableError(f"{where}: no answer ({_clean(err)}); check the network and try again") from err
        except OSError as err:
            raise SourceError(f"{where}: {_clean(err)}; what came so far is kept: free some room or try again") from err


def _dropped(err: Exception) -> bool:
    """Whether huggingface_hub reports a lost connection as a file missing from the cache."""
    return isinstance(err, LocalEntryNotFoundError) and isinstance(err.__cause__, HTTPError | OSError)


def _token() -> str | bool:
    """HF_TOKEN, or False: a token that a login left on this machine is not used."""
    return os.environ.get("HF_TOKEN") or False


def _headers() -> dict[str, str]:
    """For a plain download: no compression, or a range would count other bytes."""
    token = _token()
    return {"Accept-Encoding": "identity", **({"authorization": f"Bearer {token}"} if isinstance(token, str) else {})}


def _clean(err: BaseException) -> str:
    """First line of an error, without the token."""
    text = (str(err).strip().splitlines() or [type(err).__name__])[0][:200]
    token = _token()
    return text.replace(token, "***") if isinstance(token, str) else text


def bare_address(address: str) -> str:
    """An address without user and password."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def size_words(count: float) -> str:
    """Bytes for people."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.2f} {unit}"
    return f"{count:.0f} bytes"


def duration_words(seconds: float) -> str:
    """Seconds for people."""
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{max(seconds, 1):.0f} s"


def _bar(step: Step, name: str) -> type[Any]:
    """A progress bar for huggingface_hub that draws nothing and speaks to `step` once a second."""

    class Quiet(tqdm):
        def __init__(self, *args: Any, **words: Any) -> None:
            words.pop("name", None)
            self._total = words.get("total")
            self._done = float(words.get("initial") or 0)
            self._first, self._began = self._done, time.monotonic()
            self._said = self._began
            super().__init__(*args, **{**words, "disable": True})

        def update(self, n: float | None = 1) -> bool | None:
            self._done += n or 0
            now = time.monotonic()
            if now - self._said >= 1:
                self._said = now
                rate = (self._done - self._first) / (now - self._began)
                left = f", {duration_words((self._total - self._done) / rate)} left" if self._total and rate else ""
                step(
                    f"{name}: {size_words(self._done)} of {size_words(self._total or 0)} at {size_words(rate)}/s{left}"
                )
            return None

    return Quiet


def hashed(path: Path) -> tuple[str, str]:
    """Git blob id and sha256 of a file.

    Raises:
        SourceError: It cannot be read.
    """
    try:
        size = path.stat().st_size
        blob = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
        whole = hashlib.sha256()
        with path.open("rb") as stream:
            while block := stream.read(BLOCK):
                blob.update(block)
                whole.update(block)
    except OSError as err:
        raise SourceError(f"{path}: cannot be read: {err.strerror or err}") from err
    return blob.hexdigest(), whole.hexdigest()
