"""A sweep: variants cleared in parallel, and one table of them all.

The table says nothing about when or how often the sweep ran: killed in the middle and started
again, it has the same bytes as the undisturbed one.
"""

from __future__ import annotations

import fcntl
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Final

from data.canonical import canonical_json, csv_bytes, pretty_json, write_atomically
from data.errors import InputError, Problem
from dso.progress import Progress, SilentProgress
from dso.studies.key_figures import LABELS
from dso.studies.settings import Setting
from dso.studies.sweep_spec import Sweep
from dso.studies.variants import Clearer, Outcome, Variant, run_variants, variant_key

SPEC_FILE: Final = "spec.json"
TABLE_FILE: Final = "sweep.csv"
JSON_FILE: Final = "sweep.json"
PAGE_FILE: Final = "index.html"
LOCK_FILE: Final = ".lock"
VARIANTS: Final = "variants"


def run_sweep(
    sweep: Sweep,
    out: Path,
    *,
    workers: int = 1,
    retry_failed: bool = False,
    progress: Progress | None = None,
    clearer: Clearer | None = None,
) -> tuple[Outcome, ...]:
    """Clear what is missing of a sweep and write its table.

    Parameters
    ----------
    sweep : Sweep
        What to clear.
    out : Path
        Gets ``variants/`` with a folder each, ``sweep.csv``, ``sweep.json`` and ``index.html``.
        Folders of variants that the sweep no longer has are left alone.
    workers : int
        Processes at a time.
    retry_failed : bool
        Run again what failed before.
    progress : Progress or None
        Listens.
    clearer : callable, optional
        Where variants are cleared; by default in processes of this machine.

    Returns
    -------
    tuple of Outcome
        As the sweep's variants.

    Raises
    ------
    InputError
        If another sweep is at work in ``out``.
    """
    from dso.studies.sweep_page import render_sweep

    listener = SilentProgress() if progress is None else progress
    out.mkdir(parents=True, exist_ok=True)
    with _alone(out):
        for name in (TABLE_FILE, JSON_FILE, PAGE_FILE):
            (out / name).unlink(missing_ok=True)
        spec = {"name": sweep.name, "variants": [variant_key(v) for v in sweep.variants]}
        write_atomically(out / SPEC_FILE, pretty_json(spec))
        listener.stage("clear variants", steps=len(sweep.variants))
        outcomes = run_variants(
            sweep.variants,
            out / VARIANTS,
            workers=workers,
            retry_failed=retry_failed,
            finished=lambda outcome: listener.step(f"{outcome.name}: {outcome.status}"),
            clearer=clearer,
        )
        listener.stage("write the table")
        write_atomically(out / PAGE_FILE, render_sweep(sweep, outcomes))
        write_atomically(out / JSON_FILE, _json(sweep, outcomes))
        write_atomically(out / TABLE_FILE, _csv(sweep, outcomes))
        listener.step()
    return outcomes


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Keep a second sweep out of the folder; a sweep that was killed does not."""
    lock = os.open(out / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        remedy = "wait for it, or name another folder with --out"
        problem = Problem(where=str(out), what="another sweep is at work in it", remedy=remedy)
        raise InputError([problem]) from error
    try:
        yield
    finally:
        os.close(lock)


def value_of(variant: Variant, key: str) -> object:
    """Return the value a variant gives to a key, None where it does not; the last one counts."""
    found = [setting.value for setting in variant.settings if setting.key == key]
    return found[-1] if found else None


def cell_text(value: object) -> str:
    """Return a value as a cell of the table."""
    if value is None:
        return ""
    return value if isinstance(value, str) else canonical_json(value).decode()


def _csv(sweep: Sweep, outcomes: Sequence[Outcome]) -> bytes:
    rows = []
    for variant, outcome in zip(sweep.variants, outcomes, strict=True):
        figures = {} if outcome.figures is None else asdict(outcome.figures)
        rows.append(
            [
                variant.name,
                *(cell_text(value_of(variant, key)) for key in sweep.keys),
                outcome.status,
                *(figures.get(name) for name in LABELS),
                outcome.reason,
                f"{VARIANTS}/{outcome.folder}",
            ]
        )
    return csv_bytes(["variant", *sweep.keys, "status", *LABELS, "reason", "folder"], rows)


def _json(sweep: Sweep, outcomes: Sequence[Outcome]) -> bytes:
    return pretty_json(
        {
            "name": sweep.name,
            "keys": sweep.keys,
            "statuses": dict(sorted(Counter(outcome.status for outcome in outcomes).items())),
            "variants": [
                {
                    "name": variant.name,
                    "settings": [_plain(setting) for setting in variant.settings],
                    "base_sha256": variant.study.sha256,
                    "status": outcome.status,
                    "reason": outcome.reason,
                    "figures": outcome.figures,
                    "folder": f"{VARIANTS}/{outcome.folder}",
                }
                for variant, outcome in zip(sweep.variants, outcomes, strict=True)
            ],
        }
    )


def _plain(setting: Setting) -> dict[str, object]:
    return {"key": setting.key, "value": setting.value}
