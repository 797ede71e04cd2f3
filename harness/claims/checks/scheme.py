"""Which index means which class: documents side by side, and what published rows show."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from harness.claims.findings import Finding
from harness.claims.groups import View, figure
from harness.claims.model import Claim
from harness.claims.schemes import Geography, Sighting

PRESENT = 0.02
"""Share of a chip from which an index counts as present."""


@dataclass(frozen=True)
class Seen:
    """A sighting with what the published rows say."""

    sighting: Sighting
    """What was looked for."""
    seen: bool
    """Whether the rows show it."""
    shows: str
    """Counts in words."""
    claims: list[Claim]
    """Rows that entered."""
    reads: dict[str, str]
    """Scheme id -> supports, contradicts or silent."""


def look(view: View, geography: Geography) -> list[Seen]:
    """Read the published rows at each place of known cover."""
    counts: dict[str, dict[int, Claim]] = {}
    for claim in view.registry.find(geography.rows):
        q = claim.quantity
        if q.place is not None and q.class_index is not None and q.metric == "predicted_px":
            counts.setdefault(q.place, {})[q.class_index] = claim
    out = []
    for sighting in geography.sightings:
        row = counts.get(sighting.place)
        if row is None or sighting.index not in row:
            continue
        here = int(figure(row[sighting.index]).lo)
        total = sum(int(figure(c).lo) for c in row.values())
        others = {p: int(figure(r[sighting.index]).lo) for p, r in counts.items() if p != sighting.place}
        seen, words = {
            "dominant": (
                here == max(int(figure(c).lo) for c in row.values()),
                f"{here:,} of {total:,} px, the most of any index",
            ),
            "only_here": (
                here > 0 and not any(others.values()),
                f"{here:,} px here, {sum(others.values()):,} px in the other {len(others)} chips",
            ),
            "present": (here >= PRESENT * total, f"{here:,} of {total:,} px"),
            "absent": (here == 0, f"{here:,} of {total:,} px"),
        }[sighting.rule]
        claims = [row[sighting.index]]
        if sighting.rule == "only_here":
            claims += [r[sighting.index] for p, r in counts.items() if p != sighting.place]
        reads: dict[str, str] = {
            name: sighting.reads(s) if seen else "silent" for name, s in view.rival_schemes.items()
        }
        out.append(Seen(sighting, seen, f"index {sighting.index}: {words}", claims, reads))
    return out


def class_scheme(view: View) -> Iterator[Finding]:
    """Documents that give one output index different names, and what speaks for which.

    Evidence is source code, the author's own statements and published rows at places of known
    cover. Closeness of IoUs never enters.
    """
    for geography in view.geographies:
        named: dict[tuple[int | None, str], Claim] = {
            (c.quantity.class_index, c.card): c
            for c in view.registry.claims
            if c.quantity.subject == geography.subject
            and c.quantity.metric == "iou"
            and c.quantity.class_index is not None
            and c.quantity.place is None
            and c.quantity.scheme is not None
            and c.quantity.split in ("test", "six-aois")
        }
        if not named:
            continue
        clash = []
        for index in sorted({i for i, _ in named if i is not None}):
            names = {c.quantity.class_name for (i, _), c in named.items() if i == index}
            if len(names) > 1:
                clash.append(f"{index} is " + " or ".join(sorted(str(n) for n in names)))
        seen = look(view, geography)
        score = {
            name: (sum(s.reads[name] == "supports" for s in seen), sum(s.reads[name] == "contradicts" for s in seen))
            for name in view.rival_schemes
        }
        clean = [n for n, (_, against) in score.items() if against == 0]
        table = "; ".join(f"{n}: {up} for, {down} against" for n, (up, down) in score.items())
        rows = [c for s in seen for c in s.claims]
        verdict = (
            f"only {clean[0]} is contradicted by none"
            if len(clean) == 1
            else f"{', '.join(clean)} are contradicted by none"
            if clean
            else "every scheme is contradicted by one"
        )
        yield view.finding(
            "class-scheme",
            f"{geography.subject}.documents",
            list(named.values()),
            "inconsistent" if clash else "consistent",
            grade="high" if clash else "low",
            evidence="source",
            subject=geography.subject,
            claimed=f"{geography.subject}, one output index under several names: " + "; ".join(clash)
            if clash
            else "one name for each index",
            derived=f"{len(view.rival_schemes)} documents give "
            f"{len({tuple(c.name for c in s.classes) for s in view.rival_schemes.values()})} different lists "
            "of five classes",
            why="An output index has one meaning. The documents cannot all be right, and a table that sets IoUs "
            "side by side by name compares different indices.",
            settles=geography.settles,
            correction="Say in the card, by output index, which WorldCover codes each class of "
            f"{geography.subject} holds.",
        )
        yield view.finding(
            "class-scheme",
            f"{geography.subject}.geography",
            rows,
            "undetermined",
            grade="high",
            evidence="inference",
            subject=geography.subject,
            claimed="the card's list of classes",
            derived=f"published rows at places of known cover: {table}; {verdict}",
            why=(
                "Inference from ten chips chosen by hand: each sighting asks whether the index that is there can "
                "stand for what is "
                "there. "
                + " ".join(f"{s.sighting.id.capitalize()} ({s.sighting.ground}): {s.shows}." for s in seen)
                + " It agrees with the training code and with the author's later statement, which are the "
                "stronger evidence."
            ),
            settles=geography.settles,
        )
        yield from _by_index(view, geography, named)


def _by_index(view: View, geography: Geography, named: dict[tuple[int | None, str], Claim]) -> Iterator[Finding]:
    """What 'water is higher than the card' rests on: one name at two indices."""
    cards = [c for (_, _), c in named.items() if view.registry.card(c.card).kind == "card"]
    reruns = [c for (_, _), c in named.items() if view.registry.card(c.card).kind == "rerun"]
    for rerun in reruns:
        name = next((c for c in cards if c.quantity.class_name == rerun.quantity.class_name), None)
        index = next((c for c in cards if c.quantity.class_index == rerun.quantity.class_index), None)
        if name is None or index is None or name is index or rerun.quantity.class_name != "water":
            continue
        by_name = float(figure(rerun).mid - figure(name).mid)
        by_index = float(figure(rerun).mid - figure(index).mid)
        yield view.finding(
            "index-or-name",
            f"{geography.subject}.{rerun.quantity.class_name}",
            [rerun, name, index],
            "undetermined",
            grade="high",
            subject=geography.subject,
            claimed=f"{rerun.quantity.class_name} {rerun.value} against the card's {name.value} ({by_name:+.4f})",
            derived=f"by output index {rerun.quantity.class_index}: {rerun.value} against {index.value} "
            f"({by_index:+.4f})",
            why=(
                f"The card prints {name.value} at index {name.quantity.class_index} and {index.value} at index "
                f"{index.quantity.class_index}. "
                "A network's output has an index and no name, so the index is what both runs share. That the two "
                "figures at one index are "
                "close is no evidence about the scheme: schemes and chips still differ, so no verdict follows."
            ),
            settles=geography.settles,
            correction=f"Output index {rerun.quantity.class_index}: card {index.value}, rerun {rerun.value}; "
            "other chips and another label scheme, so not comparable.",
        )
