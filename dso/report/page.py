"""The page: headline figures first, then the day section by section, in one file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from dso.report import numbers
from dso.report.feeder_map import LOADING_CLASSES, draw_map, map_scales, script_data
from dso.report.figures import SCENARIO_NAME, all_figures
from dso.report.forecast_figures import band_lines, expectation_figures
from dso.report.numbers import eur_exact, fixed, shortened
from dso.report.page_parts import TEMPLATES, island, render_closed_page
from dso.report.states import (
    MEANING,
    STATES,
    broken_elements,
    period_states,
    period_to_open,
)
from dso.report.views import ClearingSummary, DayView

VERIFY_COMMAND: Final = "dso audit verify bundle --key operator.vkey"
WEEKDAYS: Final = (
    "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday",
)  # fmt: skip
MONTHS: Final = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
STATUS_WORDS: Final = {
    "certified": "certified",
    "certified_with_slack": "certified, limits bought off with slack",
    "uncertified": "not certified",
    "infeasible": "infeasible",
}
ACCOUNT_WORDS: Final = {
    "account:upstream": "Upstream supplier",
    "account:rent_congestion": "Rent: congestion",
    "account:rent_voltage": "Rent: voltage",
    "account:rent_loss": "Rent: losses over-collected",
    "account:rent_import": "Rent: import and export caps",
    "account:rent_unsplit": "Rent, not split",
    "account:imbalance_residual": "Imbalance residual",
    "account:flexibility": "Flexibility bought",
    "account:refund": "Refund of rents",
    "account:rounding": "Rounding",
}
CERTIFICATE_WORDS: Final = {
    "replay_engine": ("replayed by", ""),
    "replay_vm_pu_error_max": ("largest voltage difference of the two power flows", "pu"),
    "worst_voltage_violation_pu": ("worst voltage violation in the replay", "pu"),
    "worst_loading_violation_percent": ("worst loading violation in the replay", "%"),
    "stationarity": ("stationarity residual, relative", ""),
    "complementarity": ("complementarity residual, relative", ""),
    "dual_sign": ("dual sign residual, relative", ""),
    "parts_residual_eur_per_mwh": ("price minus sum of its parts, largest", "EUR/MWh"),
    "energy_balance_mw": ("energy balance residual", "MW"),
    "probe_error": ("gradient against extra power flows, relative", ""),
    "iterations": ("iterations", ""),
    "solver": ("solver", ""),
    "solver_options": ("solver options", ""),
}
ELEMENTS_SHOWN: Final = 8
Tone = Literal["good", "warn", "bad", "plain"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One headline figure: what it is, its value with its unit, what it is compared with."""

    label: str
    value: str
    unit: str
    note: str
    tone: Tone = "plain"


def render_page(day: DayView) -> bytes:
    """Render the page of a day.

    Parameters
    ----------
    day : DayView
        What the stages of the day left.

    Returns
    -------
    bytes
        HTML, UTF-8. Its content security policy lets only its own scripts run, by their
        SHA-256, and lets nothing be fetched.
    """
    return render_closed_page(
        "report.html.j2", folder=TEMPLATES, script="report.js", style="", context=_context(day)
    )


