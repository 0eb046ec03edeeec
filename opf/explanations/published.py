"""A clearing as published, with the look-ups that explanations need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.records.clearing import Award, ClearingCase, ClearingResult, PricePart, Prices
from data.records.network import Network
from data.records.order import Order
from opf.explanations.records import LimitKey, PriceLine, Unit
from opf.grid import build_grid
from opf.limits import LimitSet, list_limits, with_margins

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitValue:
    """A limit with its value in its unit, as the reader knows it.

    ``margin`` is what a security margin takes off it, shape (periods,); None: nothing.
    """

    name: str
    unit: Unit
    value: float
    margin: Floats | None = None

    def at(self, period: int) -> tuple[str, float]:
        """Return name and value of what holds in a period; a margin is named."""
        margin = 0.0 if self.margin is None else float(self.margin[period])
        if margin == 0.0:
            return self.name, self.value
        words = f"{self.name}, drawn in by a security margin of {abs(margin):.4f} {self.unit}"
        return words, self.value - margin


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A case and what was published for it.

    Parameters
    ----------
    row_of : mapping
        Row of each bus in the price tables.
    limits : mapping
        Every limit in force.
    shadow : mapping
        Shadow price of each limit that has one, shape (periods,) [EUR/(unit h)]; the two ends of a
        branch share one key with the side that has the larger parts.
    parts : tuple of (key, ndarray, shape (buses, periods))
        What each of them adds to prices [EUR/MWh].
    parts_in : tuple of tuple of int
        Numbers of the parts that are not zero, for each period.
    """

    case: ClearingCase
    result: ClearingResult
    row_of: Mapping[int, int]
    orders: Mapping[str, Order]
    awards: Mapping[str, Award]
    limits: Mapping[LimitKey, LimitValue]
    shadow: Mapping[LimitKey, Floats]
    parts: tuple[tuple[LimitKey, Floats], ...]
    parts_in: tuple[tuple[int, ...], ...]

    def lines(self, weight: Mapping[int, float], period: int) -> tuple[PriceLine, ...]:
        """Return the lines of a weighted sum of bus prices in one period, the largest limit first.

        Parameters
        ----------
        weight : mapping
            Weight of each bus; ``{bus: 1}`` gives the price itself, ``{to: 1, at: -1}`` a
            difference.
        """
        rows = [self.row_of[bus] for bus in weight]
        factor = np.array(list(weight.values()))
        prices, c = self.result.prices, float(self.case.import_price_eur_per_mwh[period])
        loss = float(factor @ prices.loss_eur_per_mwh[rows, period])
        lines = [
            PriceLine(
                cause="energy",
                part_eur_per_mwh=float(factor @ prices.energy_eur_per_mwh[rows, period]),
            ),
            PriceLine(
                cause="loss",
                part_eur_per_mwh=loss,
                sensitivity=loss / c if c else None,
                shadow_price=c,
            ),
        ]
        found = []
        for number in self.parts_in[period]:
            key, part = self.parts[number]
            value = float(factor @ part[rows, period])
            shadow = float(self.shadow[key][period])
            name, limit = self.limits[key].at(period)
            found.append(
                PriceLine(
                    cause="limit",
                    part_eur_per_mwh=value,
                    key=key,
                    name=name,
                    unit=self.limits[key].unit,
                    limit=limit,
                    sensitivity=value / shadow if shadow else None,
                    shadow_price=shadow,
                )
            )
        found.sort(key=lambda line: (-abs(line.part_eur_per_mwh), str(line.key)))
        return (*lines, *found)

    def mean_lines(
        self, weight: Mapping[int, float], over_periods: Floats
    ) -> tuple[PriceLine, ...]:
        """Return the lines of a price averaged over periods with weights that sum to 1."""
        rows = [self.row_of[bus] for bus in weight]
        factor = np.array(list(weight.values()))
        prices = self.result.prices

        def mean(values: Floats) -> float:
            used = np.flatnonzero(over_periods)
            return float(factor @ values[rows][:, used] @ over_periods[used])

        lines = [
            PriceLine(cause="energy", part_eur_per_mwh=mean(prices.energy_eur_per_mwh)),
            PriceLine(cause="loss", part_eur_per_mwh=mean(prices.loss_eur_per_mwh)),
        ]
        found = [
            PriceLine(
                cause="limit",
                part_eur_per_mwh=value,
                key=key,
                name=self.limits[key].name,
                unit=self.limits[key].unit,
                limit=self.limits[key].value,
            )
            for key, part in self.parts
            if (value := mean(part)) != 0.0
        ]
        found.sort(key=lambda line: (-abs(line.part_eur_per_mwh), str(line.key)))
        return (*lines, *found)

    def mean_price(self, weight: Mapping[int, float]) -> Floats:
        """Return the weighted sum of bus prices, shape (periods,) [EUR/MWh]."""
        return weighted_price(self.result.prices, self.row_of, weight)


