"""harness lock."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.commands.console import err, live_clients, out, progress, refuse, short
from harness.errors import RegistryError, UnscoredError

if TYPE_CHECKING:
    from harness.locking import Sources


class Catalogue(StrEnum):
    """Catalogues that can be asked."""

    planetary_computer = "planetary-computer"
    earth_search = "earth-search"


class Split(StrEnum):
    """Splits that can be rebuilt."""

    card = "card"


class Variant(StrEnum):
    """Which script's split."""

    lulc = "lulc"
    buildings = "buildings"


def lock(
    context: typer.Context,
    aois: Annotated[
        list[Path] | None, typer.Argument(help="AOI files; aois/nyc-*.geojson where left out.", metavar="AOIS.geojson")
    ] = None,
    recipe: Annotated[
        list[str] | None, typer.Option(help="Recipe whose dates are chosen; may repeat; training-code where left out.")
    ] = None,
    only: Annotated[list[str] | None, typer.Option("--aoi", help="AOI id; may repeat; all where left out.")] = None,
    check: Annotated[
        list[Path] | None,
        typer.Option(help="Say what vanished, was reprocessed or moved since this lock; exit 1 if anything did."),
    ] = None,
    renew: Annotated[bool, typer.Option("--renew", help="Resolve AOIs again that the lock holds.")] = False,
    split: Annotated[
        Split | None, typer.Option(help="`card`: rebuild the split of the training set from Major-TOM.")
    ] = None,
    variant: Annotated[Variant, typer.Option(help="With --split: whose script.")] = Variant.lulc,
    grids: Annotated[
        bool,
        typer.Option("--grids", help="With --split: read each parent's own grid; a band each, for exact overlaps."),
    ] = False,
    worldcover: Annotated[
        list[Path] | None,
        typer.Option(help="With --split: WorldCover tile, to drop windows without label; may repeat."),
    ] = None,
    published: Annotated[
        list[Path] | None,
        typer.Option(help="With --split: published splits/test.txt; fetched from the Hub where left out."),
    ] = None,
    catalogue: Annotated[Catalogue, typer.Option(help="Where to search.")] = Catalogue.planetary_computer,
    address: Annotated[str | None, typer.Option(help="Another address of that catalogue.")] = None,
    file: Annotated[Path | None, typer.Option("--out", help="The lock; aois/locks/ where left out.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="With --check or --split: the result as JSON.")] = False,
    root: Annotated[Path | None, typer.Option(help="Checkout with eval/ and aois/ folders.")] = None,
) -> None:
    """Resolve AOIs to scenes, once; runs read the lock and never search.

    Example: harness lock aois/nyc-eval.geojson --recipe training-code --recipe published-rerun
    """
    live_clients("harness lock")
    if split is not None:
        if aois:
            raise RegistryError("--split goes without AOI files: its scenes are Major-TOM's")
        refuse(context, ("check", "recipe", "only", "renew", "catalogue", "address"), "AOI files, not --split")
        _split(variant, grids, worldcover or [], published or [], file, as_json, root)
        return
    refuse(context, ("variant", "worldcover", "published", "grids"), "--split card")
    from harness.locking import Sources

    sources = Sources(catalogue.value, address)
    if check:
        if aois or recipe or only or renew or file:
            raise RegistryError("--check goes alone: it writes nothing")
        _check(check, sources, as_json)
        return
    if as_json:
        raise RegistryError("--json goes with --check or --split")
    _lock(aois or [], recipe or ["training-code"], only or [], sources, file, renew, root)


def _lock(
    aois: list[Path],
    recipes: list[str],
    only: list[str],
    sources: Sources,
    file: Path | None,
    renew: bool,
    root: Path | None,
) -> None:
    from harness.locking import asked_of, lock_aois

    files = aois or sorted(((root or Path()) / "aois").glob("nyc-*.geojson"))
    if not files:
        raise RegistryError("no aois/nyc-*.geojson here; name AOI files, or a checkout with --root")
    if file is not None and len(files) > 1:
        raise RegistryError("--out takes one AOI file; each has a lock of its own")
    failed = 0
    with progress() as step:
        done = [
            lock_aois(each, sources, recipes=recipes, ids=ids, out=file, renew=renew, root=root, step=step)
            for each, ids in asked_of(files, only)
        ]
    for each in done:
        said = f"{len(each.added)} resolved, {len(each.kept)} were there"
        out.print(f"{short(each.path)}: {said}" if each.added or each.kept else f"{short(each.path)}: not written")
        for name, why in each.failed.items():
            err.print(f"not locked: {name}: {why}", markup=False, style=None)
        failed += len(each.failed)
    if failed:
        raise UnscoredError(
            f"{failed} AOIs could not be locked; what could be stands in the lock, run again for the rest"
        )


def _check(locks: list[Path], sources: Sources, as_json: bool) -> None:
    from dataclasses import asdict

    from harness.locking import check_lock

    with progress() as step:
        found = {short(path): check_lock(path, sources, step) for path in locks}
    if as_json:
        held = {"schema": 1, "locks": {path: [asdict(f) for f in each] for path, each in found.items()}}
        sys.stdout.write(json.dumps(held, indent=1) + "\n")
    else:
        for path, each in found.items():
            for f in each:
                out.print(f"{f.kind}: {f.aoi}, {f.modality}, {f.item}: {f.detail}", markup=False)
            out.print(f"{path}: {len(each)} findings" if each else f"{path}: as locked", markup=False)
    if any(found.values()):
        raise typer.Exit(1)


def _split(
    variant: Variant,
    grids: bool,
    worldcover: list[Path],
    published: list[Path],
    file: Path | None,
    as_json: bool,
    root: Path | None,
) -> None:
    from harness.split import rebuild, words

    with progress() as step:
        done = rebuild(
            variant.value, grids=grids, worldcover=worldcover, published=published, out=file, root=root, step=step
        )
    if as_json:
        sys.stdout.write(json.dumps(done.to_dict(), indent=1) + "\n")
    else:
        out.print("\n".join(words(done)), markup=False)
    if done.unread:
        raise UnscoredError(f"the published list could not be read: {done.unread}")
