"""kgCO2e of a whole run, by codecarbon, offline: a modelled figure, shown apart.

Never inside a window: codecarbon samples the machine from a thread, and that is load. Its kWh are
modelled whatever it read, because memory is a constant and a sample that failed counts 0 J
(docs/energy.md). The carbon intensity is a yearly mean of the country or region that the user names;
nothing is looked up on the network.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from harness.cost.energy import ModelledJoules, NotMeasured
from harness.errors import RegistryError

JOULES_PER_KWH = 3.6e6
"""By definition."""


@dataclass(frozen=True)
class ModelledCarbon:
    """What codecarbon made of a run."""

    kg_co2e: float
    """Kilograms of CO2 equivalent."""
    energy: ModelledJoules
    """Joules that it reckoned with."""
    country: str
    """ISO 3166 code of three letters, as given."""
    region: str | None
    """State or province, as given; None for the country's mean."""
    kg_per_kwh: float
    """Intensity that follows from the two figures above."""
    mode: str
    """What it read and what it assumed, in its own words."""
    seconds: float
    """How long it ran."""


@dataclass
class Account:
    """Filled when the run has ended."""

    carbon: ModelledCarbon | NotMeasured = field(default_factory=lambda: NotMeasured("the run has not ended"))
    """The figure, or why there is none."""


@contextmanager
def carbon_of(
    country: str, region: str | None = None, load: Callable[[str], Any] = importlib.import_module
) -> Iterator[Account]:
    """Around a run: afterwards the account holds its kgCO2e.

    Args:
        country: ISO 3166 code of three letters, e.g. USA; there is no default, the machine is not located.
        region: State or province in small letters, e.g. `new york`; codecarbon has some of the USA and Canada.
        load: Imports a module by name.

    Raises:
        RegistryError: codecarbon knows no such country or region; left to itself it takes another mean silently.
    """
    account = Account()
    tracker = _tracker(load, country, region)
    if isinstance(tracker, NotMeasured):
        account.carbon = tracker
        yield account
        return
    tracker.start()
    try:
        yield account
    finally:
        account.carbon = _result(tracker, tracker.stop(), country, region)


def _tracker(load: Callable[[str], Any], country: str, region: str | None) -> Any:
    """A tracker that writes no file and asks nobody, or why there is none."""
    logging.getLogger("codecarbon").setLevel(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # amdsmi prints where its library is missing
            library, data = load("codecarbon"), load("codecarbon.input")
    except ImportError:
        return NotMeasured("codecarbon is not installed; pip install 'eo-adapter-harness[cost]'")
    source = data.DataSource()
    if country not in source.get_global_energy_mix_data():
        raise RegistryError(f"country {country!r}: codecarbon has no such ISO 3166 code of three letters, e.g. USA")
    if region is not None:
        try:
            known = [name for name in source.get_country_emissions_data(country.lower()) if name[0] != "_"]
        except data.DataSourceException:
            known = []
        if region not in known:
            near = ", ".join(sorted(known)[:8]) or "none"
            raise RegistryError(
                f"region {region!r}: codecarbon has for {country}: {near}, ...; leave it out for the mean"
            )
    return library.OfflineEmissionsTracker(
        country_iso_code=country,
        region=region,
        tracking_mode="machine",
        measure_power_secs=15,
        save_to_file=False,
        save_to_api=False,
        save_to_logger=False,
        electricitymaps_api_token=None,  # one in the user's own configuration would make it ask the network
        allow_multiple_runs=True,
        log_level="critical",
    )


def _result(tracker: Any, kg: float | None, country: str, region: str | None) -> ModelledCarbon | NotMeasured:
    data = getattr(tracker, "final_emissions_data", None)
    if kg is None or data is None:
        return NotMeasured(f"codecarbon gave nothing for {country}; it hides its own errors")
    kwh = float(data.energy_consumed)
    if not kwh > 0 or not kg > 0:
        return NotMeasured(f"codecarbon counted {kwh:g} kWh and {kg:g} kg; a run takes more than nothing")
    mode = (
        f"codecarbon {data.codecarbon_version}, mode machine: cpu {float(data.cpu_power):.1f} W ({data.cpu_model}), "
        f"gpu {float(data.gpu_power):.1f} W, memory {float(data.ram_power):.1f} W assumed"
    )
    energy = ModelledJoules(kwh * JOULES_PER_KWH, mode)
    return ModelledCarbon(kg, energy, country, region, kg / kwh, mode, float(data.duration))
