"""People and clearings: two signatures before one binds, and an override with its reason.

Every signature stands in the ledger's action log, whose tree others can verify; the store keeps it
for the workers.
"""

from __future__ import annotations

from dataclasses import dataclass

from data.errors import InputError, Problem
from data.records.posting import Receipt
from dso.clock import Clock
from dso.scheduler.operation import Operation
from dso.store import DueCycle, Signature
from ledger_adapter.actions import post_action
from ledger_adapter.sql_log import SqlLog
from ledger_adapter.sql_schema import ACTION_TABLES


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """What a signature did: where it stands in the action log, and how many are missing still."""

    receipt: Receipt
    missing: int


def sign_clearing(
    operation: Operation, due: DueCycle, signature: Signature, *, role: str, clock: Clock
) -> Signed:
    """Sign a clearing that waits: release it, override the missing signatures, or withhold it.

    Parameters
    ----------
    operation : Operation
        What is operated.
    due : DueCycle
        The clearing.
    signature : Signature
        Who says what of which output, and why; a reason is needed for all but a release.
    role : str
        In which role, for the action log.
    clock : Clock
        The market's time.

    Raises
    ------
    InputError
        If no such clearing waits, its output is another one, or the reason is missing.
    """
    waiting = waiting_output(operation, due)
    problems = []
    if waiting is None:
        remedy = "dso release --list shows what waits"
        problems.append(Problem(where=str(due), what="does not wait for anybody", remedy=remedy))
    elif waiting != signature.output_sha256:
        what = f"its output is {waiting}, not {signature.output_sha256}"
        problems.append(Problem(where=str(due), what=what, remedy="look at it again, then sign"))
    if signature.verdict != "release" and not signature.reason.strip():
        problems.append(Problem(where="reason", what=f"is needed to {signature.verdict}"))
    if problems:
        raise InputError(problems)
    services = operation.services
    actions = SqlLog(services.store.engine, services.keys.actions, ACTION_TABLES)
    receipt = post_action(
        actions,
        {
            "actor": signature.actor,
            "role": role,
            "verb": signature.verdict,
            "object": f"{due} output {signature.output_sha256}",
            "reason": signature.reason,
        },
        at=clock.now(),
        record_head=services.ledger.head(),
        subjects=services.keys.subjects,
        clock="market clock",
    )
    needed = operation.rules_of(due).cycles.release_signatures
    missing = operation.queue.sign(due, signature, needed=needed)
    return Signed(receipt=receipt, missing=missing)


def find_waiting(operation: Operation) -> tuple[tuple[DueCycle, str], ...]:
    """Return every clearing that waits for signatures, with the digest of its output."""
    return tuple((due, remark.rpartition(" ")[2]) for due, remark in operation.queue.held())


def waiting_output(operation: Operation, due: DueCycle) -> str | None:
    """Return the digest of the output that waits, or None."""
    return {str(each): output for each, output in find_waiting(operation)}.get(str(due))
