"""Drives jobs to their end: submits what is missing, outlives lost workers and connections.

What counts is on disk: a job is done when its folder is there. So nothing is lost with a client, a
scheduler or a worker but the attempts that were running.
"""

from __future__ import annotations

import dataclasses
import os
import queue
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from data.errors import Problem, refuse_if_any
from dso.clock import Stopwatch
from dso.cluster.attempt import ATTEMPTS, run_job
from dso.cluster.jobs import (
    FAILED,
    POISONED,
    REFUSED,
    Job,
    JobReport,
    read_report,
    readable_name,
)
from dso.cluster.open import Client, Cluster
from dso.cluster.poisoned import poisoned_reason
from dso.cluster.tally import Tally
from dso.cluster.versions import installed_versions

Future = Any
POLL_S: Final = 0.5
RETRY_CONNECT_S: Final = 0.5
ASK_S: Final = 2.0
ANSWER_S: Final = 10.0
# Jobs that are asked for this soon after each other are equals; earlier ones go first.
FIRST_COME: Final = "100ms"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How stubborn a run is.

    Parameters
    ----------
    attempts_max : int
        Attempts at a job whose attempts end in a fault of the machine (full disk, no memory).
        Attempts lost with a worker are counted by the scheduler (its ``allowed-failures``).
    patience_s : float
        How long a run waits for a scheduler, or for any worker, before it gives up [s].
    retry_failed : bool
        Do again what failed in an earlier run.
    """

    attempts_max: int = 3
    patience_s: float = 120.0
    retry_failed: bool = False


class ClusterLost(OSError):
    """No scheduler or no worker came back in time; what was finished is kept."""


def run_jobs(
    jobs: Sequence[Job],
    cluster: Cluster,
    *,
    rules: Rules | None = None,
    listen: Callable[[Tally], None] | None = None,
    ended: Callable[[JobReport], None] | None = None,
) -> tuple[JobReport, ...]:
    """Do jobs on a cluster, each once; return what became of them in the order of ``jobs``.

    Parameters and errors are those of `iterate_jobs`; ``ended`` hears of each job as it ends.
    """
    reports: dict[str, JobReport] = {}
    for report in iterate_jobs(jobs, cluster, rules=rules, listen=listen):
        reports[report.key] = report
        if ended is not None:
            ended(report)
    return tuple(reports[job.key] for job in jobs)


def iterate_jobs(
    jobs: Sequence[Job],
    cluster: Cluster,
    *,
    rules: Rules | None = None,
    listen: Callable[[Tally], None] | None = None,
) -> Iterator[JobReport]:
    """Do jobs on a cluster, each once, and yield what became of each as it ends.

    Parameters
    ----------
    jobs : sequence of Job
        With folders of their own. Those whose folders are there are not done again.
    cluster : Cluster
        From `open_cluster`.
    rules : Rules, optional
        How stubborn the run is.
    listen : callable, optional
        Hears how the run stands, some times a second.

    Yields
    ------
    JobReport
        One that fails stops nobody.

    Raises
    ------
    InputError
        If two jobs claim one folder.
    ClusterLost
        If scheduler or workers stay away; the same call goes on later.
    """
    chosen = Rules() if rules is None else rules
    _refuse_doubles(jobs)
    tally = Tally(total=len(jobs))
    missing, there = [], []
    for job in jobs:
        report = read_report(job)
        if report is None or (chosen.retry_failed and report.status == FAILED):
            shutil.rmtree(job.folder, ignore_errors=True)
            missing.append(job)
        else:
            there.append(report)
    tally.before = len(there)
    yield from there
    for report in _drive(missing, cluster, chosen, tally, listen):
        if report.status in (FAILED, REFUSED, POISONED):
            tally.failed += 1
        else:
            tally.done += 1
        yield report
    # Not after an interruption: workers may be about to give their results a name.
    for folder in {Path(job.folder).parent for job in jobs}:
        _remove_attempts(folder)


def _remove_attempts(folder: Path) -> None:
    """Remove what attempts have begun; one that still runs finds no place for its result.

    Moved aside first, in one step: nobody may give a result its name while its files disappear.
    """
    aside = folder / f"{ATTEMPTS}.{os.getpid()}"
    with suppress(FileNotFoundError):
        (folder / ATTEMPTS).rename(aside)
    shutil.rmtree(aside, ignore_errors=True)


def _drive(
    jobs: Iterable[Job],
    cluster: Cluster,
    rules: Rules,
    tally: Tally,
    listen: Callable[[Tally], None] | None,
) -> Iterator[JobReport]:
    """Yield reports as jobs end; connect and submit anew after a lost connection."""
    waiting = {job.key: job for job in jobs}
    while waiting:
        client = connect(cluster, rules, tally, listen)
        ended: queue.SimpleQueue[Future] = queue.SimpleQueue()
        futures: dict[str, Job] = {}
        for job in waiting.values():
            future = _submit(client, job, cluster, rules)
            futures[future.key] = job
            future.add_done_callback(ended.put)
        for job, report in _collect(client, futures, ended, _Watch(rules, tally, listen)):
            del waiting[job.key]
            yield report
        if waiting:
            tally.connections_lost += 1
            cluster.drop()


def connect(
    cluster: Cluster, rules: Rules, tally: Tally, listen: Callable[[Tally], None] | None
) -> Client:
    """Return a client of the cluster, as soon as its scheduler answers.

    Raises
    ------
    ClusterLost
        If it does not for as long as patience lasts.
    """
    watch = Stopwatch.start()
    while True:
        try:
            return cluster.client()
        except OSError as error:
            if watch.elapsed_s() > rules.patience_s:
                waited = f"no scheduler at {cluster.address} for {rules.patience_s:.0f} s"
                raise ClusterLost(f"{waited}; what is finished is kept") from error
            tally.workers = tally.running = 0
            if listen is not None:
                listen(tally)
            time.sleep(RETRY_CONNECT_S)


def _submit(client: Client, job: Job, cluster: Cluster, rules: Rules) -> Future:
    from dask._task_spec import Task

    expected = None if cluster.local else dict(installed_versions())
    key = f"{job.kind}-{readable_name(job.name)}-{job.key[:16]}"
    # The scheduler keeps "producers" until a worker is free, whatever their names and number.
    # Others it hands out at once: they would wait behind a job at its worker, and each worker that
    # this job loses would count against them, too.
    make: Any = Task
    task = make(key, run_job, job, expected, _data_producer=True)
    return client.get(
        {key: task}, key, sync=False, retries=rules.attempts_max - 1, fifo_timeout=FIRST_COME
    )


class _Watch:
    """Looks at the cluster while nothing ends, and loses patience where no worker is left."""

    def __init__(self, rules: Rules, tally: Tally, listen: Callable[[Tally], None] | None) -> None:
        self._rules, self._tally, self._listen = rules, tally, listen
        self._lonely: Stopwatch | None = None

    def look(self, client: Client) -> None:
        """Ask who is at work.

        Raises
        ------
        ClusterLost
            If no worker has been there for as long as patience lasts.
        """
        try:
            found = client.sync(client.scheduler.processing, callback_timeout=ASK_S)
        except (OSError, TimeoutError, RuntimeError, AttributeError):
            return  # its scheduler is away: the client notices by itself
        self._tally.workers = len(found)
        self._tally.running = sum(1 for keys in found.values() if keys)
        if self._listen is not None:
            self._listen(self._tally)
        if found:
            self._lonely = None
            return
        self._lonely = self._lonely or Stopwatch.start()
        if self._lonely.elapsed_s() > self._rules.patience_s:
            waited = f"no worker for {self._rules.patience_s:.0f} s"
            raise ClusterLost(f"{waited}; what is finished is kept")


def _collect(
    client: Client,
    futures: dict[str, Job],
    ended: queue.SimpleQueue[Future],
    watch: _Watch,
) -> Iterator[tuple[Job, JobReport]]:
    """Yield what ends until all has, or until the connection is lost."""
    left = dict(futures)
    while left:
        try:
            future = ended.get(timeout=POLL_S)
        except queue.Empty:
            if client.status != "running":
                return
            watch.look(client)
            continue
        job = left[future.key]
        report = _report_of(client, future, job)
        if report is None:
            return
        del left[future.key]
        yield job, report


def _report_of(client: Client, future: Future, job: Job) -> JobReport | None:
    """Return what a future says of its job; None where the connection took it away."""
    if future.status == "finished":
        try:
            report: JobReport | None = future.result(timeout=ANSWER_S)
        except Exception:  # noqa: BLE001 - the worker that holds the answer is gone or busy
            report = read_report(job)  # what counts is the folder; without it the job is asked anew
        # Its folder was missing when this run began, whichever attempt has made it since.
        return None if report is None else dataclasses.replace(report, ran=True)
    if future.status != "error":
        return None
    status, reason = _fault(client, future.exception(timeout=ANSWER_S))
    return JobReport(
        name=job.name, key=job.key, status=status, reason=reason, output_sha256="", ran=True
    )


def _fault(client: Client, error: BaseException | None) -> tuple[str, str]:
    from distributed.scheduler import KilledWorker

    if isinstance(error, KilledWorker):
        return POISONED, poisoned_reason(client, error)
    if isinstance(error, MemoryError):
        said = f"the machine of its worker had no memory left ({str(error) or 'no more is said'})"
        return REFUSED, f"{said}: take fewer workers there and run the same command again"
    return REFUSED, f"{type(error).__name__}: {error}"


def _refuse_doubles(jobs: Sequence[Job]) -> None:
    seen: dict[str, str] = {}
    problems = []
    for job in jobs:
        if job.folder in seen:
            what = f"claims the folder of {seen[job.folder]!r}: {job.folder}"
            problems.append(Problem(where=f"job {job.name!r}", what=what, remedy="rename one"))
        seen[job.folder] = job.name
    refuse_if_any(problems)
