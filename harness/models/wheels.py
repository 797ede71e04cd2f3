"""Which build of torch a machine gets. Standard library only: noxfile.py loads this file alone.

On Linux the wheel of torch in the public package index is the CUDA build: with what it requires,
about 2.5 GB to download. A machine without an NVIDIA GPU gets the CPU build, from its own package
sources where they offer one, else from PyTorch's index; where neither can be had, nothing is
downloaded and the message names the ways out.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

CPU_INDEX = "https://download.pytorch.org/whl/cpu"
"""PyTorch's index of CPU builds (pytorch.org, Get started)."""

ROCM_INDEX = "https://download.pytorch.org/whl/rocm<version>"
"""PyTorch's indices of ROCm builds, one for each ROCm version (pytorch.org, Get started)."""

FLAG = "--use-installed-torch"
"""After `--` on nox' command line: build the session on the torch that is there."""

USE_INSTALLED = "HARNESS_USE_INSTALLED_TORCH"
"""Environment variable for the same: 1, or the path of the interpreter that has torch."""

ANY_BUILD = "HARNESS_ANY_TORCH_BUILD"
"""Environment variable: 1 takes whatever build the package index gives, CUDA included."""

PROBE_S = 4.0
"""Seconds that PyTorch's index has for an answer."""


class TorchBuildError(Exception):
    """No build of torch that fits this machine; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What decides about the build."""

    system: str
    """As `platform.system()` says it: Linux, Darwin, Windows."""
    gpu: str | None
    """`nvidia`, `amd`, or None; told on Linux only."""


@dataclass(frozen=True, slots=True)
class Choice:
    """How pip is to be called."""

    options: tuple[str, ...]
    """Options for pip install."""
    constraints: tuple[str, ...]
    """Further constraints; they agree with the pins."""
    why: str
    """One or two sentences for the log."""


@dataclass(frozen=True, slots=True)
class InstalledTorch:
    """The torch that a machine brings."""

    python: str
    """Interpreter that has it."""
    torch: str
    """Its version, local part included: 2.13.0+rocm7.1."""
    torchvision: str | None
    """torchvision's version, None where it is not there."""
    folder: str
    """The site-packages folder that holds it."""


