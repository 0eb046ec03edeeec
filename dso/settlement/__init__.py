"""Settlement: every cent explained, every sum zero. Imports only `data`.

Examples
--------
``dso settle FOLDER --out DIR`` is::

    result = settle_folder(folder, out)
"""

from __future__ import annotations

from pathlib import Path

from data.records.settlement import SettlementCase, SettlementLine, SettlementResult
from dso.settlement.audit import check_settlement
from dso.settlement.books import settle
from dso.settlement.case_files import case_files, write_settlement_case
from dso.settlement.exact import BooksError
from dso.settlement.flexibility import FlexibilityOutcome, rate_activation
from dso.settlement.outputs import describe, settlement_files, summarise, write_settlement
from dso.settlement.read_case import read_settlement
from dso.settlement.revisions import delta_lines
from dso.settlement.validation import find_problems

__all__ = [
    "BooksError", "FlexibilityOutcome", "SettlementCase", "SettlementLine", "SettlementResult",
    "case_files", "check_settlement", "delta_lines", "describe", "find_problems",
    "rate_activation", "read_settlement", "settle", "settle_folder", "settlement_files",
    "summarise", "write_settlement", "write_settlement_case",
]  # fmt: skip


def settle_folder(folder: Path, out: Path) -> SettlementResult:
    """Read a settlement folder, settle it, check the lines independently, write the output.

    Parameters
    ----------
    folder : Path
        Settlement folder.
    out : Path
        Output folder; may be the same. It is not touched when anything is wrong.

    Returns
    -------
    SettlementResult
        What was written.

    Raises
    ------
    InputError
        With all problems of the folder.
    BooksError
        If the independent check finds a line that is not right: a fault of the program.
    """
    case = read_settlement(folder)
    result = settle(case)
    wrong = check_settlement(case, result)
    if wrong:
        raise BooksError("\n".join(map(str, wrong)))
    write_settlement(result, out)
    return result
