"""From green to red: which step a feeder is at, and a record for everybody it touches.

Green and yellow are the market's. Where offers do not suffice the operator goes to orange: every
connection that the limit hangs on gets an operating envelope, shared by the stated fairness rule.
Where even empty envelopes do not help, the state is red: connections are shed in the order of the
stated rule. Each step is recorded, with its reason, for everybody affected.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from data.csv_table import Column, table_bytes
from data.errors import Problem, refuse_if_any
from data.periods import format_utc
from data.units import MICRO_PER_UNIT
from dispatch.dispatcher import Told
from opf.power_flow import PowerFlowDiverged
from opf.problems.correction import Broken, list_broken
from opf.problems.envelopes import (
    FAIRNESS_RULES,
    REQUEST,
    Connections,
    FairnessRule,
    operating_envelopes,
)
from opf.problems.monitored_grid import MonitoredGrid
from opf.problems.shed import SHED_RULES, Sheddable, ShedRule, shed_list

Floats = NDArray[np.float64]
Complexes = NDArray[np.complex128]
Step = Literal["yellow", "orange", "red"]
TICK_MW: Final = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecord:
    """What a step does to one connection.

    Parameters
    ----------
    step : str
        ``yellow``, ``orange`` or ``red``.
    asset : str
        Who is affected.
    what : str
        ``export``, ``import`` (limits of an envelope) or ``connection`` (shed).
    from_mw, to_mw : float
        Before and after: limits as MW of that direction, the injection of who is shed [MW].
    why : str
        The limit at stake, or what held the envelope back.
    rule : str
        Fairness or shed rule.
    at : datetime
        When it was decided, UTC.
    """

    step: Step
    asset: str
    what: str
    from_mw: float
    to_mw: float
    why: str
    rule: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Escalation:
    """Where a feeder stands, and everything that was decided on the way.

    Parameters
    ----------
    step : str
        The step it ended at: ``yellow`` where what was offered suffices.
    records : tuple of StepRecord
        One for each connection and direction affected.
    notes : tuple of str
        One sentence for each step taken or passed over, with its reason.
    told : tuple of Told
        What devices are to be told.
    unmended : tuple of Broken
        Limits that are broken even then.
    """

    step: Step
    records: tuple[StepRecord, ...]
    notes: tuple[str, ...]
    told: tuple[Told, ...]
    unmended: tuple[Broken, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What is expected of a feeder for the time that has to be decided.

    Parameters
    ----------
    now, until : datetime
        When it is decided and how long it holds, UTC.
    background : (ndarray, ndarray) of complex, shape (nodes,)
        What injects beside the connections: the most and the least that is expected
        [MW + j Mvar].
    offered : ndarray of complex, shape (nodes,)
        What injects with everything bought that was offered.
    connections : Connections
        Who may be given an envelope, and what each would use.
    firm_mw : ndarray, shape (connections,)
        What each draws whatever its envelope, on top of it; part of the background [MW].
    sheddable : Sheddable
        Who may be taken off, with what each injects; part of the background.
    margin : ndarray, shape (limits,)
        Kept free of each limit, in the unit of g.
    """

    now: datetime
    until: datetime
    background: tuple[Complexes, Complexes]
    offered: Complexes
    connections: Connections
    firm_mw: Floats
    sheddable: Sheddable
    margin: Floats


