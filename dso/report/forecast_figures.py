"""The plots of what was expected: bands of forecasts and how often they held, the outlook."""

from __future__ import annotations

from typing import Final

import numpy as np

from dso.report.colours import SEQUENTIAL
from dso.report.figures import Figure
from dso.report.numbers import fixed
from dso.report.plot_parts import Horizon, Trace, axis, layout, rounded, step_line
from dso.report.views import BandRecord, DayView, Floats, ForecastView, OutlookView

FORECAST_NAME: Final = {
    "load": "Load",
    "wind": "Wind",
    "renewables": "Renewables at low voltage",
    "other": "Other generation",
}
# The rows a screen holds, and marks that tell lines apart without colour.
OUTLOOK_ROWS: Final = 24
SYMBOLS: Final = ("circle", "square", "diamond", "triangle-up")


def forecast_band(day: DayView, forecast: ForecastView) -> Figure:
    """Show the quantiles of one kind against what happened [MW]."""
    name = FORECAST_NAME.get(forecast.kind, forecast.kind)
    traces: list[Trace] = []
    pairs = len(forecast.levels) // 2
    for k in range(pairs):
        low, high = forecast.levels[k], forecast.levels[-1 - k]
        for place, level in ((k, low), (len(forecast.levels) - 1 - k, high)):
            upper = level == high
            traces.append(
                step_line(day, forecast.value_mw[place], "20, 40, 60, 80 % bands", "@none", "MW", 2)
                | {"line": {"width": 0, "shape": "hv"}, "hoverinfo": "skip", "hovertemplate": None}
                | {"showlegend": upper and k == pairs - 1}
                | ({"fill": "tonexty", "fillcolor": "@band"} if upper else {})
            )
    middle = forecast.value_mw[forecast.levels.index(50)]
    traces.append(
        step_line(day, middle, "Forecast (median)", "@series1", unit="MW", digits=2)
        | {"line": {"color": "@series1", "width": 2, "dash": "dash", "shape": "hv"}}
    )
    traces.append(step_line(day, forecast.actual_mw, "Actual", "@ink", unit="MW", digits=2))
    share = coverage(forecast)
    said = (
        "no actuals yet" if share is None else f"actual inside it in {100 * share:.0f} % of periods"
    )
    return Figure(
        name=f"forecast-{forecast.kind}",
        title=name,
        label=f"Forecast bands and actual of {name.lower()} in MW; {said}.",
        reading=f"80 % band: {said}. The stronger the colour, the likelier a value was held "
        "to be; a good forecast has the actual inside the widest band in about 80 % of periods.",
        source="forecast/feeder.csv",
        height_px=280,
        traces=traces,
        layout=layout(day, "MW")
        | {"yaxis": axis("MW") | {"rangemode": "tozero", "hoverformat": ".2f"}},
    )


def coverage(forecast: ForecastView) -> float | None:
    """Return the share of periods whose actual lies in the outermost band; None without any."""
    known = np.isfinite(forecast.actual_mw)
    if not known.any():
        return None
    inside = (forecast.actual_mw >= forecast.value_mw[0] - 1e-9) & (
        forecast.actual_mw <= forecast.value_mw[-1] + 1e-9
    )
    return float(inside[known].mean())


def expectation_figures(day: DayView) -> tuple[Figure, ...]:
    """Return the plots of forecasts and of what they meant for the grid, in the page's order."""
    outlook = day.outlook
    return (
        *((outlook_map(day, outlook),) if outlook is not None and outlook.elements else ()),
        *(forecast_band(day, forecast) for forecast in day.forecasts),
        *((band_record(day.bands, day),) if day.bands else ()),
    )


def outlook_map(day: Horizon, outlook: OutlookView, source: str = "forecast/outlook.csv") -> Figure:
    """Show how likely each limit is broken without a market, and the MW that would relieve it."""
    shown = min(len(outlook.elements), OUTLOOK_ROWS)
    likeliest = float(outlook.probability.max())
    # up to the next ten percent: most outlooks are far from certain
    top = 10.0 * float(np.ceil(max(10.0 * likeliest, 1.0)))
    choices = (
        ("Probability", [_outlook_heat(day, outlook, 100.0 * outlook.probability, "%", 0, top)]),
        ("MW needed, mean", [_outlook_heat(day, outlook, outlook.need_mw_mean, "MW", 3, None)]),
        (
            "MW needed in 9 of 10 scenarios",
            [_outlook_heat(day, outlook, outlook.need_mw_q90, "MW", 2, None)],
        ),
    )
    left_out = len(outlook.elements) - shown
    more = f" {left_out} less likely limits stand in the file alone." if left_out else ""
    return Figure(
        name="outlook",
        title="Congestion outlook at the day-ahead gate, without a market",
        label=f"Heat map of the probability that each of {shown} limits is broken, at most "
        f"{fixed(100 * likeliest, 0)} %.",
        reading=f"Each row is a limit, the likeliest to break on top; each cell the share of "
        f"{outlook.scenarios} joint scenarios of load and generation that break it when nobody is "
        "moved, or the MW at the best bus that would relieve it. Empty: no scenario breaks it."
        f"{more}",
        source=source,
        height_px=186 + 20 * shown,
        traces=choices[0][1],
        layout=layout(day, "")
        | {
            "hovermode": "closest",
            "showlegend": False,
            "yaxis": axis("")
            | {
                "tickvals": list(range(shown)),
                "ticktext": list(outlook.elements[:shown]),
                "range": [shown - 0.5, -0.5],
                "showgrid": False,
                "automargin": True,
            },
            "margin": {"l": 170, "r": 24, "t": 8, "b": 112},
        },
        choices=choices,
        choice_label="Show",
    )


