"""What the objects behind printed numbers lead to: claims, findings, parts of a record, statements, rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from harness.claims.families import Adapter, Difference, Family
from harness.claims.findings import Counterfactual, Finding
from harness.claims.model import Card, Claim, Concession
from harness.claims.rules import Rules
from harness.claims.schemes import Scheme, Sighting
from harness.records import AdapterRun, ChipScore, LoadAudit, Measurement, RunRecord
from harness.records.bridge import BridgeRecord, PartRecord, ResultRecord, ShareRecord
from harness.report.clusters import Sure
from harness.report.gates import GapGate, GateRow

Kind = Literal["claim", "finding", "record", "statement", "computed", "rule"]
"""claim: a published figure. finding: of the audit, with the claims under it. record: a part of run.json. statement:
words of a document or of ours in a file under eval/. computed: made from claims by a function of this project. rule:
a constant of this project's that decides what is said."""


@dataclass(frozen=True)
class Origin:
    """Where a number comes from."""

    kind: Kind
    """What it is."""
    ref: str
    """Id of a claim or finding, path in run.json, or file and entry under eval/."""


OF_GAPS: Final = ("gap.", "overview.", "a sentence")
"""Templates that print claims and findings; the others print a run or a bridge."""


def origins(name: str, path: str, chain: Sequence[object], names: dict[str, Pairs]) -> list[Origin]:
    """Origins of one chain: of the last object that bears an id, else what GAP or RUN says of its name."""
    if name == "claim":
        return [Origin("claim", str(chain[0]))]
    if path not in names:
        for each in reversed(chain):
            found = _of(each)
            if found:
                return found
    return [Origin(*pair) for pair in names.get(path, names.get(name, []))]


def _of(each: object) -> list[Origin]:
    for kind, make in BEARERS:
        if isinstance(each, kind):
            return [Origin(what, ref) for what, ref in make(each)]
    return _of_shape(each)


def _of_shape(each: object) -> list[Origin]:
    """Objects that hold one that bears an id, or the ids themselves."""
    for name in ("first", "run", "page", "sighting", "card_miou"):
        held = getattr(each, name, None)
        if held is not None and not isinstance(held, str) and (found := _of(held)):
            return found
    ids = getattr(each, "ids", None)
    return [Origin("claim", str(i)) for i in ids] if isinstance(ids, tuple) else []


Pairs = list[tuple[Kind, str]]


def _adapter(run: AdapterRun) -> Pairs:
    return [("record", f"adapters[{run.adapter}]")]


BEARERS: Final[list[tuple[type, Callable[[Any], Pairs]]]] = [
    (Claim, lambda c: [("claim", c.id)]),
    (Finding, lambda f: [("finding", f.id)]),
    (Counterfactual, lambda c: [("claim", i) for i in c.claims]),
    (Card, lambda c: [("statement", f"eval/claims/{c.id}.yaml")]),
    (
        Sighting,
        lambda s: [("statement", f"eval/schemes/evidence: {s.id}"), ("computed", "claims[metric=predicted_px]")],
    ),
    (Concession, lambda c: [("statement", c.source.text())]),
    (GapGate, lambda g: [("statement", g.source)]),
    (GateRow, lambda g: [("record", f"gates[{g.gate}]")]),
    (Difference, lambda d: [("statement", f"eval/families: differences[{d.knob}]")]),
    (Scheme, lambda s: [("statement", f"eval/schemes/{s.id}.yaml")]),
    (Adapter, lambda a: [("statement", f"eval/families: adapters[{a.id}]")]),
    (Family, lambda f: [("statement", f"eval/families/{f.id}.yaml")]),
    (Rules, lambda r: [("statement", f"eval/{r.path}")]),
    (AdapterRun, _adapter),
    (Sure, lambda s: [("record", f"adapters[{s.adapter}].chips[*].confusion")]),
    (LoadAudit, lambda a: [("record", f"adapters[{a.adapter}].load")]),
    (ChipScore, lambda c: [("record", f"adapters[*].chips[{c.chip}]")]),
    (Measurement, lambda m: [("record", f"measurements[{m.quantity.text()}]")]),
    (RunRecord, lambda r: [("record", "")]),
    (ShareRecord, lambda s: [("record", f"result.shares[{s.factor}]")]),
    (PartRecord, lambda _: [("record", "result.shares[*].parts")]),
    (ResultRecord, lambda r: [("record", "result")]),
    (BridgeRecord, lambda b: [("record", "")]),
]
"""Objects that bear an id, and what it leads to."""

