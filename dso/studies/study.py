"""A study in memory: its case, and how its folder names the network."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from data.errors import InputError, Problem
from data.records.clearing import ClearingCase
from data.records.order_rules import NO_RULES, OrderRules
from data.study import case_sha256, read_study, write_study
from data.study.copy_study import study_of
from data.study.network_changes import NetworkChange
from data.study.network_reference import is_library_reference
from data.study.settings import SETTINGS_FILE, read_settings
from dso.studies.change_case import apply_settings, is_network_setting, network_change
from dso.studies.settings import Setting

CLEARING: Final = "clearing"


@dataclass(frozen=True, kw_only=True)
class Study:
    """One clearing to be made, and where its network is from.

    Parameters
    ----------
    case : ClearingCase
        Everything the solve needs.
    network_ref : str
        As `data.study.write_study` takes it: a library reference, or the path of a network file.
    network_changes : tuple of NetworkChange
        What the case's network differs in from that.
    order_rules : OrderRules
        What the market demands of orders; a change that breaks one is refused.
    """

    case: ClearingCase
    network_ref: str
    network_changes: tuple[NetworkChange, ...] = ()
    order_rules: OrderRules = NO_RULES

    @cached_property
    def sha256(self) -> str:
        """Hash of the case, as results carry it."""
        return case_sha256(self.case)

    def with_settings(self, settings: Sequence[Setting]) -> Study:
        """Return the study that settings lead to.

        Raises
        ------
        InputError
            As `apply_settings`.
        """
        changes = {(change.element, change.field): change for change in self.network_changes}
        for setting in filter(is_network_setting, settings):
            change = network_change(setting)
            changes.pop((change.element, change.field), None)
            changes[change.element, change.field] = change
        return dataclasses.replace(
            self,
            case=apply_settings(self.case, settings),
            network_changes=tuple(changes.values()),
        )


def study_folder(folder: Path) -> Path:
    """Return where a study is: the folder itself, a day's clearing in it, or a result's study.

    Raises
    ------
    InputError
        If it is neither.
    """
    for place in (study_of(folder), folder / CLEARING):
        if (place / SETTINGS_FILE).is_file():
            return place
    problem = Problem(
        where=str(folder),
        what=f"holds no {SETTINGS_FILE}: it is neither a study nor a run nor a result with one",
        remedy="make a study with dso study new",
    )
    raise InputError([problem])


def load_study(folder: Path) -> Study:
    """Read a study folder, or the day-ahead clearing of a run.

    Raises
    ------
    InputError
        Everything wrong with it.
    """
    place = study_folder(folder)
    case = read_study(place)
    problems: list[Problem] = []
    settings = read_settings(place, problems)
    assert settings is not None  # read_study has just read it
    reference = settings.network
    return Study(
        case=case,
        network_ref=reference if is_library_reference(reference) else str(place / reference),
        network_changes=settings.network_changes,
        order_rules=settings.order_rules,
    )


def save_study(study: Study, folder: Path) -> None:
    """Write a study as a folder; `load_study` gives it back.

    Raises
    ------
    InputError
        As `data.study.write_study`.

    Examples
    --------
    >>> import tempfile
    >>> from dso.studies import new_study, parse_settings
    >>> study = new_study("pandapower:case33bw", periods=1, import_price_eur_per_mwh=40.0,
    ...                   limits={"line_loading_percent_max": 100})
    >>> narrower = study.with_settings(parse_settings(["line.3.max_i_ka=0.2"]))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_study(narrower, Path(folder))
    ...     again = load_study(Path(folder))
    >>> again.sha256 == narrower.sha256, float(again.case.network.lines.max_i_ka[3])
    (True, 0.2)
    """
    write_study(
        study.case,
        folder,
        study.network_ref,
        network_changes=study.network_changes,
        order_rules=study.order_rules,
    )
