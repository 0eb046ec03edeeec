"""A study's own history: what was changed, when, from what to what; and the way back.

``history.jsonl`` has one line per change, the first for how the study was made. Beside it
``history/0003`` keeps the files that change 3 replaced. That copy is made before and the line is
written after the files change, so a copy without a line is a change that was cut short: it is
taken back before anything else happens.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from data.canonical import canonical_json, write_atomically
from data.errors import InputError, Problem
from data.periods import format_utc
from data.results import SUMMARY_FILE
from data.study import case_sha256, read_study
from data.study.network_changes import present_value
from data.study.settings import LIMIT_FIELDS, SETTINGS_FILE
from data.study.write_orders import order_to_plain
from dso.clock import Clock
from dso.studies.change_case import is_network_setting, network_change
from dso.studies.settings import Setting, without_files
from dso.studies.study import Study, load_study, save_study

HISTORY_FILE: Final = "history.jsonl"
HISTORY_FOLDER: Final = "history"
ABSENT_FILE: Final = "absent.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One line of a history.

    Parameters
    ----------
    number : int
        0 for how the study was made, then 1, 2, ...
    when : str
        Instant in UTC.
    what : tuple of (key, from, to)
        The settings with the values before and after; of ``new``: the source.
    who : str
        Who did it, or empty.
    sha256 : str
        Hash of the study afterwards.
    """

    number: int
    when: str
    what: tuple[tuple[str, object, object], ...]
    who: str
    sha256: str


def create_study(study: Study, folder: Path, *, origin: str, clock: Clock, who: str = "") -> Change:
    """Write a new study whose history begins with where it is from.

    Raises
    ------
    InputError
        If the folder holds anything, or the study cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        remedy = "name a folder that does not exist yet"
        raise InputError([Problem(where=str(folder), what="holds files", remedy=remedy)])
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as staging:
        place = Path(staging) / "study"
        save_study(study, place)
        change = Change(
            number=0,
            when=format_utc(clock.now()),
            what=(("new", None, origin),),
            who=who,
            sha256=_read_back(place, study),
        )
        write_atomically(place / HISTORY_FILE, _lines([change]))
        if folder.exists():
            folder.rmdir()
        place.replace(folder)
    return change


def change_study(
    folder: Path,
    settings: Sequence[Setting],
    *,
    clock: Clock,
    who: str = "",
    files_from: Path | None = None,
) -> Change:
    """Change a study on disk and write that down.

    Parameters
    ----------
    folder : Path
        The study.
    settings : sequence of Setting
        One change of the history, done or refused as a whole.
    clock : Clock
        Tells when.
    who : str
        Who asks for it.
    files_from : Path or None
        Where names of files in settings begin; None: the working directory.

    Raises
    ------
    InputError
        Everything wrong; the study stays as it is.
    """
    _refuse_result(folder)
    take_back_unfinished(folder)
    before = load_study(folder)
    plain = without_files(tuple(settings), before.case.periods, files_from or Path())
    after = before.with_settings(plain)
    history = read_history(folder)
    number = history[-1].number + 1 if history else 1
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as staging:
        save_study(after, Path(staging))
        change = Change(
            number=number,
            when=format_utc(clock.now()),
            what=tuple(
                (asked.key, present(before, setting), asked.value)
                for setting, asked in zip(plain, settings, strict=True)
            ),
            who=who,
            sha256=_read_back(Path(staging), after),
        )
        changed = {
            path.name: path.read_bytes()
            for path in sorted(Path(staging).iterdir())
            if not (folder / path.name).is_file()
            or (folder / path.name).read_bytes() != path.read_bytes()
        }
    _keep(folder, number, changed)
    for name, content in changed.items():
        write_atomically(folder / name, content)
    write_atomically(folder / HISTORY_FILE, _lines([*history, change]))
    return change


def undo_change(folder: Path, *, force: bool = False) -> Change:
    """Take the last change back: the files it replaced stand again, byte for byte.

    Parameters
    ----------
    folder : Path
        The study.
    force : bool
        Also where the study was edited by hand since, which is lost then.

    Returns
    -------
    Change
        What was taken back.

    Raises
    ------
    InputError
        Nothing to take back, or the study was edited since.
    """
    _refuse_result(folder)
    take_back_unfinished(folder)
    history = read_history(folder)
    last = history[-1] if history else None
    if last is None or last.number == 0:
        raise InputError([Problem(where=str(folder), what="has no change to take back")])
    if not force and case_sha256(read_study(folder)) != last.sha256:
        problem = Problem(
            where=str(folder),
            what=f"was edited by hand since change {last.number}; undo would lose that",
            remedy="add --force to lose it",
        )
        raise InputError([problem])
    # the line goes first: should this be cut short, the copy without a line is taken back again
    write_atomically(folder / HISTORY_FILE, _lines(history[:-1]))
    take_back_unfinished(folder)
    return last


def read_history(folder: Path) -> tuple[Change, ...]:
    """Return the changes of a study, the oldest first; empty where nothing was written down.

    Raises
    ------
    InputError
        If the history is damaged.
    """
    path = folder / HISTORY_FILE
    if not path.is_file():
        return ()
    changes = []
    for row, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            changes.append(_change_of(json.loads(line)))
        except (ValueError, KeyError, TypeError) as error:
            problem = Problem(where=f"{path.name} line {row}", what=f"is damaged: {error}")
            raise InputError([problem]) from error
    return tuple(changes)


def _change_of(plain: Mapping[str, Any]) -> Change:
    return Change(
        number=int(plain["number"]),
        when=str(plain["when"]),
        what=tuple((str(item["key"]), item["from"], item["to"]) for item in plain["what"]),
        who=str(plain.get("who", "")),
        sha256=str(plain["study_sha256"]),
    )


def _lines(changes: Sequence[Change]) -> bytes:
    return b"".join(
        canonical_json(
            {
                "number": change.number,
                "when": change.when,
                "what": [
                    {"key": key, "from": before, "to": after} for key, before, after in change.what
                ],
                "who": change.who,
                "study_sha256": change.sha256,
            }
        )
        + b"\n"
        for change in changes
    )


def _read_back(folder: Path, study: Study) -> str:
    """Return the hash of what was written, which must be what was asked for."""
    written = case_sha256(read_study(folder))
    if written != study.sha256:
        raise RuntimeError(f"{folder}: the study reads back otherwise than it was written")
    return written


def _refuse_result(folder: Path) -> None:
    """Refuse what is no study of its own: a run, or a folder with a study's result in it."""
    if not (folder / SETTINGS_FILE).is_file():
        problem = Problem(
            where=str(folder),
            what=f"holds no {SETTINGS_FILE}: it is no study that can be changed",
            remedy=f"make one of it: dso study new DIR --from {folder}",
        )
        raise InputError([problem])
    if (folder / SUMMARY_FILE).is_file():
        problem = Problem(
            where=str(folder),
            what="holds the result of a clearing, which a change would contradict",
            remedy=f"make a study of it: dso study new DIR --from {folder}",
        )
        raise InputError([problem])


