"""Cursors: the key of the last row of a page, opaque to whoever holds it."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import Query

from data.errors import Problem
from dso.api.models import Page
from dso.api.problems import Refusal

PAGE_ROWS_MAX: Final = 1000
LARGEST: Final = 2**31 - 1
TEXT_MAX: Final = 200
Cursor = Annotated[
    str | None,
    Query(pattern=r"^[A-Za-z0-9_=-]{1,1000}$", description="`next` of the page before"),
]
Limit = Annotated[int, Query(ge=1, le=PAGE_ROWS_MAX)]


def write_cursor(key: Sequence[object]) -> str:
    """Return a cursor.

    Examples
    --------
    >>> read_cursor(write_cursor([7, "a"]), (int, str))
    (7, 'a')
    """
    plain = json.dumps(list(key), separators=(",", ":"))
    return base64.urlsafe_b64encode(plain.encode()).decode()


def read_cursor(text: str | None, kinds: tuple[type, ...]) -> tuple[Any, ...] | None:
    """Return the key in a cursor; raises `Refusal` 422 where it is none of ours."""
    if text is None:
        return None
    try:
        key = json.loads(base64.b64decode(text, altchars=b"-_", validate=True))
    except (ValueError, binascii.Error, RecursionError):
        key = None
    fits = isinstance(key, list) and len(key) == len(kinds)
    if not fits or not all(_fits(value, kind) for value, kind in zip(key, kinds, strict=True)):
        problem = Problem(where="cursor", what="is no cursor of this list")
        raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, [problem])
    return tuple(key)


def read_number(text: str | None) -> int:
    """Return the number that a list by number goes on behind; 0 without a cursor."""
    key = read_cursor(text, (int,))
    return 0 if key is None else int(key[0])


def page_by_number(rows: Sequence[tuple[int, dict[str, Any]]], limit: int) -> Page:
    """Return a page of a list by number: each row with its number, which need not be shown."""
    following = write_cursor([rows[-1][0]]) if len(rows) == limit else None
    return Page(items=[row for _, row in rows], next=following)


def _fits(value: object, kind: type) -> bool:
    if kind is int:
        return type(value) is int and 0 <= value <= LARGEST
    return isinstance(value, str) and len(value) <= TEXT_MAX and value.isprintable()
