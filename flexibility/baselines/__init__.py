"""Baselines: what a party would have taken without the activation.

`freeze_baseline` fixes method and inputs at gate closure, `evaluate_baseline` gives the values once
the readings that the method waits for are there. `flexibility.baselines.laboratory` measures error
and bias on event-free days, `flexibility.baselines.gaming` looks for what parties do around events.
"""

from flexibility.baselines.contract import (
    Baseline,
    BaselineInputs,
    FrozenBaseline,
    evaluate_baseline,
    freeze_baseline,
)
from flexibility.baselines.history import LoadHistory, LocalTable
from flexibility.baselines.methods import (
    BaselineMethod,
    DayAverage,
    DropTo,
    FixedProfile,
    MeterBeforeAfter,
    NominatedSchedule,
    SameDayAdjustment,
    TemperatureRegression,
    method_named,
)

__all__ = [
    "Baseline",
    "BaselineInputs",
    "BaselineMethod",
    "DayAverage",
    "DropTo",
    "FixedProfile",
    "FrozenBaseline",
    "LoadHistory",
    "LocalTable",
    "MeterBeforeAfter",
    "NominatedSchedule",
    "SameDayAdjustment",
    "TemperatureRegression",
    "evaluate_baseline",
    "freeze_baseline",
    "method_named",
]
