"""Bad input: every problem found, in one error."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing wrong with the input: where it is, what it is and what to do about it.

    Parameters
    ----------
    where : str
        File and row, record id or field, e.g. ``profiles.csv row 12 (load 3)``.
    what : str
        What is wrong, with the value found.
    remedy : str
        What the user can do.
    """

    where: str
    what: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" + (f" -> {self.remedy}" if self.remedy else "")


class InputError(Exception):
    """Input refused; carries all problems together (CLI exit code 2, HTTP 422)."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class UnsupportedComponent(Exception):
    """A network element or order kind that the chosen formulation does not model."""


def refuse_if_any(problems: Iterable[Problem]) -> None:
    """Raise one `InputError` with all problems, or return when there are none."""
    found = tuple(problems)
    if found:
        raise InputError(found)
