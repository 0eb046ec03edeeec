"""A tender for availability contracts: a need over a season in, the contracts to conclude out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.canonical import pretty_json
from data.csv_table import Column, TextTable, read_table, table_bytes
from data.errors import InputError, Problem, refuse_if_any
from data.periods import Periods, format_utc, parse_utc
from data.records.clearing import ClearingCase
from data.units import MICRO_PER_UNIT
from dso.flexibility.request import unknown_elements
from flexibility.procurement.records import AvailabilityContract, CongestionPoint, Direction
from flexibility.procurement.write_messages import contract_to_plain
from opf.problems.flexibility_need import bus_effects
from opf.problems.flexibility_purchase import SHORTAGE_EUR_PER_MWH
from opf.problems.flexibility_tender import TenderCase, TenderResult, choose_contracts
from opf.problems.scenario_limits import expected_grid

Floats = NDArray[np.float64]
NEED_COLUMNS: Final = ("period_start", "hours", "need_mw", "expected_mw")
CONTRACTS_JSON: Final = "contracts.json"
TENDER_JSON: Final = "tender.json"
TENDER_CSV: Final = "tender.csv"
BIDS_CSV: Final = "bids.csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class SeasonNeed:
    """What is needed over a season, in one direction; arrays have shape (periods,).

    Parameters
    ----------
    starts : tuple of str
        Start of each period, UTC text.
    hours : ndarray
        Hours each row stands for in the season [h].
    need_mw, expected_mw : ndarray
        Capacity that must stand ready, and mean power expected to be called [MW].
    """

    starts: tuple[str, ...]
    hours: Floats
    need_mw: Floats
    expected_mw: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Tender:
    """The outcome of a tender: the bids, what each does, and the choice among them."""

    need: SeasonNeed
    bids: tuple[AvailabilityContract, ...]
    effect: Floats
    result: TenderResult
    remarks: tuple[str, ...]

    @property
    def winners(self) -> tuple[AvailabilityContract, ...]:
        """Contracts to conclude."""
        pairs = zip(self.bids, self.result.accepted.tolist(), strict=True)
        return tuple(bid for bid, won in pairs if won)


def read_season_need(path: Path) -> SeasonNeed:
    """Read ``period_start,hours,need_mw,expected_mw``.

    Raises
    ------
    InputError
        With every problem of the file.
    """
    problems: list[Problem] = []
    table = read_table(path, NEED_COLUMNS, problems)
    refuse_if_any(problems)
    assert table is not None
    starts = _instants(table, problems)
    values = {name: table.numbers(name, problems) for name in NEED_COLUMNS[1:]}
    for name, found in values.items():
        problems += [
            Problem(where=table.where(row), what=f"{name} is negative")
            for row in np.flatnonzero(found < 0.0).tolist()
        ]
    above = np.flatnonzero(values["expected_mw"] > values["need_mw"]).tolist()
    problems += [
        Problem(where=table.where(row), what="expected_mw is above need_mw",
                remedy="the mean called cannot exceed the capacity that must stand ready")
        for row in above
    ]  # fmt: skip
    if not len(table) and not problems:
        problems.append(Problem(where=path.name, what="has no period"))
    refuse_if_any(problems)
    return SeasonNeed(starts=starts, **values)


def _instants(table: TextTable, problems: list[Problem]) -> tuple[str, ...]:
    found: list[str] = []
    for row, text in enumerate(table.columns["period_start"]):
        try:
            found.append(format_utc(parse_utc(text)))
        except ValueError:
            what = f"period_start is {text[:40]!r}"
            remedy = "state an instant with offset"
            problems.append(Problem(where=table.where(row), what=what, remedy=remedy))
            continue
        if found.count(found[-1]) > 1:
            problems.append(Problem(where=table.where(row), what=f"{found[-1]} is stated twice"))
    return tuple(found)


def hold_tender(
    need: SeasonNeed,
    bids: Sequence[AvailabilityContract],
    direction: Direction,
    timezone: str,
    *,
    mtu_minutes: int = 15,
    effect: Mapping[str, float] | None = None,
    shortage_eur_per_mwh: float = SHORTAGE_EUR_PER_MWH,
) -> Tender:
    """Choose the bids that cover a need at least cost.

    Parameters
    ----------
    need : SeasonNeed
        The need of one congestion point.
    bids : sequence of AvailabilityContract
        Those of the other direction are left out, by name.
    direction : {"inject", "withdraw"}
        Direction of the need.
    timezone : str
        Zone of the windows.
    mtu_minutes : int
        Length of the periods in which the windows are looked at [min].
    effect : mapping of bid id to number, optional
        Relief by one MW of a bid relative to one MW where the need is stated; 1 by default.
    shortage_eur_per_mwh : float
        Price of what nobody covers [EUR/MWh].
    """
    taken = tuple(bid for bid in bids if bid.direction == direction)
    remarks = [
        f"bid {bid.id} offers to {bid.direction}; the need is to {direction}"
        for bid in bids
        if bid.direction != direction
    ]
    if not taken:
        problem = Problem(where="bids", what=f"none offers to {direction}")
        raise InputError([problem])
    if effect is None:
        remarks.append("every MW counts alike: no study was given to take network effects from")
    relief = np.array([1.0 if effect is None else effect[bid.id] for bid in taken])
    result = choose_contracts(
        TenderCase(
            need_mw=need.need_mw,
            expected_mw=need.expected_mw,
            hours=need.hours,
            window=np.array([_window(bid, need, timezone, mtu_minutes) for bid in taken]),
            power_mw=np.array([bid.power_mw for bid in taken]),
            effect=np.maximum(relief, 0.0),
            fee_eur_per_mw_h=_per_unit([bid.availability_micro_eur_per_mw_h for bid in taken]),
            utilisation_eur_per_mwh=_per_unit([bid.utilisation_micro_eur_per_mwh for bid in taken]),
            energy_mwh_max=np.array([_energy_mwh_max(bid) for bid in taken]),
            shortage_eur_per_mwh=shortage_eur_per_mwh,
        )
    )
    return Tender(need=need, bids=taken, effect=relief, result=result, remarks=tuple(remarks))


def network_effects(
    case: ClearingCase, point: CongestionPoint, bids: Sequence[AvailabilityContract]
) -> dict[str, float]:
    """Return what a MW of each bid does to the point's nearest limit, relative to the point's own.

    The limit is the one that the expected profiles of the case bring closest to its bound.

    Raises
    ------
    InputError
        Elements or buses that the grid does not have.
    """
    refuse_if_any(unknown_elements(case, [point]))
    rows = {int(bus): row for row, bus in enumerate(case.network.buses.index)}
    refuse_if_any(
        Problem(where=f"bid {bid.id}", what=f"there is no bus {bus}")
        for bid in bids
        for bus, _ in bid.buses
        if bus not in rows
    )

    def shares(buses: Sequence[tuple[int, float]]) -> Floats:
        found = np.zeros(len(rows))
        for bus, share in buses:
            found[rows[bus]] += share
        return found

    wanted = [shares(point.buses), *(shares(bid.buses) for bid in bids)]
    slopes = bus_effects(expected_grid(case), frozenset(point.elements), wanted)
    if abs(slopes[0]) < 1e-9:
        what = "power at its buses does not move its nearest limit"
        raise InputError([Problem(where=f"congestion point {point.id}", what=what)])
    return {bid.id: float(slopes[1 + k] / slopes[0]) for k, bid in enumerate(bids)}


def _window(
    bid: AvailabilityContract, need: SeasonNeed, timezone: str, mtu_minutes: int
) -> NDArray[np.bool_]:
    return np.array(
        [
            bid.window(Periods(start=parse_utc(start), count=1, mtu_minutes=mtu_minutes), timezone)[
                0
            ]
            for start in need.starts
        ]
    )


def _energy_mwh_max(bid: AvailabilityContract) -> float:
    if bid.activations_max is None:
        return float("inf")
    left = max(0, bid.activations_max - bid.activations_used)
    return bid.power_mw * bid.duration_h_max * left


def _per_unit(micro: Sequence[int]) -> Floats:
    return np.array(micro, dtype=float) / MICRO_PER_UNIT


def tender_files(tender: Tender) -> dict[str, bytes]:
    """Return all files of a tender by name."""
    result = tender.result
    bids: dict[str, Column] = {
        "bid": [bid.id for bid in tender.bids],
        "participant": [bid.participant for bid in tender.bids],
        "accepted": ["true" if won else "false" for won in result.accepted.tolist()],
        "power_mw": np.array([bid.power_mw for bid in tender.bids]),
        "effect": tender.effect,
        "availability_eur_per_mw_h": _per_unit(
            [bid.availability_micro_eur_per_mw_h for bid in tender.bids]
        ),
        "utilisation_eur_per_mwh": _per_unit(
            [bid.utilisation_micro_eur_per_mwh for bid in tender.bids]
        ),
        "called_mwh": result.called_mwh,
    }
    rows: dict[str, Column] = {
        "period_start": tender.need.starts,
        "hours": tender.need.hours,
        "need_mw": tender.need.need_mw,
        "covered_mw": result.covered_mw,
        "short_mw": result.short_mw,
    }
    return {
        CONTRACTS_JSON: pretty_json([contract_to_plain(bid) for bid in tender.winners]),
        BIDS_CSV: table_bytes(bids),
        TENDER_CSV: table_bytes(rows),
        TENDER_JSON: pretty_json(
            {
                "accepted": [bid.id for bid in tender.winners],
                "fee_eur": result.fee_eur,
                "utilisation_eur": result.utilisation_eur,
                "short_mw_max": float(result.short_mw.max(initial=0.0)),
                "total_eur": result.total_eur,
                "bound_eur": result.bound_eur,
                "remarks": list(tender.remarks),
            }
        ),
    }
