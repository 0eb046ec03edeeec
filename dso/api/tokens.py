"""Tokens: signed with Ed25519, valid for minutes, under keys that can be replaced at any time.

The ring is a file in the operator's key folder, read again when it changes, so that every process
of the API follows a rotation without a restart. After a rotation the key before still verifies
until the last token signed with it has ended; a key that was stolen is dropped at once.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from data.periods import format_utc, parse_utc
from dso.clock import Clock

RING_FILE: Final = "api-tokens.secret"
LOCK_FILE: Final = ".api-tokens.lock"
ALGORITHM: Final = "EdDSA"
AUDIENCE: Final = "gridclear-api"
LIFETIME: Final = timedelta(minutes=5)
CLAIMS: Final = ["exp", "iat", "aud", "iss", "sub", "party", "role", "jti"]


class BadToken(Exception):
    """A token that is not, or no longer, one of ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks: the client, the party it acts for, and in which role."""

    client: str
    party: str
    role: str


class TokenRing:
    """The keys that sign and verify tokens.

    Parameters
    ----------
    folder : Path
        Key folder; the ring is made at first use, mode 0600.
    issuer : str
        Name of this market; tokens of others are refused.
    clock : Clock
        The machine's time.
    """

    def __init__(self, folder: Path, *, issuer: str, clock: Clock) -> None:
        self._path, self._issuer, self._clock = folder / RING_FILE, issuer, clock
        self._lock_path = folder / LOCK_FILE
        self._read: tuple[tuple[int, int], list[dict[str, str]]] | None = None
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._locked():
            if not self._path.exists():
                self._write([_new_key()])

    def sign(self, caller: Caller) -> str:
        """Return a token."""
        key = self._keys()[-1]
        now = self._clock.now()
        claims = {
            "iss": self._issuer,
            "aud": AUDIENCE,
            "sub": caller.client,
            "party": caller.party,
            "role": caller.role,
            "iat": now,
            "exp": now + LIFETIME,
            "jti": secrets.token_hex(8),
        }
        return jwt.encode(claims, _private(key), ALGORITHM, headers={"kid": key["kid"]})

    def verify(self, token: str) -> Caller:
        """Return whose token it is.

        Raises
        ------
        BadToken
            If it is not signed by a key in force, of another market, or at its end.
        """
        try:
            kid = jwt.get_unverified_header(token).get("kid")
            key = next((each for each in self._keys() if each["kid"] == kid), None)
            if key is None or self._is_over(key):
                raise BadToken("signed by a key that is not in force")
            claims: dict[str, Any] = jwt.decode(
                token,
                _private(key).public_key(),
                [ALGORITHM],
                audience=AUDIENCE,
                issuer=self._issuer,
                options={"require": CLAIMS, "verify_exp": False, "verify_iat": False},
            )
            if self._clock.now().timestamp() >= float(claims["exp"]):
                raise BadToken("ended; ask for a new one")
            found = [claims["sub"], claims["party"], claims["role"]]
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            raise BadToken("not a token of this market") from error
        return Caller(client=str(found[0]), party=str(found[1]), role=str(found[2]))

    def rotate(self, *, stolen: bool = False) -> str:
        """Sign with a new key from now on and return its id.

        Parameters
        ----------
        stolen : bool
            Drop every key before at once; else they verify until their last token has ended.
        """
        with self._locked():
            until = format_utc(self._clock.now() + LIFETIME + timedelta(seconds=1))
            kept = [] if stolen else [key for key in self._keys() if not self._is_over(key)]
            kept = [key if "until" in key else {**key, "until": until} for key in kept]
            fresh = _new_key()
            self._write([*kept, fresh])
        return fresh["kid"]

    def _is_over(self, key: dict[str, str]) -> bool:
        return "until" in key and parse_utc(key["until"]) <= self._clock.now()

    def _keys(self) -> list[dict[str, str]]:
        about = self._path.stat()
        stamp = (about.st_mtime_ns, about.st_ino)
        if self._read is None or self._read[0] != stamp:
            self._read = (stamp, json.loads(self._path.read_text(encoding="utf-8")))
        return self._read[1]

    def _write(self, keys: list[dict[str, str]]) -> None:
        fresh = self._path.with_suffix(".new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            json.dump(keys, stream)
            stream.flush()
            os.fsync(stream.fileno())
        fresh.replace(self._path)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        descriptor = os.open(self._lock_path, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _new_key() -> dict[str, str]:
    return {"kid": secrets.token_hex(8), "seed": secrets.token_hex(32)}


def _private(key: dict[str, str]) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(key["seed"]))
