"""Benchmarks. Each prints a table."""
