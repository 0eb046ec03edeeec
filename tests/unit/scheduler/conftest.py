"""A market whose day has its forecast, copied for each test; and an operation on it."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
import structlog

from data.readers.simbench import SimbenchGrid
from dso.bootstrap import open_services
from dso.clock import ReplayClock
from dso.scheduler.alarms import Alarms
from dso.scheduler.operation import Operation, Site
from dso.scheduler.worker import Worker, WorkerRules
from tests.support.small_market import FEEDER, write_configs

DAY = date(2016, 7, 25)
GATE = datetime(2016, 7, 24, 11, 30, tzinfo=UTC)
START = datetime(2016, 7, 24, 22, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
GRIDS: dict[str, SimbenchGrid] = {}


@dataclass
class Market:
    """A market in a folder of its own, worked on by hand."""

    operation: Operation
    alarms: Path

    def work(self, at: datetime, *, limit_s: float | None = None, name: str = "w") -> int:
        """Insert what is due and perform it, as at an instant; return how many cycles ended."""
        self.operation.insert_due(at, since=DAY, until=DAY)
        rules = WorkerRules(name=name, clearing_s_max=limit_s)
        alarms = Alarms(file=self.alarms, rules=("red", "orange", "failed", "held", "skipped"))
        worker = Worker(self.operation, clock=ReplayClock(at=at), rules=rules, alarms=alarms)
        count = 0
        while worker.run_one():
            count += 1
        return count

    def row(self, cycle: str, number: int = 0) -> dict[str, object]:
        """Return a cycle as the table has it."""
        return [row for row in self.operation.queue.states() if row["cycle"] == cycle][number]

    @property
    def day(self) -> Path:
        return self.operation.site.out / FEEDER / DAY.isoformat()


@pytest.fixture(autouse=True)
def silent() -> Iterator[None]:
    """Keep the log out of what failing tests show."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def forecast_made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A market that has performed its forecast and nothing else."""
    folder = tmp_path_factory.mktemp("market")
    write_configs(folder / "configs")
    with open_market(folder, folder / "configs") as market:
        market.operation.insert_due(GATE, since=DAY, until=DAY)
        rules = WorkerRules(name="first")
        clock = ReplayClock(at=GATE)
        assert Worker(market.operation, clock=clock, rules=rules, alarms=Alarms()).run_one()
    return folder


class open_market:  # noqa: N801 - reads as the function it is
    """Open the market of a folder."""

    def __init__(
        self, folder: Path, configs: Path, *, received_until: datetime | None = None
    ) -> None:
        self._stack = ExitStack()
        out = folder / "out"
        services = self._stack.enter_context(
            closing(open_services(None, out=out, keys=folder / "keys"))
        )
        site = Site(feeders=(FEEDER,), out=out, configs=configs, received_until=received_until)
        self._market = Market(Operation(site, services, GRIDS), folder / "alarms.jsonl")

    def __enter__(self) -> Market:
        return self._market

    def __exit__(self, *_: object) -> None:
        self._stack.close()


@pytest.fixture
def market(forecast_made: Path, tmp_path: Path) -> Iterator[Market]:
    """A copy of that market."""
    shutil.copytree(forecast_made, tmp_path / "copy")
    with open_market(tmp_path / "copy", tmp_path / "copy/configs") as opened:
        yield opened


@pytest.fixture
def fresh(tmp_path: Path) -> Callable[..., open_market]:
    """Open a market that has done nothing yet."""

    def opened(*, received_until: datetime | None = None) -> open_market:
        configs = write_configs(tmp_path / "configs")
        return open_market(tmp_path, configs, received_until=received_until)

    return opened
