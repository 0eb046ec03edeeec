"""What the report shows, as frozen records; arrays are (rows, periods) unless said otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Final, Literal
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from data.periods import Periods

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Scenario = Literal["without_market", "schedule", "with_market"]
SCENARIOS: Final[tuple[Scenario, ...]] = ("without_market", "schedule", "with_market")


@dataclass(frozen=True, slots=True, kw_only=True)
class FeederView:
    """The feeder as drawn: buses and branches, positions instead of indices.

    Parameters
    ----------
    bus : ndarray of int, shape (buses,)
        Index of each bus in the network.
    longitude, latitude : ndarray, shape (buses,)
        Coordinates [deg]; NaN where the network states none.
    vm_pu_min, vm_pu_max : ndarray, shape (buses,)
        Voltage limits [pu]; NaN where the folder states none.
    branch_from, branch_to : ndarray of int, shape (branches,)
        Position of the bus at each end.
    loading_percent_max : ndarray, shape (branches,)
        Loading limits [percent]; 100 where the folder states none.
    links : tuple of (int, int)
        Positions of buses that closed bus-bus switches make one node.
    substation : int
        Position of the bus whose voltage the upstream grid sets.
    """

    bus: Ints
    bus_name: tuple[str, ...]
    longitude: Floats
    latitude: Floats
    vn_kv: Floats
    vm_pu_min: Floats
    vm_pu_max: Floats
    branch_kind: tuple[str, ...]
    branch_element: tuple[int, ...]
    branch_name: tuple[str, ...]
    branch_from: Ints
    branch_to: Ints
    branch_in_service: Bools
    loading_percent_max: Floats
    links: tuple[tuple[int, int], ...]
    substation: int

    def substation_node(self) -> Bools:
        """Return which buses are one node with the substation, shape (buses,).

        The upstream grid sets their voltage; the voltage limits of the market do not apply there.
        """
        node = {self.substation}
        for _ in self.links:
            for a, b in self.links:
                if a in node or b in node:
                    node |= {a, b}
        return np.isin(np.arange(len(self.bus)), sorted(node))

    def name_of(self, element_kind: str, element: int) -> str:
        """Return the name of a bus or branch, or kind and index when it is not on the map."""
        if element_kind == "bus":
            where = np.flatnonzero(self.bus == element)
            if where.size:
                return self.bus_name[int(where[0])]
        for kind, index, name in zip(
            self.branch_kind, self.branch_element, self.branch_name, strict=True
        ):
            if (kind, index) == (element_kind, element):
                return name
        return f"{element_kind} {element}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceView:
    """Prices at every bus [EUR/MWh] with their parts, shape (buses, periods) each."""

    dlmp: Floats
    energy: Floats
    loss: Floats
    congestion: Floats
    voltage: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class GridView:
    """Cleared AC state: voltage (buses, periods), loading and power (branches, periods).

    Branches of the map that the clearing does not list are NaN.
    """

    vm_pu: Floats
    loading_percent: Floats
    p_from_mw: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class ClearingSummary:
    """Status and proof of one clearing (day ahead or one intraday round)."""

    name: str
    first: int
    binding: int
    status: str
    objective_eur: float
    penalty_eur: float
    bound_kind: str
    gap: float | None
    violations: int
    violated_periods: tuple[int, ...]
    input_sha256: str
    certificate: tuple[tuple[str, str], ...]
    versions: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """A limit that moved prices: how many periods, and its largest part of a price."""

    element_kind: str
    element: int
    side: str
    periods: Ints
    part_eur_per_mwh: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ViolationView:
    """A limit that does not hold in a replay of one scenario."""

    scenario: Scenario
    element_kind: str
    element: int
    period: int
    side: str
    value: float
    limit: float
    unit: str

    @property
    def excess(self) -> float:
        """How far beyond the limit, in its unit; never negative."""
        return max(
            self.limit - self.value if self.side == "lower" else self.value - self.limit, 0.0
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """Figures of one scenario's AC replay; None where the replay states none."""

    engine: str
    periods_violated: int
    violations: int
    worst_voltage_pu: float | None
    worst_voltage_violation_pu: float | None
    worst_loading_percent: float | None
    worst_loading_violation_percent: float | None
    losses_mwh: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageView:
    """One storage: schedule of the day-ahead clearing against what it was told and did."""

    order: str
    asset: str
    bus: int
    energy_mwh_max: float
    soc_scheduled_mwh: Floats
    soc_delivered_mwh: Floats
    setpoint_mw: Floats
    delivered_mw: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastView:
    """Feeder total of one kind: quantiles (levels, periods) and actuals (NaN: none) [MW]."""

    kind: str
    levels: tuple[int, ...]
    value_mw: Floats
    actual_mw: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class OutlookView:
    """What scenarios without a market do to limits; tables have shape (elements, periods).

    ``probability`` is the share of the scenarios that break the limit, 0..1; ``need_mw_mean`` and
    ``need_mw_q90`` are what relieving it takes, on average and in one of ten scenarios more [MW].
    """

    elements: tuple[str, ...]
    scenarios: int
    probability: Floats
    need_mw_mean: Floats
    need_mw_q90: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class BandRecord:
    """How many values of a kind the 10-90 % band held.

    ``values_counted`` and ``values_inside`` are of its single series on the day; ``past`` of its
    total on days before: (day, periods counted, periods inside), oldest first.
    """

    kind: str
    series: int
    values_counted: int
    values_inside: int
    past: tuple[tuple[str, int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MoneyRow:
    """One party or account; amounts per column in integer micro-EUR, + means it receives."""

    party: str
    amounts_micro_eur: tuple[int, ...]

    @property
    def total_micro_eur(self) -> int:
        """Sum of the row."""
        return sum(self.amounts_micro_eur)


@dataclass(frozen=True, slots=True, kw_only=True)
class MoneyView:
    """The money of the day; every amount of every line is in exactly one cell.

    Parameters
    ----------
    columns : tuple of str
        Markets; each sums to zero on its own.
    sums_checked : int
        Number of (period, market) pairs; ``not_zero`` lists those that do not sum to zero.
    """

    columns: tuple[str, ...]
    participants: tuple[MoneyRow, ...]
    accounts: tuple[MoneyRow, ...]
    lines: int
    sums_checked: int
    not_zero: tuple[tuple[str, str], ...]
    largest_rounding_micro_eur: int
    remarks: tuple[str, ...]

    @property
    def rows(self) -> tuple[MoneyRow, ...]:
        """Participants, then accounts."""
        return self.participants + self.accounts

    @property
    def column_sums(self) -> tuple[int, ...]:
        """Sum of each column [micro-EUR]."""
        return tuple(
            sum(row.amounts_micro_eur[k] for row in self.rows) for k in range(len(self.columns))
        )

    @property
    def total_micro_eur(self) -> int:
        """Sum of everything [micro-EUR]; zero when the books are right."""
        return sum(row.total_micro_eur for row in self.rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerView:
    """The signed head of the ledger and the list of files it is about."""

    origin: str
    size: int
    root_base64: str
    root_hex: str
    signatures: tuple[str, ...]
    note: str
    files: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DayView:
    """Everything the page shows.

    Parameters
    ----------
    final : PriceView
        Price each quarter-hour was last cleared at: the binding periods of the intraday rounds,
        the day-ahead price where there was no round.
    final_grid : GridView
        The AC state belonging to it.
    exchange_mwh : ndarray, shape (periods,)
        Energy through the substation, + import [MWh]; ``exchange_source`` says whence.
    notes : tuple of str
        What is missing or replaced, in words for the reader.
    """

    day: date
    timezone: str
    feeder_name: str
    network_ref: str
    market: str
    operator: str
    stages: tuple[str, ...]
    periods: Periods
    feeder: FeederView
    import_price_eur_per_mwh: Floats
    day_ahead: PriceView
    final: PriceView
    day_ahead_grid: GridView
    final_grid: GridView
    clearing: ClearingSummary
    rounds: tuple[ClearingSummary, ...]
    causes: tuple[Cause, ...]
    orders_by_status: tuple[tuple[str, int], ...]
    exchange_mwh: Floats
    exchange_source: str
    storages: tuple[StorageView, ...]
    deviation_mwh: float
    instructed_mwh: float
    forecasts: tuple[ForecastView, ...]
    violations: tuple[ViolationView, ...]
    replays: tuple[tuple[Scenario, Replay], ...]
    money: MoneyView
    ledger: LedgerView
    notes: tuple[str, ...]
    outlook: OutlookView | None = None
    bands: tuple[BandRecord, ...] = ()

    def replay_of(self, scenario: Scenario) -> Replay:
        """Return the replay of a scenario."""
        return dict(self.replays)[scenario]

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
