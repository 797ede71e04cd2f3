"""An AOI becomes scenes: search, drop, judge, choose, with every choice written down."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Final, NoReturn

from harness.chips.aois import Aoi
from harness.chips.chip import Grid
from harness.chips.coverage import bbox, chip_grid
from harness.chips.items import Candidate, candidates, redacted, stamp
from harness.chips.question import Catalogue, Joined, Question, offering
from harness.chips.reader import REACH_PX
from harness.chips.recipe import Recipe
from harness.chips.scenes import AoiLock, Lock, Scene, Search, Timestep
from harness.chips.select import (
    S1_WINDOW,
    Acquisition,
    Choice,
    DateRule,
    Sight,
    choose_dates,
    choose_passes,
    complete,
    date_rule,
    deduplicated,
    one_offset,
    static_mosaic,
)
from harness.errors import RecipeError, SourceError

LOCK_SIZE_PX: Final = REACH_PX
"""A lock covers all that is fetched round a point, whatever a recipe's chip size and grid snap, so that
an ablation over recipes reads the same scenes."""

SCENE_CLOUD_MAX: Final = 80.0
"""Percent of a whole scene; above, a clear chip is too rare to open the scene for it. Assumed."""

SEARCH_MARGIN_M: Final = 100.0
"""Around a chip, so that a raster that gives the ring for resampling is found too."""

WORLDCOVER_YEAR: Final = (datetime(2021, 1, 1, tzinfo=UTC), datetime(2021, 12, 31, tzinfo=UTC))
"""The year of version 200; the map of 2020 is version 100 and was made otherwise."""

LOOKS: Final = 8
"""Acquisitions whose cloud is judged at once; each waits for one to four small windows."""

See = Callable[[Sequence[Scene], Grid], Sight]
"""Reads the scene classification of a mosaic on a chip. Raises SourceError where it cannot."""

Tell = Callable[[str], None]
"""Takes one line of progress."""


def resolve(
    aoi: Aoi, recipe: Recipe, catalogue: Catalogue | Joined, see: See, tell: Tell = lambda line: None
) -> AoiLock:
    """Find the scenes of an AOI for a recipe.

    Args:
        aoi: Place, window, labels.
        recipe: Whose dates, modalities and offset policy count.
        catalogue: Where to search.
        see: Judges cloud and data on the chip; asked once for every complete acquisition, from several threads.
        tell: Progress.

    Raises:
        RecipeError: The recipe takes its dates as a chip brings them.
        SourceError: The catalogue failed, or holds too little; says what was found and dropped.
    """
    rule = date_rule(recipe.dates, aoi.start, aoi.end)
    if isinstance(rule, str):
        raise RecipeError(f"{recipe.id}: {rule}")
    work = _Work(aoi, recipe, catalogue, tell)
    steps = work.sentinel2(rule, see)
    dates = [datetime.fromisoformat(step.scenes[0].datetime) for step in steps]
    if "S1RTC" in recipe.bands:
        steps += work.sentinel1(dates, rule)
    if "DEM" in recipe.bands:
        steps.append(work.static("DEM"))
    if any(label.startswith("worldcover") for label in aoi.labels):
        steps.append(work.static("LULC"))
    return AoiLock(
        aoi=aoi.id,
        recipe=recipe.id,
        centre=aoi.centre,
        epsg=work.grid.epsg,
        timesteps=steps,
        searches=work.searches,
    )


def resolve_all(
    aois: Sequence[Aoi],
    recipe: Recipe,
    catalogue: Catalogue | Joined,
    see: See,
    now: datetime,
    tell: Tell = lambda line: None,
) -> tuple[Lock, dict[str, str]]:
    """Resolve many AOIs; one that fails does not stop the others.

    Returns:
        The lock, and by AOI id why it could not be resolved.
    """
    done: list[AoiLock] = []
    failed: dict[str, str] = {}
    for number, aoi in enumerate(aois, 1):
        tell(f"{aoi.id} ({number} of {len(aois)})")
        try:
            done.append(resolve(aoi, recipe, catalogue, see, tell))
        except SourceError as err:
            failed[aoi.id] = str(err)
    return Lock(created=stamp(now), aois=done), failed


class _Work:
    """One AOI under way: its grid, and the record of every search."""

    def __init__(self, aoi: Aoi, recipe: Recipe, catalogue: Catalogue | Joined, tell: Tell) -> None:
        self.aoi, self.recipe, self.catalogue, self.tell = aoi, recipe, catalogue, tell
        self.grid = chip_grid(aoi.centre, max(LOCK_SIZE_PX, recipe.chip_size_px))
        self.searches: list[Search] = []

    def sentinel2(self, rule: DateRule, see: See) -> list[Timestep]:
        found, dropped = self._search("S2L2A", rule.start, rule.end, SCENE_CLOUD_MAX)
        whole, incomplete = complete(found, self.grid)
        dropped.update(incomplete)
        if self.recipe.s2_offset.policy == "raw":
            whole, other = one_offset(whole)
            dropped.update(other)
        sights: dict[str, Sight] = {}
        self.tell(f"{self.aoi.id}: cloud on the chip, {len(whole)} dates")
        for one, seen in zip(whole, self._seen(whole, see), strict=True):
            if isinstance(seen, Sight):
                sights[one.id] = seen
            else:
                self.tell(f"{self.aoi.id}: {one.id}: {redacted(str(seen))}")
        choice = choose_dates(whole, sights, rule)
        return self._steps("S2L2A", choice, dropped, rule.repeat)

    def _seen(self, whole: Sequence[Acquisition], see: See) -> list[Sight | SourceError]:
        def look(one: Acquisition) -> Sight | SourceError:
            try:
                return see([c.scene for c in one.scenes], self.grid)
            except SourceError as err:
                return err

        with ThreadPoolExecutor(LOOKS, thread_name_prefix="look") as pool:
            return list(pool.map(look, whole))

    def sentinel1(self, dates: Sequence[datetime], rule: DateRule) -> list[Timestep]:
        distinct = sorted(set(dates))
        found, dropped = self._search("S1RTC", distinct[0] - S1_WINDOW, distinct[-1] + S1_WINDOW, None)
        whole, incomplete = complete(found, self.grid)
        dropped.update(incomplete)
        return self._steps("S1RTC", choose_passes(distinct, whole), dropped, rule.repeat)

    def static(self, modality: str) -> Timestep:
        start, end = WORLDCOVER_YEAR if modality == "LULC" else (None, None)
        found, dropped = self._search(modality, start, end, None)
        laid = static_mosaic(found, self.grid)
        if laid is None or laid.sure < 1:
            self._close(dropped)
            self._refuse(modality, f"{'no raster on the chip' if laid is None else laid.gap} ({_said(dropped)})")
        dropped["not on the chip"] += len(found) - len(laid.scenes)
        self._close(dropped)
        why = f"{len(laid.scenes)} raster(s) reach the chip or one of their own pixels around it"
        return self._step(modality, 0, laid, f"{why}; WorldCover of {start.year}" if start else why)

    def _steps(self, modality: str, choice: Choice, dropped: Counter[str], repeat: int) -> list[Timestep]:
        dropped.update(choice.dropped)
        self._close(dropped)
        if not choice.chosen:
            self._refuse(modality, f"{choice.why[0]}; dropped in all: {_said(dropped)}")
        pairs = [pair for pair in zip(choice.chosen, choice.why, strict=True) for _ in range(repeat)]
        again = f"; the one date stands {repeat} times" if repeat > 1 else ""
        return [self._step(modality, index, one, why + again) for index, (one, why) in enumerate(pairs)]

    def _step(self, modality: str, index: int, one: Acquisition, why: str) -> Timestep:
        tiles = " then ".join(c.scene.tile or c.scene.item for c in one.scenes)
        said = f"{why}; laid: {tiles}; {one.sure:.1%} of {self.grid.width_px} px squared covered for certain"
        return Timestep(modality=modality, index=index, scenes=[c.scene for c in one.scenes], why=said)

    def _search(
        self, modality: str, start: datetime | None, end: datetime | None, cloud: float | None
    ) -> tuple[list[Candidate], Counter[str]]:
        """Candidates of one search, de-duplicated; the search is recorded with what was dropped so far."""
        west, south, east, north = bbox(self.grid, SEARCH_MARGIN_M)
        question = Question(modality, (west, south, east, north), start, end, cloud)
        self.tell(f"{self.aoi.id}: searching {modality}")
        catalogue = offering(self.catalogue, modality)
        answer = catalogue.search(question)
        read, unusable = candidates(answer.items, modality, catalogue.profile)
        kept, older = deduplicated(read)
        dropped = Counter({**answer.dropped})
        dropped.update(Counter(bad.reason for bad in unusable))
        dropped.update(older)
        self.searches.append(
            Search(
                catalogue=redacted(catalogue.url),
                collection=catalogue.profile.collections[modality],
                datetime=question.datetime_range or "any",
                bbox=list(question.bbox),
                query=question.query,
                found=answer.found,
                dropped={},
            )
        )
        return kept, dropped

    def _close(self, dropped: Mapping[str, int]) -> None:
        """Complete the record of the latest search."""
        counts = {reason: n for reason, n in sorted(dropped.items()) if n}
        self.searches[-1] = self.searches[-1].model_copy(update={"dropped": counts})

    def _refuse(self, modality: str, why: str) -> NoReturn:
        latest = self.searches[-1]
        raise SourceError(
            f"{self.aoi.id}: {modality}: {why}; {latest.found} items came from {latest.catalogue} for "
            f"{latest.datetime}. Widen the AOI's window, or choose another catalogue"
        )


def _said(dropped: Mapping[str, int]) -> str:
    return ", ".join(f"{n} {reason}" for reason, n in sorted(dropped.items()) if n) or "nothing"
