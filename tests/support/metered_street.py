"""Forty real households (Zonnedael, Liander open data) on feeders with losses and noise."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from data.periods import Periods
from data.records.metering import (
    MEASURED,
    MISSING,
    NO_VALUE_WH,
    Direction,
    MeterFiles,
    MeterPoint,
    ReadingBatch,
    ValidatedMeter,
)
from dso.metering import FeederSeries, ValidationRules, validate_meters

ZONNEDAEL = Path("forecast/zonnedael/load_40meters_15min_wh.parquet")
START = datetime(2013, 1, 1, tzinfo=UTC)
ZONE = "UTC"  # the series has 96 slots every day, without clock changes
RULES = ValidationRules(timezone=ZONE)
FUSE_W = 17_250


def reference_file(relative: Path) -> Path:
    """Return a file of the reference data; without the data the test is named as not run."""
    folder = os.environ.get("DSO_REFERENCE_DATA")
    if not folder:
        pytest.skip("reference series not there: set DSO_REFERENCE_DATA")
    return Path(folder) / relative


@cache
def households() -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Return names and energy per quarter-hour [Wh], shape (periods, 40)."""
    import pandas as pd

    table = pd.read_parquet(reference_file(ZONNEDAEL))
    return tuple(table.columns), table.to_numpy().astype(np.int64)


@dataclass(frozen=True, kw_only=True)
class Street:
    """Two feeders of twenty households each, ``days`` long from day ``first``."""

    names: tuple[str, ...]
    true_wh: NDArray[np.int64]
    feeder: dict[str, str]  # where each really is
    periods: Periods
    seed: int

    def place(self, name: str) -> int:
        return self.names.index(name)

    def on(self, feeder: str) -> list[int]:
        return [k for k, name in enumerate(self.names) if self.feeder[name] == feeder]

    def biggest(self, feeder: str, rank: int = 0) -> str:
        total = self.true_wh.sum(axis=0)
        return self.names[sorted(self.on(feeder), key=lambda k: -total[k])[rank]]

    def metered(self) -> NDArray[np.int64]:
        """What honest meters of class B would show: each with a gain of its own within 1 %."""
        gain = 1.0 + np.random.default_rng([self.seed, 1]).uniform(-0.01, 0.01, len(self.names))
        return np.rint(self.true_wh * gain).astype(np.int64)

    def feeders(self, extra_wh: dict[str, NDArray[np.int64]] | None = None) -> list[FeederSeries]:
        """What the feeder meters count: 3 % losses of a line, gain within 0.5 %, noise 0.3 %."""
        counted = []
        for number, feeder in enumerate(("A", "B")):
            generator = np.random.default_rng([self.seed, 2, number])
            order = generator.permutation(self.on(feeder))
            loads = self.true_wh[:, order].astype(float)
            if extra_wh and feeder in extra_wh:
                loads = np.column_stack([loads, extra_wh[feeder]])
            sections = np.cumsum(loads[:, ::-1], axis=1)
            losses = (sections**2).sum(axis=1)
            losses *= 0.03 * loads.sum() / losses.sum()
            gain = 1.0 + generator.uniform(-0.005, 0.005)
            noise = 1.0 + 0.003 * generator.standard_normal(len(loads))
            total = (loads.sum(axis=1) + losses) * gain * noise
            counted.append(FeederSeries(feeder=feeder, energy_wh=np.rint(total).astype(np.int64)))
        return counted


def street(seed: int, *, days: int = 28) -> Street:
    names, wh = households()
    generator = np.random.default_rng([seed, 0])
    first = int(generator.integers(0, len(wh) // 96 - days))
    shuffled = generator.permutation(len(names))
    feeder = {names[k]: "A" if rank < 20 else "B" for rank, k in enumerate(shuffled)}
    return Street(
        names=names,
        true_wh=wh[first * 96 : (first + days) * 96],
        feeder=feeder,
        periods=Periods(start=START + timedelta(days=first), count=days * 96),
        seed=seed,
    )


def batch_of(
    connection: str,
    wh: NDArray[np.int64],
    periods: Periods,
    *,
    meter: str | None = None,
    direction: Direction = "import",
    received_at: datetime | None = None,
    source: str = "first.csv",
    missing: Sequence[int] | NDArray[np.int64] = (),
) -> ReadingBatch:
    value = wh.astype(np.int64).copy()
    quality = np.full(len(value), MEASURED, dtype=np.int8)
    gaps = np.asarray(missing, dtype=int)
    value[gaps], quality[gaps] = NO_VALUE_WH, MISSING
    return ReadingBatch(
        meter=meter or f"M-{connection}",
        connection=connection,
        direction=direction,
        periods=periods,
        value_wh=value,
        quality=quality,
        received_at=received_at or periods.end,
        source=source,
    )


def files_of(
    names: Sequence[str], wh: NDArray[np.int64], periods: Periods, feeder: dict[str, str]
) -> MeterFiles:
    return MeterFiles(
        points=tuple(MeterPoint(connection=n, feeder=feeder[n], limit_w=FUSE_W) for n in names),
        batches=tuple(batch_of(n, wh[:, k], periods) for k, n in enumerate(names)),
    )


def validated(at: Street, wh: NDArray[np.int64]) -> tuple[ValidatedMeter, ...]:
    files = files_of(at.names, wh, at.periods, at.feeder)
    return validate_meters(files, at.periods, at.periods.end, RULES)
