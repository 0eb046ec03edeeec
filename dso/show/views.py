"""What the page shows, as frozen records; arrays are (rows, periods) unless said otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from data.periods import Periods
from dso.report.views import FeederView, Floats, Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class ElementPart:
    """What one limit adds to the price of every bus, in the periods where it does.

    Parameters
    ----------
    element_kind : str
        ``line``, ``trafo``, ``bus`` or ``ext_grid``.
    side : str
        ``upper`` or ``lower`` of a voltage, ``import`` or ``export`` of a cap, else empty: the
        two ends of a branch are one limit to the reader.
    periods : ndarray of int, shape (n,)
        Numbers of the periods, ascending.
    p_eur_per_mwh : ndarray, shape (n, buses)
        Its part of each bus price.
    """

    element_kind: str
    element: int
    side: str
    name: str
    periods: Ints
    p_eur_per_mwh: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortage:
    """A limit that could not hold in a period: value and limit in its unit, shortage in MW."""

    element_kind: str
    element: int
    side: str
    name: str
    period: int
    value: float
    limit: float
    mw_short: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """An order that was not accepted as it stands, or a storage or shift that stays idle."""

    order: str
    status: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """How each bus hangs on the substation: positions as in the feeder's buses.

    Parameters
    ----------
    distance_km : ndarray, shape (buses,)
        Length of the shortest closed way from the substation; NaN where there is none.
    parent : ndarray of int, shape (buses,)
        The bus before it on that way; -1 at the substation and where there is no way.
    """

    distance_km: Floats
    parent: Ints

    def path(self, bus: int) -> tuple[int, ...]:
        """Return the buses from the substation to ``bus``, both included."""
        way = [bus]
        while self.parent[way[-1]] >= 0:
            way.append(int(self.parent[way[-1]]))
        return tuple(reversed(way))


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowView:
    """Everything the page shows of one clearing.

    Parameters
    ----------
    price, energy, loss : ndarray, shape (buses, periods)
        Price and the parts that belong to no element [EUR/MWh].
    summary : mapping
        ``summary.json`` as written.
    """

    name: str
    timezone: str
    periods: Periods
    feeder: FeederView
    network: str
    reach: Reach
    import_price_eur_per_mwh: Floats
    price: Floats
    energy: Floats
    loss: Floats
    elements: tuple[ElementPart, ...]
    vm_pu: Floats
    loading_percent: Floats
    shortages: tuple[Shortage, ...]
    refused: tuple[Refused, ...]
    orders_count: int
    summary: Mapping[str, object]

    def local_starts(self) -> tuple[datetime, ...]:
        """Start of each period on the market's clock."""
        zone = ZoneInfo(self.timezone)
        return tuple(start.astimezone(zone) for start in self.periods.starts)

    def local_label(self, period: int) -> str:
        """Start and end of a period on the market's clock, with the zone's short name."""
        zone = ZoneInfo(self.timezone)
        start = self.periods.starts[period].astimezone(zone)
        end = (self.periods.starts[period] + self.periods.mtu).astimezone(zone)
        return f"{start:%H:%M}\u2013{end:%H:%M} {start:%Z}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Period and bus (position) that the page opens with."""

    period: int
    bus: int
