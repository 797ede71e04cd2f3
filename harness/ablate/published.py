"""Which published figure stands at the start of a bridge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from harness.claims.groups import View, figure
from harness.claims.model import Claim
from harness.claims.scored import ARGMAX
from harness.errors import RegistryError
from harness.names import known

KINDS: Final = {"published-rerun": "rerun", "card": "card", "training-code": "card", "twin": "card"}
"""Kind of the document whose figures were made under a recipe: the training code's own scores stand in the card."""

SCENES_OF: Final = ("rerun", "retest")
"""Documents whose chips are scenes of their own; elsewhere chips are cut from parent cells, and their number says
nothing of the scenes."""


@dataclass(frozen=True)
class Published:
    """A figure at the start of the waterfall."""

    claim: Claim
    """As printed."""
    value: float
    """In the metric's own unit."""
    clusters: int | None
    """Scenes that it was measured on, where a claim of the same document says so."""


@dataclass(frozen=True)
class Wanted:
    """What is bridged."""

    adapter: str
    """Adapter id."""
    metric: str
    """A name of `METRIC_FUNCTIONS`."""
    class_index: int | None
    """For a metric of one class."""
    threshold: float
    """Of two-class adapters."""


def published(view: View, family: str, recipe: str, wanted: Wanted, claim: str | None) -> tuple[Published | None, str]:
    """The figure that was named, or the one that the start's document prints for this metric.

    Args:
        view: Claims.
        family: Family id.
        recipe: Recipe of the start.
        wanted: Adapter, metric, class and threshold.
        claim: Id `CARD/NAME`; None looks for it.

    Returns:
        The figure, or None; and why there is none.

    Raises:
        RegistryError: No such claim, or it is of another quantity.
    """
    if claim is not None:
        one = {c.id: c for c in view.registry.claims}
        found = one[known(claim, one, "claim")]
        if not _fits(found, wanted):
            raise RegistryError(f"{claim}: is a {found.quantity.text()}; bridged is {_text(wanted)}")
        return _published(view, found), ""
    kind = KINDS.get(recipe)
    cards = [c for c in view.registry.cards if c.family == family and c.kind == kind]
    fits = [c for card in cards for c in card.claims if _fits(c, wanted) and c.quantity.split != "val"]
    if not fits:
        return None, f"no document of recipe {recipe} prints {_text(wanted)}"
    values = {c.printed.need().mid for c in fits}
    if len(values) > 1:
        ids = ", ".join(c.id for c in fits)
        return None, f"several figures of {_text(wanted)} are printed: {ids}; name one with --claim"
    return _published(view, fits[0]), ""


def _text(wanted: Wanted) -> str:
    index = "" if wanted.class_index is None else f" of class {wanted.class_index}"
    return f"{wanted.metric}{index} of {wanted.adapter} (not by chip or place)"


def _fits(claim: Claim, wanted: Wanted) -> bool:
    q = claim.quantity
    same = (q.subject, q.metric, q.class_index) == (wanted.adapter, wanted.metric, wanted.class_index)
    plain = (
        q.variant == "published" and not q.conditions and q.place is None and q.averaging not in ("per_chip", "single")
    )
    argmax = q.threshold in ARGMAX and wanted.threshold == 0.5
    threshold = argmax or (q.threshold not in ARGMAX and float(str(q.threshold)) == wanted.threshold)
    return same and plain and threshold and claim.printed.interval is not None


def _published(view: View, claim: Claim) -> Published:
    card = view.registry.card(claim.card)
    chips = [
        c
        for c in card.claims
        if (c.quantity.subject, c.quantity.split, c.quantity.metric)
        == (claim.quantity.subject, claim.quantity.split, "chips")
    ]
    clusters = int(figure(chips[0]).mid) if card.kind in SCENES_OF and len(chips) == 1 else None
    return Published(claim, float(figure(claim, as_input=True).mid), clusters)


def scenes_of(splits: dict[str, tuple[str, int | None]], names: list[str], claim: Claim) -> Literal["same", "others"]:
    """Whether the chips at the start are the very scenes of a claim: all of its split, by the locks."""
    found = [splits.get(name) for name in names]
    if not found or any(f is None or f[0] != claim.quantity.split or f[1] != len(names) for f in found):
        return "others"
    return "same"
