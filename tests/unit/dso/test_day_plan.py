"""What a day reads is validated in one go, before anything is written."""

from __future__ import annotations

import dataclasses
import shutil
from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from data.errors import InputError
from data.readers.simbench import SimbenchGrid, load_simbench
from dso.cli.main import main
from dso.config import CONFIG_FOLDER, Feeder, MarketRules, load_feeder, load_market
from dso.cycles.case import expected_profiles
from dso.cycles.plan import DayPlan, plan_day
from dso.cycles.stage_forecast import intraday_forecast, make_day_ahead_forecast

CODE = "1-MV-rural--2-sw"
DAY = date(2016, 7, 25)
MARCH, OCTOBER = date(2016, 3, 27), date(2016, 10, 30)


@pytest.fixture(scope="module")
def grid() -> SimbenchGrid:
    return load_simbench(CODE)


@pytest.fixture
def feeder() -> Feeder:
    return load_feeder(CODE, DAY)


@pytest.fixture
def rules() -> MarketRules:
    return load_market("local-energy", DAY)


def make_plan(out: Path, grid: SimbenchGrid, day: date = DAY) -> DayPlan:
    market = load_market("local-energy", day)
    return plan_day(day=day, out=out, feeder=load_feeder(CODE, day), rules=market, grid=grid)


def with_nan(grid: SimbenchGrid, when: datetime) -> SimbenchGrid:
    shares = grid.profiles.shares.copy()
    row = (when - grid.profiles.start) // timedelta(minutes=15)
    shares[row, grid.profiles.sgen_column[3]] = np.nan
    profiles = dataclasses.replace(grid.profiles, shares=shares)
    return dataclasses.replace(grid, profiles=profiles)


def without_a_limit(grid: SimbenchGrid) -> SimbenchGrid:
    limits = grid.network.lines.loading_percent_max.copy()
    limits[5] = np.nan
    lines = dataclasses.replace(grid.network.lines, loading_percent_max=limits)
    return dataclasses.replace(grid, network=dataclasses.replace(grid.network, lines=lines))


def test_all_problems_are_told_together_and_nothing_is_written(
    tmp_path: Path, grid: SimbenchGrid, feeder: Feeder, rules: MarketRules
) -> None:
    noon = datetime(2016, 7, 25, 12, tzinfo=ZoneInfo("UTC"))
    policy = dataclasses.replace(
        feeder.offers, generation_price_eur_per_mwh={"Wind": 0.0, "PV": 0.0, "lv_RES": 0.0}
    )
    with pytest.raises(InputError) as caught:
        plan_day(
            day=DAY,
            out=tmp_path / "out",
            feeder=dataclasses.replace(feeder, import_price_source="tea leaves", offers=policy),
            rules=rules,
            grid=without_a_limit(with_nan(grid, noon)),
        )
    said = str(caught.value)
    for words in (
        "'tea leaves' is unknown", "has no line_loading_percent_max",
        "p_mw is nan at 2016-07-25T12:00:00Z", "technology 'Biomass_MV'", "technology 'Hydro_MV'",
    ):  # fmt: skip
        assert words in said
    assert not (tmp_path / "out").exists()


def test_a_nan_years_away_does_not_matter(tmp_path: Path, grid: SimbenchGrid) -> None:
    december = datetime(2016, 12, 1, tzinfo=ZoneInfo("UTC"))
    make_plan(tmp_path / "out", with_nan(grid, december))


def test_quarter_hours_are_what_was_recorded(
    tmp_path: Path, grid: SimbenchGrid, feeder: Feeder, rules: MarketRules
) -> None:
    hourly = dataclasses.replace(rules, mtu_minutes=60)
    with pytest.raises(InputError, match="the recorded profiles have quarter-hours"):
        plan_day(day=DAY, out=tmp_path / "out", feeder=feeder, rules=hourly, grid=grid)


@pytest.mark.parametrize(
    ("day", "said"),
    [
        (date(2016, 1, 1), "only 0 h of readings before the day-ahead gate"),
        (date(2017, 1, 1), "is not recorded"),
    ],
)
def test_days_without_records_are_refused(
    day: date, said: str, tmp_path: Path, grid: SimbenchGrid
) -> None:
    with pytest.raises(InputError, match=said):
        make_plan(tmp_path / "out", grid, day)


