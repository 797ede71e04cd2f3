"""kgCO2e is modelled, offline, of a named place, and never a joule that counts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from harness.cost.carbon import ModelledCarbon, carbon_of
from harness.cost.energy import ModelledJoules, NotMeasured
from harness.errors import RegistryError


class Tracker:
    """As codecarbon's, without what it samples."""

    made: dict[str, Any]

    def __init__(self, **options: Any) -> None:
        Tracker.made = options
        self.running = False
        self.final_emissions_data: Any = None

    def start(self) -> None:
        """Begin."""
        self.running = True

    def stop(self) -> float | None:
        """End."""
        assert self.running
        self.final_emissions_data = SimpleNamespace(
            energy_consumed=0.001,
            codecarbon_version="3.3.2",
            cpu_power=1.3,
            cpu_model="CPU",
            gpu_power=0.0,
            ram_power=20.0,
            duration=180.0,
        )
        return 0.0002


class NoData(Exception):  # noqa: N818 (as codecarbon names it)
    """As codecarbon's."""


def regions(country: str) -> dict[str, Any]:
    if country != "usa":
        raise NoData
    return {"_unit": "", "new york": {}}


def load(name: str) -> Any:
    if name == "codecarbon":
        return SimpleNamespace(OfflineEmissionsTracker=Tracker)
    source = SimpleNamespace(
        get_global_energy_mix_data=lambda: {"USA": {}, "DEU": {}}, get_country_emissions_data=regions
    )
    return SimpleNamespace(DataSource=lambda: source, DataSourceException=NoData)


def test_a_run_gets_its_modelled_kilograms_with_region_and_mode() -> None:
    with carbon_of("USA", "new york", load) as account:
        assert account.carbon == NotMeasured("the run has not ended")
    found = account.carbon
    assert isinstance(found, ModelledCarbon)
    assert found.kg_co2e == 0.0002
    assert isinstance(found.energy, ModelledJoules)
    assert found.energy.value == 3600
    assert found.kg_per_kwh == pytest.approx(0.2)
    assert (found.country, found.region) == ("USA", "new york")
    assert "memory 20.0 W assumed" in found.mode
    assert Tracker.made["save_to_file"] is Tracker.made["save_to_api"] is False
    assert Tracker.made["electricitymaps_api_token"] is None


@pytest.mark.parametrize(("country", "region"), [("XQZ", None), ("usa", None), ("USA", "atlantis"), ("DEU", "bavaria")])
def test_a_place_that_codecarbon_does_not_know_is_refused(country: str, region: str | None) -> None:
    with pytest.raises(RegistryError), carbon_of(country, region, load):
        pass


def test_the_figure_is_there_also_where_the_run_failed() -> None:
    with pytest.raises(ZeroDivisionError), carbon_of("USA", None, load) as account:
        raise ZeroDivisionError
    assert isinstance(account.carbon, ModelledCarbon)


def test_without_codecarbon_nothing_is_modelled() -> None:
    def none(_name: str) -> Any:
        raise ImportError

    with carbon_of("USA", None, none) as account:
        pass
    assert isinstance(account.carbon, NotMeasured)
    assert "not installed" in account.carbon.reason


def test_nothing_from_codecarbon_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tracker, "stop", lambda _self: None)
    with carbon_of("USA", None, load) as account:
        pass
    assert isinstance(account.carbon, NotMeasured)
