"""`harness think`: modalities of a chip that TerraMind generates from those that the chip has.

TerraTorch builds the generator and its tokenizers; here their weights are loaded strictly or marked
as random, codebooks are checked, inputs and outputs get their physical units, and one seed fixes
tokens and diffusion noise.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from harness.chips.tensors import PATCH_PX, Inputs
from harness.claims.families import Family
from harness.errors import TopologyError, WeightsError
from harness.models import stack, synthetic, thinking
from harness.models.devices.device import Device, resolve
from harness.models.load import Base, load_base
from harness.models.topology import Rule, Topology, explained, own_seed, uninitialised
from harness.models.weights import WeightFile, read_weights
from harness.records.think import NDVI_MEAN, NDVI_STD, CodebookRecord, PartRecord


@dataclass(frozen=True)
class Target:
    """A modality that can be generated."""

    name: str
    """As TerraTorch calls it inside."""
    file: str
    """Tokenizer's file as published."""
    levels: tuple[int, ...]
    """Levels of each FSQ dimension that its codebook must have (claims terramind-1.0/codebook.level.* and
    lulc.level.*)."""
    channels: int
    """Channels of the output: classes, or 1."""
    mean: float = 0.0
    """Output x std + mean is the physical value."""
    std: float = 1.0
    """See `mean`."""


TARGETS: dict[str, Target] = {
    "LULC": Target("tok_lulc@224", "TerraMind_Tokenizer_LULC.pt", (7, 5, 5, 5, 5), 10),
    "NDVI": Target("tok_ndvi@224", "TerraMind_Tokenizer_NDVI.pt", (8, 8, 8, 6, 5), 1, NDVI_MEAN, NDVI_STD),
}
"""What `harness think` generates. File names: terratorch 1.2.11, tokenizer_register.py. Land cover comes
as logits; NDVI comes standardised, as TerraTorch's own forward turns it back with these figures."""

PREFIX = "sampler.model."
"""Where the generator holds the base's tensors."""

UNUSED = (Rule(r"(encoder|decoder)_embeddings\.", "embedding of a modality that is not built"),)
"""Base tensors that may be left over."""

TOKENIZER_UNUSED = (
    Rule(r"(encoder|quant_proj)\.", "encoder of the tokenizer: runs only where its modality is an input"),
)
"""Tensors of a tokenizer that generation does not run."""


@dataclass(frozen=True)
class Generator:
    """A generator that is ready to run."""

    name: str
    """In TerraTorch's registry."""
    model: nn.Module
    """TerraTorch's model in evaluation mode, without its tokenizers' encoders."""
    given: tuple[str, ...]
    """Modalities that it takes."""
    to: tuple[str, ...]
    """Modalities that it makes, in order; each one sees those before it."""
    parts: tuple[PartRecord, ...]
    """Base and tokenizers."""
    codebooks: tuple[CodebookRecord, ...]
    """As checked."""
    device: Device
    """Where it is."""

    @property
    def random(self) -> tuple[str, ...]:
        """Parts with random weights."""
        return tuple(p.part for p in self.parts if p.weights != "file")


@dataclass(frozen=True)
class Generated:
    """What one chip gave."""

    chip_id: str
    """Chip."""
    arrays: dict[str, NDArray[np.float32]]
    """LULC: logits (10, H, W). NDVI: (1, H, W), in its own unit."""
    seed: int
    """For tokens and noise."""
    steps: int
    """Diffusion steps."""
    greedy: bool
    """Whether the most probable token was taken everywhere."""
    duration_s: float
    """Wall clock, transfers of the result included."""

    @property
    def lulc(self) -> NDArray[np.int64]:
        """Output index of the largest logit, the lowest where several are equal; shape (H, W).

        Raises:
            TopologyError: No land cover was generated.
        """
        if "LULC" not in self.arrays:
            raise TopologyError(f"{self.chip_id}: no land cover was generated, only {', '.join(self.arrays)}")
        out: NDArray[np.int64] = self.arrays["LULC"].argmax(axis=0).astype(np.int64)
        return out


