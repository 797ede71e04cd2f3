"""Numbers of a run's report and of a bridge's page made again from the record alone, with plain arithmetic.

Nothing of the harness counts here but the names of modules whose constants are printed: a wrong value or a wrong
format in a report cannot repeat itself.
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import permutations
from typing import Any

from harness.report.trace import NUMBER, Printed

Matrix = list[list[float]]
Found = list[object]
"""What a number may be: numbers, which are rounded as printed, and texts, which must hold it."""


def fits(text: str, values: Sequence[object]) -> bool:
    """Whether a printed number is one of the values, rounded to its own decimals, or stands in one of the texts."""
    bare = text.replace(",", "").replace("−", "-").removeprefix("+")
    places = len(bare.partition(".")[2])
    for value in values:
        if isinstance(value, str):
            if text in NUMBER.findall(value):
                return True
        elif isinstance(value, int | float):
            whole = places == 0 and abs(value - round(value)) > 1e-9
            if not whole and f"{value:.{places}f}" in (bare, f"-{bare}" if not float(bare) else bare):
                return True
    return False


def added(matrices: Sequence[Matrix]) -> Matrix:
    k = len(matrices[0])
    return [[sum(m[i][j] for m in matrices) for j in range(k)] for i in range(k)]


def ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


class Of:
    """Scores of one matrix, rows label, columns prediction."""

    def __init__(self, m: Matrix) -> None:
        self.m, self.k = m, len(m)
        self.total = sum(map(sum, m))

    def label(self, i: int) -> float:
        """Label pixels of a class."""
        return sum(self.m[i])

    def marked(self, i: int) -> float:
        """Predicted pixels of a class."""
        return sum(row[i] for row in self.m)

    def iou(self, i: int) -> float | None:
        """IoU of a class."""
        return ratio(self.m[i][i], self.label(i) + self.marked(i) - self.m[i][i])

    def recall(self, i: int) -> float | None:
        """Recall of a class."""
        return ratio(self.m[i][i], self.label(i))

    def precision(self, i: int) -> float | None:
        """Precision of a class."""
        return ratio(self.m[i][i], self.marked(i))

    def share(self, i: int) -> float | None:
        """Share of a class in the label."""
        return ratio(self.label(i), self.total)

    def fpr(self) -> float | None:
        """False-positive rate of class 1."""
        return ratio(self.m[0][1], self.label(0))

    def accuracy(self) -> float | None:
        """Share of right pixels."""
        return ratio(sum(self.m[i][i] for i in range(self.k)), self.total)

    def entered(self) -> list[float]:
        """IoUs of the classes that label or map hold."""
        return [v for v in map(self.iou, range(self.k)) if v is not None]

    def mean(self) -> float | None:
        """Mean over them."""
        return ratio(sum(self.entered()), len(self.entered()))

    def constant(self, i: int) -> Of:
        """The map of one class against the same label."""
        return Of([[self.label(r) if c == i else 0 for c in range(self.k)] for r in range(self.k)])

    def chance(self) -> Of:
        """The map drawn at the label's shares, counts times all pixels."""
        return Of([[self.label(r) * self.label(c) for c in range(self.k)] for r in range(self.k)])

    def majority(self) -> Of:
        """The map of the most frequent label."""
        return self.constant(max(range(self.k), key=lambda i: (self.label(i), -i)))


def leaves(of: Any) -> Iterator[object]:
    """Every number and text below, and the length of every list."""
    if isinstance(of, dict):
        for key, value in of.items():
            yield str(key)
            yield from leaves(value)
    elif isinstance(of, list):
        yield len(of)
        for value in of:
            yield from leaves(value)
    elif of is not None:
        yield of


