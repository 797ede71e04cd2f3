"""harness chips."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.commands.console import err, live_clients, out, progress, refuse
from harness.errors import RegistryError, UnscoredError

if TYPE_CHECKING:
    from harness.chips.scenes import AoiLock
    from harness.locking import Sources


def chips(
    context: typer.Context,
    locks: Annotated[list[Path] | None, typer.Argument(help="Locks whose windows are read into the store.")] = None,
    recipe: Annotated[str, typer.Option(help="Recipe of the lock.")] = "training-code",
    only: Annotated[list[str] | None, typer.Option("--aoi", help="AOI id; may repeat; all where left out.")] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(help="`local`: workers on this machine; or the address of a dask scheduler.", metavar="ADDRESS"),
    ] = None,
    workers: Annotated[int, typer.Option(help="With --scheduler local: processes.", min=1)] = 2,
    verify: Annotated[bool, typer.Option("--verify", help="Read the whole store; exit 1 if one is damaged.")] = False,
    drop: Annotated[
        bool, typer.Option("--drop", help="With --verify: remove what is damaged, so that it is read anew.")
    ] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove leftovers, and the least recently used windows above the cap.")
    ] = False,
    cap_gb: Annotated[float, typer.Option("--cap", help="Size of the store in GB.", min=0)] = 20.0,
    as_json: Annotated[bool, typer.Option("--json", help="The same as JSON.")] = False,
    root: Annotated[Path | None, typer.Option(help="Checkout with an eval/ folder.")] = None,
) -> None:
    """Read the windows of locked AOIs into the store, check the store, or make it smaller.

    The store lies in HARNESS_CACHE (else the user's cache folder), under chips/.

    Example: harness chips aois/locks/nyc-eval.lock.json --scheduler local --workers 2
    """
    live_clients("harness chips")
    from harness.locking import Sources

    sources = Sources(cap_bytes=round(cap_gb * 1e9))
    if sum((bool(locks), verify, prune)) != 1:
        raise RegistryError("give locks to read, --verify or --prune: one of the three")
    if not verify:
        refuse(context, ("drop",), "--verify")
    if not locks:
        refuse(context, ("recipe", "only", "scheduler", "workers", "root"), "locks to read")
    if scheduler != "local":
        refuse(context, ("workers",), "--scheduler local")
    if verify:
        refuse(context, ("cap_gb",), "locks to read or --prune")
    if verify:
        _verify(sources, drop, as_json)
    elif prune:
        freed = sources.store.prune()
        _say(as_json, {"freed_bytes": freed}, [f"{sources.store.root}: {freed / 1e6:.1f} MB freed"])
    else:
        _read(locks or [], recipe, only or [], sources, scheduler, workers, as_json, root)


def _verify(sources: Sources, drop: bool, as_json: bool) -> None:
    found = sources.store.verify()
    dropped = sources.store.drop(found) if drop else 0
    held = {
        "entries": found.entries,
        "size_bytes": found.size_bytes,
        "damaged": found.damaged,
        "missing": found.missing,
        "left_over": found.left_over,
        "dropped": dropped,
    }
    lines = [f"damaged: {line}" for line in found.damaged]
    lines += [
        f"{sources.store.root}: {found.entries} windows, {found.size_bytes / 1e6:.1f} MB: "
        f"{len(found.damaged)} damaged, {len(found.missing)} pruned, {len(found.left_over)} left over"
        + (f"; {dropped} files removed" if drop else "")
    ]
    _say(as_json, held, lines)
    if not found.sound and not drop:
        raise typer.Exit(1)


def _read(
    locks: list[Path],
    recipe: str,
    only: list[str],
    sources: Sources,
    scheduler: str | None,
    workers: int,
    as_json: bool,
    root: Path | None,
) -> None:
    from dataclasses import asdict

    from harness.chips.lock import read_lock
    from harness.chips.many import fetch_many
    from harness.chips.recipe import read_recipes
    from harness.names import known
    from harness.places import eval_folder

    recipes = read_recipes(eval_folder(root) / "recipes")
    chosen = recipes[known(recipe, recipes, "recipe")]
    held: dict[str, AoiLock] = {}
    for path in locks:
        of_recipe = [one for one in read_lock(path).aois if one.recipe == recipe]
        if not of_recipe:
            raise RegistryError(f"{path}: holds no AOI for recipe {recipe}; `harness lock` adds it")
        for one in of_recipe:
            if one.aoi in held:
                raise RegistryError(f"{path}: {one.aoi} stands in another of these locks, too; leave one out")
            held[one.aoi] = one
    names = [known(name, held, f"locked AOI for recipe {recipe}") for name in dict.fromkeys(only)] or list(held)
    with progress() as step:
        done = fetch_many(
            [held[name] for name in names],
            chosen,
            sources.store.root,
            scheduler=scheduler,
            workers=workers,
            cap_bytes=sources.cap_bytes,
            tell=step,
        )
    lines = [
        f"{each.aoi}: {each.read} windows read, {each.stored} in the store, "
        + ", ".join(f"{name} {share:.1%} valid" for name, share in each.valid.items())
        for each in done
        if each.reason is None
    ]
    _say(as_json, {"schema": 1, "aois": [asdict(each) for each in done]}, lines)
    failed = [each for each in done if each.reason is not None]
    for each in failed:
        err.print(f"unscored: {each.aoi}: {each.reason}", markup=False, style=None)
    if failed:
        raise UnscoredError(f"{len(failed)} of {len(done)} AOIs could not be read; run again for the rest")


def _say(as_json: bool, held: dict[str, object], lines: list[str]) -> None:
    if as_json:
        sys.stdout.write(json.dumps(held, indent=1) + "\n")
    else:
        out.print("\n".join(lines), markup=False)