def headline(day: DayView) -> tuple[Tile, ...]:
    """Return the headline row: what a shift leader and an auditor ask first."""
    without, schedule, done = (
        day.replay_of("without_market"), day.replay_of("schedule"), day.replay_of("with_market"),
    )  # fmt: skip
    periods = len(day.periods)
    sound = sum(_is_certified(summary) for summary in (day.clearing, *day.rounds))
    clearings = 1 + len(day.rounds)
    broken = max(schedule.periods_violated, done.periods_violated)
    return (
        Tile(
            label="Certificate",
            value=f"{sound} of {clearings}",
            unit="clearings certified",
            note=f"day ahead {STATUS_WORDS.get(day.clearing.status, day.clearing.status)}, "
            f"replayed by {schedule.engine}",
            tone="good" if sound == clearings else "bad",
        ),
        Tile(
            label="Periods with broken limits",
            value=f"{without.periods_violated} → {done.periods_violated}",
            unit=f"of {periods}",
            note=f"without the market → with it; cleared schedule {schedule.periods_violated}",
            tone="good" if broken == 0 else "warn",
        ),
        Tile(
            label="Peak loading",
            value=f"{fixed(without.worst_loading_percent, 0)} → "
            f"{fixed(done.worst_loading_percent, 0)}",
            unit="%",
            note="most loaded line or transformer, without the market → with it",
            tone="good" if (done.worst_loading_violation_percent or 0.0) <= 0.1 else "warn",
        ),
        Tile(
            label="Worst voltage",
            value=f"{fixed(without.worst_voltage_pu, 4)} → {fixed(done.worst_voltage_pu, 4)}",
            unit="pu",
            note="bus nearest to or furthest beyond its limit, without the market → with it",
            tone="good" if (done.worst_voltage_violation_pu or 0.0) <= 1e-4 else "warn",
        ),
        *_account_tiles(day),
    )


def _account_tiles(day: DayView) -> tuple[Tile, ...]:
    """Return prices, energy, money and the ledger's root."""
    price = day.final.dlmp
    imported = float(np.clip(day.exchange_mwh, 0, None).sum())
    exported = float(np.clip(-day.exchange_mwh, 0, None).sum())
    balanced = day.money.total_micro_eur == 0 and not day.money.not_zero
    return (
        Tile(
            label="Price span",
            value=f"{fixed(float(price.min()), 1)} to {fixed(float(price.max()), 1)}",
            unit="EUR/MWh",
            note="lowest and highest last price of any bus and period; upstream "
            f"{fixed(float(day.import_price_eur_per_mwh.min()), 1)} to "
            f"{fixed(float(day.import_price_eur_per_mwh.max()), 1)} EUR/MWh",
        ),
        Tile(
            label="Import / export",
            value=f"{fixed(imported)} / {fixed(exported)}",
            unit="MWh",
            note=f"at the substation, {day.exchange_source}",
        ),
        Tile(
            label="Money sum",
            value=eur_exact(day.money.total_micro_eur),
            unit="EUR",
            note=f"exact, over {day.money.lines:,} lines; zero in "
            + ("every market and period" if balanced else "not every market and period"),
            tone="good" if balanced else "bad",
        ),
        Tile(
            label="Ledger root",
            value=shortened(day.ledger.root_base64, 6),
            unit="",
            note=f"signed head over {day.ledger.size:,} entries",
        ),
    )


def verdict(day: DayView) -> tuple[str, Tone, tuple[str, ...]]:
    """Say in words how the day went: a headline, its tone and a few sentences."""
    without, schedule, done = (
        day.replay_of("without_market"), day.replay_of("schedule"), day.replay_of("with_market"),
    )  # fmt: skip
    periods = len(day.periods)
    certified = all(_is_certified(summary) for summary in (day.clearing, *day.rounds))
    tone: Tone
    if not certified:
        title, tone = "Not every clearing of this day is certified.", "bad"
    elif schedule.periods_violated:
        title, tone = "The cleared schedule does not keep every limit.", "bad"
    elif done.periods_violated:
        title, tone = "The schedule kept every limit; what happened broke some.", "warn"
    elif without.periods_violated:
        title, tone = "The market kept the feeder inside its limits.", "good"
    else:
        title, tone = "No limit was in danger on this day.", "good"
    told = (
        f"Without the market, limits would have been broken in {without.periods_violated} of "
        f"{periods} periods; the cleared schedule, replayed by {schedule.engine}, breaks them in "
        f"{schedule.periods_violated}, and what devices and everybody else really did in "
        f"{done.periods_violated}."
    )
    sentences = [told]
    worst = broken_elements(day, "without_market")
    if worst:
        first = worst[0]
        sentences.append(
            f"Most often it would have been {first.name}: {first.periods} periods, up to "
            f"{fixed(first.worst.value, 3 if first.element_kind == 'bus' else 0)} "
            f"{_unit(first.worst.unit)} against {fixed(first.worst.limit, 3)} "
            f"{_unit(first.worst.unit)} at "
            f"{day.local_label(first.worst.period)}."
        )
    if day.instructed_mwh > 0:
        sentences.append(
            f"Devices were told to move {fixed(day.instructed_mwh)} MWh and missed their setpoints "
            f"by {fixed(day.deviation_mwh, 2)} MWh "
            f"({fixed(100 * day.deviation_mwh / day.instructed_mwh)} %)."
        )
    return title, tone, tuple(sentences)


