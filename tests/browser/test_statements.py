"""Statements and invoices in a real browser; as a program, the pictures of docs/pictures.

python -m tests.browser.test_statements docs/pictures
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from dso.settlement import settle_folder
from tests.browser.page_checks import axe_faults, sideways
from tests.browser.pictures import Scheme, chromium, opened
from tests.support.settled_street import Knowledge, payment_terms, write_street
from tests.support.street_disputes import DECIDED, OPENED

pytestmark = pytest.mark.browser
PAGES = (
    "statements/house-03.html", "statements/house-07.html", "statements/house-20.html",
    "statements/_operator_accounts.html", "invoices/house-03.html",
)  # fmt: skip


def settle_street(root: Path) -> tuple[Path, Path]:
    """Settle the month and revise it with both disputes decided; return both outputs."""
    (root / "payments.toml").write_text(payment_terms())
    (root / "opened.csv").write_text(OPENED)
    (root / "decided.csv").write_text(DECIDED)
    first, last = root / "first", root / "last"
    for folder, knowledge in (
        (root / "in", Knowledge()),
        (root / "again", Knowledge(late_arrived=True, doubled_corrected=True)),
    ):
        folder.mkdir()
        write_street(folder, knowledge)
    terms = root / "payments.toml"
    settle_folder(root / "in", first, disputes=root / "opened.csv", payments=terms)
    settle_folder(
        root / "again", last, earlier=first, disputes=root / "decided.csv", payments=terms
    )
    return first, last


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return settle_street(tmp_path_factory.mktemp("street"))


@pytest.mark.parametrize(("scheme", "width"), [("light", 375), ("dark", 1440)])
def test_quiet_closed_narrow_and_accessible(
    browser: Browser, street: tuple[Path, Path], scheme: Scheme, width: int
) -> None:
    for name in PAGES:
        with opened(browser, street[1] / name, width=width, scheme=scheme) as (page, faults):
            assert sideways(page) <= 0, name
            assert axe_faults(page) == [], name
            assert faults == [], name


def cells(page: Page, section: str, row: int) -> list[str]:
    return (
        page.get_by_role("region", name=section)
        .locator("tr")
        .nth(row)
        .locator("td")
        .all_inner_texts()
    )


def test_a_dispute_is_told_with_argument_and_decision(
    browser: Browser, street: tuple[Path, Path]
) -> None:
    first, last = street
    with opened(browser, first / "statements/house-03.html", width=1000, scheme="light") as (
        page, _,
    ):  # fmt: skip
        expect(page.get_by_role("region", name="Disputes")).to_contain_text("its lines stand still")
    with opened(browser, first / "invoices/house-03.html", width=1000, scheme="light") as (page, _):
        expect(page.locator("table")).to_contain_text("In dispute, not due until it is decided")
    with opened(browser, last / "statements/house-03.html", width=1000, scheme="light") as (
        page, _,
    ):  # fmt: skip
        disputes = page.get_by_role("region", name="Disputes")
        expect(disputes).to_contain_text("I used half of it.")
        expect(disputes).to_contain_text("accepted")
        expect(disputes).to_contain_text("the second one was taken out")
        added = page.get_by_role("region", name="What revision 1 added")
        expect(added).to_contain_text("taken back")
    with opened(browser, last / "statements/house-11.html", width=1000, scheme="light") as (
        page, _,
    ):  # fmt: skip
        disputes = page.get_by_role("region", name="Disputes")
        expect(disputes).to_contain_text("rejected")
        expect(disputes).to_contain_text("The register confirms the intervals")


def test_an_exchanged_meter_and_substituted_values_are_named(
    browser: Browser, street: tuple[Path, Path]
) -> None:
    page_of = street[0] / "statements/house-07.html"
    with opened(browser, page_of, width=1000, scheme="light") as (page, _):
        assert cells(page, "Meters", 1)[:2] == ["house-07", "M-1007"]
        assert cells(page, "Meters", 2)[1:4] == ["M-2007", "2026-06-12 09:00", "2026-06-12 19:00"]
        assert cells(page, "Meters", 2)[4].split() == ["like", "days", "substituted", "value"]
    later = street[1] / "statements/house-07.html"
    with opened(browser, later, width=1000, scheme="light") as (page, _):
        expect(page.get_by_role("region", name="Meters")).not_to_contain_text("substituted")


def test_the_tenant_who_left_has_half_a_month(browser: Browser, street: tuple[Path, Path]) -> None:
    for name, days in (("house-15", range(1, 16)), ("default-supplier", range(16, 31))):
        page_of = street[0] / f"statements/{name}.html"
        with opened(browser, page_of, width=1000, scheme="light") as (page, _):
            table = page.get_by_role("region", name="By day")
            shown = table.locator("tbody tr td:first-child").all_inner_texts()
            assert shown == [f"2026-06-{day:02d}" for day in days]


def test_tables_add_up_to_what_is_shown_first(browser: Browser, street: tuple[Path, Path]) -> None:
    for name in ("house-20", "sun-cooperative"):
        page_of = street[1] / f"statements/{name}.html"
        with opened(browser, page_of, width=1000, scheme="light") as (page, _):
            kinds = page.get_by_role("region", name="By kind")
            amounts = kinds.locator("tbody tr td:nth-child(2)").all_inner_texts()
            total = kinds.locator("tfoot td:nth-child(2)").inner_text()
            assert sum(map(float, amounts)) == pytest.approx(float(total), abs=5e-4)
            first = page.locator(".card.main b").inner_text().removesuffix(" EUR")
            assert float(first) == pytest.approx(abs(float(total)), abs=0.006)
            bars = page.locator("svg rect")
            assert bars.count() == 30


def take_pictures(folder: Path) -> None:
    """Take the pictures that docs/settlement.md shows."""
    with tempfile.TemporaryDirectory() as name, chromium() as browser:
        _, last = settle_street(Path(name))
        shots: tuple[tuple[str, str, int, int, Scheme], ...] = (
            ("statements/house-03.html", "statement-light", 1000, 1250, "light"),
            ("statements/house-20.html", "statement-dark", 1000, 1250, "dark"),
            ("statements/house-07.html", "statement-phone", 375, 900, "light"),
            ("invoices/house-03.html", "invoice-light", 900, 820, "light"),
        )
        for source, picture, width, height, scheme in shots:
            with opened(browser, last / source, width=width, scheme=scheme, height=height) as (
                page, _,
            ):  # fmt: skip
                page.screenshot(path=folder / f"{picture}.png")


if __name__ == "__main__":
    take_pictures(Path(sys.argv[1]))
