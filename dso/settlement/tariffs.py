"""Network tariffs on top of a settlement, for reports: time of use and a charge for the peak.

A tariff never touches the lines of the market: its charges are listed beside them.

    energy charge of a band  = withdrawal metered in the band's hours x price of the band
    peak charge of a month   = highest mean withdrawal of one period x price per kW and month

Hours are those of the clock on the wall in the tariff's zone, so a day has 23, 24 or 25 of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal
from zoneinfo import ZoneInfo

from data.records.settlement import SettlementCase
from data.units import WH_PER_MWH
from dso.settlement.exact import divide_half_even

Days = Literal["all", "workdays", "weekend"]
DAYS: Final[tuple[Days, ...]] = ("all", "workdays", "weekend")
PEAK: Final = "peak"
W_PER_KW: Final = 1_000
SATURDAY: Final = 5
MINUTES_PER_DAY: Final = 1_440


@dataclass(frozen=True, slots=True, kw_only=True)
class TariffBand:
    """Hours of the week with one price.

    ``from_minute`` and ``to_minute`` count from local midnight [min], half-open; a band that ends
    before it begins goes over midnight.
    """

    name: str
    price_micro_eur_per_mwh: int
    days: Days = "all"
    from_minute: int = 0
    to_minute: int = MINUTES_PER_DAY

    def covers(self, local: datetime) -> bool:
        """Whether a period that starts then is in the band."""
        weekend = local.weekday() >= SATURDAY
        if self.days != "all" and weekend != (self.days == "weekend"):
            return False
        minute = 60 * local.hour + local.minute
        if self.from_minute < self.to_minute:
            return self.from_minute <= minute < self.to_minute
        return minute >= self.from_minute or minute < self.to_minute


@dataclass(frozen=True, slots=True, kw_only=True)
class Tariff:
    """A network tariff: the first band that covers a period applies.

    ``peak_micro_eur_per_kw`` is the price of a month's highest mean withdrawal
    [micro-EUR/(kW month)]; 0 = none.
    """

    zone: str
    bands: tuple[TariffBand, ...]
    peak_micro_eur_per_kw: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TariffCharge:
    """What one connection owes for one band or the peak of one month.

    ``quantity`` is Wh of a band, W of the peak; ``price_micro_eur`` is per MWh or per kW. The
    amount is negative: the participant pays.
    """

    participant: str
    connection: str
    month: str
    item: str
    quantity: int
    price_micro_eur: int
    amount_micro_eur: int


def charge_tariff(case: SettlementCase, tariff: Tariff) -> tuple[TariffCharge, ...]:
    """Return the charges of all connections, by participant, connection, month and band.

    Parameters
    ----------
    case : SettlementCase
        Meters; bilateral orders have none and are not charged.
    tariff : Tariff
        Its last band must cover what no other does (the reader sees to it).

    Returns
    -------
    tuple of TariffCharge
        Each rounded once, half-even; bands without withdrawal are left out.
    """
    zone = ZoneInfo(tariff.zone)
    local = [start.astimezone(zone) for start in case.periods.starts]
    months = [f"{at.year:04d}-{at.month:02d}" for at in local]
    bands = [_band(tariff, at) for at in local]
    prices = {band.name: band.price_micro_eur_per_mwh for band in tariff.bands}
    charges = []
    for position in sorted(case.positions, key=lambda p: (p.participant, p.connection)):
        if position.is_bilateral:
            continue
        energy_wh: dict[tuple[str, str], int] = defaultdict(int)
        highest_wh: dict[str, int] = defaultdict(int)
        for month, band, meter_wh in zip(months, bands, position.meter_wh, strict=True):
            withdrawn_wh = max(0, -meter_wh)
            energy_wh[month, band] += withdrawn_wh
            highest_wh[month] = max(highest_wh[month], withdrawn_wh)
        owner = (position.participant, position.connection)
        charges += _energy_charges(owner, energy_wh, prices)
        charges += _peak_charges(owner, highest_wh, tariff, case.periods.mtu_minutes)
    return tuple(charges)


def _band(tariff: Tariff, local: datetime) -> str:
    for band in tariff.bands:
        if band.covers(local):
            return band.name
    raise ValueError(f"no band of the tariff covers {local.isoformat()}")


def _energy_charges(
    owner: tuple[str, str],
    energy_wh: Mapping[tuple[str, str], int],
    prices: Mapping[str, int],
) -> list[TariffCharge]:
    return [
        TariffCharge(
            participant=owner[0],
            connection=owner[1],
            month=month,
            item=band,
            quantity=quantity_wh,
            price_micro_eur=prices[band],
            amount_micro_eur=-divide_half_even(quantity_wh * prices[band], WH_PER_MWH),
        )
        for (month, band), quantity_wh in sorted(energy_wh.items())
        if quantity_wh
    ]


def _peak_charges(
    owner: tuple[str, str], highest_wh: Mapping[str, int], tariff: Tariff, mtu_minutes: int
) -> list[TariffCharge]:
    price = tariff.peak_micro_eur_per_kw
    charges = []
    for month, peak_wh in sorted(highest_wh.items()):
        peak_w = divide_half_even(peak_wh * 60, mtu_minutes)
        if price and peak_w:
            charges.append(
                TariffCharge(
                    participant=owner[0],
                    connection=owner[1],
                    month=month,
                    item=PEAK,
                    quantity=peak_w,
                    price_micro_eur=price,
                    amount_micro_eur=-divide_half_even(peak_w * price, W_PER_KW),
                )
            )
    return charges
