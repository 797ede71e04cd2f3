"""Published probe rows: sums, bounds as written twice, what trivial maps pass, overlaps."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from math import cos, radians

from harness.claims.findings import Finding
from harness.claims.groups import View, figure
from harness.claims.model import Card, Claim, ProbeRule, ProbeSet

METRE_PER_DEGREE = 111_320.0
"""Length of a degree of latitude on the WGS 84 ellipsoid, mean over latitudes, in m."""

GSD_M = 10
"""Pixel size of all chips here, in m."""


def _rows(view: View, probe: ProbeSet) -> dict[str, dict[str, Claim]]:
    """Place -> class name -> claim with the pixel count."""
    out: dict[str, dict[str, Claim]] = {}
    for claim in view.registry.find(probe.rows):
        q = claim.quantity
        if q.metric == "predicted_px" and q.place is not None:
            out.setdefault(q.place, {})[q.class_name or "count"] = claim
    return out


def within(rule: ProbeRule, word: str, count: int) -> bool:
    """Whether a count lies within the bounds of a word, ends included."""
    lo, hi = rule.bounds[word]
    return (lo is None or count >= int(lo)) and (hi is None or count <= int(hi))


def probe_sums(view: View) -> Iterator[Finding]:
    """Class counts of a chip add up to its pixels: side x side."""
    for card in view.registry.cards:
        for probe in card.probes:
            area = int(probe.chip_px) ** 2
            for place, row in _rows(view, probe).items():
                if len(row) < 2:
                    continue
                total = sum(int(figure(c).lo) for c in row.values())
                ok = total == area
                yield view.finding(
                    "probe-sum",
                    f"{probe.id.partition('/')[2]}.{place}",
                    list(row.values()),
                    "consistent" if ok else "inconsistent",
                    grade="low" if ok else "medium",
                    subject=probe.subject,
                    claimed=" + ".join(c.value for c in row.values()),
                    derived=f"{total:,} of {area:,} px",
                    why="Every pixel of the chip has one class.",
                )


def probe_bounds(view: View) -> Iterator[Finding]:
    """Each row against the bounds, once for each place in the script that writes them; no identity."""
    for card in view.registry.cards:
        for probe in card.probes:
            rows = _rows(view, probe)
            counts = {p: int(figure(next(iter(r.values()))).lo) for p, r in rows.items() if len(r) == 1}
            claims = [next(iter(rows[p].values())) for p in counts]
            for rule in probe.rules:
                judged = {p: w for p, w in probe.expected.items() if p in counts}
                failed = [p for p, w in judged.items() if not within(rule, w, counts[p])]
                trivial, passes = _best_constant(rule, judged, int(probe.chip_px) ** 2)
                yield view.finding(
                    "probe-bounds",
                    f"{probe.id.partition('/')[2]}.{rule.name.replace(' ', '-')}",
                    [rows_claim for p in failed for rows_claim in rows[p].values()] or claims,
                    "inconsistent" if failed else "consistent",
                    grade="medium" if failed else "low",
                    subject=probe.subject,
                    claimed=f"{len(judged)} of {len(judged)} pass ({rule.name}: {rule.quote})",
                    derived=(
                        f"{len(failed)} of {len(judged)} fail: "
                        + ", ".join(f"{p} {counts[p]:,} px ({judged[p]})" for p in failed)
                    )
                    if failed
                    else "all pass",
                    why=f"The script writes its bounds twice. A map that marks {trivial:,} px of every chip, "
                    f"whatever it shows, passes {passes} of {len(judged)}.",
                    correction=f"Probes: {len(judged) - len(failed)} of {len(judged)} building rows pass the "
                    "bounds in the script's comment; its code uses wider ones. Print the bounds "
                    "beside the rows."
                    if failed
                    else None,
                )


def _best_constant(rule: ProbeRule, expected: dict[str, str], area: int) -> tuple[int, int]:
    """The constant pixel count that passes most rows, and how many it passes."""
    edges = {0, area}
    for lo, hi in rule.bounds.values():
        edges |= {int(e) for e in (lo, hi) if e is not None}
    scored = [(sum(within(rule, w, e) for w in expected.values()), -e) for e in sorted(edges)]
    passes, negative = max(scored)
    return -negative, passes


def probe_dominant(view: View) -> Iterator[Finding]:
    """Dominant class of each row against the accepted names; and what constant maps pass."""
    for card in view.registry.cards:
        for probe in card.probes:
            if not probe.dominant:
                continue
            rows = _rows(view, probe)
            judged = {p: names for p, names in probe.dominant.items() if p in rows}
            top = {p: max(rows[p], key=lambda n, r=rows[p]: int(figure(r[n]).lo)) for p in judged}  # type: ignore[misc]
            failed = [p for p in judged if top[p] not in judged[p]]
            constant = {n: sum(n in names for names in judged.values()) for n in {n for r in rows.values() for n in r}}
            best = max(sorted(constant), key=lambda n: constant[n])
            close = min(judged, key=lambda p: _margin(rows[p]))
            claims = [c for p in judged for c in rows[p].values()]
            yield view.finding(
                "probe-dominant",
                probe.id.partition("/")[2],
                claims,
                "inconsistent" if failed else "consistent",
                grade="medium" if failed else "low",
                subject=probe.subject,
                claimed=f"{len(judged)} of {len(judged)} pass",
                derived=f"{len(judged) - len(failed)} pass; a map that says {best} everywhere passes "
                f"{constant[best]} of {len(judged)}",
                why=f"Recomputed from the rows. Closest call: {close}, {_margin(rows[close]):,} px between first "
                "and second class. "
                "Names are the rerun's; under another class scheme the rows mean something else.",
            )


def _margin(row: dict[str, Claim]) -> int:
    counts = sorted((int(figure(c).lo) for c in row.values()), reverse=True)
    return counts[0] - counts[1]


def _places(card: Card) -> dict[tuple[str, str], tuple[Claim, Claim]]:
    """(split, place) -> longitude and latitude claims."""
    found: dict[tuple[str, str], dict[str, Claim]] = {}
    for claim in card.claims:
        q = claim.quantity
        if q.place and q.split and q.metric in ("longitude", "latitude"):
            found.setdefault((q.split, q.place), {})[q.metric] = claim
    return {k: (v["longitude"], v["latitude"]) for k, v in found.items() if len(v) == 2}


def overlap_share(a: tuple[float, float], b: tuple[float, float], side_m: float) -> float:
    """Share of a square chip that lies within an equal one, sides along the axes.

    Args:
        a: Longitude and latitude of one centre, degrees.
        b: Of the other.
        side_m: Side in m.

    Returns:
        0 to 1. Flat-earth distances at the mean latitude: within 0.5 % over a few km; chips on
        a projected grid are rotated against north by under 1 degree here.
    """
    dx = abs(a[0] - b[0]) * METRE_PER_DEGREE * cos(radians((a[1] + b[1]) / 2))
    dy = abs(a[1] - b[1]) * METRE_PER_DEGREE
    return max(0.0, side_m - dx) * max(0.0, side_m - dy) / side_m**2


def overlapping_chips(view: View) -> Iterator[Finding]:
    """Chips whose centres are nearer than a side share pixels and are not independent."""
    for card in view.registry.cards:
        sides = {int(p.chip_px) for p in card.probes} or {
            int(figure(c).lo) for c in card.claims if c.quantity.metric == "chip_px"
        }
        places = _places(card)
        if len(sides) != 1 or len(places) < 2:
            continue
        side_m = sides.pop() * GSD_M
        shared: list[str] = []
        claims: list[Claim] = []
        for (key_a, a), (key_b, b) in combinations(places.items(), 2):
            centre_a, centre_b = ((float(figure(c[0]).mid), float(figure(c[1]).mid)) for c in (a, b))
            share = overlap_share(centre_a, centre_b, side_m)
            if share > 0:
                shared.append(
                    f"{key_a[1]} ({key_a[0]}) and {key_b[1]} ({key_b[0]}) share {100 * share:.0f} % of a chip"
                )
                claims.extend((*a, *b))
        yield view.finding(
            "overlapping-chips",
            card.id,
            claims or [c for pair in places.values() for c in pair],
            "undetermined" if shared else "consistent",
            grade="medium" if shared else "low",
            subject="all",
            claimed=f"{len(places)} places",
            derived="; ".join(shared) or "no two share a pixel",
            why=f"Chips of {side_m:,} m side around the printed centres. Shared pixels count twice, and a probe "
            "on an evaluation tile is no second test.",
            settles="scores over the union of ground pixels" if shared else None,
            correction="Probes and evaluation tiles: " + "; ".join(shared) + "; count each ground pixel once."
            if shared
            else None,
        )
