"""Two thousand mutations of a bundle, and fuzzed parsers; `make bench-tamper` does many more."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from data.records.posting import Batch
from ledger_adapter.keys import OperatorKeys, load_or_create_keys
from ledger_adapter.sql_log import SqlLog
from ledger_adapter.sql_schema import configure_sqlite
from ledger_adapter.verify import verify_bundle
from tests.support.ledger_day import export_day, write_day
from tests.support.parser_fuzzing import Target, fuzz, targets
from tests.support.tampering import (
    applied,
    every_mutation,
    json_paths,
    random_mutations,
    read_files,
)

MUTATIONS = 2000
FUZZED_PER_PARSER = 1500


def make_bundle(folder: Path) -> tuple[SqlLog, OperatorKeys]:
    keys = load_or_create_keys(folder / "keys", "dso.example/test")
    log = SqlLog(configure_sqlite(create_engine(f"sqlite:///{folder}/log.db")), keys.signer)
    log.post(Batch(key=bytes(32), leaves=(b"a", b"b", b"c")))
    export_day(write_day(folder / "day"), folder / "bundle", log, keys)
    return log, keys


def test_two_thousand_mutations_are_refused_and_named(tmp_path: Path) -> None:
    _, keys = make_bundle(tmp_path / "ours")
    make_bundle(tmp_path / "theirs")
    bundle = tmp_path / "ours/bundle"
    files, other = read_files(bundle), read_files(tmp_path / "theirs/bundle")
    rng = random.Random(9162)
    all_once = list(every_mutation(files, other, rng))
    assert {name for mutation in all_once for name in mutation.names} == files.keys()
    assert sum(len(json_paths(content)) for content in files.values()) > 90
    wanted = max(MUTATIONS - len(all_once), 200)
    rest = itertools.islice(random_mutations(files, other, rng), wanted)
    count = 0
    for mutation in itertools.chain(all_once, rest):
        with applied(bundle, files, mutation):
            report = verify_bundle(bundle, keys.vkey_text)
        assert not report.holds, mutation.what
        assert report.failures[0].file in mutation.names, (mutation.what, report.failures)
        assert report.failures[0].what, mutation.what
        count += 1
    assert count >= MUTATIONS
    assert verify_bundle(bundle, keys.vkey_text).holds


@pytest.fixture(scope="module")
def parsers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Target, ...]:
    folder = tmp_path_factory.mktemp("fuzz")
    log, keys = make_bundle(folder)
    return targets(folder / "bundle", log, keys)


def test_seeds_are_accepted_and_fuzzed_texts_raise_nothing_else(
    parsers: tuple[Target, ...],
) -> None:
    rng = random.Random(8785)
    pool = [seed for target in parsers for seed in target.seeds]
    for target in parsers:
        for seed in target.seeds:
            target.parse(seed)
        accepted = sum(fuzz(target, rng, pool) for _ in range(FUZZED_PER_PARSER))
        assert accepted < FUZZED_PER_PARSER / 2, target.name
