"""Take the picture of a backtest that stands in docs/pictures.

python -m tests.browser.forecast_pictures out/backtest/index.html docs/pictures
"""

from __future__ import annotations

import sys
from pathlib import Path

from playwright.sync_api import Browser

from tests.browser.pictures import chromium, opened


def take_backtest_picture(browser: Browser, page_file: Path, folder: Path) -> Path:
    """Take the page from its title to the last plot, two plots in a row, light."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "forecast-backtest.png"
    with opened(browser, page_file, width=1280, scheme="light", height=900) as (page, _):
        page.add_style_tag(content=".top { position: static !important; }")
        end = page.locator("#scores").bounding_box()
        assert end is not None
        page.screenshot(
            path=path, full_page=True,
            clip={"x": 0, "y": 0, "width": 1280, "height": end["y"] - 8},
        )  # fmt: skip
    return path


if __name__ == "__main__":
    with chromium() as opened_browser:
        take_backtest_picture(opened_browser, Path(sys.argv[1]), Path(sys.argv[2]))
