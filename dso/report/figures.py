"""The plots, as plain Plotly specifications; ``@name`` colours are filled from the page's theme."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from dso.report.colours import Scale, difference_scale, price_scale
from dso.report.numbers import fixed
from dso.report.plot_parts import (
    Trace,
    axis,
    layout,
    limit_lines,
    middles,
    rounded,
    step_line,
    time_axis,
)
from dso.report.states import feeder_order, violations_per_period
from dso.report.views import (
    SCENARIOS,
    DayView,
    FeederView,
    Floats,
    Ints,
    Scenario,
    StorageView,
)

SCENARIO_NAME: Final[dict[Scenario, str]] = {
    "without_market": "Without the market",
    "schedule": "Cleared schedule",
    "with_market": "With the market",
}
SCENARIO_COLOUR: Final[dict[Scenario, str]] = {
    "without_market": "@broken",
    "schedule": "@series1",
    "with_market": "@series3",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One plot and the words around it.

    Parameters
    ----------
    name : str
        Fixed id of its element on the page.
    title, label, reading, source : str
        Heading; text for who cannot see it; how to read it; the file its numbers are in.
    choices : tuple of (str, traces)
        Other sets of traces the reader can choose instead, with their names.
    """

    name: str
    title: str
    label: str
    reading: str
    source: str
    height_px: int
    traces: Sequence[Trace]
    layout: Mapping[str, object]
    choices: tuple[tuple[str, Sequence[Trace]], ...] = field(default=())
    choice_label: str = ""

    def specification(self) -> dict[str, object]:
        """Return what the page's script draws."""
        return {
            "data": list(self.traces),
            "layout": dict(self.layout),
            "choices": [list(traces) for _, traces in self.choices],
        }


def all_figures(day: DayView) -> tuple[Figure, ...]:
    """Return the plots of prices, limits and storages, in the page's order."""
    return (
        price_span(day),
        price_map(day),
        bus_price(day),
        voltage_envelope(day),
        loading_peak(day),
        violation_count(day),
        *((storage_charge(day),) if day.storages else ()),
    )


def price_span(day: DayView) -> Figure:
    """Show the lowest and highest bus price against the upstream price [EUR/MWh]."""
    price = day.final.dlmp
    traces = [
        step_line(day, price.min(axis=0), "Lowest bus", "@series1", unit="EUR/MWh", digits=2),
        step_line(day, price.max(axis=0), "Highest bus", "@series2", unit="EUR/MWh", digits=2)
        | {"fill": "tonexty", "fillcolor": "@band"},
        step_line(
            day, day.import_price_eur_per_mwh, "Upstream price", "@ink", unit="EUR/MWh", digits=2
        )
        | {"line": {"color": "@ink", "width": 2, "dash": "dot", "shape": "hv"}},
    ]
    return Figure(
        name="price-span",
        title="Price over the day: lowest bus, highest bus, upstream",
        label=f"Line chart of bus prices from {fixed(float(price.min()), 2)} to "
        f"{fixed(float(price.max()), 2)} EUR/MWh against the upstream price.",
        reading="The wider the band, the more the grid itself makes prices differ between buses; "
        "where it closes on the dotted line, only the upstream price and losses matter.",
        source="clearing/prices.csv, clearing/intraday/*/prices.csv, clearing/import_price.csv",
        height_px=300,
        traces=traces,
        layout=layout(day, "EUR/MWh"),
    )


