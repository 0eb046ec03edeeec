"""Messages as JSON types, in UFTP's units: whole W, + = consumption, numbered ISPs."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from data.periods import format_utc
from data.units import MICRO_PER_UNIT
from flexibility.procurement.border import LocalIsps, to_watt
from flexibility.procurement.records import (
    AvailabilityContract,
    FlexOrder,
    FlexRequest,
    Rejection,
    ReservationUpdate,
)


def message_uuid(*parts: object) -> str:
    """Return the UUID of a message from what it is about: said again, it has the same.

    Examples
    --------
    >>> message_uuid("request", 1) == message_uuid("request", 1) != message_uuid("request", 2)
    True
    """
    return str(uuid.uuid5(uuid.NAMESPACE_OID, "|".join(map(str, parts))))


def _head(kind: str, message_id: str, isps: LocalIsps) -> dict[str, object]:
    return {
        "message": kind,
        "message_id": message_id,
        "period": isps.day.isoformat(),
        "isp_duration": f"PT{isps.periods.mtu_minutes}M",
        "time_zone": isps.timezone,
    }


def request_to_plain(request: FlexRequest, isps: LocalIsps) -> dict[str, object]:
    """Return a request with all its ISPs, equal neighbours joined."""
    found: list[dict[str, object]] = []
    for period, requested in enumerate(request.requested.tolist()):
        entry: dict[str, object] = {
            "disposition": "Requested" if requested else "Available",
            "min_power_w": to_watt(float(request.injection_mw_max[period])),
            "max_power_w": to_watt(float(request.injection_mw_min[period])),
        }
        last = found[-1] if found else None
        if last is not None and all(last[name] == value for name, value in entry.items()):
            last["duration"] = int(str(last["duration"])) + 1
        else:
            found.append({**entry, "start": isps.number(period), "duration": 1})
    return {
        **_head("FlexRequest", request.message_id, isps),
        "congestion_point": request.congestion_point,
        "revision": request.revision,
        "expiration_date_time": format_utc(request.expires_at),
        "isps": found,
    }


def order_to_plain(order: FlexOrder, isps: LocalIsps) -> dict[str, object]:
    """Return an order; its ISPs are those of the offer without change."""
    runs = isps.runs(to_watt(float(power)) for power in order.offered_mw)
    plain: dict[str, object] = {
        **_head("FlexOrder", message_uuid(order.congestion_point, isps.day, order.reference), isps),
        "congestion_point": order.congestion_point,
        "participant": order.participant,
        "connection": order.connection,
        "order_reference": order.reference,
        "option_reference": order.option,
        "activation_factor": order.factor,
        "price_eur": order.price_micro_eur / MICRO_PER_UNIT,
        "currency": "EUR",
        "rule": order.rule,
        "penalty_eur_per_mwh": order.penalty_micro_eur_per_mwh / MICRO_PER_UNIT,
        "isps": [
            {"power_w": run["power"], "start": run["start"], "duration": run["duration"]}
            for run in runs
        ],
    }
    if order.offer:
        plain["flex_offer_message_id"] = order.offer
    if order.contract is not None:
        plain["contract_id"] = order.contract
    return plain


def update_to_plain(
    update: ReservationUpdate, contract: AvailabilityContract, isps: LocalIsps
) -> dict[str, object]:
    """Return a reservation update; the sign of its power is the contract's direction."""
    runs = isps.runs(to_watt(contract.sign * float(power)) for power in update.reserved_mw)
    return {
        **_head("FlexReservationUpdate", update.message_id, isps),
        "congestion_point": update.congestion_point,
        "contract_id": update.contract,
        "isps": [
            {"power_w": run["power"], "start": run["start"], "duration": run["duration"]}
            for run in runs
        ],
    }


def contract_to_plain(contract: AvailabilityContract) -> dict[str, object]:
    """Return a contract as `read_contracts` reads it."""
    plain: dict[str, object] = {
        "id": contract.id,
        "participant": contract.participant,
        "congestion_point": contract.congestion_point,
        "connection": contract.connection,
        "buses": {str(bus): share for bus, share in contract.buses},
        "direction": contract.direction,
        "power_mw": contract.power_mw,
        "first_day": contract.first_day.isoformat(),
        "last_day": contract.last_day.isoformat(),
        "from": contract.from_time.isoformat("minutes"),
        "to": contract.to_time.isoformat("minutes"),
        "weekdays": list(contract.weekdays),
        "availability_eur_per_mw_h": contract.availability_micro_eur_per_mw_h / MICRO_PER_UNIT,
        "utilisation_eur_per_mwh": contract.utilisation_micro_eur_per_mwh / MICRO_PER_UNIT,
        "penalty_eur_per_mwh": contract.penalty_micro_eur_per_mwh / MICRO_PER_UNIT,
        "activations_used": contract.activations_used,
        "duration_h_max": contract.duration_h_max,
        "rule": contract.rule,
    }
    if contract.asset is not None:
        plain["asset"] = contract.asset
    if contract.activations_max is not None:
        plain["activations_max"] = contract.activations_max
    return plain


def rejections_to_plain(rejections: Sequence[Rejection]) -> list[dict[str, object]]:
    """Return the answers to messages that do not count."""
    return [
        {
            "message_id": each.message_id,
            "participant": each.participant,
            "result": "Rejected",
            "rejection_reasons": list(each.reasons),
        }
        for each in rejections
    ]
