"""Options that all commands of a running market share, and how they open it."""

from __future__ import annotations

import argparse
import os
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from data.readers.simbench import SimbenchGrid
    from dso.bootstrap import Services
    from dso.scheduler.alarms import Alarms
    from dso.scheduler.operation import Operation, Site
    from dso.scheduler.worker import WorkerRules
    from ledger_adapter.ports import Anchor

DEFAULT_FEEDER: Final = "1-MV-rural--2-sw"


def add_market_options(parser: argparse.ArgumentParser) -> None:
    """Declare where the market is: feeders, folder, database, keys."""
    parser.add_argument(
        "--out", type=Path, required=True, metavar="OUT",
        help="folder of the market: one folder for each feeder and day",
    )  # fmt: skip
    parser.add_argument(
        "--feeder", action="append", default=None, metavar="NAME",
        help=f"id or TOML file; may be repeated (default {DEFAULT_FEEDER})",
    )  # fmt: skip
    parser.add_argument(
        "--store", default=None, metavar="URL", help="database (default: an SQLite file in OUT)"
    )
    parser.add_argument("--keys", type=Path, default=None, metavar="DIR", help="key folder")
    parser.add_argument(
        "--configs", type=Path, default=None, metavar="DIR",
        help="folder with markets/ and feeders/ (default: those that came with Gridclear)",
    )  # fmt: skip


def add_worker_options(parser: argparse.ArgumentParser) -> None:
    """Declare how workers work, and who hears alarms."""
    parser.add_argument(
        "--lease-s", type=float, default=15.0, metavar="S",
        help="how long a cycle is held without a sign of life [s] (default 15)",
    )  # fmt: skip
    parser.add_argument(
        "--clearing-s-max", type=float, default=None, metavar="S",
        help="time of one clearing [s]; then the positions of before hold (default: none)",
    )  # fmt: skip
    parser.add_argument(
        "--alarm-file", type=Path, default=None, metavar="FILE", help="JSON lines are appended"
    )
    parser.add_argument("--alarm-webhook", default=None, metavar="URL", help="JSON is posted")
    parser.add_argument(
        "--alarm-on", default="red,failed,held,skipped", metavar="RULES",
        help="of red, orange, failed, held, skipped, late, fallback",
    )  # fmt: skip
    parser.add_argument(
        "--readings-stop-at", type=instant, default=None, metavar="T",
        help="rehearse that no reading arrives after this instant",
    )  # fmt: skip
    parser.add_argument(
        "--anchor", choices=("evm",), default=None,
        help="put the ledger's heads on a chain after each posting",
    )  # fmt: skip
    parser.add_argument(
        "--chain", type=Path, default=None, metavar="FILE", help="with --anchor: dso chain deploy's"
    )
    parser.add_argument(
        "--poster-key", type=Path, default=None, metavar="FILE", help="with --anchor: who posts"
    )
    parser.add_argument("--quiet", action="store_true", help="no log lines")


def iso_day(text: str) -> date:
    """Read a day for argparse."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a day such as 2016-07-25") from None


def instant(text: str) -> datetime:
    """Read an instant for argparse."""
    from data.periods import parse_utc

    try:
        return parse_utc(text)
    except ValueError:
        remedy = "is not an instant such as 2016-07-25T12:00:00+02:00"
        raise argparse.ArgumentTypeError(f"{text!r} {remedy}") from None


def make_site(arguments: argparse.Namespace) -> Site:
    """Return what the options say is operated."""
    from dso.config import CONFIG_FOLDER
    from dso.scheduler.operation import Site

    return Site(
        feeders=tuple(arguments.feeder or (DEFAULT_FEEDER,)),
        out=arguments.out.resolve(),
        configs=arguments.configs or CONFIG_FOLDER,
        received_until=getattr(arguments, "readings_stop_at", None),
    )


@contextmanager
def open_operation(
    arguments: argparse.Namespace, grids: dict[str, SimbenchGrid] | None = None
) -> Iterator[Operation]:
    """Open store, ledger and keys of a market, and its anchor where the options name one."""
    from dso.bootstrap import open_services
    from dso.cli.day import default_keys
    from dso.scheduler.operation import Operation

    anchored = getattr(arguments, "anchor", None) is not None
    site = make_site(arguments)
    keys = arguments.keys or default_keys()
    with closing(open_services(arguments.store, out=site.out, keys=keys)) as services:
        anchor = make_anchor(arguments, services) if anchored else None
        yield Operation(site, services, grids, anchor=anchor)


def make_anchor(arguments: argparse.Namespace, services: Services) -> Anchor:
    """Return where heads are published; a chain that is down delays that and nothing else."""
    from dso.chain import OperatedAnchor
    from ledger_adapter.anchors import AnchorBook

    book = AnchorBook(services.store.engine, services.ledger.get)
    return OperatedAnchor(arguments.chain, arguments.poster_key, book)


def make_alarms(arguments: argparse.Namespace) -> Alarms:
    """Return who hears alarms.

    Raises
    ------
    InputError
        If a rule is unknown or the webhook is no HTTP address.
    """
    from data.errors import Problem, refuse_if_any
    from dso.scheduler.alarms import RULES, Alarms

    rules = tuple(rule for rule in arguments.alarm_on.split(",") if rule)
    problems = [
        Problem(where="--alarm-on", what=f"{rule!r} is unknown", remedy=", ".join(RULES))
        for rule in rules
        if rule not in RULES
    ]
    webhook = arguments.alarm_webhook
    if webhook is not None and not webhook.startswith(("http://", "https://")):
        problems.append(Problem(where="--alarm-webhook", what=f"{webhook!r} is no HTTP address"))
    refuse_if_any(problems)
    return Alarms(file=arguments.alarm_file, webhook=webhook, rules=rules)


def make_worker_rules(arguments: argparse.Namespace, *, number: int | None = None) -> WorkerRules:
    """Return how a worker works; its name is that of host and process."""
    from dso.scheduler.worker import WorkerRules

    return WorkerRules(
        name=worker_name(os.getpid()) if number is None else worker_name(number),
        lease_s=arguments.lease_s,
        clearing_s_max=arguments.clearing_s_max,
    )


def worker_name(process: int) -> str:
    """Return the name of the worker in a process of this machine."""
    return f"{socket.gethostname()}:{process}"


def set_up_log(*, quiet: bool) -> None:
    """Write JSON lines to standard error, warnings only when quiet."""
    import logging
    import sys

    import structlog

    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.WARNING if quiet else logging.INFO
        ),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
