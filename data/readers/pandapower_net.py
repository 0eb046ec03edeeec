"""From a pandapower network to our tables in engineering units; nothing is guessed.

What pandapower stores but a clearing does not use (costs, ``controllable``, controllers,
measurements) is ignored: orders carry the economics. What would change the physics and is not
modelled is listed in ``Network.other_elements`` or refused with the element's name.
"""

from __future__ import annotations

import json
from typing import Final

import numpy as np

from data.errors import Problem, refuse_if_any
from data.readers.pandapower_table import ElementTable, PandapowerNet
from data.readers.transformer_taps import read_tap_changers, read_taps
from data.records.network import (
    Bools,
    Buses,
    Elements,
    Floats,
    Ints,
    Lines,
    Network,
    Shunts,
    Storages,
    Trafos,
)

READ_TABLES: Final = (
    "bus", "line", "trafo", "load", "sgen", "storage", "shunt", "ext_grid", "controller",
)  # fmt: skip


def _table(net: PandapowerNet, kind: str, problems: list[Problem]) -> ElementTable:
    import pandas as pd

    frame = net[kind] if kind in net else pd.DataFrame()
    return ElementTable(kind=kind, frame=frame, problems=problems)


def _coordinates(table: ElementTable) -> tuple[Floats, Floats]:
    """Read (longitude, latitude) [deg] of GeoJSON points; NaN where there is none."""
    places = np.full((len(table.frame), 2), np.nan)
    for row, text in enumerate(table.texts("geo")):
        if not text:
            continue
        try:
            places[row] = [float(value) for value in json.loads(text)["coordinates"][:2]]
        except (ValueError, KeyError, TypeError):
            table.report(row, f"geo is not a GeoJSON point: {text[:60]!r}", "mend or clear it")
    return places[:, 0].copy(), places[:, 1].copy()


def _read_buses(table: ElementTable) -> Buses:
    longitude, latitude = _coordinates(table)
    for row in np.flatnonzero(table.optional_floats("vn_kv", 1.0) <= 0):
        table.report(int(row), "vn_kv is not positive")
    return Buses(
        index=table.index,
        name=table.texts("name"),
        vn_kv=table.floats("vn_kv"),
        vm_pu_min=table.optional_floats("min_vm_pu"),
        vm_pu_max=table.optional_floats("max_vm_pu"),
        in_service=table.flags("in_service", default=True),
        longitude=longitude,
        latitude=latitude,
    )


def _closed_ends(
    switches: ElementTable, kind: str, index: Ints, ends: tuple[Ints, Ints]
) -> tuple[Bools, Bools]:
    """Tell for each branch whether all switches at its first and second end are closed."""
    row_of = {int(element): row for row, element in enumerate(index)}
    closed = (np.ones(len(index), dtype=bool), np.ones(len(index), dtype=bool))
    is_closed = switches.flags("closed", default=True)
    kinds = switches.texts("et")
    buses = switches.optional_floats("bus", -1)
    elements = switches.optional_floats("element", -1)
    for place in range(len(switches.frame)):
        if kinds[place] != kind:
            continue
        row = row_of.get(int(elements[place]))
        if row is None or all(end[row] != int(buses[place]) for end in ends):
            switches.report(
                place,
                f"joins bus {buses[place]:g} to {'line' if kind == 'l' else 'trafo'} "
                f"{elements[place]:g}, which has no end there",
            )
        elif not is_closed[place]:
            end = 0 if ends[0][row] == int(buses[place]) else 1
            closed[end][row] = False
    return closed


def _bus_links(switches: ElementTable, known: set[int]) -> Ints:
    """Return pairs of buses that a closed bus-bus switch joins, shape (n, 2)."""
    links: list[tuple[int, int]] = []
    is_closed = switches.flags("closed", default=True)
    impedance = switches.optional_floats("z_ohm", 0.0)
    buses = switches.optional_floats("bus", -1)
    elements = switches.optional_floats("element", -1)
    for place, kind in enumerate(switches.texts("et")):
        if kind != "b":
            continue
        pair = (int(buses[place]), int(elements[place]))
        if not known.issuperset(pair):
            switches.report(place, f"joins buses {pair[0]} and {pair[1]}, not both of the network")
        elif is_closed[place] and impedance[place] > 0:
            switches.report(
                place,
                f"has z_ohm = {impedance[place]:g}; bus-bus switches with impedance are not "
                "supported",
                "set z_ohm to 0 or use a line",
            )
        elif is_closed[place]:
            links.append(pair)
    return np.array(links, dtype=np.int64).reshape(-1, 2)


