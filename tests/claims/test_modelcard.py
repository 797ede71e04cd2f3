"""Drafts from model cards: figures as printed, what was not read said, nothing guessed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.claims.audit import audit_card
from harness.claims.model import Claim
from harness.claims.modelcard import Draft, draft_from_model_card, draft_yaml
from harness.claims.registry import read_card
from harness.errors import ModelCardError

DATA = Path(__file__).parent / "data"


def draft(folder: Path, text: str) -> Draft:
    path = folder / "README.md"
    path.write_text(text, encoding="utf-8")
    return draft_from_model_card(path)


def table(folder: Path, *rows: str, above: str = "") -> Draft:
    width = rows[0].count("|") - 1
    return draft(folder, f"# Heron\n\n{above}\n\n" + "\n".join([rows[0], "|" + "---|" * width, *rows[1:]]) + "\n")


def found(made: Draft) -> set[tuple[Any, ...]]:
    """(metric, variant, class index, class name, split, value, unit) of every claim."""
    keys = ("metric", "variant", "class_index", "class_name", "split")
    return {(*(c["quantity"].get(key) for key in keys), c["value"], c["unit"]) for c in made.claims}


def left(made: Draft) -> set[tuple[int, str, str]]:
    return {(u.line, u.text, u.why) for u in made.unread}


UNKNOWN = "header not known as a metric"


def test_metrics_as_columns_and_model_index_are_read_as_printed() -> None:
    made = draft_from_model_card(DATA / "card_columns.md")
    assert (made.card, made.author, made.title) == ("reed-mapper", "marsh", "Reed-Mapper: model card")
    tuned = "full-fine-tune"
    assert found(made) == {
        # model-index: 0.8910 keeps its zero, 94.20 is a percentage, F1 stands beside mIoU
        ("mIoU", None, None, None, "test", "0.8910", "fraction"),
        ("f1_macro", None, None, None, "test", "0.93", "fraction"),
        ("accuracy", None, None, None, "test", "94.20", "%"),
        ("x-wer", None, None, None, "test", "3.50", ""),
        # first row: "(ours)" marks the published one
        ("mIoU", None, None, None, "test", "0.5866", "fraction"),
        ("iou", None, None, "reed", "test", "58.66", "%"),
        ("iou", None, 0, None, "test", "0.8107", "fraction"),
        ("accuracy", None, None, None, "test", "89.1", "%"),
        ("f1_macro", None, None, None, "test", "0.67", "fraction"),
        ("delta_points", None, None, None, "test", "+6.13", "points"),
        ("x-size", None, None, None, None, "~325", "MB"),
        ("latency", None, None, None, None, "12.5", "ms"),
        # second row: a raised 1 is a footnote, missing cells are nothing
        ("mIoU", tuned, None, None, "test", "0.5253", "fraction"),
        ("f1_macro", tuned, None, None, "test", "0.610", "fraction"),
        ("latency", tuned, None, None, None, "1.2", "s"),
        # thresholds
        ("iou", None, None, None, "val", "0.349", "fraction"),
        ("precision", None, None, None, "val", "0.350", "fraction"),
        ("recall", None, None, None, "val", "0.992", "fraction"),
        ("precision", None, None, None, "val", "0.380", "fraction"),
        ("recall", None, None, None, "val", "0.903", "fraction"),
    }
    assert [c["quantity"]["threshold"] for c in made.claims[15:]] == ["0.5", "0.5", "0.5", "0.6", "0.6"]
    assert [c["caveat"] for c in made.claims if "caveat" in c] == ["± 0.02"]


def test_unread_cells_are_listed_with_line_header_and_reason() -> None:
    made = draft_from_model_card(DATA / "card_columns.md")
    assert left(made) == {
        (25, "recall", "model-index: value is no single figure"),
        (35, "Epochs: 30", UNKNOWN),
        (36, "IoU_0: 1.7", "above 1, so no fraction, and nothing beside it says percent"),
        (36, "Size: 325", "no unit beside it: x-size in what?"),
        (43, "IoU: 0,365", "not one figure"),
    }


def test_transposed_class_and_hyperparameter_tables() -> None:
    made = draft_from_model_card(DATA / "card_rows.md")
    assert (made.card, made.author) == ("heron-adapters", "unknown")
    urban, full = "Impervious / urban", "full-ft"
    assert found(made) == {
        ("mIoU", "lora", None, None, "test", "58.66", "%"),
        ("mIoU", full, None, None, "test", "52.53", "%"),
        ("delta_points", None, None, None, "test", "+6.13", "points"),
        ("mIoU", "lora", None, None, "val", "59.50", "%"),
        ("mIoU", full, None, None, "val", "52.51", "%"),
        ("iou", "lora", None, "building", None, "29.28", "%"),
        ("training_time", "lora", None, None, None, "5", "min"),
        ("training_time", full, None, None, None, "25-40", "min"),
        ("trainable_parameters", "lora", None, None, None, "884,736", "1"),
        ("trainable_parameters", full, None, None, None, "87.9", "million"),
        ("iou", None, 0, urban, None, "0.9494", "fraction"),
        ("iou", full, 0, urban, None, "0.93", "fraction"),
        ("f1", None, 0, urban, None, "0.974", "fraction"),
        ("class_accuracy", None, 0, urban, None, "0.98", "fraction"),
        ("iou", None, 2, "water", None, "0.7696", "fraction"),
        ("iou", full, 2, "water", None, "0.70", "fraction"),
        ("f1", None, 2, "water", None, "0.870", "fraction"),
        ("class_accuracy", None, 2, "water", None, "0.88", "fraction"),
        ("iou", None, 3, "bare", None, "0.3892", "fraction"),
        ("f1", None, 3, "bare", None, "0.560", "fraction"),
        ("class_accuracy", None, 3, "bare", None, "0.5", "fraction"),
        ("mIoU", None, None, None, None, "0.7027", "fraction"),
        ("mIoU", full, None, None, None, "0.8", "fraction"),
        ("f1_macro", None, None, None, None, "0.801", "fraction"),
        ("mean_class_accuracy", None, None, None, None, "0.79", "fraction"),
    }
    assert left(made) == {
        (9, "Note: 2 runs", UNKNOWN),
        (12, "Throughput: 12", UNKNOWN),
        (12, "Throughput: 13", UNKNOWN),
        (20, "Full FT IoU: 1.5", "above 1, so no fraction, and nothing beside it says percent"),
        (22, "IoU: 0.81", "row 'Overall' is no class, and its averaging is not said"),
        (26, "Learning rate: 5e-4", UNKNOWN),
        (28, "Batch size: 8", UNKNOWN),
    }
    (delta,) = [c for c in made.claims if c["quantity"]["metric"] == "delta_points"]
    assert delta["quantity"]["conditions"] == {"of": "mIoU"}


@pytest.mark.parametrize("name", ["card_columns.md", "card_rows.md"])
def test_the_yaml_reads_back_with_the_same_values(name: str, tmp_path: Path) -> None:
    made = draft_from_model_card(DATA / name)
    text = draft_yaml(made)
    assert text == draft_yaml(draft_from_model_card(DATA / name))
    assert text.startswith("# DRAFT")
    for unread in made.unread:
        assert f"\n# unread, line {unread.line}: {unread.text} ({unread.why})\n" in text
    path = tmp_path / f"{made.card}.yaml"
    path.write_text(text, encoding="utf-8")
    card = read_card(path)
    assert (card.id, card.family, card.kind, card.title, card.author) == (
        made.card, made.family, "card", made.title, made.author,
    )  # fmt: skip
    assert [(c.id, c.value, c.unit, c.quote) for c in card.claims] == [
        (f"{made.card}/{c['id']}", c["value"], c["unit"], c["quote"]) for c in made.claims
    ]
    for claim, raw in zip(card.claims, made.claims, strict=True):
        assert claim.quantity.model_dump(exclude_defaults=True) == raw["quantity"]
        assert claim.source.path == name
        assert claim.quote is not None
        assert len(claim.quote) <= 120


def test_ids_are_distinct_and_carry_the_line() -> None:
    ids = [c["id"] for c in draft_from_model_card(DATA / "card_rows.md").claims]
    assert len(ids) == len(set(ids))
    assert "miou.lora.test.l7" in ids
    assert "iou.0-impervious-urban.l18" in ids


def test_same_words_and_other_numbers_are_told_apart(tmp_path: Path) -> None:
    made = draft(
        tmp_path,
        "---\nmodel-index:\n- name: a/heron\n  results:\n  - metrics:\n    - {type: iou, value: 0.7}\n---\n"
        "## One\n\n|IoU|IoU|\n|-|-|\n|0.50|0.60|\n\n## Two\n\n"
        "|mIoU|\n|-|\n|0.551|\n\n## Three\n\n|mIoU|\n|-|\n|0.5512|\n",
    )
    ids = [c["id"] for c in made.claims]
    assert ids == ["iou.l6", "iou.l12", "iou.l12-2", "miou.l18", "miou.l24"]
    at = [c["quantity"].get("conditions") for c in made.claims]
    assert at == [None, {"at": "line 12, IoU"}, {"at": "line 12, IoU"}, None, None]
    assert [(u.line, u.text) for u in made.unread] == [(12, "IoU: 0.60")]


def test_front_matter_and_text_stay_comparable(tmp_path: Path) -> None:
    index = "---\nmodel-index:\n- name: heron\n  results:\n  - metrics:\n    - {type: mIoU, value: 0.5518}\n---\n"
    made = draft(tmp_path, index + "| |mIoU|\n|-|-|\n|heron|0.5511|\n")
    assert made.claims[0]["quantity"] == made.claims[1]["quantity"]
    assert made.unread == []


def test_several_datasets_become_conditions(tmp_path: Path) -> None:
    result = "  - dataset: {{name: {}, type: t, split: validation}}\n    metrics: [{{type: mIoU, value: {}}}]\n"
    head = "---\nmodel-index:\n- name: heron\n  results:\n"
    made = draft(tmp_path, head + result.format("A", "0.50") + result.format("B", "0.60") + "---\n")
    assert [(c["quantity"]["conditions"], c["quantity"]["split"]) for c in made.claims] == [
        ({"dataset": "A"}, "val"),
        ({"dataset": "B"}, "val"),
    ]


def test_what_markdown_takes_for_no_table_is_said(tmp_path: Path) -> None:
    text = (
        "|mIoU|\n|-|\n|0.5|0.6|\n\n```\n|F1|\n|-|\n|0.1|\n```\n\n<table><tr><td>0.4</td></tr></table>\n\n"
        "|a|b|c|\n|-|-|\n|1|2|3|\n"
    )
    made = draft(tmp_path, text)
    assert [c["value"] for c in made.claims] == ["0.5"]
    assert [(u.line, u.why.split(",")[0]) for u in made.unread] == [
        (3, "row has more cells than the header"),
        (5, "table inside a code block"),
        (11, "HTML table"),
        (13, "looks like a table"),
    ]


def test_line_ends_and_byte_order_mark_do_not_move_lines(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_bytes("\ufeff---\r\nlicense: mit\r\n---\r\n# Heron\r\n\r\n|A|mIoU|\r\n|-|-|\r\n|x|0.5|\r\n".encode())
    assert [c["id"] for c in draft_from_model_card(path).claims] == ["miou.x.l8"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no figures found"),
        (b"\x89PNG\r\n\x1a\n\xff\xfe\x00", "not UTF-8 at byte 0"),
        (b"---\nlicense: mit\n# Heron\n", "README.md:1: front matter is never closed"),
        (b"---\nlicense: mit\nmodel-index: [\n---\n", r"README.md:\d: front matter is not YAML"),
        (b"---\nlicense: mit\nlicense: x\n---\n", "README.md:3: front matter: key 'license' stands twice"),
        (b"---\njust words\n---\n", "README.md:2: front matter is no mapping"),
        (b"---\na: \x07\n---\n", "front matter is not YAML"),
        (b"---\na: " + b"[" * 5000 + b"\n---\n", "front matter is"),
        (b"# Heron\n\nA bird. mIoU is 0.5.\n", "no figures found"),
        (b"# Heron\n\n|Setting|Value|\n|-|-|\n|lr|5e-4|\n", "README.md:5: no figures found.*lr: 5e-4"),
        (b"---\nmodel-index: 3\n---\n", "README.md:2: no figures found.*a list was expected"),
    ],
)
def test_cards_that_cannot_be_drafted_name_file_and_line(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_bytes(content)
    with pytest.raises(ModelCardError, match=message) as caught:
        draft_from_model_card(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_or_a_folder_is_said(tmp_path: Path) -> None:
    for path in (tmp_path / "none.md", tmp_path):
        with pytest.raises(ModelCardError, match="cannot be read"):
            draft_from_model_card(path)


def test_every_metric_of_a_hub_card_is_read_back(tmp_path: Path) -> None:
    from huggingface_hub import EvalResult, ModelCard, ModelCardData

    def result(kind: str, value: float, **more: Any) -> EvalResult:
        return EvalResult(
            task_type="image-segmentation", dataset_type="a/b", dataset_name="B", dataset_split="test",
            metric_type=kind, metric_value=value, **more,
        )  # fmt: skip

    results = [
        result("mean_iou", 0.5866, metric_name="Test mIoU"),
        result("iou", 0.2928, metric_name="IoU (building)"),
        result("accuracy", 89.1),
        result("f1", 0.6733, metric_args={"average": "weighted"}),
        result("loss", 1.23e-05),
        result("rouge", 12.5, metric_name="ROUGE-L"),
    ]
    data = ModelCardData(license="mit", model_name="heron", eval_results=results)
    made = draft(tmp_path, ModelCard.from_template(data, model_id="heron").content)
    assert found(made) == {
        ("mIoU", None, None, None, "test", "0.5866", "fraction"),
        ("iou", None, None, "building", "test", "0.2928", "fraction"),
        ("accuracy", None, None, None, "test", "89.1", "%"),
        ("f1", None, None, None, "test", "0.6733", "fraction"),
        ("loss", None, None, None, "test", "1.23e-05", "1"),
        ("x-rouge", None, None, None, "test", "12.5", ""),
    }
    assert made.unread == []
    assert sorted(float(c["value"]) for c in made.claims) == sorted(float(r.metric_value) for r in results)


WORDS = (
    "mIoU IoU_reed F1 Δ Class Metric Threshold ID Mean Test 0—mud LoRA 0.5 58.6% 1.7 ~5MB +6pp - ² 0.7-0.6 1e5 99999 "
    "**0.5**\\* Std ΔmIoU(%) Latency 12ms <sup>2</sup> `3` [1](x) nan 1e-400 0.5±0.1 30-5 -0.1 >0.9 0.0 x²"
)
CELLS = st.one_of(
    st.sampled_from(WORDS.split()), st.text(max_size=8).map(lambda s: " ".join(s.replace("|", "").split()))
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(CELLS, min_size=3, max_size=3), min_size=2, max_size=5))
def test_any_table_gives_a_registry_that_reads_back_or_one_error(tmp_path: Path, grid: list[list[str]]) -> None:
    rows = ["|" + "|".join(row) + "|" for row in grid]
    try:
        made = table(tmp_path, *rows, "|a|0.5|x|")
    except ModelCardError:
        return
    path = tmp_path / f"{made.card}.yaml"
    path.write_text(draft_yaml(made), encoding="utf-8")
    card = read_card(path)
    assert [c.value for c in card.claims] == [c["value"] for c in made.claims]
    assert all(isinstance(c, Claim) for c in card.claims)
    assert len({c.id for c in card.claims}) == len(card.claims)


def test_the_identities_of_a_drafted_card_run(tmp_path: Path) -> None:
    """A split said once in a table and a row marked as the author's own join the class table."""
    text = (
        "# Heron\n\n| Run | Test mIoU | F1 macro | Train time |\n|---|--:|--:|--:|\n"
        "| Full fine-tune | 0.5000 | - | ~25 min |\n"
        "| **Heron-LoRA (this work)** | **0.5500** | **0.7056** | ~5 min |\n\n"
        "### Per-class IoU on the test split\n\n"
        "| Class | IoU |\n|---|--:|\n| 0 - reed | 0.6000 |\n| 1 - water | 0.5000 |\n"
    )
    made = draft(tmp_path, text)
    path = tmp_path / "card.yaml"
    path.write_text(draft_yaml(made), encoding="utf-8")
    checks = {f.check: f.status for f in audit_card(path).findings}
    assert checks["macro-mean"] == "consistent"
    path.write_text(draft_yaml(made).replace("0.5500", "0.5900"), encoding="utf-8")
    wrong = {f.check: f for f in audit_card(path).findings}
    assert wrong["macro-mean"].status == "undetermined"
    assert "number of classes" in (wrong["macro-mean"].settles or "")
