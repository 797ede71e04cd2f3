"""What can be read of a machine, and what is said of what cannot."""

from __future__ import annotations

from pathlib import Path

from harness.cost import conditions


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n", encoding="utf-8")


def test_linux_shows_clocks_governor_supply_and_temperature(tmp_path: Path) -> None:
    for core, khz in ((0, 3400000), (1, 800000)):
        put(tmp_path / f"devices/system/cpu/cpu{core}/cpufreq/scaling_cur_freq", str(khz))
        put(tmp_path / f"devices/system/cpu/cpu{core}/cpufreq/scaling_governor", "powersave")
    put(tmp_path / "devices/system/cpu/intel_pstate/no_turbo", "0")
    put(tmp_path / "class/power_supply/AC/online", "0")
    put(tmp_path / "class/thermal/thermal_zone0/type", "x86_pkg_temp")
    put(tmp_path / "class/thermal/thermal_zone0/temp", "61000")
    found = conditions.now(tmp_path, "Linux")
    assert found["CPU clock"] == "800-3400 MHz over 2 cores"
    assert found["power mode"] == "governor powersave; turbo on"
    assert found["supply"] == "battery"
    assert found["CPU temperature"] == "x86_pkg_temp 61 C"


def test_a_virtual_machine_shows_nothing_and_that_is_said(tmp_path: Path) -> None:
    found = conditions.now(tmp_path, "Linux")
    for what in ("CPU clock", "power mode", "supply", "CPU temperature"):
        assert found[what].startswith("not readable: ")
    assert conditions.now(tmp_path, "Plan 9")["power mode"] == "not readable: not known how on Plan 9"


def test_a_machine_with_other_work_is_marked() -> None:
    assert conditions.shared(0.9, 2) is None
    said = conditions.shared(1.1, 2)
    assert said is not None
    assert "load average 1.10 on 2 cores" in said
