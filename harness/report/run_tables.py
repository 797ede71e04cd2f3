"""Tables of a run's report: scores, baselines, shares, thresholds, load audit."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.claims.families import Family
from harness.claims.schemes import Scheme
from harness.errors import RegistryError, ReportError
from harness.records import AdapterRun, ChipScore, LoadAudit
from harness.report import panels
from harness.report.words import num, pct
from harness.score import metrics
from harness.score.baselines import by_chance, majority
from harness.score.binary import BinaryMatrix
from harness.score.confusion import ConfusionMatrix
from harness.score.metrics import Value
from harness.score.sweep import SweepPoint, pooled

GRID = tuple(n / 20 for n in range(1, 20))
"""Thresholds where no sweep is on record: 0.05 to 0.95."""

ROWS = 21
"""Thresholds that a table shows at most; the figure shows all."""

CURVES = (("-", "#0b5d8a"), ("--", "#c2571a"), (":", "#3f7d4a"), ("-.", "#6b6b6b"), ("-o", "#7a5195"))
"""Style and colour of IoU, precision, recall, marked share, marked share without label."""


def escaped(text: object) -> str:
    """Text as markdown shows it literally, in one line: ids and notes come from users."""
    line = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in str(text).replace("\n", " "))
    line = re.sub(r"([\\`*\[\]<>|&~$#])", r"\\\1", line)
    return re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\_", line)


def fenced(text: str) -> str:
    """A code block that the text cannot close."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}\n{text}\n{fence}"


def stem(chip: str) -> str:
    """Part of a file name for an id: letters, digits, `.`, `-` and `_` stay, the rest becomes `~` and code.

    Different ids give different names, and none leaves the folder that it stands in.
    """
    safe = re.sub(r"[^A-Za-z0-9._-]", lambda m: "".join(f"~{byte:02x}" for byte in m[0].encode()), chip)
    return re.sub(r"^\.", "~2e", safe)


@dataclass(frozen=True)
class Table:
    """A markdown table; its cells are escaped already."""

    head: Sequence[str]
    """Headings."""
    align: str
    """One of `l`, `r` a column."""
    rows: list[Sequence[str]]
    """Cells."""

    def text(self) -> str:
        """Markdown.

        Raises:
            ReportError: A row has another length.
        """
        if any(len(row) != len(self.head) for row in [self.align, *self.rows]):
            raise ReportError(f"a table of {len(self.head)} columns has a row of another length: {self.head}")
        rule = [{"l": "---", "r": "--:"}[a] for a in self.align]
        return "\n".join("| " + " | ".join(cells) + " |" for cells in (self.head, rule, *self.rows))


@dataclass
class Page:
    """One adapter's part of the report."""

    run: AdapterRun
    """As recorded."""
    title: str
    """From the family."""
    key: panels.Key
    """Class names and colours."""
    matrix: ConfusionMatrix | None
    """Summed over scored chips; None where none is scored."""
    sweep: tuple[SweepPoint, ...]
    """Summed over the chips that have one; empty where none has."""
    marked: Counter[float] = field(default_factory=Counter)
    """Pixels above each threshold on chips without sweep; two classes only."""
    marked_of: int = 0
    """Pixels of those chips."""

    @property
    def id(self) -> str:
        """Adapter id, escaped."""
        return escaped(self.run.adapter)

    @property
    def scored(self) -> list[ChipScore]:
        """Chips with a confusion matrix."""
        return [c for c in self.run.chips if c.scored]

    @property
    def n(self) -> str:
        """`n = 2 of 3`."""
        return f"n = {len(self.scored)} of {len(self.run.chips)}"

    @property
    def grid(self) -> list[float]:
        """Thresholds."""
        stated = next((sorted(map(float, c.predicted_above)) for c in self.run.chips if c.predicted_above), [])
        return [p.threshold for p in self.sweep] or stated or list(GRID)


def _matrix(chip: ChipScore, each: AdapterRun, path: Path) -> ConfusionMatrix:
    try:
        matrix = ConfusionMatrix(tuple(map(tuple, chip.confusion or [])), chip.ignored_px)
    except ValueError as err:
        raise ReportError(f"{path}: {each.adapter}: {chip.chip}: confusion: {err}") from err
    if matrix.classes != each.load.classes:
        raise ReportError(
            f"{path}: {each.adapter}: {chip.chip}: confusion of {matrix.classes} classes; the head has "
            f"{each.load.classes}"
        )
    return matrix


