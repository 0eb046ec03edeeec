"""Forecasts that parties handed in, where the feeder's file says that theirs serve.

Of each element the newest forecast of its source counts that was received before the gate, and no
older one stands in for it. It serves if it is whole, plausible and young enough; else ours does,
under the name ``missing_forecast``.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from data.canonical import canonical_json, pretty_json, sha256_hex, write_atomically
from data.csv_table import Column, table_bytes
from data.errors import InputError, Problem
from data.periods import Periods, format_utc, parse_utc
from data.records.forecast import Forecast
from data.units import quantise_mw
from dso.config import OWN
from dso.cycles.booked_orders import book_of
from dso.cycles.plan import DayPlan
from dso.cycles.recorded import TOTAL
from dso.cycles.stages import Desk
from dso.store import Connection
from dso.store.book import pass_gate
from dso.store.received_forecasts import ReceivedForecast, newest_forecasts
from dso.store.register import Register
from dso.store.register_records import Asset, ConnectionPoint, Mandate, Party
from forecasting.quantiles import interpolate_quantiles, order_and_cap

Floats = NDArray[np.float64]
NAME: Final = "missing_forecast"
MODEL_ID: Final = "received/1"
MANDATE: Final = "mandate"
RECEIVED_JSON: Final = "received.json"
RECEIVED_CSV: Final = "received.csv"
HOUR: Final = timedelta(hours=1)
# The levels that a party states, by field.
LEVELS: Final = (("q10_w", 0.1), ("q50_w", 0.5), ("q90_w", 0.9))
WATTS_PER_MW: Final = 1e6
NAMES_SHOWN: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What was found for an element whose forecast comes from elsewhere.

    Parameters
    ----------
    series : str
        The element, as in the forecast; a connection point that the register does not know.
    source : str
        What the feeder's file names: ``mandate`` or a party.
    rated_mw : float
        Power that its asset may take (load) or give (generator) [MW].
    kept : ReceivedForecast or None
        The newest forecast before the gate.
    value_mw : ndarray, shape (periods, 3)
        10 %, 50 % and 90 % quantiles [MW], NaN where not stated.
    why : tuple of str
        Why it does not serve; empty where it does.
    """

    series: str
    source: str
    rated_mw: float
    kept: ReceivedForecast | None
    value_mw: Floats
    why: tuple[str, ...]

    @property
    def serves(self) -> bool:
        """Whether it stands in place of ours."""
        return not self.why

    def plain(self) -> dict[str, object]:
        """Return what is written down of it, its values apart."""
        kept = self.kept
        return {
            "series": self.series,
            "source": self.source,
            "rated_mw": self.rated_mw,
            "party": None if kept is None else kept.party,
            "stated_source": None if kept is None else kept.source,
            "issued_at": None if kept is None else kept.issued_at,
            "received_at": None if kept is None else kept.received_at,
            "sha256": None if kept is None else kept.sha256,
            "serves": self.serves,
            "why": list(self.why),
        }


def judge_received(desk: Desk) -> tuple[Judged, ...]:
    """Return what was received for the elements that are forecast by others, by element.

    Nothing where the feeder's file asks for nothing. The gate is passed: what is handed in from
    now on is received after it, so the same day again finds the same.

    Raises
    ------
    InputError
        If the day-ahead gate is still to come.
    """
    plan, gate = desk.plan, desk.plan.day_ahead_gate
    if not plan.feeder.forecast_sources.asks:
        return ()
    try:
        with desk.services.store.transaction() as connection:
            pass_gate(connection, book_of(plan), gate)
            places = _places(connection, plan)
            parties_of = {place.asset: place.parties for place in places}
            newest = newest_forecasts(connection, parties_of, gate=gate)
    except ValueError as error:
        remedy = "run the forecast once its gate is passed"
        raise InputError([Problem(where="forecasts", what=str(error), remedy=remedy)]) from error
    return tuple(_judge(plan, place, newest.get(place.asset)) for place in places)


def received_sha256(judged: Iterable[Judged]) -> str:
    """Return a digest of everything that was found."""
    plain = [
        [each.plain(), "" if each.kept is None else sha256_hex(each.kept.content.encode())]
        for each in judged
    ]
    return sha256_hex(canonical_json(plain))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """An element that others forecast: its asset, and whose forecasts count there."""

    series: str
    source: str
    asset: str
    rated_mw: float
    parties: frozenset[str]
    why: tuple[str, ...] = ()


