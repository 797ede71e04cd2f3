"""Each meter on a library or a folder that was made up: what it sums, and what it says where it cannot be read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.cost.energy import NotMeasured
from harness.cost.meter import Meter, MeterError
from harness.cost.meters import METERS, amd, apple, meter_for, nvidia, open_meter, rapl
from harness.errors import RegistryError


def opened(found: Meter | NotMeasured) -> Meter:
    assert isinstance(found, Meter), found
    return found


def why(found: Meter | NotMeasured) -> str:
    assert isinstance(found, NotMeasured)
    return found.reason


def zone(folder: Path, path: str, name: str, energy_uj: str, range_uj: str = "262143328850") -> Path:
    at = folder / path
    at.mkdir(parents=True)
    (at / "name").write_text(name + "\n")
    (at / "energy_uj").write_text(energy_uj + "\n")
    (at / "max_energy_range_uj").write_text(range_uj + "\n")
    return at


def test_rapl_sums_all_packages_and_their_memory_and_nothing_twice(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", "100000000")
    zone(tmp_path, "intel-rapl:0:0", "core", "70000000")
    memory = zone(tmp_path, "intel-rapl:0:1", "dram", "20000000", "65712999613")
    zone(tmp_path, "intel-rapl:1", "package-1", "300000000")
    zone(tmp_path, "intel-rapl:2", "psys", "900000000")
    zone(tmp_path, "intel-rapl-mmio:0", "package-0", "100000000")
    meter = opened(rapl.open_meter(folder=tmp_path))
    assert [z.name for z in meter.zones] == [
        "package-0 (intel-rapl:0)",
        "dram (intel-rapl:0:1)",
        "package-1 (intel-rapl:1)",
    ]
    assert meter.read() == (100.0, 20.0, 300.0)
    assert [z.range_j for z in meter.zones] == pytest.approx([262143.32885, 65712.999613, 262143.32885])
    assert any("psys" in note for note in meter.notes)
    assert meter.boundary == "package"
    (memory / "energy_uj").write_text("not a number")
    with pytest.raises(MeterError, match="is no count"):
        meter.read()


def test_rapl_leaves_out_a_zone_that_mirrors_another(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0-die-0", "500000000")
    zone(tmp_path, "intel-rapl:1", "package-0-die-1", "500400000")
    meter = opened(rapl.open_meter(folder=tmp_path))
    assert meter.read() == (500.0,)
    assert any("mirrors" in note for note in meter.notes)
    assert "no DRAM zone: memory is outside" in meter.notes


def test_rapl_without_permission_says_what_to_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at = zone(tmp_path, "intel-rapl:0", "package-0", "1")
    read = Path.read_text

    def denied(self: Path, *args: Any, **options: Any) -> str:
        if self == at / "energy_uj":
            raise PermissionError(13, "Permission denied", str(self))
        return read(self, *args, **options)

    monkeypatch.setattr(Path, "read_text", denied)
    reason = why(rapl.open_meter(folder=tmp_path))
    assert "permission denied" in reason
    assert "sudo chmod -R a+r" in reason


def test_rapl_where_there_is_none(tmp_path: Path) -> None:
    assert "is not there" in why(rapl.open_meter(folder=tmp_path / "none"))
    assert "no package zone" in why(rapl.open_meter(folder=tmp_path))


class NvmlError(Exception):
    """As pynvml's."""


def nvml(**changed: Any) -> Any:
    """A library that knows one board."""
    counter = iter(range(5_000_000, 10_000_000, 1500))
    functions: dict[str, Any] = {
        "NVMLError": NvmlError,
        "NVML_CLOCK_SM": 1,
        "NVML_CLOCK_MEM": 2,
        "NVML_TEMPERATURE_GPU": 0,
        "nvmlInit": lambda: None,
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetTotalEnergyConsumption": lambda _handle: next(counter),
        "nvmlDeviceGetName": lambda _handle: b"Board 1",
        "nvmlDeviceGetMigMode": lambda _handle: [0, 0],
        "nvmlDeviceGetEnforcedPowerLimit": lambda _handle: 700_000,
        "nvmlDeviceGetClockInfo": lambda _handle, which: 1980 if which == 1 else 2619,
        "nvmlDeviceGetTemperature": lambda _handle, _which: 41,
        "nvmlDeviceGetPerformanceState": lambda _handle: 0,
        "nvmlDeviceGetCurrentClocksThrottleReasons": lambda _handle: 0,
        "nvmlSystemGetDriverVersion": lambda: "580.1",
    }
    return SimpleNamespace(**{**functions, **changed})


def refused(*_args: Any) -> Any:
    raise NvmlError("Not Supported")


def test_nvidia_counts_millijoules_as_joules_and_reads_clocks() -> None:
    meter = opened(nvidia.open_meter(0, nvml))
    assert meter.read() == (5001.5,)
    assert meter.zones[0].most_w == 1400.0
    assert meter.zones[0].range_j is None
    assert meter.period_s == 0.1
    assert meter.conditions()["GPU SM clock"] == "1980 MHz"
    assert "Board 1" in meter.covers


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"nvmlInit": refused}, "Not Supported"),
        ({"nvmlDeviceGetTotalEnergyConsumption": refused}, "Volta or newer"),
        ({"nvmlDeviceGetMigMode": lambda _handle: [1, 1]}, "partitioned"),
    ],
)
def test_nvidia_says_why_not(changed: dict[str, Any], said: str) -> None:
    assert said in why(nvidia.open_meter(0, lambda: nvml(**changed)))


