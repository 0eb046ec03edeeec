"""Best tap positions and capacitor steps of a study, and the study with them fixed."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from data.canonical import pretty_json
from data.csv_table import Column, table_bytes
from data.errors import InputError, Problem, refuse_if_any
from data.records.network import Network
from dso.progress import Progress, SilentProgress
from dso.studies.settings import Setting
from dso.studies.study import Study
from opf.problems.taps import (
    Control,
    Pricer,
    Trial,
    bank_control,
    relax_and_round,
    sweep,
    tap_controls,
)

Method = Literal["sweep", "relax", "both"]
METHODS: Final[tuple[Method, ...]] = ("sweep", "relax", "both")


@dataclass(frozen=True, slots=True, kw_only=True)
class TapAnswer:
    """What was tried and what costs least.

    Parameters
    ----------
    present : Trial or None
        The clearing at the present positions; None where a bank stands between its steps.
    by_sweep, by_relaxation : Trial or None
        Where each method ended; None where it was not used.
    best : Trial
        The cheaper of the two.
    trials : tuple of Trial
        Every clearing, those of the sweep first.
    sweep_clearings, relaxation_clearings : int
        How many clearings each method needed.
    fixed : Study
        The study with the controls at the best positions.
    """

    name: str
    study: Study
    controls: tuple[Control, ...]
    present: Trial | None
    by_sweep: Trial | None
    by_relaxation: Trial | None
    best: Trial
    trials: tuple[Trial, ...]
    sweep_clearings: int
    relaxation_clearings: int
    fixed: Study


def parse_banks(network: Network, texts: Sequence[str]) -> tuple[Control, ...]:
    """Read capacitor banks: ``SHUNT:MVAR_PER_STEP:STEPS``, e.g. ``0:-0.3:4``.

    Raises
    ------
    InputError
        All texts that are no bank of the network.
    """
    problems: list[Problem] = []
    found = []
    for text in texts:
        match = re.fullmatch(r"([0-9]+):(-?[0-9.]+):([0-9]+)", text)
        if match is None:
            remedy = "SHUNT:MVAR_PER_STEP:STEPS, e.g. 0:-0.3:4"
            problems.append(Problem(where=f"bank {text}", what="is no bank", remedy=remedy))
            continue
        try:
            found.append(bank_control(network, int(match[1]), float(match[2]), int(match[3])))
        except InputError as error:
            problems.extend(error.problems)
    refuse_if_any(problems)
    return tuple(found)


def find_taps(
    name: str,
    study: Study,
    *,
    trafos: Sequence[int] | None = None,
    banks: Sequence[str] = (),
    method: Method = "both",
    combinations_max: int = 2000,
    progress: Progress | None = None,
) -> TapAnswer:
    """Find the positions that cost least, one position for all periods of the study.

    Parameters
    ----------
    trafos : sequence of int or None
        Transformers whose taps may move (with those parallel to them); None: all that have one.
    banks : sequence of str
        As `parse_banks` takes them.
    method : str
        One of `METHODS`.

    Raises
    ------
    InputError
        Another formulation than ``ac``, nothing to move, unknown transformers or shunts, too many
        combinations, no positions at which the clearing is certified.

    Examples
    --------
    >>> from dso.studies import new_study
    >>> limits = {"line_loading_percent_max": 100.0, "trafo_loading_percent_max": 100.0,
    ...           "vm_pu_min": 0.95, "vm_pu_max": 1.05}
    >>> study = new_study("pandapower:simple_mv_open_ring_net", periods=1, mtu_minutes=60,
    ...                   import_price_eur_per_mwh=40.0, limits=limits)
    >>> answer = find_taps("ring", study)
    >>> answer.by_sweep.positions == answer.by_relaxation.positions
    True
    >>> print(*settings_of_positions(answer.controls, answer.best.positions))
    trafo.0.tap_pos=2
    """
    listener = progress or SilentProgress()
    if study.case.formulation != "ac":
        what = f"formulation is {study.case.formulation}; taps move AC voltages"
        raise InputError([Problem(where=name, what=what, remedy='formulation = "ac"')])
    controls = _chosen_controls(study, trafos, banks)
    swept, relaxed = Pricer(study.case, controls), Pricer(study.case, controls)
    by_sweep = by_relaxation = None
    if method != "relax":
        count = math.prod(control.last - control.first + 1 for control in controls)
        listener.stage("clear every combination", steps=count)
        swept.progress = lambda trial: listener.step(_words(trial))
        by_sweep = sweep(swept, combinations_max)
    if method != "sweep":
        listener.stage("relax and round", steps=1)
        by_relaxation = relax_and_round(relaxed)
    ends = [trial for trial in (by_sweep, by_relaxation) if trial is not None and trial.proven]
    if not ends:
        what = "no positions were found at which the clearing is certified"
        raise InputError([Problem(where=name, what=what, remedy="see dso clear on the study")])
    best = min(ends, key=lambda trial: (trial.total_eur, trial.positions))
    # where the study stands now, for comparison: cleared already by either method as a rule
    return TapAnswer(
        name=name,
        study=study,
        controls=controls,
        present=_present(swept if by_sweep else relaxed),
        by_sweep=by_sweep,
        by_relaxation=by_relaxation,
        best=best,
        trials=(*swept.trials.values(), *relaxed.trials.values()),
        sweep_clearings=len(swept.trials),
        relaxation_clearings=len(relaxed.trials),
        fixed=study.with_settings(settings_of_positions(controls, best.positions)),
    )


def _chosen_controls(
    study: Study, trafos: Sequence[int] | None, banks: Sequence[str]
) -> tuple[Control, ...]:
    network = study.case.network
    taps = tap_controls(network)
    if trafos is not None:
        known = {trafo for control in taps for trafo in control.trafos}
        refuse_if_any(
            Problem(where=f"trafo {trafo}", what="has no tap changer in this network")
            for trafo in trafos
            if trafo not in known
        )
        taps = tuple(control for control in taps if set(control.trafos) & set(trafos))
    controls = (*taps, *parse_banks(network, banks))
    if not controls:
        problem = Problem(
            where="network",
            what="has no tap changer that works (tap_changer_type, tap_pos, tap_min, tap_max)",
            remedy="state them in its network.json, or name a capacitor bank with --bank",
        )
        raise InputError([problem])
    return controls


def _present(pricer: Pricer) -> Trial | None:
    positions = tuple(control.present for control in pricer.controls)
    inside = all(
        control.first <= position <= control.last and float(position).is_integer()
        for control, position in zip(pricer.controls, positions, strict=True)
    )
    return pricer.price(positions) if inside else None


def _words(trial: Trial) -> str:
    return ", ".join(f"{position:g}" for position in trial.positions)


def settings_of_positions(
    controls: Sequence[Control], positions: Sequence[float]
) -> tuple[Setting, ...]:
    """Return what `dso study set` takes to fix the positions, e.g. ``trafo.0.tap_pos=2``."""
    return tuple(
        Setting(key=f"{change.element.replace(':', '.')}.{change.field}", value=change.value)
        for control, position in zip(controls, positions, strict=True)
        for change in control.changes(float(position))
    )


def tap_files(answer: TapAnswer) -> dict[str, bytes]:
    """Return the files of the answer: ``trials.csv`` and ``taps.json``."""
    trials = answer.trials
    columns: dict[str, Column] = {
        "method": ["sweep"] * answer.sweep_clearings + ["relax"] * answer.relaxation_clearings
    }
    for k, control in enumerate(answer.controls):
        columns[control.name.replace(",", "")] = np.array(
            [trial.positions[k] for trial in trials], dtype=float
        )
    columns["status"] = [trial.status for trial in trials]
    for label, field in (("objective_eur", "cost_eur"), ("penalty_eur", "penalty_eur")):
        values = [getattr(trial, field) for trial in trials]
        columns[label] = np.array([v if math.isfinite(v) else np.nan for v in values], dtype=float)

    def plain(trial: Trial | None) -> object:
        if trial is None:
            return None
        return {
            "positions": dict(zip([c.name for c in answer.controls], trial.positions, strict=True)),
            "status": trial.status,
            "objective_eur": trial.cost_eur,
            "penalty_eur": trial.penalty_eur,
        }

    summary = {
        "study": answer.name,
        "input_sha256": answer.study.sha256,
        "fixed_input_sha256": answer.fixed.sha256,
        "settings": {
            setting.key: setting.value
            for setting in settings_of_positions(answer.controls, answer.best.positions)
        },
        "present": plain(answer.present),
        "best": plain(answer.best),
        "sweep": plain(answer.by_sweep),
        "relax_and_round": plain(answer.by_relaxation),
        "sweep_clearings": answer.sweep_clearings,
        "relaxation_clearings": answer.relaxation_clearings,
    }
    return {"trials.csv": table_bytes(columns), "taps.json": pretty_json(summary)}
