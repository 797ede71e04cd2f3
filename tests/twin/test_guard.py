"""Nothing leaves the machine from a guarded process, and what tries is named."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.twin.guard import LOG, outside

TRIES = """
import socket, sys, urllib.request
what, address = sys.argv[1:]
if what == "connect":
    socket.create_connection((address, 80), timeout=2)
elif what == "look up":
    socket.getaddrinfo(address, 443)
elif what == "send":
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", (address, 53))
elif what == "message":
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendmsg([b"x"], [], 0, (address, 53))
elif what == "by name":
    socket.gethostbyname(address)
elif what == "by name, all":
    socket.gethostbyname_ex(address)
elif what == "by address":
    socket.gethostbyaddr(address)
elif what == "name of":
    socket.getnameinfo((address, 80), 0)
elif what == "raw":
    s = socket.socket(); s.settimeout(2); s.connect((address, 80))
elif what == "open":
    urllib.request.urlopen("http://" + address, timeout=2)
else:
    server = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(("localhost", server.getsockname()[1]), timeout=5)
    client.sendmsg([b"x"])
    client.close()
    box = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    box.bind(("127.0.0.1", 0))
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendmsg([b"x"], [], 0, box.getsockname())
    socket.gethostbyname("localhost")
    socket.getnameinfo(("127.0.0.1", 80), socket.NI_NUMERICHOST)
print("through")
"""


def _guarded(tmp_path: Path, *words: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    (tmp_path / "tries.py").write_text(TRIES, encoding="utf-8")
    log = tmp_path / "outside.txt"
    path = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])])
    environment = {k: v for k, v in os.environ.items() if "proxy" not in k.lower()}
    done = subprocess.run(  # noqa: S603 (our own command)
        [sys.executable, "-m", "harness.twin.guard", "tries", *words],
        env={**environment, LOG: str(log), "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done, log.read_text(encoding="utf-8").split() if log.exists() else []


BOTH = [(what, address) for what in ("connect", "look up", "open") for address in ("192.0.2.1", "outside.example")]


MORE = [(what, "192.0.2.1") for what in ("send", "message", "raw", "by address", "name of")]
NAMES = [(what, "outside.example") for what in ("by name", "by name, all", "by address")]


@pytest.mark.parametrize(("what", "address"), [*BOTH, *MORE, *NAMES])
def test_what_leaves_the_machine_is_refused_and_named(tmp_path: Path, what: str, address: str) -> None:
    """Whichever way a library asks."""
    done, named = _guarded(tmp_path, what, address)
    assert done.returncode != 0
    assert "through" not in done.stdout
    assert set(named) == {address}
    assert "nothing outside this machine is reached" in done.stderr


def test_the_machine_itself_is_reached(tmp_path: Path) -> None:
    """Or the refusal would prove nothing."""
    done, named = _guarded(tmp_path, "inside", "x")
    assert (done.returncode, done.stdout.strip(), named) == (0, "through", [])


INSIDE = ("127.0.0.1", "127.9.9.9", "::1", "localhost", b"localhost")
OUTSIDE = ("0.0.0.1", "10.0.0.1", "fe80::1%eth0", "localhost.example", b"192.0.2.1")


@pytest.mark.parametrize(("host", "is_outside"), [*((h, False) for h in INSIDE), *((h, True) for h in OUTSIDE)])
def test_which_hosts_are_outside(host: object, is_outside: bool) -> None:
    """Private networks are outside, too."""
    assert outside(host) is is_outside
