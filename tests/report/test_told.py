"""Lines of the first block of a report: the same reason is given once, for all that it holds for."""

from __future__ import annotations

from harness.report.baselines import merged
from harness.score.confusion import ConfusionMatrix
from harness.score.reliance import Evidence, Finding, findings


def say(text: str, rule: str = "baseline missing") -> Finding:
    return Finding("cannot be told", rule, text)


def test_lines_that_differ_in_the_land_alone_are_one_line() -> None:
    shares = ("none of a cell", "0 to 25 % of a cell", "25 to 100 % of a cell")
    lines = [say(f"building where built-up land covers {s}: no scene has a label.") for s in shares]
    assert merged(lines) == [
        (
            "cannot be told",
            "building where built-up land covers none of a cell, building where built-up land covers 0 to 25 % of a "
            "cell and building where built-up land covers 25 to 100 % of a cell: no scene has a label.",
        )
    ]


def test_another_reason_another_kind_or_other_figures_stay_lines_of_their_own() -> None:
    found = [
        say("water: IoU 0.8 from 12 scenes."),
        say("trees: IoU 0.7 from 12 scenes."),
        say("water: IoU 0.8 from 12 scenes.", "few scenes"),
        Finding("not for", "baseline missing", "crops: IoU 0.8 from 12 scenes."),
    ]
    assert merged(found) == [(one.kind, one.text) for one in found]
    assert merged([say("Said without a subject.")]) == [("cannot be told", "Said without a subject.")]


def test_few_scenes_are_said_once_with_the_figures_of_every_class() -> None:
    matrix = ConfusionMatrix(((50, 5, 5), (5, 50, 5), (5, 5, 50)))
    ours = {f"s{i}": matrix for i in range(3)}
    found = findings(Evidence(["water", "trees", "built"], ours, {}))
    assert len(found) == 3
    ((kind, text),) = merged(found)
    assert kind == "cannot be told"
    assert text.startswith("water, trees and built: cannot be told from 3 scenes; ")
    for one in found:
        name, _, rest = one.text.partition(": ")
        assert f"{name}: {rest.partition('. ')[2]}" in text  # no figure of a class is lost
    assert text.count("cannot be told from") == 1
