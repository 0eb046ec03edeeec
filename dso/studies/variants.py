"""Variants of a study, each cleared in a process of its own, each finished whole or not at all.

A variant's folder is its study and its output together, as `dso clear` and `dso show` read them,
and ``variant.json``, written last. A process may be killed at any time: the folder of a variant
appears under its name by one rename. Started again, only what is missing runs.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

from data.canonical import canonical_json, pretty_json, sha256_hex, write_atomically
from data.errors import InputError, UnsupportedComponent
from data.results import write_result
from dso.studies.key_figures import KeyFigures, key_figures
from dso.studies.processes import Worker, run_parallel
from dso.studies.settings import Setting
from dso.studies.study import Study, save_study

VARIANT_FILE: Final = "variant.json"
FORMAT: Final = 1
FAILED: Final = "failed"
NAME_CHARACTERS_MAX: Final = 48
# Clears variants somewhere and yields, as they end, the place of each and what to say of it if it
# left no result.
Clearer = Callable[[Sequence["Variant"], Path], Iterator[tuple[int, str]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A study with some settings, under a name that is unique in its sweep."""

    name: str
    study: Study
    settings: tuple[Setting, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a variant.

    Parameters
    ----------
    folder : str
        Name of its folder.
    status : str
        Status of the clearing, or ``failed``.
    reason : str
        Why it failed, or what the clearing says about itself.
    figures : KeyFigures or None
        None where it failed.
    ran : bool
        Whether it ran just now; not part of any file.
    """

    name: str
    folder: str
    status: str
    reason: str
    figures: KeyFigures | None
    ran: bool


def variant_key(variant: Variant) -> str:
    """Return the SHA-256 of everything that decides a variant's result."""
    return sha256_hex(
        canonical_json(
            {
                "format": FORMAT,
                "name": variant.name,
                "base": variant.study.sha256,
                "order_rules": variant.study.order_rules,
                "settings": [[setting.key, setting.value] for setting in variant.settings],
            }
        )
    )


def folder_name(variant: Variant) -> str:
    """Return a folder name that a person can read and that no other variant has."""
    readable = re.sub(r"[^A-Za-z0-9.=_+-]+", "-", variant.name).strip("-.")[:NAME_CHARACTERS_MAX]
    return f"{readable or 'variant'}-{variant_key(variant)[:8]}"


def read_outcome(variant: Variant, out: Path) -> Outcome | None:
    """Return what became of a variant in an earlier run; None where it is still to do."""
    folder = out / folder_name(variant)
    try:
        stored = json.loads((folder / VARIANT_FILE).read_text(encoding="utf-8"))
        if stored["key"] != variant_key(variant):
            return None
        figures = stored["figures"]
        return Outcome(
            name=variant.name,
            folder=folder.name,
            status=str(stored["status"]),
            reason=str(stored["reason"]),
            figures=None if figures is None else KeyFigures(**figures),
            ran=False,
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def run_variants(
    variants: Sequence[Variant],
    out: Path,
    *,
    workers: int = 1,
    retry_failed: bool = False,
    finished: Callable[[Outcome], None] | None = None,
    clearer: Clearer | None = None,
) -> tuple[Outcome, ...]:
    """Clear the variants that are not cleared yet.

    Parameters
    ----------
    variants : sequence of Variant
        Names are unique.
    out : Path
        Each variant gets a folder in it.
    workers : int
        How many processes at a time.
    retry_failed : bool
        Run again what failed before.
    finished : callable, optional
        Called after each variant, as they end; at once for those of an earlier run.
    clearer : callable, optional
        Where they are cleared; by default in processes of this machine.

    Returns
    -------
    tuple of Outcome
        As ``variants``. One that failed does not stop the others. A process that was killed leaves
        nothing in ``out``: its variant failed now and runs again next time.

    Notes
    -----
    Processes import the program that calls this, as always with `multiprocessing`: call it under
    ``if __name__ == "__main__":``.

    Examples
    --------
    >>> import tempfile
    >>> from dso.studies import new_study, parse_settings
    >>> study = new_study("pandapower:case33bw", periods=1, mtu_minutes=60,
    ...                   import_price_eur_per_mwh=40.0, limits={"line_loading_percent_max": 100})
    >>> half, bad = parse_settings(["load.scale=0.5", "load.scale=-1"])
    >>> variants = [Variant(name="half", study=study, settings=(half,)),
    ...             Variant(name="bad", study=study, settings=(bad,))]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     first = run_variants(variants, Path(folder), workers=2)
    ...     again = run_variants(variants, Path(folder))
    >>> [(outcome.status, outcome.ran) for outcome in (*first, *again)]
    [('certified', True), ('failed', True), ('certified', False), ('failed', False)]
    >>> first[1].reason
    'setting load.scale: is -1 -> state a finite number of at least 0'
    """
    out.mkdir(parents=True, exist_ok=True)
    remove_leftovers(out)
    outcomes: dict[str, Outcome] = {}

    def note(outcome: Outcome) -> None:
        outcomes[outcome.name] = outcome
        if finished is not None:
            finished(outcome)

    missing: list[Variant] = []
    for variant in variants:
        before = read_outcome(variant, out)
        if before is None or (retry_failed and before.status == FAILED):
            missing.append(variant)
        else:
            note(before)
    clear = _in_processes(workers) if clearer is None else clearer
    for place, reason in clear(missing, out):
        variant = missing[place]
        after = read_outcome(variant, out)
        note(_without_result(variant, reason) if after is None else _as_run(after))
    return tuple(outcomes[variant.name] for variant in variants)


def _as_run(outcome: Outcome) -> Outcome:
    values = {field.name: getattr(outcome, field.name) for field in fields(outcome)}
    return Outcome(**{**values, "ran": True})


def _in_processes(workers: int) -> Clearer:
    """Return the clearer that runs some processes at a time."""

    def clear(variants: Sequence[Variant], out: Path) -> Iterator[tuple[int, str]]:
        jobs = [Worker(target=clear_variant, arguments=(variant, out)) for variant in variants]
        for place, exit_code in run_parallel(jobs, workers=workers):
            how = f"by signal {-exit_code}" if exit_code < 0 else f"with code {exit_code}"
            yield place, f"its process ended {how} and left no result"

    return clear


def _without_result(variant: Variant, reason: str) -> Outcome:
    return Outcome(
        name=variant.name,
        folder=folder_name(variant),
        status=FAILED,
        reason=reason,
        figures=None,
        ran=True,
    )


def remove_leftovers(out: Path) -> None:
    """Remove what processes that were killed had begun."""
    for folder in out.glob(".*.partial"):
        shutil.rmtree(folder, ignore_errors=True)


def clear_variant(variant: Variant, out: Path) -> None:
    """Clear one variant and leave its folder in ``out``; what goes wrong is written there too."""
    from opf.clearing import clear_case

    name = folder_name(variant)
    partial = out / f".{name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    stored: dict[str, object] = {
        "key": variant_key(variant),
        "name": variant.name,
        "base_sha256": variant.study.sha256,
        "settings": [[setting.key, setting.value] for setting in variant.settings],
    }
    try:
        study = variant.study.with_settings(variant.settings)
        save_study(study, partial)
        result = clear_case(study.case)
        write_result(result, study.case, partial)
        figures = key_figures(study.case, result)
        stored |= {"status": result.status, "reason": result.message, "figures": figures}
    except InputError as error:
        reason = "; ".join(str(problem) for problem in error.problems)
        stored |= {"status": FAILED, "reason": reason, "figures": None}
    except UnsupportedComponent as error:
        stored |= {"status": FAILED, "reason": f"not modelled: {error}", "figures": None}
    except Exception as error:  # noqa: BLE001 - one variant's trouble is a row, not the end
        reason = f"{type(error).__name__}: {error}"
        stored |= {"status": FAILED, "reason": reason, "figures": None}
    write_atomically(partial / VARIANT_FILE, pretty_json(stored))
    shutil.rmtree(out / name, ignore_errors=True)
    partial.replace(out / name)
