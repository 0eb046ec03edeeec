"""Clients of the API, applications for the register, answers by key, and actions for the ledger."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.exc import IntegrityError

from data.periods import format_utc
from dso.store.book import market_now
from dso.store.store import Store
from dso.store.tables import API_ACTION, API_ANSWER, API_CLIENT, REGISTRATION
from ledger_adapter.actions import batch_for_actions
from ledger_adapter.keys import SubjectKeys
from ledger_adapter.sql_log import SqlLog
from ledger_adapter.verify.opening import ACTION_FIELDS

ACTIONS_PER_BATCH: Final = 5_000
MARKET_CLOCK: Final = "market clock"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiClient:
    """A program that may ask for tokens; ``locked_until`` is UTC text or None."""

    id: str
    party: str
    secret_hash: str
    created_at: str
    revoked: bool = False
    failures: int = 0
    locked_until: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """An application: ``content`` is what it asks for, ``checks`` what was looked at."""

    id: int
    kind: str
    applicant: str
    content: Mapping[str, Any]
    state: str
    checks: Mapping[str, Any]
    reason: str
    applied_at: str
    decided_at: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """What a party did; ``batch_key`` and ``leaf`` say where the action log has it."""

    action: str
    actor: str
    role: str
    verb: str
    object: str
    reason: str
    at_utc: str
    batch_key: str | None = None
    leaf: int | None = None


def add_client(connection: Connection, client: ApiClient) -> None:
    """Keep a new client."""
    connection.execute(insert(API_CLIENT).values(**asdict(client)))


def find_client(connection: Connection, name: str, *, lock: bool = False) -> ApiClient | None:
    """Return a client, or None."""
    query = select(API_CLIENT).where(API_CLIENT.c.id == name)
    row = connection.execute(query.with_for_update() if lock else query).mappings().one_or_none()
    return None if row is None else ApiClient(**row)


def count_failure(
    connection: Connection, name: str, *, failures: int, locked_until: datetime | None
) -> None:
    """Keep how often in a row a client failed, and until when it is not listened to."""
    until = None if locked_until is None else format_utc(locked_until)
    connection.execute(
        update(API_CLIENT)
        .where(API_CLIENT.c.id == name)
        .values(failures=failures, locked_until=until)
    )


def revoke_client(connection: Connection, name: str) -> bool:
    """Stop a client for good; False where there is none."""
    changed = connection.execute(
        update(API_CLIENT).where(API_CLIENT.c.id == name).values(revoked=True)
    )
    return changed.rowcount == 1


def add_registration(
    connection: Connection, kind: str, applicant: str, content: Mapping[str, Any], at: datetime
) -> int:
    """Keep an application and return its number."""
    return int(
        connection.execute(
            insert(REGISTRATION)
            .values(
                kind=kind,
                applicant=applicant,
                content=json.dumps(content, sort_keys=True),
                state="applied",
                checks="{}",
                reason="",
                applied_at=format_utc(at),
            )
            .returning(REGISTRATION.c.id)
        ).scalar_one()
    )


def decide_registration(
    connection: Connection,
    number: int,
    *,
    state: str,
    checks: Mapping[str, bool],
    reason: str,
    at: datetime,
) -> bool:
    """Decide an application; False where it was decided before."""
    changed = connection.execute(
        update(REGISTRATION)
        .where(REGISTRATION.c.id == number, REGISTRATION.c.state == "applied")
        .values(
            state=state,
            checks=json.dumps(checks, sort_keys=True),
            reason=reason,
            decided_at=format_utc(at),
        )
    )
    return changed.rowcount == 1


def find_registration(connection: Connection, number: int) -> Registration | None:
    """Return an application, or None."""
    query = select(REGISTRATION).where(REGISTRATION.c.id == number)
    row = connection.execute(query).mappings().one_or_none()
    return None if row is None else _registration(row)


def page_registrations(
    connection: Connection, *, applicant: str | None, after: int, limit: int
) -> tuple[Registration, ...]:
    """Return applications by number; of one party, or of all with None."""
    query = select(REGISTRATION).where(REGISTRATION.c.id > after)
    if applicant is not None:
        query = query.where(REGISTRATION.c.applicant == applicant)
    rows = connection.execute(query.order_by(REGISTRATION.c.id).limit(limit)).mappings()
    return tuple(_registration(row) for row in rows)


def _registration(row: Any) -> Registration:  # noqa: ANN401 - the mapping of a row
    plain = dict(row)
    return Registration(
        **{**plain, "content": json.loads(plain["content"]), "checks": json.loads(plain["checks"])}
    )


class AnswerConflict(Exception):
    """The key was used for another request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer and whether it was given before."""

    status: int
    body: str
    repeated: bool = False


def answer_once(
    store: Store,
    work: Callable[[Connection, datetime], tuple[int, str]],
    *,
    party: str,
    key: str | None,
    content_sha256: str,
) -> Answer:
    """Do something and keep its answer in one transaction, or give the answer of before.

    Parameters
    ----------
    store : Store
        Where it happens.
    work : callable
        Does it on a connection at an instant of the market; returns status and body.
    party : str
        Whose key it is.
    key : str or None
        Idempotency key; None: always done.
    content_sha256 : str
        Digest of the request.

    Raises
    ------
    AnswerConflict
        If the key was used for another request.
    """
    while True:
        try:
            with store.transaction() as connection:
                known = None if key is None else _find_answer(connection, party, key)
                if known is not None:
                    if known[0] != content_sha256:
                        raise AnswerConflict(key)
                    return Answer(status=known[1], body=known[2], repeated=True)
                at = market_now(connection)
                status, body = work(connection, at)
                if key is not None and not _keep_answer(
                    connection, party, key, (content_sha256, status, body), at
                ):
                    raise _AnsweredMeanwhile  # noqa: TRY301 - undoes the transaction
                return Answer(status=status, body=body)
        except _AnsweredMeanwhile:
            continue  # the same request in another connection was first; its answer counts


class _AnsweredMeanwhile(Exception):
    """Undoes the transaction."""


def _find_answer(connection: Connection, party: str, key: str) -> tuple[str, int, str] | None:
    table = API_ANSWER.c
    query = select(table.content_sha256, table.status, table.body)
    row = connection.execute(
        query.where(table.party == party, table.request_key == key)
    ).one_or_none()
    return None if row is None else (row[0], row[1], row[2])


def _keep_answer(
    connection: Connection, party: str, key: str, answer: tuple[str, int, str], at: datetime
) -> bool:
    content_sha256, status, body = answer
    values = {
        "party": party, "request_key": key, "content_sha256": content_sha256, "status": status,
        "body": body, "answered_at": format_utc(at),
    }  # fmt: skip
    try:
        with connection.begin_nested():
            connection.execute(insert(API_ANSWER).values(values))
    except IntegrityError:
        return False
    return True


def add_actions(
    connection: Connection,
    what: Sequence[tuple[str, str, str]],
    *,
    actor: str,
    role: str,
    at: datetime,
) -> None:
    """Keep actions (verb, object, reason) with their effect; `post_actions` takes them on."""
    rows = [
        {
            "action": secrets.token_hex(16), "actor": actor, "role": role, "verb": verb,
            "object": thing, "reason": reason, "at_utc": format_utc(at),
        }
        for verb, thing, reason in what
    ]  # fmt: skip
    if rows:
        connection.execute(insert(API_ACTION), rows)


def post_actions(log: SqlLog, records: SqlLog, subjects: SubjectKeys) -> int:
    """Post what waits to the action log, batch and mark in one transaction; return how many.

    Parameters
    ----------
    log : SqlLog
        The action log.
    records : SqlLog
        The record log, whose head the batch names.
    subjects : SubjectKeys
        Keys of the actors.
    """
    waiting = (
        select(API_ACTION)
        .where(API_ACTION.c.batch_key.is_(None))
        .order_by(API_ACTION.c.id)
        .limit(ACTIONS_PER_BATCH)
    )
    head = records.head()
    with log.engine.begin() as connection:
        if log.engine.dialect.name == "postgresql":
            waiting = waiting.with_for_update()
        rows = connection.execute(waiting).mappings().all()
        if not rows:
            return 0
        actions = [
            {
                **{name: row[name] for name in ACTION_FIELDS if name != "clock"},
                "clock": MARKET_CLOCK,
            }
            for row in rows
        ]
        batch = batch_for_actions(
            {"log": log.key.name, "first": str(rows[0]["id"]), "last": str(rows[-1]["id"])},
            actions=actions,
            record_head=head,
            subjects=subjects,
        )
        receipt = log.post(batch, connection=connection)
        for place, row in enumerate(rows, start=1):
            connection.execute(
                update(API_ACTION)
                .where(API_ACTION.c.id == row["id"])
                .values(batch_key=receipt.key.hex(), leaf=receipt.first + place)
            )
    return len(rows)


def page_actions(
    connection: Connection, *, actor: str | None, after: int, limit: int
) -> tuple[dict[str, Any], ...]:
    """Return actions by number, with their place in the action log; of one actor, or of all."""
    query = select(API_ACTION).where(API_ACTION.c.id > after)
    if actor is not None:
        query = query.where(API_ACTION.c.actor == actor)
    rows = connection.execute(query.order_by(API_ACTION.c.id).limit(limit)).mappings()
    return tuple(dict(row) for row in rows)


def find_action(connection: Connection, name: str) -> Action | None:
    """Return an action by its id, or None."""
    query = select(API_ACTION).where(API_ACTION.c.action == name)
    row = connection.execute(query).mappings().one_or_none()
    return None if row is None else Action(**{n: row[n] for n in Action.__dataclass_fields__})


def actions_by_object(connection: Connection, prefix: str) -> dict[tuple[str, str], Action]:
    """Return actions whose object begins with a prefix, by (verb, object)."""
    query = select(API_ACTION).where(API_ACTION.c.object.startswith(prefix, autoescape=True))
    found = {}
    for row in connection.execute(query.order_by(API_ACTION.c.id)).mappings():
        plain = {name: row[name] for name in Action.__dataclass_fields__}
        found[row["verb"], row["object"]] = Action(**plain)
    return found