RATES: Final[Pairs] = [("computed", f"claims[metric={m}]") for m in ("iou", "accuracy", "class_accuracy", "recall")]
PIXELS: Final[Pairs] = [("computed", f"claims[metric={m}]") for m in ("label_px", "predicted_px", "chip_px")]
CHIPS: Final[Pairs] = [("record", "adapters[*].chips")]
FINDINGS: Final[Pairs] = [("finding", "*")]

GAP: Final[dict[str, Pairs]] = {
    "d": RATES,
    "g.built_up": RATES,
    "g.sweep": [("computed", "claims[metric=recall]")],
    "g.gains": [("computed", "claims[metric=iou]")],
    "g.of": FINDINGS,
    "g.rules": [("statement", "eval/rules.yaml")],
    "constant_map": RATES,
    "tile": [*PIXELS, ("computed", "claims[metric=iou]")],
    "swept": RATES,
    "cost": [("computed", "claims[metric=latency]"), ("computed", "claims[metric=energy]")],
    "to_paste": FINDINGS,
    "identity": FINDINGS,
    "tally": FINDINGS,
    "published": [("computed", "claims[metric=iou]"), ("computed", "claims[metric=delta_points]")],
    "loop.index0": [("computed", "claims[metric=classes]")],
    "p.share": PIXELS,
    "count": FINDINGS,
    "distinct": FINDINGS,
    "kinds": FINDINGS,
    "audit": FINDINGS,
}
"""Values that bear no id in gap.md.j2, overview.md.j2 and the sentences of eval/families/: by the name that a
template reads them under, what they are made of."""

MATRICES: Final[Pairs] = [("record", "adapters[*].chips[*].confusion")]
CARD: Final[Pairs] = [("computed", f"claims[metric={m}]") for m in ("iou", "class_accuracy")]

RUN: Final[dict[str, dict[str, Pairs]]] = {
    "run.md.j2": {
        **dict.fromkeys(("chips", "title", "what.0", "row.0", "chip", "done", "shown"), CHIPS),
        "line": MATRICES,
        "pages": [("record", "adapters")],
        "c.text": [*CHIPS, ("record", "adapters")],
        "value": [("record", "conditions"), ("record", "packages")],
    },
    "beside.md.j2": {
        "text": [*MATRICES, ("rule", "harness.score.reliance")],
        "line": CHIPS,
        "cell_px": [("rule", "harness.score.strata")],
        "reliance": [("rule", "harness.score.reliance")],
    },
    "order.md.j2": {
        "o.matrix": [*MATRICES, ("rule", "harness.score.permuted")],
        "o.sources": [("statement", "eval/schemes")],
    },
    "clusters.md.j2": {
        "held": [*MATRICES, ("rule", "harness.score.simulated")],
        "spread.show_below": [("statement", "eval/rules.yaml")],
    },
    "gates.md.j2": {"g.n": [("record", "gates")]},
    "operating.md.j2": {
        "line": [("record", "adapters[*].chips[*].sweep")],
        "why": [("record", "adapters[*].chips[*].sweep")],
        "c": [("record", "adapters[*].chips[*].reliability")],
        "point.quote": [("statement", "eval/families")],
        "point.caveat": [("statement", "eval/families")],
        "o.recommended_table": [("record", "adapters[*].chips[*].sweep"), ("computed", "claims[metric=precision]")],
    },
    "population.md.j2": {"p.table": [*MATRICES, *CARD], "c": [("record", "adapters[*].chips[*].beside")]},
    "spatial.md.j2": {"line": CHIPS, "s.other": [("computed", "claims[metric=boundary_mIoU]")]},
    "bridge.md.j2": {
        "names": [("record", "start_name"), ("record", "end_name")],
        "verdict": [("record", "result")],
        "c.text": [("record", "corners")],
        **{name: [("record", path)] for name, path in {"scored": "chips", "c": "chips", "sha": "chips"}.items()},
    },
}
"""The same for a run's report and a bridge's page, template by template: no name has an origin in another one."""


def names_of(template: str) -> dict[str, Pairs]:
    """What names that bear no id are made of, in a template that is given with its line."""
    return GAP if template.startswith(OF_GAPS) else RUN.get(template.partition(":")[0], {})
