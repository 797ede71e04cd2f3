"""Consistent cards with a known truth: random confusion matrices, printed as authors print.

Nothing here uses the harness's own metrics or identities. Every figure is computed from whole
pixels in `fractions.Fraction` and rounded once. Only products, quotients and `Random.random`
enter the matrices, so that one seed gives one card on every machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any

import yaml

from harness.claims.model import Card, Claim, Relation, Source
from harness.claims.registry import Registry, read_card
from harness.records import Averaging, Quantity
from harness.vocabulary import METRICS

Matrix = tuple[tuple[int, ...], ...]
"""Pixels by label (row) and prediction (column)."""
Figures = dict[tuple[str, int | None], Fraction]
"""Exact value by metric and class index; a metric that is 0/0 has no entry."""

NAMES = ("background", "building", "water", "vegetation", "bare", "cropland", "wetland", "snow")
SOURCE = Source(repository="example/model", path="README.md", revision="0" * 40)
FINE_TUNE = "full-fine-tune"

_PER_CLASS = ("iou", "class_accuracy", "precision", "f1", "prevalence")
_WHOLE: dict[str, Averaging] = {
    "mIoU": "macro",
    "mIoU_micro": "micro",
    "accuracy": "pooled",
    "mean_class_accuracy": "macro",
    "f1_macro": "macro",
}


@dataclass(frozen=True)
class GeneratedCard:
    """A card that is right by construction, with what it was printed from."""

    card: Card
    """The card as the audit reads it."""
    matrix: Matrix
    """Confusion of the published weights, over all places."""
    baseline: Matrix | None
    """Confusion of the full fine-tune, where the card prints a gain over it."""
    places: dict[str, Matrix]
    """Confusion at each place, where the card prints rows of pixel counts; they add up to `matrix`."""
    truth: dict[str, Fraction]
    """Exact value of each printed figure by claim id, in the unit printed."""
    decimals: int
    """Decimals of a score as a fraction; a percentage has two fewer."""
    percent: bool
    """Scores are printed in percent."""
    half_up: bool
    """Ties are rounded up; to even otherwise."""

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.matrix)

    @property
    def registry(self) -> Registry:
        """A registry of this card alone: each card has its own model and test set."""
        return Registry((self.card,))


def exact_figures(matrix: Matrix) -> Figures:
    """Every metric of one confusion matrix, exactly.

    Args:
        matrix: Whole pixels, rows label, columns prediction, not all zero.

    Returns:
        Metrics by name and class index. A class figure of 0/0 has no entry, and neither has a
        mean over classes that would need it.
    """
    size = range(len(matrix))
    label = [sum(row) for row in matrix]
    marked = [sum(row[i] for row in matrix) for i in size]
    hits = [matrix[i][i] for i in size]
    union = [label[i] + marked[i] - hits[i] for i in size]
    pixels = sum(label)
    out: Figures = {
        ("accuracy", None): Fraction(sum(hits), pixels),
        ("mIoU_micro", None): Fraction(sum(hits), sum(union)),
    }
    for i in size:
        out["prevalence", i] = Fraction(label[i], pixels)
        if union[i]:
            out["iou", i] = Fraction(hits[i], union[i])
            out["f1", i] = Fraction(2 * hits[i], label[i] + marked[i])
        if label[i]:
            out["class_accuracy", i] = Fraction(hits[i], label[i])
        if marked[i]:
            out["precision", i] = Fraction(hits[i], marked[i])
    for mean, part in (("mIoU", "iou"), ("f1_macro", "f1"), ("mean_class_accuracy", "class_accuracy")):
        parts = [out[part, i] for i in size if (part, i) in out]
        if len(parts) == len(matrix):
            out[mean, None] = sum(parts, Fraction(0)) / len(parts)
    if len(matrix) == 2 and ("class_accuracy", 1) in out:
        out["recall", 1] = out["class_accuracy", 1]
    return out


def rounded(value: Fraction, decimals: int, *, half_up: bool) -> str:
    """The value as decimal text, rounded to nearest; ties up or to even."""
    scaled = value * 10**decimals
    units = (scaled + Fraction(1, 2)).__floor__() if half_up else round(scaled)
    return text_of(units, decimals)


def text_of(units: int, decimals: int) -> str:
    """`units` x 10^-decimals as text: 8107 and 4 give 0.8107."""
    digits = f"{abs(units):0{decimals + 1}d}"
    whole, part = (digits[:-decimals], digits[-decimals:]) if decimals else (digits, "")
    return ("-" if units < 0 else "") + whole + (f".{part}" if decimals else "")


def random_matrix(rng: Random, classes: int, pixels: int) -> Matrix:
    """A confusion matrix of about `pixels` pixels: rare and common classes, good and bad predictors."""
    shares = _shares(rng, classes)
    good = rng.random()
    never = rng.randrange(classes) if rng.random() < 0.06 else None
    perfect = rng.randrange(classes) if rng.random() < 0.04 else None
    rows: list[list[int]] = []
    for i, share in enumerate(shares):
        label = int(pixels * share)
        keep = (1 - (1 - good) * rng.random()) if rng.random() < 0.8 else rng.random()
        if i == perfect:
            keep = 1.0
        hits = 0 if i == never else int(label * keep)
        pull = [0.0 if j in (i, never, perfect) else rng.random() * rng.random() * shares[j] for j in range(classes)]
        row = [int((label - hits) * p / sum(pull)) if sum(pull) else 0 for p in pull]
        row[i] = hits
        rest = label - sum(row)
        sink = i if i != never else (i + 1) % classes
        row[sink] += rest
        rows.append(row)
    if not any(map(sum, rows)):
        rows[0][0] = 1
    return tuple(map(tuple, rows))


def _shares(rng: Random, classes: int) -> list[float]:
    """Prevalences: two classes from 0.1 % to 99.9 %, more classes skewed, now and then one absent."""
    if classes == 2:
        rare = (0.001, 0.01, 0.1)[rng.randrange(3)] * (1 + 4 * rng.random())
        return [rare, 1 - rare] if rng.random() < 0.4 else [1 - rare, rare]
    weights = [0.002 + rng.random() * rng.random() * rng.random() for _ in range(classes)]
    if rng.random() < 0.05:
        weights[rng.randrange(classes)] = 0.0
    return [w / sum(weights) for w in weights]


def _added(parts: list[Matrix]) -> Matrix:
    size = range(len(parts[0]))
    return tuple(tuple(sum(p[i][j] for p in parts) for j in size) for i in size)


class _Writer:
    """Collects the claims of one card and the exact values behind them."""

    def __init__(self, name: str, decimals: int, *, percent: bool, half_up: bool) -> None:
        self.name, self.decimals, self.percent, self.half_up = name, decimals, percent, half_up
        self.claims: list[Claim] = []
        self.truth: dict[str, Fraction] = {}

    def put(
        self, key: str, value: Fraction, quantity: dict[str, Any], unit: str, decimals: int, *, sign: bool = False
    ) -> str:
        """Print one figure; returns its claim id."""
        text = rounded(value, decimals, half_up=self.half_up)
        metric = METRICS[quantity["metric"]]
        claim = Claim(
            id=f"{self.name}/{key}",
            quantity=Quantity(subject="model", **quantity),
            value=f"+{text}" if sign and not text.startswith("-") else text,
            unit=unit,
            direction=metric.direction,
            source=SOURCE,
        )
        self.claims.append(claim)
        self.truth[claim.id] = value
        return claim.id

    def score(self, key: str, value: Fraction, **quantity: Any) -> str:
        """Print a score in the card's manner."""
        if self.percent:
            return self.put(key, 100 * value, quantity, "%", self.decimals - 2)
        return self.put(key, value, quantity, "fraction", self.decimals)

    def count(self, key: str, value: int, **quantity: Any) -> str:
        """Print a whole number."""
        return self.put(key, Fraction(value), quantity, "1", 0)


