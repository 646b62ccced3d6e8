"""Benchmarks, checks and simulations: `python -m scripts.NAME`."""
