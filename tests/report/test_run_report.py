"""Reports of runs over one's own chips: content, the same bytes twice, hostile ids, broken records."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray

from harness.claims.families import Family
from harness.claims.groups import View
from harness.claims.schemes import Scheme
from harness.errors import ReportError
from harness.report.panels import Panel, class_image, class_panel, error_panel, key, picture
from harness.report.run_report import render_run, write_report
from harness.report.run_tables import escaped, fenced, stem
from harness.score import metrics
from harness.score.baselines import by_chance, majority
from harness.score.confusion import ConfusionMatrix
from harness.score.sweep import sweep

PX = 32
"""Side of the made chips."""

Edit = Callable[[dict[str, Any]], None]

TWO = Scheme.model_validate(
    {
        "id": "two",
        "title": "Ground and roof",
        "origin": "made for a test",
        "sources": [],
        "classes": [{"index": 0, "name": "ground"}, {"index": 1, "name": "roof"}],
        "evidence": "made",
    }
)


def load(adapter: str, k: int, places: int = 1, **over: Any) -> dict[str, Any]:
    file = {"sha256": "ab" * 32, "size_bytes": 1000, "tensors": 10, "entries": 250, "pinned": False}
    return {
        "adapter": adapter,
        "random_weights": True,
        "files": [{"role": r, "name": f"{r}.safetensors", **file} for r in ("base", "lora", "decoder")],
        "base_expected": 150,
        "base_loaded": 150,
        "base_unused": {"the decoder of the base makes other modalities": 60},
        "not_run": 3,
        "lora_expected": 24 * places,
        "lora_applied": 24 * places,
        "lora_r": 8,
        "lora_alpha": 16.0,
        "lora_alpha_verdict": "unverifiable: no tensor shows it and no claim states it",
        "places": [
            {"place": f"stack_{i}", "pairs": 24, "expected": 24, "b_norms": [0.5, 1.25], "runs": i == 0}
            for i in range(places)
        ],
        "decoder_expected": 100,
        "decoder_loaded": 100,
        "batch_norm": {"layers": 11, "in_file": 11, "moved": 11, "policy": "from the file"},
        "blocks": 12,
        "encoder_parameters": 87905280,
        "lora_parameters": 811008,
        "decoder_parameters": 79895365,
        "classes": k,
    } | over


def maps(seed: int, k: int) -> NDArray[np.float32]:
    """Probabilities of blobs, shape (K, PX, PX)."""
    logits = np.kron(np.random.default_rng(seed).normal(0, 2, (k, 4, 4)), np.ones((PX // 4, PX // 4)))
    high = np.exp(logits + np.random.default_rng(seed + 1).normal(0, 0.4, logits.shape))
    shares: NDArray[np.float32] = (high / high.sum(0)).astype(np.float32)
    return shares


def made_run(
    folder: Path,
    chips: tuple[str, str] = ("a", "b"),
    weights: str = "random",
    edit: Edit = lambda _: None,
    labels: dict[str, NDArray[np.int64]] | None = None,
) -> Path:
    """A run of three adapters over two chips; the second chip has no label and nothing scored.

    tim_nyc has LoRA in four places, buildings_nyc a sweep on the first chip.
    """
    rng = np.random.default_rng(7)
    made = {"lulc_nyc": (5, "training-code", 1), "tim_nyc": (5, "training-code", 4), "buildings_nyc": (2, "two", 1)}
    held: dict[str, dict[str, Any]] = {
        c: {"rgb": rng.integers(0, 255, (PX, PX, 3)).astype(np.uint8), "gsd_m": np.float64(10)} for c in chips
    }
    label = np.kron(rng.integers(0, 2, (4, 4)), np.ones((PX // 4, PX // 4))).astype(np.int64)
    label[:3] = -1
    given = labels if labels is not None else {chips[0]: label}
    # Each scheme has a label of its own; the plain name is the first one's, for records without scheme.
    other = {chip: np.where(of == -1, -1, 1 - of) for chip, of in given.items()}
    for chip, of in given.items():
        held[chip] |= {"label": of, "label:training-code": of, "label:two": other[chip]}
    adapters = []
    for number, (name, (k, scheme, places)) in enumerate(made.items()):
        scores = []
        for chip in chips:
            p = maps(10 * number + chips.index(chip), k)
            classes = p.argmax(0).astype(np.uint8)
            held[chip] |= {f"classes:{name}": classes, f"probabilities:{name}": p}
            score: dict[str, Any] = {
                "chip": chip,
                "sha256": "cd" * 32,
                "scored": chip in given,
                "reason": None if chip in given else "no label file",
                "predicted_above": {},
                "predicted_px": np.bincount(classes.ravel(), minlength=k).tolist(),
                "filled": {"DEM": 0.25},
                "notes": ["one date stands for four"],
                "dates_encoded": 1,
                "probabilities_sha256": hashlib.sha256(p.tobytes()).hexdigest(),
            }
            if k == 2:
                score["predicted_above"] = {f"{n / 20:g}": int((p[1] > np.float32(n / 20)).sum()) for n in range(1, 20)}
            if chip in given:
                truth = other[chip] if scheme == "two" else given[chip]
                matrix = ConfusionMatrix.from_maps(truth, classes, k)
                score |= {"confusion": matrix.to_json()["counts"], "ignored_px": matrix.ignored}
                if k == 2:
                    points = sweep(p[1], truth, [n / 20 for n in range(1, 20)])
                    score["sweep"] = [
                        {"threshold": q.threshold, "tp": q.matrix.tp, "fp": q.matrix.fp, "fn": q.matrix.fn}
                        | {"tn": q.matrix.tn}
                        for q in points
                    ]
            scores.append(score)
        audit = load(name, k, places, random_weights=weights == "random")
        stated = {"claim": f"card/{name}", "metric": "blocks", "printed": "12", "counted": 12, "meaning": "blocks"}
        adapters.append(
            {"adapter": name, "recipe": "pretraining 1", "scheme": scheme, "load": audit, "chips": scores}
            | {"structure": [{**stated, "fits": True}]}
        )
    run: dict[str, Any] = {
        "schema": 1,
        "id": "made",
        "created": "2026-01-02T03:04:05Z",
        "who": "a test",
        "command": "harness reproduce --source files --chips mine",
        "commit": "0" * 40,
        "dirty": True,
        "family": "terramind-nyc",
        "source": "files",
        "weights": weights,
        "device": "cpu",
        "dtype": "float32",
        "recipe": "pretraining 1",
        "conditions": {"threads": "2"},
        "packages": {"numpy": "2"},
        "adapters": adapters,
        "measurements": [],
    }
    edit(run)
    (folder / "arrays").mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(run), encoding="utf-8")
    for chip, arrays in held.items():
        with (folder / "arrays" / f"{chip}.npz").open("wb") as out:
            np.savez(out, **arrays)
    return folder


@pytest.fixture(scope="module")
def family(view: View) -> Family:
    return view.families["terramind-nyc"]


@pytest.fixture(scope="module")
def schemes(view: View) -> dict[str, Scheme]:
    return {**view.schemes, "two": TWO}


def text_of(files: dict[str, str | bytes]) -> str:
    text = files["report.md"]
    assert isinstance(text, str)
    return text


def well_formed(files: dict[str, str | bytes]) -> None:
    """Tables are rectangular, every picture exists and is drawn, no HTML gets through."""
    text = text_of(files)
    rows: list[int] = []
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        assert token.type != "html_block", token.content
        if token.type == "tr_open":
            rows.append(0)
        if token.type in ("td_open", "th_open"):
            rows[-1] += 1
        if token.type == "table_close":
            assert len(set(rows)) == 1
            rows = []
        for child in token.children or []:
            assert child.type != "html_inline", child.content
            assert child.type != "link_open", "nothing here is a link"
            if child.type == "image":
                assert child.content, "a picture without alt text"
    # A line that starts a table and is none would show its bars.
    drawn = MarkdownIt("commonmark").enable("table").render(text)
    assert "<p>|" not in drawn
    links = set(re.findall(r"\]\((figures/[^)]+)\)", text))
    assert links == set(files) - {"report.md"}
    for name in links:
        content = files[name]
        if isinstance(content, str):
            ET.fromstring(content)  # noqa: S314 - our own rendering
            assert "dc:date" not in content
        else:
            assert content.startswith(b"\x89PNG")
            assert b"Software" not in content


def test_a_random_run_says_so_first_and_judges_nothing(
    tmp_path: Path, family: Family, schemes: dict[str, Scheme]
) -> None:
    files = render_run(made_run(tmp_path / "r"), family, schemes)
    text = text_of(files)
    assert text.startswith("# [mechanics only: random weights] terramind-nyc on 2 chips of one's own\n")
    assert "**Scored:** n = 1 of 2 (all adapters)" in text
    assert "| b | all adapters | no label file |" in text
    assert "24 of 24 applied, rank 8" in text
    assert "96 of 96 applied, rank 8" in text
    assert "| LoRA at stack_3 | 24 of 24; norms of lora\\_B 0.5 to 1.25; runs: no |" in text
    assert "| card/tim_nyc | 12 | 12 | blocks |\n" in text
    assert not re.search(r"reproduced|verdict", text, re.IGNORECASE)
    assert "None" not in text.replace("None: every", "")
    assert "[ ]" not in text.replace("`[ ]`", "")
    assert len(re.findall(r"^- \[x\]", text, re.MULTILINE)) == 14
    well_formed(files)


def test_the_same_folder_gives_the_same_bytes_in_another_process_without_torch(
    tmp_path: Path, family: Family, schemes: dict[str, Scheme]
) -> None:
    folder = made_run(tmp_path / "r")
    first = render_run(folder, family, schemes)
    assert render_run(folder, family, schemes) == first
    program = (
        "import sys, hashlib, pathlib\n"
        "from harness.claims.audit import read_view\n"
        "from harness.report.run_report import render_run\n"
        "from tests.report.test_run_report import TWO\n"
        "view = read_view(pathlib.Path(sys.argv[2]))\n"
        "files = render_run(pathlib.Path(sys.argv[1]), view.families['terramind-nyc'], {**view.schemes, 'two': TWO})\n"
        "assert not {'torch', 'rasterio', 'terratorch'} & set(sys.modules), 'heavy imports'\n"
        "for name, content in sorted(files.items()):\n"
        "    raw = content if isinstance(content, bytes) else content.encode()\n"
        "    print(name, hashlib.sha256(raw).hexdigest())\n"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", program, str(folder), str(root / "eval")],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    raw = {n: c if isinstance(c, bytes) else c.encode() for n, c in first.items()}
    assert done.stdout.splitlines() == [f"{n} {hashlib.sha256(raw[n]).hexdigest()}" for n in sorted(raw)]


def test_published_weights_and_initial_batch_norms(tmp_path: Path, family: Family, schemes: dict[str, Scheme]) -> None:
    def initial(run: dict[str, Any]) -> None:
        audit = run["adapters"][1]["load"]
        audit["batch_norm"] = {"layers": 11, "in_file": 0, "moved": 0, "policy": "initial"}
        audit["decoder_loaded"] -= 33

    text = text_of(render_run(made_run(tmp_path / "r", weights="published", edit=initial), family, schemes))
    assert text.startswith("# [batch norm: initial in tim_nyc] terramind-nyc on 2 chips")
    assert "random" not in text.lower().replace("whether weights are random", "")
    assert "[x] Every decoder tensor that the model expects is loaded (3 of 3)" in text
    assert "| card/tim_nyc | 12 | 12 | blocks | yes |" in text

    def all_recomputed(run: dict[str, Any]) -> None:
        for each in run["adapters"]:
            each["load"]["batch_norm"]["policy"] = "recomputed"

    both = made_run(tmp_path / "s", edit=all_recomputed)
    start = "# [mechanics only: random weights; batch norm: recomputed] terramind-nyc"
    assert text_of(render_run(both, family, schemes)).startswith(start)


def test_scores_stand_beside_baselines_from_the_same_integers(
    tmp_path: Path, family: Family, schemes: dict[str, Scheme]
) -> None:
    counts = [[500, 24, 0, 0, 0], [300, 104, 0, 0, 0], [0] * 5, [0] * 5, [0] * 5]

    def stated(run: dict[str, Any]) -> None:
        run["adapters"][0]["chips"][0]["confusion"] = counts

    text = text_of(render_run(made_run(tmp_path / "r", edit=stated), family, schemes))
    part = text.split("### lulc_nyc: n = 1 of 2")[1].split("### tim_nyc")[0]
    # IoU 500/824, precision 500/800, recall 500/524, 524 of 928 labelled; one class 524/928; by chance
    # 524^2 / (2 * 524 * 928 - 524^2).
    assert "| 0 water | 0.607 | 0.625 | 0.954 | 56.5 % | 0.565 | 0.393 |" in part
    assert "| 2 forest | undefined | undefined | undefined | 0.0 % | undefined | undefined |" in part
    assert "- Undefined: 2 forest: IoU: class 2 is in neither label nor prediction" in part
    mean = (Fraction(500, 824) + Fraction(104, 428)) / 2
    assert f"| this run, n = 1 of 2 chips | {float(mean):.3f} (2 of 5) | {604 / 928:.3f} |" in part
    assert f"| one class everywhere: 0 water | {524 / 928 / 2:.3f} (2 of 5) | {524 / 928:.3f} |" in part


@given(st.lists(st.lists(st.integers(0, 50), min_size=3, max_size=3), min_size=3, max_size=3))
def test_baselines_are_what_they_say(counts: list[list[int]]) -> None:
    matrix = ConfusionMatrix(tuple(map(tuple, counts)))
    flat, chance = majority(matrix), by_chance(matrix)
    assert [flat.label_px(i) for i in range(3)] == [matrix.label_px(i) for i in range(3)]
    assert sum(flat.predicted_px(i) > 0 for i in range(3)) == (1 if matrix.total else 0)
    assert flat.correct == max(matrix.label_px(i) for i in range(3))
    assert chance.total == matrix.total**2
    for i in range(3):
        assert metrics.prevalence(chance, i) == metrics.prevalence(matrix, i)
        # Independence: precision and recall of class i are both its share.
        if matrix.label_px(i):
            share = metrics.prevalence(matrix, i).value
            assert metrics.precision(chance, i).value == share == metrics.recall(chance, i).value


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (("confusion",), "Confusion matrices equal a recount of label against prediction: lulc_nyc on a: label 0"),
        (("confusion",), "Confusion matrices count every labelled pixel once"),
        (("ignored_px",), "what they leave out is unlabelled: lulc_nyc on a"),
        (("predicted_px",), "Predicted pixels sum to the chip's size: lulc_nyc on a: 1,025 of 1,024 px"),
        (("probabilities_sha256",), "Probabilities have the hash on record: lulc_nyc on a"),
        (("above",), "Pixels above each threshold equal a recount of the probabilities: buildings_nyc on b: 1 px"),
        (("sweep",), "Sweeps equal a recount of the probabilities: buildings_nyc on a: at 0.25"),
        (("lora",), "Every LoRA pair is applied: lulc_nyc: 23 of 24, by place 24"),
        (("base",), "Every base tensor that the model expects is loaded: lulc_nyc: 149 of 150"),
        (("published",), "Run and load audits agree on whether weights are random: lulc_nyc"),
        (("chips",), "Every adapter lists the same chips, each once: buildings_nyc: 1 chips"),
        (("reason",), "Every chip has a confusion matrix or the reason why not: lulc_nyc on b"),
    ],
)
def test_a_record_that_was_changed_afterwards_is_caught(
    tmp_path: Path, family: Family, schemes: dict[str, Scheme], edit: tuple[str], said: str
) -> None:
    def change(run: dict[str, Any]) -> None:
        first = run["adapters"][0]
        chip = first["chips"][0]
        match edit[0]:
            case "confusion":
                chip["confusion"][0][0] += 1
            case "ignored_px":
                chip["ignored_px"] -= 1
            case "predicted_px":
                chip["predicted_px"][2] += 1
            case "probabilities_sha256":
                chip["probabilities_sha256"] = "0" * 64
            case "above":
                run["adapters"][2]["chips"][1]["predicted_above"]["0.3"] = 1
            case "sweep":
                row = run["adapters"][2]["chips"][0]["sweep"][4]
                row["tp"], row["fn"] = row["tp"] - 1, row["fn"] + 1
            case "lora":
                first["load"]["lora_applied"] = 23
            case "base":
                first["load"]["base_loaded"] = 149
            case "published":
                run["weights"] = "published"
            case "chips":
                del run["adapters"][2]["chips"][1]
            case "reason":
                first["chips"][1]["reason"] = None

    text = text_of(render_run(made_run(tmp_path / "r", edit=change), family, schemes))
    failing = [line for line in text.splitlines() if line.startswith("- [ ] ")]
    assert any(said in line for line in failing), failing
    assert f"**{len(failing)} check{'' if len(failing) == 1 else 's'} below" in text
    assert text.startswith("# [mechanics only: random weights]")


def test_a_prediction_below_the_highest_probability_is_caught(
    tmp_path: Path, family: Family, schemes: dict[str, Scheme]
) -> None:
    folder = made_run(tmp_path / "r")
    path = folder / "arrays" / "a.npz"
    arrays = dict(np.load(path))
    arrays["classes:tim_nyc"][0, 0] = arrays["probabilities:tim_nyc"][:, 0, 0].argmin()
    np.savez(path, **arrays)
    text = text_of(render_run(folder, family, schemes))
    assert "[ ] Every predicted class has the highest probability of its pixel: tim_nyc on a: not on 1 px" in text


@pytest.mark.parametrize("name", ["a|b", "..", ".hidden", "a`b*c_", "<b>x", "[x](y)", "$x^$", "日本", "a\nb", "~é"])
def test_ids_are_shown_as_they_are_and_stay_in_the_folder(
    tmp_path: Path, family: Family, schemes: dict[str, Scheme], name: str
) -> None:
    folder = made_run(tmp_path / "r", chips=(name, "b"))
    files = render_run(folder, family, schemes)
    well_formed(files)
    shown = MarkdownIt("commonmark").enable("table").render(text_of(files))
    as_html = escaped_html(name.replace("\n", " "))
    assert f"<td>{as_html}</td>" in shown
    before = set(tmp_path.rglob("*"))
    written = write_report(folder, family, schemes)
    inside = (folder / "figures").resolve()
    for path in written[:-1]:
        assert path.resolve().parent == inside
    assert {p.name for p in set(tmp_path.rglob("*")) - before} == {"figures", *(p.name for p in written)}


def escaped_html(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")


@pytest.mark.parametrize("name", ["../a", "a/b", "a\\b", "", "/etc/x"])
def test_an_id_that_is_no_file_name_is_refused(
    tmp_path: Path, family: Family, schemes: dict[str, Scheme], name: str
) -> None:
    def rename(run: dict[str, Any]) -> None:
        for each in run["adapters"]:
            each["chips"][0]["chip"] = name

    with pytest.raises(ReportError, match="is no file name"):
        render_run(made_run(tmp_path / "r", edit=rename), family, schemes)


@example(".", "..")
@example("~2e", ".")
@example("a/b", "a~2fb")
@given(st.text(), st.text())
def test_different_ids_give_different_safe_stems(a: str, b: str) -> None:
    try:
        one, other = stem(a), stem(b)
    except UnicodeEncodeError:
        return  # a lone surrogate: no file name, and JSON that is read as UTF-8 holds none
    assert (one == other) == (a == b)
    assert re.fullmatch(r"[A-Za-z0-9._~-]*", one)
    assert not one.startswith(".")


@given(st.text(st.characters(codec="utf-8")))
def test_escaped_text_reads_as_it_was(text: str) -> None:
    line = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text.replace("\n", " "))
    html = MarkdownIt("commonmark").enable("table").render(f"| a | b |\n|---|---|\n| x{escaped(text)}x | y |\n")
    cells = re.findall(r"<td>(.*?)</td>", html, re.DOTALL)
    assert cells == [escaped_html(f"x{line}x"), "y"]


@given(st.text(st.sampled_from("`~ a\n")))
def test_a_command_cannot_close_its_block(text: str) -> None:
    blocks = MarkdownIt("commonmark").parse(fenced(text))
    assert [b.type for b in blocks] == ["fence"]


def test_thresholds_without_any_label_show_the_marked_share(
    tmp_path: Path, family: Family, schemes: dict[str, Scheme]
) -> None:
    def unnamed(run: dict[str, Any]) -> None:
        for each in run["adapters"]:
            each["scheme"] = None

    folder = made_run(tmp_path / "r", labels={}, edit=unnamed)
    files = render_run(folder, family, schemes)
    text = text_of(files)
    above = [float((maps(20 + i, 2)[1] > np.float32(0.5)).mean()) for i in (0, 1)]
    assert f"| 0.5 | {50 * sum(above):.1f} % |" in text
    assert "### buildings_nyc: class 1 (no scheme given)" in text
    assert "**Scored:** n = 0 of 2 (all adapters)" in text
    assert "[?] Confusion matrices equal a recount" in text
    assert "[?] Sweeps equal a recount of the probabilities: nothing here to check" in text
    assert "tried on the chips" not in text
    well_formed(files)


def test_a_chip_that_nothing_ran_on_has_no_picture_and_no_zero(
    tmp_path: Path, family: Family, schemes: dict[str, Scheme]
) -> None:
    def failed(run: dict[str, Any]) -> None:
        for each in run["adapters"]:
            each["chips"][1] |= {"predicted_px": [], "probabilities_sha256": None, "reason": "S1RTC is missing"}

    folder = made_run(tmp_path / "r", edit=failed)
    (folder / "arrays" / "b.npz").unlink()
    files = render_run(folder, family, schemes)
    assert "Chip b: nothing ran on it, so there is no picture" in text_of(files)
    assert "| b | no | not run | not run |" in text_of(files)
    assert "figures/chip-b.png" not in files
    well_formed(files)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("missing", "a.npz: not there"),
        ("cut", "a.npz: unreadable"),
        ("pickle", "a.npz: unreadable"),
        ("key", "no array 'classes:lulc_nyc'"),
        ("type", "classes:lulc_nyc is int64"),
        ("shape", "label training-code covers"),
        ("rgb", "rgb is float64"),
        ("gsd", "gsd_m is"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_by_name(
    tmp_path: Path, family: Family, schemes: dict[str, Scheme], damage: str, said: str
) -> None:
    folder = made_run(tmp_path / "r")
    path = folder / "arrays" / "a.npz"
    arrays: dict[str, Any] = dict(np.load(path))
    match damage:
        case "missing":
            path.unlink()
        case "cut":
            path.write_bytes(path.read_bytes()[:1000])
        case "pickle":
            arrays["rgb"] = np.array([{}], dtype=object)
        case "key":
            del arrays["classes:lulc_nyc"]
        case "type":
            arrays["classes:lulc_nyc"] = arrays["classes:lulc_nyc"].astype(np.int64)
        case "shape":
            arrays["label:training-code"] = arrays["label"][:-1]
        case "rgb":
            arrays["rgb"] = arrays["rgb"].astype(np.float64)
        case "gsd":
            arrays["gsd_m"] = np.array([10.0, 10.0])
    if damage not in ("missing", "cut"):
        np.savez(path, **arrays)
    with pytest.raises(ReportError, match=re.escape(said)):
        render_run(folder, family, schemes)


def test_records_that_do_not_fit_are_refused_by_name(
    tmp_path: Path, family: Family, schemes: dict[str, Scheme]
) -> None:
    def edits() -> dict[str, Edit]:
        return {
            "family 'other'": lambda run: run.update(family="other"),
            "scheme 'none-such'": lambda run: run["adapters"][0].update(scheme="none-such"),
            "has no adapter 'x'": lambda run: run["adapters"][0].update(adapter="x"),
            "has no index 2": lambda run: run["adapters"][0].update(scheme="two"),
            "confusion of 2 classes": lambda run: run["adapters"][0]["chips"][0].update(confusion=[[1, 2], [3, 4]]),
            "negative count -1": lambda run: run["adapters"][2]["chips"][0].update(confusion=[[1, -1], [3, 4]]),
            "no adapter ran": lambda run: run.update(adapters=[]),
        }

    for number, (said, edit) in enumerate(edits().items()):
        with pytest.raises(ReportError, match=re.escape(said)):
            render_run(made_run(tmp_path / str(number), edit=edit), family, schemes)


def test_each_adapter_is_held_against_the_label_of_its_own_scheme(
    tmp_path: Path, family: Family, schemes: dict[str, Scheme]
) -> None:
    folder = made_run(tmp_path / "r")
    text = text_of(render_run(folder, family, schemes))
    assert "image, label (training-code), label (two), lulc_nyc: prediction, lulc_nyc: errors" in text
    path = folder / "arrays" / "a.npz"
    arrays = dict(np.load(path))
    del arrays["label:two"]
    np.savez(path, **arrays)
    failing = [line for line in text_of(render_run(folder, family, schemes)).splitlines() if line.startswith("- [ ] ")]
    assert len(failing) == 2
    assert "label against prediction: buildings_nyc on a" in failing[0]
    assert "Sweeps equal a recount of the probabilities: buildings_nyc on a" in failing[1]


def test_a_chip_without_an_image_is_drawn_without(tmp_path: Path, family: Family, schemes: dict[str, Scheme]) -> None:
    folder = made_run(tmp_path / "r")
    path = folder / "arrays" / "b.npz"
    arrays = dict(np.load(path))
    del arrays["rgb"]
    np.savez(path, **arrays)
    text = text_of(render_run(folder, family, schemes))
    assert "![Chip b: lulc_nyc: prediction, tim_nyc: prediction, buildings_nyc: prediction;" in text


def test_writing_replaces_stale_figures_and_leaves_the_rest(
    tmp_path: Path, family: Family, schemes: dict[str, Scheme]
) -> None:
    folder = made_run(tmp_path / "r")
    (folder / "figures").mkdir()
    for name in ("chip-old.png", "sweep-old.svg", "pr-old.svg", "reliability-old.svg", "mine.png"):
        (folder / "figures" / name).write_text("x", encoding="utf-8")
    paths = write_report(folder, family, schemes)
    assert paths[-1] == folder / "report.md"
    names = {p.name for p in (folder / "figures").iterdir()}
    curves = {f"{what}-buildings_nyc.svg" for what in ("sweep", "pr", "reliability")}
    assert names == {"chip-a.png", "chip-b.png", "mine.png", *curves}
    for name, content in render_run(folder, family, schemes).items():
        raw = content if isinstance(content, bytes) else content.encode()
        assert (folder / name).read_bytes() == raw


def test_class_maps_keep_their_colours_and_stripe_what_is_unlabelled() -> None:
    image = class_image(np.array([[0, 1], [-1, -1]]), ("#000000", "#ff0000"))
    assert image[0].tolist() == [[0, 0, 0], [255, 0, 0]]
    wide = class_image(np.full((40, 40), -1), ("#000000",))
    assert {tuple(p) for p in wide.reshape(-1, 3).tolist()} == {(255,) * 3, (190,) * 3}


def test_an_error_map_counts_labelled_pixels_only() -> None:
    panel = error_panel("e", np.array([[0, 1, -1, -1]]), np.array([[0, 0, 0, 0]], np.uint8))
    assert [text for _, text in panel.legend] == ["correct, 50 %", "wrong, 50 %", "unlabelled"]


def test_legends_name_the_scheme_or_say_that_there_is_none(schemes: dict[str, Scheme]) -> None:
    classes = np.array([[0, 0, 0, 1]])
    bare = class_panel("p", classes, key(2, None))
    assert [t for _, t in bare.legend] == ["class 0, 75 %", "class 1, 25 %"]
    assert bare.note == "(no scheme given)"
    assert class_panel("p", classes, key(2, TWO)).legend[1][1] == "1 roof, 25 %"


def test_colours_of_a_scheme_stay_apart_also_without_red_or_green(schemes: dict[str, Scheme]) -> None:
    # Vienot, Brettel and Mollon (1999): linear RGB as a deuteranope or protanope sees it.
    seen = {
        "plain": np.eye(3),
        "protan": np.array([[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]]),
        "deutan": np.array([[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]]),
    }
    for scheme in [*schemes.values(), None]:
        k = 8 if scheme is None else len(scheme.classes)
        colours = key(k, scheme).colours
        assert len(set(colours)) == k
        rgb = np.array([to_rgb(c) for c in colours])
        for name, matrix in seen.items():
            flat = np.clip((rgb**2.2) @ matrix.T, 0, 1) ** (1 / 2.2)
            gaps = np.linalg.norm(flat[:, None] - flat[None], axis=2) + 9 * np.eye(k)
            worst = np.unravel_index(gaps.argmin(), gaps.shape)
            assert gaps.min() > 0.2, f"{scheme and scheme.id}, {name}: {[colours[i] for i in worst]}"


@pytest.mark.parametrize("shape", [(32, 32), (32, 64), (200, 20), (1, 1)])
@pytest.mark.parametrize("gsd_m", [10.0, 0.3, float("nan"), 0.0])
def test_pictures_of_any_shape_and_scale_are_drawn(shape: tuple[int, int], gsd_m: float) -> None:
    rgb = Panel("image", np.zeros((*shape, 3), np.uint8), smooth=True)
    image = picture("x" * 300, [rgb], gsd_m, random=True)
    assert image == picture("x" * 300, [rgb], gsd_m, random=True)


def test_random_weights_are_written_into_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    for owner in (Figure, Axes):
        plain = owner.text

        def spy(self: Any, x: float, y: float, text: str, *, plain: Any = plain, **options: Any) -> Any:
            written.append(text)
            return plain(self, x, y, text, **options)

        monkeypatch.setattr(owner, "text", spy)
    classes = np.zeros((32, 32), np.int64)
    for random in (False, True):
        written.clear()
        picture("c", [class_panel("p", classes, key(2, None), marked=random)], 10, random=random)
        assert "class 0, 100 %" in written
        assert ("random weights: mechanics only" in written) == random
        assert ("random weights" in written) == random
