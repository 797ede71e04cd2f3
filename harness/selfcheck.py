"""The whole chain on the simulated city, whose truth is known: behind `harness reproduce --twin`.

Every step is a command in a process of its own, pointed at local services by its environment: what
runs here is what runs live, with other addresses.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from harness.claims.audit import read_view
from harness.claims.groups import figure
from harness.claims.model import Claim
from harness.claims.verdicts import Word, judge
from harness.errors import SelfCheckError, UnscoredError
from harness.places import cache_folder
from harness.records import Measurement, RunRecord
from harness.records.planted import PlantRecord
from harness.records.run import read_run
from harness.twin.guard import LOG
from harness.twin.serve import Served, served

Step = Callable[[str], None]

DATA: Final = Path(__file__).resolve().parent / "twin" / "data"
"""The twin's family, card, recipe, places and weights."""

SEED: Final = 7
"""Of the city that the weights were trained on."""

NOT_THE_TWINS: Final = ("HARNESS_WEIGHTS", "HF_TOKEN", "HF_HUB_OFFLINE", "PC_SDK_SUBSCRIPTION_KEY")
"""Variables of the user's that would lead a command of the chain elsewhere, or tell the services a secret."""

SHIFT: Final = 0.03
"""By which each true claim is made false."""

SCENES, ALL = 12, 48
"""Scenes besides the card's: for a quick run, and all there are."""

DRAWS, MANY = 3, 40
"""Cards with planted faults: in a quick run, and where all scenes are taken."""

TOLD: Final = 0.8
"""Share of the planted faults which leave a trace that must be named. Set 2026-11-21."""


@dataclass(frozen=True)
class Row:
    """One claim of the twin's card."""

    id: str
    """Claim."""
    what: str
    """Quantity in words."""
    claimed: str
    """As printed."""
    measured: str
    """Ours, with interval and n."""
    verdict: Word
    """On the true claim."""
    shifted: Word
    """On the claim made false by `SHIFT`."""


@dataclass(frozen=True)
class SelfCheck:
    """What came of it."""

    same: tuple[Row, ...]
    """Claims about the scenes of the card, run on those very scenes."""
    other: tuple[Row, ...]
    """Claims about the city, run on other scenes than the card's."""
    planted: PlantRecord
    """Faults planted in the card or in its use, and what was said of them."""
    figures: dict[str, bytes]
    """Pictures of the run by file name: one scene, and the sweep of thresholds."""
    requests: dict[str, int]
    """Requests that the services saw, by kind."""
    outside: tuple[str, ...]
    """Hosts that were asked for and are none of the services."""
    problems: tuple[str, ...] = field(default=())
    """Why the self-check fails; empty where it holds."""