def load_generator(
    family: Family,
    weights: Path | None,
    to: Sequence[str] = ("LULC", "NDVI"),
    given: Sequence[str] = ("S2L2A",),
    *,
    device: Device | str = "auto",
    seed: int = 0,
) -> Generator:
    """Build a family's generator, load base and tokenizers strictly, and check the codebooks.

    Args:
        family: Its backbone's name with `_generate` is built; its pins name and hash the base's file.
        weights: Folder with the base's file and, by their published names, the tokenizers'. None
            for random weights. A tokenizer that is not there gets random weights; the parts say so.
        to: Modalities to generate, of `TARGETS`, in order.
        given: Modalities of the family that go in.
        device: As `harness.models.devices.device.resolve` takes it.
        seed: For random weights.

    Raises:
        TopologyError: An unknown modality, a codebook of another size, other statistics, or it cannot be built.
        WeightsError: A file is refused: a tensor missing, left over or of another shape, another hash.
        DeviceError: The device is not there.
    """
    where = resolve(device) if isinstance(device, str) else device
    _check_modalities(family, to, given)
    name = f"{family.build.backbone}_generate"
    model = _build(name, to, given)
    codebooks = tuple(_codebook(model, modality) for modality in to)
    for modality in to:
        _check_statistics(model, modality)
    random_folder = weights is not None and (weights / synthetic.MARKER).is_file()
    parts = [_load_base(family, model, name, weights, random_folder, seed)]
    parts += [_load_tokenizer(family, model, m, weights, random_folder, seed) for m in to]
    for modality in to:
        tokenizer = model.tokenizer[TARGETS[modality].name]
        tokenizer.encoder, tokenizer.quant_proj = nn.Identity(), nn.Identity()
    model.requires_grad_(False)
    return Generator(name, model.to(where.torch), tuple(given), tuple(to), tuple(parts), codebooks, where)


def _check_modalities(family: Family, to: Sequence[str], given: Sequence[str]) -> None:
    for what, chosen, known in (("generated", to, tuple(TARGETS)), ("given", given, tuple(family.build.modalities))):
        wrong = [m for m in chosen if m not in known]
        if wrong or not chosen or len(set(chosen)) != len(chosen):
            raise TopologyError(
                f"family {family.id}: {', '.join(wrong or chosen) or 'nothing'} cannot be {what}; "
                f"{' and '.join(known)} can, each once"
            )


def _build(name: str, to: Sequence[str], given: Sequence[str]) -> nn.Module:
    stack.prepare()
    from terratorch.registry import TERRATORCH_FULL_MODEL_REGISTRY as REGISTRY

    if name not in REGISTRY:
        raise TopologyError(f"{name}: TerraTorch has no such generator")
    try:
        with own_seed(), uninitialised():
            model: nn.Module = REGISTRY.build(
                name, modalities=list(given), output_modalities=list(to), pretrained=False
            )
    except (KeyError, TypeError, ValueError, NotImplementedError, ImportError, RuntimeError) as err:
        raise TopologyError(f"{name}: cannot be built: {type(err).__name__}: {err}") from err
    return model.eval()


def _codebook(model: nn.Module, modality: str) -> CodebookRecord:
    """The codebook as built, held against what it must be and against what the generator predicts.

    Raises:
        TopologyError: They differ.
    """
    target = TARGETS[modality]
    quantizer = model.tokenizer[target.name].quantize
    levels, entries = [int(n) for n in quantizer._levels], int(quantizer.codebook_size)
    wanted = int(np.prod(target.levels))
    tokens = int(model.sampler.model.decoder_embeddings[target.name].to_logits.weight.shape[0])
    if levels != list(target.levels) or entries != wanted:
        raise TopologyError(
            f"{modality}: its tokenizer has {entries:,} codes ({'x'.join(map(str, levels))}), not {wanted:,} "
            f"({'x'.join(map(str, target.levels))}): another tokenizer"
        )
    if tokens != entries:
        raise TopologyError(
            f"{modality}: the generator predicts one of {tokens:,} tokens, its tokenizer reads {entries:,}: "
            "they belong to different models"
        )
    return CodebookRecord(modality=modality, levels=levels, entries=entries)


