"""Words and numbers that all explanations share."""

from __future__ import annotations

from typing import Final
from zoneinfo import ZoneInfo

from data.records.clearing import ClearingCase
from dso.report.numbers import fixed, significant
from opf.explanations.published import Published, element_names
from opf.explanations.records import PriceLine, Unit

SHADOW_UNITS: Final[dict[Unit, str]] = {"pu": "EUR/(pu h)", "MVA": "EUR/(MVA h)", "MW": "EUR/MWh"}
# A step of each limit that is small enough for a shadow price to speak of.
STEPS: Final[dict[Unit, tuple[float, str]]] = {
    "pu": (0.001, "0.001 pu"),
    "MVA": (1.0, "1 MVA"),
    "MW": (1.0, "1 MW"),
}
LIMIT_DIGITS: Final[dict[Unit, int]] = {"pu": 4, "MVA": 3, "MW": 3}


def money(value: float) -> str:
    """Write EUR or EUR/MWh with two digits."""
    return fixed(value, 2)


def power(value_mw: float) -> str:
    """Write MW with as many digits as matter."""
    return fixed(value_mw, 3 if abs(value_mw) >= 0.1 or value_mw == 0 else 6)


def when(case: ClearingCase, period: int) -> str:
    """Name a period on the market's clock."""
    zone = ZoneInfo(case.timezone)
    start = case.periods.starts[period].astimezone(zone)
    end = (case.periods.starts[period] + case.periods.mtu).astimezone(zone)
    return f"{start:%Y-%m-%d %H:%M}–{end:%H:%M} {end:%Z}"


def bus_name(published: Published, bus: int) -> str:
    """Name a bus by number, and by its name where it has one."""
    return element_names(published.case.network)["bus", bus]


def limit_words(line: PriceLine) -> str:
    """Name a limit with its value."""
    if line.unit is None or line.limit is None:
        return line.name
    return f"{line.name} ({fixed(line.limit, LIMIT_DIGITS[line.unit])} {line.unit})"


def line_words(line: PriceLine) -> str:
    """Name one line of a price."""
    names = {
        "energy": "energy at the substation",
        "loss": "losses on the way",
        "reactive": "reactive power that comes with it",
    }
    return limit_words(line) if line.cause == "limit" else names[line.cause]


def sensitivity_words(line: PriceLine) -> str:
    """Sensitivity with its unit, empty where there is none."""
    if line.sensitivity is None:
        return ""
    return f"{significant(line.sensitivity)} {line.unit or 'MW'} per MW"


def shadow_words(line: PriceLine) -> str:
    """Shadow price with its unit, empty where there is none."""
    if line.shadow_price is None:
        return ""
    unit = "EUR/MWh" if line.unit is None else SHADOW_UNITS[line.unit]
    return f"{money(line.shadow_price)} {unit}"
