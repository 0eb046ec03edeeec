"""What requests say and answers hold; every text and number has its bounds."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
)

from data.records.order import OrderKind

Name = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@+-]*$", max_length=100)
]
# no control characters: a database refuses some, a log is broken by others
Text = Annotated[
    str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]+$", min_length=1, max_length=200)
]
ISO: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ]")
Whole = Annotated[int, Field(ge=0, le=10**12)]
Bus = Annotated[int, Field(ge=0, le=10**9)]


def _whole_seconds(value: datetime) -> datetime:
    if value.microsecond or value.year < 1970 or value.year > 2999:
        raise ValueError("state whole seconds between 1970 and 2999")
    return value.astimezone(UTC)


def _no_number(value: Any) -> Any:  # noqa: ANN401 - anything that a request may state
    """Refuse numbers, also as text: they would be taken for seconds since 1970."""
    if not isinstance(value, datetime) and not (isinstance(value, str) and ISO.match(value)):
        raise ValueError("state ISO 8601 with an offset")
    return value


Instant = Annotated[AwareDatetime, BeforeValidator(_no_number), AfterValidator(_whole_seconds)]
Day = Annotated[date, Field(ge=date(1970, 1, 1), le=date(2999, 12, 31))]
# An asset is an element of the grid model (feeder, then kind and index of the element), or a unit:
# a device that the model does not hold, on top of its profiles.
AssetName = Annotated[
    str,
    StringConstraints(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*/(sgen|load|storage|unit):[0-9]{1,9}$", max_length=100
    ),
]
Watts = Annotated[int, Field(ge=-(10**12), le=10**12)]
MicroEur = Annotated[int, Field(ge=-(10**15), le=10**15)]
Share = Annotated[float, Field(gt=0.0, le=1.0, allow_inf_nan=False)]


class Request(BaseModel):
    """A request says what we know, and nothing else."""

    model_config = ConfigDict(extra="forbid")


class TokenAnswer(BaseModel):
    """A token (RFC 6749 section 5.1)."""

    access_token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - the name of a kind
    expires_in: int


class PartyApplication(Request):
    """Who wants to take part."""

    name: Text = Field(examples=["Sun and Store GmbH"])
    role: Literal["aggregator", "prosumer", "supplier", "meter_data", "auditor", "planner"]
    certification: Text = Field(
        description="Proof of identity and of the certificate, by reference",
        examples=["register HRB 1234; ISO 27001 no. 77"],
    )


class PartyAnswer(BaseModel):
    """Credentials of an applicant; they work once the application is approved."""

    registration: int
    party: str
    client_id: str
    client_secret: str


class PointContent(Request):
    """Where a party is connected, and how much it may take and give [W]."""

    kind: Literal["connection_point"]
    id: Name = Field(examples=["cp-17"])
    feeder: Name
    bus: Bus
    party: Name
    import_w_max: Whole
    export_w_max: Whole


class AssetContent(Request):
    """A device at a connection point; capacities [W, Wh]."""

    kind: Literal["asset"]
    id: AssetName = Field(examples=["village/sgen:17"])
    connection_point: Name
    technology: Text = Field(examples=["pv"])
    import_w_max: Whole
    export_w_max: Whole
    energy_wh_max: Whole | None = None
    certification: Text


class MandateContent(Request):
    """The applicant lets ``agent`` act for it at one of its connection points."""

    kind: Literal["mandate"]
    agent: Name
    connection_point: Name
    scope: Literal["trade", "read", "dispatch"]


Content = Annotated[PointContent | AssetContent | MandateContent, Field(discriminator="kind")]


class Checks(Request):
    """What was looked at before a decision."""

    identity: bool = False
    certification: bool = False
    product: bool = False
    grid: bool = False


class Decision(Request):
    """Approve or refuse an application."""

    approve: bool
    checks: Checks = Checks()
    reason: Text


class RegistrationAnswer(BaseModel):
    """An application and where it stands."""

    id: int
    kind: str
    applicant: str
    content: dict[str, Any]
    state: Literal["applied", "approved", "refused"]
    checks: dict[str, Any]
    reason: str
    applied_at: str
    decided_at: str | None


class OrderRequest(Request):
    """An order for a delivery day; ``terms`` are the fields of its kind in market-rules.md."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "asset": "village/sgen:17",
                    "delivery_day": "2026-11-23",
                    "kind": "generation",
                    "terms": {"p_mw_max": 0.02, "price_eur_per_mwh": 5.0},
                }
            ]
        },
    )
    asset: AssetName | None = Field(default=None, description="Whose order it is")
    portfolio: dict[AssetName, Share] | None = Field(
        default=None,
        description="Instead of one asset: shares of several units, sum 1",
        min_length=1,
        max_length=200,
    )
    delivery_day: Day
    market: Literal["day_ahead", "intraday"] = Field(
        default="day_ahead",
        description="Intraday: restates a day-ahead order in every round whose gate is to come",
    )
    kind: OrderKind
    terms: dict[str, JsonValue]


class BulkOrders(Request):
    """Many orders; all are taken or none."""

    orders: list[OrderRequest] = Field(min_length=1)


class OrderAnswer(BaseModel):
    """An order as it was received; ``in_book`` says whether its commit preceded the gate."""

    id: str
    asset: str | None = None
    portfolio: dict[str, float] | None = None
    delivery_day: str
    market: Literal["day_ahead", "intraday"] = "day_ahead"
    kind: str
    terms: dict[str, Any]
    exposure_micro_eur: int | None = None
    state: Literal["booked", "late", "cancelled"]
    in_book: bool
    received_at: str = Field(examples=["2026-11-22T11:59:30.123456Z"])
    gate: str | None = None
    cancelled_at: str | None = None
    cancel_reason: str | None = None
    awards: list[dict[str, Any]] | None = None