def _check_statistics(model: nn.Module, modality: str) -> None:
    target = TARGETS[modality]
    for what, table in (("mean", model.pretraining_mean), ("std", model.pretraining_std)):
        held, wanted = table[target.name].flatten().tolist(), getattr(target, what)
        if any(abs(h - wanted) > 1e-6 for h in held):
            raise TopologyError(
                f"{modality}: TerraTorch standardises with {what} {held}, not {wanted}: another version"
            )


class _Holder(nn.Module):
    """A model with the generator where strict loading looks for an encoder."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder


def _load_base(
    family: Family, model: nn.Module, name: str, weights: Path | None, random_folder: bool, seed: int
) -> PartRecord:
    wanted = [n for n in model.state_dict() if n.startswith(PREFIX)]
    if weights is None:
        fill_random(model.sampler.model, "base", seed)
        return _random_part("base", len(wanted))
    pin = family.base()
    if pin is None or pin.file is None:
        raise WeightsError(f"family {family.id}: no pin names the base's file")
    file = read_weights(weights / pin.file, None if random_folder else pin.sha256)
    rules = (Rule(r"tokenizer\.", "tokenizer: has a file of its own"),)
    topology = Topology(_Holder(model), (PREFIX,), UNUSED, rules, "sampler.model.encoder", ())
    load_base(topology, Base(file), name)
    used = {n.removeprefix(PREFIX) for n in wanted}
    return _file_part("base", file, random_folder, len(wanted), used, UNUSED)


def _load_tokenizer(
    family: Family, model: nn.Module, modality: str, weights: Path | None, random_folder: bool, seed: int
) -> PartRecord:
    target, part = TARGETS[modality], f"{modality} tokenizer"
    tokenizer = model.tokenizer[target.name]
    if weights is None or not (weights / target.file).is_file():
        wanted = [n for n in tokenizer.state_dict() if explained(n, TOKENIZER_UNUSED) is None]
        for child_name, child in tokenizer.named_children():
            if explained(f"{child_name}.", TOKENIZER_UNUSED) is None:
                fill_random(child, f"{part}.{child_name}", seed)
        return _random_part(part, len(wanted))
    sha256 = next((p.sha256 for p in family.pins if p.file == target.file), None)
    return put_tokenizer(tokenizer, modality, read_weights(weights / target.file, sha256), random_folder)


def put_tokenizer(tokenizer: nn.Module, modality: str, file: WeightFile, random_file: bool = False) -> PartRecord:
    """Put a tokenizer's file in, every tensor accounted for.

    Raises:
        WeightsError: A tensor is missing, left over or of another shape.
    """
    wanted, held = tokenizer.state_dict(), file.tensors
    missing, left = sorted(set(wanted) - set(held)), sorted(set(held) - set(wanted))
    if missing or left:
        raise WeightsError(
            f"{file.path}: {len(missing)} tensors of the {modality} tokenizer missing and {len(left)} without a place, "
            f"first {(missing or left)[0]}; the file of another tokenizer, or names rooted elsewhere"
        )
    for name, tensor in wanted.items():
        if held[name].shape != tensor.shape:
            raise WeightsError(
                f"{file.path}: {name} is {list(held[name].shape)}, the {modality} tokenizer wants {list(tensor.shape)}"
            )
    tokenizer.load_state_dict({n: t.to(torch.float32) for n, t in held.items()}, strict=True, assign=True)
    return _file_part(f"{modality} tokenizer", file, random_file, len(wanted), set(wanted), ())


def _random_part(part: str, expected: int) -> PartRecord:
    return PartRecord(part=part, weights="random", file=None, sha256=None, pinned=False, expected=expected, loaded=0)


def _file_part(
    part: str, file: WeightFile, random_file: bool, expected: int, used: set[str], rules: tuple[Rule, ...]
) -> PartRecord:
    unused = Counter(explained(n, rules) or "unexplained" for n in file.tensors if n not in used)
    return PartRecord(
        part=part,
        weights="random file" if random_file else "file",
        file=file.path.name,
        sha256=file.sha256,
        pinned=file.pinned,
        expected=expected,
        loaded=len(used & set(file.tensors)),
        unused=dict(sorted(unused.items())),
    )


def fill_random(module: nn.Module, name: str, seed: int) -> None:
    """Random numbers into every parameter that is neither a norm's nor a position's, the same on every machine.

    Norms keep their ones and zeros, sines and cosines of positions stay; biases become zero. Weights
    have the variance that keeps the scale of a linear layer's input, embeddings 0.02.

    Raises:
        TopologyError: A parameter of a kind that no rule covers.
    """
    done: set[int] = set()
    for path, each in module.named_modules():
        kind = type(each).__name__
        for leaf, parameter in each.named_parameters(recurse=False):
            full = f"{name}.{path}.{leaf}"
            if id(parameter) in done or "Norm" in kind or leaf == "pos_emb":
                continue
            done.add(id(parameter))  # an embedding and the layer that predicts from it may be one
            shape = tuple(parameter.shape)
            if leaf == "bias":
                parameter.data = torch.zeros_like(parameter)
            elif leaf in ("mod_emb", "mask_token") or isinstance(each, nn.Embedding):
                parameter.data = synthetic.uniform(full, shape, 0.02 * 3**0.5, seed)
            elif leaf == "weight" and len(shape) > 1:
                parameter.data = synthetic.uniform(full, shape, (3.0 / float(np.prod(shape[1:]))) ** 0.5, seed)
            else:
                raise TopologyError(f"{full}: no rule for random numbers in a {kind}")


def generate(
    generator: Generator, inputs: Inputs, seed: int = 0, steps: int = 10, *, greedy: bool = False
) -> Generated:
    """Generate modalities for one chip.

    Args:
        generator: Loaded.
        inputs: Of the recipe `pretraining`, one date: arrays of shape (C, 1, H, W), standardised.
        seed: Fixes tokens and noise; the caller's random states stay as they are.
        steps: Diffusion steps of NDVI; land cover takes none. TerraTorch's own default is 50.
        greedy: Take the most probable token everywhere; noise still follows the seed.

    Returns:
        Logits of land cover, and NDVI in its own unit.

    Raises:
        TopologyError: A modality is missing, several dates, or a chip that is not square: TerraTorch
            1.2.11 takes its sides in the wrong order (terramind_generation.py, image_size).
        WeightsError: The output is not finite.
    """
    if steps < 1:
        raise TopologyError(f"steps {steps}; diffusion takes at least one")
    batch = {m: _one_date(inputs, m).to(generator.device.torch) for m in generator.given}
    sides = {tuple(t.shape[-2:]) for t in batch.values()}
    height, width = next(iter(sides))
    if len(sides) > 1 or height != width or height % PATCH_PX:
        raise TopologyError(
            f"{inputs.chip_id}: {height} x {width} px; the generator takes squares, sides multiples of {PATCH_PX}"
        )
    model = generator.model
    before = (model.top_k, model.top_p)
    generator.device.synchronise()
    start = time.perf_counter()
    try:
        if greedy:
            model.top_k, model.top_p = 1, 0.0
        with thinking.seeded(seed), torch.inference_mode():
            made = model(batch, standardize=False, timesteps=steps)
    finally:
        model.top_k, model.top_p = before
    generator.device.synchronise()
    arrays = {m: _physical(made[m], m, (height, width), inputs.chip_id) for m in generator.to}
    return Generated(inputs.chip_id, arrays, seed, steps, greedy, time.perf_counter() - start)


def _one_date(inputs: Inputs, modality: str) -> Tensor:
    array = inputs.arrays.get(modality)
    if array is None:
        raise TopologyError(f"{inputs.chip_id}: the generator takes {modality}; there are {', '.join(inputs.arrays)}")
    if array.ndim != 4 or array.shape[1] != 1:
        raise TopologyError(f"{inputs.chip_id}: {modality} is {array.shape}; (C, 1, H, W) is needed: one date")
    return torch.from_numpy(array[:, 0])[None]


def _physical(made: Tensor, modality: str, size: tuple[int, int], chip: str) -> NDArray[np.float32]:
    target = TARGETS[modality]
    array = made[0].float().cpu().numpy()
    if array.shape != (target.channels, *size):
        raise TopologyError(f"{chip}: {modality} came out as {array.shape}; {(target.channels, *size)} was expected")
    if not np.isfinite(array).all():
        raise WeightsError(f"{chip}: generated {modality} holds NaN or infinity; the weights are damaged")
    out: NDArray[np.float32] = array * np.float32(target.std) + np.float32(target.mean)
    return out
