"""Peak memory of loading and running adapters: the resident high-water mark of a child process.

The mark of a process never falls, so one adapter comes first and all of them after it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from harness.claims.families import Family
from harness.errors import RegistryError

LIMIT_S = 600
"""The child is given up after this."""

COMMAND = [sys.executable, "-m", "harness.bench.memory"]
"""What the child is."""


STATUS = Path("/proc/self/status")
"""Where Linux keeps the mark of the memory that this program has, from its exec on."""


def peak_bytes() -> int | None:
    """This program's resident high-water mark; None where the system does not keep one.

    Not getrusage(2) on Linux: its ru_maxrss is carried over exec, so that a child begins with the mark of whoever
    started it (fs/exec.c, exec_mmap). Whether macOS does so was not looked at.
    """
    if sys.platform == "darwin":
        import resource

        return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)  # bytes there
    if not STATUS.is_file():
        return None
    line = next((each for each in STATUS.read_text().splitlines() if each.startswith("VmHWM:")), None)
    return None if line is None else int(line.split()[1]) * 1024


def in_a_child(family: Family, weights: Path, size_px: int, device: str) -> dict[str, int | None]:
    """High-water marks after the libraries, after one adapter's call, and after all adapters' calls.

    Raises:
        RegistryError: The child failed; carries its last line.
    """
    given = {
        "family": family.model_dump(mode="json"),
        "weights": str(weights),
        "size_px": size_px,
        "device": device,
    }
    try:
        done = subprocess.run(  # noqa: S603
            COMMAND, input=json.dumps(given), capture_output=True, text=True, timeout=LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired as err:
        raise RegistryError(f"peak memory: the child process did not end within {LIMIT_S} s") from err
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["nothing on stderr"]
        raise RegistryError(f"peak memory: the child process ended with {done.returncode}: {lines[-1]}")
    found: dict[str, int | None] = json.loads(done.stdout.splitlines()[-1])
    return found


def child(given: dict[str, Any]) -> dict[str, int | None]:
    """What the child does: load, run, look at the mark."""
    from harness.cost.call import made_up
    from harness.models import stack
    from harness.models.ensemble import load_family

    stack.prepare()
    out = {"libraries": peak_bytes()}
    family = Family.model_validate(given["family"])
    every = [a.id for a in family.adapters]
    for name, tasks in (("one", every[:1]), ("all", every)):
        ensemble = load_family(family, Path(given["weights"]), tasks=tasks, device=given["device"])
        for task in tasks:
            ensemble.predict(made_up(family, task, given["size_px"], 1).inputs[0], [task])
        del ensemble
        out[name] = peak_bytes()
    return out


if __name__ == "__main__":
    print(json.dumps(child(json.load(sys.stdin))))
