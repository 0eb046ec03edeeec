"""Strict texts: one spelling for each value, everything else is refused.

The verifier brings its own JCS (RFC 8785) for the values a log contains (text, integers, truth
values, lists, objects), so that it shares no code with the side that writes.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any, Final

INTEGER_MAX: Final = 2**53 - 1
INTEGER_DIGITS_MAX: Final = 20
HASH_BYTES: Final = 32


class Malformed(ValueError):
    """Content that is not in its one canonical spelling."""


def canonical_json(value: object) -> bytes:
    """Write RFC 8785 (JCS) bytes of text, integers, truth values, lists and objects.

    Raises
    ------
    Malformed
        For floats, integers beyond 2^53 - 1, keys that are not text, lone surrogates.

    Examples
    --------
    >>> canonical_json({"b": 1, "a": [True, None, "x"]})
    b'{"a":[true,null,"x"],"b":1}'
    """
    try:
        return json.dumps(
            _in_order(value), separators=(",", ":"), ensure_ascii=False, allow_nan=False
        ).encode()
    except (UnicodeEncodeError, RecursionError) as error:
        raise Malformed(f"text that is not Unicode, or nested too deeply: {error}") from error


def readable_json(value: object) -> bytes:
    """Write the same content with two spaces of indentation and one trailing newline."""
    try:
        text = json.dumps(_in_order(value), indent=2, ensure_ascii=False, allow_nan=False)
        return (text + "\n").encode()
    except (UnicodeEncodeError, RecursionError) as error:
        raise Malformed(f"text that is not Unicode, or nested too deeply: {error}") from error


def _in_order(value: object) -> object:
    """Check types and sort object keys by UTF-16 code units, as RFC 8785 section 3.2.3 says."""
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int):
        if abs(value) > INTEGER_MAX:
            raise Malformed(f"integer {value} does not fit into 53 bits: carry it as text")
        return value
    if isinstance(value, list | tuple):
        return [_in_order(item) for item in value]
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise Malformed("an object key is not text")
        ordered = sorted(value, key=lambda key: key.encode("utf-16-be", "surrogatepass"))
        return {key: _in_order(value[key]) for key in ordered}
    raise Malformed(f"a {type(value).__name__} has no canonical spelling here")


def parse_json(content: bytes) -> Any:  # noqa: ANN401 - JSON holds any of its types
    """Read JSON; a key that stands twice, NaN and floats are refused."""

    def object_once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise Malformed("a key stands twice in one object")
        return found

    def refuse(text: str) -> object:
        raise Malformed(f"number {text} is not an integer")

    def small(text: str) -> int:
        # Python refuses thousands of digits with an error of its own, after trying.
        if len(text) > INTEGER_DIGITS_MAX:
            raise Malformed(f"integer {text[:20]}... does not fit into 53 bits")
        return int(text)

    try:
        return json.loads(
            content.decode(),
            object_pairs_hook=object_once,
            parse_int=small,
            parse_float=refuse,
            parse_constant=refuse,
        )
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise Malformed(f"not JSON: {error}") from error


def parse_base64(text: str) -> bytes:
    """Read standard base64 in its one spelling: padded, and with unused bits zero.

    Examples
    --------
    >>> parse_base64("QQ==")
    b'A'
    >>> parse_base64("QR==")
    Traceback (most recent call last):
    ...
    ledger_adapter.verify.canonical.Malformed: 'QR==' is not canonical base64
    """
    try:
        content = base64.b64decode(text.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error, ValueError) as error:
        raise Malformed(f"{text[:40]!r} is not base64") from error
    if base64.b64encode(content).decode() != text:
        raise Malformed(f"{text[:40]!r} is not canonical base64")
    return content


def parse_hash(text: str) -> bytes:
    """Read one base64 SHA-256 value."""
    content = parse_base64(text)
    if len(content) != HASH_BYTES:
        raise Malformed(f"{text[:60]!r} does not hold {HASH_BYTES} bytes")
    return content


def format_base64(content: bytes) -> str:
    """Write standard base64."""
    return base64.b64encode(content).decode()


def parse_decimal(text: str) -> int:
    """Read a non-negative decimal without sign, spaces or leading zeros."""
    if not (text.isascii() and text.isdecimal()) or (len(text) > 1 and text[0] == "0"):
        raise Malformed(f"{text[:40]!r} is not a plain decimal number")
    if len(text) > len(str(2**63)):
        raise Malformed("number is too large")
    return int(text)