def _read_lines(table: ElementTable, switches: ElementTable, known: set[int]) -> Lines:
    from_bus, to_bus = table.buses("from_bus", known), table.buses("to_bus", known)
    closed_from, closed_to = _closed_ends(switches, "l", table.index, (from_bus, to_bus))
    for column in ("length_km", "max_i_ka"):
        for row in np.flatnonzero(table.optional_floats(column, 1.0) <= 0):
            table.report(int(row), f"{column} is not positive")
    return Lines(
        index=table.index,
        name=table.texts("name"),
        from_bus=from_bus,
        to_bus=to_bus,
        length_km=table.floats("length_km"),
        r_ohm_per_km=table.floats("r_ohm_per_km"),
        x_ohm_per_km=table.floats("x_ohm_per_km"),
        c_nf_per_km=table.floats("c_nf_per_km"),
        g_us_per_km=table.optional_floats("g_us_per_km", 0.0),
        max_i_ka=table.floats("max_i_ka"),
        derating=table.optional_floats("df", 1.0),
        parallel=table.counts("parallel"),
        loading_percent_max=table.optional_floats("max_loading_percent"),
        in_service=table.flags("in_service", default=True),
        closed_from=closed_from,
        closed_to=closed_to,
    )


def _read_trafos(table: ElementTable, switches: ElementTable, known: set[int]) -> Trafos:
    hv_bus, lv_bus = table.buses("hv_bus", known), table.buses("lv_bus", known)
    closed_hv, closed_lv = _closed_ends(switches, "t", table.index, (hv_bus, lv_bus))
    for column in ("sn_mva", "vn_hv_kv", "vn_lv_kv"):
        for row in np.flatnonzero(table.optional_floats(column, 1.0) <= 0):
            table.report(int(row), f"{column} is not positive")
    taps = read_taps(table)
    return Trafos(
        index=table.index,
        name=table.texts("name"),
        hv_bus=hv_bus,
        lv_bus=lv_bus,
        sn_mva=table.floats("sn_mva"),
        vn_hv_kv=table.floats("vn_hv_kv"),
        vn_lv_kv=table.floats("vn_lv_kv"),
        vk_percent=table.floats("vk_percent"),
        vkr_percent=table.floats("vkr_percent"),
        pfe_kw=table.floats("pfe_kw"),
        i0_percent=table.floats("i0_percent"),
        shift_degree=taps.shift_degree,
        ratio_hv=taps.ratio_hv,
        ratio_lv=taps.ratio_lv,
        derating=table.optional_floats("df", 1.0),
        parallel=table.counts("parallel"),
        loading_percent_max=table.optional_floats("max_loading_percent"),
        in_service=table.flags("in_service", default=True),
        closed_hv=closed_hv,
        closed_lv=closed_lv,
    )


def _in_service(table: ElementTable, bus: Ints, buses: Buses) -> Bools:
    """Tell which elements run: an element at a bus out of service does not."""
    running = set(buses.index[buses.in_service].tolist())
    on_bus = np.array([number in running for number in bus.tolist()], dtype=bool)
    running_here: Bools = table.flags("in_service", default=True) & on_bus
    return running_here


def _read_elements(table: ElementTable, buses: Buses, known: set[int]) -> Elements:
    for share in ("const_z", "const_i"):
        for column in (f"{share}_percent", f"{share}_p_percent", f"{share}_q_percent"):
            for row in np.flatnonzero(table.optional_floats(column, 0.0) != 0):
                table.report(
                    int(row),
                    f"{column} is not 0; loads that depend on voltage are not supported",
                    "state constant power",
                )
    bus = table.buses("bus", known)
    scaling = table.optional_floats("scaling", 1.0)
    return Elements(
        index=table.index,
        name=table.texts("name"),
        bus=bus,
        p_mw=table.floats("p_mw") * scaling,
        q_mvar=table.floats("q_mvar") * scaling,
        sn_mva=table.optional_floats("sn_mva"),
        scaling=scaling,
        in_service=_in_service(table, bus, buses),
        technology=table.texts("type"),
        profile=table.texts("profile"),
    )


def _read_storages(table: ElementTable, buses: Buses, known: set[int]) -> Storages:
    """Read the units; SimBench writes the share 0.95 into ``efficiency_percent``."""
    bus = table.buses("bus", known)
    stated = table.optional_floats("efficiency_percent", 100.0)
    efficiency = np.where(stated <= 1.0, stated, stated / 100.0)
    for row in np.flatnonzero((efficiency <= 0) | (efficiency > 1)):
        table.report(int(row), f"efficiency_percent is {stated[row]:g}", "state 0 to 100")
    energy_mwh_max = table.optional_floats("max_e_mwh")
    return Storages(
        index=table.index,
        name=table.texts("name"),
        bus=bus,
        p_mw_max=np.abs(table.floats("p_mw")) * table.optional_floats("scaling", 1.0),
        energy_mwh_min=table.optional_floats("min_e_mwh", 0.0),
        energy_mwh_max=energy_mwh_max,
        efficiency=efficiency,
        in_service=_in_service(table, bus, buses),
    )


