"""What a gap report says, as values for its template: a pure function of claims, audit and runs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, UndefinedError

from harness.claims.checks import MEANING, causes, scheme
from harness.claims.checks.probes import within
from harness.claims.counterfactuals import BuiltUp, Pair, built_up_condition, pairs
from harness.claims.families import Adapter, Family
from harness.claims.findings import Audit, Counterfactual, Finding
from harness.claims.groups import View, figure
from harness.claims.model import Claim, Concession
from harness.claims.sweeps import Sweep, sweeps, tiles
from harness.claims.verdicts import Verdict, judge, unlike
from harness.errors import ReportError
from harness.records import Measurement, RunRecord
from harness.score.binary import ALL_ONES, ALL_ZEROS, coin

LIVE = "nox -s reproduce -- --live"
"""The command that will measure what is not measured yet; it opens with the live sources."""

ALSO = {"tim_nyc": ("lulc_nyc", ("class-scheme", "index-or-name"))}
"""Adapters whose report also shows some findings of another one with the same classes."""


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


def environment() -> Environment:
    """Template environment: undefined names are errors, no escaping, no stray blank lines."""
    env = Environment(
        loader=PackageLoader("harness.report"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - markdown, not HTML
    )
    env.filters["cell"] = lambda text: str(text).replace("|", "\\|").replace("\n", " ")
    env.filters["box"] = lambda status: {"consistent": "[x]", "inconsistent": "[ ]", "undetermined": "[?]"}[status]
    return env


def pct(share: float | None, digits: int = 0) -> str:
    """A share as per cent; `undefined` where there is none."""
    return "undefined" if share is None else f"{100 * share:.{digits}f} %"


def num(value: float | None, digits: int = 3) -> str:
    """A number with fixed decimals; `undefined` where there is none."""
    return "undefined" if value is None else f"{value:.{digits}f}"


def findings_for(audit: Audit, family: Family, adapter: Adapter) -> list[Finding]:
    """Findings of the family that bear on the adapter."""
    also, checks = ALSO.get(adapter.id, ("", ()))
    return [
        f
        for f in audit.findings
        if f.family in (family.id, "terramind-base")
        and (
            f.subject in (adapter.id, "all", "family")
            or (f.subject == also and f.check in checks)
            or (f.id == "note:terramind-nyc-retest/own-scheme" and also)
        )
        and not (f.family == "terramind-base" and adapter.id != "tim_nyc")
    ]


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


def _ours(runs: list[RunRecord], claim: Claim) -> tuple[Measurement, RunRecord] | None:
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


def claim_rows(view: View, runs: list[RunRecord], adapter: Adapter) -> list[ClaimRow]:
    """The claim table: every published score of the card's test split."""
    found: dict[tuple[str, int | None], Claim] = {}
    for card in view.registry.cards:
        if card.kind != "card":
            continue
        for claim in card.claims:
            q = claim.quantity
            if (q.subject, q.split, q.variant) == (adapter.id, "test", "published") and q.metric in HEADLINE:
                key = (q.metric, q.class_index)
                if key not in found or figure(claim).width < figure(found[key]).width:
                    found[key] = claim
    rows = []
    for key in sorted(found, key=lambda k: (HEADLINE.index(k[0]), -1 if k[1] is None else k[1])):
        claim = found[key]
        rerun, hit = _matching(view, claim, "rerun"), _ours(runs, claim)
        ours = "not measured"
        if hit is not None:
            m, _ = hit
            ours = f"not measured: {m.reason}" if m.value is None else f"{m.value:.4f}"
            if m.interval:
                ours += f" [{m.interval[0]:.3f}, {m.interval[1]:.3f}]"
            ours += f", n = {m.n}" if m.value is not None else ""
        q = claim.quantity
        label = "" if q.class_index is None else f" {q.class_index}" + (f" ({q.class_name})" if q.class_name else "")
        value = claim.value if len(claim.value) <= 8 else f"{float(figure(claim).mid):.4f}"
        rows.append(
            ClaimRow(
                name=f"{q.metric}{label}",
                scheme=q.scheme or "-",
                card=value,
                rerun=rerun.value if rerun else "-",
                unlike=unlike(q, rerun.quantity) if rerun else [],
                ours=ours,
                verdict=judge(claim, hit[0] if hit else None),
            )
        )
    return rows


