"""Disputes and revisions: lines are added, never edited; what is contested stands still.

A revised settlement (a late meter, a corrected price) is booked as additions: what no longer
holds is reversed, what is new is added. While a dispute is open its lines do not move: what a
revision would change in them waits on the account of the dispute, so that every market and period
still sums to zero. When the dispute ends, its account is emptied: with ``accepted`` the corrected
settlement is booked, with ``rejected`` whatever the revisions say without it. The argument and
the reason of the decision are kept with it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Literal

from data.errors import Problem
from data.records.settlement import ACCOUNT_PREFIX, SettlementLine
from dso.settlement.booking import account_line

DisputeState = Literal["open", "accepted", "rejected"]
DISPUTE_STATES: Final[tuple[DisputeState, ...]] = ("open", "accepted", "rejected")
DISPUTE: Final = "dispute"
MARKETS: Final = ("da", "id", "imbalance", "reactive", "community", "flexibility", "refund")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispute:
    """A participant contests his lines of some periods.

    Parameters
    ----------
    connection : str
        The connection whose lines are contested; empty = all of the participant.
    start, end : datetime
        Periods that start in ``[start, end)``.
    argument : str
        What the participant says, word for word.
    state : {"open", "accepted", "rejected"}
        ``decided_at`` and ``reason`` belong to the last two.
    """

    id: str
    participant: str
    connection: str
    start: datetime
    end: datetime
    argument: str
    opened_at: datetime
    state: DisputeState = "open"
    decided_at: datetime | None = None
    reason: str = ""

    @property
    def account(self) -> str:
        """The operator's account on which changes wait, without the prefix."""
        return f"{DISPUTE}/{self.id}"

    def contests(self, line: SettlementLine) -> bool:
        """Whether a line is one of the contested ones."""
        return (
            line.participant == self.participant
            and self.start <= line.period_start < self.end
            and self.connection in ("", line.connection)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Addition:
    """One line added by a revision; with ``reverses`` it takes an earlier line back."""

    line: SettlementLine
    reverses: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """What a revision adds, and the lines that stand after it."""

    additions: tuple[Addition, ...]
    standing: tuple[SettlementLine, ...]


def find_dispute_problems(disputes: Sequence[Dispute]) -> Iterator[Problem]:
    """Yield what is wrong with a list of disputes."""
    for name, times in sorted(Counter(dispute.id for dispute in disputes).items()):
        if times > 1:
            yield Problem(where=f"disputes.csv {name}", what=f"stands there {times} times")
    for dispute in disputes:
        where = f"disputes.csv {dispute.id}"
        if dispute.participant.startswith(ACCOUNT_PREFIX):
            yield Problem(where=where, what="an account of the operator contests nothing")
        if dispute.state not in DISPUTE_STATES:
            yield Problem(
                where=where, what=f"unknown state {dispute.state!r}",
                remedy=f"one of {', '.join(DISPUTE_STATES)}",
            )  # fmt: skip
        if dispute.end <= dispute.start:
            yield Problem(where=where, what="ends before it starts")
        if not dispute.argument.strip():
            yield Problem(where=where, what="has no argument", remedy="write what is contested")
        decided = dispute.decided_at is not None and bool(dispute.reason.strip())
        if (dispute.state != "open") != decided:
            yield Problem(
                where=where, what="a decision has a time and a reason, an open dispute neither"
            )


def revise(
    standing: Iterable[SettlementLine],
    fresh: Iterable[SettlementLine],
    disputes: Iterable[Dispute] = (),
) -> Revision:
    """Return what must be added to the standing lines so that the fresh settlement holds.

    Parameters
    ----------
    standing : iterable of SettlementLine
        Lines that stand after the revision before (or the first settlement).
    fresh : iterable of SettlementLine
        The settlement as the data of today give it.
    disputes : iterable of Dispute
        All disputes; only open ones hold lines back. A line contested twice belongs to the
        dispute opened first.

    Returns
    -------
    Revision
        Without open disputes, what stands is the fresh settlement.

    Notes
    -----
    Per market and period, with F the fresh and S the standing amounts of the contested lines, the
    account of the dispute holds F - S: everybody else is settled as fresh.
    """
    opened = sorted(
        (dispute for dispute in disputes if dispute.state == "open"),
        key=lambda dispute: (dispute.opened_at, dispute.id),
    )
    old = Counter(standing)
    target: Counter[SettlementLine] = Counter()
    held_back: dict[tuple[datetime, str, str], int] = defaultdict(int)
    for line, times in Counter(fresh).items():
        dispute = _first_that_contests(opened, line)
        if dispute is None:
            target[line] += times
        else:
            key = (line.period_start, line.market, dispute.account)
            held_back[key] += times * line.amount_micro_eur
    for line, times in old.items():
        dispute = _first_that_contests(opened, line)
        if dispute is not None:
            target[line] += times
            key = (line.period_start, line.market, dispute.account)
            held_back[key] -= times * line.amount_micro_eur
    for (start, market, account), amount in held_back.items():
        if amount:
            target[account_line(account, "dispute", amount, market=market, start=start)] += 1
    return Revision(
        additions=tuple(sorted(_additions(old, target), key=_place)),
        standing=tuple(sorted(target.elements(), key=_line_place)),
    )


def contested_lines(
    lines: Iterable[SettlementLine], disputes: Iterable[Dispute]
) -> tuple[SettlementLine, ...]:
    """Return the lines that an open dispute holds: they are not due until it ends."""
    opened = [dispute for dispute in disputes if dispute.state == "open"]
    return tuple(line for line in lines if _first_that_contests(opened, line) is not None)


def _first_that_contests(disputes: Sequence[Dispute], line: SettlementLine) -> Dispute | None:
    return next((dispute for dispute in disputes if dispute.contests(line)), None)


def _additions(old: Counter[SettlementLine], new: Counter[SettlementLine]) -> Iterator[Addition]:
    for line in (old - new).elements():
        back = replace(line, quantity_wh=-line.quantity_wh, amount_micro_eur=-line.amount_micro_eur)
        yield Addition(line=back, reverses=True)
    for line in (new - old).elements():
        yield Addition(line=line, reverses=False)


def _place(addition: Addition) -> tuple[object, ...]:
    line = addition.line
    return (line.period_start, not addition.reverses, *_line_place(line)[1:])


def _line_place(line: SettlementLine) -> tuple[object, ...]:
    """Sort by period and market, participants before accounts, as a fresh settlement is."""
    market, _, number = line.market.partition("/")
    rank = MARKETS.index(market) if market in MARKETS else len(MARKETS)
    return (
        line.period_start, rank, int(number or 0), line.participant.startswith(ACCOUNT_PREFIX),
        line.participant, line.connection, line.kind, line.quantity_wh, line.amount_micro_eur,
    )  # fmt: skip
