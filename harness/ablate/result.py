"""Matrices at every combination, made a record with what the arithmetic says of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from harness.ablate.ends import Group
from harness.ablate.published import Published, Wanted
from harness.errors import RegistryError
from harness.records.bridge import (
    CornerRecord,
    FactorRecord,
    KnobRecord,
    PartRecord,
    PublishedRecord,
    ResultRecord,
    ShareRecord,
)
from harness.score.bridge import Bridge, Corner, Factor, UndefinedBridgeError, bridge
from harness.score.tested import Scenes

Corners = Mapping[frozenset[str], Corner]


def factors_of(groups: Sequence[Group]) -> list[FactorRecord]:
    """Groups as they stand in a record."""
    return [
        FactorRecord(
            id=g.id,
            kind=g.kind,
            says=g.says,
            knobs=[KnobRecord(id=k.id, start=k.start, end=k.end) for k in g.knobs],
        )
        for g in groups
    ]


def corners_of(corners: Corners) -> list[CornerRecord]:
    """Combinations as they stand in a record, fewest switched first."""
    return [
        CornerRecord(
            switched=sorted(ids),
            matrices={name: [list(row) for row in m.counts] for name, m in sorted(held.items())},
            ignored_px={name: m.ignored for name, m in sorted(held.items())},
        )
        for ids, held in sorted(corners.items(), key=lambda each: (len(each[0]), sorted(each[0])))
    ]


def published_of(found: Published, scenes: Scenes) -> PublishedRecord:
    """A figure as it stands in a record."""
    unit = "" if found.claim.unit in ("", "fraction") else f" {found.claim.unit}"
    return PublishedRecord(
        id=found.claim.id,
        printed=f"{found.claim.value}{unit}",
        value=found.value,
        source=found.claim.source.text(),
        scenes=scenes,
        clusters=found.clusters,
    )


def computed(
    factors: Sequence[FactorRecord],
    corners: Corners,
    wanted: Wanted,
    over: Sequence[int] | None,
    published: PublishedRecord | None,
) -> ResultRecord:
    """Split the difference.

    Raises:
        RegistryError: The metric has no value at some combination, or is another quantity at each; says what to do.
    """
    try:
        found = bridge(
            [Factor(f.id, f.kind, f.says) for f in factors],
            corners,
            wanted.metric,
            wanted.class_index,
            None if published is None else published.value,
            claim_scenes="others" if published is None else published.scenes,
            claim_clusters=None if published is None else published.clusters,
            over=over,
        )
    except UndefinedBridgeError as err:
        raise RegistryError(
            f"{err}; name the classes of a mean with --classes, or another --metric; what was predicted is kept, so "
            "that the next call takes seconds"
        ) from err
    except ValueError as err:
        raise RegistryError(f"the bridge cannot be made: {err}") from err
    return as_record(found)


def as_record(found: Bridge) -> ResultRecord:
    """A bridge as it stands in a record."""
    shares = [
        ShareRecord(
            factor=s.factor.id,
            effect=s.effect,
            low=s.low,
            high=s.high,
            from_start=s.from_start,
            from_end=s.from_end,
            detectable=s.detectable,
            why=s.why,
            p=s.p,
            parts=[PartRecord(**asdict(part)) for part in s.parts],
            parts_why=s.parts_why,
        )
        for s in found.shares
    ]
    return ResultRecord(
        metric=found.metric,
        start=found.start,
        end=found.end,
        shares=shares,
        interactions=list(found.interactions),
        claimed=found.claimed,
        unexplained=found.unexplained,
        band=found.band,
        band_why=found.band_why,
        unexplained_reading=found.unexplained_reading,
        unexplained_beyond=found.unexplained_beyond,
        n=found.n,
        verdict=found.verdict,
        why=found.why,
        sentence=found.sentence,
        level=found.level,
        floor=found.floor,
        rules=found.rules,
    )
