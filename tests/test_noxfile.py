"""Which torch a machine gets, without installing one; noxfile.py itself with a stand-in for nox."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import subprocess
import sys
import threading
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from harness.models import wheels
from harness.models.wheels import InstalledTorch, Machine, TorchBuildError, choose

PIN = "2.13.0"
CPU = f"torch=={PIN}+cpu"
CUDA = f"torch=={PIN},!={PIN}+cpu"
INDEX = ("--extra-index-url", wheels.CPU_INDEX)


class Asked:
    """What a decision asked of pip and of the network, with prepared answers."""

    def __init__(self, *offers: tuple[str, tuple[str, ...]], silent: str | None = "does not answer") -> None:
        self.offers, self.silent = offers, silent
        self.pip: list[tuple[str, tuple[str, ...]]] = []
        self.network: list[str] = []

    def offered(self, requirement: str, options: tuple[str, ...]) -> bool:
        """As pip would answer."""
        self.pip.append((requirement, options))
        return (requirement, options) in self.offers

    def silence(self, url: str) -> str | None:
        """As the network would."""
        self.network.append(url)
        return self.silent

    def choice(self, system: str = "Linux", gpu: str | None = None, any_build: bool = False) -> wheels.Choice:
        """Decide with these answers."""
        machine = Machine(system, gpu)
        return choose(machine, PIN, any_build=any_build, offered=self.offered, silence=self.silence)


def test_a_cpu_build_at_hand_is_taken_without_asking_the_network() -> None:
    asked = Asked((CPU, ()))
    found = asked.choice()
    assert (found.options, found.constraints) == ((), (CPU,))
    assert "No NVIDIA GPU found" in found.why
    assert asked.network == []


def test_pytorchs_index_is_used_where_it_answers_and_has_the_build() -> None:
    asked = Asked((CPU, INDEX), silent=None)
    found = asked.choice()
    assert (found.options, found.constraints) == (INDEX, (CPU,))
    assert asked.network == [f"{wheels.CPU_INDEX}/torch/"]
    assert wheels.CPU_INDEX in found.why


@pytest.mark.parametrize(
    ("asked", "why"),
    [(Asked(silent="does not answer within 4 s"), "does not answer within 4 s"), (Asked(silent=None), "has no torch")],
)
def test_without_a_cpu_build_nothing_is_downloaded_and_the_ways_out_are_named(asked: Asked, why: str) -> None:
    with pytest.raises(TorchBuildError) as caught:
        asked.choice()
    message = str(caught.value)
    assert why in message
    assert all(way in message for way in (wheels.FLAG, wheels.ANY_BUILD, "PIP_FIND_LINKS"))
    assert (CUDA, ()) not in asked.pip


def test_an_nvidia_gpu_gets_the_cuda_build_even_where_a_cpu_build_sorts_higher() -> None:
    found = Asked((CPU, ()), (CUDA, ())).choice(gpu="nvidia")
    assert (found.options, found.constraints) == ((), (f"torch!={PIN}+cpu",))


def test_an_nvidia_gpu_without_a_cuda_build_is_told_that_it_stays_unused() -> None:
    found = Asked((CPU, ())).choice(gpu="nvidia")
    assert found.constraints == (CPU,)
    assert "stays unused" in found.why


def test_an_amd_gpu_never_gets_a_cuda_build() -> None:
    asked = Asked((CPU, ()), (CUDA, ()))
    found = asked.choice(gpu="amd")
    assert found.constraints == (CPU,)
    assert (CUDA, ()) not in asked.pip
    assert wheels.FLAG in found.why
    assert wheels.ROCM_INDEX in found.why


@pytest.mark.parametrize("system", ["Darwin", "Windows"])
def test_other_systems_take_the_index_as_it_is(system: str) -> None:
    asked = Asked()
    found = asked.choice(system)
    assert (found.options, found.constraints, asked.pip, asked.network) == ((), (), [], [])


def test_whoever_asks_for_any_build_gets_it() -> None:
    asked = Asked()
    found = asked.choice(any_build=True)
    assert (found.options, found.constraints, asked.pip) == ((), (), [])


@pytest.mark.parametrize(
    ("devices", "smi", "gpu"),
    [
        ((), None, None),
        (("kfd",), None, "amd"),
        (("nvidiactl",), None, "nvidia"),
        (("nvidiactl", "kfd"), None, "nvidia"),
        ((), "echo 'GPU 0: NVIDIA H200 (UUID: GPU-1)'", "nvidia"),
        ((), "echo 'No devices were found'; exit 6", None),
        ((), "echo 'GPU access blocked'; exit 255", None),
        (("kfd",), "exit 9", "amd"),
    ],
)
def test_a_gpu_is_told_by_its_driver(
    devices: tuple[str, ...], smi: str | None, gpu: str | None, tmp_path: Path
) -> None:
    (tmp_path / "dev").mkdir()
    for name in devices:
        (tmp_path / "dev" / name).touch()
    program = tmp_path / "nvidia-smi"
    if smi is not None:
        program.write_text(f"#!/bin/sh\n{smi}\n", encoding="utf-8")
        program.chmod(0o755)
    assert wheels.gpu(tmp_path, lambda name: str(program) if smi is not None else None) == gpu


@pytest.fixture
def links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Pip on this machine finds nothing but the wheels that this makes."""
    folder = tmp_path / "links"
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))

    def wheel(version: str) -> Path:
        path = folder / f"torch_stand_in-{version}-py3-none-any.whl"
        info = f"torch_stand_in-{version}.dist-info"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: torch-stand-in\nVersion: {version}\n")
            archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            archive.writestr(f"{info}/RECORD", "")
        return path

    return wheel


