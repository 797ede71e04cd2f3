"""Bundles: the same bytes twice, altered in one place and refused, from strangers without harm."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import harness.bundle.check
from harness.bundle import Packed, add, bundle, verify
from harness.bundle.archive import check_arrays, read_json, write_archive
from harness.bundle.check import commit_known
from harness.bundle.recount import lock_faults, utm
from harness.chips.coverage import utm as rule
from harness.chips.scenes import Lock
from harness.claims.findings import Audit
from harness.claims.groups import View
from harness.errors import BundleError, RegistryError
from harness.folders import write_locks
from harness.records import read_runs
from harness.records.bundle import NAME
from harness.records.run import read_run
from harness.report.render import render
from harness.report.runs_table import render_runs
from tests.bundle.made import CHIPS, LOCK, checkout, leaves, made_lock, made_run, opened, put, resealed

ROOT = Path(__file__).parents[2]

Json = dict[str, Any]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, view: View) -> Path:
    return made_run(tmp_path_factory.mktemp("run") / "r", view)


@pytest.fixture(scope="module")
def packed(run: Path) -> Packed:
    return bundle(run, run.parent / "b.zip", machine="MacBook Air M2, 16 GB", root=ROOT)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, view: View) -> None:
    """Reads the registry once for many looks at it."""
    monkeypatch.setattr(harness.bundle.check, "read_view", lambda _: view)


def record(packed: Packed) -> Json:
    held: Json = json.loads(opened(packed.path)["run.json"])
    return held


def with_record(target: Path, packed: Packed, held: Json, **others: bytes | None) -> Path:
    """The bundle with another run.json and other files, all hashes made to fit; None leaves a file out."""
    files = {**opened(packed.path), "run.json": json.dumps(held, indent=1).encode()}
    files |= {name: raw for name, raw in others.items() if raw is not None}
    return resealed(target, {n: raw for n, raw in files.items() if others.get(n, b"") is not None})


def faults(path: Path, root: Path) -> list[str]:
    """What is wrong with a bundle."""
    try:
        return verify(path, root=root).wrong
    except BundleError as err:
        return [str(err)]


def test_a_run_comes_back_as_one_file_that_holds(packed: Packed, root: Path) -> None:
    done = verify(packed.path, root=root)
    assert done.wrong == []
    assert any(line.startswith("Measurements are computed again") and "109 of 109" in line for line in done.holds)
    assert any(line.startswith("Confusion matrices equal a recount") and "(4 of 4)" in line for line in done.holds)
    assert any("no signature" in line for line in done.unchecked)
    assert any("unknown: it is not in this checkout" in line or "no git" in line for line in done.said)
    assert {n.partition("/")[0] for n in done.manifest.files} == {"run.json", "arrays", "locks"}


def test_the_same_run_gives_the_same_bytes(run: Path, packed: Packed, root: Path, tmp_path: Path) -> None:
    for path in run.rglob("*"):
        os.utime(path, (1, 1))
    again = bundle(run, tmp_path / "again.zip", machine="MacBook Air M2, 16 GB", root=root)
    assert again.path.read_bytes() == packed.path.read_bytes()
    assert again.sha256 == hashlib.sha256(packed.path.read_bytes()).hexdigest()


def test_every_integer_altered_in_turn_is_refused(packed: Packed, root: Path, tmp_path: Path, quick: None) -> None:
    held, files = record(packed), opened(packed.path)
    places = list(leaves(held, (int,)))
    assert len(places) > 800
    for where in places:
        put(held, where, lambda n: n + 1)
        write_archive(tmp_path / "b.zip", {**files, "run.json": json.dumps(held, indent=1).encode()})
        put(held, where, lambda n: n - 1)
        assert faults(tmp_path / "b.zip", root), where


UNSEEN = {
    "adapters.#.load.files.#.size_bytes",
    "adapters.#.load.encoder_parameters",
    "adapters.#.chips.#.dates_encoded",
    "adapters.#.load.places.#.runs",
    "dirty",
}
"""Integers and booleans that no other part of a record fixes; NEVER names all of them."""


def test_every_kind_of_integer_is_refused_also_where_all_hashes_are_made_to_fit(
    packed: Packed, root: Path, tmp_path: Path, quick: None
) -> None:
    held = record(packed)
    kinds: dict[str, list[tuple[Any, ...]]] = {}
    for where in leaves(held, (int, bool)):
        kinds.setdefault(".".join("#" if isinstance(step, int) else str(step) for step in where), []).append(where)
    assert len(kinds) > 70
    unseen = set()
    for kind, places in kinds.items():
        changed = deepcopy(held)
        put(changed, places[-1], lambda n: (not n) if isinstance(n, bool) else n + 1)
        if not faults(with_record(tmp_path / "b.zip", packed, changed), root):
            unseen.add(kind)
    assert unseen <= UNSEEN


def test_any_byte_of_the_file_altered_is_refused(packed: Packed, root: Path, tmp_path: Path, quick: None) -> None:
    raw = packed.path.read_bytes()
    rng = random.Random(3)  # noqa: S311 - places to alter, no secret
    # The manifest stands between arrays and run.json; names and dates of the archive are tried at both its ends.
    start = raw.index(b'{\n "schema": 1')
    places = [
        *range(60),
        *range(len(raw) - 300, len(raw)),
        *range(start, start + 400, 3),
        *rng.sample(range(len(raw)), 150),
    ]
    for place in places:
        changed = raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :]
        (tmp_path / "b.zip").write_bytes(changed)
        assert faults(tmp_path / "b.zip", root), place
    for changed in (raw + b"x", b"x" + raw, raw[:-1], b"", raw[: len(raw) // 2]):
        (tmp_path / "b.zip").write_bytes(changed)
        assert faults(tmp_path / "b.zip", root)


def test_every_field_of_the_manifest_is_sealed(packed: Packed, root: Path, tmp_path: Path) -> None:
    files = opened(packed.path)
    told = json.loads(files[NAME])
    for name in told:
        other = {**told, name: {str: "else", bool: True, int: 2, list: ["x"], dict: {}}[type(told[name])]}
        if name == "dirty":
            other["dirty"] = not told["dirty"]
        write_archive(tmp_path / "b.zip", {**files, NAME: json.dumps(other, indent=1).encode() + b"\n"})
        assert "manifest.json" in faults(tmp_path / "b.zip", root)[0], name
    write_archive(tmp_path / "b.zip", {**files, NAME: files[NAME] + b"\n"})
    assert "not as `harness bundle` writes it" in faults(tmp_path / "b.zip", root)[0]


def npz(raw: bytes, edit: Callable[[dict[str, Any]], None]) -> bytes:
    arrays = dict(np.load(io.BytesIO(raw)))
    edit(arrays)
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)
    return out.getvalue()


@pytest.mark.parametrize(
    ("array", "said"),
    [
        ("label:footprints", "Confusion matrices equal a recount"),
        ("classes:lulc_nyc", "Predicted pixels equal a recount"),
        ("probabilities:buildings_nyc", "Probabilities have the hash on record"),
    ],
)
def test_one_pixel_altered_is_seen_when_counted_again(
    packed: Packed, root: Path, tmp_path: Path, quick: None, array: str, said: str
) -> None:
    def one(arrays: Json) -> None:
        place = (8, 8) if arrays[array].ndim == 2 else (0, 8, 8)
        now = arrays[array][place]
        arrays[array][place] = 1 - now if now in (0, 1) else now / 2 if array.startswith("prob") else 0

    name = f"arrays/{CHIPS[0]}.npz"
    changed = npz(opened(packed.path)[name], one)
    wrong = faults(with_record(tmp_path / "b.zip", packed, record(packed), **{name: changed}), root)
    assert any(line.startswith(said) for line in wrong), wrong


def _put(where: str, value: Any) -> Callable[[Json], None]:
    def edit(held: Json) -> None:
        steps: list[Any] = [int(step) if step.isdigit() else step for step in where.split(".")]
        put(held, tuple(steps), lambda _: value)

    return edit


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (_put("measurements.0.value", 12.5), "Measurements are computed again"),
        (lambda r: r["measurements"].pop(), "is not among its measurements"),
        (lambda r: r["measurements"].append(deepcopy(r["measurements"][3])), "stands twice"),
        (_put("measurements.0.quantity.split", "other"), "no claim here names it"),
        (lambda r: r["adapters"][0]["structure"].pop(), "claims left out"),
        (_put("adapters.0.structure.0.claim", "card/none"), "no claim card/none here"),
        (lambda r: r["gates"].pop(), "gates here"),
        (lambda r: r.pop("gates"), "0 answers, 3 gates here; missing: buildings, tim, tim-publish"),
        (lambda r: r["measurements"][0].pop("needed"), "lacks needed"),
        (lambda r: r["adapters"][1]["chips"][0].pop("reliability"), "Boundaries and reliability"),
        (_put("adapters.0.load.classes", 20_000), "20,000 classes, the family has 5; nothing was counted again"),
        (_put("adapters.0.chips.0.confusion.0.0", 10**12), "no chip has more than"),
        (_put("adapters.0.chips.0.confusion.0.0", 10**400), "larger than any count"),
        (_put("adapters.0.load.files.0.size_bytes", 10**400), "larger than any count"),
        (_put("who", "Ann \u202eelpmaxE"), "who: 'Ann \\\\u202eelpmaxE'"),
        (_put("device", "\x1b[2J"), "a text that a report cannot print"),
        (_put("adapters.0.chips.0.confusion.0", [1, 2]), "a matrix of 5 rows"),
        (_put("adapters.0.chips.0.split", "test"), "six-aois of 6 in the lock"),
        (_put("adapters.1.chips.1.chip", "soho"), "stands in no lock"),
        (_put("adapters.0.scheme", "footprints"), "is none that it is scored under here"),
        (_put("family", "other"), "family 'other' is not known here"),
        (_put("commit", "--help"), "commit is neither a hash"),
        (_put("created", "2026-01-02T03:04:06+00:00"), "is not of the time it states"),
        (_put("created", "yesterday"), "no date and time in UTC"),
        (_put("who", "Bob"), "another contributor"),
        (_put("device", "x | <b>y</b>"), "a text that a report cannot print"),
        (_put("recipe", "card"), "ran recipe"),
        (_put("locks", {}), "belongs to nothing that run.json names"),
        (_put("locks", {LOCK: "0" * 64}), "the run read another one of that name"),
        (_put("schema", 2), "schema 2"),
        (_put("adapters.0.chips.0.ignored_px", "32"), "should be a valid integer"),
        (_put("adapters.0.chips.0.chip", "../../up"), "is no file name"),
        (_put("adapters.0.load.files.0.pinned", True), "the family pins another hash"),
        (_put("adapters.0.chips.0.notes", ["see /home/ann/x.tif"]), "holds a path of a machine"),
        (_put("command", "harness --token hf_abcdefghijklmnopqrst"), "a Hugging Face token"),
        (_put("adapters", []), "arrays/midtown.npz belongs to nothing"),
    ],
)
def test_what_does_not_follow_is_refused_though_all_hashes_fit(
    packed: Packed, root: Path, tmp_path: Path, quick: None, edit: Callable[[Json], None], said: str
) -> None:
    held = record(packed)
    edit(held)
    wrong = faults(with_record(tmp_path / "b.zip", packed, held), root)
    assert any(said in line for line in wrong), wrong


def test_a_refusal_at_another_commit_says_where_to_look_again(
    packed: Packed, root: Path, tmp_path: Path, quick: None
) -> None:
    def hint(path: Path) -> list[str]:
        return [
            line for line in verify(path, root=root).said if "and verify there before you call the file altered" in line
        ]

    held = record(packed)
    assert not hint(packed.path)
    _put("adapters.0.load.files.0.pinned", True)(held)
    (told,) = hint(with_record(tmp_path / "b.zip", packed, held))
    assert "was made at commit 000000000000 and is looked at with" in told


def test_locks_are_in_the_bundle_parse_and_are_the_ones_that_were_read(
    packed: Packed, root: Path, tmp_path: Path, quick: None
) -> None:
    held, name = record(packed), f"locks/{LOCK}"
    assert f"lock {LOCK}: its file is not in the bundle" in faults(
        with_record(tmp_path / "a.zip", packed, held, **{name: None}), root
    )
    for raw, said in ((b"{}", "Field required"), (b"{", "not the JSON"), (b'{"a": 1, "a": 2}', "stands twice")):
        held["locks"] = {LOCK: hashlib.sha256(raw).hexdigest()}
        wrong = faults(with_record(tmp_path / "b.zip", packed, held, **{name: raw}), root)
        assert any(said in line for line in wrong), wrong
    signed = opened(packed.path)[name].replace(b"a.tif", b"a.tif?se=2026&sig=abcdefgh")
    held["locks"] = {LOCK: hashlib.sha256(signed).hexdigest()}
    wrong = faults(with_record(tmp_path / "c.zip", packed, held, **{name: signed}), root)
    assert any("a password, key or signature" in line for line in wrong), wrong


def test_nothing_is_left_out_under_other_claims_and_no_name_reaches_the_terminal_raw(
    packed: Packed, root: Path, tmp_path: Path, quick: None
) -> None:
    held = record(packed)
    held["measurements"] = held["measurements"][1:]
    files = {**opened(packed.path), "run.json": json.dumps(held).encode()}
    path = tmp_path / "b.zip"
    wrong = faults(resealed(path, files, lambda m: m["registry"].update({"claims/z.yaml": "ab" * 32})), root)
    assert any("is not among its measurements; the claims differ" in line for line in wrong), wrong
    files = opened(packed.path)
    seen = verify(resealed(path, files, lambda m: m["registry"].update({"claims/\x1b[2J": "ab" * 32})), root=root)
    assert any("the name of no file of a registry" in line for line in seen.wrong), seen.wrong
    assert all(line.isprintable() for line in [*seen.wrong, *seen.holds, *seen.said, *seen.unchecked])
    assert any("are not pinned by the family" in line for line in seen.said)
    wrong = faults(resealed(path, files, lambda m: m.update(redacted=["run.json: \x1b[31mx"])), root)
    assert any(line.startswith("redacted") for line in wrong), wrong
    early = datetime(2026, 1, 1, 3, 4, 4, tzinfo=UTC)
    assert any("ahead of this machine's clock" in line for line in verify(packed.path, root=root, now=early).wrong)
    assert verify(packed.path, root=root, now=early + timedelta(seconds=1)).wrong == []


def test_integers_of_a_lock_are_those_of_its_places() -> None:
    held = made_lock().model_dump(mode="json")
    assert list(lock_faults([made_lock()])) == []
    for where in leaves(held, (int,)):
        if where[-1] in ("epsg", "index") and "scenes" not in where:
            changed = deepcopy(held)
            put(changed, where, lambda n: n + 1)
            assert list(lock_faults([Lock.model_validate(changed)])), where
    for lon in (-180.0, -74.0, -0.1, 0.0, 3.0, 179.9, 180.0):
        for lat in (-33.0, 0.0, 40.7):
            assert utm(lon, lat) == rule(lon, lat)


def test_what_lies_in_a_contributed_folder_stands_in_its_manifest(packed: Packed, root: Path, tmp_path: Path) -> None:
    own = checkout(tmp_path / "own", root)
    folder = add(packed.path, root=own)[1]
    runs = folder.parent
    (folder / "figures").mkdir()
    for name in ("report.md", "figures/a.svg"):
        (folder / name).write_text("x", encoding="utf-8")
    text = render_runs(runs)
    for name in ("bench/joules.json", "arrays/x.npz", "notes.md", "locks/.x"):
        stray = folder / name
        stray.parent.mkdir(exist_ok=True)
        stray.write_text("{}", encoding="utf-8")
        assert verify(folder, root=own).wrong == [f"{name} stands in no manifest"]
        with pytest.raises(BundleError, match="stands in no manifest"):
            render_runs(runs)
        stray.unlink()
    assert render_runs(runs) == text
    raw = (folder / "run.json").read_bytes()
    (folder / "run.json").write_bytes(raw.replace(b"Apple M2", b"Apple M9"))
    with pytest.raises(BundleError, match="is not what was packed"):
        render_runs(runs)
    (folder / "run.json").write_bytes(raw)
    assert read_runs(runs) == []
    assert [r.who for r in read_runs(runs, contributed=True)] == ["Ann Example"]
    (folder / NAME).unlink()
    with pytest.raises(BundleError, match="a contributed run has a manifest"):
        render_runs(runs)


def test_gap_reports_name_contributed_runs_as_theirs(run: Path, view: View, audit: Audit) -> None:
    theirs = read_run(run / "run.json").model_copy(
        update={"who": "see https://evil.example @octocat www.evil.example", "device": "x|<b>"}
    )
    family = view.families["terramind-nyc"]
    plain = render(view, audit, [], family)
    for name, text in render(view, audit, [], family, contributed=[theirs]).items():
        added = [line for line in text.splitlines() if line not in plain[name].splitlines()]
        assert bool(added) == (name in ("terramind-nyc.md", "terramind-nyc-lulc.md", "terramind-nyc-buildings.md"))
        assert not any("://" in line or "@o" in line or "www." in line or "<b>" in line for line in added), added
        if added:
            assert any("ontributed" in line and "octocat" in line for line in added)
            assert any("no figure called ours" in line for line in added)
    ours = render(view, audit, [theirs], family)["terramind-nyc-lulc.md"]
    assert "| see https:<!-- -->//evil.example @<!-- -->octocat" in ours


def test_no_file_is_lost_to_a_bundle(run: Path, packed: Packed, root: Path, tmp_path: Path) -> None:
    before = (run / "run.json").read_bytes()
    other = tmp_path / "precious.json"
    other.write_text("{}", encoding="utf-8")
    plain = archive(tmp_path / "photos.zip", [("a", b"x")])
    for target, said in ((run / "run.json", "in the folder"), (run / "b.zip", "in the folder")):
        with pytest.raises(BundleError, match=said):
            bundle(run, target, root=root)
    for target in (other, plain):
        with pytest.raises(BundleError, match="is no bundle; nothing is overwritten"):
            bundle(run, target, root=root)
    assert (run / "run.json").read_bytes() == before
    assert other.read_text(encoding="utf-8") == "{}"


def test_without_arrays_the_matrices_are_said_to_be_uncounted(run: Path, root: Path, tmp_path: Path) -> None:
    done = bundle(run, tmp_path / "b.zip", arrays=False, root=root)
    assert done.unchecked[0].startswith("Matrices, sweeps and pixels of 2 chips (midtown, red_hook)")
    held = json.loads(opened(done.path)["run.json"])
    held["adapters"][1]["chips"][0]["sweep"][0]["tp"] += 1
    assert any(
        "labels are not those of the matrix" in line
        for line in faults(with_record(tmp_path / "c.zip", done, held), root)
    )


def test_other_claims_are_said_and_every_figure_still_follows(packed: Packed, root: Path, tmp_path: Path) -> None:
    own = checkout(tmp_path / "own", root)
    card = own / "eval" / "claims" / "terramind-nyc-readme.yaml"
    card.write_text(card.read_text(encoding="utf-8") + "\n# a comment\n", encoding="utf-8")
    done = verify(packed.path, root=own)
    assert done.wrong == []
    assert any("claims/terramind-nyc-readme.yaml" in line for line in done.said)
    card.unlink()
    rows = faults(packed.path, own)
    assert any("no claim terramind-nyc-readme/" in line for line in rows), rows


def git(folder: Path, *words: str) -> str:
    env = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    done = subprocess.run(  # noqa: S603 - fixed words
        ["git", "-c", "user.name=t", "-c", "user.email=t@t", *words],  # noqa: S607
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        env=env,
    )
    return done.stdout.strip()


def test_a_commit_is_in_the_history_known_or_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))  # the tests' folder may lie in a checkout
    assert commit_known("0" * 40, tmp_path) == "no git"
    git(tmp_path, "init", "-q", "-b", "main")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "a")
    first = git(tmp_path, "rev-parse", "HEAD")
    git(tmp_path, "checkout", "-q", "-b", "aside")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "b")
    aside = git(tmp_path, "rev-parse", "HEAD")
    git(tmp_path, "checkout", "-q", "main")
    assert commit_known(first, tmp_path) == "in the history"
    assert commit_known(aside, tmp_path) == "known"
    assert commit_known("1" * 40, tmp_path) == "unknown"
    assert commit_known("--upload-pack=x", tmp_path) == "unknown"


def archive(path: Path, files: list[tuple[str, bytes]], kind: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", kind) as out:
        for name, raw in files:
            out.writestr(zipfile.ZipInfo(name), raw, kind)
    return path


@pytest.mark.parametrize(
    "name",
    [
        *("../../evil", "/etc/passwd", "arrays/../../x.npz", "arrays/.hidden.npz", "locks/a/b", "C:\\x", "run.json/x"),
        *("report.md", "arrays/x.npy", "arrays/", "__MACOSX/x", "run.json\nx", "locks/..", "arrays/ü.npz"),
    ],
)
def test_names_that_leave_the_folder_or_belong_to_nothing_are_refused(name: str, root: Path, tmp_path: Path) -> None:
    path = archive(tmp_path / "b.zip", [(name, b"x")])
    assert "cannot stand in a bundle" in faults(path, root)[0]
    assert [p.name for p in tmp_path.iterdir()] == ["b.zip"]


def test_bombs_are_not_unpacked(packed: Packed, root: Path, tmp_path: Path, quick: None) -> None:
    squeezed = archive(tmp_path / "a.zip", [("run.json", b"0" * 50_000_000)], zipfile.ZIP_DEFLATED)
    assert "packed by another program" in faults(squeezed, root)[0]
    many = archive(tmp_path / "b.zip", [(f"locks/{n}", b"") for n in range(5001)])
    assert "5,001 files" in faults(many, root)[0]
    deep = archive(tmp_path / "c.zip", [(NAME, b"[" * 100_000)])
    assert faults(deep, root)
    raw = b'{"a":' * 100_000
    with pytest.raises(BundleError, match="not the JSON"):
        read_json(raw, "run.json")
    with pytest.raises(BundleError, match="not the JSON"):
        read_json(b"NaN", "run.json")
    assert faults(with_record(tmp_path / "d.zip", packed, {"a": 1}), root)


def test_arrays_are_looked_at_before_numpy_makes_room_for_them(tmp_path: Path) -> None:
    def header(descr: str, shape: str, body: bytes = b"") -> bytes:
        text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
        return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + body

    cases = {
        "(1000000000000,)": header("'<f8'", "(1000000000000,)"),
        "object": header("'|O'", "(1,)", b"x" * 8),
        "no run writes": b"",
        "shape (-1,)": header("'<f8'", "(-1,)"),
        "version": b"\x93NUMPY\x02\x00" + bytes(200),
        "complex": header("'<c16'", "(1,)", bytes(16)),
    }
    for said, raw in cases.items():
        path = tmp_path / "x.npz"
        with zipfile.ZipFile(path, "w") as out:
            out.writestr("other.npy" if said == "no run writes" else "rgb.npy", raw)
        with pytest.raises(BundleError, match=r"x\.npz: no arrays of a run") as seen:
            check_arrays(path, "x.npz", ["rgb"])
        assert said in str(seen.value)
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as out, out.open("rgb.npy", "w") as member:
        for _ in range(1001):
            member.write(bytes(1_000_000))
    with pytest.raises(BundleError, match="bytes unpacked"):
        check_arrays(tmp_path / "bomb.npz", "bomb.npz", ["rgb"])


def test_a_bundle_packed_again_is_refused_whatever_it_holds(packed: Packed, root: Path, tmp_path: Path) -> None:
    path = archive(tmp_path / "b.zip", sorted(opened(packed.path).items()))
    assert "packed again or altered" in faults(path, root)[0]


def test_an_added_run_is_kept_listed_and_holds_when_looked_at_again(packed: Packed, root: Path, tmp_path: Path) -> None:
    own = checkout(tmp_path / "own", root)
    done, folder, page = add(packed.path, root=own)
    assert folder == own / "eval" / "runs" / f"contributed-{done.run.id}"
    text = page.read_text(encoding="utf-8")
    row = "| mps: Apple M2 (MacBook Air M2, 16 GB) | buildings_nyc | Ann Example | 2026-01-02 | 0000000 | "
    assert row + "training-code 1, float32, as given: no pin confirms the base | 2 of 3 | 2 of 2 |" in text
    assert text.count("| mps: ") == 2
    assert verify(folder, root=own).wrong == []
    assert add(packed.path, root=own)[1] == folder
    assert sorted(p.name for p in folder.parent.iterdir()) == [folder.name]
    (folder / "arrays" / f"{CHIPS[0]}.npz").write_bytes(b"x")
    assert any("not what was packed" in line for line in verify(folder, root=own).wrong)
    assert render_runs(own / "eval" / "runs") == text
    mine = own / "eval" / "runs" / "20260102T030405Z-mine"
    shutil.copytree(folder, mine)
    assert render_runs(own / "eval" / "runs") == text, "runs that git ignores stand in no committed page"


def test_a_refused_bundle_leaves_nothing(packed: Packed, root: Path, tmp_path: Path) -> None:
    own = checkout(tmp_path / "own", root)
    held = record(packed)
    held["measurements"][0]["value"] += 1
    with pytest.raises(BundleError, match="refused: Measurements"):
        add(with_record(tmp_path / "b.zip", packed, held), root=own)
    assert list((own / "eval" / "runs").iterdir()) == []
    assert not (own / "eval" / "reports").exists()


def test_another_bundle_of_a_run_that_is_kept_is_refused(run: Path, packed: Packed, root: Path, tmp_path: Path) -> None:
    own = checkout(tmp_path / "own", root)
    add(packed.path, root=own)
    other = bundle(run, tmp_path / "b.zip", machine="another", root=root)
    with pytest.raises(BundleError, match="another bundle of this run is kept already"):
        add(other.path, root=own)


def test_the_committed_table_is_what_the_kept_runs_render(root: Path) -> None:
    assert (root / "eval" / "reports" / "runs.md").read_text(encoding="utf-8") == render_runs(root / "eval" / "runs")


def test_packing_takes_paths_and_passwords_out_and_says_where(
    tmp_path: Path, view: View, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/Users/Ann Smith")

    def telling(run: Json) -> None:
        run["command"] = "harness reproduce --chips '/Users/Ann Smith/My Chips' --address https://u:p@host/x?key=1"
        run["adapters"][0]["chips"][2]["reason"] = "/Users/Ann Smith/chips/x.tif: unreadable; C:\\Users\\Ann\\y.tif too"
        run["who"] = "ann"

    done = bundle(made_run(tmp_path / "r", view, telling), tmp_path / "b.zip", who="A. S.", root=root)
    raw = done.path.read_bytes()
    assert b"Smith" not in raw
    assert b"u:p@" not in raw
    assert b"key=1" not in raw
    assert b"ann" not in opened(done.path)["run.json"].lower().replace(b"annotated", b"")
    assert b"<path>/x.tif: unreadable; <path>/y.tif too" in raw
    assert done.manifest.redacted == [
        "run.json: adapters[0].chips[2].reason",
        "run.json: command",
        "run.json: who",
    ]


def test_a_secret_ends_the_packing(tmp_path: Path, view: View, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_API_TOKEN", "correct horse battery")

    def typed(run: Json) -> None:
        run["adapters"][0]["chips"][2]["reason"] = "refused: correct horse battery"

    with pytest.raises(BundleError, match="the value of MY_API_TOKEN") as seen:
        bundle(made_run(tmp_path / "r", view, typed), tmp_path / "b.zip", root=root)
    assert "horse" not in str(seen.value)
    assert not (tmp_path / "b.zip").exists()


def test_a_lock_that_changed_since_the_run_is_not_packed(tmp_path: Path, view: View, root: Path) -> None:
    folder = made_run(tmp_path / "r", view)
    lock = folder / "locks" / LOCK
    kept = tmp_path / "kept.json"
    shutil.move(lock, kept)
    with pytest.raises(BundleError, match=r"not in the run's folder.*--lock"):
        bundle(folder, tmp_path / "b.zip", root=root)
    lock.write_bytes(kept.read_bytes() + b" ")
    with pytest.raises(BundleError, match="has changed since the run"):
        bundle(folder, tmp_path / "b.zip", root=root)
    assert bundle(folder, tmp_path / "b.zip", locks=[kept], root=root).path.is_file()


def test_a_run_that_does_not_hold_is_not_packed(tmp_path: Path, view: View, root: Path) -> None:
    folder = made_run(tmp_path / "r", view)
    held = json.loads((folder / "run.json").read_text())
    held["adapters"][0]["chips"][0]["confusion"][0][0] += 1
    (folder / "run.json").write_text(json.dumps(held))
    with pytest.raises(BundleError, match="the receiver would refuse it"):
        bundle(folder, tmp_path / "b.zip", root=root)
    assert not (tmp_path / "b.zip").exists()
    with pytest.raises(RegistryError, match="no such run"):
        bundle(tmp_path / "nowhere", root=root)


def harness_(*args: str, cwd: Path, root: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-m", "harness.cli", *args],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(root), "COLUMNS": "200"},
    )


def test_the_commands_as_typed(run: Path, root: Path, tmp_path: Path) -> None:
    own = checkout(tmp_path / "own", root)
    done = harness_("bundle", str(run), "--who", "Ann Example", "--machine", "M2", "--out", "b.zip", cwd=own, root=root)
    assert done.returncode == 0, done.stderr
    digest = hashlib.sha256((own / "b.zip").read_bytes()).hexdigest()
    assert f"sha256: {digest}" in done.stdout
    seen = harness_("verify", "b.zip", "--add", "--sha256", digest, cwd=own, root=root)
    assert seen.returncode == 0, seen.stderr
    assert "Accepted: 4 of 4 predictions counted again" in seen.stdout
    assert "Not checked:" in seen.stdout
    assert (own / "eval" / "reports" / "runs.md").is_file()
    told = json.loads(harness_("verify", "b.zip", "--json", cwd=own, root=root).stdout)
    assert told["accepted"]
    assert told["counted_again"] == 4
    other = harness_("verify", "b.zip", "--sha256", "0" * 64, cwd=own, root=root)
    assert (other.returncode, "the sender told another" in other.stderr) == (1, True)
    raw = bytearray((own / "b.zip").read_bytes())
    raw[raw.index(b'"n": 1') + 5] += 1
    (own / "c.zip").write_bytes(raw)
    refused = harness_("verify", "c.zip", cwd=own, root=root)
    assert refused.returncode == 1
    assert "Traceback" not in refused.stderr


def test_the_light_commands_load_nothing_heavy(root: Path) -> None:
    code = (
        "import sys, harness.bundle; print({'torch', 'rasterio', 'shapely', 'requests', 'pandas'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.stdout.strip() == "set()", done.stderr


def test_a_run_keeps_the_locks_that_it_read_and_no_other(tmp_path: Path) -> None:
    read = {"a.lock.json": hashlib.sha256(b"as read").hexdigest(), "b.lock.json": hashlib.sha256(b"before").hexdigest()}
    write_locks(tmp_path / "locks", {"a.lock.json": b"as read", "b.lock.json": b"grown meanwhile"}, read)
    assert {p.name: p.read_bytes() for p in (tmp_path / "locks").iterdir()} == {"a.lock.json": b"as read"}
