"""Benchmarks, one a module: `./imp benchmark NAME`; docs/BENCHMARKS.md holds what they print."""
