"""Operating points of a run's two-class adapters: which threshold, chosen where; how calibrated; at what cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from harness.claims.families import Family, Recommended
from harness.claims.model import Claim
from harness.claims.registry import Registry
from harness.errors import ReportError
from harness.records import ChipScore
from harness.report import operating_figures as figures
from harness.report.counted import Counted
from harness.report.run_tables import ROWS, Page, Table, escaped, stem
from harness.report.words import environment, num, pct
from harness.score.calibration import Calibration, calibration, pooled_reliability
from harness.score.clusters import metric
from harness.score.interval import Interval
from harness.score.operating import (
    IOU,
    PRECISION,
    RECALL,
    Bill,
    Choice,
    Costs,
    Judged,
    Scene,
    bill,
    by_role,
    judged,
    leave_one_out,
    scenes,
)
from harness.score.scenes import probes, sampled
from harness.score.sweep import SweepPoint, pooled

FIXED = 0.5
"""The threshold that nobody chose: argmax."""


def said(found: Interval, digits: int = 3) -> str:
    """A value with its interval as a table shows it."""
    return found.text(digits)


@dataclass(frozen=True)
class Operating:
    """One adapter's operating points, as the template shows them."""

    page: Page
    """The adapter."""
    scenes: list[Scene]
    """Scored scenes."""
    choices: list[Choice]
    """Thresholds chosen away from the scenes that they are judged on."""
    missing: list[str]
    """Why there is no such choice, each in a sentence's middle."""
    calibration: Calibration | None
    """Of the chips of `scenes`; None where none holds bins."""
    late: bool
    """Whether the bins were counted now, from the arrays."""
    bill: Bill | None
    """Costs, where somebody stated them."""
    recommended: list[tuple[Recommended, list[Claim]]]
    """Recommended thresholds and the figures printed for them; empty where weights are random."""
    chips: list[ChipScore]
    """All chips, with what was counted."""
    files: dict[str, str] = field(default_factory=dict)
    """Figures by name."""

    @property
    def id(self) -> str:
        """Adapter id, escaped."""
        return self.page.id

    @property
    def of(self) -> str:
        """Class 1, escaped."""
        return escaped(self.page.key.names[1])

    @property
    def n(self) -> str:
        """`n = 6 scenes`."""
        return f"n = {len(self.scenes)} scene{'' if len(self.scenes) == 1 else 's'}"

    @property
    def points(self) -> tuple[SweepPoint, ...]:
        """Pooled over all scenes."""
        return pooled([s.sweep for s in self.scenes])

    @property
    def ground(self) -> str:
        """What a scene is here."""
        left = [c.chip for c in self.chips if c.sweep and c.chip in probes(self.chips)]
        out = ""
        if left:
            out = f" Left out here, as role probe is chosen for what is on it: {', '.join(map(escaped, left))}."
        chips = [c for c in sampled(self.chips) if c.sweep]
        joint = [s for s in self.scenes if len(s.chips) > 1]
        if joint:
            said = "Chips that share ground or a parent are one scene: " + "; ".join(escaped(s.name) for s in joint)
            return f"{said}.{out}"
        if any(c.shares_ground is None for c in chips):
            return f"Whether chips share ground is not on record, so each chip counts as a scene of its own.{out}"
        return f"No two of the chips share ground; each is a scene.{out}"

    def choice_table(self) -> Table:
        """Each way to a threshold, and how the judged scenes score at it."""
        rows: list[Sequence[str]] = []

        def row(threshold: str, chosen: str, on: Judged) -> None:
            judged_on = f"{len(on.names)} scene{'' if len(on.names) == 1 else 's'}"
            rows.append([threshold, chosen, judged_on, *(said(on.interval(m)) for m in (IOU, PRECISION, RECALL))])

        if any(abs(t - FIXED) < 1e-9 for t in self.page.grid):
            row(f"{FIXED:g}", "nowhere: it is what argmax comes to", judged(self.scenes, FIXED))
        for choice in self.choices:
            where = (
                f"the other {choice.chosen_on}, for each scene"
                if choice.how == "leave one scene out"
                else f"{choice.chosen_on} tune scene{'' if choice.chosen_on == 1 else 's'}"
            )
            row(span(choice.held_out), where, choice.held_out)
            row(span(choice.same), "**the scenes that it is judged on**", choice.same)
        return Table(["threshold", "chosen on", "judged on", "IoU", "precision", "recall"], "rllrrr", rows)

    def ends(self) -> list[str]:
        """What the intervals are, or why there is none, for the last row chosen elsewhere; equal words once."""
        on = self.choices[-1].held_out if self.choices else judged(self.scenes, self.points[0].threshold)
        found: dict[str, list[str]] = {}
        for name, of in (("IoU", IOU), ("precision", PRECISION), ("recall", RECALL)):
            found.setdefault(on.interval(of).why, []).append(name)
        return [f"{', '.join(names)}: {why}" for why, names in found.items()]

    def optimism(self) -> list[str]:
        """What choosing on the judged scenes adds, one sentence a choice."""
        out = []
        for choice in self.choices:
            gain = choice.optimism()
            beside = "leaving each scene out" if choice.how == "leave one scene out" else "choosing on the tune scenes"
            if gain.value is None:
                out.append(f"What choosing on the judged scenes adds over {beside} is undefined: {gain.why}.")
                continue
            ends = "no interval"
            if gain.low is not None and gain.high is not None:
                ends = f"[{gain.low:+.3f}, {gain.high:+.3f}]" + ("" if gain.useful else " (not useful)")
            out.append(
                f"Choosing on the judged scenes instead of {beside} adds {gain.value:+.3f} of IoU, {ends}, n = "
                f"{gain.n} scene{'' if gain.n == 1 else 's'}; the thresholds are held as chosen. {gain.why[0].upper()}"
                f"{gain.why[1:]}."
            )
        return out

    def at_the_end(self) -> list[str]:
        """Where the best threshold is the first or last that was swept, with what marking everything scores."""
        grid, found = self.page.grid, []
        ways = {c.same.thresholds[0]: c.same for c in reversed(self.choices)}
        for threshold, on in ways.items():
            if threshold in (min(grid), max(grid)):
                end = "lowest" if threshold == min(grid) else "highest"
                share = on.total.prevalence
                found.append(
                    f"**Warning: {threshold:g}, best for IoU on the scenes it is judged on, is the {end} threshold "
                    "that was swept.** A better one may lie beyond it. A map that marks everything has IoU "
                    f"{num(share)} on these scenes, n = {len(on.names)} scene{'' if len(on.names) == 1 else 's'}."
                )
        return found

    def scene_table(self) -> Table:
        """Every scene at the threshold of the others, at that of all, and at argmax."""
        loo = next((c for c in self.choices if c.how == "leave one scene out"), None)
        by_chip = {c.chip: c.reliability for c in self.chips}
        rows: list[Sequence[str]] = []
        for number, scene in enumerate(self.scenes):
            fixed = next((p.matrix for p in scene.sweep if abs(p.threshold - FIXED) < 1e-9), None)
            bins = [b for name in scene.chips if (b := by_chip.get(name)) is not None]
            own = calibration(pooled_reliability(bins)) if bins else None
            cells = [escaped(scene.name), scene.role or "none", pct(scene.sweep[0].matrix.prevalence, 1)]
            cells += [num(fixed.iou1) if fixed else "not swept"]
            if loo is not None:
                cells += [f"{loo.held_out.thresholds[number]:g}", num(loo.held_out.matrices[number].iou1)]
                cells += [num(loo.same.matrices[number].iou1)]
            cells += ["not counted"] * 2 if own is None else [num(own.ece.value), num(own.brier.value)]
            rows.append(cells)
        head = ["scene", "role", "share in label", f"IoU at {FIXED:g}"]
        head += [] if loo is None else ["threshold of the others", "IoU at it", "IoU at the threshold of all"]
        return Table([*head, "ECE", "Brier"], "ll" + "r" * len(head), rows)

    def bin_table(self) -> Table:
        """The reliability diagram in numbers; bins without a pixel are left out."""
        bins = self.calibration.bins if self.calibration else ()
        rows = [[f"{b.low:g} to {b.high:g}", f"{b.px:,}", num(b.mean), num(b.observed)] for b in bins if b.px]
        return Table(["probability", "px", "mean", "share in the labels"], "lrrr", list(rows))

    def recommended_table(self) -> Table:
        """Recommended thresholds: what is printed for them, beside this run."""
        rows: list[Sequence[str]] = []
        for point, claims in self.recommended:
            threshold = float(point.threshold)
            swept = any(abs(t - threshold) < 1e-9 for t in self.page.grid)
            on = judged(self.scenes, threshold) if swept else None
            for name in ("precision", "recall", "iou"):
                ours = "not swept" if on is None else said(on.interval(metric(name, 1)))
                printed = [
                    f"{escaped(c.value)} ({escaped(c.id)}, on {escaped(c.quantity.split or 'chips not named')})"
                    for c in claims
                    if c.quantity.metric == name or (name == "recall" and c.quantity.metric == "class_accuracy")
                ]
                cells = [escaped(point.threshold), escaped(point.purpose), {"iou": "IoU"}.get(name, name), ours]
                rows.append([*cells, "; ".join(printed) or "no figure printed"])
        return Table(["threshold", "recommended for", "metric", f"this run, {self.n}", "printed"], "rllrl", rows)

    def cost_table(self) -> Table:
        """Costs by threshold, beside the two maps that need no adapter."""
        held = self._bill()
        every = -(-len(held.per_px) // ROWS)
        rows = [["marks nothing", num(held.nothing, 1)]]
        rows += [
            [f"**{t:g}**" if t == held.threshold else f"{t:g}", num(cost, 1)]
            for i, (t, cost) in enumerate(held.per_px)
            if i % every == 0 or t in (FIXED, held.threshold)
        ]
        rows.append(["marks everything", num(held.everything, 1)])
        return Table(["threshold", "cost per 1,000 px"], "lr", list(rows))

    def cost_words(self) -> list[str]:
        """What the costs come to, and what is wrong with believing it."""
        held = self._bill()
        cheapest = dict(held.per_px)[held.threshold]
        out = [
            f"Cheapest on all {self.n} together: threshold {held.threshold:g}, {num(cheapest, 1)} per 1,000 px. It was "
            "chosen on the scenes that it is judged on."
        ]
        if isinstance(held.choice, Choice):
            cost = held.choice.held_out.interval(held.costs.metric())
            out.append(
                f"Each scene at the threshold that the others find cheapest ({span(held.choice.held_out)}): "
                f"{said(cost, 1)} per 1,000 px, {self.n}. {cost.why[0].upper()}{cost.why[1:]}."
            )
        else:
            out.append(f"No threshold is chosen away from the scenes it is judged on: {held.choice}.")
        if held.end:
            out.append(
                f"**Warning: {held.threshold:g} is the {held.end} threshold that was swept.** The cheapest one may lie "
                "beyond it, and the sweep does not say where."
            )
        trivial = [("nothing", held.nothing), ("everything", held.everything)]
        for name, cost_of in trivial:
            if cost_of <= cheapest:
                out.append(
                    f"**Warning: a map that marks {name} costs {num(cost_of, 1)}, no more than the adapter at its "
                    "best.** At this ratio of costs the adapter earns nothing on these scenes."
                )
        return out

    def _bill(self) -> Bill:
        if self.bill is None:
            raise ReportError("costs are shown only where somebody stated them")
        return self.bill


def span(on: Judged) -> str:
    """Thresholds in words: `0.35`, or `0.35 to 0.45` where scenes differ."""
    low, high = min(on.thresholds), max(on.thresholds)
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _recommended(page: Page, family: Family, registry: Registry | None) -> list[tuple[Recommended, list[Claim]]]:
    out = []
    for point in family.recommended:
        if point.adapter == page.run.adapter and registry is not None:
            found = [registry.find(ref) for ref in point.claims]
            lost = [ref for ref, claims in zip(point.claims, found, strict=True) if len(claims) != 1]
            if lost:
                raise ReportError(f"family {family.id}: recommended: no claim {', '.join(lost)}")
            out.append((point, [claims[0] for claims in found]))
    return out


def operating(
    page: Page, counted: Counted, family: Family, registry: Registry | None, costs: Costs | None, *, random: bool
) -> Operating | None:
    """One adapter's operating points.

    Args:
        page: The adapter.
        counted: What was counted now.
        family: Has the recommended thresholds.
        registry: Has the figures printed for them; None leaves them out.
        costs: As somebody stated them.
        random: Whether weights were random: then no claim is set beside.

    Returns:
        None for an adapter that has not two classes, or no scored chip with a sweep.

    Raises:
        ReportError: A recommended threshold names a claim that does not exist, or chips of unlike sweeps or bins.
    """
    chips = counted.chips(page.run)
    if page.run.load.classes != 2:
        return None
    try:
        held = scenes(chips)
        if not held:
            return None
        bins = [c.reliability for c in sampled(chips) if c.reliability is not None]
        known = calibration(pooled_reliability(bins)) if bins else None
        billed = bill(held, costs) if costs else None
    except ValueError as err:
        raise ReportError(f"{page.run.adapter}: {err}") from err
    found = [leave_one_out(held)]
    if any(s.role in ("tune", "test") for s in held):
        found.insert(0, by_role(held))
    out = Operating(
        page=page,
        scenes=held,
        choices=[c for c in found if isinstance(c, Choice)],
        missing=[c for c in found if isinstance(c, str)],
        calibration=known,
        late=counted.late(page.run, "reliability"),
        bill=billed,
        recommended=[] if random else _recommended(page, family, registry),
        chips=chips,
    )
    name, of = page.run.adapter, page.key.names[1].removeprefix("class ")
    title = f"{name}, {out.n}"
    out.files[f"figures/pr-{stem(name)}.svg"] = figures.precision_recall(
        out.points, _spots(out), out.points[0].matrix.prevalence, title=title, random=random
    )
    if known is not None:
        out.files[f"figures/reliability-{stem(name)}.svg"] = figures.reliability_diagram(
            known, title=title, of=of, random=random
        )
    return out


def _spots(held: Operating) -> list[figures.Spot]:
    wanted: list[tuple[str, Judged]] = []
    if any(abs(t - FIXED) < 1e-9 for t in held.page.grid):
        wanted.append((f"at {FIXED:g}", judged(held.scenes, FIXED)))
    for choice in held.choices:
        named = "each scene left out" if choice.how == "leave one scene out" else "chosen on tune scenes"
        wanted.append((f"{named}: {span(choice.held_out)}", choice.held_out))
    out = []
    for name, on in wanted:
        m = on.total
        if m.precision is not None and m.tpr is not None:
            out.append(figures.Spot(name, m.precision, m.tpr))
    return out


def section(held: Sequence[Operating], *, random: bool, costs: Costs | None) -> str:
    """The report's section; empty where no adapter has operating points."""
    if not held:
        return ""
    return (
        environment()
        .get_template("operating.md.j2")
        .render(operating=held, random=random, costs=costs, stem=stem, md=escaped, num=num, pct=pct)
    )
