"""Rows of a gap report's tables, each read from claims, checks or runs."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from harness.claims.checks import causes
from harness.claims.checks.probes import within
from harness.claims.counterfactuals import Pair
from harness.claims.families import Adapter
from harness.claims.groups import View, figure
from harness.claims.model import Claim
from harness.claims.sweeps import Sweep, tiles
from harness.claims.verdicts import Verdict, judge, scenes_of, unlike
from harness.records import Measurement, RunRecord
from harness.report.clusters import beside
from harness.report.words import num, pct
from harness.score.binary import ALL_ONES, ALL_ZEROS, coin


@dataclass(frozen=True)
class ClaimRow:
    """One line of the claim table."""

    name: str
    """Quantity in words."""
    scheme: str
    """Class scheme as stated, or a dash."""
    card: str
    """Card's figure."""
    rerun: str
    """Published rerun's figure, or a dash."""
    unlike: list[str]
    """Why the two are not one quantity."""
    ours: str
    """Our figure with interval and n, or `not measured`."""
    verdict: Verdict
    """On the card's figure."""
    ids: tuple[str, ...] = ()
    """Claims on the line: the card's, and the rerun's where there is one."""
    beside: str = ""
    """What our interval is, few clusters one by one, scenes needed; empty where there is no figure of ours."""


@dataclass(frozen=True)
class ProbeRow:
    """One building probe."""

    place: str
    """Name."""
    expected: str
    """Word of the probe script."""
    px: int
    """Predicted pixels."""
    share: float
    """Of the chip."""
    passes: list[bool]
    """By each way that the script writes its bounds."""


def _matching(view: View, claim: Claim, kind: str) -> Claim | None:
    """The other document's claim nearest to this one: same subject, metric and output index."""
    q = claim.quantity
    for card in view.registry.cards:
        if card.kind != kind or card.family != view.family_of(claim.card):
            continue
        for other in card.claims:
            o = other.quantity
            if (
                (o.subject, o.metric, o.class_index, o.variant) == (q.subject, q.metric, q.class_index, q.variant)
                and not o.place
                and not o.threshold
            ):
                return other
    return None


def ours(runs: list[RunRecord], claim: Claim) -> tuple[Measurement, RunRecord] | None:
    """Our newest measurement of exactly the claim's quantity, with its run."""
    for run in reversed(runs):
        for measurement in run.measurements:
            if not unlike(claim.quantity, measurement.quantity):
                return measurement, run
    return None


HEADLINE = (
    "mIoU",
    "accuracy",
    "f1_macro",
    "iou",
    "class_accuracy",
    "mean_class_accuracy",
    "boundary_mIoU",
    "mIoU_micro",
)
"""Metrics of the claim table, in its order."""


def _order(key: tuple[str, int | None, str, str]) -> tuple[bool, int, int, str, str]:
    """Published scores first, in the order of `HEADLINE`; other arms and gains after them."""
    metric, index, variant, of = key
    place = HEADLINE.index(metric) if metric in HEADLINE else len(HEADLINE)
    return (variant != "published" or metric not in HEADLINE, place, -1 if index is None else index, variant, of)


WORDS = {
    "iou": "IoU",
    "f1_macro": "F1, mean of classes",
    "mean_class_accuracy": "recall, mean of classes",
    "class_accuracy": "recall",
    "mIoU_micro": "IoU over all pixels (micro)",
    "boundary_mIoU": "mIoU at edges",
    "accuracy": "pixel accuracy",
    "delta_points": "gain in points",
}
"""Metric names as a reader says them."""


