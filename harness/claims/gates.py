"""Gates that an author set himself, put to a run: data under eval/gates/, answered with an interval."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from harness.claims.model import Band, Gate
from harness.claims.registry import Registry, read_yaml, validated
from harness.claims.rules import Rules
from harness.errors import RegistryError
from harness.names import known
from harness.records import AdapterRun, ChipScore, Strict, Text
from harness.records.gates import GateAnswer, GateWord
from harness.score.clusters import NAMES
from harness.score.clusters import metric as stack_metric
from harness.score.confusion import ConfusionMatrix
from harness.score.interval import Interval, interval
from harness.score.paired import paired
from harness.score.scenes import sampled, scene_names

POINTS = 100
"""Percentage points of a fraction."""


class Question(Strict):
    """One gate: which rule, and what a run has to measure."""

    id: str
    """Unique in its file."""
    rule: str
    """Id of the author's rule: `<card>/<gate>` under eval/claims/, with its bands, quotation and source."""
    adapter: str
    """Whose."""
    over: Text = None
    """Adapter that it must beat on the same chips, in points; None where its own score is asked for, a fraction."""
    metric: str
    """A metric of `harness.score.clusters`."""
    class_index: Annotated[int | None, BeforeValidator(lambda v: int(v) if isinstance(v, str) else v)] = None
    """Class, for a metric of one class."""
    split: str
    """Set of chips that the rule speaks of."""
    passes: list[str] = Field(min_length=1)
    """Bands of the rule that are a pass."""
    inferred: Text = None
    """What of this is our reading and not the author's word."""


class GateFile(Strict):
    """One file under eval/gates/: the gates of a family."""

    schema_version: Literal["1"] = Field(alias="schema")
    """Version of this shape."""
    family: str
    """Family id; the file's stem."""
    date: datetime.date
    """When these questions were set."""
    gates: list[Question]
    """In the order of reports."""


@dataclass(frozen=True)
class Put:
    """A question with the rule that it names."""

    question: Question
    """What to measure."""
    rule: Gate
    """Bands, quotation, source."""

    @property
    def unit(self) -> str:
        """Unit of bands and answer."""
        return "points" if self.question.over else "fraction"

    @property
    def least(self) -> Fraction:
        """The bound above which every band is a pass, in `unit`."""
        return min(Fraction(band.lo or 0) for band in self.rule.bands if band.name in self.question.passes)

    @property
    def what(self) -> str:
        """Metric in words."""
        q = self.question
        name = q.metric if q.class_index is None else f"{q.metric} of class {q.class_index}"
        return f"{name}, points over {q.over}" if q.over else name

    def band(self, value: float) -> str | None:
        """The author's word for a value; None where no band holds it."""
        return next((b.name for b in self.rule.bands if _holds(b, Fraction(value))), None)


def _holds(band: Band, value: Fraction) -> bool:
    return (band.lo is None or value >= Fraction(band.lo)) and (band.hi is None or value <= Fraction(band.hi))


def read_gates(folder: Path) -> dict[str, GateFile]:
    """All files of a folder by family; empty where there is no such folder.

    Raises:
        RegistryError: A file is wrong; names file, line and field.
    """
    out: dict[str, GateFile] = {}
    for path in sorted(folder.glob("*.yaml")):
        raw = read_yaml(path)
        file = validated(GateFile, raw, path, "gates")
        if file.family != path.stem:
            raise RegistryError(f"{path}:{raw.lines['family']}: family: {file.family!r} differs from the file's name")
        ids = [q.id for q in file.gates]
        if len(set(ids)) < len(ids):
            raise RegistryError(f"{path}:{raw.lines['gates']}: gates: an id stands twice in {', '.join(ids)}")
        for q in file.gates:
            if q.metric not in NAMES:
                raise RegistryError(f"{path}: {q.id}: metric {q.metric!r}; there are {', '.join(NAMES)}")
            try:
                stack_metric(q.metric, q.class_index)
            except ValueError as err:
                raise RegistryError(f"{path}: {q.id}: {err}") from err
        out[file.family] = file
    return out


def put(file: GateFile, registry: Registry) -> list[Put]:
    """Every question of a family with its rule.

    Raises:
        RegistryError: No such rule or band, or passing bands below a band that is no pass.
    """
    rules = {gate.id: gate for card in registry.cards for gate in card.gates}
    out = []
    for q in file.gates:
        one = Put(q, rules[known(q.rule, rules, "gate")])
        names = [band.name for band in one.rule.bands]
        for name in q.passes:
            known(name, names, f"band of {q.rule}")
        bounds = [b for b in one.rule.bands if b.name in q.passes]
        if any(b.lo is None for b in bounds):
            raise RegistryError(f"{q.rule}: a passing band is open below, so that anything would pass {q.id}")
        if any(b.hi is None or Fraction(b.hi) > one.least for b in one.rule.bands if b.name not in q.passes):
            raise RegistryError(f"{q.rule}: a band above {float(one.least):g} is no pass; {q.id} has no one bound")
        out.append(one)
    return out