def _places(connection: Connection, plan: DayPlan) -> list[_Place]:
    """Return the elements whose source is not our own forecast, as the register knows them."""
    gate, sources = plan.day_ahead_gate, plan.feeder.forecast_sources
    holds = {"at": gate, "known_at": gate}
    assets = {each.id: each for each in Register(Asset).in_force(connection, **holds)}
    points = {each.id: each for each in Register(ConnectionPoint).in_force(connection, **holds)}
    traders: dict[str, set[str]] = {point.id: {point.party} for point in points.values()}
    for mandate in Register(Mandate).in_force(connection, **holds):
        point = points.get(mandate.connection_point)
        if mandate.scope == "trade" and point is not None and point.party == mandate.grantor:
            traders[point.id].add(mandate.agent)
    operators = {
        each.id for each in Register(Party).in_force(connection, **holds) if each.role == "operator"
    }
    found = []
    for series, kind in plan.recorded.expected.kinds.items():
        if series.startswith(TOTAL):
            continue
        name = f"{plan.feeder.id}/{series}"
        asset = assets.get(name)
        place = None if asset is None else asset.connection_point
        source = sources.source_of(place, kind)
        if source == OWN:
            continue
        may = traders.get(place or "", set())
        why = () if asset is not None else ("is no asset of the register",)
        if source not in (MANDATE, *may, *operators) and asset is not None:
            why = (f"{source} may not trade for it",)
        found.append(
            _Place(
                series=series,
                source=source,
                asset=name,
                rated_mw=_rated_mw(asset, series),
                parties=frozenset(may if source == MANDATE else {source} & (may | operators)),
                why=why,
            )
        )
    unknown = sorted(sources.by_connection.keys() - points.keys())
    return found + [_unknown_place(name, sources.by_connection[name]) for name in unknown]


def _unknown_place(name: str, source: str) -> _Place:
    why = ("is no connection point of the register",)
    return _Place(series=name, source=source, asset="", rated_mw=0.0, parties=frozenset(), why=why)


def _rated_mw(asset: Asset | None, series: str) -> float:
    if asset is None:
        return 0.0
    watts = asset.import_w_max if series.startswith("load") else asset.export_w_max
    return watts / WATTS_PER_MW


def _judge(plan: DayPlan, place: _Place, kept: ReceivedForecast | None) -> Judged:
    """Return a forecast with everything that speaks against it."""
    count = len(plan.periods)
    value_mw, why = np.full((count, len(LEVELS)), np.nan), list(place.why)
    if kept is None and not why:
        why.append("none was received before the gate")
    if kept is not None:
        value_mw, found = _values(json.loads(kept.content), plan.periods)
        why += found or _faults(value_mw, place.rated_mw)
        age = plan.day_ahead_gate - parse_utc(kept.issued_at)
        age_h_max = plan.feeder.forecast_sources.age_h_max
        if age > age_h_max * HOUR:
            why.append(f"issued {age / HOUR:g} h before the gate, more than {age_h_max:g} h")
    return Judged(
        series=place.series,
        source=place.source,
        rated_mw=place.rated_mw,
        kept=kept,
        value_mw=value_mw,
        why=tuple(why),
    )


