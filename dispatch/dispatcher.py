"""The market's desk for devices: orders instructions, listens, keeps what became of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from data.records.dispatch import (
    Acknowledgement,
    Activation,
    ActivationState,
    DroopPoint,
    Instruction,
    InstructionKind,
    Presence,
    Telemetry,
)
from dispatch import activation as lifecycle
from dispatch.channels.port import Channel
from dispatch.instruction_log import InstructionLog
from dispatch.messages import Heard, LetterKey, TimeAnswer, TimeRequest, Undelivered, Unreadable

UNFINISHED: Final = frozenset(
    {ActivationState.ORDERED, ActivationState.ACKNOWLEDGED, ActivationState.ACTIVE}
)


class Clock(Protocol):
    """Tells the market's time."""

    def now(self) -> datetime:
        """Return the current instant in UTC."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What one asset is to be told; the desk adds id, sequence number and time of issue.

    Parameters
    ----------
    asset, kind, reason
        As in `Instruction`.
    expires_at : datetime
        End of its validity, UTC.
    valid_from : datetime or None
        Its beginning; None: at once.
    p_w, q_var, p_min_w, p_max_w, droop
        As in `Instruction`.
    """

    asset: str
    kind: InstructionKind
    reason: str
    expires_at: datetime
    valid_from: datetime | None = None
    p_w: int | None = None
    q_var: int | None = None
    p_min_w: int | None = None
    p_max_w: int | None = None
    droop: tuple[DroopPoint, ...] = ()


