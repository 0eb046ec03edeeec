"""Records of flexibility procurement; power is injection [MW], money integer micro-EUR.

Arrays have one value per period of the horizon, shape (periods,).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Final, Literal
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from data.periods import Periods

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Shares = tuple[tuple[int, float], ...]
Direction = Literal["inject", "withdraw"]
DIRECTIONS: Final[tuple[Direction, ...]] = ("inject", "withdraw")
ELEMENT_KINDS: Final = ("bus", "line", "trafo")
EVERY_DAY: Final = (1, 2, 3, 4, 5, 6, 7)
FACTOR_STEPS: Final = 100  # activation factors are whole hundredths


@dataclass(frozen=True, slots=True, kw_only=True)
class CongestionPoint:
    """A named set of elements whose limits flexibility is bought for.

    Parameters
    ----------
    id : str
        Entity address: ``ea1.YYYY-MM.domain:name`` or ``ean.`` and 12 to 34 digits.
    name : str
        What people call it.
    elements : tuple of (kind, index)
        ``bus``, ``line`` or ``trafo`` of the network.
    buses : tuple of (bus, share)
        Where power acts that is offered for the point as a whole; shares sum to 1.
    """

    id: str
    name: str
    elements: tuple[tuple[str, int], ...]
    buses: Shares


@dataclass(frozen=True, slots=True, kw_only=True)
class AvailabilityContract:
    """Capacity kept ready in a window, paid for being ready and, when called, for its energy.

    Parameters
    ----------
    id, participant, congestion_point : str
        Contract, provider, and the point it was made for.
    connection : str
        Whose meter shows delivery.
    buses : tuple of (bus, share)
        Where it acts.
    asset : str or None
        ``sgen:12``, ``load:3`` or ``storage:7``: whose energy orders must leave the capacity free.
    direction : {"inject", "withdraw"}
        More injection (or less withdrawal), or the opposite.
    power_mw : float
        Capacity [MW], > 0.
    first_day, last_day : date
        Local days on which it holds, both inclusive.
    from_time, to_time : time
        Local clock times of the window; equal: the whole day; ``to`` before ``from``: over
        midnight.
    weekdays : tuple of int
        ISO weekdays of the window, 1 = Monday.
    availability_micro_eur_per_mw_h : int
        Fee for one MW kept ready for one hour.
    utilisation_micro_eur_per_mwh : int
        Price of called energy.
    penalty_micro_eur_per_mwh : int
        Price of energy that was called and not delivered.
    activations_max : int or None
        Calls in its term; a call is a run of consecutive periods. None: no limit.
    activations_used : int
        Calls so far.
    duration_h_max : float
        Longest call [h]: how much energy a storage must keep.
    rule : str
        Rule set of settlement.
    """

    id: str
    participant: str
    congestion_point: str
    connection: str
    buses: Shares
    direction: Direction
    power_mw: float
    first_day: date
    last_day: date
    from_time: time
    to_time: time
    availability_micro_eur_per_mw_h: int
    utilisation_micro_eur_per_mwh: int
    asset: str | None = None
    weekdays: tuple[int, ...] = EVERY_DAY
    penalty_micro_eur_per_mwh: int = 0
    activations_max: int | None = None
    activations_used: int = 0
    duration_h_max: float = 1.0
    rule: str = "usef"

    @property
    def sign(self) -> float:
        """+1 where a call injects more, -1 where it withdraws more."""
        return 1.0 if self.direction == "inject" else -1.0

    def window(self, periods: Periods, timezone: str) -> Bools:
        """Return in which periods the capacity is kept ready, shape (periods,).

        The weekday and the term are those of the local day on which the window begins.
        """
        zone = ZoneInfo(timezone)
        return np.array([self._holds(start.astimezone(zone)) for start in periods.starts])

    def _holds(self, local: datetime) -> bool:
        clock, day = local.time(), local.date()
        if self.from_time < self.to_time:
            within = self.from_time <= clock < self.to_time
        else:
            within = clock >= self.from_time or clock < self.to_time
            if clock < self.to_time and self.from_time > self.to_time:
                day = date.fromordinal(day.toordinal() - 1)
        held = self.first_day <= day <= self.last_day
        return within and held and day.isoweekday() in self.weekdays


@dataclass(frozen=True, slots=True, kw_only=True)
class ReservationUpdate:
    """What of a contract is still reserved; the rest may be used otherwise.

    ``reserved_mw`` [MW], not negative, shape (periods,).
    """

    contract: str
    congestion_point: str
    message_id: str
    reserved_mw: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class FlexRequest:
    """What is requested of a congestion point on one local day, and where there is room.

    Parameters
    ----------
    message_id : str
        UUID.
    congestion_point : str
        Its entity address.
    revision : int
        Counts from 1; a later one replaces the earlier.
    expires_at : datetime
        Offers count until then, UTC.
    requested : ndarray of bool, shape (periods,)
        True: disposition Requested, power is needed; False: Available, there is room.
    injection_mw_min, injection_mw_max : ndarray, shape (periods,)
        Space to deviate from the baseline [MW]. Requested: from 0 to the need, in one direction.
    """

    message_id: str
    congestion_point: str
    revision: int
    expires_at: datetime
    requested: Bools
    injection_mw_min: Floats
    injection_mw_max: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferOption:
    """One of the mutually exclusive options of an offer.

    Parameters
    ----------
    reference : str
        Unique within the offer.
    price_micro_eur : int
        For the whole option [micro-EUR]; an activation factor scales it.
    factor_min : float
        Least activation factor, 0.01 to 1.
    injection_mw : ndarray, shape (periods,)
        Deviation from the baseline [MW]; both signs where a rebound follows.
    """

    reference: str
    price_micro_eur: int
    factor_min: float
    injection_mw: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class FlexOffer:
    """An offer: at most one of its options is ordered.

    ``request`` is the message it answers, "" where it is unsolicited; ``contract`` names the
    availability contract it belongs to, else None. ``buses`` is where it acts; ``connection`` whose
    meter shows delivery. ``baseline`` refers to the schedule it deviates from.
    """

    message_id: str
    participant: str
    congestion_point: str
    request: str
    expires_at: datetime
    received_at: datetime | None
    currency: str
    connection: str
    buses: Shares
    options: tuple[OfferOption, ...]
    baseline: str = ""
    contract: str | None = None
    rule: str = "usef"
    penalty_micro_eur_per_mwh: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferRevocation:
    """An offer that its sender takes back; it does so only where nothing of it was ordered."""

    message_id: str
    offer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FlexOrder:
    """What is ordered of an offer, or called of a contract.

    Parameters
    ----------
    reference : str
        Of the order.
    offer : str
        Message of the offer; "" for a call of a contract.
    contract : str or None
        Contract that is called, or the offer belongs to.
    option : str
        Reference of the option ordered; "" for a call.
    factor : float
        Activation factor, whole hundredths.
    price_micro_eur : int
        What is paid for full delivery [micro-EUR].
    offered_mw : ndarray, shape (periods,)
        The option as offered [MW injection]; ordered is ``factor`` times that.
    """

    reference: str
    participant: str
    congestion_point: str
    connection: str
    buses: Shares
    offer: str
    contract: str | None
    option: str
    factor: float
    price_micro_eur: int
    offered_mw: Floats
    rule: str
    penalty_micro_eur_per_mwh: int

    @property
    def ordered_mw(self) -> Floats:
        """Ordered deviation from the baseline, injection, shape (periods,) [MW]."""
        return self.factor * self.offered_mw


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """A message that does not count, with the reasons UFTP has for it."""

    message_id: str
    participant: str
    reasons: tuple[str, ...]
