"""Which devices of a simulated day fail, and how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetFaults:
    """What is wrong with devices, by asset.

    Parameters
    ----------
    late_minutes : mapping of asset to int
        It looks at letters only that much later [min].
    silent_from : mapping of asset to int
        From that minute of the run on it neither hears nor reports.
    lying : frozenset of str
        Storages that state half the energy they have.
    """

    late_minutes: Mapping[str, int] = field(default_factory=dict)
    silent_from: Mapping[str, int] = field(default_factory=dict)
    lying: frozenset[str] = frozenset()

    def state_of(self, asset: str, minute: int) -> str:
        """Return the fault of a device in a minute: ``silent``, ``late``, ``lying`` or ``""``."""
        if minute >= self.silent_from.get(asset, 10**9):
            return "silent"
        if asset in self.late_minutes:
            return "late"
        return "lying" if asset in self.lying else ""


def draw_faults(
    assets: Sequence[str],
    storages: Sequence[str],
    minutes: int,
    *,
    late: float = 0.10,
    silent: float = 0.05,
    lying: float = 0.02,
    seed: int = 0,
) -> FleetFaults:
    """Draw which devices are late (2 or 3 minutes), fall silent, or lie; no device does two.

    Parameters
    ----------
    assets, storages : sequence of str
        All devices, and those with a state of charge to lie about.
    minutes : int
        Length of the run; silent devices fall silent within its first three quarters.
    late, silent, lying : float
        Shares of all devices, 0..1.
    seed : int
        One seed, one draw.
    """
    draw = np.random.Generator(np.random.PCG64(seed))
    liars = draw.permutation(sorted(storages))[: round(lying * len(assets))].tolist()
    rest = draw.permutation(sorted(set(assets) - set(liars))).tolist()
    cut = round(late * len(assets))
    quiet = rest[cut : cut + round(silent * len(assets))]
    return FleetFaults(
        late_minutes={asset: int(draw.integers(2, 4)) for asset in rest[:cut]},
        silent_from={asset: int(draw.integers(0, max(1, 3 * minutes // 4))) for asset in quiet},
        lying=frozenset(liars),
    )
