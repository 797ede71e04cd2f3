"""Scores that claims are about, measured from the confusion matrices of a run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from harness.claims.model import Claim
from harness.claims.registry import Registry
from harness.claims.rules import Rules, own_rules
from harness.claims.schemes import Scheme
from harness.claims.verdicts import judge
from harness.records import AdapterRun, Averaging, ChipScore, Measurement, Quantity, ScenesNeeded, SweepRow
from harness.score.clusters import NAMES, Estimand, StackMetric, stacked
from harness.score.clusters import metric as stack_metric
from harness.score.confusion import ConfusionMatrix
from harness.score.interval import interval
from harness.score.metrics import METRIC_FUNCTIONS, OfClass, Value
from harness.score.power import scenes_needed
from harness.score.resample import cluster_values
from harness.score.scenes import PROBE, sampled, scene_names

ARGMAX = (None, "argmax")
"""Thresholds of a claim that mean the class of highest probability."""


WHOLE = "every chip that the claim is about, so sampling does not enter and the value alone is held against the claim"
"""Why a whole set has no interval."""


def scored(
    registry: Registry,
    schemes: Mapping[str, Scheme],
    adapter: str,
    chips: Sequence[ChipScore],
    used: Sequence[str],
    rules: Rules | None = None,
    scenes: Callable[[Claim], int | None] = lambda _: None,
) -> list[Measurement]:
    """Measure what claims name: the same metric, class, threshold and averaging, on the chips of the same split.

    The quantity that comes back is what was measured, with our scheme and its class names; whether it
    is the claim's is judged afterwards.

    Args:
        registry: Claims.
        schemes: By id.
        adapter: Whose scores.
        chips: All of them, scored or not.
        used: Scheme of the labels; measured is only where there is one.
        rules: Verdict rules, which decide for which claims scenes are asked for; the project's own where left out.
        scenes: Independent scenes behind a claim's figure, as `harness.claims.verdicts.scenes_of` says; the report
            judges with the same.
    """
    if len(used) != 1:
        return []
    rules = rules or own_rules()
    scheme = schemes[used[0]]
    by_split: dict[str, list[ChipScore]] = defaultdict(list)
    for chip in chips:
        if chip.split is not None:
            by_split[chip.split].append(chip)
    found: dict[str, Measurement] = {}
    for claim in (claim for card in registry.cards for claim in card.claims):
        q = claim.quantity
        wanted = q.subject == adapter and q.variant == "published" and not q.conditions
        if wanted and q.metric in METRIC_FUNCTIONS and q.split in by_split and q.averaging != "per_chip":
            there = by_split[str(q.split)]
            measured = _measured(claim, there, scheme, rules)
            if measured is None:
                continue
            key = measured.quantity.model_dump_json()
            measured = found.get(key, measured)
            asked = _needed(claim, measured, there, rules, scenes(claim))
            if asked is not None and asked not in measured.needed:
                measured = measured.model_copy(update={"needed": [*measured.needed, asked]})
            found[key] = measured
    return list(found.values())


def headlines(run: AdapterRun, rules: Rules | None = None) -> list[Measurement]:
    """What a reader looks at first, of every scored chip of a run, whether or not a claim is about it.

    mIoU, and for two classes the IoU of class 1; each pooled and as the mean over clusters. No quantity of a
    claim: no split is named. Chips of role `probe` are left out, as they are no sample.
    """
    level = (rules or own_rules()).equivalence.level
    groups = clustered(sampled(run.chips), None)
    if not groups:
        return []
    wanted: list[tuple[str, int | None, Averaging]] = [("mIoU", None, "macro")]
    if run.load.classes == 2:
        wanted.append(("iou", 1, "pooled"))
    estimands: tuple[Estimand, ...] = ("pooled", "per_cluster")
    out = []
    for name, index, averaging in wanted:
        for estimand in estimands:
            quantity = Quantity(
                subject=run.adapter, metric=name, class_index=index, scheme=run.scheme, averaging=averaging
            )
            out.append(_over_clusters(quantity, groups, stack_metric(name, index), estimand, level))
    return out


def clustered(chips: Sequence[ChipScore], threshold: str | None) -> dict[str, ConfusionMatrix]:
    """One matrix a scene by its name, in the order of the chips; what a scene is, `harness.score.scenes` says."""
    out: dict[str, ConfusionMatrix] = {}
    names = scene_names(chips)
    for chip in chips:
        matrix = _matrix(chip, threshold)
        if matrix is not None:
            name = names[chip.chip]
            out[name] = out[name] + matrix if name in out else matrix
    return out


def _measured(claim: Claim, chips: Sequence[ChipScore], scheme: Scheme, rules: Rules) -> Measurement | None:
    """A claim's metric on our chips; None where it has no such class, place or threshold."""
    q, metric = claim.quantity, METRIC_FUNCTIONS[claim.quantity.metric]
    chips = [chip for chip in chips if (chip.role != PROBE if q.place is None else chip.chip == q.place)]
    of_class = isinstance(metric, OfClass)
    if not chips or of_class != (q.class_index is not None):
        return None
    names = {each.index: each.name for each in scheme.classes}
    if q.class_index is not None and q.class_index not in names:
        return None
    quantity = Quantity(
        subject=q.subject,
        metric=q.metric,
        class_index=q.class_index,
        class_name=None if q.class_index is None or q.class_name is None else names[q.class_index],
        scheme=scheme.id,
        threshold=q.threshold,
        averaging=q.averaging,
        split=q.split,
        place=q.place,
    )
    done = [chip for chip in chips if chip.scored]
    matrices = [m for chip in done if (m := _matrix(chip, q.threshold)) is not None]
    if len(matrices) < len(done):
        return None  # a threshold that was not swept
    size = {1} if q.place is not None else {chip.split_size for chip in chips}
    whole = size == {len(done)} and all(chip.split_size for chip in chips)
    if not matrices:
        return Measurement(quantity=quantity, value=None, reason="no chip was scored", n=0)
    value = _value(sum(matrices[1:], matrices[0]), q)
    groups = clustered(done, q.threshold)
    if value.value is None:
        return Measurement(quantity=quantity, value=None, reason=value.reason, n=len(groups))
    if q.metric not in NAMES:
        why = f"no interval is made for {q.metric}"
        return Measurement(quantity=quantity, value=value.value, whole=whole, n=len(groups), why=why)
    stack = stack_metric(q.metric, q.class_index)
    if whole:
        own = _own(groups, stack)
        return Measurement(
            quantity=quantity,
            value=value.value,
            whole=True,
            n=len(groups),
            estimand="pooled",
            clusters=own,
            why=WHOLE,
        )
    return _over_clusters(quantity, groups, stack, "pooled", rules.equivalence.level, value.value)


