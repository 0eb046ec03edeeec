"""Exact arithmetic on integers, and the text form of micro-units."""

from __future__ import annotations

import re
from decimal import ROUND_HALF_EVEN, Context, Decimal
from functools import lru_cache
from typing import Final

from data.units import MICRO_PER_UNIT

# Wider than any sum of amounts, narrow enough that a mistyped exponent is a problem, not a crash.
LARGEST_VALUE: Final = 1_000_000_000
_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_CONTEXT: Final = Context(prec=200, rounding=ROUND_HALF_EVEN)


class BooksError(Exception):
    """The books of a market do not balance: a fault of the program, never of the input."""


def divide_half_even(numerator: int, denominator: int) -> int:
    """Divide integers, rounding half to even; equal to `data.units.round_half_even`, only faster.

    Examples
    --------
    >>> [divide_half_even(n, 2) for n in (-3, -1, 1, 3, 4)]
    [-2, 0, 0, 2, 2]
    """
    quotient, remainder = divmod(numerator, denominator)
    twice = 2 * remainder
    if twice > denominator or (twice == denominator and quotient & 1):
        return quotient + 1
    return quotient


@lru_cache(maxsize=65_536)
def parse_micro(text: str) -> int:
    """Read a decimal number as integer micro-units, half-even (MWh to Wh, EUR to micro-EUR).

    Raises
    ------
    ValueError
        If the text is no finite decimal number or larger than 1e9.

    Examples
    --------
    >>> parse_micro("-0.25"), parse_micro("1e-6"), parse_micro("0.0000005")
    (-250000, 1, 0)
    """
    stripped = text.strip()
    if not _NUMBER.fullmatch(stripped):
        raise ValueError(f"{text!r} is not a finite number")
    value = Decimal(stripped)
    if abs(value) > LARGEST_VALUE:
        raise ValueError(f"{text!r} is larger than {LARGEST_VALUE:.0e}")
    scaled = _CONTEXT.multiply(value, Decimal(MICRO_PER_UNIT))
    return int(scaled.to_integral_value(rounding=ROUND_HALF_EVEN))


def format_micro(value: int) -> str:
    """Write integer micro-units as an exact decimal number; the inverse of `parse_micro`.

    Examples
    --------
    >>> format_micro(-250000), format_micro(3000000), format_micro(0)
    ('-0.25', '3', '0')
    """
    whole, fraction = divmod(abs(value), MICRO_PER_UNIT)
    sign = "-" if value < 0 else ""
    digits = f"{fraction:06d}".rstrip("0")
    return f"{sign}{whole}.{digits}" if digits else f"{sign}{whole}"
