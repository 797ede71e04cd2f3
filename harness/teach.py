"""Chips and labels into a training, and its files out: the straight line behind `harness train`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from harness.chips.chip import Chip
from harness.chips.recipe import Recipe, read_recipes
from harness.claims.audit import read_view
from harness.errors import ChipError, HarnessError, RegistryError
from harness.given import Given, from_files, from_lock
from harness.locking import Sources
from harness.models.training.fit import fit
from harness.models.training.fit_config import FitConfig, FitRecord, read_fit_config
from harness.names import known
from harness.places import eval_folder

Step = Callable[[str], None]


def teach(
    file: Path,
    out: Path,
    *,
    chips: Path | None = None,
    labels: Sequence[Path] = (),
    locks: Sequence[Path] = (),
    held_out: Sequence[Path] = (),
    sources: Sources | None = None,
    footprints: str = "stood",
    replaced: bool = False,
    root: Path | None = None,
    step: Step = lambda _: None,
) -> FitRecord:
    """Train a base or an adapter on labelled chips and write it in the published format.

    Args:
        file: The training, see `harness.models.training.fit_config`.
        out: Folder of the family's weights.
        chips: Folder of chips, see docs/chips-folder.md.
        labels: Label maps for them.
        locks: Or locks; the recipe of the training must be one that they were made for.
        held_out: Locks whose AOIs are the test set; they are written down and never trained on.
        sources: Services and caches, with locks.
        footprints: Rule between footprints and pixels, with locks.
        replaced: Whether another training's files in `out` may be replaced.
        root: Checkout with an eval/ folder.
        step: Told what is being done.

    Raises:
        RegistryError: No such family, recipe, scheme or lock, or they do not agree.
        ChipError: A chip that cannot be read or has no label: a training set with holes is none.
        SourceError: A service did not answer.
        WeightsError: As `fit`.
    """
    config = read_fit_config(file)
    view = read_view(eval_folder(root))
    family = view.families[known(config.family, view.families, "family")]
    recipes = read_recipes(eval_folder(root) / "recipes")
    recipe = recipes[known(config.recipe, recipes, "recipe")]
    known(config.scheme, view.schemes, "scheme")
    if (chips is None) == (not locks):
        raise RegistryError("give a folder of chips or locks: one of the two")
    test = tuple(_ids(held_out, recipe))

    def run(given: Given) -> FitRecord:
        labelled = _labelled(given, config, step)
        return fit(
            config, labelled, out, step, family=family, recipe=recipe, held_out=test, replace=replaced, root=root
        )

    if chips is not None:
        return run(from_files(chips, {}, labels, view.schemes))
    with from_lock(list(locks), recipe, sources or Sources(), view.schemes, footprints=footprints) as given:
        return run(given)


def _labelled(given: Given, config: FitConfig, step: Step) -> Iterator[Chip]:
    for number, name in enumerate(given.names, 1):
        step(f"{name} ({number} of {len(given.names)})")
        chip = given.chip(name)
        if isinstance(chip, HarnessError):
            raise chip
        label = given.label_in(chip, [config.scheme])
        if isinstance(label, str):
            raise ChipError(f"{name}: {label}; a training set with holes is none")
        fed = {modality: layer for modality, layer in chip.layers.items() if modality != "LULC"}
        yield replace(chip, layers=fed, label=label)


def _ids(locks: Sequence[Path], recipe: Recipe) -> Iterator[str]:
    from harness.chips.lock import read_lock

    for path in locks:
        ids = [one.aoi for one in read_lock(path).aois if one.recipe == recipe.id]
        if not ids:
            raise RegistryError(f"{path}: holds no AOI for recipe {recipe.id}; a test set without places is none")
        yield from ids
