"""Cycles: what the operator runs by the clock, each stage idempotent by its key."""
