"""Rule sets and feeders from ``configs/``: read, validated once, the version of the day chosen.

A file holds one version. Of all files in a folder with the wanted id, the one whose
``[effective_from, effective_to)`` holds the delivery day is in force; two that overlap are an
error. What leaves this module is frozen and carries the digest of its file.
"""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, time
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeVar

from data.canonical import sha256_hex
from data.errors import InputError, Problem
from data.records.order_rules import OrderRules
from flexibility.policy import OfferPolicy
from flexibility.procurement.records import CongestionPoint

if TYPE_CHECKING:
    from dso.config_schema import FeederSchema, MarketSchema, Versioned

S = TypeVar("S", bound="Versioned")

OWN: Final = "own"
# Beside the package both in a checkout and in an installed wheel (see pyproject.toml).
CONFIG_FOLDER: Final = Path(__file__).resolve().parent.parent / "configs"


@dataclass(frozen=True, slots=True, kw_only=True)
class CycleRules:
    """When cycles run, and what they need.

    Parameters
    ----------
    settlement_at : time
        Local clock time of the settlement.
    settlement_days_after : int
        How many days after delivery it runs.
    release_signatures : int
        People who must sign a clearing before it binds anybody; 0: nobody.
    attempts_max : int
        Attempts at a cycle before its fallback is taken.
    forecast_every_minutes : int
        How often a forecast takes in the newest readings, beside every gate [min].
    real_time_every_minutes : int or None
        How often setpoints are told, a divisor of the market time unit [min]; None: once a period.
    """

    settlement_at: time = time(6)
    settlement_days_after: int = 1
    release_signatures: int = 0
    attempts_max: int = 3
    forecast_every_minutes: int = 60
    real_time_every_minutes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RealTimeRules:
    """What holds where setpoints do not suffice, and what devices are sent ahead.

    Parameters
    ----------
    envelopes : str
        Fairness rule of operating envelopes, one of `opf.problems.envelopes.FAIRNESS_RULES`.
    shed : str
        Order of the shed list, one of `opf.problems.shed.SHED_RULES`.
    droops_ahead_minutes : int
        How long before delivery begins devices are sent the droops of the day [min].
    """

    envelopes: Literal["max_min", "pro_rata"] = "max_min"
    shed: Literal["priority", "rotating"] = "priority"
    droops_ahead_minutes: int = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketRules:
    """A rule set of a market, in force on the day it was asked for.

    Parameters
    ----------
    id, version, sha256
        Which file it came from.
    timezone : str
        IANA zone of delivery days and gates.
    mtu_minutes : int
        Market time unit [min].
    day_ahead_days_before : int
        How many days before delivery the day-ahead gate lies.
    day_ahead_gate, day_ahead_result_by : time
        Local clock times.
    intraday_every_minutes, intraday_gate_lead_minutes : int
        Distance of the rounds, and from gate to delivery [min].
    intraday_binding_periods : int
        Periods of a round that change positions.
    order_rules : OrderRules
        Bounds and quanta of the prices and powers in orders.
    scarcity_price_eur_per_mwh : float
        Price of a limit that cannot hold [EUR/MWh].
    imbalance, imbalance_spread_eur_per_mwh, refund, settle_reactive
        Settlement rules (docs: settlement).
    cycles : CycleRules
        When cycles run, and what they need.
    real_time : RealTimeRules
        What holds where setpoints do not suffice.
    margin_quantile : float or None
        Quantile of the joint scenarios that sets security margins on limits, in (0.5, 1); None: the
        limits hold in full.
    shortfall_eur_per_mwh : float or None
        What energy sold and not delivered is counted at when an order's collateral is checked
        [EUR/MWh]; None: no collateral is asked for.
    """

    id: str
    version: int
    sha256: str
    timezone: str
    mtu_minutes: int
    day_ahead_days_before: int
    day_ahead_gate: time
    day_ahead_result_by: time
    intraday_every_minutes: int
    intraday_gate_lead_minutes: int
    intraday_binding_periods: int
    order_rules: OrderRules
    scarcity_price_eur_per_mwh: float
    imbalance: Literal["single", "dual"]
    imbalance_spread_eur_per_mwh: float
    refund: Literal["pro_rata_withdrawal", "pro_rata_capacity", "retain"]
    settle_reactive: bool
    cycles: CycleRules = CycleRules()
    real_time: RealTimeRules = RealTimeRules()
    margin_quantile: float | None = None
    shortfall_eur_per_mwh: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastSources:
    """Whose forecast serves where: ``own``, ``mandate``, or the id of a party.

    ``mandate`` is whoever may trade for the connection. What is said of a connection point counts
    before what is said of a class (``load``, ``pv``, ``wind``, ``other``), and that before
    ``feeder``. A forecast is issued at most ``age_h_max`` [h] before the gate.
    """

    feeder: str = OWN
    by_class: Mapping[str, str] = field(default_factory=dict)
    by_connection: Mapping[str, str] = field(default_factory=dict)
    age_h_max: float = 24.0

    @property
    def asks(self) -> bool:
        """Whether anybody else's forecast is wanted anywhere."""
        named = {self.feeder, *self.by_class.values(), *self.by_connection.values()}
        return named != {OWN}

    def source_of(self, connection_point: str | None, kind: str) -> str:
        """Return whose forecast serves for a class of asset at a connection point."""
        of_class = self.by_class.get(kind, self.feeder)
        if connection_point is None:
            return of_class
        return self.by_connection.get(connection_point, of_class)


