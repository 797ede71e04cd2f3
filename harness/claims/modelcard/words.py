"""Words of a model card: which header means which metric, and what a cell's figure is.

`ALIASES`, `UNITS` and the sets of words are data: a new spelling is a new entry. Whatever
they do not hold stays unread, since a wrong guess would put words into an author's mouth.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, replace

from harness.errors import PrintedValueError
from harness.vocabulary import METRICS

ALIASES: dict[str, str] = {
    "miou": "mIoU", "m iou": "mIoU", "mean iou": "mIoU", "macro iou": "mIoU", "iou macro": "mIoU", "miou macro": "mIoU",
    "mean jaccard": "mIoU", "multiclass jaccard index": "mIoU", "mean intersection over union": "mIoU",
    "avg iou": "mIoU", "average iou": "mIoU", "iou mean": "mIoU", "iou avg": "mIoU", "iou score": "iou",
    "iou": "iou", "jaccard": "iou", "jaccard index": "iou", "intersection over union": "iou", "class iou": "iou",
    "miou micro": "mIoU_micro", "micro iou": "mIoU_micro", "iou micro": "mIoU_micro", "micro miou": "mIoU_micro",
    "boundary miou": "boundary_mIoU", "boundary iou": "boundary_mIoU", "boundary mean iou": "boundary_mIoU",
    "accuracy": "accuracy", "acc": "accuracy", "pixel acc": "accuracy", "pixel accuracy": "accuracy", "oa": "accuracy",
    "overall accuracy": "accuracy", "overall acc": "accuracy", "aacc": "accuracy",
    "class accuracy": "class_accuracy", "class acc": "class_accuracy",
    "macc": "mean_class_accuracy", "mean accuracy": "mean_class_accuracy", "mean acc": "mean_class_accuracy",
    "mean class accuracy": "mean_class_accuracy", "balanced accuracy": "mean_class_accuracy",
    "f1": "f1", "f 1": "f1", "f1 score": "f1", "f score": "f1", "dice": "f1", "dice score": "f1",
    "f1 macro": "f1_macro", "macro f1": "f1_macro", "mean f1": "f1_macro", "mf1": "f1_macro",
    "f1 score macro": "f1_macro",
    "macro f1 score": "f1_macro", "f1 micro": "f1:micro", "micro f1": "f1:micro", "f1 weighted": "f1:weighted",
    "weighted f1": "f1:weighted", "weighted f1 score": "f1:weighted", "f1 score weighted": "f1:weighted",
    "precision": "precision", "macro precision": "precision:macro", "precision macro": "precision:macro",
    "recall": "recall", "sensitivity": "recall", "macro recall": "recall:macro", "recall macro": "recall:macro",
    "prevalence": "prevalence", "class prevalence": "prevalence", "pixel share": "prevalence",
    "mae": "mae", "mean absolute error": "mae", "rmse": "rmse", "root mean squared error": "rmse", "loss": "loss",
    "chips": "chips", "chip count": "chips", "label px": "label_px", "label pixels": "label_px",
    "predicted px": "predicted_px", "predicted pixels": "predicted_px",
    "lora params": "lora_parameters", "lora parameters": "lora_parameters", "trainable params": "trainable_parameters",
    "trainable parameters": "trainable_parameters", "decoder params": "decoder_parameters",
    "decoder parameters": "decoder_parameters", "base params": "base_parameters", "base parameters": "base_parameters",
    "params": "x-parameters", "parameters": "x-parameters", "total params": "x-parameters",
    "total parameters": "x-parameters",
    "lora size": "lora_size", "decoder size": "decoder_size", "adapter size": "adapter_size", "base size": "base_size",
    "size": "x-size", "model size": "x-size", "file size": "x-size", "checkpoint size": "x-size", "disk size": "x-size",
    "wall clock": "training_time", "wall clock time": "training_time", "training time": "training_time",
    "train time": "training_time", "training wall clock": "training_time", "training memory": "training_memory",
    "peak training memory": "training_memory", "vram": "x-memory", "memory": "x-memory", "peak memory": "x-memory",
    "latency": "latency", "inference time": "latency", "inference latency": "latency", "time per call": "latency",
    "energy": "energy", "energy per call": "energy", "power": "power",
}  # fmt: skip
"""Words of a header, lower case, to `metric` or `metric:averaging`."""

UNITS: dict[str, tuple[str, str]] = {
    "%": ("%", "share"), "percent": ("%", "share"), "fraction": ("fraction", "share"),
    **dict.fromkeys(("pp", "p.p.", "pts", "points", "percentage points", "%-points", "ppt"), ("points", "points")),
    **dict.fromkeys(("s", "sec", "secs", "seconds"), ("s", "time")), "ms": ("ms", "time"),
    **dict.fromkeys(("min", "mins", "minutes"), ("min", "time")),
    **dict.fromkeys(("h", "hr", "hrs", "hours"), ("h", "time")),
    **{unit: (unit, "size") for unit in ("kB", "KB", "MB", "GB", "TB", "KiB", "MiB", "GiB", "bytes")},
    **{unit: (unit, "energy") for unit in ("J", "mJ", "kJ", "Wh", "kWh")}, "W": ("W", "power"), "mW": ("mW", "power"),
    **{unit: (unit, "length") for unit in ("m", "cm", "mm", "km")},
    "K": ("thousand", "count"), "k": ("thousand", "count"), "M": ("million", "count"), "million": ("million", "count"),
    "B": ("billion", "count"), "billion": ("billion", "count"),
}  # fmt: skip
"""Unit as printed, to the registry's word for it and the kind of thing it measures."""

