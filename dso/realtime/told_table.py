"""Instructions that people write: a table or a few options, checked as a whole."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final

from data.errors import InputError, Problem, refuse_if_any
from dispatch.dispatcher import Told

COLUMNS: Final = ("asset", "kind", "p_kw", "q_kvar", "p_min_kw", "p_max_kw", "minutes", "reason")
POWERS: Final = {"p_kw": "p_w", "q_kvar": "q_var", "p_min_kw": "p_min_w", "p_max_kw": "p_max_w"}
ALLOWED: Final = {
    "setpoint": {"p_kw", "q_kvar"},
    "envelope": {"p_min_kw", "p_max_kw"},
    "shed": {"p_min_kw", "p_max_kw"},
}
WATTS_MAX: Final = 10**12


def read_told_table(path: Path, now: datetime) -> list[Told]:
    """Read a table of instructions.

    Parameters
    ----------
    path : Path
        CSV with the columns of `COLUMNS`; powers in kW and kvar may be blank.
    now : datetime
        Validity counts from it, UTC.

    Raises
    ------
    InputError
        With the problems of all rows.
    """
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream, restkey="beyond", strict=True)
            header = tuple(reader.fieldnames or ())
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError([Problem(where=str(path), what=f"cannot be read ({error})")]) from error
    unknown, missing = (
        set(header) - set(COLUMNS),
        {"asset", "kind", "minutes", "reason"} - {*header},
    )
    problems = [Problem(where=path.name, what=f"unknown column {name}") for name in sorted(unknown)]
    problems += [Problem(where=path.name, what=f"no column {name}") for name in sorted(missing)]
    if not rows:
        problems.append(Problem(where=path.name, what="holds no instruction"))
    refuse_if_any(problems)
    told = []
    for number, row in enumerate(rows, start=2):
        try:
            told.append(one_told(row, f"{path.name} row {number}", now))
        except InputError as error:
            problems += error.problems
    refuse_if_any(problems)
    return told


def one_told(row: Mapping[str, Any], where: str, now: datetime) -> Told:
    """Read one instruction from texts.

    Raises
    ------
    InputError
        With everything that is wrong in it.
    """
    kind: Any = row.get("kind") or ""
    problems = [
        Problem(where=where, what=f"{name} is missing")
        for name in ("asset", "reason")
        if not (row.get(name) or "").strip()
    ]
    numbers: dict[str, int] = {}
    if kind not in ALLOWED:
        what = f"kind {kind!r} is none of {', '.join(ALLOWED)}"
        problems.append(Problem(where=where, what=what))
    if None in row.values() or row.get("beyond"):
        problems.append(Problem(where=where, what="its cells do not match the header"))
    for name, field in POWERS.items():
        text = row.get(name) or ""
        if not text:
            continue
        if kind in ALLOWED and name not in ALLOWED[kind]:
            problems.append(Problem(where=where, what=f"{name} does not belong to a {kind}"))
        try:
            numbers[field] = watts(text, f"{where} {name}")
        except InputError as error:
            problems += error.problems
    if kind in ALLOWED and not numbers:
        what = f"a {kind} needs {' or '.join(sorted(ALLOWED[kind]))}"
        problems.append(Problem(where=where, what=what))
    least, most = numbers.get("p_min_w"), numbers.get("p_max_w")
    if least is not None and most is not None and least > most:
        problems.append(Problem(where=where, what="p_min_kw is above p_max_kw"))
    minutes = _minutes(row.get("minutes") or "")
    if minutes is None:
        what = f"minutes {row.get('minutes')!r} is not in (0, 10080]"
        problems.append(Problem(where=where, what=what))
    refuse_if_any(problems)
    return Told(
        asset=row["asset"].strip(),
        kind=kind,
        reason=row["reason"].strip(),
        expires_at=now + timedelta(minutes=minutes or 0.0),
        p_w=numbers.get("p_w"),
        q_var=numbers.get("q_var"),
        p_min_w=numbers.get("p_min_w"),
        p_max_w=numbers.get("p_max_w"),
    )


def watts(text: str, where: str) -> int:
    """Return kW or kvar in whole W or var.

    Raises
    ------
    InputError
        If it is no number, or no whole number of W.

    Examples
    --------
    >>> watts("-4.05", "p_kw")
    -4050
    """
    try:
        value = Decimal(text.strip()) * 1000
    except InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite() or value != value.to_integral_value() or abs(value) > WATTS_MAX:
        what = f"{text!r} is not a number of kW with at most three decimals"
        raise InputError([Problem(where=where, what=what)])
    return int(value)


def _minutes(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0.0 < value <= 10_080.0 else None
