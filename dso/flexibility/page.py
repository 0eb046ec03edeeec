"""The page of a purchase: need against bought over the day, the orders, what is missing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np

from data.periods import Periods
from data.records.clearing import ClearingCase
from data.units import MICRO_PER_UNIT
from dso.flexibility.buy import Purchase
from dso.flexibility.files import bought_mw, cost_eur, missing_elements
from dso.report.figures import Figure
from dso.report.numbers import fixed
from dso.report.page import Tile, Tone
from dso.report.plot_parts import Trace, layout, middles, rounded, step_line
from dso.studies.planner_page import PlannerPage, PlannerTable, render_planner
from flexibility.procurement.records import FlexOrder

TONE: dict[str, Tone] = {"green": "good", "yellow": "warn", "orange": "bad", "red": "bad"}
BARS = (
    ("contract", 1.0, "Contracts, more injection", "@series1"),
    ("spot", 1.0, "Offers, more injection", "@series2"),
    ("contract", -1.0, "Contracts, more withdrawal", "@series3"),
    ("spot", -1.0, "Offers, more withdrawal", "@series4"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PurchaseHorizon:
    """The periods of a purchase on the market's clock, for the plots."""

    periods: Periods
    timezone: str

    def local_starts(self) -> tuple[datetime, ...]:
        """Start of each period on the market's clock."""
        zone = ZoneInfo(self.timezone)
        return tuple(start.astimezone(zone) for start in self.periods.starts)


def render_purchase(purchase: Purchase, held: ClearingCase) -> bytes:
    """Render the page; same purchase, same bytes."""
    network, periods = held.network, held.periods
    return render_planner(
        PlannerPage(
            kind="Flexibility purchase",
            command="dso flexibility buy",
            title=f"Flexibility bought for {held.name}",
            where=f"{network.name} · {int(network.buses.in_service.sum())} buses · "
            f"{len(periods)} periods of {periods.mtu_minutes} min",
            tone=TONE[purchase.state],
            verdict=_verdict(purchase),
            explanation="The positions of the energy market stay. Contracts and offers are chosen "
            "together at least cost with their AC network effect, contracts at their utilisation "
            "price; MW missing is stated at the bus that relieves an element most.",
            tiles=_tiles(purchase, held),
            map=None,
            figures=(_need_figure(purchase, held),),
            tables=(_orders_table(purchase, held), _missing_table(purchase, held),
                    _rejected_table(purchase)),
            simbench="simbench" in network.name,
        )
    )  # fmt: skip


def _verdict(purchase: Purchase) -> str:
    if purchase.state == "green":
        return "Green: the market's positions keep every limit; nothing was bought"
    if purchase.state == "yellow":
        return (
            f"Yellow: {len(purchase.orders)} orders for {fixed(cost_eur(purchase), 2)} EUR keep "
            "every limit"
        )
    missing = in_unit(float(purchase.missing_mw.max()), power_unit(purchase))
    return (
        f"Orange: offers do not suffice, up to {missing} are missing after "
        f"{len(purchase.orders)} orders for {fixed(cost_eur(purchase), 2)} EUR"
    )


def _tiles(purchase: Purchase, held: ClearingCase) -> tuple[Tile, ...]:
    h, unit = held.periods.mtu_h, power_unit(purchase)
    bought = sum(float(np.abs(order.ordered_mw).sum()) * h for order in purchase.orders)
    search = purchase.choice.result
    proven = search is None or search.integers is None or search.integers.proven

    def tile(label: str, power_mw: float, unit: str, note: str, tone: Tone = "plain") -> Tile:
        value, _, _ = in_unit(power_mw, unit[:2]).partition(" ")
        return Tile(label=label, value=value, unit=unit, note=note, tone=tone)

    return (
        tile("Missing without flexibility", float(purchase.missing_before_mw.max(initial=0.0)),
             unit, f"worst of {int((purchase.missing_before_mw > 0).sum())} periods"),
        tile("Bought", bought, f"{unit}h", f"{len(purchase.orders)} orders"),
        Tile(label="Cost", value=fixed(cost_eur(purchase), 2), unit="EUR",
             note="proven to be the least" if proven else "not proven to be the least"),
        tile("Still missing", float(purchase.missing_mw.max(initial=0.0)), unit,
             f"worst of {int((purchase.missing_mw > 0).sum())} periods", TONE[purchase.state]),
    )  # fmt: skip


