"""The operator's real-time desk: reports in, instructions out, once a minute.

It keeps what it heard and told, and nothing else. Each minute it estimates the state of the grid
from the reports, asks the correction for the least-cost setpoints, and writes to every device whose
setpoint changes or is about to expire. A device that is silent, or does not do what it was told, is
taken as it is: others make up for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.records.dispatch import Telemetry
from data.units import AWARD_TICK_MW, MICRO_PER_UNIT
from dispatch.dispatcher import Told
from dso.realtime.fleet import Fleet
from dso.realtime.positions import Positions
from opf.problems.correction import Correction, Units, correct_setpoints
from opf.problems.estimated_state import Measured, estimate_state
from opf.problems.monitored_grid import MonitoredGrid

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Complexes = NDArray[np.complex128]

VALID: Final = timedelta(minutes=8)
REFRESH_WITHIN: Final = timedelta(minutes=4)
ENVELOPE_VALID: Final = timedelta(minutes=15)
MINUTE: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeskRules:
    """How the desk works.

    Parameters
    ----------
    correcting : bool
        Without, devices are told what the market wants and no more.
    voltage_margin_pu, loading_margin_percent : float
        Kept free for what varies within a minute.
    storage_eur_per_mwh : float
        Price of a deviation of a storage.
    curtail_floor_eur_per_mwh : float
        Least price of curtailing a plant; the wholesale price counts where it is higher.
    var_eur_per_mvarh : float
        Price of a deviation of reactive power.
    release_share_per_minute : float
        By so much of its rating a plant that is held below what it has is let up in a minute.
    silent_after_minutes : int
        Without a report for longer than that a device counts as silent.
    patience_minutes : int
        So long a device may do something else than told before it is taken as it is.
    retry_minutes : int
        After so long it is counted on once more.
    """

    correcting: bool = True
    voltage_margin_pu: float = 0.003
    loading_margin_percent: float = 2.0
    storage_eur_per_mwh: float = 5.0
    curtail_floor_eur_per_mwh: float = 20.0
    var_eur_per_mvarh: float = 1.0
    release_share_per_minute: float = 0.05
    silent_after_minutes: int = 0
    patience_minutes: int = 1
    retry_minutes: int = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What the desk did in a minute.

    ``told_mw``/``told_mvar`` are the setpoints in force by its will, shape (devices,);
    ``taken_as_is`` marks devices it did not count on, ``silent`` those among them without reports.
    """

    told: tuple[Told, ...]
    told_mw: Floats
    told_mvar: Floats
    taken_as_is: Bools
    silent: Bools
    correction: Correction | None
    residual_max: float


