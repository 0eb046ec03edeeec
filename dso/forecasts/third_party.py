"""Somebody else's forecast beside ours: checked, hashed, compared; ours is served."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.errors import Problem, refuse_if_any
from data.periods import format_utc
from data.readers.series_file import SeriesFile, read_series_file
from data.records.forecast import Forecast, Reading
from forecasting.as_of import VersionedTable, instant64, starts64
from forecasting.sources import Source

Floats = NDArray[np.float64]

MEDIAN: Final = "q50"
# Outside what was ever read by this share of its range: no forecast of this series.
REACH: Final = 0.5
APART_SHARE: Final = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What a third party's forecast says beside ours.

    Parameters
    ----------
    source : Source
        The file.
    covered : int
        Periods ahead that it forecasts.
    implausible : int
        Of these, medians far outside of what was ever read; not compared.
    apart_share : float
        Share of the compared medians outside our 10-90 % band.
    difference_mw : float
        Mean absolute difference of the medians [MW].
    warnings : tuple of str
        Disagreement, gaps, crossing quantiles.
    """

    source: Source
    covered: int
    implausible: int
    apart_share: float
    difference_mw: float
    warnings: tuple[str, ...]


def read_third_party(path: Path, gate: datetime) -> SeriesFile:
    """Read a third party's forecast.

    Raises
    ------
    InputError
        If it lacks a median, or a row was not issued before the gate.
    """
    problems: list[Problem] = []
    read = read_series_file(path, problems)
    if read is not None:
        if MEDIAN not in read.columns:
            problems.append(
                Problem(where=f"{path.name} row 1", what=f"no column {MEDIAN}",
                        remedy="state the median [MW]")
            )  # fmt: skip
        late = np.isnat(read.known_at) | (read.known_at > instant64(gate))
        if late.any():
            problems.append(
                Problem(where=path.name, what=f"{int(late.sum())} rows without a known_at up to "
                        f"the gate {format_utc(gate)}",
                        remedy="state when each row was issued")
            )  # fmt: skip
    refuse_if_any(problems)
    assert read is not None  # else there was a problem
    return read


def compare_third_party(read: SeriesFile, forecast: Forecast, reading: Reading) -> Comparison:
    """Compare the newest issue of each period with our forecast of the first series."""
    table = VersionedTable(
        names=read.columns,
        mtu_minutes=forecast.periods.mtu_minutes,
        valid_at=read.start,
        known_at=read.known_at,
        value=read.value,
    )
    found = table.join(starts64(forecast.periods), forecast.known_at)
    median = found.value[:, read.columns.index(MEDIAN)]
    known = reading.value_mw[:, 0]
    low, high = float(np.nanmin(known)), float(np.nanmax(known))
    reach = REACH * (high - low)
    covered = np.isfinite(median)
    plausible = covered & (median >= low - reach) & (median <= high + reach)
    warnings = []
    if not covered.all():
        warnings.append(f"{read.name}: {int((~covered).sum())} periods ahead are not in it")
    if (covered & ~plausible).any():
        warnings.append(
            f"{read.name}: {int((covered & ~plausible).sum())} medians far outside of what was "
            "ever read; not compared"
        )
    crossing = _crossing(read, found.value)
    if crossing:
        warnings.append(f"{read.name}: quantiles cross in {crossing} periods")
    apart, difference = 0.0, 0.0
    if plausible.any():
        ours = forecast.value_mw[0]
        lower = ours[:, forecast.quantiles.index(0.1)]
        upper = ours[:, forecast.quantiles.index(0.9)]
        outside = plausible & ((median < lower) | (median > upper))
        apart = float(outside.sum() / plausible.sum())
        difference = float(np.abs(median - forecast.median_mw()[0])[plausible].mean())
    if apart > APART_SHARE:
        warnings.append(
            f"{read.name}: {apart:.0%} of its medians lie outside our 10-90 % band; ours is served"
        )
    issued = found.known_at[found.found]
    return Comparison(
        source=Source(
            name=read.name, role="third-party forecast", sha256=read.sha256, rows=len(read.start),
            issued_at=f"{issued.max()}Z" if len(issued) else "",
            left_out=int((covered & ~plausible).sum()),
        ),
        covered=int(covered.sum()),
        implausible=int((covered & ~plausible).sum()),
        apart_share=apart,
        difference_mw=difference,
        warnings=tuple(warnings),
    )  # fmt: skip


def _crossing(read: SeriesFile, value: Floats) -> int:
    """Count the periods in which a higher quantile lies below a lower one."""
    names = sorted(name for name in read.columns if name[:1] == "q" and name[1:].isdigit())
    ordered = value[:, [read.columns.index(name) for name in names]]
    return int((np.diff(ordered, axis=1) < 0.0).any(axis=1).sum())
