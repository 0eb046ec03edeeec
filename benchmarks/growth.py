"""The cost model of docs/growth.md: fitted to measured runs, and what a million points then need.

    python -m benchmarks.growth          writes tables into docs/growth.md and draws its picture

Everything is computed from benchmarks/growth_runs.csv (measured by `benchmarks.growth_measure`, and
taken from other benchmarks where its column ``source`` says so) and the numbers of `Needs`.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.growth_measure import SOURCE, read_rows
from benchmarks.growth_picture import draw_picture
from benchmarks.machine import REPOSITORY
from data.canonical import write_atomically

Floats = NDArray[np.float64]
Row = dict[str, str]
PAGE: Final = REPOSITORY / "docs" / "growth.md"
BEGIN, END = "<!-- begin of {} -->", "<!-- end of {} -->"
CUT: Final = "1-MVLV cut to"
CLEARED: Final = ("certified", "certified_with_slack")


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """A network operator, and what its market does.

    Parameters
    ----------
    points : int
        Connection points, each with a quarter-hourly meter.
    area_points, area_buses, area_resources : int
        What is cleared as one grid: 1-MVLV-rural-all-2-sw with the default offers.
    gate_s, intraday_s : float
        Time of the day-ahead and of an intraday clearing within their cycles [s].
    rounds : int
        Intraday rounds a day.
    efficiency : float
        Share of a core that does work: half the speed-up of two workers over one.
    """

    points: int = 1_000_000
    area_points: int = 5_373
    area_buses: int = 5_481
    area_resources: int = 3_342
    periods: int = 96
    gate_s: float = 600.0
    intraday_s: float = 600.0
    rounds: int = 96
    efficiency: float = 0.85

    @property
    def areas(self) -> int:
        """Areas that are cleared apart."""
        return math.ceil(self.points / self.area_points)


@dataclass(frozen=True, slots=True, kw_only=True)
class Law:
    """``seconds = factor * (periods * (buses + resources)) ** exponent``.

    Parameters
    ----------
    factor, exponent : float
        Fitted to logarithms by least squares.
    exponent_error : float
        Standard error of the exponent.
    spread : float
        Nine of ten runs are within this factor of the law.
    runs : int
        How many runs it was fitted to.
    largest : float
        Largest size among them.
    """

    factor: float
    exponent: float
    exponent_error: float
    spread: float
    runs: int
    largest: float

    def at(self, size: float) -> float:
        """Return the law's value at a size."""
        return float(self.factor * size**self.exponent)


def size_of(row: Row) -> float:
    """Return how large a clearing is: periods times buses and resources."""
    return float(row["periods"]) * (float(row["buses"]) + float(row["resources"]))


def fit(size: Floats, value: Floats) -> Law:
    """Fit a power law to logarithms.

    Parameters
    ----------
    size, value : ndarray, shape (runs,)
        Positive.

    Examples
    --------
    >>> law = fit(np.array([1.0, 10.0, 100.0]), np.array([2.0, 20.0, 200.0]))
    >>> round(law.factor, 6), round(law.exponent, 6), round(law.spread, 6)
    (2.0, 1.0, 1.0)
    """
    if np.any(size <= 0) or np.any(value <= 0) or len(size) < 3:
        raise ValueError("a power law needs at least three positive runs")
    across = np.column_stack([np.ones_like(size), np.log(size)])
    solution, *_ = np.linalg.lstsq(across, np.log(value), rcond=None)
    rest = np.log(value) - across @ solution
    variance = float(rest @ rest) / (len(size) - 2)
    covariance = variance * np.linalg.inv(across.T @ across)
    return Law(
        factor=float(np.exp(solution[0])),
        exponent=float(solution[1]),
        exponent_error=float(np.sqrt(covariance[1, 1])),
        spread=float(np.exp(np.quantile(np.abs(rest), 0.9))),
        runs=len(size),
        largest=float(size.max()),
    )


def clearings(rows: Sequence[Row]) -> list[Row]:
    """Return the clearings that were solved."""
    return [row for row in rows if row["kind"] == "clearing" and row["status"] in CLEARED]


