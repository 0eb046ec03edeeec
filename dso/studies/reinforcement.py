"""What more rating of lines and transformers is worth over a weighted sample of days."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from data.canonical import pretty_json
from data.csv_table import Column, read_table, table_bytes
from data.errors import InputError, Problem, refuse_if_any
from data.records.clearing import ClearingCase, ClearingResult
from dso.progress import Progress, SilentProgress
from dso.studies.study import Study
from opf.clearing import clear_case
from opf.problems.reinforcement import BranchKind, RatingValue, rating_values, with_rating

COST_COLUMNS: Final = ("element_kind", "element", "added_mva", "cost_eur")
KINDS: Final[tuple[BranchKind, ...]] = ("line", "trafo")


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleDay:
    """One study and the days of a year that it stands for.

    Parameters
    ----------
    days : float
        Weight: how often a year the study's horizon counts.
    """

    name: str
    study: Study
    days: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """A reinforcement that could be built: more rating of one branch, and what it costs once."""

    element_kind: BranchKind
    element: int
    added_mva: float
    cost_eur: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchValue:
    """What the rating of one branch is worth in a year.

    Parameters
    ----------
    eur_per_mva_year : float
        Cost saved per MVA of rating and year, for a small change.
    eur_per_percent_year : float
        The same per percent of the rating it has.
    hours_binding_per_year : float
        Weighted time in which its limit has a price [h].
    """

    element_kind: BranchKind
    element: int
    name: str
    rating_mva: float
    eur_per_mva_year: float
    eur_per_percent_year: float
    hours_binding_per_year: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionValue:
    """What one option saves.

    Parameters
    ----------
    saving_marginal_eur_year : float
        Shadow prices times the added rating: what it would save if every MVA saved as the first
        does.
    saving_eur_year : float
        Change of cost and penalty when every sample is cleared again with the larger rating.
    payback_years : float
        Cost over the yearly saving, without interest; infinite where nothing is saved.
    """

    option: Option
    name: str
    saving_marginal_eur_year: float
    saving_eur_year: float
    payback_years: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ReinforcementValue:
    """Everything that `value_reinforcement` found; branches by falling value."""

    samples: tuple[SampleDay, ...]
    statuses: tuple[str, ...]
    cost_eur_year: float
    branches: tuple[BranchValue, ...]
    options: tuple[OptionValue, ...]


def read_costs(path: Path) -> tuple[Option, ...]:
    """Read options from a CSV file: ``element_kind,element,added_mva,cost_eur``.

    Raises
    ------
    InputError
        All rows that are no option.
    """
    problems: list[Problem] = []
    table = read_table(path, COST_COLUMNS, problems)
    if table is None:
        raise InputError(problems)
    added = table.numbers("added_mva", problems)
    cost = table.numbers("cost_eur", problems)
    options: list[Option] = []
    kinds: dict[str, BranchKind] = {kind: kind for kind in KINDS}
    for row in range(len(table)):
        kind, element = table.columns["element_kind"][row], table.columns["element"][row]
        faults = []
        if kind not in kinds:
            faults.append((f"element_kind is {kind!r}", f"one of {', '.join(KINDS)}"))
        if not re.fullmatch(r"[0-9]+", element):
            faults.append((f"element is {element!r}", "state its number in the network"))
        if added[row] <= 0:
            faults.append((f"added_mva is {added[row]:g}", "state more than 0"))
        if cost[row] < 0:
            faults.append((f"cost_eur is {cost[row]:g}", "state at least 0"))
        problems.extend(
            Problem(where=table.where(row), what=what, remedy=remedy) for what, remedy in faults
        )
        if not faults:
            options.append(
                Option(
                    element_kind=kinds[kind],
                    element=int(element),
                    added_mva=float(added[row]),
                    cost_eur=float(cost[row]),
                )
            )
    refuse_if_any(problems)
    return tuple(options)


def value_reinforcement(
    samples: Sequence[SampleDay],
    options: Sequence[Option] = (),
    *,
    progress: Progress | None = None,
) -> ReinforcementValue:
    """Value the rating of every branch, and options by clearing the sample again.

    Parameters
    ----------
    samples : sequence of SampleDay
        Days on one network.
    options : sequence of Option
        What could be built; each alone.

    Raises
    ------
    InputError
        Samples on networks with other branches, options for branches that are not in service, a
        sample whose clearing is infeasible or not proven.

    Examples
    --------
    >>> from dso.studies import new_study, parse_settings
    >>> study = new_study("pandapower:case33bw", periods=1, mtu_minutes=60,
    ...                   import_price_eur_per_mwh=40.0, limits={"line_loading_percent_max": 100.0})
    >>> study = study.with_settings(parse_settings(
    ...     ["generation.pv={bus=17, p_mw=1}", "line.16.max_i_ka=0.02"]))
    >>> found = value_reinforcement([SampleDay(name="hour", study=study, days=8760)],
    ...     [Option(element_kind="line", element=16, added_mva=0.1, cost_eur=20000)])
    >>> [(b.element, b.eur_per_mva_year > 0) for b in found.branches][:2]
    [(16, True), (0, False)]
    >>> option = found.options[0]
    >>> 0 < option.saving_eur_year <= option.saving_marginal_eur_year
    True
    """
    listener = progress or SilentProgress()
    _refuse_mismatch(samples, options)
    listener.stage("clear the sample", steps=len(samples))
    results = []
    for sample in samples:
        results.append(_cleared(sample.study.case, sample.name))
        listener.step(sample.name)
    branches = _sum_branches(samples, results)
    base = [result.objective_eur + result.penalty_eur for result in results]
    listener.stage("clear it with each option", steps=max(len(options) * len(samples), 1))
    valued = [_value_option(option, samples, base, branches, listener) for option in options]
    valued.sort(key=lambda v: (v.payback_years, v.option.element_kind, v.option.element))
    return ReinforcementValue(
        samples=tuple(samples),
        statuses=tuple(result.status for result in results),
        cost_eur_year=sum(s.days * cost for s, cost in zip(samples, base, strict=True)),
        branches=tuple(
            sorted(branches, key=lambda b: (-b.eur_per_percent_year, b.element_kind, b.element))
        ),
        options=tuple(valued),
    )


def _refuse_mismatch(samples: Sequence[SampleDay], options: Sequence[Option]) -> None:
    problems: list[Problem] = []
    if not samples:
        problems.append(Problem(where="sample", what="no study", remedy="state STUDY=DAYS"))
        raise InputError(problems)
    first = samples[0].study.case.network
    for sample in samples:
        if not (sample.days > 0 and math.isfinite(sample.days)):
            what = f"stands for {sample.days:g} days"
            problems.append(Problem(where=sample.name, what=what, remedy="state more than 0"))
        network = sample.study.case.network
        if not (
            np.array_equal(network.lines.index, first.lines.index)
            and np.array_equal(network.trafos.index, first.trafos.index)
        ):
            what = f"has other lines or transformers than {samples[0].name}"
            problems.append(Problem(where=sample.name, what=what, remedy="use one network"))
        if sample.study.case.formulation != "ac":
            what = f"formulation is {sample.study.case.formulation}"
            problems.append(Problem(where=sample.name, what=what, remedy='formulation = "ac"'))
    running = {
        "line": set(first.lines.index[first.lines.in_service].tolist()),
        "trafo": set(first.trafos.index[first.trafos.in_service].tolist()),
    }
    for option in options:
        if option.element not in running[option.element_kind]:
            where = f"{option.element_kind} {option.element}"
            problems.append(Problem(where=where, what="is not in service in this network"))
    refuse_if_any(problems)


def _cleared(case: ClearingCase, name: str) -> ClearingResult:
    """Clear; refuse a result whose shadow prices prove nothing."""
    result = clear_case(case)
    if result.status in ("certified", "certified_with_slack"):
        return result
    problem = Problem(
        where=name,
        what=f"its clearing is {result.status}: {result.message}",
        remedy="mend the study until dso clear certifies it",
    )
    raise InputError([problem])


def _sum_branches(
    samples: Sequence[SampleDay], results: Sequence[ClearingResult]
) -> list[BranchValue]:
    network = samples[0].study.case.network
    names = {
        ("line", int(k)): name
        for k, name in zip(network.lines.index, network.lines.name, strict=True)
    } | {
        ("trafo", int(k)): name
        for k, name in zip(network.trafos.index, network.trafos.name, strict=True)
    }
    values: dict[tuple[BranchKind, int], list[tuple[float, float, RatingValue]]] = {}
    for sample, result in zip(samples, results, strict=True):
        h = sample.study.case.periods.mtu_h
        for value in rating_values(sample.study.case, result):
            key = (value.element_kind, value.element)
            values.setdefault(key, []).append((sample.days, h, value))
    found = []
    for (kind, element), parts in values.items():
        per_mva = sum(days * value.eur_per_mva for days, _, value in parts)
        rating = parts[0][2].rating_mva
        found.append(
            BranchValue(
                element_kind=kind,
                element=element,
                name=names[kind, element] or f"{kind} {element}",
                rating_mva=rating,
                eur_per_mva_year=per_mva,
                eur_per_percent_year=per_mva * rating / 100.0,
                hours_binding_per_year=sum(
                    days * h * value.periods_binding for days, h, value in parts
                ),
            )
        )
    return found


def _value_option(
    option: Option,
    samples: Sequence[SampleDay],
    base: Sequence[float],
    branches: Sequence[BranchValue],
    progress: Progress,
) -> OptionValue:
    own = next(
        branch
        for branch in branches
        if (branch.element_kind, branch.element) == (option.element_kind, option.element)
    )
    saving = 0.0
    for sample, before in zip(samples, base, strict=True):
        larger = with_rating(
            sample.study.case, option.element_kind, option.element, option.added_mva
        )
        after = _cleared(larger, f"{sample.name} with {own.name} reinforced")
        saving += sample.days * (before - after.objective_eur - after.penalty_eur)
        progress.step(f"{own.name}, {sample.name}")
    return OptionValue(
        option=option,
        name=own.name,
        saving_marginal_eur_year=own.eur_per_mva_year * option.added_mva,
        saving_eur_year=saving,
        payback_years=option.cost_eur / saving if saving > 0 else math.inf,
    )


def reinforcement_files(found: ReinforcementValue) -> dict[str, bytes]:
    """Return the files of the answer: ``branches.csv``, ``options.csv``, ``reinforce.json``."""
    branches = found.branches
    columns: dict[str, Column] = {
        "element_kind": [b.element_kind for b in branches],
        "element": np.array([b.element for b in branches], dtype=np.int64),
        "name": [b.name for b in branches],
    }
    for name in ("rating_mva", "eur_per_mva_year", "eur_per_percent_year",
                 "hours_binding_per_year"):  # fmt: skip
        columns[name] = np.array([getattr(b, name) for b in branches], dtype=float)
    options = found.options
    payback = [o.payback_years if math.isfinite(o.payback_years) else math.nan for o in options]
    option_columns: dict[str, Column] = {
        "element_kind": [o.option.element_kind for o in options],
        "element": np.array([o.option.element for o in options], dtype=np.int64),
        "name": [o.name for o in options],
        "added_mva": np.array([o.option.added_mva for o in options], dtype=float),
        "cost_eur": np.array([o.option.cost_eur for o in options], dtype=float),
        "saving_marginal_eur_year": np.array(
            [o.saving_marginal_eur_year for o in options], dtype=float
        ),
        "saving_eur_year": np.array([o.saving_eur_year for o in options], dtype=float),
        "payback_years": np.array(payback, dtype=float),
    }
    summary = {
        "cost_eur_year": found.cost_eur_year,
        "days": sum(sample.days for sample in found.samples),
        "samples": [
            {"study": s.name, "days": s.days, "status": status, "input_sha256": s.study.sha256}
            for s, status in zip(found.samples, found.statuses, strict=True)
        ],
        "branches_with_value": sum(b.eur_per_mva_year > 0 for b in branches),
        "options": len(options),
    }
    return {
        "branches.csv": table_bytes(columns),
        "options.csv": table_bytes(option_columns),
        "reinforce.json": pretty_json(summary),
    }
