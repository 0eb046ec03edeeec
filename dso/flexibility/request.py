"""Requests from a congestion outlook: what each congestion point needs, and where it has room."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.csv_table import Column, read_table, table_bytes
from data.errors import Problem, refuse_if_any
from data.periods import Periods, format_utc
from data.records.clearing import ClearingCase
from flexibility.procurement.border import LocalIsps
from flexibility.procurement.records import CongestionPoint, FlexRequest
from flexibility.procurement.write_messages import message_uuid, request_to_plain
from opf.problems.flexibility_need import PointNeed, point_need
from opf.problems.scenario_limits import ExpectedGrid, expected_grid

Floats = NDArray[np.float64]
NEED_COLUMNS: Final = (
    "element_kind", "element", "side", "period_start", "limit", "expected_value", "unit",
    "probability", "need_mw_mean", "need_mw_q90",
)  # fmt: skip
# Less is not worth a message [MW].
NEED_MIN_MW: Final = 1e-3
LEAD: Final = timedelta(minutes=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Requested:
    """Requests of a day and what they rest on.

    ``needs`` by congestion point; ``remarks`` name what a request cannot say.
    """

    requests: tuple[FlexRequest, ...]
    needs: Mapping[str, PointNeed]
    remarks: tuple[str, ...]

    @property
    def asks(self) -> bool:
        """Whether power is requested anywhere."""
        return any(bool(request.requested.any()) for request in self.requests)


@dataclass(frozen=True, slots=True, kw_only=True)
class Issue:
    """How a request goes out.

    Parameters
    ----------
    revision : int
        Counts from 1 over the day.
    known_at : datetime
        Instant of the outlook; a request never expires before it.
    expires_at : datetime or None
        Until when offers count; None: half an hour before the first period requested.
    """

    revision: int
    known_at: datetime
    expires_at: datetime | None = None


def read_outlook_need(path: Path, expected: ExpectedGrid, periods: Periods) -> Floats:
    """Read what relieving each limit takes, shape (limits, periods) [MW], from ``outlook.csv``.

    Raises
    ------
    InputError
        With every row that names no limit or no period of the case.
    """
    problems: list[Problem] = []
    table = read_table(path, NEED_COLUMNS, problems)
    refuse_if_any(problems)
    assert table is not None
    limits = expected.limits
    keys = zip(limits.element_kind, limits.element.tolist(), limits.side, strict=True)
    row_of = {(kind, str(element), side): row for row, (kind, element, side) in enumerate(keys)}
    period_of = {label: number for number, label in enumerate(periods.labels())}
    values = table.numbers("need_mw_q90", problems)
    need = np.zeros((len(limits), len(periods)))
    names = ("element_kind", "element", "side")
    cells = zip(*(table.columns[name] for name in (*names, "period_start")), strict=True)
    for place, (kind, element, side, start) in enumerate(cells):
        row, period = row_of.get((kind, element, side)), period_of.get(start)
        if row is None or period is None:
            what = f"no limit of {kind} {element} {side}" if row is None else f"no period {start}"
            remedy = "give the outlook and the study of one day"
            problems.append(Problem(where=table.where(place), what=what, remedy=remedy))
        elif values[place] < 0.0:
            problems.append(Problem(where=table.where(place), what="need_mw_q90 is negative"))
        else:
            need[row, period] = values[place]
    refuse_if_any(problems)
    return need


def request_flexibility(
    case: ClearingCase, need_mw: Floats, points: Sequence[CongestionPoint], issue: Issue,
    expected: ExpectedGrid | None = None,
) -> Requested:  # fmt: skip
    """Turn the need of limits into one request per congestion point.

    A point without any need gets a request without a requested period: all room is available.

    Parameters
    ----------
    case : ClearingCase
        Its profiles are what is expected; orders are not used.
    need_mw : ndarray, shape (limits, periods)
        What relieving each limit takes at the bus that relieves it most [MW].
    points : sequence of CongestionPoint
        What flexibility is bought for.
    issue : Issue
        Revision and times.
    expected : ExpectedGrid, optional
        The expected state, where it was solved before.

    Raises
    ------
    InputError
        Elements or buses that the grid does not have; a horizon of more than one local day.
    PowerFlowDiverged
        Where the expected powers have no AC solution.
    """
    refuse_if_any(unknown_elements(case, points))
    isps = LocalIsps.of(case.periods, case.timezone)
    expected = expected or expected_grid(case)
    row_of_bus = {int(bus): row for row, bus in enumerate(case.network.buses.index)}
    found, needs, remarks = [], {}, []
    for point in points:
        shares = np.zeros(len(row_of_bus))
        for bus, share in point.buses:
            shares[row_of_bus[bus]] += share
        need = point_need(expected, frozenset(point.elements), shares, need_mw)
        needs[point.id] = need
        remarks += _remarks(point, need, expected, case.periods)
        found.append(_request(point, need, issue, isps))
    return Requested(requests=tuple(found), needs=needs, remarks=tuple(remarks))


def unknown_elements(case: ClearingCase, points: Sequence[CongestionPoint]) -> list[Problem]:
    """Return every element and bus of the points that the network does not have."""
    network = case.network
    known = {
        "bus": set(network.buses.index.tolist()),
        "line": set(network.lines.index.tolist()),
        "trafo": set(network.trafos.index.tolist()),
    }
    problems = []
    for point in points:
        named = [*point.elements, *(("bus", bus) for bus, _ in point.buses)]
        problems += [
            Problem(where=f"congestion point {point.id}", what=f"there is no {kind} {element}")
            for kind, element in named
            if element not in known[kind]
        ]
    return problems


def _request(point: CongestionPoint, need: PointNeed, issue: Issue, isps: LocalIsps) -> FlexRequest:
    requested = np.abs(need.need_mw) >= NEED_MIN_MW
    first = int(np.argmax(requested)) if requested.any() else 0
    expires = issue.expires_at or isps.periods.starts[first] - LEAD
    return FlexRequest(
        message_id=message_uuid("FlexRequest", point.id, isps.day, issue.revision),
        congestion_point=point.id,
        revision=issue.revision,
        expires_at=max(expires, issue.known_at),
        requested=requested,
        injection_mw_min=np.where(requested, np.minimum(need.need_mw, 0.0), -need.room_withdraw_mw),
        injection_mw_max=np.where(requested, np.maximum(need.need_mw, 0.0), need.room_inject_mw),
    )


def _remarks(
    point: CongestionPoint, need: PointNeed, expected: ExpectedGrid, periods: Periods
) -> list[str]:
    labels, limits = periods.labels(), expected.limits
    return [
        f"{point.id}: its limits need both directions at {labels[period]}; the larger need is "
        "requested"
        for period in need.contradicting
    ] + [
        f"{point.id}: power at its buses hardly moves {limits.element_kind[row]} "
        f"{limits.element[row]} {limits.side[row]}; its need is not part of the request"
        for row in need.unserved
    ]


def request_files(
    asked: Requested, case: ClearingCase, points: Sequence[CongestionPoint], issue: Issue
) -> dict[str, object]:
    """Return ``requests.json`` and ``request_summary.json`` as plain values."""
    isps = LocalIsps.of(case.periods, case.timezone)
    h = case.periods.mtu_h
    name = {point.id: point.name for point in points}
    return {
        "requests.json": [request_to_plain(request, isps) for request in asked.requests],
        "request_summary.json": {
            "known_at": format_utc(issue.known_at),
            "revision": issue.revision,
            "points": [
                {
                    "id": request.congestion_point,
                    "name": name[request.congestion_point],
                    "periods_requested": int(request.requested.sum()),
                    "need_mw_max": float(np.abs(_need(asked, request)).max(initial=0.0)),
                    "need_mwh": float(np.abs(_need(asked, request)).sum() * h),
                }
                for request in asked.requests
            ],
            "remarks": list(asked.remarks),
        },
    }


def _need(asked: Requested, request: FlexRequest) -> Floats:
    need = asked.needs[request.congestion_point].need_mw
    return np.where(request.requested, need, 0.0)


def need_table(asked: Requested, periods: Periods) -> bytes:
    """Return ``need.csv``: need and room of every point and period, injection positive."""
    labels = periods.labels()
    columns: dict[str, Column] = {
        "congestion_point": [r.congestion_point for r in asked.requests for _ in labels],
        "period_start": [label for _ in asked.requests for label in labels],
        "disposition": [
            "Requested" if flag else "Available"
            for request in asked.requests
            for flag in request.requested.tolist()
        ],
    }
    for column, field in (
        ("injection_mw_min", "injection_mw_min"), ("injection_mw_max", "injection_mw_max"),
    ):  # fmt: skip
        values = [getattr(request, field) for request in asked.requests]
        columns[column] = np.concatenate(values) if values else np.zeros(0)
    return table_bytes(columns)
