"""Meters: from messages with revisions to values that can be billed, each with its history.

`accept_batch` takes a message, `validate_meters` makes billable values of all messages known at an
instant, `check_sums` compares connection points with their feeder meters. These are pure: records
in, records out, nothing but `data` imported; files and the page stand beside them.
"""

from dso.metering.intake import accept_batch
from dso.metering.sum_check import FeederSeries, SumCheck, check_sums
from dso.metering.sum_findings import SumRules
from dso.metering.validate import ValidationRules, validate_meters

__all__ = [
    "FeederSeries",
    "SumCheck",
    "SumRules",
    "ValidationRules",
    "accept_batch",
    "check_sums",
    "validate_meters",
]
