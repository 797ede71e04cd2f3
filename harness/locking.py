"""AOIs into locks, and locks held against today: the straight line behind `harness lock`."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from harness.chips.aois import Aoi, read_aois
from harness.chips.catalogue import StacCatalogue
from harness.chips.coverage import chip_grid
from harness.chips.items import PLANETARY_COMPUTER, PROFILES, redacted, stamp
from harness.chips.lock import Finding, check, put, read_lock, with_stats
from harness.chips.question import Catalogue, Joined
from harness.chips.recipe import Recipe, read_recipes
from harness.chips.resolve import LOCK_SIZE_PX, resolve
from harness.chips.scenes import AoiLock, Lock
from harness.chips.sight import Sights
from harness.chips.signing import Signer
from harness.chips.sources.cog import CogReader
from harness.chips.sources.stat import Stats
from harness.chips.store import CAP_BYTES, Store
from harness.chips.tables import FOOTPRINT_SOURCE, Tables
from harness.errors import RegistryError, SourceError
from harness.names import known
from harness.places import cache_folder, eval_folder

Step = Callable[[str], None]

STATED: Final = {
    "centre": "centre",
    "window": "window",
    "label_sources": "labels",
    "role": "role",
    "split": "split",
    "split_size": "split's size",
    "recipe_sha256": "recipe (dates, bands, s2_offset or reach)",
}
"""Fields of an entry that say what it was resolved for, and their names for people."""

LATER: Final = ("window", "label_sources", "role", "recipe_sha256")
"""Those of them that older locks lack: None there says nothing, and is not compared."""


@dataclass(frozen=True)
class Sources:
    """Which services are asked, and where what they answer is kept. Live and local differ in addresses only."""

    catalogue: str = "planetary-computer"
    """A word of `PROFILES`; what it does not offer comes from the Planetary Computer."""
    address: str | None = None
    """Another address that speaks as that catalogue does."""
    cache: Path = field(default_factory=cache_folder)
    """Holds `chips` (native windows) and `labels` (snapshots of tables)."""
    cap_bytes: int = CAP_BYTES
    """Size of `chips` above which the least recently used windows go."""

    def open(self) -> Catalogue | Joined:
        """The catalogue, with the Planetary Computer behind one that does not offer everything.

        Raises:
            RegistryError: No such catalogue.
        """
        profile = PROFILES[known(self.catalogue, PROFILES, "catalogue")]
        first = StacCatalogue(profile, self.address)
        return first if profile is PLANETARY_COMPUTER else Joined((first, StacCatalogue(PLANETARY_COMPUTER)))

    @property
    def store(self) -> Store:
        """Native windows."""
        return Store(self.cache / "chips", self.cap_bytes)

    @property
    def tables(self) -> Tables:
        """Label tables, with their snapshots."""
        return Tables(self.cache / "labels")

    @contextmanager
    def reading(self) -> Iterator[CogReader]:
        """A reader that signs what needs a signature."""
        with CogReader(Signer()) as reader:
            yield reader


@dataclass(frozen=True)
class LockFile:
    """What `lock_aois` did."""

    path: Path
    """The lock."""
    added: tuple[str, ...]
    """`aoi (recipe)` resolved now."""
    kept: tuple[str, ...]
    """Resolved before."""
    failed: dict[str, str]
    """By `aoi (recipe)`: why not."""


def lock_path(aois: Path) -> Path:
    """Where the lock of an AOI file lies: locks/<its name>.lock.json beside it."""
    return aois.parent / "locks" / f"{aois.stem}.lock.json"


def asked_of(files: Sequence[Path], ids: Sequence[str]) -> list[tuple[Path, tuple[str, ...]]]:
    """Which AOIs are asked of which file; a file that holds none of those named is left out.

    Raises:
        RegistryError: A name that stands in none of the files, or a file that is wrong.
    """
    held = {file: [aoi.id for aoi in read_aois(file)] for file in files}
    everything = [name for names in held.values() for name in names]
    wanted = [known(name, everything, "AOI") for name in dict.fromkeys(ids)] or everything
    shares = ((file, tuple(name for name in names if name in wanted)) for file, names in held.items())
    return [(file, names) for file, names in shares if names]


def lock_aois(
    file: Path,
    sources: Sources,
    *,
    recipes: Sequence[str] = ("training-code",),
    ids: Sequence[str] = (),
    out: Path | None = None,
    renew: bool = False,
    root: Path | None = None,
    step: Step = lambda _: None,
) -> LockFile:
    """Resolve the AOIs of a file; the lock is written after each, so that a killed run goes on where it was.

    Several may write one lock at the same time: each puts its entries beside those of the others.

    Args:
        file: aois/*.geojson.
        sources: Services.
        recipes: Whose dates are chosen.
        ids: AOIs; all where empty.
        out: The lock; beside the AOIs where left out. AOIs that stand there already stay as they are.
        renew: Resolve those again, too.
        root: Checkout with an eval/ folder.
        step: Told what is being done.

    Returns:
        What came of it. An AOI that failed leaves what the lock held of it.

    Raises:
        RegistryError: An unknown AOI or recipe, a file that is wrong, or an AOI or recipe that changed since its
            lock; then nothing is resolved.
        RecipeError: A recipe that takes its dates as a chip brings them.
        SourceError: The catalogue does not answer.
    """
    aois = read_aois(file)
    by_id = {aoi.id: aoi for aoi in aois}
    wanted = [by_id[known(name, by_id, f"AOI in {file.name}")] for name in dict.fromkeys(ids)] or aois
    found = read_recipes(eval_folder(root) / "recipes")
    chosen = [found[known(name, found, "recipe")] for name in dict.fromkeys(recipes)]
    sizes = Counter(aoi.split for aoi in aois if aoi.whole_split)
    path = out or lock_path(file)
    held = {(one.aoi, one.recipe): one for one in (read_lock(path).aois if path.exists() else [])}
    asked = [(a, r, _stated(a, r, sizes.get(a.split))) for r in chosen for a in wanted]
    for aoi, recipe, stated in asked:
        if (aoi.id, recipe.id) in held and not renew:
            _unchanged(held[aoi.id, recipe.id], stated, path)
    added, kept, failed = [], [], {}
    catalogue, tables = sources.open(), sources.tables
    if any((aoi.id, recipe.id) not in held or renew for aoi, recipe, _ in asked):
        step(f"asking {sources.catalogue}")
        catalogue.ready()
    with sources.reading() as reader:
        see, stat = Sights(reader, sources.store), Stats(Signer())
        for aoi, recipe, stated in asked:
            name = f"{aoi.id} ({recipe.id})"
            if (aoi.id, recipe.id) in held and not renew:
                kept.append(name)
                continue
            try:
                one = _with_labels(resolve(aoi, recipe, catalogue, see, step), aoi, tables, step)
                step(f"{aoi.id}: sizes and ETags of its files")
                one = with_stats(Lock(created=_now(), aois=[one.model_copy(update=stated)]), stat).aois[0]
            except SourceError as err:
                failed[name] = redacted(str(err))
                step(f"{name}: failed: {failed[name]}")
                continue
            stands = put(path, one, _now(), renew=renew)
            if stands is one:
                added.append(name)
            else:  # another writer was first, and what it put there may have been read
                _unchanged(stands, stated, path)
                kept.append(name)
    return LockFile(path, tuple(added), tuple(kept), failed)


def check_lock(path: Path, sources: Sources, step: Step = lambda _: None) -> list[Finding]:
    """Say what vanished, was reprocessed or moved since a lock was made.

    Raises:
        RegistryError: No such lock, or one of another catalogue than is asked.
        SourceError: A service did not answer; a lock is not called sound for want of an answer.
    """
    lock = read_lock(path)
    catalogue = sources.open()
    parts = catalogue.parts if isinstance(catalogue, Joined) else (catalogue,)
    asked = {redacted(part.url) for part in parts}
    if foreign := sorted({search.catalogue for one in lock.aois for search in one.searches} - asked):
        raise RegistryError(
            f"{path}: was made with {', '.join(foreign)}, and {', '.join(sorted(asked))} would be asked; name the "
            "lock's own with --catalogue or --address"
        )
    step(f"{len(lock.aois)} locked AOIs against {', '.join(sorted(asked))}, and their files")
    return check(lock, catalogue, Stats(Signer()))


def _with_labels(one: AoiLock, aoi: Aoi, tables: Tables, step: Step) -> AoiLock:
    """The entry with the AOI's label tables pinned."""
    pins = []
    if FOOTPRINT_SOURCE in aoi.labels:
        step(f"{aoi.id}: building footprints")
        pins = tables.pins(chip_grid(aoi.centre, LOCK_SIZE_PX))
    return one.model_copy(update={"labels": pins})


def _stated(aoi: Aoi, recipe: Recipe, size: int | None) -> dict[str, object]:
    """What an entry is resolved for, by field of `AoiLock`; `size` is that of the AOI's whole split."""
    knobs = {
        "bands": recipe.bands,
        "dates": recipe.dates.model_dump(mode="json"),
        "s2_offset": recipe.s2_offset.policy,
        "reach_px": max(LOCK_SIZE_PX, recipe.chip_size_px),
    }
    return {
        "centre": aoi.centre,
        "window": (aoi.window[0].isoformat(), aoi.window[1].isoformat()),
        "label_sources": list(aoi.labels),
        "role": aoi.role,
        "split": aoi.split,
        "split_size": size,
        "recipe_sha256": hashlib.sha256(json.dumps(knobs, sort_keys=True).encode()).hexdigest(),
    }


def _unchanged(one: AoiLock, stated: Mapping[str, object], path: Path) -> None:
    """Refuse an entry that was resolved for something else than is asked now."""
    held = {field: getattr(one, field) for field in STATED}
    changed = [
        f"{name} was {_words(held[field])}, is {_words(stated[field])} now"
        for field, name in STATED.items()
        if held[field] != stated[field] and not (held[field] is None and field in LATER)
    ]
    if changed:
        raise RegistryError(
            f"{path}: {one.aoi} ({one.recipe}) was locked for something else: {'; '.join(changed)}; --renew locks it "
            "again"
        )


def _words(value: object) -> str:
    many = value if isinstance(value, list | tuple) else [value]
    return ", ".join("none" if each is None else str(each) for each in many) or "none"


def _now() -> str:
    return stamp(datetime.now(UTC).replace(microsecond=0))
