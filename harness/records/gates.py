"""What a run says of a gate that an author set: passed, not passed, undecided, or not measured."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from harness.records.quantity import Strict

GateWord = Literal["passed", "not passed", "undecided", "not measured"]
"""undecided: the interval holds the gate's bound, or there is no useful interval; a value on the passing side alone
is no pass."""


class GateAnswer(Strict):
    """One gate put to one run."""

    gate: str
    """Id of the gate in eval/gates/."""
    rule: str
    """Id of the author's rule under eval/claims/, where text, quotation and source stand."""
    adapter: str
    """Whose."""
    over: str | None = None
    """Adapter that it is compared with on the same chips; None where a score of its own is asked for."""
    metric: str
    """Metric in words."""
    least: float
    """Bound that has to be reached, in `unit`."""
    unit: str
    """Unit of everything here: `fraction` or `points`."""
    word: GateWord
    """The answer."""
    value: float | None = None
    """Measured; None where not measured."""
    interval: tuple[float, float] | None = None
    """Over clusters; None where there is no useful one."""
    level: float | None = None
    """Confidence of the interval."""
    method: str | None = None
    """How the interval was made."""
    coverage_simulated: float | None = None
    """Lowest simulated coverage of that method at so many clusters."""
    n: int = Field(default=0, ge=0)
    """Clusters that entered."""
    clusters: dict[str, float | None] = Field(default_factory=dict)
    """Each cluster's own value by its name, in `unit`; None where undefined."""
    p: float | None = None
    """Of the paired comparison, two-sided, against no difference at all; None without one."""
    band: str | None = None
    """The author's word for the band that the value alone falls into."""
    same_set: bool = False
    """Whether all chips are of the set that the rule speaks of; otherwise the rule is put to other ground."""
    why: str
    """What the answer rests on."""

    @model_validator(mode="after")
    def _held_by_the_interval(self) -> GateAnswer:
        if self.word in ("passed", "not passed"):
            if self.interval is None:
                raise ValueError(f"{self.gate}: {self.word} without an interval")
            if (self.word == "passed") != (self.interval[0] >= self.least):
                raise ValueError(f"{self.gate}: {self.word} against the interval {self.interval}")
        if (self.word == "not measured") != (self.value is None):
            raise ValueError(f"{self.gate}: {self.word}, with value {self.value}")
        return self
