"""What the meters' model is measured against: the 50/50 blend of the reference, and statsforecast.

The blend follows the description that came with the task: unweighted quantiles of the last 20 like
days (working day, Saturday, Sunday) with the slots beside, averaged with one LightGBM model
per decile on scaled lags and the calendar, fitted once before the month on meters and their sum.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.forecast_meters_series import GATE_SLOT, LEVELS, SLOTS, START

Floats = NDArray[np.float64]

LIKE_DAYS: Final = 20
FIRST_TRAINING_DAY: Final = 16
SCALE_DAYS: Final = 110
PARAMETERS: Final[dict[str, Any]] = {
    "objective": "quantile", "learning_rate": 0.1, "num_leaves": 31, "min_data_in_leaf": 100,
    "verbosity": -1, "num_threads": 1, "deterministic": True, "force_row_wise": True, "seed": 1,
}  # fmt: skip
TREES: Final = 100
WEEK: Final = 7 * SLOTS
STATS_DAYS: Final = 56


def forecast_reference_like_days(power: Floats, day: int) -> Floats:
    """Return unweighted like-day quantiles, shape (series, slots, levels), unit of ``power``.

    Parameters
    ----------
    power : ndarray, shape (series, days, slots)
        Days up to D-2 are read.
    day : int
        The day to forecast; 0 is 2013-01-01, a Tuesday.
    """
    kind = np.maximum((np.arange(day + 1) + 1) % 7 - 4, 0)
    alike = [d for d in range(day - 2, -1, -1) if kind[d] == kind[day]][:LIKE_DAYS]
    samples = np.concatenate([np.roll(power[:, alike], k, axis=2) for k in (-1, 0, 1)], axis=1)
    return np.asarray(np.quantile(samples, LEVELS, axis=1).transpose(1, 2, 0))


def forecast_reference_trees(power: Floats, days: range) -> Floats:
    """Return deciles of the reference's global LightGBM, shape (days, series, slots, levels).

    Parameters
    ----------
    power : ndarray, shape (series, days, slots)
        Meters and their sum.
    days : range
        Days to forecast; fitted once, on the days known at the gate of the first.
    """
    import lightgbm

    scale = power[:, : min(SCALE_DAYS, days[0] - 1)].mean(axis=(1, 2))
    scaled = power / scale[:, None, None]
    rows, target = [], []
    for day in range(FIRST_TRAINING_DAY, days[0] - 1):
        rows.append(_reference_features(scaled, day))
        target.append(scaled[:, day].ravel())
    data = lightgbm.Dataset(np.concatenate(rows), np.concatenate(target), free_raw_data=False)
    models = [lightgbm.train(PARAMETERS | {"alpha": level}, data, TREES) for level in LEVELS]
    made = []
    for day in days:
        feature = _reference_features(scaled, day)
        found = np.stack([np.asarray(m.predict(feature, num_threads=1)) for m in models], axis=-1)
        shaped = np.sort(found, axis=-1).reshape(len(power), SLOTS, len(LEVELS))
        made.append(shaped * scale[:, None, None])
    return np.stack(made)


def _reference_features(scaled: Floats, day: int) -> Floats:
    """Return lags known at the gate, levels and the calendar, shape (series x slots, 13)."""
    series = len(scaled)
    weekday = (day + 1) % 7
    newest = np.concatenate(
        [scaled[:, day - 1, :GATE_SLOT], scaled[:, day - 2, GATE_SLOT:]], axis=1
    )
    weeks = np.mean([scaled[:, day - 7 * k] for k in (1, 2) if day >= 7 * k], axis=0)
    per_slot = (
        newest, scaled[:, day - 2], scaled[:, day - 7], scaled[:, day - 14],
        scaled[:, day - 8 : day - 1].mean(axis=1), weeks,
    )  # fmt: skip
    per_series = (
        scaled[:, day - 2].mean(axis=1),
        scaled[:, day - 8 : day - 1].mean(axis=(1, 2)),
        scaled[:, day - 1, :GATE_SLOT].mean(axis=1),
        scaled[:, : day - 1].std(axis=(1, 2)),
    )
    shape = (series, SLOTS)
    columns = [
        *per_slot,
        *(np.broadcast_to(value[:, None], shape) for value in per_series),
        *(
            np.broadcast_to(value, shape)
            for value in (np.arange(SLOTS), float(weekday), float(max(weekday - 4, 0)))
        ),
    ]
    return np.asarray(np.stack(columns, axis=-1).reshape(series * SLOTS, -1), dtype=float)


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerForecast:
    """Deciles of one statsforecast model, shape (days, series, slots, levels), and its time."""

    name: str
    quantile: Floats
    seconds_per_series: float


def forecast_with_statsforecast(power: Floats, days: tuple[int, ...]) -> list[PeerForecast]:
    """Run SeasonalNaive, AutoETS and MSTL from the gates of some days, eight weeks of history.

    Parameters
    ----------
    power : ndarray, shape (series, days, slots)
        Few series: MSTL takes seconds for each.
    days : tuple of int
        Days to forecast.
    """
    from statsforecast.models import MSTL, AutoETS, SeasonalNaive

    models = {
        "SeasonalNaive, a week": SeasonalNaive(season_length=WEEK),
        "AutoETS, a day": AutoETS(season_length=SLOTS, model="ANA"),
        "MSTL, day and week, AutoETS": MSTL(
            season_length=[SLOTS, WEEK], trend_forecaster=AutoETS(model="ZZN")
        ),
    }
    return [_forecast_with(name, model, power, days) for name, model in models.items()]


def _forecast_with(name: str, model: object, power: Floats, days: tuple[int, ...]) -> PeerForecast:
    import pandas as pd
    from statsforecast import StatsForecast

    steps = 2 * SLOTS - GATE_SLOT
    made, spent = [], 0.0
    for day in days:
        last = (day - 1) * SLOTS + GATE_SLOT
        history = power.reshape(len(power), -1)[:, last - STATS_DAYS * SLOTS : last]
        stamps = pd.date_range(START.replace(tzinfo=None), periods=last, freq="15min")
        table = pd.concat(
            pd.DataFrame({"unique_id": f"s{k:02d}", "ds": stamps[-len(row) :], "y": row})
            for k, row in enumerate(history)
        )
        clock = time.process_time()
        found = StatsForecast(models=[model], freq="15min", n_jobs=1).forecast(
            df=table, h=steps, level=[20, 40, 60, 80]
        )
        spent += time.process_time() - clock
        centre = next(c for c in found.columns if c not in ("unique_id", "ds") and "-" not in c)
        columns = [
            *(f"{centre}-lo-{band}" for band in (80, 60, 40, 20)),
            centre,
            *(f"{centre}-hi-{band}" for band in (20, 40, 60, 80)),
        ]
        value = found[columns].to_numpy(dtype=float).reshape(len(power), steps, len(LEVELS))
        made.append(np.sort(value[:, -SLOTS:], axis=-1))
    return PeerForecast(
        name=name,
        quantile=np.stack(made),
        seconds_per_series=spent / len(days) / len(power),
    )