def test_pip_tells_a_cpu_build_from_a_plain_one(links: Callable[[str], Path]) -> None:
    cpu, plain = "torch-stand-in==2.13.0+cpu", "torch-stand-in==2.13.0,!=2.13.0+cpu"
    links("2.13.0")
    assert not wheels.pip_offers(sys.executable, cpu)
    assert wheels.pip_offers(sys.executable, plain)
    links("2.13.0+cpu")
    assert wheels.pip_offers(sys.executable, cpu)
    assert wheels.pip_offers(sys.executable, plain)
    assert importlib.util.find_spec("torch_stand_in") is None


@pytest.fixture
def address() -> Iterator[str]:
    """A server on loopback: /<status> answers so, /hang answers when the test ends."""
    released = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            name = self.path.strip("/")
            if name == "hang":
                released.wait(30)
                return
            self.send_response(int(name))
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        released.set()
        server.shutdown()
        thread.join()


def test_an_index_that_does_not_answer_is_given_up(address: str) -> None:
    assert wheels.silence(f"{address}/200/") is None
    assert wheels.silence(f"{address}/403/") == "answers HTTP 403"
    assert str(wheels.silence(f"{address}/hang/", timeout_s=0.3)).startswith("does not answer")
    assert wheels.silence("http://127.0.0.1:1/", timeout_s=5) == "does not answer (ConnectionRefusedError)"


@pytest.mark.parametrize(
    ("argv", "variable", "said"),
    [
        (["nox", "-s", "tests"], None, None),
        (["nox", "-s", "tests"], "0", None),
        (["nox", "-s", "tests", "--", "-x"], "", None),
        (["nox", "-s", "tests", "--", wheels.FLAG], None, ""),
        (["nox", "-s", "tests", "--", "-x", wheels.FLAG], "0", ""),
        (["nox", wheels.FLAG, "--", "-x"], None, None),
        (["nox"], "1", ""),
        (["nox"], "/opt/venv/bin/python", "/opt/venv/bin/python"),
        (["nox", "--", wheels.FLAG], "/opt/venv/bin/python", "/opt/venv/bin/python"),
    ],
)
def test_what_the_user_says_about_his_torch(argv: list[str], variable: str | None, said: str | None) -> None:
    assert wheels.wanted(argv, {} if variable is None else {wheels.USE_INSTALLED: variable}) == said


def installed(folder: Path, name: str, version: str) -> None:
    """A package that is installed there."""
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").touch()
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8")


def python_with(folder: Path, site: Path | None) -> str:
    """An interpreter that sees that folder and no site-packages."""
    path = folder / "python"
    code = f"import sys; sys.path.insert(0, {str(site)!r}); " if site is not None else ""
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S -c "{code}$2"\n', encoding="utf-8")
    path.chmod(0o755)
    return str(path)


def test_the_first_interpreter_with_torch_is_taken_with_its_versions(tmp_path: Path) -> None:
    for name in ("without", "with", "vision"):
        (tmp_path / name).mkdir()
    installed(tmp_path / "site", "torch", "2.9.1+rocm7.0")
    without, having = python_with(tmp_path / "without", None), python_with(tmp_path / "with", tmp_path / "site")
    found = wheels.find_installed([str(tmp_path / "no-python"), without, having])
    assert found == InstalledTorch(having, "2.9.1+rocm7.0", None, str(tmp_path / "site"))
    installed(tmp_path / "site", "torchvision", "0.24.1")
    assert wheels.find_installed([having]).torchvision == "0.24.1"
    with pytest.raises(TorchBuildError, match=r"no torch found; looked at .*no-python .*without/python \(no torch\)"):
        wheels.find_installed([str(tmp_path / "no-python"), without])


def test_where_torch_is_looked_for(tmp_path: Path) -> None:
    assert wheels.interpreters("/opt/venv/bin/python", {"VIRTUAL_ENV": str(tmp_path)}) == ["/opt/venv/bin/python"]
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").touch()
    assert wheels.interpreters("", {"VIRTUAL_ENV": str(tmp_path)})[:2] == [sys.executable, f"{tmp_path}/bin/python"]