def price_map(day: DayView) -> Figure:
    """Show the price at every bus and period as a heat map [EUR/MWh]."""
    order = feeder_order(day.feeder)
    names = short_names(day.feeder)
    scale = price_scale(np.concatenate([day.final.dlmp.ravel(), day.day_ahead.dlmp.ravel()]))
    difference = day.final.dlmp - day.import_price_eur_per_mwh
    marks = np.linspace(0, len(order) - 1, min(len(order), 12)).round().astype(int).tolist()
    frame = layout(day, "") | {
        "hovermode": "closest",
        "yaxis": axis("")
        | {
            "tickvals": marks,
            "ticktext": [names[int(order[mark])] for mark in marks],
            "range": [len(order) - 0.5, -0.5],
            "showgrid": False,
        },
        "margin": {"l": 84, "r": 24, "t": 8, "b": 96},
    }
    return Figure(
        name="price-map",
        title="Price at every bus",
        label=f"Heat map of prices at {len(order)} buses in {len(day.periods)} periods.",
        reading="Each row is a bus, neighbours on the feeder stand together, the substation is on "
        "top; each column is a period. Rows that leave the colour of their column sit behind a "
        "limit. Prices beyond the scale have the colour of its end.",
        source="clearing/prices.csv, clearing/intraday/*/prices.csv",
        height_px=560,
        traces=[_heat(day, day.final.dlmp, order, names, scale)],
        layout=frame,
        choices=(
            ("Last price (intraday)", [_heat(day, day.final.dlmp, order, names, scale)]),
            ("Day-ahead price", [_heat(day, day.day_ahead.dlmp, order, names, scale)]),
            (
                "Last price minus upstream price",
                [_heat(day, difference, order, names, difference_scale(difference))],
            ),
        ),
        choice_label="Show",
    )


def bus_price(day: DayView) -> Figure:
    """Show the parts of one bus's price; the page's script fills in the bus chosen."""
    parts = (
        ("Energy", "@series5"),
        ("Loss", "@series3"),
        ("Congestion", "@series2"),
        ("Voltage", "@series4"),
    )
    traces: list[Trace] = [
        {
            "type": "bar",
            "name": name,
            "x": middles(day),
            "y": [],
            "width": 1,
            "marker": {"color": colour, "line": {"width": 0}},
            "hovertemplate": "%{y:.2f} EUR/MWh",
        }
        for name, colour in parts
    ]
    traces.append(
        {
            "type": "scatter",
            "mode": "lines",
            "name": "Price",
            "x": middles(day),
            "y": [],
            "line": {"color": "@ink", "width": 2, "shape": "hvh"},
            "hovertemplate": "%{y:.2f} EUR/MWh",
        }
    )
    return Figure(
        name="bus-price",
        title="Why this price",
        label="Stacked bars of the four parts of the price at the chosen bus over the day.",
        reading="The four parts add up to the price exactly. Energy is the upstream price; loss, "
        "congestion and voltage are what one more MWh taken at this bus costs (above zero) or "
        "saves (below zero) the grid.",
        source="clearing/prices.csv, clearing/intraday/*/prices.csv",
        height_px=300,
        traces=traces,
        layout=layout(day, "EUR/MWh") | {"barmode": "relative", "bargap": 0},
    )


def voltage_envelope(day: DayView) -> Figure:
    """Show the span of cleared voltages and what would break without the market [pu]."""
    inside = ~day.feeder.substation_node()
    vm = day.final_grid.vm_pu[inside]
    low = _finite(day.feeder.vm_pu_min[inside], highest=True)
    high = _finite(day.feeder.vm_pu_max[inside], highest=False)
    traces = [
        step_line(day, vm.min(axis=0), "Lowest bus, cleared", "@series1", unit="pu", digits=4),
        step_line(day, vm.max(axis=0), "Highest bus, cleared", "@series1", unit="pu", digits=4)
        | {"fill": "tonexty", "fillcolor": "@band"},
        *_broken_markers(day, {"bus"}, "pu", 4),
    ]
    limits = [(value, f"limit {value:.3f} pu") for value in (high, low) if value is not None]
    return Figure(
        name="voltage",
        title="Voltage: highest and lowest bus",
        label="Band of cleared bus voltages with limits, and markers where limits would break.",
        reading="The band is the cleared schedule"
        + (
            " and must stay between the dashed limits (the tightest of all buses)."
            if limits
            else "; the folder states no voltage limits."
        )
        + " Crosses are the worst bus of each period without the market; "
        "diamonds, if any, are what still broke with it.",
        source="clearing/buses.csv, dispatch/violations.csv",
        height_px=320,
        traces=traces,
        layout=layout(day, "voltage [pu]") | limit_lines(limits),
    )


