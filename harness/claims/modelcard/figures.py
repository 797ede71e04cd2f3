"""From cells to claims: units, ranges, and what tells two figures apart.

A cell becomes a claim only if its unit is printed or follows from its neighbours, and if the
claim passes the registry's own validation; otherwise it is unread, with the reason.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from pydantic import ValidationError

from harness.claims.interval import Interval
from harness.claims.model import Claim
from harness.claims.modelcard.layouts import Figure
from harness.claims.modelcard.tables import Unread
from harness.claims.modelcard.words import Cell, kind_of, read_cell, slug
from harness.claims.printed import parse_printed
from harness.errors import PrintedValueError

CLEARLY_PERCENT = 2.0
"""A bare figure above this under a fraction metric is a percentage; between 1 and this it is
one only beside another such, since a fraction gone wrong looks the same."""


@dataclass
class _Found:
    figure: Figure
    cell: Cell
    size: float
    """Absolute value, for telling fractions from percentages."""
    subject: str


def settle(
    figures: list[tuple[str, Figure]], card: str, source: Mapping[str, str]
) -> tuple[list[dict[str, Any]], list[Unread]]:
    """Turn cells into claims.

    Args:
        figures: Subject and cell, in reading order.
        card: Id of the card.
        source: Repository and path of the model card.

    Returns:
        Claims in the registry's form, and the cells that could not be read. Missing cells are
        in neither.
    """
    unread: list[Unread] = []
    found: list[_Found] = []
    for subject, figure in figures:
        try:
            cell = read_cell(figure.text)
            if cell is not None:
                found.append(_Found(figure, cell, abs(parse_printed(cell.value).value), subject))
        except PrintedValueError as err:
            unread.append(_left(figure, str(err)))
    series: dict[tuple[str, str], list[_Found]] = defaultdict(list)
    for one in found:
        if not one.cell.unit:
            series[one.figure.series, one.figure.name.kind].append(one)
    claims: list[tuple[_Found, dict[str, Any]]] = []
    for one in found:
        try:
            unit = _unit(one, [o.size for o in series[one.figure.series, one.figure.name.kind]])
            claim = _claim(one, unit, source)
            Claim(**{**claim, "id": f"{card}/draft"})
        except PrintedValueError as err:
            unread.append(_left(one.figure, str(err)))
        except ValidationError as err:
            unread.append(_left(one.figure, err.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")))
        else:
            claims.append((one, claim))
    unread.extend(_told_apart(claims))
    _name(claims)
    return [claim for _, claim in claims], unread


def _left(figure: Figure, why: str) -> Unread:
    return Unread(figure.line, f"{figure.header}: {figure.text}", why)


def _unit(one: _Found, beside: list[float]) -> str:
    """The unit of one figure; `beside` are the bare figures of its series, itself included.

    Raises:
        PrintedValueError: It is neither printed nor to be had from the neighbours.
    """
    kind, metric = one.figure.name.kind, one.figure.name.metric
    said = one.cell.unit or one.figure.name.unit
    if metric == "delta_points" and said == "%":
        raise PrintedValueError("a difference in %: of the figure, or in points?")
    if said:
        suits = kind_of(said) == kind or not kind or (metric in ("mae", "rmse"))
        if not suits:
            raise PrintedValueError(f"unit {said!r} does not suit {metric}")
        if said == "%" and not one.cell.unit and 0 < max(beside) <= 1:
            raise PrintedValueError("header says %, but no figure is above 1: percent or fraction?")
        return said
    if kind == "share":
        return _share(one.size, beside)
    if kind == "points":
        if max(beside) < 1 and one.size:
            raise PrintedValueError("a difference below 1 without a unit: points or a fraction?")
        return "points"
    if kind == "count" or not kind:
        return "1" if kind else ""
    if kind == "length":
        return "unstated"
    raise PrintedValueError(f"no unit beside it: {metric} in what?")


def _share(size: float, beside: list[float]) -> str:
    above = [b for b in beside if b > 1]
    below = [b for b in beside if 0 < b <= 1]
    if size > 1:
        if size > CLEARLY_PERCENT or any(b > CLEARLY_PERCENT for b in beside):
            return "%"
        raise PrintedValueError("above 1, so no fraction, and nothing beside it says percent")
    if size and len(above) > len(below):
        raise PrintedValueError("at most 1 beside percentages: fraction or percent?")
    return "%" if not size and above else "fraction"


def _claim(one: _Found, unit: str, source: Mapping[str, str]) -> dict[str, Any]:
    figure, name = one.figure, one.figure.name
    quantity: dict[str, Any] = {"subject": one.subject, "metric": name.metric}
    given = {
        "variant": figure.where.get("variant"), "class_index": name.class_index, "class_name": name.class_name,
        "threshold": figure.where.get("threshold"), "averaging": name.averaging, "split": name.split,
        "place": figure.where.get("place"), "conditions": {**dict(name.conditions), **figure.conditions} or None,
    }  # fmt: skip
    quantity.update({key: value for key, value in given.items() if value is not None})
    claim: dict[str, Any] = {"id": "", "quantity": quantity, "value": one.cell.value, "unit": unit}
    if unit in ("thousand", "million", "billion"):
        claim["stored_as"] = "printed"
    claim.update(source=dict(source), quote=figure.quote)
    if one.cell.caveat:
        claim["caveat"] = one.cell.caveat
    return claim


def _interval(claim: Mapping[str, Any]) -> Interval:
    interval = parse_printed(claim["value"], claim.get("stored_as")).need()
    return Interval(interval.lo / 100, interval.hi / 100) if claim["unit"] == "%" else interval


def _told_apart(claims: list[tuple[_Found, dict[str, Any]]]) -> list[Unread]:
    """Keep unlike figures of one text from being taken for one figure given twice.

    Two tables that say the same words and print other numbers are mostly about two things
    that the words do not tell apart. Each then gets its place as a condition, and a note. A
    figure of the front matter stays comparable with the text.
    """
    groups: dict[tuple[bool, str], list[tuple[_Found, dict[str, Any]]]] = defaultdict(list)
    for one, claim in claims:
        front = one.figure.series.startswith("index")
        unit = "fraction" if claim["unit"] == "%" else claim["unit"]
        groups[front, repr((sorted(claim["quantity"].items(), key=str), unit))].append((one, claim))
    notes = []
    for group in groups.values():
        if all(_interval(a).meets(_interval(b)) for (_, a), (_, b) in combinations(group, 2)):
            continue
        first = group[0][0].figure
        for one, claim in group:
            conditions = claim["quantity"].setdefault("conditions", {})
            conditions["at"] = f"line {one.figure.line}, {one.figure.header}"
            if one.figure is not first:
                notes.append(
                    _left(
                        one.figure,
                        f"read as a figure of its own: line {first.line} prints another number in the same words",
                    )
                )
    return notes


def _name(claims: list[tuple[_Found, dict[str, Any]]]) -> None:
    """Ids from what a figure measures and its line; a second of the same name gets `-2`."""
    taken: dict[str, int] = defaultdict(int)
    for one, claim in claims:
        q = claim["quantity"]
        label = "-".join(slug(str(q[k])) for k in ("class_index", "class_name") if k in q)
        parts = (
            q["metric"],
            q.get("variant"),
            label,
            q.get("threshold"),
            q.get("place"),
            q.get("split"),
            f"l{one.figure.line}",
        )
        name = ".".join(filter(None, (slug(part or "") for part in parts)))
        taken[name] += 1
        claim["id"] = name if taken[name] == 1 else f"{name}-{taken[name]}"