def gpu(root: Path = Path("/"), which: Callable[[str], str | None] = shutil.which) -> str | None:
    """`nvidia`, `amd` or None, from the device files of the drivers, or nvidia-smi's answer.

    Args:
        root: Where dev/ lies.
        which: Finds a program on the path.
    """
    if (root / "dev" / "nvidiactl").exists():
        return "nvidia"
    smi = which("nvidia-smi")
    if smi is not None:
        try:
            listed = subprocess.run(  # noqa: S603 (found on the path, fixed argument)
                [smi, "-L"], capture_output=True, text=True, timeout=20, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            listed = None
        if listed is not None and listed.returncode == 0 and listed.stdout.startswith("GPU "):
            return "nvidia"
    return "amd" if (root / "dev" / "kfd").exists() else None


def choose(
    machine: Machine,
    pin: str,
    *,
    any_build: bool,
    offered: Callable[[str, tuple[str, ...]], bool],
    silence: Callable[[str], str | None],
) -> Choice:
    """Decide where torch comes from.

    Args:
        machine: What there is.
        pin: Version of torch without local part.
        any_build: The user takes whatever the package index gives.
        offered: Whether pip, called with these options, finds this requirement.
        silence: Why an address does not answer, None where it does.

    Returns:
        How to call pip.

    Raises:
        TorchBuildError: Linux without an NVIDIA GPU, and no CPU build to be had.
    """
    if any_build:
        return Choice((), (), f"{ANY_BUILD} is set: torch {pin} as the configured package sources give it.")
    if machine.system != "Linux":
        return Choice((), (), f"{machine.system}: torch {pin} from the configured package sources.")
    if machine.gpu == "nvidia":
        not_cpu = f"torch!={pin}+cpu"
        if offered(f"torch=={pin},!={pin}+cpu", ()):
            return Choice((), (not_cpu,), f"NVIDIA GPU found: the CUDA build of torch {pin}, about 2.5 GB.")
        if offered(f"torch=={pin}+cpu", ()):
            why = "NVIDIA GPU found, but the configured package sources offer only the CPU build: the GPU stays unused."
            return Choice((), (f"torch=={pin}+cpu",), why)
        return Choice((), (not_cpu,), f"NVIDIA GPU found: torch {pin} from the configured package sources.")
    cpu = f"torch=={pin}+cpu"
    seen = "No NVIDIA GPU found"
    if machine.gpu == "amd":
        seen = (
            f"AMD GPU found; it stays unused with the CPU build. To use it, install PyTorch's ROCm wheels "
            f"(pip install torch torchvision --index-url {ROCM_INDEX}) and run nox with -- {FLAG}"
        )
    if offered(cpu, ()):
        return Choice(
            (),
            (cpu,),
            f"{seen}: the CPU build of torch {pin}, already here or offered by the configured package sources.",
        )
    silent = silence(f"{CPU_INDEX}/torch/")
    if silent is None:
        options = ("--extra-index-url", CPU_INDEX)
        if offered(cpu, options):
            return Choice(options, (cpu,), f"{seen}: the CPU build of torch {pin} from {CPU_INDEX}.")
        silent = f"has no torch {pin}+cpu for this Python"
    raise TorchBuildError(
        f"no CPU build of torch {pin}: the configured package sources offer none, and {CPU_INDEX} {silent}. "
        "The package index's own wheel is for CUDA and brings about 2.5 GB that this machine cannot use, so nothing "
        f"was downloaded. Ways out: install torch and torchvision yourself and add `-- {FLAG}`; let pip find "
        f"torch-{pin}+cpu (PIP_FIND_LINKS or PIP_EXTRA_INDEX_URL); or set {ANY_BUILD}=1 to take the CUDA build."
    )


def pip_offers(python: str, requirement: str, options: Sequence[str] = ()) -> bool:
    """Whether pip of that interpreter has or finds `requirement`; nothing is installed.

    Without dependencies, so that at most the one wheel is downloaded, into pip's cache, where an
    index serves no metadata apart from its wheels.

    Args:
        python: Interpreter whose environment is asked.
        requirement: What to look for.
        options: Further options for pip install.
    """
    command = [python, "-m", "pip", "install", "--dry-run", "--no-deps", "--quiet", *options, requirement]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0  # noqa: S603 (our own words)


def silence(url: str, timeout_s: float = PROBE_S, cafile: str | None = None) -> str | None:
    """Why `url` gives no page within the time, None where it does.

    Asked in a daemon thread, because name resolution knows no time-out.

    Args:
        url: What to ask, with a HEAD request through the proxies that are set.
        timeout_s: Seconds for everything.
        cafile: Certificates to trust besides the system's; pip's own setting where it has one.
    """
    import ssl

    found: list[str | None] = []

    def ask() -> None:
        try:
            context = ssl.create_default_context()
            if cafile:
                context.load_verify_locations(cafile)
            with urlopen(Request(url, method="HEAD"), timeout=timeout_s, context=context):  # noqa: S310 (our own https)
                found.append(None)
        except HTTPError as err:
            err.close()
            found.append(f"answers HTTP {err.code}")
        except (OSError, HTTPException, ValueError) as err:
            # Only the kind of error: a message may hold a proxy's password.
            reason = getattr(err, "reason", err)
            found.append(f"does not answer ({type(reason if isinstance(reason, BaseException) else err).__name__})")

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(timeout_s)
    return found[0] if found else f"does not answer within {timeout_s:g} s"


def wanted(argv: Sequence[str], environ: Mapping[str, str]) -> str | None:
    """What the user says about torch already there.

    Args:
        argv: nox' command line; the flag counts only after `--`.
        environ: Environment variables.

    Returns:
        None to install torch, "" to find the interpreter, else the interpreter's path.
    """
    value = environ.get(USE_INSTALLED, "").strip()
    after = argv[list(argv).index("--") + 1 :] if "--" in argv else ()
    if value.lower() in ("", "0", "false", "no", "off"):
        return "" if FLAG in after else None
    return "" if value.lower() in ("1", "true", "yes", "on") else value


_LOOK = """
import importlib.util, json, pathlib, sys
from importlib import metadata
def version(name):
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
spec = importlib.util.find_spec("torch")
folder = str(pathlib.Path(spec.origin).resolve().parents[1]) if spec and spec.origin else None
print(json.dumps([sys.version_info[:2], version("torch"), version("torchvision"), folder]))
"""


def find_installed(candidates: Sequence[str]) -> InstalledTorch:
    """The first interpreter that has torch.

    Args:
        candidates: Interpreters in the order to look.

    Raises:
        TorchBuildError: None has it, or the one that has is older than Python 3.11.
    """
    seen: list[str] = []
    for python in dict.fromkeys(candidates):
        try:
            done = subprocess.run(  # noqa: S603 (interpreters of this machine, our own code)
                [python, "-c", _LOOK], capture_output=True, text=True, timeout=60, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as err:
            seen.append(f"{python} ({type(err).__name__})")
            continue
        if done.returncode != 0:
            seen.append(f"{python} (does not run)")
            continue
        version, torch, torchvision, folder = json.loads(done.stdout.strip().splitlines()[-1])
        if torch is None or folder is None:
            seen.append(f"{python} (no torch)")
        elif tuple(version) < (3, 11):
            seen.append(f"{python} (torch {torch}, but Python {version[0]}.{version[1]}; 3.11 or later is needed)")
        else:
            return InstalledTorch(python, torch, torchvision, folder)
    raise TorchBuildError(
        f"{FLAG}: no torch found; looked at {', '.join(seen) or 'nothing'}. Run nox from the environment that has "
        f"torch, name its interpreter ({USE_INSTALLED}=/path/to/python), or leave {FLAG} away to have torch installed."
    )


def interpreters(wanted_python: str, environ: Mapping[str, str]) -> list[str]:
    """Where to look for torch: the one named, else nox' own, the active environments', those on the path."""
    if wanted_python:
        return [wanted_python]
    roots = [environ[name] for name in ("VIRTUAL_ENV", "CONDA_PREFIX") if environ.get(name)]
    active = [str(p) for root in roots for p in (Path(root, "bin", "python"), Path(root, "python.exe")) if p.exists()]
    return [sys.executable, *active, *(p for p in map(shutil.which, ("python3", "python")) if p)]


def name_of(requirement: str) -> str:
    """Normalised distribution name of a requirement, as in PEP 503."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\s\[<>=!~;@]", requirement.strip(), maxsplit=1)[0]).lower()


def pins(project: Mapping[str, Any]) -> list[str]:
    """Every exact version that pyproject.toml states: dependencies, extras, constraints."""
    extras = project["project"]["optional-dependencies"].values()
    direct = [*project["project"]["dependencies"], *(r for extra in extras for r in extra)]
    return [*direct, *project["tool"]["harness"]["constraints"]]


def torch_pin(project: Mapping[str, Any]) -> str:
    """The version of torch that pyproject.toml states."""
    return next(p.partition("==")[2] for p in pins(project) if name_of(p) == "torch")


def on_installed(
    project: Mapping[str, Any], extras: Sequence[str], there: InstalledTorch
) -> tuple[list[str], list[str]]:
    """What to install beside a torch that is there, and under which constraints.

    Args:
        project: pyproject.toml.
        extras: Extras to install.
        there: The machine's torch.

    Returns:
        Requirements without torch and torchvision where those are there, and constraints that hold
        both at exactly their versions.

    Raises:
        TorchBuildError: torchvision is not there, and the pinned one is for another torch.
    """
    held = {"torch": there.torch, "torchvision": there.torchvision}
    if there.torchvision is None:
        if there.torch.partition("+")[0] != torch_pin(project):
            raise TorchBuildError(
                f"{FLAG}: {there.python} has torch {there.torch} but no torchvision, and the pinned torchvision is for "
                f"torch {torch_pin(project)}: install the torchvision that belongs to your torch."
            )
        del held["torchvision"]
    chosen = [r for extra in extras for r in project["project"]["optional-dependencies"][extra]]
    requirements = [r for r in [*project["project"]["dependencies"], *chosen] if name_of(r) not in held]
    constraints = [c for c in pins(project) if name_of(c) not in held]
    return requirements, [*constraints, *(f"{name}=={version}" for name, version in held.items())]
