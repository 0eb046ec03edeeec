"""The sum check on one page: what each feeder misses, by connection, and what was found."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from data.periods import Periods, format_utc
from data.records.metering import MeterFinding
from dso.metering.sum_check import SumCheck
from dso.metering.sum_findings import SumRules
from dso.report.figures import Figure
from dso.report.numbers import fixed
from dso.report.page import Tile
from dso.report.plot_parts import Trace, rounded
from dso.studies.planner_page import PlannerPage, PlannerTable, render_planner

SHOWN_MAX = 30
KIND_WORDS = {
    "theft": "theft",
    "swapped": "two meters swapped",
    "wrong_feeder": "on another feeder",
    "dead": "dead meter",
    "unmetered": "energy without any meter",
    "counts_too_much": "counts too much",
}


def render_sum_checks(checks: Sequence[SumCheck], periods: Periods, source: str) -> bytes:
    """Render the page; same checks, same bytes.

    Parameters
    ----------
    checks : sequence of SumCheck
        One per feeder.
    periods : Periods
        What was checked.
    source : str
        Name of the meter folder.
    """
    findings = _distinct(checks)
    count = len(findings)
    said = [f"{KIND_WORDS.get(f.kind, f.kind)} ({', '.join(f.subjects)})" for f in findings]
    points = sum(int(check.coefficients.own.sum()) for check in checks)
    return render_planner(
        PlannerPage(
            kind="Sum check of meters",
            command="dso meters check",
            title="Connection points against their feeder meters",
            where=f"{source} · {len(checks)} feeders · {points} connections · "
            f"{periods.count:,} periods of {periods.mtu_minutes} min from {periods.start:%Y-%m-%d}",
            tone="bad" if count else "good",
            verdict=f"{count} {'finding' if count == 1 else 'findings'}: {'; '.join(said)}"
            if count
            else "Every feeder carries what its meters show, and losses",
            explanation="What a feeder meter counts beyond its connection points is explained by "
            "losses, by each connection's own load, and by what silent meters would have shown. "
            "Two meters swapped on the same feeder cannot be seen: their sum is the same.",
            tiles=_tiles(checks, findings),
            map=None,
            figures=tuple(_coefficients(check, place) for place, check in enumerate(checks)),
            tables=(_findings_table(findings),),
            simbench=False,
        )
    )


def _distinct(checks: Sequence[SumCheck]) -> list[MeterFinding]:
    """Return the findings, a swap that shows on two feeders once."""
    seen: dict[tuple[str, tuple[str, ...]], MeterFinding] = {}
    for check in checks:
        for finding in check.findings:
            seen.setdefault((finding.kind, finding.subjects), finding)
    return list(seen.values())


def _tiles(checks: Sequence[SumCheck], findings: Sequence[MeterFinding]) -> tuple[Tile, ...]:
    energy = sum(check.energy_wh for check in checks)
    missing = sum(f.energy_wh for f in findings if f.kind in ("theft", "dead", "unmetered"))
    losses = sum(check.loss_share * check.energy_wh for check in checks)
    used = min(check.periods_used for check in checks)
    return (
        Tile(label="Feeder meters", value=fixed(energy / 1e6, 1), unit="MWh", note="counted"),
        Tile(label="Losses", value=fixed(100 * losses / max(energy, 1), 1), unit="%",
             note="grow with the square of the load"),
        Tile(label="Not metered", value=fixed(missing / 1e3, 0), unit="kWh",
             note=f"{fixed(100 * missing / max(energy, 1), 1)} % of the energy, in the findings",
             tone="bad" if missing else "good"),
        Tile(label="Judged by", value=f"{used:,}", unit="periods",
             note="in which nearly all energy was measured"),
    )  # fmt: skip


def _coefficients(check: SumCheck, place: int) -> Figure:
    fit, rules = check.coefficients, SumRules()
    named = {name for finding in check.findings for name in finding.subjects}
    listed = [k for k, name in enumerate(fit.connections) if fit.own[k] or name in named]
    listed = [k for k in listed if np.isfinite(fit.beta_error[k])]
    listed.sort(key=lambda k: -abs(fit.beta[k]))
    shown = sorted(listed[:SHOWN_MAX], key=lambda k: -fit.beta[k])
    groups = (
        ("Found", [k for k in shown if fit.connections[k] in named], "@broken", "star"),
        ("Harmless", [k for k in shown if fit.connections[k] not in named], "@series1", "circle"),
    )
    traces: list[Trace] = [
        {
            "type": "scatter", "mode": "markers", "name": name,
            "x": rounded(100 * fit.beta[members], 2),
            "y": [fit.connections[k] for k in members],
            "error_x": {
                "type": "data", "array": rounded(100 * rules.errors * fit.beta_error[members], 2),
                "color": colour, "thickness": 1.5, "width": 4,
            },
            "marker": {"color": colour, "size": 13 if symbol == "star" else 9, "symbol": symbol},
            "hovertemplate": "%{y}: %{x:.1f} % ± %{error_x.array:.1f} %<extra>" + name + "</extra>",
        }
        for name, members, colour, symbol in groups
        if members
    ]  # fmt: skip
    band = 100 * rules.register_share
    dead = any(finding.kind == "dead" for finding in check.findings)
    note = " A dead meter has no energy of its own here: its house's usual load gives it away."
    return Figure(
        name=f"feeder-{place}",
        title=f"{check.feeder}: what is missing, as a share of each meter's own energy",
        label=f"Share of each connection's metered energy that is missing on {check.feeder} [%].",
        reading="0 %: the meter shows what flows. Above: energy passes by it. −100 %: it is not on "
        "this feeder; +100 %: it is, but mapped elsewhere. Bars are four standard errors; within "
        f"the band of {band:.0f} % losses and meter errors explain everything."
        + (note if dead else ""),
        source="coefficients.csv",
        height_px=130 + 19 * len(shown),
        traces=traces,
        layout={
            "xaxis": {
                "title": {"text": "missing [% of the meter's energy]",
                          "standoff": 6, "font": {"size": 12}},
                "gridcolor": "@grid", "zeroline": True, "zerolinecolor": "@ink", "fixedrange": True,
            },
            "yaxis": {
                "type": "category", "automargin": True, "fixedrange": True, "dtick": 1,
                "categoryorder": "array",
                "categoryarray": [fit.connections[k] for k in reversed(shown)],
                "tickfont": {"size": 12}, "ticks": "outside", "ticklen": 5, "tickcolor": "@none",
                "gridcolor": "@grid",
            },
            "shapes": [
                {
                    "type": "rect", "yref": "paper", "y0": 0, "y1": 1, "x0": -band, "x1": band,
                    "fillcolor": "@band", "line": {"width": 0}, "layer": "below",
                }
            ],
            "hovermode": "closest",
            "margin": {"l": 40, "r": 24, "t": 8, "b": 62},
            "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
            "showlegend": True,
        },
    )  # fmt: skip


def _findings_table(findings: Sequence[MeterFinding]) -> PlannerTable:
    return PlannerTable(
        name="findings",
        title="Findings",
        caption="Largest energy first",
        head=(
            ("What", False), ("Where", False), ("From (UTC)", False), ("Energy [kWh]", True),
            ("In words", False),
        ),
        rows=tuple(
            (
                KIND_WORDS.get(f.kind, f.kind).capitalize(), ", ".join(f.subjects),
                format_utc(f.first),
                fixed(f.energy_wh / 1e3, 0), f.words,
            )
            for f in sorted(findings, key=lambda f: (-abs(f.energy_wh), f.subjects))
        ),
        source="findings.csv",
    )  # fmt: skip
