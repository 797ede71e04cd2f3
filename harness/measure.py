"""Chips through a family's adapters: read, predict, score, write down."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from harness.beside import NOT_ASKED, Besides, Generating
from harness.chip_facts import Facts, picture, pixel_facts, sweep_rows
from harness.chips.chip import Chip, Label
from harness.chips.recipe import Recipe, read_recipes
from harness.claims.audit import read_view
from harness.claims.families import Family
from harness.claims.gates import answers
from harness.claims.groups import View
from harness.claims.scored import scored
from harness.claims.structure import alpha_claim, measurements, structure_rows
from harness.claims.verdicts import scenes_of
from harness.errors import HarnessError, RegistryError
from harness.folders import Arrays, commit_of, latest, reserved, usable, who, write_arrays, write_locks
from harness.given import Given, from_files, from_lock
from harness.names import known
from harness.places import cache_folder, eval_folder, written_under
from harness.records import AdapterRun, ChipScore, Measurement, RunRecord, write_run
from harness.records.run import SCHEMA
from harness.score.confusion import ConfusionMatrix
from harness.score.scenes import with_clusters
from harness.score.sweep import THRESHOLDS

if TYPE_CHECKING:
    from harness.chips.tensors import Inputs
    from harness.locking import Sources
    from harness.models.ensemble import Ensemble

Step = Callable[[str], None]


@dataclass(frozen=True)
class Request:
    """What somebody asked for."""

    family: str = "terramind-nyc"
    """Family id."""
    chips: Path | None = None
    """Folder of chips, see docs/chips-folder.md."""
    locks: tuple[Path, ...] = ()
    """Or locks, as `harness lock` writes them."""
    sources: Sources | None = None
    """With a lock: services and caches; the usual ones where left out."""
    aois: tuple[str, ...] = ()
    """With a lock: AOI ids; all of the recipe where empty."""
    failed: Mapping[str, str] = field(default_factory=dict)
    """With a lock: AOIs that could not be locked, and why; each is an unscored record."""
    scheme: str | None = None
    """With a lock: scheme in which land cover is scored."""
    footprints: str = "stood"
    """With a lock: rule between footprints and pixels."""
    weights: Path | None = None
    """Folder of weights; None takes HARNESS_WEIGHTS."""
    random_weights: bool = False
    """Write weights of our own, full size, and run those: mechanics only."""
    recipe: str = "training-code"
    """Recipe id."""
    tasks: tuple[str, ...] = ()
    """Adapter ids; all where empty."""
    declared: Mapping[str, str] = field(default_factory=dict)
    """Units by modality, as the user declares them."""
    labels: tuple[Path, ...] = ()
    """Label maps, as under eval/labels/; each adapter takes the one whose scheme is its own."""
    device: str = "auto"
    """As `harness.models.devices.device.resolve` takes it."""
    dtype: str = "float32"
    """Precision."""
    batch_norm: str = "refuse"
    """What to do with a decoder that has no running statistics."""
    seed: int = 0
    """For sampled tokens and random weights."""
    greedy: bool = False
    """Most probable token instead of sampling."""
    generated: bool = False
    """Have the base generate land cover of every chip, to stand beside the scores."""
    command: str = ""
    """As typed."""
    root: Path | None = None
    """Checkout with an eval/ folder."""
    out: Path | None = None
    """Folder for runs; eval/runs of the checkout where left out."""


@dataclass(frozen=True)
class Measured:
    """What came of it."""

    run: RunRecord
    """The record."""
    folder: Path
    """Where it stands, with arrays/ beside it."""

    @property
    def unscored(self) -> list[ChipScore]:
        """Chips that failed; of a lock also those without a label, as its places were chosen for having one."""
        locked = self.run.source == "lock"
        return [
            c for a in self.run.adapters for c in a.chips if c.probabilities_sha256 is None or (locked and not c.scored)
        ]


def measure(request: Request, step: Step = lambda _: None) -> Measured:
    """Run adapters over chips and write the run.

    A chip that cannot be read or does not suit the recipe is an unscored record and not the end.

    Args:
        request: What to run.
        step: Told what is being done.

    Raises:
        RegistryError: No such family, recipe, scheme, lock or AOI.
        ChipError: The folder holds no chips.
        WeightsError: Weights are refused.
        DeviceError: The device is not there.
    """
    from harness.models import stack
    from harness.models.ensemble import load_family

    folder = eval_folder(request.root)
    view = read_view(folder)
    family = view.families[known(request.family, view.families, "family")]
    recipes = read_recipes(folder / "recipes")
    recipe = recipes[known(request.recipe, recipes, "recipe")]
    runs = request.out or written_under(folder) / "runs"
    usable(runs)
    tasks = tuple(dict.fromkeys(request.tasks)) or tuple(a.id for a in family.adapters)
    for task in tasks:
        family.adapter(task)
    with _given(request, recipe, view, step) as given:
        locks = {path.name: path.read_bytes() for path in request.locks}
        step("importing the torch stack")
        prepared = stack.prepare()
        weights = _weights(request, family, step)
        step(f"loading {', '.join(tasks)}")
        ensemble = load_family(
            family,
            weights,
            tasks=tasks,
            recipe=recipe,
            device=request.device,
            dtype=request.dtype,
            batch_norm=request.batch_norm,
            alphas={a.id: alpha_claim(view.registry, a.id) for a in family.adapters},
            seed=request.seed,
            greedy=request.greedy,
        )
        if request.batch_norm == "recomputed":
            _recompute(ensemble, tasks, given, step)
        facts = Facts(folder, family.id, request.locks, recipe.id)
        stride = None if family.topology is None else family.topology.output_stride_px
        generate = _generating(request, family, weights, recipes, ensemble, step) if request.generated else NOT_ASKED
        besides = Besides(given, view.schemes, stride, generate)
        arrays, scores = _scored(ensemble, family, tasks, given, step, facts, besides)
        step("trivial maps beside the scores")
        scores = besides.second(scores, arrays)
    adapters: list[AdapterRun] = []
    found: list[Measurement] = []
    for task in tasks:
        audit = ensemble.adapters[task].audit
        rows = structure_rows(view.registry, family, audit)
        schemes = sorted({scheme for score, scheme in scores[task] if score.scored and scheme})
        if not audit.random_weights:
            found += measurements(view.registry, rows)
            chips = [score for score, _ in scores[task]]
            found += scored(view.registry, view.schemes, task, chips, schemes, view.rules, partial(scenes_of, view))
        adapters.append(
            AdapterRun(
                adapter=task,
                recipe=f"{recipe.id} {recipe.version}",
                scheme=", ".join(schemes) or None,
                load=audit,
                structure=rows,
                chips=[score for score, _ in scores[task]],
            )
        )
    random = any(a.load.random_weights for a in adapters)
    now = datetime.now(UTC).replace(microsecond=0)
    commit, dirty = commit_of(folder)
    conditions = {
        "seed": str(request.seed),
        "build": ensemble.device.build(),
        "tokens": "greedy" if request.greedy else "sampled",
        "float32 products": prepared.matmul,
        "torchvision": prepared.torchvision,
        "batch norm": request.batch_norm,
        "dates": "each encoded once, one at a time",
        **given.conditions,
    }
    target = reserved(runs, f"{now:%Y%m%dT%H%M%SZ}-{family.id}-{recipe.id}")
    run = RunRecord(
        schema=SCHEMA,
        id=target.name,
        created=now.isoformat(),
        who=who(),
        command=request.command,
        commit=commit,
        dirty=dirty,
        family=family.id,
        source=given.source,
        locks=dict(given.locks),
        weights="random" if random else "published",
        device=f"{ensemble.device.kind}: {ensemble.device.name}",
        dtype=request.dtype,
        recipe=recipe.id,
        conditions=conditions,
        packages=prepared.versions,
        adapters=adapters,
        measurements=found,
        gates=answers(view.gates.get(family.id), view.registry, adapters, view.rules, random),
    )
    write_arrays(target / "arrays", arrays)
    write_locks(target / "locks", locks, given.locks)
    write_run(run, target)
    latest(target)
    return Measured(run, target)


@contextmanager
def _given(request: Request, recipe: Recipe, view: View, step: Step) -> Iterator[Given]:
    """Chips and labels of a request."""
    if request.chips is not None:
        step(f"reading chips from {request.chips}")
        yield from_files(request.chips, request.declared, request.labels, view.schemes)
        return
    if not request.locks:
        raise RegistryError("name a folder of chips or a lock")
    from harness.locking import Sources

    with from_lock(
        request.locks,
        recipe,
        request.sources or Sources(),
        view.schemes,
        scheme=request.scheme,
        footprints=request.footprints,
        ids=request.aois,
        failed=request.failed,
    ) as given:
        yield given


def _generating(
    request: Request,
    family: Family,
    weights: Path | None,
    recipes: Mapping[str, Recipe],
    ensemble: Ensemble,
    step: Step,
) -> Generating | str:
    """What generates land cover of a chip, or why nothing does."""
    from harness.models.generation.baseline import generating
    from harness.models.generation.think import RECIPE

    step("loading the generator")
    recipe = recipes[known(RECIPE, recipes, "recipe")]
    return generating(family, weights, recipe, device=ensemble.device, seed=request.seed, greedy=request.greedy)


def _recompute(ensemble: Ensemble, tasks: Sequence[str], given: Given, step: Step) -> None:
    """Count batch-norm statistics on the chips for adapters whose files have none."""
    from harness.models.batchnorm import recompute

    for task in tasks:
        if ensemble.adapters[task].audit.batch_norm.in_file:
            continue
        step(f"{task}: counting batch-norm statistics on the chips")
        suitable = list(_suitable(ensemble, task, map(given.chip, given.names)))
        if suitable:  # otherwise every chip says why it does not run
            recompute(ensemble, task, suitable)


def _scored(
    ensemble: Ensemble,
    family: Family,
    tasks: Sequence[str],
    given: Given,
    step: Step,
    facts: Facts,
    besides: Besides,
) -> tuple[dict[str, Arrays], dict[str, list[tuple[ChipScore, str | None]]]]:
    """Every chip through every adapter, each read once.

    Returns:
        Arrays by chip; by adapter, each chip's score and the scheme of its label.
    """
    arrays: dict[str, Arrays] = {}
    scores: dict[str, list[tuple[ChipScore, str | None]]] = {task: [] for task in tasks}
    for name in given.names:
        step(f"{name}: reading")
        chip = given.chip(name)
        arrays[name] = picture(chip)
        for task in tasks:
            step(f"{task}: {name}")
            label = chip if isinstance(chip, HarnessError) else given.label(chip, family.adapter(task))
            score = facts.onto(_score(ensemble, task, name, chip, label, arrays[name]), task, chip)
            if score.scored and isinstance(chip, Chip) and isinstance(label, Label):
                classes = family.adapter(task).classes
                beside = besides.first(chip, label, score, classes, arrays[name], task)
                score = score.model_copy(update={"beside": beside})
            if name in given.splits:
                split, size = given.splits[name]
                score = score.model_copy(update={"split": split, "split_size": size})
            extra = [*given.notes(name), *([f"label: {label.why}"] if isinstance(label, Label) else [])]
            if given.source == "lock" and extra:
                score = score.model_copy(update={"notes": [*score.notes, *extra]})
            scores[task].append((score, label.scheme if isinstance(label, Label) else None))
    for task, pairs in scores.items():  # only now is it known which chips share ground with which
        whole = with_clusters([score for score, _ in pairs])
        scores[task] = [(score, scheme) for score, (_, scheme) in zip(whole, pairs, strict=True)]
    return arrays, scores


def _suitable(ensemble: Ensemble, task: str, chips: Iterable[Chip | HarnessError]) -> Iterator[Inputs]:
    """Chips that the adapter can take; the others are told when they are scored."""
    for chip in chips:
        if isinstance(chip, Chip):
            with suppress(HarnessError):
                yield ensemble.inputs(chip, task)


def _weights(request: Request, family: Family, step: Step) -> Path | None:
    if not request.random_weights:
        return request.weights
    from harness.models.synthetic import write_family

    folder = request.weights or cache_folder() / f"random-{family.id}-{request.seed}"
    step(f"writing random weights in the published format to {folder}, about 1.8 GB")
    return write_family(family, folder, request.seed)


def _score(
    ensemble: Ensemble,
    task: str,
    name: str,
    chip: Chip | HarnessError,
    label: Label | str | HarnessError,
    arrays: Arrays,
) -> ChipScore:
    if isinstance(chip, HarnessError):
        return ChipScore(chip=name, sha256="", scored=False, reason=str(chip))
    try:
        inputs = ensemble.inputs(chip, task)
        prediction = ensemble.predict(inputs, [task])[task]
    except HarnessError as err:
        return ChipScore(chip=name, sha256=chip.sha256, scored=False, reason=str(err))
    probabilities, classes = prediction.probabilities, prediction.classes
    arrays[f"classes:{task}"] = classes.astype(np.uint8)
    arrays[f"probabilities:{task}"] = probabilities
    matrix, rows = None, []
    if isinstance(label, Label):
        arrays.setdefault(f"label:{label.scheme}", label.data)
        arrays.setdefault("label", label.data)
        matrix = ConfusionMatrix.from_maps(label.data, classes, len(probabilities), label.ignore_index)
        rows = sweep_rows(probabilities, label)
    above = (
        {f"{t:g}": int((probabilities[1] > np.float32(t)).sum()) for t in THRESHOLDS} if len(probabilities) == 2 else {}
    )
    return ChipScore(
        chip=name,
        sha256=chip.sha256,
        scored=matrix is not None,
        reason=None if matrix is not None else str(label),
        confusion=[list(r) for r in matrix.counts] if matrix else None,
        ignored_px=matrix.ignored if matrix else 0,
        predicted_px=np.bincount(classes.ravel(), minlength=len(probabilities)).tolist(),
        predicted_above=above,
        sweep=rows,
        filled=dict(inputs.filled),
        notes=list(inputs.notes),
        dates_encoded=prediction.dates_encoded,
        probabilities_sha256=hashlib.sha256(np.ascontiguousarray(probabilities).tobytes()).hexdigest(),
        **pixel_facts(probabilities, classes, label),
    )
