"""Runs a module of Python in which no socket leaves this machine: `python -m harness.twin.guard MODULE WORDS...`.

The refusal is an audit hook (PEP 578): it sees every connection, datagram and look-up of a name or an address that
goes through Python's own sockets, whichever library asks. A name that is handed to a plain socket is looked up before
the hook sees it, and refused then; the libraries of the chain look names up by a call that is watched. A library that
opens sockets in C of its own is not seen; of those that the chain loads only GDAL could, and the reader hands it bytes
in memory.
"""

from __future__ import annotations

import ipaddress
import os
import runpy
import sys
from pathlib import Path
from typing import Any, Final

LOG: Final = "HARNESS_OUTSIDE_LOG"
"""Variable that names the file in which refused hosts are noted, one a line."""

ADDRESSED: Final = {"socket.connect": 1, "socket.sendto": 1, "socket.sendmsg": 1, "socket.getnameinfo": 0}
"""Audit events with an address, and where it stands in their arguments."""

NAMED: Final = ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr")
"""Audit events of look-ups; the host stands first in their arguments."""


def outside(host: object) -> bool:
    """Whether a host is none of this machine's own; a name other than localhost counts, as it must be looked up."""
    name = host.decode("ascii", "replace") if isinstance(host, bytes) else str(host)
    if name in ("", "localhost", "None"):
        return False
    try:
        return not ipaddress.ip_address(name.partition("%")[0]).is_loopback
    except ValueError:
        return True


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if event in NAMED:
        host = args[0]
    elif event in ADDRESSED and isinstance(args[ADDRESSED[event]], tuple):
        host = args[ADDRESSED[event]][0]
    else:
        return  # another event; a file on this machine; a message through a socket that was let connect
    if outside(host):
        if path := os.environ.get(LOG):
            with Path(path).open("a", encoding="utf-8") as log:
                log.write(f"{host}\n")
        raise PermissionError(f"{host}: nothing outside this machine is reached here")


def main() -> None:
    """Refuse what leaves the machine, then run the module as `python -m` does."""
    sys.addaudithook(_hook)
    module = sys.argv[1]
    sys.argv = sys.argv[1:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