def random_card(rng: Random, classes: int | None = None, *, name: str = "card", places: bool = True) -> GeneratedCard:
    """A card whose figures all come from one confusion matrix (and a second one for a gain).

    Args:
        rng: Source of every choice.
        classes: Number of classes, 2 to 8; drawn where None, two in half of the cards.
        name: Id of the card.
        places: Allow rows of pixel counts by place (two classes only).

    Returns:
        The card with a random part of its figures printed, and the truth behind it.
    """
    size = classes or (2 if rng.random() < 0.5 else rng.randrange(3, 9))
    pixels = int((10**3, 10**4, 10**5, 10**6)[rng.randrange(4)] * (1 + 9 * rng.random()))
    sites: dict[str, Matrix] = {}
    if places and size == 2 and rng.random() < 0.3:
        side = rng.choice((32, 64, 128, 224))
        sites = {f"site-{n}": random_matrix(rng, 2, side * side) for n in range(rng.randrange(2, 7))}
    matrix = _added(list(sites.values())) if sites else random_matrix(rng, size, pixels)
    out = _Writer(name, rng.randrange(2, 5), percent=rng.random() < 0.25, half_up=rng.random() < 0.5)
    figures = exact_figures(matrix)
    density = 0.15 + 0.75 * rng.random()
    _print_figures(rng, out, figures, size, density, "published")
    baseline, relations = None, []
    if rng.random() < 0.4 and ("mIoU", None) in figures:
        second = random_matrix(rng, size, pixels)
        relation = _print_gain(rng, out, figures, exact_figures(second), size, density)
        if relation is not None:
            baseline, relations = second, [relation]
    if rng.random() < 0.85:
        out.count("classes", size, metric="classes")
    if sites:
        _print_places(rng, out, sites)
    card = Card(
        id=name,
        family="generated",
        kind="card",
        title="A generated card",
        author="nobody",
        claims=out.claims,
        relations=relations,
    )
    return GeneratedCard(card, matrix, baseline, sites, out.truth, out.decimals, out.percent, out.half_up)


