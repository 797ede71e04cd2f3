"""Recipe files: the four that are published, and what an error says."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.chips.recipe import KNOBS, Recipe, differences, read_recipes
from harness.errors import RecipeError


@pytest.fixture
def recipes(root: Path) -> dict[str, Recipe]:
    return read_recipes(root / "eval" / "recipes")


def test_four_recipes_with_the_knobs_that_can_explain_a_gap(recipes: dict[str, Recipe]) -> None:
    assert set(recipes) == {"training-code", "published-rerun", "pretraining", "card"}
    training, rerun = recipes["training-code"], recipes["published-rerun"]
    assert (training.chip_size_px, training.dates.policy, training.s1.unit, training.s1.dtype) == (
        *(256, "repeat", "linear power"),
        "float16",
    )
    assert (rerun.chip_size_px, rerun.dates.policy, rerun.s1.unit, rerun.s1.floor) == (224, "distinct", "dB", 1e-6)
    assert (training.dem.policy, rerun.dem.policy) == ("zeros", "given")
    assert training.resampling["60m"] == "nearest"
    assert set(rerun.resampling.values()) == {"bilinear"}
    assert all(r.s2_offset.policy == "raw" for r in recipes.values())


def test_statistics_typed_a_second_time(recipes: dict[str, Recipe]) -> None:
    flood, v1 = recipes["training-code"].statistics, recipes["pretraining"].statistics
    assert flood["S2L2A"].mean == [
        *(1223.128, 1251.355, 1423.443, 1408.984, 1786.818, 2448.316),
        *(2685.642, 2745.795, 2817.936, 3194.081, 1964.659, 1399.317),
    ]
    assert flood["S2L2A"].std == [
        *(2358.709, 2227.598, 2082.363, 2068.519, 2086.682, 2003.085),
        *(2019.494, 2060.309, 2014.732, 2992.644, 1414.951, 1218.357),
    ]
    assert (flood["S1RTC"].mean, flood["S1RTC"].std) == ([-9.98, -15.968], [4.24, 4.105])
    assert (flood["DEM"].mean, flood["DEM"].std) == ([141.786], [189.363])
    assert v1["S2L2A"].mean == [
        *(1390.458, 1503.317, 1718.197, 1853.910, 2199.100, 2779.975),
        *(2987.011, 3083.234, 3132.220, 3162.988, 2424.884, 1857.648),
    ]
    assert v1["S2L2A"].std == [
        *(2106.761, 2141.107, 2038.973, 2134.138, 2085.321, 1889.926),
        *(1820.257, 1871.918, 1753.829, 1797.379, 1434.261, 1334.311),
    ]
    assert (v1["S1RTC"].mean, v1["S1RTC"].std) == ([-10.93, -17.329], [4.391, 4.459])
    assert (v1["DEM"].mean, v1["DEM"].std) == ([670.665], [951.272])
    rerun = recipes["published-rerun"].statistics
    assert {m: (s.mean, s.std) for m, s in rerun.items()} == {m: (s.mean, s.std) for m, s in v1.items()}


def test_an_inference_is_called_one(recipes: dict[str, Recipe]) -> None:
    remarks = {r.knob: r.evidence for r in recipes["training-code"].remarks}
    assert (remarks["dem"], remarks["s1"]) == ("inference", "source")
    assert recipes["training-code"].statistics["S1RTC"].unit == "dB"


def test_the_card_says_little_and_what_it_does_not_say_is_listed(recipes: dict[str, Recipe]) -> None:
    card = recipes["card"]
    assert {a.knob for a in card.assumed} == {
        *("bands", "dates", "resampling", "s2_offset", "s1", "statistics", "missing"),
    }
    assert {a.recipe for a in card.assumed} == {"training-code"}
    assert {knob for knob, _, _ in differences(card, recipes["training-code"])} == {"chip_size_px", "dem"}


def test_every_file_states_each_knob_or_says_where_it_was_taken_from(root: Path, recipes: dict[str, Recipe]) -> None:
    for name, recipe in recipes.items():
        text = (root / "eval" / "recipes" / f"{name}.yaml").read_text(encoding="utf-8")
        stated = {line.split(":")[0] for line in text.splitlines() if line[:1].isalpha()}
        assumed = {a.knob for a in recipe.assumed}
        assert stated & set(KNOBS) | assumed == set(KNOBS)
        assert not stated & assumed
        assert recipe.sources


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("chip_size_px: 256\n", "", "recipe.chip_size_px: field is missing"),
        ("policy: raw", "policy: cooked", "recipe.s2_offset.policy"),
        ("grid_snap: major-tom", "grid_snap: major-tom\ncolour: red", "recipe.colour: no such field"),
        ("mean: [141.786]", "mean: [141.786, 2]", "DEM has 2 means and 1 standard deviations for 1 bands"),
        ("std: [189.363]", "std: [0]", "positive standard deviations"),
        ("DEM: 0}", "LULC: 0}", "what becomes of nodata in DEM"),
        ("  DEM: [DEM]", "  DEM: [DEM]\n  S9: [X]", "'S9' is no modality"),
        ("- knob: dem\n", "- knob: colour\n", "'colour' is no knob"),
        ("id: training-code", "id: else", "differs from the file's name"),
        ("assumed: []", "assumed: [{knob: s1, recipe: pretraining, why: x}]", "states this knob"),
        ("assumed: []", "assumed: [dates]", "a list of knob, recipe and why"),
    ],
)
def test_an_error_names_file_and_field(root: Path, tmp_path: Path, old: str, new: str, message: str) -> None:
    text = (root / "eval" / "recipes" / "training-code.yaml").read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "training-code.yaml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        read_recipes(tmp_path)
    assert str(path) in str(caught.value)
    assert message in str(caught.value)


def test_an_assumed_knob_leads_to_a_recipe_that_states_it(root: Path, tmp_path: Path) -> None:
    for name in ("training-code", "card"):
        (tmp_path / f"{name}.yaml").write_bytes((root / "eval" / "recipes" / f"{name}.yaml").read_bytes())
    card = tmp_path / "card.yaml"
    text = card.read_text(encoding="utf-8")
    card.write_text(
        text.replace("knob: dates, recipe: training-code", "knob: dates, recipe: nowhere"), encoding="utf-8"
    )
    with pytest.raises(RecipeError, match=r"card.yaml:\d+: assumed.dates: no recipe 'nowhere'"):
        read_recipes(tmp_path)
    card.write_text(text.replace("knob: dates, recipe: training-code", "knob: dates, recipe: card"), encoding="utf-8")
    with pytest.raises(RecipeError, match="card does not state it either"):
        read_recipes(tmp_path)


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no recipes"):
        read_recipes(tmp_path)
