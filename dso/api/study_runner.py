"""Runs studies that planners handed in: one at a time, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dso.api.problems import Refusal
from dso.api.study_files import check_files, pack, read_folder, unpack, write_files
from dso.store.study_requests import LeasedStudy, StudyEnding, end_study, lease_study

if TYPE_CHECKING:
    from dso.clock import Clock
    from dso.store import Store

EXIT_BAD_INPUT: Final = 2
# Certified, bad input, uncertified or infeasible, certified with slack: everything else is a fault.
EXITS: Final = (0, 2, 3, 4)
SAID_MAX: Final = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRules:
    """How long a study may take [s]; the lease is a little longer."""

    seconds_max: float = 900.0


def run_waiting_study(
    store: Store, machine: Clock, worker: str, rules: StudyRules | None = None
) -> bool:
    """Run the study that waits longest as `dso clear` does; False where none waits.

    Parameters
    ----------
    store : Store
        Where studies and results are kept.
    machine : Clock
        By which leases end.
    worker : str
        Unique among runners.
    rules : StudyRules, optional
        How long one may take.
    """
    limit_s = (rules or StudyRules()).seconds_max
    leased = lease_study(store, worker, machine=machine.now(), lease_s=limit_s + 60.0)
    if leased is None:
        return False
    end_study(store, leased, _run(leased, limit_s), machine=machine.now())
    return True


def _run(leased: LeasedStudy, limit_s: float) -> StudyEnding:
    with tempfile.TemporaryDirectory(prefix="gridclear-study-") as name:
        place = Path(name)
        study, result = place / "study", place / "result"
        try:
            files = unpack(leased.content)
            check_files(files)
        except Refusal as refusal:
            said = "\n".join(str(problem) for problem in refusal.problems)
            return StudyEnding(state="refused", exit_code=EXIT_BAD_INPUT, said=said)
        write_files(files, study)
        words = [sys.executable, "-m", "dso.cli.main", "clear", str(study), "--out", str(result)]
        try:
            done = subprocess.run(
                words, capture_output=True, text=True, timeout=limit_s, check=False, cwd=place
            )
        except subprocess.TimeoutExpired:
            said = f"not done after {limit_s:.0f} s"
            return StudyEnding(state="failed", exit_code=None, said=said)
        said = (done.stderr or done.stdout).replace(f"{place}/", "").replace(str(place), "")
        if done.returncode not in EXITS:
            said = "the clearing ended with a fault; the operator's log says more"
            return StudyEnding(state="failed", exit_code=done.returncode, said=said)
        refused = done.returncode == EXIT_BAD_INPUT
        return StudyEnding(
            state="refused" if refused else "done",
            exit_code=done.returncode,
            said=said[:SAID_MAX],
            result=None if refused else pack(read_folder(result)),
        )
