"""What of a record can be computed again from the record itself: measurements, load audits, counts of chips."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

from pydantic import BaseModel

from harness.chips.scenes import Lock
from harness.claims.families import Family
from harness.claims.gates import answers
from harness.claims.groups import View
from harness.claims.scored import scored
from harness.claims.structure import measurements, structure_rows
from harness.claims.verdicts import scenes_of
from harness.errors import HarnessError
from harness.records import AdapterRun, ChipScore, LoadAudit, Measurement, RunRecord, TensorRecord
from harness.records.equivalence import EquivalenceRecord
from harness.report.run_checks import UNLABELLED, Arrays, Ledger
from harness.score.boundary import boundary_counts
from harness.score.calibration import reliability

BUFFERS = ("running_mean", "running_var", "num_batches_tracked")
"""Batch-norm buffers: in a decoder file, and no parameters."""

VALUE = 1e-9
"""Largest difference of two values of one quantity, relative or absolute: they are quotients of whole numbers."""

ENDS = 1e-6
"""The same for ends of intervals and errors, which sum thousands of floats."""

VALUES = "Measurements are computed again from matrices and load audits"
ROWS = "Stated counts are held again against the load audits"
LOADS = "Load audits add up, tensor by tensor"
CHIPS = "Counts of each chip fit each other"
GATES = "Answers to gates are given again from the matrices"
PIXELS = "Boundaries and reliability equal a recount of the maps"
BESIDE = "Trivial maps and ceilings are on the grid of the chip and the family's logits"
LOCKED = "Chips, splits and their sizes are those of the locks"
LEVELS = "Equivalence levels follow from their conditions"


MOST_PX = 1_000_000_000
"""Pixels of a chip, and any count of them: more than its arrays could hold."""

MOST_THRESHOLDS = 1_000
"""Of a sweep."""

MOST_AXES = 8
"""Of a tensor."""


def too_large(run: RunRecord, family: Family) -> Iterator[str]:
    """Why nothing of a record may be counted again: classes that the family does not have, counts beyond any chip.

    Asked before any recount: matrices, maps and bins are made as large as these numbers say, and a stranger wrote
    them.
    """
    classes = {a.id: a.classes for a in family.adapters}
    for each in run.adapters:
        k = each.load.classes
        if each.adapter not in classes:
            yield f"family {family.id} has no adapter {each.adapter[:80]!r}"
            continue
        if k != classes[each.adapter]:
            yield f"{each.adapter}: {k:,} classes, the family has {classes[each.adapter]}"
            continue
        if any(len(t.shape) > MOST_AXES for t in each.load.tensors):
            yield f"{each.adapter}: a tensor of more than {MOST_AXES} axes"
        for chip in each.chips:
            case = f"{each.adapter} on {chip.chip}"
            rows = chip.confusion or []
            if chip.confusion is not None and (len(rows) != k or any(len(row) != k for row in rows)):
                yield f"{case}: a matrix of {len(rows)} rows, {k} classes"
            counts = [*(n for row in rows for n in row), chip.ignored_px, *chip.predicted_px]
            counts += [*chip.predicted_above.values(), *(n for q in chip.sweep for n in (q.tp, q.fp, q.fn, q.tn))]
            if counts and not -MOST_PX <= min(counts) <= max(counts) <= MOST_PX:
                yield f"{case}: {max(counts, key=abs):,} px; no chip has more than {MOST_PX:,}"
            if max(len(chip.sweep), len(chip.predicted_above)) > MOST_THRESHOLDS:
                yield f"{case}: more than {MOST_THRESHOLDS:,} thresholds"


def remeasured(view: View, family: Family, run: RunRecord) -> list[Measurement]:
    """What a run with these matrices and load audits measures by the claims of this checkout, in its order.

    Raises:
        ValueError: Matrices that are none, or a scheme without a class that a matrix has.
        KeyError: A scheme or a file's role that is not there.
    """
    found: list[Measurement] = []
    for each in run.adapters:
        if not each.load.random_weights:
            found += measurements(view.registry, structure_rows(view.registry, family, each.load))
            used = each.scheme.split(", ") if each.scheme else []
            found += scored(
                view.registry, view.schemes, each.adapter, each.chips, used, view.rules, partial(scenes_of, view)
            )
    return found


def hold_measurements(out: Ledger, view: View, family: Family, run: RunRecord, *, same_claims: bool) -> None:
    """Hold every measurement and structure row of a record against its recomputation.

    Args:
        out: Takes the cases.
        view: Claims and schemes of this checkout.
        family: The run's.
        run: The record.
        same_claims: The bundle names the claims of this checkout. Only a word of the message depends on it: whoever
            writes another hash into the manifest may leave nothing out for that.
    """
    differ = "" if same_claims else "; the claims differ: check out the run's commit"
    out.expect(VALUES)
    try:
        again = remeasured(view, family, run)
        rows = {each.adapter: structure_rows(view.registry, family, each.load) for each in run.adapters}
    except (ValueError, KeyError, IndexError, ArithmeticError, HarnessError) as err:
        out.hold(VALUES, "all", f"cannot be computed again: {err}")
        return
    fresh = {m.quantity.model_dump_json(): m for m in again}
    times = Counter(m.quantity.model_dump_json() for m in again)
    here = Counter(m.quantity.model_dump_json() for m in run.measurements)
    for number, told in enumerate(run.measurements):
        key = told.quantity.model_dump_json()
        wrong = None if here[key] <= max(times[key], 1) else "stands twice"
        if key not in fresh:
            wrong = f"no claim here names it{differ}"
        elif wrong is None:
            wrong = _unlike(_written(told), fresh[key].model_dump(mode="json"))
        out.hold(VALUES, f"{number + 1}, {told.quantity.text()}", wrong)
    for key in sorted((times - here).keys()):
        left = f"follows from the record and is not among its measurements{differ}"
        out.hold(VALUES, fresh[key].quantity.text(), left)
    for each in run.adapters:
        wanted = {row.claim: row for row in rows[each.adapter]}
        for row in each.structure:
            if row.claim not in wanted:
                wrong = f"no claim {row.claim} here, or it is not about this adapter"
            else:
                wrong = _unlike(_written(row), wanted[row.claim].model_dump(mode="json"))
            out.hold(ROWS, f"{each.adapter}, {row.claim}", wrong)
        lacking = sorted(wanted.keys() - {row.claim for row in each.structure})
        if lacking:
            out.hold(ROWS, each.adapter, f"{len(lacking)} claims left out: {', '.join(lacking)}{differ}")


def _unlike(told: Any, again: Any, where: str = "") -> str | None:
    """Where two JSON values first differ; rounding of another machine's sums is no difference."""
    if isinstance(told, dict) and isinstance(again, dict):
        if told.keys() - again.keys():
            return f"{where or 'it'} has {', '.join(sorted(told.keys() - again.keys()))[:80]}, which does not follow"
        if again.keys() - told.keys():
            return f"{where or 'it'} lacks {', '.join(sorted(again.keys() - told.keys()))[:80]}"
        parts = [(f"{where}.{key}".lstrip("."), told[key], again[key]) for key in told]
    elif isinstance(told, list) and isinstance(again, list) and len(told) == len(again):
        parts = [(f"{where}[{i}]", a, b) for i, (a, b) in enumerate(zip(told, again, strict=True))]
    else:
        number = isinstance(told, float) and isinstance(again, float | int) and not isinstance(again, bool)
        close = ENDS if where.startswith(("interval", "error", "df", "p")) else VALUE
        same = told == again or (number and math.isclose(told, again, rel_tol=close, abs_tol=close))
        return None if same and type(told) is type(again) else f"{where} {told!r:.80} on record, {again!r:.80} again"
    return next((wrong for name, a, b in parts if (wrong := _unlike(a, b, name)) is not None), None)


