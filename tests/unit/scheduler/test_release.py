"""Two signatures before a clearing binds; an override stands in the action log with its reason."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, select

from data.errors import InputError
from dso.cli.main import main
from dso.clock import ReplayClock
from dso.scheduler.release import find_waiting, sign_clearing
from dso.store import DueCycle, Signature
from dso.store.tables import SETPOINT
from ledger_adapter.actions import batch_for_actions
from ledger_adapter.outbox import queued_batches
from ledger_adapter.sql_log import SqlLog
from ledger_adapter.sql_schema import ACTION_TABLES
from tests.support.small_market import options, write_configs
from tests.unit.scheduler.conftest import GATE, MINUTE, START, Market, open_market

CLOCK = ReplayClock(at=GATE)


@pytest.fixture(scope="module")
def held_made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A market under a rule set that asks for two signatures, its day-ahead clearing waiting."""
    folder = tmp_path_factory.mktemp("held")
    write_configs(folder / "configs", signatures=2)
    with open_market(folder, folder / "configs") as market:
        market.work(GATE)
    return folder


@pytest.fixture
def signed(held_made: Path, tmp_path: Path) -> Iterator[Market]:
    shutil.copytree(held_made, tmp_path / "copy")
    with open_market(tmp_path / "copy", tmp_path / "copy/configs") as opened:
        yield opened


def waiting(market: Market) -> tuple[DueCycle, str]:
    ((due, output),) = find_waiting(market.operation)
    return due, output


def sign(market: Market, actor: str, verdict: str = "release", reason: str = "") -> int:
    due, output = waiting(market)
    signature = Signature(actor=actor, verdict=verdict, output_sha256=output, reason=reason)  # type: ignore[arg-type]  # one of three
    return sign_clearing(market.operation, due, signature, role="operator", clock=CLOCK).missing


def setpoints(market: Market) -> int:
    with market.operation.services.store.transaction() as connection:
        return connection.execute(select(func.count()).select_from(SETPOINT)).scalar_one()


def test_nothing_binds_before_the_second_signature(signed: Market) -> None:
    assert signed.row("day_ahead")["state"] == "held"
    assert not (signed.day / "clearing/summary.json").exists()
    held = next((signed.day / ".held").iterdir())
    assert json.loads((held / "clearing/summary.json").read_text())["status"] == "certified"
    assert queued_batches(signed.operation.services.store.engine) == []
    assert signed.operation.services.ledger.head().size == 0
    assert json.loads(signed.alarms.read_text().splitlines()[-1])["rules"] == ["held"]

    assert sign(signed, "Ada") == 1
    signed.work(GATE + MINUTE)
    assert signed.row("day_ahead")["state"] == "held"
    assert not (signed.day / "clearing/trades.csv").exists()

    assert sign(signed, "Ben") == 0
    signed.work(GATE + 2 * MINUTE)
    assert signed.row("day_ahead")["state"] == "done"
    assert (signed.day / "clearing/trades.csv").read_text().count("\n") > 100
    assert not any((signed.day / ".held").iterdir())
    assert signed.operation.services.ledger.head().size > 100


def test_without_release_devices_are_told_nothing(signed: Market) -> None:
    sign(signed, "Ada")
    # delivery begins, the clearing still waits: it is withheld by rule and binds nobody
    signed.work(START)
    assert setpoints(signed) == 0
    assert signed.operation.queue.fallbacks()["real_time", "no_schedule"] == 1
    row = signed.row("day_ahead")
    assert (row["state"], row["light"]) == ("skipped", "orange")
    assert "not_released" in str(row["remark"])
    said = json.loads((signed.day / "clearing/summary.json").read_text())
    assert said["status"] == "uncertified"


def test_an_override_binds_and_its_reason_is_in_the_action_log(signed: Market) -> None:
    with pytest.raises(InputError, match="is needed to override"):
        sign(signed, "Ada", "override")
    due, output = waiting(signed)
    actions = SqlLog(
        signed.operation.services.store.engine, signed.operation.services.keys.actions,
        ACTION_TABLES,
    )  # fmt: skip
    before = actions.head().size
    reason = "Ben is ill; checked by phone with the control room"
    assert sign(signed, "Ada", "override", reason) == 0
    signed.work(GATE + MINUTE)
    assert signed.row("day_ahead")["state"] == "done"
    # what was posted is a commitment to exactly this reason: the same action gives the same leaf
    head = actions.head()
    leaves = list(actions.entries(before, head.size))
    assert len(leaves) == 2
    header = json.loads(leaves[0])
    subjects = signed.operation.services.keys.subjects

    def leaf_of(reason: str) -> bytes:
        fields = {
            "actor": "Ada", "role": "operator", "verb": "override",
            "object": f"{due} output {output}", "reason": reason, "at_utc": "2016-07-24T11:30:00Z",
            "clock": "market clock", "action": header["run"]["action"],
        }  # fmt: skip
        run = {name: value for name, value in header["run"].items() if name != "kind"}
        record_head = signed.operation.services.ledger.head()
        batch = batch_for_actions(run, actions=[fields], record_head=record_head, subjects=subjects)
        return batch.leaves[1]

    assert leaves[1] == leaf_of(reason)
    assert leaves[1] != leaf_of("another reason")
    assert actions.find_damage() == []


def test_what_is_withheld_never_binds(signed: Market) -> None:
    assert sign(signed, "Ada", "withhold", "prices cannot be right") == 0
    signed.work(GATE + MINUTE)
    assert signed.row("day_ahead")["light"] == "orange"
    said = json.loads((signed.day / "clearing/summary.json").read_text())
    assert said["message"] == "withheld: by decision of the operator"
    assert signed.operation.queue.fallbacks()["day_ahead", "withheld"] == 1


def test_another_output_than_the_one_that_waits_cannot_be_signed(signed: Market) -> None:
    due, _ = waiting(signed)
    other = Signature(actor="Ada", verdict="release", output_sha256="0" * 64, reason="")
    with pytest.raises(InputError, match="its output is"):
        sign_clearing(signed.operation, due, other, role="operator", clock=CLOCK)


def test_the_command_lists_and_signs(signed: Market, capsys: pytest.CaptureFixture[str]) -> None:
    _, output = waiting(signed)
    folder = signed.operation.site.out.parent
    where = options(folder / "out", folder / "configs", folder / "keys", None)[:-1]
    assert main(["release", "--list", *where]) == 0
    said = capsys.readouterr().out
    assert f"day_ahead --first-period 2016-07-24T22:00:00Z --output {output}" in said
    words = ["release", "day_ahead", "--first-period", "2016-07-24T22:00:00Z", "--output", output]
    assert main([*words, "--actor", "Ada", *where]) == 0
    assert "1 signatures missing" in capsys.readouterr().out
    assert main([*words, "--actor", "Ben", *where]) == 0
    assert "it goes on" in capsys.readouterr().out
    assert main(["release", "day_ahead", *where]) == 2
