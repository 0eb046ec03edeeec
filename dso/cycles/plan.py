"""The plan of a delivery day: everything it reads, validated before anything is written."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from data.canonical import canonical_json, sha256_hex
from data.errors import InputError, Problem, refuse_if_any
from data.periods import DeliveryDay, Periods, format_utc
from data.readers.simbench import PROFILE_STEP_MINUTES, SimbenchGrid
from data.records.clearing import Limits
from data.records.forecast import Forecast
from data.records.network import Network
from data.records.order import Order
from data.study.limits import limits_in_force
from dso.bootstrap import STORE_FILE, load_grid, wholesale_price
from dso.config import Feeder, MarketRules
from dso.cycles.recorded import Recorded, read_recorded
from flexibility.offers import make_orders
from forecasting.readings import DEFAULT_QUANTILES, feeder_of_network

Floats = NDArray[np.float64]
T = TypeVar("T")
ABOUT_FILE: Final = "day.json"
READINGS_MIN: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One intraday round: its gate, the periods it clears and how many of them bind.

    ``number`` counts from 1; ``first`` is the index of its first period in the day.
    """

    number: int
    first: int
    periods: Periods
    binding: int
    gate: datetime

    @property
    def label(self) -> str:
        """Name of its folder: the first period, e.g. ``20160724T2200Z``."""
        return self.periods.start.strftime("%Y%m%dT%H%MZ")


@dataclass(frozen=True, slots=True, kw_only=True)
class DayPlan:
    """What a delivery day is run on.

    Parameters
    ----------
    delivery : DeliveryDay
        The day in the market's zone.
    periods : Periods
        Its periods.
    out : Path
        The day folder.
    feeder, rules : Feeder, MarketRules
        Configuration in force on the day.
    limits : Limits
        The network's own limits, with the rule set's scarcity price.
    recorded : Recorded
        Readings, and the truth of the day.
    import_price_eur_per_mwh : ndarray, shape (periods,)
        Wholesale price at the substation [EUR/MWh].
    """

    delivery: DeliveryDay
    periods: Periods
    out: Path
    feeder: Feeder
    rules: MarketRules
    limits: Limits
    recorded: Recorded
    import_price_eur_per_mwh: Floats

    @property
    def network(self) -> Network:
        """The grid."""
        return self.recorded.network

    @property
    def day_ahead_gate(self) -> datetime:
        """Gate of the day-ahead market, UTC."""
        return self.delivery.instant(
            self.rules.day_ahead_gate, days_before=self.rules.day_ahead_days_before
        )

    def rounds(self) -> tuple[Round, ...]:
        """Return the intraday rounds of the day, first to last."""
        return intraday_rounds(self.rules, self.periods)

    def about(self) -> dict[str, object]:
        """Return what ``day.json`` says before anything has run."""
        return {
            "day": self.delivery.day.isoformat(),
            "timezone": self.delivery.timezone,
            "mtu_minutes": self.delivery.mtu_minutes,
            "feeder": self.feeder.name,
            "feeder_id": self.feeder.id,
            "feeder_version": self.feeder.version,
            "network_ref": self.feeder.network,
            "market": f"{self.rules.id}, rule set {self.rules.version}",
            "market_id": self.rules.id,
            "operator": self.feeder.operator,
        }

    def sha256(self) -> str:
        """Return a digest of everything the day reads beside its own files."""
        power = self.recorded.power
        arrays = (
            power.load_p_mw, power.load_q_mvar, power.sgen_p_mw, power.sgen_q_mvar,
            self.import_price_eur_per_mwh,
        )  # fmt: skip
        parts = {
            "about": self.about(),
            "feeder": self.feeder.sha256,
            "rules": self.rules.sha256,
            "recorded_from": format_utc(self.recorded.periods.start),
            "recorded": [sha256_hex(array.astype("<f8").tobytes()) for array in arrays],
            "version": version("gridclear"),
        }
        if self.recorded.received_until is not None:
            parts["received_until"] = format_utc(self.recorded.received_until)
        return sha256_hex(canonical_json(parts))


def intraday_rounds(rules: MarketRules, periods: Periods) -> tuple[Round, ...]:
    """Return the intraday rounds of a day with these periods, first to last."""
    step = rules.intraday_every_minutes // rules.mtu_minutes
    lead = timedelta(minutes=rules.intraday_gate_lead_minutes)
    found: list[Round] = []
    for first in range(0, len(periods), step):
        rest = periods.from_index(first)
        found.append(
            Round(
                number=len(found) + 1,
                first=first,
                periods=rest,
                binding=min(rules.intraday_binding_periods, len(rest)),
                gate=rest.start - lead,
            )
        )
    return tuple(found)


