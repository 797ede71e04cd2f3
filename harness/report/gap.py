"""What a gap report says, as values for its template: a pure function of claims, audit and runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from harness.claims.checks import MEANING, scheme
from harness.claims.counterfactuals import BuiltUp, Pair, built_up_condition, pairs
from harness.claims.families import Adapter, Family
from harness.claims.findings import Audit, Counterfactual, Finding
from harness.claims.groups import View
from harness.claims.model import Card, Claim, Concession
from harness.claims.rules import Rules
from harness.claims.schemes import Geography
from harness.claims.sweeps import Sweep, sweeps
from harness.claims.verdicts import Verdict, judge, scenes_of
from harness.errors import ReportError
from harness.records import RunRecord
from harness.report import rows as table
from harness.report.gates import GapGate, gap_gates
from harness.report.words import say
from harness.score.binary import ALL_ONES, ALL_ZEROS

LIVE = "nox -s reproduce -- --live"
"""The command that runs the adapters on scenes of today."""


@dataclass(frozen=True)
class Merged:
    """Findings that say one thing about figures in several places."""

    first: Finding
    """The one that is printed."""
    places: list[str]
    """Kinds of documents that they stand in."""


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
    rows: list[table.ClaimRow]
    findings: list[Finding]
    counterfactuals: list[Counterfactual]
    built_up: BuiltUp | None
    pair: Pair | None
    sweep: Sweep | None
    best_threshold: float | None
    tiles: list[tuple[str, str, str, str, str]]
    schemes: list[Any]
    seen: list[scheme.Seen]
    gains: list[tuple[str, float]]
    differences: list[Any]
    cost: list[tuple[str, str, str]]
    corrections: list[tuple[str, str]]
    runs: list[RunRecord]
    contributed: list[RunRecord]
    probe_shares: list[tuple[str, list[int]]]
    probes: list[table.ProbeRow]
    probe_rules: list[str]
    trivial: list[tuple[str, str, str, str, str]]
    kinds: dict[str, str]
    rules: Rules
    gates: list[GapGate]

    def of(self, status: str) -> list[Finding]:
        """Findings with that status."""
        return [f for f in self.findings if f.status == status]

    def merged(self, status: str) -> list[Merged]:
        """Findings with that status; those that say the same stand together."""
        found: dict[tuple[str, str], list[Finding]] = {}
        for f in self.of(status):
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


def findings_for(view: View, audit: Audit, family: Family, adapter: Adapter) -> list[Finding]:
    """Findings that bear on the adapter: its own, the family's, and those it shares classes or a base with."""
    shared = {f"note:{name}" for g in _geographies(view, adapter) for name in g.admissions}
    absent = {card.id for card in view.registry.cards if card.kind == "rerun" and not _speaks_of(card, adapter)}
    return [
        f
        for f in audit.findings
        if (f.family == family.id and f.subject in (adapter.id, "all", "family") and f.card not in absent)
        or f.family in adapter.bears
        or (f.subject == adapter.classes_of and (f.check == "class-scheme" or f.id in shared))
    ]


def _speaks_of(card: Card, adapter: Adapter) -> bool:
    """Whether a card prints any figure of the adapter."""
    return any(c.quantity.subject == adapter.id for c in card.claims)


def _geographies(view: View, adapter: Adapter) -> list[Geography]:
    return [g for g in view.geographies if g.subject in (adapter.id, adapter.classes_of)]


def _derived(pair: Pair | None, data: Sweep | None, gains: list[tuple[str, float]]) -> SimpleNamespace:
    """Numbers that the first words may refer to as `d`."""
    out: dict[str, Any] = {}
    if pair is not None:
        out |= {"card": pair.card, "rerun": pair.rerun}
    if data is not None:
        share = data.positives / data.pixels
        out |= {"zeros": ALL_ZEROS.at(share), "ones": ALL_ONES.at(share)}
    if gains:
        total = sum(g for _, g in gains)
        top = max(gains, key=lambda g: g[1])
        out |= {"gain_top": top[1] / total, "gain_rest": total - top[1]}
    return SimpleNamespace(**out)


