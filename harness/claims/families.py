"""Model families under eval/families/: base, adapters, topology, pins."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field

from harness.claims.model import Source
from harness.claims.registry import read_yaml, validated
from harness.errors import RegistryError
from harness.records import Strict, Text


def _int(value: object) -> object:
    return int(value.replace("_", "")) if isinstance(value, str) and value.replace("_", "").isdigit() else value


Count = Annotated[int, BeforeValidator(_int)]


class Linear(Strict):
    """A linear layer that carries a LoRA pair, once in every block."""

    name: str
    """Name within the block."""
    inputs: Count
    """Columns of the weight."""
    outputs: Count
    """Rows of the weight."""


class Topology(Strict):
    """What the published recipe builds, counted on the built model."""

    source: Source
    """Where the recipe stands."""
    how: str
    """How these numbers were got."""
    blocks: Count
    """Transformer blocks of the encoder."""
    encoder_parameters: Count
    """Parameters of the built encoder."""
    linears: list[Linear]
    """Layers with LoRA, in each block."""
    lora_places: dict[str, Count]
    """How many copies of the block stack LoRA lands in, by adapter."""
    decoder_shared_parameters: Count
    """Parameters of neck, decoder and head less the last 1x1 convolution."""
    head_inputs: Count
    """Channels into the last 1x1 convolution; it has (inputs + 1) x classes parameters."""
    decoder_buffers: Count
    """Batch-norm buffer entries (running mean, running variance, counter) of the decoder."""
    output_stride_px: Count
    """Input pixels a logit covers before upsampling."""

    def decoder_parameters(self, classes: int) -> int:
        """Parameters of neck, decoder and head for that many classes."""
        return self.decoder_shared_parameters + (self.head_inputs + 1) * classes


class Build(Strict):
    """What a topology is built from, as the published recipe has it; an adapter's own fields win."""

    topology: Text = None
    """Name in `harness.models.topology.TOPOLOGIES`."""
    backbone: Text = None
    """Name in TerraTorch's registry of backbones, or of a plug-in."""
    modalities: list[str] = Field(default_factory=list)
    """Inputs in order, as TerraTorch writes them."""
    bands: dict[str, list[str]] = Field(default_factory=dict)
    """Band order of each modality."""
    timesteps: Count | None = None
    """Dates stacked into one input."""
    tim_modalities: list[str] = Field(default_factory=list)
    """Modalities that the backbone generates for itself (Thinking-in-Modalities)."""
    indices: list[Count] = Field(default_factory=list)
    """Encoder blocks whose output the neck takes."""
    decoder: Text = None
    """Name in TerraTorch's registry of decoders."""
    decoder_channels: list[Count] = Field(default_factory=list)
    """Channels of the decoder's stages."""
    lora_targets: list[str] = Field(default_factory=list)
    """Module names that carry LoRA, as PEFT matches them."""

    def over(self, other: Build) -> Build:
        """This one, with `other`'s fields where this one has none."""
        own = {k: v for k, v in self.model_dump().items() if v not in (None, [], {})}
        return Build.model_validate({**other.model_dump(), **own})


class Adapter(Strict):
    """One published adapter."""

    id: str
    """As in quantities' subject."""
    title: str
    """For people."""
    task: str
    """What it maps, in a few words."""
    classes: Count
    """Outputs."""
    schemes: list[str] = Field(default_factory=list)
    """Class schemes that documents name for it."""
    scored_under: list[str] = Field(default_factory=list)
    """Schemes that no document disputes, for adapters whose classes need no argument."""
    folder: str
    """Folder within the repository."""
    report: str
    """File stem of its gap report."""
    classes_of: Text = None
    """Adapter with the same classes, whose class-scheme findings bear on this one too."""
    bears: list[str] = Field(default_factory=list)
    """Other families whose findings bear on it, e.g. that of the base model."""
    build: Build = Field(default_factory=Build)
    """Where it is built otherwise than the family."""

    @property
    def label_schemes(self) -> list[str]:
        """Schemes that a label of it may be in."""
        return [*self.scored_under, *self.schemes]


class Pin(Strict):
    """A repository at a commit."""

    repository: str
    """owner/name on the Hub."""
    revision: str
    """Commit."""
    file: Text = None
    """File within it."""
    sha256: Text = None
    """Hash of that file."""
    source: Source
    """Who published the pin."""


class Difference(Strict):
    """One knob in which card, training code and rerun differ: a factor to test, not a cause."""

    knob: str
    """What differs."""
    card: str
    """As the card says."""
    code: str
    """As the training code does; code may differ from what ran."""
    rerun: str
    """As the published rerun does."""
    applies: str
    """`all`, or the word that the adapter's title begins with, in lower case."""


class Guidance(Strict):
    """What a reader is told first. Numbers are references to claims, never typed."""

    adapter: str
    """Adapter id."""
    answer: str
    """One paragraph: the answer."""
    rely_on: list[str]
    """What published figures let one rely on it for."""
    not_for: list[str]
    """What they speak against."""


class Recommended(Strict):
    """A threshold that documents recommend, and the figures that they print for it."""

    adapter: str
    """Adapter id."""
    threshold: str
    """In decimals."""
    purpose: str
    """What it is recommended for."""
    quote: str
    """The short phrase that carries it."""
    claims: list[str]
    """Ids of the figures printed for it."""
    caveat: Text = None
    """What a reader of these figures must know."""
    source: Source
    """Where the recommendation stands."""


class Family(Strict):
    """One file under eval/families/."""

    id: str
    """Name; the file's stem."""
    title: str
    """For people."""
    author: str
    """Who answers for the adapters."""
    pins: list[Pin]
    """Repositories and commits."""
    adapters: list[Adapter]
    """Published adapters."""
    build: Build = Field(default_factory=Build)
    """What its topology is built from; empty where nobody can build it."""
    topology: Topology | None = None
    """What the recipe builds, counted; None where nobody built it."""
    differences: list[Difference] = Field(default_factory=list)
    """Knobs in which the published set-ups differ."""
    guidance: list[Guidance] = Field(default_factory=list)
    """First words of each report."""
    recommended: list[Recommended] = Field(default_factory=list)
    """Thresholds that documents recommend."""

    def adapter(self, name: str) -> Adapter:
        """The adapter of that id.

        Raises:
            RegistryError: There is none.
        """
        for each in self.adapters:
            if each.id == name:
                return each
        raise RegistryError(
            f"family {self.id} has no adapter {name!r}; it has {', '.join(a.id for a in self.adapters)}"
        )

    def build_of(self, name: str) -> Build:
        """What an adapter is built from: the family's fields under its own.

        Raises:
            RegistryError: There is no such adapter.
        """
        return self.adapter(name).build.over(self.build)

    def base(self) -> Pin | None:
        """The pin of the base model's file; None where no pin names a file."""
        return next((p for p in self.pins if p.file is not None), None)


def read_families(folder: Path) -> dict[str, Family]:
    """Read all families of a folder.

    Raises:
        RegistryError: With file, line and field.
    """
    out: dict[str, Family] = {}
    for path in sorted(folder.glob("*.yaml")):
        raw = read_yaml(path)
        family = validated(Family, raw, path, "family")
        if family.id != path.stem:
            raise RegistryError(f"{path}:{raw.lines.get('id', 1)}: id: {family.id!r} differs from the file's name")
        out[family.id] = family
    return out
