"""Expectations as formulas of shares: `0.5 * label.water <= predicted.water <= label.water + 0.1`.

Words of the language: numbers, names of the form `predicted.<class>` and `label.<class>`, `+ - * /`,
brackets, `min(...)`, `max(...)`, and one comparison with `<=` or `>=`, which may be chained. Nothing
else is read, and nothing is ever executed as Python.
"""

from __future__ import annotations

import ast
import difflib
import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from harness.errors import RegistryError

LONGEST = 300
"""Characters of a formula; far more than a reader takes in, far less than upsets a parser."""

SLACK = 1e-9
"""Two sides that differ by less are equal: rounding of floats. One pixel of a 256 px chip is 1.5e-5."""

LARGEST = "largest"
"""Name of the largest share, whichever class it belongs to."""

SIDES = ("predicted", "label")
"""What stands before the dot."""

Term = Callable[[Mapping[str, float]], float]

ARITHMETIC: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
}

EXTREMES: dict[str, Callable[[Sequence[float]], float]] = {"min": min, "max": max}


class UndefinedError(ArithmeticError):
    """A formula has no value here: it divides by a share that is zero. A result, not a fault of the formula."""


@dataclass(frozen=True)
class Formula:
    """One comparison, checked word by word when it was read."""

    text: str
    """As written."""
    names: tuple[str, ...]
    """Shares that it speaks of, each once, in reading order."""
    sides: tuple[Term, ...] = field(compare=False)
    """Two or more, left to right; they follow from `text`."""
    sign: str
    """`<=` or `>=`, between each side and the next."""

    def values(self, shares: Mapping[str, float]) -> tuple[float, ...]:
        """What each side comes to.

        Args:
            shares: Fractions in 0..1 by name, all of `names` among them.

        Raises:
            UndefinedError: A division by zero, or a value too large to be a number.
        """
        try:
            out = tuple(side(shares) for side in self.sides)
        except ZeroDivisionError as err:
            zero = ", ".join(n for n in self.names if shares[n] == 0)
            raise UndefinedError(f"{self.text}: divides by zero ({zero or 'no share'} is 0)") from err
        if not all(map(math.isfinite, out)):
            raise UndefinedError(f"{self.text}: a side is no finite number")
        return out

    def holds(self, shares: Mapping[str, float]) -> bool:
        """Whether the comparison is true, equality included.

        Raises:
            UndefinedError: As `values`.
        """
        out = self.values(shares)
        low, high = (out[:-1], out[1:]) if self.sign == "<=" else (out[1:], out[:-1])
        return all(a <= b + SLACK for a, b in zip(low, high, strict=True))

    def worked(self, shares: Mapping[str, float]) -> str:
        """The comparison with every side worked out, three decimals: `0.100 <= 0.412 <= 0.605`.

        Raises:
            UndefinedError: As `values`.
        """
        return f" {self.sign} ".join(f"{v:.3f}" for v in self.values(shares))


def word(class_name: str) -> str:
    """A class name as formulas write it: `bare/cropland` is `bare_cropland`."""
    return re.sub(r"\W+", "_", class_name.strip().lower()).strip("_")


def names_of(side: str, classes: Sequence[str]) -> tuple[str, ...]:
    """Names that a formula may use for one side, by class index, `largest` last.

    Raises:
        RegistryError: Two classes read the same, or one reads as no word or as `largest`.
    """
    words = [word(name) for name in classes]
    for name, short in zip(classes, words, strict=True):
        if not short.isidentifier() or short == LARGEST or words.count(short) > 1:
            raise RegistryError(f"class {name!r} would be {side}.{short} in a formula, which is no name of its own")
    return tuple(f"{side}.{short}" for short in [*words, LARGEST])


def parse(text: str, known: Collection[str]) -> Formula:
    """Read a formula.

    Args:
        text: As a probe has it.
        known: Names that it may use, e.g. `predicted.water`.

    Raises:
        RegistryError: Not of this language, a name that is not known (with the nearest that is), or
            no comparison of a predicted with a label share.
    """
    if len(text) > LONGEST:
        raise RegistryError(f"formula of {len(text)} characters; {LONGEST} at most")
    try:
        body = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as err:
        raise RegistryError(f"formula {text!r} cannot be read: {getattr(err, 'msg', None) or err}") from err
    if not isinstance(body, ast.Compare):
        raise RegistryError(f"formula {text!r} compares nothing; write `... <= ...` or `... >= ...`")
    signs = {type(op) for op in body.ops}
    if signs not in ({ast.LtE}, {ast.GtE}):
        raise RegistryError(f"formula {text!r}: only <= or >= stands between sides, and one of them throughout")
    names: dict[str, None] = {}
    try:
        sides = tuple(_term(node, known, names) for node in (body.left, *body.comparators))
    except RegistryError as err:
        raise RegistryError(f"formula {text!r}: {err}") from err
    for side in SIDES:
        if not any(name.startswith(f"{side}.") for name in names):
            raise RegistryError(
                f"formula {text!r} has no {side} share; a probe holds predicted shares against label shares"
            )
    return Formula(text, tuple(names), sides, "<=" if signs == {ast.LtE} else ">=")


def _term(node: ast.expr, known: Collection[str], names: dict[str, None]) -> Term:
    match node:
        case ast.Constant(value=(int() | float()) as value) if not isinstance(value, bool):
            return _number(value)
        case ast.Attribute(value=ast.Name(id=side), attr=short):
            return _share(f"{side}.{short}", known, names)
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            negated = _term(inner, known, names)
            return lambda shares: -negated(shares)
        case ast.BinOp(left=a, op=op, right=b) if type(op) in ARITHMETIC:
            how, left, right = ARITHMETIC[type(op)], _term(a, known, names), _term(b, known, names)
            return lambda shares: how(left(shares), right(shares))
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in EXTREMES and len(args) > 1:
            pick, terms = EXTREMES[name], [_term(arg, known, names) for arg in args]
            return lambda shares: pick([term(shares) for term in terms])
        case ast.Name(id=name):
            raise RegistryError(f"{name!r} is no share{_nearest(name, known)}")
    raise RegistryError(
        f"{ast.unparse(node)!r} is not of the language: numbers, predicted.<class>, label.<class>, + - * /, min, max"
    )


def _number(value: float) -> Term:
    try:
        number = float(value)
    except OverflowError as err:
        raise RegistryError("a number is too large") from err
    if not math.isfinite(number):
        raise RegistryError("a number is too large")
    return lambda _: number


def _share(name: str, known: Collection[str], names: dict[str, None]) -> Term:
    if name not in known:
        raise RegistryError(f"{name!r} is no share{_nearest(name, known)}")
    names[name] = None
    return lambda shares: shares[name]


def _nearest(name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, sorted(known), 1, 0.4)
    return f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(sorted(known))}"
