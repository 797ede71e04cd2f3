"""What went into a model, counted on the model and on the files."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from harness.models.published import AdapterFiles
from harness.models.topology import Topology, explained
from harness.models.weights import WeightFile
from harness.records import BatchNormRecord, FileRecord, LoadAudit, PlaceRecord, TensorRecord
from harness.records.load import TensorState


@dataclass(frozen=True)
class Loaded:
    """A model that is ready to run, and what went into it."""

    model: nn.Module
    """TerraTorch's model with LoRA injected, in evaluation mode, on the CPU."""
    topology: Topology
    """What it was built from."""
    audit: LoadAudit
    """Every tensor."""


def account(
    topology: Topology,
    files: AdapterFiles,
    base: WeightFile,
    *,
    fresh: list[str],
    random_weights: bool,
    alpha_claim: float | None,
) -> Loaded:
    """Write down what was loaded.

    Args:
        topology: With everything loaded.
        files: The adapter's files.
        base: The base file.
        fresh: Batch-norm buffers that no file holds.
        random_weights: The files were written by this project.
        alpha_claim: Registered lora_alpha; None where there is none.
    """
    model, encoder = topology.model, topology.model.encoder
    names = [_plain(n) for n in encoder.state_dict() if "lora_" not in n]
    sources = {n: _source(n, topology, base) for n in names}
    not_run = [n for n, source in sources.items() if source is None]
    used = {source for source in sources.values() if source is not None}
    unused = Counter(explained(n, topology.unused) or "unexplained" for n in base.tensors if n not in used)
    places = [_place(place, topology, files.lora) for place in topology.places]
    lora = {n: p for n, p in encoder.named_parameters() if "lora_" in n}
    outside = [p for n, p in model.named_parameters() if not n.startswith("encoder.")]
    audit = LoadAudit(
        adapter=files.adapter.id,
        random_weights=random_weights,
        files=[
            _file("base", base),
            _file("lora", files.lora),
            _file("decoder", files.decoder),
            FileRecord(
                role="config",
                name=files.config_path.name,
                sha256=files.config_sha256,
                size_bytes=files.config_path.stat().st_size,
                tensors=0,
                entries=0,
                pinned=False,
            ),
        ],
        base_expected=len(names) - len(not_run),
        base_loaded=sum(s is not None for s in sources.values()),
        base_unused=dict(sorted(unused.items())),
        not_run=len(not_run),
        lora_expected=sum(".lora_B." in n for n in lora),
        lora_applied=sum(p.pairs for p in places),
        lora_r=files.config.r,
        lora_alpha=files.config.lora_alpha,
        lora_alpha_verdict=_alpha(files.config.lora_alpha, alpha_claim),
        places=places,
        decoder_expected=sum(not n.startswith("encoder.") for n in model.state_dict()),
        decoder_loaded=len(files.decoder.tensors),
        batch_norm=batch_norm_record(model, fresh, "initial"),
        blocks=len({m.group(1) for n in names if (m := re.match(re.escape(topology.blocks) + r"\.(\d+)\.", n))}),
        encoder_parameters=sum(
            p.numel()
            for n, p in encoder.named_parameters()
            if "lora_" not in n and explained(_plain(n), topology.not_run) is None
        ),
        lora_parameters=sum(p.numel() for p in lora.values()),
        decoder_parameters=sum(p.numel() for p in outside),
        classes=files.config.num_classes,
        tensors=_tensors(topology, files, base, used, fresh, not_run, encoder.state_dict()),
    )
    return Loaded(model, topology, audit)


def _plain(name: str) -> str:
    """Name before LoRA wrapped the layer."""
    return name.replace(".base_layer.", ".")


def _source(name: str, topology: Topology, base: WeightFile) -> str | None:
    found = [p for p in topology.base_prefixes if name.startswith(p) and name.removeprefix(p) in base.tensors]
    return name.removeprefix(max(found, key=len)) if found else None


def _place(place: str, topology: Topology, file: WeightFile) -> PlaceRecord:
    """Pairs of one block stack: wanted by the model, held by the file and equal to what the model now has."""
    state = topology.model.encoder.state_dict()
    wanted = [n for n in state if n.startswith(f"{place}.") and ".lora_B." in n]
    applied, norms = 0, []
    for name in wanted:
        pair = [name, name.replace(".lora_B.", ".lora_A.")]
        held = [file.tensors.get(f"encoder.{n}") for n in pair]
        if all(t is not None and torch.equal(t.to(state[n].dtype), state[n]) for t, n in zip(held, pair, strict=True)):
            applied += 1
        norms.append(round(float(torch.linalg.vector_norm(state[name].double())), 9))
    runs = explained(f"{place}.", topology.not_run) is None
    return PlaceRecord(place=place, pairs=applied, expected=len(wanted), b_norms=norms, runs=runs)


def _alpha(value: float, claim: float | None) -> str:
    if claim is None:
        return "unverifiable: no tensor shows it and no claim states it"
    if value == claim:
        return f"agrees with the registered claim of {claim:g}; no tensor shows it"
    return f"config says {value:g}, the registered claim {claim:g}; no tensor can tell which is right"


def batch_norm_record(model: nn.Module, fresh: list[str], policy: Literal["initial", "recomputed"]) -> BatchNormRecord:
    """Running statistics of a model's batch norms.

    Args:
        model: The whole model.
        fresh: Names of buffers that no file holds.
        policy: How those came to be.
    """
    layers = {n: m for n, m in model.named_modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)}
    lacking = {n.rpartition(".")[0] for n in fresh}
    return BatchNormRecord(
        layers=len(layers),
        in_file=len(layers) - len(lacking),
        moved=sum(map(_moved, layers.values())),
        policy=policy if fresh else "from the file",
    )


def _moved(layer: nn.Module) -> bool:
    mean, var = layer.running_mean, layer.running_var
    return bool((mean != 0).any() or (var != 1).any())


def _file(role: Literal["base", "lora", "decoder"], file: WeightFile) -> FileRecord:
    return FileRecord(
        role=role,
        name=file.path.name,
        sha256=file.sha256,
        size_bytes=file.size_bytes,
        tensors=len(file.tensors),
        entries=file.entries,
        pinned=file.pinned,
    )


def _tensors(
    topology: Topology,
    files: AdapterFiles,
    base: WeightFile,
    used: set[str],
    fresh: list[str],
    not_run: list[str],
    state: dict[str, torch.Tensor],
) -> list[TensorRecord]:
    out = []
    for file in (base, files.lora, files.decoder):
        for name, t in file.tensors.items():
            lost = file is base and name not in used
            out.append(
                TensorRecord(
                    name=name,
                    shape=list(t.shape),
                    dtype=str(t.dtype).removeprefix("torch."),
                    sha256=file.hashes[name],
                    state="unused" if lost else "loaded",
                    reason=explained(name, topology.unused) if lost else None,
                )
            )
    wanted = topology.model.state_dict()
    for name in fresh:
        out.append(_without(name, wanted[name], "initial", "the decoder file has no batch-norm buffers"))
    plain = {_plain(n): t for n, t in state.items()}
    for name in not_run:
        out.append(_without(name, plain[name], "not run", explained(name, topology.not_run)))
    return out


def _without(name: str, t: torch.Tensor, state: TensorState, reason: str | None) -> TensorRecord:
    return TensorRecord(
        name=name,
        shape=list(t.shape),
        dtype=str(t.dtype).removeprefix("torch."),
        sha256=None,
        state=state,
        reason=reason,
    )