KINDS = {"fraction": "share", "%": "share", "1": "count", "MB": "size", "GB": "size", "s": "time", "min": "time",
         "J": "energy", "W": "power", "m": "length", "points": "points"}  # fmt: skip
X_KINDS = {"x-size": "size", "x-memory": "size", "x-parameters": "count"}
CLASSWISE = frozenset({"iou", "f1", "precision", "recall", "class_accuracy", "prevalence"})
MISSING = frozenset({"", "-", "--", "—", "–", "−", "n/a", "na", "n.a.", "none", "null", "tbd", "todo", "pending"})
SPLITS = {"test": "test", "testing": "test", "val": "val", "valid": "val", "validation": "val", "dev": "dev",
          "train": "train", "training": "train"}  # fmt: skip
DELTAS = frozenset({"δ", "delta", "gain", "improvement", "diff", "difference"})
AGAINST = frozenset({"vs", "vs.", "versus", "over", "against"})
NOT_THE_VALUE = frozenset(
    {"std", "sd", "stdev", "stddev", "ci", "variance", "rank", "threshold", "weight", "weights", "epoch", "drop",
     "relative", "mse", "target"}
)  # fmt: skip
CONNECTIVES = frozenset(
    {"with", "without", "w", "o", "by", "at", "per", "after", "before", "from", "in", "on", "mean", "average", "avg",
     "overall", "total", "all", "macro", "micro", "weighted", "value", "change"}
)  # fmt: skip
"""Words beside a metric that name neither a class nor an arm: what is meant is not read."""
CONFIGURATIONS = frozenset(
    {"lora", "full", "fine", "tune", "tuned", "tuning", "finetune", "finetuned", "ft", "fft", "baseline", "ours", "v1",
     "v2", "v3", "frozen", "scratch", "best", "zero", "few", "shot", "pretrained", "model", "final", "ema", "tta",
     "s1", "s2", "sar", "optical", "rgb", "unet"}
)  # fmt: skip

LONGEST = 60
"""Characters of the longest cell that can be one figure."""

