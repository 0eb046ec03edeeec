"""What the TOML files may say, checked by pydantic; read by `dso.config` and by nothing else."""

from __future__ import annotations

from datetime import date, time
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from data.study.order_rules import is_multiple
from data.units import AWARD_TICK_MW
from flexibility.procurement.border import is_entity_address

MINUTES_PER_DAY = 1440
Identifier = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
NonNegative = Annotated[float, Field(ge=0.0)]
Source = Annotated[str, Field(min_length=1, max_length=100)]


class Strict(BaseModel):
    """Refuses unknown names, NaN, infinity and text where a number belongs."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, strict=True, frozen=True)


class Versioned(Strict):
    """A file with an id, a version and the delivery days it holds for."""

    id: Identifier
    version: Annotated[int, Field(ge=1)]
    effective_from: date
    effective_to: date | None = None

    @model_validator(mode="after")
    def _dates_in_order(self) -> Self:
        if self.effective_to is not None and self.effective_to <= self.effective_from:
            raise ValueError("effective_to (exclusive) must be later than effective_from")
        return self


class DayAheadSchema(Strict):
    """Times of the day-ahead cycle."""

    days_before: Annotated[int, Field(ge=1, le=7)]
    gate: time
    result_by: time

    @field_validator("gate", "result_by", mode="before")
    @classmethod
    def _clock_time(cls, value: object) -> object:
        # "13:30" is what people write; TOML's own local time 13:30:00 is read too.
        return time.fromisoformat(value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _result_after_gate(self) -> Self:
        if self.result_by <= self.gate:
            raise ValueError("result_by must be later than gate")
        return self


class IntradaySchema(Strict):
    """Times of the intraday cycle."""

    every_minutes: Annotated[int, Field(ge=1, le=MINUTES_PER_DAY)]
    gate_lead_minutes: Annotated[int, Field(ge=0, le=MINUTES_PER_DAY)]
    binding_periods: Annotated[int, Field(ge=1)]


class PriceSchema(Strict):
    """Bounds and quanta of prices."""

    eur_per_mwh_min: float
    eur_per_mwh_max: float
    tick_eur_per_mwh: Annotated[float, Field(gt=0.0)]
    scarcity_eur_per_mwh: float

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.eur_per_mwh_min < self.eur_per_mwh_max < self.scarcity_eur_per_mwh:
            raise ValueError(
                "eur_per_mwh_min < eur_per_mwh_max < scarcity_eur_per_mwh must hold, or an offer "
                "would be worth more than a broken limit"
            )
        return self


class OrderSchema(Strict):
    """Quantum and least size of the powers in orders."""

    power_tick_mw: Annotated[float, Field(ge=AWARD_TICK_MW)]
    power_min_mw: NonNegative

    @field_validator("power_tick_mw")
    @classmethod
    def _whole_award_ticks(cls, value: float) -> float:
        if not is_multiple(np.array(value), AWARD_TICK_MW):
            raise ValueError("must be a whole multiple of 0.000001 MW, the tick of awards")
        return value


class SettlementSchema(Strict):
    """Rules of settlement."""

    imbalance: Literal["single", "dual"]
    imbalance_spread_eur_per_mwh: NonNegative = 0.0
    refund: Literal["pro_rata_withdrawal", "pro_rata_capacity", "retain"]
    settle_reactive: bool = False


class CollateralSchema(Strict):
    """What orders are counted at before they enter a book; without it no collateral is asked."""

    shortfall_eur_per_mwh: NonNegative


class SecuritySchema(Strict):
    """What the forecast's uncertainty takes off the limits; nothing by default."""

    margin_quantile: Annotated[float, Field(gt=0.5, lt=1.0)] | None = None


class CyclesSchema(Strict):
    """When the operator's cycles run, and what they need; every field has its default."""

    settlement_at: time = time(6)
    settlement_days_after: Annotated[int, Field(ge=1, le=30)] = 1
    release_signatures: Annotated[int, Field(ge=0, le=5)] = 0
    attempts_max: Annotated[int, Field(ge=1, le=100)] = 3
    forecast_every_minutes: Annotated[int, Field(ge=15, le=1440, multiple_of=15)] = 60
    real_time_every_minutes: Annotated[int, Field(ge=1, le=60)] | None = None

    @field_validator("settlement_at", mode="before")
    @classmethod
    def _clock_time(cls, value: object) -> object:
        return time.fromisoformat(value) if isinstance(value, str) else value


class RealTimeSchema(Strict):
    """What holds where setpoints do not suffice, and what devices are sent ahead."""

    envelopes: Literal["max_min", "pro_rata"] = "max_min"
    shed: Literal["priority", "rotating"] = "priority"
    droops_ahead_minutes: Annotated[int, Field(ge=0, le=MINUTES_PER_DAY)] = 60


class MarketSchema(Versioned):
    """A file in ``configs/markets``."""

    timezone: str
    mtu_minutes: Annotated[int, Field(ge=1, le=60)]
    day_ahead: DayAheadSchema
    intraday: IntradaySchema
    price: PriceSchema
    order: OrderSchema
    settlement: SettlementSchema
    cycles: CyclesSchema = CyclesSchema()
    security: SecuritySchema = SecuritySchema()
    real_time: RealTimeSchema = RealTimeSchema()
    collateral: CollateralSchema | None = None

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError(f"{value!r} is no IANA time zone") from error
        return value

    @model_validator(mode="after")
    def _whole_periods(self) -> Self:
        if 60 % self.mtu_minutes:
            raise ValueError("mtu_minutes must divide the hour")
        if self.mtu_minutes % (self.cycles.real_time_every_minutes or self.mtu_minutes):
            raise ValueError("cycles.real_time_every_minutes must divide mtu_minutes")
        if self.intraday.every_minutes % self.mtu_minutes:
            raise ValueError("intraday.every_minutes must be whole periods")
        if self.intraday.binding_periods * self.mtu_minutes < self.intraday.every_minutes:
            raise ValueError(
                "intraday.binding_periods leave a gap before the next round: "
                "binding_periods x mtu_minutes must reach every_minutes"
            )
        return self