def answers(
    file: GateFile | None, registry: Registry, adapters: Sequence[AdapterRun], rules: Rules, random: bool = False
) -> list[GateAnswer]:
    """Put a family's gates to a run.

    Args:
        file: The family's questions; None gives no answer.
        registry: Holds the author's rules.
        adapters: What each adapter did.
        rules: Fewest clusters and level.
        random: Whether any weights were random; then nothing is answered.
    """
    if file is None:
        return []
    by_id = {each.adapter: each for each in adapters}
    return [_answer(one, by_id, rules, random) for one in put(file, registry)]


def _answer(one: Put, runs: Mapping[str, AdapterRun], rules: Rules, random: bool) -> GateAnswer:
    q = one.question

    def none(why: str) -> GateAnswer:
        return _made(one, "not measured", why=why)

    if random:
        return none("random weights show nothing about the adapter")
    missing = [name for name in (q.adapter, q.over) if name is not None and name not in runs]
    if missing:
        return none(f"{' and '.join(missing)} did not run")
    arms = [_by_chip(runs[name]) for name in ([q.over, q.adapter] if q.over else [q.adapter])]
    shared = [name for name in arms[0] if all(name in arm for arm in arms)]
    if not shared:
        return none("no chip is scored" + (" by both" if q.over else ""))
    schemes = {runs[name].scheme for name in (q.adapter, q.over) if name is not None}
    if len(schemes) > 1:
        return none(f"scored under {' and '.join(sorted(map(str, schemes)))}: no difference between schemes")
    groups: dict[str, list[str]] = {}
    scenes = scene_names([chip for arm in arms for chip in arm.values()])
    for name in shared:
        groups.setdefault(scenes[name], []).append(name)
    stacks = [[_pooled([arm[name] for name in chips]) for chips in groups.values()] for arm in arms]
    metric, level, p = stack_metric(q.metric, q.class_index), rules.equivalence.level, None
    try:
        if q.over:
            both = paired(stacks[0], stacks[1], metric, "pooled", level=level)
            found, p, tested = both.difference, both.p, f"; {both.why}"
        else:
            found, tested = interval(stacks[0], metric, "pooled", level=level), ""
    except ValueError as err:
        return none(str(err))
    if found.value is None:
        return none(found.why)
    same = all(chip.split == q.split for arm in arms for chip in (arm[name] for name in shared))
    return _said(one, found, list(groups), rules, same, p, tested)


def _said(
    one: Put, found: Interval, names: Sequence[str], rules: Rules, same: bool, p: float | None, tested: str
) -> GateAnswer:
    scale = POINTS if one.question.over else 1
    value, least = scale * float(found.value or 0.0), float(one.least)
    usable = found.useful and found.n >= rules.equivalence.fewest_clusters
    ends = None
    if usable and found.low is not None and found.high is not None:
        ends = (scale * found.low, scale * found.high)
    word: GateWord = "undecided"
    side = "reaches" if value >= least else "stays below"
    if ends is None:
        why = f"the value {side} {least:g}, and no useful interval says whether by luck: {found.why}"
    elif ends[0] >= least:
        word, why = "passed", f"the whole interval reaches {least:g}. {found.why}"
    elif ends[1] < least:
        word, why = "not passed", f"the whole interval stays below {least:g}. {found.why}"
    else:
        why = f"the value {side} {least:g}, and the interval holds both sides, so it may be luck. {found.why}"
    return _made(
        one,
        word,
        value=value,
        interval=ends,
        level=None if ends is None else found.level,
        method=None if ends is None else found.method,
        coverage_simulated=None if ends is None else found.coverage_simulated,
        n=found.n,
        clusters={n: None if v is None else scale * v for n, v in zip(names, found.clusters, strict=True)},
        p=p,
        band=one.band(value),
        same_set=same,
        why=why + tested,
    )


def _made(one: Put, word: GateWord, **fields: object) -> GateAnswer:
    q = one.question
    named = {"gate": q.id, "rule": q.rule, "adapter": q.adapter, "over": q.over, "metric": one.what}
    return GateAnswer.model_validate(named | {"least": float(one.least), "unit": one.unit, "word": word} | fields)


def _by_chip(run: AdapterRun) -> dict[str, ChipScore]:
    return {chip.chip: chip for chip in sampled(run.chips) if chip.confusion}


def _pooled(chips: Sequence[ChipScore]) -> ConfusionMatrix:
    found = [ConfusionMatrix(tuple(map(tuple, chip.confusion or []))) for chip in chips]
    return sum(found[1:], found[0])
