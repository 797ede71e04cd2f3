"""NVIDIA GPUs: NVML's total-energy counter, through nvidia-ml-py.

Period: about 100 ms (ML.ENERGY, "Thermally Stable Profiling for Accurate GPU Energy Measurement",
https://ml.energy/blog/energy/measurement/thermally-stable-profiling-for-accurate-gpu-energy-measurement);
20-100 ms by PETSc (https://petsc.org/main/manualpages/Log/PetscLogGpuEnergyMeter). 100 ms is taken.

Boundary: device. One board with its memory; the host, its fans and the power supply are outside. On
a card shared by several processes, all of them.

Counts millijoules since the driver was loaded, 64 bits: it does not wrap in any run, and a counter
that goes back was reset (https://nvidia.github.io/cuda-python/pr-preview/pr-2903/cuda-bindings/latest/module/generated/cuda.bindings.nvml.device_get_total_energy_consumption.html).

Known faults:

- Not there before Volta, nor on many virtual GPUs: NVMLError_NotSupported
  (https://github.com/mlco2/codecarbon/issues/1316). Then not measured; power times time is no counter.
- On A100 and H100 the power that nvidia-smi shows was sampled for 25 % of the time only (Yang, Adamek
  and Armour, "Part-time Power Measurements", https://arxiv.org/html/2312.02741v2; SC24). Whether the
  energy counter integrates the same samples is not documented. Long windows of one steady load are
  the paper's own remedy; a load that beats with the sampling can still mislead.
- A partition of a card (MIG) has no counter of its own; the board's counts its neighbours, too.
  Opened here, the meter says so. (Not looked up; the refusal costs nothing if wrong.)
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from harness.cost.energy import NotMeasured
from harness.cost.meter import Meter, MeterError, Zone

PERIOD_S = 0.1
"""Longest update interval that is reported, see above."""

MOST_W = 3000.0
"""No board draws more; where the enforced limit can be read, twice that limit stands here."""


def open_meter(
    index: int = 0, load: Callable[[], Any] = lambda: importlib.import_module("pynvml")
) -> Meter | NotMeasured:
    """The counter of one GPU.

    Args:
        index: Index as torch counts visible devices.
        load: Gives the module pynvml.
    """
    try:
        nvml = load()
    except ImportError:
        return NotMeasured("nvidia: nvidia-ml-py is not installed; pip install 'eo-adapter-harness[cost]'")
    try:
        nvml.nvmlInit()
        handle = (
            nvml.nvmlDeviceGetHandleByUUID(_uuid(index)) if _uuid(index) else nvml.nvmlDeviceGetHandleByIndex(index)
        )
        nvml.nvmlDeviceGetTotalEnergyConsumption(handle)
        name = _text(nvml.nvmlDeviceGetName(handle))
    except nvml.NVMLError as err:
        return NotMeasured(f"nvidia: GPU {index}: {err}; the counter needs an NVIDIA driver and Volta or newer")
    try:
        partitioned = bool(nvml.nvmlDeviceGetMigMode(handle)[0])
    except nvml.NVMLError:
        partitioned = False  # cards without the feature answer Not Supported
    if partitioned:
        return NotMeasured(f"nvidia: GPU {index} is partitioned (MIG); its counter holds every partition's joules")
    try:
        most_w = 2 * nvml.nvmlDeviceGetEnforcedPowerLimit(handle) / 1000
    except nvml.NVMLError:
        most_w = MOST_W

    def read() -> tuple[float, ...]:
        try:
            return (nvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000,)
        except nvml.NVMLError as err:
            raise MeterError(f"nvidia: GPU {index}: {err}") from err

    return Meter(
        name="nvidia",
        boundary="device",
        covers=f"{name}, board and memory; without host, fans and power supply",
        basis="not documented",
        period_s=PERIOD_S,
        zones=(Zone(f"GPU {index}", most_w),),
        read=read,
        conditions=lambda: _conditions(nvml, handle),
    )


def _uuid(index: int) -> str | None:
    """UUID of torch's device, since NVML counts all boards and torch the visible ones; None where torch cannot say."""
    import sys

    torch: Any = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return None
    found = getattr(torch.cuda.get_device_properties(index), "uuid", None)
    return f"GPU-{found}" if found else None


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _conditions(nvml: Any, handle: Any) -> dict[str, str]:
    """Clocks, limits and temperature; what cannot be read says so."""
    asked: dict[str, Callable[[], str]] = {
        "GPU SM clock": lambda: f"{nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM)} MHz",
        "GPU memory clock": lambda: f"{nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM)} MHz",
        "GPU power limit": lambda: f"{nvml.nvmlDeviceGetEnforcedPowerLimit(handle) / 1000:.0f} W",
        "GPU temperature": lambda: f"{nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)} C",
        "GPU performance state": lambda: f"P{nvml.nvmlDeviceGetPerformanceState(handle)}",
        "GPU clocks held back by": lambda: f"{nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle):#x}",
        "NVIDIA driver": lambda: _text(nvml.nvmlSystemGetDriverVersion()),
    }
    out = {}
    for what, ask in asked.items():
        try:
            out[what] = ask()
        except nvml.NVMLError as err:
            out[what] = f"not readable: {err}"
    return out
