"""`dso cluster`: many feeders, studies or settlements at once, and the processes that do them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dso.cli.cluster_options import add_cluster_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dso.cluster import Job

DESCRIPTION: Final = """\
Run delivery days of many feeders, clear many studies or settle many folders as tasks of Dask, on
the workers of this machine or of a scheduler elsewhere. Each task leaves one folder, named by its
content, whole or not at all; a lost worker costs its task an attempt and nothing else. Stopped or
killed at any time, the same command goes on with what is missing, and the table jobs.csv has the
same bytes as if nothing had happened."""

EPILOG: Final = """\
examples:
  dso cluster run 1-LV-rural1--2-sw 1-LV-semiurb4--2-sw --date 2016-07-25 --out out/feeders
  dso cluster clear out/*/clearing --out out/cleared --workers 2
  dso cluster settle money/* --out /shared/money --cluster tcp://10.0.0.5:8786
  dso cluster scheduler --host 10.0.0.5 --port 8786          and on each machine
  dso cluster worker tcp://10.0.0.5:8786 --workers 8 --worker-memory 4GiB

Variants of a study: dso sweep --cluster. What else a cluster needs: docs/cluster.md

exit codes:
  0  every task is done; clearings are certified, with or without slack
  1  scheduler or workers stayed away; what is finished is kept
  2  bad input, nobody answers at ADDRESS, or workers there run another release
  3  some tasks failed or are not certified: their rows say why"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `dso cluster`."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True, title="actions")

    def add(name: str, summary: str) -> argparse.ArgumentParser:
        return actions.add_parser(name, help=summary, description=f"{summary.capitalize()}.")

    days = add("run", "run delivery days of feeders, as dso day does, and keep them in the store")
    days.add_argument("feeders", nargs="+", metavar="FEEDER", help="id or TOML file")
    days.add_argument("--date", required=True, metavar="DAY", help="first day, YYYY-MM-DD")
    days.add_argument("--days", type=int, default=1, metavar="N", help="how many (default 1)")
    days.add_argument("--store", default=None, metavar="URL",
                      help="database of all results (default: an SQLite file in DIR)")  # fmt: skip
    days.add_argument("--keys", type=Path, default=None, metavar="DIR", help="key folder")
    days.add_argument("--configs", type=Path, default=None, metavar="DIR",
                      help="folder with markets/ and feeders/")  # fmt: skip
    clear = add("clear", "clear study folders, as dso clear does")
    clear.add_argument("folders", nargs="+", type=Path, metavar="STUDY")
    settle = add("settle", "settle settlement folders, as dso settle does")
    settle.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    forecast = add("forecast", "forecast from files, as dso forecast run does")
    forecast.add_argument("folders", nargs="+", type=Path, metavar="REQUEST.toml",
                          help="options of dso forecast run: see docs/cluster.md")  # fmt: skip
    for each in (days, clear, settle, forecast):
        _add_run_options(each)
    scheduler = add("scheduler", "run a scheduler until told to end")
    scheduler.add_argument("--port", type=int, default=8786, metavar="N", help="0: a free one")
    scheduler.add_argument("--attempts", type=int, default=3, metavar="N",
                           help="workers a task may lose (default 3)")  # fmt: skip
    worker = add("worker", "run workers until told to end; they connect anew when they must")
    worker.add_argument("address", metavar="ADDRESS", help="of the scheduler")
    worker.add_argument("--workers", type=int, default=1, metavar="N", help="processes (default 1)")
    worker.add_argument("--worker-memory", default="auto", metavar="SIZE", help="of each")
    for each in (scheduler, worker):
        each.add_argument("--host", default=None, metavar="IP", help="of this machine")


def _add_run_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, metavar="DIR",
                        help="results and table; workers must see it too")  # fmt: skip
    parser.add_argument("--workers", type=int, metavar="N",
                        help="local worker processes (default: one per core)")  # fmt: skip
    add_cluster_options(parser, default="local")
    parser.add_argument("--retry-failed", action="store_true", help="run again what failed before")
    parser.add_argument("--force", action="store_true",
                        help="write into DIR although it holds other files")  # fmt: skip
    parser.add_argument("--quiet", action="store_true", help="show no progress")


def run(arguments: argparse.Namespace) -> int:
    """Run the action; return the exit code."""
    if arguments.action == "scheduler":
        return _scheduler(arguments)
    if arguments.action == "worker":
        return _worker(arguments)
    from dso.cli.cluster_options import open_named_cluster, say_tally
    from dso.cli.output_folder import refuse_foreign_folder
    from dso.cluster.run_folder import SPEC_FILE, TABLE_FILE, WELL, run_in_folder

    refuse_foreign_folder(arguments.out, marker=SPEC_FILE, force=arguments.force)
    jobs = _days(arguments) if arguments.action == "run" else _folders(arguments)
    with open_named_cluster(arguments) as (cluster, rules):
        reports = run_in_folder(
            jobs, arguments.out, cluster, rules=rules, listen=say_tally(quiet=arguments.quiet)
        )
    undone = sum(not report.output_sha256 for report in reports)  # left no folder
    ran = sum(report.ran for report in reports) - undone
    before = len(reports) - ran - undone
    left = f", {undone} left undone" if undone else ""
    print(f"{len(reports)} tasks, {ran} done now, {before} before{left}")
    bad = [report for report in reports if report.status not in WELL]
    for report in bad:
        print(f"  {report.name}: {report.status}: {report.reason}")
    if arguments.action == "run":
        _land(arguments, jobs)
    print(f"table in {arguments.out / TABLE_FILE}")
    return 3 if bad else 0


def _days(arguments: argparse.Namespace) -> list[Job]:
    """Return the jobs of all feeders and days, with feeders and rules read before anything runs."""
    from datetime import date, timedelta

    from data.errors import InputError, Problem, refuse_if_any
    from dso.cli.day import default_keys
    from dso.cluster.kinds import day_job
    from dso.cluster.run_folder import RESULTS
    from dso.config import CONFIG_FOLDER, load_feeder, load_market
    from ledger_adapter.keys import load_or_create_keys

    problems: list[Problem] = []
    try:
        first = date.fromisoformat(arguments.date)
    except ValueError:
        remedy = "write it like 2016-07-25"
        problems.append(Problem(where="--date", what=f"{arguments.date!r} is no day",
                                remedy=remedy))  # fmt: skip
        first = date.min
    if arguments.days < 1:
        problems.append(Problem(where="--days", what=f"is {arguments.days}", remedy="at least 1"))
    configs = arguments.configs or CONFIG_FOLDER
    wanted = [first + timedelta(days=k) for k in range(max(0, arguments.days))]
    for feeder in arguments.feeders if not problems else ():
        for day in wanted:
            try:
                load_market(load_feeder(feeder, day, folder=configs).market, day, folder=configs)
            except InputError as error:
                problems.extend(error.problems)
    refuse_if_any(dict.fromkeys(problems))
    keys = arguments.keys or default_keys()
    load_or_create_keys(keys)
    results = arguments.out / RESULTS
    return [
        day_job(feeder, day, keys, configs, results)
        for day in wanted
        for feeder in dict.fromkeys(arguments.feeders)
    ]


def _folders(arguments: argparse.Namespace) -> list[Job]:
    """Return a job for each folder; all that cannot be read are named together."""
    from data.errors import Problem, refuse_if_any
    from dso.cluster.kinds import clear_job, forecast_job, settle_job
    from dso.cluster.run_folder import RESULTS

    make = {"clear": clear_job, "settle": settle_job, "forecast": forecast_job}[arguments.action]
    found: Sequence[Path] = tuple(dict.fromkeys(arguments.folders))
    wants_folder = arguments.action != "forecast"
    refuse_if_any(
        Problem(where=str(path), what=f"is no {'folder' if wants_folder else 'file'}")
        for path in found
        if path.is_dir() != wants_folder or not path.exists()
    )
    return [make(str(path), path, arguments.out / RESULTS) for path in found]


def _land(arguments: argparse.Namespace, jobs: Sequence[Job]) -> None:
    """Keep the days in the store; only this process writes to it."""
    from contextlib import closing

    from dso.bootstrap import STORE_FILE
    from dso.cluster.landing import land_days
    from dso.store import Store

    url = arguments.store or f"sqlite:///{(arguments.out / STORE_FILE).resolve()}"
    with closing(Store.open(url)) as store:
        new, known = land_days(jobs, store)
    print(f"store: {new} stages new, {known} there before")


def _scheduler(arguments: argparse.Namespace) -> int:
    from data.errors import Problem, refuse_if_any
    from dso.cluster.stay import serve_scheduler

    problems = []
    if not 0 <= arguments.port < 65536:
        problems.append(Problem(where="--port", what=f"is {arguments.port}", remedy="0 to 65535"))
    if arguments.attempts < 1:
        what = f"is {arguments.attempts}"
        problems.append(Problem(where="--attempts", what=what, remedy="at least 1"))
    refuse_if_any(problems)
    serve_scheduler(
        host=arguments.host or "127.0.0.1",
        port=arguments.port,
        attempts_max=arguments.attempts,
        say=_say,
    )
    return 0


def _worker(arguments: argparse.Namespace) -> int:
    from data.errors import InputError, Problem
    from dso.cluster.memory import refuse_memory
    from dso.cluster.stay import serve_workers

    refuse_memory(arguments.worker_memory)
    if arguments.workers < 1:
        what = f"is {arguments.workers}"
        raise InputError([Problem(where="--workers", what=what, remedy="at least 1")])
    serve_workers(
        arguments.address,
        processes=arguments.workers,
        memory=arguments.worker_memory,
        host=arguments.host,
        say=_say,
    )
    return 0


def _say(line: str) -> None:
    print(line, flush=True)