_WORD = re.compile(r"[^\s_\-/:,–—]+")
_SPLIT_WORDS = "|".join(sorted(SPLITS, key=len, reverse=True))
_SPLIT = re.compile(rf"(?i)(?<![A-Za-z0-9-])({_SPLIT_WORDS})(?:[ _-]?(?:set|split))?(?![A-Za-z0-9]|[- ]time|-free)")
_NUMBER = r"(?:(?:[1-9]\d{0,2}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+)(?:[eE][+\-−]?\d{1,2})?(?![\d.,])"
_MARK = r"(?P<mark>~|≈|<=|>=|<|>|≤|≥|about |approx\.? |ca\. )?\s*"
_RANGE = re.compile(rf"^{_MARK}(?P<a>{_NUMBER})\s*(?:-|–|\.\.)\s*(?P<b>{_NUMBER})\s*(?P<unit>\D*)$")
_SINGLE = re.compile(
    rf"^{_MARK}(?P<sign>[+\-−–])?\s*(?P<a>{_NUMBER})\s*(?P<unit>[^\d±]*?)\s*(?:\(?(?:±|\+/-)\s*(?P<pm>[\d.]+)\)?\s*(?P<unit2>[^\d±]*))?$"
)
_MARKS = "*†‡§¶✅✓✔🏆🥇🥈🥉⭐★\ufe0f \t"
_CITATION = re.compile(r"\s+\[\d{1,3}\]$|\[\^[^\]]*\]")
_RAISED = re.compile(r"(?:\^\{[^}]*\}|[¹²³⁰⁴⁵⁶⁷⁸⁹]+)$")


@dataclass(frozen=True, slots=True)
class Name:
    """What a header, a row label or a model-index entry says that is measured."""

    metric: str
    """A name from the metrics vocabulary, or one that starts with `x-`."""
    averaging: str | None = None
    """As `Quantity.averaging`."""
    class_index: int | None = None
    """Index of the class where one is printed."""
    class_name: str | None = None
    """Class as printed."""
    split: str | None = None
    """`test`, `val`, ... where it is said."""
    unit: str = ""
    """The registry's word for the unit that the header gives; empty where it gives none."""
    variant: str = ""
    """What else the header says: the arm that a column is about."""
    conditions: tuple[tuple[str, str], ...] = ()
    """Of a difference: `of` which metric, `against` what."""

    @property
    def kind(self) -> str:
        """What it measures: `share`, `points`, `count`, `size`, `time`, ...; empty where unknown."""
        known = METRICS.get(self.metric)
        return KINDS.get(known.unit, "") if known else X_KINDS.get(self.metric, "")

    @property
    def scored(self) -> bool:
        """Whether it is measured on a set of chips, so that a split belongs to it."""
        return self.kind in ("share", "points", "length") or self.metric == "loss"


@dataclass(frozen=True, slots=True)
class Cell:
    """A figure as printed, its unit apart."""

    value: str
    """The figure; footnote marks and unit removed, decimals as they stand."""
    unit: str = ""
    """The registry's word for the printed unit; empty where none is printed."""
    caveat: str = ""
    """`± 0.02` where the author prints a spread beside it."""


def slug(text: str) -> str:
    """Lower-case letters, digits, `_`, `.` and `-` only, at most 48 characters; may be empty."""
    ascii_only = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9_.]+", "-", ascii_only.lower())[:48].strip("-._")


def without_marks(text: str) -> str:
    """A label or header without footnote marks, raised signs and arrows."""
    clean = re.sub(r"\^\{[^}]*\}|[↑↓⬆⬇¹²³]\ufe0f?", "", text).strip()
    return _CITATION.sub("", clean.rstrip(_MARKS)).rstrip(_MARKS)


def take_split(text: str) -> tuple[str | None, str]:
    """The split that a text names and the text without it; none where two are named."""
    found = {SPLITS[m[1].lower()] for m in _SPLIT.finditer(text)}
    if len(found) != 1:
        return None, text
    rest = re.sub(r"\(\s*\)|\[\s*\]", "", _SPLIT.sub("", text))
    return found.pop(), rest.strip(" _/:,-")


