"""Local services on loopback that speak the protocols of the live ones, with faults on request."""
