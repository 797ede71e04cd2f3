"""Reads eval/claims/*.yaml into cards; an error names file, line and field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from harness.claims.model import Card, Claim, Gate, ProbeSet, Relation, SourceNote
from harness.errors import PrintedValueError, RegistryError
from harness.vocabulary import METRICS

Model = TypeVar("Model", bound=BaseModel)

SCHEMA = "1"
"""Version of the claims file format."""


class Located(dict[str, Any]):
    """A mapping that remembers the line of each of its keys."""

    lines: dict[str, int]
    line: int


def read_yaml(path: Path) -> Located:
    """Read a YAML mapping with every scalar as text and every key's line remembered.

    Args:
        path: File to read, UTF-8.

    Raises:
        RegistryError: Unreadable, not YAML, not a mapping, or a key stands twice.
    """
    try:
        node = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except OSError as err:
        raise RegistryError(f"{path}: cannot be read ({err.strerror})") from err
    except UnicodeDecodeError as err:
        raise RegistryError(f"{path}: not UTF-8 at byte {err.start}") from err
    except yaml.YAMLError as err:
        mark = getattr(err, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise RegistryError(f"{path}{line}: not YAML: {getattr(err, 'problem', err)}") from err
    value = _plain(node, path) if node is not None else None
    if not isinstance(value, Located):
        raise RegistryError(f"{path}:1: a mapping was expected at the top")
    return value


def _plain(node: yaml.Node, path: Path) -> Any:
    if isinstance(node, yaml.MappingNode):
        out = Located()
        out.line, out.lines = node.start_mark.line + 1, {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise RegistryError(f"{path}:{line}: keys must be words")
            if key.value in out:
                raise RegistryError(f"{path}:{line}: key {key.value!r} stands twice")
            out[key.value] = _plain(value, path)
            out.lines[key.value] = line
        return out
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, path) for item in node.value]
    if node.tag == "tag:yaml.org,2002:null":
        return None
    return str(node.value)


def validated(model: type[Model], raw: Located, path: Path, where: str) -> Model:
    """Build a pydantic model from a located mapping.

    Raises:
        RegistryError: With file, line and field of the first thing that is wrong.
    """
    try:
        return model(**raw)
    except (ValidationError, PrintedValueError) as err:
        if isinstance(err, PrintedValueError):
            raise RegistryError(f"{path}:{raw.line}: {where}: {err}") from err
        first = err.errors(include_url=False)[0]
        loc = [str(part) for part in first["loc"]]
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "missing":
            message = "field is missing"
        elif first["type"] == "extra_forbidden":
            message = "no such field"
        raise RegistryError(f"{path}:{_line(raw, loc)}: {'.'.join([where, *loc])}: {message}") from err


def _line(raw: Any, loc: list[str]) -> int:
    line = getattr(raw, "line", 1)
    for part in loc:
        if isinstance(raw, Located):
            line = raw.lines.get(part, line)
            raw = raw.get(part)
        elif isinstance(raw, list) and part.isdigit() and int(part) < len(raw):
            raw = raw[int(part)]
            line = getattr(raw, "line", line)
        else:
            break
    return line


def _merged(defaults: Mapping[str, Any] | None, own: Located, path: Path) -> Located:
    """`own` over `defaults`; `quantity` and `source` are merged field by field."""
    if defaults is None:
        return own
    out = Located({**defaults, **own})
    out.line, out.lines = own.line, dict(own.lines)
    for field in ("quantity", "source"):
        ours, theirs = own.get(field), defaults.get(field)
        if isinstance(ours, Located) and isinstance(theirs, Mapping):
            both = Located({**theirs, **ours})
            both.line, both.lines = ours.line, dict(ours.lines)
            if field == "quantity" and "conditions" in ours and "conditions" in theirs:
                both["conditions"] = {**theirs["conditions"], **ours["conditions"]}
            out[field] = both
        elif ours is not None and not isinstance(ours, Mapping):
            raise RegistryError(f"{path}:{own.lines.get(field, own.line)}: {field}: a mapping was expected")
    return out


def _rows(table: Located, defaults: Mapping[str, Any] | None, path: Path) -> Iterator[Located]:
    """Expand a table: one raw claim for each cell that is not null."""
    for need in ("id", "columns", "rows"):
        if need not in table:
            raise RegistryError(f"{path}:{table.line}: tables.{need}: field is missing")
    shared = Located({k: v for k, v in table.items() if k not in ("id", "columns", "rows", "row_key")})
    shared.line, shared.lines = table.line, table.lines
    base = _merged(defaults, shared, path)
    key = table.get("row_key", "place")
    for number, row in enumerate(table["rows"]):
        if not isinstance(row, list) or len(row) != len(table["columns"]) + 1:
            raise RegistryError(
                f"{path}:{table.lines['rows']}: tables.{table['id']}.rows[{number}]: "
                f"{len(table['columns']) + 1} cells were expected (row name, then one a column)"
            )
        for (column, template), cell in zip(table["columns"].items(), row[1:], strict=True):
            if cell is None:
                continue
            own = Located({"id": f"{table['id']}.{row[0]}.{column}", "value": cell})
            own.line, own.lines = table.lines["rows"] + 1 + number, {}
            quantity = Located({**base.get("quantity", {}), **template.get("quantity", {}), key: row[0]})
            quantity.line, quantity.lines = own.line, {}
            own.update({k: v for k, v in template.items() if k != "quantity"})
            own["quantity"] = quantity
            yield _merged(base, own, path)


def read_card(path: Path) -> Card:
    """Read one claims file.

    Args:
        path: A YAML file as under eval/claims/; see CONTRIBUTING.md for the form.

    Returns:
        The card with groups and tables expanded to single claims.

    Raises:
        RegistryError: With file, line and field.
    """
    raw = read_yaml(path)
    if raw.get("schema") != SCHEMA:
        raise RegistryError(
            f"{path}:{raw.lines.get('schema', 1)}: schema: {raw.get('schema')!r}; this version reads {SCHEMA!r}"
        )
    name = raw.get("card")
    if not name:
        raise RegistryError(f"{path}:1: card: field is missing")
    found: list[Claim] = []
    top = Located({"source": raw["source"]}) if raw.get("source") else None
    groups = [*raw.get("groups", [])]
    if raw.get("claims") or raw.get("tables"):
        lead = Located({k: raw[k] for k in ("claims", "tables", "defaults") if raw.get(k)})
        lead.line, lead.lines = raw.line, raw.lines
        groups.insert(0, lead)
    for group in groups:
        for field in group:
            if field not in ("defaults", "claims", "tables", "name"):
                raise RegistryError(f"{path}:{group.lines[field]}: groups.{field}: no such field")
        defaults: Located | None = group.get("defaults")
        if defaults is None:
            defaults = top
        elif top is not None:
            defaults = _merged(top, defaults, path)
        raws = [_merged(defaults, c, path) for c in group.get("claims") or []]
        for table in group.get("tables") or []:
            raws.extend(_rows(table, defaults, path))
        found.extend(_claim(raw_claim, name, path) for raw_claim in raws)
    _unique(found, path)
    body = Located(
        {
            k: v
            for k, v in raw.items()
            if k not in ("schema", "card", "source", "groups", "claims", "tables", "defaults")
        }
    )
    body.line, body.lines = raw.line, raw.lines
    for field, model in (("relations", Relation), ("gates", Gate), ("notes", SourceNote), ("probes", ProbeSet)):
        body[field] = [
            validated(
                model,
                _prepared(_merged(top, item, path), name, field == "relations"),
                path,
                f"{field}.{item.get('id', '?')}",
            )
            for item in raw.get(field) or []
        ]
    body["concessions"] = [_merged(top, item, path) for item in raw.get("concessions") or []]
    body.update(id=name, claims=found, path=str(path))
    return validated(Card, body, path, name)


def _prepared(raw: Located, card: str, with_line: bool) -> Located:
    """Ids of claims without a card mean this card."""
    for field in ("of", "over", "claims"):
        if isinstance(raw.get(field), list):
            raw[field] = [ref if "/" in ref else f"{card}/{ref}" for ref in raw[field]]
    if isinstance(raw.get("states"), str) and "/" not in raw["states"]:
        raw["states"] = f"{card}/{raw['states']}"
    if isinstance(raw.get("id"), str) and "/" not in raw["id"]:
        raw["id"] = f"{card}/{raw['id']}"
    if isinstance(raw.get("rows"), str) and "/" not in raw["rows"]:
        raw["rows"] = f"{card}/{raw['rows']}"
    if with_line:
        raw["line"] = raw.line
    return raw


def _claim(raw: Located, card: str, path: Path) -> Claim:
    name = raw.get("id")
    if not name:
        raise RegistryError(f"{path}:{raw.line}: claims.id: field is missing")
    quantity = raw.get("quantity")
    metric = METRICS.get(quantity.get("metric", "")) if isinstance(quantity, Mapping) else None
    if metric is not None:
        raw.setdefault("unit", metric.unit)
        raw.setdefault("direction", metric.direction)
    raw["id"] = f"{card}/{name}"
    raw["line"] = raw.line
    return validated(Claim, raw, path, f"claims.{name}")


def _unique(claims: list[Claim], path: Path) -> None:
    seen: dict[str, int] = {}
    for claim in claims:
        if claim.id in seen:
            raise RegistryError(f"{path}:{claim.line}: id {claim.id!r} stands already in line {seen[claim.id]}")
        seen[claim.id] = claim.line


@dataclass(frozen=True)
class Registry:
    """All cards that one audit looks at."""

    cards: tuple[Card, ...]
    """In the order of their ids."""

    @property
    def claims(self) -> list[Claim]:
        """Every claim of every card."""
        return [claim for card in self.cards for claim in card.claims]

    def card(self, name: str) -> Card:
        """The card of that id.

        Raises:
            RegistryError: There is none.
        """
        for card in self.cards:
            if card.id == name:
                return card
        raise RegistryError(f"no card {name!r}; there are {', '.join(c.id for c in self.cards)}")

    def find(self, ref: str) -> list[Claim]:
        """Claims named by an id, or by the start of one followed by `*`."""
        if ref.endswith("*"):
            return [c for c in self.claims if c.id.startswith(ref[:-1])]
        return [c for c in self.claims if c.id == ref]


def _references(card: Card) -> Iterator[tuple[str, list[str]]]:
    """Everything in a card that names claims, with the names."""
    for relation in card.relations:
        yield relation.id, [*relation.of, *relation.over, *([relation.states] if relation.states else [])]
    for gate in card.gates:
        yield gate.id, gate.of
    for note in card.notes:
        yield note.id, note.claims
    for probe in card.probes:
        yield probe.id, [probe.rows]


def _figures_named(card: Card) -> Iterator[tuple[str, list[str]]]:
    """The claims that relations and gates do arithmetic on: they must hold numbers."""
    for relation in card.relations:
        yield relation.id, [*relation.of, *relation.over, *([relation.states] if relation.states else [])]
    for gate in card.gates:
        yield gate.id, gate.of


def read_registry(paths: list[Path]) -> Registry:
    """Read claims files, and check that what they name exists.

    Args:
        paths: Files, or folders whose *.yaml files are read.

    Raises:
        RegistryError: A file is wrong, an id stands twice, or a reference leads nowhere.
    """
    files: list[Path] = []
    for path in paths:
        files.extend(sorted(path.glob("*.yaml")) if path.is_dir() else [path])
    if not files:
        raise RegistryError(f"no claims files in {', '.join(map(str, paths))}; give a .yaml file or a folder of them")
    cards = tuple(sorted((read_card(f) for f in files), key=lambda c: c.id))
    names = [c.id for c in cards]
    for name in names:
        if names.count(name) > 1:
            both = [c.path for c in cards if c.id == name]
            raise RegistryError(f"{both[1]}:1: card {name!r} is defined in {both[0]} already")
    registry = Registry(cards)
    known = {c.id for c in registry.claims}
    for card in cards:
        for name, refs in _references(card):
            for ref in refs:
                hit = any(k.startswith(ref[:-1]) for k in known) if ref.endswith("*") else ref in known
                if not hit:
                    raise RegistryError(f"{card.path}: {name}: names {ref!r}, which is no claim")
        for name, refs in _figures_named(card):
            for claim in (c for ref in refs for c in registry.find(ref)):
                if claim.printed.interval is None:
                    raise RegistryError(f"{card.path}: {name}: {claim.id} ({claim.value!r}) holds no number")
    return registry
