"""Rule sets and feeders: the version of the day, and every problem at once."""

from __future__ import annotations

import dataclasses
import tomllib
from datetime import date, time
from itertools import product
from pathlib import Path

import pytest

from data.errors import InputError
from data.periods import DeliveryDay
from dso.config import CONFIG_FOLDER, load_feeder, load_market
from opf.problems.envelopes import FAIRNESS_RULES
from opf.problems.shed import SHED_RULES

MARKET = (CONFIG_FOLDER / "markets" / "local-energy.toml").read_text()
FEEDER = (CONFIG_FOLDER / "feeders" / "1-MV-rural--2-sw.toml").read_text()
DAY = date(2016, 7, 25)


@pytest.fixture
def configs(tmp_path: Path) -> Path:
    for name in ("markets", "feeders"):
        (tmp_path / name).mkdir()
    return tmp_path


def _changed(text: str, *pairs: tuple[str, str]) -> str:
    for old, new in pairs:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


def test_the_shipped_rules_are_those_of_the_market_design() -> None:
    rules = load_market("local-energy", DAY)
    assert (rules.timezone, rules.mtu_minutes) == ("Europe/Berlin", 15)
    assert (rules.day_ahead_days_before, rules.day_ahead_gate) == (1, time(13, 30))
    assert rules.day_ahead_result_by == time(13, 45)
    assert rules.intraday_gate_lead_minutes == 30
    assert rules.intraday_binding_periods == 4
    assert rules.scarcity_price_eur_per_mwh == 4000.0
    assert (rules.imbalance, rules.refund) == ("single", "pro_rata_withdrawal")
    assert not rules.settle_reactive
    gate = DeliveryDay(day=DAY, timezone=rules.timezone).instant(
        rules.day_ahead_gate, days_before=rules.day_ahead_days_before
    )
    assert gate.isoformat() == "2016-07-24T11:30:00+00:00"


def test_the_rounds_of_the_shipped_rules_tile_the_day() -> None:
    rules = load_market("local-energy", DAY)
    assert rules.intraday_every_minutes == rules.intraday_binding_periods * rules.mtu_minutes


def test_every_shipped_feeder_names_a_shipped_market() -> None:
    feeders = sorted((CONFIG_FOLDER / "feeders").glob("*.toml"))
    assert feeders
    for path in feeders:
        feeder = load_feeder(str(path), DAY)
        assert feeder == load_feeder(feeder.id, DAY)
        load_market(feeder.market, DAY)
        assert len(feeder.offers.aggregators) >= 2


def test_what_is_loaded_is_frozen_and_carries_its_files_digest(configs: Path) -> None:
    (configs / "markets" / "a.toml").write_text(MARKET)
    rules = load_market("local-energy", DAY, folder=configs)
    assert rules == load_market("local-energy", DAY)
    with pytest.raises(dataclasses.FrozenInstanceError):
        rules.mtu_minutes = 30  # type: ignore[misc]  # the fault under test
    (configs / "markets" / "a.toml").write_text(MARKET + "\n")
    assert load_market("local-energy", DAY, folder=configs).sha256 != rules.sha256


@pytest.mark.parametrize(
    ("day", "version"),
    [(date(2016, 1, 1), 1), (date(2016, 6, 30), 1), (date(2016, 7, 1), 2), (date(2030, 1, 1), 2)],
)
def test_the_version_in_force_on_the_day_is_chosen(configs: Path, day: date, version: int) -> None:
    first = _changed(MARKET, ("version = 1", "version = 1\neffective_to = 2016-07-01"))
    second = _changed(
        MARKET,
        ("version = 1", "version = 2"),
        ("effective_from = 2016-01-01", "effective_from = 2016-07-01"),
    )
    (configs / "markets" / "z-first.toml").write_text(first)
    (configs / "markets" / "a-second.toml").write_text(second)
    assert load_market("local-energy", day, folder=configs).version == version


def test_two_versions_in_force_at_once_are_refused(configs: Path) -> None:
    (configs / "markets" / "one.toml").write_text(MARKET)
    (configs / "markets" / "two.toml").write_text(
        _changed(
            MARKET,
            ("version = 1", "version = 2"),
            ("effective_from = 2016-01-01", "effective_from = 2016-07-01"),
        )
    )
    with pytest.raises(InputError, match=r"both in force on 2016-07-01 .*effective_to"):
        load_market("local-energy", date(2016, 1, 2), folder=configs)


def test_a_day_before_all_versions_is_refused() -> None:
    with pytest.raises(InputError, match="no version in force on 2015-12-31"):
        load_market("local-energy", date(2015, 12, 31))


def test_an_unknown_id_names_the_known() -> None:
    with pytest.raises(InputError, match="known: local-energy"):
        load_market("absent", DAY)


