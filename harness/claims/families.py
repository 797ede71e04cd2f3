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
    folder: str
    """Folder within the repository."""
    report: str
    """File stem of its gap report."""
    classes_of: Text = None
    """Adapter with the same classes, whose class-scheme findings bear on this one too."""
    bears: list[str] = Field(default_factory=list)
    """Other families whose findings bear on it, e.g. that of the base model."""


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
    topology: Topology | None = None
    """What the recipe builds; None where nobody built it."""
    differences: list[Difference] = Field(default_factory=list)
    """Knobs in which the published set-ups differ."""
    guidance: list[Guidance] = Field(default_factory=list)
    """First words of each report."""


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
