"""One device or precision held against float32 on the CPU, from weights to report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from harness.claims.families import read_families
from harness.errors import RegistryError
from harness.places import cache_folder, eval_folder, write_file, written_under
from harness.records.equivalence import read_equivalences, write_equivalence
from harness.report.equivalence import render_equivalence


def compare(
    *,
    family: str,
    weights: str,
    tasks: tuple[str, ...],
    device: str,
    dtype: str,
    merged: bool,
    size_px: int,
    root: Path | None,
    out: Path | None,
    step: Callable[[str], None],
) -> tuple[Path, bool]:
    """Run the comparison and write record and report.

    Args:
        family: Family id.
        weights: Folder in the published format, or `random`.
        tasks: Adapter ids; all where empty.
        device: What is held against the CPU.
        dtype: Its precision.
        merged: LoRA added into its weights.
        size_px: Side of the chip.
        root: Checkout with an eval/ folder.
        out: Folder for runs.
        step: Told what is being done.

    Returns:
        The report, and whether level L2 holds for every adapter.

    Raises:
        RegistryError: No such family.
        WeightsError: Weights are refused.
        DeviceError: The device is not there.
    """
    from harness.models.devices import equivalence
    from harness.models.devices.device import resolve
    from harness.models.devices.equivalence_inputs import make_inputs
    from harness.models.ensemble import DTYPES, load_family
    from harness.models.synthetic import write_family

    folder = eval_folder(root)
    families = read_families(folder / "families")
    if family not in families:
        raise RegistryError(f"no family {family!r}; there are {', '.join(sorted(families)) or 'none'}")
    chosen = families[family]
    if dtype not in DTYPES:
        raise RegistryError(f"dtype {dtype!r}: not known; there are {', '.join(DTYPES)}")
    if out is not None and out.exists() and not out.is_dir():
        raise RegistryError(f"{out}: is no folder; name another with --out")
    names = tuple(dict.fromkeys(tasks)) or tuple(a.id for a in chosen.adapters)
    if strange := [n for n in names if n not in {a.id for a in chosen.adapters}]:
        raise RegistryError(f"no adapter {strange[0]!r}; there are {', '.join(a.id for a in chosen.adapters)}")
    where = resolve(device, check=False)  # operators that fail there go into the record
    at = Path(weights)
    if weights == "random":
        at = cache_folder() / f"random-{family}-0"
        step(f"writing random weights in the published format to {at}, about 1.8 GB")
        write_family(chosen, at)
    step("loading the reference: float32 on the CPU")
    reference = load_family(chosen, at, tasks=names, device="cpu")
    step(f"loading {where.kind} {dtype}")
    other = (
        equivalence.as_dtype(reference, dtype)
        if where.kind == "cpu"
        else load_family(chosen, at, tasks=names, device=where, dtype=dtype)
    )
    if merged:
        other = equivalence.merged(other, names)
    runs = out or written_under(folder) / "runs"
    record = equivalence.run(
        reference,
        other,
        names,
        [make_inputs(chosen, size_px)],
        earlier=read_equivalences(runs),
        fresh=lambda: equivalence.fresh_process(
            chosen, at, names, device=where.kind, dtype=dtype, merge=merged, size_px=size_px
        ),
        step=step,
    )
    target = runs / record.id
    number = 1
    while target.exists():
        number += 1
        target = runs / f"{record.id}-{number}"
    write_equivalence(record, target)
    report = target / "report.md"
    write_file(report, render_equivalence(record))
    return report, record.holds("L2")
