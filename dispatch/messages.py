"""Letters between the market and devices: their text, and who signed it.

What the market says (instructions, answers about the time) is signed with Ed25519 over the exact
bytes of the text, so a device trusts the key and neither the broker nor the network. What devices
say is plain JSON: the channel vouches for the sender (topic rights, TLS, the folder it came from),
and an asset other than the sender's is refused.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

from data.errors import InputError
from data.periods import parse_utc
from data.records.dispatch import (
    Acknowledgement,
    DroopPoint,
    Instruction,
    Presence,
    Telemetry,
)

VERSION: Final = 1
LETTER_BYTES_MAX: Final = 64_000
NAME_CHARACTERS_MAX: Final = 200
WHOLE_BELOW: Final = 2**53  # what every JSON reader keeps exact


class BadLetter(Exception):
    """A letter that is not what it claims to be, with the reason in one word or sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeRequest:
    """A device asks the market for the time; the nonce makes the answer good once."""

    asset: str
    nonce: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeAnswer:
    """The market's time ``at`` which it wrote the answer to one request."""

    asset: str
    nonce: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Undelivered:
    """A channel gave up a letter."""

    asset: str
    instruction: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """Something came in that is no message, or names an asset its sender does not speak for."""

    sender: str
    reason: str


Uplink = Acknowledgement | Telemetry | Presence | TimeRequest
Heard = Uplink | Undelivered | Unreadable
Downlink = Instruction | TimeAnswer


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A signed text for one asset, with what a channel needs to know about it.

    Parameters
    ----------
    asset : str
        Whom it is for.
    subject : str
        ``setpoint``, ``envelope``, ``droop``, ``shed`` or ``time``.
    id : str
        The instruction's id or the request's nonce: sending one id twice is harmless.
    text : bytes
        The signed text.
    lasts_s : float
        How long it is worth delivering [s].
    """

    asset: str
    subject: Literal["setpoint", "envelope", "droop", "shed", "time"]
    id: str
    text: bytes
    lasts_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterKey:
    """The market's private key for letters, and the name devices know it by.

    Examples
    --------
    >>> key = LetterKey(name="market-1", seed=bytes(32))
    >>> at = datetime(2026, 1, 1, tzinfo=UTC)
    >>> letter = key.seal(TimeAnswer(asset="sgen:1", nonce="n", at=at))
    >>> open_letter(letter.text, {"market-1": key.public}).nonce
    'n'
    """

    name: str
    seed: bytes = field(repr=False)

    @property
    def public(self) -> bytes:
        """The public key, 32 bytes."""
        return Ed25519PrivateKey.from_private_bytes(self.seed).public_key().public_bytes_raw()

    def seal(self, content: Downlink, *, now: datetime | None = None) -> Letter:
        """Return the signed letter.

        Parameters
        ----------
        content : Instruction or TimeAnswer
            What to say.
        now : datetime, optional
            The market's time; ``lasts_s`` counts from it. Default: when it was issued.
        """
        body = json.dumps(_content(content), sort_keys=True, separators=(",", ":"))
        signature = Ed25519PrivateKey.from_private_bytes(self.seed).sign(body.encode())
        text = json.dumps(
            {"body": body, "key": self.name, "signature": base64.b64encode(signature).decode()}
        ).encode()
        if isinstance(content, TimeAnswer):
            return Letter(
                asset=content.asset, subject="time", id=content.nonce, text=text, lasts_s=60.0
            )
        lasts = (content.expires_at - (now or content.issued_at)).total_seconds()
        return Letter(
            asset=content.asset, subject=content.kind, id=content.id, text=text, lasts_s=lasts
        )


def open_letter(text: bytes, keys: Mapping[str, bytes]) -> Downlink:
    """Return what the market said.

    Parameters
    ----------
    text : bytes
        The signed text.
    keys : mapping of key name to public key
        The keys to trust.

    Raises
    ------
    BadLetter
        ``not_signed`` if no trusted key signed exactly this text, else what is wrong with it.
    """
    cover = _object(text)
    body, name, signature = cover.get("body"), cover.get("key"), cover.get("signature")
    if not (isinstance(body, str) and isinstance(name, str) and isinstance(signature, str)):
        raise BadLetter("not_signed")
    public = keys.get(name)
    if public is None:
        raise BadLetter("not_signed")
    try:
        raw = base64.b64decode(signature, validate=True)
        Ed25519PublicKey.from_public_bytes(public).verify(raw, body.encode())
    except (InvalidSignature, binascii.Error, ValueError) as error:
        raise BadLetter("not_signed") from error
    return _read_content(_object(body.encode()))


def write_uplink(message: Uplink) -> bytes:
    """Write what a device says."""
    if isinstance(message, TimeRequest):
        fields: dict[str, object] = {"type": "time_request", "nonce": message.nonce}
    elif isinstance(message, Presence):
        fields = {"type": "presence", "online": message.online}
    elif isinstance(message, Acknowledgement):
        fields = {
            "type": "acknowledgement",
            "instruction": message.instruction,
            "accepted": message.accepted,
            "reason": message.reason,
            "at": format_instant(message.at),
        }
    else:
        fields = {
            "type": "telemetry",
            "at": format_instant(message.at),
            "p_w": message.p_w,
            "q_var": message.q_var,
            "vm_pu": message.vm_pu,
            "soc_wh": message.soc_wh,
            "active": message.active,
            "in_force": list(message.in_force),
        }
    return _bytes(fields | {"version": VERSION, "asset": message.asset})


def read_uplink(text: bytes, sender: str) -> Uplink | Unreadable:
    """Read what a device says; ``sender`` is the asset that the channel vouches for.

    A message that cannot be read, or that speaks for another asset, is returned as `Unreadable`:
    one faulty device never stops the market.
    """
    try:
        return _read_uplink(_object(text), sender)
    except BadLetter as error:
        return Unreadable(sender=sender, reason=str(error))


def format_instant(instant: datetime) -> str:
    """Write an aware instant with microseconds, UTC: what is short must not be rounded away."""
    text = instant.astimezone(UTC).isoformat(timespec="microseconds")
    return text.replace("+00:00", "Z")


def _content(content: Downlink) -> dict[str, object]:
    if isinstance(content, TimeAnswer):
        return {
            "version": VERSION,
            "type": "time_answer",
            "asset": content.asset,
            "nonce": content.nonce,
            "at": format_instant(content.at),
        }
    return {"version": VERSION, "type": "instruction"} | instruction_fields(content)


def instruction_fields(told: Instruction) -> dict[str, object]:
    """Return an instruction as JSON types; `read_instruction` reads it back."""
    return {
        "id": told.id,
        "asset": told.asset,
        "sequence": told.sequence,
        "kind": told.kind,
        "issued_at": format_instant(told.issued_at),
        "valid_from": format_instant(told.valid_from),
        "expires_at": format_instant(told.expires_at),
        "reason": told.reason,
        "p_w": told.p_w,
        "q_var": told.q_var,
        "p_min_w": told.p_min_w,
        "p_max_w": told.p_max_w,
        "droop": [
            {"vm_pu": corner.vm_pu, "q_var": corner.q_var, "p_max_w": corner.p_max_w}
            for corner in told.droop
        ],
    }


def _check_version(found: Mapping[str, Any]) -> None:
    if found.get("version") != VERSION:
        raise BadLetter(f"version {found.get('version')!r}, expected {VERSION}")


def _read_content(found: dict[str, Any]) -> Downlink:
    _check_version(found)
    if found.get("type") == "time_answer":
        return TimeAnswer(
            asset=_text(found, "asset"), nonce=_text(found, "nonce"), at=_instant(found, "at")
        )
    if found.get("type") != "instruction":
        raise BadLetter(f"type {found.get('type')!r} is unknown")
    return read_instruction(found)


def read_instruction(found: Mapping[str, Any]) -> Instruction:
    """Read an instruction from JSON types.

    Raises
    ------
    BadLetter
        With everything that is wrong in the first field that is, or in the whole.
    """
    corners = found.get("droop")
    if not isinstance(corners, list) or not all(isinstance(each, dict) for each in corners):
        raise BadLetter("droop is not a list of corners")
    kind: Any = _text(found, "kind")  # checked by the record
    try:
        return Instruction(
            id=_text(found, "id"),
            asset=_text(found, "asset"),
            sequence=_whole(found, "sequence"),
            kind=kind,
            issued_at=_instant(found, "issued_at"),
            valid_from=_instant(found, "valid_from"),
            expires_at=_instant(found, "expires_at"),
            reason=_text(found, "reason", longest=LETTER_BYTES_MAX),
            p_w=_whole_or_none(found, "p_w"),
            q_var=_whole_or_none(found, "q_var"),
            p_min_w=_whole_or_none(found, "p_min_w"),
            p_max_w=_whole_or_none(found, "p_max_w"),
            droop=tuple(
                DroopPoint(
                    vm_pu=_number(corner, "vm_pu"),
                    q_var=_whole_or_none(corner, "q_var"),
                    p_max_w=_whole_or_none(corner, "p_max_w"),
                )
                for corner in corners
            ),
        )
    except InputError as error:
        raise BadLetter("; ".join(problem.what for problem in error.problems)) from error


def _read_uplink(found: dict[str, Any], sender: str) -> Uplink:
    _check_version(found)
    kind, asset = found.get("type"), _text(found, "asset")
    if asset != sender:
        raise BadLetter(f"speaks for {asset}")
    if kind == "time_request":
        return TimeRequest(asset=asset, nonce=_text(found, "nonce"))
    if kind == "presence":
        return Presence(asset=asset, online=_truth(found, "online"))
    if kind == "acknowledgement":
        return Acknowledgement(
            asset=asset,
            instruction=_text(found, "instruction"),
            accepted=_truth(found, "accepted"),
            reason=_text(found, "reason"),
            at=_instant(found, "at"),
        )
    if kind != "telemetry":
        raise BadLetter(f"type {kind!r} is unknown")
    in_force = found.get("in_force")
    if not isinstance(in_force, list) or not all(isinstance(each, str) for each in in_force):
        raise BadLetter("in_force is not a list of ids")
    return Telemetry(
        asset=asset,
        at=_instant(found, "at"),
        p_w=_whole(found, "p_w"),
        q_var=_whole(found, "q_var"),
        vm_pu=None if found.get("vm_pu") is None else _number(found, "vm_pu"),
        soc_wh=_whole_or_none(found, "soc_wh"),
        active=None if found.get("active") is None else _text(found, "active"),
        in_force=tuple(in_force),
    )


def _bytes(fields: Mapping[str, object]) -> bytes:
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _object(text: bytes) -> dict[str, Any]:
    if len(text) > LETTER_BYTES_MAX:
        raise BadLetter(f"{len(text)} bytes are more than {LETTER_BYTES_MAX}")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadLetter("not_json") from error
    if not isinstance(found, dict):
        raise BadLetter("not a JSON object")
    return found


def _text(found: Mapping[str, Any], name: str, longest: int = NAME_CHARACTERS_MAX) -> str:
    value = found.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= longest:
        raise BadLetter(f"{name} is not a text of 1 to {longest} characters")
    return value


def _truth(found: Mapping[str, Any], name: str) -> bool:
    value = found.get(name)
    if not isinstance(value, bool):
        raise BadLetter(f"{name} is neither true nor false")
    return value


def _whole(found: Mapping[str, Any], name: str) -> int:
    value = found.get(name)
    if type(value) is not int or not abs(value) < WHOLE_BELOW:
        raise BadLetter(f"{name} is not a whole number below 2^53")
    return value


def _whole_or_none(found: Mapping[str, Any], name: str) -> int | None:
    return None if found.get(name) is None else _whole(found, name)


def _number(found: Mapping[str, Any], name: str) -> float:
    value = found.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e9:
        raise BadLetter(f"{name} is not a finite number")
    return float(value)


def _instant(found: Mapping[str, Any], name: str) -> datetime:
    try:
        return parse_utc(_text(found, name))
    except (ValueError, OverflowError) as error:
        raise BadLetter(f"{name} is not an instant with offset") from error