def plan_day(
    *,
    day: date,
    out: Path,
    feeder: Feeder,
    rules: MarketRules,
    grid: SimbenchGrid | None = None,
    received_until: datetime | None = None,
) -> DayPlan:
    """Read and validate everything a delivery day needs; nothing is written.

    Parameters
    ----------
    day : date
        Local delivery day.
    out : Path
        The day folder: new, empty, or of the same day.
    feeder, rules : Feeder, MarketRules
        Configuration in force on the day.
    grid : SimbenchGrid, optional
        The feeder's grid with its records; loaded by the feeder's reference when absent.
    received_until : datetime, optional
        When the feed of readings stopped, to rehearse that; None: it never did.

    Raises
    ------
    InputError
        All problems together: rules this version cannot run, gaps and NaN in the records, missing
        limits, technologies without a price, a folder that holds something else.
    """
    problems: list[Problem] = []

    def attempt(read: Callable[[], T]) -> T | None:
        try:
            return read()
        except InputError as error:
            problems.extend(error.problems)
            return None

    delivery = DeliveryDay(day=day, timezone=rules.timezone, mtu_minutes=rules.mtu_minutes)
    periods = delivery.periods
    problems += _rule_problems(rules)
    price = attempt(lambda: wholesale_price(feeder, periods, rules.timezone))
    known = grid or attempt(lambda: load_grid(feeder))
    recorded, limits = None, None
    if known is not None:
        network = known.network
        limits = limits_in_force(network, feeder.limits, rules.scarcity_price_eur_per_mwh, problems)
        recorded = attempt(lambda: _read_recorded(known, feeder, rules, periods))
        attempt(lambda: rehearse_orders(network, feeder, periods))
    if price is None or recorded is None or limits is None:
        raise InputError(problems)
    plan = DayPlan(
        delivery=delivery,
        periods=periods,
        out=out,
        feeder=feeder,
        rules=rules,
        limits=limits,
        recorded=replace(recorded, received_until=received_until),
        import_price_eur_per_mwh=price,
    )
    problems += _history_problems(plan) + _folder_problems(plan)
    refuse_if_any(problems)
    return plan


def _rule_problems(rules: MarketRules) -> list[Problem]:
    where = f"market {rules.id}"
    problems = []
    if rules.mtu_minutes != PROFILE_STEP_MINUTES:
        what = f"mtu_minutes is {rules.mtu_minutes}, the recorded profiles have quarter-hours"
        problems.append(Problem(where=where, what=what, remedy="mtu_minutes = 15"))
    return problems


def _read_recorded(
    grid: SimbenchGrid, feeder: Feeder, rules: MarketRules, periods: Periods
) -> Recorded:
    network = grid.network
    if feeder.latitude is not None and feeder.longitude is not None:
        # The feeder's own place holds, also where the network knows none.
        there = np.ones(len(network.buses.index))
        buses = replace(
            network.buses, latitude=feeder.latitude * there, longitude=feeder.longitude * there
        )
        network = replace(network, buses=buses)
    expected = feeder_of_network(network, rules.timezone)
    return read_recorded(grid, expected, periods)


def rehearse_orders(network: Network, feeder: Feeder, periods: Periods) -> tuple[Order, ...]:
    """Make the orders on a forecast of nothing: finds what the real ones would be refused for.

    They say whose each asset is; powers are nothing.
    """
    series = [f"load:{i}" for i in network.loads.index]
    series += [f"sgen:{i}" for i in network.sgens.index]
    nothing = Forecast(
        series=tuple(series),
        periods=periods,
        quantiles=DEFAULT_QUANTILES,
        value_mw=np.zeros((len(series), len(periods), len(DEFAULT_QUANTILES))),
        known_at=periods.start,
        model_id="rehearsal",
    )
    return make_orders(network=network, forecast=nothing, periods=periods, policy=feeder.offers)


def _history_problems(plan: DayPlan) -> list[Problem]:
    history = plan.day_ahead_gate - plan.recorded.periods.start
    if history >= READINGS_MIN:
        return []
    first = plan.recorded.periods.start
    what = f"only {max(history / timedelta(hours=1), 0):g} h of readings before the day-ahead gate"
    remedy = f"readings begin {format_utc(first)}; choose a day at least two days later"
    return [Problem(where=f"day {plan.delivery.day}", what=what, remedy=remedy)]


def _folder_problems(plan: DayPlan) -> list[Problem]:
    """Refuse a folder that holds another day or something that is no day at all."""
    out = plan.out
    if out.exists() and not out.is_dir():
        return [Problem(where=str(out), what="is a file", remedy="name a folder with --out")]
    # A kill may leave a store without anything in it, or a file that was being written.
    ours = (".", STORE_FILE)
    if not out.exists() or all(entry.name.startswith(ours) for entry in out.iterdir()):
        return []
    try:
        about = json.loads((out / ABOUT_FILE).read_text(encoding="utf-8"))
        held = {name: about[name] for name in plan.about()}
    except (OSError, ValueError, KeyError, TypeError):
        what = "holds files and no delivery day"
        return [Problem(where=str(out), what=what, remedy="name another folder with --out")]
    if held != plan.about():
        what = f"holds {held['day']} of feeder {held['feeder_id']}, or other rules"
        return [Problem(where=str(out), what=what, remedy="name another folder with --out")]
    return []
