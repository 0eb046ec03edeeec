"""Powers minute by minute from recorded quarter-hours: the records keep their means exactly.

Between the middles of the quarter-hours powers run in straight lines; on top comes variation as an
autoregressive process of order one (time constant and size by technology), part of it common to
all plants of the technology, as a front of clouds is. Every quarter-hour is then scaled back to the
mean that was recorded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
MINUTES_PER_QUARTER: Final = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Variation:
    """How powers vary within a quarter-hour.

    Parameters
    ----------
    share : float
        Standard deviation as a share of the power, 0..1.
    time_constant_minutes : float
        After which the correlation has fallen to 1/e [min].
    common : float
        Share of the variance that all members have in common, 0..1.
    """

    share: float
    time_constant_minutes: float
    common: float


# By the longest beginning of the technology's name; loads have their own entry.
VARIATIONS: Final[Mapping[str, Variation]] = {
    "PV": Variation(share=0.08, time_constant_minutes=4.0, common=0.4),
    "lv_RES": Variation(share=0.06, time_constant_minutes=4.0, common=0.4),
    "Wind": Variation(share=0.04, time_constant_minutes=6.0, common=0.3),
    "load": Variation(share=0.05, time_constant_minutes=5.0, common=0.1),
}
STEADY: Final = Variation(share=0.0, time_constant_minutes=1.0, common=0.0)


def variation_of(technology: str) -> Variation:
    """Return the variation of a technology; one that is not listed runs steadily.

    Examples
    --------
    >>> variation_of("PV_MV").share, variation_of("Biomass_MV").share
    (0.08, 0.0)
    """
    fitting = [name for name in VARIATIONS if technology.startswith(name)]
    return VARIATIONS[max(fitting, key=len)] if fitting else STEADY


def minute_powers(quarters: Floats, technologies: Sequence[str], seed: str) -> Floats:
    """Return powers of every minute whose quarter-hour means are those given.

    Parameters
    ----------
    quarters : ndarray, shape (quarters, elements)
        Recorded mean powers, any unit.
    technologies : sequence of str
        One per element; ``load`` for loads.
    seed : str
        Names the day and what varies: one seed, one outcome.

    Returns
    -------
    ndarray, shape (15 quarters, elements)
        Same unit; never of the other sign than the record.
    """
    count, elements = quarters.shape
    minutes = count * MINUTES_PER_QUARTER
    middle = np.arange(count) * MINUTES_PER_QUARTER + (MINUTES_PER_QUARTER - 1) / 2
    at = np.arange(minutes)
    smooth = np.column_stack([np.interp(at, middle, quarters[:, k]) for k in range(elements)])
    varied = smooth * np.maximum(1.0 + _variation(minutes, technologies, seed), 0.0)
    by_quarter = varied.reshape(count, MINUTES_PER_QUARTER, elements)
    # straight lines between quarter-hours of both signs may leave nothing to scale: the mean it is
    mean = by_quarter.mean(axis=1)
    usable = (mean * quarters > 0.0) & (np.abs(mean) > 1e-3 * np.abs(quarters))
    factor = np.where(usable, quarters / np.where(usable, mean, 1.0), 0.0)
    scaled = np.where(usable[:, None, :], by_quarter * factor[:, None, :], quarters[:, None, :])
    crossed = np.asarray((scaled * quarters[:, None, :] < 0.0).any(axis=1))
    scaled = np.where(crossed[:, None, :], quarters[:, None, :], scaled)
    return np.asarray(scaled.reshape(minutes, elements))


def _variation(minutes: int, technologies: Sequence[str], seed: str) -> Floats:
    """Relative deviation of every element, shape (minutes, elements)."""
    kinds = sorted(set(technologies))
    common = {kind: _path(minutes, variation_of(kind), f"{seed}/{kind}") for kind in kinds}
    columns = []
    for place, kind in enumerate(technologies):
        how = variation_of(kind)
        own = _path(minutes, how, f"{seed}/{kind}/{place}")
        mixed = np.sqrt(how.common) * common[kind] + np.sqrt(1.0 - how.common) * own
        columns.append(how.share * mixed)
    return np.column_stack(columns)


def _path(minutes: int, how: Variation, seed: str) -> Floats:
    """One path of the autoregressive process with unit variance."""
    digest = hashlib.sha256(seed.encode()).digest()[:16]
    noise = np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big")))
    draws = noise.standard_normal(minutes)
    if how.share == 0.0:
        return np.zeros(minutes)
    keep = float(np.exp(-1.0 / how.time_constant_minutes))
    path = np.empty(minutes)
    path[0] = draws[0]
    fresh = np.sqrt(1.0 - keep**2)
    for minute in range(1, minutes):
        path[minute] = keep * path[minute - 1] + fresh * draws[minute]
    return path
