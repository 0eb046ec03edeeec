"""What the tap positions of a pandapower ``trafo`` table do to ratio and phase shift.

Follows the meaning documented for pandapower 3.5 (tap changers of ``trafo``,
https://pandapower.readthedocs.io/en/latest/elements/trafo.html): a ``Ratio`` or ``Symmetrical``
changer adds the phasor ``tap_step_percent * (tap_pos - tap_neutral)`` at angle ``tap_step_degree``
to the rated voltage of its side, an ``Ideal`` one turns the phase only, and a transformer without
``tap_changer_type`` has no tap changer whatever its position says. Tables older than pandapower 3
state ``tap_phase_shifter`` instead of the type.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data.readers.pandapower_table import ElementTable
from data.records.network import Bools, Floats, TapChangers, no_tap_changers


@dataclass(frozen=True, slots=True, kw_only=True)
class TapEffect:
    """Factors on the rated voltages [1] and the total phase shift [deg], one per transformer."""

    ratio_hv: Floats
    ratio_lv: Floats
    shift_degree: Floats


def _changer_masks(table: ElementTable, tap: str) -> tuple[Bools, Bools]:
    """Return (ideal phase shifters, ratio changers) of the first ("") or second ("2") changer."""
    count = len(table.frame)
    if f"tap{tap}_changer_type" in table.frame.columns:
        kinds = np.array(table.texts(f"tap{tap}_changer_type"), dtype=object)
        return kinds == "Ideal", (kinds == "Ratio") | (kinds == "Symmetrical")
    if f"tap{tap}_phase_shifter" in table.frame.columns:
        ideal = table.flags(f"tap{tap}_phase_shifter", default=False)
        step = table.optional_floats(f"tap{tap}_step_percent")
        return ideal, ~ideal & np.isfinite(step) & np.isfinite(_steps_off_neutral(table, tap))
    return np.zeros(count, dtype=bool), np.zeros(count, dtype=bool)


def _steps_off_neutral(table: ElementTable, tap: str) -> Floats:
    position = table.optional_floats(f"tap{tap}_pos")
    return position - table.optional_floats(f"tap{tap}_neutral")


def _refuse_unmodelled(table: ElementTable) -> None:
    """Collect transformers whose impedance or ratio comes from a table that is not read here."""
    for column in ("tap_dependency_table", "tap_dependent_impedance"):
        for row in np.flatnonzero(table.flags(column, default=False)):
            table.report(
                int(row),
                f"{column} is set; characteristics by table are not supported",
                "clear the flag or use tap_step_percent and tap_step_degree",
            )
    for side in ("resistance", "reactance"):
        column = f"leakage_{side}_ratio_hv"
        for row in np.flatnonzero(table.optional_floats(column, 0.5) != 0.5):
            table.report(int(row), f"{column} is not 0.5; only the symmetric T model is supported")


def read_taps(table: ElementTable) -> TapEffect:
    """Return what all tap changers of a ``trafo`` table do at their present positions.

    Parameters
    ----------
    table : ElementTable
        The transformers; problems found are added to it.

    Returns
    -------
    TapEffect
        Shape (trafos,) each.
    """
    _refuse_unmodelled(table)
    factors = {"hv": np.ones(len(table.frame)), "lv": np.ones(len(table.frame))}
    shift = table.optional_floats("shift_degree", 0.0)
    for tap in ("", "2"):
        if f"tap{tap}_pos" not in table.frame.columns:
            continue
        sides = np.array(table.texts(f"tap{tap}_side"), dtype=object)
        ideal, phasor = _changer_masks(table, tap)
        steps = _steps_off_neutral(table, tap)
        percent = table.optional_floats(f"tap{tap}_step_percent", 0.0)
        degree = table.optional_floats(f"tap{tap}_step_degree", 0.0)
        for side, sign in (("hv", 1.0), ("lv", -1.0)):
            at_side = sides == side
            for row in np.flatnonzero(at_side & (ideal | phasor) & ~np.isfinite(steps)):
                table.report(int(row), f"tap{tap}_pos or tap{tap}_neutral is missing")
            for row in np.flatnonzero(at_side & ideal & (percent != 0) & (degree != 0)):
                table.report(
                    int(row),
                    f"an ideal phase shifter states tap{tap}_step_percent and _step_degree",
                    "state one of the two",
                )
            m = at_side & ideal
            shift[m] += sign * np.where(
                degree[m] != 0,
                steps[m] * degree[m],
                2.0 * np.rad2deg(np.arcsin(steps[m] * percent[m] / 200.0)),
            )
            m = at_side & phasor
            phasors = 1.0 + steps[m] * percent[m] / 100.0 * np.exp(1j * np.deg2rad(degree[m]))
            factors[side][m] *= np.abs(phasors)
            shift[m] += sign * np.rad2deg(np.angle(phasors))
    return TapEffect(ratio_hv=factors["hv"], ratio_lv=factors["lv"], shift_degree=shift)


def read_tap_changers(table: ElementTable) -> TapChangers:
    """Return the first tap changer of each transformer that has a working one.

    A position that nobody states is a problem of `read_taps`; such a changer is left out here.
    """
    if "tap_pos" not in table.frame.columns:
        return no_tap_changers()
    ideal, phasor = _changer_masks(table, "")
    sides = table.texts("tap_side")
    works = (ideal | phasor) & np.isfinite(_steps_off_neutral(table, ""))
    rows = [row for row in np.flatnonzero(works).tolist() if sides[row] in ("hv", "lv")]
    return TapChangers(
        trafo=table.index[rows],
        side=tuple(sides[row] for row in rows),
        pos=table.optional_floats("tap_pos")[rows],
        neutral=table.optional_floats("tap_neutral")[rows],
        pos_min=table.optional_floats("tap_min")[rows],
        pos_max=table.optional_floats("tap_max")[rows],
        step_percent=table.optional_floats("tap_step_percent", 0.0)[rows],
        step_degree=table.optional_floats("tap_step_degree", 0.0)[rows],
        ideal=ideal[rows],
    )


def tap_phasor(changer: TapChangers, row: int, pos: float) -> complex:
    """Return what a changer at a position does to the rated voltage of its side [1].

    The absolute value is the factor on the rated voltage, the angle the turn of the phase; an
    ideal phase shifter has the factor 1.
    """
    steps = pos - changer.neutral[row]
    percent, degree = float(changer.step_percent[row]), float(changer.step_degree[row])
    if not changer.ideal[row]:
        return complex(1.0 + steps * percent / 100.0 * np.exp(1j * np.deg2rad(degree)))
    if degree != 0:
        return complex(np.exp(1j * np.deg2rad(steps * degree)))
    return complex(np.exp(2j * np.arcsin(steps * percent / 200.0)))
