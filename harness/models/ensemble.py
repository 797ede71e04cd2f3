"""One base, many adapters: `load_family`, then `predict`."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from harness.chips.chip import Chip
from harness.chips.recipe import Recipe, read_recipes
from harness.chips.tensors import Inputs, to_inputs
from harness.claims.families import Family, read_families
from harness.errors import RegistryError, TopologyError, WeightsError
from harness.models import synthetic, thinking
from harness.models.audit import Loaded
from harness.models.dates import DateCache
from harness.models.devices.device import Device, place, resolve, to_device
from harness.models.devices.memory import in_batches
from harness.models.devices.precision import exact
from harness.models.load import Base, load_adapter
from harness.models.published import CONFIG, read_adapter
from harness.models.tiles import CROP_PX, DELTA_PX, EVEN_PX, STRIDE_PX, tiled
from harness.models.weights import read_weights
from harness.places import eval_folder

T = TypeVar("T")

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""Precisions by name; the two half ones are autocast."""


LARGEST_CHIP_PX = 256
"""Longest side that goes through in one pass: the training code's chips; larger images are tiled."""


@dataclass(frozen=True)
class Prediction:
    """What one adapter says of one chip."""

    adapter: str
    """Adapter id."""
    logits: NDArray[np.float32]
    """Shape (classes, H, W)."""
    dates_encoded: int
    """Encoder passes that it took."""

    @property
    def probabilities(self) -> NDArray[np.float32]:
        """Softmax of the logits over the classes, shape (classes, H, W), each in 0..1."""
        shifted = np.exp(self.logits - self.logits.max(axis=0, keepdims=True))
        out: NDArray[np.float32] = shifted / shifted.sum(axis=0, keepdims=True)
        return out

    @property
    def classes(self) -> NDArray[np.int64]:
        """Class of the largest logit, the lowest index where several are equal; shape (H, W)."""
        out: NDArray[np.int64] = self.logits.argmax(axis=0).astype(np.int64)
        return out