def _written(record: BaseModel) -> Any:
    """A record's fields that its file holds: one that was left out is no empty one."""
    return record.model_dump(mode="json", exclude_unset=True)


def hold_gates(out: Ledger, view: View, run: RunRecord) -> None:
    """Hold the answers to the family's gates against the matrices; none may be missing."""
    random = any(each.load.random_weights for each in run.adapters)
    try:
        again = answers(view.gates.get(run.family), view.registry, run.adapters, view.rules, random)
    except (ValueError, KeyError, IndexError, ArithmeticError, HarnessError) as err:
        out.hold(GATES, "all", f"cannot be answered again: {err}")
        return
    wanted = {(one.gate, one.adapter): one for one in again}
    lacking = wanted.keys() - {(one.gate, one.adapter) for one in run.gates}
    if lacking or len(run.gates) != len(again):
        left = ", ".join(sorted(gate for gate, _ in lacking))
        out.hold(GATES, "all", f"{len(run.gates)} answers, {len(again)} gates here{f'; missing: {left}' * bool(left)}")
    for told in run.gates:
        fresh = wanted.get((told.gate, told.adapter))
        wrong = "no such gate here" if fresh is None else _unlike(_written(told), fresh.model_dump(mode="json"))
        out.hold(GATES, told.gate, wrong)