def weighted_price(
    prices: Prices, row_of: Mapping[int, int], weight: Mapping[int, float]
) -> Floats:
    """Return a weighted sum of DLMP_P over buses, shape (periods,) [EUR/MWh]."""
    rows = [row_of[bus] for bus in weight]
    return np.asarray(np.array(list(weight.values())) @ prices.dlmp_p_eur_per_mwh[rows])


def publish(case: ClearingCase, result: ClearingResult) -> Published:
    """Join a case and its result.

    Parameters
    ----------
    case : ClearingCase
        The case.
    result : ClearingResult
        As the engine returned it, or read back from its folder.

    Raises
    ------
    InputError
        Buses that are not connected to the substation.
    """
    row_of = {int(bus): row for row, bus in enumerate(case.network.buses.index)}
    parts = _merge_ends(result.prices.parts)
    moves = [np.any(part != 0.0, axis=0) for part in parts.values()]
    return Published(
        case=case,
        result=result,
        row_of=row_of,
        orders={order.id: order for order in case.orders},
        awards={award.order: award for award in result.awards},
        limits=_limit_values(case),
        shadow=_shadow_prices(case, result, parts, row_of),
        parts=tuple(parts.items()),
        parts_in=tuple(
            tuple(k for k, moved in enumerate(moves) if moved[t]) for t in range(len(case.periods))
        ),
    )


def _merge_ends(parts: tuple[PricePart, ...]) -> dict[LimitKey, Floats]:
    """Join the parts of the two ends of a branch: to the reader they are one limit."""
    grouped: dict[tuple[str, int, str], list[PricePart]] = {}
    for part in parts:
        side = "" if part.element_kind in ("line", "trafo") else part.side
        grouped.setdefault((part.element_kind, part.element, side), []).append(part)
    merged = {}
    for (kind, element, _), members in sorted(grouped.items()):
        largest = max(members, key=lambda part: float(np.abs(part.p_eur_per_mwh).max()))
        key = LimitKey(element_kind=kind, element=element, side=largest.side)
        merged[key] = np.sum([part.p_eur_per_mwh for part in members], axis=0)
    return merged


def _shadow_prices(
    case: ClearingCase,
    result: ClearingResult,
    parts: Mapping[LimitKey, Floats],
    row_of: Mapping[int, int],
) -> dict[LimitKey, Floats]:
    """Look up the shadow price of every limit with a part.

    Of a cap it is its part at the substation, where one MW taken is one MW imported.
    """
    flow_of = {(flow.element_kind, flow.element): flow for flow in result.grid.branches}
    grid, found = result.grid, {}
    for key, part in parts.items():
        if key.element_kind == "bus":
            table = (
                grid.shadow_price_upper_eur_per_pu_h
                if key.side == "upper"
                else grid.shadow_price_lower_eur_per_pu_h
            )
            found[key] = table[row_of[key.element]]
        elif key.element_kind == "ext_grid":
            found[key] = np.abs(part[row_of[case.network.slack_bus]])
        else:
            flow = flow_of[key.element_kind, key.element]  # type: ignore[index]
            found[key] = flow.shadow_price_eur_per_mva_h
    return found


def _limit_values(case: ClearingCase) -> dict[LimitKey, LimitValue]:
    """Value of every limit: voltages in pu, currents in MVA at nominal voltage, caps in MW."""
    grid = build_grid(case.network)
    listed = with_margins(list_limits(case, grid), case, grid)
    found = {}
    units: dict[str, Unit] = {"bus": "pu", "line": "MVA", "trafo": "MVA", "ext_grid": "MW"}
    names = element_names(case.network)
    for k in range(len(listed)):
        kind, element, side = listed.element_kind[k], int(listed.element[k]), listed.side[k]
        key = LimitKey(element_kind=kind, element=element, side=side)
        value = float(listed.maximum[k])
        found[key] = LimitValue(
            name=_limit_name(names, key),
            unit=units[kind],
            value=-value if side == "lower" else value,
            margin=_signed_margin(listed, k),
        )
    return found


def _signed_margin(listed: LimitSet, k: int) -> Floats | None:
    """What is taken off a limit as the reader knows it: a lower limit rises by its margin."""
    if listed.margin is None:
        return None
    margin: Floats = listed.margin[k]
    return -margin if listed.side[k] == "lower" else margin


def element_names(network: Network) -> dict[tuple[str, int], str]:
    """Return a name for every bus and branch that says what it is, also where it is a number."""
    tables = (("bus", network.buses), ("line", network.lines), ("trafo", network.trafos))
    return {
        (kind, int(index)): _element_name(kind, int(index), name)
        for kind, table in tables
        for index, name in zip(table.index, table.name, strict=True)
    }


def _element_name(kind: str, index: int, name: str) -> str:
    text = name.strip()
    plain = not text or text.isdigit() or text.lower() == f"{kind} {index}"
    return f"{kind} {index}" if plain else f"{kind} {index} ({text})"


def _limit_name(names: Mapping[tuple[str, int], str], key: LimitKey) -> str:
    if key.element_kind == "ext_grid":
        return f"{key.side} cap at the substation"
    name = names[key.element_kind, key.element]
    return f"{key.side} voltage limit of {name}" if key.element_kind == "bus" else name