def _read_shunts(table: ElementTable, buses: Buses, known: set[int]) -> Shunts:
    for row in np.flatnonzero(table.flags("step_dependency_table", default=False)):
        table.report(int(row), "step_dependency_table is set, which is not supported")
    bus = table.buses("bus", known)
    rated_kv = dict(zip(buses.index.tolist(), buses.vn_kv.tolist(), strict=True))
    own_kv = table.optional_floats("vn_kv")
    bus_kv = np.array([rated_kv.get(number, np.nan) for number in bus.tolist()], dtype=float)
    factor = table.optional_floats("step", 1.0) * np.where(
        np.isnan(own_kv), 1.0, (bus_kv / own_kv) ** 2
    )
    return Shunts(
        index=table.index,
        bus=bus,
        p_mw=table.floats("p_mw") * factor,
        q_mvar=table.floats("q_mvar") * factor,
        in_service=_in_service(table, bus, buses),
    )


def _other_elements(net: PandapowerNet, problems: list[Problem]) -> tuple[str, ...]:
    """Name every element in service of a table that is not read, e.g. ``gen:3``."""
    import pandas as pd

    found: list[str] = []
    for kind in sorted(net.keys()):
        if kind in READ_TABLES or kind.startswith(("_", "res_")):
            continue
        frame: object = net[kind]
        if isinstance(frame, pd.DataFrame) and "in_service" in frame.columns:
            table = _table(net, kind, problems)
            running = table.index[table.flags("in_service", default=True)]
            found.extend(f"{kind}:{element}" for element in running.tolist())
    return tuple(found)


def _slack(table: ElementTable, buses: Buses, known: set[int]) -> tuple[int, float, float]:
    """Return bus, voltage [pu] and angle [deg] of the only ext_grid in service."""
    rows = np.flatnonzero(table.flags("in_service", default=True))
    if len(rows) != 1:
        table.problems.append(
            Problem(
                where="ext_grid",
                what=f"{len(rows)} are in service",
                remedy="exactly one substation per market: take the others out of service",
            )
        )
        return -1, np.nan, np.nan
    bus = int(table.buses("bus", known)[rows[0]])
    if bus in known and not buses.in_service[np.flatnonzero(buses.index == bus)[0]]:
        table.report(int(rows[0]), f"its bus {bus} is out of service")
    vm_pu = table.floats("vm_pu")[rows[0]]
    return bus, float(vm_pu), float(table.optional_floats("va_degree", 0.0)[rows[0]])


def network_from_pandapower(net: PandapowerNet, name: str) -> Network:
    """Read a pandapower network.

    Parameters
    ----------
    net : pandapowerNet
        The network; it is not changed.
    name : str
        Name it is known by, e.g. ``simbench:1-MV-rural--2-sw``.

    Returns
    -------
    Network
        Engineering units; limits the network does not state are NaN.

    Raises
    ------
    InputError
        All missing or impossible values, with element and column: a bus that does not exist, not
        exactly one ext_grid in service, voltage-dependent loads, tap tables, and so on.
    """
    problems: list[Problem] = []

    def table(kind: str) -> ElementTable:
        return _table(net, kind, problems)

    buses = _read_buses(table("bus"))
    known = set(buses.index.tolist())
    switches = table("switch")
    slack_bus, slack_vm_pu, slack_va_degree = _slack(table("ext_grid"), buses, known)
    frequency_hz = float(net["f_hz"]) if "f_hz" in net else 50.0  # type: ignore[arg-type]
    network = Network(
        name=name,
        frequency_hz=frequency_hz,
        slack_bus=slack_bus,
        slack_vm_pu=slack_vm_pu,
        slack_va_degree=slack_va_degree,
        buses=buses,
        lines=_read_lines(table("line"), switches, known),
        trafos=_read_trafos(table("trafo"), switches, known),
        loads=_read_elements(table("load"), buses, known),
        sgens=_read_elements(table("sgen"), buses, known),
        storages=_read_storages(table("storage"), buses, known),
        shunts=_read_shunts(table("shunt"), buses, known),
        bus_links=_bus_links(switches, known),
        other_elements=_other_elements(net, problems),
        tap_changers=read_tap_changers(table("trafo")),
    )
    refuse_if_any(problems)
    return network
