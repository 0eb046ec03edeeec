from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import pytest

from dso.report import build_report
from dso.report.colours import THEMES, Scale
from dso.report.day_folder import read_day_folder
from dso.report.figures import all_figures
from dso.report.page import headline, verdict
from dso.report.states import period_states
from dso.report.views import DayView
from tests.support.page_reader import PageReader

Edit = Callable[[str, Callable[[str], str]], Path]


@pytest.fixture(scope="module")
def page(written_day: Path) -> str:
    return build_report(written_day).decode()


def test_same_files_same_bytes_wherever_they_lie(
    written_day: Path, page: str, tmp_path: Path
) -> None:
    elsewhere = Path(shutil.copytree(written_day, tmp_path / "another place"))
    assert build_report(elsewhere).decode() == page


def test_nothing_of_the_machine_is_in_the_page(page: str, written_day: Path) -> None:
    own = page[: page.index("<script>")]
    assert str(written_day) not in page
    assert "seconds" not in own


def test_the_page_refers_to_nothing_outside(page: str) -> None:
    reader = PageReader(page)
    assert [address for address in reader.addresses if not address.startswith(("#", "data:"))] == []
    assert "default-src 'none'" in page
    assert "url(" not in reader.islands["style"]


def test_ids_are_unique_and_every_link_lands(page: str) -> None:
    reader = PageReader(page)
    assert len(reader.ids) == len(set(reader.ids))
    targets = {address[1:] for address in reader.addresses if address.startswith("#")}
    assert targets <= set(reader.ids)


def test_plots_are_valid_in_the_eyes_of_plotly(day: DayView) -> None:
    for figure in all_figures(day):
        specification = json.dumps(figure.specification())
        plain = json.loads(re.sub(r'"@[a-z0-9-]+"', '"#123456"', specification))
        go.Figure(data=plain["data"], layout=plain["layout"])
        for traces in plain["choices"]:
            go.Figure(data=traces)


def test_every_plot_says_how_to_read_it_and_where_its_numbers_are(day: DayView, page: str) -> None:
    text = PageReader(page).text
    for figure in all_figures(day):
        assert figure.reading.split(";")[0] in text
        assert f"Numbers: {figure.source}" in text
        assert f'id="plot-{figure.name}"' in page


def test_headline_says_what_the_files_say(day: DayView, written_day: Path) -> None:
    replay = json.loads((written_day / "dispatch/replay.json").read_text())
    tiles = {tile.label: tile for tile in headline(day)}
    broken = tiles["Periods with broken limits"]
    assert broken.value == f"{replay['without_market']['periods_violated']} → 0"
    assert broken.tone == "good"
    assert tiles["Money sum"].value == "0.000000"
    assert tiles["Certificate"].value == "25 of 25"
    root = (written_day / "bundle/checkpoint").read_text().split("\n")[2]
    assert tiles["Ledger root"].value == f"{root[:6]}…{root[-6:]}"
    assert all(tile.unit for label, tile in tiles.items() if label != "Ledger root")
    assert verdict(day)[:2] == ("The market kept the feeder inside its limits.", "good")


def test_a_day_without_any_valid_clearing_has_its_page(copied_day: Path) -> None:
    """As a skipped clearing leaves it: every cell empty, only the upstream price is known."""
    clearing = copied_day / "clearing"
    for path in clearing.rglob("summary.json"):
        path.write_text(path.read_text("utf-8").replace('"certified"', '"uncertified"'), "utf-8")
    for folder in (clearing, *(clearing / "intraday").iterdir()):
        for name, keys in (("prices.csv", 2), ("buses.csv", 2), ("branches.csv", 3)):
            if (folder / name).exists():
                header, *rows = (folder / name).read_text("utf-8").splitlines()
                empty = "," * (header.count(",") + 1 - keys)
                emptied = [",".join(row.split(",")[:keys]) + empty for row in rows]
                (folder / name).write_text("\n".join([header, *emptied]) + "\n", "utf-8")
    day = read_day_folder(copied_day)
    assert set(period_states(day)) == {"red"}
    assert (day.final.dlmp == day.import_price_eur_per_mwh).all()
    assert not day.final.congestion.any()
    assert np.isnan(day.final_grid.vm_pu).all()
    text = PageReader(build_report(copied_day).decode()).text
    assert "Not every clearing of this day is certified." in text
    assert f"has no prices in {len(day.periods)} periods; the upstream price is shown" in text


def test_an_uncertified_round_is_the_headline(edit: Edit) -> None:
    folder = edit(
        "clearing/intraday/20160725T0600Z/summary.json",
        lambda text: text.replace('"certified"', '"uncertified"'),
    )
    text = PageReader(build_report(folder).decode()).text
    assert "20160725T0600Z is uncertified and gave no trades" in text
    assert "Red 4" in text
    assert "Not every clearing of this day is certified." in text
    assert "24 of 25" in text


def test_money_that_does_not_sum_to_zero_is_shown_as_such(edit: Edit) -> None:
    def add_a_line(text: str) -> str:
        return text + "mallory,bus:2,2016-07-25T10:00:00Z,da,0,0,2500001,da\n"

    edit("settlement/lines.csv", add_a_line)
    folder = edit("settlement/summary.json", lambda text: text.replace(": 0", ": 2500001"))
    page = build_report(folder).decode()
    text = PageReader(page).text
    assert "1 of 384 sums per market and period are not zero" in text
    assert "2016-07-25T10:00:00Z da" in text
    assert '<td class="n alarm" title="2500001 micro-EUR">2.500001</td>' in page


def test_names_cannot_break_out_of_the_page(edit: Edit) -> None:
    wicked = "</script><script>alert(1)</script>"
    folder = edit("clearing/feeder_map.json", lambda text: text.replace("South <3>", wicked))
    page = build_report(folder).decode()
    assert "<script>alert" not in page
    islands = PageReader(page).islands
    assert wicked in json.loads(islands["feeder-data"])["buses"]


def test_island_carries_the_numbers_of_the_folder(day: DayView, page: str) -> None:
    island = json.loads(PageReader(page).islands["feeder-data"])
    assert len(island["periods"]) == 96
    assert island["periods"][0] == "00:00–00:15 CEST"
    assert island["price"][3][50] == pytest.approx(day.final.dlmp[3, 50], abs=0.005)
    assert len(island["broken"]["without_market"]) == len(
        [violation for violation in day.violations if violation.scenario == "without_market"]
    )


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2.2 defines it."""
    shares = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("name", ["light", "dark"])
def test_text_is_readable_on_every_ground_and_plots_are_seen(name: str) -> None:
    theme = THEMES[name]
    for ground in ("page", "card", "sunk"):
        for text in ("ink", "muted", "accent", "good", "warn", "bad"):
            assert contrast(theme[text], theme[ground]) >= 4.5, (text, ground)
    assert contrast(theme["accent-ink"], theme["accent"]) >= 4.5
    # WCAG 1.4.11: graphical objects
    for line in ("series1", "series2", "series3", "series4", "series5", "broken"):
        assert contrast(theme[line], theme["card"]) >= 3.0, line


def test_scale_ends_and_beyond() -> None:
    scale = Scale(low=-10.0, high=10.0, unit="EUR/MWh", digits=1, stops=("#000000", "#ffffff"))
    assert scale.colour(-10.0) == scale.colour(-999.0) == "#000000"
    assert scale.colour(10.0) == scale.colour(999.0) == "#ffffff"
    assert scale.colour(0.0) == "#808080"
    assert scale.ticks() == (-10.0, -5.0, 0.0, 5.0, 10.0)
