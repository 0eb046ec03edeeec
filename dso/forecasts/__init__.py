"""Forecasts on plain files: what to read, which model serves, how well it would have done."""
