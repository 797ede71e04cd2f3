"""Locks: what AOIs resolved to, written once, read by every run, held against the catalogue on demand."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Literal

from filelock import FileLock, Timeout
from pydantic import ValidationError

from harness.chips.coverage import bbox, chip_grid
from harness.chips.items import Candidate, Json, Unusable, candidate, candidates, redacted, unsigned
from harness.chips.question import Catalogue, Joined, Question, offering
from harness.chips.resolve import LOCK_SIZE_PX, SEARCH_MARGIN_M
from harness.chips.scenes import AoiLock, AssetRef, Lock, Scene, Timestep
from harness.chips.select import deduplicated
from harness.errors import RegistryError, SourceError
from harness.places import write_file

STATS: Final = 16
"""Files asked about at once."""

GUARD_S: Final = 60.0
"""Seconds to wait for another writer of a lock; each holds its guard for one read and one write."""


@dataclass(frozen=True, slots=True)
class Stat:
    """What a store says about a file."""

    etag: str | None
    """As sent."""
    size_bytes: int | None
    """Content-Length."""
    gone: bool = False
    """Whether it says that there is no such file."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A difference between a lock and the catalogue of today."""

    kind: Literal["vanished", "reprocessed", "moved"]
    """vanished: neither the item nor another processing of it is there. reprocessed: another or
    newer processing stands in its place. moved: the item is there, its files lie elsewhere."""
    aoi: str
    """AOI id."""
    modality: str
    """S2L2A, S1RTC, DEM, LULC."""
    item: str
    """Item of the lock."""
    detail: str
    """What differs."""


def write_lock(path: Path, lock: Lock) -> None:
    """Write a lock, whole or not at all.

    Raises:
        SourceError: An address in it is signed; nothing is written.
        RegistryError: The folder cannot be written.
    """
    for _, _, scene in _scenes(lock):
        for key, asset in scene.assets.items():
            if unsigned(asset.href) != asset.href:
                raise SourceError(f"{path}: {scene.item}, {key}: a signed address; a lock keeps unsigned ones only")
    text = json.dumps(lock.model_dump(mode="json"), indent=1, ensure_ascii=False)
    write_file(path, text + "\n")


def read_lock(path: Path) -> Lock:
    """Read a lock.

    Raises:
        RegistryError: Unreadable, another schema, a field that is wrong, an AOI that stands twice
            for one recipe, or a signed address.
    """
    try:
        lock = Lock.model_validate_json(path.read_bytes())
    except OSError as err:
        raise RegistryError(f"{path}: cannot be read ({err.strerror}); `harness lock` writes it") from err
    except ValidationError as err:
        first = err.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "top"
        raise RegistryError(f"{path}: {field}: {redacted(first['msg'])}") from None  # the cause prints the input
    twice = [name for name, n in Counter((a.aoi, a.recipe) for a in lock.aois).items() if n > 1]
    if twice:
        raise RegistryError(f"{path}: {twice[0][0]} stands twice for recipe {twice[0][1]}")
    for name, _, scene in _scenes(lock):
        if any(unsigned(asset.href) != asset.href for asset in scene.assets.values()):
            raise RegistryError(f"{path}: {name}, {scene.item}: a signed address; write the lock again")
    return lock


def guard_path(path: Path) -> Path:
    """The file beside a lock that its writers hold in turn: hidden, empty, no lock itself."""
    return path.with_name(f".{path.name}.guard")