def _own(groups: Mapping[str, ConfusionMatrix], metric: StackMetric) -> dict[str, float | None]:
    values = cluster_values(stacked(list(groups.values())), metric)
    return {name: None if v != v else float(v) for name, v in zip(groups, values, strict=True)}


def _over_clusters(
    quantity: Quantity,
    groups: Mapping[str, ConfusionMatrix],
    metric: StackMetric,
    estimand: Estimand,
    level: float,
    exact: float | None = None,
) -> Measurement:
    """A metric over clusters with the interval that covers best at so many; none where it is not useful.

    `exact` is the pooled value from whole pixels, where it is known; it differs by rounding of floats at most.
    """
    found = interval(list(groups.values()), metric, estimand, level=level)
    value = found.value if exact is None else exact
    ends = None
    if value is not None and found.useful and found.low is not None and found.high is not None:
        ends = (min(found.low, value), max(found.high, value))
    return Measurement(
        quantity=quantity,
        value=value,
        reason=found.why if value is None else None,
        interval=ends,
        n=found.n,
        estimand=estimand,
        method=None if ends is None else found.method,
        level=None if ends is None else found.level,
        coverage_simulated=None if ends is None else found.coverage_simulated,
        clusters=dict(zip(groups, found.clusters, strict=True)),
        effective=found.effective,
        error=found.error,
        df=found.df,
        why=found.why,
    )


def _needed(
    claim: Claim, measured: Measurement, chips: Sequence[ChipScore], rules: Rules, scenes: int | None
) -> ScenesNeeded | None:
    """Scenes that the claim's tolerance asks for, where nothing can be concluded."""
    q = claim.quantity
    if claim.tolerance in (None, "rounding") or q.metric not in NAMES or q.place is not None:
        return None
    if judge(claim, measured, rules, scenes).word != "inconclusive":
        return None
    tolerance = float(str(claim.tolerance))
    groups = clustered(sampled(chips), q.threshold)
    found = scenes_needed(
        list(groups.values()),
        stack_metric(q.metric, q.class_index),
        "pooled",
        tolerance,
        rules.power.probability,
        rules.equivalence.level,
    )
    return ScenesNeeded(
        tolerance=tolerance,
        probability=found.probability,
        scenes=found.scenes,
        by_formula=found.by_formula,
        why=found.why,
    )


def _matrix(chip: ChipScore, threshold: str | None) -> ConfusionMatrix | None:
    if threshold in ARGMAX:
        return None if chip.confusion is None else ConfusionMatrix(tuple(tuple(row) for row in chip.confusion))
    row: SweepRow | None = next((r for r in chip.sweep if abs(r.threshold - float(str(threshold))) < 1e-9), None)
    return None if row is None else ConfusionMatrix(((row.tn, row.fp), (row.fn, row.tp)))


def _value(matrix: ConfusionMatrix, q: Quantity) -> Value:
    metric = METRIC_FUNCTIONS[q.metric]
    return metric.of(matrix, int(q.class_index or 0)) if isinstance(metric, OfClass) else metric.of(matrix)