def read_page(each: AdapterRun, family: Family, schemes: dict[str, Scheme], path: Path) -> Page:
    """Sum an adapter's record over its chips.

    Args:
        each: As recorded.
        family: Has the adapter's title.
        schemes: By id.
        path: Of run.json, for messages.

    Raises:
        ReportError: No such adapter or scheme, or counts that are no matrix of its classes.
    """
    if each.scheme is not None and each.scheme not in schemes:
        raise ReportError(f"{path}: {each.adapter}: scheme {each.scheme!r}; there are {', '.join(sorted(schemes))}")
    try:
        names = panels.key(each.load.classes, None if each.scheme is None else schemes[each.scheme])
        title = family.adapter(each.adapter).title
    except RegistryError as err:
        raise ReportError(f"{path}: {each.adapter}: {err}") from err
    total: ConfusionMatrix | None = None
    for chip in each.chips:
        if chip.scored:
            matrix = _matrix(chip, each, path)
            total = matrix if total is None else total + matrix
    sweeps = [
        tuple(SweepPoint(r.threshold, BinaryMatrix(r.tp, r.fp, r.fn, r.tn)) for r in c.sweep)
        for c in each.chips
        if c.sweep
    ]
    try:
        return Page(each, title, names, total, pooled(sweeps) if sweeps else ())
    except ValueError as err:
        raise ReportError(f"{path}: {each.adapter}: sweep: {err}") from err


def _value(value: Value) -> str:
    return num(value.value)


def _mean(value: Value, classes: int) -> str:
    return "undefined" if value.value is None else f"{num(value.value)} ({value.classes} of {classes})"


def class_table(page: Page, matrix: ConfusionMatrix) -> Table:
    """Scores by class beside the baselines."""
    flat, chance = majority(matrix), by_chance(matrix)
    rows: list[Sequence[str]] = []
    for i, name in enumerate(page.key.names):
        values = [metrics.iou(matrix, i), metrics.precision(matrix, i), metrics.recall(matrix, i)]
        share = pct(metrics.prevalence(matrix, i).value, 1)
        rows.append([escaped(name), *map(_value, values), share, *(_value(metrics.iou(m, i)) for m in (flat, chance))])
    return Table(
        ["class", "IoU", "precision", "recall", "prevalence", "IoU, one class", "IoU, by chance"], "lrrrrrr", rows
    )


def undefined(page: Page, matrix: ConfusionMatrix) -> list[str]:
    """What is undefined in the class table, and why."""
    out = []
    for i, name in enumerate(page.key.names):
        found: dict[str, list[str]] = {}
        for word, metric in (("IoU", metrics.iou), ("precision", metrics.precision), ("recall", metrics.recall)):
            if reason := metric(matrix, i).reason:
                found.setdefault(reason, []).append(word)
        out += [f"{escaped(name)}: {', '.join(words)}: {escaped(reason)}" for reason, words in found.items()]
    return out


def map_table(page: Page, matrix: ConfusionMatrix) -> Table:
    """Scores of the whole map beside the baselines."""
    flat = majority(matrix)
    best = next((i for i in range(matrix.classes) if flat.counts[i][i]), 0)
    rows = [
        [escaped(what), _mean(metrics.miou(m), m.classes), _value(metrics.accuracy(m))]
        for what, m in (
            (f"this run, {page.n} chips", matrix),
            (f"one class everywhere: {page.key.names[best]}", flat),
            ("by chance, at the labels' shares", by_chance(matrix)),
        )
    ]
    return Table(["map", "mIoU, macro (classes entered)", "accuracy"], "lrr", list(rows))


def chip_table(page: Page, path: Path) -> Table:
    """Scores of each chip alone."""
    rows: list[Sequence[str]] = []
    for chip in page.scored:
        m = _matrix(chip, page.run, path)
        mean, right = metrics.miou(m), metrics.accuracy(m)
        reason = f": {mean.reason}" if mean.reason else ""
        cells = [_mean(mean, m.classes) + reason, _value(right), f"{m.total:,}", f"{m.ignored:,}"]
        rows.append([escaped(chip.chip), *cells])
    return Table(["chip", "mIoU, macro (classes entered)", "accuracy", "labelled px", "left out px"], "lrrrr", rows)


def share_table(page: Page) -> Table:
    """Predicted share of each class, scored or not."""
    rows: list[Sequence[str]] = []
    for chip in page.run.chips:
        whole = sum(chip.predicted_px)
        cells = [pct(px / whole, 1) for px in chip.predicted_px] if whole else ["not run"] * page.run.load.classes
        rows.append([escaped(chip.chip), "yes" if chip.scored else "no", *cells])
    return Table(["chip", "scored", *map(escaped, page.key.names)], "ll" + "r" * len(page.key.names), rows)


