"""Whether classes stand in another order than said, and which shows it: the stored matrix, or sources that disagree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.claims.families import Family
from harness.claims.schemes import Scheme
from harness.claims.scored import clustered
from harness.report.run_tables import Page, escaped
from harness.score.permuted import SchemeOrder, scheme_order


@dataclass(frozen=True)
class Order:
    """One adapter's order of classes, where there is something to say of it."""

    page: Page
    """The adapter."""
    found: SchemeOrder
    """What matrix and sources say."""

    @property
    def id(self) -> str:
        """Adapter id, escaped."""
        return self.page.id

    @property
    def matrix(self) -> str:
        """What the stored matrix says, in a sentence; empty where it fits the stated order best."""
        if self.found.matrix.found == "as stored":
            return ""
        return f"{self.found.matrix.found}: {escaped(self.found.matrix.why)}."

    @property
    def sources(self) -> str:
        """Documents that name indices otherwise than the scheme in use; empty where none does."""
        used, said = self.page.run.scheme, []
        for each in self.found.contradictions:
            if used in (each.one, each.other):
                other = each.other if each.one == used else each.one
                how = "other names" if each.order is None else "the same names in another order"
                said.append(f"{escaped(other)} at index {', '.join(map(str, each.indices))} ({how})")
        return f"scheme {escaped(used)} was used; {'; '.join(said)}." if said else ""


def orders(pages: Sequence[Page], family: Family, schemes: Mapping[str, Scheme], *, random: bool) -> list[Order]:
    """The order of every scored adapter that has something to say; none for random weights.

    Sources are the schemes that documents name for the adapter, as far as they have its classes. Where labels are in
    a scheme of somebody's own, no document speaks of it, and only the matrix does.
    """
    out = []
    for page in [] if random else pages:
        if page.matrix is None:
            continue
        named = family.adapter(page.run.adapter).label_schemes
        known = {s: [c.name for c in schemes[s].classes] for s in named if s in schemes}
        sources = {s: n for s, n in known.items() if len(n) == page.run.load.classes}
        matrices = list(clustered(page.scored, None).values())
        held = Order(page, scheme_order(page.matrix, sources if page.run.scheme in sources else {}, matrices))
        if held.matrix or held.sources:
            out.append(held)
    return out
