"""Orders that a what-if adds, as the fields of ``orders.json``."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np

from data.records.clearing import ClearingCase
from dso.studies.change_orders import on_tick

PLANNER: Final = "planner"
FLAT: Final = "flat"
Report = Callable[[str, str], None]
Fields = dict[str, object]


def battery_order(name: str, fields: Fields, report: Report) -> Fields | None:
    """Return a storage order from bus, p_mw, energy_mwh and efficiency of each way [1].

    Other fields of a storage order may be stated and go before.
    """
    fields = dict(fields)
    power = _positive(fields, "p_mw", report)
    energy = _positive(fields, "energy_mwh", report)
    efficiency = _positive(fields, "efficiency", report)
    if power is None or energy is None or efficiency is None:
        return None
    return {
        "kind": "storage",
        "charge_mw_max": power,
        "discharge_mw_max": power,
        "energy_mwh_max": energy,
        "energy_mwh_start": 0.0,
        "efficiency_charge": efficiency,
        "efficiency_discharge": efficiency,
        "participant": PLANNER,
        **fields,
        "id": name,
    }


def generation_order(
    case: ClearingCase, name: str, fields: Fields, report: Report
) -> Fields | None:
    """Return a generation order from bus, p_mw and whose profile it follows."""
    return _following(case, "generation", name, fields, report, ("must_run", False))


def demand_order(case: ClearingCase, name: str, fields: Fields, report: Report) -> Fields | None:
    """Return a demand order from bus, p_mw and whose profile it follows."""
    return _following(case, "demand", name, fields, report, ("must_take", True))


def _following(
    case: ClearingCase,
    kind: str,
    name: str,
    fields: Fields,
    report: Report,
    must: tuple[str, bool],
) -> Fields | None:
    fields = dict(fields)
    power = _positive(fields, "p_mw", report)
    shares = _shares(case, str(fields.pop("like", FLAT)), report)
    word, default = must
    fixed = fields.pop(word, default)
    if not isinstance(fixed, bool):
        report(f"{word} is {fixed!r}", "state true or false")
        return None
    if power is None or shares is None:
        return None
    p_mw = on_tick([power * share for share in shares])
    return {
        "kind": kind,
        "p_mw_max": p_mw,
        "p_mw_min": p_mw if fixed else 0.0,
        "price_eur_per_mwh": 0.0,
        "participant": PLANNER,
        **fields,
        "id": name,
    }


def _positive(fields: Fields, name: str, report: Report) -> float | None:
    value = fields.pop(name, None)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and math.isfinite(value) and value > 0:  # type: ignore[arg-type,operator]
        return float(value)  # type: ignore[arg-type]
    found = "is missing" if value is None else f"is {value!r}"
    report(f"{name} {found}", "state a number above 0")
    return None


def _shares(case: ClearingCase, like: str, report: Report) -> list[float] | None:
    """Return an element's power as a share of its own, one per period."""
    if like == FLAT:
        return [1.0] * len(case.periods)
    kind, _, number = like.partition(":")
    tables = {
        "load": (case.network.loads, case.load_p_mw),
        "sgen": (case.network.sgens, case.sgen_p_mw),
    }
    if kind not in tables or not number.isdigit():
        report(f"like is {like!r}", 'name a load or sgen, e.g. "sgen:5", or leave it out')
        return None
    elements, p_mw = tables[kind]
    rows = np.flatnonzero(elements.index == int(number))
    if not rows.size:
        report(f"the network has no {kind} {number}", "")
        return None
    own = float(elements.p_mw[rows[0]])
    if own <= 0:
        report(f"{like} has no power of its own to be a share of", "name another one")
        return None
    shares: list[float] = np.maximum(p_mw[:, rows[0]] / own, 0.0).tolist()
    return shares
