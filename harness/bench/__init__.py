"""The bench: each step of a call against a plain reference in the same run, as ratios with intervals."""