class Run:
    """One run.json, with the published figures that a report sets beside it."""

    def __init__(self, record: dict[str, Any], claims: dict[str, str], card: Matrix) -> None:
        self.record, self.claims, self.card = record, claims, card

    def adapter(self, n: Printed) -> dict[str, Any]:
        """The one that an origin or the line names."""
        refs = " ".join([*(o.ref for o in n.origins), n.under, n.said])
        named: list[dict[str, Any]] = [a for a in self.record["adapters"] if a["adapter"] in refs.replace("\\", "")]
        assert len(named) == 1, (n, [a["adapter"] for a in named])
        return named[0]

    def chips(self, n: Printed) -> list[dict[str, Any]]:
        """Its scored chips."""
        return [c for c in self.adapter(n)["chips"] if c["scored"]]

    def of(self, n: Printed) -> Of:
        """Its pooled matrix."""
        return Of(added([c["confusion"] for c in self.chips(n)]))

    def at(self, n: Printed, threshold: float) -> Of:
        """The sweep at a threshold."""
        rows = [r for c in self.chips(n) for r in c["sweep"] if abs(r["threshold"] - threshold) < 1e-9]
        return Of(added([[[r["tn"], r["fp"]], [r["fn"], r["tp"]]] for r in rows]))


def first(text: str) -> float:
    return float(NUMBER.findall(text)[0])


def names(n: Printed, k: int) -> Found:
    """Where a number is a class's index in a heading or a first cell."""
    return list(range(k)) if n.cell == n.row or n.cell == n.column else []


def scored(run: Run, n: Printed) -> Found:
    if re.search(r"n = \d+ scene", n.cell or n.said):
        return [len(run.chips(n))]
    found = run.adapter(n)["chips"] if "n = " not in n.said or " of " in (n.cell or n.under or n.said) else []
    return [len(run.chips(n)), len(found)]


def column(n: Printed, m: Of) -> Found:
    """A score by the heading of its column."""
    word, index = n.column.split(",")[0].split(" ")[0], next(iter(NUMBER.findall(n.column)), None)
    i = int(index) if index is not None else 1
    if n.column.startswith("mIoU"):
        return [m.mean(), len(m.entered()), m.k] if " of " in n.cell else [m.mean()]
    of_map, of_class = (
        {"accuracy": m.accuracy, "FPR": m.fpr},
        {"IoU": m.iou, "precision": m.precision, "recall": m.recall},
    )
    return [of_map[word]() if word in of_map else of_class[word](i)]


def beside(run: Run, n: Printed) -> Found:
    m = run.of(n)
    if n.cell == n.row or n.cell == n.column:
        return names(n, m.k)
    if n.column == "chips":
        return [len(run.chips(n)) if re.match(r"\*\*this run|all |by chance", n.row) else 0]
    if n.row.startswith("all "):
        m = m.constant(int(first(n.row)))
    elif n.row.startswith("by chance"):
        m = m.chance()
    return column(n, m)


def map_(run: Run, n: Printed) -> Found:
    m = run.of(n)
    if n.cell == n.row:
        own = "this run" in n.row
        return [len(run.chips(n)), len(run.adapter(n)["chips"])] if own else [m.label(0) < m.label(1)]
    return column(n, m.chance() if "chance" in n.row else m.majority() if "one class" in n.row else m)


def class_(run: Run, n: Printed) -> Found:
    m = run.of(n)
    if n.cell == n.row:
        return names(n, m.k)
    i = int(first(n.row))
    return [
        {
            "IoU": m.iou,
            "precision": m.precision,
            "recall": m.recall,
            "prevalence": lambda k: 100 * (m.share(k) or 0),
            "IoU, one class": m.majority().iou,
            "IoU, by chance": m.chance().iou,
        }[n.column](i)
    ]


def chip(run: Run, n: Printed) -> Found:
    own = next(c for c in run.chips(n) if c["chip"] == n.row)
    if n.column == "left out px":
        return [own["ignored_px"]]
    return [Of(own["confusion"]).total] if n.column == "labelled px" else column(n, Of(own["confusion"]))


def share(run: Run, n: Printed) -> Found:
    held = run.adapter(n)
    if n.cell == n.column:
        return names(n, held["load"]["classes"])
    px = next(c["predicted_px"] for c in held["chips"] if c["chip"] == n.row)
    return [100 * px[int(first(n.column))] / sum(px)]


def sweep(run: Run, n: Printed) -> Found:
    at = first(n.row)
    if n.cell == n.row:
        return [r["threshold"] for c in run.chips(n) for r in c["sweep"]]
    if n.column == "marked, chips without score":
        free = [c for c in run.adapter(n)["chips"] if not c["scored"]]
        return [100 * sum(c["predicted_above"][f"{at:g}"] for c in free) / sum(sum(c["predicted_px"]) for c in free)]
    m = run.at(n, at)
    return [100 * m.marked(1) / m.total] if n.column == "marked" else column(n, m)