def _place(folder: Path, number: int) -> Path:
    return folder / HISTORY_FOLDER / f"{number:04d}"


def _keep(folder: Path, number: int, changed: Mapping[str, bytes]) -> None:
    """Keep the files that a change is about to replace, whole or not at all."""
    place = _place(folder, number)
    partial = place.with_name(f".{place.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    absent = []
    for name in changed:
        if (folder / name).is_file():
            write_atomically(partial / name, (folder / name).read_bytes())
        else:
            absent.append(name)
    write_atomically(partial / ABSENT_FILE, canonical_json(absent))
    partial.replace(place)


def take_back_unfinished(folder: Path) -> None:
    """Take back a change that was cut short: files kept for it, and no line in the history."""
    known = {change.number for change in read_history(folder)}
    for place in sorted((folder / HISTORY_FOLDER).glob("[0-9]*"), reverse=True):
        if int(place.name) in known:
            continue
        for name in json.loads((place / ABSENT_FILE).read_text(encoding="utf-8")):
            (folder / name).unlink(missing_ok=True)
        for path in sorted(place.iterdir()):
            if path.name != ABSENT_FILE:
                write_atomically(folder / path.name, path.read_bytes())
        shutil.rmtree(place)


def present(study: Study, setting: Setting) -> object:
    """Return what a setting would replace, as its value would be written; None where nothing.

    Where a setting is relative to what is there, that is a total (energy of loads or generators
    [MWh]) or the mean (import price [EUR/MWh]).
    """
    case = study.case
    kind, _, rest = setting.key.partition(".")
    if is_network_setting(setting):
        change = network_change(setting)
        return present_value(case.network, change.element, change.field)
    if kind in ("name", "formulation", "import_mw_max", "export_mw_max"):
        value: object = getattr(case, kind)
        return value
    if kind == "import_price":
        return float(case.import_price_eur_per_mwh.mean())
    if kind == "limits":
        values = np.atleast_1d(getattr(case.limits, rest))
        same = rest not in LIMIT_FIELDS or (len(values) > 0 and np.all(values == values[0]))
        return float(values[0]) if same else "as the network states"
    if kind in ("load", "sgen"):
        power = case.load_p_mw if kind == "load" else case.sgen_p_mw
        return f"{float(power.sum()) * case.periods.mtu_h:.6g} MWh in all"
    order_id = rest.removesuffix(".remove").removesuffix(".scale")
    for order in case.orders:
        if kind == "order" and order.id == order_id:
            return order_to_plain(order)
    return f"{len(case.orders)} orders" if kind == "orders" else None
