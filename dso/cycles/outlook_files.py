"""The congestion outlook as files: where limits may break without a market, and the MW needed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.canonical import pretty_json
from data.csv_table import Column, table_bytes
from data.periods import Periods, format_utc
from data.records.network import Network
from opf.problems.outlook import CongestionOutlook

Floats = NDArray[np.float64]
OUTLOOK_CSV: Final = "outlook.csv"
OUTLOOK_JSON: Final = "outlook.json"


def outlook_files(
    outlook: CongestionOutlook | None,
    network: Network,
    periods: Periods,
    *,
    known_at: datetime,
    model_id: str,
    scenarios: int,
    fallbacks: Sequence[str] = (),
) -> dict[str, bytes]:
    """Return ``outlook.csv``, one row per limit and period that a scenario breaks, and its story.

    Parameters
    ----------
    outlook : CongestionOutlook or None
        None where the expected injections have no AC solution: the table then has its header alone,
        and a fallback says so.
    network : Network
        Names of the elements.
    periods : Periods
        Its periods.
    known_at, model_id, scenarios
        What it rests on: the gate, the models, and how many scenarios.
    fallbacks : sequence of str
        What had to give way, by name.
    """
    about: dict[str, object] = {
        "known_at": format_utc(known_at),
        "model": model_id,
        "scenarios": scenarios,
        "limits": 0 if outlook is None else len(outlook.limit),
        "fallbacks": list(fallbacks),
        "elements": [] if outlook is None else limits_at_risk(outlook, network, periods.mtu_h),
    }
    labels = periods.labels()
    places: list[list[int]] = []
    if outlook is not None:
        at_risk = np.argwhere(outlook.probability > 0.0).tolist()
        places = sorted(at_risk, key=lambda place: (place[1], _key(outlook, place[0])))
    rows = np.array(places, dtype=np.int64).reshape(-1, 2)

    def number(name: str) -> Floats:
        if outlook is None:
            return np.zeros(0)
        values = getattr(outlook, name)
        return np.asarray(values[tuple(rows.T[: values.ndim])])

    keys = [] if outlook is None else [_key(outlook, limit) for limit, _ in places]
    table: dict[str, Column] = {
        "element_kind": [kind for kind, _, _ in keys],
        "element": np.array([element for _, element, _ in keys], dtype=np.int64),
        "side": [side for _, _, side in keys],
        "period_start": [labels[period] for _, period in places],
        "limit": number("limit"),
        "expected_value": number("expected_value"),
        "unit": ["pu" if kind == "bus" else "percent" for kind, _, _ in keys],
        "probability": number("probability"),
        "need_mw_mean": number("need_mw_mean"),
        "need_mw_q90": number("need_mw_q90"),
    }
    return {OUTLOOK_CSV: table_bytes(table), OUTLOOK_JSON: pretty_json(about)}


def _key(outlook: CongestionOutlook, limit: int) -> tuple[str, int, str]:
    return outlook.element_kind[limit], int(outlook.element[limit]), outlook.side[limit]


def limits_at_risk(
    outlook: CongestionOutlook, network: Network, mtu_h: float
) -> list[dict[str, object]]:
    """Sum up each limit that may break: the likeliest first, then by the MW needed."""
    names = {
        (kind, int(index)): name
        for kind, table in (
            ("bus", network.buses), ("line", network.lines), ("trafo", network.trafos),
        )
        for index, name in zip(table.index, table.name, strict=True)
    }  # fmt: skip
    at_risk = np.flatnonzero((outlook.probability > 0.0).any(axis=1)).tolist()
    at_risk.sort(
        key=lambda k: (
            -float(outlook.probability[k].max()), -float(outlook.need_mw_q90[k].max()),
            _key(outlook, k),
        )
    )  # fmt: skip
    return [
        {
            "element_kind": outlook.element_kind[k],
            "element": int(outlook.element[k]),
            "name": names.get((outlook.element_kind[k], int(outlook.element[k])), ""),
            "side": outlook.side[k],
            "probability_max": float(outlook.probability[k].max()),
            "hours_expected": float(outlook.probability[k].sum() * mtu_h),
            "need_mw_q90_max": float(outlook.need_mw_q90[k].max()),
            "need_mwh_mean": float(outlook.need_mw_mean[k].sum() * mtu_h),
        }
        for k in at_risk
    ]
