"""The agent beside a device: which of the market's instructions is in force, if any.

A letter is refused that no trusted key signed, that is for another asset, that has expired, that
repeats one, or that is older than one that has begun. What passes is kept until its time. Of a
kind, the greater sequence number replaces the smaller for good from its ``valid_from`` on, so what
is in force depends on which letters came, never on the order in which they came.

An instruction is in force only while that is *sure* (see `market_time`): it has surely begun, it
is surely not over, and no newer one may have begun. Anything else is the fallback: the device does
as it needs inside its envelope, with the droop sent ahead. A device that has not heard anything
new from the market for ``silence_s`` falls back too, and stays inside its envelope.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from data.errors import Problem, refuse_if_any
from data.records.dispatch import (
    INSTRUCTION_KINDS,
    Acknowledgement,
    Instruction,
    InstructionKind,
)
from dispatch.agents.droop import droop_value
from dispatch.agents.market_time import LocalTime, MarketTime, TimeBounds
from dispatch.messages import BadLetter, TimeAnswer, TimeRequest, Uplink, open_letter

KEPT_MAX: Final = 256
VERDICTS_MAX: Final = 1024
REQUESTS_MAX: Final = 4
ASK_AGAIN_S: Final = 5.0
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSettings:
    """What is installed with a device.

    Parameters
    ----------
    asset : str
        Who it is.
    keys : mapping of key name to public key
        The market's keys it trusts.
    p_min_w, p_max_w : int
        Its envelope without the market: least and most injection [W].
    silence_s : float
        Longest time without anything new from the market before setpoints are dropped [s].
    wall_tolerance_s : float
        How far its wall clock is believed to be out at most [s].
    time_width_s : float
        A round trip is asked for when the market's time is known less well than this [s].
    time_every_s : float
        And at the latest after this [s].

    Raises
    ------
    InputError
        If a limit is out of order or not finite.
    """

    asset: str
    keys: Mapping[str, bytes]
    p_min_w: int
    p_max_w: int
    silence_s: float = 300.0
    wall_tolerance_s: float = 120.0
    time_width_s: float = 1.0
    time_every_s: float = 600.0

    def __post_init__(self) -> None:
        where = f"agent of {self.asset}"
        problems = [
            Problem(where=where, what=f"{name} {getattr(self, name)} is not a positive number")
            for name in ("silence_s", "time_width_s", "time_every_s")
            if not 0.0 < getattr(self, name) < float("inf")
        ]
        if not 0.0 <= self.wall_tolerance_s < float("inf"):
            problems.append(Problem(where=where, what="wall_tolerance_s is negative or no number"))
        if not self.p_min_w <= self.p_max_w:
            problems.append(Problem(where=where, what="p_min_w is above p_max_w"))
        refuse_if_any(problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What the device is to do now.

    Parameters
    ----------
    p_w : int or None
        Injection to follow [W], inside the limits; None: as the device needs, inside the limits.
    q_var : int or None
        Reactive injection to follow [var]; None: as the device needs.
    p_min_w, p_max_w : int
        Limits of the injection [W].
    setpoint : str or None
        Id of the setpoint in force.
    in_force : tuple of str
        Ids of all instructions in force.
    reason : str
        Where the command comes from: ``setpoint``, else why there is none.
    """

    p_w: int | None
    q_var: int | None
    p_min_w: int
    p_max_w: int
    setpoint: str | None
    in_force: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentMemory:
    """What must survive a restart of the device.

    Parameters
    ----------
    begun : mapping of kind to int
        Greatest sequence number of each kind that has begun, -1 for none.
    letters : tuple of bytes
        Signed letters that were accepted and may be in force yet.
    """

    begun: Mapping[InstructionKind, int]
    letters: tuple[bytes, ...]


@dataclass(slots=True)
class _Kept:
    told: Instruction
    letter: bytes


@dataclass(slots=True)
class _Book:
    """Instructions of one kind, and the greatest sequence number that has begun."""

    kept: dict[int, _Kept] = field(default_factory=dict)
    begun: int = -1

    def advance(self, now: TimeBounds) -> None:
        """Let time pass: note what has surely begun; drop what it replaced and what is over."""
        begun = [s for s, each in self.kept.items() if each.told.valid_from <= now.earliest]
        self.begun = max([self.begun, *begun])
        self.kept = {
            sequence: each
            for sequence, each in self.kept.items()
            if sequence >= self.begun and now.earliest < each.told.expires_at
        }

    def in_force(self, now: TimeBounds) -> Instruction | None:
        """Return what is surely in force; that it has begun is what `begun` says."""
        each = self.kept.get(self.begun)
        if each is None or now.latest >= each.told.expires_at:
            return None
        newer = [other.told for s, other in self.kept.items() if s > self.begun]
        return None if any(other.valid_from <= now.latest for other in newer) else each.told

    def is_older(self, told: Instruction) -> bool:
        """Say whether one that has begun, or begins no later, has a greater number."""
        return told.sequence < self.begun or any(
            sequence > told.sequence and each.told.valid_from <= told.valid_from
            for sequence, each in self.kept.items()
        )