def load(run: Run, n: Printed) -> Found:
    held = run.adapter(n)["load"]
    key = {
        "base tensors loaded": ("base_loaded", "base_expected"),
        "base tensors unused": ("base_unused",),
        "encoder tensors not run": ("not_run",),
        "LoRA pairs": ("lora_applied", "lora_expected", "lora_r"),
        "decoder tensors loaded": ("decoder_loaded", "decoder_expected"),
        "batch norm": ("batch_norm",),
        "parameters: encoder without LoRA": ("encoder_parameters",),
        "parameters: LoRA": ("lora_parameters",),
        "parameters: decoder, neck, head": ("decoder_parameters",),
        "blocks": ("blocks",),
        "classes": ("classes",),
    }.get(n.row)
    if n.row == "batch norm" and n.text in ("0", "1"):
        return ["moved from mean 0, variance 1"]
    if n.row.startswith("LoRA at"):
        place = next(p for p in held["places"] if p["place"] == n.row.removeprefix("LoRA at ").replace("\\", ""))
        return [place["pairs"], place["expected"], min(place["b_norms"]), max(place["b_norms"])]
    if n.row == "lora\\_alpha":
        return [held["lora_alpha"], held["lora_alpha_verdict"]]
    if n.row.startswith("bytes on disk"):
        return [sum(f["size_bytes"] for f in held["files"])]
    return [] if key is None else list(leaves([held[k] for k in key]))[1:]


def files(run: Run, n: Printed) -> Found:
    own = next(f for f in run.adapter(n)["load"]["files"] if f["role"] == n.row)
    return [own[{"bytes": "size_bytes", "tensors": "tensors", "file": "name"}[n.column]]]


def structure(run: Run, n: Printed) -> Found:
    own = next(s for s in run.adapter(n)["structure"] if s["claim"] == n.row)
    return [own[{"stated": "printed", "found here": "counted"}.get(n.column, "meaning")]]


def by_cluster(run: Run, n: Printed) -> dict[str, Of]:
    found: dict[str, list[Matrix]] = {}
    for c in run.chips(n):
        found.setdefault(c.get("cluster") or c["chip"], []).append(c["confusion"])
    return {name: Of(added(held)) for name, held in found.items()}


def headline(m: Of, what: str) -> float | None:
    return m.mean() if what == "mIoU" else m.iou(int(first(what)))


def spread(run: Run, n: Printed) -> Found:
    clusters = by_cluster(run, n)
    if n.cell == n.row:
        return [1]  # iou, class 1
    if n.column == "clusters":
        return [len(clusters)]
    if n.column != "value":
        return []  # ends of intervals are made again in tests/score; this record has a single scene
    if "| pooled |" in n.said:
        return [headline(run.of(n), n.row)]
    own = [v for v in (headline(m, n.row) for m in clusters.values()) if v is not None]
    return [sum(own) / len(own)]


def cluster(run: Run, n: Printed) -> Found:
    return [1] if n.cell == n.column else [headline(by_cluster(run, n)[n.row], n.column)]


def told(run: Run, n: Printed) -> Found:
    """As in `lulc_nyc: water: ... IoU here 0.136; best trivial map: ..., 0.474`."""
    m = run.of(n)
    out: Found = []
    figures = re.findall(r"IoU here ([\d.]+); best trivial map: (.*?), ([\d.]+)\.(?= |$)", n.said)
    for ours, best, trivial in figures:  # of one class, or of several that one reason holds for
        named = best.removesuffix(" everywhere")
        i = next((c for c in range(m.k) if run.record["classes"][c] == named), 1) if m.k > 2 else 1
        out += [m.iou(i)] * (n.text == ours)
        out += [m.constant(i).iou(i) or 0.0, max(v or 0.0 for v in (m.share(i), m.chance().iou(i)))] * (
            n.text == trivial
        )
    return out or [len(by_cluster(run, n)), importlib.import_module("harness.score.reliance").FEWEST]


