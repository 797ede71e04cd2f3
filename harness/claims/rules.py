"""Verdict rules: eval/rules.yaml, dated, read once and used by every verdict."""

from __future__ import annotations

import datetime
import functools
import math
from pathlib import Path
from typing import Final, Literal

from pydantic import Field, model_validator

from harness.claims.registry import read_yaml, validated
from harness.errors import RegistryError
from harness.places import eval_folder
from harness.records import Quantity, Strict

NAME: Final = "rules.yaml"
"""The file, below eval/."""


class Tolerance(Strict):
    """What counts as the same figure."""

    where: Literal["claim"]
    """claim: each claim states its tolerance, in its own unit."""
    rounding: Literal["added"]
    """added: the tolerance is laid around the printed figure's rounding interval."""


class Inclusion(Strict):
    """Two one-sided tests by the inclusion of an interval."""

    level: float = Field(gt=0.5, lt=1)
    """Confidence of the interval that has to lie within the tolerance."""
    alpha: float
    """Of each one-sided test; (1 - level) / 2."""
    fewest_clusters: int = Field(ge=3)
    """With fewer clusters nothing is concluded; two never give a useful interval."""

    @model_validator(mode="after")
    def _one_level(self) -> Inclusion:
        if not math.isclose(self.alpha, (1 - self.level) / 2):
            raise ValueError(f"alpha {self.alpha:g} of each test goes with level {1 - 2 * self.alpha:g}")
        return self


class PredictionRule(Strict):
    """What is done where a card gives no variance."""

    level: float = Field(gt=0.5, lt=1)
    """Share of other sets of scenes whose figure should lie within."""
    assumes: Literal["equal spread"]
    """equal spread: between the card's scenes as between ours; said wherever the interval is printed."""
    decides: Literal["not reproduced"]
    """not reproduced: this word is given only where the card's figure lies outside, too."""


class Shown(Strict):
    """What a report shows."""

    show_below: int = Field(ge=3)
    """With fewer clusters each cluster's own value is shown."""


class PowerRule(Strict):
    """How many scenes are asked for where nothing can be concluded."""

    probability: float = Field(gt=0, lt=1)
    """With which a claim that is exactly right would be confirmed."""


class Change(Strict):
    """One change of these rules after their first date."""

    date: datetime.date
    """When."""
    what: str
    """What it was, and what it is."""


class Rules(Strict):
    """When a measurement reproduces a claim."""

    schema_version: Literal["1"] = Field(alias="schema")
    """Version of this shape."""
    date: datetime.date
    """When they were set, or last changed."""
    must_agree: tuple[str, ...] = Field(min_length=1)
    """Parts of a quantity that must be equal before a verdict is given."""
    tolerance: Tolerance
    """What counts as the same figure."""
    equivalence: Inclusion
    """How it is tested."""
    prediction: PredictionRule
    """Where a card gives no variance."""
    report: Shown
    """What is shown."""
    power: PowerRule
    """Scenes asked for."""
    changes: list[Change] = Field(default_factory=list)
    """Every change, newest last."""
    path: str = ""
    """File that they were read from."""

    @model_validator(mode="after")
    def _consistent(self) -> Rules:
        unknown = [name for name in self.must_agree if name not in Quantity.model_fields]
        if unknown:
            raise ValueError(f"must_agree: a quantity has no part {', '.join(unknown)}")
        if self.changes and self.changes[-1].date != self.date:
            raise ValueError(f"date {self.date} is not that of the last change, {self.changes[-1].date}")
        return self


def read_rules(folder: Path) -> Rules:
    """Rules of an eval/ folder; those that come with the project where the folder has none of its own.

    Somebody else's folder of claims needs no rules: the project's apply, and `path` says so.

    Raises:
        RegistryError: The file is wrong; names file, line and field.
    """
    path = folder / NAME
    return _read(path) if path.is_file() else own_rules()


@functools.cache
def own_rules() -> Rules:
    """The rules that come with the project: of its checkout, or packaged.

    Raises:
        RegistryError: They are not there, or wrong.
    """
    package = Path(__file__).resolve().parents[1]
    for place in (package.parent / "eval" / NAME, package / "data" / NAME):
        if place.is_file():
            return _read(place)
    raise RegistryError(f"{eval_folder()}: no {NAME} here or in the package; install the harness again")


def _read(path: Path) -> Rules:
    rules = validated(Rules, read_yaml(path), path, "rules")
    return rules.model_copy(update={"path": path.name})