def test_all_problems_stand_in_one_error(configs: Path) -> None:
    bad = _changed(
        MARKET,
        ('timezone = "Europe/Berlin"', 'timezone = "Europe/Bärlin"\nsurprise = 1'),
        ("mtu_minutes = 15", "mtu_minutes = nan"),
        ('gate = "13:30"', 'gate = "half past one"'),
        ("scarcity_eur_per_mwh = 4000.0", "scarcity_eur_per_mwh = inf"),
        ('refund = "pro_rata_withdrawal"', 'refund = "to_myself"'),
        ("binding_periods = 4", 'binding_periods = "4"'),
    )
    (configs / "markets" / "a.toml").write_text(bad)
    with pytest.raises(InputError) as caught:
        load_market("local-energy", DAY, folder=configs)
    text = str(caught.value)
    for field in (
        "timezone", "surprise", "mtu_minutes", "day_ahead.gate", "price.scarcity_eur_per_mwh",
        "settlement.refund", "intraday.binding_periods",
    ):  # fmt: skip
        assert f": {field}: " in text, field
    assert len(caught.value.problems) == 7


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("mtu_minutes = 15", "mtu_minutes = 7", "divide the hour"),
        ("binding_periods = 4", "binding_periods = 3", "leave a gap"),
        ("every_minutes = 60", "every_minutes = 50", "whole periods"),
        ("eur_per_mwh_max = 3000.0", "eur_per_mwh_max = 5000.0", "broken limit"),
        ('result_by = "13:45"', 'result_by = "13:15"', "later than gate"),
    ],
)
def test_rules_that_contradict_each_other_are_refused(
    configs: Path, old: str, new: str, message: str
) -> None:
    (configs / "markets" / "a.toml").write_text(_changed(MARKET, (old, new)))
    with pytest.raises(InputError, match=message):
        load_market("local-energy", DAY, folder=configs)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('id = "aggregator-south"', 'id = "aggregator-north"', "named twice: aggregator-north"),
        ("flexible_load_share = 0.2", "flexible_load_share = 1.2", r"flexible_load_share.*1\.2"),
        ("storage_price_eur_per_mwh = 1.0 ", "# ", "offers.storage_price_eur_per_mwh"),
        (
            "must_take_price_eur_per_mwh = 1000.0",
            "must_take_price_eur_per_mwh = 1.0",
            "not be below",
        ),
        ("Biomass = 60.0", 'Biomass = "60"', "offers.generation_price_eur_per_mwh.Biomass"),
    ],
)
def test_a_feeder_with_a_slip_is_refused(configs: Path, old: str, new: str, message: str) -> None:
    (configs / "feeders" / "a.toml").write_text(_changed(FEEDER, (old, new)))
    with pytest.raises(InputError, match=message):
        load_feeder("1-MV-rural--2-sw", DAY, folder=configs)


def test_a_broken_file_beside_a_good_one_is_not_skipped(configs: Path) -> None:
    (configs / "markets" / "good.toml").write_text(MARKET)
    (configs / "markets" / "broken.toml").write_text("id = ")
    with pytest.raises(InputError, match=r"broken\.toml: cannot be read"):
        load_market("local-energy", DAY, folder=configs)


def test_a_site_overrides_the_networks_coordinates(configs: Path) -> None:
    path = configs / "mine.toml"
    path.write_text(FEEDER + "\n[site]\nlatitude = 53.6\nlongitude = 11.4\n")
    feeder = load_feeder(str(path), DAY)
    assert (feeder.latitude, feeder.longitude) == (53.6, 11.4)
    assert load_feeder("1-MV-rural--2-sw", DAY).latitude is None


def test_the_wheel_takes_the_configurations_along() -> None:
    project = tomllib.loads((CONFIG_FOLDER.parent / "pyproject.toml").read_text())
    setuptools = project["tool"]["setuptools"]
    assert "configs" in setuptools["packages"]["find"]["include"]
    assert setuptools["package-data"]["configs"] == ["**/*.toml"]


def test_the_shipped_rules_take_nothing_off_the_limits() -> None:
    assert load_market("local-energy", DAY).margin_quantile is None


def test_a_rule_set_may_ask_for_security_margins(configs: Path) -> None:
    path = configs / "markets" / "secured.toml"
    path.write_text(MARKET + "\n[security]\nmargin_quantile = 0.95\n")
    assert load_market(str(path), DAY).margin_quantile == 0.95
    path.write_text(MARKET + "\n[security]\nmargin_quantile = 0.5\n")
    with pytest.raises(InputError, match=r"security\.margin_quantile"):
        load_market(str(path), DAY)


def test_a_feeder_forecast_by_weather_names_its_files(configs: Path) -> None:
    path = configs / "feeders" / "sunny.toml"
    shipped = (CONFIG_FOLDER / "feeders/1-LV-rural1--2-sw.toml").read_text(encoding="utf-8")
    model = shipped.replace("\nmarket =", '\nforecast_model = "weather"\nmarket =')
    path.write_text(model, encoding="utf-8")
    with pytest.raises(InputError, match="go together"):
        load_feeder(str(path), DAY)
    path.write_text(model + '\n[weather]\nfiles = ["a.csv", "/b.csv"]\nage_h_max = 6.0\n')
    feeder = load_feeder(str(path), DAY)
    assert feeder.weather_files == (path.parent / "a.csv", Path("/b.csv"))
    assert feeder.weather_age_h_max == 6.0


def test_rules_of_real_time_are_chosen_and_unknown_names_meet_the_list(configs: Path) -> None:
    shipped = load_market("local-energy", DAY).real_time
    assert (shipped.envelopes, shipped.shed, shipped.droops_ahead_minutes) == (
        "max_min", "priority", 60,
    )  # fmt: skip
    path = configs / "markets" / "own.toml"
    for fairness, shed in product(FAIRNESS_RULES, SHED_RULES):
        path.write_text(f'{MARKET}\n[real_time]\nenvelopes = "{fairness}"\nshed = "{shed}"\n')
        rules = load_market("local-energy", DAY, folder=configs).real_time
        assert (rules.envelopes, rules.shed) == (fairness, shed)
    path.write_text(f'{MARKET}\n[real_time]\nenvelopes = "first_come"\nshed = "by_lot"\n')
    with pytest.raises(InputError) as caught:
        load_market("local-energy", DAY, folder=configs)
    text = str(caught.value)
    for name in (*FAIRNESS_RULES, *SHED_RULES, "first_come", "by_lot"):
        assert f"'{name}'" in text
