"""Studies side by side: what they come to, prices per bus, and each limit that binds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from data.canonical import csv_bytes, pretty_json
from data.errors import InputError, Problem
from data.periods import format_utc
from data.readers.result_folder import read_result
from data.records.clearing import ClearingCase, ClearingResult
from data.results import SUMMARY_FILE, write_result
from data.study import case_sha256, read_study
from data.study.copy_study import RESULT_FOLDER
from dso.progress import Progress, SilentProgress
from dso.report.views import FeederView
from dso.show.feeder import view_feeder
from dso.show.read_output import name_limit
from dso.studies.key_figures import LABELS, KeyFigures, key_figures
from dso.studies.study import study_folder

Floats = NDArray[np.float64]
BRANCHES: Final = ("line", "trafo")
UNITS: Final = {"line": "EUR/MVA", "trafo": "EUR/MVA", "bus": "EUR/pu", "ext_grid": "EUR/MW"}


@dataclass(frozen=True, slots=True, kw_only=True)
class BindingLimit:
    """A limit that is part of prices.

    Parameters
    ----------
    side : str
        ``upper``/``lower`` of a voltage, ``import``/``export`` of a cap, empty for a branch.
    periods : tuple of int
        Numbers of the periods in which it is.
    shadow_price : float
        Sum over the periods of shadow price times their length, in ``unit``: what one more MVA of
        rating, pu of voltage or MW of exchange would save [EUR/MVA, EUR/pu, EUR/MW].
    price_part_eur_per_mwh : float
        Its largest part of any price [EUR/MWh].
    """

    element_kind: str
    element: int
    side: str
    name: str
    periods: tuple[int, ...]
    shadow_price: float
    unit: str
    price_part_eur_per_mwh: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One study with its result."""

    name: str
    folder: Path
    case: ClearingCase
    result: ClearingResult
    feeder: FeederView
    figures: KeyFigures
    limits: tuple[BindingLimit, ...]

    def prices(self) -> Floats:
        """Return prices of the buses in service, rows as the feeder's [EUR/MWh]."""
        rows = np.flatnonzero(self.case.network.buses.in_service)
        return self.result.prices.dlmp_p_eur_per_mwh[rows]

    def voltages(self) -> Floats:
        """Return voltages of the buses in service, rows as the feeder's [pu]."""
        rows = np.flatnonzero(self.case.network.buses.in_service)
        return self.result.grid.vm_pu[rows]

    def loadings(self) -> Floats:
        """Return loadings, rows as the feeder's branches [percent of rating]; NaN where open."""
        place = {
            pair: k
            for k, pair in enumerate(
                zip(self.feeder.branch_kind, self.feeder.branch_element, strict=True)
            )
        }
        values = np.full((len(place), len(self.case.periods)), np.nan)
        for flow in self.result.grid.branches:
            row = place.get((flow.element_kind, flow.element))
            if row is not None:
                values[row] = flow.loading_percent
        return values


def load_compared(
    words: Sequence[str], *, progress: Progress | None = None
) -> tuple[Compared, ...]:
    """Read studies with their results; clear those that have none of their own.

    Parameters
    ----------
    words : sequence of str
        ``STUDY``, the output of a clearing with its study, or ``STUDY=RESULT`` where the two are
        apart. A study without output in its folder has it in its subfolder ``result``, where a new
        one is kept for next time.
    progress : Progress or None
        Listens.

    Raises
    ------
    InputError
        All problems of all studies; nothing is cleared then.
    """
    listener = SilentProgress() if progress is None else progress
    listener.stage("read and clear", steps=len(words))
    problems: list[Problem] = []
    asked: list[tuple[Path, Path | None, ClearingCase]] = []
    for word in words:
        study, _, result = word.partition("=")
        try:
            place = study_folder(Path(study))
            if not result and (Path(study) / SUMMARY_FILE).is_file():
                result = study
            asked.append((place, Path(result) if result else None, read_study(place)))
        except InputError as error:
            problems.extend(error.problems)
    if problems:
        raise InputError(problems)
    names = unique_names([Path(word.partition("=")[0]) for word in words])
    compared = []
    for name, (place, result_folder, case) in zip(names, asked, strict=True):
        compared.append(_compared(name, place, case, _result(place, result_folder, case)))
        listener.step(name)
    return tuple(compared)


