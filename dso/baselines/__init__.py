"""The baseline laboratory as a command: readings in, tables and a page out."""

from dso.baselines.compare import CompareRules, Comparison, compare_baselines, write_comparison

__all__ = ["CompareRules", "Comparison", "compare_baselines", "write_comparison"]