def _outlook_heat(
    day: Horizon, outlook: OutlookView, values: Floats, unit: str, digits: int, top: float | None
) -> Trace:
    shown = min(len(outlook.elements), OUTLOOK_ROWS)
    cells = np.where(outlook.probability > 0.0, values, np.nan)[:shown]
    last = len(SEQUENTIAL) - 1
    highest = float(np.nanmax(cells)) if np.isfinite(cells).any() else 1.0
    return {
        "type": "heatmap",
        "z": rounded(cells, digits + 1),
        "x": list(range(len(day.periods) + 1)),
        "meta": {"rows": list(outlook.elements[:shown])},
        "hovertemplate": f"%{{text}}<br>%{{z:.{digits}f}} {unit}<extra></extra>",
        "colorscale": [[k / last, colour] for k, colour in enumerate(SEQUENTIAL)],
        "zmin": 0.0,
        "zmax": top if top is not None else max(highest, 1e-3),
        "hoverongaps": False,
        "ygap": 1,
        "colorbar": {
            "title": {"text": unit, "side": "top"},
            "orientation": "h",
            "thickness": 12,
            "len": 0.9,
            "yref": "container",
            "y": 0.0,
            "ypad": 4,
            "yanchor": "bottom",
            "outlinewidth": 0,
            "tickcolor": "@muted",
        },
    }


def band_record(bands: tuple[BandRecord, ...], day: DayView) -> Figure:
    """Show the share of periods inside the 10-90 % band, day by day, of each kind's total."""
    held = {forecast.kind: coverage(forecast) for forecast in day.forecasts}
    last = [f"{day.day.isoformat()}"]
    traces: list[Trace] = []
    for place, record in enumerate(bands):
        share = [100.0 * inside / max(counted, 1) for _, counted, inside in record.past]
        own = held.get(record.kind)
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": FORECAST_NAME.get(record.kind, record.kind),
                "x": [each for each, _, _ in record.past] + last,
                "y": rounded(np.array([*share, np.nan if own is None else 100.0 * own]), 1),
                "line": {"color": f"@series{place % 4 + 1}", "width": 2},
                "marker": {"size": 7, "symbol": SYMBOLS[place % len(SYMBOLS)]},
                "hovertemplate": "%{y:.0f} %",
            }
        )
    return Figure(
        name="bands-held",
        title="How often the 80 % bands held",
        label="Line chart of the share of periods inside the 10-90 % band, by day and kind.",
        reading="Totals of each kind on the days before the gate, each forecast from what was "
        "known at its own gate, and the delivery day last. A calibrated band holds 80 % over many "
        "days (dashed line); single days scatter, because the periods of a day err together.",
        source="forecast/coverage.csv, forecast/feeder.csv",
        height_px=300,
        traces=traces,
        layout=layout(day, "% of periods")
        | {
            "xaxis": {"type": "category", "gridcolor": "@grid", "tickangle": -45, "nticks": 8},
            "yaxis": axis("% of periods") | {"range": [0, 104]},
            "margin": {"l": 62, "r": 24, "t": 8, "b": 84},
            "shapes": [
                {
                    "type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": 80, "y1": 80,
                    "line": {"color": "@muted", "width": 1.5, "dash": "dash"},
                }
            ],
        },
    )  # fmt: skip


def band_lines(day: DayView) -> tuple[tuple[str, str, str, str], ...]:
    """Return kind, and the shares held: total of the day, its single series, days before."""
    held = {forecast.kind: coverage(forecast) for forecast in day.forecasts}
    lines = []
    for record in day.bands:
        own = held.get(record.kind)
        counted = sum(count for _, count, _ in record.past)
        inside = sum(found for _, _, found in record.past)
        lines.append(
            (
                FORECAST_NAME.get(record.kind, record.kind),
                "none" if own is None else f"{100 * own:.0f} %",
                _share(record.values_inside, record.values_counted) + f" of {record.series} series",
                _share(inside, counted) + f" over {len(record.past)} days",
            )
        )
    return tuple(lines)


def _share(inside: int, counted: int) -> str:
    return f"{100 * inside / counted:.0f} %" if counted else "no value"
