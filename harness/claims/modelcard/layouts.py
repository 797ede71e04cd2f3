"""Reads a metric table: which cell measures what.

Three layouts: metrics as columns with one configuration a row, metrics as rows with one
configuration a column, and class tables. A figure under words that are not known as a metric
is listed as unread, with its line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from harness.claims.modelcard.tables import Table, Unread
from harness.claims.modelcard.words import (
    CLASSWISE,
    CONFIGURATIONS,
    DELTAS,
    MISSING,
    NOT_THE_VALUE,
    UNITS,
    Name,
    holds_figure,
    is_difference,
    looks_numeric,
    macro_f1,
    read_class,
    read_name,
    slug,
    take_split,
    without_marks,
)  # fmt: skip

CLASS_WORDS = frozenset({"class", "classes", "class name", "category", "land cover", "land cover class", "label"})
INDEX_WORDS = frozenset({"index", "id", "idx", "#", "class id", "class index", "no."})
KEYS = {"threshold": "threshold", "split": "split", "set": "split", "subset": "split",
        **dict.fromkeys(("aoi", "tile", "place", "site", "location", "region", "scene", "city"), "place")}  # fmt: skip
"""Headers of columns that name a row by a field of its quantity."""
NOTES = frozenset(
    {"note", "notes", "comment", "comments", "remark", "remarks", "description", "link", "source", "paper", "reference",
     "file", "date", "meaning"}
)  # fmt: skip
VALUES = frozenset({"value", "values", "score", "scores", "result", "results", "metric value", "published"})
SETTINGS = frozenset(
    {"hyperparameter", "hyper-parameter", "hyperparameters", "parameter", "setting", "option", "argument"}
)
PER_CLASS = re.compile(r"(?i)per[- ]class|class[- ]wise|by class|each class")
WORDY = frozenset({"precision", "loss"})
"""Metrics whose words also mean a number format or a function: without figures, no metric."""
OWN_WORDS = re.compile(r"(?i)\b(?:this work|ours|this model|proposed)\b")
"""Words in a row's label by which authors mark their own row."""

OWN = frozenset({"ours", "this model", "this", "model", "published", "value", ""})
MEANS = frozenset({"mean", "average", "avg", "macro", "macro avg", "macro average", "macro mean", "miou", "mean iou"})
MEAN_OF = {"iou": "mIoU", "f1": "f1_macro", "class_accuracy": "mean_class_accuracy", "accuracy": "mean_class_accuracy"}
NO_CLASS = frozenset(
    {"overall", "total", "all", "micro avg", "micro average", "weighted avg", "weighted average", "all classes"}
)


@dataclass(frozen=True)
class Figure:
    """A cell and what it measures; its text is not yet read."""

    name: Name
    """Metric, class, split and unit as header and row say."""
    text: str
    """Cell as plain text."""
    line: int
    """Line in the model card, from 1."""
    header: str
    """Words that name the metric, as printed."""
    series: str
    """Figures of one series are written in one unit."""
    quote: str
    """The row, at most 120 characters."""
    where: dict[str, str] = field(default_factory=dict)
    """Further fields of the quantity: variant, place, threshold."""
    conditions: dict[str, str] = field(default_factory=dict)
    """Other columns of the row that tell it apart."""


@dataclass(frozen=True)
class _Row:
    """What the cells of a row say that are no figures."""

    label: str
    """First cell without its split; empty where it names a class, place or threshold."""
    split: str | None
    """Split that the row is about."""
    where: dict[str, str]
    """Place and threshold."""
    conditions: dict[str, str]
    """Other columns of words, where the first column does not tell the rows apart."""


def read_table(table: Table, own: str) -> tuple[list[Figure], list[Unread]]:
    """Figures of one table.

    Args:
        table: The table.
        own: Name of the model; a row of that name is the published one.

    Returns:
        Figures in reading order, and cells that look like figures under unknown words.
    """
    names = [read_name(h) for h in table.header]
    for at, name in enumerate(names):
        words_only = not any(looks_numeric(c) for c in table.column(at))
        if name and words_only and (at == 0 or name.metric in WORDY):
            names[at] = None
    exact = without_marks(table.header[0]).lower() in SETTINGS
    rows = [read_name(cells[0], exact=exact) for _, cells in table.rows]
    differences = all(name.metric == "delta_points" for name in names if name)
    if len(table.header) > 1 and differences and any(name and name.metric != "delta_points" for name in rows):
        return _by_row(table, macro_f1(rows), own)
    if any(names):
        return _by_column(table, names, own)
    unread = []
    for line, cells in table.rows:
        for header, cell in list(zip(table.header, cells, strict=True))[1:]:
            if looks_numeric(cell):
                unread.append(table.unread(line, cells[0] if _word(header) in VALUES else header, cell))
    return [], unread


