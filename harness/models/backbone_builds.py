"""The process behind `backbones.survey`: builds one backbone after the other, a line of JSON for each.

Run as `python -m harness.models.backbone_builds [-- NAME ...]`. Sockets are closed to everything
that runs here, so that a backbone that would fetch weights says so at once.
"""

from __future__ import annotations

import gc
import inspect
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, NoReturn

from harness.errors import HarnessError
from harness.models import backbones, stack

BANDS = ["RED", "GREEN", "BLUE"]
"""Given to the backbones that ask which bands their input has; every sensor's names hold them."""

OFFLINE = "it asks for the network"
"""Reason of a backbone that would download something."""


def main(names: Sequence[str]) -> None:
    """Build `names`, or all of TerraTorch's own and all plugins where there are none."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no answer

    def answer(value: dict[str, Any]) -> None:
        answers.write(json.dumps(value) + "\n")
        answers.flush()

    os.environ["HF_HUB_OFFLINE"] = "1"
    _close_sockets()
    try:
        stack.prepare()
        plugins = backbones.register_plugins()
    except HarnessError as err:
        answer({"error": str(err)})
        return
    from terratorch.registry import BACKBONE_REGISTRY, TERRATORCH_BACKBONE_REGISTRY

    gc.freeze()  # the stack stays; collecting after each build need not look through it
    chosen = list(names) or sorted(TERRATORCH_BACKBONE_REGISTRY)
    others = [prefixed.partition("_")[0] for prefixed in BACKBONE_REGISTRY]
    left_out = {} if names else {o: others.count(o) for o in sorted({*others} - {"terratorch"})}
    answer({"names": chosen, "plugins": [asdict(p) for p in plugins], "left_out": left_out})
    for name in chosen:
        answer(asdict(build(name)))


def _close_sockets() -> None:
    def refuse(*args: object, **kwargs: object) -> NoReturn:
        raise OSError(OFFLINE)

    socket.socket.connect = refuse  # type: ignore[method-assign]
    socket.getaddrinfo = refuse


def build(name: str) -> backbones.BackboneStatus:
    """Build one backbone, count its parameters and let it go.

    First with parameters that take no memory (torch's meta device), then, where its code needs
    values, in memory.

    Args:
        name: As in TerraTorch's registry.
    """
    start = time.monotonic()
    parameters, reason = None, None
    try:
        factory, kwargs = _call(name)
        try:
            parameters = _count(factory, kwargs, meta=True)
        except (RuntimeError, NotImplementedError) as err:
            if "meta" not in str(err):
                raise
            parameters = _count(factory, kwargs, meta=False)
    except Exception as err:  # other people's code: whatever it raises is the reason
        reason = str(err) if isinstance(err, HarnessError) else backbones.one_line(err)
        if OFFLINE in str(err) or "offline" in str(err).lower():
            reason = f"{OFFLINE} ({reason})"
    took = round(time.monotonic() - start, 2)
    gc.collect()
    return backbones.BackboneStatus(name, reason is None, took, parameters, reason)


def _count(factory: Callable[..., Any], kwargs: dict[str, Any], *, meta: bool) -> int:
    import torch

    with torch.device("meta" if meta else "cpu"), _small_constants(meta):
        module = factory(**kwargs)
    return sum(p.numel() for p in module.parameters())


def _small_constants(meta: bool) -> Any:
    """On the meta device, let constants that constructors read back have values."""
    import contextlib

    import torch
    from torch.overrides import TorchFunctionMode

    if not meta:
        return contextlib.nullcontext()
    real = {torch.linspace, torch.tensor, torch.arange}

    class SmallConstants(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = dict(kwargs or {})
            if func in real and kwargs.get("device") is None:
                kwargs["device"] = "cpu"
            return func(*args, **kwargs)

    return SmallConstants()


def _call(name: str) -> tuple[Callable[..., Any], dict[str, Any]]:
    """The factory of a backbone and what it has to be given to build without weights.

    Raises:
        TopologyError: No such backbone, or it needs an argument that only its user knows.
    """
    from terratorch.registry import BACKBONE_REGISTRY, TERRATORCH_BACKBONE_REGISTRY

    from harness.errors import TopologyError

    if name not in TERRATORCH_BACKBONE_REGISTRY:
        backbones.require(name)
        return lambda **kwargs: BACKBONE_REGISTRY.build(name, **kwargs), {"pretrained": False}
    factory = TERRATORCH_BACKBONE_REGISTRY[name]
    asks = inspect.signature(factory).parameters
    kwargs: dict[str, Any] = {}
    if "pretrained" in asks and isinstance(asks["pretrained"].default, bool):
        kwargs["pretrained"] = False
    if "model_bands" in asks:
        kwargs["model_bands"] = BANDS
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    needed = [p.name for p in asks.values() if p.kind in kinds and p.default is p.empty and p.name not in kwargs]
    if needed:
        raise TopologyError(f"it needs {', '.join(needed)}, which only its user can give")
    return factory, kwargs


if __name__ == "__main__":
    main(sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else [])