def cuts(rows: Sequence[Row]) -> list[Row]:
    """Return the clearings of parts of the area's own grid."""
    return [row for row in clearings(rows) if row["case"].startswith(CUT)]


def fit_column(rows: Sequence[Row], column: str) -> Law:
    """Fit a column of the clearings over their size."""
    kept = [row for row in rows if row[column] and float(row[column]) > 0]
    return fit(
        np.array([size_of(row) for row in kept]), np.array([float(row[column]) for row in kept])
    )


def only(rows: Sequence[Row], kind: str) -> Row:
    """Return the one row of a kind."""
    (found,) = (row for row in rows if row["kind"] == kind)
    return found


def laws_text(solved: Sequence[Row], time: Law, output: Law) -> str:
    """Return the table of the fitted laws."""
    own = [row for row in solved if row["source"] == SOURCE]
    peak_mib = max(float(row["peak_mib"]) for row in own)
    rows = [
        ("processor time of a clearing, cold [s]: all runs", time),
        ("the same, small grids alone", fit_column(own, "processor_s")),
        ("the same, parts of the large grid alone", fit_column(cuts(solved), "processor_s")),
        ("peak memory [MiB], parts of the large grid", fit_column(cuts(solved), "peak_mib")),
        ("result on disk [MiB]: small grids", output),
    ]
    return "\n".join(
        [
            (
                "| what | factor | exponent (standard error) | nine of ten runs within | runs "
                "| largest size |\n|---|---|---|---|---|---|"
            ),
            *(
                f"| {name} | {law.factor:.3g} | {law.exponent:.2f} ({law.exponent_error:.2f}) "
                f"| a factor of {law.spread:.1f} | {law.runs} | {law.largest:,.0f} |"
                for name, law in rows
            ),
            "",
            (
                f"Peak memory of a worker over the small grids: at most {peak_mib:,.0f} MiB. It is "
                "that of the libraries, so no law is fitted to it."
            ),
        ]
    )


def area_runs(rows: Sequence[Row], needs: Needs) -> list[Row]:
    """Return measured clearings of grids as large as an area, give or take a factor of two."""
    size = needs.periods * (needs.area_buses + needs.area_resources)
    return [row for row in clearings(rows) if 0.5 <= size_of(row) / size <= 2.0]


def area_cost(rows: Sequence[Row], needs: Needs) -> tuple[float, float, str]:
    """Return processor time [s] and memory [GiB] of an area's clearing, and what they rest on."""
    measured = area_runs(rows, needs)
    if measured:
        cold = max(float(row["processor_s"]) for row in measured)
        peak_mib = max(float(row["peak_mib"]) for row in measured)
        return cold, peak_mib / 1024, f"measured: the slowest of {len(measured)} runs of this size"
    size = needs.periods * (needs.area_buses + needs.area_resources)
    time, memory = (fit_column(cuts(rows), column) for column in ("processor_s", "peak_mib"))
    beyond = f"extrapolated from its cuts, {size / time.largest:.1f} times the largest"
    return time.at(size), memory.at(size) / 1024, beyond


def clearing_needs(area_s: float, peak_gib: float, needs: Needs) -> list[str]:
    """Return what follows from the cost of one area, cleared each time from the start, as text."""
    ahead = needs.areas * area_s
    cores = math.ceil(ahead / needs.efficiency / needs.gate_s)
    intraday = math.ceil(ahead / needs.efficiency / needs.intraday_s)
    return [
        f"{area_s:,.0f} s",
        f"{peak_gib:,.1f} GiB",
        f"{ahead / 3600:,.1f} core h",
        f"{cores}",
        f"{intraday}",
        f"{needs.rounds * ahead / 3600:,.0f} core h",
        f"{max(cores, intraday) * peak_gib:,.0f} GiB",
    ]