def order(run: Run, n: Printed) -> Found:
    m = run.of(n)
    stored = [m.recall(i) for i in range(m.k) if m.recall(i) is not None]
    listed = re.search(r"order \\\[([\d, ]+)\\\]", n.said)
    out: Found = [100 * sum(v for v in stored if v is not None) / len(stored), *range(m.k)]
    if listed:
        to = [int(i) for i in listed[1].split(", ")]
        rows = [m.m[i][to[i]] / m.label(i) for i in range(m.k) if m.label(i)]
        out.append(100 * sum(rows) / len(rows))
    return [*out, 100 * importlib.import_module("harness.score.permuted").MARGIN]


def gate(run: Run, n: Printed) -> Found:
    named = n.row or n.said.partition("**")[2].partition("**")[0]
    own = next(g for g in run.record["gates"] if g["gate"] == named)
    return (
        [own["why"], own["least"]] if not n.row else list(leaves({k: own[k] for k in ("least", "value", "n", "why")}))
    )


def choice(run: Run, n: Printed) -> Found:
    if n.column in ("threshold", "judged on", "chosen on"):
        return [0.5, len(run.chips(n))]
    return column(n, run.at(n, first(n.row)))


def bins(run: Run, n: Printed) -> dict[str, list[int]]:
    held = [c["reliability"] for c in run.chips(n)]
    return {
        k: [sum(col) for col in zip(*(h[k] for h in held), strict=True)]
        for k in held[0]
        if isinstance(held[0][k], list)
    }


def calibrated(run: Run, n: Printed) -> dict[str, float]:
    held = bins(run, n)
    px, positive = sum(held["px"]), sum(held["positive_px"])
    gap = sum(abs(p / 1e9 - y) for p, y in zip(held["probability_nano"], held["positive_px"], strict=True))
    squared = sum(c["reliability"]["squared_error_nano"] for c in run.chips(n)) / 1e9
    part = positive / px
    return {
        "c.px": px,
        "c.ece.value": gap / px,
        "c.bins": len(held["px"]),
        "c.brier.value": squared / px,
        "c.brier_constant.value": part * (1 - part),
        "c.prevalence.value": 100 * part,
        "c.mean.value": 100 * sum(held["probability_nano"]) / 1e9 / px,
    }


def scene(run: Run, n: Printed) -> Found:
    if n.cell == n.column:
        return [0.5]
    if n.column.startswith("IoU at"):
        return [run.at(n, 0.5).iou(1)]
    if n.column in ("ECE", "Brier"):
        return [calibrated(run, n)[{"ECE": "c.ece.value", "Brier": "c.brier.value"}[n.column]]]
    return [100 * (run.of(n).share(1) or 0)] if n.column == "share in label" else []


def bin_(run: Run, n: Printed) -> Found:
    held = bins(run, n)
    size = len(held["px"])
    i = round(first(n.row) * size)
    px = held["px"][i]
    out: dict[str, Found] = {
        "probability": [i / size, (i + 1) / size],
        "px": [px],
        "mean": [held["probability_nano"][i] / 1e9 / px],
        "share in the labels": [held["positive_px"][i] / px],
    }
    return out[n.column]


def recommended(run: Run, n: Printed) -> Found:
    if n.column == "printed":
        cited = re.findall(r"\(([^ ,]+), on", n.cell)
        return [*(run.claims[c.replace("\\", "")] for c in cited), *cited]
    if n.cell == n.column:
        return [len(run.chips(n))]
    at = first(n.row)
    if n.cell == n.row:
        return [at] if f'"{n.row} for' in json.dumps(run.record["recommended"]).replace("\\", "") else []
    metric = n.said.split(" | ")[2]
    m = run.at(n, at)
    return [{"precision": m.precision, "recall": m.recall, "IoU": m.iou}[metric](1)]


def another(run: Run, n: Printed) -> Found:
    ours, card = run.of(n), Of(run.card)
    mine = ours if n.row == "this run" else card
    there = ours if "| this run, " in n.said else card
    p, tpr, fpr = there.share(1) or 0.0, mine.recall(1) or 0.0, mine.fpr() or 0.0
    moved = Of([[(1 - p) * (1 - fpr), (1 - p) * fpr], [p * (1 - tpr), p * tpr]])
    out: dict[str, Found] = {
        "TPR": [tpr],
        "FPR": [fpr],
        "at the prevalence of": [100 * p],
        "IoU": [moved.iou(1)],
        "mIoU": [moved.mean()],
    }
    return out[n.column]


