"""A small simulated city whose truth is known. It proves the mechanism, and nothing about New York."""
