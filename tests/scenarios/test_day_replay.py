"""A real day runs again from its bundle: the same prices, awards, trades and money."""

from __future__ import annotations

import pytest

from dso.cli.main import main
from tests.support.delivery_days import FinishedDay

pytestmark = pytest.mark.slow

RUNS = ("day-ahead", "intraday-20160725T0900Z", "settlement")


def test_three_runs_of_a_day_give_the_same_bytes(
    summer: FinishedDay, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["audit", "replay", str(summer.out / "bundle")]
    words += ["--key", str(summer.out / "operator.vkey")]
    assert main([*words, *(word for name in RUNS for word in ("--run", name))]) == 0
    said = capsys.readouterr().out
    lines = [line for line in said.splitlines() if line.strip().startswith(RUNS)]
    assert [line.split(":")[0].strip() for line in lines] == list(RUNS)
    assert all(line.endswith("equal bytes") for line in lines)
    assert "trades of 96 of 96 periods" in lines[0]
    assert "trades of 4 of " in lines[1]
    assert "not run again: intraday-20160724T2200Z" in said
