"""What the files under eval/claims/ hold: published figures and what their authors say of them.

One file is one card or report. `groups` share defaults; `tables` write many like figures in
rows; both are expanded on loading, so that every figure is one `Claim` with an id, a source
and a rounding interval.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from harness.claims.printed import Printed, StoredAs, parse_printed
from harness.records import Quantity, Strict, Text
from harness.vocabulary import METRICS, Direction, convertible

Kind = Literal["card", "readme", "training-notes", "rerun", "retest", "paper", "code", "note"]
Evidence = Literal["arithmetic", "source", "inference"]
RelationKind = Literal[
    "difference",
    "ratio",
    "sum",
    "product",
    "mean",
    "share",
    "greater",
    "negligible",
    "cause",
    "best",
    "collapse",
    "inverse_frequency",
]


class Source(Strict):
    """Where a figure stands, so that a reader can open it."""

    repository: str
    """owner/name on GitHub or the Hub, or a document's identifier such as arXiv:2504.11171."""
    path: Text = None
    """File within the repository, or page or section of a document."""
    revision: Text = None
    """Commit of the text that was read; None for documents without one."""

    def text(self) -> str:
        """One line for reports."""
        at = f"@{self.revision[:7]}" if self.revision else ""
        return f"{self.repository}{at}" + (f" {self.path}" if self.path else "")


class Claim(Strict):
    """One published figure."""

    id: str
    """Unique over the registry: `<card>/<name>`."""
    quantity: Quantity
    """What is measured."""
    value: str
    """As printed, without the unit; its decimals fix the rounding interval."""
    unit: str = ""
    """`fraction`, `points`, `MB`, `s`, ...; the metric's default where left out."""
    stored_as: StoredAs | None = None
    """`float32` or `float64` for unrounded figures from a file, `exact` for definitions."""
    tolerance: Text = None
    """How far a rerun may differ and still count as reproduced, in `unit`; `rounding` where
    the printed interval alone decides, None where no rerun is asked for."""
    direction: Direction = "none"
    """Which way is better."""
    source: Source
    """Where it stands."""
    quote: Text = None
    """The short phrase that carries the figure."""
    caveat: Text = None
    """The author's own reservation about this figure, in his words or shortened."""
    remark: Text = None
    """Our own remark in fairness to the author, printed wherever the figure does not fit."""
    response: Text = None
    """His answer to our findings, opening with its date; None until there is one."""
    line: int = 0
    """Line in the claims file."""

    @model_validator(mode="after")
    def _readable(self) -> Claim:
        printed = self.printed
        known = METRICS.get(self.quantity.metric)
        if printed.interval is None or known is None:
            if known is not None and self.quantity.metric != "statement":
                raise ValueError(f"value {self.value!r} of metric {self.quantity.metric} holds no number")
            return self
        if known.unit == "fraction" and self.unit not in ("fraction", "%"):
            raise ValueError(f"unit {self.unit!r} of a {self.quantity.metric}: 'fraction' or '%'")
        if not convertible(self.unit, known.unit):
            raise ValueError(f"unit {self.unit!r} cannot be turned into {known.unit!r} of {self.quantity.metric}")
        scale = 100 if known.unit == "fraction" and self.unit == "%" else 1
        lo, hi = printed.interval.lo / scale, printed.interval.hi / scale
        if (known.lo is not None and hi < known.lo) or (known.hi is not None and lo > known.hi):
            raise ValueError(
                f"value {self.value!r} {self.unit} lies outside the range "
                f"{known.lo}..{known.hi} of {self.quantity.metric}"
            )
        return self

    @property
    def printed(self) -> Printed:
        """The figure with its interval."""
        metric = METRICS.get(self.quantity.metric)
        return parse_printed(self.value, self.stored_as, count=bool(metric and metric.count))

    @property
    def card(self) -> str:
        """Id of the file that the claim stands in."""
        return self.id.partition("/")[0]


