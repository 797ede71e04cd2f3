"""Strict loading: base, then LoRA, then decoder, and every tensor accounted for."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from harness.claims.families import Family
from harness.errors import WeightsError
from harness.models.audit import Loaded, account
from harness.models.published import AdapterFiles, check_counts
from harness.models.topology import Topology, build_topology, explained, has_lora, inject_lora
from harness.models.weights import WeightFile

BUFFERS = ("running_mean", "running_var", "num_batches_tracked")
"""Buffers of a batch norm."""

LORA_NAME = re.compile(r"(?P<module>.+)\.lora_(?P<half>[AB])(?P<name>\.default)?\.weight$")


@dataclass
class Base:
    """The base file, and the one copy of each of its tensors that all models share."""

    file: WeightFile
    """As read."""
    parameters: dict[str, nn.Parameter] = field(default_factory=dict)
    """Frozen parameters by base name, made when first needed."""

    def parameter(self, name: str) -> nn.Parameter:
        """The shared parameter of that base name."""
        if name not in self.parameters:
            tensor = self.file.tensors[name]
            self.parameters[name] = nn.Parameter(tensor.to(torch.float32), requires_grad=False)
        return self.parameters[name]


def load_adapter(
    family: Family,
    files: AdapterFiles,
    base: Base,
    *,
    batch_norm: str = "refuse",
    random_weights: bool = False,
    alpha_claim: float | None = None,
) -> Loaded:
    """Build an adapter's topology and load base, LoRA and decoder, refusing whatever is unexplained.

    Args:
        family: What the topology is built from.
        files: The adapter's files.
        base: The base, shared between adapters.
        batch_norm: What to do where the decoder file has no running statistics: `refuse`, or
            `initial` (mean 0, variance 1: no published figure was made with that) or `recomputed`
            (left initial here; `harness.models.batchnorm.recompute` counts them on chips).
        random_weights: The files were written by this project.
        alpha_claim: lora_alpha as the registry's claim has it; None where there is none.

    Raises:
        WeightsError: A tensor is missing, left over or of another shape; names the cause.
        TopologyError: The topology cannot be built.
    """
    build = family.build_of(files.adapter.id)
    topology = build_topology(build, files.config.num_classes)
    encoder = topology.model.encoder
    load_base(topology, base, files.adapter.id)
    if sorted(files.config.target_modules) != sorted(build.lora_targets):
        raise WeightsError(
            f"{files.config_path}: target_modules {files.config.target_modules}; the family's file has "
            f"{build.lora_targets}: another topology, or the family's file is wrong"
        )
    _check_rank(files)
    inject_lora(encoder, files.config.r, files.config.lora_alpha, build.lora_targets)
    load_lora(topology, files)
    fresh = load_decoder(topology, files, batch_norm)
    check_counts(files)
    return account(
        topology,
        files,
        base.file,
        fresh=fresh,
        random_weights=random_weights,
        alpha_claim=alpha_claim,
    )


def load_base(topology: Topology, base: Base, adapter: str) -> None:
    """Put the base's tensors into the encoder, the same parameter wherever the same name stands.

    Raises:
        WeightsError: LoRA is there already; a tensor is missing, of another shape, or left over
            without a reason.
    """
    encoder = topology.model.encoder
    where = base.file.path
    if has_lora(encoder):
        raise WeightsError(
            f"{adapter}: the base comes after LoRA was injected: LoRA renames the layers it wraps, so their base "
            "weights would be dropped without a word; load the base first"
        )
    used: set[str] = set()
    missing: list[str] = []
    tied: dict[int, str] = {}
    for name, tensor in encoder.state_dict().items():
        found = [p for p in topology.base_prefixes if name.startswith(p) and name.removeprefix(p) in base.file.tensors]
        if found:
            prefix = max(found, key=len)
            base_name = name.removeprefix(prefix)
            held = base.file.tensors[base_name]
            if held.shape != tensor.shape:
                raise WeightsError(
                    f"{where}: {base_name} is {list(held.shape)}, {name} wants {list(tensor.shape)}: "
                    "a base of another width or patch size"
                )
            if not held.is_floating_point():
                raise WeightsError(f"{where}: {base_name} is of type {held.dtype}; weights are floating-point")
            used.add(base_name)
            first = tied.setdefault(tensor.data_ptr(), base_name)
            if first != base_name and not torch.equal(base.file.tensors[first], held):
                raise WeightsError(
                    f"{where}: {first} and {base_name} are one tensor in the model and differ in the file; the file is "
                    "damaged or of another topology"
                )
            _put(encoder, name, base.parameter(first))
        elif explained(name, topology.not_run) is None:
            missing.append(name)
    if missing:
        generator = [m for m in missing if m.startswith("encoder.sampler.")]
        cause = (
            f"{len(generator)} of them belong to the generator, which would stay random and think in noise; "
            "TiM needs the whole base file, encoder and decoder"
            if generator
            else "it is the base of another topology, or its names are rooted elsewhere"
        )
        raise WeightsError(f"{where}: {len(missing)} tensors missing for {adapter}, first {missing[0]}: {cause}")
    left = [n for n in base.file.tensors if n not in used and explained(n, topology.unused) is None]
    if left:
        raise WeightsError(
            f"{where}: {len(left)} tensors have no place in {adapter}'s encoder and no reason is known, first "
            f"{left[0]}; a base of another topology"
        )


def _put(root: nn.Module, name: str, parameter: nn.Parameter) -> None:
    path, _, leaf = name.rpartition(".")
    module = root.get_submodule(path)
    if leaf in module._parameters:
        module._parameters[leaf] = parameter
    else:
        module._buffers[leaf] = parameter.data


def _check_rank(files: AdapterFiles) -> None:
    for file in (files.lora, files.decoder):
        for name, tensor in file.tensors.items():
            if not tensor.is_floating_point() and not name.endswith("num_batches_tracked"):
                raise WeightsError(f"{file.path}: {name} is of type {tensor.dtype}; weights are floating-point")
    shapes = {n: tuple(t.shape) for n, t in files.lora.tensors.items()}
    if flat := [n for n, s in shapes.items() if len(s) != 2 and (".lora_A." in n or ".lora_B." in n)]:
        raise WeightsError(f"{files.lora.path}: {flat[0]} is {list(shapes[flat[0]])}; a LoRA matrix has two dimensions")
    ranks = {s[0] for n, s in shapes.items() if ".lora_A." in n} | {s[1] for n, s in shapes.items() if ".lora_B." in n}
    if ranks and ranks != {files.config.r}:
        raise WeightsError(
            f"{files.lora.path}: rank {sorted(ranks)} by its shapes, {files.config_path.name} says r = "
            f"{files.config.r}; the two files belong to different adapters"
        )


def load_lora(topology: Topology, files: AdapterFiles) -> None:
    """Put the LoRA pairs into the encoder.

    Names in the file are rooted at the model: `encoder.` and then the encoder's own names.

    Raises:
        WeightsError: Names or shapes differ from the topology's; names the cause.
    """
    encoder = topology.model.encoder
    wanted = {f"encoder.{n}": t for n, t in encoder.state_dict().items() if "lora_" in n}
    held = files.lora.tensors
    where = f"{files.adapter.id}: {files.lora.path.name}"
    if set(held) != set(wanted):
        lost = len(set(wanted) - set(held))
        raise WeightsError(
            f"{where}: {lost} of {len(wanted)} LoRA tensors of the model unmatched, {len(set(held) - set(wanted))} of "
            f"the file's {len(held)} left over: {_lora_cause(set(held), set(wanted))}"
        )
    for name, tensor in wanted.items():
        if held[name].shape != tensor.shape:
            raise WeightsError(
                f"{where}: {name} is {list(held[name].shape)}, the model wants {list(tensor.shape)}: "
                "an adapter of a base of another width"
            )
    _assign(encoder, {n.removeprefix("encoder."): t for n, t in held.items()})


def _lora_cause(held: set[str], wanted: set[str]) -> str:
    """Why names do not meet, for people."""
    if any("sampler." in n for n in held) and not any("sampler." in n for n in wanted):
        return "the file belongs to a Thinking-in-Modalities backbone, the model is the plain one"
    if any("sampler." in n for n in wanted) and not any("sampler." in n for n in held):
        return "the file belongs to the plain backbone, the model is the Thinking-in-Modalities one"
    if not any(".default." in n for n in held):
        return (
            "its names lack PEFT's adapter name `.default.` (PEFT's own saved form); rename lora_A.weight to "
            "lora_A.default.weight"
        )
    if {f"encoder.{n}" for n in held} == wanted:
        return "its names have one `encoder.` too few; the file is rooted one level higher than the model"
    if {n.removeprefix("encoder.") for n in held} == wanted:
        return "its names have one `encoder.` too many; the file is rooted one level deeper than the model"
    if held < wanted:
        return f"tensors are missing, first {min(wanted - held)}; the file is incomplete"
    if wanted < held:
        return f"tensors are left over, first {min(held - wanted)}; the file is of another topology"
    other = [n for n in held if not LORA_NAME.match(n)]
    if other:
        return f"names that are no LoRA pair, first {min(other)}"
    return f"the file has {min(held - wanted)}, the model {min(wanted - held)}; another topology"


def load_decoder(topology: Topology, files: AdapterFiles, batch_norm: str) -> list[str]:
    """Put decoder, neck and head in; returns the names of batch-norm buffers that no file holds.

    Raises:
        WeightsError: Names or shapes differ; buffers are missing and `batch_norm` is `refuse`.
    """
    model = topology.model
    wanted = {n: t for n, t in model.state_dict().items() if not n.startswith("encoder.")}
    held = files.decoder.tensors
    where = f"{files.adapter.id}: {files.decoder.path.name}"
    left = sorted(set(held) - set(wanted))
    if left:
        raise WeightsError(f"{where}: {len(left)} tensors without a place, first {left[0]}; another decoder")
    missing = sorted(set(wanted) - set(held))
    buffers = [n for n in missing if n.rpartition(".")[2] in BUFFERS]
    if len(missing) > len(buffers):
        first = next(n for n in missing if n not in buffers)
        raise WeightsError(f"{where}: {len(missing) - len(buffers)} tensors missing, first {first}; incomplete file")
    if buffers and batch_norm == "refuse":
        raise WeightsError(
            f"{where}: the {len(buffers)} batch-norm buffers (running mean, variance, counter) are missing; a decoder "
            "without them does not give what its author measured. `--bn initial` runs it with mean 0 and variance 1, "
            "`--bn recomputed` counts them on the chips; the report's title then says so"
        )
    partial = {n.rpartition(".")[0] for n in buffers} & {n.rpartition(".")[0] for n in held if n.endswith(BUFFERS)}
    if partial:
        raise WeightsError(f"{where}: {min(partial)} has some of its batch-norm buffers and not all; damaged file")
    for name, tensor in held.items():
        if tensor.shape == wanted[name].shape:
            continue
        if name.startswith("head.") and tensor.shape[0] != wanted[name].shape[0]:
            raise WeightsError(
                f"{where}: {name} gives {tensor.shape[0]} classes, {files.config_path.name} says num_classes = "
                f"{files.config.num_classes}; the two files belong to different adapters"
            )
        raise WeightsError(
            f"{where}: {name} is {list(tensor.shape)}, the model wants {list(wanted[name].shape)}: "
            "a decoder of another width"
        )
    _assign(model, held)
    return buffers


def _assign(module: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Replace parameters and buffers by the file's, without a second copy."""
    done = module.load_state_dict(
        {n: t.to(torch.float32) if t.is_floating_point() else t for n, t in tensors.items()},
        strict=False,
        assign=True,
    )
    assert not done.unexpected_keys, done.unexpected_keys  # noqa: S101 (names were compared above)
    for parameter in module.parameters():
        parameter.requires_grad_(False)
