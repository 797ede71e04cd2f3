"""What another population alone would do to a run's scores: in closed form, and by the share of built-up land."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.claims.groups import View
from harness.claims.registry import Registry
from harness.claims.sweeps import card_matrices
from harness.records import ChipScore
from harness.report.run_tables import Page, Table, escaped
from harness.report.words import num, pct
from harness.score import metrics
from harness.score.binary import BinaryMatrix
from harness.score.confusion import ConfusionMatrix
from harness.score.interval import Interval
from harness.score.population import composition_effect, prevalence_effect
from harness.score.scenes import sampled, scene_names
from harness.score.story import ASSUMES

LAND = "built-up"
"""Kind of land that cells are sorted by here."""

Strata = dict[str, dict[str, ConfusionMatrix]]
"""Scene to stratum to matrix."""


@dataclass(frozen=True)
class Prevalence:
    """Our rates at a card's prevalence, and the card's at ours."""

    page: Page
    """The adapter."""
    card: BinaryMatrix
    """The card's test set in fractions, from its printed figures."""

    @property
    def id(self) -> str:
        """Adapter id, escaped."""
        return self.page.id

    @property
    def assumes(self) -> str:
        """What is held constant."""
        return ASSUMES

    @property
    def ours(self) -> BinaryMatrix:
        """This run, all scored chips."""
        matrix = self.page.matrix
        return matrix.binary(1) if matrix is not None else BinaryMatrix(0, 0, 0, 0)

    def table(self) -> Table:
        """Rates of each at the prevalence of each."""
        sides = (("this run", self.ours), ("the card's test set", self.card))
        rows: list[Sequence[str]] = []
        for whose, matrix in sides:
            for at, there in sides:
                share = there.prevalence or 0.0
                scores = [
                    prevalence_effect(matrix, (1 - share, share), *what).there for what in (("iou", 1), ("mIoU", None))
                ]
                same = "measured" if whose == sides[0][0] else "from its figures"
                kind = same if at == whose else "arithmetic"
                rates = [num(matrix.tpr), num(matrix.fpr)]
                rows.append([whose, *rates, f"{at}, {pct(share, 1)}", *map(num, scores), kind])
        return Table(["rates of", "TPR", "FPR", "at the prevalence of", "IoU", "mIoU", "kind"], "lrrlrrl", rows)


@dataclass(frozen=True)
class Composition:
    """What the land of other chips of the run would do to the score of some."""

    page: Page
    """The adapter."""
    here: str
    """Chips whose score it is: their role or split."""
    there: str
    """Chips whose land is taken."""
    measured: float | None
    """Score there minus here, as measured on the same cells."""
    effect: Interval | str
    """What the composition alone does to the score here, or why that is not known."""
    metric: str
    """In words."""

    @property
    def text(self) -> str:
        """In a sentence."""
        start = f"{self.page.id}, {escaped(self.here)} chips weighted as {escaped(self.there)} chips by {LAND} share"
        if isinstance(self.effect, str):
            return f"{start}: not told, {escaped(self.effect)}."
        found, gap = self.effect, "undefined" if self.measured is None else f"{self.measured:+.3f}"
        value = "undefined" if found.value is None else f"{found.value:+.3f}"
        ends = "no interval"
        if found.low is not None and found.high is not None:
            ends = f"[{found.low:+.3f}, {found.high:+.3f}]" + ("" if found.useful else " (not useful)")
        beside = f"as measured, {escaped(self.there)} minus {escaped(self.here)} is {gap}"
        return f"{start}: {self.metric} {value}, {ends}; {beside}. {escaped(found.why)}."


def prevalences(pages: Sequence[Page], registry: Registry | None, *, random: bool) -> list[Prevalence]:
    """Adapters of two classes whose card prints figures from which its rates and prevalence follow.

    None for random weights, without claims, or where label or card lack a class.
    """
    if random or registry is None:
        return []
    cards = card_matrices(View(registry))
    held = [Prevalence(p, cards[p.run.adapter]) for p in pages if p.matrix is not None and p.run.adapter in cards]
    two = [h for h in held if h.page.run.load.classes == 2]
    return [h for h in two if all(m.prevalence and m.prevalence < 1 for m in (h.ours, h.card))]


def compositions(pages: Sequence[Page], *, random: bool) -> list[Composition]:
    """Pairs of populations in a run, by split where chips name one, else by role; strata of land must be on record.

    Land cover from the label's own file sorts the label by itself and is left out, and so are chips of role `probe`.
    """
    out = []
    for page in [] if random else pages:
        names = scene_names(page.run.chips)
        found: dict[str, Strata] = {}
        for chip in sampled(page.run.chips):
            kind = chip.split or chip.role
            if kind is not None and chip.beside is not None and not chip.beside.land.same_source:
                _add(found.setdefault(kind, {}).setdefault(names[chip.chip], {}), chip)
        held = {kind: strata for kind, strata in found.items() if any(strata.values())}
        two = page.run.load.classes == 2
        name, index = ("iou", 1) if two else ("mIoU", None)
        for here in held:
            for there in held:
                if here != there:
                    out.append(_composition(page, held, here, there, name, index))
    return out


def _add(strata: dict[str, ConfusionMatrix], chip: ChipScore) -> None:
    for s in chip.beside.land.strata if chip.beside else []:
        one = ConfusionMatrix(tuple(map(tuple, s.confusion)))
        if s.land == LAND and one.total:
            key = "none" if s.above is None else f"{s.above:g} to {s.to:g}"
            strata[key] = strata[key] + one if key in strata else one


def _composition(
    page: Page, held: dict[str, Strata], here: str, there: str, name: str, index: int | None
) -> Composition:
    px: dict[str, int] = {}
    for strata in held[there].values():
        for key, one in strata.items():
            px[key] = px.get(key, 0) + one.total
    shares = {key: n / sum(px.values()) for key, n in px.items()}
    effect: Interval | str
    try:
        effect = composition_effect(held[here], shares, name, index)
    except ValueError as err:
        effect = str(err)
    a, b = (_pooled_score(held[kind], name, index) for kind in (here, there))
    words = f"IoU of {escaped(page.key.names[1])}" if index is not None else "mIoU"
    return Composition(page, here, there, None if a is None or b is None else b - a, effect, words)


def _pooled_score(strata: Strata, name: str, index: int | None) -> float | None:
    found = [one for each in strata.values() for one in each.values()]
    whole = sum(found[1:], found[0])
    return metrics.iou(whole, index).value if name == "iou" and index is not None else metrics.miou(whole).value