@dataclass(frozen=True, slots=True, kw_only=True)
class Feeder:
    """A feeder and who acts on it, in force on the day it was asked for.

    ``latitude``/``longitude`` [deg] are None when the network's own coordinates hold.
    ``import_price_weeks_later`` is how many weeks after the delivery day the stand-in wholesale
    price is taken. ``offers`` names the aggregators and what their assets ask. ``forecast_model``
    serves day-ahead: ``like-day``, ``boosted-day`` or ``weather``, which reads ``weather_files``
    issued at most ``weather_age_h_max`` [h] before the gate; ``forecast_sources`` says where
    the forecasts of others serve in its place. ``profiles`` is the SimBench grid whose recorded
    profiles the elements follow, None where the network has its own; ``limits`` hold for all
    elements of a kind, by field name of `data.records.clearing.Limits`. Each forecast is
    followed by a flexibility request for the ``congestion_points``; ``contract_files`` hold
    availability contracts, whose capacity every clearing keeps free. What the day-ahead
    clearing leaves unsolved is bought at ``purchase_at``, local clock time of the day-ahead
    gate's day, None without congestion points; ``message_folder`` has a folder of received
    messages for each day.
    """

    id: str
    version: int
    sha256: str
    name: str
    network: str
    market: str
    operator: str
    import_price_source: str
    import_price_weeks_later: int
    default_participant: str
    offers: OfferPolicy
    latitude: float | None
    longitude: float | None
    forecast_model: Literal["like-day", "boosted-day", "weather"] = "like-day"
    weather_files: tuple[Path, ...] = ()
    weather_age_h_max: float = 24.0
    forecast_sources: ForecastSources = field(default_factory=ForecastSources)
    profiles: str | None = None
    limits: Mapping[str, float] = field(default_factory=dict)
    congestion_points: tuple[CongestionPoint, ...] = ()
    contract_files: tuple[Path, ...] = ()
    purchase_at: time | None = None
    message_folder: Path | None = None


def load_market(market: str, day: date, *, folder: Path = CONFIG_FOLDER) -> MarketRules:
    """Return the rule set of a market in force on a delivery day.

    Parameters
    ----------
    market : str
        Id of the rule set, or a TOML file.
    day : date
        Local delivery day.
    folder : Path
        Folder with ``markets/`` and ``feeders/``.

    Raises
    ------
    InputError
        All problems of all files concerned, or that none is in force.
    """
    from dso.config_schema import MarketSchema

    schema, digest, _ = _in_force(MarketSchema, market, day, folder / "markets")
    return _market_rules(schema, digest)


def market_file(market: str, day: date, *, folder: Path = CONFIG_FOLDER) -> str:
    """Return the text of the file that `load_market` reads."""
    from dso.config_schema import MarketSchema

    return _in_force(MarketSchema, market, day, folder / "markets")[2].read_text(encoding="utf-8")


def load_feeder(feeder: str, day: date, *, folder: Path = CONFIG_FOLDER) -> Feeder:
    """Return a feeder in force on a delivery day; as `load_market`, from ``feeders/``."""
    from dso.config_schema import FeederSchema

    schema, digest, path = _in_force(FeederSchema, feeder, day, folder / "feeders")
    return _feeder(schema, digest, path.parent)


def _in_force(schema: type[S], wanted: str, day: date, folder: Path) -> tuple[S, str, Path]:
    if wanted.endswith(".toml"):
        paths: Sequence[Path] = [Path(wanted)]
    else:
        paths = sorted(folder.glob("*.toml"))
    problems: list[Problem] = []
    versions: list[tuple[S, str, Path]] = []
    for path in paths:
        versions.extend(_read(schema, path, problems))
    known = sorted({entry.id for entry, _, _ in versions})
    if not wanted.endswith(".toml"):
        versions = [version for version in versions if version[0].id == wanted]
    problems.extend(_overlaps(versions))
    holding = [
        (entry, digest, path)
        for entry, digest, path in versions
        if entry.effective_from <= day and (entry.effective_to is None or day < entry.effective_to)
    ]
    if not problems and not versions:
        remedy = f"known: {', '.join(known)}" if known else "no file there; name a TOML file"
        problems.append(Problem(where=str(folder), what=f"no {wanted!r}", remedy=remedy))
    elif not problems and not holding:
        spans = "; ".join(f"version {e.version}: {_span(e)}" for e, _, _ in versions)
        problems.append(
            Problem(where=wanted, what=f"no version in force on {day}", remedy=f"there is {spans}")
        )
    if problems:
        raise InputError(problems)
    return holding[0]


