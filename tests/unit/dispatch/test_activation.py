"""The states of an activation: each transition of the table, no other, never back in time."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from data.errors import InputError
from data.records.dispatch import (
    ACTIVATION_TRANSITIONS,
    Acknowledgement,
    Activation,
    ActivationState,
    DroopPoint,
    Instruction,
    Telemetry,
)
from dispatch.activation import (
    IllegalTransition,
    heard_acknowledgement,
    heard_failure,
    heard_replacement,
    heard_telemetry,
    is_final,
    is_overdue,
    move,
    order,
    reached,
)

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
STATES = tuple(ActivationState)
ORDERED, ACKNOWLEDGED, ACTIVE, DONE, FAILED, EXPIRED = STATES
TOLD = Instruction(
    id="i1", asset="sgen:1", sequence=1, kind="setpoint", reason="line 7", issued_at=NOON,
    valid_from=NOON, expires_at=NOON + timedelta(minutes=2), p_w=4000,
)  # fmt: skip
# The diagram of the states, written down a second time.
WAYS = {
    (ORDERED, ACKNOWLEDGED), (ORDERED, FAILED), (ORDERED, EXPIRED), (ACKNOWLEDGED, ACTIVE),
    (ACKNOWLEDGED, FAILED), (ACKNOWLEDGED, EXPIRED), (ACTIVE, DONE), (ACTIVE, FAILED),
}  # fmt: skip
ROUTES = {
    ORDERED: (), ACKNOWLEDGED: (ACKNOWLEDGED,), ACTIVE: (ACKNOWLEDGED, ACTIVE),
    DONE: (ACKNOWLEDGED, ACTIVE, DONE), FAILED: (FAILED,), EXPIRED: (EXPIRED,),
}  # fmt: skip


def later(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def in_state(state: ActivationState) -> Activation:
    made = order(TOLD, NOON)
    for number, each in enumerate(ROUTES[state], start=1):
        made = move(made, each, later(number), "test")
    return made


def answer(*, accepted: bool = True, reason: str = "accepted") -> Acknowledgement:
    return Acknowledgement(
        asset="sgen:1", instruction="i1", accepted=accepted, reason=reason, at=NOON
    )


def telemetry(*in_force: str, asset: str = "sgen:1") -> Telemetry:
    return Telemetry(asset=asset, at=NOON, p_w=0, q_var=0, in_force=in_force)


@pytest.mark.parametrize(("before", "after"), list(itertools.product(STATES, STATES)))
def test_exactly_the_ways_of_the_diagram_are_open(
    before: ActivationState, after: ActivationState
) -> None:
    made = in_state(before)
    assert (after in ACTIVATION_TRANSITIONS[before]) == ((before, after) in WAYS)
    if (before, after) in WAYS:
        moved = move(made, after, later(60), "because")
        assert moved.changes[:-1] == made.changes
        assert (moved.state, moved.changes[-1].reason) == (after, "because")
    else:
        with pytest.raises(IllegalTransition, match=f"{before} does not lead to {after}"):
            move(made, after, later(60), "because")
    assert is_final(in_state(before)) == (before in (DONE, FAILED, EXPIRED))


def test_time_never_goes_back() -> None:
    with pytest.raises(IllegalTransition, match="lies before"):
        move(in_state(ACKNOWLEDGED), ACTIVE, later(0.5), "test")


def test_an_answer_is_taken_once_and_an_echo_takes_nothing_back() -> None:
    ordered = order(TOLD, NOON)
    taken = heard_acknowledgement(ordered, answer(), later(1))
    assert taken.state is ACKNOWLEDGED
    assert heard_acknowledgement(taken, answer(reason="duplicate"), later(2)) is taken
    active = in_state(ACTIVE)
    echo = answer(accepted=False, reason="older_sequence")
    assert heard_acknowledgement(active, echo, later(9)) is active
    refused = heard_acknowledgement(ordered, echo, later(1))
    assert (refused.state, refused.changes[-1].reason) == (
        FAILED, "refused by the device: older_sequence",
    )  # fmt: skip
    broken = heard_acknowledgement(active, answer(accepted=False, reason="inverter off"), later(9))
    assert broken.state is FAILED
    with pytest.raises(IllegalTransition):
        heard_acknowledgement(in_state(EXPIRED), answer(), later(200))
    for wrong in (replace(answer(), asset="sgen:2"), replace(answer(), instruction="i2")):
        with pytest.raises(IllegalTransition, match="answer of"):
            heard_acknowledgement(ordered, wrong, later(1))


def test_telemetry_may_overtake_the_acknowledgement() -> None:
    seen = heard_telemetry(order(TOLD, NOON), telemetry("i1"), later(1))
    assert [change.state for change in seen.changes] == [ORDERED, ACKNOWLEDGED, ACTIVE]
    assert heard_telemetry(seen, telemetry("i1"), later(2)) is seen
    for other in (telemetry("i2"), telemetry(), telemetry("i1", asset="sgen:2")):
        assert heard_telemetry(in_state(ACKNOWLEDGED), other, later(5)).state is ACKNOWLEDGED
    with pytest.raises(IllegalTransition):  # it says it follows what has ended
        heard_telemetry(in_state(DONE), telemetry("i1"), later(200))


def test_a_newer_one_of_the_kind_replaces_when_it_begins() -> None:
    newer = replace(TOLD, id="i2", sequence=2, valid_from=later(60))
    assert heard_replacement(in_state(ACTIVE), newer, later(59)).state is ACTIVE
    assert heard_replacement(in_state(ACTIVE), newer, later(60)).state is DONE
    assert heard_replacement(in_state(ACKNOWLEDGED), newer, later(60)).state is EXPIRED
    for other in (
        replace(newer, sequence=1), replace(newer, asset="sgen:2"),
        replace(newer, kind="envelope", p_w=None, p_max_w=1),
    ):  # fmt: skip
        assert heard_replacement(in_state(ACTIVE), other, later(60)).state is ACTIVE
    failed = in_state(FAILED)
    assert heard_replacement(failed, newer, later(60)) is failed


def test_time_ends_everything_with_its_reason() -> None:
    found = {state: reached(in_state(state), later(500)) for state in STATES}
    assert {before: after.state for before, after in found.items()} == {
        ORDERED: EXPIRED, ACKNOWLEDGED: EXPIRED, ACTIVE: DONE, DONE: DONE, FAILED: FAILED,
        EXPIRED: EXPIRED,
    }  # fmt: skip
    assert found[ORDERED].changes[-1].at == TOLD.expires_at
    assert "never acknowledged" in found[ORDERED].changes[-1].reason
    assert "never in force" in found[ACKNOWLEDGED].changes[-1].reason
    assert reached(in_state(ACTIVE), later(119.9)).state is ACTIVE


def test_failures_and_missing_answers() -> None:
    assert heard_failure(in_state(ACTIVE), later(9), "fuse").state is FAILED
    done = in_state(DONE)
    assert heard_failure(done, later(9), "fuse") is done
    assert is_overdue(order(TOLD, NOON), later(31), 30.0)
    assert not is_overdue(order(TOLD, NOON), later(29), 30.0)
    assert not is_overdue(in_state(ACKNOWLEDGED), later(99), 30.0)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"p_w": None}, "needs p_w or q_var"),
        ({"p_max_w": 1}, "p_max_w does not belong to a setpoint"),
        ({"p_w": 1.5}, "not a whole number"),
        ({"p_w": float("nan")}, "not a whole number"),
        ({"p_w": True}, "not a whole number"),
        ({"sequence": -1}, "negative"),
        ({"asset": " "}, "asset is empty"),
        ({"expires_at": NOON}, "expires_at does not lie after"),
        ({"valid_from": datetime(2026, 6, 1)}, "no UTC offset"),  # noqa: DTZ001
        ({"kind": "wish"}, "is none of"),
        ({"kind": "envelope", "p_w": None, "p_min_w": 2, "p_max_w": 1}, "is above"),
        ({"kind": "droop", "p_w": None}, "a droop needs droop"),
        (
            {"kind": "droop", "p_w": None, "droop": (DroopPoint(vm_pu=1.0), DroopPoint(vm_pu=1.0))},
            "do not rise; the droop sets neither",
        ),
        (
            {"kind": "droop", "p_w": None, "droop": (DroopPoint(vm_pu=float("nan"), q_var=1),)},
            "not a positive number",
        ),
        (
            {
                "kind": "droop", "p_w": None,
                "droop": (DroopPoint(vm_pu=1.0, q_var=1), DroopPoint(vm_pu=1.1, p_max_w=1)),
            },
            "in some droop corners",
        ),
    ],
)  # fmt: skip
def test_what_is_no_instruction_is_refused(changes: dict[str, object], what: str) -> None:
    with pytest.raises(InputError) as refused:
        replace(TOLD, **changes)
    assert what in "; ".join(problem.what for problem in refused.value.problems)
