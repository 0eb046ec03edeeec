"""A simulated day in a closed loop: desk, channel, devices and an AC grid, minute by minute.

The clock is stepped: a simulated minute begins, the desk decides, letters travel over the real
channel until every device that can hear has answered, devices act, the grid settles, devices
report, and only then the next minute begins. What is simulated is time, weather, load and the
devices' physics; messages, signatures, agents and, with a broker, the network are the real ones.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.periods import Periods
from data.records.dispatch import ActivationState, Telemetry
from data.units import MICRO_PER_UNIT
from dispatch.agents.device_agent import AgentSettings, Command, DeviceAgent
from dispatch.agents.market_time import LocalTime
from dispatch.agents.station import Faults, Station
from dispatch.channels.port import Channel, DeviceLink
from dispatch.dispatcher import Dispatcher, Told
from dispatch.messages import LetterKey
from dso.realtime.desk import Decision, RealTimeDesk
from dso.realtime.faults import FleetFaults
from dso.realtime.fleet import Fleet, FleetMinute, act
from flexibility.devices.batteries import BatteryState
from opf.power_flow import AcState
from opf.problems.monitored_grid import MonitoredGrid

Floats = NDArray[np.float64]
Complexes = NDArray[np.complex128]
MINUTE: Final = timedelta(minutes=1)
KEY: Final = LetterKey(name="market-1", seed=bytes(range(32)))
# Times that messages may go back and forth until everybody has answered.
TURNS_MAX: Final = 8
# Devices keep their clocks by the network's time [s].
WALL_TOLERANCE_S: Final = 5.0
DROOP_ROUNDS: Final = 12
DROOP_STEP: Final = 0.4
DROOP_SETTLED_PU: Final = 1e-5
SILENT: Final = Faults(silent=True)


class LettersLost(Exception):
    """Devices that should have answered did not within the time allowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Carrier:
    """A channel with the devices' ends of it.

    Parameters
    ----------
    name : str
        What carries the letters, for the report.
    channel : Channel
        The market's end.
    link : callable
        Returns the end of an asset.
    deliver : callable
        Returns when everything that was sent has arrived, or False.
    close : callable
        Ends all of them.
    """

    name: str
    channel: Channel
    link: Callable[[str], DeviceLink]
    deliver: Callable[[], bool]
    close: Callable[[], None]


