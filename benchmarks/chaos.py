"""A market killed fifty times over a week, and what it is compared with.

    make bench-chaos
    make bench-chaos DAYS=1 KILLS=20 FEEDER=1-LV-rural1--2-sw

A week of a feeder is run twice on PostgreSQL (DSO_TEST_POSTGRES_URL): once undisturbed, once by two
workers of which one is killed at seeded moments. Files, rows, heads and balances must be equal.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from benchmarks.machine import describe_machine
from dso.store import DueQueue, Store
from dso.store.backup import StoreState, create_all, read_state
from ledger_adapter.keys import load_or_create_keys

NOT_HASHED = frozenset({"timings.json", ".lock"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run left: digest-worthy files, state of the store, time [s], kills, lost attempts."""

    files: dict[str, bytes]
    state: StoreState
    elapsed_s: float
    kills: int
    lost: int


def start(*words: str) -> subprocess.Popen[str]:
    """Start a `dso` command."""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "dso.cli.main", *words, "--quiet"], text=True, env=environment,
        stdout=subprocess.PIPE,
    )  # fmt: skip


def run_market(
    folder: Path, url: str, keys: Path, options: argparse.Namespace, kills: int
) -> Outcome:
    """Run the days with two workers, killing one so many times."""
    where = ["--out", str(folder), "--feeder", options.feeder, "--store", url, "--keys", str(keys)]
    days = ["--from", options.first, "--days", str(options.days)]
    with closing(Store.open(url)):
        pass
    begun = time.perf_counter()
    driver = start("simulate", *days, "--no-work", *where)
    workers = start("worker", "--processes", "2", "--preload", options.first, *where)
    try:
        done = disturb(workers.pid, driver, url, kills, options.days)
        driver.communicate()
    finally:
        workers.terminate()
        workers.communicate()
    if driver.returncode != 0:
        raise SystemExit(f"dso simulate ended with {driver.returncode}")
    elapsed_s = time.perf_counter() - begun
    with closing(Store.open(url)) as store:
        create_all(store, load_or_create_keys(keys))
        lost = sum(1 for row in DueQueue(store).attempts() if row["outcome"] == "lost")
        with store.transaction() as connection:
            state = read_state(connection)
    files = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in NOT_HASHED
    }
    return Outcome(files=files, state=state, elapsed_s=elapsed_s, kills=done, lost=lost)


def disturb(parent: int, driver: subprocess.Popen[str], url: str, kills: int, days: int) -> int:
    """Kill the worker at work, evenly over the cycles of the days and at seeded moments."""
    chance, done = random.Random(50), 0  # noqa: S311 - seeded, not secret
    if kills == 0:
        return 0
    with closing(Store.open(url)) as store:
        queue = DueQueue(store)
        while done < kills and driver.poll() is None:
            time.sleep(chance.uniform(0.05, 0.4))
            rows = queue.states()
            finished = sum(1 for row in rows if row["finished_at"] and row["lane"] == "market")
            if finished < done * days * 30 // (kills + 1):  # about thirty market cycles a day
                continue
            children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
            working = [str(row["worker"]) for row in rows if row["state"] == "leased"]
            victims = [name.rpartition(":")[2] for name in working]
            hit = [victim for victim in victims if victim in children]
            if hit:
                os.kill(int(hit[0]), signal.SIGKILL)
                done += 1
    return done


def compare(ours: Outcome, theirs: Outcome) -> list[str]:
    """Return what differs; nothing is what is wanted."""
    names = ours.files.keys() | theirs.files.keys()
    found = [name for name in sorted(names) if ours.files.get(name) != theirs.files.get(name)]
    found += [
        name
        for name in ("heads", "balances_micro_eur")
        if getattr(ours.state, name) != getattr(theirs.state, name)
    ]
    rows, others = dict(ours.state.rows), dict(theirs.state.rows)
    for each in (rows, others):
        each.pop("cycle_attempt")
    return found + [f"rows of {name}" for name in rows if rows[name] != others[name]]


def main(argv: Sequence[str] | None = None) -> int:
    """Run both markets and print the comparison; 1 where anything differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--first", default="2016-07-25")
    parser.add_argument("--days", type=int, default=7)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--feeder", default="1-MV-rural--2-sw")
    options = parser.parse_args(argv)
    server = os.environ.get("DSO_TEST_POSTGRES_URL")
    if not server:
        sys.stdout.write("set DSO_TEST_POSTGRES_URL\n")
        return 2
    sys.stdout.write(describe_machine() + "\n")
    outcomes, engine = [], create_engine(server)
    with tempfile.TemporaryDirectory() as name:
        for label, kills in (("undisturbed", 0), ("killed", options.kills)):
            schema = f"chaos_{uuid.uuid4().hex}"
            with engine.begin() as connection:
                connection.execute(text(f'CREATE SCHEMA "{schema}"'))
            url = make_url(server).update_query_dict({"options": f"-csearch_path={schema}"})
            try:
                outcome = run_market(
                    Path(name) / label, url.render_as_string(hide_password=False),
                    Path(name) / "keys", options, kills,
                )  # fmt: skip
            finally:
                with engine.begin() as connection:
                    connection.execute(text(f'DROP SCHEMA "{schema}" CASCADE'))
            sys.stdout.write(
                f"{label:12} {options.feeder}, {options.days} days: {outcome.elapsed_s:,.0f} s, "
                f"{outcome.kills} kills, {outcome.lost} attempts lost, {len(outcome.files)} files, "
                f"{outcome.state.rows['due_cycle']} cycles, head "
                f"{outcome.state.heads['ledger'].splitlines()[1]} leaves\n"
            )
            outcomes.append(outcome)
    engine.dispose()
    different = compare(*outcomes)
    sys.stdout.write("different: " + (", ".join(different[:20]) or "nothing") + "\n")
    return 1 if different or outcomes[1].kills != options.kills else 0


if __name__ == "__main__":
    sys.exit(main())
