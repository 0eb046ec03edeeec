"""A simulated fleet: stations whose devices are late, silent or lie, on a stepped clock."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from data.errors import Problem, refuse_if_any
from dispatch.agents.market_time import LocalTime
from dispatch.agents.station import Faults, Station
from dispatch.dispatcher import Dispatcher
from dispatch.messages import Heard

ROUNDS_MAX = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultShares:
    """How many devices of a fleet fail, and how badly.

    Parameters
    ----------
    late, silent, lying : float
        Shares of the fleet, of different devices [0..1].
    late_s : float
        Delay of the late ones [s].
    soc_factor : float
        What the lying ones make of the energy in their store.
    """

    late: float = 0.10
    silent: float = 0.05
    lying: float = 0.02
    late_s: float = 60.0
    soc_factor: float = 1.5

    def __post_init__(self) -> None:
        shares = (self.late, self.silent, self.lying)
        if not (all(share >= 0.0 for share in shares) and sum(shares) <= 1.0):
            what = f"{shares} are not shares of one fleet"
            refuse_if_any([Problem(where="late, silent, lying", what=what)])


def draw_faults(
    assets: Sequence[str],
    shares: FaultShares,
    *,
    seed: str = "",
    stores: Sequence[str] | None = None,
) -> dict[str, Faults]:
    """Choose who fails: the stated share of the fleet, rounded, the same for equal seeds.

    Parameters
    ----------
    assets : sequence of str
        The fleet.
    shares : FaultShares
        How many fail.
    seed : str
        Another one chooses others.
    stores : sequence of str, optional
        Assets with a store, the only ones that can lie about it; default: all.

    Returns
    -------
    dict of asset to Faults
        Only those that fail.

    Examples
    --------
    >>> found = draw_faults([f"sgen:{i}" for i in range(192)], FaultShares())
    >>> from collections import Counter
    >>> sorted(Counter((f.late_s, f.silent, f.soc_factor) for f in found.values()).items())
    [((0.0, False, 1.5), 4), ((0.0, True, 1.0), 10), ((60.0, False, 1.0), 19)]
    """

    def place(asset: str) -> bytes:
        return hashlib.sha256(f"{seed}/{asset}".encode()).digest()

    left = sorted(assets, key=place)
    can_lie = set(assets if stores is None else stores)
    found: dict[str, Faults] = {}
    groups = (
        (shares.lying, Faults(soc_factor=shares.soc_factor)),
        (shares.silent, Faults(silent=True)),
        (shares.late, Faults(late_s=shares.late_s)),
    )
    for share, faults in groups:
        lies = faults.soc_factor != 1.0
        able = [asset for asset in left if not lies or asset in can_lie]
        chosen = able[: round(share * len(assets))]
        found |= dict.fromkeys(chosen, faults)
        left = [asset for asset in left if asset not in found]
    return found


class Fleet:
    """Stations of one simulated day.

    Parameters
    ----------
    stations : sequence of Station
        The devices.
    deliver : callable
        Returns when everything that was sent has arrived (over a broker `wait_for_delivery`;
        nothing to do in one process).
    skew_s : mapping of asset to float, optional
        How far wall clocks are ahead [s].

    Examples
    --------
    One simulated minute against a broker; with `InProcessChannel` only the first lines change::

        loop = ClientLoop(time.monotonic)
        channel = MqttChannel(loop, Broker.of_url("mqtt://127.0.0.1:1883"), root=root)
        links = [MqttDeviceLink(loop, broker, asset, root=root) for asset in assets]
        stations = [Station(DeviceAgent(settings[a]), link, faults.get(a, NO_FAULTS)) ...]
        fleet = Fleet(stations, deliver=lambda: wait_for_delivery(loop, channel, links))
        desk = Dispatcher(channel=channel, key=key, clock=clock)

        clock.at = minute
        desk.tell([Told(asset=a, kind="setpoint", p_w=p, reason=..., expires_at=...) ...])
        fleet.exchange(desk, minute)          # letters arrive, devices answer, the desk hears
        for station in stations:
            command = station.command(fleet.local_time(station.asset, minute), vm_pu)
            ...                               # physics: command in, p_w, q_var, soc_wh out
            station.report(fleet.local_time(station.asset, minute), p_w=p_w, q_var=q_var)
        fleet.exchange(desk, minute)          # telemetry arrives
    """

    def __init__(
        self,
        stations: Sequence[Station],
        *,
        deliver: Callable[[], object] = lambda: None,
        skew_s: Mapping[str, float] | None = None,
    ) -> None:
        self.stations = tuple(stations)
        self._deliver, self._skew_s = deliver, dict(skew_s or {})

    def local_time(self, asset: str, at: datetime) -> LocalTime:
        """Return what a device reads when it is ``at`` in truth: a right counter, a wrong wall."""
        wall = at + timedelta(seconds=self._skew_s.get(asset, 0.0))
        return LocalTime(counter_s=at.timestamp(), wall=wall)

    def exchange(self, desk: Dispatcher, at: datetime) -> tuple[Heard, ...]:
        """Let letters and answers pass until nobody has anything more to say.

        Parameters
        ----------
        desk : Dispatcher
            The market's side.
        at : datetime
            The simulated instant.

        Returns
        -------
        tuple
            Everything the market heard.
        """
        heard: list[Heard] = []
        for _ in range(ROUNDS_MAX):
            self._deliver()
            for station in self.stations:
                station.turn(self.local_time(station.asset, at))
            self._deliver()
            new = desk.listen()
            heard += new
            if not new:
                break
        return tuple(heard)
