"""What we expect: quantile forecasts of load and generation, never a bare number."""
