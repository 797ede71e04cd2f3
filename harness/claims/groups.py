"""Claims that were measured together, and the findings built on them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from harness.claims.families import Family
from harness.claims.findings import Finding, Grade, Status
from harness.claims.gates import GateFile
from harness.claims.interval import Interval
from harness.claims.model import Card, Claim, Evidence, Source
from harness.claims.registry import Registry
from harness.claims.rules import Rules, own_rules
from harness.claims.schemes import Geography, Scheme
from harness.errors import RegistryError
from harness.vocabulary import METRICS, UNITS, UNSTATED

Key = tuple[str, str, str, str | None, str | None, str | None, tuple[tuple[str, str], ...]]


def figure(claim: Claim, *, as_input: bool = False) -> Interval:
    """The claim's interval in the metric's own unit, cut to the metric's range.

    Args:
        claim: A claim that holds a number.
        as_input: Take a figure printed with `~` as printed, without its 20 %.

    Raises:
        RegistryError: The unit cannot be turned into the metric's own.
    """
    interval = claim.printed.need()
    if as_input and claim.printed.rounding is not None:
        interval = claim.printed.rounding
    metric = METRICS.get(claim.quantity.metric)
    if metric is None:
        return interval
    if claim.unit not in ("", metric.unit, UNSTATED):
        factor = UNITS.get((claim.unit, metric.unit))
        if factor is None:
            raise RegistryError(
                f"{claim.id}: unit {claim.unit!r} cannot be turned into {metric.unit!r} of {claim.quantity.metric}"
            )
        interval = interval * Fraction(*factor)
    lo = interval.lo if metric.lo is None else max(interval.lo, Fraction(metric.lo))
    hi = interval.hi if metric.hi is None else min(interval.hi, Fraction(metric.hi))
    return Interval(lo, hi)


def figure_in(claim: Claim, unit: str) -> Interval:
    """The claim's interval as an input, in a given unit, for sums over metrics of different units.

    Raises:
        RegistryError: The unit cannot be turned into the given one.
    """
    own = METRICS[claim.quantity.metric].unit if claim.quantity.metric in METRICS else claim.unit
    value = figure(claim, as_input=True)
    if own == unit:
        return value
    factor = UNITS.get((own, unit))
    if factor is None:
        raise RegistryError(f"{claim.id}: {own!r} cannot be turned into {unit!r}")
    return value * Fraction(*factor)


@dataclass(frozen=True)
class Group:
    """Claims of one card about one subject, arm, split, threshold, place and conditions."""

    key: Key
    """card, subject, variant, split, threshold, place, conditions."""
    claims: tuple[Claim, ...]
    """In file order."""

    @property
    def subject(self) -> str:
        """Adapter or model."""
        return self.key[1]

    @property
    def name(self) -> str:
        """Short name for ids."""
        card, subject, variant, split, threshold, place, conditions = self.key
        parts = [subject, variant if variant != "published" else None, split, place]
        parts += [f"at-{threshold}" if threshold else None, *(f"{k}={v}" for k, v in conditions)]
        return f"{card}/" + ".".join(p for p in parts if p)

    def one(self, metric: str) -> Claim | None:
        """The claim of a metric that is not about one class; the most exact where there are several."""
        return _sharpest(c for c in self.claims if c.quantity.metric == metric and c.quantity.class_index is None)

    def of_class(self, metric: str, index: int) -> Claim | None:
        """The claim of a metric about one class."""
        return _sharpest(c for c in self.claims if c.quantity.metric == metric and c.quantity.class_index == index)

    def at(self, metric: str, index: int | None) -> Claim | None:
        """`one` where no index is given, else `of_class`."""
        return self.one(metric) if index is None else self.of_class(metric, index)

    def by_class(self, metric: str) -> dict[int, Claim]:
        """Claims of a metric by class index, ascending."""
        found = {c.quantity.class_index for c in self.claims if c.quantity.metric == metric}
        out: dict[int, Claim] = {}
        for index in sorted(i for i in found if i is not None):
            claim = self.of_class(metric, index)
            if claim is not None:
                out[index] = claim
        return out


def _sharpest(claims: Iterable[Claim]) -> Claim | None:
    best: Claim | None = None
    for claim in claims:
        if claim.printed.interval is None:
            continue
        if best is None or figure(claim).width < figure(best).width:
            best = claim
    return best


@dataclass(frozen=True)
class View:
    """What checks look at."""

    registry: Registry
    """All cards."""
    families: dict[str, Family] = field(default_factory=dict)
    """Known families by id: topology, adapters, geometry."""
    schemes: dict[str, Scheme] = field(default_factory=dict)
    """Class schemes by id."""
    geographies: tuple[Geography, ...] = ()
    """What published rows show at places of known cover."""
    rules: Rules = field(default_factory=own_rules)
    """When a measurement reproduces a claim."""
    gates: dict[str, GateFile] = field(default_factory=dict)
    """Gates that are put to runs, by family."""

    @property
    def rival_schemes(self) -> dict[str, Scheme]:
        """Schemes that documents name for one and the same adapter; all where no family is known."""
        named = {s for f in self.families.values() for a in f.adapters for s in a.schemes}
        return {n: s for n, s in self.schemes.items() if n in named or not self.families}

    def groups(self, card: Card | None = None) -> list[Group]:
        """All groups, or those of one card, in file order."""
        found: dict[Key, list[Claim]] = {}
        for each in (card,) if card else self.registry.cards:
            for claim in each.claims:
                q = claim.quantity
                key: Key = (
                    each.id,
                    q.subject,
                    q.variant,
                    q.split,
                    q.threshold,
                    q.place,
                    tuple(sorted(q.conditions.items())),
                )
                found.setdefault(key, []).append(claim)
        return [Group(key, tuple(claims)) for key, claims in found.items()]

    def classes(self, subject: str) -> int | None:
        """Number of classes that any card states for the subject; None where none does."""
        for claim in self.registry.claims:
            if claim.quantity.subject == subject and claim.quantity.metric == "classes":
                return int(figure(claim).lo)
        return None

    def claim(self, ref: str) -> Claim:
        """The claim of that id.

        Raises:
            RegistryError: There is none.
        """
        found = self.registry.find(ref)
        if len(found) != 1:
            raise RegistryError(f"{ref!r} names {len(found)} claims where one was expected")
        return found[0]

    def family_of(self, card_id: str) -> str:
        """Family that the card belongs to."""
        return self.registry.card(card_id).family

    def finding(
        self,
        check: str,
        anchor: str,
        claims: Sequence[Claim],
        status: Status,
        *,
        claimed: str,
        derived: str,
        why: str,
        grade: Grade = "low",
        evidence: Evidence = "arithmetic",
        subject: str | None = None,
        card: str | None = None,
        correction: str | None = None,
        settles: str | None = None,
        source: Source | None = None,
    ) -> Finding:
        """Build a finding; card and family come from the first claim, `source` is named first."""
        first = claims[0]
        card_id = card or first.card
        if status != "consistent":
            remarks = dict.fromkeys(c.remark for c in claims if c.remark)
            why = " ".join([why, *(f"In fairness: {remark}." for remark in remarks)])
        return Finding(
            id=f"{check}:{anchor}",
            family=self.family_of(card_id),
            card=card_id,
            subject=subject or first.quantity.subject,
            check=check,
            status=status,
            grade=grade,
            evidence=evidence,
            claims=list(dict.fromkeys(c.id for c in claims)),
            claimed=claimed,
            derived=derived,
            why=why,
            sources=list(dict.fromkeys([*([source.text()] if source else []), *(c.source.text() for c in claims)])),
            correction=correction,
            settles=settles,
        )