def _read(schema: type[S], path: Path, problems: list[Problem]) -> list[tuple[S, str, Path]]:
    from pydantic import ValidationError

    try:
        content = path.read_bytes()
        table = tomllib.loads(content.decode())
        return [(schema.model_validate(table), sha256_hex(content), path)]
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        problems.append(Problem(where=str(path), what=f"cannot be read ({error})"))
    except ValidationError as error:
        for fault in error.errors(include_url=False):
            field = ".".join(str(part) for part in fault["loc"]) or "file"
            given = fault["input"]
            shown = "" if isinstance(given, dict | list) else f", got {given!r}"
            what = f"{field}: {fault['msg'].removeprefix('Value error, ')}{shown}"
            problems.append(Problem(where=str(path), what=what))
    return []


def _overlaps(versions: Sequence[tuple[Versioned, str, Path]]) -> list[Problem]:
    problems = []
    ordered = sorted(versions, key=lambda version: version[0].effective_from)
    for (earlier, _, earlier_path), (later, _, later_path) in itertools.pairwise(ordered):
        if earlier.effective_to is None or later.effective_from < earlier.effective_to:
            problems.append(
                Problem(
                    where=f"{earlier_path.name} and {later_path.name}",
                    what=f"both in force on {later.effective_from}",
                    remedy=f"set effective_to = {later.effective_from} in {earlier_path.name}",
                )
            )
        if earlier.version >= later.version:
            problems.append(
                Problem(
                    where=f"{earlier_path.name} and {later_path.name}",
                    what=f"version {later.version} begins after version {earlier.version}",
                    remedy="later rules carry the higher version",
                )
            )
    return problems


def _span(entry: Versioned) -> str:
    until = "open" if entry.effective_to is None else f"until before {entry.effective_to}"
    return f"from {entry.effective_from}, {until}"


def _market_rules(schema: MarketSchema, digest: str) -> MarketRules:
    return MarketRules(
        id=schema.id,
        version=schema.version,
        sha256=digest,
        timezone=schema.timezone,
        mtu_minutes=schema.mtu_minutes,
        day_ahead_days_before=schema.day_ahead.days_before,
        day_ahead_gate=schema.day_ahead.gate,
        day_ahead_result_by=schema.day_ahead.result_by,
        intraday_every_minutes=schema.intraday.every_minutes,
        intraday_gate_lead_minutes=schema.intraday.gate_lead_minutes,
        intraday_binding_periods=schema.intraday.binding_periods,
        order_rules=OrderRules(
            price_min_eur_per_mwh=schema.price.eur_per_mwh_min,
            price_max_eur_per_mwh=schema.price.eur_per_mwh_max,
            price_tick_eur_per_mwh=schema.price.tick_eur_per_mwh,
            power_tick_mw=schema.order.power_tick_mw,
            power_min_mw=schema.order.power_min_mw,
        ),
        scarcity_price_eur_per_mwh=schema.price.scarcity_eur_per_mwh,
        imbalance=schema.settlement.imbalance,
        imbalance_spread_eur_per_mwh=schema.settlement.imbalance_spread_eur_per_mwh,
        refund=schema.settlement.refund,
        settle_reactive=schema.settlement.settle_reactive,
        cycles=CycleRules(**schema.cycles.model_dump()),
        real_time=RealTimeRules(**schema.real_time.model_dump()),
        margin_quantile=schema.security.margin_quantile,
        shortfall_eur_per_mwh=(
            None if schema.collateral is None else schema.collateral.shortfall_eur_per_mwh
        ),
    )


def _feeder(schema: FeederSchema, digest: str, folder: Path) -> Feeder:
    weather = schema.weather
    return Feeder(
        id=schema.id,
        version=schema.version,
        sha256=digest,
        name=schema.name,
        network=schema.network,
        market=schema.market,
        operator=schema.operator,
        import_price_source=schema.import_price.source,
        import_price_weeks_later=schema.import_price.weeks_later,
        default_participant=schema.default_participant.id,
        offers=OfferPolicy(
            aggregators=tuple(party.id for party in schema.aggregators),
            **schema.offers.model_dump(),
        ),
        latitude=None if schema.site is None else schema.site.latitude,
        longitude=None if schema.site is None else schema.site.longitude,
        profiles=schema.profiles,
        limits=schema.limits.model_dump(exclude_none=True),
        forecast_model=schema.forecast_model,
        # Files lie beside the feeder's own, unless they say where.
        weather_files=() if weather is None else tuple(folder / name for name in weather.files),
        weather_age_h_max=24.0 if weather is None else weather.age_h_max,
        forecast_sources=ForecastSources(**schema.forecast_sources.model_dump()),
        contract_files=tuple(folder / name for name in schema.contracts),
        purchase_at=schema.flexibility.purchase_at if schema.congestion_points else None,
        message_folder=(
            None if schema.flexibility.messages is None else folder / schema.flexibility.messages
        ),
        congestion_points=tuple(
            CongestionPoint(
                id=point.id,
                name=point.name or point.id,
                elements=tuple(
                    (kind, int(index))
                    for kind, _, index in (text.partition(":") for text in point.elements)
                ),
                buses=((point.bus, 1.0),),
            )
            for point in schema.congestion_points
        ),
    )