def boundary(run: Run, n: Printed) -> Found:
    if n.cell == n.row:
        return names(n, run.adapter(n)["load"]["classes"])
    tolerance = int(next(iter(NUMBER.findall(n.column)), 1))
    if n.cell == n.column:
        return [b["tolerance_px"] for c in run.chips(n) for b in c["boundary"]]
    own = [
        b
        for c in run.chips(n)
        for b in c["boundary"]
        if b["class_index"] == int(first(n.row)) and b["tolerance_px"] == tolerance
    ]
    label, label_near, guess, guess_near = (
        sum(b[k] for b in own) for k in ("label_px", "label_near_px", "predicted_px", "predicted_near_px")
    )
    precision, recall = ratio(guess_near, guess), ratio(label_near, label)
    both = (precision or 0.0) + (recall or 0.0)
    return {
        "label boundary px": [label],
        "predicted boundary px": [guess],
        "F1": [2 * (precision or 0.0) * (recall or 0.0) / both if both else 0.0],
        "precision": [precision],
        "recall": [recall],
    }[n.column.split(",")[0]]


def checked(run: Run, n: Printed) -> Found:
    """`(3 of 3)`: adapters, adapters by chips, or of these the scored ones or those of two classes."""
    held = run.record["adapters"]
    pairs = [(a, c) for a in held for c in a["chips"]]
    two = [c for a, c in pairs if a["load"]["classes"] == 2]
    audits = ("LoRA", "tensor", "audits", "same chips")
    if any(word in n.said for word in audits):
        return [len(held)]
    if re.search("reason why not|Predicted pixels|predicted class|have the hash", n.said):
        return [len(pairs)]
    if "above each threshold" in n.said:
        return [len(two)]
    if re.search("Sweeps|Reliability", n.said):
        return [sum(c["scored"] for c in two)]
    return [sum(c["scored"] for _, c in pairs)] if re.search("Confusion|Boundary", n.said) else []


def path(*keys: str) -> Callable[[Run, Printed], Found]:
    return lambda run, n: list(leaves([run.record[k] for k in keys]))[1:]


def counts(run: Run, n: Printed) -> Found:
    return [len(run.record["adapters"]), len({c["chip"] for a in run.record["adapters"] for c in a["chips"]})]


def constant(module: str, name: str) -> Callable[[Run, Printed], Found]:
    def of(run: Run, n: Printed) -> Found:
        value = getattr(importlib.import_module(module), name)
        return [value, *(int(x) for x in str(value).split("-") if x.isdigit())]

    return of


def treated(run: Run, n: Printed) -> Found:
    """As in `**a** (all adapters): 1 encoder pass; DEM 25.0 % filled; ...`."""
    named = n.said.partition("**")[2].partition("**")[0]
    who = n.said.partition("(")[2].partition(")")[0]
    adapters = [a for a in run.record["adapters"] if who == "all adapters" or a["adapter"] in who.split(", ")]
    own = [c for a in adapters for c in a["chips"] if c["chip"] == named]
    if "filled" in n.said.partition(n.text)[2].partition(";")[0]:
        held = [{100 * v for v in c["filled"].values()} for c in own]
    else:
        held = [{c["dates_encoded"], *c["notes"]} for c in own]
    return list(set.intersection(*held))  # the sentence is of every one of them


def undefined(run: Run, n: Printed) -> Found:
    m = run.of(n)
    return [i for i in range(m.k) if not m.label(i)]


