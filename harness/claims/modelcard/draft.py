"""Drafts a claims registry from a Hugging Face model card that nobody here has seen.

Read are the `model-index` of the front matter and every metric table of the text. Figures
are kept as printed. What could not be read is listed beside the claims, so that a person who
completes the draft knows where to look; nothing is guessed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from harness.claims.modelcard.figures import settle
from harness.claims.modelcard.layouts import Figure, read_table
from harness.claims.modelcard.tables import Unread, find_tables
from harness.claims.modelcard.words import MISSING, SPLITS, Name, macro_f1, read_name, slug
from harness.errors import ModelCardError

__all__ = ["Draft", "Unread", "draft_from_model_card", "draft_yaml"]

AVERAGES = frozenset({"macro", "micro", "weighted"})


@dataclass(frozen=True)
class Draft:
    """What was read from one model card."""

    card: str
    """Id of the card, a slug of the model's name."""
    family: str
    """The same slug, until somebody groups cards."""
    title: str
    """For people."""
    author: str
    """Owner of the repository or author named in the front matter, else `unknown`."""
    claims: list[dict[str, Any]]
    """Claims in the form that `read_card` takes, ids without the card."""
    unread: list[Unread] = field(default_factory=list)
    """What holds figures and was not read, in the order of lines."""


def draft_from_model_card(path: Path) -> Draft:
    """Draft a claims registry from a model card.

    Args:
        path: Markdown file with or without front matter, UTF-8.

    Returns:
        At least one claim, and what could not be read.

    Raises:
        ModelCardError: Unreadable, not UTF-8, front matter broken or never closed, or no
            figure in the model-index or under a known header; names file and line.
    """
    text = _text(path)
    front, body = _front_matter(text, path)
    tables, unread, heading = find_tables(body)
    models = _models(front, path, unread)
    names = [
        *[name for name, _ in models],
        re.sub(r"(?i)^model card(?: for)?[:\s]*", "", heading),
        path.resolve().parent.name,
    ]
    full = next((name for name in names if slug(name.rpartition("/")[2])), "model")
    own = full.rpartition("/")[2]
    figures: list[tuple[str, Figure]] = []
    for model, found in models:
        figures.extend((slug(model.rpartition("/")[2]) or slug(own), figure) for figure in found)
    for table in tables:
        cells, left = read_table(table, own)
        figures.extend((slug(own) or "model", cell) for cell in cells)
        unread.extend(left)
    card = slug(own) or "model"
    repository = (
        "/".join(filter(None, (slug(part) for part in full.split("/")))) if "/" in full else slug(full) or "unknown"
    )
    claims, left = settle(figures, card, {"repository": repository, "path": path.name})
    unread = sorted([*unread, *left], key=lambda u: (u.line, u.text, u.why))
    if not claims:
        seen = (
            f"; {len(unread)} could not be read, first line {unread[0].line}: {unread[0].text} ({unread[0].why})"
            if unread
            else ""
        )
        line = f":{unread[0].line}" if unread else ""
        raise ModelCardError(f"{path}{line}: no figures found in a model-index or a metric table{seen}")
    return Draft(card, card, f"{own}: model card", _author(front, full, path), claims, unread)


def draft_yaml(draft: Draft) -> str:
    """The draft as a claims file that `read_card` accepts as it is.

    Args:
        draft: What was read.

    Returns:
        YAML text; a comment block on top says that it is a draft and lists what was not read.
    """
    head = [
        "DRAFT, made from a model card by machine. Check each claim against the card before it is used:",
        "class names and indices, split, threshold, averaging and unit are as the card prints them, or left out.",
        f"{len(draft.claims)} claims; {len(draft.unread)} not read.",
        *(f"unread, line {u.line}: {u.text} ({u.why})" for u in draft.unread),
    ]
    body = {
        "schema": 1, "card": draft.card, "family": draft.family, "kind": "card", "title": draft.title,
        "author": draft.author, "claims": draft.claims,
    }  # fmt: skip
    dumped: str = yaml.safe_dump(body, sort_keys=False, allow_unicode=True, width=110, default_flow_style=None)
    return "".join(f"# {_one_line(line)}\n" for line in head) + dumped


