"""Which offers count: the reasons for which UFTP rejects a message, all of them at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np

from flexibility.procurement.records import (
    AvailabilityContract,
    CongestionPoint,
    FlexOffer,
    FlexRequest,
    OfferRevocation,
    Rejection,
)

# Words of UFTP 3.0, chapter "functional validation", and of the reference library.
UNKNOWN_POINT: Final = "Invalid Congestion Point"
UNKNOWN_REFERENCE: Final = "Unknown Reference"
PERIOD_MISMATCH: Final = "Reference Period Mismatch"
REQUEST_EXPIRED: Final = "Reference Message Expired"
OFFER_REVOKED: Final = "Reference Message Revoked"
EXPIRED: Final = "Expiration DateTime Out Of Bounds"
DUPLICATE: Final = "Duplicate Identifier"
NOT_REQUESTED: Final = (
    "None of the ISPs with a 'requested' disposition in the referred FlexRequest, is mentioned in "
    "the FlexOffer"
)
CURRENCY: Final = "Currency not supported"
FACTOR: Final = "Min activation factor must be between 0 and 1 (inclusive)"
NO_POWER: Final = "An option offers no power"
DUPLICATE_OPTION: Final = "Option references are not unique"
NEGATIVE_PRICE: Final = "A price is negative"


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What offers are judged against.

    ``requests`` by message id, ``contracts`` by id; ``at`` is the instant of the decision.
    """

    points: Mapping[str, CongestionPoint]
    requests: Mapping[str, FlexRequest]
    contracts: Mapping[str, AvailabilityContract]
    at: datetime
    currency: str = "EUR"


def judge_offers(
    offers: Sequence[FlexOffer], revocations: Sequence[OfferRevocation], desk: Desk
) -> tuple[tuple[FlexOffer, ...], tuple[Rejection, ...]]:
    """Separate the offers that count from those that do not.

    Parameters
    ----------
    offers, revocations : sequences
        In the order of their receipt: of two messages with one id the later is the duplicate.
    desk : Desk
        What they refer to.

    Returns
    -------
    (offers, rejections)
        Offers that count, and every other message with all its reasons.
    """
    known = {offer.message_id for offer in offers}
    taken_back = {each.offer for each in revocations}
    counting: list[FlexOffer] = []
    rejected = [
        Rejection(message_id=each.message_id, participant="", reasons=(UNKNOWN_REFERENCE,))
        for each in revocations
        if each.offer not in known
    ]
    seen: set[str] = set()
    for offer in offers:
        reasons = _reasons(offer, desk)
        if offer.message_id in seen:
            reasons.append(DUPLICATE)
        elif offer.message_id in taken_back:
            reasons.append(OFFER_REVOKED)
        seen.add(offer.message_id)
        if reasons:
            rejected.append(
                Rejection(
                    message_id=offer.message_id,
                    participant=offer.participant,
                    reasons=tuple(reasons),
                )
            )
        else:
            counting.append(offer)
    return tuple(counting), tuple(rejected)


def _reasons(offer: FlexOffer, desk: Desk) -> list[str]:
    reasons = []
    if offer.congestion_point not in desk.points:
        reasons.append(UNKNOWN_POINT)
    if offer.expires_at <= desk.at:
        reasons.append(EXPIRED)
    if offer.currency != desk.currency:
        reasons.append(CURRENCY)
    if offer.contract is not None and offer.contract not in desk.contracts:
        reasons.append(UNKNOWN_REFERENCE)
    references = [option.reference for option in offer.options]
    if len(set(references)) < len(references):
        reasons.append(DUPLICATE_OPTION)
    if any(not 0.01 <= option.factor_min <= 1.0 for option in offer.options):
        reasons.append(FACTOR)
    if any(not np.any(option.injection_mw) for option in offer.options):
        reasons.append(NO_POWER)
    if any(option.price_micro_eur < 0 for option in offer.options):
        reasons.append(NEGATIVE_PRICE)
    if offer.request:
        reasons += _against_request(offer, desk)
    return reasons


def _against_request(offer: FlexOffer, desk: Desk) -> list[str]:
    request = desk.requests.get(offer.request)
    if request is None:
        return [UNKNOWN_REFERENCE]
    reasons = []
    if request.congestion_point != offer.congestion_point:
        reasons.append(UNKNOWN_POINT)
    received = offer.received_at or desk.at
    if received > request.expires_at:
        reasons.append(REQUEST_EXPIRED)
    touched = np.any([option.injection_mw != 0.0 for option in offer.options], axis=0)
    if touched.shape != request.requested.shape:
        reasons.append(PERIOD_MISMATCH)
    elif not np.any(touched & request.requested):
        reasons.append(NOT_REQUESTED)
    return reasons