def test_the_command_tells_it_with_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (CONFIG_FOLDER / "feeders" / f"{CODE}.toml").read_text()
    path = tmp_path / "feeder.toml"
    path.write_text(
        text.replace("simbench:1-MV", "pandapower:1-MV").replace("be_day_ahead_2019", "guess")
    )
    out, keys = tmp_path / "out", tmp_path / "keys"
    words = ["day", "--date", str(DAY), "--out", str(out), "--keys", str(keys)]
    assert main([*words, "--feeder", str(path)]) == 2
    said = capsys.readouterr().err
    assert "2 problems; nothing written" in said
    assert "has no recorded profiles" in said
    assert "'guess' is unknown" in said
    assert not out.exists()
    assert not keys.exists()


def test_a_folder_of_something_else_is_refused(tmp_path: Path, grid: SimbenchGrid) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("ten years of work")
    with pytest.raises(InputError, match="holds files and no delivery day"):
        make_plan(out, grid)
    shutil.rmtree(out)
    out.write_text("a file")
    with pytest.raises(InputError, match="is a file"):
        make_plan(out, grid)


@pytest.mark.parametrize(("day", "count"), [(DAY, 24), (MARCH, 23), (OCTOBER, 25)])
def test_rounds_cover_the_day_without_gap(
    day: date, count: int, tmp_path: Path, grid: SimbenchGrid
) -> None:
    plan = make_plan(tmp_path / "out", grid, day)
    rounds = plan.rounds()
    assert len(rounds) == count
    bound = [at.first + k for at in rounds for k in range(at.binding)]
    assert bound == list(range(len(plan.periods)))
    assert len({at.label for at in rounds}) == count
    for at in rounds:
        assert at.periods.start - at.gate == timedelta(minutes=30)
        assert at.periods.end == plan.periods.end


def test_the_last_round_of_an_odd_day_binds_what_is_left(
    tmp_path: Path, grid: SimbenchGrid, feeder: Feeder, rules: MarketRules
) -> None:
    odd = dataclasses.replace(rules, intraday_every_minutes=75, intraday_binding_periods=5)
    plan = plan_day(day=DAY, out=tmp_path / "out", feeder=feeder, rules=odd, grid=grid)
    assert [at.binding for at in plan.rounds()][-2:] == [5, 1]


def test_nothing_after_a_gate_is_looked_at(tmp_path: Path, grid: SimbenchGrid) -> None:
    """A record that is changed from a gate on changes no forecast made at the gate."""
    plan = make_plan(tmp_path / "out", grid)
    at = plan.rounds()[9]
    day_ahead = make_day_ahead_forecast(plan)
    intraday = intraday_forecast(plan, day_ahead, at)
    for gate, made, make in (
        (plan.day_ahead_gate, day_ahead, make_day_ahead_forecast),
        (at.gate, intraday, lambda changed: intraday_forecast(changed, day_ahead, at)),
    ):
        later = (gate - grid.profiles.start) // timedelta(minutes=15)
        shares = grid.profiles.shares.copy()
        shares[later:, 1:] = 0.123
        altered = dataclasses.replace(
            grid, profiles=dataclasses.replace(grid.profiles, shares=shares)
        )
        changed = make_plan(tmp_path / "out", altered)
        assert np.array_equal(make(changed).value_mw, made.value_mw)
        ours, theirs = (expected_profiles(p, made, gate) for p in (plan, changed))
        assert np.array_equal(ours.load_q_mvar, theirs.load_q_mvar)
        shares[later - 1, 1:] = 0.123
        altered = dataclasses.replace(
            grid, profiles=dataclasses.replace(grid.profiles, shares=shares)
        )
        seen = make_plan(tmp_path / "out", altered)
        assert not np.array_equal(make(seen).value_mw, made.value_mw)


def test_totals_are_the_sums_of_their_elements(tmp_path: Path, grid: SimbenchGrid) -> None:
    recorded = make_plan(tmp_path / "out", grid).recorded
    values = dict(zip(recorded.series, recorded.values_mw().T, strict=True))
    wind = [name for name, kind in recorded.expected.kinds.items() if kind == "wind"]
    assert len(wind) == 7  # six parks and their total
    assert np.allclose(values["total:wind"], sum(values[name] for name in wind[:-1]))
    assert np.allclose(values["total:load"], recorded.power.load_p_mw.sum(axis=1))
    every = sum(values[f"total:{name}"] for name in ("wind", "renewables", "other"))
    assert np.allclose(every, recorded.power.sgen_p_mw.sum(axis=1))