def _split_above(table: Table) -> str | None:
    """The split that heading or paragraph names; training is told of too often to be one."""
    said = take_split(table.about)[0]
    return None if said == "train" else said


def _word(header: str) -> str:
    return without_marks(header).lower().replace("_", " ").replace("-", " ").strip(": ")


def _quote(label: str, header: str, cell: str, cells: tuple[str, ...]) -> str:
    text = re.sub(r"\^\{[^}]*\}", "", " | ".join(cells))
    return text if len(text) <= 120 else f"{label[:40]} … {header[:38]}: {cell[:36]}"


def _variant(label: str, own: str) -> str:
    clean = without_marks(label)
    if OWN_WORDS.search(clean):
        return ""
    return "" if clean.lower() in OWN or slug(clean) == slug(own) else slug(clean)


def _where(*arms: str) -> dict[str, str]:
    arm = "-".join(filter(None, arms))
    return {"variant": arm} if arm else {}


def _difference_of(name: Name, label: str) -> Name | str:
    """The difference that a row or column labelled as one holds for a metric."""
    said = read_name(label)
    if name.metric == "delta_points":
        return name
    if name.kind != "share" or said is None or said.metric != "delta_points":
        return f"{label!r} is not the metric itself"
    conditions = (("of", name.metric), *(pair for pair in said.conditions if pair[0] != "of"))
    return replace(name, metric="delta_points", unit=said.unit, conditions=conditions)


def _of_class(name: Name, label: str) -> Name | str:
    """A class table's metric for one class; the reason where the row names none."""
    word = _word(label)
    if word in MEANS:
        return _of_mean(name, label)
    if word in NO_CLASS or not word:
        return f"row {label!r} is no class, and its averaging is not said"
    if set(word.replace("∆", "δ").split()) & (DELTAS | NOT_THE_VALUE):
        return f"row {label!r} is no class"
    index, title = read_class(label)
    metric = "class_accuracy" if name.metric == "accuracy" else name.metric
    return replace(name, metric=metric, class_index=index, class_name=title)


def _of_mean(name: Name, label: str) -> Name | str:
    """The row `Mean` of a class table."""
    of = dict(name.conditions).get("of", "")
    if name.metric == "delta_points" and of:
        rest = (pair for pair in name.conditions if pair[0] != "of")
        return replace(name, conditions=(("of", MEAN_OF.get(of, of)), *rest))
    if name.metric in MEAN_OF:
        return replace(name, metric=MEAN_OF[name.metric])
    if name.metric in CLASSWISE:
        return replace(name, averaging="macro")
    return f"row {label!r} is no class"


def _arm(name: Name) -> Name:
    """In a class table the rows name the class, so a word beside the metric is an arm."""
    if name.class_index is None and not name.class_name:
        return name
    said = " ".join(str(p) for p in (name.class_index, name.class_name) if p is not None)
    return replace(name, class_index=None, class_name=None, variant=said)


def _by_column(table: Table, names: list[Name | None], own: str) -> tuple[list[Figure], list[Unread]]:
    figures: list[Figure] = []
    unread: list[Unread] = []
    words = [_word(h) for h in table.header]
    free = [at for at, name in enumerate(names) if name is None]
    class_at = next((at for at in free if words[at] in CLASS_WORDS), None)
    index_at = next((at for at in free if words[at] in INDEX_WORDS and class_at is not None), None)
    names = macro_f1(names) if class_at is None else names
    scores = {n.metric for n in names if n and n.kind == "share"}
    of = scores.pop() if len(scores) == 1 else ""
    said = {n.split for n in names if n and n.scored and n.split}
    # A table that names one split once means it for all its scores: "Test mIoU | Pixel Acc".
    split = said.pop() if len(said) == 1 else _split_above(table)
    for line, cells in table.rows:
        row = _read_row(table, line, [at for at in free if at not in (class_at, index_at)], unread)
        for at, (name, cell) in enumerate(zip(names, cells, strict=True)):
            if name is None or cell.lower() in MISSING:
                continue
            index = cells[index_at] if index_at is not None else ""
            this = _named(name, row, of, None if class_at is None else cells[class_at], index)
            if isinstance(this, str):
                unread.append(table.unread(line, table.header[at], cell, this))
                continue
            # "Train wall-clock" is the time of training, not a figure on the training split.
            own_split = None if this.kind == "time" else this.split
            this = replace(this, split=own_split or row.split or (split if this.scored else None))
            arm = "" if is_difference(row.label) else _variant(row.label, own)
            where = {**row.where, **_where(arm, slug(this.variant))}
            quote = _quote(row.label or cells[0], table.header[at], cell, cells)
            figures.append(
                Figure(this, cell, line, table.header[at], f"{table.line}.{at}", quote, where, row.conditions)
            )
    return figures, unread


