"""Processors with RAPL on Linux: every package and its DRAM, from the kernel's powercap files.

Period: 1 ms (Intel: quoted from the manual in https://github.com/mlco2/codecarbon/issues/322; AMD:
https://kernel.org/doc/Documentation/hwmon/amd_energy.rst). Updates are not atomic over zones (Khan et
al. 2018, "RAPL in Action", https://dl.acm.org/doi/10.1145/3177754).

Boundary: package. All processor packages with cores, caches and integrated graphics, and DRAM where
the machine has a zone for it. Mainboard, disks, fans and power supply are outside. Every process on
the machine is inside.

Counts microjoules and starts again at 0 after `max_energy_range_uj`: about every minute under heavy
load in 32-bit registers (the same codecarbon issue). Files and names:
https://android.googlesource.com/kernel/common/+/27acfd11ba17/Documentation/power/powercap/powercap.rst.

Known faults:

- Only root may read since 2020, because energy tells what a processor computes (CVE-2020-8694,
  https://www.intel.com/content/www/us/en/developer/articles/technical/software-security-guidance/advisory-guidance/running-average-power-limit-energy-reporting.html).
  Not measured, with what to type.
- The same advisory's filter adds noise to the counter where SGX is on, or where it was switched on.
- On many machines the figures are an on-chip model, not a sensor: right in trend with an offset that
  differs between machines, worst at rest (Desrochers, Paradis and Weaver 2016,
  https://web.eece.maine.edu/~vweaver/projects/rapl/rapl_validation.html). On AMD Zen 2 likewise, and no
  DRAM zone (Schoene et al. 2021, https://ar5iv.labs.arxiv.org/html/2108.00808).
- `psys` contains the package: not added. `intel-rapl-mmio` shows the same package a second time: not
  added. `core` and `uncore` lie within the package: not added.
- Processors of several dies can show one zone a die that all mirror one counter
  (codecarbon 3.3.2, codecarbon/core/rapl.py, and its issue 1274): a zone that stands within 1 J of an
  earlier one of its kind is left out, and that is said.
- Virtual machines have none as a rule.
"""

from __future__ import annotations

from pathlib import Path

from harness.cost.energy import NotMeasured
from harness.cost.meter import Meter, MeterError, Zone

POWERCAP = Path("/sys/class/powercap")
"""Where the kernel shows them."""

PERIOD_S = 0.001
"""See above."""

MOST_W = 1000.0
"""No package and no package's memory draws more."""

MIRRORED_J = 1.0
"""Two zones of a kind this close together are one counter; independent ones are never."""

ALLOW = "sudo chmod -R a+r /sys/class/powercap/intel-rapl*/ until the next boot, or run as root"
"""What to do about the permission (the former is codecarbon's advice, https://mlco2.github.io/codecarbon/rapl.html)."""


def open_meter(_index: int = 0, folder: Path = POWERCAP) -> Meter | NotMeasured:
    """All packages and DRAM of this machine.

    Args:
        _index: Not used: it measures the whole machine's processors.
        folder: Where the zones lie.
    """
    if not folder.is_dir():
        return NotMeasured(f"rapl: {folder} is not there; a virtual machine, another processor, or not Linux")
    zones: list[tuple[Path, Zone]] = []
    notes: list[str] = []
    at: list[tuple[str, float]] = []
    try:
        for path in sorted(p for p in folder.glob("intel-rapl:*") if (p / "energy_uj").exists()):
            name = (path / "name").read_text().strip()
            kind = "dram" if name == "dram" else "package" if name.startswith("package-") else None
            if kind is None:
                notes.append(f"{path.name} ({name}) is not added: it contains, repeats or is part of a package")
                continue
            now = _joules(path)
            twin = next((p.name for (p, _), (k, j) in zip(zones, at, strict=True) if k == kind and _same(j, now)), None)
            if twin is not None:
                notes.append(f"{path.name} ({name}) mirrors {twin} and is not added")
                continue
            range_j = _number(path / "max_energy_range_uj") / 1e6
            zones.append((path, Zone(f"{name} ({path.name})", MOST_W, range_j)))
            at.append((kind, now))
    except PermissionError as err:
        return NotMeasured(f"rapl: {err.filename}: permission denied; {ALLOW}")
    except (OSError, ValueError) as err:
        return NotMeasured(f"rapl: {err}")
    packages = [z.name for (_, z), (k, _) in zip(zones, at, strict=True) if k == "package"]
    memory = [z.name for (_, z), (k, _) in zip(zones, at, strict=True) if k == "dram"]
    if not packages:
        return NotMeasured(
            f"rapl: {folder} shows no package zone; a virtual machine, or the module intel_rapl_msr is missing"
        )
    if not memory:
        notes.append("no DRAM zone: memory is outside")

    def read() -> tuple[float, ...]:
        out = []
        for path, zone in zones:
            try:
                out.append(_joules(path))
            except (OSError, ValueError) as err:
                raise MeterError(f"rapl: {zone.name}: {err}") from err
        return tuple(out)

    return Meter(
        name="rapl",
        boundary="package",
        covers=f"{len(packages)} processor packages, {len(memory) or 'no'} DRAM zones, all processes",
        basis="on-chip model",
        period_s=PERIOD_S,
        zones=tuple(zone for _, zone in zones),
        read=read,
        notes=tuple(notes),
    )


def _number(path: Path) -> int:
    text = path.read_text().strip()
    if not text.isdigit():
        raise ValueError(f"{path}: {text!r} is no count")
    return int(text)


def _joules(path: Path) -> float:
    return _number(path / "energy_uj") / 1e6


def _same(one_j: float, other_j: float) -> bool:
    """Whether two counters are one; at 0 neither says anything."""
    return one_j > MIRRORED_J and abs(one_j - other_j) <= MIRRORED_J
