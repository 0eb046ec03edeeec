"""Models of devices: what they can do now, what they do when told, what they offer to the market.

Every kind is a record of columns (one entry per device) with the same four functions: ``start``,
``range_now``, ``unguided`` and ``step``; ``to_orders`` makes the market's orders.
"""

from flexibility.devices.batteries import Batteries, BatteryState, soc
from flexibility.devices.common import (
    REASON_TEXT,
    Conditions,
    DeviceModel,
    DeviceStep,
    FeasibleRange,
    Instruction,
    Reason,
)
from flexibility.devices.curtailable import CurtailableLoads, CurtailState
from flexibility.devices.pv import PvPlants, PvState
from flexibility.devices.volt_var import (
    VoltVarCurve,
    power_factor_over_power,
    power_factor_required,
)

__all__ = [
    "REASON_TEXT",
    "Batteries",
    "BatteryState",
    "Conditions",
    "CurtailState",
    "CurtailableLoads",
    "DeviceModel",
    "DeviceStep",
    "FeasibleRange",
    "Instruction",
    "PvPlants",
    "PvState",
    "Reason",
    "VoltVarCurve",
    "power_factor_over_power",
    "power_factor_required",
    "soc",
]
