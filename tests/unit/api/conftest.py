"""A market behind the API, on each database."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import structlog
from anyio.from_thread import start_blocking_portal
from argon2 import PasswordHasher

from dso.api.credentials import _hash_of_nobody
from tests.support.api_market import Desk, make_desk
from tests.support.api_run import clear_two_orders


@pytest.fixture(scope="session", autouse=True)
def one_portal() -> Iterator[None]:
    """Serve the requests of all tests in one event loop: hundreds of loops cost seconds."""
    with start_blocking_portal() as portal:
        Desk.portal = portal
        yield
        Desk.portal = None


@pytest.fixture(autouse=True)
def silent() -> Iterator[None]:
    """Write no line for each of thousands of requests; what is logged has a test of its own."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    yield
    structlog.reset_defaults()


@pytest.fixture(autouse=True)
def cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same argon2 with little memory and one pass: tests hash dozens of secrets."""
    hasher = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
    monkeypatch.setattr("dso.api.credentials._hasher", lambda: hasher)
    _hash_of_nobody.cache_clear()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = make_desk(None, tmp_path)
    with closing(made.market.services):
        yield made


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.service)])
def desk_on_each(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else None
    made = make_desk(url, tmp_path)
    with closing(made.market.services):
        yield made


@pytest.fixture(scope="session")
def cleared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study and its result, cleared once for all tests of this process."""
    folder = tmp_path_factory.mktemp("cleared") / "clearing"
    clear_two_orders(folder)
    return folder
