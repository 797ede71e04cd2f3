"""Counts, bytes and blocks that cards state, held against what was loaded."""

from __future__ import annotations

from fractions import Fraction

from harness.claims.families import Family
from harness.claims.groups import figure
from harness.claims.model import Claim
from harness.claims.registry import Registry
from harness.records import LoadAudit, Measurement, StructureRow
from harness.vocabulary import METRICS

MB, GB = 1_000_000, 1_000_000_000
"""As harness.vocabulary has them: powers of ten."""


def _counted(audit: LoadAudit) -> dict[str, tuple[float, str]]:
    """Value and meaning by metric, in the metric's own unit."""
    size = {f.role: f.size_bytes for f in audit.files}
    entries = {f.role: f.entries for f in audit.files}
    return {
        "blocks": (audit.blocks, "transformer blocks that the features come from"),
        "lora_modules": (audit.lora_applied, "LoRA pairs applied, in all places"),
        "lora_r": (audit.lora_r, "rank of the matrices"),
        "lora_alpha": (audit.lora_alpha, "from adapter_config.json; no tensor shows it"),
        "lora_parameters": (audit.lora_parameters, "entries of all LoRA matrices"),
        "decoder_parameters": (entries["decoder"], "entries of the decoder file, buffers included where it has them"),
        "base_parameters": (audit.encoder_parameters, "parameters of the encoder that is run, without LoRA"),
        "classes": (audit.classes, "outputs of the head"),
        "lora_size": (size["lora"] / MB, "bytes of the LoRA file"),
        "decoder_size": (size["decoder"] / MB, "bytes of the decoder file"),
        "adapter_size": ((size["lora"] + size["decoder"]) / MB, "bytes of both files"),
        "base_size": (size["base"] / GB, "bytes of the base file"),
    }


OF_FAMILY = ("blocks", "base_size")
"""Metrics that a card may state of the whole family."""


def _applies(claim: Claim, audit: LoadAudit) -> bool:
    q = claim.quantity
    named = q.subject == audit.adapter or (q.subject == "family" and q.metric in OF_FAMILY)
    return named and q.variant == "published" and not q.conditions and q.class_index is None and q.place is None


def structure_rows(registry: Registry, family: Family, audit: LoadAudit) -> list[StructureRow]:
    """Every stated count, size or hyperparameter of an adapter beside what was loaded.

    Where the weights are this project's own, sizes of the base say nothing and are left out; the
    rest follows from the published topology and format, not from the published files.
    """
    counted = _counted(audit)
    if audit.random_weights:
        counted.pop("base_size")
    rows = []
    for card in registry.cards:
        if card.family != family.id:
            continue
        for claim in card.claims:
            if claim.quantity.metric in counted and claim.printed.interval is not None and _applies(claim, audit):
                value, meaning = counted[claim.quantity.metric]
                unit = claim.unit or ""
                rows.append(
                    StructureRow(
                        claim=claim.id,
                        metric=claim.quantity.metric,
                        printed=f"{claim.value} {unit}".strip(),
                        counted=value,
                        meaning=meaning,
                        fits=Fraction(value) in figure(claim),
                    )
                )
    return rows


def alpha_claim(registry: Registry, adapter: str) -> float | None:
    """lora_alpha as a card or its training notes state it; None where none does, or where they differ."""
    found = {
        float(figure(c).mid)
        for c in registry.claims
        if c.quantity.subject == adapter and c.quantity.metric == "lora_alpha" and c.printed.interval is not None
    }
    return found.pop() if len(found) == 1 else None


def measurements(registry: Registry, rows: list[StructureRow]) -> list[Measurement]:
    """The rows as measurements of the claims' own quantities, for verdicts."""
    out = []
    for row in rows:
        claim = registry.find(row.claim)[0]
        out.append(Measurement(quantity=claim.quantity, value=row.counted, n=1, unit=METRICS[row.metric].unit))
    return out
