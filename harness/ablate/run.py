"""The straight line behind `harness ablate`: ends, factors, every combination, record."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Final, Literal

from harness.ablate.keep import Keep, KeptBench, fingerprint
from harness.ablate.plan import Asked, Plan, planned, said
from harness.ablate.published import published, scenes_of
from harness.ablate.readings import Readings
from harness.ablate.result import computed, corners_of, factors_of, published_of
from harness.chip_facts import on_ground
from harness.chips.chip import Grid
from harness.claims.families import Family
from harness.claims.structure import alpha_claim
from harness.errors import ChipError, RecipeError, SourceError, UnscoredError
from harness.folders import commit_of, reserved, usable, who
from harness.places import cache_folder, eval_folder, written_under
from harness.records.bridge import BridgeRecord, ChipRecord, HeldRecord, write_bridge
from harness.score.confusion import ConfusionMatrix
from harness.score.scenes import joined, label_of
from harness.workbench import Setting

if TYPE_CHECKING:
    from harness.models.ensemble import Ensemble
    from harness.models.stack import Stack

Step = Callable[[str], None]

REFUSED: Final = (ChipError, RecipeError, SourceError)
"""What makes one chip unscored and not the end of everything."""


@dataclass(frozen=True)
class Done:
    """What came of it."""

    record: BridgeRecord
    """The bridge."""
    folder: Path
    """Where it stands."""


def ablate(asked: Asked, step: Step = lambda _: None, tell: Step = lambda _: None) -> Done | None:
    """Bridge two ways of making an adapter's figure.

    Args:
        asked: What.
        step: Told what is being done.
        tell: Told what should stay on the screen: the cost, and how long is left.

    Returns:
        Record and folder; None where only the plan was asked for.

    Raises:
        RegistryError: No such family, adapter, recipe, metric, scheme, rule or claim; nothing differs; the
            metric has no value at some combination; or the folder for runs cannot be written.
        ChipError: The folder holds no chips.
        UnscoredError: No chip could be run at every combination.
        WeightsError, DeviceError: As `load_family`.
    """
    usable(asked.out or written_under(eval_folder(asked.root)) / "runs")
    with ExitStack() as stack:
        plan, readings = planned(asked, stack, step)
        total = sum(len(plan.feeds(name, readings.way)) for name in plan.names)
        for line in said(plan, total):
            tell(line)
        if asked.plan:
            return None
        return _run(asked, plan, readings, total, step, tell)


def _run(asked: Asked, plan: Plan, readings: Readings, total: int, step: Step, tell: Step) -> Done:
    from harness.models import stack as torch_stack
    from harness.models.ensemble import load_family

    step("importing the torch stack")
    prepared = torch_stack.prepare()
    weights = _weights(asked, plan.family, step)
    step(f"loading {plan.adapter.id}")
    ensemble = load_family(
        plan.family,
        weights,
        tasks=[plan.adapter.id],
        device=asked.device,
        batch_norm=asked.batch_norm,
        alphas={plan.adapter.id: alpha_claim(plan.view.registry, plan.adapter.id)},
        seed=asked.seed,
        greedy=asked.greedy,
        root=asked.root,
    )
    random = ensemble.adapters[plan.adapter.id].audit.random_weights
    found, why = published(plan.view, plan.family.id, asked.start, plan.wanted, asked.claim)
    if random:
        found, why = None, "random weights: no claim is held against them"
    keep = Keep()
    keep.said = lambda: _timed(keep, total, tell, step)
    per_chip, chips = _every(plan, readings, ensemble, prepared, keep, step)
    chips += [
        ChipRecord(chip=n, cluster=label_of(n), sha256={}, ends=[], scored=False, reason=why_not)
        for n, why_not in plan.missing.items()
    ]
    scored = [c for c in chips if c.scored]
    if not scored:
        raise UnscoredError(f"none of {len(chips)} chips could be run: {chips[0].chip}: {chips[0].reason}")
    at_start = [c.chip for c in scored if "start" in c.ends]
    scenes = "others" if found is None else scenes_of(dict(readings.given.splits), at_start, found.claim)
    record = None if found is None else published_of(found, scenes)
    factors = factors_of(plan.groups)
    corners = _pooled(per_chip, {c.chip: c.cluster for c in chips})
    result = computed(factors, corners, plan.wanted, asked.over or None, record)
    now = datetime.now(UTC).replace(microsecond=0)
    folder = eval_folder(asked.root)
    commit, dirty = commit_of(folder)
    name = f"{now:%Y%m%dT%H%M%SZ}-ablate-{plan.adapter.id}-{asked.start}-to-{asked.end}"
    target = reserved(asked.out or written_under(folder) / "runs", name)
    bridge = BridgeRecord(
        id=target.name,
        created=now.isoformat(),
        who=who(),
        command=asked.command,
        commit=commit,
        dirty=dirty,
        family=plan.family.id,
        adapter=plan.adapter.id,
        source=readings.given.source,
        start_name=asked.start,
        end_name=asked.end,
        locks=dict(readings.given.locks),
        weights="random" if random else "published",
        files={f"{f.role} {f.name}": f.sha256 for f in ensemble.adapters[plan.adapter.id].audit.files},
        device=f"{ensemble.device.kind}: {ensemble.device.name}",
        metric=asked.metric,
        class_index=asked.class_index,
        over=list(asked.over) or None,
        threshold=asked.threshold,
        factors=factors,
        held=[HeldRecord(knob=h.knob, why=h.why) for h in plan.held],
        chips=chips,
        corners=corners_of(corners),
        published=record,
        published_why=why,
        result=result,
        forwards_made=len(keep.mine),
        forwards_kept=len(keep.found),
        forward_s=round(median(keep.seconds), 3) if keep.seconds else None,
        conditions={
            "build": ensemble.device.build(),
            "scheme at the start": plan.start.scheme,
            "scheme at the end": plan.end.scheme,
            "seed": str(asked.seed),
            "tokens": "greedy" if asked.greedy else "sampled",
            "batch norm": asked.batch_norm,
            "float32 products": prepared.matmul,
            **{k: v for k, v in readings.given.conditions.items() if k == "catalogue"},
        },
        packages=prepared.versions,
    )
    write_bridge(bridge, target)
    return Done(bridge, target)


def _weights(asked: Asked, family: Family, step: Step) -> Path | None:
    if not asked.random_weights:
        return asked.weights
    from harness.models.synthetic import write_family

    folder = asked.weights or cache_folder() / f"random-{family.id}-{asked.seed}-{asked.adapter}"
    step(f"writing random weights in the published format to {folder}")
    return write_family(family, folder, asked.seed, only=[asked.adapter])


def dtype_of(precision: str, kind: str) -> str:
    """The precision that a recipe states, on a kind of device.

    `16-mixed` is float16 autocast; on a CPU Lightning, which the training code runs on, takes bfloat16 in its place
    (lightning.pytorch, accelerator_connector.py, `_check_and_init_precision`), and so does this.
    """
    if precision == "float32":
        return "float32"
    return "bfloat16" if kind == "cpu" else "float16"


def _timed(keep: Keep, total: int, tell: Step, step: Step) -> None:
    """Say how long the rest takes: after the first forward for good, then as progress."""
    left = max(0, total - len(keep.mine) - len(keep.found))
    each = median(keep.seconds)
    minutes = left * each / 60
    words = f"about {minutes:.0f} min" if minutes >= 2 else f"about {max(1.0, left * each):.0f} s"
    rest = f"{left} forwards left at most, {words}"
    if len(keep.seconds) == 1:
        tell(f"cost: the first forward took {each:.2f} s; {rest if left else 'it was the last'}")
    else:
        step(rest)


PerChip = dict[frozenset[str], dict[str, ConfusionMatrix]]


def _every(
    plan: Plan, readings: Readings, ensemble: Ensemble, prepared: Stack, keep: Keep, step: Step
) -> tuple[PerChip, list[ChipRecord]]:
    """Every chip at every combination of its populations; a chip that fails at one enters none."""
    kind: Literal["land cover", "buildings"] = "buildings" if plan.adapter.classes == 2 else "land cover"
    made: dict[str, tuple[Ensemble, str]] = {}
    for precision in {e.recipe.precision for e in plan.corners.values()}:
        one = replace(ensemble, dtype=dtype_of(precision, ensemble.device.kind))
        made[precision] = (one, fingerprint(one, plan.adapter.id, prepared.versions))
    out: PerChip = defaultdict(dict)
    records = []
    grounds: dict[str, Grid] = {}
    shared: dict[str, list[str]] = {}
    for number, name in enumerate(plan.names, 1):
        step(f"{name} ({number} of {len(plan.names)})")
        ends: list[Literal["start", "end"]] = []
        ends += ["start"] if name in plan.start.chips else []
        ends += ["end"] if name in plan.end.chips else []
        shas: dict[str, str] = {}
        reason = None
        try:
            benches: dict[tuple[str, str], KeptBench] = {}
            asked: dict[frozenset[str], tuple[KeptBench, Setting]] = {}
            for ids, end in plan.corners.items():
                if name not in end.chips:
                    continue
                way = readings.way(end)
                variant = f"{end.scheme}|{end.footprints}|{end.unlabelled}"
                key = (way, end.recipe.precision)
                if key not in benches:
                    predictor, made_by = made[end.recipe.precision]
                    benches[key] = KeptBench(
                        predictor=predictor,
                        tasks={plan.adapter.id: kind},
                        populations={},
                        schemes=plan.view.schemes,
                        resampling=readings.resampled,
                        timesteps=plan.family.build_of(plan.adapter.id).timesteps or 1,
                        keep=keep,
                        made_by=made_by,
                    )
                bench = benches[key]
                if variant not in bench.populations:
                    place = readings.place(name, end)
                    bench.populations = {**bench.populations, variant: [place]}
                    shas[_short(way)] = place.chip.sha256
                    if name not in grounds:
                        shared[name] = on_ground(name, place.chip.grid, grounds) or []
                        grounds[name] = place.chip.grid
                setting = end.setting(variant, plan.wanted.threshold)
                bench.ready(setting, bench.populations[variant][0].chip)
                asked[ids] = (bench, setting)
            # only now, as every combination can be fed, does anything go through the model
            held = {ids: b.matrices(s, plan.adapter.id)[name] for ids, (b, s) in asked.items()}
        except REFUSED as err:
            reason = str(err)
        else:
            for ids, matrix in held.items():
                out[ids][name] = matrix
        records.append(
            ChipRecord(chip=name, cluster=label_of(name), sha256=shas, ends=ends, scored=reason is None, reason=reason)
        )
    scenes = joined([each.chip for each in records], shared, {})
    return out, [each.model_copy(update={"cluster": scenes[each.chip]}) for each in records]


def _short(way: str) -> str:
    """A reading's name in a record."""
    return way if way == "files" else way.strip("[]").replace('"', "")


def _pooled(per_chip: PerChip, scenes: Mapping[str, str]) -> dict[frozenset[str], dict[str, ConfusionMatrix]]:
    """Chips of one scene together."""
    out: dict[frozenset[str], dict[str, ConfusionMatrix]] = {}
    for ids, held in per_chip.items():
        clusters: dict[str, ConfusionMatrix] = {}
        for name, matrix in held.items():
            cluster = scenes[name]
            clusters[cluster] = clusters[cluster] + matrix if cluster in clusters else matrix
        out[ids] = clusters
    return out
