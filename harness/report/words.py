"""How reports say things: number formats, the template environment, sentences with references."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

from jinja2 import Environment, PackageLoader, StrictUndefined, UndefinedError

from harness.claims.groups import View, figure
from harness.errors import ReportError

MARK: Callable[[Environment], Environment] = lambda env: env  # noqa: E731
"""What is done to every template environment; `harness.report.trace` sets it while it follows numbers."""


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
    return MARK(env)


def pct(share: float | None, digits: int = 0) -> str:
    """A share as per cent; `undefined` where there is none."""
    return "undefined" if share is None else f"{100 * share:.{digits}f} %"


def num(value: float | None, digits: int = 3) -> str:
    """A number with fixed decimals; `undefined` where there is none."""
    return "undefined" if value is None else f"{value:.{digits}f}"


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
