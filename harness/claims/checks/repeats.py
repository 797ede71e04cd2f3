"""One quantity given twice."""

from __future__ import annotations

from collections.abc import Iterator

from harness.claims.findings import Finding
from harness.claims.groups import View, figure
from harness.claims.interval import mean
from harness.claims.model import Claim
from harness.vocabulary import UNSTATED

_Key = tuple[object, ...]

SAME = {"class_accuracy": "recall"}
"""Two names of one quantity: torchmetrics calls the recall of a class its accuracy."""


def _key(claim: Claim) -> _Key:
    q = claim.quantity
    # Names decide before indices: documents that number the classes differently still mean the
    # same figure by the same name. Which index it belongs to is the scheme check's business.
    label: object = q.class_name or q.class_index
    metric = SAME.get(q.metric, q.metric)
    unstated = claim.unit == UNSTATED
    return (
        unstated,
        q.subject,
        metric,
        q.variant,
        label,
        q.threshold,
        q.split,
        q.place,
        tuple(sorted(q.conditions.items())),
    )


def given_twice(view: View) -> Iterator[Finding]:
    """The same quantity printed in several places must round to the same number.

    No identity: equality. Quantities are equal where subject, metric, arm, class name (or
    index), threshold, split, place and conditions are.
    """
    found: dict[_Key, list[Claim]] = {}
    for claim in view.registry.claims:
        if claim.printed.interval is not None:
            found.setdefault(_key(claim), []).append(claim)
    for claims in found.values():
        if len(claims) < 2:
            continue
        values = [figure(c) for c in claims]
        lo, hi = max(v.lo for v in values), min(v.hi for v in values)
        ok = lo <= hi
        first = claims[0]
        shown = "; ".join(f"{c.value}{'' if c.unit in ('fraction', '1') else ' ' + c.unit} ({c.card})" for c in claims)
        anchor = first.id.partition("/")[2]
        why = "Equal quantities, so their rounding intervals must share a number."
        derived, correction = "they agree", None
        odd = [c for c in claims if not all(figure(c).meets(figure(o)) for o in claims if o is not c)]
        if not ok:
            derived = "no number rounds to all of them"
            correction = (
                f"{first.quantity.text()}: give one value; the sources print "
                + ", ".join(dict.fromkeys(c.value for c in claims))
                + "."
            )
            why += " They stand in " + ", ".join(dict.fromkeys(c.card for c in claims)) + "."
            if first.quantity.metric == "mIoU":
                why += _which_fits(view, claims)
        yield view.finding(
            "given-twice",
            anchor,
            [*odd, *(c for c in claims if c not in odd)] if not ok else claims,
            "consistent" if ok else "inconsistent",
            grade="low" if ok else "medium",
            claimed=f"{first.quantity.text()}: {shown}",
            derived=derived,
            why=why,
            correction=correction,
            card=(odd or claims)[-1].card if not ok else None,
        )


def _which_fits(view: View, claims: list[Claim]) -> str:
    """Say which of several printed mIoUs is a mean of published class IoUs."""
    subject = claims[0].quantity.subject
    sets = []
    for group in view.groups():
        ious = group.by_class("iou")
        if group.subject == subject and len(ious) >= 2 and view.classes(subject) == len(ious):
            sets.append(mean([figure(c) for c in ious.values()]))
    if not sets:
        return ""
    parts = []
    for value in dict.fromkeys(c.value for c in claims):
        claim = next(c for c in claims if c.value == value)
        fits = any(figure(claim).meets(s) for s in sets)
        parts.append(
            f"{value} is {'the' if fits else 'not the'} mean of {'a' if fits else 'any'} published pair of class IoUs"
        )
    return " " + "; ".join(parts) + "."