def claim_rows(view: View, runs: list[RunRecord], adapter: Adapter, unreachable: str | None = None) -> list[ClaimRow]:
    """The claim table: every published score of the card's test split.

    `unreachable` names the services that kept it from being measured, where somebody tried.
    """
    found: dict[tuple[str, int | None, str, str], Claim] = {}
    for card in view.registry.cards:
        if card.kind != "card":
            continue
        for claim in card.claims:
            q = claim.quantity
            context = q.metric == "delta_points" and q.class_index is None
            wanted = (q.subject, q.split) == (adapter.id, "test") and (q.metric in HEADLINE or context)
            if wanted and (q.variant == "published" or q.metric == "mIoU" or context):
                key = (q.metric, q.class_index, q.variant, q.conditions.get("of", ""))
                if key not in found or figure(claim).width < figure(found[key]).width:
                    found[key] = claim
    rows = []
    for key in sorted(found, key=_order):
        claim = found[key]
        rerun, hit = _matching(view, claim, "rerun"), ours(runs, claim)
        text = "-" if claim.tolerance is None else f"not measured: {unreachable}" if unreachable else "not measured"
        if hit is not None:
            m, _ = hit
            text = f"not measured: {m.reason}" if m.value is None else f"{m.value:.4f}"
            if m.interval:
                text += f" [{m.interval[0]:.3f}, {m.interval[1]:.3f}]"
            text += f", n = {m.n}" if m.value is not None else ""
        behind = scenes_of(view, claim)
        verdict = judge(claim, hit[0] if hit else None, view.rules, behind)
        q = claim.quantity
        name = WORDS.get(q.metric, q.metric)
        if q.class_index is not None:
            names = [f"card: {q.class_name}"] if q.class_name else []
            if rerun is not None and rerun.quantity.class_name not in (None, q.class_name):
                names.append(f"rerun: {rerun.quantity.class_name}")
            name += f", index {q.class_index}" + (f" ({'; '.join(names)})" if names else "")
        if q.variant != "published":
            name += f", {q.variant.replace('-', ' ')}"
        if q.metric == "delta_points":
            name += f": {q.conditions.get('of', '')}"
        value = claim.value if len(claim.value) <= 8 else f"{float(figure(claim).mid):.4f}"
        rows.append(
            ClaimRow(
                name=name,
                scheme=q.scheme or "-",
                card=value,
                rerun=rerun.value if rerun else "-",
                unlike=unlike(q, rerun.quantity) if rerun else [],
                ours=text,
                verdict=verdict,
                ids=(claim.id, *([rerun.id] if rerun else [])),
                beside=""
                if hit is None or hit[0].value is None
                else beside(hit[0], view.rules, claim.tolerance, behind, verdict.word == "inconclusive"),
            )
        )
    return rows


def class_gains(view: View, adapter: Adapter) -> list[tuple[str, float]]:
    """Points of mIoU that each class adds over the adapter it is compared with, by index; empty where none is."""
    for card in view.registry.cards:
        for relation in card.relations:
            if relation.kind == "difference" and relation.subject == adapter.id and relation.states is not None:
                a, b = (view.claim(r) for r in relation.of)
                if (
                    a.quantity.metric != "mIoU"
                    or b.quantity.metric != "mIoU"
                    or a.quantity.subject == b.quantity.subject
                ):
                    continue
                groups = [causes.group_of(view, c.id) for c in (a, b)]
                ious = [g.by_class("iou") if g else {} for g in groups]
                if len(ious[0]) < 2 or list(ious[0]) != list(ious[1]):
                    continue
                return [
                    (
                        f"{k} {ious[0][k].quantity.class_name}",
                        100 * float(figure(ious[0][k]).mid - figure(ious[1][k]).mid) / len(ious[0]),
                    )
                    for k in ious[0]
                ]
    return []


def tile_rows(view: View, adapter: Adapter) -> list[tuple[str, str, str, str, str]]:
    """Per AOI: name, label share, marked share, IoU, IoU of all-ones."""
    out = []
    for card in view.registry.cards:
        for (subject, split, _, _), rows in tiles(card).items():
            if subject != adapter.id or card.kind != "rerun":
                continue
            side = next(
                (
                    int(figure(c).lo)
                    for c in card.claims
                    if c.quantity.metric == "chip_px" and c.quantity.split == split
                ),
                0,
            )
            for t in rows:
                label, marked = float(figure(t.label).lo) / side**2, float(figure(t.predicted).lo) / side**2
                out.append((t.place.replace("_", " "), pct(label, 1), pct(marked, 1), t.iou.value, num(label, 4)))
    return out


