"""Everything from the live services: weights, scenes, pixels, labels, then the run. Behind `reproduce --live`."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from harness.chips.lock import read_lock
from harness.claims.audit import read_view
from harness.claims.families import Family
from harness.errors import RegistryError, UnreachableError
from harness.locking import Sources, asked_of, lock_aois
from harness.measure import Measured, Request, measure
from harness.models.hub import fetch_family
from harness.models.hub_client import size_words
from harness.names import known
from harness.places import eval_folder

Step = Callable[[str], None]

AOI_BYTES: Final = 15_000_000
"""Windows of an AOI for four dates, with the scene classifications that judge them. Assumed, before any lock."""


@dataclass(frozen=True)
class Live:
    """What came of it."""

    measured: Measured | None
    """The run; None where a service that it needs did not answer."""
    locks: tuple[Path, ...] = ()
    """Locks that it read."""
    unreachable: dict[str, str] = field(default_factory=dict)
    """By service: why it did not answer."""
    failed: dict[str, str] = field(default_factory=dict)
    """By AOI, where none could be locked: why."""
    proved: tuple[str, ...] = ()
    """What was seen to work, a line each."""

    def words(self) -> str | None:
        """The services that did not answer, for a report's cells; None where all did."""
        return " and ".join(self.unreachable) + " unreachable" if self.unreachable else None


def live(request: Request, sources: Sources, *, step: Step = lambda _: None) -> Live:
    """Fetch what is not there, lock what is not locked, run.

    Args:
        request: Family, recipe, adapters, AOIs, device; its weights and locks are found here unless it names them.
        sources: Services and caches.
        step: Told what is being done; size and time come before the first byte.

    Returns:
        The run, or the services that did not answer, or why no AOI at all could be locked. AOIs that failed
        beside others are unscored in the run.

    Raises:
        RegistryError: No such family, recipe or AOI, or a file that is wrong.
        WeightsError: A file from the Hub is not what the family pins.
        SourceError: A service answered with what cannot be used.
    """
    where = eval_folder(request.root)
    families = read_view(where).families
    family = families[known(request.family, families, "family")]
    files = sorted((where.parent / "aois").glob("*.geojson"))
    if not files and not request.locks:
        raise RegistryError(f"{where.parent / 'aois'}: no AOIs; --live needs a checkout, name one with --root")
    proved: list[str] = []
    try:
        weights = request.weights or _weights(family, request, step)
    except UnreachableError as err:
        return Live(None, unreachable={"the Hub": str(err)})
    if weights is not None and weights != request.weights:
        proved.append(f"weights: {weights}, as the Hub has them")
    shares = [] if request.locks else asked_of(files, request.aois)
    count = sum(len(ids) for _, ids in shares)
    if count:
        step(
            f"imagery: {count} AOIs, {size_words(count * AOI_BYTES)} or less (assumed); what {sources.store.root} "
            "holds is not read again"
        )
    locks = list(request.locks)
    failed: dict[str, str] = {}
    for file, ids in shares:
        try:
            done = lock_aois(file, sources, recipes=[request.recipe], ids=ids, root=request.root, step=step)
        except UnreachableError as err:
            return Live(None, unreachable={"the catalogue": str(err)}, proved=tuple(proved))
        failed |= {name.split(" ")[0]: why for name, why in done.failed.items()}
        if done.added or done.kept:
            locks.append(done.path)
            proved.append(f"scenes: {done.path}: {len(done.added)} AOIs resolved now, {len(done.kept)} before")
    if not locks:
        return Live(None, failed=failed, proved=tuple(proved))
    there = {one.aoi for path in locks for one in read_lock(path).aois if one.recipe == request.recipe}
    aois = request.aois or tuple(sorted(there | failed.keys()))
    measured = measure(
        replace(request, weights=weights, locks=tuple(locks), aois=aois, failed=failed, sources=sources), step
    )
    scores = [c for a in measured.run.adapters for c in a.chips]
    read = sorted({c.chip for c in scores if c.sha256})
    if read:
        proved.append(f"pixels: {len(read)} of {len(aois)} AOIs read")
    proved += [
        f"{a.adapter}: {sum(c.probabilities_sha256 is not None for c in a.chips)} chips through the model, "
        f"{sum(c.scored for c in a.chips)} scored against labels"
        for a in measured.run.adapters
        if any(c.probabilities_sha256 for c in a.chips)
    ]
    return Live(measured, tuple(locks), proved=tuple(proved))


def _weights(family: Family, request: Request, step: Step) -> Path | None:
    """Weights of the request, else HARNESS_WEIGHTS, else from the Hub."""
    if request.random_weights or os.environ.get("HARNESS_WEIGHTS"):
        return None
    folder = (request.sources or Sources()).cache / "weights" / family.id
    return fetch_family(family, folder, step, tasks=request.tasks or None)
