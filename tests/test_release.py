"""What is released: one version, a package that runs outside a checkout, documents whose commands can be typed."""

from __future__ import annotations

import doctest
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

import harness
from harness.cli import app
from harness.commands.console import not_installed

ROOT = Path(__file__).parents[1]

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

NOT_PACKAGED = {"bench", "reports", "runs"}
"""Folders of eval/ that hold what came out; a wheel carries what goes in."""

TYPED = ("README.md", "CONTRIBUTING.md", "docs/contribute-a-run.md", "docs/energy.md")
"""Documents whose commands are for typing."""

DOCUMENTS = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", *sorted(f"docs/{p.name}" for p in ROOT.glob("docs/*.md")))


def test_the_version_of_the_package_is_that_of_the_citation_and_the_changelog() -> None:
    version = PROJECT["project"]["version"]
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    released = re.findall(r"^## \[(\d.*)\] - (\S+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert released[0] == (version, str(cited["date-released"]))
    assert cited["version"] == version


@pytest.mark.parametrize("target", ["wheel", "sdist"])
def test_whatever_goes_in_under_eval_is_packaged(target: str) -> None:
    packaged = set(PROJECT["tool"]["hatch"]["build"]["targets"][target]["only-include"])
    there = {f"eval/{path.name}" for path in (ROOT / "eval").iterdir() if path.name not in NOT_PACKAGED}
    assert {name for name in packaged if name.startswith("eval/")} == there


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as a wheel lays it out: harness/, and what goes in under eval/ as harness/data/."""
    site = tmp_path_factory.mktemp("site")
    shutil.copytree(ROOT / "harness", site / "harness", ignore=shutil.ignore_patterns("__pycache__", "weights"))
    for name in PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]:
        source, target = ROOT / name, site / name.replace("eval/", "harness/data/")
        if name != "harness":
            target.parent.mkdir(exist_ok=True)
            shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
    return site


def outside(site: Path, cwd: Path, *words: str, without: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """The command in a folder that is no checkout, with the packages `without` not to be found."""
    gone = "".join(f"sys.modules[{name!r}] = None; " for name in without)
    code = f"import sys; {gone}from harness.cli import main; main()"
    return subprocess.run(  # noqa: S603 (our own command)
        [sys.executable, "-c", code, *words],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(site), "COLUMNS": "200"},
    )


def test_outside_a_checkout_the_packaged_figures_are_audited(site: Path, tmp_path: Path) -> None:
    def audited(done: subprocess.CompletedProcess[str]) -> Any:
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    assert audited(outside(site, tmp_path, "audit", "--json")) == audited(outside(ROOT, ROOT, "audit", "--json"))


def test_outside_a_checkout_reports_go_to_the_working_folder_and_never_into_the_package(
    site: Path, tmp_path: Path
) -> None:
    def files() -> set[Path]:
        return {path for path in site.rglob("*") if "__pycache__" not in path.parts}

    before = files()
    done = outside(site, tmp_path, "reproduce")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "eval" / "reports").glob("*.md")} == {
        *("terramind-nyc.md", "terramind-nyc-lulc.md", "terramind-nyc-tim.md", "terramind-nyc-buildings.md"),
    }
    assert files() == before


def test_a_package_inside_somebodys_repository_does_not_take_its_commit(site: Path, tmp_path: Path) -> None:
    code = "from harness.folders import commit_of; from harness.places import PACKAGED; print(commit_of(PACKAGED))"
    (tmp_path / ".venv").mkdir()
    shutil.copytree(site, tmp_path / ".venv" / "site")
    git = ("git", "-c", "user.name=a", "-c", "user.email=a@example.org", "-C", str(tmp_path))
    for words in (("init", "--quiet"), ("commit", "--quiet", "--allow-empty", "--message=theirs")):
        subprocess.run([*git, *words], check=True, capture_output=True)  # noqa: S603 (fixed words)
    done = subprocess.run(  # noqa: S603 (our own code)
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(tmp_path / ".venv" / "site")},
    )
    assert done.stdout.strip() == "('unknown', False)", done.stderr


TORCH = ("torch", "torchvision", "terratorch", "peft", "safetensors", "rasterio", "shapely", "pystac_client")


@pytest.mark.parametrize(
    "words",
    [
        "ablate lulc_nyc --from published-rerun --to training-code --chips . --weights random",
        "bench energy --out a.json",
        "bundle",
        "chips --verify",
        "equivalence --device cpu",
        "lock a.geojson",
        "report",
        "reproduce --live",
        "reproduce --source files --chips . --weights random",
        "think .",
        "train a.yaml --smoke",
        "verify a.zip",
    ],
)
def test_a_command_that_cannot_run_says_what_it_needs_without_a_traceback(
    words: str, site: Path, tmp_path: Path
) -> None:
    done = outside(site, tmp_path, *words.split(), without=TORCH)
    assert done.returncode in (1, 2, 3)
    assert "Traceback" not in done.stderr
    assert re.search(r"eo-adapter-harness\[|no such|name the folder of", " ".join(done.stderr.split())), done.stderr


def test_a_missing_module_of_our_own_is_a_defect_and_not_a_missing_package() -> None:
    assert not_installed(ModuleNotFoundError("No module named 'harness.gone'", name="harness.gone")) is None
    assert "rasterio is not installed" in str(not_installed(ModuleNotFoundError(name="rasterio.warp")))


def test_the_examples_of_the_package_run() -> None:
    done = doctest.testmod(harness)
    assert (done.attempted > 3, done.failed) == (True, 0)


def test_every_public_name_is_there() -> None:
    assert [name for name in harness.__all__ if not callable(getattr(harness, name))] == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_between_documents_lead_somewhere(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith(("http:", "https:")):
            continue
        file, _, place = link.partition("#")
        target = (ROOT / name).parent / file if file else ROOT / name
        assert target.exists(), f"{name}: {link}"
        headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE) if place else []
        assert not place or place in {re.sub(r"[^\w -]", "", h).strip().lower().replace(" ", "-") for h in headings}


def test_the_index_lists_every_document() -> None:
    listed = set(re.findall(r"\]\(([^)#]+)\)", (ROOT / "docs" / "index.md").read_text(encoding="utf-8")))
    assert {path.name for path in (ROOT / "docs").glob("*.md")} - {"index.md"} <= listed
    assert {f"../eval/reports/{path.name}" for path in (ROOT / "eval" / "reports").glob("*.md")} <= listed


def commands() -> Iterator[tuple[str, str]]:
    """Every command of a code block, and every one in a table or a sentence, with its document."""
    for name in TYPED:
        text = (ROOT / name).read_text(encoding="utf-8")
        for block in re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            yield from ((name, line) for line in block.splitlines() if line.startswith(("harness ", "nox -s ")))
        plain = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
        yield from ((name, line) for line in re.findall(r"`((?:harness|nox -s) [^`]+)`", plain))


SESSIONS = set(re.findall(r"@nox\.session.*\ndef (\w+)", (ROOT / "noxfile.py").read_text(encoding="utf-8")))

OF_HARNESS = {"bundle": "bundle", "doctor": "doctor", "reproduce": "reproduce", "verify": "verify", "live": "reproduce"}
"""Sessions that hand their words to a command."""


def parsed(words: list[str]) -> None:
    """Parse a command as its program would, without running it.

    Raises:
        Exception: As the parser does: no such command or option, or a value of the wrong kind.
    """
    command: Any = typer.main.get_command(app)
    context = command.make_context("harness", list(words))
    while hasattr(command, "commands"):
        name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        context = command.make_context(name, list(rest), parent=context)


@pytest.mark.parametrize(("name", "line"), sorted(set(commands())))
def test_commands_in_documents_are_typed_as_their_programs_want_them(name: str, line: str) -> None:
    words = [w for w in shlex.split(re.sub(r"<[^>]*>", "this", line), comments=True) if w != "..."]
    if words[0] == "nox":
        assert words[2] in SESSIONS, f"{name}: {line}"
        words = [OF_HARNESS.get(words[2], ""), *(w for w in words[4:] if w != "--use-installed-torch")]
    else:
        words = words[1:]
    if words[0] and "--help" not in words and len(words) > 1:
        parsed(words)


def test_a_wrong_option_in_a_document_would_be_seen() -> None:
    with pytest.raises(Exception, match=r"No such option"):
        parsed(["report", "eval/runs/latest", "--fn-costs", "5"])
