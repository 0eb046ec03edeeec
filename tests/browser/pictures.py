"""Open a report in Chromium; as a program, take the pictures that stand in docs/pictures.

python -m tests.browser.pictures out/report.html docs/pictures
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

from playwright.sync_api import Browser, Page, sync_playwright

ARGUMENTS: Final = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
Scheme = Literal["light", "dark"]


def chromium_path() -> Path:
    return Path(os.environ.get("DSO_CHROMIUM", "/usr/bin/chromium"))


@contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(
    browser: Browser, report: Path, *, width: int, scheme: Scheme, height: int = 900
) -> Iterator[tuple[Page, list[str]]]:
    """Open a report with all plots drawn; the list gathers what a report must not do."""
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    faults: list[str] = []
    page = context.new_page()
    page.on("console", lambda message: faults.append(f"console {message.type}: {message.text}"))
    page.on("pageerror", lambda error: faults.append(f"error: {error}"))

    def outside(url: str) -> None:
        if not url.startswith(("file:", "data:", "blob:")):
            faults.append(f"request: {url}")

    page.on("request", lambda request: outside(request.url))
    try:
        page.goto(report.resolve().as_uri())
        page.wait_for_selector("html[data-ready=true]", timeout=60_000)
        yield page, faults
    finally:
        context.close()


def take_pictures(browser: Browser, report: Path, folder: Path) -> tuple[Path, ...]:
    """Take the first screen (light and dark), the map, prices, limits, money and a phone."""
    folder.mkdir(parents=True, exist_ok=True)
    taken = []

    def keep(page: Page, name: str, selector: str | None = None) -> None:
        path = folder / f"report-{name}.png"
        if selector is None:
            page.screenshot(path=path)
        else:
            page.locator(selector).screenshot(path=path)
        taken.append(path)

    schemes: tuple[Scheme, ...] = ("light", "dark")
    for scheme in schemes:
        with opened(browser, report, width=1440, scheme=scheme) as (page, _):
            keep(page, scheme)
            # the header follows the reader and would lie across pictures of tall parts
            page.add_style_tag(content=".top { position: static !important; }")
            for name in ("map", "prices", "limits", "storage", "forecast", "money", "ledger"):
                if scheme == "light" or name == "map":
                    keep(page, f"{name}-{scheme}", f"#{name}")
    with opened(browser, report, width=375, height=812, scheme="light") as (page, _):
        keep(page, "phone")
    return tuple(taken)


if __name__ == "__main__":
    with chromium() as started:
        for picture in take_pictures(started, Path(sys.argv[1]), Path(sys.argv[2])):
            sys.stdout.write(f"{picture}\n")