def _headline(view: View, family: Family, adapter: Adapter) -> Claim:
    wanted = (adapter.id, "mIoU", "test", "published")
    for card in view.registry.cards:
        for claim in card.claims:
            q = claim.quantity
            if card.kind == "card" and (q.subject, q.metric, q.split, q.variant) == wanted:
                return claim
    raise ReportError(f"{adapter.id}: no card of family {family.id} prints an mIoU on its test split")


def _corrections(findings: list[Finding]) -> list[tuple[str, str]]:
    """Sentences to paste with the kind of evidence behind each; each sentence once."""
    found: dict[str, str] = {}
    for f in findings:
        if f.correction and f.status != "consistent":
            found.setdefault(f.correction, f.evidence)
    return list(found.items())


def _best_threshold(view: View, adapter: Adapter) -> float | None:
    """The threshold that the author calls best."""
    for card in view.registry.cards:
        for relation in card.relations:
            if relation.kind == "best" and relation.subject == adapter.id:
                threshold = view.claim(relation.of[0]).quantity.threshold
                return None if threshold is None else float(threshold)
    return None


def gap(
    view: View,
    audit: Audit,
    runs: list[RunRecord],
    family: Family,
    adapter: Adapter,
    unreachable: str | None = None,
    contributed: Sequence[RunRecord] = (),
) -> Gap:
    """Collect one report. Runs from other people's machines (`contributed`) are listed, and no figure of ours.

    Raises:
        ReportError: The card has no mIoU for the adapter, or a sentence names what does not exist.
    """
    headline = _headline(view, family, adapter)
    hit = table.ours(runs, headline)
    pair = next((p for p in pairs(view) if p.subject == adapter.id), None)
    data = next((s for s in sweeps(view) if s.subject == adapter.id), None)
    gains = table.class_gains(view, adapter)
    derived = _derived(pair, data, gains)
    guide = next((g for g in family.guidance if g.adapter == adapter.id), None)
    found = findings_for(view, audit, family, adapter)
    probes, rules = table.probe_rows(view, adapter)
    return Gap(
        family=family,
        adapter=adapter,
        verdict=judge(headline, hit[0] if hit else None, view.rules, scenes_of(view, headline)),
        headline=headline,
        answer=say(guide.answer, view, derived) if guide else "This project has not run the adapter yet.",
        rely_on=[say(s, view, derived) for s in guide.rely_on] if guide else [],
        not_for=[say(s, view, derived) for s in guide.not_for] if guide else [],
        concessions=[
            c
            for card in view.registry.cards
            if card.family == family.id and (card.kind != "rerun" or _speaks_of(card, adapter))
            for c in card.concessions
            if c.subject in (adapter.id, "all")
        ],
        rows=table.claim_rows(view, runs, adapter, unreachable),
        findings=found,
        counterfactuals=[c for c in audit.counterfactuals if c.subject == adapter.id],
        built_up=built_up_condition(pair) if pair else None,
        pair=pair,
        sweep=data,
        best_threshold=_best_threshold(view, adapter),
        tiles=table.tile_rows(view, adapter),
        schemes=[view.schemes[s] for s in adapter.schemes],
        seen=[s for g in _geographies(view, adapter) for s in scheme.look(view, g)],
        gains=gains,
        differences=[
            d for d in family.differences if d.applies == "all" or adapter.title.lower().startswith(d.applies)
        ],
        cost=table.cost_rows(view, family.id, adapter),
        corrections=_corrections(found),
        runs=[r for r in runs if any(m.quantity.subject == adapter.id for m in r.measurements)],
        contributed=[r for r in contributed if any(m.quantity.subject == adapter.id for m in r.measurements)],
        probe_shares=table.probe_shares(view, adapter),
        probes=probes,
        probe_rules=rules,
        trivial=table.trivial_rows(pair),
        kinds={c.id: c.kind.replace("-", " ") for c in view.registry.cards},
        rules=view.rules,
        gates=gap_gates(view, runs, family.id, adapter.id),
    )
