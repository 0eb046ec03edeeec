"""A sweep as TOML: a base study, and a grid or a list of variants of it."""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from data.canonical import canonical_json
from data.errors import InputError, Problem, refuse_if_any
from data.study.settings import FieldReader
from dso.studies.new import template
from dso.studies.settings import Setting, settings_of, without_files
from dso.studies.study import Study, load_study
from dso.studies.variants import Variant

VARIANTS_MAX: Final = 10_000
VALUE_CHARACTERS_MAX: Final = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """What to clear.

    Parameters
    ----------
    name : str
        Name of the sweep.
    variants : tuple of Variant
        With unique names.
    keys : tuple of str
        The keys in which variants differ, in the sequence of the file.
    """

    name: str
    variants: tuple[Variant, ...]
    keys: tuple[str, ...]


def read_sweep(path: Path) -> Sweep:
    """Read a sweep.

    Parameters
    ----------
    path : Path
        TOML: ``base`` (a study folder, relative to the file) or ``template``; optional ``name``
        and ``[settings]`` for every variant; ``[grid]``, each key with a list of values, all
        combined; ``[[variant]]`` with ``name``, ``[variant.settings]`` and optional ``base``.

    Raises
    ------
    InputError
        Everything wrong with the file and its base studies. What is wrong with a single variant is
        that variant's own failure.
    """
    problems: list[Problem] = []
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        problem = Problem(where=str(path), what=f"cannot be read: {reason}")
        raise InputError([problem]) from error
    reader = FieldReader(path.name, content, problems)
    name = reader.text("name", path.stem)
    bases = _Bases(path.parent, problems)
    base = bases.study(reader, reader.text("base", ""), reader.text("template", ""))
    common = _settings(reader, "settings", problems)
    grid = _read_grid(reader, problems)
    listed = reader.take("variant")
    reader.close()
    variants = [] if base is None else _grid_variants(base, common, grid)
    keys = dict.fromkeys(grid)
    if listed is not None and not isinstance(listed, list):
        problems.append(Problem(where=path.name, what="variant is not a list of [[variant]]"))
        listed = []
    for number, fields in enumerate(listed or [], start=1):
        own = FieldReader(f"{path.name} [[variant]] {number}", fields, problems)
        title = own.text("name")
        other = own.text("base", "")
        study = bases.study(own, other, "") if other else base
        settings = _settings(own, "settings", problems)
        own.close()
        keys |= dict.fromkeys(setting.key for setting in settings)
        if study is not None:
            variants.append(Variant(name=title, study=study, settings=(*common, *settings)))
    if not problems:
        problems.extend(_whole(path.name, variants))
    refuse_if_any(problems)
    return Sweep(
        name=name,
        variants=tuple(_resolved(variant, path.parent) for variant in variants),
        keys=tuple(keys),
    )


class _Bases:
    """Reads each base study once."""

    def __init__(self, folder: Path, problems: list[Problem]) -> None:
        self.folder, self.problems = folder, problems
        self.known: dict[tuple[str, str], Study | None] = {}

    def study(self, reader: FieldReader, base: str, template_name: str) -> Study | None:
        """Return the study of a folder or template; report what is wrong with it once."""
        if bool(base) == bool(template_name):
            reader.report("states not exactly one of base and template", 'e.g. base = "my-study"')
            return None
        key = (base, template_name)
        if key not in self.known:
            try:
                self.known[key] = (
                    load_study(self.folder / base) if base else template(template_name).study()
                )
            except InputError as error:
                self.problems.extend(error.problems)
                self.known[key] = None
        return self.known[key]


def _settings(reader: FieldReader, name: str, problems: list[Problem]) -> tuple[Setting, ...]:
    table = reader.take(name)
    if table is None:
        return ()
    if not isinstance(table, Mapping):
        problems.append(Problem(where=reader.where, what=f"{name} is not a table"))
        return ()
    return settings_of(table)


def _read_grid(reader: FieldReader, problems: list[Problem]) -> dict[str, list[object]]:
    table = reader.take("grid")
    grid: dict[str, list[object]] = {}
    if table is None:
        return grid
    for key, values in table.items() if isinstance(table, Mapping) else ():
        if isinstance(values, list) and values:
            grid[key] = values
        else:
            remedy = f'e.g. "{key}" = [0.9, 1.0, 1.1]'
            where = f"{reader.where} [grid]"
            problems.append(Problem(where=where, what=f"{key} is no list of values", remedy=remedy))
    if not grid:
        problems.append(Problem(where=f"{reader.where} [grid]", what="states no values"))
    return grid


def _value_text(value: object, place: int) -> str:
    text = value if isinstance(value, str) else canonical_json(value).decode()
    return text if len(text) <= VALUE_CHARACTERS_MAX else f"#{place + 1}"


def _grid_variants(
    base: Study, common: Sequence[Setting], grid: Mapping[str, Sequence[object]]
) -> list[Variant]:
    """Combine all values of all keys, the last key running fastest."""
    if not grid:
        return []
    axes = [
        [(Setting(key=key, value=value), f"{key}={_value_text(value, k)}") for k, value in
         enumerate(values)]
        for key, values in grid.items()
    ]  # fmt: skip
    return [
        Variant(
            name=" ".join(text for _, text in chosen),
            study=base,
            settings=(*common, *(setting for setting, _ in chosen)),
        )
        for chosen in itertools.islice(itertools.product(*axes), VARIANTS_MAX + 1)
    ]


def _whole(where: str, variants: Sequence[Variant]) -> list[Problem]:
    """Report a sweep without variants, with too many, or with two of one name."""
    if not variants:
        remedy = "state [grid] or [[variant]]"
        return [Problem(where=where, what="states no variants", remedy=remedy)]
    if len(variants) > VARIANTS_MAX:
        return [Problem(where=where, what=f"states more than {VARIANTS_MAX} variants")]
    counts: dict[str, int] = {}
    for variant in variants:
        counts[variant.name] = counts.get(variant.name, 0) + 1
    return [
        Problem(where=where, what=f"{count} variants are named {name!r}", remedy="rename them")
        for name, count in counts.items()
        if count > 1
    ]


def _resolved(variant: Variant, folder: Path) -> Variant:
    """Return the variant with what its settings read from files in their place."""
    settings = without_files(variant.settings, variant.study.case.periods, folder)
    return Variant(name=variant.name, study=variant.study, settings=settings)
