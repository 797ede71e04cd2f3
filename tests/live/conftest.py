"""The made-up Brooklyn, once for all tests of this folder."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from harness.claims.families import Family
from harness.models.synthetic import write_family
from tests.live.world import World, world
from tests.models.conftest import ROOT
from tests.models.made import narrow_family

Harness = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def brooklyn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Services and a checkout that nobody else uses."""
    family: Family = narrow_family()
    weights = write_family(family, tmp_path_factory.mktemp("weights"))
    with world(tmp_path_factory.mktemp("brooklyn"), family, weights) as made:
        yield made


@pytest.fixture
def harness(brooklyn: World) -> Harness:
    """`harness` as typed, in a process of its own that can reach nothing but the services."""

    def run(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        kept = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "MPLCONFIGDIR", "TMPDIR", "LANG")}
        env = {**kept, **brooklyn.environment, "PYTHONPATH": str(ROOT), "COLUMNS": "200", **variables}
        return subprocess.run(  # noqa: S603 (our own command)
            [sys.executable, "-W", "error::UserWarning:harness", "-m", "harness.cli", *words],
            capture_output=True,
            text=True,
            env=env,
            cwd=brooklyn.root,
            timeout=240,
            check=False,
        )

    return run