def _chosen(rng: Random, size: int) -> list[int]:
    """Class indices that a card prints: mostly all, else class 1 or a few."""
    if rng.random() < 0.7:
        return list(range(size))
    return [1] if size == 2 else sorted(rng.sample(range(size), rng.randrange(1, size)))


def _print_figures(rng: Random, out: _Writer, figures: Figures, size: int, density: float, variant: str) -> None:
    base: dict[str, Any] = {"split": "test", "variant": variant}
    prefix = "" if variant == "published" else "ft."
    for metric, averaging in _WHOLE.items():
        likely = 1.4 * density if metric in ("mIoU", "accuracy") else density
        if rng.random() < likely and (metric, None) in figures:
            out.score(prefix + metric, figures[metric, None], metric=metric, averaging=averaging, **base)
    for metric in (*_PER_CLASS, "recall"):
        if rng.random() >= (1.4 * density if metric == "iou" else density):
            continue
        for i in _chosen(rng, size):
            if (metric, i) in figures:
                out.score(
                    f"{prefix}{metric}.{i}",
                    figures[metric, i],
                    metric=metric,
                    class_index=i,
                    class_name=NAMES[i],
                    averaging="pooled",
                    **base,
                )


def _print_gain(
    rng: Random, out: _Writer, figures: Figures, second: Figures, size: int, density: float
) -> Relation | None:
    """Print both mIoUs and their difference; None where the second has no mIoU."""
    if ("mIoU", None) not in second:
        return None
    ours = f"{out.name}/mIoU"
    if ours not in out.truth:
        out.score("mIoU", figures["mIoU", None], metric="mIoU", averaging="macro", split="test", variant="published")
    _print_figures(rng, out, second, size, density / 2, FINE_TUNE)
    theirs = f"{out.name}/ft.mIoU"
    if theirs not in out.truth:
        out.score("ft.mIoU", second["mIoU", None], metric="mIoU", averaging="macro", split="test", variant=FINE_TUNE)
    gain = 100 * (figures["mIoU", None] - second["mIoU", None])
    quantity = {"metric": "delta_points", "split": "test", "conditions": {"of": "published less full fine-tune"}}
    stated = out.put("delta", gain, quantity, "points", out.decimals - 2, sign=rng.random() < 0.8)
    return Relation(
        id=f"{out.name}/gain", kind="difference", of=[ours, theirs], states=stated, subject="model", source=SOURCE
    )