def put(path: Path, one: AoiLock, created: str, *, renew: bool = False) -> AoiLock:
    """Put one entry into the lock at a path, beside all that other writers put there since it was last read.

    Args:
        path: The lock; made where there is none.
        one: The entry.
        created: UTC, ISO 8601, for the lock as a whole.
        renew: Replace an entry of that AOI and recipe; else one that stands there stays, as runs may have read it.

    Returns:
        The entry that stands there now.

    Raises:
        SourceError: An address in it is signed; nothing is written.
        RegistryError: The lock cannot be read or written, or another writer does not let go of it.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(guard_path(path), timeout=GUARD_S):
            held = {(a.aoi, a.recipe): a for a in (read_lock(path).aois if path.exists() else [])}
            key = (one.aoi, one.recipe)
            if renew or key not in held:
                held[key] = one
                write_lock(path, Lock(created=created, aois=[held[k] for k in sorted(held)]))
            return held[key]
    except Timeout as err:
        raise RegistryError(f"{path}: another process has been writing it for {GUARD_S:g} s; run again") from err
    except OSError as err:
        raise RegistryError(f"{path}: cannot be written ({err.strerror})") from err


def locked(lock: Lock, aoi: str, recipe: str) -> AoiLock:
    """The scenes of one AOI for one recipe. This is all that a run asks; it never searches.

    Raises:
        RegistryError: The lock holds no such AOI for that recipe.
    """
    for one in lock.aois:
        if (one.aoi, one.recipe) == (aoi, recipe):
            return one
    have = ", ".join(f"{a.aoi} ({a.recipe})" for a in lock.aois) or "nothing"
    raise RegistryError(f"the lock holds no {aoi} for recipe {recipe}; it holds {have}. `harness lock` adds it")


def lock_of(path: Path, make: Callable[[], Lock]) -> Lock:
    """The lock at a path; only where there is none is it made, and written.

    A lock that cannot be read is an error and never a reason to search again.
    """
    if path.exists():
        return read_lock(path)
    lock = make()
    write_lock(path, lock)
    return lock


def with_stats(lock: Lock, stat: Callable[[str], Stat]) -> Lock:
    """The lock with ETag and size of every file, as the stores answer now.

    Args:
        lock: Any.
        stat: Takes an unsigned address; raises SourceError where the store does not answer. Called from threads.

    Raises:
        SourceError: A store did not answer, or has no such file.
    """
    answers = _asked(lock, stat)
    if gone := [href for href, answer in answers.items() if answer.gone]:
        raise SourceError(f"{gone[0]}: no such file, although the catalogue names it; choose other dates or try later")

    def asked(asset: AssetRef) -> AssetRef:
        now = answers[asset.href]
        return asset.model_copy(update={"etag": now.etag, "size_bytes": now.size_bytes})

    def scene(one: Scene) -> Scene:
        return one.model_copy(update={"assets": {key: asked(asset) for key, asset in one.assets.items()}})

    def step(one: Timestep) -> Timestep:
        return one.model_copy(update={"scenes": [scene(s) for s in one.scenes]})

    aois = [a.model_copy(update={"timesteps": [step(t) for t in a.timesteps]}) for a in lock.aois]
    return lock.model_copy(update={"aois": aois})


def check(lock: Lock, catalogue: Catalogue | Joined, stat: Callable[[str], Stat] | None = None) -> list[Finding]:
    """Hold a lock against the catalogue: what vanished, was reprocessed, moved.

    Args:
        lock: Any.
        catalogue: The one that it came from.
        stat: Asks a store for a file's ETag and size; then a file that changed in place is found
            too, where the lock holds either.

    Raises:
        SourceError: The catalogue or a store failed: a lock is not called sound for want of an answer.
    """
    out: list[Finding] = []
    known: dict[str, dict[str, Json]] = {}
    seen: set[tuple[str, str]] = set()
    wanted: dict[str, set[str]] = {}
    modalities: dict[str, str] = {}
    for _, modality, scene in _scenes(lock):
        wanted.setdefault(scene.collection, set()).add(scene.item)
        modalities[scene.collection] = modality
    for collection, ids in sorted(wanted.items()):
        known[collection] = dict(offering(catalogue, modalities[collection]).items(collection, sorted(ids)))
    centres = {a.aoi: a.centre for a in lock.aois}
    answers = {} if stat is None else _asked(lock, stat)
    for aoi, modality, scene in _scenes(lock):
        if (aoi, scene.item) in seen:
            continue
        seen.add((aoi, scene.item))
        item = known[scene.collection].get(scene.item)
        source = offering(catalogue, modality)
        now = candidate(item, modality, source.profile) if isinstance(item, Mapping) else None
        newer = _replacement(scene, modality, centres[aoi], source)
        for kind, detail in _differences(scene, now, newer, answers):
            out.append(Finding(kind, aoi, modality, scene.item, detail))
    return out


def _differences(
    scene: Scene, now: Candidate | Unusable | None, newer: str | None, answers: Mapping[str, Stat]
) -> list[tuple[Literal["vanished", "reprocessed", "moved"], str]]:
    if now is None:
        return [("reprocessed", f"gone; {newer} stands in its place")] if newer else [("vanished", "no such item")]
    if newer:
        return [("reprocessed", f"{newer} is a newer processing of the same acquisition")]
    if isinstance(now, Unusable):
        return [("moved", f"{now.reason}: {now.detail}")]
    if now.scene.baseline != scene.baseline:
        return [("reprocessed", f"baseline {now.scene.baseline}, {scene.baseline} in the lock")]
    gone = [key for key in scene.assets if key not in now.scene.assets]
    other = [key for key, asset in scene.assets.items() if key not in gone and now.scene.assets[key].href != asset.href]
    if gone or other:
        first = f"; now {now.scene.assets[other[0]].href}" if other else ""
        return [("moved", f"{', '.join(gone + other)}: another address{first}")]
    lost = [key for key, asset in scene.assets.items() if asset.href in answers and answers[asset.href].gone]
    if lost:
        return [("vanished", f"{', '.join(lost)}: the item is there, its files are not")]
    changed = [key for key, asset in scene.assets.items() if _changed(asset, answers.get(asset.href))]
    return [("reprocessed", f"{', '.join(changed)}: the file changed in place")] if changed else []


def _changed(asset: AssetRef, now: Stat | None) -> bool:
    if now is None:
        return False
    if asset.etag is not None and now.etag is not None:
        return asset.etag != now.etag
    return asset.size_bytes is not None and now.size_bytes is not None and asset.size_bytes != now.size_bytes


def _asked(lock: Lock, stat: Callable[[str], Stat]) -> dict[str, Stat]:
    """What the stores say of every file of a lock, many at once."""
    hrefs = sorted({asset.href for _, _, scene in _scenes(lock) for asset in scene.assets.values()})
    with ThreadPoolExecutor(STATS, thread_name_prefix="stat") as pool:
        return dict(zip(hrefs, pool.map(stat, hrefs), strict=True))


def _replacement(scene: Scene, modality: str, centre: tuple[float, float], catalogue: Catalogue) -> str | None:
    """Id of the newest processing of a scene's acquisition and tile, if that is another item."""
    if modality not in ("S2L2A", "S1RTC"):
        return None
    when = datetime.fromisoformat(scene.datetime)
    west, south, east, north = bbox(chip_grid(centre, LOCK_SIZE_PX), SEARCH_MARGIN_M)
    second = timedelta(seconds=1)
    answer = catalogue.search(Question(modality, (west, south, east, north), when - second, when + second))
    read, _ = candidates(answer.items, modality, catalogue.profile)
    platform = (scene.platform or "").lower()
    for one in deduplicated(read)[0]:
        if one.key == (platform, scene.datetime[:19], scene.tile or "") and one.scene.item != scene.item:
            return one.scene.item
    return None


def _scenes(lock: Lock) -> list[tuple[str, str, Scene]]:
    """AOI id, modality and scene, for every scene of a lock."""
    return [(a.aoi, t.modality, scene) for a in lock.aois for t in a.timesteps for scene in t.scenes]
