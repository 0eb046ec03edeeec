"""Key figures of a settlement: energy, congestion, money, delivery and CO2.

==============================  =================================================================
figure                          definition, summed over periods t
==============================  =================================================================
local_renewable_share           sum min(renewable injection, consumption) / sum consumption
congestion_hours                hours in which a line or transformer is part of a price
voltage_hours                   hours in which a voltage limit is part of a price
congestion_mwh_avoided          delivered flexibility + injection the rounds moved where an element
                                binds
peak_import_mw                  highest mean import of one period
average_cost_eur_per_mwh        what withdrawing connections paid net per MWh withdrawn, refund
                                included
losses_mwh, losses_share        import + injections - withdrawals; over consumption
co2_kg                          import x its factor + injection x the factor of the asset
volume_mwh                      half of all energy bought and sold, day-ahead and intraday
delivery_ratio                  delivered / ordered flexibility
participants                    who has a position
concentration_hhi               sum of squared shares in injected energy [0 to 10,000]
==============================  =================================================================

Consumption is withdrawal plus losses. Export carries no credit: its emissions stay here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from data.records.settlement import SettlementCase, SettlementResult
from data.units import MICRO_PER_UNIT, WH_PER_MWH
from dso.settlement.scores import score_delivery

WH_PER_KWH = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class EmissionFactors:
    """What energy emits.

    Parameters
    ----------
    asset_mg_per_kwh : mapping
        Milligrams of CO2 per kWh injected, by connection; absent = unknown.
    renewable : frozenset of str
        Connections whose injection is renewable.
    import_mg_per_kwh : tuple of int
        Of the import in every period, shape (periods,).
    """

    asset_mg_per_kwh: Mapping[str, int]
    renewable: frozenset[str]
    import_mg_per_kwh: tuple[int, ...]


Figure = int | float | None


def compute_indicators(
    case: SettlementCase, result: SettlementResult, factors: EmissionFactors | None
) -> dict[str, Figure]:
    """Return the key figures; those that need emission factors are None without them.

    Shares and quotients are computed as rationals and rounded once, to six decimals.
    """
    energy = _energy_figures(case, factors)
    return {
        **energy,
        **_congestion_figures(case),
        **_market_figures(case, result),
        "co2_kg": None if factors is None else _co2_kg(case, factors),
    }


def _rounded(value: Fraction) -> float:
    return float(round(value, 6))


def _quotient(numerator: int, denominator: int) -> float | None:
    return _rounded(Fraction(numerator, denominator)) if denominator else None


def _energy_figures(case: SettlementCase, factors: EmissionFactors | None) -> dict[str, Figure]:
    meters = [p for p in case.positions if not p.is_bilateral]
    consumed, used_renewable, losses = 0, 0, 0
    for period in range(case.periods.count):
        injected = sum(max(0, p.meter_wh[period]) for p in meters)
        withdrawn = sum(max(0, -p.meter_wh[period]) for p in meters)
        lost = case.substation.import_wh[period] + injected - withdrawn
        losses += lost
        consumed += withdrawn + lost
        if factors is not None:
            renewable = sum(
                max(0, p.meter_wh[period]) for p in meters if p.connection in factors.renewable
            )
            used_renewable += max(0, min(renewable, withdrawn + lost))
    peak_wh = max(case.substation.import_wh)
    hours = Fraction(case.periods.mtu_minutes, 60)
    return {
        "consumption_mwh": _quotient(consumed, WH_PER_MWH),
        "local_renewable_share": None if factors is None else _quotient(used_renewable, consumed),
        "losses_mwh": _quotient(losses, WH_PER_MWH),
        "losses_share": _quotient(losses, consumed),
        "peak_import_mw": _rounded(Fraction(peak_wh, WH_PER_MWH) / hours),
    }


def _congestion_figures(case: SettlementCase) -> dict[str, Figure]:
    hours = Fraction(case.periods.mtu_minutes, 60)
    binding: dict[str, set[int]] = defaultdict(set)
    for part in case.parts:
        if part.p_micro_eur_per_mwh and part.element_kind != "ext_grid":
            kind = "voltage" if part.element_kind == "bus" else "congestion"
            binding[kind].add(part.period)
    bound = binding["congestion"] | binding["voltage"]
    moved = sum(
        abs(p.id_wh[period] - p.da_wh[period])
        for p in case.positions
        if not p.is_bilateral
        for period in bound
    )
    delivered = sum(score.delivered_wh for score in score_delivery(case))
    return {
        "congestion_hours": _rounded(len(binding["congestion"]) * hours),
        "voltage_hours": _rounded(len(binding["voltage"]) * hours),
        "congestion_mwh_avoided": _rounded(
            Fraction(moved, 2 * WH_PER_MWH) + Fraction(delivered, WH_PER_MWH)
        ),
    }


def _market_figures(case: SettlementCase, result: SettlementResult) -> dict[str, Figure]:
    metered = {(p.participant, p.connection): sum(p.meter_wh) for p in case.positions}
    paid, traded = 0, 0
    for line in result.lines:
        owner = (line.participant, line.connection)
        if line.kind in ("da", "id"):
            traded += abs(line.quantity_wh)
        if line.kind in ("da", "id", "imbalance", "refund") and metered.get(owner, 0) < 0:
            paid -= line.amount_micro_eur
    withdrawn = -sum(wh for wh in metered.values() if wh < 0)
    injected: dict[str, int] = defaultdict(int)
    for p in case.positions:
        if not p.is_bilateral:
            injected[p.participant] += sum(max(0, wh) for wh in p.meter_wh)
    whole = sum(injected.values())
    squares = sum(wh * wh for wh in injected.values())
    scores = score_delivery(case)
    ordered = sum(score.ordered_wh for score in scores)
    return {
        "average_cost_eur_per_mwh": _quotient(paid * WH_PER_MWH, withdrawn * MICRO_PER_UNIT),
        "volume_mwh": _quotient(traded, 2 * WH_PER_MWH),
        "delivery_ratio": _quotient(sum(score.delivered_wh for score in scores), ordered),
        "participants": len({p.participant for p in case.positions}),
        "concentration_hhi": _quotient(10_000 * squares, whole * whole),
    }


def _co2_kg(case: SettlementCase, factors: EmissionFactors) -> float:
    milligrams = sum(
        max(0, wh) * factor
        for wh, factor in zip(case.substation.import_wh, factors.import_mg_per_kwh, strict=True)
    )
    for p in case.positions:
        if not p.is_bilateral:
            factor = factors.asset_mg_per_kwh.get(p.connection, 0)
            milligrams += factor * sum(max(0, wh) for wh in p.meter_wh)
    return _rounded(Fraction(milligrams, WH_PER_KWH * MICRO_PER_UNIT))
