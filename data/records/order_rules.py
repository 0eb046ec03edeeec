"""Rules that a market's rule set makes for the numbers in orders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRules:
    """Bounds and quanta of orders; None where the rule set makes no rule.

    Parameters
    ----------
    price_min_eur_per_mwh, price_max_eur_per_mwh : float or None
        Floor and cap of every price in an order [EUR/MWh].
    price_tick_eur_per_mwh : float or None
        Prices are whole multiples of it [EUR/MWh].
    power_tick_mw : float or None
        Powers are whole multiples of it; itself a whole multiple of the award tick [MW].
    power_min_mw : float or None
        An order's largest power is 0 or at least this [MW].
    """

    price_min_eur_per_mwh: float | None = None
    price_max_eur_per_mwh: float | None = None
    price_tick_eur_per_mwh: float | None = None
    power_tick_mw: float | None = None
    power_min_mw: float | None = None


NO_RULES: Final = OrderRules()
