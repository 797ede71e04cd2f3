"""Native windows on disk: named by their content, written whole or not at all, shared by processes.

    <root>/objects/ab/abcd....npy    pixels, named by the sha256 of the file
    <root>/index/12/1234....json     what was asked for, and which object answers it

An index entry is written after its object, so an entry never points at half a file. A reader that
finds an entry without its object (another process pruned it) reads anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import secrets
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from harness.chips.reader import Header, Request
from harness.chips.sources.cog import NativeWindow, shown
from harness.errors import SourceError

VERSION: Final = 1
"""Of the layout and of what a request means; another one finds nothing of this one's."""

STALE_S: Final = 3600.0
"""Age from which a temporary file is taken for a killed process's."""

CAP_BYTES: Final = 20 * 2**30
"""Size above which the least recently used windows go: about 2,000 chips of 9 MB."""


@dataclass(frozen=True, slots=True)
class Check:
    """What `verify` found."""

    entries: int
    """Index entries looked at."""
    size_bytes: int
    """Of all objects."""
    damaged: tuple[str, ...]
    """Files whose content is not what their name or schema says, with the reason."""
    missing: tuple[str, ...]
    """Index entries without an object; harmless, they are read anew."""
    left_over: tuple[str, ...]
    """Temporary files of killed processes, and objects that no entry names; harmless, `prune` removes them."""

    @property
    def sound(self) -> bool:
        """Whether nothing is damaged."""
        return not self.damaged


class Store:
    """A folder of windows."""

    def __init__(self, root: Path, cap_bytes: int = CAP_BYTES) -> None:
        self.root, self.cap_bytes = root, cap_bytes

    def get(self, request: Request) -> NativeWindow | None:
        """The window that answers a request; None where there is none.

        Raises:
            SourceError: It is there and damaged; names the file and what to do.
        """
        entry_file = self._entry(request)
        try:
            entry = _opened(entry_file)
            name = str(entry["object"])
            object_file = self._object(name)
            raw = object_file.read_bytes()
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as err:
            raise self._broken(entry_file, "not an entry of this store") from err
        if hashlib.sha256(raw).hexdigest() != name:
            raise self._broken(object_file, "its content has changed")
        try:
            header = Header(**{**entry["header"], "transform": tuple(entry["header"]["transform"])})
            data = _array(raw)
            found = NativeWindow(data, header, tuple(entry["transform"]))
        except (ValueError, KeyError, TypeError) as err:
            raise self._broken(entry_file, "not an entry of this store") from err
        with contextlib.suppress(OSError):  # pruned in the meantime, or a read-only store
            os.utime(entry_file)
        return found

    def put(self, request: Request, found: NativeWindow) -> None:
        """Keep a window. Two processes may put the same one: the last entry stands, both are whole.

        Raises:
            SourceError: No space, no permission; nothing half-written stays.
        """
        buffer = io.BytesIO()
        np.save(buffer, np.ascontiguousarray(found.data), allow_pickle=False)
        raw = buffer.getvalue()
        name = hashlib.sha256(raw).hexdigest()
        entry = {
            "version": VERSION,
            "request": _described(request),
            "object": name,
            "header": asdict(found.header),
            "transform": list(found.transform),
        }
        _write(self._object(name), raw)
        _write(self._entry(request), json.dumps({**entry, "sha256": _key(entry)}, indent=1).encode())

    def verify(self) -> Check:
        """Read everything and say what is not as it was written. Changes nothing."""
        damaged, missing, named = [], [], set()
        entries = list(self._files("index"))
        for file in entries:
            try:
                entry = _opened(file)
                name = entry["object"]
                key = _key(entry["request"])
                Header(**entry["header"])
            except FileNotFoundError:
                continue  # pruned while we looked
            except (OSError, ValueError, KeyError, TypeError) as err:
                damaged.append(f"{file}: not an entry of this store ({type(err).__name__})")
                continue
            if key != file.stem:
                damaged.append(f"{file}: its request has changed")
            named.add(name)
            if not self._object(name).is_file():
                missing.append(str(file))
        size, loose = 0, []
        for file in self._files("objects"):
            try:
                raw = file.read_bytes()
            except FileNotFoundError:
                continue
            size += len(raw)
            if hashlib.sha256(raw).hexdigest() != file.stem:
                damaged.append(f"{file}: its content has changed")
            elif file.stem not in named:
                loose.append(str(file))
        loose += [str(file) for file in self._temporary()]
        return Check(len(entries), size, tuple(damaged), tuple(missing), tuple(loose))

    def prune(self, cap_bytes: int | None = None) -> int:
        """Remove what killed processes left, then the least recently used windows above the cap.

        Damaged files are not touched; see `drop`.

        Returns:
            Bytes freed.
        """
        cap = self.cap_bytes if cap_bytes is None else cap_bytes
        now, freed = time.time(), 0
        for file in self._temporary():
            freed += _removed(file) if _age(file, now) > STALE_S else 0
        sizes = {file.stem: _size(file) for file in self._files("objects")}
        users: dict[str, list[tuple[float, Path]]] = {}
        for file in self._files("index"):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                users.setdefault(json.loads(file.read_bytes())["object"], []).append((file.stat().st_mtime, file))
        for name in sizes.keys() - users.keys():  # of a process killed between object and entry, unless just written
            if _age(self._object(name), now) > STALE_S:
                freed += _removed(self._object(name))
                sizes[name] = 0
        total = sum(sizes.values())
        for name in sorted(users, key=lambda n: max(used for used, _ in users[n])):
            if total <= cap:
                break
            for _, file in users[name]:
                _removed(file)
            freed += _removed(self._object(name))
            total -= sizes.get(name, 0)
        return freed

    def drop(self, check: Check) -> int:
        """Remove what a check found damaged, so that it is read anew; returns how many files went."""
        files = [Path(line.split(": ", 1)[0]) for line in check.damaged]
        return sum(1 for file in files if _removed(file))

    def _entry(self, request: Request) -> Path:
        key = _key(_described(request))
        return self.root / "index" / key[:2] / f"{key}.json"

    def _object(self, name: str) -> Path:
        return self.root / "objects" / name[:2] / f"{name}.npy"

    def _files(self, kind: str) -> Iterator[Path]:
        return (file for file in sorted((self.root / kind).glob("*/*")) if not file.name.startswith("."))

    def _temporary(self) -> Iterator[Path]:
        return (file for kind in ("index", "objects") for file in (self.root / kind).glob("*/.*"))

    def _broken(self, file: Path, what: str) -> SourceError:
        return SourceError(
            f"{file}: damaged: {what}; `harness chips --verify` lists all such files, and without this one it is "
            "read anew"
        )