def full_card(matrix: Matrix, decimals: int, *, percent: bool, half_up: bool, name: str = "full") -> GeneratedCard:
    """A card that prints every figure of a matrix and the number of classes."""
    out = _Writer(name, decimals, percent=percent, half_up=half_up)
    for (metric, index), value in exact_figures(matrix).items():
        own: dict[str, Any] = (
            {"averaging": _WHOLE[metric]}
            if index is None
            else {
                "averaging": "pooled",
                "class_index": index,
                "class_name": NAMES[index],
            }
        )
        key = metric if index is None else f"{metric}.{index}"
        out.score(key, value, metric=metric, split="test", variant="published", **own)
    out.count("classes", len(matrix), metric="classes")
    card = Card(id=name, family="generated", kind="card", title="A generated card", author="nobody", claims=out.claims)
    return GeneratedCard(card, matrix, None, {}, out.truth, decimals, percent, half_up)


def _print_places(rng: Random, out: _Writer, sites: dict[str, Matrix]) -> None:
    """Rows of label pixels, marked pixels and IoU of class 1; now and then only some rows."""
    shown = list(sites) if rng.random() < 0.8 else sorted(rng.sample(list(sites), rng.randrange(1, len(sites) + 1)))
    if rng.random() < 0.7:
        out.count("chips", len(sites), metric="chips", split="test")
    for place in shown:
        m = sites[place]
        quantity: dict[str, Any] = {
            "split": "test",
            "place": place,
            "class_index": 1,
            "class_name": NAMES[1],
            "averaging": "single",
        }
        out.count(f"{place}.label", sum(m[1]), metric="label_px", **quantity)
        out.count(f"{place}.marked", m[0][1] + m[1][1], metric="predicted_px", **quantity)
        value = exact_figures(m).get(("iou", 1))
        if value is not None:
            out.score(f"{place}.iou", value, metric="iou", **quantity)


def card_yaml(card: Card) -> str:
    """The card as a claims file under eval/claims/ would hold it."""

    def short(ref: str) -> str:
        return ref.partition("/")[2]

    claims = [
        {"id": short(c.id), "quantity": _said(c.quantity.model_dump()), "value": c.value, "unit": c.unit}
        for c in card.claims
    ]
    relations = [
        {
            "id": short(r.id),
            "kind": r.kind,
            "of": [*map(short, r.of)],
            "states": short(r.states or ""),
            "subject": r.subject,
        }
        for r in card.relations
    ]
    body = {
        "schema": "1",
        "card": card.id,
        "family": card.family,
        "kind": card.kind,
        "title": card.title,
        "author": card.author,
        "source": _said(SOURCE.model_dump()),
        "claims": claims,
        "relations": relations,
    }
    return str(yaml.safe_dump(body, sort_keys=False, allow_unicode=True))


def _said(fields: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in fields.items() if v is not None and v != {}}


def through_yaml(card: Card, folder: Path) -> Card:
    """The card written to a file and read back by the registry's own reader."""
    path = folder / f"{card.id}.yaml"
    path.write_text(card_yaml(card), encoding="utf-8")
    return read_card(path)


def cards(seed: int, count: int, classes: int | None = None) -> Iterator[GeneratedCard]:
    """`count` cards; card n of a seed is the same whatever the count."""
    for n in range(count):
        yield random_card(Random(f"{seed}/{n}"), classes, name=f"card-{n}")  # noqa: S311 - a test's dice
