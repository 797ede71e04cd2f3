"""What `harness ablate` was asked, and what it comes to: ends, factors, chips, forwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from harness.ablate.ends import End, Group, Held, Unlabelled, differing, grouped, hold, mixed
from harness.ablate.published import Wanted
from harness.ablate.readings import FileReadings, LockReadings, Readings
from harness.chips.rasterise import RULES
from harness.chips.rasterise import SCHEME as FOOTPRINTS
from harness.chips.recipe import Recipe, read_recipes
from harness.claims.audit import read_view
from harness.claims.families import Adapter, Family
from harness.claims.groups import View
from harness.errors import RegistryError
from harness.given import LAND_COVER, from_files
from harness.names import known
from harness.places import eval_folder
from harness.score.metrics import METRIC_FUNCTIONS, OfClass
from harness.score.shapley import corner_sets

if TYPE_CHECKING:
    from harness.locking import Sources

Step = Callable[[str], None]

MEANS: Final = ("mIoU", "mean_class_accuracy", "f1_macro")
"""Means over classes: which, may be said."""


@dataclass(frozen=True)
class Asked:
    """What somebody asked for. Pairs are of start and end; None in them is the usual."""

    adapter: str
    """Adapter id."""
    start: str
    """Recipe at the start."""
    end: str
    """Recipe at the end."""
    family: str = "terramind-nyc"
    """Family id."""
    chips: Path | None = None
    """Folder of chips, see docs/chips-folder.md."""
    labels: tuple[Path, ...] = ()
    """Label maps, one a scheme."""
    declared: Mapping[str, str] = field(default_factory=dict)
    """Units by modality, as the user declares them."""
    locks: tuple[Path, ...] = ()
    """Or locks."""
    sources: Sources | None = None
    """With a lock: services and caches; the usual ones where left out."""
    schemes: tuple[str | None, str | None] = (None, None)
    """Of the labels; the recipe's own where it has one of its name."""
    footprints: tuple[str | None, str | None] = (None, None)
    """Rules between footprints and pixels."""
    unlabelled: tuple[Unlabelled, Unlabelled] = ("left out", "left out")
    """What becomes of land that no footprint table speaks of."""
    sets: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    """Chip ids of each end; all where empty."""
    hold: tuple[str, ...] = ()
    """Knobs not to be switched."""
    metric: str = "mIoU"
    """A name of `METRIC_FUNCTIONS`."""
    class_index: int | None = None
    """For a metric of one class."""
    over: tuple[int, ...] = ()
    """For a mean over classes: which; those that every combination defines where empty."""
    threshold: float = 0.5
    """Of two-class adapters."""
    claim: str | None = None
    """Published figure at the start; looked for where left out."""
    weights: Path | None = None
    """Folder of weights; None takes HARNESS_WEIGHTS."""
    random_weights: bool = False
    """Write weights of our own, full size, and run those: mechanics only."""
    device: str = "auto"
    """As `harness.models.devices.device.resolve` takes it."""
    batch_norm: Literal["refuse", "initial"] = "refuse"
    """What to do with a decoder that has no running statistics."""
    seed: int = 0
    """For sampled tokens and random weights."""
    greedy: bool = False
    """Most probable token instead of sampling."""
    plan: bool = False
    """Say what it would cost, and stop."""
    command: str = ""
    """As typed."""
    root: Path | None = None
    """Checkout with an eval/ folder."""
    out: Path | None = None
    """Folder for runs; eval/runs of the checkout where left out."""


@dataclass(frozen=True)
class Plan:
    """What is to be run."""

    view: View
    """Registry."""
    family: Family
    """Whose adapter."""
    adapter: Adapter
    """Which."""
    wanted: Wanted
    """Metric."""
    start: End
    """One end."""
    end: End
    """The other."""
    groups: tuple[Group, ...]
    """Factors."""
    held: tuple[Held, ...]
    """What differs and is not switched."""
    names: tuple[str, ...]
    """Chips of either end."""
    missing: Mapping[str, str]
    """Chips that cannot be run, and why."""

    @property
    def corners(self) -> dict[frozenset[str], End]:
        """Every combination of switched factors, and how it is made."""
        knobs = {g.id: {k.id for k in g.knobs} for g in self.groups}
        sets = corner_sets([g.id for g in self.groups])
        return {ids: mixed(self.start, self.end, {k for i in ids for k in knobs[i]}) for ids in sets}

    def feeds(self, name: str, way: Callable[[End], str]) -> set[tuple[str, ...]]:
        """What of one chip has to go through the model: one forward each."""
        ends = [end for end in self.corners.values() if name in end.chips]
        return {(way(e), e.recipe.precision, *map(e.setting("", 0.5).modality, sorted(e.recipe.bands))) for e in ends}


