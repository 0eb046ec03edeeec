"""Wind parts of substations from forecast wind speed: two thirds teach, the last one scores."""

from __future__ import annotations

from typing import Final

import numpy as np

from benchmarks.forecast_sets import reference_folder
from forecasting.scores import pinball_losses
from forecasting.wind_model import fit_power_curve

LEVELS: Final = tuple(k / 10 for k in range(1, 10))
# A substation with less wind than this [MW] has none.
WIND_MW_MIN: Final = 0.01
PERIODS_PER_DAY: Final = 96


def wind_table() -> str:
    """Return the Markdown table of the substations that have wind [MW]."""
    import pandas as pd

    table = pd.read_parquet(
        reference_folder("openstef_example") / "substation_components_15min.parquet"
    )
    lines = [
        "| substation | ours | day before | climatology | ours against climatology | in 10-90 % |",
        "|---|---|---|---|---|---|",
    ]
    rows = []
    for name, part in table.groupby("substation"):
        power = np.abs(part["total_wind_part"].to_numpy(dtype=float))
        speed = part["windspeed_100m"].to_numpy(dtype=float)
        seen = np.isfinite(power) & np.isfinite(speed)
        power, speed = power[seen], speed[seen]
        if power.max(initial=0.0) <= WIND_MW_MIN:
            continue
        cut = len(power) * 2 // 3
        actual = power[cut:]
        curve = fit_power_curve(speed[:cut], power[:cut], float(power[:cut].max()))
        ours = curve.at(speed[cut:], LEVELS)
        climate = np.tile(np.quantile(power[:cut], LEVELS), (len(actual), 1))
        before = power[cut - PERIODS_PER_DAY : len(power) - PERIODS_PER_DAY]
        naive = np.repeat(before[:, None], len(LEVELS), axis=1)
        losses = [pinball_losses(v, actual, LEVELS).mean() for v in (ours, naive, climate)]
        inside = float(((actual >= ours[:, 0]) & (actual <= ours[:, -1])).mean())
        rows.append([*losses, inside])
        lines.append(
            f"| {name} | {losses[0]:.3f} | {losses[1]:.3f} | {losses[2]:.3f} | "
            f"{100 * (losses[0] / losses[2] - 1):+.0f} % | {inside:.3f} |"
        )
    mean = np.mean(rows, axis=0)
    lines.append(
        f"| mean | **{mean[0]:.3f}** | {mean[1]:.3f} | {mean[2]:.3f} | "
        f"{100 * (mean[0] / mean[2] - 1):+.0f} % | {mean[3]:.3f} |"
    )
    return (
        "\n".join(lines)
        + "\n\nPinball [MW], nine deciles, quarter-hours of the last 31 of 92 days. "
        "The weather of the set is that of its authors' forecasts; their issue times are not "
        "published, so this is the quality of the power curve, not of a day-ahead forecast."
    )