RECOUNTS: dict[tuple[str, str], Callable[[Run, Printed], Found]] = {
    ("run.md.j2", "title"): counts,
    ("run.md.j2", "chips"): counts,
    ("run.md.j2", "pages"): counts,
    ("run.md.j2", "family.title"): path("title"),
    ("run.md.j2", "what.0"): lambda run, n: [f"{a} of {b}" for a, b in [seen(run)]],
    ("run.md.j2", "done"): treated,
    ("run.md.j2", "p.n"): scored,
    ("run.md.j2", "p.run.recipe"): lambda run, n: [run.adapter(n)["recipe"]],
    ("run.md.j2", "p.run.load, file_table"): files,
    ("run.md.j2", "p.run.load, load_table"): load,
    ("run.md.j2", "p.run, structure_table"): structure,
    ("run.md.j2", "p, p.matrix, map_table"): map_,
    ("run.md.j2", "p, p.matrix, class_table"): class_,
    ("run.md.j2", "p, chip_table"): chip,
    ("run.md.j2", "p, share_table"): share,
    ("run.md.j2", "p, sweep_table"): sweep,
    ("run.md.j2", "p.key.names.1"): lambda run, n: [1],
    ("run.md.j2", "line"): undefined,
    ("run.md.j2", "c.text"): checked,
    ("run.md.j2", "run.created"): path("created"),
    ("run.md.j2", "run.commit"): path("commit"),
    ("run.md.j2", "value"): lambda run, n: [(run.record["conditions"] | run.record["packages"])[n.row]],
    ("beside.md.j2", "text"): told,
    ("beside.md.j2", "b.table"): beside,
    ("beside.md.j2", "reliance.RULES"): constant("harness.score.reliance", "RULES"),
    ("beside.md.j2", "reliance.FEWEST"): constant("harness.score.reliance", "FEWEST"),
    ("beside.md.j2", "reliance.HALF"): constant("harness.score.reliance", "HALF"),
    ("order.md.j2", "o.matrix"): order,
    ("order.md.j2", "o.sources"): lambda run, n: list(range(run.of(n).k)),
    ("clusters.md.j2", "spread.table"): spread,
    ("clusters.md.j2", "spread.clusters"): cluster,
    ("clusters.md.j2", "spread.show_below"): path("show_below"),
    ("gates.md.j2", "g.least"): gate,
    ("gates.md.j2", "g.measured"): gate,
    ("gates.md.j2", "g.n"): gate,
    ("gates.md.j2", "g.why"): gate,
    ("operating.md.j2", "o.of"): lambda run, n: [1],
    ("operating.md.j2", "o.n"): lambda run, n: [len(run.chips(n))],
    ("operating.md.j2", "why"): lambda run, n: [len(run.chips(n))],
    ("operating.md.j2", "o.choice_table"): choice,
    ("operating.md.j2", "o.scene_table"): scene,
    ("operating.md.j2", "o.bin_table"): bin_,
    ("operating.md.j2", "o.recommended_table"): recommended,
    ("operating.md.j2", "point.quote"): path("recommended"),
    ("operating.md.j2", "point.caveat"): path("recommended"),
    ("population.md.j2", "p.table"): another,
    ("spatial.md.j2", "line"): lambda run, n: [len(run.record["adapters"][0]["chips"])],
    ("spatial.md.j2", "s.boundary_n"): scored,
    ("spatial.md.j2", "s.boundary_table"): boundary,
    ("spatial.md.j2", "s.other"): lambda run, n: [run.claims[c] for c in re.findall(r"([\w./-]+) \(", n.said)],
    **{
        ("operating.md.j2", name): lambda run, n: [calibrated(run, n)[n.expression]]
        for name in (
            "c.px",
            "c.ece.value",
            "c.bins",
            "c.brier.value",
            "c.brier_constant.value",
            "c.prevalence.value",
            "c.mean.value",
        )
    },
}
"""How each expression of a run's report is made again, by template and expression."""


def seen(run: Run) -> tuple[int, int]:
    chips = run.record["adapters"][0]["chips"]
    return sum(c["scored"] for c in chips), len(chips)


def wrong(number: Printed, run: Run) -> str | None:
    """What is wrong with a printed number of a run; None where the record gives it."""
    key = (number.template.partition(":")[0], number.expression)
    make = RECOUNTS.get(key)
    if make is None:
        return f"nothing makes {' '.join(key)} again"
    values = make(run, number)
    return None if fits(number.text, values) else f"{number.text} at {key}: the record gives {values}"


SIGNED = ("effect, points", "interval", "alone at the start", "last at the end", "together beyond each, points")
"""Columns of a bridge in points."""


