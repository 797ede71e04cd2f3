"""Labels of a locked AOI: WorldCover from its scenes, footprints from the city's table, pinned by hash."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np

from harness.chips.chip import Chip, Grid, Label
from harness.chips.footprints import fetch_boroughs, fetch_footprints, footprints, outline, padded
from harness.chips.rasterise import SCHEME, STOOD, FootprintRule, box_of, building_label
from harness.chips.scenes import AoiLock, LabelPin
from harness.chips.sources.socrata import BOROUGHS, FOOTPRINTS, Snapshot, Socrata, read_snapshot, write_snapshot
from harness.chips.worldcover import to_scheme, wants_buildings
from harness.claims.schemes import Scheme
from harness.errors import ChipError

FOOTPRINT_SOURCE = "nyc-footprints"
"""Word of an AOI for the city's building footprints."""

BOROUGH_SOURCE = "nyc-boroughs"
"""Where the city has land: asked along with the footprints."""


@dataclass(frozen=True)
class Rows:
    """A snapshot and its file."""

    snapshot: Snapshot
    """The rows."""
    path: Path
    """Where they lie."""
    remark: str | None = None
    """How they differ from what the lock pins; None where they do not."""


class Tables:
    """Rows of label tables: from snapshots where they are there, else from the portal, with a snapshot kept."""

    def __init__(self, folder: Path, client: Socrata | None = None) -> None:
        self.folder, self._client = folder, client
        self._boroughs: Snapshot | None = None

    def pins(self, grid: Grid) -> list[LabelPin]:
        """Ask for all rows around a grid, keep them, and say what a lock should pin.

        Raises:
            SourceError: No answer, or an empty one over the city's land.
        """
        if self._boroughs is None:
            self._boroughs = fetch_boroughs(self._client)
        write_snapshot(self._boroughs, self.folder)
        got = fetch_footprints(box_of(grid), outline(self._boroughs), self._client)
        footprints(got)  # types are asserted before anything is pinned
        write_snapshot(got, self.folder)
        return [_pin(FOOTPRINT_SOURCE, got), _pin(BOROUGH_SOURCE, self._boroughs)]

    def rows(self, pin: LabelPin) -> Rows:
        """Rows of a pin. A live table may have changed since; then its rows of today come, with a remark.

        Raises:
            ChipError: The snapshot is damaged.
            SourceError: There is none, and the portal does not answer.
        """
        path = self.folder / f"{pin.dataset}-{pin.sha256[:12]}.json"
        if path.exists():
            return Rows(read_snapshot(path, pin.sha256), path)
        got = self._fetched(pin)
        path = write_snapshot(got, self.folder)
        if got.sha256 == pin.sha256:
            return Rows(got, path)
        remark = (
            f"{pin.source}: the table changed since the lock: {pin.rows} rows on {pin.fetched[:10]} "
            f"(sha256 {pin.sha256[:12]}), {len(got.rows)} on {got.fetched[:10]} ({got.sha256[:12]})"
        )
        return Rows(got, path, remark)

    def _fetched(self, pin: LabelPin) -> Snapshot:
        if pin.dataset == BOROUGHS:
            return fetch_boroughs(self._client)
        if pin.dataset != FOOTPRINTS or len(pin.box) != 4:
            raise ChipError(f"{pin.source}: the lock pins {pin.dataset!r}, which is no table known here; lock again")
        city = outline(self._boroughs or fetch_boroughs(self._client))
        west, south, east, north = pin.box
        inner = padded((0.0, 0.0, 0.0, 0.0))[2]
        return fetch_footprints((west + inner, south + inner, east - inner, north - inner), city, self._client)


def _pin(source: str, got: Snapshot) -> LabelPin:
    box = [] if got.box is None else list(got.box)
    return LabelPin(
        source=source, dataset=got.dataset, box=box, sha256=got.sha256, rows=len(got.rows), fetched=got.fetched
    )


def label(chip: Chip, lock: AoiLock, scheme: Scheme, tables: Tables, rule: FootprintRule = STOOD) -> Label:
    """The class map of a locked chip in a scheme.

    Args:
        chip: As read from the lock.
        lock: Says which tables and maps the AOI has.
        scheme: `footprints`, or any with WorldCover codes.
        tables: Rows.
        rule: Knobs between footprints and pixels.

    Returns:
        Shape (H, W); -1 where a pixel has no label.

    Raises:
        ChipError: The lock has no such label source, or the scheme needs another.
        SourceError: Rows cannot be had.
    """
    if scheme.id == SCHEME:
        return _buildings(chip, lock, tables, rule)
    layer = chip.layers.get("LULC")
    if layer is None:
        raise ChipError(f"{chip.id}: the lock holds no land-cover map, which scheme {scheme.id} reads")
    codes = np.nan_to_num(layer.data[0, 0], nan=0).astype(np.uint8)
    buildings = _buildings(chip, lock, tables, rule) if wants_buildings(scheme) else None
    made = to_scheme(codes, scheme, layer.source, None if buildings is None else buildings.data)
    if buildings is None:
        return made
    return Label(made.data, made.scheme, made.source, made.evidence, f"{made.why}; {buildings.why}", made.ignore_index)


def _buildings(chip: Chip, lock: AoiLock, tables: Tables, rule: FootprintRule) -> Label:
    found = {pin.source: tables.rows(pin) for pin in lock.labels}
    rows, city = found.get(FOOTPRINT_SOURCE), found.get(BOROUGH_SOURCE)
    if rows is None or city is None:
        raise ChipError(
            f"{chip.id}: the lock pins no building footprints; name nyc-footprints in the AOI and lock again"
        )
    made = building_label(
        footprints(rows.snapshot), outline(city.snapshot), chip.grid, chip_date(chip), rule, rows.path
    ).label
    notes = [f"snapshot sha256 {rows.snapshot.sha256[:12]}", *(r.remark for r in (rows, city) if r.remark)]
    if not (made.data != made.ignore_index).any():
        raise ChipError(f"{chip.id}: no pixel lies on the city's land; footprints say nothing of it")
    return Label(made.data, made.scheme, made.source, made.evidence, "; ".join([made.why, *notes]), made.ignore_index)


def chip_date(chip: Chip) -> date:
    """The first Sentinel-2 date of a chip.

    Raises:
        ChipError: It has none.
    """
    layer = chip.layers.get("S2L2A")
    dates: Sequence[str] = sorted(d for d in layer.dates if d) if layer else []
    if not dates:
        raise ChipError(f"{chip.id}: no Sentinel-2 date; footprints are held against one")
    return date.fromisoformat(dates[0])
