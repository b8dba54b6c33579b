"""Benchmarks of engram-transformers: `python -m benchmarks list`."""