@dataclass
class Ensemble:
    """Adapters of one family over one base.

    Each adapter has its own modules, and all of them hold the same base tensors: there is no
    active adapter to switch, nothing is ever merged in place, and a call cannot see what another
    left behind.
    """

    family: Family
    """Which family."""
    adapters: dict[str, Loaded]
    """By adapter id."""
    device: Device
    """Where the models are."""
    recipe: Recipe | None = None
    """How chips become tensors, where `predict` is given chips."""
    dtype: str = "float32"
    """Precision, by name."""
    seed: int = 0
    """For sampled tokens."""
    greedy: bool = False
    """Take the most probable token instead of sampling."""
    reuse_dates: bool = True
    """Encode no date twice."""
    dates: DateCache = field(default_factory=DateCache)
    """Features of dates seen so far."""

    def predict(self, chip: Chip | Inputs, tasks: Sequence[str]) -> dict[str, Prediction]:
        """Run adapters on one chip, in one pass up to `LARGEST_CHIP_PX`, in tiles beyond.

        Args:
            chip: A raw chip, normalised here by the ensemble's recipe, or tensors of shape
                (C, T, H, W) that a recipe made. Sides of any length from 32 px on; those that are no
                multiple of 32 go through `harness.models.tiles` as well.
            tasks: Adapter ids.

        Returns:
            One prediction a task, in their order.

        Raises:
            WeightsError: No such adapter, or somebody merged its LoRA in place.
            RecipeError: A raw chip without a recipe, or one that the recipe cannot take.
            TopologyError: The tensors are not what the adapter's topology takes.
            DeviceError: Memory ran out.
        """
        out: dict[str, Prediction] = {}
        for task in tasks:
            inputs = self.inputs(chip, task)
            height, width = next(iter(inputs.arrays.values())).shape[2:]
            whole = max(height, width) <= LARGEST_CHIP_PX and not height % EVEN_PX and not width % EVEN_PX
            out[task] = self.predict_many([inputs], task)[0] if whole else self.predict_tiled(inputs, task)
        return out

    def predict_tiled(
        self,
        chip: Chip | Inputs,
        task: str,
        crop_px: int = CROP_PX,
        stride_px: int = STRIDE_PX,
        delta_px: int = DELTA_PX,
        batch: int = 1,
    ) -> Prediction:
        """Run one adapter in tiles, whatever the size.

        Args:
            chip: As `predict`.
            task: Adapter id.
            crop_px: As `harness.models.tiles.tiled`.
            stride_px: As `tiled`.
            delta_px: As `tiled`.
            batch: As `tiled`.

        Returns:
            Logits of the whole image; `dates_encoded` counts all tiles.

        Raises:
            WeightsError: As `predict`.
            RecipeError: As `predict` and `tiled`.
            TopologyError: As `predict` and `tiled`.
        """
        model, build = self.loaded(task).model, self.family.build_of(task)
        self.refuse_merged()
        inputs = self.inputs(chip, task)
        before, tiles = self.dates.encoded, 0

        def one(tile: dict[str, Tensor]) -> Tensor:
            nonlocal tiles
            tiles += next(iter(tile.values())).shape[0]
            return self.forward(task, {m: to_device(t, self.device) for m, t in tile.items()})

        logits = tiled(one, inputs, crop_px, stride_px, delta_px, batch)
        steps = tiles * (build.timesteps or 1)
        return Prediction(task, logits, self.dates.encoded - before if self.by_date(model) else steps)

    def predict_many(
        self, chips: Sequence[Chip | Inputs], task: str, batch: int = 1, say: Callable[[str], None] = lambda _: None
    ) -> list[Prediction]:
        """Run one adapter on chips of one size, several at a time.

        Args:
            chips: As `predict`, all of one size that goes through in one pass.
            task: Adapter id.
            batch: How many at a time; halved where memory runs out.
            say: Told of every halving.

        Returns:
            One prediction a chip, in their order; `dates_encoded` is that of the batch it was in.

        Raises:
            WeightsError, RecipeError, TopologyError: As `predict`.
            DeviceError: Memory ran out at one chip.
        """
        model = self.loaded(task).model
        self.refuse_merged()

        def run(some: Sequence[Inputs]) -> list[Prediction]:
            stacked = {m: torch.cat([_tensor(x.arrays[m]) for x in some]) for m in some[0].arrays}
            before = self.dates.encoded
            logits = self.forward(task, {m: to_device(t, self.device) for m, t in stacked.items()})
            held = logits.float().cpu().numpy()
            if not np.isfinite(held).all():
                broken, where = int((~np.isfinite(held)).sum()), ", ".join(x.chip_id for x in some)
                raise WeightsError(
                    f"{task}: {broken:,} logits of {where} are not finite in {self.dtype}; weights out of range, or a "
                    "precision that overflows: try --dtype float32"
                )
            steps = next(iter(stacked.values())).shape[2] * len(some)
            passes = self.dates.encoded - before if self.by_date(model) else steps
            return [Prediction(task, np.ascontiguousarray(one), passes) for one in held]

        return in_batches([self.inputs(c, task) for c in chips], run, batch, self.device, say)

    def forward(self, task: str, batch: dict[str, Tensor]) -> Tensor:
        """Logits (B, classes, H, W) of tensors (B, C, T, H, W) on the ensemble's device."""
        model = self.loaded(task).model
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode())
            stack.enter_context(thinking.repeatable(model, self.seed, greedy=self.greedy))
            if self.by_date(model):
                key = f"{task}/{self.dtype}/{self.device.torch}"
                stack.enter_context(self.dates.over(model.encoder.encoder, key, reuse=self.reuse_dates))
            stack.enter_context(self.device.running())
            if self.dtype == "float32":
                stack.enter_context(exact())
            else:
                stack.enter_context(torch.autocast(self.device.torch.type, dtype=DTYPES[self.dtype]))
            out = model(dict(batch))
        logits: Tensor = out.output
        return logits

    def inputs(self, chip: Chip | Inputs, task: str) -> Inputs:
        """Tensors for one adapter, checked against its topology.

        Raises:
            RecipeError: As `predict`.
            TopologyError: As `predict`.
        """
        build = self.family.build_of(task)
        if isinstance(chip, Chip):
            if self.recipe is None:
                raise TopologyError(f"{chip.id}: a raw chip needs a recipe; name one of eval/recipes/")
            chip = to_inputs(chip, self.recipe, timesteps=build.timesteps or 1, multiple_px=1)
        for modality in build.modalities:
            array = chip.arrays.get(modality)
            bands, steps = len(build.bands.get(modality, ())), build.timesteps
            if array is None:
                raise TopologyError(f"{chip.chip_id}: {task} needs {modality}; the chip has {', '.join(chip.arrays)}")
            if array.ndim != 4 or array.shape[:2] != (bands, steps) or min(array.shape[2:]) < EVEN_PX:
                raise TopologyError(
                    f"{chip.chip_id}: {modality} is {array.shape}; {task} takes ({bands}, {steps}, H, W) with H and W "
                    f"of {EVEN_PX} px or more"
                )
        return replace(chip, arrays={m: chip.arrays[m] for m in build.modalities})

    def merged(self, task: str) -> nn.Module:
        """A copy of one adapter's model with LoRA added into the weights; the ensemble keeps its own."""
        from peft.tuners.lora import LoraLayer

        model = copy.deepcopy(self.loaded(task).model)
        for module in model.modules():
            if isinstance(module, LoraLayer):
                # a thinking adapter's generator and encoder share base weights and have LoRA of their own
                base = module.get_base_layer()
                base.weight = nn.Parameter(base.weight.detach().clone(), requires_grad=False)
                module.merge(safe_merge=True)
        return model

    def distinct_bytes(self) -> tuple[int, int]:
        """Bytes that the models hold, and bytes of the tensors with different addresses among them."""
        seen: dict[int, int] = {}
        held = 0
        for loaded in self.adapters.values():
            for t in [*loaded.model.parameters(), *loaded.model.buffers()]:
                size = t.numel() * t.element_size()
                held += size
                seen[t.data_ptr()] = size
        return held, sum(seen.values())

    def refuse_merged(self) -> None:
        """Refuse to run after LoRA of any adapter was merged in place or switched off: base weights are shared.

        Raises:
            WeightsError: Names the first such layer.
        """
        for task, each in self.adapters.items():
            for name, module in each.model.named_modules():
                if getattr(module, "merged_adapters", None) or getattr(module, "_disable_adapters", False) is True:
                    raise WeightsError(
                        f"{task}: LoRA was merged in place or switched off at {name}; adapters share that weight. Load "
                        "the family again, and use `merged` for a merged copy"
                    )

    def loaded(self, task: str) -> Loaded:
        """One adapter's model and its load audit.

        Raises:
            WeightsError: It was not loaded.
        """
        if task not in self.adapters:
            raise WeightsError(f"{task}: not loaded; there are {', '.join(self.adapters)}")
        return self.adapters[task]

    def by_date(self, model: nn.Module) -> bool:
        """Whether dates can be encoded one by one: not where tokens are sampled for the whole batch."""
        sampled = thinking.thinks(model) and not self.greedy
        return not sampled and hasattr(model.encoder, "pool_temporal")