@pytest.fixture
def project(root: Path) -> dict[str, Any]:
    """pyproject.toml."""
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))


def test_every_version_is_pinned_exactly_and_once(project: dict[str, Any]) -> None:
    pins = wheels.pins(project)
    assert all(len(pin.partition(";")[0].split("==")) == 2 for pin in pins)
    names = [wheels.name_of(pin) for pin in pins]
    assert sorted(names) == sorted({*names})
    assert wheels.torch_pin(project) == PIN


def test_no_cuda_package_is_pinned(project: dict[str, Any]) -> None:
    names = {wheels.name_of(pin) for pin in wheels.pins(project)} - {"nvidia-ml-py"}  # plain Python over the driver
    assert not [name for name in names if name.startswith(("nvidia", "cuda", "triton", "pytorch-triton"))]


def test_a_machines_own_torch_is_held_and_never_asked_for(project: dict[str, Any]) -> None:
    there = InstalledTorch("/opt/venv/bin/python", "2.9.1+rocm7.0", "0.24.1+rocm7.0", "/opt/venv/site-packages")
    requirements, constraints = wheels.on_installed(project, ["models", "tests"], there)
    assert not {"torch", "torchvision"} & {wheels.name_of(r) for r in requirements}
    assert {"terratorch", "peft", "pytest", "numpy"} <= {wheels.name_of(r) for r in requirements}
    held = [c for c in constraints if wheels.name_of(c) in ("torch", "torchvision")]
    assert held == ["torch==2.9.1+rocm7.0", "torchvision==0.24.1+rocm7.0"]
    assert {pin for pin in wheels.pins(project) if wheels.name_of(pin) not in ("torch", "torchvision")} < {*constraints}


def test_a_torch_without_torchvision_gets_ours_only_if_it_is_the_same_version(project: dict[str, Any]) -> None:
    same = InstalledTorch("python", f"{PIN}+rocm7.1", None, "/site")
    requirements, constraints = wheels.on_installed(project, ["models"], same)
    assert [r for r in requirements if wheels.name_of(r).startswith("torch")] == ["torchvision==0.28.0"]
    assert f"torch=={PIN}+rocm7.1" in constraints
    with pytest.raises(TorchBuildError, match="install the torchvision that belongs to your torch"):
        wheels.on_installed(project, ["models"], InstalledTorch("python", "2.9.1", None, "/site"))


def test_the_decision_needs_only_the_standard_library(root: Path) -> None:
    code = "import runpy; print(runpy.run_path('harness/models/wheels.py')['FLAG'])"
    command = [sys.executable, "-I", "-S", "-c", code]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)  # noqa: S603 (our own code)
    assert done.stdout.strip() == wheels.FLAG, done.stderr


class Session:
    """Records what a session of noxfile.py does; only looking at its own environment really runs."""

    def __init__(self, folder: Path, *posargs: str) -> None:
        self.folder, self.posargs = folder, list(posargs)
        self.bin = str(folder)
        self.env: dict[str, str] = {}
        self.installs: list[tuple[str, ...]] = []
        self.runs: list[tuple[str, ...]] = []
        self.said: list[str] = []
        (folder / "site").mkdir(exist_ok=True)

    def create_tmp(self) -> str:
        """A folder for the session."""
        return str(self.folder)

    def log(self, text: str) -> None:
        """Keep what was said."""
        self.said.append(text)

    def error(self, text: str) -> None:
        """End the session."""
        raise RuntimeError(text)

    def install(self, *arguments: str, silent: bool) -> None:
        """Keep what pip would be given, with the constraints' content for their path."""
        self.installs.append(tuple(Path(a).read_text() if a.endswith("constraints.txt") else a for a in arguments))

    def run(self, *command: str, **_: Any) -> str:
        """Keep the command; the only answer that counts is where its packages lie."""
        self.runs.append(command)
        return str(self.folder / "site")


