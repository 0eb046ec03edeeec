"""Read what was expected of the grid before the gate, and how often the bands of forecasts held."""

from __future__ import annotations

import numpy as np

from dso.report.read_clearing import Axes
from dso.report.tables import FolderReader, objects_of, text_of
from dso.report.views import BandRecord, Floats, OutlookView

OUTLOOK = "forecast/outlook"
PAST_COVERAGE = "forecast/coverage.csv"
DAY_COVERAGE = "forecast/day_coverage.csv"


def read_outlook(reader: FolderReader, axes: Axes, folder: str = OUTLOOK) -> OutlookView | None:
    """Read the congestion outlook; None where the day was run without one."""
    if not reader.exists(f"{folder}.csv") or not reader.exists(f"{folder}.json"):
        return None
    about = reader.mapping(f"{folder}.json")
    listed = objects_of(about, "elements")
    keys = [
        (text_of(each, "element_kind"), str(each.get("element")), text_of(each, "side"))
        for each in listed
    ]
    row_of = {key: row for row, key in enumerate(keys)}
    tables: list[Floats] = [np.zeros((len(keys), len(axes.periods))) for _ in range(3)]
    columns = (
        "element_kind", "element", "side", "period_start", "probability", "need_mw_mean",
        "need_mw_q90",
    )  # fmt: skip
    for line, cells in reader.rows(f"{folder}.csv", columns):
        row, period = row_of.get((cells[0], cells[1], cells[2])), axes.period.get(cells[3])
        if row is None or period is None:
            reader.complain(f"{folder}.csv row {line}", "names no element or period of this day")
            continue
        for table, cell in zip(tables, cells[4:], strict=True):
            table[row, period] = reader.number(f"{folder}.csv", line, cell)
    scenarios = about.get("scenarios")
    return OutlookView(
        elements=tuple(
            f"{text_of(each, 'name') or f'{kind} {element}'}{', ' if side in SIDES else ''}"
            f"{SIDES.get(side, '')}"
            for each, (kind, element, side) in zip(listed, keys, strict=True)
        ),
        scenarios=scenarios if isinstance(scenarios, int) else 0,
        probability=tables[0],
        need_mw_mean=tables[1],
        need_mw_q90=tables[2],
    )


SIDES = {"upper": "too high", "lower": "too low"}


def read_band_records(reader: FolderReader) -> tuple[BandRecord, ...]:
    """Read how often the 10-90 % bands held on the days before, and on the day itself."""
    if not reader.exists(PAST_COVERAGE) or not reader.exists(DAY_COVERAGE):
        return ()
    past: dict[str, list[tuple[str, int, int]]] = {}
    columns = ("day", "kind", "periods_counted", "periods_inside")
    for line, (day, kind, counted, inside) in reader.rows(PAST_COVERAGE, columns):
        numbers = [reader.whole(PAST_COVERAGE, line, cell) for cell in (counted, inside)]
        past.setdefault(kind, []).append((day, numbers[0], numbers[1]))
    records = []
    columns = ("kind", "series", "values_counted", "values_inside")
    for line, (kind, *cells) in reader.rows(DAY_COVERAGE, columns):
        numbers = [reader.whole(DAY_COVERAGE, line, cell) for cell in cells]
        records.append(
            BandRecord(
                kind=kind,
                series=numbers[0],
                values_counted=numbers[1],
                values_inside=numbers[2],
                past=tuple(past.get(kind, ())),
            )
        )
    return tuple(records)
