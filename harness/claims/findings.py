"""What an audit says: findings and counterfactuals, in the shape of `harness audit --json`."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from harness.claims.model import Evidence

Status = Literal["consistent", "inconsistent", "undetermined"]
Grade = Literal["high", "medium", "low"]


class Finding(BaseModel):
    """One check applied to one set of claims."""

    model_config = ConfigDict(frozen=True)

    id: str
    """Stable: check, then what it was applied to."""
    family: str
    """Model family."""
    card: str
    """Card whose figure is judged."""
    subject: str
    """Adapter that it bears on, or `all`."""
    check: str
    """Name of the check."""
    status: Status
    """consistent: the figures fit. inconsistent: they cannot all be right as printed.
    undetermined: they do not decide it; `why` says what would."""
    grade: Grade
    """high: changes what a reader may rely on. medium: a figure or sentence to correct.
    low: a detail, or a consistent check."""
    evidence: Evidence
    """arithmetic: follows from printed figures. source: a document or code says so.
    inference: we conclude it; it may be wrong."""
    claims: list[str] = Field(min_length=1)
    """Ids of the claims that entered."""
    claimed: str
    """What is printed."""
    derived: str
    """What follows."""
    why: str
    """How it follows, with every assumption and limit."""
    sources: list[str] = Field(default_factory=list)
    """Where the figures stand."""
    correction: str | None = None
    """A sentence that the author could paste."""
    settles: str | None = None
    """What would settle an undetermined finding."""


class Counterfactual(BaseModel):
    """What a score would be at another prevalence, under an assumption written beside it."""

    model_config = ConfigDict(frozen=True)

    id: str
    """Stable."""
    subject: str
    """Adapter."""
    quantity: str
    """Metric and set."""
    assumes: str
    """What must hold for it."""
    claimed: float
    """Published figure of the operating point that is moved."""
    observed: float
    """Published figure on the other set."""
    expected_at_observed_prevalence: float
    """The moved operating point's score at the other set's prevalence."""
    prevalence_effect: float
    """expected - claimed."""
    remainder: float
    """observed - expected: what prevalence alone does not explain, under the assumption."""
    claims: list[str]
    """Ids of the claims that entered."""


class Audit(BaseModel):
    """Everything that one audit found."""

    model_config = ConfigDict(frozen=True)

    schema_version: int = Field(default=1, serialization_alias="schema")
    """Version of this shape."""
    cards: list[str]
    """Cards that were read."""
    claims: int
    """How many figures they hold."""
    findings: list[Finding]
    """Inconsistent first, then undetermined, then consistent; within each by grade and id."""
    counterfactuals: list[Counterfactual]
    """In the order of their ids."""

    def of(self, status: Status) -> list[Finding]:
        """Findings with that status."""
        return [f for f in self.findings if f.status == status]
