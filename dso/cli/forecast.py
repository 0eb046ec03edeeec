"""`dso forecast`: forecasts from plain files, and how good they would have been."""

from __future__ import annotations

import argparse
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from data.errors import Problem, refuse_if_any
from data.periods import Periods, parse_utc

if TYPE_CHECKING:
    from dso.forecasts.inputs import ForecastFiles

KINDS: Final = ("load", "pv", "wind", "net")
MARKER: Final = "backtest.json"
DESCRIPTION: Final = """\
Forecast load, PV, wind or net load as quantiles from readings and weather in CSV files; try models
on the past; train models and let the best one serve. Readings are checked first: faults are named,
undone or left out, and what a forecast fell back on is said in forecast.json."""

EPILOG: Final = """\
examples:
  dso forecast run --kind load --readings readings.csv --weather weather.csv \\
      --known-at 2026-05-01T10:00:00Z --start 2026-05-01T22:00:00Z --end 2026-05-02T22:00:00Z \\
      --resolution-minutes 60 --quantiles 9 --out forecast.csv
  dso forecast backtest --kind load --readings readings.csv --weather weather.csv \\
      --first-day 2026-04-01 --last-day 2026-04-30 --resolution-minutes 60 --out out/backtest
  dso forecast train --kind load --readings readings.csv --weather weather.csv \\
      --known-at 2026-05-01T10:00:00Z --resolution-minutes 60 --registry models
  dso forecast models --registry models

readings.csv  period_start,value_mw (UTC, start of the period), or a column per series with --wide
weather.csv   period_start, named columns (temperature_c, ghi_w_per_m2, ...), known_at if any
site.toml     latitude, longitude, capacity_mw, tilt_deg, azimuth_deg, timezone

exit codes:
  0  done
  2  bad input: every problem is listed, nothing is written"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `dso forecast`."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    commands = parser.add_subparsers(dest="forecast_command", required=True, metavar="COMMAND")
    run_parser = commands.add_parser("run", help="forecast periods from what was known at a gate")
    _add_files(run_parser)
    _add_instant(run_parser, "--known-at", "the gate: nothing known later is used")
    _add_instant(run_parser, "--start", "start of the first period")
    _add_instant(run_parser, "--end", "end of the last period")
    _add_model(run_parser)
    run_parser.add_argument("--registry", type=Path, metavar="DIR", help="its champion serves")
    run_parser.add_argument(
        "--third-party", type=Path, action="append", default=[], metavar="CSV",
        help="somebody else's forecast: checked, hashed and compared with ours",
    )  # fmt: skip
    run_parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE.csv",
        help="the quantiles; what made them goes beside it with the ending .json",
    )  # fmt: skip
    backtest = commands.add_parser("backtest", help="forecast past days and compare with baselines")
    _add_files(backtest)
    backtest.add_argument("--first-day", required=True, metavar="DATE", help="local delivery day")
    backtest.add_argument("--last-day", required=True, metavar="DATE", help="local delivery day")
    backtest.add_argument(
        "--gate", default="10:00", metavar="HH:MM",
        help="local clock time on the day before delivery (default 10:00)",
    )  # fmt: skip
    backtest.add_argument(
        "--retrain-days", type=int, default=28, metavar="N", help="days between fits (default 28)"
    )
    _add_model(backtest)
    backtest.add_argument("--out", type=Path, required=True, metavar="DIR", help="tables and page")
    backtest.add_argument("--force", action="store_true", help="write into a DIR of other files")
    train = commands.add_parser("train", help="fit a model, score it on frozen days, keep it")
    _add_files(train)
    _add_instant(train, "--known-at", "the gate of the fit")
    _add_model(train)
    train.add_argument("--registry", type=Path, required=True, metavar="DIR", help="where to keep")
    train.add_argument(
        "--frozen-days", type=int, default=28, metavar="N",
        help="last days before the gate on which models are scored (default 28)",
    )  # fmt: skip
    train.add_argument(
        "--if-needed", action="store_true",
        help="only when the champion is old, its readings have shifted or its skill is lost",
    )  # fmt: skip
    models = commands.add_parser("models", help="list the models on record and who serves")
    models.add_argument("--registry", type=Path, required=True, metavar="DIR")


def _add_files(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kind", required=True, choices=KINDS, help="what the series are")
    parser.add_argument("--readings", type=Path, required=True, metavar="CSV")
    parser.add_argument(
        "--weather", type=Path, action="append", default=[], metavar="CSV",
        help="may be repeated: of two sources the first counts, of three the median",
    )  # fmt: skip
    parser.add_argument("--site", type=Path, metavar="TOML", help="position and capacity")
    parser.add_argument("--wide", action="store_true", help="readings have a column per series")
    parser.add_argument(
        "--weather-is-forecast", action="store_true",
        help="weather without known_at was forecast before the gate",
    )  # fmt: skip
    parser.add_argument("--resolution-minutes", type=int, required=True, metavar="N")


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model", default="auto", metavar="NAME",
        help="a forecaster by name (default: the kind's first choice, if it beats like days)",
    )  # fmt: skip
    parser.add_argument(
        "--quantiles", type=int, default=9, metavar="9|99", help="deciles or percentiles"
    )


def _add_instant(parser: argparse.ArgumentParser, name: str, words: str) -> None:
    parser.add_argument(name, required=True, metavar="T", help=f"{words}, e.g. 2026-05-01T10:00Z")


def run(arguments: argparse.Namespace) -> int:
    """Run the subcommand; return the exit code."""
    commands = {"run": _run, "backtest": _backtest, "train": _train, "models": _models}
    return commands[arguments.forecast_command](arguments)


def _files(arguments: argparse.Namespace) -> ForecastFiles:
    from dso.forecasts.inputs import ForecastFiles

    return ForecastFiles(
        kind=arguments.kind,
        readings=arguments.readings,
        weather=tuple(arguments.weather),
        site=arguments.site,
        resolution_minutes=arguments.resolution_minutes,
        wide=arguments.wide,
        weather_is_forecast=arguments.weather_is_forecast,
    )


def _instant(text: str, name: str, problems: list[Problem]) -> datetime | None:
    try:
        return parse_utc(text)
    except ValueError:
        problems.append(
            Problem(where=name, what=f"{text!r} is no instant with an offset",
                    remedy="write it like 2026-05-01T10:00:00Z")
        )  # fmt: skip
        return None


def _horizon(arguments: argparse.Namespace) -> tuple[datetime, Periods]:
    problems: list[Problem] = []
    gate = _instant(arguments.known_at, "--known-at", problems)
    start = _instant(arguments.start, "--start", problems)
    end = _instant(arguments.end, "--end", problems)
    minutes = arguments.resolution_minutes
    count = 0
    if start is not None and end is not None and minutes > 0:
        count, rest = divmod((end - start).total_seconds(), 60 * minutes)
        if count < 1 or rest:
            problems.append(
                Problem(where="--end", what="not a whole number of periods after --start")
            )
    if start is not None and gate is not None and start < gate:
        problems.append(
            Problem(where="--start", what="before the gate (--known-at)",
                    remedy="forecast what is not yet read")
        )  # fmt: skip
    refuse_if_any(problems)
    assert gate is not None
    assert start is not None  # else there was a problem
    return gate, Periods(start=start, count=int(count), mtu_minutes=minutes)


def _run(arguments: argparse.Namespace) -> int:
    from data.canonical import write_atomically
    from dso.forecasts.outputs import levels_of
    from dso.forecasts.run import make_forecast
    from forecasting.registry import Registry

    levels = levels_of(arguments.quantiles)
    gate, ahead = _horizon(arguments)
    made = make_forecast(
        _files(arguments),
        gate=gate,
        ahead=ahead,
        levels=levels,
        model=arguments.model,
        registry=None if arguments.registry is None else Registry(arguments.registry),
        third_party=arguments.third_party,
    )
    beside = arguments.out.with_suffix(".json")
    write_atomically(arguments.out, made.csv)
    write_atomically(beside, made.json)
    for line in made.lines:
        print(line)
    print(f"quantiles in {arguments.out}, what made them in {beside}")
    return 0


def _backtest(arguments: argparse.Namespace) -> int:
    from data.canonical import write_atomically
    from dso.cli.output_folder import refuse_foreign_folder, staged_output
    from dso.forecasts.backtest import BacktestQuestion, backtest_files, run_backtest
    from dso.forecasts.backtest_page import render_backtest
    from dso.forecasts.inputs import read_inputs
    from dso.forecasts.outputs import levels_of

    refuse_foreign_folder(arguments.out, marker=MARKER, force=arguments.force)
    question = BacktestQuestion.read(
        first_day=arguments.first_day, last_day=arguments.last_day, gate=arguments.gate,
        retrain_days=arguments.retrain_days, model=arguments.model,
        levels=levels_of(arguments.quantiles),
    )  # fmt: skip
    answer = run_backtest(read_inputs(_files(arguments)), question)
    for line in answer.lines():
        print(line)
    with staged_output(arguments.out, marker=MARKER, force=arguments.force) as folder:
        for name, content in backtest_files(answer).items():
            write_atomically(folder / name, content)
        write_atomically(folder / "index.html", render_backtest(answer))
    print(f"tables and page in {arguments.out}")
    return 0


def _train(arguments: argparse.Namespace) -> int:
    from dso.forecasts.inputs import read_inputs
    from dso.forecasts.train import train_model
    from forecasting.registry import Registry

    problems: list[Problem] = []
    gate = _instant(arguments.known_at, "--known-at", problems)
    if arguments.frozen_days < 7:
        problems.append(
            Problem(where="--frozen-days", what=str(arguments.frozen_days), remedy="7 or more")
        )
    refuse_if_any(problems)
    assert gate is not None  # else there was a problem
    lines = train_model(
        read_inputs(_files(arguments)), gate, Registry(arguments.registry),
        name=arguments.model, frozen_days=arguments.frozen_days, if_needed=arguments.if_needed,
    )  # fmt: skip
    for line in lines:
        print(line)
    return 0


def _models(arguments: argparse.Namespace) -> int:
    from forecasting.registry import Registry

    registry = Registry(arguments.registry)
    records = registry.records()
    if not records:
        refuse_if_any(
            [Problem(where=str(arguments.registry), what="holds no model",
                     remedy="train one: dso forecast train")]
        )  # fmt: skip
    print("serves  kind  model             forecaster        fitted at             "
          "loss MW      of like-day  in 80 % band")  # fmt: skip
    for record in records:
        champion = registry.champion(record.kind)
        serves = champion is not None and champion.model_key == record.model_key
        ratio = record.pinball_mw / max(record.like_day_mw, 1e-12)
        print(
            f"{'yes' if serves else 'no':<7} {record.kind:<5} {record.model_key:<17} "
            f"{record.forecaster:<17} {record.fitted_at:<21} {record.pinball_mw:<12.6g} "
            f"{ratio:<12.3f} {record.coverage:.3f}"
        )
    return 0
