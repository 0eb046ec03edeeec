"""Settings: what a what-if changes, as ``KEY=VALUE`` words, plain values or TOML."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from data.canonical import canonical_json
from data.errors import Problem, refuse_if_any
from data.periods import Periods
from data.study.series import read_price

PRICE_KEY: Final = "import_price.eur_per_mwh"
PRICE_FILE_KEY: Final = "import_price.file"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One change of a study.

    Parameters
    ----------
    key : str
        What it changes, e.g. ``line.3.max_i_ka``; ``dso study set --help`` lists them all.
    value : object
        A plain value: number, truth value, text, list or table.
    """

    key: str
    value: object

    def __str__(self) -> str:
        value = self.value
        return f"{self.key}={value if isinstance(value, str) else canonical_json(value).decode()}"


def parse_setting(text: str) -> Setting:
    """Read one ``KEY=VALUE`` word.

    Raises
    ------
    InputError
        Without key or without value.

    Examples
    --------
    >>> parse_setting("line.3.max_i_ka=0.4")
    Setting(key='line.3.max_i_ka', value=0.4)
    >>> parse_setting("formulation=lindistflow").value
    'lindistflow'
    >>> parse_setting("battery.b1={bus=12, p_mw=1.0}").value
    {'bus': 12, 'p_mw': 1.0}
    """
    key, mark, written = text.partition("=")
    key, written = key.strip(), written.strip()
    if not mark or not key or not written:
        remedy = "e.g. line.3.max_i_ka=0.4"
        refuse_if_any([Problem(where=f"setting {text!r}", what="is no KEY=VALUE", remedy=remedy)])
    try:
        value: object = tomllib.loads(f"value = {written}")["value"]
    except tomllib.TOMLDecodeError:
        value = written
    return Setting(key=key, value=value)


def parse_settings(texts: list[str]) -> tuple[Setting, ...]:
    """Read several words; every word that is none is reported."""
    problems: list[Problem] = []
    settings: list[Setting] = []
    for text in texts:
        if "=" in text.strip(" =") and not text.strip().startswith("="):
            settings.append(parse_setting(text))
        else:
            problems.append(
                Problem(
                    where=f"setting {text!r}",
                    what="is no KEY=VALUE",
                    remedy="e.g. line.3.max_i_ka=0.4",
                )
            )
    refuse_if_any(problems)
    return tuple(settings)


def settings_of(table: Mapping[str, object]) -> tuple[Setting, ...]:
    """Return the settings of a mapping of key to value, in its sequence.

    Examples
    --------
    >>> [str(setting) for setting in settings_of({"load.scale": 1.1, "name": "more"})]
    ['load.scale=1.1', 'name=more']
    """
    return tuple(Setting(key=key, value=value) for key, value in table.items())


def without_files(
    settings: tuple[Setting, ...], periods: Periods, folder: Path
) -> tuple[Setting, ...]:
    """Return the settings with what they read from files in their place.

    A setting then says all there is to it: a variant is the same as long as its settings are.

    Parameters
    ----------
    settings : tuple of Setting
        ``import_price.file`` names a CSV with the header ``period_start,eur_per_mwh``.
    periods : Periods
        Periods of the study.
    folder : Path
        Where relative names begin.

    Raises
    ------
    InputError
        A file that cannot be read or does not hold one price per period.
    """
    problems: list[Problem] = []
    resolved: list[Setting] = []
    for setting in settings:
        if setting.key != PRICE_FILE_KEY:
            resolved.append(setting)
            continue
        path = folder / str(setting.value)
        if not path.is_file():
            problems.append(Problem(where=f"setting {setting}", what=f"{path} is no file"))
            continue
        price = read_price(path, periods, problems)
        resolved.append(Setting(key=PRICE_KEY, value=price.tolist()))
    refuse_if_any(problems)
    return tuple(resolved)