def _need_figure(purchase: Purchase, held: ClearingCase) -> Figure:
    day = PurchaseHorizon(periods=held.periods, timezone=held.timezone)
    unit = power_unit(purchase)
    shown, digits = (1e3, 2) if unit == "kW" else (1.0, 3)
    traces: list[Trace] = []
    for kind, sign, name, colour in BARS:
        power = shown * bought_mw(purchase, kind, sign)
        if power.any():
            traces.append(
                {
                    "type": "bar", "name": name, "x": middles(day), "y": rounded(power, 6),
                    "marker": {"color": colour, "line": {"width": 0}}, "width": 1.0,
                    "hovertemplate": f"%{{y:.{digits}f}} {unit}",
                }
            )  # fmt: skip
    traces += [
        step_line(
            day,
            shown * purchase.missing_before_mw,
            "Missing without flexibility",
            "@ink",
            unit,
            digits,
        ),
        step_line(day, shown * purchase.missing_mw, "Still missing", "@broken", unit, digits),
    ]
    return Figure(
        name="need",
        title="Need and purchase",
        label="Power missing without flexibility, power bought and power still missing over time.",
        reading="The black line is the largest power missing in a period with the market's "
        "positions alone, stated at the best bus; bars are what was bought, stacked, at its own "
        "buses, which relieve less per MW the farther they are. The red line is still missing.",
        source="periods.csv",
        height_px=360,
        traces=traces,
        layout=layout(day, unit) | {"barmode": "stack", "bargap": 0},
    )


def _orders_table(purchase: Purchase, held: ClearingCase) -> PlannerTable:
    h, zone, unit = held.periods.mtu_h, ZoneInfo(held.timezone), power_unit(purchase)
    rows = []
    for order in purchase.orders:
        power = order.ordered_mw
        used = np.flatnonzero(power)
        energy = float(np.abs(power).sum() * h)
        start = held.periods.starts[int(used[0])].astimezone(zone)
        end = (held.periods.starts[int(used[-1])] + held.periods.mtu).astimezone(zone)
        main = float(power[int(np.argmax(np.abs(power)))])
        rows.append(
            (
                _called(order),
                order.participant,
                "contract" if order.contract else "offer",
                f"{start:%H:%M}–{end:%H:%M}",
                in_unit(main, unit),
                f"{fixed(100 * order.factor, 0)} %",
                f"{in_unit(energy, unit)}h",
                f"{fixed(order.price_micro_eur / MICRO_PER_UNIT, 2)} EUR",
                f"{fixed(order.price_micro_eur / MICRO_PER_UNIT / max(energy, 1e-9), 2)} EUR/MWh",
            )
        )
    return PlannerTable(
        name="orders", title="Orders", caption="What is ordered of each offer or contract",
        head=(("Order", False), ("Party", False), ("Kind", False), ("When", False),
              ("Largest power, + injection", True), ("Activated", True), ("Energy", True),
              ("Price", True), ("Per MWh", True)),
        rows=tuple(rows), source="orders.json, bought.csv",
    )  # fmt: skip


def _measured(each: dict[str, object], name: str) -> str:
    value = float(str(each[name]))
    return f"{fixed(value, 4)} pu" if each["unit"] == "pu" else f"{fixed(value, 1)} %"


def power_unit(purchase: Purchase) -> str:
    """Return the unit in which the powers of a purchase are read: kW on small feeders."""
    largest = max(
        [float(purchase.missing_before_mw.max(initial=0.0))]
        + [float(np.abs(order.ordered_mw).max()) for order in purchase.orders]
    )
    return "kW" if largest < 0.1 else "MW"


def in_unit(power_mw: float, unit: str) -> str:
    """Write a power [MW], or an energy [MWh], in kW or MW."""
    return f"{fixed(1e3 * power_mw, 2)} kW" if unit == "kW" else f"{fixed(power_mw, 3)} MW"


def _called(order: FlexOrder) -> str:
    return f"{order.offer} option {order.option}" if order.offer else f"{order.contract}"


def _missing_table(purchase: Purchase, held: ClearingCase) -> PlannerTable:
    labels, unit = held.periods.labels(), power_unit(purchase)
    zone = ZoneInfo(held.timezone)
    when = {
        label: f"{start.astimezone(zone):%H:%M}"
        for label, start in zip(labels, held.periods.starts, strict=True)
    }
    rows = tuple(
        (
            f"{each['element_kind']} {each['element']}",
            str(each["side"]),
            when[str(each["period_start"])],
            _measured(each, "value"),
            _measured(each, "limit"),
            in_unit(float(str(each["mw_missing"])), unit),
        )
        for each in missing_elements(purchase.after, labels)
    )
    return PlannerTable(
        name="missing", title="Still missing",
        caption="Each element and period whose limit does not hold with what was bought",
        head=(("Element", False), ("Side", False), ("When", False), ("Value", True),
              ("Limit", True), ("Missing", True)),
        rows=rows, source="missing.csv",
    )  # fmt: skip


def _rejected_table(purchase: Purchase) -> PlannerTable:
    return PlannerTable(
        name="rejected", title="Rejected messages", caption="Messages that do not count, and why",
        head=(("Message", False), ("Party", False), ("Reasons", False)),
        rows=tuple((r.message_id, r.participant, "; ".join(r.reasons))
                   for r in purchase.rejections),
        source="purchase.json",
    )  # fmt: skip
