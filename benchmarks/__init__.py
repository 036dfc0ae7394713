"""Benchmarks: each a command line that writes a JSON file under `benchmarks/results/`."""