def read_class(text: str) -> tuple[int | None, str | None]:
    """Index and name of a class: `0 — Impervious / urban`, `Class 1`, `water (2)`, `water`."""
    clean = re.sub(r"(?i)^class(?:[ _:]+|(?=\d))", "", without_marks(text)).strip()
    if m := re.match(
        r"^\(?(\d{1,3})(?:\)|\s*[—–:.=|)](?!\d)|\s+-|(?=\s+(?!k?m\b|cm\b|px\b|%|years?\b))|$)\s*(.*)$", clean
    ):
        return int(m[1]), m[2].strip() or None
    if m := re.match(r"^(.+?)\s*[(\[](?:class\s*)?(\d{1,3})[)\]]$", clean):
        return int(m[2]), m[1]
    return None, clean or None


def is_difference(text: str) -> bool:
    """Whether a label means a difference between two figures."""
    words = _WORD.findall(text.lower().replace("δ", " δ ").replace("∆", " δ "))
    return any(w in DELTAS for w in words) or bool(words and words[0] in AGAINST)


def read_name(text: str, *, exact: bool = False) -> Name | None:
    """What a header or label measures.

    Args:
        text: Header as plain text, e.g. `Test mIoU (%)`, `IoU_1`, `Δ mIoU`, `Latency [ms]`.
        exact: Allow no word beyond metric, split and unit.

    Returns:
        The name, or None where the words are not known as a metric.
    """
    bare, unit, split = without_marks(text).strip("#: "), "", None
    for note in re.findall(r"[(\[]([^)\]]*)[)\]]", bare):
        if note.strip() in UNITS:
            unit, said = UNITS[note.strip()][0], ""
        else:
            split = split or SPLITS.get(note.strip().lower())
            dropped = note.strip().lower() in SPLITS or re.match(r"(?i)\s*(n\s*=|higher|lower|$)", note)
            said = "" if dropped else f" {note.strip()}"
        for bracketed in (f"({note})", f"[{note}]"):
            bare = bare.replace(bracketed, said).replace("  ", " ")
    if not unit and (m := re.match(r"^(.+?)[\s,]+(\S+)$", bare)) and m[2] in UNITS and _key(m[1]) in ALIASES:
        bare, unit = m[1], UNITS[m[2]][0]
    if is_difference(bare):
        name = _difference(bare)
    else:
        inner, rest = (None, bare) if _key(bare) in ALIASES else take_split(bare)
        split, name = split or inner, _named(rest, exact)
    return None if name is None else replace(name, unit=unit or name.unit, split=split or name.split)


def _key(text: str) -> str:
    return " ".join(word.rstrip(".") for word in _WORD.findall(text.lower()))


def _difference(text: str) -> Name | None:
    words = [w for w in _WORD.findall(text.replace("Δ", " ").replace("∆", " ")) if w.lower() not in {*DELTAS, "stated"}]
    cut = next((i for i, w in enumerate(words) if w.lower() in AGAINST), len(words))
    conditions = [("against", slug(" ".join(words[cut + 1 :])))] if words[cut + 1 :] else []
    if not words[:cut] or words[:cut] in (["pp"], ["points"]):
        return Name("delta_points", unit="points" if words[:cut] else "", conditions=tuple(conditions))
    of = read_name(" ".join(words[:cut]))
    if of is None or of.kind != "share":
        return None
    return replace(of, metric="delta_points", conditions=(("of", of.metric), *conditions))


def _named(text: str, exact: bool) -> Name | None:
    words = list(_WORD.finditer(text))
    keys = [w[0].lower().rstrip(".") for w in words]
    for size in range(len(words), 0, -1):
        for first in dict.fromkeys((0, len(words) - size)):
            found = ALIASES.get(" ".join(keys[first : first + size]))
            if found is None:
                continue
            metric, _, averaging = found.partition(":")
            name = Name(metric, averaging or None)
            if size == len(words):
                return name
            rest = words[size:] if first == 0 else words[:first]
            others = set(keys[size:] if first == 0 else keys[:first])
            if exact or len(rest) > 4 or others & (NOT_THE_VALUE | AGAINST | CONNECTIVES | set(ALIASES)):
                return None
            return _with_rest(name, text[rest[0].start() : rest[-1].end()], rest)
    return None


