"""The one file: written the same way each time, read from strangers without trust."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any, Final

import numpy as np

from harness.errors import BundleError
from harness.records.bundle import INSIDE, NAME

MOST_BYTES: Final = 4_000_000_000
"""Of a bundle. Six chips of 224 px through three adapters take some 15 MB."""

MOST_FILES: Final = 5_000
"""In a bundle."""

MOST_JSON: Final = 64_000_000
"""Bytes of a JSON file."""

MOST_ARRAYS: Final = 1_000_000_000
"""Bytes of one chip's arrays, unpacked."""

MOST_INT: Final = 2**63 - 1
"""Largest whole number in a JSON file, as int64 holds it."""

EPOCH: Final = (1980, 1, 1, 0, 0, 0)
"""Date of every file in a bundle: the earliest that the format can hold."""


def write_archive(path: Path, files: Mapping[str, bytes | Path]) -> None:
    """Write a bundle at once, whole or not at all: names in order, no dates, nothing compressed.

    What a bundle holds is compressed already, or small; so the bytes depend on the content alone.

    Raises:
        BundleError: The folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as raw:
            part = Path(raw.name)
            try:
                _put(raw, files)
                raw.flush()
                part.chmod(0o644)
                part.replace(path)
            except BaseException:
                part.unlink(missing_ok=True)
                raise
    except OSError as err:
        raise BundleError(f"{path}: cannot be written ({err.strerror or err}); nothing half-written stays") from err


def _put(raw: IO[bytes], files: Mapping[str, bytes | Path]) -> None:
    with zipfile.ZipFile(raw, "w", zipfile.ZIP_STORED) as out:
        for name in sorted(files):
            held = files[name]
            info = zipfile.ZipInfo(name, EPOCH)
            info.create_system, info.external_attr = 3, 0o644 << 16
            info.file_size = len(held) if isinstance(held, bytes) else held.stat().st_size
            with out.open(info, "w") as target:
                if isinstance(held, bytes):
                    target.write(held)
                else:
                    with held.open("rb") as source:
                        shutil.copyfileobj(source, target)


def unpack(path: Path, folder: Path) -> dict[str, Path]:
    """Read a bundle into an empty folder. Nothing is written outside of it, whatever the names say.

    A bundle that is not, byte for byte, what `write_archive` makes of its content is refused: no comment, no
    second entry of a name, nothing before, between or behind the entries, nothing compressed.

    Returns:
        File by name in the bundle.

    Raises:
        BundleError: It is none, too large, or packed otherwise.
    """
    if not path.is_file():
        raise BundleError(f"{path}: no such file")
    if (size := path.stat().st_size) > MOST_BYTES:
        raise BundleError(f"{path}: {size / 1e9:.1f} GB; bundles of up to {MOST_BYTES / 1e9:.0f} GB are read")
    again = "send the file as `harness bundle` wrote it"
    out: dict[str, Path] = {}
    try:
        with zipfile.ZipFile(path) as held:
            entries = held.infolist()
            if len(entries) > MOST_FILES:
                raise BundleError(f"{path}: {len(entries):,} files; a bundle holds {MOST_FILES:,} at most")
            for number, info in enumerate(entries):
                name = info.filename
                if name != NAME and not INSIDE.fullmatch(name):
                    raise BundleError(f"{path}: {name[:80]!r} cannot stand in a bundle; {again}")
                if name in out:
                    raise BundleError(f"{path}: {name} stands twice")
                if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size or info.flag_bits:
                    raise BundleError(f"{path}: {name} was packed by another program; {again}")
                if info.file_size > (MOST_ARRAYS if name.endswith(".npz") else MOST_JSON):
                    raise BundleError(f"{path}: {name}: {info.file_size:,} bytes are too many")
                # Names of our own: two that differ in case only are one file on some disks.
                target = folder / f"{number:05d}"
                with held.open(info) as source, target.open("xb") as copy:
                    shutil.copyfileobj(source, copy)
                out[name] = target
    except (zipfile.BadZipFile, EOFError, RuntimeError, ValueError, OverflowError) as err:
        raise BundleError(f"{path}: no bundle, or damaged: {err}; {again}") from err
    except OSError as err:
        raise BundleError(f"{path}: cannot be read ({err.strerror or err})") from err
    with tempfile.TemporaryFile(dir=folder) as fresh:
        _put(fresh, out)
        fresh.seek(0)
        if hashlib.file_digest(fresh, "sha256").hexdigest() != file_hash(path):
            raise BundleError(f"{path}: bytes that belong to no file of it: packed again or altered; {again}")
    return out


def shown(text: str) -> str:
    """A text fit for a terminal: every sign that is not printed, and none that turns its direction, by its number."""
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)


def file_hash(path: Path) -> str:
    """sha256 of a file."""
    with path.open("rb") as raw:
        return hashlib.file_digest(raw, "sha256").hexdigest()


def read_json(raw: bytes, name: str) -> Any:
    """A JSON value: each key once, every number finite, whole numbers within int64.

    Raises:
        BundleError: It is not one.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        held = dict(pairs)
        if len(held) < len(pairs):
            raise ValueError("a key stands twice in one object")
        return held

    def number(text: str) -> float:
        value = float(text)
        if not math.isfinite(value):
            raise ValueError(f"{text[:20]} is no finite number")
        return value

    def whole(text: str) -> int:
        value = int(text) if len(text) <= 20 else MOST_INT + 1
        if abs(value) > MOST_INT:
            raise ValueError(f"{text[:20]}{'...' if len(text) > 20 else ''} is larger than any count (64 bits)")
        return value

    def refuse(text: str) -> float:
        raise ValueError(f"{text} is no number of JSON")

    try:
        return json.loads(
            raw.decode(), object_pairs_hook=once, parse_float=number, parse_int=whole, parse_constant=refuse
        )
    except (ValueError, RecursionError) as err:
        raise BundleError(f"{name}: not the JSON that we write: {err}") from err


def check_arrays(path: Path, name: str, allowed: Iterable[str]) -> None:
    """See that a file of arrays holds only these, of plain numbers, and as many bytes as it declares.

    Read before numpy loads it: numpy makes room for what a header declares.

    Raises:
        BundleError: It does not.
    """
    known = {f"{each}.npy" for each in allowed}
    left = MOST_ARRAYS
    try:
        with zipfile.ZipFile(path) as held:
            names = [info.filename for info in held.infolist()]
            if len(set(names)) < len(names) or (other := sorted(set(names) - known)):
                raise ValueError(
                    f"an array that no run writes: {(other[0] if len(set(names)) == len(names) else 'twice')[:80]!r}"
                )
            for info in held.infolist():
                left -= info.file_size
                if left < 0:
                    raise ValueError(f"more than {MOST_ARRAYS:,} bytes unpacked")
                with held.open(info) as raw:
                    shape, dtype = _header(raw)
                    wanted = math.prod(shape) * dtype.itemsize
                    if dtype.kind not in "uif" or wanted != info.file_size - raw.tell():
                        raise ValueError(f"{info.filename}: {dtype} of shape {shape} in {info.file_size:,} bytes")
                    if dtype.itemsize > 8:
                        raise ValueError(f"{info.filename}: {dtype}")
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError, OverflowError, OSError) as err:
        raise BundleError(f"{name}: no arrays of a run: {err}") from err


def _header(raw: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(raw)
    if version != (1, 0):
        raise ValueError(f"version {version} of numpy's format")
    shape, _, dtype = np.lib.format.read_array_header_1_0(raw)
    if any(n < 0 for n in shape):
        raise ValueError(f"shape {shape}")
    return shape, dtype