def sweep_table(page: Page) -> Table:
    """Scores of class 1 by threshold where a label is, marked share elsewhere; every n-th row of many."""
    head, columns = ["threshold"], [[f"{t:g}" for t in page.grid]]
    if page.sweep:
        m = [p.matrix for p in page.sweep]
        head += ["IoU", "precision", "recall", "marked"]
        columns += [[num(x.iou1) for x in m], [num(x.precision) for x in m], [num(x.tpr) for x in m]]
        columns.append([pct(x.predicted_share, 1) for x in m])
    if page.marked_of:
        head.append("marked, chips without score")
        columns.append([pct(page.marked[t] / page.marked_of, 1) for t in page.grid])
    every = -(-len(page.grid) // ROWS)
    kept = [i for i, t in enumerate(page.grid) if i % every == 0 or t == 0.5]
    return Table(head, "r" * len(head), [[column[i] for column in columns] for i in kept])


def curves(page: Page) -> list[panels.Curve]:
    """The sweep table as lines."""
    found: list[tuple[str, list[float | None]]] = []
    if page.sweep:
        m = [p.matrix for p in page.sweep]
        found += [("IoU", [x.iou1 for x in m]), ("precision", [x.precision for x in m])]
        found += [("recall", [x.tpr for x in m]), ("marked share", [x.predicted_share for x in m])]
    if page.marked_of:
        found.append(("marked share, chips without score", [page.marked[t] / page.marked_of for t in page.grid]))
    looks = (CURVES if page.sweep else CURVES[-1:])[: len(found)]
    return [panels.Curve(n, v, colour, style) for (n, v), (style, colour) in zip(found, looks, strict=True)]


def load_table(load: LoadAudit) -> Table:
    """The load audit."""
    norm = load.batch_norm
    rows: list[Sequence[str]] = [["base tensors loaded", f"{load.base_loaded:,} of {load.base_expected:,} expected"]]
    rows += [["base tensors unused", f"{n:,}: {escaped(why)}"] for why, n in sorted(load.base_unused.items())]
    rows.append(["encoder tensors not run", f"{load.not_run:,}, held by no file and read by no forward"])
    pairs = f"{load.lora_applied} of {load.lora_expected} applied, rank {load.lora_r}"
    rows.append(["LoRA pairs", pairs])
    for place in load.places:
        size, still = "no norm", sum(b == 0 for b in place.b_norms)
        if place.b_norms:
            size = f"norms of lora\\_B {min(place.b_norms):.3g} to {max(place.b_norms):.3g}"
        size += f", {still} of them 0: never left the start" if still else ""
        says = f"{place.pairs} of {place.expected}; {size}; runs: {'yes' if place.runs else 'no'}"
        rows.append([f"LoRA at {escaped(place.place)}", says])
    rows.append(["lora\\_alpha", f"{load.lora_alpha:g}: {escaped(load.lora_alpha_verdict)}"])
    rows.append(["decoder tensors loaded", f"{load.decoder_loaded:,} of {load.decoder_expected:,} expected"])
    says = f"{norm.layers} layers, {norm.in_file} in the file, {norm.moved} moved from mean 0, variance 1"
    rows.append(["batch norm", f"{says}; statistics used: {norm.policy}"])
    counts = (load.encoder_parameters, load.lora_parameters, load.decoder_parameters)
    for what, count in zip(("encoder without LoRA", "LoRA", "decoder, neck, head"), counts, strict=True):
        rows.append([f"parameters: {what}", f"{count:,}"])
    rows += [["blocks", str(load.blocks)], ["classes", str(load.classes)]]
    rows.append(["bytes on disk, all files", f"{sum(f.size_bytes for f in load.files):,}"])
    return Table(["what", "found"], "ll", rows)


def structure_table(run: AdapterRun) -> Table:
    """Stated counts and sizes beside what was loaded; whether they fit only where the files are the author's."""
    rows: list[Sequence[str]] = []
    for row in run.structure:
        cells = [escaped(row.claim), escaped(row.printed), f"{row.counted:,.10g}", escaped(row.meaning)]
        rows.append(cells if run.load.random_weights else [*cells, "yes" if row.fits else "**no**"])
    head = ["stated in", "stated", "found here", "what was counted"]
    return Table(head, "lrrl", rows) if run.load.random_weights else Table([*head, "fits"], "lrrll", rows)


def file_table(load: LoadAudit) -> Table:
    """Files read."""
    rows: list[Sequence[str]] = [
        [f.role, escaped(f.name), f.sha256[:12], f"{f.size_bytes:,}", f"{f.tensors:,}", "yes" if f.pinned else "no"]
        for f in load.files
    ]
    return Table(["role", "file", "sha256", "bytes", "tensors", "pinned"], "lllrrl", rows)