def shapley(record: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Start, end and of each factor its share, alone at the start and last at the end, over all orders of switching."""
    factors = [f["id"] for f in record["factors"]]
    value: dict[frozenset[str], float] = {}
    for corner in record["corners"]:
        m = Of(added(list(corner["matrices"].values())))
        over = record["over"] or range(m.k)
        kept = [v for v in map(m.iou, over) if v is not None]
        of = {"accuracy": m.accuracy(), "mIoU": ratio(sum(kept), len(kept)), "iou": m.iou(record["class_index"] or 0)}
        found = of[record["metric"]]
        assert found is not None
        value[frozenset(corner["switched"])] = found
    none, every = frozenset[str](), frozenset(factors)
    out: dict[str, dict[str, float]] = {"": {"start": value[none], "end": value[every]}}
    orders = list(permutations(factors))
    for f in factors:
        before = [frozenset(o[: o.index(f)]) for o in orders]
        steps = [value[b | {f}] - value[b] for b in before]
        ends = {"from_start": value[frozenset({f})] - value[none], "from_end": value[every] - value[every - {f}]}
        out[f] = {"effect": sum(steps) / len(steps), **ends}
    for f in (each["id"] for each in record["factors"] if each["kind"] == "population"):
        before = [frozenset(o[: o.index(f)]) for o in orders]
        labels = sum(_of_labels(record, b, b | {f}) for b in before) / len(before)
        out[f] |= {"labels": labels, "rates": out[f]["effect"] - labels}
    return out


def _of_labels(record: dict[str, Any], here: frozenset[str], there: frozenset[str]) -> float:
    """What the other label shares do to the IoU of one class or to accuracy, at the rates of either set in turn."""
    held = {frozenset(c["switched"]): Of(added(list(c["matrices"].values()))).m for c in record["corners"]}
    one, other = held[here], held[there]

    def value(rates: list[list[float]], labels: list[list[float]]) -> float:
        whole = sum(map(sum, labels))
        cells = [[sum(labels[i]) / whole * cell / sum(row) for cell in row] for i, row in enumerate(rates)]
        if record["metric"] == "accuracy":
            return sum(cells[i][i] for i in range(len(cells)))
        c = int(record["class_index"])
        return cells[c][c] / (sum(cells[c]) + sum(row[c] for row in cells) - cells[c][c])

    return sum(value(rates, other) - value(rates, one) for rates in (one, other)) / 2


def part_of(row: str) -> str:
    """Which part of other scenes a row is about."""
    return "labels" if "label shares" in row else "rates"


def wrong_of_bridge(number: Printed, record: dict[str, Any]) -> str | None:
    """What is wrong with a printed number of a bridge's page; None where bridge.json gives it."""
    made, result = shapley(record), record["result"]
    factor = next((f for f in made if f and number.row.startswith(f"{f} (")), "")
    share: dict[str, Any] = next((s for s in result["shares"] if s["factor"] == factor), {})
    values: Found = []
    for chain in number.expression.split(", "):
        root, _, rest = chain.partition(".")
        if root == "r" and rest in made[""]:
            values.append(made[""][rest])
        elif root == "r" and rest == "unexplained":
            values.append(made[""]["start"] - record["published"]["value"])
        elif root == "s" and rest in made[factor]:
            values.append(made[factor][rest])
        elif root == "p" and rest == "effect":
            values.append(next(made[f][part] for f in made if (part := part_of(number.row)) in made[f]))
        elif chain in ("scored", "b.chips"):
            values.append(sum(c["scored"] for c in record["chips"]) if chain == "scored" else len(record["chips"]))
        elif root in ("c", "verdict"):
            near = [c["chip"] for c in record["chips"]] + [c["cluster"] for c in record["chips"]]
            own = [c for c in near if c.replace("|", "\\|") == number.cell]
            values += {"c.text": ["to 1e-9"], "verdict": [100 * result["floor"]]}.get(chain, own)
            values += ["to 1 9"] if chain == "c.text" else []
        else:
            parts = [p for s in result["shares"] for p in s["parts"]]
            of_it: dict[str, Any] = next((p for p in parts if number.row == f"*of it: {p['what']}*"), {})
            here: Any = {"r": result, "s": share, "b": record, "p": of_it}.get(root, {})
            for name in filter(None, rest.split(".")):
                here = here[int(name)] if isinstance(here, list) else here.get(name, {})
            values += list(leaves(here))
    scale = 100 if number.column in SIGNED or number.expression in ("r.floor", "r.level") else 1
    values = [v * scale if isinstance(v, int | float) else v for v in values]
    if number.column in SIGNED and number.text[0] not in "+-−0":
        return f"{number.text}: an effect without its sign"
    return None if fits(number.text, values) else f"{number.text} at {number.expression}: bridge.json gives {values}"