class DeviceAgent:
    """Takes letters and time, answers, and says what is in force.

    It reads no clock and opens no connection: the caller hands in letters and `LocalTime`.

    Parameters
    ----------
    settings : AgentSettings
        What is installed.
    memory : AgentMemory, optional
        What it remembers from before a restart.
    nonce : callable
        Returns an unpredictable text.

    Examples
    --------
    >>> from datetime import timedelta
    >>> from dispatch.messages import LetterKey
    >>> key = LetterKey(name="market-1", seed=bytes(32))
    >>> noon = datetime(2026, 6, 1, 12, tzinfo=UTC)
    >>> agent = DeviceAgent(
    ...     AgentSettings(asset="sgen:1", keys={"market-1": key.public}, p_min_w=0, p_max_w=9000)
    ... )
    >>> here = LocalTime(counter_s=0.0, wall=noon)
    >>> (request,) = agent.requests(here)
    >>> agent.receive(key.seal(TimeAnswer(asset="sgen:1", nonce=request.nonce, at=noon)).text, here)
    ()
    >>> told = Instruction(
    ...     id="i1", asset="sgen:1", sequence=1, kind="setpoint", reason="line 7 overloaded",
    ...     issued_at=noon, valid_from=noon, expires_at=noon + timedelta(minutes=2), p_w=4000,
    ... )
    >>> agent.receive(key.seal(told).text, here)[0].reason
    'accepted'
    >>> agent.command(here).p_w, agent.command(LocalTime(counter_s=120.0)).p_w
    (4000, None)
    """

    def __init__(
        self,
        settings: AgentSettings,
        memory: AgentMemory | None = None,
        *,
        nonce: Callable[[], str] = lambda: secrets.token_hex(16),
    ) -> None:
        self.settings = settings
        self.refused: Counter[str] = Counter()
        self._nonce = nonce
        self._time = MarketTime(wall_tolerance_s=settings.wall_tolerance_s)
        self._books: dict[InstructionKind, _Book] = {kind: _Book() for kind in INSTRUCTION_KINDS}
        self._verdicts: dict[tuple[int, str], tuple[str, bool]] = {}
        self._asked: dict[str, float] = {}
        self._answered_s: float | None = None
        self._news_s: float | None = None
        self._newest = EPOCH
        if memory is not None:
            self._remember(memory)

    def receive(self, letter: bytes, at: LocalTime) -> tuple[Uplink, ...]:
        """Take one letter; return what to answer.

        What nobody signed gets no answer: it is counted in ``refused``.
        """
        try:
            content = open_letter(letter, self.settings.keys)
        except BadLetter as error:
            self.refused[str(error)] += 1
            return ()
        if isinstance(content, TimeAnswer):
            self._take_time(content, at)
            return ()
        self._time = self._time.heard(content.issued_at, at)
        if content.issued_at > self._newest:
            self._newest, self._news_s = content.issued_at, at.counter_s
        reason, accepted = self._answer(content, letter, at)
        if not accepted:
            self.refused[reason] += 1
        return (
            Acknowledgement(
                asset=self.settings.asset,
                instruction=content.id,
                accepted=accepted,
                reason=reason,
                at=at.wall or EPOCH,
            ),
        )

    def requests(self, at: LocalTime) -> tuple[TimeRequest, ...]:
        """Return a request for the time if the market's time is not known well enough."""
        bounds = self._time.bounds(at)
        unknown = bounds is None or bounds.width_s > self.settings.time_width_s
        old = (
            self._answered_s is None or at.counter_s - self._answered_s > self.settings.time_every_s
        )
        waiting = any(at.counter_s - asked_s < ASK_AGAIN_S for asked_s in self._asked.values())
        return (self.ask_time(at),) if (unknown or old) and not waiting else ()

    def ask_time(self, at: LocalTime) -> TimeRequest:
        """Return a request for the market's time; its answer is good once."""
        nonce = self._nonce()
        self._asked[nonce] = at.counter_s
        while len(self._asked) > REQUESTS_MAX:
            del self._asked[next(iter(self._asked))]
        return TimeRequest(asset=self.settings.asset, nonce=nonce)

    def bounds(self, at: LocalTime) -> TimeBounds | None:
        """Return what is known about the market's time."""
        return self._time.bounds(at)

    def command(self, at: LocalTime, vm_pu: float | None = None) -> Command:
        """Return what the device is to do now.

        Parameters
        ----------
        at : LocalTime
            The device's own time.
        vm_pu : float, optional
            Voltage at its terminals [pu]; without it the droop has nothing to follow.

        Returns
        -------
        Command
            A setpoint is cut to the envelope in force. Without a setpoint the droop gives q and
            may lower the upper limit of p.
        """
        found, reason = self._in_force(at)
        low, high = self.settings.p_min_w, self.settings.p_max_w
        envelope, shed = found.get("envelope"), found.get("shed")
        if envelope is not None:
            low, high = _limits(envelope, low, high)
        if shed is not None:
            low, high = _within(*_limits(shed, low, high), low, high)
        setpoint, droop = found.get("setpoint"), found.get("droop")
        p_w = None if setpoint is None else setpoint.p_w
        q_var = None if setpoint is None else setpoint.q_var
        if droop is not None and vm_pu is not None:
            if q_var is None:
                q_var = droop_value(droop.droop, "q_var", vm_pu)
            cap = droop_value(droop.droop, "p_max_w", vm_pu)
            if setpoint is None and cap is not None:
                high = max(low, min(high, cap))
        return Command(
            p_w=None if p_w is None else min(max(p_w, low), high),
            q_var=q_var,
            p_min_w=low,
            p_max_w=high,
            setpoint=None if setpoint is None else setpoint.id,
            in_force=tuple(sorted(told.id for told in found.values())),
            reason="setpoint" if setpoint is not None else reason,
        )

    def memory(self) -> AgentMemory:
        """Return what must survive a restart."""
        return AgentMemory(
            begun={kind: book.begun for kind, book in self._books.items()},
            letters=tuple(
                each.letter for book in self._books.values() for each in book.kept.values()
            ),
        )

    def _in_force(self, at: LocalTime) -> tuple[dict[InstructionKind, Instruction], str]:
        """Return what is in force by kind, and why there is no setpoint if there is none."""
        now = self._time.bounds(at)
        if now is None:
            return {}, "the market's time is unknown"
        found = {}
        for kind, book in self._books.items():
            book.advance(now)
            told = book.in_force(now)
            if told is not None:
                found[kind] = told
        silent = self._news_s is None or at.counter_s - self._news_s > self.settings.silence_s
        if silent and found.pop("setpoint", None) is not None:
            return found, "the market is silent"
        return found, "no setpoint is in force"

    def _take_time(self, answer: TimeAnswer, at: LocalTime) -> None:
        asked_at_s = self._asked.pop(answer.nonce, None)
        if answer.asset != self.settings.asset:
            self.refused["other_device"] += 1
        elif asked_at_s is None:
            self.refused["not_asked"] += 1
        else:
            self._time = self._time.answered(asked_at_s=asked_at_s, told=answer.at, at=at)
            self._answered_s = self._news_s = at.counter_s

    def _answer(self, told: Instruction, letter: bytes, at: LocalTime) -> tuple[str, bool]:
        """Judge an instruction once; one that comes again gets the answer it got."""
        if told.asset != self.settings.asset:
            return "other_device", False
        reason, accepted = self._verdicts.get((told.sequence, told.id), ("", False))
        if reason:
            return ("duplicate", True) if accepted else (reason, False)
        reason, accepted = self._judge(told, letter, at)
        self._verdicts[told.sequence, told.id] = reason, accepted
        while len(self._verdicts) > VERDICTS_MAX:
            del self._verdicts[next(iter(self._verdicts))]
        return reason, accepted

    def _judge(self, told: Instruction, letter: bytes, at: LocalTime) -> tuple[str, bool]:
        """Keep an instruction or say why not."""
        now, book = self._time.bounds(at), self._books[told.kind]
        if now is not None:
            book.advance(now)
        known = book.kept.get(told.sequence)
        if known is not None:
            same = known.told == told
            return ("duplicate", True) if same else ("sequence_taken", False)
        if book.is_older(told):
            return "older_sequence", False
        if now is not None and told.expires_at <= now.earliest:
            # It came too late to be followed, yet what it replaced is replaced.
            book.begun = told.sequence
            book.advance(now)
            return "expired", False
        if len(book.kept) >= KEPT_MAX:
            return "too_many_kept", False
        book.kept[told.sequence] = _Kept(told, letter)
        if now is not None:
            book.advance(now)
        return "accepted", True

    def _remember(self, memory: AgentMemory) -> None:
        for kind, book in self._books.items():
            book.begun = memory.begun.get(kind, -1)
        for letter in memory.letters:
            try:
                content = open_letter(letter, self.settings.keys)
            except BadLetter as error:
                self.refused[str(error)] += 1
                continue
            if isinstance(content, Instruction) and content.asset == self.settings.asset:
                self._books[content.kind].kept[content.sequence] = _Kept(content, letter)


def _limits(told: Instruction, low: int, high: int) -> tuple[int, int]:
    """Return an instruction's limits; the side it leaves open keeps the one it had."""
    least = low if told.p_min_w is None else told.p_min_w
    most = high if told.p_max_w is None else told.p_max_w
    return min(least, most), most


def _within(least: int, most: int, low: int, high: int) -> tuple[int, int]:
    """Cut limits to others; where they do not meet, the nearest point of the first remains."""
    return min(max(least, low), high), max(min(most, high), low)
