"""A fleet's day on one page: who was told what, what the meters say, who lacked anything."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from data.periods import Periods
from data.records.clearing import ClearingCase
from data.units import WH_PER_MWH
from dso.fleet.fleet_file import FleetFile
from dso.fleet.run import FleetRun, KindRun, deviation_wh
from dso.report.figures import Figure
from dso.report.numbers import eur_cents, fixed
from dso.report.page import Tile
from dso.report.plot_parts import Trace, layout, limit_lines, step_line
from dso.studies.planner_page import PlannerPage, PlannerTable, render_planner, where_of

Floats = NDArray[np.float64]
WORDS: Final = {
    "batteries": "Batteries",
    "cars": "Cars",
    "pumps": "Heat pumps",
    "plants": "PV plants",
}
COLOURS: Final = {
    "batteries": "@series3",
    "cars": "@series1",
    "pumps": "@series4",
    "plants": "@series2",
}
KW_PER_MW: Final = 1000.0
HEIGHT: Final = 320


@dataclass(frozen=True, slots=True, kw_only=True)
class _Day:
    """Periods on the market's clock."""

    periods: Periods
    timezone: str

    def local_starts(self) -> tuple[datetime, ...]:
        """Start of each period on the market's clock."""
        zone = ZoneInfo(self.timezone)
        return tuple(start.astimezone(zone) for start in self.periods.starts)


def render_fleet(case: ClearingCase, file: FleetFile, run: FleetRun) -> bytes:
    """Render the page; same run, same bytes."""
    day = _Day(periods=case.periods, timezone=case.timezone)
    h = case.periods.mtu_h
    off = sum(int(np.abs(deviation_wh(each, h)).sum()) for each in run.kinds.values())
    moved = sum(int(np.abs(each.metered_wh).sum()) for each in run.kinds.values())
    missing = sum(each.missing_wh for each in run.shortfalls)
    owed = sum(each.amount_micro_eur for each in run.shortfalls)
    cold = max(run.cold_kh.values(), default=0.0)
    price = case.import_price_eur_per_mwh
    bill = float((run.grid.import_mw * price).sum() * h)
    plain = float((run.grid_unguided.import_mw * price).sum() * h)
    fine = not run.shortfalls and cold == 0.0 and not run.grid.violations
    words = [
        f"{len(run.shortfalls)} cars left short"
        if run.shortfalls
        else "every car left with its energy",
        "every room stayed warm" if cold == 0.0 else f"up to {cold:.1f} K h too cold",
        f"{len(run.grid.violations)} limits broken" if run.grid.violations else "every limit held",
    ]
    return render_planner(
        PlannerPage(
            kind="Fleet",
            command="dso fleet run",
            title="What the devices did with their awards",
            where=where_of([case.name], case),
            tone="good" if fine else "warn",
            verdict=", ".join(words).capitalize(),
            explanation="Awards of portfolios are shared out to the devices in whole watts. Each "
            "device follows minute by minute as far as it can; the meters' energies are put into "
            "an independent AC power flow. " + " ".join((*file.notes, *run.surprises.words())),
            tiles=(
                Tile(label="Meters against awards", value=fixed(off / 1e3, 3), unit="kWh",
                     note=f"sum of differences, of {moved / 1e3:,.0f} kWh moved"),
                Tile(label="Missing in cars", value=fixed(missing / 1e3, 2), unit="kWh",
                     note=f"{eur_cents(owed)} EUR owed for it"),
                Tile(label="Coldest room", value=_coldest(run), unit="°C",
                     note="comfort begins at " + _comfort(file)),
                Tile(label="Import at wholesale price", value=fixed(bill, 2), unit="EUR",
                     note=f"{plain:.2f} EUR if nobody instructed the devices, with "
                     f"{_left_kwh(run):.0f} kWh more left in them"),
            ),
            map=None,
            figures=tuple(_figures(case, day, run, file)),
            tables=(_kinds_table(run, h), _cars_table(file, run, h), _shortfall_table(run)),
            simbench=case.network.name.startswith("simbench:"),
        )
    )  # fmt: skip


def _left_kwh(run: FleetRun) -> float:
    """Return what uninstructed batteries and cars hold more at the end of the day [kWh]."""
    kinds = [kind for kind in ("batteries", "cars") if kind in run.kinds]
    left = [run.unguided[kind].stored[:, -1] - run.kinds[kind].stored[:, -1] for kind in kinds]
    return KW_PER_MW * float(sum(part.sum() for part in left))


def _coldest(run: FleetRun) -> str:
    pumps = run.kinds.get("pumps")
    return "n/a" if pumps is None else fixed(float(pumps.stored.min()), 2)


def _comfort(file: FleetFile) -> str:
    pumps = file.fleet.pumps
    return "n/a" if pumps is None else f"{pumps.comfort_c_min.min():.1f} °C"


def _kw(run: KindRun, mtu_h: float) -> Floats:
    return np.asarray(run.metered_mw(mtu_h).sum(axis=0) * KW_PER_MW)


