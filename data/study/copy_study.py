"""A study beside its result, so that the result can be explained and cleared again."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from data.errors import InputError, Problem, refuse_if_any
from data.study.margins import MARGINS_FILE
from data.study.network_reference import is_library_reference
from data.study.read_orders import ORDERS_FILE
from data.study.series import POSITION_FILE, PROFILES_FILE
from data.study.settings import SETTINGS_FILE, read_settings

STUDY_FOLDER: Final = "study"
# Where a result lies inside its own study, as `dso compare` leaves it.
RESULT_FOLDER: Final = "result"


def copy_study(study: Path, folder: Path) -> None:
    """Copy the files of a study, as they are, and nothing else that lies beside them.

    Parameters
    ----------
    study : Path
        A study folder that `read_study` reads.
    folder : Path
        Where they go; made when absent.

    Raises
    ------
    InputError
        If ``study.toml`` cannot be read.
    """
    problems: list[Problem] = []
    settings = read_settings(study, problems)
    refuse_if_any(problems)
    if settings is None:
        raise InputError([Problem(where=str(study), what="is no study")])
    names = [SETTINGS_FILE, ORDERS_FILE, PROFILES_FILE, POSITION_FILE, MARGINS_FILE]
    names.append(settings.import_price_file)
    if not is_library_reference(settings.network):
        names.append(settings.network)
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        if (study / name).is_file():
            shutil.copyfile(study / name, folder / name)


def study_of(result: Path) -> Path:
    """Return the study that a result folder belongs to by its place.

    It lies in the same folder (a clearing of `dso day`), in its subfolder ``study`` (`dso clear`),
    or the result is the subfolder ``result`` of the study. Where there is none of these, the result
    folder itself is returned, for its reader to refuse.
    """
    places = [result, result / STUDY_FOLDER]
    if result.resolve().name == RESULT_FOLDER:
        places.append(result.resolve().parent)
    return next((place for place in places if (place / SETTINGS_FILE).is_file()), result)
