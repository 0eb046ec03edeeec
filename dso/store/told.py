"""What assets were told, for whoever carries it to them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select

from data.periods import format_utc, parse_utc
from dso.store.tables import CYCLE_RUN, SETPOINT


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldSetpoint:
    """Injection of one asset from ``period_start`` on [W, var], and why if not by the market."""

    asset: str
    period_start: datetime
    p_w: int
    q_var: int
    reason: str | None = None


def newest_setpoints(
    connection: Connection, *, market: str, feeder: str, after: datetime, until: datetime
) -> tuple[ToldSetpoint, ...]:
    """Return, of each asset, the last setpoint with a beginning in ``(after, until]``.

    Parameters
    ----------
    connection : Connection
        With a transaction begun.
    market, feeder : str
        Whose setpoints.
    after, until : datetime
        UTC.

    Returns
    -------
    tuple of ToldSetpoint
        Sorted by asset.
    """
    told, run = SETPOINT.c, CYCLE_RUN.c
    query = (
        select(told.asset, told.period_start, told.told_w, told.told_var, told.reason)
        .join(CYCLE_RUN, run.id == told.run_id)
        .where(
            run.market == market,
            run.feeder == feeder,
            told.period_start > format_utc(after),
            told.period_start <= format_utc(until),
        )
        .order_by(told.asset, told.period_start, told.run_id)
    )
    found = {
        asset: ToldSetpoint(
            asset=asset,
            period_start=parse_utc(start),
            p_w=int(p_w),
            q_var=int(q_var),
            reason=reason,
        )
        for asset, start, p_w, q_var, reason in connection.execute(query)
    }
    return tuple(found.values())
