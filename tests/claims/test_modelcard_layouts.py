"""Tables of model cards: units by their neighbours, rows and columns that say more than a metric."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.claims.test_modelcard import found, table


@pytest.mark.parametrize(
    ("rows", "values"),
    [
        (["|M|mIoU|", "|a|58.66|", "|b|61|"], [("58.66", "%"), ("61", "%")]),
        (["|M|mIoU (%)|", "|a|58.66|", "|b|0.9|"], [("58.66", "%"), ("0.9", "%")]),
        (["|M|mIoU|", "|a|1.7|", "|b|61|"], [("1.7", "%"), ("61", "%")]),
        (["|M|mIoU|", "|a|58.66|", "|b|61|", "|c|0.6|"], [("58.66", "%"), ("61", "%")]),
        (["|M|mIoU|", "|a|0.5|", "|b|1.7|"], [("0.5", "fraction")]),
        (["|M|mIoU|", "|a|0.5|", "|b|-0.2|"], [("0.5", "fraction")]),
        (["|M|mIoU|", "|a|0.5|", "|b|158|"], [("0.5", "fraction")]),
        (["|M|mIoU|", "|a|0.5|", "|b|0.7-0.6|"], [("0.5", "fraction")]),
        (["|M|mIoU (%)|F1|", "|a|0.5|0.9|"], [("0.9", "fraction")]),
        (["|M|mIoU|", "|a|0.5|", "|b|12 ms|"], [("0.5", "fraction")]),
    ],
)
def test_a_figure_is_a_percentage_only_where_that_is_plain(
    rows: list[str], values: list[tuple[str, str]], tmp_path: Path
) -> None:
    made = table(tmp_path, *rows)
    assert [(c["value"], c["unit"]) for c in made.claims] == values
    cells = sum(row.count("|") - 2 for row in rows[1:])
    assert len(made.unread) == cells - len(values)


@pytest.mark.parametrize(
    ("cell", "unit"), [("+6.13", "points"), ("6.13 pp", "points"), ("+0.0613", None), ("+6.13 %", None)]
)
def test_a_difference_is_in_points_only_where_that_is_plain(cell: str, unit: str | None, tmp_path: Path) -> None:
    made = table(tmp_path, "|M|mIoU|Δ mIoU|", f"|a|0.5|{cell}|")
    assert [c["unit"] for c in made.claims] == (["fraction"] if unit is None else ["fraction", unit])
    assert len(made.unread) == (unit is None)


def test_row_of_differences_and_rows_that_are_no_value(tmp_path: Path) -> None:
    made = table(tmp_path, "|Arm|mIoU|Latency (s)|", "|LoRA|0.58|2|", "|Δ|+6.1 pp|1|", "|Std|0.02|0.1|")
    assert found(made) == {
        ("mIoU", "lora", None, None, None, "0.58", "fraction"),
        ("latency", "lora", None, None, None, "2", "s"),
        ("delta_points", None, None, None, None, "+6.1", "points"),
    }
    assert len(made.unread) == 3


def test_columns_of_words_tell_rows_apart(tmp_path: Path) -> None:
    made = table(tmp_path, "|Arm|Backbone|Input|Split|mIoU|", "|LoRA|ViT|S1|test|0.5|", "|LoRA|ViT|S2|val|0.6|")
    got = [(q["variant"], q["split"], q["conditions"]) for q in (c["quantity"] for c in made.claims)]
    assert got == [("lora", "test", {"input": "S1"}), ("lora", "val", {"input": "S2"})]


def test_words_beside_distinct_labels_are_no_condition(tmp_path: Path) -> None:
    made = table(tmp_path, "|Arm|Task|Seed|mIoU|", "|LoRA|5-class map|1|0.5|", "|Full|2-class map|2|0.6|")
    assert [c["quantity"].get("conditions") for c in made.claims] == [None, None]
    assert [u.text for u in made.unread] == ["Seed: 1", "Task: 5-class map", "Seed: 2", "Task: 2-class map"]
    made = table(tmp_path, "|Arm|Task|mIoU|", "|LoRA|5-class map|0.5|", "|LoRA|2-class map|0.6|")
    assert [c["quantity"]["conditions"] for c in made.claims] == [{"task": "5-class map"}, {"task": "2-class map"}]
    assert made.unread == []


def test_class_index_column_and_places(tmp_path: Path) -> None:
    made = table(tmp_path, "|ID|Class|IoU|", "|4|reed|0.5|", "|5|mud|0.6|")
    assert found(made) == {
        ("iou", None, 4, "reed", None, "0.5", "fraction"),
        ("iou", None, 5, "mud", None, "0.6", "fraction"),
    }
    made = table(tmp_path, "|AOI|IoU|", "|north_shore|0.5|")
    assert made.claims[0]["quantity"]["place"] == "north_shore"


def test_columns_are_classes_where_the_first_header_says_so(tmp_path: Path) -> None:
    made = table(tmp_path, "|Class|Reed|1: Mud|", "|IoU|0.5|0.6|")
    assert found(made) == {
        ("iou", None, None, "Reed", None, "0.5", "fraction"),
        ("iou", None, 1, "Mud", None, "0.6", "fraction"),
    }
    made = table(tmp_path, "|Metric|Reed|LoRA|", "|IoU|0.5|0.6|", above="Per-class results")
    assert found(made) == {("iou", "lora", None, None, None, "0.6", "fraction")}
    assert [u.why for u in made.unread] == ["column 'Reed': a class or a configuration?"]


def test_plain_f1_is_macro_only_beside_scores_over_classes(tmp_path: Path) -> None:
    def f1(header: str) -> str:
        scores = "0.5|" * (header.count("|") + 1)
        made = table(tmp_path, f"|M|{header}|F1|", f"|a|{scores}0.7|")
        return str(made.claims[-1]["quantity"]["metric"])

    assert f1("mIoU") == "f1_macro"
    assert f1("IoU reed|IoU mud") == "f1_macro"
    assert f1("IoU (flood)") == "f1"
    assert f1("Accuracy") == "f1"


def test_split_comes_from_header_row_heading_in_that_order(tmp_path: Path) -> None:
    made = table(
        tmp_path, "|M|mIoU|Test IoU|Size (MB)|", "|a|0.5|0.6|5|", "|Validation|0.7|0.8|5|", above="Scores on test."
    )
    assert [c["quantity"].get("split") for c in made.claims] == ["test", "test", None, "val", "test", "val"]
    made = table(tmp_path, "|M|mIoU|", "|a|0.5|", above="Between val and test sets.")
    assert "split" not in made.claims[0]["quantity"]


def test_a_header_in_points_settles_a_small_difference(tmp_path: Path) -> None:
    for header in ("Δ pp", "Δ (pp)", "Δ mIoU [points]"):
        made = table(tmp_path, f"|M|{header}|", "|a|+0.61|")
        assert [c["unit"] for c in made.claims] == ["points"]