class BulkAnswer(BaseModel):
    """The orders of a bulk request, in its order."""

    orders: list[OrderAnswer]


class CancelRequest(Request):
    """Why an order is withdrawn."""

    reason: Text


class ReadingRequest(Request):
    """Energy of one period at a connection point [Wh, varh, mV, mHz]."""

    connection_point: Name
    period_start: Instant = Field(examples=["2026-11-22T12:00:00Z"])
    period_minutes: Literal[5, 10, 15, 30, 60] = 15
    import_wh: Whole
    export_wh: Whole
    import_varh: Whole | None = None
    export_varh: Whole | None = None
    voltage_mv: Whole | None = None
    frequency_mhz: Whole | None = None
    quality: Literal["measured", "estimated", "substituted"] = "measured"


class BulkReadings(Request):
    """Many readings; all are taken or none."""

    readings: list[ReadingRequest] = Field(min_length=1)


class ReadingAnswer(BaseModel):
    """How many readings were new, and how many were known with these very values."""

    accepted: int
    known: int


class Page(BaseModel):
    """Rows in their guaranteed order; ``next`` is the cursor of the page after, or null."""

    items: list[dict[str, Any]]
    next: str | None


class Head(BaseModel):
    """Newest signed head of a log."""

    size: int
    root: str
    checkpoint: str


class Proof(BaseModel):
    """RFC 9162 proof, digests in hex."""

    leaf: str | None
    size: int
    path: list[str]


class DepositRequest(Request):
    """Collateral that a party left; negative: given back [micro-EUR]."""

    party: Name
    amount_micro_eur: MicroEur = Field(examples=[500_000_000])
    reason: Text


class DepositAnswer(BaseModel):
    """A deposit as it was entered."""

    id: int
    party: str
    amount_micro_eur: int
    reason: str
    at_utc: str


class CollateralAnswer(BaseModel):
    """What a party left, owes and has booked, and what is free [micro-EUR]."""

    party: str
    deposit_micro_eur: int
    owed_micro_eur: int
    booked_micro_eur: int
    free_micro_eur: int


class CycleRequest(Request):
    """Which cycle of a delivery day is asked for, and why."""

    feeder: Name
    cycle: Name = Field(examples=["day_ahead"])
    delivery_day: Day
    first_period: Instant | None = Field(
        default=None, description="Where the day has several, as of intraday rounds"
    )
    reason: Text


class CycleAnswer(BaseModel):
    """A cycle as it stands in the queue."""

    id: int
    market: str
    feeder: str
    cycle: str
    first_period: str
    revision: int
    day: str
    due_at: str
    state: str
    light: str | None
    remark: str
    attempt: int
    finished_at: str | None


class Explanation(BaseModel):
    """Two sentences, notes, and the numbers behind them (docs/explain.md)."""

    format: str
    kind: str
    run: dict[str, Any]
    sentences: list[str]
    notes: list[str]
    details: dict[str, Any]


class ForecastValue(Request):
    """Power of one period [W], in the asset's own direction: a load's draw, a generator's feed."""

    period_start: Instant
    q50_w: Watts
    q10_w: Watts | None = None
    q90_w: Watts | None = None


class ForecastRequest(Request):
    """A forecast of an asset by somebody else: who made it, when, and what it says."""

    source: Text = Field(examples=["weather service X, model 7"])
    asset: AssetName
    issued_at: Instant
    period_minutes: Literal[5, 10, 15, 30, 60] = 15
    values: list[ForecastValue] = Field(min_length=1, max_length=3000)


class ForecastAnswer(BaseModel):
    """A forecast as it is kept; ``left_out`` counts values that the asset cannot reach."""

    id: int
    party: str
    source: str
    asset: str
    issued_at: str
    received_at: str
    sha256: str
    periods: int
    left_out: int


class ForecastComparison(BaseModel):
    """A forecast beside our newest one: periods in both, medians outside our 10-90 % band [W]."""

    periods: int
    outside_our_band: int
    mean_difference_w: int


class ReceivedForecastAnswer(ForecastAnswer):
    """A forecast with its values and the comparison, None where ours has none of its periods."""

    values: list[dict[str, Any]]
    comparison: ForecastComparison | None


class MarketAnswer(BaseModel):
    """The market's time, the kinds of orders, and gates and rules of each feeder."""

    now: str
    kinds: list[str]
    intraday_kinds: list[str]
    feeders: list[dict[str, Any]]


class DisclosureRequest(Request):
    """Which fields of a record are shown."""

    fields: list[Name] = Field(min_length=1, max_length=20, examples=[["verb", "at_utc"]])


class RecordDisclosureRequest(DisclosureRequest):
    """Which record of a run: the id of a trade, or the participant of a statement."""

    record: Text


class Disclosure(BaseModel):
    """A disclosure file, as `gridclear-verify` reads it."""

    text: str


class StudyRequest(Request):
    """A study folder as JSON: text of each file by name."""

    name: Text = Field(examples=["3 MW PV at the end of a feeder"])
    files: dict[str, str] = Field(
        min_length=1, max_length=20, examples=[{"study.toml": "...", "orders.json": "[]"}]
    )


class StudyAnswer(BaseModel):
    """A study and where it stands; ``said`` lists the problems of one that was refused."""

    id: int
    name: str
    sha256: str
    submitted_at: str
    state: Literal["waiting", "running", "done", "refused", "failed"]
    exit_code: int | None
    ended_at: str | None
    said: list[str]
    summary: dict[str, Any] | None = None
