"""Measurements of Strait, each beside its ceiling in the same run: `python -m benchmarks --help`."""