def hold_pixels(out: Ledger, each: AdapterRun, chip: ChipScore, arrays: Arrays) -> None:
    """Count boundaries and reliability of one chip again; a scored chip has them."""
    label = arrays.label(each.scheme)
    case = f"{each.adapter} on {chip.chip}"
    if not chip.scored or label is None:
        stray = bool(chip.boundary) or chip.reliability is not None
        out.hold(PIXELS, case, "boundaries or reliability without a label") if stray else None
        return
    k, told = each.load.classes, chip.model_dump(mode="json", include={"boundary", "reliability"})
    probabilities = arrays.probabilities[each.adapter]
    try:
        counts = boundary_counts(label, arrays.classes[each.adapter], k, UNLABELLED)
        again: dict[str, Any] = {"boundary": [one.model_dump(mode="json") for one in counts], "reliability": None}
        if k == 2:
            again["reliability"] = reliability(probabilities[1], label, UNLABELLED).model_dump(mode="json")
    except ValueError as err:
        out.hold(PIXELS, case, str(err))
        return
    wrong = _unlike(told, again)
    if wrong is not None and wrong.startswith("boundary ") and not chip.boundary:
        wrong = "boundaries left out"
    out.hold(PIXELS, case, wrong)


def hold_load(out: Ledger, each: AdapterRun, family: Family) -> None:
    """Hold a load audit's sums against its own tensors, and what the family pins against its files."""
    out.hold(LOADS, each.adapter, "; ".join(_load_faults(each, each.load, family)) or None)


def _load_faults(each: AdapterRun, load: LoadAudit, family: Family) -> Iterator[str]:
    roles = [f.role for f in load.files]
    if sorted(roles) != ["base", "config", "decoder", "lora"]:
        yield f"files {', '.join(roles) or 'none'}"
        return
    files = {f.role: f for f in load.files}
    adapter = next((a for a in family.adapters if a.id == each.adapter), None)
    if adapter is None or load.adapter != each.adapter:
        yield f"audit of {load.adapter}; family {family.id} has no adapter {each.adapter}"
        return
    if load.classes != adapter.classes:
        yield f"{load.classes} classes, the family has {adapter.classes}"
    base = family.base()
    pin = base.sha256 if base is not None else None
    for file in load.files:
        if file.pinned and (file.role != "base" or file.sha256 != pin):
            yield f"{file.name} is called pinned, and the family pins another hash"
    if any(len(p.b_norms) != p.expected for p in load.places):
        yield "as many lora_B norms as pairs are needed"
    norm = load.batch_norm
    if not (0 <= norm.in_file <= norm.layers and 0 <= norm.moved <= norm.layers):
        yield f"batch norms: {norm.in_file} in the file and {norm.moved} moved of {norm.layers}"
    if (norm.in_file == norm.layers) != (norm.policy == "from the file"):
        yield f"batch norms: {norm.in_file} of {norm.layers} in the file, and policy {norm.policy}"
    if 2 * load.lora_applied != files["lora"].tensors and load.tensors:
        yield f"{load.lora_applied} LoRA pairs from {files['lora'].tensors} tensors"
    if load.tensors:
        yield from _tensor_faults(load)


