"""`pytest probes/`: expectations about places as tests, with a table at the end.

    pytest probes/                                judges eval/runs/latest, if its chips came from a lock and its
                                                  weights are the published ones; otherwise skips, with the reason
    pytest probes/ --run-record eval/runs/<id>    judges that run, whatever it is
    pytest probes/ --probes-folder FOLDER         takes the probes of another family

Probes run no model and ask no service: they judge the class maps and labels that a run wrote.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import pytest

from harness.errors import RegistryError
from harness.score.probes import Judged, Probe
from probes.evidence import Run, advice, judged, newest_run, open_run
from probes.expectations import ProbeSet, read_probes
from probes.summary import heading, table, verdicts

ROOT = Path(__file__).resolve().parents[1]


@dataclass
class Session:
    """What one run of pytest judges, and what came of it."""

    sets: list[ProbeSet]
    """Files of probes."""
    run: Run | str
    """The run, or why there is none."""
    results: dict[str, Judged] = field(default_factory=dict)
    """By the probe's name; only those that were selected."""


STASH = pytest.StashKey[Session]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Two options: which probes, which run."""
    group = parser.getgroup("probes")
    group.addoption("--probes-folder", type=Path, default=ROOT / "probes", help="folder of probes (default: probes/)")
    group.addoption("--run-record", type=Path, default=None, help="run folder or run.json (default: eval/runs/latest)")


def pytest_configure(config: pytest.Config) -> None:
    """Read probes and run before anything is collected: what is wrong with either is one clear message."""
    folder = config.getoption("--probes-folder", default=ROOT / "probes")
    named = config.getoption("--run-record", default=None)
    base = config.invocation_params.dir
    try:
        sets = read_probes(base / folder, ROOT / "eval", ROOT / "aois")
        run = open_run(base / named) if named is not None else newest_run(ROOT / "eval" / "runs")
    except RegistryError as err:
        raise pytest.UsageError(str(err)) from err
    config.stash[STASH] = Session(sets, run)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test a probe, named `<adapter>-<place>-<id>`."""
    if "probe" in metafunc.fixturenames:
        probes = [(each, probe) for each in metafunc.config.stash[STASH].sets for probe in each.probes]
        metafunc.parametrize(("probe_set", "probe"), probes, ids=[probe.name for _, probe in probes])


@pytest.fixture
def result(request: pytest.FixtureRequest, probe_set: ProbeSet, probe: Probe) -> Judged:
    """What came of one probe, kept for the table."""
    session = request.config.stash[STASH]
    run = session.run
    if isinstance(run, str):
        run = f"{run}; {advice(ROOT, probe_set.aois)}"
    places = tuple(dict.fromkeys(p.place for p in probe_set.probes))
    session.results[probe.name] = judged(run, probe, places)
    return session.results[probe.name]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the table, then for each set what it is worth."""
    session = config.stash.get(STASH, None)
    if session is None or not session.results:
        return
    terminalreporter.section("probes")
    for line in _lines(session):
        terminalreporter.write_line(line)


def _lines(session: Session) -> Iterator[str]:
    yield from heading(session.run)
    if isinstance(session.run, str):
        reasons = list(dict.fromkeys(r.reason for r in session.results.values()))
        yield from (f"{len(session.results)} probes not judged: {reason}" for reason in reasons)
        return
    yield from table(list(session.results.values()))
    for each in session.sets:
        ran = [session.results[p.name] for p in each.probes if p.name in session.results]
        for _, some in groupby(ran, lambda r: r.probe.adapter):
            yield ""
            yield from verdicts(each, list(some), session.run)