@pytest.fixture
def noxfile(root: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[ModuleType, dict[str, Any]]]:
    """Loads noxfile.py for a command line; gives it and what each session asked nox for."""

    def load(*argv: str, **environ: str) -> tuple[ModuleType, dict[str, Any]]:
        asked: dict[str, Any] = {}

        def session(function: Any = None, **kwargs: Any) -> Any:
            if function is None:
                return lambda inner: session(inner, **kwargs)
            asked[function.__name__] = kwargs
            return function

        text = (root / "pyproject.toml").read_text(encoding="utf-8")
        stand_in = SimpleNamespace(
            options=SimpleNamespace(),
            project=SimpleNamespace(load_toml=lambda name: tomllib.loads(text)),
            session=session,
            Session=Session,
        )
        monkeypatch.setitem(sys.modules, "nox", stand_in)
        monkeypatch.setitem(sys.modules, "wheels", ModuleType("wheels"))  # noxfile.py puts its own there
        monkeypatch.setattr(sys, "argv", ["nox", *argv])
        monkeypatch.delenv(wheels.USE_INSTALLED, raising=False)
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        spec = importlib.util.spec_from_file_location("noxfile_under_test", root / "noxfile.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module, asked

    return load


Load = Callable[..., tuple[ModuleType, dict[str, Any]]]


def test_a_session_installs_the_chosen_build_under_every_pin(
    noxfile: Load, tmp_path: Path, project: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    module, asked = noxfile("-s", "tests")
    assert asked["tests"] == asked["reproduce"] == {}
    choice = wheels.Choice(INDEX, (CPU,), "because")
    monkeypatch.setattr(module.wheels, "choose", lambda *args, **kwargs: choice)
    session = Session(tmp_path, "-k", "doctor")
    module.tests(session)
    (installed,) = session.installs
    constraints = installed[1].splitlines()
    assert installed[0] == "-c"
    assert installed[2:] == (*INDEX, "-e", ".[models,live,twin,tests]")
    assert CPU in constraints
    assert f"torch=={PIN}" not in constraints
    assert {*wheels.pins(project)} - {f"torch=={PIN}"} <= {*constraints}
    assert session.runs == [("pytest", "-n", "2", "--dist", "loadfile", "-k", "doctor")]
    assert "because" in session.said


def test_the_bench_runs_or_compares_and_needs_no_torch_for_the_latter(
    noxfile: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, _ = noxfile("-s", "bench")
    monkeypatch.setattr(module.wheels, "choose", lambda *args, **kwargs: wheels.Choice(INDEX, (CPU,), "because"))
    session = Session(tmp_path, "--full")
    module.bench(session)
    assert session.runs == [("harness", "bench", "run", "--full")]
    other = Session(tmp_path, "--compare", "a.json", "b.json", "--fail-on=slower")
    module.bench(other)
    assert other.runs == [("harness", "bench", "compare", "a.json", "b.json", "--fail-on=slower")]
    assert [words[-2:] for words in other.installs] == [("-e", ".")]


def test_a_session_without_a_fitting_build_ends_before_it_installs(
    noxfile: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, _ = noxfile("-s", "reproduce")
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.delenv(wheels.ANY_BUILD, raising=False)
    monkeypatch.setattr(module.wheels, "gpu", lambda: None)
    monkeypatch.setattr(module.wheels, "pip_offers", lambda *args: False)
    monkeypatch.setattr(module.wheels, "silence", lambda url, cafile: "does not answer within 4 s")
    session = Session(tmp_path)
    with pytest.raises(RuntimeError, match="no CPU build of torch"):
        module.reproduce(session)
    assert session.installs == []


def test_a_session_on_the_machines_torch_never_installs_one(noxfile: Load, tmp_path: Path) -> None:
    installed(tmp_path / "machine", "torch", "2.9.1+rocm7.0")
    installed(tmp_path / "machine", "torchvision", "0.24.1")
    python = python_with(tmp_path, tmp_path / "machine")
    module, asked = noxfile("-s", "reproduce", "--", wheels.FLAG, "--check", **{wheels.USE_INSTALLED: python})
    own = {"python": [python], "venv_backend": "virtualenv", "venv_params": ["--system-site-packages"]}
    assert asked["tests"] == asked["reproduce"] == own
    assert asked["lint"] == {}
    session = Session(tmp_path, wheels.FLAG, "--check")
    module.reproduce(session)
    for arguments in session.installs:
        assert not [a for a in arguments[2:] if wheels.name_of(a) in ("torch", "torchvision")]
        assert {"torch==2.9.1+rocm7.0", "torchvision==0.24.1"} <= {*arguments[1].split()}
    assert session.installs[-1][2:] == ("--no-deps", "-e", ".")
    assert session.runs[-1] == ("harness", "reproduce", "--check")
    (path,) = (tmp_path / "site").glob("*.pth")
    assert path.read_text().strip() == str(tmp_path / "machine")
    (tmp_path / "site" / "torch").mkdir()
    with pytest.raises(RuntimeError, match="installed a torch of its own"):
        module.reproduce(session)


def test_a_machine_without_torch_is_refused_when_the_session_starts(noxfile: Load, tmp_path: Path) -> None:
    python = python_with(tmp_path, None)
    module, asked = noxfile("-s", "tests", **{wheels.USE_INSTALLED: python})
    assert asked["tests"] == {"venv_backend": "none"}
    session = Session(tmp_path)
    with pytest.raises(RuntimeError, match="no torch found"):
        module.tests(session)
    assert session.installs == []
    assert json.dumps(session.runs) == "[]"
