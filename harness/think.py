"""`harness think`: what a chip looks like in modalities that the base makes up, and what sampling does."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from harness.chips.chip import Chip
from harness.chips.labels import read_label_map
from harness.chips.recipe import Recipe, read_recipes
from harness.chips.sources.files import read_chips
from harness.claims.audit import read_view
from harness.claims.families import Family
from harness.claims.groups import View
from harness.errors import ChipError, RegistryError
from harness.places import cache_folder, eval_folder, write_file
from harness.report.think import Row, picture, stretch_rgb

Step = Callable[[str], None]


def think(
    folder: Path,
    *,
    chip: str | None,
    to: tuple[str, ...],
    given: tuple[str, ...],
    family: str,
    weights: str,
    declared: Mapping[str, str],
    labels: Path | None,
    seed: int,
    steps: int,
    greedy: bool,
    seeds: int,
    device: str,
    root: Path | None,
    out: Path,
    step: Step,
) -> list[Path]:
    """Generate modalities for one chip or all of a folder, draw them, and write what was done.

    Args:
        folder: Chips, see docs/chips-folder.md.
        chip: Chip id; all where left out.
        to: Modalities to generate.
        given: Modalities that go in.
        family: Family id.
        weights: Folder in the published format, or `random`.
        declared: Units by modality.
        labels: Map from codes to classes, to score generated land cover under its scheme.
        seed: For tokens and noise.
        steps: Diffusion steps.
        greedy: Most probable token everywhere.
        seeds: Where 2 or more: also the spread of the thinking adapters over that many seeds, and
            their runtime beside a plain adapter.
        device: Device by name.
        root: Checkout with an eval/ folder.
        out: Folder for pictures and records.
        step: Told what is being done.

    Returns:
        Files written.

    Raises:
        RegistryError: No such family.
        ChipError: No such chip.
        WeightsError, TopologyError, RecipeError, DeviceError: As the rooms below say.
    """
    if seeds == 1:
        raise RegistryError("--seeds 1 shows no spread; give 2 or more")
    from harness.models.generation.generate import load_generator
    from harness.models.generation.think import RECIPE, reference
    from harness.models.generation.think import think as think_of

    place = eval_folder(root)
    view = read_view(place)
    if family not in view.families:
        raise RegistryError(f"no family {family!r}; there are {', '.join(sorted(view.families)) or 'none'}")
    mapping = read_label_map(labels, view.schemes) if labels else None
    chips = {c.id: c for c in read_chips(folder, declared, labels, view.schemes)}
    if chip is not None and chip not in chips:
        raise ChipError(f"{folder}: no chip {chip!r}; there are {', '.join(chips)}")
    chosen = list(chips.values()) if chip is None else [chips[chip]]
    recipe = read_recipes(place / "recipes")[RECIPE]
    step("loading the generator")
    at = None if weights == "random" else Path(weights)
    generator = load_generator(view.families[family], at, to, given, device=device, seed=seed)
    written: list[Path] = []
    for each in chosen:
        step(f"{each.id}: {', '.join(to)}")
        scheme = view.schemes[mapping.scheme] if mapping else None
        thought = think_of(
            generator, each, recipe, seed=seed, steps=steps, greedy=greedy, label_map=mapping, scheme=scheme
        )
        record = thought.record
        arrays = thought.generated.arrays
        made = {m: thought.generated.lulc if m == "LULC" else arrays[m][0] for m in to}
        rows = [Row(m, pixels, reference(each, m)) for m, pixels in made.items()]
        if "S2L2A" not in each.layers:
            raise ChipError(f"{each.id}: no S2L2A to draw the picture from")
        layer = each.layers["S2L2A"]
        rgb, stretch = stretch_rgb(layer.data[0, [layer.bands.index(b) for b in ("B04", "B03", "B02")]])
        words = [
            record.lulc_why,
            f"seed {record.seed}, {record.steps} diffusion steps, {record.generator} on {record.device}; classes of "
            f"LULC: {record.lulc_evidence}",
        ]
        image = picture(each.id, rgb, stretch, rows, each.grid.gsd_m, generator.random, words)
        for name, content in ((f"{each.id}.png", image), (f"{each.id}.json", record.model_dump_json(indent=1) + "\n")):
            write_file(out / name, content)
            written.append(out / name)
    del generator
    if seeds >= 2:
        written += _spread(view, view.families[family], chosen, recipe, weights, device, seeds, place, out, step)
    return written


def _spread(
    view: View,
    family: Family,
    chips: list[Chip],
    recipe: Recipe,
    weights: str,
    device: str,
    seeds: int,
    place: Path,
    out: Path,
    step: Step,
) -> list[Path]:
    from harness.models.devices.device import threads
    from harness.models.ensemble import load_family
    from harness.models.generation.think import ratio_record, spread_record
    from harness.models.synthetic import write_family
    from harness.models.thinking import RUNTIME_CLAIM, ratio, spread

    at = Path(weights)
    if weights == "random":
        at = cache_folder() / f"random-{family.id}-0"
        step(f"writing random weights in the published format to {at}, about 1.8 GB")
        write_family(family, at)
    thinking = [a.id for a in family.adapters if family.build_of(a.id).tim_modalities]
    plain = [a.id for a in family.adapters if not family.build_of(a.id).tim_modalities]
    if not thinking or not plain:
        raise RegistryError(f"family {family.id}: a thinking adapter and a plain one are needed for --seeds")
    ensemble = load_family(family, at, tasks=[thinking[0], plain[0]], recipe=recipe, device=device, root=place.parent)
    random = ensemble.adapters[thinking[0]].audit.random_weights
    chip = chips[0]
    step(f"{thinking[0]}: {seeds} seeds on {chip.id}")
    over = list(range(seeds))
    found = spread(ensemble, chip, thinking[0], seeds=over)
    step(f"{thinking[0]} beside {plain[0]}: runtime")
    times = ratio(ensemble, chip, thinking[0], plain[0])
    held = spread_record(found, thinking[0], chip.id, over, greedy=False, random_weights=random)
    stated = [
        {"id": c.id, "value": c.value, "quote": c.quote, "source": c.source.text()}
        for c in view.registry.claims
        if c.id == RUNTIME_CLAIM
    ]
    content = {
        "spread": held.model_dump(mode="json"),
        "runtime": ratio_record(times, threads()).model_dump(mode="json"),
        "stated": stated,  # beside it, and never a verdict: another model on other tasks
    }
    path = out / f"{thinking[0]}-{chip.id}-spread.json"
    write_file(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return [path]
