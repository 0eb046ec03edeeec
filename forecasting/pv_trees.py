"""What trees learn about PV beyond physics: a residual and a ratio to the clear sky, averaged.

The residual (power minus physics) keeps the physics where trees have seen nothing like it; the
ratio (power / clear-sky power, weighted by clear-sky power so that its loss is the loss in MW)
carries over from a low sun to a high one. Their average beat either one on the months it was
chosen on (August to October 2012 of GEFCom2014-S).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.errors import Problem, refuse_if_any
from forecasting.boosting import BoostedQuantiles, BoostingRule, fit_boosted_quantiles
from forecasting.pv_physics import Sun
from forecasting.quantiles import interpolate_quantiles

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

LEVELS: Final = (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
RULE: Final = BoostingRule(
    trees=150, learning_rate=0.05, leaves=15, rows_per_leaf_min=40, feature_share=0.5, row_share=0.7
)
SEEDS: Final = (6, 7)
# Clear-sky power below this share of capacity is dusk: a ratio to it would be noise.
CLEAR_SHARE_MIN: Final = 0.02
GHI_FLOOR_W_PER_M2: Final = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PvRows:
    """Rows of one or several plants, in shares of their capacity.

    Parameters
    ----------
    names : tuple of str
        Features.
    value : ndarray, shape (rows, features)
        NaN is a missing value.
    physics, clear : ndarray, shape (rows,)
        Power by physics with the weather, and under a clear sky, as a share of capacity.
    dark : ndarray of bool, shape (rows,)
        The sun is down for the whole period: power is zero.
    """

    names: tuple[str, ...]
    value: Floats
    physics: Floats
    clear: Floats
    dark: Bools

    def only(self, rows: Bools) -> PvRows:
        """Return the chosen rows."""
        return PvRows(
            names=self.names, value=self.value[rows], physics=self.physics[rows],
            clear=self.clear[rows], dark=self.dark[rows],
        )  # fmt: skip


def stack_plants(plants: Sequence[PvRows]) -> PvRows:
    """Put plants under each other: what one has seen of clouds the others learn."""
    return PvRows(
        names=plants[0].names,
        value=np.vstack([plant.value for plant in plants]),
        physics=np.concatenate([plant.physics for plant in plants]),
        clear=np.concatenate([plant.clear for plant in plants]),
        dark=np.concatenate([plant.dark for plant in plants]),
    )


def make_pv_rows(
    sun: Sun,
    ghi_w_per_m2: Floats,
    physics: Floats,
    clear: Floats,
    weather: Mapping[str, Floats],
    periods_per_hour: int,
) -> PvRows:
    """Build features of one plant from consecutive periods.

    Parameters
    ----------
    sun : Sun
        Over the plant.
    ghi_w_per_m2 : ndarray, shape (periods,)
        Forecast global irradiance.
    physics, clear : ndarray, shape (periods,)
        As in `PvRows`.
    weather : mapping of str to ndarray, shape (periods,)
        Further columns, any unit; those that only tell the season are better left out.
    periods_per_hour : int
        To look one and two hours back and ahead: a cloud field comes earlier or later than said.
    """
    clear_ghi = sun.clear_ghi_w_per_m2
    index = ghi_w_per_m2 / np.maximum(clear_ghi, GHI_FLOOR_W_PER_M2)
    hour = periods_per_hour
    turned = np.where(sun.azimuth_deg > 180.0, sun.azimuth_deg - 360.0, sun.azimuth_deg)
    columns = {
        "physics": physics,
        "clear": clear,
        "clear_sky_index": index,
        "ghi_w_per_m2": ghi_w_per_m2,
        "day_index": _mean_around(ghi_w_per_m2, 15 * hour)
        / np.maximum(_mean_around(clear_ghi, 15 * hour), GHI_FLOOR_W_PER_M2),
        "index_3_h": _mean_around(index, 3 * hour),
        "elevation_deg": sun.elevation_deg,
        "azimuth_from_north_deg": turned,
    }
    for shift in (-2, -1, 1, 2):
        columns[f"physics_{shift:+d}_h"] = _moved(physics, shift * hour)
        columns[f"clear_sky_index_{shift:+d}_h"] = _moved(index, shift * hour)
    for name, value in weather.items():
        columns[name] = value
        columns[f"{name}_5_h"] = _mean_around(value, 5 * hour)
        columns[f"{name}_+1_h"] = _moved(value, hour)
    return PvRows(
        names=tuple(columns),
        value=np.column_stack(list(columns.values())),
        physics=physics,
        clear=clear,
        dark=sun.dark,
    )


def _moved(value: Floats, periods: int) -> Floats:
    """Return the value ``periods`` later (negative: earlier); the ends repeat."""
    rows = np.clip(np.arange(len(value)) + periods, 0, len(value) - 1)
    return np.asarray(value[rows])


def _mean_around(value: Floats, count: int) -> Floats:
    """Return the mean of ``count`` periods around each; fewer at the ends."""
    cumulated = np.concatenate([[0.0], np.cumsum(np.nan_to_num(value))])
    first = np.clip(np.arange(len(value)) - (count - 1) // 2, 0, len(value))
    last = np.clip(np.arange(len(value)) + count // 2 + 1, 0, len(value))
    return np.asarray((cumulated[last] - cumulated[first]) / np.maximum(last - first, 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class PvTrees:
    """Fitted trees of residual and ratio, several seeds each."""

    residual: tuple[BoostedQuantiles, ...]
    ratio: tuple[BoostedQuantiles, ...]

    def predict(self, rows: PvRows, levels: Sequence[float]) -> Floats:
        """Return quantiles of power as a share of capacity, shape (rows, levels).

        Never below zero, zero in the dark, non-decreasing.
        """
        lit = ~rows.dark
        found = np.zeros((len(rows.dark), len(LEVELS)))
        if lit.any():
            part = rows.only(lit)
            clear = np.maximum(part.clear, CLEAR_SHARE_MIN)[:, None]
            parts = [
                part.physics[:, None] + trees.predict(part.value, LEVELS) for trees in self.residual
            ]
            parts += [clear * trees.predict(part.value, LEVELS) for trees in self.ratio]
            found[lit] = np.sort(np.mean(parts, axis=0), axis=1)
        return np.maximum(interpolate_quantiles(found, LEVELS, levels), 0.0)


def fit_pv_trees(
    rows: PvRows, share: Floats, rule: BoostingRule = RULE, seeds: Sequence[int] = SEEDS
) -> PvTrees:
    """Fit residual and ratio on the lit rows.

    Parameters
    ----------
    rows : PvRows
        Of one or several plants.
    share : ndarray, shape (rows,)
        Power as a share of capacity; NaN is left out.
    rule : BoostingRule
        How trees are grown.
    seeds : sequence of int
        One set of trees each, averaged.

    Raises
    ------
    InputError
        If fewer than two hundred lit rows have a reading.
    """
    chosen = np.isfinite(share) & ~rows.dark
    refuse_if_any(
        [Problem(where="readings", what=f"{int(chosen.sum())} lit periods, PV needs 200")]
        if chosen.sum() < 200
        else []
    )
    part, target = rows.only(chosen), share[chosen]
    clear = np.maximum(part.clear, CLEAR_SHARE_MIN)

    def fit(wanted: Floats, weight: Floats | None, seed: int) -> BoostedQuantiles:
        return fit_boosted_quantiles(
            part.value, wanted, rows.names, weight=weight, levels=LEVELS, rule=_seeded(rule, seed)
        )

    return PvTrees(
        residual=tuple(fit(target - part.physics, None, seed) for seed in seeds),
        ratio=tuple(fit(target / clear, clear, seed + 100) for seed in seeds),
    )


def _seeded(rule: BoostingRule, seed: int) -> BoostingRule:
    from dataclasses import replace

    return replace(rule, seed=seed)
