"""Secrets of clients: drawn here, shown once, kept as an argon2 hash; guessing is slowed."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Final

from argon2 import PasswordHasher
from argon2.exceptions import VerificationError

from data.errors import InputError, Problem
from data.periods import format_utc, parse_utc
from dso.store.access import ApiClient, add_actions, add_client, count_failure, find_client
from dso.store.book import market_now
from dso.store.register import Register
from dso.store.register_records import Party, PartyRole

if TYPE_CHECKING:
    from dso.store import Connection, Store

CLIENT_BYTES: Final = 12
SECRET_BYTES: Final = 32
# After this many failures in a row a client is not listened to, each time twice as long.
FREE_FAILURES: Final = 4
LOCK_S_MAX: Final = 300


class BadSecret(Exception):
    """Client or secret are wrong; which of the two is not said."""


@dataclass(frozen=True, slots=True)
class Locked(Exception):
    """The client failed too often; ``wait_s`` says how long it is not listened to [s]."""

    wait_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCredentials:
    """What a client asks for tokens with; the secret cannot be read again."""

    client_id: str
    client_secret: str


@cache
def _hasher() -> PasswordHasher:
    return PasswordHasher()


@cache
def _hash_of_nobody() -> str:
    return _hasher().hash(secrets.token_hex(SECRET_BYTES))


def draw_credentials() -> tuple[NewCredentials, str]:
    """Return new credentials and the hash to keep; it takes some 50 ms, hold no lock."""
    secret = secrets.token_urlsafe(SECRET_BYTES)
    name = f"c-{secrets.token_hex(CLIENT_BYTES)}"
    return NewCredentials(client_id=name, client_secret=secret), _hasher().hash(secret)


def add_credentials(
    connection: Connection, party: str, drawn: tuple[NewCredentials, str], at: datetime
) -> None:
    """Keep drawn credentials for a party in the caller's transaction."""
    client = ApiClient(
        id=drawn[0].client_id, party=party, secret_hash=drawn[1], created_at=format_utc(at)
    )
    add_client(connection, client)


def add_party_client(store: Store, party: str, role: PartyRole) -> NewCredentials:
    """Enter a party that the operator vouches for, unless it is there, and give it a client.

    Raises
    ------
    InputError
        If the party is there in another role.
    """
    drawn = draw_credentials()
    with store.transaction() as connection:
        at = market_now(connection)
        known = Register(Party).history(connection, party)
        if known and known[-1].role != role:
            problem = Problem(where=f"party {party}", what=f"is registered as {known[-1].role}")
            raise InputError([problem])
        if not known:
            entered = Party(id=party, name=party, role=role, certification="vouched for by the"
                            " operator", valid_from=at, known_at=at)  # fmt: skip
            Register(Party).add(connection, [entered])
        add_credentials(connection, party, drawn, at)
        what = [("vouch", f"party {party} client {drawn[0].client_id}", "")]
        add_actions(connection, what, actor="operator", role="operator", at=at)
    return drawn[0]


def check_secret(store: Store, client_id: str, secret: str, *, now: datetime) -> ApiClient:
    """Return the client that a secret belongs to.

    A client that is unknown takes as long as one that is known. ``now`` is the machine's time.

    Raises
    ------
    BadSecret
        If client or secret are wrong, or the client was revoked.
    Locked
        If the client failed too often.
    """
    with store.transaction() as connection:
        client = find_client(connection, client_id)
    if client is not None and client.locked_until is not None:
        wait_s = (parse_utc(client.locked_until) - now).total_seconds()
        if wait_s > 0:
            raise Locked(wait_s)
    right = _matches(_hash_of_nobody() if client is None else client.secret_hash, secret)
    if client is None or client.revoked:
        raise BadSecret
    if right:
        if client.failures:
            with store.transaction() as connection:
                count_failure(connection, client_id, failures=0, locked_until=None)
        return client
    with store.transaction() as connection:
        newest = find_client(connection, client_id, lock=True) or client
        failures = newest.failures + 1
        lock_s = 0 if failures <= FREE_FAILURES else 2 ** min(failures - FREE_FAILURES, 16)
        until = now + timedelta(seconds=min(lock_s, LOCK_S_MAX)) if lock_s else None
        count_failure(connection, client_id, failures=failures, locked_until=until)
    raise BadSecret


def _matches(secret_hash: str, secret: str) -> bool:
    try:
        return _hasher().verify(secret_hash, secret)
    except VerificationError:
        return False
