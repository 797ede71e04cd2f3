"""Plants faults in true cards of the twin and writes down what the search for causes says of each.

Runs in a process of its own, behind `harness reproduce --twin`: `python -m harness.plantcheck --help`.
"""

from __future__ import annotations

import argparse
import math
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from harness.chips.recipe import Recipe, read_recipes
from harness.chips.tensors import Inputs
from harness.claims.audit import read_view
from harness.claims.families import Family
from harness.claims.schemes import Scheme, read_schemes
from harness.claims.structure import structure_rows
from harness.errors import UnscoredError
from harness.given import from_lock
from harness.knobs import Sought, explain_card, knobs
from harness.places import eval_folder, write_file
from harness.planted import METRICS, Card, Logits, displaced, draw, faulty, middle, right, told
from harness.records import LoadAudit
from harness.records.planted import Control, Draw, Fault, Outcome, PlantRecord
from harness.score.binary import BinaryMatrix
from harness.score.explain import MATERIAL, Claimed, Explanation
from harness.score.story import Story, check
from harness.workbench import Place, Setting, Workbench, place

if TYPE_CHECKING:
    from harness.models.ensemble import Ensemble

SIDE_PX: Final = 128
"""Faults are planted on the middle of each scene: a setting shows in every pixel alike, and a draw takes seconds."""

SCENES, FEWEST = 6, 2
"""In each set of chips: at most, and at least."""

SCHEMES: Final = ("training-doc", "card", "published-rerun", "riprap-app")
"""Schemes of five classes that a fault may take."""

TASKS: Final[tuple[str, str]] = ("lulc_twin", "buildings_twin")
"""Adapters of the twin: land cover, buildings."""

THINNED: Final = 0.4
"""Share of building pixels that a thinned label keeps: the same rates at another prevalence, by construction."""


@dataclass(frozen=True)
class Ground:
    """What faults are planted on."""

    ensemble: Ensemble
    """The twin's models."""
    whole: Mapping[str, Sequence[Place]]
    """Sets of whole chips."""
    small: Mapping[str, Sequence[Place]]
    """Their middles, with a rim of labels."""
    nominal: Setting
    """As the twin's card was made."""
    recipes: Sequence[Recipe]
    """Others, whose statistics may be planted and are tried."""
    schemes: Mapping[str, Scheme]
    """By id."""

    def bench(self, small: Mapping[str, Sequence[Place]], said: dict[str, Any]) -> Workbench:
        """A workbench on some places."""
        tasks = {TASKS[0]: "land cover", TASKS[1]: "buildings"}
        resampling = self.nominal.recipe.resampling
        return Workbench(self.ensemble, tasks, small, self.schemes, resampling, said=said)  # type: ignore[arg-type]


