"""How far a device or a precision is from float32 on the CPU: golden logits, and three levels.

The golden logits are computed on the spot, by the CPU of the same machine, and their sha256 is
held against earlier records: processors of another kind sum in another order, so that no stored
logits could stand for all of them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from harness.chips.tensors import Inputs
from harness.claims.families import Family
from harness.errors import DeviceError, TopologyError, WeightsError
from harness.models import stack
from harness.models.audit import Loaded
from harness.models.dates import DateCache
from harness.models.devices.device import to_device
from harness.models.devices.equivalence_inputs import LABEL, inputs_sha256, logits_sha256, make_inputs
from harness.models.devices.levels import Runs, judge
from harness.models.devices.mps import fallbacks
from harness.models.devices.operators import self_test
from harness.models.devices.precision import exact
from harness.models.ensemble import Ensemble, load_family
from harness.records.equivalence import SCHEMA, Earlier, EquivalenceRecord, OperatorCheck, Side

__all__ = ["as_dtype", "fresh_process", "make_inputs", "merged", "run"]

GREEDY = (
    "the most probable one everywhere (greedy), where an adapter generates tokens: devices draw other random numbers"
)
"""How tokens are chosen here."""


def as_dtype(ensemble: Ensemble, dtype: str) -> Ensemble:
    """The same models in another precision; they share every tensor."""
    return dataclasses.replace(ensemble, dtype=dtype, dates=DateCache())


def merged(ensemble: Ensemble, tasks: Sequence[str]) -> Ensemble:
    """Copies of the models with LoRA added into the weights; for `run` only: `predict` refuses them."""
    adapters = {t: dataclasses.replace(ensemble.adapters[t], model=ensemble.merged(t)) for t in tasks}
    return dataclasses.replace(ensemble, adapters=adapters, dates=DateCache())


def run(
    reference: Ensemble,
    other: Ensemble,
    tasks: Sequence[str],
    inputs: Sequence[Inputs],
    *,
    threads: int | None = None,
    earlier: Sequence[EquivalenceRecord] = (),
    fresh: Callable[[], dict[str, str]] | None = None,
    step: Callable[[str], None] = lambda _: None,
) -> EquivalenceRecord:
    """Run both sides on the same inputs and judge each level.

    Both run with float32 exact (`harness.models.devices.precision.exact`), whatever the process had set, and
    with no date's features kept between runs, so that a second run computes everything again.

    Args:
        reference: Float32 on the CPU.
        other: What is compared; may share its models with `reference`.
        tasks: Adapter ids.
        inputs: E.g. of `make_inputs`.
        threads: CPU threads of the other side; as they are where left out.
        earlier: Records whose golden logits are held against these.
        fresh: Gives the other side's hashes from a new process, see `fresh_process`; L0 does not ask
            for one where left out.
        step: Told what is being done, for progress.

    Raises:
        DeviceError: The reference is no exact float32 on the CPU.
        WeightsError: The sides hold other weights, or the reference's logits are broken.
        TopologyError: No tasks or inputs, or inputs that an adapter cannot take.
    """
    if not tasks or not inputs:
        raise TopologyError("nothing to compare: give at least one adapter and one input")
    if reference.device.kind != "cpu" or reference.dtype != "float32":
        raise DeviceError(
            f"the reference is {reference.dtype} on {reference.device.kind}; golden logits are float32 on the CPU"
        )
    hashes = _same_weights(reference, other, tasks)
    mine, theirs = (dataclasses.replace(e, greedy=True, dates=DateCache()) for e in (reference, other))
    with exact() as switches:
        step("operators on the CPU")
        side = _side(mine, tasks, {})
        if side.failed:
            named = ", ".join(f"{o.operator} ({o.layout})" for o in side.failed)
            raise DeviceError(f"float32 on this CPU is not exact: {named}; no golden logits can be made here")
        golden = {t: _logits(mine, t, inputs, step, "golden") for t in tasks}
        with _threads(threads), fallbacks() as fell_back:
            first = {t: _logits(theirs, t, inputs, step, "first run") for t in tasks}
            again = {t: _logits(theirs, t, inputs, step, "second run") for t in tasks}
        with _threads(threads):
            step(f"operators on {theirs.device.kind}")
            known = side.operators if theirs.device == mine.device and threads is None else None
            compared = _side(theirs, tasks, fell_back, known)
    renewed = None
    if fresh is not None:
        step("a new process")
        renewed = fresh()
    judged = [judge(t, Runs(golden[t], first[t], again[t], None if renewed is None else renewed[t])) for t in tasks]
    record = EquivalenceRecord(
        schema=SCHEMA,
        id=f"equivalence-{other.device.kind}-{other.dtype}{'-merged' if compared.merged else ''}",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        family=reference.family.id,
        weights="random" if _random(reference.adapters[tasks[0]]) else "published",
        weights_sha256=hashes,
        inputs=[i.chip_id for i in inputs],
        inputs_sha256=inputs_sha256(inputs),
        label=LABEL,
        tokens=GREEDY,
        reference=side,
        other=compared,
        switches=switches,
        packages=stack.prepare().versions,
        tasks=judged,
    )
    return record.model_copy(update={"earlier": [e for old in earlier if (e := _held_against(record, old))]})


def fresh_process(
    family: Family,
    weights: Path,
    tasks: Sequence[str],
    *,
    device: str = "cpu",
    dtype: str = "float32",
    merge: bool = False,
    size_px: int = 224,
    seeds: Sequence[int] = (0,),
    dates: int = 1,
    threads: int | None = None,
) -> dict[str, str]:
    """Hashes of the logits by adapter, from a new Python process that loads and runs everything again.

    Raises:
        DeviceError: The process failed; its last line is in the message.
    """
    order = {
        "family": family.model_dump(mode="json"),
        "weights": str(weights),
        "tasks": list(tasks),
        "device": device,
        "dtype": dtype,
        "merge": merge,
        "size_px": size_px,
        "seeds": list(seeds),
        "dates": dates,
        "threads": threads if threads is not None else torch.get_num_threads(),
    }
    root = str(Path(__file__).resolve().parents[3])
    path = os.pathsep.join(p for p in (root, os.environ.get("PYTHONPATH")) if p)
    done = subprocess.run(
        [sys.executable, "-m", "harness.models.devices.equivalence"],
        input=json.dumps(order),
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise DeviceError(f"the new process of the comparison failed ({done.returncode}): {last}")
    out: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return out


def _obey(order: dict[str, Any]) -> dict[str, str]:
    """What `fresh_process` asked for."""
    torch.set_num_threads(order["threads"])
    family, tasks = Family.model_validate(order["family"]), order["tasks"]
    ensemble = load_family(
        family, order["weights"], tasks=tasks, device=order["device"], dtype=order["dtype"], greedy=True
    )
    if order["merge"]:
        ensemble = merged(ensemble, tasks)
    inputs = [make_inputs(family, order["size_px"], seed, order["dates"], tasks) for seed in order["seeds"]]
    with exact():
        return {t: logits_sha256(_logits(ensemble, t, inputs, lambda _: None, "")) for t in tasks}


def _logits(
    ensemble: Ensemble, task: str, inputs: Sequence[Inputs], step: Callable[[str], None], what: str
) -> list[NDArray[np.float32]]:
    """One array (classes, H, W) an input, float32; every date is encoded anew."""
    ensemble.dates = DateCache()
    out = []
    for one in inputs:
        step(f"{task}: {what}, {ensemble.dtype} on {ensemble.device.kind}, {one.chip_id}")
        taken = ensemble.inputs(one, task)
        batch = {m: to_device(torch.from_numpy(a)[None], ensemble.device) for m, a in taken.arrays.items()}
        with ensemble.device.running():
            logits = ensemble.forward(task, batch)
            ensemble.device.synchronise()
        out.append(np.ascontiguousarray(logits[0].float().cpu().numpy()))
    return out


def _side(
    ensemble: Ensemble,
    tasks: Sequence[str],
    fell_back: dict[str, int] | Counter[str],
    known: list[OperatorCheck] | None = None,
) -> Side:
    """One side in words; `known` is the self-test of the same device where it has just run."""
    device = ensemble.device
    lora = [m for m in ensemble.adapters[tasks[0]].model.modules() if hasattr(m, "merged_adapters")]
    return Side(
        device=device.kind,
        name=device.name,
        build=device.build(),
        dtype=ensemble.dtype,
        merged=any(m.merged_adapters for m in lora),
        operators=self_test(device) if known is None else known,
        fallbacks=dict(sorted(fell_back.items())),
    )


def _random(loaded: Loaded) -> bool:
    return loaded.audit.random_weights


def _same_weights(reference: Ensemble, other: Ensemble, tasks: Sequence[str]) -> dict[str, str]:
    """One hash an adapter, over the hashes of all its files.

    Raises:
        WeightsError: An adapter is not loaded, or from other files on the other side.
    """
    out = {}
    for task in tasks:
        both = []
        for ensemble in (reference, other):
            if task not in ensemble.adapters:
                raise WeightsError(f"{task}: not loaded; there are {', '.join(ensemble.adapters)}")
            files = ensemble.adapters[task].audit.files
            both.append({f"{f.role} {f.name}": f.sha256 for f in files})
        if both[0] != both[1]:
            wrong = ", ".join(k for k in both[0] if both[0][k] != both[1].get(k)) or "the number of files"
            raise WeightsError(f"{task}: the two sides hold other weights ({wrong}); load both from one folder")
        out[task] = hashlib.sha256("".join(f"{k}:{v};" for k, v in sorted(both[0].items())).encode()).hexdigest()
    return out


def _held_against(record: EquivalenceRecord, old: EquivalenceRecord) -> Earlier | None:
    """Golden logits of an earlier record of the same thing; None where it is of another."""
    golden = {t.adapter: t.reference_sha256 for t in old.tasks}
    same = {
        t.adapter: golden[t.adapter] == t.reference_sha256
        for t in record.tasks
        if t.adapter in golden and old.weights_sha256[t.adapter] == record.weights_sha256[t.adapter]
    }
    if not same or old.inputs_sha256 != record.inputs_sha256:
        return None
    a, b = record.reference, old.reference
    alike = (a.name, a.build, a.merged) == (b.name, b.build, b.merged)
    return Earlier(record=f"{old.id} ({old.created})", same_machine_kind=alike, same=same)


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


if __name__ == "__main__":
    print(json.dumps(_obey(json.load(sys.stdin))))  # the one line that `fresh_process` reads