def escalate(
    at: MonitoredGrid, situation: Situation, fairness: FairnessRule, shed: ShedRule
) -> Escalation:
    """Go as far as it takes, and no further.

    Parameters
    ----------
    at : MonitoredGrid
        The grid and its limits.
    situation : Situation
        What is expected.
    fairness, shed : str
        Rules for envelopes and for the shed list.

    Raises
    ------
    InputError
        Where a rule is unknown, with those there are.
    """
    refuse_unknown_rules(fairness, shed)
    try:
        broken = list_broken(at, at.state(situation.offered))
        if not broken:
            return Escalation(
                step="yellow",
                records=(),
                notes=("yellow: what was offered holds every limit",),
                told=(),
                unmended=(),
            )
        short = f"{_name(broken[0])} by {broken[0].mw_short:.3f} MW"
        why = f"offers leave {len(broken)} limits broken, {short}"
    except PowerFlowDiverged:
        why = "what was offered leaves the grid without an AC state"
    notes = [f"orange: {why}; envelopes by {fairness}"]
    connections = situation.connections
    shares = operating_envelopes(at, situation.background, connections, fairness, situation.margin)
    records, told = [], []
    for row, asset in enumerate(connections.name):
        firm = float(situation.firm_mw[row])
        limits = (("export", connections.export_mw[row], shares.export, 0.0),
                  ("import", connections.import_mw[row], shares.draw, firm))  # fmt: skip
        cut = [
            StepRecord(
                step="orange",
                asset=asset,
                what=what,
                from_mw=float(request) + always,
                to_mw=float(share.p_mw[row]) + always,
                why=f"held by {share.held_by[row]}",
                rule=fairness,
                at=situation.now,
            )
            for what, request, share, always in limits
            if share.held_by[row] != REQUEST and request - share.p_mw[row] > TICK_MW
        ]
        records += cut
        if cut:
            power = (float(shares.draw.p_mw[row]) + firm, float(shares.export.p_mw[row]))
            told.append(_envelope(asset, power, cut, situation))
    hopeless = (*shares.export.background_breaks, *shares.draw.background_breaks)
    if not hopeless:
        if not (shares.export.settled and shares.draw.settled):
            notes.append("orange: the filling did not settle; every limit is kept, not the rule")
        return Escalation(
            step="orange",
            records=tuple(records),
            notes=tuple(notes),
            told=tuple(told),
            unmended=(),
        )
    notes.append(f"red: {hopeless[0]} is broken even with empty envelopes")
    return _shed(at, situation, shed, notes, (records, told))


def refuse_unknown_rules(fairness: str, shed: str) -> None:
    """Refuse rules that there are not.

    Raises
    ------
    InputError
        With every unknown name, and those that are known.
    """
    refuse_if_any(
        Problem(where=what, what=f"{rule!r} is unknown", remedy=f"one of {', '.join(known)}")
        for what, rule, known in (
            ("fairness rule", fairness, FAIRNESS_RULES),
            ("shed rule", shed, SHED_RULES),
        )
        if rule not in known
    )


def records_bytes(records: Sequence[StepRecord]) -> bytes:
    """Write the records of an escalation as a table, in their sequence."""
    columns: dict[str, Column] = {
        "step": [each.step for each in records],
        "asset": [each.asset for each in records],
        "what": [each.what for each in records],
        "from_mw": np.array([each.from_mw for each in records], dtype=float),
        "to_mw": np.array([each.to_mw for each in records], dtype=float),
        "why": [each.why for each in records],
        "rule": [each.rule for each in records],
        "decided_at": [format_utc(each.at) for each in records],
    }
    return table_bytes(columns)


def _name(broken: Broken) -> str:
    return f"{broken.element_kind} {broken.element} {broken.side}".strip()


def _envelope(
    asset: str,
    power_mw: tuple[float, float],
    cut: Sequence[StepRecord],
    situation: Situation,
) -> Told:
    """Write the envelope of one connection, draw and export; watts are rounded towards zero."""
    draw_mw, export_mw = power_mw
    return Told(
        asset=asset,
        kind="envelope",
        expires_at=situation.until,
        reason=f"orange: {cut[0].what} {cut[0].why}, shared {cut[0].rule}",
        p_min_w=-int(draw_mw * MICRO_PER_UNIT),
        p_max_w=int(export_mw * MICRO_PER_UNIT),
    )


def _shed(
    at: MonitoredGrid,
    situation: Situation,
    rule: ShedRule,
    notes: list[str],
    before: tuple[list[StepRecord], list[Told]],
) -> Escalation:
    """Take connections off in the order of the rule, on top of the envelopes."""
    of = situation.sheddable
    answer = shed_list(at, situation.background[1], of, rule)
    why = _name(answer.before[0]) if answer.before else "no AC state"
    records, told = before
    for place, row in enumerate(answer.taken.tolist()):
        power = float(of.injection[row].real)
        records.append(
            StepRecord(
                step="red",
                asset=of.name[row],
                what="connection",
                from_mw=power,
                to_mw=0.0,
                why=f"{why} is broken; number {place + 1} of the list",
                rule=rule,
                at=situation.now,
            )
        )
        told.append(
            Told(
                asset=of.name[row],
                kind="shed",
                expires_at=situation.until,
                reason=f"red: {why} is broken; number {place + 1} of the list, rule {rule}",
                p_min_w=0,
                p_max_w=0,
            )
        )
    notes.append(
        f"red: {len(answer.taken)} connections shed by {rule}, {len(answer.spared)} before the "
        "last of them spared because they do not help"
    )
    if not answer.solved:
        notes.append("red: no AC state even with everybody shed")
    return Escalation(
        step="red",
        records=tuple(records),
        notes=tuple(notes),
        told=tuple(told),
        unmended=answer.unmended,
    )