def _array(raw: bytes) -> NDArray[np.generic]:
    """What np.load makes of an .npy file that holds no objects; the few kinds of header are parsed once.

    Raises:
        ValueError: Not such a file.
    """
    length = int.from_bytes(raw[8:10], "little") + 10
    shape, fortran, dtype = _layout(raw[:length])
    data = np.frombuffer(raw, dtype, offset=length)
    return data.reshape(shape, order="F" if fortran else "C").copy()


@lru_cache(maxsize=256)
def _layout(head: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, order and type out of the first bytes of an .npy file."""
    buffer = io.BytesIO(head)
    if npy.read_magic(buffer) != (1, 0):
        raise ValueError("an .npy file of another version")
    shape, fortran, dtype = npy.read_array_header_1_0(buffer)
    return shape, fortran, dtype


def _described(request: Request) -> dict[str, Any]:
    """A request as an index entry keeps it: no query string, but its hash, so that two do not meet."""
    query, reach = request.href.partition("?")[2], request.reach
    return {
        "version": VERSION,
        "href": shown(request.href),
        "query_sha256": hashlib.sha256(query.encode()).hexdigest() if query else None,
        "etag": request.etag,
        "size_bytes": request.size_bytes,
        "bands": request.bands,
        "epsg": request.epsg,
        "margin_px": request.margin_px,
        "reach": [reach.epsg, *reach.transform, reach.height_px, reach.width_px],
    }


def _key(described: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()


def _opened(file: Path) -> dict[str, Any]:
    """An index entry that is as it was written.

    Raises:
        ValueError: It is not.
    """
    entry = json.loads(file.read_bytes())
    if not isinstance(entry, dict) or entry.pop("sha256", None) != _key(entry):
        raise ValueError("its content has changed")
    return entry


def _write(file: Path, raw: bytes) -> None:
    """Write beside and move into place: a reader, or a kill, finds all of it or nothing."""
    temporary = file.parent / f".{file.name}.{os.getpid()}.{secrets.token_hex(4)}"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            _fill(temporary, raw)
            temporary.replace(file)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as err:
        raise SourceError(
            f"{file}: the chip store cannot be written ({err.strerror}); nothing half-written stays; free some space, "
            "lower the store's cap, or put it elsewhere"
        ) from err


def _fill(file: Path, raw: bytes) -> None:
    with file.open("xb") as out:
        out.write(raw)


def _removed(file: Path) -> int:
    size = _size(file)
    with contextlib.suppress(FileNotFoundError):
        file.unlink()
        return size
    return 0


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def _age(file: Path, now: float) -> float:
    try:
        return now - file.stat().st_mtime
    except FileNotFoundError:
        return 0.0
