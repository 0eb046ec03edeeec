"""Benchmarks: run by `make bench-...`, never by the tests; results stand in docs/benchmarks.md."""

from __future__ import annotations

import os

# as the dso command does, before numpy is imported
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