def _with_rest(name: Name, said: str, words: list[re.Match[str]]) -> Name | None:
    """A metric whose header says more: a class, or an arm."""
    index, label = read_class(re.sub(r"(?i)^(?:of|for) ", "", said))
    if name.metric == "accuracy" and index is not None:
        name = replace(name, metric="class_accuracy")
    arm = all(w[0].lower() in CONFIGURATIONS for w in words)
    if name.metric in CLASSWISE and not name.averaging and not arm:
        return replace(name, class_index=index, class_name=label)
    if name.metric.startswith("x-"):
        return None
    return replace(name, variant=said)


def macro_f1(names: list[Name | None]) -> list[Name | None]:
    """Plain F1 named beside mIoU or the IoUs of several classes is the mean over classes."""
    classes = {(n.class_index, n.class_name) for n in names if n and n.metric == "iou"} - {(None, None)}
    if len(classes) < 2 and not any(n and n.metric == "mIoU" for n in names):
        return names
    return [
        replace(n, metric="f1_macro") if n and n == Name("f1", split=n.split, unit=n.unit, variant=n.variant) else n
        for n in names
    ]


def kind_of(unit: str) -> str:
    """What a registry unit measures: `share`, `time`, ...; empty where unknown."""
    return next((kind for word, kind in UNITS.values() if word == unit), "")


def looks_numeric(text: str) -> bool:
    """Whether a cell opens with a figure, so that leaving it unread has to be said."""
    return re.match(r"^[~≈<>≤≥=±+\-−–$\s]*\.?\d", text) is not None


def holds_figure(text: str) -> bool:
    """Whether a cell is one figure, and not words that open with one such as `5-class map`."""
    try:
        return read_cell(text) is not None
    except PrintedValueError:
        return False


def read_cell(text: str) -> Cell | None:
    """The figure of a cell.

    Args:
        text: Cell as plain text; raised parts as `^{...}`.

    Returns:
        Figure and unit; None where the cell says that there is none.

    Raises:
        PrintedValueError: The cell holds something else than one figure; says what.
    """
    clean = re.sub(r"\s*\[\^?\w{1,12}\]$", "", text.replace("$", "").replace("\\pm", "±").replace("\xa0", " ").strip())
    clean = clean.rstrip(_MARKS)
    if clean.lower() in MISSING:
        return None
    if raised := _RAISED.search(clean):
        rest = clean[: raised.start()]
        if re.search(r"\d$", rest) and not re.search(r"\.\d+$", rest):
            raise PrintedValueError("raised figure after an integer: a power or a footnote")
        clean = rest if re.search(r"[\d%]$", rest) else clean
    m = _RANGE.match(clean) or _SINGLE.match(clean)
    if m is None or len(clean) > LONGEST:
        raise PrintedValueError("not one figure" if re.search(r"\d", clean) else "no figure in it")
    parts = m.groupdict()
    printed = parts["a"] if not parts["a"].startswith(".") else f"0{parts['a']}"
    if re.search(r"[eE]\+?\d*[1-9]", printed):
        raise PrintedValueError("positive exponent: how far it is rounded is not clear")
    unit = (parts["unit"] or parts.get("unit2") or "").strip()
    if unit and unit not in UNITS:
        raise PrintedValueError(f"unit {unit!r} is not known")
    mark = (parts["mark"] or "").strip()
    mark = "~" if mark.isascii() and mark[:1].isalpha() else mark
    sign = (parts.get("sign") or "").replace("–", "-")
    value = f"{mark}{printed}-{parts['b']}" if parts.get("b") else f"{mark}{sign}{printed}"
    spread = f"± {parts['pm']}" if parts.get("pm") else ""
    return Cell(value.replace("e−", "e-"), UNITS[unit][0] if unit else "", spread)
