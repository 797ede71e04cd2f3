"""The card's own split, rebuilt from Major-TOM: the straight line behind `harness lock --split card`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from harness.chips.aois import read_aois
from harness.chips.cardsplit import (
    CardSplit,
    Comparison,
    Overlap,
    ParentRecord,
    compare,
    grid_of,
    overlap,
    published_ids,
)
from harness.chips.chip import Grid
from harness.chips.coverage import chip_grid
from harness.chips.majortom import MajorTom, card_split
from harness.chips.rasterise import has_footprints
from harness.chips.worldcover import NODATA, read_local, to_scheme
from harness.claims.audit import read_view
from harness.errors import ChipError, RegistryError, SourceError
from harness.models.hub_client import Hub, Wanted
from harness.places import eval_folder, write_file, written_under

Step = Callable[[str], None]

FAMILY: Final = "terramind-nyc"
"""Whose training set this is."""

SCHEME: Final = "training-code"
"""Which pixels have a label: the script's own scheme."""

RERUN_PX: Final = 224
"""Side of the published rerun's chips."""

ADAPTERS: Final[Mapping[str, tuple[str, ...]]] = {"lulc": ("lulc_nyc", "tim_nyc"), "buildings": ("buildings_nyc",)}
"""Adapters that each script made a training set for."""


@dataclass(frozen=True)
class Rebuilt:
    """A split, and what it says."""

    path: Path
    """Where it was written."""
    split: CardSplit
    """Parents, parts and windows."""
    compared: Mapping[str, Comparison]
    """By the list's name: a published test list against ours."""
    unread: str
    """Why no published list could be compared; empty where one was."""
    overlaps: tuple[Overlap, ...]
    """AOIs and probes of the published rerun that share ground with a parent."""

    def to_dict(self) -> dict[str, Any]:
        """For --json."""
        return {
            "schema": 1,
            "split": self.split.model_dump(mode="json"),
            "published": {name: {**asdict(c), "same": c.same} for name, c in self.compared.items()},
            "unread": self.unread or None,
            "overlaps": [asdict(o) for o in self.overlaps],
        }


def rebuild(
    variant: Literal["lulc", "buildings"],
    *,
    grids: bool = False,
    worldcover: Sequence[Path] = (),
    published: Sequence[Path] = (),
    out: Path | None = None,
    root: Path | None = None,
    step: Step = lambda _: None,
) -> Rebuilt:
    """Rebuild the split, write it, compare it with what was published, and say whose ground it shares.

    Args:
        variant: Which script's.
        grids: Read each parent's own grid; needed for labels, and for exact overlaps.
        worldcover: WorldCover tiles; together they decide which windows have enough label. None: all windows count.
        published: Lists as splits/test.txt; those of the variant's adapters come from the Hub where none is given.
        out: The split's file; aois/locks/card-<variant>.split.json where left out.
        root: Checkout with eval/ and aois/ folders.
        step: Told what is being done.

    Raises:
        SourceError: The Hub or the footprint table did not answer; or no parent.
        ChipError: A WorldCover tile that cannot be read.
        RegistryError: No such list, or no AOIs.
    """
    where = eval_folder(root)
    valid = _labelled(worldcover, where) if worldcover else None
    split = card_split(
        MajorTom(),
        variant,
        grids=grids or valid is not None or variant == "buildings",
        valid=valid,
        has_footprints=(lambda parent: has_footprints(grid_of(parent))) if variant == "buildings" else None,
        step=step,
    )
    path = out or written_under(where).parent / "aois" / "locks" / f"card-{variant}.split.json"
    write_file(path, split.model_dump_json(indent=1) + "\n")
    lists, unread = _lists(variant, published, where, step)
    compared = {name: compare(split, ids) for name, ids in lists.items()}
    return Rebuilt(path, split, compared, unread, tuple(overlap(split, _places(where.parent / "aois"))))


def words(done: Rebuilt) -> list[str]:
    """Lines for people."""
    split = done.split
    parts = {part: sum(p.part == part for p in split.parents) for part in ("train", "val", "test", "dropped")}
    out = [
        f"{done.path}: {', '.join(f'{n} {what}' for what, n in split.found.items())}; parents: "
        + ", ".join(f"{n} {part}" for part, n in parts.items() if n or part != "dropped")
    ]
    if not split.labels:
        out.append("Windows were not tested for labels (--worldcover): all of a parent's windows are listed.")
    for name, comparison in done.compared.items():
        out.append(f"{name}: {comparison.words()}")
    shared: dict[str, list[Overlap]] = {}
    for each in done.overlaps:
        shared.setdefault(each.aoi, []).append(each)
    for aoi, several in shared.items():
        held = [
            f"{o.share:.0%} in {o.part} parent {o.cell}{'' if o.exact else ' (drawn around its centre)'}"
            + (f", {o.chips_share:.0%} in its chips" if o.chips else "")
            for o in several
        ]
        out.append(f"{aoi}: {'; '.join(held)}")
    trained = sorted({o.aoi for o in done.overlaps if o.part == "train"})
    out.append(
        f"{len(trained)} places of the published rerun share ground with training parents: {', '.join(trained)}"
        if trained
        else "No place of the published rerun shares ground with a training parent."
    )
    return out


def _labelled(tiles: Sequence[Path], where: Path) -> Callable[[ParentRecord], NDArray[np.bool_]]:
    """Pixels of a parent that the script's scheme gives a class."""
    scheme = read_view(where).schemes[SCHEME]

    def valid(parent: ParentRecord) -> NDArray[np.bool_]:
        grid = grid_of(parent)
        codes = np.full((grid.height_px, grid.width_px), NODATA, np.uint8)
        for tile in tiles:
            here = read_local(tile, grid)
            codes = np.where(codes == NODATA, here, codes)
        if not (codes != NODATA).any():
            raise ChipError(f"{parent.cell}: none of the WorldCover tiles covers it; give those of N39W075 and around")
        made = to_scheme(codes, scheme, tiles[0])
        known: NDArray[np.bool_] = made.data != made.ignore_index
        return known

    return valid


def _lists(variant: str, files: Sequence[Path], where: Path, step: Step) -> tuple[dict[str, list[str]], str]:
    """Published ids by the list's name; or why there are none."""
    if files:
        out = {}
        for file in files:
            try:
                out[str(file)] = published_ids(file.read_text(encoding="utf-8"), str(file))
            except (OSError, UnicodeDecodeError) as err:
                raise RegistryError(f"{file}: cannot be read as text ({err})") from err
        return out, ""
    family = read_view(where).families[FAMILY]
    pin = next(p for p in family.pins if p.file is None)
    hub, lists, unread = Hub(), {}, []
    for adapter in (family.adapter(name) for name in ADAPTERS[variant]):
        path = f"{adapter.folder}/splits/test.txt"
        step(f"{pin.repository}: {path}")
        try:
            held = hub.fetch(Wanted(pin.repository, pin.revision, path, path, None), None, offline=False, step=step)
            lists[path] = published_ids(held.read_text(encoding="utf-8"), path)
        except SourceError as err:
            unread.append(str(err))
    return lists, "; ".join(unread)


def _places(aois: Path) -> dict[str, Grid]:
    """Grids of the published rerun's AOIs and probes."""
    files = [aois / "nyc-eval.geojson", aois / "nyc-probes.geojson"]
    return {a.id: chip_grid(a.centre, RERUN_PX) for file in files if file.exists() for a in read_aois(file)}
