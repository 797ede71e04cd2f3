"""Where each printed number comes from: a report rendered once more, with the origin of every expression kept.

The rule, in full (docs/traceable.md says it for readers):

1. A number that stands in a template, and not in a value that the template prints, is *typed*. Only the names of
   TYPED may hold one.
2. A number in a printed value comes from the objects that the expression reads. An object that bears an id leads to
   a claim, a finding of the audit (which lists its claims), a cell of the run record, or a statement with its source.
3. A value that bears no id was computed; GAP and RUN say from which claims or which part of the record.
4. A number that none of these explains has no origin, and tests/report/test_traceable.py is red.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from jinja2 import Environment, nodes
from jinja2.compiler import CodeGenerator, Frame

from harness.claims.families import Adapter, Difference, Family
from harness.claims.findings import Counterfactual, Finding
from harness.claims.model import Card, Claim, Concession
from harness.claims.rules import Rules
from harness.claims.schemes import Scheme, Sighting
from harness.records import AdapterRun, ChipScore, LoadAudit, Measurement, RunRecord
from harness.report import words
from harness.report.clusters import Sure
from harness.report.gates import GapGate, GateRow
from harness.report.render import tidy

OPEN, BAR, CLOSE = "\ue000", "\ue001", "\ue002"
"""Private characters around a printed value: OPEN, number of the expression, BAR, value, CLOSE."""

NUMBER: Final = re.compile(r"(?<![A-Za-z0-9_.@#])[+−-]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?![A-Za-z0-9_])")
"""A number; no part of a word such as B02, a hash or a file name."""

TYPED: Final = (
    r"Apache-2\.0",
    r"WorldCover v200",
    r"\b(?:index|class) \d\b",
    r"\(published rerun, threshold 0\.5\)",
    r"\b95 % interval",
    r"\babove 0 on the same scenes",
    r"\bwithin 1 or 3 px",
    r"here 5 for a missed pixel and 1 for a false one",
    r"--fn-cost 5 --fp-cost 1",
)
"""Names that hold a number and may be typed: a licence, a product, an output of a model by its index, a table, the
definition of a measure, an example of a command. No result is among them."""

Kind = Literal["claim", "finding", "record", "statement", "computed", "rule"]
"""claim: a published figure. finding: of the audit, with the claims under it. record: a part of run.json. statement:
words of a document or of ours in a file under eval/. computed: made from claims by a function of this project. rule:
a constant of this project's that decides what is said."""

QUOTED: Final[dict[str, tuple[Kind, str]]] = {
    r"on 973 footprints of lower Manhattan, area means of 40 m .{1,80} 56 x 56 logits 0\.77": (
        "statement",
        "eval/claims/terramind-nyc-card.yaml",
    ),
}
"""Sentences of a template that repeat a note under eval/, with the file that holds it."""


@dataclass(frozen=True)
class Origin:
    """Where a number comes from."""

    kind: Kind
    """What it is."""
    ref: str
    """Id of a claim or finding, path in run.json, or file and entry under eval/."""


@dataclass(frozen=True)
class Printed:
    """One number of a report."""

    text: str
    """As printed."""
    line: int
    """In the marked text, from 1."""
    template: str
    """Template, with the line of the expression; empty where the number is typed."""
    expression: str
    """What the template prints, in words of the template; empty where the number is typed."""
    origins: tuple[Origin, ...]
    """Empty where the number is typed or has no origin."""
    typed: bool
    """Whether it stands in a template."""


@dataclass
class Expression:
    """One evaluation of `{{ ... }}`."""

    template: str
    """Template and line."""
    source: str
    """Names that it reads."""
    read: list[tuple[str, str, list[object]]]
    """Of each chain: the name that it begins with, that name with the first attribute, and the objects along it."""
    constants: tuple[str, ...]
    """Texts with a number that stand in the expression itself."""
    nested: bool
    """Whether the value is text of another template, whose own words are not this expression's."""


@dataclass
class Log:
    """Every expression of a rendering."""

    expressions: list[Expression] = field(default_factory=list)
    """In the order in which they were evaluated."""

    def note(
        self,
        value: object,
        template: str,
        source: str,
        constants: tuple[str, ...],
        read: list[tuple[str, object, tuple[Any, ...]]],
    ) -> str:
        """Mark a printed value; called by the rendered template."""
        text = str(value)
        chains = [(name, ".".join(map(str, (name, *path[:1]))), _along(root, path)) for name, root, path in read]
        self.expressions.append(Expression(template, source, chains, constants, OPEN in text))
        return f"{OPEN}{len(self.expressions) - 1}{BAR}{text}{CLOSE}"

    def numbers(self, marked: str) -> list[Printed]:
        """Every number of a marked text with its origin."""
        plain, owner = _unmarked(marked)
        allowed = [m.span() for name in TYPED for m in re.finditer(name, plain)]
        quoted = [(m.span(), Origin(*o)) for name, o in QUOTED.items() for m in re.finditer(name, plain)]
        out = []
        for m in NUMBER.finditer(plain):
            if any(a <= m.start() and m.end() <= b for a, b in allowed):
                continue
            who = owner[m.start()]
            note = next((o for (a, b), o in quoted if a <= m.start() and m.end() <= b), None)
            line = plain.count("\n", 0, m.start()) + 1
            each = None if who is None else self.expressions[who]
            if note is not None:
                out.append(Printed(m[0], line, "", "a quoted note", (note,), False))
                continue
            if each is None or each.nested or any(m[0] in constant for constant in each.constants):
                out.append(Printed(m[0], line, "", "", (), True))
                continue
            names = GAP if each.template.startswith(OF_GAPS) else RUN
            found = tuple(
                dict.fromkeys(o for name, path, chain in each.read for o in _origins(name, path, chain, names))
            )
            out.append(Printed(m[0], line, each.template, each.source, found, False))
        return out


