"""A run of jobs in one folder: what was asked for, a folder for each job, one table of them all.

The table says nothing about when or how often the run was stopped: its bytes are those of the
undisturbed run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from data.canonical import csv_bytes, pretty_json, write_atomically
from data.results import CERTIFIED
from dso.cluster.driver import Rules, run_jobs
from dso.cluster.jobs import Job, JobReport
from dso.cluster.kinds import DONE
from dso.cluster.open import Cluster
from dso.cluster.tally import Tally
from dso.cycles.stages import working_alone

SPEC_FILE: Final = "jobs.json"
TABLE_FILE: Final = "jobs.csv"
RESULTS: Final = "results"
WELL: Final = frozenset({*CERTIFIED, DONE})


def run_in_folder(
    jobs: Sequence[Job],
    out: Path,
    cluster: Cluster,
    *,
    rules: Rules,
    listen: Callable[[Tally], None] | None = None,
    ended: Callable[[JobReport], None] | None = None,
) -> tuple[JobReport, ...]:
    """Do jobs whose folders are in ``out/results`` and write ``jobs.json`` and ``jobs.csv``.

    Parameters
    ----------
    jobs, cluster, rules, listen, ended
        As in `dso.cluster.run_jobs`.
    out : Path
        The folder of the run; it need not exist.

    Raises
    ------
    InputError
        If another run is at work in ``out``, or the local workers' memory is too little for any
        work.
    """
    if rules.retry_failed or not all((Path(job.folder) / job.marker).exists() for job in jobs):
        cluster.start()  # refused before anything is changed here
    with working_alone(out):
        (out / TABLE_FILE).unlink(missing_ok=True)
        spec = [{"kind": job.kind, "name": job.name, "key": job.key} for job in jobs]
        write_atomically(out / SPEC_FILE, pretty_json(spec))
        reports = run_jobs(jobs, cluster, rules=rules, listen=listen, ended=ended)
        write_atomically(out / TABLE_FILE, _table(jobs, reports))
    return reports


def _table(jobs: Sequence[Job], reports: Sequence[JobReport]) -> bytes:
    return csv_bytes(
        ["name", "kind", "status", "reason", "output_sha256", "folder"],
        [
            [
                job.name, job.kind, report.status, report.reason, report.output_sha256,
                f"{RESULTS}/{Path(job.folder).name}",
            ]
            for job, report in zip(jobs, reports, strict=True)
        ],
    )  # fmt: skip
