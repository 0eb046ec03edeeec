from __future__ import annotations

import csv
import shutil
from collections import defaultdict
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from data.errors import InputError
from dso.report.day_folder import read_day_folder
from dso.report.views import DayView
from tests.support.day_folder import write_day_folder
from tests.support.feeder_sketch import small_sketch

Edit = Callable[[str, Callable[[str], str]], Path]


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_last_price_is_that_of_the_round_that_binds_the_period(
    written_day: Path, day: DayView
) -> None:
    folder = written_day / "clearing/intraday/20160725T0600Z"
    stated = {
        (int(row["bus"]), row["period_start"]): float(row["dlmp_p_eur_per_mwh"])
        for row in rows_of(folder / "prices.csv")
    }
    labels = day.periods.labels()
    first = labels.index("2016-07-25T06:00:00Z")
    for bus in range(7):
        for period in range(first, first + 4):
            assert day.final.dlmp[bus, period] == stated[bus, labels[period]]
        # the fifth period of this round is advisory: the next round's price stands
        assert day.final.dlmp[bus, first + 4] != stated[bus, labels[first + 4]]
    assert len(day.rounds) == 24
    assert sum(summary.binding for summary in day.rounds) == 96


def test_parts_add_up_to_the_price_at_every_bus_and_period(day: DayView) -> None:
    total = day.final.energy + day.final.loss + day.final.congestion + day.final.voltage
    np.testing.assert_allclose(total, day.final.dlmp, atol=1e-6)


def test_money_is_added_up_exactly_as_in_the_lines(written_day: Path, day: DayView) -> None:
    expected: dict[str, int] = defaultdict(int)
    for row in rows_of(written_day / "settlement/lines.csv"):
        expected[row["participant"]] += int(row["amount_micro_eur"])
    assert {row.party: row.total_micro_eur for row in day.money.rows} == dict(expected)
    assert day.money.columns == ("Day ahead", "Intraday", "Imbalance", "Refund")
    assert set(day.money.column_sums) == {0}
    assert day.money.not_zero == ()
    assert day.money.sums_checked == 4 * 96


def test_a_line_that_unbalances_a_market_is_named(edit: Edit) -> None:
    def one_micro_more(text: str) -> str:
        lines = text.split("\n")
        cells = lines[1].split(",")
        cells[6] = str(int(cells[6]) + 1)
        return "\n".join([lines[0], ",".join(cells), *lines[2:]])

    edit("settlement/lines.csv", one_micro_more)
    folder = edit("settlement/summary.json", lambda text: text.replace(": 0", ": 1"))
    money = read_day_folder(folder).money
    assert money.total_micro_eur == 1
    assert money.not_zero == (("2016-07-24T22:00:00Z", "da"),)


def test_a_summary_that_contradicts_its_lines_is_refused(edit: Edit) -> None:
    folder = edit("settlement/summary.json", lambda text: text.replace(": 0", ": 7"))
    with pytest.raises(InputError, match="states a sum of 7 micro-EUR, its lines give 0"):
        read_day_folder(folder)


def test_export_is_the_power_out_of_the_feeder(written_day: Path, day: DayView) -> None:
    """Energy through the one transformer = sum of all that is injected and withdrawn below it."""
    injected = defaultdict(float)
    for row in rows_of(written_day / "dispatch/delivery.csv"):
        injected[row["period_start"]] += float(row["setpoint_mw"]) / 4
    for row in rows_of(written_day / "forecast/feeder.csv"):
        if row["kind"] == "load":
            injected[row["period_start"]] -= float(row["q50"]) / 4
    expected = [-injected[label] for label in day.periods.labels()]
    np.testing.assert_allclose(day.exchange_mwh, expected, atol=1e-6)


