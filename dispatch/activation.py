"""How far an instruction has come: what was heard in, its state out.

Every function takes an `Activation` and returns it one change longer; what happened before is
never rewritten. Times are the market's, handed in by the caller.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Final

from data.records.dispatch import (
    ACTIVATION_TRANSITIONS,
    Acknowledgement,
    Activation,
    ActivationChange,
    ActivationState,
    Instruction,
    Telemetry,
)

ECHOES: Final = frozenset({"older_sequence", "expired"})
"""Answers to a letter that came again late; they take nothing back that was accepted before."""


class IllegalTransition(Exception):
    """An activation was to move where its state does not lead, or back in time."""


def order(instruction: Instruction, at: datetime) -> Activation:
    """Begin the record of an instruction that is about to be sent."""
    change = ActivationChange(state=ActivationState.ORDERED, at=at, reason=instruction.reason)
    return Activation(instruction=instruction, changes=(change,))


def move(activation: Activation, state: ActivationState, at: datetime, reason: str) -> Activation:
    """Append one change.

    Raises
    ------
    IllegalTransition
        If the state does not lead there, or ``at`` lies before the last change.
    """
    last = activation.changes[-1]
    name = f"instruction {activation.instruction.id}"
    if state not in ACTIVATION_TRANSITIONS[last.state]:
        raise IllegalTransition(f"{name}: {last.state} does not lead to {state} ({reason})")
    if at < last.at:
        raise IllegalTransition(f"{name}: {state} at {at} lies before {last.state} at {last.at}")
    change = ActivationChange(state=state, at=at, reason=reason)
    return replace(activation, changes=(*activation.changes, change))


def is_final(activation: Activation) -> bool:
    """Say whether nothing can become of it any more."""
    return not ACTIVATION_TRANSITIONS[activation.state]


def heard_acknowledgement(
    activation: Activation, answer: Acknowledgement, at: datetime
) -> Activation:
    """Take a device's answer; a repeated answer changes nothing.

    Raises
    ------
    IllegalTransition
        If the answer is about another instruction or asset, or comes after the end.
    """
    _belongs(activation, answer.asset, answer.instruction)
    if answer.accepted:
        if activation.state in (ActivationState.ACKNOWLEDGED, ActivationState.ACTIVE):
            return activation
        return move(activation, ActivationState.ACKNOWLEDGED, at, answer.reason)
    echo = answer.reason in ECHOES and activation.state is not ActivationState.ORDERED
    if echo or activation.state is ActivationState.FAILED:
        return activation
    return move(activation, ActivationState.FAILED, at, f"refused by the device: {answer.reason}")


def heard_telemetry(activation: Activation, measured: Telemetry, at: datetime) -> Activation:
    """Take a measurement that names what is in force; one that does not name it changes nothing.

    A measurement may overtake the acknowledgement it implies.

    Raises
    ------
    IllegalTransition
        If the device says it follows an instruction that has ended.
    """
    told = activation.instruction
    if measured.asset != told.asset or told.id not in (measured.active, *measured.in_force):
        return activation
    if activation.state is ActivationState.ACTIVE:
        return activation
    if activation.state is ActivationState.ORDERED:
        activation = move(
            activation, ActivationState.ACKNOWLEDGED, at, "telemetry overtook the acknowledgement"
        )
    return move(activation, ActivationState.ACTIVE, at, "in force, says the device")


def heard_replacement(activation: Activation, newer: Instruction, at: datetime) -> Activation:
    """End what a newer instruction of the same kind has replaced; done if it was in force."""
    told = activation.instruction
    replaces = (
        newer.asset == told.asset
        and newer.kind == told.kind
        and newer.sequence > told.sequence
        and newer.valid_from <= at
    )
    if not replaces or is_final(activation):
        return activation
    was_active = activation.state is ActivationState.ACTIVE
    state = ActivationState.DONE if was_active else ActivationState.EXPIRED
    return move(activation, state, at, f"replaced by {newer.id}")


def heard_failure(activation: Activation, at: datetime, reason: str) -> Activation:
    """End what could not be delivered or broke down; what has ended already stays as it is."""
    if is_final(activation):
        return activation
    return move(activation, ActivationState.FAILED, at, reason)


def reached(activation: Activation, now: datetime) -> Activation:
    """Let time pass: at ``expires_at`` an instruction is done, or has expired if never in force."""
    end = activation.instruction.expires_at
    if is_final(activation) or now < end:
        return activation
    at = max(end, activation.changes[-1].at)
    if activation.state is ActivationState.ACTIVE:
        return move(activation, ActivationState.DONE, at, "its time is over")
    missing = (
        "never acknowledged" if activation.state is ActivationState.ORDERED else "never in force"
    )
    return move(activation, ActivationState.EXPIRED, at, f"its time is over; {missing}")


def is_overdue(activation: Activation, now: datetime, within_s: float) -> bool:
    """Say whether an answer is missing for longer than ``within_s`` [s]."""
    waiting = activation.state is ActivationState.ORDERED
    return waiting and (now - activation.changes[0].at).total_seconds() > within_s


def _belongs(activation: Activation, asset: str, instruction: str) -> None:
    told = activation.instruction
    if (asset, instruction) != (told.asset, told.id):
        raise IllegalTransition(
            f"instruction {told.id} of {told.asset}: answer of {asset} about {instruction}"
        )
