"""Where a run's chips lie beside the training ground, how it scores without those on it, and how boundaries meet."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from harness.claims.registry import Registry
from harness.records import ChipScore
from harness.records.spatial import NearestTraining
from harness.report.counted import Counted
from harness.report.run_tables import Page, Table, escaped
from harness.report.words import environment, num, pct
from harness.score import metrics
from harness.score.boundary import BoundaryScore, pooled_boundary
from harness.score.clusters import metric
from harness.score.confusion import ConfusionMatrix
from harness.score.interval import FEW, Interval, interval
from harness.score.scenes import probes, sampled, scene_names


def _joined(names: Sequence[str]) -> str:
    return ", ".join(names)


class Spatial:
    """One adapter's part of the section.

    Attributes:
        page: The adapter.
        chips: Its chips, with what was counted.
        late: Whether boundaries were counted now, from the arrays.
        other: Figures of other boundary metrics that documents print for it, as sentences' parts.
    """

    def __init__(self, page: Page, counted: Counted, registry: Registry | None, *, random: bool) -> None:
        self.page = page
        self.chips: list[ChipScore] = counted.chips(page.run)
        self.late = counted.late(page.run, "boundary")
        claims = [] if registry is None or random else registry.claims
        self.other = [
            f"{escaped(c.id)} ({escaped(c.value)})"
            for c in claims
            if c.quantity.subject == page.run.adapter and c.quantity.metric.startswith("boundary")
        ]

    @property
    def id(self) -> str:
        """Adapter id, escaped."""
        return self.page.id

    @property
    def known(self) -> list[tuple[ChipScore, NearestTraining]]:
        """Chips whose place beside the training ground is known."""
        return [(c, c.nearest_training) for c in self.chips if c.nearest_training and c.nearest_training.reason is None]

    def unknown(self) -> list[str]:
        """Why the place of some chips is not known, with their number."""
        found: dict[str, list[str]] = {}
        for chip in self.chips:
            place = chip.nearest_training
            if place is None:
                why = "the chip was not read" if not chip.sha256 else "not recorded: the record is older than this"
                found.setdefault(why, []).append(chip.chip)
            elif place.reason is not None:
                found.setdefault(place.reason, []).append(chip.chip)
        return [f"{len(names)} of {len(self.chips)} chips: {escaped(why)}" for why, names in found.items()]

    def place_table(self) -> Table:
        """Each chip beside the training ground."""
        rows: list[Sequence[str]] = []
        for chip, at in self.known:
            apart = "shares ground" if at.overlaps else f"{(at.distance_m or 0.0) / 1000:,.1f} km"
            shares = [pct(at.share, 1), pct(at.windows_share, 1), pct(at.validation_share, 1)]
            when = [escaped((at.date or "unknown")[:10]), "unknown" if at.days is None else f"{at.days:,}"]
            rows.append([escaped(chip.chip), *shares, escaped(at.cell or "none"), apart, *when])
        head = ["chip", "on training parents", "on their chips", "on validation parents", "nearest training parent"]
        return Table([*head, "distance", "its image", "days apart"], "lrrrlrlr", rows)

    def drawn(self) -> bool:
        """Whether some parents are drawn around their centres, because their grids were not read."""
        return any(not at.exact for _, at in self.known)

    def sources(self) -> str:
        """Files that the training ground comes from."""
        named = dict.fromkeys((at.source, at.sha256, at.parents) for _, at in self.known)
        return "; ".join(
            f"{escaped(source)} (sha256 {str(digest)[:12]}, {parents} training parents)"
            for source, digest, parents in named
        )

    @property
    def scored(self) -> list[ChipScore]:
        """Scored chips whose place is known, those of role `probe` left out as they are no sample."""
        known = {c.chip for c, _ in self.known}
        return [c for c in sampled(self.chips) if c.confusion and c.chip in known]

    @property
    def apart(self) -> list[ChipScore]:
        """Of these, chips that share no ground with a training parent."""
        free = {c.chip for c, at in self.known if at.overlaps is False}
        return [c for c in self.scored if c.chip in free]

    def left_out(self) -> str:
        """Scored chips of role `probe` by name; empty where there is none."""
        return _joined([escaped(name) for name in probes(self.chips)])

    def without(self) -> str:
        """What leaving out the overlapping chips comes to, in a sentence."""
        all_, kept = len(self.scored), len(self.apart)
        if not all_:
            return "No scored chip has a known place, so none can be left out."
        if kept == all_:
            return f"None of the {all_} scored chips shares ground with a training parent, so nothing is left out."
        if not kept:
            return f"All {all_} scored chips share ground with training parents: without them nothing is left to score."
        return f"{all_ - kept} of {all_} scored chips share ground with training parents. With and without them:"

    @cached_property
    def _with_and_without(self) -> list[tuple[str, list[str], int, ConfusionMatrix, Interval]]:
        """Both sets with scenes, number of chips, matrix and interval of mIoU over scenes; empty where they are one."""
        if not self.apart or len(self.apart) == len(self.scored):
            return []
        names, out = scene_names(self.chips), []
        for what, chips in (("all chips of known place", self.scored), ("without overlapping chips", self.apart)):
            scenes: dict[str, ConfusionMatrix] = {}
            for chip in chips:
                name, one = names[chip.chip], ConfusionMatrix(tuple(map(tuple, chip.confusion or [])))
                scenes[name] = scenes[name] + one if name in scenes else one
            stack = list(scenes.values())
            found = interval(stack, metric("mIoU"), "pooled")
            out.append((what, list(scenes), len(chips), sum(stack[1:], stack[0]), found))
        return out

    def without_table(self) -> Table | None:
        """Scores of all chips and of those apart from the training ground; None where that is no difference."""
        k = self.page.run.load.classes
        rows: list[Sequence[str]] = []
        for what, _, chips, total, found in self._with_and_without:
            cells = [what, str(chips), str(found.n), f"{found.text(3)} ({metrics.miou(total).classes} of {k})"]
            rows.append([*cells, *(num(metrics.iou(total, i).value) for i in range(k))])
        names = [f"IoU {escaped(n)}" for n in self.page.key.names]
        head = ["chips", "n", "scenes", "mIoU, macro (classes entered)", *names]
        return Table(head, "lrrr" + "r" * k, rows) if rows else None

    def without_words(self) -> list[str]:
        """What each interval of the table is, or why there is none; every scene where there are few."""
        out = []
        for what, scenes, _, _, found in self._with_and_without:
            own = [f"{escaped(s)} {num(v)}" for s, v in zip(scenes, found.clusters, strict=True)]
            each = f" Each scene: {', '.join(own)}." if found.n < FEW else ""
            out.append(f"{what}, mIoU: {escaped(found.why)}.{each}")
        return out

    def together(self) -> str:
        """Which chips of the run share ground with each other."""
        looked = [c for c in self.chips if c.shares_ground is not None]
        if not looked:
            return "Whether chips of this run share ground with each other is not on record."
        pairs = [f"{escaped(c.chip)} with {escaped(_joined(c.shares_ground or []))}" for c in looked if c.shares_ground]
        if not pairs:
            return f"Of {len(looked)} chips no two share ground or a parent."
        return f"Chips that share ground or a parent, so that they do not count as independent: {'; '.join(pairs)}."

    def boundary(self) -> list[BoundaryScore]:
        """Pooled over scored chips."""
        return pooled_boundary([c.boundary for c in self.chips if c.scored and c.boundary])

    def boundary_n(self) -> str:
        """`n = 2 of 3 chips`."""
        return f"n = {sum(bool(c.scored and c.boundary) for c in self.chips)} of {len(self.chips)} chips"

    def boundary_table(self) -> Table:
        """Boundary scores by class, a group of columns for each tolerance."""
        found = self.boundary()
        tolerances = sorted({s.tolerance_px for s in found})
        rows: list[Sequence[str]] = []
        for i, name in enumerate(self.page.key.names):
            own = [s for s in found if s.class_index == i]
            if own:
                scores = [num(v.value) for s in own for v in (s.f1, s.precision, s.recall)]
                rows.append([escaped(name), f"{own[0].label_px:,}", f"{own[0].predicted_px:,}", *scores])
        head = [f"{what}, {t} px" for t in tolerances for what in ("F1", "precision", "recall")]
        return Table(["class", "label boundary px", "predicted boundary px", *head], "lrr" + "r" * len(head), rows)


def section(pages: Sequence[Page], counted: Counted, registry: Registry | None, *, random: bool) -> str:
    """The report's section on ground and boundaries."""
    held = [Spatial(page, counted, registry, random=random) for page in pages]
    places: dict[str, list[Spatial]] = {}
    for each in held:
        text = "\n".join([*each.unknown(), each.place_table().text()])
        places.setdefault(text, []).append(each)
    return (
        environment()
        .get_template("spatial.md.j2")
        .render(held=held, places=list(places.values()), random=random, md=escaped)
    )