def loading_peak(day: DayView) -> Figure:
    """Show the highest branch loading and overloads without the market [percent]."""
    loading = np.nan_to_num(day.final_grid.loading_percent).max(axis=0)
    limit = float(day.feeder.loading_percent_max.min()) if len(day.feeder.branch_name) else 100.0
    return Figure(
        name="loading",
        title="Loading: most loaded line or transformer",
        label="Line chart of the highest cleared loading in percent with its limit.",
        reading="The line is the most loaded branch of the cleared schedule; it must stay below "
        "the dashed limit. Crosses are the worst overload of each period without the market; "
        "diamonds, if any, are what still broke with it.",
        source="clearing/branches.csv, dispatch/violations.csv",
        height_px=300,
        traces=[
            step_line(day, loading, "Most loaded branch, cleared", "@series1", unit="%", digits=1),
            *_broken_markers(day, {"line", "trafo"}, "%", 1),
        ],
        layout=layout(day, "loading [%]")
        | limit_lines([(limit, f"limit {limit:.0f} %")])
        | {"yaxis": axis("loading [%]") | {"rangemode": "tozero"}},
    )


def violation_count(day: DayView) -> Figure:
    """Show how many buses and branches are outside limits in each period and scenario."""
    traces: list[Trace] = []
    for scenario in SCENARIOS:
        buses = violations_per_period(day, scenario, "bus")
        branches = violations_per_period(day, scenario, "branch")
        traces.append(
            {
                "type": "bar",
                "name": SCENARIO_NAME[scenario],
                "x": middles(day),
                "y": (buses + branches).tolist(),
                "width": 1,
                "marker": {"color": SCENARIO_COLOUR[scenario], "line": {"width": 0}},
                "customdata": np.stack([buses, branches], axis=1).tolist(),
                "hovertemplate": "%{customdata[0]} buses, %{customdata[1]} branches",
            }
        )
    return Figure(
        name="violations",
        title="Elements outside their limits",
        label="Bars of the number of buses and branches outside limits in each period.",
        reading="Height is the number of buses, lines and transformers outside a limit in that "
        "period. An empty chart in the colour of a scenario means that nothing broke in it.",
        source="dispatch/violations.csv",
        height_px=260,
        traces=traces,
        layout=layout(day, "elements")
        | {"barmode": "overlay", "bargap": 0}
        | {"yaxis": axis("elements") | {"rangemode": "tozero", "tickformat": "d"}},
    )


def storage_charge(day: DayView) -> Figure:
    """Show state of charge [MWh] and power [MW] of all storages, or of the one chosen."""
    everything = _storage_traces(day, day.storages)
    choices = [(f"All {len(day.storages)} storages", everything)]
    choices += [
        (f"{storage.order} at {day.feeder.name_of('bus', storage.bus)}",
         _storage_traces(day, (storage,)))
        for storage in day.storages
    ]  # fmt: skip
    frame = layout(day, "state of charge [MWh]") | {
        "yaxis": axis("charge [MWh]") | {"domain": [0.46, 1], "rangemode": "tozero"},
        "yaxis2": axis("power [MW]") | {"domain": [0, 0.36], "zerolinecolor": "@muted"},
        "barmode": "relative",
        "bargap": 0,
    }
    frame["xaxis"] = time_axis(day) | {"anchor": "y2"}
    return Figure(
        name="storage",
        title="Storage: state of charge and power",
        label="Line chart of stored energy, scheduled and real, above bars of power.",
        reading="Above: energy stored at the end of each period, scheduled day ahead (dashed) and "
        "as it was (solid), under the capacity. Below: metered power, above zero feeds the grid, "
        "below zero charges; the line is what the devices were told.",
        source="dispatch/delivery.csv, clearing/awards.csv",
        height_px=460,
        traces=everything,
        layout=frame,
        choices=tuple(choices),
        choice_label="Storage",
    )


def short_names(feeder: FeederView) -> tuple[str, ...]:
    """Return bus names without the words most of them begin with."""
    words = [name.split(" ") for name in feeder.bus_name]
    first = [parts[0] for parts in words if len(parts) > 1]
    common = max(sorted(set(first)), key=first.count, default="")
    if first.count(common) * 2 <= len(words):
        return feeder.bus_name
    return tuple(
        " ".join(parts[1:]) if len(parts) > 1 and parts[0] == common else " ".join(parts)
        for parts in words
    )