def _tensor_faults(load: LoadAudit) -> Iterator[str]:
    """Tensors stand in the order base, LoRA, decoder, then those that no file holds."""
    by_role: dict[str, list[TensorRecord]] = {}
    start = 0
    for file in load.files:
        held = load.tensors[start : start + file.tensors]
        start += file.tensors
        by_role[file.role] = held
        entries = sum(math.prod(t.shape) for t in held)
        if len(held) != file.tensors or entries != file.entries:
            yield f"{file.name}: {file.tensors} tensors of {file.entries:,} entries, {len(held)} of {entries:,} listed"
        if any(t.sha256 is None or t.state not in ("loaded", "unused") for t in held):
            yield f"{file.name}: a tensor of it without hash, or that no file holds"
    rest = load.tensors[start:]
    if any(t.sha256 is not None or t.state in ("loaded", "unused") for t in rest):
        yield "a tensor that belongs to no file has a hash"
    if sum(t.state == "not run" for t in rest) != load.not_run:
        yield f"{load.not_run} tensors not run, {sum(t.state == 'not run' for t in rest)} listed"
    lacking = 3 * (load.batch_norm.layers - load.batch_norm.in_file)
    if len(rest) - load.not_run != lacking:
        yield f"{lacking} batch-norm buffers lack a file, {len(rest) - load.not_run} listed"
    unused = Counter(str(t.reason) for t in by_role["base"] if t.state == "unused")
    if dict(unused) != load.base_unused:
        yield f"{sum(load.base_unused.values())} tensors of the base unused, {unused.total()} listed"
    lora = by_role["lora"]
    if sum(math.prod(t.shape) for t in lora) != load.lora_parameters:
        yield f"{load.lora_parameters:,} LoRA parameters, {sum(math.prod(t.shape) for t in lora):,} in the tensors"
    if any(load.lora_r not in t.shape for t in lora):
        yield f"rank {load.lora_r}, and a LoRA tensor without it"
    decoder = sum(math.prod(t.shape) for t in by_role["decoder"] if not t.name.endswith(BUFFERS))
    if decoder != load.decoder_parameters:
        yield f"{load.decoder_parameters:,} decoder parameters, {decoder:,} in the tensors"


def hold_chip(out: Ledger, run: RunRecord, each: AdapterRun, chip: ChipScore) -> None:
    """Hold a chip's counts against each other; needs no arrays."""
    out.hold(CHIPS, f"{each.adapter} on {chip.chip}", _chip_fault(run, each, chip))


def _chip_fault(run: RunRecord, each: AdapterRun, chip: ChipScore) -> str | None:
    k, rows = each.load.classes, chip.confusion
    pixels = sum(chip.predicted_px)
    flat = [n for row in rows or [] for n in row]
    above = list(chip.predicted_above.values())
    counts = [*flat, chip.ignored_px, *chip.predicted_px, *above, chip.dates_encoded]
    counts += [n for row in chip.sweep for n in (row.tp, row.fp, row.fn, row.tn)]
    if any(n < 0 for n in counts):
        return "a negative count"
    if any(not 0 <= share <= 1 for share in chip.filled.values()):
        return "a filled share outside 0 to 1"
    if chip.probabilities_sha256 is None:
        ran = chip.scored or any(counts) or rows is not None or bool(chip.sweep)
        return "no prediction, and yet counts of one" if ran else None
    twins = {c.sha256 for a in run.adapters for c in a.chips if c.chip == chip.chip and c.sha256}
    if len(twins) > 1:
        return "adapters saw different pixels under one id"
    if len(chip.predicted_px) != k or not pixels or not chip.dates_encoded:
        return f"{pixels:,} px of {len(chip.predicted_px)} classes in {chip.dates_encoded} encoder passes"
    thresholds = [f"{row.threshold:g}" for row in chip.sweep]
    if k != 2 and (above or thresholds):
        return f"thresholds for {k} classes"
    if k == 2 and (not above or any(a < b for a, b in pairwise(above)) or above[0] > pixels):
        return "pixels above the thresholds are missing, more than the chip's, or rise"
    if not chip.scored or rows is None:
        return "not scored, and yet a sweep or ignored pixels" if chip.sweep or chip.ignored_px else None
    if len(rows) != k or any(len(row) != k for row in rows):
        return f"a matrix of {len(rows)} rows, {k} classes"
    if sum(flat) + chip.ignored_px != pixels:
        return f"{sum(flat):,} px counted and {chip.ignored_px:,} left out of {pixels:,}"
    over = [j for j in range(k) if sum(row[j] for row in rows) > chip.predicted_px[j]]
    if over:
        return f"more labelled pixels predicted as {over[0]} than pixels predicted so"
    if k == 2 and thresholds != list(chip.predicted_above):
        return "swept thresholds are not those of the pixels above"
    for row in chip.sweep:
        if (row.tn + row.fp, row.fn + row.tp) != (sum(rows[0]), sum(rows[1])):
            return f"at {row.threshold:g} the labels are not those of the matrix"
        if row.tp + row.fp > chip.predicted_above[f"{row.threshold:g}"]:
            return f"at {row.threshold:g} more labelled pixels marked than pixels marked"
    return None


