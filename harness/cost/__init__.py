"""What a call costs: meters, the protocol of docs/energy.md, and what may be compared with what."""
