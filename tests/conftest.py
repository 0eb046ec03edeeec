"""What all tests share: workers, and services that run or are named as not run."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import urlsplit

import pytest

from ledger_adapter.evm.libraries import keeping_recursion_limit
from tests.support.bytecode import keep_bytecode
from tests.support.mosquitto_program import find_program

# before web3 below, and before the workers start
keep_bytecode()

# as the command does: numpy is not imported yet
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# Modules of chain tests load web3 when they are collected.
with keeping_recursion_limit(), suppress(ImportError):
    import web3  # noqa: F401

WORKERS_MAX = 4


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One worker for each core this process may use."""
    return min(WORKERS_MAX, len(os.sched_getaffinity(0)))


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
