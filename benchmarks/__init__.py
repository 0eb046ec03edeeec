"""Benchmarks: run by `make bench-...`, never by the tests; results stand in docs/benchmarks.md."""
