"""One Chromium for the tests of a file."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.browser.pictures import chromium, chromium_path


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not chromium_path().is_file():
        message = f"browser tests not run: no Chromium at {chromium_path()}; set DSO_CHROMIUM"
        if os.environ.get("DSO_REQUIRE_SERVICES") == "1":
            pytest.fail(message, pytrace=False)
        pytest.skip(message)
    with chromium() as started:
        yield started
