"""Two runs on the same chips as a bridge: device and precision as paired differences, without torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from harness.ablate.ends import Group, Knob
from harness.ablate.published import Wanted
from harness.ablate.result import computed, corners_of, factors_of
from harness.errors import RegistryError
from harness.folders import commit_of, reserved, who
from harness.names import known
from harness.places import eval_folder, written_under
from harness.records import AdapterRun, ChipScore, RunRecord
from harness.records.bridge import BridgeRecord, ChipRecord, HeldRecord, write_bridge
from harness.records.run import read_run
from harness.score.confusion import ConfusionMatrix
from harness.score.corners import Kind
from harness.score.metrics import METRIC_FUNCTIONS, OfClass
from harness.score.scenes import scene_names

SOFTWARE = ("build", "float32 products", "torchvision")
"""Conditions of a run that come with its device."""


@dataclass(frozen=True)
class Pair:
    """What is asked of two runs."""

    adapter: str
    """Adapter id."""
    first: Path
    """Folder of the run at the start."""
    second: Path
    """Folder of the run at the end."""
    metric: str = "mIoU"
    """A name of `METRIC_FUNCTIONS`."""
    class_index: int | None = None
    """For a metric of one class."""
    over: tuple[int, ...] = ()
    """For a mean over classes: which."""
    threshold: float = 0.5
    """Of two-class adapters: a swept one; 0.5 is argmax."""
    command: str = ""
    """As typed."""
    root: Path | None = None
    """Checkout with an eval/ folder."""
    out: Path | None = None
    """Folder for runs."""


def between(pair: Pair, step: Callable[[str], None] = lambda _: None) -> tuple[BridgeRecord, Path]:
    """Bridge two runs.

    The two differ in one factor where only the device, or only the precision, is another. Where more is, it is one
    factor all the same: two runs cannot say which of it did what.

    Returns:
        Record and folder.

    Raises:
        RegistryError: No such run or adapter, the same run twice, other weights, or no chip that both scored.
    """
    step("reading two run records")
    a, b = (read_run(folder / "run.json") for folder in (pair.first, pair.second))
    if pair.first.resolve() == pair.second.resolve() or a == b:  # two machines may give one id in the same second
        raise RegistryError(f"{pair.first} and {pair.second} are one run; name two")
    one, other = (_adapter(run, pair.adapter) for run in (a, b))
    metric = METRIC_FUNCTIONS[known(pair.metric, METRIC_FUNCTIONS, "metric")]
    if isinstance(metric, OfClass) != (pair.class_index is not None):
        raise RegistryError(f"{pair.metric}: --class goes with a metric of one class, and only with it")
    if (mine := _files(one)) != (theirs := _files(other)):
        names = sorted(n for n in {*mine, *theirs} if mine.get(n) != theirs.get(n))
        raise RegistryError(f"the two runs loaded other weights ({', '.join(names)}): these are two models, no bridge")
    group, held = _group(a, b, one, other)
    chips, corners = _chips(one, other, pair, group.id)
    wanted = Wanted(pair.adapter, pair.metric, pair.class_index, pair.threshold)
    factors = factors_of([group])
    result = computed(factors, corners, wanted, pair.over or None, None)
    folder = eval_folder(pair.root)
    now = datetime.now(UTC).replace(microsecond=0)
    commit, dirty = commit_of(folder)
    target = reserved(
        pair.out or written_under(folder) / "runs", f"{now:%Y%m%dT%H%M%SZ}-ablate-{pair.adapter}-two-runs"
    )
    record = BridgeRecord(
        id=target.name,
        created=now.isoformat(),
        who=who(),
        command=pair.command,
        commit=commit,
        dirty=dirty,
        family=a.family,
        adapter=pair.adapter,
        source="runs",
        start_name=a.id,
        end_name=b.id,
        weights="random" if "random" in (a.weights, b.weights) else "published",
        files=mine,
        device=a.device if a.device == b.device else f"{a.device} -> {b.device}",
        metric=pair.metric,
        class_index=pair.class_index,
        over=list(pair.over) or None,
        threshold=pair.threshold,
        factors=factors,
        held=held,
        chips=chips,
        corners=corners_of(corners),
        published=None,
        published_why="both ends are runs",
        result=result,
        forwards_made=0,
        forwards_kept=0,
        forward_s=None,
        conditions={"commit at the start": a.commit, "commit at the end": b.commit},
    )
    write_bridge(record, target)
    return record, target


def _adapter(run: RunRecord, adapter: str) -> AdapterRun:
    by_id = {each.adapter: each for each in run.adapters}
    return by_id[known(adapter, by_id, f"adapter in run {run.id}")]


def _files(run: AdapterRun) -> dict[str, str]:
    return {f"{f.role} {f.name}": f.sha256 for f in run.load.files}


def _group(a: RunRecord, b: RunRecord, one: AdapterRun, other: AdapterRun) -> tuple[Group, list[HeldRecord]]:
    """What differs between two runs as one factor."""
    knobs = []
    if a.device != b.device:
        knobs.append(Knob("device", "device", a.device, b.device))
    if a.dtype != b.dtype:
        knobs.append(Knob("precision", "precision", a.dtype, b.dtype))
    if one.recipe != other.recipe:
        knobs.append(Knob("recipe", "recipe", one.recipe, other.recipe))
    if one.scheme != other.scheme:
        knobs.append(Knob("scheme", "scheme", str(one.scheme), str(other.scheme)))
    for name in sorted({*a.conditions, *b.conditions} - set(SOFTWARE)):
        mine, theirs = a.conditions.get(name, "not stated"), b.conditions.get(name, "not stated")
        if mine != theirs:
            knobs.append(Knob(name, "recipe", mine, theirs))
    software = [n for n in SOFTWARE if a.conditions.get(n) != b.conditions.get(n)]
    packages = [n for n in sorted({*a.packages, *b.packages}) if a.packages.get(n) != b.packages.get(n)]
    said = [f"{n} {a.conditions.get(n)} -> {b.conditions.get(n)}" for n in software]
    said += [f"{n} {a.packages.get(n)} -> {b.packages.get(n)}" for n in packages]
    held = []
    if said and not knobs:
        knobs.append(Knob("software", "device", "as in the first run", "; ".join(said)))
    elif said:
        held.append(HeldRecord(knob="software", why=f"went along with the rest: {'; '.join(said)}"))
    if not knobs:  # another commit, or a repetition
        knobs.append(Knob("repetition", "device", f"run {a.id}", f"run {b.id}"))
    if len(knobs) > 1:
        held.append(
            HeldRecord(knob="the single differences", why="two runs cannot tell them apart; they are one factor here")
        )
    return Group(" and ".join(k.id for k in knobs), _kind(knobs), tuple(knobs)), held


def _kind(knobs: Sequence[Knob]) -> Kind:
    """The kind that allows most: under a device label pixels may not differ, under a scheme they may."""
    order: tuple[Kind, ...] = ("scheme", "recipe", "device", "precision")
    return min((k.kind for k in knobs), key=order.index)


def _chips(
    one: AdapterRun, other: AdapterRun, pair: Pair, factor: str
) -> tuple[list[ChipRecord], dict[frozenset[str], dict[str, ConfusionMatrix]]]:
    """Chips that both runs scored on the same pixels, by scene."""
    corners: dict[frozenset[str], dict[str, ConfusionMatrix]] = {frozenset(): {}, frozenset({factor}): {}}
    theirs = {c.chip: c for c in other.chips}
    scenes = scene_names([*one.chips, *other.chips])
    chips = []
    for chip in one.chips:
        twin = theirs.pop(chip.chip, None)
        reason, found = _both(chip, twin, pair)
        cluster = scenes[chip.chip]
        if reason is None:
            for held, matrix in zip(corners.values(), found, strict=True):
                held[cluster] = held[cluster] + matrix if cluster in held else matrix
        sha = {"start": chip.sha256} | ({"end": twin.sha256} if twin is not None else {})
        chips.append(
            ChipRecord(
                chip=chip.chip,
                cluster=cluster,
                sha256=sha,
                ends=["start", "end"] if twin is not None else ["start"],
                scored=reason is None,
                reason=reason,
            )
        )
    for chip in theirs.values():
        said = "only the second run has it"
        cluster = scenes[chip.chip]
        chips.append(
            ChipRecord(
                chip=chip.chip, cluster=cluster, sha256={"end": chip.sha256}, ends=["end"], scored=False, reason=said
            )
        )
    if not any(c.scored for c in chips):
        raise RegistryError(f"no chip was scored in both runs on the same pixels: {chips[0].chip}: {chips[0].reason}")
    return chips, corners


def _both(chip: ChipScore, twin: ChipScore | None, pair: Pair) -> tuple[str | None, tuple[ConfusionMatrix, ...]]:
    """Why a chip cannot be paired, or its two matrices."""
    if twin is None:
        return "only the first run has it", ()
    for each, which in ((chip, "first"), (twin, "second")):
        if not each.scored:
            return f"not scored in the {which} run: {each.reason}", ()
    if chip.sha256 != twin.sha256:
        return "other pixels in the two runs", ()
    made = [_matrix(each, pair.threshold) for each in (chip, twin)]
    if None in made:
        return f"threshold {pair.threshold:g} was not swept", ()
    return None, tuple(m for m in made if m is not None)


def _matrix(chip: ChipScore, threshold: float) -> ConfusionMatrix | None:
    if threshold == 0.5 and chip.confusion is not None:
        return ConfusionMatrix(tuple(tuple(row) for row in chip.confusion), chip.ignored_px)
    row = next((r for r in chip.sweep if r.threshold == threshold), None)
    return None if row is None else ConfusionMatrix(((row.tn, row.fp), (row.fn, row.tp)), chip.ignored_px)
