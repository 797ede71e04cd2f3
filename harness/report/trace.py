"""Where each printed number comes from: a report rendered once more, with the origin of every expression kept.

The rule, in full (docs/traceable.md says it for readers):

1. A number that stands in a template, and not in a value that the template prints, is *typed*. Only the names of
   TYPED may hold one.
2. A number in a printed value comes from the objects that the expression reads. An object that bears an id leads to
   a claim, a finding of the audit (which lists its claims), a cell of the run record, or a statement with its source.
3. A value that bears no id was computed; `harness.report.origins` says from which claims or which part of the record.
4. A number that none of these explains has no origin, and tests/report/test_traceable.py is red. Where the origin is a
   run or a bridge, the number is made again from the record there and held against the printed one.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from jinja2 import Environment, nodes
from jinja2.compiler import CodeGenerator, Frame

from harness.report import words
from harness.report.origins import Kind, Origin, names_of, origins
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

QUOTED: Final[dict[str, tuple[Kind, str]]] = {
    r"on 973 footprints of lower Manhattan, area means of 40 m .{1,80} 56 x 56 logits 0\.77": (
        "statement",
        "eval/claims/terramind-nyc-card.yaml",
    ),
}
"""Sentences of a template that repeat a note under eval/, with the file that holds it."""


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
    under: str = ""
    """Heading above it."""
    said: str = ""
    """Its line."""
    row: str = ""
    """First cell of its table row; empty outside tables."""
    column: str = ""
    """Heading of its column; empty outside tables."""
    cell: str = ""
    """Its cell."""


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
        places = _Places(plain)
        out = []
        for m in NUMBER.finditer(plain):
            if any(a <= m.start() and m.end() <= b for a, b in allowed):
                continue
            who = owner[m.start()]
            note = next((o for (a, b), o in quoted if a <= m.start() and m.end() <= b), None)
            line, where = places.of(m.start())
            each = None if who is None else self.expressions[who]
            if note is not None:
                out.append(Printed(m[0], line, "", "a quoted note", (note,), False, *where))
                continue
            if each is None or each.nested or any(m[0] in constant for constant in each.constants):
                out.append(Printed(m[0], line, "", "", (), True, *where))
                continue
            names = names_of(each.template)
            found = tuple(
                dict.fromkeys(o for name, path, chain in each.read for o in origins(name, path, chain, names))
            )
            out.append(Printed(m[0], line, each.template, each.source, found, False, *where))
        return out


class _Places:
    """Where in a text a character stands: heading, line, and row and column of a table."""

    def __init__(self, text: str) -> None:
        self.lines = text.split("\n")
        self.starts = [0]
        for line in self.lines:
            self.starts.append(self.starts[-1] + len(line) + 1)

    def of(self, at: int) -> tuple[int, tuple[str, str, str, str, str]]:
        """Number of the line from 1; heading, line, row, column, cell."""
        n = bisect_right(self.starts, at) - 1
        line = self.lines[n]
        under = next((above for above in self.lines[n::-1] if above.startswith("#")), "")
        if not line.startswith("|"):
            return n + 1, (under, line, "", "", "")
        top = n
        while top and self.lines[top - 1].startswith("|"):
            top -= 1
        cells, head = _cells(line), _cells(self.lines[top])
        i = len(_cells(line[: at - self.starts[n]])) - 1
        return n + 1, (under, line, cells[0], head[i] if i < len(head) else "", cells[i])


def _cells(line: str) -> list[str]:
    """Cells of a table row; an escaped bar is none."""
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:]]


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


PLAIN: Final = ("pct", "num", "md", "fenced", "stem", "v", "x", "item")
"""Functions that print what they are given and compute nothing."""