def _values(content: Mapping[str, Any], periods: Periods) -> tuple[Floats, list[str]]:
    """Return the stated quantiles on the day's periods [MW]; a longer period holds for all in it.

    Shape (periods, 3), NaN where nothing is stated.
    """
    value_mw = np.full((len(periods), len(LEVELS)), np.nan)
    minutes = int(content["period_minutes"])
    if minutes % periods.mtu_minutes:
        what = f"its periods are of {minutes} min, the market's of {periods.mtu_minutes} min"
        return value_mw, [what]
    for stated in content["values"]:
        offset = parse_utc(stated["period_start"]) - periods.start
        first = offset // periods.mtu
        row = [np.nan if stated[name] is None else float(stated[name]) for name, _ in LEVELS]
        for period in range(first, first + minutes // periods.mtu_minutes):
            if 0 <= period < len(periods):
                value_mw[period] = row
    return value_mw / WATTS_PER_MW, []


def _faults(value_mw: Floats, rated_mw: float) -> list[str]:
    """Return what is wrong with the quantiles of a day."""
    why = []
    missing = int((~np.isfinite(value_mw[:, 1])).sum())
    if missing:
        why.append(f"{missing} of {len(value_mw)} periods are without a value")
    if np.isinf(value_mw).any():
        why.append("a value is not finite")
    beyond = ((value_mw < 0.0) | (value_mw > rated_mw)).any(axis=1)
    if beyond.any():
        why.append(f"{int(beyond.sum())} periods are outside 0 to {rated_mw:g} MW")
    low, median, high = value_mw.T
    crossing = int(((low > median) | (median > high) | (low > high)).sum())
    if crossing:
        why.append(f"its quantiles cross in {crossing} periods")
    return why


def with_received(own: Forecast, judged: Collection[Judged], kinds: Mapping[str, str]) -> Forecast:
    """Return a forecast with others' in place of ours where they serve.

    A stated median stands, with the stated 10 % and 90 % quantiles around it, other levels linear
    between them; a side that is not stated keeps our distance from the median. The total of a kind
    moves by what the medians of its elements moved: quantiles do not add.

    Parameters
    ----------
    own : Forecast
        Ours, of all series.
    judged : collection of Judged
        What was received.
    kinds : mapping
        Kind of each series, totals among them.
    """
    if not judged:
        return own
    value = own.value_mw.copy()
    middle = own.quantiles.index(0.5)
    row = {name: number for number, name in enumerate(own.series)}
    serving = [each for each in judged if each.serves]
    for each in serving:
        value[row[each.series]] = _quantiles(each, value[row[each.series]], own.quantiles)
    moved = value[:, :, middle] - own.value_mw[:, :, middle]
    for name in own.series:
        members = [row[e.series] for e in serving if kinds[e.series] == kinds[name]]
        if name.startswith(TOTAL) and members:
            shifted = own.value_mw[row[name]] + moved[members].sum(axis=0)[:, None]
            value[row[name]] = order_and_cap(shifted, 0.0, np.inf)
    return replace(
        own,
        value_mw=value,
        model_id=f"{own.model_id} and {MODEL_ID}" if serving else own.model_id,
        fallbacks=(*own.fallbacks, *_sentences(judged, own.model_id)),
    )


def _quantiles(each: Judged, own_mw: Floats, levels: tuple[float, ...]) -> Floats:
    """Return the quantiles of one series from those stated, shape (periods, levels) [MW]."""
    middle = levels.index(0.5)
    median = each.value_mw[:, 1:2]
    ours = median + own_mw - own_mw[:, middle : middle + 1]
    stated = np.where(np.isnan(each.value_mw), median, each.value_mw)
    theirs = interpolate_quantiles(stated, [level for _, level in LEVELS], levels)
    low = np.isnan(each.value_mw[:, 0:1]) & (np.arange(len(levels)) < middle)
    high = np.isnan(each.value_mw[:, 2:3]) & (np.arange(len(levels)) > middle)
    found = np.where(low | high, ours, theirs)
    return quantise_mw(order_and_cap(found, 0.0, each.rated_mw))


def _sentences(judged: Collection[Judged], own_model: str) -> list[str]:
    """Return a sentence for each source and reason for which ours serves."""
    grouped: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for each in judged:
        if not each.serves:
            grouped.setdefault((each.source, each.why), []).append(each.series)
    said = []
    for (source, why), names in grouped.items():
        more = len(names) - NAMES_SHOWN
        shown = ", ".join(names[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
        said.append(f"{NAME}: {shown} of {source}: {', '.join(why)}; {own_model} serves")
    return said


def write_received(plan: DayPlan, judged: Collection[Judged], own: Forecast, folder: Path) -> None:
    """Write what was received and how it compares with ours, and the values that serve [MW].

    Nothing is written where nothing was asked for.
    """
    if not judged:
        return
    row = {name: number for number, name in enumerate(own.series)}
    entries = [each.plain() | _beside_ours(each, own, row.get(each.series)) for each in judged]
    about = {"known_at": format_utc(plan.day_ahead_gate), "series": entries}
    write_atomically(folder / RECEIVED_JSON, pretty_json(about))
    serving = [each for each in judged if each.serves]
    labels = plan.periods.labels()
    columns: dict[str, Column] = {
        "series": [each.series for each in serving for _ in labels],
        "period_start": [label for _ in serving for label in labels],
    }
    for place, (name, _) in enumerate(LEVELS):
        parts = [each.value_mw[:, place] for each in serving]
        columns[f"{name[:3]}_mw"] = np.concatenate(parts) if parts else np.zeros(0)
    write_atomically(folder / RECEIVED_CSV, table_bytes(columns))


def _beside_ours(each: Judged, own: Forecast, row: int | None) -> dict[str, object]:
    """Return how far the medians are apart, and the share of theirs outside our 10-90 % band."""
    median = each.value_mw[:, 1]
    both = np.isfinite(median)
    if row is None or not both.any():
        return {"mean_difference_mw": None, "outside_our_band": None}
    low, high = (own.value_mw[row, :, own.quantiles.index(level)] for level in (0.1, 0.9))
    outside = (median < low) | (median > high)
    return {
        "mean_difference_mw": float(np.abs(median - own.median_mw()[row])[both].mean()),
        "outside_our_band": float(outside[both].mean()),
    }
