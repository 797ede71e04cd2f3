"""AMD GPUs: the energy accumulator, through amdsmi.

Period: not documented; 10 ms is taken as the longest (inference: the driver's metrics table is
renewed about every millisecond; not looked up). A window of 10 s holds 1,000 of them.

Boundary: device. One GPU with its memory; on cards with two dies the socket, see below.

Counts steps of about 15.3 microjoules (`counter_resolution`), 64 bits; in amdsmi before 6.2.1 the
same count was called `power` (https://github.com/ml-energy/zeus/pull/132). Not on virtual machine
guests (https://rocm.docs.amd.com/projects/amdsmi/en/latest/doxygen/docBin/html/group__tagPowerQuery.html).

Known faults, each of which the trace's rules turn into not measured:

- The count stood still within a process (https://github.com/ROCm/amdsmi/issues/22, ROCm 6.0;
  https://github.com/AMDResearch/hpcfund/issues/21).
- It was wrong by a factor on MI100 (https://github.com/ROCm/amdsmi/issues/38, open when read). Nothing
  inside one trace shows that: held here against the socket power that amdsmi reports, and refused
  where they differ by more than a factor of 3.
- It went back, readings of several cards mixed up between threads
  (https://github.com/ROCm/amdsmi/issues/115, said to be mended after ROCm 7).
- On cards with two dies (MI250) one die's counter holds both and the other's none (zeus 0.16.0,
  zeus/device/gpu/amd.py, `_init_gpus`). The one without is refused by the same comparison.
- The package `amdsmi` in the index is bindings without the library. Without libamd_smi.so it prints two
  lines and raises KeyError (amdsmi 7.0.2, amdsmi_wrapper.py): take the one that came with ROCm.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import time
from collections.abc import Callable
from typing import Any

from harness.cost.energy import NotMeasured
from harness.cost.meter import Meter, MeterError, Zone

PERIOD_S = 0.01
"""See above."""

MOST_W = 3000.0
"""No board draws more."""

CHECK_S = 1.0
"""How long counter and reported power are compared."""

CHECK_FACTOR = 3.0
"""How far they may be apart: power is one moment's, at rest."""


VISIBLE = ("HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES")
"""Variables that change what torch calls GPU 0."""


def open_meter(
    index: int = 0,
    load: Callable[[], Any] | None = None,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.perf_counter,
) -> Meter | NotMeasured:
    """The counter of one GPU, after its joules of a second were held against its power.

    Args:
        index: Index among the GPUs that amdsmi lists.
        load: Gives the module amdsmi.
        sleep: Rests for so many seconds.
        clock: Seconds.
    """
    try:
        smi = (load or _import)()
    except (ImportError, OSError, KeyError, AttributeError) as err:
        return NotMeasured(
            f"amd: amdsmi does not load ({type(err).__name__}: {err}); install the one that came with ROCm"
        )
    try:
        smi.amdsmi_init()
        handles = smi.amdsmi_get_processor_handles()
        if index >= len(handles):
            return NotMeasured(f"amd: GPU {index} is not there; amdsmi lists {len(handles)}")
        hidden = [v for v in VISIBLE if os.environ.get(v)]
        if len(handles) > 1 and hidden:
            return NotMeasured(
                f"amd: {' and '.join(hidden)} is set: torch counts other GPUs than amdsmi's {len(handles)}; unset it "
                "and name the device by its index"
            )
        handle = handles[index]
        name = str(smi.amdsmi_get_gpu_asic_info(handle).get("market_name", "AMD GPU"))
        before, start = _joules(smi, handle), clock()
        power_w = _power_w(smi, handle)
        sleep(CHECK_S)
        counted_w = (_joules(smi, handle) - before) / (clock() - start)
    except (smi.AmdSmiException, MeterError) as err:
        return NotMeasured(f"amd: GPU {index}: {err}")
    if power_w is None or power_w <= 0:
        return NotMeasured(f"amd: GPU {index}: reports no power to hold its counter against (second die of a card?)")
    if not power_w / CHECK_FACTOR <= counted_w <= power_w * CHECK_FACTOR:
        return NotMeasured(
            f"amd: GPU {index}: its counter says {counted_w:.3g} W and its power reading {power_w:.3g} W; one is wrong "
            "(amdsmi issues 22 and 38)"
        )

    def read() -> tuple[float, ...]:
        try:
            return (_joules(smi, handle),)
        except smi.AmdSmiException as err:
            raise MeterError(f"amd: GPU {index}: {err}") from err

    return Meter(
        name="amd",
        boundary="device",
        covers=f"{name}, package and memory; without host, fans and power supply",
        basis="not documented",
        period_s=PERIOD_S,
        zones=(Zone(f"GPU {index}", MOST_W),),
        read=read,
        conditions=lambda: _conditions(smi, handle),
        notes=(f"at rest the counter gave {counted_w:.3g} W, the power reading {power_w:.3g} W",),
    )


def _import() -> Any:
    with contextlib.redirect_stdout(io.StringIO()):  # it prints where its library is missing
        return importlib.import_module("amdsmi")


def _joules(smi: Any, handle: Any) -> float:
    found = smi.amdsmi_get_energy_count(handle)
    count = found.get("energy_accumulator", found.get("power"))
    resolution = found.get("counter_resolution")
    if count is None or not resolution:
        raise MeterError(f"energy count without a count or its resolution: {sorted(found)}")
    return float(count) * float(resolution) / 1e6


def _power_w(smi: Any, handle: Any) -> float | None:
    """Socket power now; None where amdsmi gives no number."""
    found = smi.amdsmi_get_power_info(handle)
    for key in ("current_socket_power", "average_socket_power", "socket_power"):
        value = found.get(key)
        if isinstance(value, (int, float)) and value > 0:
            return float(value)
    return None


def _conditions(smi: Any, handle: Any) -> dict[str, str]:
    hot, now = smi.AmdSmiTemperatureType, smi.AmdSmiTemperatureMetric
    asked: dict[str, Callable[[], str]] = {
        "GPU clock": lambda: f"{smi.amdsmi_get_clock_info(handle, smi.AmdSmiClkType.GFX)['clk']} MHz",
        "GPU memory clock": lambda: f"{smi.amdsmi_get_clock_info(handle, smi.AmdSmiClkType.MEM)['clk']} MHz",
        "GPU temperature": lambda: f"{smi.amdsmi_get_temp_metric(handle, hot.HOTSPOT, now.CURRENT)} C",
        "AMD driver": lambda: str(smi.amdsmi_get_gpu_driver_info(handle)["driver_version"]),
    }
    out = {}
    for what, ask in asked.items():
        try:
            out[what] = ask()
        except (smi.AmdSmiException, KeyError) as err:
            out[what] = f"not readable: {err}"
    return out
