"""What all tests share: services that run or are named as not run."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

# as the command does: numpy is not imported yet
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


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
    from sqlalchemy import create_engine, text
    from sqlalchemy.engine import make_url

    schema = f"dso_test_{uuid.uuid4().hex}"
    engine = create_engine(postgres_server_url)
    with engine.begin() as connection:
        connection.execute(text(f'CREATE SCHEMA "{schema}"'))
    own = make_url(postgres_server_url).update_query_dict({"options": f"-csearch_path={schema}"})
    try:
        yield own.render_as_string(hide_password=False)
    finally:
        with engine.begin() as connection:
            connection.execute(text(f'DROP SCHEMA "{schema}" CASCADE'))
        engine.dispose()


@pytest.fixture(scope="session")
def mqtt_url() -> str:
    """URL of an MQTT broker."""
    return _service_url("DSO_TEST_MQTT_URL", "MQTT tests", 1883)