def _derived(view: View, adapter: Adapter, pair: Pair | None, data: Sweep | None) -> SimpleNamespace:
    """Numbers that the first words may refer to as `d`."""
    out: dict[str, Any] = {}
    if pair is not None:
        out |= {"card": pair.card, "rerun": pair.rerun}
    if data is not None:
        share = data.positives / data.pixels
        out |= {"zeros": ALL_ZEROS.at(share), "ones": ALL_ONES.at(share)}
    gains = class_gains(view, adapter)
    if gains:
        total = sum(g for _, g in gains)
        top = max(gains, key=lambda g: g[1])
        out |= {"gain_top": top[1] / total, "gain_rest": total - top[1]}
    return SimpleNamespace(**out)


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


def _concessions(view: View, adapter: Adapter) -> list[Concession]:
    return [
        c
        for card in view.registry.cards
        if card.family == _family(view, adapter).id
        for c in card.concessions
        if c.subject in (adapter.id, "all")
    ]


def _family(view: View, adapter: Adapter) -> Family:
    for family in view.families.values():
        if adapter in family.adapters:
            return family
    raise ReportError(f"{adapter.id}: in no family under eval/families/")


def say(template: str, view: View, derived: SimpleNamespace) -> str:
    """Fill a sentence of a family file: `v(id)` prints a claim, `x(id)` is its number, `d` derived values.

    Raises:
        ReportError: The sentence names a claim or a value that does not exist.
    """

    def value(ref: str) -> str:
        return view.claim(ref).value

    def number(ref: str) -> float:
        return float(figure(view.claim(ref)).mid)

    try:
        return environment().from_string(template).render(v=value, x=number, d=derived, pct=pct, num=num)
    except UndefinedError as err:
        raise ReportError(f"sentence {template[:60]!r}...: {err}; check guidance in eval/families/") from err


@dataclass(frozen=True)
class Merged:
    """Findings that say one thing about figures in several places."""

    first: Finding
    """The one that is printed."""
    places: list[str]
    """Kinds of documents that they stand in."""


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


@dataclass(frozen=True)
class Gap:
    """Everything that the template of one gap report needs."""

    family: Family
    adapter: Adapter
    verdict: Verdict
    headline: Claim
    answer: str
    rely_on: list[str]
    not_for: list[str]
    concessions: list[Concession]
    rows: list[ClaimRow]
    findings: list[Finding]
    counterfactuals: list[Counterfactual]
    built_up: BuiltUp | None
    pair: Pair | None
    sweep: Sweep | None
    tiles: list[tuple[str, str, str, str, str]]
    schemes: list[Any]
    seen: list[scheme.Seen]
    gains: list[tuple[str, float]]
    differences: list[Any]
    cost: list[tuple[str, str, str]]
    corrections: list[tuple[str, str]]
    runs: list[RunRecord]
    probe_rows: list[tuple[str, list[int]]]
    probes: list[ProbeRow]
    probe_rules: list[str]
    trivial: list[tuple[str, str, str, str, str]]
    kinds: dict[str, str]

    def of(self, status: str) -> list[Finding]:
        """Findings with that status."""
        return [f for f in self.findings if f.status == status]

    def loud(self, status: str) -> list[Merged]:
        """Findings with that status above grade low, those that say the same merged."""
        found: dict[tuple[str, str], list[Finding]] = {}
        for f in self.of(status):
            if f.grade != "low":
                found.setdefault((f.check, f.derived), []).append(f)
        return [Merged(fs[0], list(dict.fromkeys(self.kinds[f.card] for f in fs))) for fs in found.values()]

    def checks(self) -> list[tuple[str, str, str]]:
        """Each check with its mark, its identity and its counts."""
        tally: dict[str, Counter[str]] = {}
        for f in self.findings:
            tally.setdefault(f.check, Counter())[f.status] += 1
        out = []
        for name, count in sorted(tally.items()):
            status = next(s for s in ("inconsistent", "undetermined", "consistent") if count[s])
            words = [
                f"{count[s]} {w}"
                for s, w in (("consistent", "fit"), ("inconsistent", "do not"), ("undetermined", "undecided"))
                if count[s]
            ]
            out.append((status, f"`{name}`: {MEANING[name]}", ", ".join(words)))
        return out


def _tiles(view: View, adapter: Adapter) -> list[tuple[str, str, str, str, str]]:
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


def _cost(view: View, adapter: Adapter) -> list[tuple[str, str, str]]:
    """Published cost figures: what, figure, conditions and caveat."""
    out = []
    for card in view.registry.cards:
        for claim in card.claims:
            q = claim.quantity
            if (
                q.subject in (adapter.id, "family")
                and q.metric in ("latency", "energy", "training_time", "training_memory", "adapter_size", "cost_ratio")
                and q.variant == "published"
                and card.family == _family(view, adapter).id
            ):
                where = ", ".join(
                    ["all adapters"] * (q.subject == "family")
                    + [v if k in ("device", "dtype", "of") else f"{k} {v}" for k, v in sorted(q.conditions.items())]
                )
                out.append(
                    (
                        f"{q.metric.replace('_', ' ')}{' (' + where + ')' if where else ''}",
                        f"{claim.value} {claim.unit}".strip(),
                        f"{card.kind}" + (f"; {claim.caveat}" if claim.caveat else ""),
                    )
                )
    return out


