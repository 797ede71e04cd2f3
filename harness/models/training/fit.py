"""Training of narrow families: a base from nothing, LoRA adapters with their decoders over a frozen base.

A folder of weights grows in two kinds of runs: the base first, then each adapter over the file that
the base's run wrote, so that what was rounded there is what adapters are trained on. The folder is
what `harness.models.ensemble.load_family` takes.

Everything that a step does is fixed by seed and step: order, symmetries, dropout. So a training that
was killed goes on from its checkpoint to the same bytes. Losses are cross-entropy; the optimiser is
AdamW. Sums of floating-point numbers depend on how threads share them, so bytes are those of one
thread count, one version of torch and one kind of processor.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from pathlib import Path

from harness.chips.chip import Chip
from harness.chips.recipe import Recipe
from harness.claims.families import Family
from harness.errors import RegistryError, WeightsError
from harness.models import stack
from harness.models.topology import Topology
from harness.models.training import checkpoint
from harness.models.training.export import ExportConfig, export_adapter, export_base, round_weights, swapped
from harness.models.training.fit_config import FitConfig, FitRecord, WrittenFile
from harness.models.training.job import RECORD, Job, finished, prepare
from harness.models.training.steps import build_model, train
from harness.models.weights import sha256_file
from harness.places import write_file

WINDOWS = 20
"""Means of the loss that a record keeps."""


def fit(
    config: FitConfig,
    chips: Iterable[Chip],
    out: Path,
    step: Callable[[str], None] = lambda _: None,
    *,
    family: Family | None = None,
    recipe: Recipe | None = None,
    held_out: Sequence[str] = (),
    replace: bool = False,
    root: Path | None = None,
) -> FitRecord:
    """Train a base or an adapter and write it in the published format.

    Killed at any moment, it leaves the target as it was and a hidden folder beside it; the same call
    goes on from there. A call whose result is there already returns its record.

    Args:
        config: What to train.
        chips: Labelled chips, one at a time if need be; their tensors are held in memory.
        out: Folder of the family's weights: the base's file, and one folder an adapter.
        step: Told what happens, a line at a time.
        family: Where it is not one of eval/families/.
        recipe: Where it is not one of eval/recipes/.
        held_out: Ids of test chips, for splits/test.txt; none may be trained on.
        replace: Whether a base or adapter of another training may be replaced.
        root: Checkout with an eval/ folder; found by itself where left out.

    Raises:
        RegistryError: No such family, adapter or recipe, or they do not agree with the config.
        ChipError, UnitError, RecipeError: Chips do not fit.
        TopologyError: The family cannot be built, or cannot be trained here.
        WeightsError: The base's file is missing or refused, the target holds something else, the
            training diverged, or writing fails.
    """
    job = prepare(config, chips, out, family=family, recipe=recipe, held_out=held_out, root=root)
    done = finished(job)
    if done is not None:
        step(f"{config.adapter}: trained already, {job.record} agrees with config, chips and files")
        shutil.rmtree(job.work, ignore_errors=True)
        return done
    held = _checkpoint(job, step)
    there = job.target.is_file() or (job.target.is_dir() and any(job.target.iterdir()))
    if there and held is None and not replace:
        raise WeightsError(
            f"{job.target}: holds something that this training did not write; name another folder, or say that it may "
            "be replaced"
        )
    topology = build_model(job)
    resumed = 0 if held is None else held.step
    started = time.perf_counter()
    losses = train(job, topology.model, held, step)
    took = time.perf_counter() - started
    round_weights(job.changing(topology.model), config.dtype)
    record = write(job, topology, losses, resumed, took)
    shutil.rmtree(job.work, ignore_errors=True)
    step(f"{config.adapter}: {len(losses)} steps, loss {record.losses[0]:.4f} to {record.losses[-1]:.4f}: {job.target}")
    return record


def write(job: Job, topology: Topology, losses: list[float], resumed: int, duration_s: float) -> FitRecord:
    """Write what was trained, and its record.

    A file or folder is whole or not there. The record of a base follows its file; a kill in between
    leaves the checkpoint, from which the next call writes both.

    Raises:
        WeightsError: Something that was trained has no place in the format, or writing fails.
    """
    config, out = job.config, job.work.parent
    parameters = [p for n, p in topology.model.named_parameters() if p.requires_grad]
    windows = min(WINDOWS, len(losses))
    cuts = [len(losses) * i // windows for i in range(windows + 1)]
    record = FitRecord(
        fingerprint=job.fingerprint,
        config=config,
        backbone=str(job.build.backbone),
        chips=job.samples.ids,
        held_out=job.held_out,
        encoded_once=job.samples.once,
        base_sha256=job.base.file.sha256 if job.base else None,
        trained_parameters=sum(p.numel() for p in parameters),
        losses=[sum(losses[a:b]) / (b - a) for a, b in pairwise(cuts)],
        resumed_at=resumed,
        duration_s=round(duration_s, 1),
        versions=stack.prepare().versions,
        files=[],
    )
    staged, name = job.work / job.target.name, job.target.relative_to(out).as_posix()
    try:
        job.target.parent.mkdir(parents=True, exist_ok=True)
        if config.is_base:
            export_base(topology, staged, dtype=config.dtype, replace=True)
            write_file(job.work / RECORD, _text(record, {name: staged}))
            staged.replace(job.target)
            (job.work / RECORD).replace(job.record)
        else:
            shutil.rmtree(staged, ignore_errors=True)
            if job.target.is_dir():
                shutil.copytree(job.target, staged)
            files = export_adapter(topology.model, staged, _export_config(job), replace=True, dtype=config.dtype)
            if job.held_out:
                write_file(staged / "splits" / "test.txt", "".join(f"{test}\n" for test in job.held_out))
            write_file(staged / RECORD, _text(record, {f"{name}/{p.name}": p for p in files}))
            swapped(staged, job.target)
    except OSError as err:
        raise WeightsError(f"{job.target}: cannot be written: {err.strerror or err}") from err
    return FitRecord.model_validate_json(job.record.read_bytes())


def _text(record: FitRecord, written: dict[str, Path]) -> str:
    """The record with its files, by the names that they will have."""
    files = [WrittenFile(name=n, sha256=sha256_file(p), size_bytes=p.stat().st_size) for n, p in written.items()]
    return record.model_copy(update={"files": files}).model_dump_json(indent=2) + "\n"


def _export_config(job: Job) -> ExportConfig:
    config, pin = job.config, job.family.base()
    if config.lora is None or pin is None:
        raise RegistryError(f"{config.adapter}: no LoRA or no base; there is no adapter to write")
    return ExportConfig(
        peft_type="LORA",
        r=config.lora.r,
        lora_alpha=config.lora.alpha,
        lora_dropout=0.0,
        target_modules=list(job.build.lora_targets),
        base_model_name_or_path=f"{pin.repository}/{pin.file}",
        num_classes=config.classes,
        decoder_name=str(job.build.decoder),
    )


def _checkpoint(job: Job, step: Callable[[str], None]) -> checkpoint.Held | None:
    """This training's checkpoint; None where there is none, or that of another training, which is said."""
    held = checkpoint.read(job.checkpoint)
    if held is None:
        return None
    if held.fingerprint != job.fingerprint:
        step(f"{job.checkpoint}: of another training (config, chips, base or versions differ); starting anew")
        return None
    step(f"{job.config.adapter}: going on after step {held.step} of {job.config.steps}")
    return held
