"""What a clearing and a settlement write down."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from data.errors import InputError
from ledger_adapter.batches import (
    batch_for_clearing,
    batch_for_settlement,
    folder_files,
    folder_root,
    read_records,
)
from ledger_adapter.commitment import batch_key
from ledger_adapter.keys import OperatorKeys, SubjectErased
from ledger_adapter.verify.merkle import root_hash
from ledger_adapter.verify.opening import statement_records
from tests.support.ledger_day import write_day

RUN: dict[str, str | int] = {"market": "m", "interval": "2016-07-25", "run": "da", "revision": 0}
DIGESTS = {"input_root": "0" * 64, "output_root": "1" * 64}


def trade(number: int, **other: str | int) -> dict[str, str | int]:
    return {
        "trade": f"t{number}",
        "order": f"o{number % 96}",
        "participant": f"p{number % 50}",
        "bus": number % 100,
        "period_start": "2016-07-24T22:00:00Z",
        "energy_wh": number,
        "price_micro_eur_per_mwh": 2**60,
        **other,
    }


def clearing(keys: OperatorKeys, trades: list[dict[str, str | int]], **other: Any) -> Any:
    fields = {"certificate_sha256": "2" * 64, "status": "certified", **DIGESTS, **other}
    return batch_for_clearing(RUN, trades=trades, subjects=keys.subjects, **fields)


def test_the_header_binds_the_run_and_the_leaves_say_nothing(keys: OperatorKeys) -> None:
    batch = clearing(keys, [trade(1), trade(2)])
    header = json.loads(batch.leaves[0])
    assert header == {
        "format": "gridclear/leaf@1",
        "kind": "clearing",
        "run": {**RUN, "kind": "clearing"},
        "key": batch.key.hex(),
        **DIGESTS,
        "certificate_sha256": "2" * 64,
        "status": "certified",
        "records": 2,
        "records_kind": "trade",
        "records_root": root_hash(batch.leaves[1:]).hex(),
    }
    assert batch.key == batch_key({**RUN, "kind": "clearing"})
    assert not any(b"p1" in leaf or b"o1" in leaf for leaf in batch.leaves)


def test_a_rerun_gives_the_same_batch_and_a_revision_another(keys: OperatorKeys) -> None:
    trades = [trade(1), trade(2)]
    first = clearing(keys, trades)
    assert clearing(keys, trades) == first
    text = [{name: str(value) for name, value in row.items()} for row in trades]
    assert clearing(keys, text) == first  # type: ignore[arg-type]
    again = batch_for_clearing(
        {**RUN, "revision": 1},
        certificate_sha256="2" * 64,
        status="certified",
        trades=trades,
        subjects=keys.subjects,
        **DIGESTS,
    )
    assert not set(again.leaves) & set(first.leaves)


def test_a_clearing_without_trades_has_its_header(keys: OperatorKeys) -> None:
    (leaf,) = clearing(keys, []).leaves
    assert json.loads(leaf)["records"] == 0


def test_all_problems_together(keys: OperatorKeys) -> None:
    with pytest.raises(InputError) as refusal:
        clearing(
            keys,
            [trade(1, energy_wh=1.5), {"trade": "t2"}],  # type: ignore[arg-type]
            input_root="short",
            output_root="A" * 64,
        )
    assert len(refusal.value.problems) == 2 + 1 + 6
    with pytest.raises(InputError, match="trade t1: stands twice"):
        clearing(keys, [trade(1), trade(1)])
    with pytest.raises(InputError, match="run field"):
        batch_key({"market": 1.5})  # type: ignore[dict-item]


def test_statements_sum_the_lines_of_each_participant(tmp_path: Path, keys: OperatorKeys) -> None:
    lines = read_records("statement", write_day(tmp_path) / "settled" / "lines.csv")
    records = statement_records(lines)
    assert [(r.subject, r.fields["lines"], r.fields["amount_micro_eur"]) for r in records] == [
        ("account:upstream", "1", "188"),
        ("moon, Ltd", "1", "-5000"),
        ("sun", "2", "4812"),
    ]
    batch = batch_for_settlement(RUN, lines=lines, subjects=keys.subjects, **DIGESTS)
    assert len(batch.leaves) == 4
    swapped = [lines[2], *lines[:2], lines[3]]
    other = batch_for_settlement(RUN, lines=swapped, subjects=keys.subjects, **DIGESTS)
    assert [a == b for a, b in zip(batch.leaves[1:], other.leaves[1:], strict=True)] == [
        True, True, False,
    ]  # fmt: skip
    lines[0]["amount_micro_eur"] = "5.0"
    with pytest.raises(InputError):
        batch_for_settlement(RUN, lines=lines, subjects=keys.subjects, **DIGESTS)


def test_erased_participants_cannot_be_committed_again(keys: OperatorKeys) -> None:
    clearing(keys, [trade(1)])
    keys.subjects.erase("p1")
    with pytest.raises(SubjectErased):
        clearing(keys, [trade(1)])


def test_a_folder_root_depends_on_names_and_bytes_but_not_on_timings(tmp_path: Path) -> None:
    day = write_day(tmp_path)
    root = folder_root(day / "output")
    (day / "output" / "timings.json").write_text("other")
    assert folder_root(day / "output") == root
    assert set(folder_files(day / "output")) == {"trades.csv", "summary.json"}
    (day / "output" / "trades.csv").rename(day / "output" / "trade.csv")
    assert folder_root(day / "output") != root
    (day / "output" / "link").symlink_to(day / "output" / "trade.csv")
    with pytest.raises(InputError, match="ordinary file"):
        folder_root(day / "output")
    with pytest.raises(InputError, match="not a folder"):
        folder_root(day / "nothing")
    (day / "empty").mkdir()
    with pytest.raises(InputError, match="no file"):
        folder_root(day / "empty")


@pytest.mark.parametrize(
    "content", ["", "a,b\n1,2\n", 'participant,"x\n', "\xff", "participant,participant\n"]
)
def test_a_table_that_cannot_be_read_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "lines.csv"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(InputError, match=r"lines\.csv"):
        read_records("statement", path)


def test_nine_thousand_trades_take_about_a_second(keys: OperatorKeys) -> None:
    trades = [trade(number) for number in range(9600)]
    clearing(keys, trades[:100])
    start = time.process_time()
    assert len(clearing(keys, trades).leaves) == 9601
    assert time.process_time() - start < 5.0
