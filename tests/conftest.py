"""What every test starts from: no tokens, no proxies, no display, the same examples each time."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

from harness.claims.audit import audit_view, read_view
from harness.claims.findings import Audit
from harness.claims.groups import View

settings.register_profile("harness", database=None, deadline=None, derandomize=True)
settings.load_profile("harness")

os.environ["MPLBACKEND"] = "agg"  # before anything imports matplotlib

ROOT = Path(__file__).resolve().parents[1]
"""The checkout."""

OUTSIDE = (
    "ALL_PROXY",
    "HF_ENDPOINT",
    "HF_TOKEN",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NO_PROXY",
    "PC_SDK_SAS_URL",
    "PC_SDK_SUBSCRIPTION_KEY",
)
"""Variables of the machine that would change what a test sees."""


@pytest.fixture
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def view() -> View:
    """The project's own registry, families and schemes."""
    return read_view(ROOT / "eval")


@pytest.fixture(scope="session")
def audit(view: View) -> Audit:
    """Everything that the audit finds in it."""
    return audit_view(view)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in OUTSIDE:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture(autouse=True, scope="session")
def _writable_matplotlib(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ.setdefault("MPLCONFIGDIR", str(tmp_path_factory.mktemp("matplotlib")))