def selfcheck(
    step: Step = lambda _: None,
    scenes: int = SCENES,
    cache: Path | None = None,
    keep: Path | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> SelfCheck:
    """Lock, read, label, load, predict and score on the twin, and judge its claims.

    Args:
        step: Told what is being done.
        scenes: How many scenes besides the card's; `ALL` of them are needed for the verdict about equivalence.
        cache: Where the city is kept; the cache folder where left out.
        keep: Folder for the run; it goes with the services where left out.
        draws: Cards with planted faults.
        seed: Of the first of them.

    Raises:
        UnscoredError: A command of the chain failed; its own words.
        SourceError: The city cannot be written, or a service does not start.
        WeightsError: The twin's weights are not there.
    """
    view = read_view(DATA / "eval")
    family = view.families["twin"]
    folder = (cache or cache_folder()) / "twin"
    with served(folder, SEED, DATA / "weights", family, step) as services:
        runs, figures = _chain(services, scenes, keep, step)
        planted = _plant(services, draws, seed, step)
        refused = _refused(services)
        asked = [*services.outside, *(refused.read_text(encoding="utf-8").split() if refused.exists() else [])]
        requests, outside = dict(sorted(services.counts.items())), tuple(sorted(set(asked)))
    measured = [m for run in runs for m in run.measurements]
    claims = [claim for claim in view.registry.claims if claim.tolerance is not None]
    same = tuple(_row(claim, measured) for claim in claims if claim.quantity.split == "test")
    other = tuple(_row(claim, measured) for claim in claims if claim.quantity.split == "city")
    problems = [*_problems(same, other, requests, outside, scenes), *_badly_told(planted)]
    return SelfCheck(same, other, planted, figures, requests, outside, tuple(problems))


def _chain(services: Served, scenes: int, keep: Path | None, step: Step) -> tuple[list[RunRecord], dict[str, bytes]]:
    """The commands, in the order in which a user types them."""
    work = Path(services.environment["HARNESS_CACHE"]).parent / "chain"
    work.mkdir(parents=True, exist_ok=True)
    runs = keep or work / "runs"
    root = [f"--root={DATA}"]
    locks = []
    for name, most in (("card", ALL), ("eval", scenes)):
        ids = _ids(DATA / "aois" / f"{name}.geojson")
        many = min(most, len(ids))
        chosen = [f"--aoi={ids[i * len(ids) // many]}" for i in range(many)]
        lock = work / f"{name}.lock.json"
        step(f"twin: scenes of {len(chosen)} places ({name})")
        words = ["lock", str(DATA / "aois" / f"{name}.geojson"), "--recipe=twin", f"--address={services.address}"]
        _harness(services, [*words, f"--out={lock}", *chosen, *root], step)
        locks.append(f"--lock={lock}")
    step("twin: weights from the hub, windows, labels, two adapters")
    words = ["reproduce", "--live", "--require-live", "--family=twin", "--recipe=twin", f"--address={services.address}"]
    _harness(services, [*words, *locks, f"--out={runs}", "--device=cpu", *root], step)
    drawn = runs / "latest" / "figures"
    shown = {path.name: path.read_bytes() for path in sorted(drawn.glob("sweep-*.svg"))}
    if scene := next(iter(sorted(drawn.glob("chip-*card*.png"))), None):
        shown["scene.png"] = scene.read_bytes()
    return [read_run(runs / "latest" / "run.json")], shown


def _plant(services: Served, draws: int, seed: int, step: Step) -> PlantRecord:
    """Plant faults in a process of its own, on the chips that the chain has read."""
    work = Path(services.environment["HARNESS_CACHE"]).parent / "chain"
    done = work / "planted.json"
    locks = [f"--lock={work / name}.lock.json" for name in ("card", "eval")]
    words = [*locks, f"--weights={DATA / 'weights'}", f"--data={DATA}", f"--draws={draws}", f"--seed={seed}"]
    step("twin: planting faults in cards")
    _run(services, ["harness.plantcheck", *words, f"--out={done}"], "planted faults", step)
    return PlantRecord.model_validate_json(done.read_text(encoding="utf-8"))


def _badly_told(planted: PlantRecord) -> Iterator[str]:
    """What the search for causes may not do."""
    for each in (*planted.draws, *planted.faultless):
        if each.accused:
            yield f"planted faults, draw {each.seed} ({each.where}): accused without a fault: {', '.join(each.accused)}"
    for each in planted.faultless:
        if each.verdict != "as stated":
            yield f"a true card about the set {each.where} reads {each.verdict}: {each.why}"
    traced = [f for d in planted.draws for f in d.faults if f.outcome != "no trace"]
    named = sum(f.outcome in ("found", "one of several") for f in traced)
    if not traced or named < TOLD * len(traced):
        yield f"{named} of {len(traced)} planted faults with a trace were named; {TOLD:.0%} are asked"
    yield from (f"{f.what}: {f.outcome}" for f in planted.others if f.outcome != "found")


def _ids(aois: Path) -> list[str]:
    from harness.chips.aois import read_aois

    return [aoi.id for aoi in read_aois(aois)]


def _harness(services: Served, words: Sequence[str], step: Step) -> None:
    """One command, in a process that reaches nothing but the services."""
    _run(services, ["harness.cli", *words], f"harness {words[0]}", step)


def _refused(services: Served) -> Path:
    """File that names hosts which a command wanted to reach and which are outside."""
    return Path(services.environment["HARNESS_CACHE"]).parent / "outside.txt"


def _run(services: Served, words: Sequence[str], what: str, step: Step) -> None:
    own = {name: value for name, value in os.environ.items() if name not in NOT_THE_TWINS}
    environment = {**own, **services.environment, "PYTHONUNBUFFERED": "1", LOG: str(_refused(services))}
    with subprocess.Popen(  # noqa: S603 (our own command)
        [sys.executable, "-m", "harness.twin.guard", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as child:
        said = []
        try:
            for line in child.stderr or ():
                said.append(line.rstrip())
                step(f"twin: {line.strip().removeprefix('... ')}"[:100])
        except BaseException:
            child.kill()
            raise
        code = child.wait()
    if code:
        told = [line for line in said if not line.startswith("...")][-3:]
        raise UnscoredError(f"twin: {what} ended with {code}: {' '.join(told) or 'no word'}")


def _row(claim: Claim, measured: Sequence[Measurement]) -> Row:
    fitting = [(m, judge(claim, m)) for m in measured]
    best = next(((m, v) for m, v in fitting if v.word != "not comparable"), None)
    measurement, verdict = best if best else (None, judge(claim, None))
    said = "not measured"
    if measurement is not None and measurement.value is not None:
        said = f"{measurement.value:.3f}"
        if measurement.interval:
            said += f" [{measurement.interval[0]:.3f}, {measurement.interval[1]:.3f}]"
        said += f", n = {measurement.n}"
    return Row(
        claim.id.partition("/")[2] or claim.id,
        claim.quantity.text(),
        claim.value,
        said,
        verdict.word,
        judge(_moved(claim), measurement).word,
    )


def _moved(claim: Claim) -> Claim:
    """The claim, made false: towards the middle, so that it stays a share."""
    value = float(figure(claim).mid)
    moved = value - SHIFT if value > 0.5 else value + SHIFT
    return claim.model_copy(update={"value": f"{moved:.4f}"})


def _problems(
    same: Sequence[Row], other: Sequence[Row], requests: dict[str, int], outside: Sequence[str], scenes: int
) -> list[str]:
    out = [] if same and other else ["the card makes no claims about its own scenes and others; nothing was checked"]
    out += [f"{row.id}: not measured on other scenes" for row in other if row.measured == "not measured"]
    out += [f"{row.id}: {row.verdict} on the card's own scenes" for row in same if row.verdict != "reproduced"]
    out += [f"{row.id}: moved by {SHIFT:g} it reads {row.shifted}" for row in same if row.shifted != "not reproduced"]
    if scenes >= ALL:
        held = sum(row.verdict == "reproduced" for row in other)
        if held * 12 < 10 * len(other):
            out.append(
                f"{held} of {len(other)} claims about the city were reproduced on other scenes; 10 of 12 are asked"
            )
    out += [f"{row.id}: a true claim reads not reproduced" for row in other if row.verdict == "not reproduced"]
    if not requests.get("token"):
        out.append("no signing request was seen: the chain did not run as it does live")
    out += [f"{host} was asked for; the twin reaches nothing outside" for host in outside]
    return out


def refuse(done: SelfCheck) -> None:
    """Nothing, if the self-check holds.

    Raises:
        SelfCheckError: It does not; names the first problem.
    """
    if done.problems:
        raise SelfCheckError(f"the twin's self-check fails: {done.problems[0]} ({len(done.problems)} in all)")
