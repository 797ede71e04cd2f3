"""A family's wiring over a small backbone with a narrow decoder: what the bench runs unless told otherwise."""

from __future__ import annotations

from pathlib import Path

import yaml

from harness.claims.families import Build, Family
from harness.errors import RegistryError

SMALL = "tiny"
"""The smallest size of a backbone that terratorch registers beside `base`."""

THINNER = 8
"""Decoder channels are divided by this."""


def narrow(family: Family) -> Family:
    """The same adapters, modalities, dates, LoRA places and kinds of layers, with fewer numbers in each.

    Its times say how the code behaves, its sizes and times nothing of the family's own.

    Raises:
        RegistryError: A backbone of the family has no small sister by name.
    """

    def small(build: Build, name: str) -> Build:
        parts = (build.backbone or "").split("_")
        if build.backbone is not None and "base" not in parts:
            raise RegistryError(f"{name}: no small sister of {build.backbone} is known; run the published topology")
        backbone = "_".join(SMALL if p == "base" else p for p in parts) or None
        channels = [max(1, c // THINNER) for c in build.decoder_channels]
        return build.model_copy(update={"backbone": backbone, "decoder_channels": channels})

    adapters = [
        a.model_copy(update={"build": small(a.build, f"{family.id}/{a.id}"), "bears": []}) for a in family.adapters
    ]
    pins = [p.model_copy(update={"sha256": None}) for p in family.pins]
    return family.model_copy(
        update={"adapters": adapters, "build": small(family.build, family.id), "pins": pins, "topology": None}
    )


def checkout(family: Family, folder: Path, eval_from: Path) -> Path:
    """A folder with eval/ in which `family` stands in the place of the one of its id.

    Claims, recipes, schemes and labels are copied.

    Returns:
        `folder`.
    """
    for kind in ("claims", "recipes", "schemes", "labels"):
        (folder / "eval" / kind).mkdir(parents=True)
        for path in sorted((eval_from / kind).glob("*.yaml")):
            (folder / "eval" / kind / path.name).write_bytes(path.read_bytes())
    (folder / "eval" / "families").mkdir()
    said: dict[str, list[object]] = {"guidance": [], "recommended": [], "differences": []}
    data = family.model_copy(update=said).model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
    (folder / "eval" / "families" / f"{family.id}.yaml").write_text(text, encoding="utf-8")
    return folder
