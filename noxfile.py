"""Checks the published figures of Earth-observation adapters. Start with: nox -s reproduce."""

from __future__ import annotations

import functools
import importlib.util
import os
import platform
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nox

if TYPE_CHECKING:
    from harness.models import wheels
else:
    # By path: the package needs libraries that nox' environment does not have.
    _spec = importlib.util.spec_from_file_location("wheels", Path(__file__).parent / "harness" / "models" / "wheels.py")
    wheels = importlib.util.module_from_spec(_spec)
    sys.modules["wheels"] = wheels
    _spec.loader.exec_module(wheels)

nox.needs_version = ">=2024.4.15"
# Debian's python3 lacks ensurepip until python3-venv is installed; virtualenv comes with nox.
nox.options.default_venv_backend = "venv" if importlib.util.find_spec("ensurepip") else "virtualenv"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["reproduce"]

PROJECT: dict[str, Any] = nox.project.load_toml("pyproject.toml")
THERE: wheels.InstalledTorch | None = None
REFUSED = ""
ON: dict[str, Any] = {}
"""Where sessions that run models are built: in an environment of their own on the machine's torch if asked."""

_named = wheels.wanted(sys.argv, os.environ)
if _named is not None:
    try:
        THERE = wheels.find_installed(wheels.interpreters(_named, os.environ))
        # A list, so that the path becomes part of the environment's folder: never the plain one, reused.
        ON = {"python": [THERE.python], "venv_backend": "virtualenv", "venv_params": ["--system-site-packages"]}
    except wheels.TorchBuildError as err:
        REFUSED = str(err)
        ON = {"venv_backend": "none"}


def _constraints(session: nox.Session, lines: list[str]) -> str:
    path = Path(session.create_tmp()) / "constraints.txt"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def _install(session: nox.Session, what: str, note: str, further: tuple[str, ...] = (), *options: str) -> None:
    """Install `what` under the pinned constraints, saying first what comes and how long it takes.

    Args:
        session: Where to install.
        what: A pip requirement; a checkout path with or without extras is installed editable.
        note: What it brings and about how long that takes the first time.
        further: Constraints beside the project's pins.
        options: Options for pip.
    """
    session.env["MPLCONFIGDIR"] = session.create_tmp()  # the home folder may be read-only
    held = {wheels.name_of(line) for line in further}
    pins = [pin for pin in wheels.pins(PROJECT) if wheels.name_of(pin) not in held]
    editable = ["-e"] if what.startswith(".") else []
    session.log(f"installing {note}")
    session.install("-c", _constraints(session, [*pins, *further]), *options, *editable, what, silent=False)


def _install_models(session: nox.Session, *extras: str) -> list[str]:
    """Install the harness with the models extra; returns the arguments that are the command's own."""
    if REFUSED:
        session.error(REFUSED)
    if THERE is not None:
        _install_beside(session, THERE, ["models", *extras])
    else:
        _install_stack(session, ",".join(["models", *extras]))
    return [word for word in session.posargs if word != wheels.FLAG]


def _install_stack(session: nox.Session, extras: str) -> None:
    python = str(Path(session.bin) / "python")
    try:
        choice = wheels.choose(
            wheels.Machine(platform.system(), wheels.gpu() if platform.system() == "Linux" else None),
            wheels.torch_pin(PROJECT),
            any_build=os.environ.get(wheels.ANY_BUILD, "") not in ("", "0"),
            offered=functools.partial(wheels.pip_offers, python),
            silence=functools.partial(wheels.silence, cafile=os.environ.get("PIP_CERT")),
        )
    except wheels.TorchBuildError as err:
        session.error(str(err))
    session.log(choice.why)
    note = "the harness, torch and what runs the models, from 600 MB (2.5 GB on disk) up; 2-4 minutes the first time"
    _install(session, f".[{extras}]", note, choice.constraints, *choice.options)


def _install_beside(session: nox.Session, there: wheels.InstalledTorch, extras: list[str]) -> None:
    """Install everything but torch, which stays where it is."""
    session.env["MPLCONFIGDIR"] = session.create_tmp()
    try:
        requirements, constraints = wheels.on_installed(PROJECT, extras, there)
    except wheels.TorchBuildError as err:
        session.error(str(err))
    # system-site-packages shows the base interpreter's packages; torch may lie in an environment.
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(str(session.run("python", "-c", where, silent=True, log=False)).strip())
    (site / "machines_own_torch.pth").write_text(f"{there.folder}\n", encoding="utf-8")
    session.log(f"torch {there.torch} of {there.python} stays as it is; installing what else runs the models")
    file = _constraints(session, constraints)
    session.install("-c", file, *requirements, silent=False)
    session.install("-c", file, "--no-deps", "-e", ".", silent=False)
    if (site / "torch").exists():
        session.error(f"pip installed a torch of its own into {site}; this is a defect of noxfile.py")


@nox.session(**ON)
def reproduce(session: nox.Session) -> None:
    """Audit the published cards, render the gap reports, and check the harness on its simulated city."""
    named = {word.split("=")[0] for word in session.posargs}
    words = _install_models(session, "live", "twin")
    session.run("harness", "reproduce", *([] if named & {"--live", "--source", "--check"} else ["--twin"]), *words)


