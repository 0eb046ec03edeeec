"""A simulated day of real time: the same day with the correction and without, and both compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.periods import Periods
from data.readers.simbench import NetworkProfiles, SimbenchGrid, profiles_for
from data.records.clearing import Limits
from data.records.network import Network
from data.units import MICRO_PER_UNIT
from dispatch.dispatcher import Told
from dso.realtime.closed_loop import Carrier, ClosedLoop, LoopRecord, World
from dso.realtime.desk import DeskRules, RealTimeDesk
from dso.realtime.faults import FleetFaults, draw_faults
from dso.realtime.fleet import Fleet, fleet_of_network
from dso.realtime.minutes import MINUTES_PER_QUARTER, minute_powers
from dso.realtime.positions import Positions
from dso.realtime.violations import RunFigures, measure_run
from opf.problems.envelopes import Connections, operating_envelopes
from opf.problems.monitored_grid import MonitoredGrid, monitor_grid

Floats = NDArray[np.float64]
Complexes = NDArray[np.complex128]
# The desk takes over one quarter-hour before the periods that count.
LEAD_QUARTERS: Final = 1
# Share of the expected load that is sure to be there, for envelopes: the least background.
LEAST_LOAD: Final = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Everything a run needs, prepared once.

    ``truth`` are powers minute by minute, ``positions`` and ``world`` start with the lead.
    """

    at: MonitoredGrid
    limits: Limits
    fleet: Fleet
    positions: Positions
    world: World
    truth: NetworkProfiles
    envelope_mw: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run and what it broke."""

    record: LoopRecord
    figures: RunFigures
    carrier: str


def prepare_scene(
    grid: SimbenchGrid,
    limits: Limits,
    positions: Positions,
    *,
    faults: FleetFaults | None = None,
    envelopes: bool = True,
    seed: int = 0,
) -> Scene:
    """Prepare the truth of some periods and the devices that live through them.

    Parameters
    ----------
    grid : SimbenchGrid
        Network and recorded profiles.
    limits : Limits
        Limits in force.
    positions : Positions
        What the market wants in these periods.
    faults : FleetFaults, optional
        Drawn with the usual shares (10 % late, 5 % silent, 2 % lying) when absent.
    envelopes : bool
        Whether devices are installed with an envelope that the grid carries whatever they do;
        else with their whole connection.
    seed : int
        Of the faults and of the variation within quarter-hours.
    """
    network = grid.network
    at, fleet = monitor_grid(network, limits), fleet_of_network(network)
    led = _with_lead(positions)
    truth = minute_truth(grid, led.periods, f"{led.periods.start.isoformat()}/{seed}")
    minutes = len(led.periods) * MINUTES_PER_QUARTER
    shares = fallback_envelopes(at, fleet, led) if envelopes else fleet.rating_mw
    watts = np.rint(shares * MICRO_PER_UNIT).astype(np.int64)
    storages = np.arange(len(fleet.assets)) >= fleet.plant_count
    least = np.where(storages, -watts, 0)
    drawn = draw_faults(fleet.assets, fleet.batteries.ids, minutes, seed=seed)
    world = World(
        start=led.periods.start,
        loads=_load_injections(network, truth),
        available_mw=truth.sgen_p_mw[:, fleet.sgen_columns].T,
        faults=drawn if faults is None else faults,
        installed_w=np.stack([least, watts], axis=1),
    )
    return Scene(
        at=at,
        limits=limits,
        fleet=fleet,
        positions=led,
        world=world,
        truth=truth,
        envelope_mw=shares,
    )


def run_scene(
    scene: Scene,
    carry: Callable[[], Carrier],
    rules: DeskRules,
    *,
    stopped: tuple[int, int] | None = None,
    ahead: tuple[Told, ...] = (),
) -> Run:
    """Run a scene once.

    Parameters
    ----------
    scene : Scene
        What to run.
    carry : callable
        Opens the way between market and devices.
    rules : DeskRules
        How the desk works.
    stopped : tuple of (int, int), optional
        Minutes after the lead in which the market process does not run, from and until.
    ahead : tuple of Told
        Fallbacks sent before the first minute.
    """
    lead = LEAD_QUARTERS * MINUTES_PER_QUARTER
    shifted = None if stopped is None else (stopped[0] + lead, stopped[1] + lead)
    world = replace(scene.world, stopped=shifted, ahead=ahead)
    desk = RealTimeDesk(scene.at, scene.fleet, scene.positions, rules, scene.envelope_mw)
    carrier = carry()
    try:
        record = ClosedLoop(scene.at, scene.fleet, desk, world, carrier).run()
    finally:
        carrier.close()
    figures = measure_run(
        scene.at, scene.fleet, world, record, scene.truth, scene.limits, lead=lead
    )
    return Run(record=record, figures=figures, carrier=carrier.name)


def minute_truth(grid: SimbenchGrid, periods: Periods, seed: str) -> NetworkProfiles:
    """Return what loads and generators really do minute by minute, shapes (minutes, elements)."""
    recorded, network = profiles_for(grid, periods), grid.network
    loads = ["load"] * len(network.loads.index)
    return NetworkProfiles(
        load_p_mw=minute_powers(recorded.load_p_mw, loads, f"{seed}/load"),
        load_q_mvar=minute_powers(recorded.load_q_mvar, loads, f"{seed}/load"),
        sgen_p_mw=minute_powers(recorded.sgen_p_mw, network.sgens.technology, f"{seed}/sgen"),
        sgen_q_mvar=minute_powers(recorded.sgen_q_mvar, network.sgens.technology, f"{seed}/sgen"),
    )


def fallback_envelopes(at: MonitoredGrid, fleet: Fleet, positions: Positions) -> Floats:
    """Return what each device may inject without the market, so that all may at once [MW].

    The least load that is sure to be there is the background; shares are equal parts of ratings.
    """
    background = at.by_node(LEAST_LOAD * positions.loads)
    least = background[:, int(np.argmin(-background.real.sum(axis=0)))]
    count = fleet.plant_count
    export = fleet.rating_mw.copy()
    export[count:] = 0.0
    shares = operating_envelopes(
        at,
        (least, least),
        Connections(
            name=fleet.assets,
            bus=fleet.buses,
            import_mw=np.zeros_like(export),
            export_mw=export,
            tan_max=np.zeros_like(export),
        ),
        "pro_rata",
        np.zeros(len(at.limits)),
    )
    return shares.export.p_mw


def _with_lead(positions: Positions) -> Positions:
    """Put the first quarter-hour once more before the others: the desk takes over in it."""
    periods = positions.periods
    begun = Periods(
        start=periods.start - LEAD_QUARTERS * timedelta(minutes=MINUTES_PER_QUARTER),
        count=len(periods) + LEAD_QUARTERS,
        mtu_minutes=periods.mtu_minutes,
    )
    order = np.concatenate([np.zeros(LEAD_QUARTERS, dtype=np.int64), np.arange(len(periods))])
    return Positions(
        periods=begun,
        p_mw=positions.p_mw[:, order],
        q_mvar=positions.q_mvar[:, order],
        cap_mw=positions.cap_mw[:, order],
        expected_mw=positions.expected_mw[:, order],
        loads=positions.loads[:, order],
        price_eur_per_mwh=positions.price_eur_per_mwh[order],
    )


def _load_injections(network: Network, truth: NetworkProfiles) -> Complexes:
    row = {int(bus): k for k, bus in enumerate(network.buses.index)}
    total = np.zeros((len(row), len(truth.load_p_mw)), dtype=complex)
    for column, bus in enumerate(network.loads.bus):
        if network.loads.in_service[column]:
            total[row[int(bus)]] -= truth.load_p_mw[:, column] + 1j * truth.load_q_mvar[:, column]
    return total
