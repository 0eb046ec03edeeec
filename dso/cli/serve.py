"""`dso serve`: the scheduler and the API, with /health and /metrics."""

from __future__ import annotations

import argparse
import os
from typing import Final

from dso.cli.market_options import (
    add_market_options,
    iso_day,
    open_operation,
    set_up_log,
    worker_name,
)

DESCRIPTION: Final = """\
Run the scheduler: insert the cycles of every delivery day when they are due, and answer /health,
/metrics and the API. Any number may run; one is elected. `dso worker` performs the cycles."""

EPILOG: Final = """\
examples:
  dso serve --out out/market
  dso serve --out out/market --store postgresql+psycopg://user@host/gridclear --port 8080

  GET /health   200 and the numbers while the market runs, else 503 and why
  /api/v1       the API; /api/v1/openapi.json describes it, `dso access` opens it
  GET /metrics  cycle lag, attempts and their time, lights, fallbacks, queue, age of the head

exit codes:
  0  told to end; 2 bad input, all problems listed"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `dso serve`."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.add_argument(
        "--since", type=iso_day, default=None, metavar="DAY",
        help="first delivery day of this market (default: tomorrow)",
    )  # fmt: skip
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=8080, help="port to listen on (default 8080)")
    parser.add_argument(
        "--tick-s", type=float, default=5.0, metavar="S", help="how often it looks [s] (default 5)"
    )
    parser.add_argument("--quiet", action="store_true", help="no log lines")
    add_market_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Serve until told to end."""
    from datetime import timedelta

    from dso.api.app import make_api
    from dso.api.health import make_health_app, serve_app
    from dso.api.serving import operated_market, start_posting, start_studies
    from dso.scheduler.metrics import Watch
    from dso.scheduler.serve import ROLE, start_scheduler
    from dso.store.due import StoreClock
    from dso.store.leader import Election

    set_up_log(quiet=arguments.quiet)
    with open_operation(arguments) as operation:
        clock = StoreClock(operation.services.store)
        since = arguments.since or clock.now().date() + timedelta(days=1)
        election = Election(operation.services.store, role=ROLE, holder=worker_name(os.getpid()))
        scheduler = start_scheduler(
            operation, election, clock, since=since, tick_s=arguments.tick_s
        )

        market = operated_market(operation, today=since)
        start_posting(scheduler, market)
        start_studies(scheduler, market, worker_name(os.getpid()))

        def end() -> None:
            scheduler.shutdown()
            election.resign()

        app = make_api(market, make_health_app(Watch(operation, clock)))
        serve_app(app, host=arguments.host, port=arguments.port, on_end=end)
    return 0