class RealTimeDesk:
    """One feeder's desk; `decide` is called once a minute, in order."""

    def __init__(
        self,
        at: MonitoredGrid,
        fleet: Fleet,
        positions: Positions,
        rules: DeskRules,
        envelope_mw: Floats,
    ) -> None:
        count = len(fleet.assets)
        self.at, self.fleet, self.positions, self.rules = at, fleet, positions, rules
        self.envelope_mw = envelope_mw
        self.node = at.nodes_of(fleet.buses)
        self.row = {asset: row for row, asset in enumerate(fleet.assets)}
        self.margin = at.margins(rules.voltage_margin_pu, rules.loading_margin_percent)
        self.loads = at.by_node(positions.loads)
        self.p_mw, self.q_mvar = np.zeros(count), np.zeros(count)
        self.vm_pu = np.full(count, np.nan)
        self.soc_mwh = np.full(count, np.nan)
        self.heard_at = np.full(count, -(10**6), dtype=np.int64)
        self.told_p, self.told_q = np.full(count, np.nan), np.zeros(count)
        self.expires = [positions.periods.start] * count
        self.minute = 0
        self.slow, self.was_astray = np.zeros(count, dtype=bool), np.zeros(count, dtype=bool)
        self.opened: datetime | None = None
        self.astray = np.zeros(count, dtype=np.int64)
        self.astray_since = np.zeros(count, dtype=np.int64)

    def decide(
        self, now: datetime, reports: Sequence[Telemetry], exchange: complex | None
    ) -> Decision:
        """Take the reports of the minute that ended and decide the one that begins.

        Parameters
        ----------
        now : datetime
            Start of the minute, UTC.
        reports : sequence of Telemetry
            What was heard since the last call.
        exchange : complex or None
            Measured import at the substation [MW + j Mvar].
        """
        minute = int((now - self.positions.periods.start) / MINUTE)
        quarter = min(minute // 15, len(self.positions.periods) - 1)
        self.minute = minute
        self._take(reports, minute)
        silent = self.heard_at < minute - self.rules.silent_after_minutes
        if not self.told_p.size or np.isnan(self.told_p).all():
            silent = np.zeros_like(silent)  # nobody was told anything yet
        as_is = silent | self._not_following(minute) | self.slow
        wanted_p, cap = self._wanted(quarter, silent)
        wanted_q = self.positions.q_mvar[:, quarter]
        correction, residual = None, 0.0
        told_p, told_q = np.where(cap < np.inf, cap, wanted_p), wanted_q.copy()
        if self.rules.correcting:
            known = self._taken_power(wanted_p, quarter, silent)
            other, residual = self._others(quarter, known, silent, exchange)
            units = self._units(quarter, wanted_p, known, as_is, silent)
            correction = correct_setpoints(self.at, other, units, self.margin)
            moved = np.abs(correction.p_mw - wanted_p) > 2 * AWARD_TICK_MW
            told_p = np.where(moved, correction.p_mw, told_p)
            told_q = correction.q_mvar
            # who is taken as it is keeps what it was told last: it may only be late
            frozen = as_is & np.isfinite(self.told_p)
            told_p = np.where(frozen, self._kept(wanted_p, cap, correction), told_p)
            told_q = np.where(frozen, self.told_q, told_q)
        letters = self._letters(now, told_p, told_q, correction)
        return Decision(
            told=letters,
            told_mw=self.told_p.copy(),
            told_mvar=self.told_q.copy(),
            taken_as_is=as_is,
            silent=silent,
            correction=correction,
            residual_max=residual,
        )

    def _take(self, reports: Sequence[Telemetry], minute: int) -> None:
        for report in reports:
            row = self.row.get(report.asset)
            if row is None:
                continue
            self.p_mw[row] = report.p_w / MICRO_PER_UNIT
            self.q_mvar[row] = report.q_var / MICRO_PER_UNIT
            self.vm_pu[row] = np.nan if report.vm_pu is None else report.vm_pu
            self.soc_mwh[row] = np.nan if report.soc_wh is None else report.soc_wh / MICRO_PER_UNIT
            self.heard_at[row] = minute

    def _not_following(self, minute: int) -> Bools:
        """Mark devices that do something else than told for longer than the desk is patient."""
        off = self.p_mw - self.told_p
        off[self.fleet.plant_count :] = np.abs(off[self.fleet.plant_count :])
        wrong = (off > np.maximum(0.02 * self.fleet.rating_mw, 0.002)) & np.isfinite(self.told_p)
        self.astray = np.where(wrong, self.astray + 1, 0)
        known = self.astray > self.rules.patience_minutes
        fresh = known & (self.astray == self.rules.patience_minutes + 1)
        self.astray_since[fresh] = minute
        back = ~wrong & self.was_astray
        self.slow |= back & (minute - self.astray_since < self.rules.retry_minutes)
        self.was_astray = known.copy()
        retry = known & (minute - self.astray_since >= self.rules.retry_minutes)
        self.astray[retry] = 0
        return known & ~retry

    def _kept(self, wanted: Floats, cap: Floats, correction: Correction) -> Floats:
        """Return what devices are told that nobody counts on: what they were told last.

        A plant that is known to be late stays where it is while limits bind and is let up when none
        does.
        """
        count = self.fleet.plant_count
        kept = self.told_p.copy()
        late = self.slow[:count]
        if correction.binding:
            kept[:count][late] = np.minimum(kept[:count], self.p_mw[:count])[late]
        else:
            step = 0.2 * self.rules.release_share_per_minute * self.fleet.rating_mw[:count]
            up = np.minimum(np.maximum(kept[:count], self.p_mw[:count]) + step, cap[:count])
            kept[:count][late] = up[late]
            kept[count:][self.slow[count:]] = wanted[count:][self.slow[count:]]
        return kept

    def _wanted(self, quarter: int, silent: Bools) -> tuple[Floats, Floats]:
        """Return what each device would do as the market wants it, and its cap (inf: no cap).

        A plant below its cap shows what it has available. One at its cap may have more: nobody
        knows how much, so it is let up step by step, never by surprise.
        """
        count, rating = self.fleet.plant_count, self.fleet.rating_mw[: self.fleet.plant_count]
        wanted = self.positions.p_mw[:, quarter].copy()
        cap = np.full(len(wanted), np.inf)
        measured, told = self.p_mw[:count], self.told_p[:count]
        held = measured >= told - np.maximum(0.005 * rating, 1e-4)
        step = self.rules.release_share_per_minute * rating
        available = np.where(held, measured + step, measured)
        known = ~silent[:count] & np.isfinite(told)
        available = np.where(known, available, self.positions.expected_mw[:count, quarter])
        market = self.positions.cap_mw[:count, quarter]
        wanted[:count] = np.minimum(np.minimum(available, market), rating)
        cap[:count] = np.where(known & held, wanted[:count], market)
        wanted[count:] = np.clip(wanted[count:], *self._storage_range())
        return wanted, cap

    def _storage_range(self) -> tuple[Floats, Floats]:
        """Powers that the reported energy carries for as long as a setpoint may hold [MW]."""
        count, batteries = self.fleet.plant_count, self.fleet.batteries
        hours = VALID.total_seconds() / 3600.0
        energy = np.where(
            np.isfinite(self.soc_mwh[count:]), self.soc_mwh[count:], batteries.energy_mwh_start
        )
        room = (batteries.energy_mwh_max - energy) / batteries.efficiency_charge / hours
        content = (energy - batteries.energy_mwh_min) * batteries.efficiency_discharge / hours
        low = -np.clip(room, 0.0, batteries.charge_mw_max)
        return low, np.clip(content, 0.0, batteries.discharge_mw_max)

    def _taken_power(self, wanted: Floats, quarter: int, silent: Bools) -> Floats:
        """Power each device is taken to inject now: its report, or what a silent one falls to.

        Until its setpoint runs out a silent device is taken to go on; then it is alone with its
        installed envelope.
        """
        count = self.fleet.plant_count
        alone = self.minute - self.heard_at > VALID / MINUTE
        fallen = np.where(alone, 0.0, self.p_mw)
        expected = np.minimum(self.positions.expected_mw[:, quarter], self.envelope_mw)
        fallen[:count] = np.where(alone, expected, self.p_mw)[:count]
        return np.where(silent, fallen, np.where(np.isfinite(self.told_p), self.p_mw, wanted))

    def _others(
        self, quarter: int, known: Floats, silent: Bools, exchange: complex | None
    ) -> tuple[Complexes, float]:
        """Estimate what injects beside the devices, by node, with the misfit of silent ones."""
        reactive = np.where(silent, 0.0, self.q_mvar)
        devices = np.zeros(self.at.grid.node_count, dtype=complex)
        np.add.at(devices, self.node, known + 1j * reactive)
        load = self.loads[:, quarter]
        variance = (0.2 * np.abs(load.real) + 0.01) ** 2
        variance[0] = 0.0
        np.add.at(variance, self.node[silent], (0.3 * self.fleet.rating_mw[silent]) ** 2)
        has = ~silent & np.isfinite(self.vm_pu)
        nodes, first = np.unique(self.node[has], return_index=True)
        readings = self.vm_pu[has][first]
        below = nodes > 0
        estimate = estimate_state(
            self.at,
            devices + load,
            np.sqrt(variance),
            Measured(nodes=nodes[below], vm_pu=readings[below], exchange=exchange),
        )
        return estimate.injection - devices, estimate.residual_max

    def _units(
        self, quarter: int, wanted: Floats, known: Floats, as_is: Bools, silent: Bools
    ) -> Units:
        """Return every device as a unit; one that is taken as it is can do nothing else."""
        count, fleet, rules = self.fleet.plant_count, self.fleet, self.rules
        low, high = np.zeros(len(wanted)), wanted.copy()
        low[count:], high[count:] = self._storage_range()
        tan = np.zeros(len(wanted))
        offers = np.abs(self.positions.q_mvar[:count]).max(axis=1) > 0.0
        tan[:count] = np.where(offers, np.tan(np.arccos(fleet.plants.power_factor_min)), 0.0)
        p = np.where(as_is, known, wanted)
        room = tan * np.maximum(p, 0.0)
        q = np.clip(self.positions.q_mvar[:, quarter], -room, room)
        q = np.where(as_is, np.where(silent, 0.0, self.q_mvar), q)
        most = tan * fleet.rating_mw
        price = float(self.positions.price_eur_per_mwh[quarter])
        down = np.full(len(wanted), rules.storage_eur_per_mwh)
        down[:count] = max(price, rules.curtail_floor_eur_per_mwh)
        return Units(
            name=fleet.assets,
            bus=fleet.buses,
            p_mw=p,
            q_mvar=q,
            p_mw_min=np.where(as_is, p, np.minimum(low, p)),
            p_mw_max=np.where(as_is, p, np.maximum(high, p)),
            q_mvar_min=np.where(as_is, q, -most),
            q_mvar_max=np.where(as_is, q, most),
            tan_max=np.where((tan > 0.0) & ~as_is, tan, np.inf),
            up_eur_per_mwh=down,
            down_eur_per_mwh=down,
            var_eur_per_mvarh=np.full(len(wanted), rules.var_eur_per_mvarh),
        )

    def _letters(
        self, now: datetime, p: Floats, q: Floats, correction: Correction | None
    ) -> tuple[Told, ...]:
        """Write to every device whose setpoint changes or runs out soon."""
        threshold = np.maximum(0.002 * self.fleet.rating_mw, 2e-4)
        with np.errstate(invalid="ignore"):
            moved = ~(np.abs(p - self.told_p) <= threshold)
            moved |= ~(np.abs(q - self.told_q) <= threshold)
        letters = []
        for row, asset in enumerate(self.fleet.assets):
            if not moved[row] and self.expires[row] - now > REFRESH_WITHIN:
                continue
            self.told_p[row], self.told_q[row] = p[row], q[row]
            self.expires[row] = now + VALID
            letters.append(
                Told(
                    asset=asset,
                    kind="setpoint",
                    expires_at=now + VALID,
                    reason=_reason(correction, row),
                    p_w=round(float(p[row]) * MICRO_PER_UNIT),
                    q_var=round(float(q[row]) * MICRO_PER_UNIT),
                )
            )
        letters += self._envelopes(now)
        return tuple(letters)

    def _envelopes(self, now: datetime) -> list[Told]:
        """Open the envelopes while the desk is there: without it the installed ones hold."""
        if self.opened is not None and self.opened - now > ENVELOPE_VALID / 3:
            return []
        self.opened = now + ENVELOPE_VALID
        storages = np.arange(len(self.fleet.assets)) >= self.fleet.plant_count
        watts = np.rint(self.fleet.rating_mw * MICRO_PER_UNIT).astype(np.int64).tolist()
        return [
            Told(
                asset=asset,
                kind="envelope",
                expires_at=self.opened,
                reason="the desk is there: the whole connection is open",
                p_min_w=-watts[row] if storages[row] else 0,
                p_max_w=watts[row],
            )
            for row, asset in enumerate(self.fleet.assets)
        ]


def _reason(correction: Correction | None, row: int) -> str:
    """Say why a device is told what it is told."""
    if correction is None or not correction.changed[row]:
        return "market position"
    held = ", ".join(" ".join(map(str, limit)) for limit in correction.binding[:3])
    return f"correction: {held or 'limits'} held"
