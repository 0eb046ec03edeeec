"""`dso flexibility`: request, tender, buy and show flexibility on plain files."""

from __future__ import annotations

import argparse
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dso.cli.market_options import instant
from dso.cli.planner_run import add_output, refuse_output, write_answer

if TYPE_CHECKING:
    from data.records.clearing import ClearingCase
    from flexibility.procurement.records import AvailabilityContract, CongestionPoint

REQUEST_MARKER: Final = "request_summary.json"
TENDER_MARKER: Final = "tender.json"
PURCHASE_MARKER: Final = "purchase.json"
SHORTAGE_MAX: Final = 1e6
EXITS: Final = {"green": 0, "yellow": 0, "orange": 4, "red": 3}
DESCRIPTION: Final = """\
Procure flexibility for what the energy market does not solve: request it from an outlook, conclude
availability contracts by tender, buy among contracts and offers at least cost with AC network
effect. Messages keep the meanings of UFTP: whole W, + = consumption, ISPs numbered from 1 within
the local day."""

EPILOG: Final = """\
examples:
  dso flexibility request out/day/clearing --outlook out/day/forecast/outlook.csv \\
      --points points.json --out out/request
  dso flexibility tender season.csv --bids bids.json --direction inject --out out/tender
  dso flexibility buy out/day/clearing --points points.json --messages offers.json \\
      --contracts out/tender/contracts.json --at 2016-07-24T18:00:00Z --out out/bought
  dso flexibility show out/bought

points.json (congestion points; power offered for the whole point acts at its bus or buses):
  [{"id": "ea1.2026-01.grid.example:north", "name": "North", "elements": ["line:3", "trafo:0"],
    "bus": 14}]
offers.json (also FlexRequest, FlexOfferRevocation, FlexReservationUpdate):
  [{"message": "FlexOffer", "message_id": "1", "congestion_point": "ea1.2026-01.grid.example:north",
    "participant": "aggregator-north", "period": "2016-07-25", "connection": "load:3", "bus": 14,
    "expiration_date_time": "2016-07-24T20:00:00Z",
    "options": [{"option_reference": "a", "price_eur": 30.0, "min_activation_factor": 0.1,
                 "isps": [{"power_w": -250000, "start": 49, "duration": 4}]}]}]
season.csv: period_start,hours,need_mw,expected_mw

exit codes:
  0  done: nothing was missing, or what was bought keeps every limit
  2  bad input: every problem is listed and nothing is written
  3  no certified result: nothing is ordered (the result is written)
  4  orange: offers do not suffice; what helps is ordered, what is missing is listed"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `dso flexibility`."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True, title="actions")

    def action(name: str, words: str) -> argparse.ArgumentParser:
        return actions.add_parser(
            name, help=words, description=DESCRIPTION, epilog=EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip

    request = action("request", "say what each congestion point needs, and where it has room")
    request.add_argument("study", type=Path, metavar="STUDY", help="study with expected profiles")
    request.add_argument("--outlook", type=Path, required=True, metavar="FILE", help="outlook.csv")
    request.add_argument("--revision", type=int, default=1, metavar="N", help="counts from 1")
    request.add_argument("--at", type=instant, metavar="T", help="now; default: a day before")
    request.add_argument("--expires", type=instant, metavar="T", help="until when offers count")
    _add_points(request)
    add_output(request)
    tender = action("tender", "choose availability contracts for a season")
    tender.add_argument("need", type=Path, metavar="SEASON", help="table of the need")
    tender.add_argument("--bids", type=Path, required=True, metavar="FILE", help="contracts bid")
    tender.add_argument(
        "--direction", choices=("inject", "withdraw"), required=True, help="what the need asks for"
    )
    tender.add_argument("--timezone", default="Europe/Berlin", metavar="ZONE", help="of windows")
    tender.add_argument("--study", type=Path, metavar="STUDY", help="where network effects are")
    tender.add_argument("--points", type=Path, metavar="FILE", help="the point, with --study")
    add_output(tender)
    buy = action("buy", "choose among contracts and offers at least cost")
    buy.add_argument("study", type=Path, metavar="STUDY", help="study folder of the clearing")
    buy.add_argument("--result", type=Path, metavar="DIR", help="its result; default: STUDY itself")
    buy.add_argument("--contracts", type=Path, metavar="FILE", help="availability contracts")
    buy.add_argument(
        "--messages", type=Path, nargs="*", default=[], metavar="FILE",
        help="requests, offers, revocations and reservation updates, in the order of receipt",
    )  # fmt: skip
    buy.add_argument("--at", type=instant, metavar="T", help="now; default: a day before")
    buy.add_argument(
        "--shortage-price", type=float, default=100_000.0, metavar="EUR_PER_MWH",
        help="price of a limit that cannot hold: above it no offer is worth its relief",
    )  # fmt: skip
    _add_points(buy)
    add_output(buy)
    show = action("show", "print a purchase")
    show.add_argument("folder", type=Path, metavar="DIR", help="output of dso flexibility buy")


def _add_points(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--points", type=Path, required=True, metavar="FILE", help="congestion points"
    )


def run(arguments: argparse.Namespace) -> int:
    """Do what is asked; return the exit code."""
    actions = {"request": _request, "tender": _tender, "buy": _buy, "show": _show}
    return actions[arguments.action](arguments)


def _request(arguments: argparse.Namespace) -> int:
    from data.canonical import pretty_json
    from data.errors import InputError, Problem, refuse_if_any
    from data.study import read_study
    from dso.flexibility.request import (
        Issue,
        need_table,
        read_outlook_need,
        request_files,
        request_flexibility,
        unknown_elements,
    )
    from dso.flexibility.request_page import render_request
    from opf.problems.scenario_limits import expected_grid

    refuse_output(arguments, REQUEST_MARKER)
    if arguments.revision < 1:
        what = f"is {arguments.revision}"
        raise InputError([Problem(where="--revision", what=what, remedy="count from 1")])
    case = read_study(arguments.study)
    points = _points(arguments, case)
    refuse_if_any(unknown_elements(case, points))
    expected = expected_grid(case)
    need = read_outlook_need(arguments.outlook, expected, case.periods)
    issue = Issue(
        revision=arguments.revision, known_at=_at(arguments, case), expires_at=arguments.expires
    )
    asked = request_flexibility(case, need, points, issue, expected)
    plain = request_files(asked, case, points, issue)
    files = {name: pretty_json(value) for name, value in plain.items()}
    files["need.csv"] = need_table(asked, case.periods)
    for remark in asked.remarks:
        print(f"note: {remark}")
    for request in asked.requests:
        print(
            f"{request.congestion_point}: {int(request.requested.sum())} of {len(case.periods)} "
            "periods requested"
        )
    write_answer(arguments, REQUEST_MARKER, files, render_request(asked, case, points))
    return 0


def _points(arguments: argparse.Namespace, case: ClearingCase) -> tuple[CongestionPoint, ...]:
    from data.study.order_fields import context_of
    from flexibility.procurement.read_messages import read_points

    return read_points(arguments.points, context_of(case.network, len(case.periods)))


def _at(arguments: argparse.Namespace, case: ClearingCase) -> datetime:
    stated: datetime | None = arguments.at
    return stated or case.periods.start - timedelta(days=1)


def _tender(arguments: argparse.Namespace) -> int:
    from data.errors import InputError, Problem
    from data.study import read_study
    from data.study.order_fields import OrderContext, context_of
    from dso.flexibility.tender import hold_tender, network_effects, read_season_need, tender_files
    from dso.flexibility.tender_page import render_tender
    from flexibility.procurement.read_messages import read_contracts

    refuse_output(arguments, TENDER_MARKER)
    if (arguments.study is None) != (arguments.points is None):
        what = "network effects need --study and --points"
        raise InputError([Problem(where="--study", what=what)])
    case = None if arguments.study is None else read_study(arguments.study)
    context = (
        OrderContext(period_count=None, bus_of_asset=None, running_buses=None)
        if case is None
        else context_of(case.network, len(case.periods))
    )
    bids = read_contracts(arguments.bids, context)
    need = read_season_need(arguments.need)
    effect = None
    if case is not None:
        points = _points(arguments, case)
        if len(points) != 1:
            raise InputError([Problem(where="--points", what="a tender is for one point")])
        effect = network_effects(case, points[0], bids)
    tender = hold_tender(need, bids, arguments.direction, arguments.timezone, effect=effect)
    result = tender.result
    for remark in tender.remarks:
        print(f"note: {remark}")
    print(
        f"{len(tender.winners)} of {len(tender.bids)} bids win: {result.fee_eur:,.2f} EUR for "
        f"being ready, {result.utilisation_eur:,.2f} EUR expected for calls"
    )
    short = float(result.short_mw.max(initial=0.0))
    if short:
        print(f"not covered: up to {short:.3f} MW")
    write_answer(arguments, TENDER_MARKER, tender_files(tender), render_tender(tender))
    return 0


def _buy(arguments: argparse.Namespace) -> int:
    from data.errors import InputError, Problem
    from data.readers.result_folder import read_result
    from data.study import read_study
    from data.study.order_fields import context_of
    from dso.flexibility.buy import Tray, buy
    from dso.flexibility.files import purchase_files
    from dso.flexibility.page import render_purchase
    from flexibility.procurement.acceptance import Desk
    from flexibility.procurement.read_messages import read_messages
    from opf.problems.held_positions import held_case

    refuse_output(arguments, PURCHASE_MARKER)
    if not 0.0 < arguments.shortage_price <= SHORTAGE_MAX:
        what = f"is {arguments.shortage_price:g}"
        remedy = f"state a price above 0 and up to {SHORTAGE_MAX:g} EUR/MWh"
        raise InputError([Problem(where="--shortage-price", what=what, remedy=remedy)])
    case = read_study(arguments.study)
    held = held_case(case, read_result(arguments.result or arguments.study, case))
    points = {point.id: point for point in _points(arguments, case)}
    contracts = _contracts(arguments, case)
    inbox = read_messages(
        arguments.messages,
        context_of(case.network, len(case.periods)),
        case.periods,
        case.timezone,
        points,
    )
    desk = Desk(
        points=points,
        requests={request.message_id: request for request in inbox.requests},
        contracts={contract.id: contract for contract in contracts},
        at=_at(arguments, case),
    )
    tray = Tray(
        contracts=contracts,
        offers=tuple(inbox.offers),
        revocations=tuple(inbox.revocations),
        updates={update.contract: update for update in inbox.updates},
    )
    purchase = buy(held, tray, desk, shortage_eur_per_mwh=arguments.shortage_price)
    files = purchase_files(purchase, held, desk)
    write_answer(arguments, PURCHASE_MARKER, files, render_purchase(purchase, held))
    _print_purchase(files[PURCHASE_MARKER].decode())
    return 3 if purchase.fallbacks else EXITS[purchase.state]


def _contracts(
    arguments: argparse.Namespace, case: ClearingCase
) -> tuple[AvailabilityContract, ...]:
    from data.study.order_fields import context_of
    from flexibility.procurement.read_messages import read_contracts

    if arguments.contracts is None:
        return ()
    return read_contracts(arguments.contracts, context_of(case.network, len(case.periods)))


def _show(arguments: argparse.Namespace) -> int:
    from data.errors import InputError, Problem

    path = arguments.folder / PURCHASE_MARKER
    if not path.is_file():
        remedy = "give the output of dso flexibility buy"
        raise InputError([Problem(where=str(path), what="is not there", remedy=remedy)])
    _print_purchase(path.read_text(encoding="utf-8"))
    return 0


def _print_purchase(text: str) -> None:
    import json

    about = json.loads(text)
    print(
        f"{about['state']}: {about['orders']} orders, {about['cost_micro_eur'] / 1e6:,.2f} EUR if "
        "delivered in full"
    )
    for rejected in about["rejections"]:
        print(f"rejected: {rejected['message_id']}: {'; '.join(rejected['rejection_reasons'])}")
    for remark in [*about["remarks"], *about["fallbacks"]]:
        print(f"note: {remark}")
    for each in about["missing"]:
        print(
            f"missing: {each['element_kind']} {each['element']} {each['side']} at "
            f"{each['period_start']}: {each['mw_missing']:.4f} MW"
        )
