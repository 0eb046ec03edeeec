"""The methods as a contract states them: parameters only, the arithmetic stands beside.

Names are those of contracts and of the command line, e.g. ``high-5-of-10``,
``mid-8-of-10+multiplicative``, ``meter-before-after``; `method_named` reads them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from data.errors import InputError, Problem

Pick = Literal["high", "mid", "low", "all"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SameDayAdjustment:
    """Move or scale a baseline to what the party took earlier on the same day.

    Parameters
    ----------
    kind : {"additive", "multiplicative"}
        Add the mean difference over the window, or multiply by the ratio of means.
    window_h, ends_before_h : float
        The window lasts so long and ends so long before the event [h]; 3 h ending 1 h before is
        CAISO's (three of the four hours before the event).
    cap : float or None
        Multiplicative: the factor stays within 1 +- cap. Additive: the shift stays within
        +- cap times the mean of the baseline. CAISO and MISO: 0.2.
    upward_only : bool
        Never lowers the baseline.
    """

    kind: Literal["additive", "multiplicative"]
    window_h: float = 3.0
    ends_before_h: float = 1.0
    cap: float | None = 0.2
    upward_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DayAverage:
    """Mean of X of the last Y eligible days, at the same time of day.

    Eligible are days of the same kind (working or not) without an event, with a value in every
    period needed, at most ``lookback_days`` back.

    Parameters
    ----------
    pick : {"high", "mid", "low", "all"}
        Which X: highest or lowest energy over the event's time of day, or the middle ones (as many
        dropped at the top as at the bottom).
    workdays_only : bool
        Always average working days, whatever day the event is on.
    """

    pick: Pick
    x: int
    y: int
    lookback_days: int = 45
    workdays_only: bool = False
    adjustment: SameDayAdjustment | None = None

    def __post_init__(self) -> None:
        wrong = not 1 <= self.x <= self.y or (self.pick == "all" and self.x != self.y)
        if wrong or (self.pick == "mid" and (self.y - self.x) % 2):
            problem = Problem(
                where="baseline method",
                what=f"{self.pick} {self.x} of {self.y} cannot be chosen",
                remedy="X at most Y; for mid an even number must be dropped",
            )
            raise InputError([problem])

    @property
    def name(self) -> str:
        """Name in contracts."""
        rolling = self.pick == "all" and self.workdays_only
        base = f"rolling-{self.y}" if rolling else f"{self.pick}-{self.x}-of-{self.y}"
        if self.adjustment is None:
            return base
        open_ended = "" if self.adjustment.cap is not None else "-uncapped"
        return f"{base}+{self.adjustment.kind}{open_ended}"


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterBeforeAfter:
    """Meter before, meter after: from the readings around the event.

    Parameters
    ----------
    before_h, after_h : float
        Length of the windows [h]; 0: one period.
    skip_h : float
        Time left out next to the event on both sides [h].
    shape : {"linear", "mean"}
        A straight line between the centres of the windows, or the mean of all readings of both.
    """

    before_h: float = 0.0
    after_h: float = 0.0
    skip_h: float = 0.0
    shape: Literal["linear", "mean"] = "linear"

    @property
    def name(self) -> str:
        """Name in contracts."""
        return "meter-before-after" + ("" if self.shape == "linear" else "-mean")


@dataclass(frozen=True, slots=True, kw_only=True)
class NominatedSchedule:
    """What the party announced: the last revision received by the gate counts."""

    @property
    def name(self) -> str:
        """Name in contracts."""
        return "nominated"


@dataclass(frozen=True, slots=True, kw_only=True)
class DropTo:
    """An agreed level [MW], 0 for plants that stand idle without an order, or a capacity limit."""

    level_mw: float = 0.0

    @property
    def name(self) -> str:
        """Name in contracts."""
        return f"drop-to-{self.level_mw:g}"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FixedProfile:
    """A reference profile times a number of devices.

    Parameters
    ----------
    profile_mw : ndarray, shape (2, slots)
        Power of one device by time of day [MW]; row 0 for working days, row 1 for others.
    devices : float
        How many.
    """

    profile_mw: NDArray[np.float64]
    devices: float = 1.0

    @property
    def name(self) -> str:
        """Name in contracts."""
        return "fixed-profile"


@dataclass(frozen=True, slots=True, kw_only=True)
class TemperatureRegression:
    """Ordinary least squares on time of day, kind of day and temperature.

    A level for each time of day and kind of day plus a piecewise linear response to temperature,
    after Mathieu, Price, Kiliccote, Piette 2011, "Quantifying changes in building electricity use,
    with application to demand response", doi:10.1109/TSG.2011.2145010. Fitted on the time of day of
    the event over ``history_days``.

    Parameters
    ----------
    knots_c : tuple of float
        Where the response may bend [degC].
    """

    history_days: int = 60
    days_min: int = 14
    knots_c: tuple[float, ...] = (5.0, 15.0, 22.0)

    @property
    def name(self) -> str:
        """Name in contracts."""
        return "regression"


BaselineMethod = (
    DayAverage
    | MeterBeforeAfter
    | NominatedSchedule
    | DropTo
    | FixedProfile
    | TemperatureRegression
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Nomination:
    """A schedule [MW, withdrawal positive] for the periods of an event, as received."""

    received_at: datetime
    withdrawal_mw: NDArray[np.float64]


_DAY_AVERAGE: Final = re.compile(
    r"(high|mid|low|all)-(\d+)-of-(\d+)(?:\+(additive|multiplicative)(-uncapped)?)?"
)
_ROLLING: Final = re.compile(r"rolling-(\d+)")
_DROP: Final = re.compile(r"drop-to-(\d+(?:\.\d+)?)")


def method_named(name: str) -> BaselineMethod:
    """Read a method's name.

    Raises
    ------
    InputError
        If there is no such method.

    Examples
    --------
    >>> method_named("mid-8-of-10+multiplicative").adjustment.cap
    0.2
    >>> method_named("rolling-5").workdays_only
    True
    """
    if found := _DAY_AVERAGE.fullmatch(name):
        pick, x, y, kind, uncapped = found.groups()
        adjustment = None
        if kind is not None:
            adjustment = SameDayAdjustment(
                kind="additive" if kind == "additive" else "multiplicative",
                cap=None if uncapped else 0.2,
            )
        return DayAverage(pick=_pick(pick), x=int(x), y=int(y), adjustment=adjustment)
    if found := _ROLLING.fullmatch(name):
        count = int(found.group(1))
        return DayAverage(pick="all", x=count, y=count, workdays_only=True)
    if found := _DROP.fullmatch(name):
        return DropTo(level_mw=float(found.group(1)))
    plain: dict[str, BaselineMethod] = {
        "meter-before-after": MeterBeforeAfter(),
        "meter-before-after-mean": MeterBeforeAfter(
            before_h=3.0, after_h=2.0, skip_h=1.0, shape="mean"
        ),
        "nominated": NominatedSchedule(),
        "regression": TemperatureRegression(),
    }
    if name in plain:
        return plain[name]
    known = "high-X-of-Y, mid-X-of-Y, low-X-of-Y, all-Y-of-Y (each also with +additive or "
    known += "+multiplicative, -uncapped), rolling-N, drop-to-MW, " + ", ".join(plain)
    problem = Problem(where="baseline method", what=f"{name!r} is unknown", remedy=f"use {known}")
    raise InputError([problem])


def _pick(word: str) -> Pick:
    picks: dict[str, Pick] = {"high": "high", "mid": "mid", "low": "low", "all": "all"}
    return picks[word]
