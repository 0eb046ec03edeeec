"""Tamper with a bundle many times and fuzz the parsers: `make bench-tamper`.

    python -m benchmarks.tamper --mutations 100000 --fuzz-minutes 10

Stops at the first mutation that is accepted or not named, and at the first exception that is not
`Malformed`; then nothing is written.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Final

from sqlalchemy import create_engine

from benchmarks.document import replace_section
from benchmarks.machine import describe_machine
from ledger_adapter.keys import OperatorKeys, load_or_create_keys
from ledger_adapter.sql_log import SqlLog
from ledger_adapter.sql_schema import configure_sqlite
from ledger_adapter.verify import verify_bundle
from tests.support.ledger_batches import batch
from tests.support.ledger_day import export_day, write_day
from tests.support.parser_fuzzing import fuzz, targets
from tests.support.tampering import applied, every_mutation, random_mutations, read_files

TITLE: Final = "Tampering with a bundle"
SEED: Final = 20160725
ROUND: Final = 200


def main(arguments: Sequence[str] | None = None) -> int:
    """Run both parts and enter what was measured into docs/benchmarks.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutations", type=int, default=100_000)
    parser.add_argument("--fuzz-minutes", type=float, default=10.0)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log, keys = _bundle(folder / "ours")
        _bundle(folder / "theirs")
        kinds, mutation_s = _mutate(folder, keys, options.mutations)
        fuzzed, accepted = _fuzz(folder / "ours/bundle", log, keys, options.fuzz_minutes * 60)
    count = sum(kinds.values())
    body = "\n".join(
        [
            f"{describe_machine()}. Seed {SEED}.",
            "",
            (
                f"{count:,} mutations of a bundle (every file by every kind and every JSON path "
                f"once, the rest drawn), {mutation_s:.0f} s of CPU: each refused, and the first "
                "failure names a file that was touched."
            ),
            "",
            "| Kind | mutations |", "|---|---|",
            *(f"| {kind} | {number:,} |" for kind, number in sorted(kinds.items())),
            "",
            (
                f"{sum(fuzzed.values()):,} mutated texts for {len(fuzzed)} parsers in "
                f"{options.fuzz_minutes:g} minutes: no exception but `Malformed`."
            ),
            "",
            "| Parser | texts | accepted |", "|---|---|---|",
            *(f"| {name} | {number:,} | {accepted[name]:,} |" for name, number in fuzzed.items()),
        ]
    )  # fmt: skip
    replace_section(TITLE, body)
    sys.stdout.write(body + "\n")
    return 0


def _bundle(folder: Path) -> tuple[SqlLog, OperatorKeys]:
    keys = load_or_create_keys(folder / "keys", "dso.example/tamper")
    log = SqlLog(configure_sqlite(create_engine(f"sqlite:///{folder}/log.db")), keys.signer)
    log.post(batch(0, 3))
    export_day(write_day(folder / "day"), folder / "bundle", log, keys)
    return log, keys


def _mutate(folder: Path, keys: OperatorKeys, wanted: int) -> tuple[Counter[str], float]:
    bundle = folder / "ours/bundle"
    files, other = read_files(bundle), read_files(folder / "theirs/bundle")
    rng = random.Random(SEED)  # noqa: S311 - a seed that can be repeated, no secret
    kinds: Counter[str] = Counter()
    started = time.process_time()
    drawn = chain(every_mutation(files, other, rng), random_mutations(files, other, rng))
    for mutation in islice(drawn, wanted):
        with applied(bundle, files, mutation):
            report = verify_bundle(bundle, keys.vkey_text)
        if report.holds or report.failures[0].file not in mutation.names:
            raise SystemExit(f"not refused, or not named: {mutation.what}: {report.failures}")
        kinds[mutation.what.rpartition(": ")[2]] += 1
    return kinds, time.process_time() - started


def _fuzz(
    bundle: Path, log: SqlLog, keys: OperatorKeys, seconds: float
) -> tuple[Counter[str], Counter[str]]:
    parsers = targets(bundle, log, keys)
    pool = [seed for target in parsers for seed in target.seeds]
    rng = random.Random(SEED)  # noqa: S311 - a seed that can be repeated, no secret
    fuzzed: Counter[str] = Counter()
    accepted: Counter[str] = Counter()
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        for target in parsers:
            accepted[target.name] += sum(fuzz(target, rng, pool) for _ in range(ROUND))
            fuzzed[target.name] += ROUND
    return fuzzed, accepted


if __name__ == "__main__":
    sys.exit(main())