class ImportPriceSchema(Strict):
    """Where the wholesale price comes from."""

    source: Identifier
    weeks_later: int = 0


class PartySchema(Strict):
    """A participant."""

    id: Identifier


class SiteSchema(Strict):
    """Where the feeder is, when the network does not say."""

    latitude: Annotated[float, Field(ge=-90.0, le=90.0)]
    longitude: Annotated[float, Field(ge=-180.0, le=180.0)]


class OffersSchema(Strict):
    """What the aggregators' assets ask: the values of `flexibility.policy.OfferPolicy`."""

    generation_price_eur_per_mwh: dict[str, float]
    reactive_power_factor_min: dict[str, Annotated[float, Field(gt=0.0, le=1.0)]]
    storage_energy_share_start: Share
    storage_price_eur_per_mwh: NonNegative
    storage_self_discharge_per_day: Share
    flexible_load_every: Annotated[int, Field(ge=0)]
    flexible_load_share: Share
    flexible_load_price_eur_per_mwh: float
    must_take_price_eur_per_mwh: float

    @model_validator(mode="after")
    def _must_take_is_worth_more(self) -> Self:
        if self.must_take_price_eur_per_mwh < self.flexible_load_price_eur_per_mwh:
            raise ValueError(
                "must_take_price_eur_per_mwh must not be below flexible_load_price_eur_per_mwh"
            )
        return self


class LimitsSchema(Strict):
    """Limits for all elements of a kind, where the network states none."""

    vm_pu_min: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    vm_pu_max: Annotated[float, Field(ge=1.0, lt=2.0)] | None = None
    line_loading_percent_max: Annotated[float, Field(gt=0.0)] | None = None
    trafo_loading_percent_max: Annotated[float, Field(gt=0.0)] | None = None


class WeatherSchema(Strict):
    """Forecasts of the weather by third parties, for a feeder whose model needs them."""

    files: Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)]
    age_h_max: Annotated[float, Field(gt=0.0)] = 24.0


class ForecastSourcesSchema(Strict):
    """Whose forecast serves: ``own``, ``mandate`` (whoever may trade for it) or a party's id."""

    feeder: Source = "own"
    by_class: dict[Literal["load", "pv", "wind", "other"], Source] = {}
    by_connection: dict[Annotated[str, Field(min_length=1)], Source] = {}
    age_h_max: Annotated[float, Field(gt=0.0)] = 24.0


class CongestionPointSchema(Strict):
    """A named set of elements that flexibility is bought for."""

    id: Annotated[str, Field(min_length=1)]
    name: str = ""
    elements: Annotated[
        list[Annotated[str, Field(pattern=r"^(bus|line|trafo):[0-9]{1,9}$")]], Field(min_length=1)
    ]
    bus: Annotated[int, Field(ge=0)]

    @field_validator("id")
    @classmethod
    def _entity_address(cls, value: str) -> str:
        if not is_entity_address(value):
            raise ValueError("must be ea1.YYYY-MM.domain:name, or ean. and 12 to 34 digits")
        return value


class FlexibilitySchema(Strict):
    """When flexibility is bought, and where messages of the parties are received."""

    purchase_at: time = time(16)
    messages: Annotated[str, Field(min_length=1)] | None = None

    @field_validator("purchase_at", mode="before")
    @classmethod
    def _clock_time(cls, value: object) -> object:
        return time.fromisoformat(value) if isinstance(value, str) else value


class FeederSchema(Versioned):
    """A file in ``configs/feeders``."""

    name: str
    network: Annotated[str, Field(min_length=1)]
    market: Identifier
    operator: Annotated[str, Field(min_length=1)]
    import_price: ImportPriceSchema
    default_participant: PartySchema
    aggregators: Annotated[list[PartySchema], Field(min_length=1)]
    offers: OffersSchema
    site: SiteSchema | None = None
    profiles: Annotated[str, Field(min_length=1)] | None = None
    limits: LimitsSchema = LimitsSchema()
    forecast_model: Literal["like-day", "boosted-day", "weather"] = "like-day"
    weather: WeatherSchema | None = None
    forecast_sources: ForecastSourcesSchema = ForecastSourcesSchema()
    congestion_points: list[CongestionPointSchema] = []
    contracts: list[Annotated[str, Field(min_length=1)]] = []
    flexibility: FlexibilitySchema = FlexibilitySchema()

    @model_validator(mode="after")
    def _weather_has_files(self) -> Self:
        if (self.forecast_model == "weather") != (self.weather is not None):
            raise ValueError('forecast_model = "weather" and [weather] with its files go together')
        return self

    @model_validator(mode="after")
    def _points_differ(self) -> Self:
        ids = [point.id for point in self.congestion_points]
        twice = sorted({name for name in ids if ids.count(name) > 1})
        if twice:
            raise ValueError(f"congestion points named twice: {', '.join(twice)}")
        return self

    @model_validator(mode="after")
    def _parties_differ(self) -> Self:
        ids = [party.id for party in (*self.aggregators, self.default_participant)]
        twice = sorted({name for name in ids if ids.count(name) > 1})
        if twice:
            raise ValueError(f"participants named twice: {', '.join(twice)}")
        return self
