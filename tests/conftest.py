"""What all tests share: workers, and services that run or are named as not run."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import pytest

from ledger_adapter.evm.libraries import keeping_recursion_limit
from tests.support.mosquitto_program import find_program

# as the command does: numpy is not imported yet
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# Modules of chain tests load web3 when they are collected.
with keeping_recursion_limit(), suppress(ImportError):
    import web3  # noqa: F401

WORKERS_MAX = 4
DAY_TESTS = "tests/scenarios/test_day_"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One worker for each core this process may use."""
    return min(WORKERS_MAX, len(os.sched_getaffinity(0)))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put whole delivery days first: they run in processes of their own while others go on."""
    astray = {
        item.path.name
        for item in items
        if item.nodeid.startswith("tests/scenarios/")
        and "days" in getattr(item, "fixturenames", ())
        and not item.nodeid.startswith(DAY_TESTS)
    }
    if astray:
        raise pytest.UsageError(
            f"{', '.join(sorted(astray))}: tests of delivery days stand in files test_day_*.py, "
            "or the days would be run once more on another worker"
        )
    items.sort(key=lambda item: not item.nodeid.startswith(DAY_TESTS))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep a file on one worker, and all tests of delivery days on one, so that each runs once.

    The `xdist_group` mark would say it with less, but pytest-xdist 3.8 loses it with pytest 9.2.
    """
    from xdist.scheduler import LoadFileScheduling

    class ByFileAndDays(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return DAY_TESTS if nodeid.startswith(DAY_TESTS) else super()._split_scope(nodeid)

    return ByFileAndDays(config, log) if config.getvalue("dist") == "loadfile" else None


def _missing(what: str, remedy: str) -> None:
    """Say that a service is absent: a failure where services are required, else not run."""
    message = f"{what} not run: {remedy}"
    if os.environ.get("DSO_REQUIRE_SERVICES") == "1":
        pytest.fail(f"{message} (DSO_REQUIRE_SERVICES=1 asks for it)", pytrace=False)
    pytest.skip(message)


def _service_url(variable: str, what: str, default_port: int) -> str:
    url = os.environ.get(variable)
    if not url:
        _missing(what, f"set {variable}")
        raise AssertionError("unreachable")
    parts = urlsplit(url)
    try:
        address = (parts.hostname or "127.0.0.1", parts.port or default_port)
        socket.create_connection(address, timeout=5).close()
    except OSError as error:
        # A URL that was set and does not answer is an error everywhere, not a reason to skip.
        pytest.fail(f"{what} at {variable} does not answer: {error}", pytrace=False)
    return url


@pytest.fixture(scope="session")
def postgres_server_url() -> str:
    """URL of a PostgreSQL database in which tests may make and drop schemas."""
    return _service_url("DSO_TEST_POSTGRES_URL", "PostgreSQL tests", 5432)


@pytest.fixture
def postgres_url(postgres_server_url: str) -> Iterator[str]:
    """URL whose search path is a schema of this test's own, dropped afterwards."""
    from tests.support.postgres_schema import own_schema

    with own_schema(postgres_server_url) as url:
        yield url


@pytest.fixture(scope="session")
def mqtt_url() -> str:
    """URL of an MQTT broker."""
    return _service_url("DSO_TEST_MQTT_URL", "MQTT tests", 1883)


@pytest.fixture(scope="session")
def mosquitto_program() -> str:
    """Path of the broker's program, for tests that kill a broker of their own."""
    found = find_program()
    if found is None:
        _missing("tests of a broker of their own", "install mosquitto")
        raise AssertionError("unreachable")
    return found