def _one_line(text: str) -> str:
    """A comment must hold no line break of any alphabet."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _text(path: Path) -> str:
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as err:
        raise ModelCardError(f"{path}: cannot be read ({err.strerror}); give the README.md of a model") from err
    except UnicodeDecodeError as err:
        raise ModelCardError(f"{path}: not UTF-8 at byte {err.start}; give the README.md of a model") from err
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def _front_matter(text: str, path: Path) -> tuple[yaml.Node | None, str]:
    """The front matter and the text, each on the lines where it stood."""
    lines = text.split("\n")
    start = next((i for i, line in enumerate(lines) if line.strip()), 0)
    if lines[start].rstrip() != "---":
        return None, text
    end = next((i for i in range(start + 1, len(lines)) if lines[i].rstrip() == "---"), None)
    if end is None:
        raise ModelCardError(f"{path}:{start + 1}: front matter is never closed; a line of --- is missing")
    block = "\n" * (start + 1) + "\n".join(lines[start + 1 : end])
    try:
        node = yaml.compose(block, Loader=yaml.SafeLoader)
    except yaml.YAMLError as err:
        mark = getattr(err, "problem_mark", None)
        at = mark.line + 1 if mark else start + 1
        reason = getattr(err, "problem", None) or getattr(err, "reason", err)
        raise ModelCardError(f"{path}:{at}: front matter is not YAML: {reason}") from err
    except RecursionError as err:
        raise ModelCardError(f"{path}:{start + 1}: front matter is nested too deep to be read") from err
    if node is not None and not isinstance(node, yaml.MappingNode):
        raise ModelCardError(f"{path}:{node.start_mark.line + 1}: front matter is no mapping of keys to values")
    return node, "\n" * (end + 1) + "\n".join(lines[end + 1 :])


def _fields(node: yaml.Node | None, path: Path) -> dict[str, yaml.Node]:
    """Keys of a mapping node; none where it is something else."""
    out: dict[str, yaml.Node] = {}
    for key, value in node.value if isinstance(node, yaml.MappingNode) else []:
        if isinstance(key, yaml.ScalarNode):
            if key.value in out:
                raise ModelCardError(f"{path}:{key.start_mark.line + 1}: front matter: key {key.value!r} stands twice")
            out[key.value] = value
    return out


def _scalar(node: yaml.Node | None) -> str:
    """Text of a scalar as it stands; empty for null and for anything else."""
    if not isinstance(node, yaml.ScalarNode) or node.tag == "tag:yaml.org,2002:null":
        return ""
    return str(node.value).strip()


def _author(front: yaml.Node | None, full: str, path: Path) -> str:
    fields = _fields(front, path)
    for key in ("author", "authors", "model_author"):
        node = fields.get(key)
        said = (
            ", ".join(filter(None, map(_scalar, node.value))) if isinstance(node, yaml.SequenceNode) else _scalar(node)
        )
        if said:
            return said
    return full.split("/")[0] if "/" in full else "unknown"


def _items(node: yaml.Node | None, what: str, unread: list[Unread]) -> list[yaml.Node]:
    if node is None:
        return []
    if isinstance(node, yaml.SequenceNode):
        return list(node.value)
    unread.append(
        Unread(node.start_mark.line + 1, f"{what}: {_scalar(node) or '...'}", "model-index: a list was expected")
    )
    return []


def _models(front: yaml.Node | None, path: Path, unread: list[Unread]) -> list[tuple[str, list[Figure]]]:
    """Name and figures of each model of the model-index."""
    out: list[tuple[str, list[Figure]]] = []
    for model in _items(_fields(front, path).get("model-index"), "model-index", unread):
        fields = _fields(model, path)
        found: list[Figure] = []
        told: list[dict[str, str]] = []
        for result in _items(fields.get("results"), "results", unread):
            parts = _fields(result, path)
            task, dataset = _fields(parts.get("task"), path), _fields(parts.get("dataset"), path)
            about = {
                "task": _scalar(task.get("name")) or _scalar(task.get("type")),
                "dataset": _scalar(dataset.get("name")) or _scalar(dataset.get("type")),
                "config": _scalar(dataset.get("config")),
            }
            split = _scalar(dataset.get("split"))
            metrics = _items(parts.get("metrics"), "metrics", unread)
            if not metrics and "metrics" not in parts:
                unread.append(Unread(result.start_mark.line + 1, "results", "model-index: result without metrics"))
            figures = [f for node in metrics if (f := _metric(node, SPLITS.get(split, split), path, unread))]
            named = macro_f1([f.name for f in figures])
            found.extend(replace(f, name=name) for f, name in zip(figures, named, strict=True) if name)
            told.extend(about for _ in range(len(figures)))
        differs = [key for key in ("task", "dataset", "config") if len({t[key] for t in told}) > 1]
        for i, about in enumerate(told):
            conditions = {key: about[key] for key in differs if about[key]}
            found[i] = replace(found[i], conditions={**conditions, **found[i].conditions})
        out.append((_scalar(fields.get("name")), found))
    return out


def _metric(node: yaml.Node, split: str, path: Path, unread: list[Unread]) -> Figure | None:
    """One entry of `metrics`; the name says more than the type, where it is understood."""
    fields = _fields(node, path)
    kind, title = _scalar(fields.get("type")), _scalar(fields.get("name"))
    value, line = fields.get("value"), node.start_mark.line + 1
    if value is not None:
        line = value.start_mark.line + 1
    if not isinstance(value, yaml.ScalarNode):
        why = "no value" if value is None else "value is no single figure"
        unread.append(Unread(line, title or kind or "metrics", f"model-index: {why}"))
        return None
    text = _scalar(value)
    if text.lower() in MISSING:
        return None
    if not (kind or title):
        unread.append(Unread(line, text, "model-index: neither type nor name of the metric is given"))
        return None
    conditions: dict[str, str] = {}
    name = read_name(title) if title else None
    if name is None:
        name = read_name(kind, exact=True) or Name(f"x-{slug(kind or title) or 'metric'}")
        if title and slug(title) != slug(kind):
            conditions["name"] = title
    average = _scalar(_fields(fields.get("args"), path).get("average")).lower()
    if average in AVERAGES and name.averaging is None and name.metric in ("f1", "precision", "recall"):
        name = (
            replace(name, metric="f1_macro")
            if (name.metric, average) == ("f1", "macro")
            else replace(name, averaging=average)
        )
    if config := _scalar(fields.get("config")):
        conditions["metric_config"] = config
    name = replace(name, split=name.split or split or None)
    where = {"variant": slug(name.variant)} if slug(name.variant) else {}
    said = title if not kind or title == kind else f"{kind}, {title}" if title else kind
    return Figure(
        name, text, line, said, f"index.{name.metric}", f"model-index: {said}: {text}"[:120], where, conditions
    )