def planned(asked: Asked, stack: ExitStack, step: Step) -> tuple[Plan, Readings]:
    """Names checked, ends settled on the chips at hand, differences grouped.

    Args:
        asked: What.
        stack: Holds readers open.
        step: Told what is being done.

    Raises:
        RegistryError: A name that is not there, nothing that differs or that can be switched, or no chips.
        ChipError: The folder holds no chips.
    """
    folder = eval_folder(asked.root)
    view = read_view(folder)
    family = view.families[known(asked.family, view.families, "family")]
    known(asked.adapter, (a.id for a in family.adapters), "adapter")
    adapter = family.adapter(asked.adapter)
    recipes = read_recipes(folder / "recipes")
    wanted = _wanted(asked, adapter)
    if (asked.chips is None) == (not asked.locks):
        raise RegistryError("no chips: name a folder with --chips, or locks with --lock (one of the two)")
    start, end = (_end(asked, at, view, adapter, recipes) for at in (0, 1))
    readings: Readings
    missing: dict[str, str] = {}
    if asked.chips is not None:
        step(f"reading chips from {asked.chips}")
        readings = FileReadings(from_files(asked.chips, asked.declared, asked.labels, view.schemes), adapter)
        names = readings.given.names
    else:
        from harness.locking import Sources

        readings = LockReadings(stack, asked.locks, asked.sources or Sources(), view.schemes, adapter, start, end)
        names, missing = readings.names()
    sets = [tuple(known(n, names, "chip") for n in dict.fromkeys(ids)) or names for ids in asked.sets]
    start, end = replace(start, chips=sets[0]), replace(end, chips=sets[1])
    if not differing(start, end):
        raise RegistryError(f"{asked.start} and {asked.end} do not differ in anything; name another --from or --to")
    end, held = hold(start, end, asked.hold)
    start, end, more = readings.settle(start, end)
    groups = grouped(differing(start, end))
    if not groups:
        why = "; ".join(f"{h.knob}: {h.why}" for h in (*held, *more))
        raise RegistryError(f"nothing that differs between {asked.start} and {asked.end} can be switched here: {why}")
    both = tuple(n for n in names if n in {*start.chips, *end.chips})
    plan = Plan(view, family, adapter, wanted, start, end, tuple(groups), (*held, *more), both, missing)
    return plan, readings


def _wanted(asked: Asked, adapter: Adapter) -> Wanted:
    metric = METRIC_FUNCTIONS[known(asked.metric, METRIC_FUNCTIONS, "metric")]
    if isinstance(metric, OfClass) != (asked.class_index is not None):
        what = "is of one class: name it with --class" if isinstance(metric, OfClass) else "is of no class: no --class"
        raise RegistryError(f"{asked.metric} {what}")
    if asked.over and asked.metric not in MEANS:
        raise RegistryError(f"--classes goes with a mean over classes: {', '.join(MEANS)}")
    for index in (*asked.over, *([] if asked.class_index is None else [asked.class_index])):
        if not 0 <= index < adapter.classes:
            raise RegistryError(f"{adapter.id} has classes 0 to {adapter.classes - 1}, and no class {index}")
    if not 0 < asked.threshold < 1 or (asked.threshold != 0.5 and adapter.classes != 2):
        raise RegistryError(f"--threshold {asked.threshold:g}: between 0 and 1, for adapters of two classes")
    return Wanted(adapter.id, asked.metric, asked.class_index, asked.threshold)


def _end(asked: Asked, at: int, view: View, adapter: Adapter, recipes: Mapping[str, Recipe]) -> End:
    recipe = recipes[known((asked.start, asked.end)[at], recipes, "recipe")]
    own = adapter.label_schemes
    if not own:
        raise RegistryError(f"no class scheme is known for {adapter.id}")
    usual = recipe.id if recipe.id in own else LAND_COVER if LAND_COVER in own else own[0]
    scheme = known(asked.schemes[at] or usual, own, f"scheme of {adapter.id}")
    if len(view.schemes[known(scheme, view.schemes, "scheme")].classes) != adapter.classes:
        raise RegistryError(f"scheme {scheme} has another number of classes than {adapter.id}")
    if adapter.classes == 2 and scheme != FOOTPRINTS:
        raise RegistryError(f"{adapter.id}: two classes are bridged under scheme {FOOTPRINTS} only, not {scheme}")
    if asked.chips is not None and any(asked.footprints):
        raise RegistryError("rules for footprints go with --lock: labels of a folder are made already")
    rule = known(asked.footprints[at] or "stood", RULES, "rule for footprints")
    if adapter.classes != 2 and "background" in asked.unlabelled and asked.chips is not None:
        raise RegistryError("unlabelled land as background goes with footprints: an adapter of two classes, or --lock")
    return End(recipe, scheme, (), rule, asked.unlabelled[at])


def said(plan: Plan, total: int) -> Iterator[str]:
    """The plan in lines; `total` forwards at most."""
    k, n = len(plan.groups), len(plan.names)
    for group in plan.groups:
        together = " (grouped)" if len(group.knobs) > 1 else ""
        yield f"factor {group.id}{together}: {group.says}"
    for held in plan.held:
        yield f"held: {held.knob}: {held.why}"
    yield (
        f"cost: {1 << k} combinations of {k} factor{'s' if k > 1 else ''} on {n} chip{'' if n == 1 else 's'}: at most "
        f"{total} forwards of {plan.adapter.id}, fewer where an earlier call left predictions; the first one is timed"
    )