class Relation(Strict):
    """Something that an author says about two or more of his figures."""

    id: str
    """Unique over the registry."""
    kind: RelationKind
    """`difference`: states = a - b. `ratio`: states = a / b, or sum of `of` / sum of `over`.
    `sum`: states = a + b + ... `product`: states = a x b x ... `mean`: states = mean(a, b, ...).
    `share`: states = a in % of b. `greater`: the first is said to exceed the second.
    `negligible`: first - second is called small. `cause`: `text` is said to explain
    why first and second differ. `best`: the first is called the best of `of`.
    `collapse`: the first is called a failure among `of`.
    `inverse_frequency`: the weights are said to follow class frequency."""
    of: list[str]
    """Claim ids; a `*` at the end stands for every claim whose id starts so."""
    over: list[str] = Field(default_factory=list)
    """Claim ids below the line of a `ratio` of sums."""
    states: Text = None
    """Id of the claim that prints the result; None where only words do."""
    text: Text = None
    """What is said, shortened."""
    subject: str
    """Adapter that it is about."""
    source: Source
    """Where it stands."""
    quote: Text = None
    """The phrase itself."""
    correction: Text = None
    """A sentence that the author could paste, used where the relation does not hold."""
    line: int = 0
    """Line in the claims file."""

    @property
    def said(self) -> str:
        """What is said, in quotation marks where it is the author's own phrase."""
        return f'"{self.quote}"' if self.quote else self.text or self.kind


class Band(Strict):
    """One outcome of a gate."""

    name: str
    """The author's word for it."""
    lo: Text = None
    """Lower end, in the claim's unit; None where open."""
    hi: Text = None
    """Upper end; None where open."""


class Gate(Strict):
    """A rule that the author set himself before the run."""

    id: str
    """Unique over the registry."""
    subject: str
    """Adapter that it is applied to here."""
    text: str
    """The rule in one sentence."""
    bands: list[Band]
    """Outcomes, in any order; ends belong to the band that is named first."""
    of: list[str]
    """Ids of the claims that the gate judges."""
    source: Source
    """Where it stands."""
    quote: Text = None
    """The phrase itself."""
    caveat: Text = None
    """What keeps the gate from applying fully to these claims."""


class Concession(Strict):
    """A limit that the author states himself. Reports print these first."""

    subject: str
    """Adapter, or `all`."""
    text: str
    """Shortened."""
    source: Source
    """Where it stands."""
    quote: Text = None
    """The phrase itself."""


class SourceNote(Strict):
    """Something that source code or a document shows and that arithmetic cannot."""

    id: str
    """Unique over the registry."""
    subject: str
    """Adapter, or `all`."""
    claims: list[str] = Field(default_factory=list)
    """Claims that it bears on."""
    status: Literal["consistent", "inconsistent", "undetermined"]
    """How it bears on them."""
    grade: Literal["high", "medium", "low"]
    """How much a reader's decision depends on it."""
    evidence: Evidence
    """`source` where the code or document says it, `inference` where we conclude it."""
    claimed: str
    """What is claimed."""
    derived: str
    """What the source shows."""
    why: str
    """The reasoning, with its limit."""
    source: Source
    """Where it stands."""
    settles: Text = None
    """What would settle it."""
    correction: Text = None
    """A sentence that the author could paste."""


class ProbeRule(Strict):
    """Bounds for each expected word, as one place in the probe script gives them."""

    name: str
    """Where they stand, e.g. `as commented`, `as coded`."""
    bounds: dict[str, tuple[Text, Text]]
    """Word -> (least, most) pixels, both included; None where open."""
    quote: Text = None
    """The bounds as written."""


class ProbeSet(Strict):
    """Places with an expectation, and the published rows that are held against it."""

    id: str
    """Unique over the registry."""
    subject: str
    """Adapter."""
    rows: str
    """Claims with the pixel counts: the start of their ids and `*`."""
    chip_px: str
    """Side of each chip."""
    source: Source
    """Where the probe's rules stand."""
    expected: dict[str, str] = Field(default_factory=dict)
    """Place -> expected word, for probes on one count."""
    rules: list[ProbeRule] = Field(default_factory=list)
    """Bounds of the words; several where sources differ."""
    dominant: dict[str, list[str]] = Field(default_factory=dict)
    """Place -> class names that may have the most pixels, for probes on classes."""


class Card(Strict):
    """One file under eval/claims/."""

    id: str
    """Name of the card; the file's stem."""
    family: str
    """Model family, e.g. `terramind-nyc`."""
    kind: Kind
    """What sort of document it is."""
    title: str
    """For people."""
    author: str
    """Who answers for the figures."""
    date: Text = None
    """Date of the text that was read."""
    claims: list[Claim]
    """All figures."""
    relations: list[Relation] = Field(default_factory=list)
    """What is said about them."""
    gates: list[Gate] = Field(default_factory=list)
    """Rules set by the author."""
    probes: list[ProbeSet] = Field(default_factory=list)
    """Expectations at places, held against published rows."""
    concessions: list[Concession] = Field(default_factory=list)
    """Limits stated by the author."""
    notes: list[SourceNote] = Field(default_factory=list)
    """What source code shows."""
    path: str = ""
    """File that it was read from."""
