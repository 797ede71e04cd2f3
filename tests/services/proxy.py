"""A CONNECT relay and certificates: the twin's own, without a list of hosts."""

from __future__ import annotations

from harness.twin.wire import Certificates, Relay, certificates, relayed

__all__ = ["Certificates", "Relay", "certificates", "relayed"]