def _context(day: DayView) -> dict[str, object]:
    states = period_states(day)
    title, tone, sentences = verdict(day)
    figures = (*all_figures(day), *expectation_figures(day))
    opening = period_to_open(day)
    return {
        "day": day,
        "date_long": f"{WEEKDAYS[day.day.weekday()]} {day.day.day} "
        f"{MONTHS[day.day.month - 1]} {day.day.year}",
        "tiles": headline(day),
        "verdict_title": title,
        "verdict_tone": tone,
        "verdict_sentences": sentences,
        "states": states,
        "state_counts": [
            {"state": state, "count": states.count(state), "meaning": MEANING[state]}
            for state in STATES
        ],
        "map": draw_map(day),
        "open_period": opening,
        "open_price_lowest": float(day.final.dlmp[:, opening].min()),
        "open_price_highest": float(day.final.dlmp[:, opening].max()),
        "rounds": [
            (summary, _binding_span(day, summary), *_price_span(day, summary))
            for summary in day.rounds
        ],
        "certificate": [
            _certificate_line(name, value) for name, value in day.clearing.certificate if value
        ],
        "scales": map_scales(day),
        "loading_classes": LOADING_CLASSES,
        "figures": {figure.name: figure for figure in figures},
        "forecast_names": [f"forecast-{forecast.kind}" for forecast in day.forecasts],
        "band_lines": band_lines(day),
        "scenario_name": SCENARIO_NAME,
        "broken": {
            scenario: broken_elements(day, scenario)[:ELEMENTS_SHOWN] for scenario, _ in day.replays
        },
        "broken_count": {
            scenario: len(broken_elements(day, scenario)) for scenario, _ in day.replays
        },
        "causes": day.causes[:ELEMENTS_SHOWN],
        "status_words": STATUS_WORDS,
        "account_words": ACCOUNT_WORDS,
        "verify_command": VERIFY_COMMAND,
        "limits_known": bool(
            np.isfinite(day.feeder.vm_pu_min).any() and np.isfinite(day.feeder.vm_pu_max).any()
        ),
        "unit_words": _unit,
        "specifications": island({figure.name: figure.specification() for figure in figures}),
        "feeder_data": island(script_data(day)),
    }


def _price_span(day: DayView, summary: ClearingSummary) -> tuple[float, float]:
    price = day.final.dlmp[:, summary.first : summary.first + summary.binding]
    return float(price.min()), float(price.max())


def _binding_span(day: DayView, summary: ClearingSummary) -> str:
    first = day.local_label(summary.first)
    last = day.local_label(summary.first + summary.binding - 1)
    return first[:6] + last[6:]


def _certificate_line(name: str, value: str) -> tuple[str, str, str]:
    """Return label, value and unit of one line of the certificate."""
    label, unit = CERTIFICATE_WORDS.get(name, (name.replace("_", " "), ""))
    try:
        return label, numbers.significant(float(value)), unit
    except ValueError:
        return label, value, unit


def _is_certified(summary: ClearingSummary) -> bool:
    return summary.status.startswith("certified")


def _unit(unit: str) -> str:
    return "%" if unit == "percent" else unit