def _read_row(table: Table, line: int, free: list[int], unread: list[Unread]) -> _Row:
    """The columns of a row that hold no metric; figures among them are noted as unread."""
    cells = dict(table.rows)[line]
    first = [row[0] for _, row in table.rows]
    repeated = len(set(first)) < len(first)
    label, row_split = "", None
    where: dict[str, str] = {}
    conditions: dict[str, str] = {}
    for at in free:
        word, clean = _word(table.header[at]), without_marks(cells[at])
        if cells[at].lower() in MISSING:
            continue
        key = KEYS.get(word)
        if word in NOTES:
            if looks_numeric(cells[at]):
                unread.append(table.unread(line, table.header[at], cells[at]))
        elif key == "split":
            row_split = take_split(clean)[0] or clean
        elif key:
            where[key] = clean
        elif at == 0:
            said, label = take_split(clean)
            row_split = row_split or said
            label = f"{word} {label}" if looks_numeric(label) else label
        elif looks_numeric(cells[at]) and (not repeated or any(map(holds_figure, table.column(at)))):
            unread.append(table.unread(line, table.header[at], cells[at]))
        elif repeated and len(set(table.column(at))) > 1:
            conditions[slug(word) or f"column-{at + 1}"] = clean
    return _Row(label, row_split, where, conditions)


def _named(name: Name, row: _Row, of: str, label: str | None, index: str) -> Name | str:
    """What one cell measures, from its header and row; the reason where they do not fit.

    Args:
        name: What the header says.
        row: What the row says.
        of: The one score of the table, which a difference without a name is taken from.
        label: Cell of the class column; None in tables without one.
        index: Cell of a class index column, or empty.
    """
    if is_difference(row.label):
        this = _difference_of(name, row.label)
    elif set(_word(row.label).split()) & NOT_THE_VALUE:
        this = f"{row.label!r} is not the metric itself"
    elif name.metric == "delta_points" and of and "of" not in dict(name.conditions):
        this = replace(name, conditions=(("of", of), *name.conditions))
    else:
        this = name
    if isinstance(this, str) or label is None:
        return this
    this = _of_class(_arm(this), label)
    if isinstance(this, Name) and this.class_name and this.class_index is None and re.fullmatch(r"\d{1,3}", index):
        this = replace(this, class_index=int(index))
    return this


def _by_row(table: Table, names: list[Name | None], own: str) -> tuple[list[Figure], list[Unread]]:
    figures: list[Figure] = []
    unread: list[Unread] = []
    words = [_word(h) for h in table.header]
    unit_at = next((at for at, word in enumerate(words) if word in ("unit", "units")), None)
    classes = "yes" if words[0] in CLASS_WORDS else "maybe" if PER_CLASS.search(table.about) else "no"
    split = _split_above(table)
    columns = [at for at in range(1, len(words)) if at != unit_at and any(looks_numeric(c) for c in table.column(at))]
    for (line, cells), name in zip(table.rows, names, strict=True):
        hint = UNITS.get(cells[unit_at], ("", ""))[0] if unit_at is not None else ""
        for at in columns:
            header, cell = table.header[at], cells[at]
            if cell.lower() in MISSING:
                continue
            if name is None or words[at] in NOTES or (name.metric in WORDY and not looks_numeric(cell)):
                if looks_numeric(cell):
                    unread.append(table.unread(line, header if name else cells[0], cell))
                continue
            said, rest = take_split(without_marks(header))
            this = _crossed(name, header, rest, classes)
            if isinstance(this, str):
                unread.append(table.unread(line, cells[0], cell, this))
                continue
            plain = this.metric == name.metric and this.class_name == name.class_name and _word(rest) not in VALUES
            this = replace(this, unit=this.unit or hint, split=said or this.split or (split if this.scored else None))
            where = _where(_variant(rest, own) if plain else "", slug(this.variant))
            series = f"{table.line}.{at}" if this.kind == "share" else f"{table.line}.{line}.{at}"
            figures.append(Figure(this, cell, line, cells[0], series, _quote(cells[0], header, cell, cells), where))
    return figures, unread


def _crossed(name: Name, header: str, rest: str, classes: str) -> Name | str:
    """What a row's metric means under a column that is a configuration, a class or a difference.

    Args:
        name: What the row says.
        header: Header of the column.
        rest: The header without its split.
        classes: Whether columns are classes: `yes`, `no`, or `maybe` where only a heading says so.
    """
    words = set(_word(header).split())
    if is_difference(header):
        return _difference_of(name, header)
    if words & NOT_THE_VALUE:
        return f"column {header!r} is not the metric itself"
    stated = name.class_index is not None or name.class_name or name.metric not in {*CLASSWISE, "accuracy"}
    if stated or not rest or _word(rest) in VALUES or words <= CONFIGURATIONS:
        return name
    if classes == "yes" or read_class(rest)[0] is not None:
        return _of_class(name, rest)
    return f"column {header!r}: a class or a configuration?" if classes == "maybe" else name