def gather(locks: Sequence[Path], weights: Path, data: Path) -> Ground:
    """Chips of locks from the store, and the models.

    Args:
        locks: The card's scenes, then others.
        weights: The twin's.
        data: Folder with eval/ of the twin.

    Raises:
        UnscoredError: Too few labelled chips in one of the locks.
        WeightsError: Weights are refused.
    """
    from harness.locking import Sources
    from harness.models import stack
    from harness.models.ensemble import load_family

    stack.prepare()
    view = read_view(data / "eval")
    own = read_recipes(data / "eval" / "recipes")
    recipe = own["twin"]
    found: list[list[Place]] = []
    for lock in locks:
        with from_lock([lock], recipe, Sources(), view.schemes) as given:
            found.append([place(given, name) for name in given.names])
    card, others = found[0][:SCENES], sorted(found[1], key=lambda p: float((p.buildings == 1).mean()))
    half = min(SCENES, len(others) // 2)
    if min(len(card), half) < FEWEST:
        raise UnscoredError(
            f"{FEWEST} labelled scenes of the card's lock and {2 * FEWEST} of the other are needed; there are "
            f"{len(card)} and {len(others)}"
        )
    whole = {"card": card, "sparse": others[:half], "dense": others[-half:]}
    ensemble = load_family(view.families["twin"], weights, tasks=TASKS, recipe=recipe, device="cpu")
    known = eval_folder(None)
    recipes = [*read_recipes(known / "recipes").values(), recipe]
    schemes = {**read_schemes(known / "schemes"), **view.schemes}
    small = {name: [middle(p, SIDE_PX) for p in each] for name, each in whole.items()}
    return Ground(ensemble, whole, small, Setting(recipe, "training-code", "card"), recipes, schemes)


def _logits(ensemble: Ensemble) -> Logits:
    """The models as a function of tensors, for cards made here."""

    def of(task: str, arrays: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        return ensemble.predict(Inputs("planted", "planted", dict(arrays), True, {}, ()), [task])[task].logits

    return of


def draws(ground: Ground, first: int, many: int) -> Iterator[Draw]:
    """Cards with one to three faults each, and what the search says."""
    said: dict[str, Any] = {}
    own = {r.id: r.statistics for r in ground.recipes if r.id != ground.nominal.recipe.id}
    card = Card(_logits(ground.ensemble), ground.small, ground.schemes, TASKS)
    for seed in range(first, first + many):
        planted = draw(seed, own, SCHEMES, [name for name in ground.small if name != "card"])
        wrong = faulty(ground.nominal, planted, own)
        places, true, stated = ground.small, ground.nominal, wrong
        in_card = bool(np.random.default_rng([seed, 1]).random() < 0.4)
        if in_card:  # figures of a card that was made otherwise than it says
            true, stated = wrong, ground.nominal
            claims = card.claims(true)
        else:  # a true card, used otherwise than it says; label files that lie off are another fault than moved ones
            claims = card.claims(true)
            if "shift" in planted:
                shift = planted["shift"]
                off = {name: displaced(each, shift) for name, each in ground.whole.items()}
                places = {name: [middle(p, SIDE_PX) for p in each] for name, each in off.items()}
                stated, true = replace(stated, shift=(0, 0)), replace(true, shift=(-shift[0], -shift[1]))
        bench = ground.bench(places, said)
        table = knobs(stated, bench, ground.recipes)
        undo = {kind: right(kind, stated, true, table) for kind in planted}
        sought = explain_card(claims, stated, bench, ground.recipes, thorough=False)
        left = _left(planted, undo, sought, stated, bench, claims, table)
        yield Draw(
            seed=seed,
            where="card" if in_card else "use",
            faults=_faults(planted, undo, sought.explanation, left),
            said=_words(sought),
            verdict=sought.explanation.verdict,
            why=sought.explanation.why,
            accused=sorted(_wrongly(sought.explanation, set(undo.values()))),
            tried=sought.explanation.tried,
            forwards=math.floor(sought.explanation.spent),
        )


def _words(sought: Sought) -> list[str]:
    says = {a.id: a.says for a in sought.alternatives}
    sets = sought.explanation.sets[:3] or ([sought.explanation.partial] if sought.explanation.partial else [])
    return ["; ".join(says[i] for i in each.alternatives) for each in sets]


def _wrongly(found: Explanation, rights: set[str | None]) -> set[str]:
    """Alternatives accused in every set although nothing of the kind was planted."""
    if not found.sets or any(set(each.alternatives) <= rights for each in found.sets):
        return set()
    return set(found.accused - rights) or {"every set named"}


def _left(
    planted: Mapping[str, Any],
    undo: Mapping[str, str | None],
    sought: Sought,
    stated: Setting,
    bench: Workbench,
    claims: Sequence[Claimed],
    table: Sequence[Any],
) -> dict[str, float]:
    """By kind: what putting a fault right still changes on top of what was found, largest figure."""
    if not sought.explanation.sets:
        return {}
    apply = {a.id: do for a, do in table}
    base = stated
    for each in sought.explanation.sets[0].alternatives:
        base = apply[each](base)
    metrics = [c.metric for c in claims]
    before = bench.figures(base, metrics)
    out = {}
    for kind in planted:
        if (i := undo[kind]) is not None:
            after = bench.figures(apply[i](base), metrics)
            out[kind] = max(abs((after[m] or 0.0) - (before[m] or 0.0)) for m in metrics)
    return out


def _faults(
    planted: Mapping[str, Any], undo: Mapping[str, str | None], found: Explanation, left: Mapping[str, float]
) -> list[Fault]:
    sets = [set(t.alternatives) for t in found.sets]
    rows = []
    for kind, value in planted.items():
        outcome = _outcome(undo[kind], found, sets, left.get(kind, 1.0))
        rows.append(Fault(kind=kind, what=told(kind, value), outcome=outcome))
    return rows


def _outcome(i: str | None, found: Explanation, sets: Sequence[set[str]], left: float) -> Outcome:
    if sets and all(i in each for each in sets):
        return "found"
    if any(i in each for each in sets):
        return "one of several"
    if left < MATERIAL or found.verdict == "as stated":
        return "no trace"
    return "closest, not accused" if found.partial is not None and i in found.partial.alternatives else "not told"


def controls(ground: Ground) -> Iterator[Control]:
    """Differences that should not matter, on whole chips, and cards without a fault."""
    bench = ground.bench(ground.whole, {})
    recipe, nominal = ground.nominal.recipe, ground.nominal
    metrics = [f"{TASKS[t == 'buildings']}.{m}" for t, many in METRICS.items() for m in many]
    base = bench.figures(nominal, metrics)
    smooth = {**recipe.resampling, **dict.fromkeys(("20m", "60m"), "bilinear")}
    for name, fields in (
        ("bands of 20 and 60 m resampled bilinearly", {"resampling": smooth}),
        ("chips of 224 px", {"chip_size_px": 224}),
    ):
        other = bench.figures(replace(nominal, recipe=recipe.model_copy(update=fields)), metrics)
        changes = {m: abs((other[m] or 0.0) - (base[m] or 0.0)) for m in metrics}
        largest = max(changes, key=lambda m: changes[m])
        headline = max(changes[f"{task}.mIoU"] for task in TASKS)
        yield Control(
            what=name, headline=headline, largest=changes[largest], metric=largest, material=headline >= MATERIAL
        )


def faultless(ground: Ground) -> Iterator[Draw]:
    """True cards of every set of chips, stated truly: nothing may be accused."""
    card, said = Card(_logits(ground.ensemble), ground.small, ground.schemes, TASKS), dict[str, Any]()
    for name in ground.small:
        stated = replace(ground.nominal, population=name)
        sought = explain_card(
            card.claims(stated), stated, ground.bench(ground.small, said), ground.recipes, thorough=False
        )
        found = sought.explanation
        yield Draw(
            seed=-1, where=name, faults=[], said=_words(sought) if found.sets else [], verdict=found.verdict,
            why=found.why, accused=sorted(found.accused), tried=found.tried, forwards=math.floor(found.spent),
        )  # fmt: skip


def sizes(seed: int, data: Path, audits: Mapping[str, LoadAudit]) -> Iterator[Fault]:
    """A wrong size beside a true one, written into a card's file as an author would."""
    rng = np.random.default_rng([seed, 2])
    for task, audit in audits.items():
        size = {f.role: f.size_bytes for f in audit.files}["decoder"] / 1e6
        factor = float(rng.choice([1 / 1.048576, 0.9, 1.1, 2.0]))
        text = "\n".join(
            [
                "schema: 1", "card: sizes", "family: twin", "kind: card", "title: sizes", "author: the planter",
                "source: {repository: made, path: made}", "claims:",
                f"  - {{id: true, quantity: {{subject: {task}, metric: decoder_size}}, value: '{size:.2f}', unit: MB, "
                "tolerance: rounding}",
                f"  - {{id: false, quantity: {{subject: {task}, metric: decoder_size}}, value: '{size * factor:.2f}', "
                "unit: MB, tolerance: rounding}",
            ]
        )  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            for each in ("families", "recipes", "schemes"):
                shutil.copytree(data / "eval" / each, root / each)
            write_file(root / "claims" / "sizes.yaml", text + "\n")
            view = read_view(root)
        fits = {row.claim.partition("/")[2]: row.fits for row in structure_rows(view.registry, _family(view), audit)}
        outcome: Outcome = "found" if fits == {"true": True, "false": False} else "not told"
        yield Fault(kind="size", what=f"{task}: decoder said to have {factor:.3f} times its size", outcome=outcome)


def _family(view: Any) -> Family:
    family: Family = view.families["twin"]
    return family


def stories(seed: int, ground: Ground) -> Iterator[Fault]:
    """A composition story that is true by construction, and one beside a figure made at another threshold."""
    rng = np.random.default_rng([seed, 3])
    bench = ground.bench(ground.whole, {})
    feed = bench.feed(ground.nominal, TASKS[1])
    label = np.concatenate([p.buildings.ravel() for p in ground.whole["card"]])
    said = np.concatenate([each.ravel() for each in feed])
    kept = (label == 0) | ((label == 1) & (rng.random(label.size) < THINNED))
    here = _two(label, said > np.float32(0.5), label >= 0)
    for threshold, holds in ((0.5, True), (float(rng.choice([0.2, 0.8])), False)):
        there = _two(label, said > np.float32(threshold), kept)
        positives = there.tp + there.fn
        figure = float(there.tp / (positives + there.fp))
        story = check(Story(here, round(figure, 4), float(positives / (positives + there.fp + there.tn))))
        what = f"a gap laid to fewer buildings; the other figure made at threshold {threshold:g}"
        yield Fault(kind="story", what=what, outcome="found" if story.holds is holds else "not told")


def _two(label: NDArray[Any], said: NDArray[np.bool_], of: NDArray[np.bool_]) -> BinaryMatrix:
    y, p = label[of] == 1, said[of]
    return BinaryMatrix(int((y & p).sum()), int((~y & p).sum()), int((y & ~p).sum()), int((~y & ~p).sum()))


def main(argv: Sequence[str] | None = None) -> int:
    """Command line of the process."""
    parser = argparse.ArgumentParser(prog="python -m harness.plantcheck", description=__doc__)
    parser.add_argument("--lock", action="append", required=True, type=Path, help="the card's, then another")
    parser.add_argument("--weights", required=True, type=Path)
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--draws", required=True, type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", required=True, type=Path)
    asked = parser.parse_args(argv)
    ground = gather(asked.lock, asked.weights, asked.data)
    audits = {task: ground.ensemble.adapters[task].audit for task in TASKS}
    done: list[Draw] = []
    for each in draws(ground, asked.seed, asked.draws):
        print(f"... planted faults: {len(done) + 1} of {asked.draws} cards", file=sys.stderr, flush=True)
        done.append(each)
    record = PlantRecord(
        seed=asked.seed,
        draws=done,
        faultless=list(faultless(ground)),
        controls=list(controls(ground)),
        others=[*sizes(asked.seed, asked.data, audits), *stories(asked.seed, ground)],
    )
    write_file(asked.out, record.model_dump_json(indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
