"""Fields of procurement files: money, instants, buses, ISP lists; every problem collected."""

from __future__ import annotations

import json
from datetime import date, datetime, time
from pathlib import Path
from typing import Final

import numpy as np

from data.errors import Problem
from data.periods import parse_utc
from data.records.settlement import FLEXIBILITY_RULES
from data.study.order_fields import OrderContext, OrderReader
from data.study.settings import FieldReader
from data.units import MICRO_PER_UNIT
from flexibility.procurement.border import LocalIsps, from_watt
from flexibility.procurement.records import ELEMENT_KINDS, Floats, Shares

PRICE_MAX: Final = 1e6
POWER_W_MAX: Final = 10**12


def read_list(path: Path, problems: list[Problem]) -> list[object]:
    """Read a JSON file that holds a list; empty where it cannot be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        problems.append(Problem(where=path.name, what=f"cannot be read: {reason}"))
        return []
    if not isinstance(found, list):
        problems.append(Problem(where=path.name, what="is not a list"))
        return []
    return found


class ProcurementReader(FieldReader):
    """Takes the fields out of one point, contract or message."""

    def __init__(
        self, where: str, fields: object, problems: list[Problem], context: OrderContext
    ) -> None:
        super().__init__(where, fields, problems)
        self.context = context
        self._orders = OrderReader(where, {}, problems, context)

    def buses(self, default: Shares | None = None) -> Shares:
        """Take ``bus`` or ``buses``; a default stands where neither is stated."""
        if default is not None and not {"bus", "buses"} & set(self.fields):
            return default
        self._orders.fields = {
            name: self.fields.pop(name) for name in ("bus", "buses") if name in self.fields
        }
        return self._orders.buses()

    def asset(self, buses: Shares) -> str | None:
        """Take the element whose orders must leave capacity free."""
        self._orders.fields = {"asset": self.take("asset")}
        return self._orders.asset(("load", "sgen", "storage", "gen", "motor"), buses)

    def micro(self, name: str, *, default: float | None = None) -> int:
        """Take an amount or price, not negative, as whole millionths."""
        value = self.number(
            name, default=default, minimum=0.0, maximum=PRICE_MAX, required=default is None
        )
        return 0 if value is None else round(value * MICRO_PER_UNIT)

    def instant(self, name: str, *, required: bool = True) -> datetime | None:
        """Take an instant with offset."""
        value = self.take(name)
        if value is None and not required:
            return None
        try:
            return parse_utc(str(value))
        except (ValueError, OverflowError):
            self.report(f"{name} is {str(value)[:40]!r}", "state an instant with offset")
            return None

    def day(self, name: str) -> date | None:
        """Take a calendar date."""
        value = self.take(name)
        try:
            return date.fromisoformat(str(value))
        except ValueError:
            self.report(f"{name} is {str(value)[:40]!r}", "state a date, YYYY-MM-DD")
            return None

    def clock(self, name: str) -> time:
        """Take a local clock time; midnight where none is stated."""
        value = self.take(name)
        try:
            return time.fromisoformat("00:00" if value is None else str(value))
        except ValueError:
            self.report(f"{name} is {str(value)[:40]!r}", "state a clock time, HH:MM")
            return time(0)

    def rule(self) -> str:
        """Take the rule set of settlement."""
        value = self.text("rule", "usef")
        if value not in FLEXIBILITY_RULES:
            self.report(f"rule {value[:40]!r} is unknown", f"one of {', '.join(FLEXIBILITY_RULES)}")
        return value

    def elements(self) -> tuple[tuple[str, int], ...]:
        """Take the elements of a congestion point, such as ``line:3``."""
        value = self.take("elements")
        found = []
        if not isinstance(value, list) or not value:
            self.report("elements is not a list of elements", 'state ["line:3", "trafo:0"]')
            return ()
        for text in value:
            kind, _, index = str(text).partition(":")
            if kind not in ELEMENT_KINDS or not index.isdecimal() or len(index) > 12:
                self.report(f"element {str(text)[:40]!r}", "state bus:N, line:N or trafo:N")
            else:
                found.append((kind, int(index)))
        return tuple(found)

    def isp_power(self, entries: object, isps: LocalIsps, field: str = "power_w") -> Floats:
        """Read a list of ISPs with power as injection per period [MW]."""
        power = np.zeros(len(isps.periods))
        for first, after, entry in self.isp_entries(entries, isps):
            value = self._watt(entry, field)
            inside = slice(max(first, 0), max(after, 0))
            power[inside] = from_watt(value)
        return power

    def _watt(self, entry: dict[str, object], field: str) -> int:
        value = entry.get(field)
        if isinstance(value, bool) or not isinstance(value, int) or abs(value) > POWER_W_MAX:
            self.report(f"{field} is {repr(value)[:40]}", "state whole watts, + = consumption")
            return 0
        return value

    def isp_entries(
        self, entries: object, isps: LocalIsps
    ) -> list[tuple[int, int, dict[str, object]]]:
        """Return (first period, after last, entry) of a list of ISPs; reports what UFTP rejects.

        Periods count from 0 at the start of the horizon; an ISP of the day before it is negative.
        """
        if not isinstance(entries, list) or not entries:
            self.report("isps is not a list with at least one ISP")
            return []
        found = []
        used: set[int] = set()
        for entry in entries:
            start, duration = (
                (entry.get("start"), entry.get("duration", 1)) if isinstance(entry, dict)
                else (None, None)
            )  # fmt: skip
            whole = all(type(each) is int and each > 0 for each in (start, duration))
            if not whole or not isinstance(start, int) or not isinstance(duration, int):
                self.report(f"ISP {repr(entry)[:60]}", "state start and duration, from 1")
                continue
            if start + duration - 1 > isps.count_of_day:
                self.report(
                    f"ISPs Out Of Bounds: {start} to {start + duration - 1}",
                    f"{isps.day} has {isps.count_of_day} ISPs",
                )
                continue
            numbers = set(range(start, start + duration))
            if used & numbers:
                self.report(f"ISP Conflict: {min(used & numbers)} is defined more than once")
            used |= numbers
            first = start - isps.first
            if first < 0 or first + duration > len(isps.periods):
                self.report(
                    f"ISPs Out Of Bounds: {start} to {start + duration - 1}",
                    f"the horizon has {isps.first} to {isps.first + len(isps.periods) - 1}",
                )
                continue
            found.append((first, first + duration, entry))
        return found