def test_nvidia_without_limit_or_clock_still_counts() -> None:
    changed = {
        "nvmlDeviceGetEnforcedPowerLimit": refused,
        "nvmlDeviceGetClockInfo": refused,
        "nvmlDeviceGetMigMode": refused,
    }
    meter = opened(nvidia.open_meter(0, lambda: nvml(**changed)))
    assert meter.zones[0].most_w == nvidia.MOST_W
    assert meter.conditions()["GPU SM clock"] == "not readable: Not Supported"


def test_nvidia_reading_that_fails_later_is_a_meter_error() -> None:
    library = nvml()
    meter = opened(nvidia.open_meter(0, lambda: library))
    library.nvmlDeviceGetTotalEnergyConsumption = refused
    with pytest.raises(MeterError, match="Not Supported"):
        meter.read()


def missing() -> Any:
    raise ImportError("no such module")


@pytest.mark.parametrize(
    ("open_it", "said"),
    [
        (lambda: nvidia.open_meter(0, missing), "nvidia-ml-py is not installed"),
        (lambda: amd.open_meter(0, missing), "install the one that came with ROCm"),
        (lambda: apple.open_meter(0, missing, "darwin"), "zeus-apple-silicon does not load"),
        (lambda: apple.open_meter(0, missing, "linux"), "not macOS"),
    ],
)
def test_a_library_that_is_not_there_is_not_measured(open_it: Callable[[], Meter | NotMeasured], said: str) -> None:
    assert said in why(open_it())


class SmiError(Exception):
    """As amdsmi's."""


class Clock:
    """Time that passes while somebody sleeps."""

    now_s = 0.0

    def __call__(self) -> float:
        """Now."""
        return self.now_s

    def sleep(self, seconds: float) -> None:
        """Rest."""
        self.now_s += seconds


def smi(clock: Clock, counted_w: float, reported_w: int | str, key: str = "energy_accumulator") -> Any:
    resolution = 15.300000190734863
    return SimpleNamespace(
        AmdSmiException=SmiError,
        amdsmi_init=lambda: None,
        amdsmi_get_processor_handles=lambda: ["one"],
        amdsmi_get_gpu_asic_info=lambda _handle: {"market_name": "Instinct"},
        amdsmi_get_energy_count=lambda _handle: {
            key: int((1e6 + counted_w * clock.now_s) / resolution * 1e6),
            "counter_resolution": resolution,
        },
        amdsmi_get_power_info=lambda _handle: {"current_socket_power": "N/A", "average_socket_power": reported_w},
    )


@pytest.mark.parametrize("key", ["energy_accumulator", "power"])
def test_amd_multiplies_by_the_resolution_under_either_name(key: str) -> None:
    clock = Clock()
    meter = opened(amd.open_meter(0, lambda: smi(clock, 90.0, 88, key), clock.sleep, clock))
    before = meter.read()[0]
    clock.sleep(10)
    assert meter.read()[0] - before == pytest.approx(900, rel=1e-4)
    assert before == pytest.approx(1e6, rel=1e-3)


@pytest.mark.parametrize(
    ("counted_w", "reported_w", "said"),
    [
        (0.0, 90, "one is wrong"),
        (900.0, 90, "one is wrong"),
        (90.0, 0, "reports no power"),
        (90.0, "N/A", "reports no power"),
    ],
)
def test_amd_counter_that_disagrees_with_the_power_is_refused(
    counted_w: float, reported_w: int | str, said: str
) -> None:
    clock = Clock()
    assert said in why(amd.open_meter(0, lambda: smi(clock, counted_w, reported_w), clock.sleep, clock))


def test_amd_with_hidden_devices_among_several_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    library = smi(clock, 90.0, 90)
    library.amdsmi_get_processor_handles = lambda: ["one", "two"]
    monkeypatch.setenv("HIP_VISIBLE_DEVICES", "1")
    assert "HIP_VISIBLE_DEVICES is set" in why(amd.open_meter(0, lambda: library, clock.sleep, clock))


def test_apple_sums_channels_that_are_there_and_names_those_that_are_not() -> None:
    shown = SimpleNamespace(
        cpu_total_mj=5000,
        efficiency_cores_mj=[1, 2],
        performance_cluster_mj=[4000],
        gpu_mj=2000,
        ane_mj=0,
        dram_mj=1000,
    )
    library = SimpleNamespace(AppleEnergyMonitor=lambda: SimpleNamespace(get_cumulative_energy=lambda: shown))
    meter = opened(apple.open_meter(0, lambda: library, "darwin"))
    assert meter.read() == (8.0,)
    assert meter.covers == "cpu, gpu, ane, dram of the chip, all processes; no channel for gpu_sram"
    assert meter.basis == "on-chip model"
    shown.dram_mj = None
    with pytest.raises(MeterError, match="is gone"):
        meter.read()


def test_apple_without_channels() -> None:
    def none() -> Any:
        raise RuntimeError("IOReport refused")

    assert "IOReport refused" in why(apple.open_meter(0, lambda: SimpleNamespace(AppleEnergyMonitor=none), "darwin"))


def test_the_table_names_what_it_tried() -> None:
    assert set(METERS) == {"nvidia", "amd", "rapl", "apple"}
    with pytest.raises(RegistryError, match="no meter 'watts'"):
        open_meter("watts")
    found = meter_for("cpu")
    if isinstance(found, NotMeasured):
        assert "rapl: " in found.reason
        assert "apple: " in found.reason
    assert meter_for("tpu") == NotMeasured("no meter covers tpu")
