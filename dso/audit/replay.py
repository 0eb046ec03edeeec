"""Run a day again from what its bundle committed to: clear every study, settle once more.

A bundle that verifies shows what was posted, not that it is right: who holds the key can sign a
wrong price. Clearing again from the committed inputs shows the wrong price.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from data.errors import InputError, Problem
from dso.audit.compare import (
    Comparison,
    compare_bytes,
    compare_summaries,
    compare_tables,
    keep_periods,
    periods_of,
)
from ledger_adapter.verify.canonical import parse_json
from ledger_adapter.verify.manifest import MANIFEST, BatchEntry, parse_manifest
from ledger_adapter.verify.proof import parse_inclusion

SUMMARY_FILE: Final = "summary.json"
REQUIRED: Final = frozenset({"awards.csv", "prices.csv", SUMMARY_FILE, "trades.csv"})
"""Without these a result says nothing; an operator who leaves one out is found, too."""
TRADES_FILE: Final = "trades.csv"
ROLLING_RUN: Final = "intraday"
"""Runs of this name bind their first periods only, so their trades end early."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReplay:
    """One run, computed again.

    Parameters
    ----------
    name, kind : str
        Name of the batch; ``clearing`` or ``settlement``.
    comparison : Comparison
        What differs.
    trading_periods, periods : int
        How many periods have trades, and how many were cleared.
    """

    name: str
    kind: str
    comparison: Comparison
    trading_periods: int = 0
    periods: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayReport:
    """Every run that was computed again; the others of the bundle by name."""

    runs: tuple[RunReplay, ...]
    left_out: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """True if every price, award, trade and amount is what is computed again."""
        return all(run.comparison.holds for run in self.runs)


def replay_bundle(
    bundle: Path,
    *,
    only: Collection[str] = (),
    heard: Callable[[RunReplay], None] = lambda _run: None,
) -> ReplayReport:
    """Clear and settle a bundle's inputs again and compare with its outputs.

    Parameters
    ----------
    bundle : Path
        A bundle that was verified before: this reads its manifest without checking proofs.
    only : collection of str
        Names of runs, e.g. ``day-ahead``; empty: all.
    heard : callable
        Hears of each run when it is done.

    Raises
    ------
    InputError
        If a name is no run of the bundle, or a study cannot be read.
    """
    manifest = parse_manifest((bundle / MANIFEST).read_bytes())
    known = [batch.name for batch in manifest.batches]
    problems = [
        Problem(where=f"run {name!r}", what="is not in the bundle", remedy=", ".join(known))
        for name in sorted(set(only) - set(known))
    ]
    if problems:
        raise InputError(problems)
    runs = []
    for batch in manifest.batches:
        if only and batch.name not in only:
            continue
        run = _replay(bundle, batch)
        heard(run)
        runs.append(run)
    left_out = tuple(name for name in known if only and name not in only)
    return ReplayReport(runs=tuple(runs), left_out=left_out)


def _replay(bundle: Path, batch: BatchEntry) -> RunReplay:
    folders = {"input_root", "output_root"}
    if not folders <= batch.folders.keys():
        lacking = Comparison(differences=["the bundle lacks its inputs or outputs"])
        return RunReplay(name=batch.name, kind="?", comparison=lacking)
    inputs, outputs = (bundle / batch.folders[name] for name in sorted(folders))
    kind = _kind_of(bundle, batch)
    with tempfile.TemporaryDirectory() as name:
        again = Path(name)
        if kind == "settlement":
            return _replay_settlement(batch, inputs, outputs, again)
        return _replay_clearing(batch, inputs, outputs, again)


def _kind_of(bundle: Path, batch: BatchEntry) -> str:
    return str(parse_json(parse_inclusion((bundle / batch.proof).read_bytes()).leaf)["kind"])


def _replay_clearing(batch: BatchEntry, inputs: Path, outputs: Path, again: Path) -> RunReplay:
    from data.results import write_result
    from data.study import read_study
    from opf.clearing import clear_case

    case = read_study(inputs)
    write_result(clear_case(case), case, again)
    found = Comparison()
    periods = case.periods.labels()
    trading = len(periods)
    recorded, computed = _files(outputs), _files(again)
    for name in sorted(recorded.keys() | REQUIRED):
        first, second = recorded.get(name), computed.get(name)
        if first is None or second is None:
            compare_bytes(name, first, second, found)
            continue
        try:
            if name == SUMMARY_FILE:
                compare_summaries(first, second, found)
                continue
            if name == TRADES_FILE and batch.name.startswith(ROLLING_RUN):
                last = max(periods_of(first), default="")
                kept = [label for label in periods if label <= last]
                second, trading = keep_periods(second, kept), len(kept)
            compare_tables(name, first, second, found)
        except (ValueError, AttributeError) as error:
            found.differences.append(f"{name}: cannot be read: {error}")
    return RunReplay(
        name=batch.name,
        kind="clearing",
        comparison=found,
        trading_periods=trading,
        periods=len(periods),
    )


def _replay_settlement(batch: BatchEntry, inputs: Path, outputs: Path, again: Path) -> RunReplay:
    from dso.settlement import settle_folder

    settle_folder(inputs, again)
    found = Comparison()
    recorded, computed = (_files(folder) for folder in (outputs, again))
    for name in sorted(recorded.keys() | computed.keys()):
        compare_bytes(name, recorded.get(name), computed.get(name), found)
    return RunReplay(name=batch.name, kind="settlement", comparison=found)


def _files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
