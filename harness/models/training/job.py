"""One training, looked at from all sides before it starts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from torch import Tensor, nn

from harness.chips.chip import Chip
from harness.chips.recipe import Recipe, read_recipes
from harness.claims.families import Build, Family, read_families
from harness.errors import RegistryError, TopologyError, WeightsError
from harness.models import stack
from harness.models.load import Base
from harness.models.training import checkpoint
from harness.models.training.batches import Samples, read_samples
from harness.models.training.fit_config import FitConfig, FitRecord
from harness.models.weights import read_weights, sha256_file
from harness.places import eval_folder

T = TypeVar("T")

RECORD = "training.json"
"""Written beside an adapter's files; beside a base as `<stem>.training.json`."""


@dataclass(frozen=True)
class Job:
    """One training, looked at from all sides before it starts."""

    config: FitConfig
    """What was asked for."""
    family: Family
    """What it belongs to."""
    build: Build
    """What is built."""
    samples: Samples
    """What it sees."""
    held_out: list[str]
    """Test chips, by id."""
    base: Base | None
    """What an adapter is trained on."""
    target: Path
    """The base's file, or the adapter's folder."""
    work: Path
    """Folder for checkpoint and half-written files; gone when all is done."""
    fingerprint: str
    """As the record keeps it."""

    @property
    def record(self) -> Path:
        """Where the record goes."""
        if self.config.is_base:
            return self.target.with_name(f"{self.target.stem}.{RECORD}")
        return self.target / RECORD

    def changing(self, model: nn.Module) -> dict[str, Tensor]:
        """The model's own tensors that training changes, by name: all but an adapter's base."""
        return {n: t for n, t in model.state_dict().items() if self.config.is_base or not _frozen(n)}

    @property
    def checkpoint(self) -> Path:
        """Where the checkpoint lies."""
        return self.work / "checkpoint.pt"


def prepare(
    config: FitConfig,
    chips: Iterable[Chip],
    out: Path,
    *,
    family: Family | None = None,
    recipe: Recipe | None = None,
    held_out: Sequence[str] = (),
    root: Path | None = None,
) -> Job:
    """Look at everything that a training needs; arguments and errors as `fit`."""
    family = family or _known(read_families(eval_folder(root) / "families"), config.family, "family")
    recipe = recipe or _known(read_recipes(eval_folder(root) / "recipes"), config.recipe, "recipe")
    for kind, wanted, given in (("family", config.family, family.id), ("recipe", config.recipe, recipe.id)):
        if wanted != given:
            raise RegistryError(f"training of {config.adapter}: asks for {kind} {wanted}, was given {given}")
    pin = family.base()
    if pin is None or pin.file is None:
        raise RegistryError(f"family {family.id}: no pin names the base's file")
    build, base, target = family.build, None, out / pin.file
    if not config.is_base:
        adapter = family.adapter(config.adapter)
        build, target = family.build_of(adapter.id), out / adapter.folder
        if adapter.classes != config.classes:
            raise RegistryError(f"{adapter.id}: {config.classes} classes are trained; the family has {adapter.classes}")
        if adapter.label_schemes and config.scheme not in adapter.label_schemes:
            raise RegistryError(
                f"{adapter.id}: labels in scheme {config.scheme}; the family names {', '.join(adapter.label_schemes)}"
            )
        base = Base(read_weights(out / pin.file))
    if build.tim_modalities:
        raise TopologyError(
            f"{config.adapter}: a thinking backbone samples its tokens, so no training of it is repeatable; not trained"
        )
    samples = read_samples(chips, recipe, build, scheme=config.scheme, classes=config.classes, augment=config.augment)
    if both := sorted(set(held_out) & set(samples.ids)):
        raise RegistryError(f"{len(both)} test chips are among those trained on, first {both[0]}")
    fingerprint = checkpoint.digest(
        config.model_dump_json(exclude={"checkpoint_every"}),
        recipe.model_dump_json(),
        build.model_dump_json(),
        base.file.sha256 if base else "",
        samples.sha256,
        "\n".join(held_out),
        str(sorted(stack.prepare().versions.items())),
    )
    work = out / f".training-{config.adapter}"
    return Job(config, family, build, samples, list(held_out), base, target, work, fingerprint)


def finished(job: Job) -> FitRecord | None:
    """The record of this very training where its files are there as it wrote them; None otherwise."""
    try:
        record = FitRecord.model_validate_json(job.record.read_bytes())
        whole = all(sha256_file(job.work.parent / f.name) == f.sha256 for f in record.files)
    except (OSError, ValueError, WeightsError):  # none, of another version, or a file is gone: not finished
        return None
    return record if whole and record.fingerprint == job.fingerprint else None


def _known(table: dict[str, T], name: str, kind: str) -> T:
    if name not in table:
        raise RegistryError(f"no {kind} {name!r}; there are {', '.join(sorted(table)) or 'none'}")
    return table[name]


def _frozen(name: str) -> bool:
    """Whether a tensor of an adapter's model is the base's."""
    return name.startswith("encoder.") and "lora_" not in name
