"""What a figure is about, and a figure that was measured."""

from __future__ import annotations

import difflib
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from harness.vocabulary import METRICS

Averaging = Literal["macro", "micro", "pooled", "per_chip", "weighted", "single"]


def _blank_to_none(value: object) -> object:
    return None if value == "" else value


Text = Annotated[str | None, BeforeValidator(_blank_to_none)]


class Strict(BaseModel):
    """Base of all registry records: frozen, and a field nobody defined is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Quantity(Strict):
    """What a figure measures. Two figures can be compared only where these are equal."""

    subject: str
    """Adapter, model or document part that the figure is about, e.g. `buildings_nyc`."""
    metric: str
    """A name from `harness.vocabulary.METRICS`, or one that starts with `x-`."""
    variant: str = "published"
    """Which weights or arm: `published`, `full-fine-tune`, `v1`, ..."""
    class_index: Annotated[int | None, BeforeValidator(_blank_to_none)] = None
    """Index of the class in the model's output, as stated; None where none is stated."""
    class_name: Text = None
    """Name of the class as stated by the source, right or wrong."""
    scheme: Text = None
    """Class scheme as stated: an id under eval/schemes/."""
    threshold: Text = None
    """Decision threshold on the probability of the class, in decimals; `argmax` where stated."""
    averaging: Averaging | None = None
    """macro: mean over classes; micro: over all pixels and classes; pooled: one matrix over
    all chips; per_chip: mean over chips; single: one chip."""
    split: Text = None
    """Name of the set of chips, e.g. `test`, `val`, `six-aois`."""
    place: Text = None
    """Name of the one chip or AOI that the figure is about."""
    conditions: dict[str, str] = Field(default_factory=dict)
    """Anything else that must be equal: device, dtype, batch, input, arm."""

    @field_validator("metric")
    @classmethod
    def _known_metric(cls, metric: str) -> str:
        if metric in METRICS or metric.startswith("x-"):
            return metric
        lower = {name.lower(): name for name in METRICS}
        near = difflib.get_close_matches(metric.lower(), lower, 1, 0.4)
        hint = f"; did you mean {lower[near[0]]!r}?" if near else ""
        raise ValueError(f"unknown metric {metric!r}{hint} (own names start with 'x-')")

    def text(self) -> str:
        """One line for reports."""
        words = [self.subject, self.metric]
        if self.class_index is not None or self.class_name:
            index = "" if self.class_index is None else f"{self.class_index} "
            words.append(f"[{index}{self.class_name or ''}]".replace(" ]", "]"))
        if self.place:
            words.append(f"at {self.place}")
        if self.threshold:
            words.append(f"threshold {self.threshold}")
        if self.variant != "published":
            words.append(f"({self.variant})")
        return " ".join(words)


class ScenesNeeded(Strict):
    """How many scenes a claim's tolerance asks for, from the spread between the scenes at hand."""

    tolerance: float
    """Half-width that the interval must fit into, in the measurement's unit."""
    probability: float
    """With which a claim that is exactly right would then be confirmed."""
    scenes: int | None
    """Fewest found by simulation; None where no number sought is enough, or the spread is not known."""
    by_formula: int | None
    """The same by the normal formula; None where the spread is not known."""
    why: str
    """What it rests on, or why there is no answer."""


class Measurement(BaseModel):
    """One measured quantity."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    quantity: Quantity
    """What was measured; equal to a claim's quantity where it answers one."""
    value: float | None
    """In `unit`; None where undefined or unscored."""
    reason: str | None = None
    """Why there is no value; required where there is none."""
    interval: tuple[float, float] | None = None
    """95 % interval over clusters; None where too few clusters support one."""
    whole: bool = False
    """Whether it is of every chip that the claim is about, the same scenes: then sampling does not enter, and
    only the value is held against the claim."""
    n: int = Field(ge=0)
    """Independent clusters (scenes or parents) that entered."""
    unit: str = "fraction"
    """Unit of value and interval."""
    estimand: Literal["pooled", "per_cluster"] | None = None
    """pooled: the metric of one matrix over all clusters; per_cluster: the mean of the clusters' own metrics; None
    where no cluster entered, and in older records."""
    method: str | None = None
    """How the interval was made, a name of `harness.score.simulated.Method`; None where there is no interval."""
    level: float | None = None
    """Confidence of the interval; None where there is none, and in older records, whose intervals are at 0.95."""
    coverage_simulated: float | None = None
    """Lowest simulated coverage of the method at so many clusters, printed beside the interval; None where there is
    none."""
    clusters: dict[str, float | None] = Field(default_factory=dict)
    """Each cluster's own value by its name; None where undefined."""
    effective: float | None = None
    """Clusters of equal weight that they amount to."""
    error: float | None = None
    """Jackknife standard error over clusters, in `unit`; None where there are fewer than two."""
    df: float | None = None
    """Degrees of freedom of the error; None where there are too few to speak of."""
    why: str = ""
    """What the interval is, or why there is none."""
    needed: list[ScenesNeeded] = Field(default_factory=list)
    """Scenes that claims of this quantity ask for, where nothing could be concluded; one entry a tolerance."""

    @model_validator(mode="after")
    def _value_or_reason(self) -> Measurement:
        if (self.value is None) == (self.reason is None):
            raise ValueError("a measurement has either a value or the reason why there is none")
        if self.interval is not None and (self.value is None or not self.interval[0] <= self.value <= self.interval[1]):
            raise ValueError("the interval must hold the value")
        return self