def unique_names(folders: Sequence[Path]) -> tuple[str, ...]:
    """Return the last parts of some paths, as many as tell them apart.

    Examples
    --------
    >>> unique_names([Path("out/a/study"), Path("out/b/study"), Path("c")])
    ('a/study', 'b/study', 'c')
    """
    parts = [folder.resolve().parts for folder in folders]
    names = []
    for k, own in enumerate(parts):
        length = 1
        while length < len(own) and any(
            other[-length:] == own[-length:] for m, other in enumerate(parts) if m != k
        ):
            length += 1
        names.append("/".join(own[-length:]))
    return tuple(names)


def _result(place: Path, stated: Path | None, case: ClearingCase) -> ClearingResult:
    """Return the study's result: stated, its own, kept from before, or made now."""
    if stated is None and (place / SUMMARY_FILE).is_file():
        stated = place
    if stated is not None:
        return read_result(stated, case)
    kept = place / RESULT_FOLDER
    if _is_result_of(kept, case):
        return read_result(kept, case)
    from dso.cli.output_folder import staged_output
    from opf.clearing import clear_case

    result = clear_case(case)
    with staged_output(kept, marker=SUMMARY_FILE) as folder:
        write_result(result, case, folder)
    return read_result(kept, case)


def _is_result_of(folder: Path, case: ClearingCase) -> bool:
    try:
        summary = json.loads((folder / SUMMARY_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(summary, dict) and summary.get("input_sha256") == case_sha256(case)


def _compared(name: str, folder: Path, case: ClearingCase, result: ClearingResult) -> Compared:
    feeder = view_feeder(case.network, case.limits)
    return Compared(
        name=name,
        folder=folder,
        case=case,
        result=result,
        feeder=feeder,
        figures=key_figures(case, result),
        limits=tuple(binding_limits(case, result, feeder)),
    )


def binding_limits(
    case: ClearingCase, result: ClearingResult, feeder: FeederView
) -> list[BindingLimit]:
    """Return every limit in prices, the one with the largest part first."""
    parts: dict[tuple[str, int, str], list[tuple[Floats, Floats]]] = {}
    for part in result.prices.parts:
        side: str = "" if part.element_kind in BRANCHES else part.side
        found = parts.setdefault((part.element_kind, part.element, side), [])
        found.append((part.p_eur_per_mwh, part.q_eur_per_mvarh))
    limits = []
    for (kind, element, side), values in parts.items():
        together = np.sum([p for p, _ in values], axis=0)
        at = np.any([(p != 0) | (q != 0) for p, q in values], axis=(0, 1))
        limits.append(
            BindingLimit(
                element_kind=kind,
                element=element,
                side=side,
                name=name_limit(feeder, kind, element, side),
                periods=tuple(np.flatnonzero(at).tolist()),
                shadow_price=float(
                    case.periods.mtu_h
                    * _shadow_prices(case, result, kind, element, side, together).sum()
                ),
                unit=UNITS[kind],
                price_part_eur_per_mwh=float(together.ravel()[np.abs(together).argmax()]),
            )
        )
    limits.sort(key=lambda b: (-abs(b.price_part_eur_per_mwh), b.element_kind, b.element, b.side))
    return limits


def _shadow_prices(
    case: ClearingCase,
    result: ClearingResult,
    kind: str,
    element: int,
    side: str,
    part: Floats,
) -> Floats:
    """Return a limit's shadow price of each period; of a cap, it is the part at the substation."""
    buses = case.network.buses.index
    if kind == "ext_grid":
        substation: Floats = part[int(np.flatnonzero(buses == case.network.slack_bus)[0])]
        return np.abs(substation)
    if kind == "bus":
        row = int(np.flatnonzero(buses == element)[0])
        grid = result.grid
        upper, lower = grid.shadow_price_upper_eur_per_pu_h, grid.shadow_price_lower_eur_per_pu_h
        price: Floats = (upper if side == "upper" else lower)[row]
        return price
    for flow in result.grid.branches:
        if (flow.element_kind, flow.element) == (kind, element):
            return flow.shadow_price_eur_per_mva_h
    raise ValueError(f"{kind} {element} has a part of prices and no flow")


def when(case: ClearingCase, periods: Sequence[int]) -> str:
    """Return periods as spans of local time, e.g. ``11:00-14:15, 18:00-18:15``."""
    zone = ZoneInfo(case.timezone)
    starts, mtu = case.periods.starts, case.periods.mtu
    days = {start.astimezone(zone).date() for start in starts}
    style = "%H:%M" if len(days) == 1 else "%m-%d %H:%M"
    spans: list[list[int]] = []
    for period in periods:
        if spans and period == spans[-1][1] + 1:
            spans[-1][1] = period
        else:
            spans.append([period, period])
    return ", ".join(
        f"{starts[first].astimezone(zone):{style}}\u2013"
        f"{(starts[last] + mtu).astimezone(zone):%H:%M}"
        for first, last in spans
    )


def same_buses(first: Compared, other: Compared) -> bool:
    """Tell whether two studies have the buses and branches of one network, values apart."""
    return (
        first.case.network.name == other.case.network.name
        and np.array_equal(first.feeder.bus, other.feeder.bus)
        and first.feeder.branch_kind == other.feeder.branch_kind
        and first.feeder.branch_element == other.feeder.branch_element
    )


def difference(first: float | None, other: float | None) -> float | None:
    """Return other minus first; None where either is."""
    return None if first is None or other is None else other - first


def comparison_files(compared: Sequence[Compared]) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of the tables of a comparison; differences are to the first study."""
    yield "figures.csv", csv_bytes(["figure", "unit", "study", "value", "difference"],
                                   _figure_rows(compared))  # fmt: skip
    yield "buses.csv", csv_bytes(
        ["study", "bus", "name", "price_eur_per_mwh_mean", "price_eur_per_mwh_min",
         "price_eur_per_mwh_max", "difference_of_means_eur_per_mwh", "vm_pu_min", "vm_pu_max"],
        _bus_rows(compared),
    )  # fmt: skip
    yield (
        "branches.csv",
        csv_bytes(
            ["study", "element_kind", "element", "name", "loading_percent_max"],
            _branch_rows(compared),
        ),
    )
    yield "limits.csv", csv_bytes(
        ["study", "element_kind", "element", "side", "name", "periods", "first_period_start",
         "last_period_start", "shadow_price_sum", "unit", "largest_price_part_eur_per_mwh"],
        _limit_rows(compared),
    )  # fmt: skip
    yield (
        "compare.json",
        pretty_json(
            {
                "studies": [
                    {
                        "name": each.name,
                        "title": each.case.name,
                        "network": each.case.network.name,
                        "input_sha256": each.result.input_sha256,
                        "figures": each.figures,
                        "difference": {
                            name: difference(
                                getattr(compared[0].figures, name), getattr(each.figures, name)
                            )
                            for name in LABELS
                        },
                        "limits": [
                            {
                                **asdict(limit),
                                "periods": [case_label(each.case, k) for k in limit.periods],
                            }
                            for limit in each.limits
                        ],
                    }
                    for each in compared
                ]
            }
        ),
    )


def case_label(case: ClearingCase, period: int) -> str:
    """Return the start of a period in UTC."""
    return format_utc(case.periods.starts[period])


def _figure_rows(compared: Sequence[Compared]) -> Iterator[list[object]]:
    for name, (_, unit, _) in LABELS.items():
        for each in compared:
            value = getattr(each.figures, name)
            change = difference(getattr(compared[0].figures, name), value)
            yield [name, unit, each.name, value, change]


def _bus_rows(compared: Sequence[Compared]) -> Iterator[list[object]]:
    for each in compared:
        if each.figures.status == "infeasible":
            continue
        price, vm_pu = each.prices(), each.voltages()
        base = compared[0]
        known = base.figures.status != "infeasible" and same_buses(base, each)
        change = price.mean(axis=1) - base.prices().mean(axis=1) if known else None
        for row, bus in enumerate(each.feeder.bus.tolist()):
            yield [
                each.name, bus, each.feeder.bus_name[row], price[row].mean(), price[row].min(),
                price[row].max(), None if change is None else change[row],
                vm_pu[row].min(), vm_pu[row].max(),
            ]  # fmt: skip


def _branch_rows(compared: Sequence[Compared]) -> Iterator[list[object]]:
    for each in compared:
        if each.figures.status == "infeasible":
            continue
        loading = each.loadings()
        for row, element in enumerate(each.feeder.branch_element):
            known = loading[row][np.isfinite(loading[row])]
            yield [
                each.name, each.feeder.branch_kind[row], element, each.feeder.branch_name[row],
                float(known.max()) if known.size else None,
            ]  # fmt: skip


def _limit_rows(compared: Sequence[Compared]) -> Iterator[list[object]]:
    for each in compared:
        for limit in each.limits:
            first, last = limit.periods[0], limit.periods[-1]
            yield [
                each.name, limit.element_kind, limit.element, limit.side, limit.name,
                len(limit.periods), case_label(each.case, first), case_label(each.case, last),
                limit.shadow_price, limit.unit, limit.price_part_eur_per_mwh,
            ]  # fmt: skip