def _dashed(line: Trace) -> Trace:
    style = line["line"]
    assert isinstance(style, dict)
    return line | {"line": style | {"dash": "dot", "width": 1.5}}


def _figures(case: ClearingCase, day: _Day, run: FleetRun, file: FleetFile) -> list[Figure]:
    h = case.periods.mtu_h
    found = [_power_figure(day, run, h), _import_figure(case, day, run)]
    if "cars" in run.kinds:
        found.append(_cars_figure(day, run, file))
    if "pumps" in run.kinds:
        found.append(_rooms_figure(day, run, file))
    return found


def _power_figure(day: _Day, run: FleetRun, mtu_h: float) -> Figure:
    traces = [
        step_line(day, _kw(each, mtu_h), WORDS[kind], COLOURS[kind], "kW", 1)
        for kind, each in run.kinds.items()
    ]
    plain = [
        step_line(day, _kw(each, mtu_h), WORDS[kind], COLOURS[kind], "kW", 1)
        for kind, each in run.unguided.items()
    ]
    return Figure(
        name="power",
        title="Power of the devices at their meters",
        label="Injection of each kind of device over the day [kW], withdrawal negative.",
        reading="Above zero the devices feed in, below they draw. The other view shows the same "
        "devices when nobody instructs them.",
        source="devices.csv",
        height_px=HEIGHT + 60,
        traces=traces,
        layout=layout(day, "kW into the grid"),
        choices=(("As told", traces), ("Without instruction", plain)),
        choice_label="Show",
    )


def _import_figure(case: ClearingCase, day: _Day, run: FleetRun) -> Figure:
    price = step_line(
        day, case.import_price_eur_per_mwh, "Wholesale price", "@series5", "EUR/MWh", 2
    )
    return Figure(
        name="import",
        title="Import of the feeder and the price it pays",
        label="Import at the substation with and without instruction [kW], price [EUR/MWh].",
        reading="Replayed in an AC power flow that is not the market's. Dotted: the same devices "
        "without any instruction. The grey line is the wholesale price, on the right axis.",
        source="grid.csv",
        height_px=HEIGHT + 40,
        traces=[
            price | {"yaxis": "y2"},
            step_line(day, run.grid.import_mw * KW_PER_MW, "As told", "@series1", "kW", 1),
            _dashed(
                step_line(
                    day, run.grid_unguided.import_mw * KW_PER_MW, "Without instruction",
                    "@series2", "kW", 1,
                )
            ),
        ],
        layout=layout(day, "kW")
        | {
            "yaxis2": {
                "title": {"text": "EUR/MWh", "standoff": 6, "font": {"size": 12}},
                "overlaying": "y", "side": "right", "showgrid": False, "fixedrange": True,
                "rangemode": "tozero", "tickmode": "auto", "nticks": 5,
            },
            "margin": {"l": 62, "r": 62, "t": 8, "b": 44},
        },
    )  # fmt: skip


def _cars_figure(day: _Day, run: FleetRun, file: FleetFile) -> Figure:
    cars = file.fleet.cars
    assert cars is not None
    ends = (np.arange(len(day.periods)) + 1) * day.periods.mtu_h
    # At the end of each period: the energy of the cars that are plugged then.
    here = (cars.arrival_h[:, None] < ends) & (cars.departure_h[:, None] >= ends)

    def total(values: Floats) -> Floats:
        return np.asarray((np.where(here, values, 0.0)).sum(axis=0) * KW_PER_MW)

    wide = np.ones(len(ends))
    return Figure(
        name="cars",
        title="Energy in the cars that are plugged in",
        label="Energy in plugged cars, what they ask for at departure, and their reserve [kWh].",
        reading="The energy in the cars rises from their arrivals to what they ask for at "
        "departure. V2G never takes a car below its reserve.",
        source="devices.csv",
        height_px=HEIGHT,
        traces=[
            step_line(day, total(run.kinds["cars"].stored), "In the cars", "@series1", "kWh", 1),
            _dashed(
                step_line(
                    day, total(run.unguided["cars"].stored), "Without instruction", "@series2",
                    "kWh", 1,
                )
            ),
            step_line(
                day, total(cars.energy_mwh_departure[:, None] * wide), "Asked for at departure",
                "@series5", "kWh", 1,
            ),
            step_line(
                day, total(cars.energy_mwh_reserve[:, None] * wide), "Reserve", "@broken", "kWh", 1
            ),
        ],
        layout=layout(day, "kWh"),
    )  # fmt: skip


