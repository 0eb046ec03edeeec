"""A study in words and numbers, for the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from data.canonical import canonical_json
from data.periods import format_utc
from data.records.network import Elements
from data.records.order import kind_of
from data.study.settings import LIMIT_FIELDS
from dso.studies.history import Change
from dso.studies.study import Study

VALUE_CHARACTERS_MAX = 60


def describe_study(study: Study) -> Iterator[tuple[str, str]]:
    """Yield label and text of what a study says, units included."""
    case = study.case
    network, periods, h = case.network, case.periods, case.periods.mtu_h
    price = case.import_price_eur_per_mwh
    yield "name", case.name
    yield (
        "network",
        (
            f"{network.name}: {int(network.buses.in_service.sum())} buses, "
            f"{len(network.lines.index)} lines, {len(network.trafos.index)} transformers"
        ),
    )
    for change in study.network_changes:
        yield "changed in it", f"{change.element} {change.field} = {_short(change.value)}"
    yield (
        "periods",
        (f"{len(periods)} of {periods.mtu_minutes} min from {format_utc(periods.start)}"),
    )
    yield "formulation", case.formulation
    yield (
        "import price",
        (f"{price.min():g} to {price.max():g} EUR/MWh, mean {price.mean():.2f} EUR/MWh"),
    )
    for name, cap in (("import", case.import_mw_max), ("export", case.export_mw_max)):
        if cap is not None:
            yield f"{name} at most", f"{cap:g} MW"
    yield "loads", _elements(network.loads, case.load_p_mw, h)
    yield "generators", _elements(network.sgens, case.sgen_p_mw, h)
    counts = Counter(kind_of(order) for order in case.orders)
    yield "orders", ", ".join(f"{n} {kind}" for kind, n in sorted(counts.items())) or "none"
    for field in LIMIT_FIELDS:
        values = getattr(case.limits, field)
        values = values[np.isfinite(values)]
        if values.size:
            low, high = float(values.min()), float(values.max())
            yield field, f"{low:g}" if low == high else f"{low:g} to {high:g}"
    yield "study sha256", study.sha256


def _elements(
    elements: Elements, p_mw: np.ndarray[tuple[int, ...], np.dtype[np.float64]], h: float
) -> str:
    running = elements.in_service
    total = p_mw[:, running].sum(axis=1)
    if not running.any():
        return "none"
    return f"{int(running.sum())}, {total.sum() * h:.3f} MWh, {total.max():.3f} MW at most"


def _short(value: object) -> str:
    text = value if isinstance(value, str) else canonical_json(value).decode()
    if text == "null":
        return "nothing"
    return text if len(text) <= VALUE_CHARACTERS_MAX else text[: VALUE_CHARACTERS_MAX - 3] + "..."


def describe_change(change: Change) -> Iterator[str]:
    """Yield one line per setting of a change: number, when, who, what, from, to."""
    who = f" {change.who}" if change.who else ""
    for key, before, after in change.what:
        text = f"{key} {_short(after)}" if key == "new" else (
            f"{key}: {_short(before)} -> {_short(after)}"
        )  # fmt: skip
        yield f"{change.number:3d}  {change.when}{who}  {text}"
