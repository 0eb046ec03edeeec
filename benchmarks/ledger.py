"""Measure the SQL log: durable appends, proofs and a full audit at a million leaves.

    python -m benchmarks.ledger [--leaves 1000000] [--postgres URL]

Appends are given as a ratio to a plain insert of the same rows into a table of the same shape in
the same run, committed as often: that is what the tree, the signature and the triggers cost.
Time is time on the clock: an append that is durable waits for the disk.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    Engine,
    LargeBinary,
    MetaData,
    Table,
    create_engine,
    make_url,
    text,
)

from benchmarks.document import replace_section
from benchmarks.machine import describe_machine
from data.records.posting import Batch
from ledger_adapter.keys import load_or_create_keys
from ledger_adapter.merkle import TileTree
from ledger_adapter.signers import Signer
from ledger_adapter.sql_log import SqlLog
from ledger_adapter.sql_schema import configure_sqlite, insert_rows
from ledger_adapter.verify.merkle import (
    leaf_hash,
    root_hash,
    verify_consistency,
    verify_inclusion,
)

TITLE: Final = "Ledger"
LEAF_BYTES: Final = 117  # a trade's commitment
# leaves per batch: number of batches
APPENDS: Final = {1: 100, 10: 100, 100: 50, 1000: 20, 10_000: 5}
PROOFS: Final = 200
SCHEMA: Final = "gridclear_bench_ledger"
APPENDS_TEXT: Final = (
    f"Durable appends of leaves of {LEAF_BYTES} bytes (SQLite: WAL, synchronous FULL; PostgreSQL: "
    "COPY), turn about with a plain insert of the same rows, one commit per batch each."
)
PROOFS_TEXT: Final = (
    f"Median of {PROOFS} proofs at places drawn, made from SQL, checked in memory; re-hashing and "
    "fsck in seconds of CPU."
)


def leaves_from(start: int, count: int) -> tuple[bytes, ...]:
    """Return leaves of a commitment's length, all different."""
    return tuple(f"{number:0{LEAF_BYTES}d}".encode() for number in range(start, start + count))


def measure_appends(engine: Engine, signer: Signer) -> list[str]:
    """Return table rows: records per second plain and in the log, and their ratio, by batch."""
    plain = Table(
        "plain",
        MetaData(),
        Column("seq", BigInteger, primary_key=True, autoincrement=False),
        Column("leaf", LargeBinary, nullable=False),
    )
    plain.metadata.create_all(engine)
    log = SqlLog(engine, signer)

    def post_plain(leaves: Sequence[bytes], first: int) -> None:
        with engine.begin() as connection:
            insert_rows(connection, plain, list(enumerate(leaves, start=first)))

    rows, place = [], 0
    for size, batches in APPENDS.items():
        spent_plain = spent_log = 0.0
        # Turn about, so that a slow moment of the disk meets both.
        for number in range(batches):
            leaves = leaves_from(place, size)
            posted = Batch(key=f"{size}:{number}".encode().ljust(32), leaves=leaves)
            started = time.perf_counter()
            post_plain(leaves, place)
            between = time.perf_counter()
            log.post(posted)
            spent_plain += between - started
            spent_log += time.perf_counter() - between
            place += size
        count = size * batches
        rates = count / spent_plain, count / spent_log
        rows.append(
            f"| {engine.dialect.name} | {size:,} | {rates[0]:,.0f} | {rates[1]:,.0f} | "
            f"{rates[1] / rates[0]:.2f} |"
        )
    return rows


def measure_proofs(engine: Engine, signer: Signer, count: int) -> str:
    """Return a table row: proofs and a full audit of a log of ``count`` leaves."""
    log = SqlLog(engine, signer)
    log.post(Batch(key=b"fill".ljust(32), leaves=leaves_from(10**9, count)))
    head = log.head()
    rng = random.Random(head.size)  # noqa: S311 - places to measure, no secret
    spent: tuple[list[float], ...] = ([], [], [], [])  # make and check: inclusion, consistency
    for _ in range(PROOFS):
        index, old = rng.randrange(head.size), rng.randrange(1, head.size)
        (leaf,) = log.entries(index, index + 1)
        old_root = root_at(log, old)
        moments = [time.perf_counter()]
        path = log.inclusion(index, head.size)
        moments.append(time.perf_counter())
        holds = verify_inclusion(leaf_hash(leaf), index, head.size, path, head.root)
        moments.append(time.perf_counter())
        proof = log.consistency(old, head.size)
        moments.append(time.perf_counter())
        extends = verify_consistency(old, head.size, old_root, head.root, proof)
        moments.append(time.perf_counter())
        if not holds or not extends:
            raise SystemExit(f"a proof of leaf {index} or from size {old} does not hold")
        for times, (begin, end) in zip(spent, pairwise(moments), strict=True):
            times.append(end - begin)
    audit = -time.process_time()
    if root_hash(log.entries(0, head.size)) != head.root:
        raise SystemExit("the leaves do not give the root")
    audit += time.process_time()
    check = -time.process_time()
    if log.find_damage():
        raise SystemExit("fsck finds damage")
    check += time.process_time()
    cells = [f"{median(times) * 1e3:.2f}" for times in spent]
    return (
        f"| {engine.dialect.name} | {head.size:,} | {' | '.join(cells)} | {audit:.1f} | "
        f"{check:.1f} |"
    )


def root_at(log: SqlLog, size: int) -> bytes:
    """Return the root of an earlier size."""
    return TileTree(log.read_tile).root(size)


@contextmanager
def engines(folder: Path, postgres: str | None) -> Iterator[list[Engine]]:
    """Open SQLite in a folder and, if a URL is given, a schema of PostgreSQL of its own."""
    found = [configure_sqlite(create_engine(f"sqlite:///{folder}/log.db"))]
    server = None
    if postgres is not None:
        server = create_engine(postgres)
        with server.begin() as connection:
            connection.execute(text(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE"))
            connection.execute(text(f"CREATE SCHEMA {SCHEMA}"))
        own = make_url(postgres).update_query_dict({"options": f"-csearch_path={SCHEMA}"})
        found.append(create_engine(own))
    try:
        yield found
    finally:
        for engine in found:
            engine.dispose()
        if server is not None:
            with server.begin() as connection:
                connection.execute(text(f"DROP SCHEMA {SCHEMA} CASCADE"))
            server.dispose()


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure both engines and enter the tables into docs/benchmarks.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--leaves", type=int, default=1_000_000)
    parser.add_argument("--postgres", default=os.environ.get("DSO_TEST_POSTGRES_URL"))
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        signer = load_or_create_keys(folder / "keys").signer
        with engines(folder, options.postgres) as found:
            appends = [row for engine in found for row in measure_appends(engine, signer)]
            proofs = [measure_proofs(engine, signer, options.leaves) for engine in found]
    body = "\n".join(
        [
            f"{describe_machine()}; load average {os.getloadavg()[1]:.1f}. {APPENDS_TEXT}",
            "",
            "| Engine | leaves per batch | plain insert [1/s] | log [1/s] | ratio |",
            "|---|---|---|---|---|",
            *appends,
            "",
            PROOFS_TEXT,
            "",
            (
                "| Engine | leaves | inclusion [ms] | check [ms] | consistency [ms] | check [ms] "
                "| re-hash all leaves [s] | fsck [s] |"
            ),
            "|---|---|---|---|---|---|---|---|",
            *proofs,
        ]
    )
    replace_section(TITLE, body)
    sys.stdout.write(body + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
