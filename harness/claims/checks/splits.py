"""Chips, parents and what so few independent scenes can support."""

from __future__ import annotations

from collections.abc import Iterator
from math import comb, pi, sqrt, tan

from harness.claims.findings import Finding
from harness.claims.groups import View, figure
from harness.claims.model import Claim

T_975: dict[int, float] = {3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}
"""97.5 % points of Student's t by degrees of freedom (NIST/SEMATECH e-Handbook, 1.3.6.7.2)."""

FEW = 10
"""Below this many clusters a report shows every cluster and calls the interval what it is."""


def t_quantile(freedom: int) -> float | None:
    """97.5 % point of Student's t; None above nine degrees of freedom, where 1.96..2.3 would do.

    One degree is Cauchy's: tan(0.475 pi); two have a closed form, 0.95 sqrt(2 / (1 - 0.95^2)).
    """
    if freedom == 1:
        return tan(0.475 * pi)
    if freedom == 2:
        return 0.95 * sqrt(2 / (1 - 0.95**2))
    return T_975.get(freedom)


def bootstrap_samples(clusters: int) -> int:
    """Distinct bootstrap samples of n clusters: C(2n - 1, n) multisets (Efron and Tibshirani 1993, p. 49)."""
    return comb(2 * clusters - 1, clusters)


def _per_parent(view: View, family: str) -> Claim | None:
    for card in view.registry.cards:
        if card.family == family:
            for claim in card.claims:
                if claim.quantity.metric == "chips_per_parent":
                    return claim
    return None


def split_parents(view: View) -> Iterator[Finding]:
    """Chips / chips per parent = parents; totals of splits against the stated parents and chips."""
    for card in view.registry.cards:
        each = _per_parent(view, card.family)
        if each is None:
            continue
        per = int(figure(each).lo)
        stated = next((c for c in card.claims if c.quantity.metric == "parents"), None)
        whole = next(
            (
                c
                for c in card.claims
                if c.quantity.metric == "chips" and c.quantity.split == "all" and c.quantity.subject == "family"
            ),
            None,
        )
        for claim in card.claims:
            q = claim.quantity
            if q.metric != "chips" or q.split != "all" or q.subject == "family" or stated is None:
                continue
            chips = int(figure(claim).lo)
            parents, rest = divmod(chips, per)
            ok = rest == 0 and parents in figure(stated)
            yield view.finding(
                "split-parents",
                claim.id,
                [claim, each, stated, *([whole] if whole else [])],
                "consistent" if ok else "undetermined",
                grade="low",
                claimed=f"{stated.value} parents" + (f", {whole.value} chips" if whole else ""),
                derived=f"{chips} = {parents} x {per}" + (f" + {rest}" if rest else ""),
                why=(
                    "The split totals are whole parents, fewer than stated. Parents can have been dropped after the "
                    "count (no Sentinel-1, or no footprints), and the documents do not say so."
                ),
                settles=None if ok else "the list of parents in each split",
                correction=None
                if ok
                else f"{q.subject}: {chips} chips from {parents} parent cells; say why "
                f"{int(figure(stated).lo) - parents} of {stated.value} are missing.",
            )


def split_clusters(view: View) -> Iterator[Finding]:
    """How many independent scenes a test split holds, and what interval they can support.

    Chips of one parent share scene, date and neighbourhood, so parents are the clusters. With n
    clusters a t interval is t(n-1) x sd / sqrt(n) either way, and a cluster bootstrap has
    C(2n-1, n) distinct samples.
    """
    seen: set[tuple[str, int]] = set()
    for card in view.registry.cards:
        each = _per_parent(view, card.family)
        if each is None:
            continue
        per = int(figure(each).lo)
        for claim in card.claims:
            q = claim.quantity
            if q.metric != "chips" or q.split != "test":
                continue
            chips = int(figure(claim).lo)
            if chips % per or (q.subject, chips) in seen:
                continue
            seen.add((q.subject, chips))
            n = chips // per
            t = t_quantile(n - 1) if n > 1 else None
            few = n < FEW
            width = (
                f"t = {t:.1f}, so half the interval is {t / sqrt(n):.2f} times the spread between parents"
                if t
                else "no interval at all"
                if n == 1
                else "ordinary intervals"
            )
            yield view.finding(
                "split-clusters",
                claim.id,
                [claim, each],
                "undetermined" if few else "consistent",
                grade="high" if few else "low",
                evidence="source",
                claimed=f"{chips} test chips",
                derived=f"{n} parent cells x {per}; {bootstrap_samples(n)} distinct bootstrap samples; {width}",
                why=(
                    f"{chips} / {per} = {n} is arithmetic; that splits follow parents is read from the slicing "
                    "script, which may differ "
                    "from what ran. No published figure gives the spread between parents, so no interval can be "
                    "computed, and "
                    + ("two clusters would give none that helps." if n == 2 else f"{n} would give a wide one.")
                ),
                settles="the per-parent confusion matrices of the card's evaluation",
                correction=f"{q.subject}: if the split is by parent cell, {chips} test chips come from {n} of them; "
                "report each parent's score beside the pooled one.",
            )