@nox.session(**ON)
def tests(session: nox.Session) -> None:
    """Run the tests; the network is blocked except loopback."""
    words = _install_models(session, "live", "twin", "tests")
    # Two processes: half of the tests wait for services that are slow on purpose. A file stays in one of them.
    session.run("pytest", "-n", "2", "--dist", "loadfile", *words)


@nox.session(**ON)
def live(session: nox.Session) -> None:
    """Run the smallest real chain, one AOI and one adapter from the live services, and say what it proved."""
    words = _install_models(session, "live")
    smallest = ["--aoi", "brooklyn_downtown", "--task", "buildings_nyc", "--out", "eval/runs"]
    session.run("harness", "reproduce", "--live", "--require-live", *(words or smallest))


@nox.session(**ON)
def twin(session: nox.Session) -> None:
    """Check the harness on all 54 scenes of its simulated city."""
    words = _install_models(session, "live", "twin")
    session.run("harness", "reproduce", "--twin", "--twin-scenes", "48", *words)


@nox.session
def probes(session: nox.Session) -> None:
    """Hold the latest run on New York against expectations written beforehand."""
    _install(session, ".[tests]", "the harness and its test libraries, about 100 MB; 2-3 minutes the first time")
    session.run("pytest", "probes", *session.posargs)


@nox.session
def bundle(session: nox.Session) -> None:
    """Pack the newest run into one file to send; docs/contribute-a-run.md."""
    _install(session, ".", "the harness and 8 libraries, about 50 MB; a minute or two the first time")
    session.run("harness", "bundle", *session.posargs)


@nox.session
def verify(session: nox.Session) -> None:
    """Check a run that somebody sent: -- FILE.zip, with --add to keep it."""
    _install(session, ".", "the harness and 8 libraries, about 50 MB; a minute or two the first time")
    session.run("harness", "verify", *session.posargs)


@nox.session(**ON)
def doctor(session: nox.Session) -> None:
    """Say what is installed and reachable; with -- --backbones also which backbones build."""
    words = _install_models(session)
    session.run("harness", "doctor", *words)


@nox.session(**ON)
def bench(session: nox.Session) -> None:
    """Time each step of a call against a plain reference; -- --compare A B says what changed between two records."""
    if "--compare" in session.posargs:
        _install(session, ".", "the harness and 8 libraries, about 50 MB; a minute or two the first time")
        words = [word for word in session.posargs if word not in ("--compare", wheels.FLAG)]
        session.run("harness", "bench", "compare", *words)
        return
    words = _install_models(session, "live")
    session.run("harness", "bench", "run", *words)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, types and import directions."""
    _install(session, ".[tests,lint]", "the harness, tests and linters, about 130 MB; 2-3 minutes the first time")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
    session.run("lint-imports")


@nox.session
def reports(session: nox.Session) -> None:
    """Fail if the committed reports differ from what the registry renders."""
    _install(session, ".", "the harness and 8 libraries, about 50 MB; a minute or two the first time")
    session.run("harness", "reproduce", "--check", *session.posargs)


@nox.session
def judged(session: nox.Session) -> None:
    """Measure again how many wrong figures the audit detects, and compare with the record."""
    _install(session, ".[tests]", "the harness and its test libraries, about 100 MB; 2-3 minutes the first time")
    session.run("python", "-m", "tests.claims.judge", "--check", *session.posargs)


@nox.session
def judged_causes(session: nox.Session) -> None:
    """Judge again whether bridges find planted causes and accuse no others, and compare with the record."""
    _install(session, ".[tests]", "the harness and its test libraries, about 100 MB; 2-3 minutes the first time")
    session.run("python", "-m", "tests.score.judged", "--check", *session.posargs)


@nox.session
def coverage(session: nox.Session) -> None:
    """Simulate again how often intervals hold the true value, and compare with the record; minutes."""
    _install(session, ".[tests]", "the harness and its test libraries, about 100 MB; 2-3 minutes the first time")
    session.run("python", "-m", "tests.score.coverage", "--check", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Write site/, the pages of every module from its docstrings; without torch."""
    _install(session, ".[docs]", "the harness, its 8 libraries and pdoc, about 50 MB; a minute or two the first time")
    session.run("python", "docs/api.py", *session.posargs)


@nox.session(reuse_venv=False)
def wheel(session: nox.Session) -> None:
    """Build the wheel, install it alone; outside the checkout, audit and render the committed reports from it."""
    checkout = Path.cwd()
    with tempfile.TemporaryDirectory() as outside:
        session.run("python", "-m", "pip", "wheel", "--no-deps", "--wheel-dir", outside, ".")
        built = next(Path(outside).glob("*.whl"))
        _install(session, str(built), f"{built.name} and 8 libraries, about 50 MB; a minute or two the first time")
        with session.chdir(outside):
            session.run("harness", "audit", *session.posargs)
            session.run("harness", "verify", "--help", silent=True)
            said = str(session.run("harness", "--version", silent=True)).strip()
            if said != f"harness {PROJECT['project']['version']}":
                session.error(f"the wheel calls itself {said!r}; pyproject.toml has {PROJECT['project']['version']}")
            for run in (checkout / "eval" / "runs").glob("contributed-*"):
                shutil.copytree(run, Path("eval", "runs", run.name))
            # Only with every claim, gate, rule and scheme in the wheel do the same reports come out.
            session.run("harness", "reproduce", "--check", "--out", str(checkout / "eval" / "reports"))