def cost_rows(view: View, family: str, adapter: Adapter) -> list[tuple[str, str, str]]:
    """Published cost figures: what, figure, conditions and caveat."""
    out = []
    for card in view.registry.cards:
        for claim in card.claims:
            q = claim.quantity
            if (
                q.subject in (adapter.id, "family")
                and q.metric in ("latency", "energy", "training_time", "training_memory", "adapter_size", "cost_ratio")
                and q.variant == "published"
                and card.family == family
            ):
                where = ", ".join(
                    ["all adapters"] * (q.subject == "family")
                    + [v if k in ("device", "dtype", "of") else f"{k} {v}" for k, v in sorted(q.conditions.items())]
                )
                out.append(
                    (
                        f"{q.metric.replace('_', ' ')}{' (' + where + ')' if where else ''}",
                        f"{claim.value} {'' if claim.unit == '1' else claim.unit}".strip(),
                        f"{card.kind}" + (f"; {claim.caveat}" if claim.caveat else ""),
                    )
                )
    return out


def probe_shares(view: View, adapter: Adapter) -> list[tuple[str, list[int]]]:
    """Pixel counts by output index at each probe place."""
    out: dict[str, list[int]] = {}
    for card in view.registry.cards:
        for probe in card.probes:
            if probe.subject == adapter.id:
                for claim in view.registry.find(probe.rows):
                    if claim.quantity.metric == "predicted_px" and claim.quantity.place:
                        out.setdefault(claim.quantity.place, []).append(int(figure(claim).lo))
    return list(out.items())


def probe_rows(view: View, adapter: Adapter) -> tuple[list[ProbeRow], list[str]]:
    """Building probes against each way that their script writes the bounds."""
    for card in view.registry.cards:
        for probe in card.probes:
            if probe.subject != adapter.id or not probe.rules:
                continue
            rows = []
            for claim in view.registry.find(probe.rows):
                place = claim.quantity.place
                if claim.quantity.metric == "predicted_px" and place in probe.expected:
                    px, word = int(figure(claim).lo), probe.expected[place]
                    rows.append(
                        ProbeRow(
                            place.replace("_", " "),
                            word,
                            px,
                            px / int(probe.chip_px) ** 2,
                            [within(r, word, px) for r in probe.rules],
                        )
                    )
            return rows, [r.name for r in probe.rules]
    return [], []


def trivial_rows(pair: Pair | None) -> list[tuple[str, str, str, str, str]]:
    """Constant and chance maps on both sets: set, map, mIoU, IoU of class 1, precision."""
    out = []
    for name, matrix in (("card's test set", pair.card), ("rerun's six tiles", pair.rerun)) if pair else ():
        share = matrix.prevalence or 0.0
        out.append((name, "the adapter (published)", num(matrix.miou), num(matrix.iou1), num(matrix.precision)))
        for label, point in (
            ("all-zeros", ALL_ZEROS),
            ("all-ones", ALL_ONES),
            ("coin at the set's share", coin(share)),
        ):
            m = point.at(share)
            out.append((name, label, num(m.miou), num(m.iou1), num(m.precision)))
    return out


def sweep_table(data: Sweep) -> list[tuple[str, str, str, str, str, str]]:
    """Threshold, IoU, mIoU, precision, recall, marked share of each row."""
    keep = {Fraction(t) for t in ("0.05", "0.3", "0.5", "0.6", "0.7", "0.8")}
    return [
        (f"{float(row.threshold):g}", num(m.iou1), num(m.miou), num(m.precision), num(m.tpr), pct(m.predicted_share, 1))
        for row, m in zip(data.rows, data.matrices, strict=True)
        if row.threshold in keep or len(data.rows) <= 8
    ]