def _storage_traces(day: DayView, storages: Sequence[StorageView]) -> list[Trace]:
    scheduled = np.sum([storage.soc_scheduled_mwh for storage in storages], axis=0)
    delivered = np.sum([storage.soc_delivered_mwh for storage in storages], axis=0)
    told = np.sum([storage.setpoint_mw for storage in storages], axis=0)
    done = np.sum([storage.delivered_mw for storage in storages], axis=0)
    capacity = np.full(len(day.periods), sum(storage.energy_mwh_max for storage in storages))
    digits = 3
    return [
        _charge_line(capacity, "Capacity", {"color": "@muted", "width": 1.5, "dash": "dot"}),
        _charge_line(scheduled, "Scheduled", {"color": "@series2", "width": 2, "dash": "dash"}),
        _charge_line(delivered, "As it was", {"color": "@series1", "width": 2.5}),
        {
            "type": "bar", "name": "Metered power", "x": middles(day), "y": rounded(done, digits),
            "width": 1, "yaxis": "y2", "marker": {"color": "@series1", "line": {"width": 0}},
            "hovertemplate": "%{y:.3f} MW",
        },
        step_line(day, told, "Setpoint", "@ink", unit="MW", digits=digits)
        | {"yaxis": "y2", "line": {"color": "@ink", "width": 1.5, "shape": "hv"}},
    ]  # fmt: skip


def _charge_line(charge_mwh: Floats, name: str, line: dict[str, object]) -> Trace:
    """Stored energy belongs to the end of its period."""
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": list(range(1, len(charge_mwh) + 1)),
        "y": rounded(charge_mwh, 3),
        "line": line,
        "meta": {"ends": True},
        "hovertemplate": "%{y:.3f} MWh",
    }


def _heat(day: DayView, values: Floats, order: Ints, names: Sequence[str], scale: Scale) -> Trace:
    return {
        "type": "heatmap",
        "z": rounded(values[order], 2),
        "x": list(range(len(day.periods) + 1)),
        "meta": {"rows": [names[int(bus)] for bus in order]},
        "hovertemplate": f"%{{text}}<br>%{{z:.2f}} {scale.unit}<extra></extra>",
        "colorscale": scale.plotly(),
        "zmin": scale.low,
        "zmax": scale.high,
        "hoverongaps": False,
        "colorbar": {
            "title": {"text": scale.unit, "side": "top"},
            "orientation": "h",
            "thickness": 12,
            "len": 0.9,
            "y": -0.11,
            "yanchor": "top",
            "outlinewidth": 0,
            "tickcolor": "@muted",
        },
    }


def _broken_markers(day: DayView, kinds: set[str], unit: str, digits: int) -> list[Trace]:
    traces: list[Trace] = []
    marks: tuple[tuple[Scenario, str], ...] = (
        ("without_market", "x-thin"),
        ("with_market", "diamond"),
    )
    for scenario, symbol in marks:
        worst: dict[tuple[int, bool], float] = {}
        for violation in day.violations:
            if violation.scenario == scenario and violation.element_kind in kinds:
                low = violation.side == "lower"
                key = (violation.period, low)
                keep = min if low else max
                worst[key] = keep(worst.get(key, violation.value), violation.value)
        points = sorted(worst.items())
        if not points:
            continue
        colour = SCENARIO_COLOUR[scenario]
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": f"Broken {SCENARIO_NAME[scenario].lower()}",
                "x": [period + 0.5 for (period, _), _ in points],
                "y": rounded(np.array([value for _, value in points]), digits),
                "marker": {
                    "symbol": symbol,
                    "size": 8,
                    "color": colour,
                    "line": {"color": colour, "width": 2},
                },
                # the nearest marker may be of another period than the one pointed at: it says whose
                "customdata": [day.local_label(period) for (period, _), _ in points],
                "hovertemplate": f"%{{y:.{digits}f}} {unit} at %{{customdata}}",
            }
        )
    return traces


def _finite(values: Floats, *, highest: bool) -> float | None:
    known = values[np.isfinite(values)]
    if not known.size:
        return None
    return float(known.max() if highest else known.min())
