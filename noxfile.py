"""Checks the published figures of Earth-observation adapters. Start with: nox -s reproduce."""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path

import nox

nox.needs_version = ">=2024.4.15"
# Debian's python3 lacks ensurepip until python3-venv is installed; virtualenv comes with nox.
nox.options.default_venv_backend = "venv" if importlib.util.find_spec("ensurepip") else "virtualenv"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["reproduce"]

CONSTRAINTS: list[str] = nox.project.load_toml("pyproject.toml")["tool"]["harness"]["constraints"]


def _install(session: nox.Session, what: str, note: str) -> None:
    """Install `what` under the pinned constraints, saying first what comes and how long it takes.

    Args:
        session: Where to install.
        what: A pip requirement; a checkout path with or without extras is installed editable.
        note: What it brings and about how long that takes the first time.
    """
    tmp = Path(session.create_tmp())
    session.env["MPLCONFIGDIR"] = str(tmp)  # the home folder may be read-only
    constraints = tmp / "constraints.txt"
    constraints.write_text("\n".join(CONSTRAINTS) + "\n", encoding="utf-8")
    editable = ["-e"] if what.startswith(".") else []
    session.log(f"installing {note}")
    session.install("-c", str(constraints), *editable, what, silent=False)


@nox.session
def reproduce(session: nox.Session) -> None:
    """Audit the published cards and render one gap report for each adapter."""
    _install(session, ".", "the harness and 8 libraries, about 50 MB; a minute or two the first time")
    session.run("harness", "reproduce", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests; the network is blocked except loopback."""
    _install(session, ".[tests]", "the harness and its test libraries, about 100 MB; 2-3 minutes the first time")
    session.run("pytest", *session.posargs)


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


@nox.session(reuse_venv=False)
def wheel(session: nox.Session) -> None:
    """Build the wheel, install it alone and run the audit outside the checkout."""
    with tempfile.TemporaryDirectory() as outside:
        session.run("python", "-m", "pip", "wheel", "--no-deps", "--wheel-dir", outside, ".")
        built = next(Path(outside).glob("*.whl"))
        _install(session, str(built), f"{built.name} and 8 libraries, about 50 MB; a minute or two the first time")
        with session.chdir(outside):
            session.run("harness", "audit", *session.posargs)
