"""Measure what clearings cost in processor time and memory, for the cost model of docs/growth.md.

    python -m benchmarks.growth_measure          all cases, each in a process of its own
    python -m benchmarks.growth_measure --store  bytes of a row, on DSO_TEST_POSTGRES_URL

Rows of benchmarks/growth_runs.csv with the same source are replaced, others stay. Processor time
counts, not wall time, so that other work on the machine disturbs little.
"""

from __future__ import annotations

import csv
import io
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable, Iterator
from datetime import date
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

from benchmarks.simbench_cases import SUNNY, WINTER, grid_codes, simbench_case
from data.canonical import csv_bytes, write_atomically
from data.records.clearing import ClearingCase
from dso.studies import new_case
from opf.clearing import clear_case

RUNS_FILE: Final = Path(__file__).with_name("growth_runs.csv")
SOURCE: Final = "growth_measure"
STORE_SOURCE: Final = "growth_measure --store"
COLUMNS: Final = (
    "kind", "source", "case", "buses", "loads", "periods", "resources", "processor_s", "peak_mib",
    "output_mib", "status",
)  # fmt: skip
CUT: Final = ("1-MV-rural--2-sw", "1-LV-semiurb4--2-sw")
PERIODS: Final = (12, 24, 48)


def cases() -> Iterator[tuple[str, Callable[[], ClearingCase]]]:
    """Return every case to measure by name: all small grids on two days, two of them cut short."""
    for code in grid_codes():
        for day in (SUNNY, WINTER):
            yield f"{code} {day}", partial(simbench_case, code, day)
    for code in CUT:
        for count in PERIODS:
            yield f"{code} {count} periods", partial(_cut, code, SUNNY, count)


def _cut(code: str, day: date, periods: int) -> ClearingCase:
    return new_case(f"simbench:{code}", day=day, feeder=code, periods=periods)


def measure(name: str, make: Callable[[], ClearingCase], answer: Connection) -> None:
    """Clear a case and send its row."""
    import tempfile

    from data.results import write_result

    case = make()
    begin = time.process_time()
    result = clear_case(case)
    spent = time.process_time() - begin
    with tempfile.TemporaryDirectory() as folder:
        write_result(result, case, Path(folder))
        written = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
    answer.send(
        {
            "kind": "clearing",
            "source": SOURCE,
            "case": name,
            "buses": int(case.network.buses.in_service.sum()),
            "loads": int(case.network.loads.in_service.sum()),
            "periods": len(case.periods),
            "resources": len(case.orders),
            "processor_s": round(spent, 3),
            "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            "output_mib": round(written / 2**20, 3),
            "status": result.status,
        }
    )


def read_rows() -> list[dict[str, str]]:
    """Return the measured runs."""
    if not RUNS_FILE.is_file():
        return []
    return list(csv.DictReader(io.StringIO(RUNS_FILE.read_text(encoding="utf-8"))))


def write_rows(rows: list[dict[str, str]]) -> None:
    """Write the measured runs."""
    table = csv_bytes(COLUMNS, [[row.get(name, "") for name in COLUMNS] for row in rows])
    write_atomically(RUNS_FILE, table)


def measure_store() -> dict[str, str]:
    """Write three days of a thousand meters to PostgreSQL; return rows, seconds and size."""
    import os
    import uuid

    from sqlalchemy import create_engine, text
    from sqlalchemy.engine import make_url

    from benchmarks.store import readings
    from dso.store import Store
    from dso.store.bulk import insert_bulk
    from dso.store.tables import READING

    url = make_url(os.environ["DSO_TEST_POSTGRES_URL"])
    schema = f"growth_{uuid.uuid4().hex}"
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text(f'CREATE SCHEMA "{schema}"'))
    own = url.update_query_dict({"options": f"-csearch_path={schema}"})
    store = Store.open(own.render_as_string(hide_password=False))
    try:
        rows = readings()
        begin = time.process_time()
        with store.transaction() as connection:
            insert_bulk(connection, READING, rows)
        spent = time.process_time() - begin
        with store.transaction() as connection:
            size = connection.execute(
                text(
                    "SELECT sum(pg_total_relation_size(inhrelid)) FROM pg_inherits"
                    " WHERE inhparent = to_regclass('reading')"
                )
            ).scalar_one()
    finally:
        store.close()
        with engine.begin() as connection:
            connection.execute(text(f'DROP SCHEMA "{schema}" CASCADE'))
        engine.dispose()
    return {
        "kind": "store", "source": STORE_SOURCE, "case": "readings, PostgreSQL, rows and indexes",
        "resources": str(len(rows)), "processor_s": f"{spent:.2f}",
        "output_mib": f"{int(size) / 2**20:.1f}",
    }  # fmt: skip


def main() -> int:
    """Measure all cases, each in a fork of this process."""
    if "--store" in sys.argv[1:]:
        others = [row for row in read_rows() if row["source"] != STORE_SOURCE]
        write_rows([*others, measure_store()])
        return 0
    context = multiprocessing.get_context("fork")
    kept = [row for row in read_rows() if row["source"] != SOURCE]
    found: list[dict[str, str]] = []
    for name, make in cases():
        near, far = context.Pipe(duplex=False)
        process = context.Process(target=measure, args=(name, make, far))
        process.start()
        far.close()
        row = near.recv()
        process.join()
        found.append({key: str(value) for key, value in row.items()})
        sys.stdout.write(f"{name}: {row['processor_s']} s, {row['peak_mib']} MiB\n")
        sys.stdout.flush()
        write_rows(kept + found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
