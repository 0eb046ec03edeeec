"""Which period and bus the page opens with: the reader's choice, or the most telling one."""

from __future__ import annotations

import numpy as np

from data.errors import Problem, refuse_if_any
from data.periods import parse_utc
from dso.show.views import Selection, ShowView


def select(view: ShowView, *, period: str | None, bus: str | None) -> Selection:
    """Return the period and the bus to open with.

    Parameters
    ----------
    view : ShowView
        The clearing.
    period : str or None
        Number from 0, local start ``13:00``, start in UTC ``2016-07-25T11:00:00Z``, or None.
    bus : str or None
        Number in the network, name, or None.

    Raises
    ------
    InputError
        A period or bus that this clearing does not have, with those it has.
    """
    problems: list[Problem] = []
    chosen = _find_period(view, period, problems) if period else _telling_period(view)
    position = _find_bus(view, bus, problems) if bus else _telling_bus(view, chosen)
    refuse_if_any(problems)
    return Selection(period=chosen, bus=position)


def _telling_period(view: ShowView) -> int:
    """Return the period in which limits move a price most; the widest price span without any."""
    moved = np.zeros(len(view.periods))
    for part in view.elements:
        np.add.at(moved, part.periods, np.abs(part.p_eur_per_mwh).max(axis=1))
    if not moved.any():
        moved = np.nanmax(view.price, axis=0) - np.nanmin(view.price, axis=0)
    return int(np.argmax(moved))


def _telling_bus(view: ShowView, period: int) -> int:
    """Return the bus whose price is farthest from the upstream price."""
    away = np.abs(view.price[:, period] - view.import_price_eur_per_mwh[period])
    return int(np.nanargmax(away))


def _find_period(view: ShowView, text: str, problems: list[Problem]) -> int:
    count = len(view.periods)
    if text.isdigit() and int(text) < count:
        return int(text)
    local = [f"{start:%H:%M}" for start in view.local_starts()]
    if text in local:
        return local.index(text)
    try:
        starts = [parse_utc(label) for label in view.periods.labels()]
        return starts.index(parse_utc(text))
    except ValueError:
        problems.append(
            Problem(
                where=f"--period {text}",
                what="is no period of this clearing",
                remedy=f"a number from 0 to {count - 1}, a local start such as {local[0]}, or a "
                f"start in UTC such as {view.periods.labels()[0]}",
            )
        )
        return 0


def _find_bus(view: ShowView, text: str, problems: list[Problem]) -> int:
    numbers = [str(bus) for bus in view.feeder.bus.tolist()]
    if text in numbers:
        return numbers.index(text)
    if text in view.feeder.bus_name:
        return view.feeder.bus_name.index(text)
    problems.append(
        Problem(
            where=f"--bus {text}",
            what="is no bus in service of this network",
            remedy=f"a number such as {numbers[0]}, or a name such as "
            f"{view.feeder.bus_name[view.feeder.substation]!r}",
        )
    )
    return 0