def _tensor(array: NDArray[np.float32]) -> Tensor:
    """A batch of one, without a copy where the array can be written to."""
    tensor: Tensor = torch.from_numpy(np.require(array, requirements=["C", "W"]))
    return tensor[None]


def load_family(
    family: Family | str = "terramind-nyc",
    weights: Path | str | None = None,
    *,
    tasks: Sequence[str] | None = None,
    recipe: Recipe | str | None = None,
    device: Device | str = "auto",
    dtype: str = "float32",
    batch_norm: str = "refuse",
    alphas: Mapping[str, float | None] | None = None,
    seed: int = 0,
    greedy: bool = False,
    reuse_dates: bool = True,
    root: Path | None = None,
) -> Ensemble:
    """Load a family's adapters over one base.

    Args:
        family: The family, or its id under eval/families/.
        weights: Folder with the base file and one folder an adapter, in the published format;
            HARNESS_WEIGHTS where left out. A folder written by `harness.models.synthetic` is
            known by its marker and stays marked as random.
        tasks: Adapter ids; all where left out.
        recipe: Recipe, or its id under eval/recipes/; needed to predict raw chips.
        device: As `harness.models.devices.device.resolve` takes it.
        dtype: float32, bfloat16 or float16.
        batch_norm: What to do where a decoder file has no running statistics, see `load_adapter`.
        alphas: lora_alpha by adapter as a registered claim has it.
        seed: For sampled tokens.
        greedy: Take the most probable token instead of sampling.
        reuse_dates: Encode no date twice.
        root: Checkout with an eval/ folder; found by itself where left out.

    Raises:
        RegistryError: No such family.
        RecipeError: No such recipe.
        WeightsError: A file is refused.
        DeviceError: The device is not there.
    """
    folder = eval_folder(root)
    chosen = _named(read_families(folder / "families"), family, "family") if isinstance(family, str) else family
    how = _named(read_recipes(folder / "recipes"), recipe, "recipe") if isinstance(recipe, str) else recipe
    if batch_norm not in ("refuse", "initial", "recomputed"):
        raise TopologyError(f"batch_norm {batch_norm!r}: refuse, initial or recomputed")
    if dtype not in DTYPES:
        raise TopologyError(f"dtype {dtype!r}: not known; there are {', '.join(DTYPES)}")
    where = resolve(device) if isinstance(device, str) else device
    given = weights or os.environ.get("HARNESS_WEIGHTS")
    if not given:
        raise WeightsError(
            f"{chosen.id}: no weights; name their folder with weights= (`--weights` on the command line) or "
            "HARNESS_WEIGHTS"
        )
    at = Path(given)
    pin = chosen.base()
    if pin is None or pin.file is None:
        raise WeightsError(f"family {chosen.id}: no pin names the base's file")
    wanted = list(dict.fromkeys(tasks)) if tasks is not None else [a.id for a in chosen.adapters]
    random = (at / synthetic.MARKER).is_file() or any(_says_random(at / chosen.adapter(t).folder) for t in wanted)
    base = Base(read_weights(at / pin.file, None if random else pin.sha256))
    adapters = {}
    for task in wanted:
        files = read_adapter(chosen, chosen.adapter(task), at)
        loaded = load_adapter(
            chosen, files, base, batch_norm=batch_norm, random_weights=random, alpha_claim=(alphas or {}).get(task)
        )
        thinking.drop_tokenizers(loaded.model)
        place(loaded.model, where)
        adapters[task] = loaded
        files.lora.tensors.clear()
        files.decoder.tensors.clear()
    base.file.tensors.clear()
    return Ensemble(chosen, adapters, where, how, dtype, seed, greedy, reuse_dates)


def _named(table: dict[str, T], name: str, kind: str) -> T:
    if name not in table:
        raise RegistryError(f"no {kind} {name!r}; there are {', '.join(sorted(table)) or 'none'}")
    return table[name]


def _says_random(folder: Path) -> bool:
    """Whether an adapter's config names random weights as its base; a config that cannot be read is refused later."""
    try:
        return synthetic.RANDOM_BASE in (folder / CONFIG).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