def clearing_text(rows: Sequence[Row], needs: Needs) -> str:
    """Return the table of what the clearings need, beside that of a slower engine."""
    cold, peak_gib, basis = area_cost(rows, needs)
    cone = only(rows, "cone")
    slower = (float(cone["processor_s"]), float(cone["peak_mib"]) / 1024)
    names = [
        "processor time of one area, 96 periods",
        "memory of its worker",
        f"all {needs.areas} areas, day-ahead",
        f"cores for day-ahead within {needs.gate_s / 60:.0f} min",
        f"cores for an intraday round within {needs.intraday_s / 60:.0f} min",
        f"{needs.rounds} intraday rounds a day",
        "memory of all workers",
    ]
    ours = clearing_needs(cold, peak_gib, needs)
    found = zip(names, ours, clearing_needs(*slower, needs), strict=True)
    return "\n".join(
        [
            f"| what | {basis} | as one cone programme, measured once |\n|---|---|---|",
            *(f"| {name} | {here} | {there} |" for name, here, there in found),
        ]
    )


def rest_text(rows: Sequence[Row], output: Law, needs: Needs) -> str:
    """Return the table of what forecasts, settlement and the store need."""
    size = needs.periods * (needs.area_buses + needs.area_resources)
    written = output.at(size)
    forecast, fitted = only(rows, "forecast"), only(rows, "forecast fit")
    settled, stored, rate = only(rows, "settlement"), only(rows, "store"), only(rows, "store rate")
    per_meter = needs.points / float(forecast["resources"])
    predict, train = (per_meter * float(row["processor_s"]) for row in (forecast, fitted))
    days = float(settled["periods"]) / needs.periods
    settle = needs.points / float(settled["resources"]) * float(settled["processor_s"]) / days
    readings = needs.points * needs.periods
    row_bytes = float(stored["output_mib"]) * 2**20 / float(stored["resources"])
    insert_s = readings / (float(rate["resources"]) / float(rate["processor_s"]))
    year_tb = readings * row_bytes * 365 / 1e12
    shown = [
        ("forecast of all meters, each hour", f"{predict:,.0f} processor s",
         f"{forecast['resources']} meters in {forecast['processor_s']} s"),
        ("fit of their models, once in four weeks", f"{train / 3600:,.1f} core h",
         f"{fitted['resources']} meters in {fitted['processor_s']} s"),
        ("settlement of a day", f"{settle:,.0f} processor s",
         f"{settled['resources']} meters, a year, {settled['processor_s']} s"),
        ("readings a day", f"{readings / 1e6:,.0f} M rows, {insert_s / 60:,.0f} min of one writer",
         f"{float(rate['resources']):,.0f} rows/s"),
        ("their store", f"{readings * row_bytes / 1e9:,.0f} GB a day, {year_tb:,.1f} TB a year",
         f"{row_bytes:,.0f} bytes a row with its index"),
        ("results of day-ahead", f"{needs.areas * written / 1024:,.1f} GiB a day",
         f"{written:,.0f} MiB an area, by the law of the table above"),
    ]  # fmt: skip
    return "\n".join(
        ["| what | needs | basis |\n|---|---|---|", *(f"| {a} | {b} | {c} |" for a, b, c in shown)]
    )


def replace(text: str, name: str, body: str) -> str:
    """Replace what stands between two marks."""
    begin, end = BEGIN.format(name), END.format(name)
    head, found, rest = text.partition(begin)
    _, closed, tail = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"{PAGE} has no marks of {name}")
    return f"{head}{begin}\n\n{body}\n\n{end}{tail}"


def main() -> int:
    """Fit, write the tables, draw the picture."""
    rows, needs = read_rows(), Needs()
    solved = clearings(rows)
    time, output = (fit_column(solved, column) for column in ("processor_s", "output_mib"))
    text = PAGE.read_text(encoding="utf-8")
    for name, body in (
        ("laws", laws_text(solved, time, output)),
        ("clearings", clearing_text(rows, needs)),
        ("rest", rest_text(rows, output, needs)),
    ):
        sys.stdout.write(f"{body}\n\n")
        text = replace(text, name, body)
    write_atomically(PAGE, text.encode())
    size = np.array([size_of(row) for row in solved])
    cost = np.array([float(row["processor_s"]) for row in solved])
    names = [row["case"] for row in solved]
    draw_picture(names, size, cost, (time.factor, time.exponent, time.spread), needs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
