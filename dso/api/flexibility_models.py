"""Messages of flexibility procurement in UFTP's words: whole W, + = consumption, numbered ISPs."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, Field, StringConstraints

from dso.api.models import AssetName, Day, Instant, Name, Request, Watts
from flexibility.procurement.records import FACTOR_STEPS

ISPS_MAX: Final = 300
MessageId = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"),
]
Kind = Literal["FlexRequest", "FlexOffer", "FlexOfferRevocation", "FlexOrder"]
Start = Annotated[int, Field(ge=1, le=ISPS_MAX, description="number of the ISP, from 1")]
Duration = Annotated[int, Field(ge=1, le=ISPS_MAX, description="how many ISPs")]
Eur = Annotated[float, Field(ge=0.0, le=1e6, allow_inf_nan=False)]


class RequestedIsp(Request):
    """What is needed (Requested), or how much room there is (Available) [W]."""

    disposition: Literal["Requested", "Available"]
    min_power_w: Watts
    max_power_w: Watts
    start: Start
    duration: Duration = 1


class FlexRequestMessage(Request):
    """What a congestion point needs of a local day, as `dso flexibility request` writes it."""

    message: Literal["FlexRequest"] = "FlexRequest"
    message_id: MessageId = Field(examples=["0d5e8f6a-3c3b-5d1e-9a55-0f5c2a7f9b10"])
    congestion_point: Name = Field(examples=["ea1.2026-01.grid.example:north"])
    period: Day
    isp_duration: Name | None = Field(default=None, examples=["PT15M"])
    time_zone: Name | None = Field(default=None, examples=["Europe/Berlin"])
    revision: int = Field(ge=1, le=10**6)
    expiration_date_time: Instant
    isps: list[RequestedIsp] = Field(min_length=1, max_length=ISPS_MAX)


class OfferedIsp(Request):
    """Power as a deviation from the baseline [W], + = more consumption."""

    power_w: Watts
    start: Start
    duration: Duration = 1


class OfferedOption(Request):
    """One of the options of an offer: at most one of them is ordered."""

    option_reference: Name = Field(examples=["a"])
    price_eur: Eur = Field(description="for the whole option [EUR]", examples=[30.0])
    min_activation_factor: float = Field(default=1.0, ge=0.01, le=1.0, allow_inf_nan=False)
    isps: list[OfferedIsp] = Field(min_length=1, max_length=ISPS_MAX)


class FlexOfferMessage(Request):
    """An offer of power at a connection; it answers a request, or none."""

    message_id: MessageId
    flex_request_message_id: MessageId | None = None
    congestion_point: Name = Field(examples=["ea1.2026-01.grid.example:north"])
    connection: AssetName = Field(
        description="the asset whose meter shows delivery", examples=["village/load:3"]
    )
    period: Day
    expiration_date_time: Instant
    penalty_eur_per_mwh: Eur = 0.0
    options: list[OfferedOption] = Field(min_length=1, max_length=20)


class FlexRevocationMessage(Request):
    """An offer that its sender takes back."""

    message_id: MessageId
    flex_offer_message_id: MessageId


class FlexOrderRequest(Request):
    """Which option of an offer is ordered, and how much of it."""

    flex_offer_message_id: MessageId
    option_reference: Name
    activation_factor: float = Field(
        gt=0.0, le=1.0, allow_inf_nan=False, description=f"in steps of 1/{FACTOR_STEPS}"
    )


class FlexMessageAnswer(BaseModel):
    """A message as it is kept."""

    message_id: str
    kind: str
    party: str
    participant: str | None
    feeder: str
    congestion_point: str
    day: str
    received_at: str
    content: dict[str, Any]
