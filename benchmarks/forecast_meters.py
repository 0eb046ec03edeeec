"""Forecasts of many meters: `make bench-forecast` prints these tables with its own.

    python -m benchmarks.forecast_meters [--write]

prints them alone; --write puts them into docs/benchmarks.md as a section.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from importlib.metadata import version
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.document import replace_section
from benchmarks.forecast_meters_peers import (
    forecast_reference_like_days,
    forecast_reference_trees,
    forecast_with_statsforecast,
)
from benchmarks.forecast_meters_series import (
    COUNTRY,
    DAYS,
    GATE_SLOT,
    LEVELS,
    MONTHS,
    ROWS_OF_LEVELS,
    SLOTS,
    START,
    Rolled,
    inside,
    losses,
    periods_of,
    power_mw,
    rolled,
    tree,
)
from benchmarks.machine import describe_machine
from data.periods import Periods
from data.records.forecast import Forecast, Reading
from forecasting.hierarchy import (
    estimate_error_covariance,
    mean_of_quantiles,
    reconcile_quantiles,
    reconcile_scenarios,
    sum_quantiles_bottom_up,
)
from forecasting.level_choice import find_depths_to_keep, reconcile_levels
from forecasting.meter_model import MeterForecaster
from forecasting.model import KnownData, Site
from forecasting.scenarios import draw_scenarios, energy_score, variogram_score
from forecasting.scores import block_bootstrap, share

Floats = NDArray[np.float64]
Say = Callable[[str], None]

TITLE: Final = "Forecasts of many meters"
METERS: Final = 5000
HISTORY_DAYS: Final = 91
STATS_DAYS: Final = (127, 137, 147)
# Feeder, a transformer and a meter.
STATS_ROWS: Final = (0, 1, 5)
ERROR_DAYS: Final = 42
SCENARIO_DAYS: Final = tuple(range(121, 151, 3))
SCENARIOS: Final = 100
# Households' peaks lie beyond the deciles.
SCENARIO_LEVELS: Final = (0.01, 0.02, 0.05, *LEVELS, 0.95, 0.98, 0.99)
BLOCK_DAYS: Final = 7
HIERARCHY_NOTE: Final = (
    "Own forecasts of all levels come from the same readings by the same model, so reconciliation "
    "has little to add: aggregates gain, single meters lose, by MinT's weights as by any smaller "
    "step (a tenth of it: 0.01 %). Where it helped: each day the levels that gained over the last "
    "six weeks are moved, the others keep their quantiles while their means, which add up, still "
    "move. Kept were {kept}. On the eight zones of New England and their sum every level gains "
    "(tests/unit/forecasting/test_hierarchy.py)."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterTable:
    """A table to print: texts, formatted; notes are paragraphs below it."""

    title: str
    header: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    def as_markdown(self) -> str:
        """Return the table under a heading of the third level."""
        rows = (self.header, ("---",) * len(self.header), *self.lines)
        table = "\n".join("| " + " | ".join(row) + " |" for row in rows)
        return "\n\n".join([f"### {self.title}", table, *self.notes])


Keep = Callable[[str, Callable[[], MeterTable]], MeterTable]


def tables(
    progress: Say = lambda _: None, keep: Keep = lambda _, measure: measure()
) -> list[MeterTable]:
    """Measure everything about many meters.

    Parameters
    ----------
    progress : callable
        Told what is being done.
    keep : callable
        Given the name of a part and how to measure it, returns it.

    Raises
    ------
    InputError
        If DSO_REFERENCE_DATA is not set.
    """
    made = []
    for what, measure in (
        ("5,000 meters", measure_throughput),
        ("Zonnedael, ours and the reference's blend", compare_with_reference),
        ("coverage by month", measure_coverage),
        ("hierarchy and scenarios", measure_hierarchy),
        ("statsforecast", compare_with_statsforecast),
    ):
        progress(f"meters: {what}")
        made.append(keep(f"meters: {what}", measure))
    return made


def compare_with_reference() -> MeterTable:
    """Compare ours with the 50/50 blend on 40 meters and their sum, May, gate 10:00 on D-1."""
    first, count = MONTHS["May"]
    days = range(first, first + count)
    rows = [*range(5, 45), 0]
    power = 1e3 * power_mw()[rows]
    actual = power[:, list(days)].transpose(1, 0, 2)
    clock = time.process_time()
    like = np.stack([forecast_reference_like_days(power, day) for day in days])
    like_s = time.process_time() - clock
    clock = time.process_time()
    trees = forecast_reference_trees(power, days)
    trees_s = time.process_time() - clock
    ours = rolled()
    blend = (like + trees) / 2.0
    naive = power[:, [day - 7 for day in days]].transpose(1, 0, 2)[..., None]
    candidates = [
        ("week-lag naive", np.repeat(naive, len(LEVELS), axis=-1), 0.0),
        ("reference: like days", like, like_s),
        ("reference: global LightGBM", trees, trees_s),
        ("reference: 50/50 blend", blend, like_s + trees_s),
        ("ours: like days", 1e3 * ours.like_day_mw[list(days)][:, rows], np.nan),
        ("ours: before calibration", 1e3 * ours.raw_mw[list(days)][:, rows], np.nan),
        ("**ours**", 1e3 * ours.quantile_mw[list(days)][:, rows],
         ours.fit_s + count * ours.predict_s),
    ]  # fmt: skip
    best = [float(losses(blend, actual)[:, part].mean()) for part in (slice(40), slice(40, 41))]
    in_may = ours.shares["May"]
    lines, ratio = [], [0.0, 0.0]
    for name, quantile, seconds in candidates:
        line = [name]
        for place, part in enumerate((slice(40), slice(40, 41))):
            loss = float(losses(quantile, actual)[:, part].mean())
            ratio[place] = 100.0 * (1.0 - loss / best[place])
            covered = float(inside(quantile, actual)[:, part].mean())
            line += [f"{loss:.5f}", f"{ratio[place]:+.1f} %", f"{covered:.3f}"]
        lines.append((*line, "-" if np.isnan(seconds) else f"{seconds:.0f}"))
    return MeterTable(
        title="Zonnedael: 40 meters and their sum, 15 min, day-ahead, May 2013",
        header=("model", "meters, kW", "under the blend", "covered", "sum, kW", "under the blend",
                "covered", "processor s"),
        lines=tuple(lines),
        notes=(
            (f"Aims: 2 % under the blend at meters ({_verdict(ratio[0], 2.0)}) and 5 % under it at "
            f"the sum ({_verdict(ratio[1], 5.0)}). Both sides are fitted once, on what was known "
            "at 10:00 on 30 April; what ours is made of was chosen on ten days of April. The "
            f"trees' share in May is {in_may[2]:g} at meters, {in_may[1]:g} at transformers and "
            f"{in_may[0]:g} at the feeder."),
            ("Tried at meters, on ten days of April (like days alone are 0.9 % under the blend): "
            "corrections in units of the band, of the mean, or of the logarithm; twice the rows; "
            "two thirds more trees, smaller and larger ones; recency weights; smoothing over "
            "slots; an average of four such models. All end 1.2 % to 1.6 % under it: without "
            "weather a household's next day holds little more than its like days and its level."),
        ),
    )  # fmt: skip


def measure_coverage() -> MeterTable:
    """Tell the coverage of the 10-90 % band by month, with a block-bootstrap interval."""
    ours = rolled()
    actual = power_mw().transpose(1, 0, 2)
    lines = []
    pooled: dict[str, list[Floats]] = {}
    held = 0
    for month, (first, count) in MONTHS.items():
        days = list(range(first, first + count))
        for level in ("meters", "transformers", "feeder"):
            part = ROWS_OF_LEVELS[level]
            hit = inside(ours.quantile_mw[days], actual[days])[:, part].mean(axis=(1, 2))
            pooled.setdefault(level, []).append(hit)
            found = block_bootstrap(share, hit, np.ones(count), block=BLOCK_DAYS)
            held += found.holds(0.8)
            wide = _width(ours.quantile_mw[days][:, part])
            lines.append(
                (month, level, f"{found.value:.3f}", f"{found.lower:.3f}-{found.upper:.3f}",
                 "yes" if found.holds(0.8) else "no",
                 f"{100.0 * (wide / _width(ours.raw_mw[days][:, part]) - 1.0):+.1f} %")
            )  # fmt: skip
    for level, hits in pooled.items():
        lines.append(("all", level, f"{np.concatenate(hits).mean():.3f}", "", "", ""))
    return MeterTable(
        title="Zonnedael: coverage of the 10-90 % band",
        header=("month", "level", "covered", "95 % interval", "holds 0.80", "width to raw"),
        lines=tuple(lines),
        notes=(
            (
                f"Intervals by block bootstrap over blocks of {BLOCK_DAYS} days: {held} of "
                f"{3 * len(MONTHS)} hold 0.80. Calibration is learnt with the model, before it."
            ),
        ),
    )


def measure_hierarchy() -> MeterTable:
    """Compare own, reconciled and bottom-up forecasts at each level, and scenarios."""
    ours, hierarchy = rolled(), tree()
    actual = power_mw().transpose(1, 0, 2)
    mean = mean_of_quantiles(ours.quantile_mw, LEVELS)
    error = actual - mean
    scored: dict[str, list[Floats]] = {}
    chosen, kept = _reconcile_where_it_helped(ours, error)
    for day in range(MONTHS["April"][0], 151):
        past = error[max(MONTHS["March"][0], day - 1 - ERROR_DAYS) : day - 1]
        flat = past.transpose(0, 2, 1).reshape(-1, len(hierarchy.nodes))
        own = ours.quantile_mw[day]
        candidates = {
            "own": own,
            "bottom-up": sum_quantiles_bottom_up(hierarchy, own, LEVELS)[0],
            "**where it helped**": chosen[day],
        }
        for name, rule in (("MinT, variances", "variance"), ("MinT, shrunk", "shrunk")):
            covariance = estimate_error_covariance(
                hierarchy, flat, "variance" if rule == "variance" else "shrunk"
            )
            candidates[name] = reconcile_quantiles(
                hierarchy, own, LEVELS, covariance, minimum_mw=0.0
            )[0]
        for name, quantile in candidates.items():
            scored.setdefault(name, []).append(1e3 * losses(quantile, actual[day]).mean(axis=1))
    lines = []
    base = np.mean(scored["own"], axis=0)
    for name, found in scored.items():
        loss = np.mean(found, axis=0)
        parts = [float(loss[part].mean()) for part in ROWS_OF_LEVELS.values()]
        change = [
            100.0 * (value / float(base[part].mean()) - 1.0)
            for value, part in zip(parts, ROWS_OF_LEVELS.values(), strict=True)
        ]
        cells = (f"{v:.5f} ({c:+.2f} %)" for v, c in zip(parts, change, strict=True))
        lines.append((name, *cells, f"{100.0 * (loss.sum() / base.sum() - 1.0):+.2f} %"))
    return MeterTable(
        title="Zonnedael: hierarchy and scenarios, April and May",
        header=("forecast", *(f"{level}, kW" for level in ROWS_OF_LEVELS), "sum of all nodes"),
        lines=tuple(lines),
        notes=(HIERARCHY_NOTE.format(kept=kept), _score_scenarios(ours, error)),
    )


def _reconcile_where_it_helped(ours: Rolled, error: Floats) -> tuple[dict[int, Floats], str]:
    """Return forecasts of April and May by the rule of `find_depths_to_keep`, and what it kept.

    Each day's choice rests on the six weeks before its gate, reconciled with what was known then.
    """
    hierarchy, actual = tree(), power_mw().transpose(1, 0, 2)
    begun, first = MONTHS["March"][0], MONTHS["April"][0]
    moved: dict[int, Floats] = {}
    chosen: dict[int, Floats] = {}
    counts: dict[str, int] = {}
    for day in range(begun + 8, DAYS):
        past = error[max(begun, day - 1 - ERROR_DAYS) : day - 1]
        flat = past.transpose(0, 2, 1).reshape(-1, len(hierarchy.nodes))
        covariance = estimate_error_covariance(hierarchy, flat, "variance")
        own = ours.quantile_mw[day]
        moved[day], _ = reconcile_quantiles(hierarchy, own, LEVELS, covariance, minimum_mw=0.0)
        if day < first:
            continue
        days = [each for each in moved if day - 1 - ERROR_DAYS <= each < day - 1]
        keep = find_depths_to_keep(
            hierarchy, ours.quantile_mw[days], np.stack([moved[each] for each in days]),
            actual[days], LEVELS,
        )  # fmt: skip
        chosen[day], _ = reconcile_levels(
            hierarchy, own, LEVELS, covariance, keep=keep, minimum_mw=0.0
        )
        names = " and ".join(list(ROWS_OF_LEVELS)[depth] for depth in sorted(keep)) or "nothing"
        counts[names] = counts.get(names, 0) + 1
    return chosen, ", ".join(f"{names} on {count} days" for names, count in counts.items())


def _score_scenarios(ours: Rolled, error: Floats) -> str:
    """Say whether sums are exact and how scenarios score against independent draws."""
    hierarchy = tree()
    actual = power_mw().transpose(1, 0, 2)
    scores = np.zeros((2, 2))
    exact, covered, own = True, [], []
    for day in SCENARIO_DAYS:
        past = error[day - 1 - ERROR_DAYS : day - 1]
        forecast = Forecast(
            series=hierarchy.nodes, periods=periods_of(day), quantiles=SCENARIO_LEVELS,
            value_mw=ours.predict_all(day, SCENARIO_LEVELS), known_at=START, model_id="meters/1",
        )  # fmt: skip
        drawn = draw_scenarios(forecast, past, SCENARIOS, seed=day, minimum_mw=0.0)
        flat = past.transpose(0, 2, 1).reshape(-1, len(hierarchy.nodes))
        covariance = estimate_error_covariance(hierarchy, flat)
        moved = reconcile_scenarios(hierarchy, drawn, covariance, minimum_mw=0.0)
        meters = moved.value_mw[:, 5:]
        by_transformer = meters.reshape(SCENARIOS, 4, 10, SLOTS).sum(axis=2)
        exact &= bool(np.array_equal(meters.sum(axis=1), moved.value_mw[:, 0]))
        exact &= bool(np.array_equal(by_transformer, moved.value_mw[:, 1:5]))
        band = np.quantile(moved.value_mw[:, 0], (0.1, 0.9), axis=0).T
        covered.append(inside(band, actual[day, 0]).mean())
        own.append(inside(ours.quantile_mw[day, 0], actual[day, 0]).mean())
        apart = np.random.default_rng(day).permuted(drawn.value_mw, axis=0)
        for row, paths in enumerate((drawn.value_mw, apart)):
            # Hourly means of the sum of meters: dependence over meters and over time.
            total = 1e3 * paths[:, 5:].sum(axis=1).reshape(SCENARIOS, 24, 4).mean(axis=2)
            seen = 1e3 * actual[day, 0].reshape(24, 4).mean(axis=1)
            scores[row] += energy_score(total, seen), variogram_score(total, seen)
    mean = scores / len(SCENARIO_DAYS)
    return (
        f"Scenarios: {SCENARIOS} on {len(SCENARIO_DAYS)} days of May, the ranks of the last "
        f"{ERROR_DAYS} days' errors. Sums of meters equal those of transformers and of the feeder "
        f"in every scenario and period {'exactly' if exact else 'NOT exactly'}; the feeder's band "
        f"from them covers {float(np.mean(covered)):.3f}, its own on these days "
        f"{float(np.mean(own)):.3f}. Hourly sum of the meters: energy score "
        f"{mean[0, 0]:.3f} kW against {mean[1, 0]:.3f} kW of independent draws from the same "
        f"quantiles, variogram score {mean[0, 1]:.1f} against {mean[1, 1]:.1f}."
    )


def measure_throughput() -> MeterTable:
    """Fit on and predict 5,000 meters, made of the 40 by scaling and shifting in days."""
    known = many_meters(METERS)
    target = Periods(start=START + timedelta(days=HISTORY_DAYS + 1), count=SLOTS)
    clock, wall = time.process_time(), time.perf_counter()
    model = MeterForecaster(country=COUNTRY).fit(known)
    fit = (time.process_time() - clock, time.perf_counter() - wall)
    lines = [("fit", "1", f"{fit[0]:.1f}", f"{fit[1]:.1f}", f"{_memory_gb():.2f}")]
    for threads in (1, 2):
        clock, wall = time.process_time(), time.perf_counter()
        made = replace(model, threads=threads).predict(known, target, LEVELS)
        spent = (time.process_time() - clock, time.perf_counter() - wall)
        lines.append(
            (f"predict {' x '.join(map(str, made.value_mw.shape))}", str(threads),
             f"{spent[0]:.1f}", f"{spent[1]:.1f}", f"{_memory_gb():.2f}")
        )  # fmt: skip
    return MeterTable(
        title="5,000 meters, 96 periods, 9 quantiles",
        header=("step", "threads", "processor s", "wall s", "peak memory, GB"),
        lines=tuple(lines),
        notes=(
            (
                "Aims: predict in 10 s on 2 cores with less than 4 GB, fit in 10 min. Wall time is "
                "what it took beside whatever else ran; processor time is summed over threads."
            ),
        ),
    )


def many_meters(count: int) -> KnownData:
    """Return readings of ``count`` meters until 10:00: the forty, scaled and moved by weeks."""
    draw = np.random.default_rng(6)
    meters = power_mw()[5:].reshape(40, -1)
    length = HISTORY_DAYS * SLOTS + GATE_SLOT
    value = np.empty((length, count))
    factor = draw.lognormal(0.0, 0.4, count)
    for column, (source, weeks) in enumerate(
        zip(draw.integers(0, 40, count), draw.integers(0, 8, count), strict=True)
    ):
        first = int(weeks) * 7 * SLOTS
        value[:, column] = factor[column] * meters[source, first : first + length]
    periods = Periods(start=START, count=length)
    reading = Reading(
        series=tuple(f"meter:{k}" for k in range(count)), periods=periods, value_mw=value,
        known_at=periods.end,
    )  # fmt: skip
    return KnownData(kind="load", reading=reading, known_at=periods.end, site=Site(timezone="UTC"))


def compare_with_statsforecast() -> MeterTable:
    """Run statsforecast from three gates of May beside ours, on the same three series."""
    rows, days = list(STATS_ROWS), list(STATS_DAYS)
    power = 1e3 * power_mw()[rows]
    actual = power[:, days].transpose(1, 0, 2)
    ours = rolled()
    found = [
        (peer.name, peer.quantile, peer.seconds_per_series)
        for peer in forecast_with_statsforecast(power, STATS_DAYS)
    ]
    own_s = ours.predict_s / len(tree().nodes)
    found.append(("**ours**", 1e3 * ours.quantile_mw[days][:, rows], own_s))
    lines = []
    for name, quantile, seconds in found:
        loss = losses(quantile, actual).mean(axis=(0, 2))
        covered = float(inside(quantile, actual).mean())
        lines.append(
            (name, *(f"{value:.4f}" for value in loss), f"{covered:.3f}", f"{seconds:.4f}")
        )
    return MeterTable(
        title=f"statsforecast {version('statsforecast')} on the same series and origins",
        header=("model", *(f"{tree().nodes[row]}, kW" for row in rows), "covered",
                "processor s per series and origin"),
        lines=tuple(lines),
        notes=(
            ("Gates at 10:00 of three days of May, eight weeks of history, the 96 quarter-hours of "
            "the next day. Ours is fitted once for the month; the time is the prediction's."),
        ),
    )  # fmt: skip


def _verdict(found: float, aim: float) -> str:
    return "met" if found >= aim else f"not met: {found:.1f} %"


def _width(quantile: Floats) -> float:
    return float((quantile[..., -1] - quantile[..., 0]).mean())


def _memory_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


def main(arguments: list[str]) -> int:
    """Measure, print, and write the section if asked to."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("lightgbm", "statsforecast"))
    parts = [table.as_markdown() for table in tables(_say)]
    head = f"`python -m benchmarks.forecast_meters`. {describe_machine()}, {versions}."
    body = "\n\n".join([head, *parts])
    sys.stdout.write(body + "\n")
    if "--write" in arguments:
        replace_section(TITLE, body)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
