"""Fields of one order in ``orders.json``: numbers, lists per period, buses, assets."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.errors import Problem
from data.periods import parse_utc
from data.records.network import Network
from data.records.order import ReactiveRange
from data.study.settings import FieldReader, as_float

Floats = NDArray[np.float64]
# No power [MW], energy [MWh] or price [EUR/MWh] of a distribution grid is larger.
LARGEST: Final = 1e6
NAME_LENGTH_MAX: Final = 200
SHARE_SUM_TOLERANCE: Final = 1e-9
BUS_DIGITS: Final = 12
ASSET_TABLES: Final = {"load": "loads", "sgen": "sgens", "storage": "storages"}
ORDERED_OTHER_KINDS: Final = ("gen", "motor")


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderContext:
    """What orders are checked against; None where it could not be read.

    Parameters
    ----------
    period_count : int or None
        Length of lists.
    bus_of_asset : mapping or None
        Bus of every element in service that an order may name; None for one whose bus is not read.
    running_buses : set of int or None
        Buses in service.
    """

    period_count: int | None
    bus_of_asset: dict[str, int | None] | None
    running_buses: frozenset[int] | None


def context_of(network: Network | None, period_count: int | None) -> OrderContext:
    """Collect what orders of a network may refer to."""
    if network is None:
        return OrderContext(period_count=period_count, bus_of_asset=None, running_buses=None)
    assets: dict[str, int | None] = {}
    for kind, name in ASSET_TABLES.items():
        table = getattr(network, name)
        for index, bus, runs in zip(table.index, table.bus, table.in_service, strict=True):
            if runs:
                assets[f"{kind}:{index}"] = int(bus)
    for element in network.other_elements:
        if element.split(":")[0] in ORDERED_OTHER_KINDS:
            assets[element] = None
    buses = network.buses
    return OrderContext(
        period_count=period_count,
        bus_of_asset=assets,
        running_buses=frozenset(buses.index[buses.in_service].tolist()),
    )


class OrderReader(FieldReader):
    """Takes the fields out of one order."""

    def __init__(
        self, where: str, fields: object, problems: list[Problem], context: OrderContext
    ) -> None:
        super().__init__(where, fields, problems)
        self.context = context

    def series(
        self,
        name: str,
        *,
        default: float | None = None,
        minimum: float = -LARGEST,
        maximum: float = LARGEST,
        required: bool = False,
    ) -> Floats | None:
        """Take one number or a list with one per period; None when absent or wrong."""
        value = self.take(name)
        if value is None and not required:
            return None if default is None else self._constant(default)
        return self.as_series(name, value, minimum=minimum, maximum=maximum)

    def _constant(self, value: float) -> Floats:
        return np.full(self.context.period_count or 1, value)

    def as_series(
        self, name: str, value: object, *, minimum: float = -LARGEST, maximum: float = LARGEST
    ) -> Floats | None:
        """Check a value taken elsewhere (inside steps) as `series` does."""
        if value is None:
            self.report(f"{name} is missing", "state a number or a list with one per period")
            return None
        if isinstance(value, int | float) and not isinstance(value, bool):
            values = self._constant(as_float(value))
        elif isinstance(value, list) and all(type(item) in (int, float) for item in value):
            values = np.array([as_float(item) for item in value], dtype=float)
            expected = self.context.period_count
            if expected is None:
                return None  # the horizon itself is wrong: nothing can be said about a list
            if len(value) != expected:
                self.report(f"{name} has {len(value)} values, the study {expected} periods")
                return None
        else:
            self.report(f"{name} is {repr(value)[:40]}", "state a number or a list of numbers")
            return None
        wrong = ~np.isfinite(values) | (values < minimum) | (values > maximum)
        if np.any(wrong):
            first = int(np.flatnonzero(wrong)[0])
            alike = values.size == 1 or not isinstance(value, list)
            self.report(
                f"{name} is {values[first]:g}" + ("" if alike else f" in period {first}"),
                f"state {minimum:g} to {maximum:g}",
            )
            return None
        return values

    def number(
        self,
        name: str,
        *,
        default: float | None = None,
        minimum: float = -LARGEST,
        maximum: float = LARGEST,
        required: bool = False,
    ) -> float | None:
        """Take a number of a size that occurs."""
        return super().number(
            name, default=default, minimum=minimum, maximum=maximum, required=required
        )

    def name(self, field: str) -> str:
        """Take a text that names an order or a party."""
        value = self.text(field)
        if value != value.strip() or len(value) > NAME_LENGTH_MAX:
            self.report(
                f"{field} is {value[:40]!r}",
                f"state at most {NAME_LENGTH_MAX} characters without blanks around them",
            )
        return value

    def buses(self) -> tuple[tuple[int, float], ...]:
        """Take ``bus`` or ``buses``; sorted by bus, () when wrong."""
        single, several = self.take("bus"), self.take("buses")
        if (single is None) == (several is None):
            self.report("states neither or both of bus and buses", "state one of the two")
            return ()
        if several is None:
            only = self.as_bus("bus", single)
            return () if only is None else ((only, 1.0),)
        if not isinstance(several, dict) or not several:
            self.report(f"buses is {repr(several)[:40]}", "state {bus: share}")
            return ()
        found: list[tuple[int, float]] = []
        for key, share in several.items():
            plain = key.isascii() and key.isdecimal() and (key == "0" or key[0] != "0")
            bus = self.as_bus("buses", int(key) if plain and len(key) < BUS_DIGITS else key)
            if bus is None:
                continue
            if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
                shown = str(share)[:40]
                self.report(f"the share of bus {bus} is {shown}", "state a share above 0 up to 1")
                continue
            found.append((bus, float(share)))
        total = sum(share for _, share in found)
        if len(found) == len(several) and abs(total - 1.0) > SHARE_SUM_TOLERANCE:
            self.report(f"the shares of its buses sum to {total:.12g}", "make them sum to 1")
        return tuple(sorted(found))

    def as_bus(self, name: str, value: object) -> int | None:
        """Return a value that is a bus in service; None otherwise."""
        if isinstance(value, bool) or not isinstance(value, int):
            found = "is missing" if value is None else f"is {repr(value)[:40]}"
            self.report(f"{name} {found}", "state the index of a bus")
            return None
        running = self.context.running_buses
        if running is not None and value not in running:
            shown = str(value)[:40]
            self.report(f"bus {shown} is unknown or out of service", "name a bus of the network")
            return None
        return value

    def asset(self, kinds: Iterable[str], buses: tuple[tuple[int, float], ...]) -> str | None:
        """Take ``asset``: an element in service of a fitting kind, at the order's only bus."""
        value = self.take("asset")
        if value is None:
            return None
        if not isinstance(value, str):
            self.report(f"asset is {repr(value)[:40]}", 'e.g. "load:3"')
            return None
        allowed = tuple(kinds)
        if value.split(":")[0] not in allowed:
            self.report(f"asset {value!r} does not fit this kind", f"one of {', '.join(allowed)}")
            return value
        known = self.context.bus_of_asset
        if known is None:
            return value
        if value not in known:
            self.report(f"asset {value!r} is unknown or out of service")
            return value
        bus = known[value]
        if bus is not None and buses and buses != ((bus, 1.0),):
            self.report(f"asset {value} is at bus {bus}", f"state bus {bus}")
        return value

    def reactive(self) -> ReactiveRange | None:
        """Take the reactive fields; None when none is stated."""
        lower, upper = self.series("q_mvar_min"), self.series("q_mvar_max")
        factor = self.number("power_factor_min", minimum=1e-6, maximum=1.0)
        if lower is None and upper is None and factor is None:
            return None
        if lower is not None and upper is not None and np.any(lower > upper):
            self.report("q_mvar_min is above q_mvar_max")
        if factor is None and (lower is None or upper is None):
            self.report(
                "its reactive range is open at one end",
                "state q_mvar_min and q_mvar_max, or power_factor_min",
            )
        return ReactiveRange(q_mvar_min=lower, q_mvar_max=upper, power_factor_min=factor)

    def submitted_at(self) -> datetime | None:
        """Take the instant of submission."""
        value = self.take("submitted_at")
        if value is None:
            return None
        try:
            return parse_utc(str(value))
        except (ValueError, OverflowError) as error:
            self.report(f"submitted_at: {str(error)[:80]}", "state an instant with offset")
            return None

    def pay(self) -> str:
        """Take how the order is paid."""
        value = self.text("pay", "dlmp")
        rule_set = value.removeprefix("flexibility/")
        if value != "dlmp" and (rule_set == value or not rule_set):
            self.report(f"pay is {value!r}", '"dlmp" or "flexibility/<rule set>"')
        return value
