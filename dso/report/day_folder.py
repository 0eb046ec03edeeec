"""Read a day folder into the records the page is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np

from data.periods import DeliveryDay, Periods
from dso.report.read_clearing import (
    PRICE_COLUMNS,
    Axes,
    Window,
    empty_grid,
    fill_without_clearing,
    price_view,
    read_causes,
    read_grid,
    read_import_price,
    read_order_states,
    read_prices,
    read_summary,
    round_windows,
)
from dso.report.read_expectation import read_band_records, read_outlook
from dso.report.read_outcome import (
    read_deliveries,
    read_forecasts,
    read_ledger,
    read_money,
    read_replays,
    read_violations,
)
from dso.report.tables import FolderReader, float_of, missing_cells, objects_of, text_of
from dso.report.views import (
    ClearingSummary,
    DayView,
    FeederView,
    Floats,
    GridView,
    ViolationView,
)

CLEARING = "clearing"


def read_day_folder(folder: Path) -> DayView:
    """Read everything the report shows.

    Parameters
    ----------
    folder : Path
        The day folder; its files are named in the modules ``read_clearing`` and
        ``read_outcome``.

    Returns
    -------
    DayView
        The day; what was missing or replaced is in ``notes``.

    Raises
    ------
    data.errors.InputError
        If files, columns, rows or numbers are missing or unreadable; all problems together.
    """
    reader = FolderReader(folder)
    about = reader.mapping("day.json")
    stated = about.get("notes")
    notes = [str(note) for note in stated] if isinstance(stated, list) else []
    periods = _periods(reader, about)
    feeder = _feeder(reader)
    reader.refuse()  # without a day and a feeder no other row can be placed
    axes = Axes.of(periods, feeder)
    whole = Window(first=0, end=len(periods))

    clearing = read_summary(reader, CLEARING, "Day ahead", axes, whole)
    import_price = read_import_price(reader, CLEARING, axes)
    blank = not clearing.status.startswith("certified")
    prices = np.full((len(PRICE_COLUMNS), len(axes.bus), len(periods)), np.nan)
    read_prices(reader, CLEARING, axes, prices, whole, blank=blank)
    grid = empty_grid(axes)
    read_grid(reader, CLEARING, axes, grid, whole, blank=blank)
    unpriced = fill_without_clearing(prices, import_price) if blank else 0
    if unpriced:
        notes.append(
            f"The day-ahead clearing is {clearing.status} and has no prices in {unpriced} periods; "
            "the upstream price is shown where no round replaced them."
        )
    final_prices, final_grid, rounds = _rounds(reader, axes, prices, grid, notes)

    violations = read_violations(reader, axes)
    feeder = _with_limits(reader, feeder, violations)
    storages, deviation_mwh, instructed_mwh = read_deliveries(reader, axes)
    exchange_mwh, exchange_source = _exchange(reader, axes, feeder, final_grid)
    forecasts = read_forecasts(reader, axes)
    unknown = sum(int(np.isnan(forecast.actual_mw).sum()) for forecast in forecasts)
    if unknown:
        notes.append(f"{unknown} actual values of the forecasts were not known.")
    day = DayView(
        day=date.fromisoformat(text_of(about, "day")),
        timezone=text_of(about, "timezone"),
        feeder_name=text_of(about, "feeder", "feeder not named"),
        network_ref=text_of(about, "network_ref"),
        market=text_of(about, "market"),
        operator=text_of(about, "operator"),
        stages=tuple(text_of(stage, "name") for stage in objects_of(about, "stages")),
        periods=periods,
        feeder=feeder,
        import_price_eur_per_mwh=import_price,
        day_ahead=price_view(prices),
        final=price_view(final_prices),
        day_ahead_grid=grid,
        final_grid=final_grid,
        clearing=clearing,
        rounds=rounds,
        causes=read_causes(reader, CLEARING, axes),
        orders_by_status=read_order_states(reader, CLEARING),
        exchange_mwh=exchange_mwh,
        exchange_source=exchange_source,
        storages=storages,
        deviation_mwh=deviation_mwh,
        instructed_mwh=instructed_mwh,
        forecasts=forecasts,
        violations=violations,
        replays=read_replays(reader),
        money=read_money(reader),
        ledger=read_ledger(reader),
        notes=tuple(notes),
        outlook=read_outlook(reader, axes),
        bands=read_band_records(reader),
    )
    reader.refuse()
    return day


def _periods(reader: FolderReader, about: Mapping[str, object]) -> Periods:
    zone = text_of(about, "timezone")
    mtu = about.get("mtu_minutes", 15)
    try:
        ZoneInfo(zone)
        return DeliveryDay(
            day=date.fromisoformat(text_of(about, "day")),
            timezone=zone,
            mtu_minutes=mtu if isinstance(mtu, int) else 0,
        ).periods
    except (ValueError, ZeroDivisionError, ZoneInfoNotFoundError) as error:
        reader.complain("day.json", f"states no delivery day: {error}")
    return DeliveryDay(day=date(2000, 1, 1), timezone="UTC").periods


def _feeder(reader: FolderReader) -> FeederView:
    name = f"{CLEARING}/feeder_map.json"
    content = reader.mapping(name)
    buses = objects_of(content, "buses")
    branches = objects_of(content, "branches")
    index = [_int(bus.get("bus")) for bus in buses]
    position = {bus: k for k, bus in enumerate(index)}
    if content and (not buses or len(position) != len(buses)):
        reader.complain(name, "buses must be listed, each once")
    ends = [
        (position.get(_int(branch.get("from_bus"))), position.get(_int(branch.get("to_bus"))))
        for branch in branches
    ]
    for branch, (start, end) in zip(branches, ends, strict=True):
        if start is None or end is None:
            reader.complain(name, f"branch {text_of(branch, 'name')!r} names an unknown bus")
    substation = position.get(_int(content.get("substation_bus")))
    if content and substation is None:
        reader.complain(name, "substation_bus is not among the buses")
    return FeederView(
        bus=np.array(index, dtype=np.int64),
        bus_name=tuple(text_of(bus, "name") for bus in buses),
        longitude=_column(buses, "longitude"),
        latitude=_column(buses, "latitude"),
        vn_kv=_column(buses, "vn_kv"),
        vm_pu_min=_column(buses, "vm_pu_min"),
        vm_pu_max=_column(buses, "vm_pu_max"),
        branch_kind=tuple(text_of(branch, "element_kind") for branch in branches),
        branch_element=tuple(_int(branch.get("element")) for branch in branches),
        branch_name=tuple(text_of(branch, "name") for branch in branches),
        branch_from=np.array([start or 0 for start, _ in ends], dtype=np.int64),
        branch_to=np.array([end or 0 for _, end in ends], dtype=np.int64),
        branch_in_service=np.array([branch.get("in_service") is not False for branch in branches]),
        loading_percent_max=_column(branches, "loading_percent_max"),
        links=_links(content, position, buses),
        substation=substation or 0,
    )


def _links(
    content: Mapping[str, object],
    position: Mapping[int, int],
    buses: list[Mapping[str, object]],
) -> tuple[tuple[int, int], ...]:
    """Closed bus-bus switches: stated, else buses of one voltage that stand on the same spot."""
    stated = content.get("links")
    if isinstance(stated, list):
        pairs = [pair for pair in stated if isinstance(pair, list) and len(pair) == 2]
        known = [(position.get(_int(a)), position.get(_int(b))) for a, b in pairs]
        return tuple((a, b) for a, b in known if a is not None and b is not None)
    first: dict[tuple[object, ...], int] = {}
    found = []
    for place, bus in enumerate(buses):
        spot = (bus.get("longitude"), bus.get("latitude"), bus.get("vn_kv"))
        if None not in spot and first.setdefault(spot, place) != place:
            found.append((first[spot], place))
    return tuple(found)


def _with_limits(
    reader: FolderReader, feeder: FeederView, violations: tuple[ViolationView, ...]
) -> FeederView:
    """Complete limits the map does not state: study.toml's, else those a replay broke."""
    stated = reader.toml(f"{CLEARING}/study.toml").get("limits", {})
    limits: Mapping[str, object] = stated if isinstance(stated, dict) else {}
    low, high = feeder.vm_pu_min.copy(), feeder.vm_pu_max.copy()
    loading = feeder.loading_percent_max.copy()
    for side, values in (("vm_pu_min", low), ("vm_pu_max", high)):
        value = float_of(limits, side)
        if value is not None:
            values[:] = value
    for kind in ("line", "trafo"):
        value = float_of(limits, f"{kind}_loading_percent_max")
        if value is not None:
            loading[[known == kind for known in feeder.branch_kind]] = value
    for violation in violations:
        if violation.element_kind == "bus":
            values = low if violation.side == "lower" else high
            values[(feeder.bus == violation.element) & np.isnan(values)] = violation.limit
    loading[np.isnan(loading)] = 100.0
    return replace(feeder, vm_pu_min=low, vm_pu_max=high, loading_percent_max=loading)


