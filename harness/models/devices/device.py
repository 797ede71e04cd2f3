"""Devices by name: cpu, cuda, rocm, mps.

`auto` takes the first of ORDER that is there. docs/devices.md says what was run where.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from harness.errors import DeviceError, RegistryError

Kind = Literal["cpu", "cuda", "rocm", "mps"]

ORDER: tuple[Kind, ...] = ("cuda", "rocm", "mps", "cpu")
"""What `auto` tries, first that is there."""


@dataclass(frozen=True)
class Device:
    """One device."""

    kind: Kind
    """Which of the four; rocm is what torch calls cuda on a ROCm build (torch.version.hip)."""
    torch: torch.device
    """As torch addresses it."""
    name: str
    """As the maker names it."""

    def synchronise(self) -> None:
        """Wait until everything that was started has ended; before any clock is read."""
        if self.kind in ("cuda", "rocm"):
            torch.cuda.synchronize(self.torch)
        elif self.kind == "mps":
            torch.mps.synchronize()

    def release(self) -> None:
        """Give cached memory back to the device."""
        if self.kind in ("cuda", "rocm"):
            torch.cuda.empty_cache()
        elif self.kind == "mps":
            torch.mps.empty_cache()

    def build(self) -> str:
        """What results on it depend on besides hardware: torch, and the library that drives it."""
        parts = [f"torch {torch.__version__}"]
        if self.kind == "cpu":
            parts.append(f"{torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads")
        elif self.kind == "cuda":
            parts.append(f"CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}")
        elif self.kind == "rocm":
            parts.append(f"ROCm {torch.version.hip}, MIOpen {torch.backends.cudnn.version()}")
        else:
            parts.append(f"macOS {platform.mac_ver()[0]}")
        return ", ".join(parts)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Around every forward. On MPS: operators get contiguous tensors, and a missing one is a DeviceError."""
        if self.kind != "mps":
            yield
            return
        from harness.models.devices.mps import contiguous_operands

        try:
            with contiguous_operands():
                yield
        except NotImplementedError as err:
            raise DeviceError(
                f"{self.name}: {str(err).splitlines()[0]} Use --device cpu, or start again with "
                f"{FALLBACK}=1, which runs the operator on the CPU and is counted in every record"
            ) from err


FALLBACK = "PYTORCH_ENABLE_MPS_FALLBACK"
"""Environment variable that sends what MPS lacks to the CPU; read once, while torch is imported
(pytorch aten/src/ATen/mps/MPSFallback.mm)."""


def fallback_allowed() -> bool:
    """Whether PYTORCH_ENABLE_MPS_FALLBACK is set to something other than 0."""
    value = os.environ.get(FALLBACK, "0").strip()
    return value not in ("", "0")


def available() -> tuple[Kind, ...]:
    """Devices that are there, in `auto`'s order."""
    found: list[Kind] = ["cpu"]
    if torch.cuda.is_available():
        found.append("rocm" if torch.version.hip else "cuda")
    if torch.backends.mps.is_available():
        found.append("mps")
    return tuple(kind for kind in ORDER if kind in found)


def resolve(name: str = "auto", *, check: bool = True) -> Device:
    """The device of that name.

    Args:
        name: cpu, cuda, rocm, mps, or auto for the first of ORDER that is there.
        check: On MPS, run `harness.models.devices.operators.self_test` first; False where the caller does.

    Raises:
        RegistryError: It is not known.
        DeviceError: It is not there (names what is), or failed its self-test.
    """
    there = available()
    if name not in ("auto", *ORDER):
        raise RegistryError(f"device {name!r} is not known; there are auto, {', '.join(ORDER)}")
    kind = there[0] if name == "auto" else name
    if kind not in there:
        twin = {"cuda": "rocm", "rocm": "cuda"}.get(kind)
        hint = f"; this build of torch is for {twin}" if twin in there else ""
        raise DeviceError(
            f"device {name!r} is not there; torch {torch.__version__} finds {', '.join(there)}{hint}. "
            f"Name one of them, or auto"
        )
    if kind in ("cuda", "rocm"):
        return Device("rocm" if kind == "rocm" else "cuda", torch.device("cuda", 0), torch.cuda.get_device_name(0))
    if kind == "mps":
        device = Device("mps", torch.device("mps"), f"Apple GPU ({_cpu_name()})")
        if check:
            from harness.models.devices.operators import require

            require(device)
        return device
    return Device("cpu", torch.device("cpu"), _cpu_name())


def place(model: nn.Module, device: Device) -> nn.Module:
    """Move a model; on MPS every tensor is contiguous before it goes, and nothing is wider than float32.

    Parameters that several models share stay shared: each is replaced in place, once.

    Raises:
        DeviceError: A tensor is float64, which MPS does not have.
    """
    if device.kind == "mps":
        for name, t in [*model.named_parameters(), *model.named_buffers()]:
            if t.dtype == torch.float64:
                raise DeviceError(f"{name} is float64, which MPS does not have; convert it to float32 first")
            if not t.is_contiguous():
                t.data = t.data.contiguous()
    return model.to(device.torch)


def to_device(t: Tensor, device: Device) -> Tensor:
    """Move an input; on MPS it is contiguous float32 before it goes."""
    if device.kind == "mps":
        t = t.to(torch.float32).contiguous() if t.is_floating_point() else t.contiguous()
    return t.to(device.torch)


def _cpu_name() -> str:
    """The processor as its maker names it, as far as the system tells."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        text = info.read_text(encoding="utf-8", errors="replace")
        fields = dict(re.findall(r"^(model name|cpu family|model)[ \t]*:[ \t]*(.+?)[ \t]*$", text, re.MULTILINE))
        if "model name" in fields:
            which = f" (family {fields['cpu family']}, model {fields['model']})" if "cpu family" in fields else ""
            return f"{fields['model name']}{which}"
    return platform.processor() or platform.machine()


def threads() -> int:
    """Threads that torch uses on the CPU."""
    return int(torch.get_num_threads())
