"""What a measurement of cost writes down: one call, its windows, its conditions, and what was not measured."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator

from harness.places import write_file
from harness.records.files import as_record, read_json, text
from harness.records.quantity import Strict

SCHEMA = 1
"""Version of the shape below."""

Stage = Literal["load", "preprocess", "forward"]
"""load: weights from disk to device; preprocess: raw chip to tensors on the device; forward: tensors to logits."""


Dates = Literal["all at once", "one by one"]
"""all at once: as a batch, as the published code does; one by one: as `harness.models.dates` does."""


class Figure(Strict):
    """A mean over windows, or why there is none."""

    value: float | None = None
    """The mean, or the one value of a percentile."""
    low: float | None = None
    """Lower end of the 95 % interval over windows; None where there is none."""
    high: float | None = None
    """Upper end."""
    n: int = Field(default=0, ge=0)
    """Windows that entered, or calls of a percentile."""
    of: int = Field(default=0, ge=0)
    """Windows or calls that were run."""
    unit: str
    """Of value and ends."""
    reason: str | None = None
    """Why there is no value."""

    @model_validator(mode="after")
    def _value_or_reason(self) -> Figure:
        if (self.value is None) == (self.reason is None):
            raise ValueError("a figure has either a value or the reason why there is none")
        if self.low is not None and (
            self.value is None or self.high is None or not self.low <= self.value <= self.high
        ):
            raise ValueError("the interval must hold the value")
        return self


class MeasuredEnergy(Strict):
    """Joules from a counter, or not measured."""

    kind: Literal["measured"] = "measured"
    """Tells it from modelled energy."""
    gross: Figure
    """Joules a chip, everything that the meter saw."""
    net: Figure
    """Joules a chip above idle."""
    gross_per_km2: Figure
    """Joules a square kilometre mapped."""
    net_per_km2: Figure
    """Above idle."""
    idle_w: Figure
    """Power at rest, model loaded."""


class ModelledEnergy(Strict):
    """Joules that a model gives. Never compared with measured ones, and no claim is judged by them."""

    kind: Literal["modelled"] = "modelled"
    """Tells it from measured energy."""
    value_j: float
    """Joules."""
    model: str = Field(min_length=1)
    """What was assumed."""
    kg_co2e: float | None = None
    """Kilograms of CO2 equivalent; None where no region was given."""
    region: str | None = None
    """Country, and state or province, whose yearly mean was taken."""
    of: str
    """What ran: a whole run, windows, idles, loading and all."""


Energy = Annotated[MeasuredEnergy | ModelledEnergy, Field(discriminator="kind")]
"""Either, told apart by `kind`."""


class MeterRecord(Strict):
    """The meter."""

    name: str
    """nvidia, amd, rapl or apple."""
    boundary: Literal["device", "package", "machine"]
    """What kind of thing it measures."""
    covers: str
    """What exactly."""
    basis: str
    """Sensor, on-chip model, or not documented."""
    period_s: float
    """Seconds between updates of its counter, the longest known."""
    zones: list[str]
    """Its counters."""
    notes: list[str]
    """What a reader must know of them."""


class WindowRecord(Strict):
    """One window."""

    seconds: float
    """Between its two readings."""
    calls: int
    """Calls in it."""
    mean_s: float
    """Mean latency of a call."""
    gross_j: float | None
    """Joules; None where not measured."""
    net_j: float | None
    """Joules above idle; None where not measured."""
    idle_before_w: float | None
    """Power at rest before it; None where not measured."""
    idle_after_w: float | None
    """After it and the cool-down; None where not measured."""
    reasons: list[str]
    """Why what is None is None."""
    start: dict[str, str]
    """Conditions at its start."""
    end: dict[str, str]
    """And at its end."""


class CallCost(Strict):
    """One stage of one adapter on one device, by the protocol of docs/energy.md."""

    adapter: str
    """Adapter id."""
    stage: Stage
    """What was called."""
    batch: int = Field(ge=1)
    """Chips in a call."""
    best: bool = False
    """Whether the search chose this batch."""
    chip_px: int
    """Side of a chip."""
    gsd_m: float
    """Side of a pixel."""
    input: Literal["real", "made-up"]
    """Whether inputs were chips; made-up ones are no image and never zeros."""
    input_ids: list[str]
    """Which."""
    recipe: str | None = None
    """How chips became tensors; None for made-up ones."""
    weights: Literal["published", "random", "other"]
    """random: of the published topology; its time and joules stand for the published adapters in shape only."""
    device: str
    """cpu, cuda, rocm or mps."""
    device_name: str
    """As its maker names it."""
    build: str
    """Torch and the library that drives the device."""
    dtype: str
    """Precision."""
    threads: int
    """Threads that torch uses on the CPU."""
    tokens: str | None = None
    """How tokens were chosen where the adapter generates some."""
    dates: Dates = "all at once"
    """How dates went through the encoder; none was taken from memory."""
    warm_up_calls: int
    """Calls before the windows."""
    warm_up_variation: float
    """Coefficient of variation of the last ones."""
    warm_up_reached: bool
    """Whether it fell below 5 %; where not, the figures are of a machine that had not settled."""
    latency: Figure
    """Mean seconds a call, over windows."""
    median: Figure
    """Median seconds a call, over all calls."""
    p95: Figure
    """95th percentile."""
    p99: Figure
    """99th percentile."""
    throughput: Figure
    """Chips a second, calls one after another."""
    seconds_per_km2: Figure
    """Seconds a square kilometre mapped, no overlap."""
    energy: MeasuredEnergy
    """From the counter, or why not."""
    meter: MeterRecord | None
    """What counted; None where nothing did."""
    windows: list[WindowRecord] = Field(min_length=1)
    """Each."""
    shortfalls: list[str] = Field(default_factory=list)
    """In what the run fell short of the protocol; a figure of such a run is no evidence."""


class CostRecord(Strict):
    """One run of measurements on one machine."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    schema_version: int = Field(alias="schema", default=SCHEMA)
    """Version of this shape."""
    created: str
    """Date and time in UTC, ISO 8601."""
    command: str
    """As typed."""
    family: str
    """Family id."""
    machine: dict[str, str]
    """System, cores, packages."""
    before: dict[str, str]
    """Conditions before anything ran."""
    shared: str | None
    """Why the machine was not at rest; None where it was."""
    calls: list[CallCost]
    """What was measured."""
    tried: dict[str, dict[str, float | str]] = Field(default_factory=dict)
    """By adapter: chips a second of each batch tried in the search for the best, or why none."""
    modelled: list[ModelledEnergy] = Field(default_factory=list)
    """What was modelled, apart."""
    not_modelled: str | None = None
    """Why no kgCO2e stands there though a country was given; None where it does or none was."""
    assumptions: list[str]
    """What a reader takes on trust."""


def read_cost(path: Path) -> CostRecord:
    """One file of this shape.

    Raises:
        RegistryError: It is not there, or not of this shape; names file and field.
    """
    raw = read_json(path, "no such file; `harness bench energy` writes one")
    return as_record(path, raw, CostRecord, SCHEMA)


def write_cost(record: CostRecord, path: Path) -> Path:
    """Write a record at once, whole or not at all, over an earlier one of the same name."""
    write_file(path, text(record))
    return path