def _rounds(
    reader: FolderReader, axes: Axes, prices: Floats, grid: GridView, notes: list[str]
) -> tuple[Floats, GridView, tuple[ClearingSummary, ...]]:
    """Lay the binding periods of the intraday rounds over the day ahead."""
    final = prices.copy()
    state = GridView(
        vm_pu=grid.vm_pu.copy(),
        loading_percent=grid.loading_percent.copy(),
        p_from_mw=grid.p_from_mw.copy(),
    )
    parent = reader.folder / CLEARING / "intraday"
    names = [entry.name for entry in parent.iterdir() if entry.is_dir()] if parent.is_dir() else []
    windows = round_windows(names, axes)
    summaries = []
    without_state = 0
    for name, window in windows:
        folder = f"{CLEARING}/intraday/{name}"
        summary = read_summary(reader, folder, name, axes, window)
        summaries.append(summary)
        if not summary.status.startswith("certified"):
            notes.append(
                f"The intraday round {name} is {summary.status} and gave no trades; "
                "day-ahead prices and grid state are shown for its periods."
            )
            continue
        final[:, :, window.first : window.end] = np.nan
        read_prices(reader, folder, axes, final, window)
        if reader.exists(f"{folder}/buses.csv") and reader.exists(f"{folder}/branches.csv"):
            state.vm_pu[:, window.first : window.end] = np.nan
            state.loading_percent[:, window.first : window.end] = np.nan
            state.p_from_mw[:, window.first : window.end] = np.nan
            read_grid(reader, folder, axes, state, window)
        else:
            without_state += 1
    covered = sum(window.end - window.first for _, window in windows)
    if covered < len(axes.periods):
        notes.append(
            f"{len(axes.periods) - covered} of {len(axes.periods)} periods had no intraday round; "
            "their day-ahead prices are shown as last prices."
        )
    if without_state:
        notes.append(
            f"{without_state} intraday rounds left no voltages and loadings; "
            "the day-ahead grid state is shown for their periods."
        )
    return final, state, tuple(summaries)


def _exchange(
    reader: FolderReader, axes: Axes, feeder: FeederView, grid: GridView
) -> tuple[Floats, str]:
    """Energy through the substation [MWh], + import: as settled, else as cleared."""
    name = "settlement/substation.csv"
    values = np.full(len(axes.periods), np.nan)
    if reader.exists(name):
        for row, cells in reader.rows(name, ("period_start", "import_mwh")):
            period = axes.period.get(cells[0])
            if period is not None:
                values[period] = reader.number(name, row, cells[1])
        missing_cells(reader, name, values, "substation energies")
        return values, "metered at the substation"
    node = feeder.substation_node()
    chosen = [
        k for k, (start, end) in enumerate(zip(feeder.branch_from, feeder.branch_to, strict=True))
        if node[start] and not node[end]
    ]  # fmt: skip
    power = np.nansum(grid.p_from_mw[chosen], axis=0) if chosen else values
    return power * axes.periods.mtu_h, "as last cleared"


def _column(items: list[Mapping[str, object]], key: str) -> Floats:
    numbers = [float_of(item, key) for item in items]
    return np.array([np.nan if number is None else number for number in numbers], dtype=float)


def _int(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else -1
