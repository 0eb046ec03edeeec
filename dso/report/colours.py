"""Colour scales that colour-blind readers can tell apart, with the unit they stand for.

Sequential: Cividis [1]_. Diverging: purple to orange (PuOr of ColorBrewer [2]_), so that neither
end looks like an alarm. Loading has steps, because an operator asks "which class", and a width
beside the colour.

References
----------
.. [1] Nunez, Anderton, Renslow 2018, doi:10.1371/journal.pone.0199239
.. [2] Brewer, colorbrewer2.org
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from dso.report.views import Floats

SEQUENTIAL: Final = (
    "#00224e", "#1a386f", "#434e6c", "#61656f", "#7d7c78", "#9b9476", "#bcae6c", "#dfca58",
    "#fee838",
)  # fmt: skip
DIVERGING: Final = (
    "#542788", "#8073ac", "#b2abd2", "#d8daeb", "#f7f7f7", "#fee0b6", "#fdb863", "#e08214",
    "#b35806",
)  # fmt: skip
THEMES: Final[dict[str, dict[str, str]]] = {
    "light": {
        "page": "#f3f5f8", "card": "#ffffff", "sunk": "#eef1f5", "ink": "#15202b",
        "muted": "#4b5a69", "edge": "#cfd7df", "grid": "#e2e7ed", "accent": "#0a5ba8",
        "accent-ink": "#ffffff", "band": "rgba(11, 98, 179, 0.16)", "none": "rgba(0, 0, 0, 0)",
        "series1": "#0b62b3", "series2": "#a85400", "series3": "#00756a", "series4": "#8a2da5",
        "series5": "#77869a", "broken": "#b3005e", "good": "#0c6b3d", "warn": "#8a4b00",
        "bad": "#a8122a", "outline": "#15202b", "state-green": "#2e9e6b",
        "state-yellow": "#f0c419", "state-orange": "#e06c1f", "state-red": "#b3123a",
        "load-low": "#94a3b3", "load-middle": "#2f7fc1", "load-high": "#d97700",
        "load-over": "#b3005e",
    },
    "dark": {
        "page": "#0e141b", "card": "#17202a", "sunk": "#1f2a36", "ink": "#e9eef3",
        "muted": "#aab8c6", "edge": "#33424f", "grid": "#2a3743", "accent": "#7bbcf7",
        "accent-ink": "#0e141b", "band": "rgba(123, 188, 247, 0.18)", "none": "rgba(0, 0, 0, 0)",
        "series1": "#6fb4f2", "series2": "#f0a24e", "series3": "#4fc7b4", "series4": "#d59bf0",
        "series5": "#8b9bb0", "broken": "#ff7ab8", "good": "#6fd3a0", "warn": "#f3b35f",
        "bad": "#ff8b98", "outline": "#e9eef3", "state-green": "#3fb27f",
        "state-yellow": "#f2cd3c", "state-orange": "#f0823a", "state-red": "#f0486e",
        "load-low": "#5f7183", "load-middle": "#56a3e6", "load-high": "#f2a33a",
        "load-over": "#ff7ab8",
    },
}  # fmt: skip
NO_VALUE: Final = "#8a96a3"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """A colour scale over ``[low, high]`` in ``unit``; values beyond get the end's colour."""

    low: float
    high: float
    unit: str
    digits: int
    stops: tuple[str, ...] = SEQUENTIAL

    def plotly(self) -> list[list[float | str]]:
        """Return the scale as Plotly writes it."""
        last = len(self.stops) - 1
        return [[k / last, colour] for k, colour in enumerate(self.stops)]

    def ticks(self) -> tuple[float, ...]:
        """Return five values from low to high."""
        return tuple(self.low + (self.high - self.low) * k / 4 for k in range(5))

    def colour(self, value: float) -> str:
        """Return the colour of a value as ``#rrggbb``."""
        if not math.isfinite(value):
            return NO_VALUE
        span = self.high - self.low
        place = min(max((value - self.low) / span, 0.0), 1.0) * (len(self.stops) - 1)
        first = min(int(place), len(self.stops) - 2)
        share = place - first
        ends = (self.stops[first], self.stops[first + 1])
        channels = [
            round((1 - share) * int(ends[0][k : k + 2], 16) + share * int(ends[1][k : k + 2], 16))
            for k in (1, 3, 5)
        ]
        return "#" + "".join(f"{channel:02x}" for channel in channels)


def price_scale(price: Floats) -> Scale:
    """Return the scale of prices [EUR/MWh], from the 0.5 to the 99.5 percentile."""
    low, high = _span(price, 0.5, 99.5)
    return Scale(low=math.floor(low), high=math.ceil(high), unit="EUR/MWh", digits=1)


def difference_scale(difference: Floats) -> Scale:
    """Return the scale of price differences [EUR/MWh], symmetric about zero."""
    low, high = _span(difference, 0.5, 99.5)
    reach = max(math.ceil(max(abs(low), abs(high))), 1)
    return Scale(low=-reach, high=reach, unit="EUR/MWh", digits=1, stops=DIVERGING)


def voltage_scale(vm_pu: Floats, low_limit: float, high_limit: float) -> Scale:
    """Return the scale of voltages [pu]: the band between the limits, else what was seen."""
    low, high = _span(vm_pu, 0.0, 100.0)
    return Scale(
        low=low_limit if math.isfinite(low_limit) else low,
        high=high_limit if math.isfinite(high_limit) else high,
        unit="pu",
        digits=3,
        stops=DIVERGING,
    )


def _span(values: Floats, first: float, last: float) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0.0, 1.0
    low, high = np.percentile(finite, (first, last))
    return (float(low), float(high)) if high - low > 1e-9 else (float(low) - 0.5, float(low) + 0.5)
