"""Backbones: those of other distributions, plugged in by entry point, and which ones build here.

A distribution offers a backbone by an entry point in the group `harness.backbones`: its name is the
backbone's, its object a factory that takes keyword arguments and gives a torch module with a list
`out_channels`, whose forward gives a list of feature maps, one for each of those channels.

Nothing here loads torch while it is imported.
"""

from __future__ import annotations

import difflib
import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any, TextIO

from harness.errors import StackError, TopologyError
from harness.models import stack

GROUP = "harness.backbones"
"""Entry point group of backbones from outside."""

BUILDS = "harness.models.backbone_builds"
"""The module whose process builds."""

OWN = {"harness_nano_terramind": "harness.models.nano:harness_nano_terramind"}
"""Backbones of this project, by name: module and object of the factory."""

START_S = 300.0
"""Seconds that the building process has to import the stack; 8-15 s on two cores."""


@dataclass(frozen=True, slots=True)
class Plugin:
    """One entry point of the group."""

    name: str
    """The backbone's name, as a recipe or a family would write it."""
    target: str
    """module:object of its factory."""
    distribution: str
    """Name and version of the distribution that offers it."""
    reason: str | None
    """Why it was refused, None where it is registered."""


@dataclass(frozen=True, slots=True)
class BackboneStatus:
    """Whether one backbone builds here, without weights and without network."""

    name: str
    """Its name in TerraTorch's registry."""
    builds: bool
    """Whether a module came out."""
    duration_s: float
    """Seconds until it was built or given up."""
    parameters: int | None
    """Number of its parameters, None where it does not build."""
    reason: str | None
    """Why it does not build, on one line; None where it does."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What builds here."""

    statuses: tuple[BackboneStatus, ...]
    """One for each backbone asked for, in order."""
    plugins: tuple[Plugin, ...]
    """What other distributions offer, refused ones included."""
    left_out: dict[str, int]
    """Backbones that were not built, by the library that they come from."""


_registered: dict[str, str] = {}  # name -> target, of what register_plugins put into the registry


def register_plugins() -> list[Plugin]:
    """Register every backbone that other distributions offer, and our own; a second call registers only new ones.

    Returns:
        Those of other distributions by name, a refused one with its reason: a name that is taken or reads as another
        library's prefix, or a factory that does not import. TerraTorch itself would overwrite.

    Raises:
        StackError: The torch stack is missing or cannot be imported.
    """
    stack.prepare()
    for name, target in OWN.items():
        _register(metadata.EntryPoint(name, target, GROUP))
    found = sorted(metadata.entry_points(group=GROUP), key=lambda e: (e.name, e.value))
    return [Plugin(e.name, e.value, _distribution(e), _register(e)) for e in found]


def require(name: str) -> None:
    """See that a backbone of this name can be built, plugins registered.

    Args:
        name: As in TerraTorch's registry, with or without a prefix.

    Raises:
        TopologyError: No such backbone, or the plugin that offers it was refused; with near names.
    """
    refused = {p.name: p for p in register_plugins() if p.reason is not None}
    from terratorch.registry import BACKBONE_REGISTRY, TERRATORCH_BACKBONE_REGISTRY

    if name in BACKBONE_REGISTRY:
        return
    if name in refused:
        plugin = refused[name]
        raise TopologyError(f"backbone {name} of {plugin.distribution} was refused: {plugin.reason}")
    near = difflib.get_close_matches(name, [*TERRATORCH_BACKBONE_REGISTRY], n=3)
    hint = f"; near names: {', '.join(near)}" if near else ""
    raise TopologyError(f"no backbone {name} in TerraTorch's registry or in the entry points of {GROUP}{hint}")


