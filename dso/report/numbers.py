"""Numbers as the reader sees them: fixed digits, a true minus sign, never NaN."""

from __future__ import annotations

import math

MINUS = "\u2212"
NONE = "n/a"
MICRO = 1_000_000


def fixed(value: float | None, digits: int = 1) -> str:
    """Write a number with thousands separators and fixed digits; ``n/a`` where there is none.

    Examples
    --------
    >>> fixed(1234.56), fixed(-0.04), fixed(None), fixed(-1.26)
    ('1,234.6', '0.0', 'n/a', '\u22121.3')
    """
    if value is None or not math.isfinite(value):
        return NONE
    text = f"{value:,.{digits}f}"
    if not text.strip("-0.,"):
        text = text.lstrip("-")
    return text.replace("-", MINUS)


def significant(value: float | None) -> str:
    """Write a small or large number with three digits, e.g. a residual.

    Examples
    --------
    >>> significant(4.2e-8), significant(0.0), significant(None)
    ('4.2e\u22128', '0', 'n/a')
    """
    if value is None or not math.isfinite(value):
        return NONE
    text = f"{value:.3g}"
    mantissa, mark, exponent = text.partition("e")
    return (mantissa + (f"e{int(exponent)}" if mark else "")).replace("-", MINUS)


def eur_cents(micro_eur: int) -> str:
    """Write integer micro-EUR in EUR with two digits, half-even.

    Examples
    --------
    >>> eur_cents(1_234_565_000), eur_cents(-5_000), eur_cents(-15_000)
    ('1,234.56', '0.00', '\u22120.02')
    """
    cents, rest = divmod(micro_eur, 10_000)
    if rest > 5_000 or (rest == 5_000 and cents % 2):
        cents += 1
    sign = MINUS if cents < 0 else ""
    return f"{sign}{abs(cents) // 100:,}.{abs(cents) % 100:02d}"


def eur_exact(micro_eur: int) -> str:
    """Write integer micro-EUR in EUR with all six digits.

    Examples
    --------
    >>> eur_exact(-1_234_567_890), eur_exact(0)
    ('\u22121,234.567890', '0.000000')
    """
    sign = MINUS if micro_eur < 0 else ""
    return f"{sign}{abs(micro_eur) // MICRO:,}.{abs(micro_eur) % MICRO:06d}"


def shortened(text: str, keep: int = 10) -> str:
    """Keep the two ends of a long digest.

    Examples
    --------
    >>> shortened("abcdefghijklmnopqrstuvwxyz", 4)
    'abcd\u2026wxyz'
    """
    return text if len(text) <= 2 * keep + 1 else f"{text[:keep]}\u2026{text[-keep:]}"