class Dispatcher:
    """Sends instructions through a channel and follows each to its end.

    Parameters
    ----------
    channel : Channel
        Carries letters.
    key : LetterKey
        Signs them.
    clock : Clock
        The market's time.
    log : InstructionLog, optional
        Where instructions are kept; default: in memory.

    Examples
    --------
    One device in the same process; with a broker only the channel and the link change:

    >>> from datetime import UTC, timedelta
    >>> from dispatch.agents.device_agent import AgentSettings, DeviceAgent
    >>> from dispatch.agents.market_time import LocalTime
    >>> from dispatch.agents.station import Station
    >>> from dispatch.channels.in_process import InProcessChannel
    >>> noon = datetime(2026, 6, 1, 12, tzinfo=UTC)
    >>> class Noon:
    ...     def now(self):
    ...         return noon
    >>> channel, key = InProcessChannel(), LetterKey(name="market-1", seed=bytes(32))
    >>> desk = Dispatcher(channel=channel, key=key, clock=Noon())
    >>> settings = AgentSettings(
    ...     asset="sgen:1", keys={key.name: key.public}, p_min_w=0, p_max_w=9000
    ... )
    >>> device = Station(DeviceAgent(settings), channel.link("sgen:1"))
    >>> here = LocalTime(counter_s=noon.timestamp(), wall=noon)
    >>> device.turn(here)                         # asks for the time
    >>> (order,) = desk.tell(
    ...     [Told(asset="sgen:1", kind="setpoint", reason="line 7", p_w=4000,
    ...           expires_at=noon + timedelta(minutes=2))]
    ... )
    >>> heard = desk.listen()                     # answers about the time
    >>> device.turn(here)                         # takes both letters, acknowledges
    >>> device.report(here, p_w=4000, q_var=0)    # telemetry
    >>> heard = desk.listen()
    >>> desk.activation(order.instruction.id).state.value, device.command(here).p_w
    ('active', 4000)
    """

    def __init__(
        self,
        *,
        channel: Channel,
        key: LetterKey,
        clock: Clock,
        log: InstructionLog | None = None,
    ) -> None:
        self.telemetry: dict[str, tuple[datetime, Telemetry]] = {}
        self.online: dict[str, bool] = {}
        self.heard_at: dict[str, datetime] = {}
        self._channel, self._key, self._clock = channel, key, clock
        self._log = log or InstructionLog()
        self._sequences = self._log.last_sequences()
        self._open = {
            name: None
            for name, each in self._log.activations.items()
            if not lifecycle.is_final(each)
        }

    def tell(self, wanted: Iterable[Told]) -> tuple[Activation, ...]:
        """Order and send; all are in the log, on the disk, before the first one leaves.

        Raises
        ------
        InputError
            If one of them is no instruction; then none is sent.
        """
        now = self._clock.now()
        sequences = dict(self._sequences)
        orders = [lifecycle.order(_instruction(each, now, sequences), now) for each in wanted]
        for order in orders:
            self._log.keep(order)
            self._open[order.instruction.id] = None
        self._log.sync()
        self._sequences = sequences
        for order in orders:
            self._channel.send(self._key.seal(order.instruction, now=now))
        return tuple(orders)

    def send_again(self) -> int:
        """Send what no device has answered yet, e.g. after a restart; return how many."""
        now = self._clock.now()
        waiting = [
            each.instruction
            for each in self.unfinished()
            if each.state is ActivationState.ORDERED and now < each.instruction.expires_at
        ]
        for told in waiting:
            self._channel.send(self._key.seal(told, now=now))
        return len(waiting)

    def listen(self, wait_s: float = 0.0) -> tuple[Heard, ...]:
        """Take in what was said, answer questions about the time, let time pass.

        Parameters
        ----------
        wait_s : float
            Longest wait for the first message [s].

        Returns
        -------
        tuple
            What was heard, in the order in which it came.
        """
        heard = self._channel.events(wait_s)
        for message in heard:
            now = self._clock.now()
            if isinstance(message, TimeRequest):
                answer = TimeAnswer(asset=message.asset, nonce=message.nonce, at=now)
                self._channel.send(self._key.seal(answer))
            elif isinstance(message, Unreadable):
                self._log.note(f"unreadable, from {message.sender}: {message.reason}", now)
                continue
            self._take(message, now)
        self.pass_time()
        return heard

    def pass_time(self) -> None:
        """End what is over or was replaced."""
        now = self._clock.now()
        newest: dict[tuple[str, str], Instruction] = {}
        for each in self.unfinished():
            told = each.instruction
            begun = each.state is not ActivationState.ORDERED and told.valid_from <= now
            best = newest.get((told.asset, told.kind))
            if begun and (best is None or told.sequence > best.sequence):
                newest[told.asset, told.kind] = told
        for each in self.unfinished():
            told = each.instruction
            after = lifecycle.reached(each, now)
            by = newest.get((told.asset, told.kind))
            if by is not None:
                after = lifecycle.heard_replacement(after, by, now)
            self._keep(each, after)

    def activation(self, instruction: str) -> Activation:
        """Return an instruction with everything that became of it."""
        return self._log.activations[instruction]

    def unfinished(self) -> list[Activation]:
        """Return what has not ended, oldest first."""
        return [self._log.activations[name] for name in self._open]

    def silent_assets(self, assets: Iterable[str], for_s: float) -> list[str]:
        """Return those of whom nothing was heard for longer than ``for_s`` [s]."""
        now = self._clock.now()
        last = self.heard_at
        return [
            asset
            for asset in assets
            if asset not in last or (now - last[asset]).total_seconds() > for_s
        ]

    def close(self) -> None:
        """Close the channel and the log."""
        self._channel.close()
        self._log.close()

    def _take(self, message: Heard, now: datetime) -> None:
        if isinstance(message, Presence):
            self.online[message.asset] = message.online
            return
        if isinstance(message, Undelivered):
            reason = message.reason
            self._change(
                message.instruction, lambda each: lifecycle.heard_failure(each, now, reason), now
            )
            return
        if isinstance(message, Unreadable):
            return
        self.heard_at[message.asset] = now
        if isinstance(message, Acknowledgement):
            answer = message
            self._change(
                answer.instruction,
                lambda each: lifecycle.heard_acknowledgement(each, answer, now),
                now,
            )
        elif isinstance(message, Telemetry):
            measured = message
            self.telemetry[measured.asset] = now, measured
            for name in measured.in_force:
                self._change(name, lambda each: lifecycle.heard_telemetry(each, measured, now), now)

    def _change(
        self, instruction: str, change: Callable[[Activation], Activation], now: datetime
    ) -> None:
        """Apply what was heard; what the state does not allow is noted and changes nothing."""
        before = self._log.activations.get(instruction)
        if before is None:
            self._log.note(f"heard about instruction {instruction}, which was never given", now)
            return
        try:
            self._keep(before, change(before))
        except lifecycle.IllegalTransition as error:
            self._log.note(str(error), now)

    def _keep(self, before: Activation, after: Activation) -> None:
        if after is not before:
            self._log.keep(after)
            if lifecycle.is_final(after):
                self._open.pop(after.instruction.id, None)


def _instruction(told: Told, now: datetime, sequences: dict[str, int]) -> Instruction:
    """Make the instruction; milliseconds keep its number growing even if a log was lost."""
    sequence = max(sequences.get(told.asset, -1) + 1, int(now.timestamp() * 1000))
    made = Instruction(
        id=f"{told.asset}/{sequence}",
        asset=told.asset,
        sequence=sequence,
        kind=told.kind,
        issued_at=now,
        valid_from=told.valid_from or now,
        expires_at=told.expires_at,
        reason=told.reason,
        p_w=told.p_w,
        q_var=told.q_var,
        p_min_w=told.p_min_w,
        p_max_w=told.p_max_w,
        droop=told.droop,
    )
    sequences[told.asset] = sequence
    return made
