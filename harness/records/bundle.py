"""manifest.json: what a bundle holds, by hash, and what was read from the registry when it was packed."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.errors import BundleError
from harness.records.quantity import Strict

NAME: Final = "manifest.json"
"""In the bundle and in the folder of a contributed run."""

FOLDER: Final = "contributed-"
"""What the folder of a contributed run begins with, below eval/runs/."""

INSIDE: Final = re.compile(
    r"(run\.json|(arrays/[\w~-][\w.~-]{0,150}\.npz)|((locks|equivalence|bench)/[\w~-][\w.~-]{0,150}))", re.ASCII
)
"""Names of files in a bundle: one folder deep, no leading dot, letters, digits and `_ ~ - .` only."""


class PackedFile(Strict):
    """One file of a bundle."""

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    """Of its bytes."""
    size_bytes: int = Field(ge=0)
    """Bytes."""


class Manifest(BaseModel):
    """What a bundle holds.

    The hashes detect a change; they are no signature. Whoever changes a file can write its hash anew.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    schema_version: Literal[1] = Field(alias="schema", default=1)
    """Version of this shape."""
    harness: str
    """Version of the harness that packed it."""
    commit: str
    """Commit of the checkout that packed it; `unknown` outside of one."""
    dirty: bool
    """Whether that checkout had changes."""
    run: str
    """Id of the run."""
    who: str
    """Who contributes it; the same as in run.json."""
    machine: str = ""
    """The machine in the contributor's words, e.g. `MacBook Air M2, 16 GB`."""
    redacted: list[str] = Field(default_factory=list)
    """Fields of records from which paths, passwords or queries of addresses were taken when it was packed."""
    registry: dict[str, str]
    """sha256 of each file below eval/ that the measurements were computed again from when it was packed."""
    files: dict[str, PackedFile]
    """By name in the bundle; all but the manifest."""
    sha256: str = ""
    """Of this manifest without this field; see `sealed`."""

    def sealed(self) -> Manifest:
        """The same with its own hash."""
        held = self.model_dump(mode="json", by_alias=True, exclude={"sha256"})
        text = json.dumps(held, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return self.model_copy(update={"sha256": hashlib.sha256(text.encode()).hexdigest()})

    def text(self) -> str:
        """The file's content: one way to write it, so that no byte of it is free."""
        return json.dumps(self.model_dump(mode="json", by_alias=True), indent=1, ensure_ascii=False) + "\n"


def read_manifest(raw: bytes) -> Manifest:
    """A manifest that is whole.

    Raises:
        BundleError: Not of this shape, not as `text` writes it, with a name that cannot stand in a bundle, or
            its own hash is another.
    """
    try:
        manifest = Manifest.model_validate_json(raw, strict=True)
    except ValidationError as err:
        first = err.errors(include_url=False, include_input=False)[0]
        raise BundleError(f"{NAME}: {'.'.join(map(str, first['loc'])) or 'top'}: {first['msg']}") from None
    if manifest.sealed().sha256 != manifest.sha256:
        raise BundleError(f"{NAME}: its hash is not that of its content: it was altered after it was packed")
    if manifest.text().encode() != raw:
        raise BundleError(f"{NAME}: not as `harness bundle` writes it: it was altered after it was packed")
    if bad := [name for name in manifest.files if not INSIDE.fullmatch(name)]:
        raise BundleError(f"{NAME}: {bad[0][:80]!r} cannot stand in a bundle")
    return manifest
