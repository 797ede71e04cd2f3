"""Parameters, bytes and totals against the topology that the published recipe builds."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from harness.claims import identities as ids
from harness.claims.families import Topology
from harness.claims.findings import Finding
from harness.claims.groups import View, figure
from harness.claims.interval import Interval
from harness.claims.model import Claim

BYTES = {"float32": 4, "float16": 2}
"""Bytes of one stored parameter."""


def _claims(view: View, metric: str, variant: str = "published") -> Iterator[tuple[Claim, Topology | None]]:
    for card in view.registry.cards:
        family = view.families.get(card.family)
        for claim in card.claims:
            if claim.quantity.metric == metric and claim.quantity.variant == variant:
                yield claim, family.topology if family else None


def _first(view: View, card_family: str, subject: str, metric: str) -> Claim | None:
    for card in view.registry.cards:
        if card.family != card_family:
            continue
        for claim in card.claims:
            q = claim.quantity
            if (q.subject, q.metric, q.variant) == (subject, metric, "published") and not q.conditions:
                return claim
    return None


def lora_parameters(view: View) -> Iterator[Finding]:
    """LoRA parameters = r x blocks x sum over layers of (in + out); `identities.lora_parameters_per_rank`.

    The stated number of blocks must give the stated number of parameters.
    """
    for claim, topology in _claims(view, "lora_parameters"):
        if topology is None or claim.quantity.conditions:
            continue
        subject, family = claim.quantity.subject, view.family_of(claim.card)
        rank = _first(view, family, subject, "lora_r")
        if rank is None:
            continue
        per_block = ids.lora_parameters_per_rank([(line.inputs, line.outputs) for line in topology.linears]) * int(
            figure(rank).lo
        )
        blocks = figure(claim) / per_block
        places = topology.lora_places.get(subject, 1)
        built = places * topology.blocks
        names = " and ".join(line.name for line in topology.linears)
        ok = built in blocks
        yield view.finding(
            "lora-parameters",
            claim.id,
            [claim, rank],
            "consistent" if ok else "inconsistent",
            grade="low" if ok else "medium",
            claimed=f"{claim.value} parameters at r = {rank.value}",
            derived=f"{float(blocks.mid):g} blocks of {per_block:,} ({names})",
            why=f"A block adds r x (in + out) over {names} = {per_block:,}; the built encoder has "
            f"{topology.blocks} blocks" + (f" in {places} places." if places > 1 else "."),
        )
    for claim, topology in _claims(view, "blocks"):
        if topology is None:
            continue
        ok = topology.blocks in figure(claim)
        family = view.family_of(claim.card)
        wanted = claim.quantity.subject
        subjects = (
            [wanted]
            if wanted != "family"
            else [a.id for a in view.families[family].adapters if topology.lora_places.get(a.id, 1) == 1]
        )
        counts = [c for s in subjects if (c := _first(view, family, s, "lora_parameters")) is not None]
        ranks = [c for s in subjects if (c := _first(view, family, s, "lora_r")) is not None]
        if not counts or not ranks:
            continue
        per_block = ids.lora_parameters_per_rank([(line.inputs, line.outputs) for line in topology.linears]) * int(
            figure(ranks[0]).lo
        )
        implied = figure(counts[0]) / per_block
        modules = float(implied.mid) * len(topology.linears)
        agree = implied.meets(figure(claim))
        yield view.finding(
            "blocks",
            claim.id,
            [claim, counts[0], ranks[0]],
            "consistent" if ok and agree else "inconsistent",
            grade="low" if ok and agree else "medium",
            claimed=f"{claim.value} transformer blocks",
            derived=f"{counts[0].value} = {float(implied.mid):g} x {per_block:,}: {float(implied.mid):g} blocks, "
            f"{modules:g} adapted layers",
            why=(
                f"At r = {ranks[0].value} a block of width {topology.linears[0].inputs} adds {per_block:,} LoRA "
                "parameters. "
                f"{float(implied.mid):g} blocks with {len(topology.linears)} adapted layers each make "
                f"{modules:g} layers, "
                "which may be where the 24 comes from (inference)."
            ),
            correction=None
            if ok and agree
            else f"{float(implied.mid):g} transformer blocks ({modules:g} adapted linear layers), not {claim.value}.",
        )


def _twin(view: View, size: Claim, count_metric: str) -> Claim | None:
    """The count that the same card prints under the same conditions, where it names any."""
    for claim in view.registry.card(size.card).claims:
        q = claim.quantity
        if q.conditions and (q.metric, q.subject, q.conditions) == (
            count_metric,
            size.quantity.subject,
            size.quantity.conditions,
        ):
            return claim
    return None


def bytes_from_parameters(view: View) -> Iterator[Finding]:
    """File size = parameters x bytes of one; MB is 10^6 bytes, MiB 2^20. Either unit passes."""
    pairs = (("lora_size", "lora_parameters"), ("decoder_size", "decoder_parameters"))
    for size_metric, count_metric in pairs:
        for size, _ in _claims(view, size_metric):
            family = view.family_of(size.card)
            subject = size.quantity.subject
            names = (
                [subject]
                if subject != "family"
                else [a.id for a in view.families[family].adapters]
                if family in view.families
                else []
            )
            count = _twin(view, size, count_metric) or next(
                (c for n in names if (c := _first(view, family, n, count_metric)) is not None), None
            )
            if count is None:
                continue
            yield _size_finding(view, size, [count], figure(count))
    for size, _ in _claims(view, "adapter_size"):
        family, subject = view.family_of(size.card), size.quantity.subject
        lora, decoder = (_first(view, family, subject, m) for m in ("lora_parameters", "decoder_parameters"))
        if lora is None or decoder is None or size.quantity.conditions:
            continue
        yield _size_finding(view, size, [lora, decoder], figure(lora) + figure(decoder))
    for size, _ in _claims(view, "adapter_size"):
        if size.quantity.conditions.get("of") == "download":
            yield from _download(view, size)


def _size_finding(view: View, size: Claim, counts: list[Claim], parameters: Interval) -> Finding:
    options = {
        f"{stored} {unit}": parameters * width / scale
        for stored, width in BYTES.items()
        for unit, scale in (("MB", 10**6), ("MiB", 2**20))
    }
    printed = figure(size)
    fits = [name for name, value in options.items() if printed.meets(value)]
    ok = bool(fits)
    shown = options["float32 MB"]
    return view.finding(
        "bytes",
        size.id,
        [size, *counts],
        "consistent" if ok else "inconsistent",
        grade="low" if ok else "medium",
        claimed=f"{size.quantity.metric.replace('_', ' ')} {size.value} {size.unit}",
        derived=f"{float(shown.mid):.2f} MB as float32 ({float(options['float32 MiB'].mid):.2f} MiB), "
        f"{float(options['float16 MB'].mid):.2f} MB as float16",
        why=" + ".join(c.value for c in counts)
        + " parameters at 4 or 2 bytes, in MB or MiB"
        + (f"; fits as {fits[0]}." if ok else ". No reading is within 20 % of the printed size."),
        correction=None if ok else f"{size.quantity.text()}: {float(shown.mid):.2f} MB, not {size.value} {size.unit}.",
    )


def _download(view: View, size: Claim) -> Iterator[Finding]:
    family, subject = view.family_of(size.card), size.quantity.subject
    lora, decoder = (_first(view, family, subject, m) for m in ("lora_parameters", "decoder_parameters"))
    if lora is None or decoder is None:
        return
    both, alone = (figure(lora) + figure(decoder)) * 4, figure(decoder) * 4
    printed = size.printed.need()
    fits_both = printed.meets(both / 10**6) or printed.meets(both / 2**20)
    fits_alone = printed.meets(alone / 2**20) or printed.meets(alone / 10**6)
    yield view.finding(
        "bytes",
        size.id,
        [size, lora, decoder],
        "consistent" if fits_both else "undetermined",
        grade="low",
        claimed=f"{size.value} {size.unit} to download",
        derived=f"LoRA and decoder as float32: {float(both.mid) / 1e6:.1f} MB = {float(both.mid) / 2**20:.1f} "
        f"MiB; decoder alone {float(alone.mid) / 2**20:.1f} MiB",
        why="The printed number is the decoder alone in MiB."
        if fits_alone and not fits_both
        else "Parameters at 4 bytes.",
        settles="the file sizes on the Hub",
    )


def decoder_parameters(view: View) -> Iterator[Finding]:
    """Decoder, neck and head: parameters, or the full state with batch-norm buffers.

    The built decoder has a shared part plus (inputs + 1) x classes; its state also holds running
    means, variances and counters. Both are legitimate counts, but not in one column.
    """
    for family in view.families.values():
        topology = family.topology
        if topology is None:
            continue
        read: dict[str, list[Claim]] = {"parameters": [], "state with buffers": [], "neither": []}
        notes = []
        for adapter in family.adapters:
            claim = _first(view, family.id, adapter.id, "decoder_parameters")
            if claim is None:
                continue
            plain = topology.decoder_parameters(adapter.classes)
            state = plain + topology.decoder_buffers
            kind = (
                "parameters"
                if plain in figure(claim)
                else "state with buffers"
                if state in figure(claim)
                else "neither"
            )
            read[kind].append(claim)
            notes.append(f"{adapter.id} {claim.value}: {kind} ({plain:,} parameters, {state:,} with buffers)")
        claims = [c for group in read.values() for c in group]
        if not claims:
            continue
        mixed = sum(bool(v) for v in read.values()) > 1 or bool(read["neither"])
        yield view.finding(
            "decoder-parameters",
            family.id,
            [*read["state with buffers"], *read["parameters"], *read["neither"]],
            "inconsistent" if mixed else "consistent",
            grade="medium" if mixed else "low",
            subject="all",
            evidence="source",
            claimed="decoder + head + neck: " + ", ".join(dict.fromkeys(c.value for c in claims)),
            derived="; ".join(notes),
            why=(
                f"Counted on the built topology: a class costs {topology.head_inputs + 1} parameters in the head, and "
                f"{topology.decoder_buffers:,} entries are batch-norm buffers. Two bases stand in one column."
                if mixed
                else "Counted on the built topology."
            ),
            correction=f"Decoder + head + neck: {topology.decoder_parameters(5):,} parameters for five classes, "
            f"{topology.decoder_parameters(2):,} for two; with batch-norm buffers "
            f"{topology.decoder_buffers:,} more."
            if mixed
            else None,
        )


def base_parameters(view: View) -> Iterator[Finding]:
    """Stated size of the base against the built encoder, and against its own file.

    A file of S bytes holds at most S / 2 parameters at two bytes each.
    """
    for claim, topology in _claims(view, "base_parameters"):
        if topology is None:
            continue
        built = topology.encoder_parameters
        printed = figure(claim)
        exact = built in printed
        near = printed.meets(Interval(Fraction(built * 999, 1000), Fraction(built * 1001, 1000)))
        family = view.family_of(claim.card)
        sizes = [
            c
            for card in view.registry.cards
            if card.family == family
            for c in card.claims
            if c.quantity.metric == "base_size"
        ]
        size = next((c for c in sizes if c.card == claim.card), sizes[0] if sizes else None)
        inputs = [claim] + ([size] if size is not None else [])
        room = ""
        if size is not None:
            most = figure(size).hi * 10**9 / 2
            room = f"; a {size.value} {size.unit} file holds at most {float(most) / 1e6:,.0f} M at two bytes each"
        too_many = size is not None and printed.lo > figure(size).hi * 10**9 / 2
        yield view.finding(
            "base-parameters",
            claim.id,
            inputs,
            "consistent" if exact else "undetermined" if near else "inconsistent",
            grade="low" if exact or near else "medium",
            evidence="arithmetic" if too_many else "source",
            claimed=f"base of {claim.value}{'' if claim.unit == '1' else ' ' + claim.unit} parameters",
            derived=f"the built encoder has {built:,}{room}",
            why=f"Counted on the built topology; off by {abs(int(printed.mid) - built):,}."
            + (
                " A difference of this size can come from counting another part (inference)."
                if near and not exact
                else ""
            ),
            settles="what the count includes" if near and not exact else None,
            correction=None
            if exact
            else f"Say what {claim.value} counts; the built encoder has {built:,} parameters."
            if near
            else f"Base encoder: {built:,} parameters ({built / 1e6:.1f} M), not "
            f"{claim.value}{'' if claim.unit == '1' else ' ' + claim.unit}.",
        )


def parameters_or_bytes(view: View) -> Iterator[Finding]:
    """A LoRA count that equals several copies of the plain one, or the bytes of one copy.

    n parameters at 4 bytes are 4 n bytes, so the same number can be a count or a size. What the
    number of adapted layers elsewhere says decides, where it is printed.
    """
    for family in view.families.values():
        topology = family.topology
        if topology is None:
            continue
        for adapter in family.adapters:
            claim = _first(view, family.id, adapter.id, "lora_parameters")
            rank = _first(view, family.id, adapter.id, "lora_r")
            if claim is None or rank is None:
                continue
            per_block = ids.lora_parameters_per_rank([(x.inputs, x.outputs) for x in topology.linears]) * int(
                figure(rank).lo
            )
            one = per_block * topology.blocks
            value = int(figure(claim).lo)
            if value == one or value % one or value // one != 4:
                continue
            decoder, size = (
                _first(view, family.id, adapter.id, "decoder_parameters"),
                _first(view, family.id, adapter.id, "adapter_size"),
            )
            modules = _first(view, family.id, adapter.id, "lora_modules")
            inputs = [c for c in (claim, rank, decoder, size, modules) if c is not None]
            sizes = ""
            if decoder is not None:
                base = int(figure(decoder).lo)
                sizes = f"; the adapter would take {(base + value) * 4 / 1e6:.1f} MB or {(base + one) * 4 / 1e6:.1f} MB"
                if size is not None:
                    sizes += f", and {size.value} {size.unit} is printed"
            support = ""
            if modules is not None:
                expected = topology.blocks * len(topology.linears) * 4
                support = (
                    f" The author's later test merged {modules.value} LoRA layers, which is 4 x "
                    f"{topology.blocks * len(topology.linears)}: that speaks for parameters."
                    if expected in figure(modules)
                    else f" The author's later test merged {modules.value} LoRA layers, which fits neither."
                )
            yield view.finding(
                "parameters-or-bytes",
                claim.id,
                inputs,
                "undetermined",
                grade="medium",
                claimed=f"{claim.value} LoRA parameters",
                derived=f"as parameters 4 x {one:,} (LoRA in four places); as bytes one float32 LoRA of {one:,}{sizes}",
                why=(
                    "If it counts parameters, LoRA also sits in the token generator and tokenizer, which run without "
                    "gradient in training, so three quarters of the B matrices should still be zero." + support
                ),
                settles="the size of the file and its list of tensors",
                correction=f"Say whether {claim.value} counts parameters in four places or bytes of one.",
            )
