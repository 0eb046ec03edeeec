"""A device's agent with its link to the market, and the ways in which devices fail."""

from __future__ import annotations

from dataclasses import dataclass

from data.records.dispatch import Presence, Telemetry
from dispatch.agents.device_agent import EPOCH, Command, DeviceAgent
from dispatch.agents.market_time import LocalTime
from dispatch.channels.port import DeviceLink


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """How a simulated device fails.

    Parameters
    ----------
    late_s : float
        It looks at a letter only this long after it came [s].
    silent : bool
        It neither takes letters nor says anything: it does as it needs in its own envelope.
    soc_factor : float
        It states this multiple of the energy in its store.
    """

    late_s: float = 0.0
    silent: bool = False
    soc_factor: float = 1.0


NO_FAULTS = Faults()


class Station:
    """Passes letters to the agent and its messages to the market.

    Parameters
    ----------
    agent : DeviceAgent
        Decides what is in force.
    link : DeviceLink
        The way to the market.
    faults : Faults
        For simulated devices.
    """

    def __init__(self, agent: DeviceAgent, link: DeviceLink, faults: Faults = NO_FAULTS) -> None:
        self.agent, self.faults = agent, faults
        self._link = link
        self._waiting: list[tuple[float, bytes]] = []

    @property
    def asset(self) -> str:
        """Who it is."""
        return self.agent.settings.asset

    def turn(self, at: LocalTime) -> None:
        """Take the letters that came, answer them, ask for the time where it is not known."""
        letters = self._link.letters()
        if self.faults.silent:
            return
        self._waiting += [(at.counter_s + self.faults.late_s, letter) for letter in letters]
        due = [letter for due_s, letter in self._waiting if due_s <= at.counter_s]
        self._waiting = [each for each in self._waiting if each[0] > at.counter_s]
        for letter in due:
            for answer in self.agent.receive(letter, at):
                self._link.send(answer)
        if self._link.is_up:
            for request in self.agent.requests(at):
                self._link.send(request)

    def command(self, at: LocalTime, vm_pu: float | None = None) -> Command:
        """Return what the device is to do now."""
        return self.agent.command(at, vm_pu)

    def report(
        self,
        at: LocalTime,
        *,
        p_w: int,
        q_var: int,
        vm_pu: float | None = None,
        soc_wh: int | None = None,
    ) -> None:
        """Send telemetry: injection [W, var], voltage [pu], energy in its store [Wh]."""
        if self.faults.silent:
            return
        command = self.agent.command(at, vm_pu)
        stated = None if soc_wh is None else round(soc_wh * self.faults.soc_factor)
        self._link.send(
            Telemetry(
                asset=self.asset,
                at=at.wall or EPOCH,
                p_w=p_w,
                q_var=q_var,
                vm_pu=vm_pu,
                soc_wh=stated,
                active=command.setpoint,
                in_force=command.in_force,
            )
        )

    def appear(self) -> None:
        """Say that the device is there."""
        if not self.faults.silent:
            self._link.send(Presence(asset=self.asset, online=True))
