"""From the market's setpoints to devices: what the store says is told, is told."""

from __future__ import annotations

from datetime import datetime, timedelta

from data.records.dispatch import Activation, InstructionKind
from dispatch.dispatcher import Dispatcher, Told
from dispatch.instruction_log import InstructionLog
from dso.store import Store
from dso.store.instructions import KeptInstruction, instructions_in_force
from dso.store.told import ToldSetpoint, newest_setpoints


class SetpointFollower:
    """Gives each asset the setpoint that has begun last, and its limits and droops, each once.

    Parameters
    ----------
    store : Store
        Where the real-time cycle keeps what is told.
    desk : Dispatcher
        Sends it.
    log : InstructionLog
        The desk's log: after a restart nothing is told twice.
    market, feeder : str
        Whose setpoints.
    lasts : timedelta
        How long a setpoint holds without a newer one: the market time unit.
    """

    def __init__(
        self,
        store: Store,
        desk: Dispatcher,
        log: InstructionLog,
        *,
        market: str,
        feeder: str,
        lasts: timedelta = timedelta(minutes=15),
    ) -> None:
        self._store, self._desk = store, desk
        self._market, self._feeder, self._lasts = market, feeder, lasts
        self._begun: dict[tuple[str, InstructionKind], datetime] = {}
        for each in log.activations.values():
            told = each.instruction
            last = self._begun.get((told.asset, told.kind), told.valid_from)
            self._begun[told.asset, told.kind] = max(last, told.valid_from)

    def turn(self, now: datetime) -> tuple[Activation, ...]:
        """Tell what is new; a setpoint whose time is over already is not told.

        Parameters
        ----------
        now : datetime
            The market's time, UTC.
        """
        with self._store.transaction() as connection:
            found = newest_setpoints(
                connection,
                market=self._market,
                feeder=self._feeder,
                after=now - self._lasts,
                until=now,
            )
            limits = instructions_in_force(
                connection, market=self._market, feeder=self._feeder, now=now
            )
        new = [each for each in map(self._letter, found) if self._is_new(each)]
        # limits first: a setpoint may rest on them
        new = [each for each in map(_limit_letter, limits) if self._is_new(each)] + new
        orders = self._desk.tell(new)
        self._begun |= {
            (each.asset, each.kind): each.valid_from for each in new if each.valid_from is not None
        }
        return orders

    def _letter(self, each: ToldSetpoint) -> Told:
        return Told(
            asset=each.asset,
            kind="setpoint",
            reason=each.reason or f"position of {self._market} on {self._feeder}",
            p_w=each.p_w,
            q_var=each.q_var,
            valid_from=each.period_start,
            expires_at=each.period_start + self._lasts,
        )

    def _is_new(self, each: Told) -> bool:
        last = self._begun.get((each.asset, each.kind))
        return last is None or (each.valid_from is not None and each.valid_from > last)


def _limit_letter(each: KeptInstruction) -> Told:
    return Told(
        asset=each.asset,
        kind=each.kind,
        reason=each.reason,
        p_min_w=each.p_min_w,
        p_max_w=each.p_max_w,
        droop=each.droop,
        valid_from=each.valid_from,
        expires_at=each.expires_at,
    )
