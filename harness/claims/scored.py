"""Scores that claims are about, measured from the confusion matrices of a run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from harness.claims.model import Claim
from harness.claims.registry import Registry
from harness.claims.schemes import Scheme
from harness.records import ChipScore, Measurement, Quantity, SweepRow
from harness.score.clusters import metric as stack_metric
from harness.score.confusion import ConfusionMatrix
from harness.score.interval import interval
from harness.score.metrics import METRIC_FUNCTIONS, OfClass, Value
from harness.vocabulary import METRICS

ARGMAX = (None, "argmax")
"""Thresholds of a claim that mean the class of highest probability."""


def scored(
    registry: Registry, schemes: Mapping[str, Scheme], adapter: str, chips: Sequence[ChipScore], used: Sequence[str]
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
    """
    if len(used) != 1:
        return []
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
            measured = _measured(claim, by_split[str(q.split)], scheme)
            if measured is not None:
                found[measured.quantity.model_dump_json()] = measured
    return list(found.values())


def _measured(claim: Claim, chips: Sequence[ChipScore], scheme: Scheme) -> Measurement | None:
    """A claim's metric on our chips; None where it has no such class, place or threshold."""
    q, metric = claim.quantity, METRIC_FUNCTIONS[claim.quantity.metric]
    if q.place is not None:
        chips = [chip for chip in chips if chip.chip == q.place]
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
    if value.value is None:
        return Measurement(quantity=quantity, value=None, reason=value.reason, n=len(matrices))
    interval = None if whole else _interval(matrices, q)
    return Measurement(quantity=quantity, value=value.value, interval=interval, whole=whole, n=len(matrices))


def _matrix(chip: ChipScore, threshold: str | None) -> ConfusionMatrix | None:
    if threshold in ARGMAX:
        return None if chip.confusion is None else ConfusionMatrix(tuple(tuple(row) for row in chip.confusion))
    row: SweepRow | None = next((r for r in chip.sweep if abs(r.threshold - float(str(threshold))) < 1e-9), None)
    return None if row is None else ConfusionMatrix(((row.tn, row.fp), (row.fn, row.tp)))


def _value(matrix: ConfusionMatrix, q: Quantity) -> Value:
    metric = METRIC_FUNCTIONS[q.metric]
    return metric.of(matrix, int(q.class_index or 0)) if isinstance(metric, OfClass) else metric.of(matrix)


def _interval(matrices: Sequence[ConfusionMatrix], q: Quantity) -> tuple[float, float] | None:
    """95 % interval over chips, by the method that covers best at this number; None where it is not useful."""
    if METRICS[q.metric].count:
        return None
    found = interval(matrices, stack_metric(q.metric, q.class_index), "pooled")
    if not found.useful or found.low is None or found.high is None or found.value is None:
        return None
    return min(found.low, found.value), max(found.high, found.value)