def plain(marked: str) -> str:
    """The text without marks: what the report says."""
    return tidy(_unmarked(marked)[0])


@contextmanager
def tracing() -> Iterator[Log]:
    """Render within this, and the texts are marked; `Log.numbers` then says where their numbers come from."""
    log = Log()

    def mark(env: Environment) -> Environment:
        env.code_generator_class = _Generator
        env.note = log.note  # type: ignore[attr-defined]
        return env

    before, words.MARK = words.MARK, mark
    try:
        yield log
    finally:
        words.MARK = before


class _Generator(CodeGenerator):
    """Wraps every printed expression in a call of `environment.note`."""

    def visit_Template(self, node: nodes.Template, frame: Frame | None = None) -> None:  # noqa: N802
        for output in node.find_all(nodes.Output):
            output.nodes = [
                child if isinstance(child, nodes.TemplateData) else self._wrapped(child) for child in output.nodes
            ]
        node.set_environment(self.environment)
        super().visit_Template(node, frame)

    def _wrapped(self, child: nodes.Expr) -> nodes.Expr:
        chains = list(_chains(child))
        read = nodes.List(
            [
                nodes.Tuple([nodes.Const(name), root, nodes.Const(path)], "load", lineno=child.lineno)
                for name, root, path in chains
            ],
            lineno=child.lineno,
        )
        source = ", ".join(dict.fromkeys(".".join(map(str, (name, *path))) for name, _, path in chains)) or "a constant"
        where = f"{self.name or 'a sentence'}:{child.lineno}"
        return nodes.Call(
            nodes.EnvironmentAttribute("note", lineno=child.lineno),
            [child, nodes.Const(where), nodes.Const(source), nodes.Const(tuple(_constants(child))), read],
            [],
            None,
            None,
            lineno=child.lineno,
        )


def _chains(node: nodes.Node) -> Iterator[tuple[str, nodes.Expr, tuple[Any, ...]]]:
    """Names that an expression reads, each with the attributes taken of it."""
    path: list[Any] = []
    inner: nodes.Node = node
    while isinstance(inner, nodes.Getattr | nodes.Getitem):
        if isinstance(inner, nodes.Getattr):
            path.insert(0, inner.attr)
        elif isinstance(inner.arg, nodes.Const):
            path.insert(0, inner.arg.value)
        else:
            yield from _chains(inner.arg)
            path.clear()
        inner = inner.node
    if isinstance(inner, nodes.Name):
        yield inner.name, nodes.Name(inner.name, "load", lineno=inner.lineno), tuple(path)
        return
    if isinstance(inner, nodes.Call) and isinstance(inner.node, nodes.Name):
        if inner.node.name in ("v", "x") and inner.args and isinstance(inner.args[0], nodes.Const):
            yield "claim", inner.args[0], ()
        for each in (*inner.args, *(k.value for k in inner.kwargs)):
            yield from _chains(each)
        if inner.node.name not in PLAIN:
            yield inner.node.name, nodes.Const(None), ()
        return
    for child in inner.iter_child_nodes():
        yield from _chains(child)


def _constants(node: nodes.Node) -> Iterator[str]:
    """Texts with a number that are typed into an expression; a claim's id is none, nor is a format."""
    if isinstance(node, nodes.Call) and isinstance(node.node, nodes.Name) and node.node.name in ("v", "x"):
        return
    if isinstance(node, nodes.Const) and isinstance(node.value, str) and NUMBER.search(node.value):
        yield node.value
    for each in node.iter_child_nodes():
        yield from _constants(each)


def _along(root: object, path: Sequence[Any]) -> list[object]:
    """The objects along a chain of attributes and items, as far as they are there."""
    out = [root]
    for name in path:
        here = out[-1]
        try:
            out.append(here[name] if isinstance(here, dict | list | tuple) else getattr(here, name))
        except (AttributeError, KeyError, IndexError, TypeError):
            break
    return out


def _unmarked(marked: str) -> tuple[str, list[int | None]]:
    """Text without marks, and of each character the innermost expression that it belongs to."""
    out: list[str] = []
    owner: list[int | None] = []
    stack: list[int] = []
    i = 0
    while i < len(marked):
        c = marked[i]
        if c == OPEN:
            bar = marked.index(BAR, i)
            stack.append(int(marked[i + 1 : bar]))
            i = bar
        elif c == CLOSE:
            stack.pop()
        else:
            out.append(c)
            owner.append(stack[-1] if stack else None)
        i += 1
    return "".join(out), owner


OF_GAPS: Final = ("gap.", "overview.", "a sentence")
"""Templates that print claims and findings; the others print a run."""

PLAIN: Final = ("pct", "num", "md", "fenced", "stem", "v", "x", "item")
"""Functions that print what they are given and compute nothing."""


def _origins(name: str, path: str, chain: Sequence[object], names: dict[str, Pairs]) -> list[Origin]:
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

RUN: Final[dict[str, Pairs]] = {
    **dict.fromkeys(("chips", "title", "headline", "what", "row", "text", "line", "why", "shown"), CHIPS),
    "pages": [("record", "adapters")],
    "c": [("record", "adapters[*].chips[*].confusion")],
    "value": [("record", "conditions"), ("record", "packages")],
    "cell_px": [("rule", "harness.score.ceiling")],
    "reliance": [("rule", "harness.score.reliance")],
    "held": [("record", "adapters[*].chips[*].confusion"), ("rule", "harness.score.simulated")],
    "g.n": [("record", "gates")],
}
"""The same in run.md.j2 and the templates that it includes or prints."""
