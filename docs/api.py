"""Builds site/: the pages of every public module of harness, from its docstrings. `nox -s docs` calls it.

pdoc imports what it documents. Modules that run models or read rasters import torch, rasterio and
others that a page of text has no use for, so that here each of those is a name that stands for
itself: it can be inherited from, called, indexed and used as a decorator, and does nothing. Run
this in a process of its own.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.abc
import importlib.machinery
import re
import sys
import tomllib
import types
import warnings
from collections.abc import MutableSequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
"""The checkout."""

EXTRAS = ("cost", "cost-mac", "live", "models", "twin")
"""Extras whose packages are stood in for, installed or not, so that every machine writes the same pages."""

IMPORTED_AS = {"nvidia-ml-py": "pynvml"}
"""Packages whose module is named otherwise."""

FURTHER = ("amdsmi", "lightning", "matplotlib", "sklearn", "timm")
"""Modules that those packages bring along, one that comes with a driver, and one that runs a program to find fonts."""

OPERATORS = {f"__{name}__" for name in ("add", "radd", "sub", "mul", "rmul", "truediv", "matmul")}
"""What harness/models/devices/mps.py asks of a tensor's class."""


class Name(type):
    """What a stood-in module gives for any name: a class that can be inherited from, and whose attributes are more."""

    def __getattr__(cls, name: str) -> Any:
        return _named(f"{cls.__module__}.{cls.__name__}", name)

    def __getitem__(cls, item: object) -> Any:
        return cls

    def __call__(cls, *args: Any, **kwargs: object) -> Any:
        """As a decorator: leave what it decorates."""
        return args[0] if len(args) == 1 and callable(args[0]) else cls


def _named(module: str, name: str) -> Any:
    if name.startswith("__") and name not in OPERATORS:
        raise AttributeError(name)
    return Name(name, (), {"__module__": module})


class StandIn(types.ModuleType):
    """A module in which every name is there."""

    __path__: MutableSequence[str] = []  # noqa: RUF012 (as types.ModuleType has it)

    def __getattr__(self, name: str) -> Any:
        return _named(self.__name__, name)


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds a stand-in for each module of `names`, and for whatever lies below it."""

    def __init__(self, names: set[str]) -> None:
        self.names = names

    def find_spec(self, fullname: str, path: object, target: object = None) -> importlib.machinery.ModuleSpec | None:
        """A spec for a module that is stood in for; None for every other."""
        if fullname.partition(".")[0] not in self.names:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        """An empty stand-in."""
        return StandIn(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        """Nothing to run."""


def stood_in(project: dict[str, Any]) -> set[str]:
    """Top-level modules of the packages of `EXTRAS`, as pyproject.toml lists them."""
    extras = project["project"]["optional-dependencies"]
    packages = [re.split(r"[=;\[ ]", pin)[0] for extra in EXTRAS for pin in extras[extra]]
    return {IMPORTED_AS.get(name, name.replace("-", "_")) for name in packages} | {*FURTHER}


def modules() -> list[str]:
    """Every public module of harness, parents first."""
    parts = [path.relative_to(ROOT).with_suffix("").parts for path in (ROOT / "harness").rglob("*.py")]
    return sorted(".".join(each).removesuffix(".__init__") for each in parts if not each[-1].startswith("__main"))


def build(out: Path) -> int:
    """Write the pages; gives how many modules they hold.

    Raises:
        UserWarning: A module cannot be imported, or an annotation does not resolve.
    """
    import pdoc  # type: ignore[import-not-found,unused-ignore]
    from pdoc import render

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    sys.meta_path.insert(0, Finder(stood_in(project)))
    sys.path.insert(0, str(ROOT))
    warnings.simplefilter("error", UserWarning)
    # A package without __all__ brings its modules along, one with __all__ does not: all are named.
    warnings.filterwarnings("ignore", "The module specification .* has already been added", UserWarning)
    # Fields that a dataclass inherits from another module: pdoc looks their types up in the heir's module.
    warnings.filterwarnings("ignore", r"Error parsing type annotation .*\.__init__\. Import of", UserWarning)
    render.configure(docformat="google", footer_text=f"harness {project['project']['version']}", show_source=False)
    harness = importlib.import_module("harness")
    for name in harness.__all__:
        setattr(harness, name, getattr(harness, name))  # pdoc sees no name that comes only when it is asked for
    names = modules()
    pdoc.pdoc(*names, output_directory=out)
    return len(names)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "site")
    folder: Path = parser.parse_args().out
    print(f"{build(folder)} modules, pdoc {version('pdoc')}: open {folder / 'index.html'}")