class SteppedClock:
    """The market's time, moved by hand."""

    def __init__(self, start: datetime) -> None:
        self.instant = start

    def now(self) -> datetime:
        """Return the simulated instant."""
        return self.instant


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What is true, minute by minute, whether anybody knows it or not.

    Parameters
    ----------
    start : datetime
        First minute, UTC.
    loads : ndarray of complex, shape (buses, minutes)
        Injection of everything that is no device [MW + j Mvar].
    available_mw : ndarray, shape (plants, minutes)
        What sun, wind and stokers give [MW].
    faults : FleetFaults
        Who is late, silent or lying.
    installed_w : ndarray of int, shape (devices, 2)
        Envelope of each device without the market: least and most injection [W].
    stopped : tuple of (int, int) or None
        Minutes in which the market process does not run, from and until.
    ahead : tuple of Told
        Sent before the first minute: droops and other fallbacks.
    """

    start: datetime
    loads: Complexes
    available_mw: Floats
    faults: FleetFaults
    installed_w: NDArray[np.int64]
    stopped: tuple[int, int] | None = None
    ahead: tuple[Told, ...] = ()

    @property
    def minutes(self) -> int:
        """Length of the run."""
        return int(self.loads.shape[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopRecord:
    """What happened; arrays have shape (devices, minutes).

    ``decisions`` has one entry per minute, None while the market process was stopped.
    """

    periods: Periods
    p_mw: Floats
    q_mvar: Floats
    told_mw: Floats
    soc_mwh: Floats
    vm_pu: Floats
    decisions: tuple[Decision | None, ...]
    letters: int
    seconds: float


class ClosedLoop:
    """One run of a feeder."""

    def __init__(
        self,
        at: MonitoredGrid,
        fleet: Fleet,
        desk: RealTimeDesk,
        world: World,
        carrier: Carrier,
    ) -> None:
        self.at, self.fleet, self.desk, self.world = at, fleet, desk, world
        self.carrier = carrier
        self.clock = SteppedClock(world.start)
        self.dispatcher = Dispatcher(channel=carrier.channel, key=KEY, clock=self.clock)
        self.stations = [
            Station(
                DeviceAgent(
                    AgentSettings(
                        asset=asset,
                        keys={KEY.name: KEY.public},
                        p_min_w=int(world.installed_w[row, 0]),
                        p_max_w=int(world.installed_w[row, 1]),
                        wall_tolerance_s=WALL_TOLERANCE_S,
                    )
                ),
                carrier.link(asset),
                Faults(
                    late_s=60.0 * world.faults.late_minutes.get(asset, 0),
                    soc_factor=0.5 if asset in world.faults.lying else 1.0,
                ),
            )
            for row, asset in enumerate(fleet.assets)
        ]
        self.node = at.nodes_of(fleet.buses)
        self.loads = at.by_node(world.loads)
        self.letters = 0
        drooped = {told.asset for told in world.ahead if told.kind == "droop"}
        self.drooped = [row for row, asset in enumerate(fleet.assets) if asset in drooped]

    def run(self) -> LoopRecord:
        """Run all minutes and return what happened.

        Raises
        ------
        LettersLost
            If the channel does not deliver in the time allowed.
        """
        began = time.perf_counter()
        world, count, minutes = self.world, len(self.fleet.assets), self.world.minutes
        p, q, told, soc, vm = (np.zeros((count, minutes)) for _ in range(5))
        state = self.fleet.batteries.start()
        voltage = np.abs(self.at.state(self.loads[:, 0]).v[self.node, 0])
        exchange: complex | None = None
        reports: tuple[Telemetry, ...] = ()
        decisions: list[Decision | None] = []
        self._synchronise()
        self._deliver(world.ahead)
        for minute in range(minutes):
            self.clock.instant = world.start + minute * MINUTE
            self._fall_silent(minute)
            stopped = world.stopped is not None and world.stopped[0] <= minute < world.stopped[1]
            decision = None
            if not stopped:
                decision = self.desk.decide(self.clock.instant, reports, exchange)
                self._deliver(decision.told)
            self.clock.instant += timedelta(seconds=2.0 * WALL_TOLERANCE_S)
            done, grid, voltage = self._settle(minute, state, voltage)
            state, exchange = done.batteries, complex(grid.exchange[0])
            p[:, minute], q[:, minute], vm[:, minute] = done.p_mw, done.q_mvar, voltage
            told[:, minute] = np.nan if decision is None else decision.told_mw
            soc[self.fleet.plant_count :, minute] = state.energy_mwh
            decisions.append(decision)
            self.clock.instant = world.start + minute * MINUTE + timedelta(seconds=55)
            reports = self._report(done, voltage, minute, listening=not stopped)
        return LoopRecord(
            periods=Periods(start=world.start, count=minutes, mtu_minutes=1),
            p_mw=p,
            q_mvar=q,
            told_mw=told,
            soc_mwh=soc,
            vm_pu=vm,
            decisions=tuple(decisions),
            letters=self.letters,
            seconds=time.perf_counter() - began,
        )

    def _settle(
        self, minute: int, state: BatteryState, voltage: Floats
    ) -> tuple[FleetMinute, AcState, Floats]:
        """Let devices act and the grid answer until both agree: droops follow the voltage."""
        here = self._local()
        followed = voltage
        commands = [
            station.command(here, float(followed[row])) for row, station in enumerate(self.stations)
        ]
        guided = [row for row in self.drooped if commands[row].setpoint is None]
        done, grid, found = self._answer(minute, state, commands)
        for _ in range(DROOP_ROUNDS if guided else 0):
            if float(np.abs(found - followed)[guided].max()) < DROOP_SETTLED_PU:
                break
            followed = followed + DROOP_STEP * (found - followed)
            for row in guided:
                commands[row] = self.stations[row].command(here, float(followed[row]))
            done, grid, found = self._answer(minute, state, commands)
        return done, grid, found

    def _answer(
        self, minute: int, state: BatteryState, commands: Sequence[Command]
    ) -> tuple[FleetMinute, AcState, Floats]:
        """Return what devices do under some commands, and the grid and voltages that gives."""
        done = act(self.fleet, state, commands, self.world.available_mw[:, minute])
        injection = self.loads[:, minute].copy()
        np.add.at(injection, self.node, done.p_mw + 1j * done.q_mvar)
        grid = self.at.state(injection)
        return done, grid, np.abs(grid.v[self.node, 0])

    def _local(self) -> LocalTime:
        """Return what devices read: counters and wall clocks of the stepped time."""
        now = self.clock.instant
        return LocalTime(counter_s=(now - self.world.start).total_seconds() + 1e4, wall=now)

    def _hears(self, row: int) -> bool:
        faults = self.stations[row].faults
        return not faults.silent and faults.late_s == 0.0

    def _fall_silent(self, minute: int) -> None:
        for station in self.stations:
            if self.world.faults.state_of(station.asset, minute) == "silent":
                station.faults = SILENT

    def _synchronise(self) -> None:
        """Let every device ask for the time and take the answer before the first letter."""
        here = self._local()
        for station in self.stations:
            station.turn(here)
        prompt = [k for k in range(len(self.stations)) if self._hears(k)]
        self._until(
            lambda: all(self.stations[k].agent.bounds(here) is not None
                        and not self.stations[k].agent.requests(here) for k in prompt),
            "answers about the time",
        )  # fmt: skip

    def _deliver(self, told: Sequence[Told]) -> None:
        """Send letters and wait until every device that can hear has answered its own."""
        self.letters += len(told)
        orders = self.dispatcher.tell(told)
        row = self.desk.row
        waiting = [
            each.instruction.id for each in orders if self._hears(row[each.instruction.asset])
        ]

        def answered() -> bool:
            nonlocal waiting
            waiting = [
                name
                for name in waiting
                if self.dispatcher.activation(name).state is ActivationState.ORDERED
            ]
            return not waiting

        self._until(answered, "acknowledgements")

    def _report(
        self, done: FleetMinute, voltage: Floats, minute: int, *, listening: bool
    ) -> tuple[Telemetry, ...]:
        """Let devices report and return what the market heard."""
        here = self._local()
        count = self.fleet.plant_count
        expected = set()
        for row, station in enumerate(self.stations):
            if not station.faults.silent:
                expected.add(station.asset)
            energy = done.batteries.energy_mwh[row - count] if row >= count else None
            station.report(
                here,
                p_w=round(float(done.p_mw[row]) * MICRO_PER_UNIT),
                q_var=round(float(done.q_mvar[row]) * MICRO_PER_UNIT),
                vm_pu=round(float(voltage[row]), 5),
                soc_wh=None if energy is None else round(float(energy) * MICRO_PER_UNIT),
            )
        if not listening:
            return ()
        heard: dict[str, Telemetry] = {}

        def complete() -> bool:
            heard.update(
                {
                    asset: report
                    for asset, (_, report) in self.dispatcher.telemetry.items()
                    if report.at == here.wall
                }
            )
            return expected <= heard.keys()

        self._until(complete, f"reports of minute {minute}")
        return tuple(heard[asset] for asset in self.fleet.assets if asset in heard)

    def _until(self, done: Callable[[], bool], what: str) -> None:
        """Pass messages both ways until a condition holds."""
        here = self._local()
        for _ in range(TURNS_MAX):
            delivered = self.carrier.deliver()
            for station in self.stations:
                station.turn(here)
            delivered = self.carrier.deliver() and delivered
            self.dispatcher.listen()
            if done():
                return
            if not delivered:
                break
        raise LettersLost(f"{what} did not arrive over {self.carrier.name}")