def _distribution(entry: metadata.EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist is not None else "an unnamed distribution"


def _register(entry: metadata.EntryPoint) -> str | None:
    """Register one factory; the reason where it is refused."""
    from terratorch.registry import BACKBONE_REGISTRY, TERRATORCH_BACKBONE_REGISTRY

    name = entry.name
    if _registered.get(name) == entry.value and name in TERRATORCH_BACKBONE_REGISTRY:
        return None
    sources = sorted({prefixed.partition("_")[0] for prefixed in BACKBONE_REGISTRY})
    if name.partition("_")[0] in sources and "_" in name:
        return f"its name begins with {name.partition('_')[0]}_, which TerraTorch reads as the library to look in"
    if name in BACKBONE_REGISTRY:
        return f"the name {name} is taken{f' by {_registered[name]}' if name in _registered else ''}; choose another"
    try:
        factory = entry.load()
    except Exception as err:  # other people's code: whatever it raises is the reason
        return f"{entry.value} does not import ({one_line(err)})"
    if not callable(factory):
        return f"{entry.value} is {type(factory).__name__} and cannot be called"
    TERRATORCH_BACKBONE_REGISTRY.register(_checked(name, factory))
    _registered[name] = entry.value
    return None


def _checked(name: str, factory: Callable[..., Any]) -> Callable[..., Any]:
    """The factory, refusing what the necks and decoders could not work with."""
    import torch

    def build(*args: Any, **kwargs: Any) -> Any:
        module = factory(*args, **kwargs)
        if not isinstance(module, torch.nn.Module):
            raise TopologyError(f"backbone {name}: its factory gives {type(module).__name__}, not a torch module")
        channels = getattr(module, "out_channels", None)
        if not isinstance(channels, (list, tuple)) or not channels or not all(type(c) is int for c in channels):
            raise TopologyError(
                f"backbone {name}: out_channels is {channels!r}; a list with the channels of each feature map is needed"
            )

        def check(_: Any, __: Any, output: Any) -> None:
            if not isinstance(output, (list, tuple)) or not all(isinstance(o, torch.Tensor) for o in output):
                raise TopologyError(f"backbone {name}: forward gives {type(output).__name__}, not a list of tensors")
            if len(output) != len(channels):
                raise TopologyError(
                    f"backbone {name}: forward gives {len(output)} feature maps, out_channels names {len(channels)}"
                )
            for i, (o, c) in enumerate(zip(output, channels, strict=True)):
                if o.ndim == 4 and o.shape[1] != c:
                    raise TopologyError(
                        f"backbone {name}: feature map {i} has shape {list(o.shape)}, out_channels says {c} channels"
                    )

        module.register_forward_hook(check)
        return module

    build.__name__ = name  # the registry's key
    return build


def one_line(err: BaseException) -> str:
    """Kind and first line of an error, at most 200 characters."""
    text = " ".join(str(err).split())
    return f"{type(err).__name__}: {text}"[:200] if text else type(err).__name__


def survey(
    names: Sequence[str] | None = None,
    timeout_s: float = 60.0,
    step: Callable[[str], None] = lambda text: None,
) -> Survey:
    """Build backbones one after the other in a process of its own, without weights and network.

    Large ones are built without memory for their parameters where their code allows it. A build
    that hangs or takes the process down is a finding; the next one starts in a new process.

    Args:
        names: What to build; TerraTorch's own backbones and all plugins where left out, and not
            the many that it passes on from timm.
        timeout_s: Seconds for each.
        step: Hears the name of the one being built.

    Raises:
        StackError: The torch stack is missing or cannot be imported.
    """
    left: list[str] | None = None if names is None else list(dict.fromkeys(names))
    done: list[BackboneStatus] = []
    while True:
        step("importing the torch stack")
        with _Builder(left) as builder:
            start = builder.read(START_S)
            if isinstance(start, str) or "error" in start:
                why = f"no backbone could be tried: {start}" if isinstance(start, str) else start["error"]
                raise StackError(why)
            left = list(start["names"])
            while left:
                name = left.pop(0)
                step(name)
                began = time.monotonic()
                answer = builder.read(timeout_s)
                if isinstance(answer, str):  # the process is gone or is given up
                    done.append(BackboneStatus(name, False, round(time.monotonic() - began, 2), None, answer))
                    break
                done.append(BackboneStatus(**answer))
            if not left:
                plugins = tuple(Plugin(**p) for p in start["plugins"])
                return Survey(tuple(done), plugins, start["left_out"])


class _Builder:
    """The process that builds; its lines are read with a time limit."""

    def __init__(self, names: Sequence[str] | None) -> None:
        asked = [] if names is None else ["--", *names]
        self.process = subprocess.Popen(  # noqa: S603 (our own interpreter and module)
            [sys.executable, "-m", BUILDS, *asked],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.lines: queue.Queue[str | None] = queue.Queue()
        self.reader = threading.Thread(target=self._fill, args=(self.process.stdout,), daemon=True)
        self.reader.start()

    def _fill(self, stream: TextIO) -> None:
        with stream:
            for line in stream:
                self.lines.put(line)
        self.lines.put(None)

    def read(self, timeout_s: float) -> dict[str, Any] | str:
        """The next answer, or why there is none."""
        try:
            line = self.lines.get(timeout=timeout_s)
        except queue.Empty:
            return f"no answer within {timeout_s:g} s"
        if line is None:
            return f"the building process ended with status {self.process.wait()}"
        return dict(json.loads(line))

    def __enter__(self) -> _Builder:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self.reader.join(5)  # longer only if the build left a process behind that holds the pipe


def to_dict(found: Survey) -> dict[str, Any]:
    """The survey as plain values for JSON, with a schema version."""
    return {"schema": 1, **asdict(found)}


def render(found: Survey) -> str:
    """The survey as lines of text: what builds, what does not and why, what other distributions offer."""
    return "\n".join(_lines(found))


def _lines(found: Survey) -> Iterator[str]:
    built = [s for s in found.statuses if s.builds]
    failed = [s for s in found.statuses if not s.builds]
    width = max((len(s.name) for s in found.statuses), default=0)
    yield f"Backbones that build here, without weights: {len(built)} of {len(found.statuses)}"
    for s in built:
        yield f"  {s.name:<{width}}  {(s.parameters or 0) / 1e6:9.1f} M parameters  {s.duration_s:5.1f} s"
    if failed:
        yield ""
        yield "Backbones that do not"
        yield from (f"  {s.name:<{width}}  {s.reason}" for s in failed)
    if found.plugins:
        yield ""
        yield f"From other distributions (entry points of {GROUP})"
        for p in found.plugins:
            yield f"  {p.name}  {p.distribution}, {p.target}: {p.reason or 'registered'}"
    for library, count in found.left_out.items():
        yield ""
        yield f"Not tried: {count} backbones that TerraTorch passes on from {library}; name one to try it."
