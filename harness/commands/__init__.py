"""Commands of the console script, one file each; harness/cli.py puts them together."""
