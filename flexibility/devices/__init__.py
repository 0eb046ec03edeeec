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
from flexibility.devices.cop import coefficient_of_performance, flow_temperature_c
from flexibility.devices.curtailable import CurtailableLoads, CurtailState
from flexibility.devices.heat_orders import heat_pump_orders
from flexibility.devices.heat_pumps import HeatPumps, HeatState, carries_comfort
from flexibility.devices.processes import ProcessState, ShiftableProcesses
from flexibility.devices.pv import PvPlants, PvState
from flexibility.devices.shortfalls import Shortfall, ShortfallRule, find_shortfalls
from flexibility.devices.vehicles import CarSessions, CarState, hours_since
from flexibility.devices.volt_var import (
    VoltVarCurve,
    power_factor_over_power,
    power_factor_required,
)

__all__ = [
    "REASON_TEXT",
    "Batteries",
    "BatteryState",
    "CarSessions",
    "CarState",
    "Conditions",
    "CurtailState",
    "CurtailableLoads",
    "DeviceModel",
    "DeviceStep",
    "FeasibleRange",
    "HeatPumps",
    "HeatState",
    "Instruction",
    "ProcessState",
    "PvPlants",
    "PvState",
    "Reason",
    "ShiftableProcesses",
    "Shortfall",
    "ShortfallRule",
    "VoltVarCurve",
    "carries_comfort",
    "coefficient_of_performance",
    "find_shortfalls",
    "flow_temperature_c",
    "heat_pump_orders",
    "hours_since",
    "power_factor_over_power",
    "power_factor_required",
    "soc",
]
