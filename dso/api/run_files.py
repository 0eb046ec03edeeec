"""Files of finished clearings, for explanations and states of the grid."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Final

from data.errors import InputError, Problem
from data.periods import parse_utc
from data.results import SUMMARY_FILE
from dso.api.problems import Refusal
from dso.cycles.clearing_files import CLEARING, INTRADAY
from dso.store.market_reads import find_run

if TYPE_CHECKING:
    from dso.api.market import Market
    from dso.store import Connection
    from dso.store.market_reads import RunRow
    from opf.explanations.published import Published

CLEARINGS: Final = ("day_ahead", "intraday")
KEPT: Final = 2


class NoSuchRun(Exception):
    """No finished run of this number, or none of the kind asked for."""


def clearing_of(connection: Connection, number: int) -> RunRow:
    """Return a finished clearing; raises `NoSuchRun`."""
    found = find_run(connection, number)
    if found is None or found.kind not in CLEARINGS:
        raise NoSuchRun(number)
    return found


def clearing_folder(market: Market, run: RunRow) -> Path:
    """Return the folder of a clearing.

    Raises
    ------
    Refusal
        409 where its files are not on this machine.
    """
    first = parse_utc(run.first_period)
    day = market.calendar.day_folder(run.feeder, first)
    folder = day / CLEARING
    if run.kind == "intraday":
        folder = day / INTRADAY / first.strftime("%Y%m%dT%H%MZ")
    if not (folder / SUMMARY_FILE).is_file():
        problem = Problem(where=f"run {run.id}", what="its files are not here")
        raise Refusal(HTTPStatus.CONFLICT, [problem])
    return folder


class PublishedRuns:
    """The clearings that were explained last; one explanation at a time, for each takes a core."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Published] = OrderedDict()

    @contextmanager
    def opened(self, run: RunRow, folder: Callable[[], Path]) -> Iterator[Published]:
        """Hold a clearing ready for explanations.

        Raises
        ------
        Refusal
            409 where its files are not as the run left them.
        """
        with self._lock:
            known = self._kept.pop(run.output_sha256, None)
            self._kept[run.output_sha256] = known or _publish(run, folder())
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
            yield self._kept[run.output_sha256]


def _publish(run: RunRow, folder: Path) -> Published:
    from dso.explain.find import read_run
    from opf.explanations.published import publish

    try:
        return publish(*read_run(folder, folder))
    except InputError as error:
        problem = Problem(where=f"run {run.id}", what="its files cannot be read")
        raise Refusal(HTTPStatus.CONFLICT, [problem]) from error
