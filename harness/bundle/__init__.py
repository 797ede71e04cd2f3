"""Runs from other people's machines: packed into one file there, checked and listed here."""

from harness.bundle.check import Verified
from harness.bundle.pack import Packed, bundle
from harness.bundle.receive import add, verify

__all__ = ["Packed", "Verified", "add", "bundle", "verify"]