def test_metered_substation_energy_is_preferred(copied_day: Path, day: DayView) -> None:
    rows = [f"{label},0.5,30" for label in day.periods.labels()]
    text = "\n".join(["period_start,import_mwh,import_price_eur_per_mwh", *rows, ""])
    (copied_day / "settlement/substation.csv").write_text(text)
    view = read_day_folder(copied_day)
    assert view.exchange_mwh.sum() == 48.0
    assert view.exchange_source == "metered at the substation"


@pytest.mark.parametrize(("day", "periods"), [((2016, 3, 27), 92), ((2016, 10, 30), 100)])
def test_clock_change_days_are_read(
    tmp_path: Path, day: tuple[int, int, int], periods: int
) -> None:
    folder = write_day_folder(tmp_path, small_sketch(), day=date(*day), rounds=False)
    view = read_day_folder(folder)
    assert len(view.periods) == periods
    assert view.final.dlmp.shape == (7, periods)
    assert any("no intraday round" in note for note in view.notes)


def test_everything_that_is_wrong_is_said_at_once(copied_day: Path) -> None:
    (copied_day / "dispatch/violations.csv").unlink()
    (copied_day / "bundle/checkpoint").unlink()
    shutil.rmtree(copied_day / "forecast")
    prices = copied_day / "clearing/prices.csv"
    lines = prices.read_text().split("\n")
    lines[1] = lines[1].replace(lines[1].split(",")[2], "nan")
    lines[5] = "99" + lines[5][1:]
    del lines[9]
    prices.write_text("\n".join(lines))
    with pytest.raises(InputError) as caught:
        read_day_folder(copied_day)
    text = str(caught.value)
    for expected in (
        "dispatch/violations.csv: is missing",
        "bundle/checkpoint: is missing",
        "forecast/feeder.csv: is missing",
        "clearing/prices.csv row 2: 'nan' is not a finite number",
        "clearing/prices.csv row 6: bus 99 is not on feeder_map.json",
        "of 672 prices are missing",
    ):
        assert expected in text


def test_many_problems_of_one_file_are_counted_not_listed(edit: Edit) -> None:
    folder = edit("dispatch/delivery.csv", lambda text: text.replace("2016-", "2017-"))
    with pytest.raises(InputError) as caught:
        read_day_folder(folder)
    mine = [str(item) for item in caught.value.problems if "delivery" in str(item)]
    assert len(mine) == 6
    assert "more problems of this file" in mine[-1]


def test_a_day_that_is_none_is_refused(edit: Edit) -> None:
    folder = edit("day.json", lambda text: text.replace("Europe/Berlin", "Europe/Nowhere"))
    with pytest.raises(InputError, match="states no delivery day"):
        read_day_folder(folder)


def test_prices_of_a_round_without_certificate_are_not_taken(edit: Edit) -> None:
    name = "clearing/intraday/20160725T0600Z"
    edit(f"{name}/summary.json", lambda text: text.replace('"certified"', '"infeasible"'))
    folder = edit(f"{name}/prices.csv", lambda text: text.split("\n")[0] + "\n")
    view = read_day_folder(folder)
    first = view.periods.labels().index("2016-07-25T06:00:00Z")
    hour = slice(first, first + 4)
    np.testing.assert_array_equal(view.final.dlmp[:, hour], view.day_ahead.dlmp[:, hour])
    assert any(note.startswith("The intraday round 20160725T0600Z") for note in view.notes)


def test_limits_come_from_the_map_if_it_states_them(edit: Edit) -> None:
    edit("clearing/study.toml", lambda text: text.split("[limits]")[0])
    folder = edit(
        "clearing/feeder_map.json",
        lambda text: text.replace(
            '"vn_kv": 20', '"vm_pu_max": 1.07, "vm_pu_min": 0.93, "vn_kv": 20'
        ),
    )
    feeder = read_day_folder(folder).feeder
    assert feeder.vm_pu_max[1:].tolist() == [1.07] * 6
    assert feeder.vm_pu_min[1:].tolist() == [0.93] * 6
    assert np.isnan(feeder.vm_pu_max[0])
