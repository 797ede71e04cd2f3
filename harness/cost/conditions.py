"""What a figure of time or energy depends on besides the code, read at the moment or said not to be.

Linux shows most of it under /sys and /proc, macOS through two of its own commands. Nothing is set.
"""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Callable
from pathlib import Path

SYS = Path("/sys")
"""Where Linux shows clocks, temperatures and supplies."""

SHARED = 0.5
"""Load average over cores before a run, from which a machine is not at rest."""


def machine() -> dict[str, str]:
    """What does not change during a run: system, cores."""
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cores": str(os.cpu_count() or "not readable"),
    }


def now(folder: Path = SYS, system: str = platform.system()) -> dict[str, str]:
    """Clock, power mode, supply, temperature and load at this moment.

    Returns:
        Each by name, or `not readable: why`.
    """
    asked: dict[str, Callable[[], str]] = {
        "load average": lambda: f"{os.getloadavg()[0]:.2f} over 1 min",
        "CPU clock": lambda: _clock(folder) if system == "Linux" else _none("only Linux shows it"),
        "power mode": lambda: _governor(folder) if system == "Linux" else _pm(system, "-g"),
        "supply": lambda: _supply(folder) if system == "Linux" else _pm(system, "-g", "batt"),
        "CPU temperature": lambda: _temperature(folder) if system == "Linux" else _none("only Linux shows it"),
    }
    out = {}
    for what, ask in asked.items():
        try:
            out[what] = ask()
        except (OSError, ValueError) as err:
            out[what] = f"not readable: {err}"
    return out


def shared(load_average: float, cores: int) -> str | None:
    """Why the machine was not at rest; None where it was."""
    if load_average > SHARED * cores:
        return f"load average {load_average:.2f} on {cores} cores before the run: something else was running"
    return None


def _none(why: str) -> str:
    raise ValueError(why)


def _clock(folder: Path) -> str:
    found = [int(p.read_text()) for p in folder.glob("devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq")]
    if not found:
        raise ValueError("no cpufreq: a virtual machine, or no driver")
    return f"{min(found) / 1000:.0f}-{max(found) / 1000:.0f} MHz over {len(found)} cores"


def _governor(folder: Path) -> str:
    profile = folder / "firmware" / "acpi" / "platform_profile"
    found = {p.read_text().strip() for p in folder.glob("devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor")}
    words = [f"governor {', '.join(sorted(found))}"] if found else []
    if profile.is_file():
        words.append(f"profile {profile.read_text().strip()}")
    turbo = folder / "devices" / "system" / "cpu" / "intel_pstate" / "no_turbo"
    if turbo.is_file():
        words.append("turbo off" if turbo.read_text().strip() == "1" else "turbo on")
    return "; ".join(words) or _none("no cpufreq: a virtual machine, or no driver")


def _supply(folder: Path) -> str:
    found = {p.parent.name: p.read_text().strip() for p in folder.glob("class/power_supply/*/online")}
    if not found:
        raise ValueError("no supply is shown: mains, or a virtual machine")
    return "mains" if "1" in found.values() else "battery"


def _temperature(folder: Path) -> str:
    words = []
    for zone in sorted(folder.glob("class/thermal/thermal_zone*")):
        kind = (zone / "type").read_text().strip()
        if kind in ("x86_pkg_temp", "cpu-thermal", "acpitz", "soc_thermal"):
            words.append(f"{kind} {int((zone / 'temp').read_text()) / 1000:.0f} C")
    return ", ".join(words) or _none("no thermal zone of the processor")


def _pm(system: str, *options: str) -> str:
    """What pmset of macOS says of low-power mode or supply."""
    if system != "Darwin":
        raise ValueError(f"not known how on {system}")
    command = ["/usr/bin/pmset", *options]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)  # noqa: S603
    except subprocess.TimeoutExpired as err:
        raise ValueError("pmset did not answer in 5 s") from err
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    wanted = [line for line in lines if "lowpowermode" in line or "powermode" in line or "drawing from" in line]
    if done.returncode or not wanted:
        raise ValueError("pmset says nothing of it")
    return "; ".join(wanted)
