"""How aggregators price and split what they own: values come from configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from data.errors import Problem, refuse_if_any


def _default_prices() -> dict[str, float]:
    return {"Wind": 0.0, "PV": 0.0, "lv_RES": 0.0, "Biomass": 60.0, "Hydro": 5.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferPolicy:
    """Rules by which a feeder's elements become orders.

    Parameters
    ----------
    aggregators : tuple of str
        Participant ids; elements of each kind and technology go to them in turn.
    generation_price_eur_per_mwh : mapping of technology prefix to price [EUR/MWh]
        The longest prefix of a static generator's technology counts; none is an error.
    reactive_power_factor_min : mapping of technology prefix to power factor
        Technologies that offer reactive power, |q| <= p tan(acos(pf)).
    storage_energy_share_start : float
        Energy at the day's start as a share of the usable range (0..1).
    storage_price_eur_per_mwh : float
        Cost of throughput, each way [EUR/MWh]: keeps a storage from cycling for nothing.
    storage_self_discharge_per_day : float
        Share of energy lost in a day (0..1).
    flexible_load_every : int
        Every n-th load in service offers flexibility; 0 means none.
    flexible_load_share : float
        Flexible share of such a load (0..1); the rest must be taken.
    flexible_load_price_eur_per_mwh : float
        What the flexible part is worth [EUR/MWh].
    must_take_price_eur_per_mwh : float
        Value stated for the part that must be taken [EUR/MWh], not below the flexible part's.
    """

    aggregators: tuple[str, ...] = ("aggregator-a", "aggregator-b")
    generation_price_eur_per_mwh: Mapping[str, float] = field(default_factory=_default_prices)
    reactive_power_factor_min: Mapping[str, float] = field(
        default_factory=lambda: {"Wind_MV": 0.95}
    )
    storage_energy_share_start: float = 0.5
    storage_price_eur_per_mwh: float = 1.0
    storage_self_discharge_per_day: float = 0.0
    flexible_load_every: int = 4
    flexible_load_share: float = 0.2
    flexible_load_price_eur_per_mwh: float = 120.0
    must_take_price_eur_per_mwh: float = 1000.0

    def __post_init__(self) -> None:
        refuse_if_any(_policy_problems(self))


def longest_prefix(technology: str, values: Mapping[str, float]) -> float | None:
    """Return the value of the longest key that ``technology`` starts with, or None.

    Examples
    --------
    >>> longest_prefix("Wind_MV", {"Wind": 0.0, "Wind_MV": 1.0})
    1.0
    """
    found = [key for key in values if technology.startswith(key)]
    return values[max(found, key=len)] if found else None


def _policy_problems(policy: OfferPolicy) -> list[Problem]:
    def problem(name: str, what: str) -> Problem:
        return Problem(where=f"offer policy {name}", what=what)

    problems = []
    if not policy.aggregators or len(set(policy.aggregators)) != len(policy.aggregators):
        problems.append(problem("aggregators", f"{policy.aggregators}: none, or named twice"))
    shares = (
        "storage_energy_share_start",
        "flexible_load_share",
        "storage_self_discharge_per_day",
    )
    problems += [
        problem(name, f"{getattr(policy, name)} is not in [0, 1]")
        for name in shares
        if not 0.0 <= getattr(policy, name) <= 1.0
    ]
    if policy.flexible_load_every < 0:
        problems.append(problem("flexible_load_every", f"{policy.flexible_load_every}"))
    if not 0.0 <= policy.storage_price_eur_per_mwh < np.inf:
        problems.append(problem("storage_price_eur_per_mwh", f"{policy.storage_price_eur_per_mwh}"))
    flexible, must = policy.flexible_load_price_eur_per_mwh, policy.must_take_price_eur_per_mwh
    if not (np.isfinite(flexible) and np.isfinite(must) and flexible <= must):
        problems.append(
            problem(
                "must_take_price_eur_per_mwh", f"{must} is below the flexible part's {flexible}"
            )
        )
    for key, price in policy.generation_price_eur_per_mwh.items():
        if not np.isfinite(price):
            problems.append(problem(f"generation_price_eur_per_mwh.{key}", f"{price}"))
    for key, factor in policy.reactive_power_factor_min.items():
        if not 0.0 < factor <= 1.0:
            problems.append(problem(f"reactive_power_factor_min.{key}", f"{factor} not in (0, 1]"))
    return problems