def _probe_rows(view: View, adapter: Adapter) -> list[tuple[str, list[int]]]:
    out: dict[str, list[int]] = {}
    for card in view.registry.cards:
        for probe in card.probes:
            if probe.subject == adapter.id:
                for claim in view.registry.find(probe.rows):
                    if claim.quantity.metric == "predicted_px" and claim.quantity.place:
                        out.setdefault(claim.quantity.place, []).append(int(figure(claim).lo))
    return list(out.items())


def _probes(view: View, adapter: Adapter) -> tuple[list[ProbeRow], list[str]]:
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


def _trivial(pair: Pair | None) -> list[tuple[str, str, str, str, str]]:
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


def gap(view: View, audit: Audit, runs: list[RunRecord], adapter: Adapter) -> Gap:
    """Collect one report.

    Raises:
        ReportError: The card has no mIoU for the adapter, or a sentence names what does not exist.
    """
    family = _family(view, adapter)
    headline = next(
        (
            c
            for card in view.registry.cards
            if card.kind == "card"
            for c in card.claims
            if (c.quantity.subject, c.quantity.metric, c.quantity.split, c.quantity.variant)
            == (adapter.id, "mIoU", "test", "published")
        ),
        None,
    )
    if headline is None:
        raise ReportError(f"{adapter.id}: no card of family {family.id} prints an mIoU on its test split")
    hit = _ours(runs, headline)
    pair = next((p for p in pairs(view) if p.subject == adapter.id), None)
    data = next((s for s in sweeps(view) if s.subject == adapter.id), None)
    derived = _derived(view, adapter, pair, data)
    guide = next((g for g in family.guidance if g.adapter == adapter.id), None)
    found = findings_for(audit, family, adapter)
    geography = next((g for g in view.geographies if g.subject in (adapter.id, ALSO.get(adapter.id, ("",))[0])), None)
    probes, rules = _probes(view, adapter)
    corrections: list[tuple[str, str]] = []
    for f in found:
        if f.correction and f.status != "consistent" and f.correction not in (c for c, _ in corrections):
            corrections.append((f.correction, f.evidence))
    return Gap(
        family=family,
        adapter=adapter,
        verdict=judge(headline, hit[0] if hit else None),
        headline=headline,
        answer=say(guide.answer, view, derived) if guide else "This project has not run the adapter yet.",
        rely_on=[say(s, view, derived) for s in guide.rely_on] if guide else [],
        not_for=[say(s, view, derived) for s in guide.not_for] if guide else [],
        concessions=_concessions(view, adapter),
        rows=claim_rows(view, runs, adapter),
        findings=found,
        counterfactuals=[c for c in audit.counterfactuals if c.subject == adapter.id],
        built_up=built_up_condition(pair) if pair else None,
        pair=pair,
        sweep=data,
        tiles=_tiles(view, adapter),
        schemes=[view.schemes[s] for s in adapter.schemes],
        seen=scheme.look(view, geography) if geography else [],
        gains=class_gains(view, adapter),
        differences=[
            d for d in family.differences if d.applies == "all" or adapter.title.lower().startswith(d.applies)
        ],
        cost=_cost(view, adapter),
        corrections=corrections,
        runs=[r for r in runs if any(m.quantity.subject == adapter.id for m in r.measurements)],
        probe_rows=_probe_rows(view, adapter),
        probes=probes,
        probe_rules=rules,
        trivial=_trivial(pair),
        kinds={c.id: c.kind.replace("-", " ") for c in view.registry.cards},
    )


def sweep_table(data: Sweep) -> list[tuple[str, str, str, str, str, str]]:
    """Threshold, IoU, mIoU, precision, recall, marked share of each row."""
    keep = {Fraction(t) for t in ("0.05", "0.3", "0.5", "0.6", "0.7", "0.8")}
    return [
        (f"{float(row.threshold):g}", num(m.iou1), num(m.miou), num(m.precision), num(m.tpr), pct(m.predicted_share, 1))
        for row, m in zip(data.rows, data.matrices, strict=True)
        if row.threshold in keep or len(data.rows) <= 8
    ]