def fits_beside(out: Ledger, each: AdapterRun, chip: ChipScore, arrays: Arrays, stride: int | None) -> bool:
    """Whether what stands beside a score is on the family's grid; only then is it counted again.

    A recount makes maps as large as stride and logits ask for, and both come from a stranger.
    """
    if chip.beside is None:
        return True
    told = chip.beside.ceiling
    wrong = None if told.stride_px in (None, stride) else f"stride {told.stride_px} px, the family has {stride}"
    logits = arrays.beside.get(f"fitted:{each.scheme}")
    if logits is not None and (logits.ndim != 3 or logits[0].size * (told.stride_px or 1) ** 2 > 4 * arrays.pixels):
        wrong = f"logits of shape {logits.shape} for {arrays.pixels} px"
    maps = [one for name, one in arrays.beside.items() if not name.startswith("fitted:")]
    if any(one.size != arrays.pixels for one in maps):
        wrong = "a map of another size than the chip"
    out.hold(BESIDE, f"{each.adapter} on {chip.chip}", wrong)
    return wrong is None


def utm(lon: float, lat: float) -> int:
    """EPSG code of a point's UTM zone; the rule of `harness.chips.coverage`, which needs shapely and pyproj."""
    zone = min(60, int((lon + 180) // 6) + 1)
    return (32600 if lat >= 0 else 32700) + zone


def lock_faults(locks: Sequence[Lock]) -> Iterator[str]:
    """What of locks does not fit itself: an AOI twice, a grid of another zone, dates out of order."""
    for lock in locks:
        held = [(one.aoi, one.recipe) for one in lock.aois]
        if len(set(held)) < len(held):
            yield "a lock holds an AOI twice for one recipe"
        for one in lock.aois:
            lon, lat = one.centre
            if not (-180 <= lon <= 180 and -90 <= lat <= 90):
                yield f"{one.aoi[:80]!r}: its centre in the lock is no place on earth"
            elif one.epsg != (wanted := utm(lon, lat)):
                yield f"{one.aoi[:80]!r}: EPSG:{one.epsg} in the lock; its centre lies in the zone of EPSG:{wanted}"
            for modality in dict.fromkeys(step.modality for step in one.timesteps):
                order = [step.index for step in one.timesteps if step.modality == modality]
                if order != list(range(len(order))):
                    yield f"{one.aoi[:80]!r}: dates of {modality[:40]!r} stand in the lock as {str(order)[:80]}"


def hold_locks(out: Ledger, run: RunRecord, locks: Sequence[Lock]) -> None:
    """Hold chips against the locks that they were read from."""
    held = {one.aoi: one for lock in locks for one in lock.aois if one.recipe == run.recipe}
    for each in run.adapters:
        for chip in each.chips:
            wrong = None
            if chip.chip not in held:
                lost = not chip.sha256 and not chip.scored and chip.split is None
                wrong = None if lost else f"stands in no lock for recipe {run.recipe}"
            else:
                one = held[chip.chip]
                wanted = (one.split, one.split_size) if one.split else (None, None)
                if (chip.split, chip.split_size) != wanted:
                    wrong = f"split {chip.split} of {chip.split_size}, {wanted[0]} of {wanted[1]} in the lock"
                elif chip.sha256 and "role" in chip.model_fields_set and chip.role != one.role:
                    wrong = f"role {chip.role}, {one.role} in the lock"
            out.hold(LOCKED, f"{each.adapter} on {chip.chip}", wrong)


def hold_equivalence(out: Ledger, name: str, record: EquivalenceRecord) -> None:
    """Hold a comparison's levels and shares against its own counts."""
    for task in record.tasks:
        wrong = next((f"{one.level}" for one in task.levels if one.holds != all(one.conditions.values())), None)
        share = 1 - task.disagreeing_px / task.pixels if task.pixels else 1.0
        if not 0 <= task.disagreeing_px <= task.pixels or not math.isclose(share, task.agreement, abs_tol=1e-12):
            wrong = f"agreement {task.agreement}, {task.disagreeing_px} of {task.pixels} px disagree"
        out.hold(LEVELS, f"{name}, {task.adapter}", wrong)


def registry_moved(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Files of the registry that differ between a bundle's hashes and this checkout's."""
    return sorted(name for name in then.keys() | now.keys() if then.get(name) != now.get(name))
