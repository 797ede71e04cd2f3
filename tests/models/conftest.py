"""Weights in the published format, written once for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from harness.claims.families import Family, read_families
from harness.models import stack
from tests.models.made import narrow_family

stack.prepare()  # before any test module imports peft or torchmetrics, which import torchvision
torch.set_num_threads(1)  # threads of narrow models wait for each other longer than they work

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def narrow() -> Family:
    """The narrow family."""
    return narrow_family()


@pytest.fixture(scope="session")
def narrow_weights(narrow: Family, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its weights; read-only by agreement."""
    from harness.models.synthetic import write_family

    return write_family(narrow, tmp_path_factory.mktemp("narrow"))


@pytest.fixture
def two_threads() -> Iterator[None]:
    """For models at full size."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def nyc() -> Family:
    """The published family."""
    return read_families(ROOT / "eval" / "families")["terramind-nyc"]


@pytest.fixture(scope="session")
def nyc_weights(nyc: Family, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Full-size files of the published family, random numbers; about 1.8 GB for the time of the tests."""
    from harness.models.synthetic import write_family

    return write_family(nyc, tmp_path_factory.mktemp("nyc"))