def _rooms_figure(day: _Day, run: FleetRun, file: FleetFile) -> Figure:
    pumps, rooms = file.fleet.pumps, run.kinds["pumps"].stored
    assert pumps is not None
    low, high = float(pumps.comfort_c_min.min()), float(pumps.comfort_c_max.max())
    frame = layout(day, "°C") | limit_lines(
        [(low, f"comfort from {low:.1f} °C"), (high, f"to {high:.1f} °C")]
    )
    axis = frame["yaxis"]
    assert isinstance(axis, dict)
    frame["yaxis"] = axis | {"range": [low - 0.5, high + 0.5]}
    most = float(pumps.store_mwh_max.sum()) * KW_PER_MW
    frame["yaxis2"] = {
        "title": {"text": "kWh of heat", "standoff": 6, "font": {"size": 12}},
        "overlaying": "y", "side": "right", "showgrid": False, "fixedrange": True,
        "range": [0, 1.05 * max(most, 1e-3)], "tickmode": "auto", "nticks": 5,
    }  # fmt: skip
    frame["margin"] = {"l": 62, "r": 62, "t": 8, "b": 44}
    heat = run.kinds["pumps"].heat_mwh.sum(axis=0) * KW_PER_MW
    return Figure(
        name="rooms",
        title="Rooms and heat stores of the heat pumps",
        label="Indoor temperature of the coldest and the warmest building [°C], heat stored [kWh].",
        reading="Coldest and warmest of all buildings. Heat is shifted in the store first, so "
        "that rooms keep their set temperature; the comfort band is kept for what was not "
        f"foreseen. Outdoors it is {file.outlook.outdoor_c.min():.1f} to "
        f"{file.outlook.outdoor_c.max():.1f} °C.",
        source="devices.csv",
        height_px=HEIGHT,
        traces=[
            step_line(day, rooms.min(axis=0), "Coldest room", "@series1", "°C", 2),
            step_line(day, rooms.max(axis=0), "Warmest room", "@series2", "°C", 2),
            step_line(day, heat, "Heat in all stores (right axis)", "@series4", "kWh", 1)
            | {"yaxis": "y2"},
        ],
        layout=frame,
    )


def _kwh(energy_wh: float, digits: int = 1) -> str:
    return fixed(float(energy_wh) / 1e3, digits)


def _kinds_table(run: FleetRun, mtu_h: float) -> PlannerTable:
    rows = []
    for kind, each in run.kinds.items():
        off = deviation_wh(each, mtu_h)
        minutes = sum(sum(reasons.values()) for reasons in each.not_followed.values())
        rows.append(
            (
                WORDS[kind],
                str(len(each.ids)),
                _kwh(-each.metered_wh[each.metered_wh < 0].sum()),
                _kwh(each.metered_wh[each.metered_wh > 0].sum()),
                str(int(np.abs(off).max(initial=0))),
                str(minutes),
            )
        )
    return PlannerTable(
        name="kinds",
        title="Devices by kind",
        caption="Energy at the meters; the largest difference of a meter from its award in one "
        "period; minutes in which a device could not follow (reasons in not_followed.csv).",
        head=(
            ("Kind", False), ("Devices", True), ("Drawn [kWh]", True), ("Fed in [kWh]", True),
            ("Largest difference [Wh]", True), ("Minutes not followed", True),
        ),
        rows=tuple(rows),
        source="devices.csv",
    )  # fmt: skip


def _cars_table(file: FleetFile, run: FleetRun, mtu_h: float) -> PlannerTable:
    cars, rows = file.fleet.cars, []
    if cars is not None:
        held = {
            member.id: (each.order.id if len(each.members) > 1 else "own order")
            for each in run.offer.portfolios
            for member in each.members
        }
        last = run.kinds["cars"].stored[:, -1]
        ends = run.kinds["cars"].stored.shape[1] * mtu_h
        for k, car in enumerate(cars.ids):
            stays = cars.departure_h[k] > ends
            rows.append(
                (
                    car,
                    str(cars.buses[k]),
                    fixed(cars.arrival_h[k], 2),
                    fixed(cars.departure_h[k], 2),
                    _kwh(cars.energy_mwh_arrival[k] * WH_PER_MWH),
                    _kwh(cars.energy_mwh_departure[k] * WH_PER_MWH),
                    _kwh(last[k] * WH_PER_MWH) + (" *" if stays else ""),
                    held.get(car, "none"),
                )
            )
    return PlannerTable(
        name="cars",
        title="Cars",
        caption="Energies in the battery. * still plugged in when the day ends, with what full "
        "power needs to finish in time.",
        head=(
            ("Session", False), ("Bus", True), ("Arrival [h]", True), ("Departure [h]", True),
            ("Came with [kWh]", True), ("Asked for [kWh]", True), ("Has [kWh]", True),
            ("Offered in", False),
        ),
        rows=tuple(rows),
        source="fleet.json",
    )  # fmt: skip


def _shortfall_table(run: FleetRun) -> PlannerTable:
    return PlannerTable(
        name="shortfalls",
        title="Cars that left short",
        caption="Energy missing at departure, why, and who owes what for it."
        if run.shortfalls
        else "None: every car that left had what it asked for.",
        head=(
            ("Session", False), ("Bus", True), ("Missing [kWh]", True), ("Why", False),
            ("Who pays", False), ("EUR", True),
        ),
        rows=tuple(
            (
                each.car, str(each.bus), _kwh(each.missing_wh, 3), each.reason, each.payer,
                eur_cents(each.amount_micro_eur),
            )
            for each in run.shortfalls
        ),
        source="shortfalls.csv",
    )  # fmt: skip
