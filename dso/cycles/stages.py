"""Run a stage once: its files appear whole, and only then the store calls it done.

A stage writes into a folder of its own inside the day folder. When it ends well its files are moved
to their places and the store keeps name, digest and size of each, in one transaction with the batch
that announces the result. A start after a kill finds a stage done (its files are checked against
the store) or runs it again from the beginning: the same input gives the same bytes.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from data.canonical import canonical_json, sha256_hex
from data.errors import InputError, Problem, refuse_if_any
from data.records.posting import Batch
from dso.bootstrap import Services
from dso.cycles.plan import DayPlan
from dso.progress import Progress
from dso.store import Artefact, StageConflict, StageKey
from ledger_adapter.outbox import enqueue_batch

PARTIAL: Final = ".partial"
LOCK: Final = ".lock"
NOT_HASHED: Final = frozenset({"timings.json"})
Work = Callable[[Path], Batch | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """Where a day is run: the plan, what it writes to, and who listens."""

    plan: DayPlan
    services: Services
    progress: Progress

    @property
    def out(self) -> Path:
        """The day folder."""
        return self.plan.out

    def run_stage(
        self, kind: str, inputs: Mapping[str, str], work: Work, *, start: datetime | None = None
    ) -> str:
        """Run a stage unless it is done, and return the digest of its files.

        Parameters
        ----------
        kind : str
            Stage, as in `StageKey`.
        inputs : mapping
            Digests of what it reads, by name; the plan's own is added.
        work : callable
            Writes into the folder it is given, names as in the day folder; returns the batch to
            post, or None.
        start : datetime, optional
            Start of its first period; the day's by default.

        Raises
        ------
        InputError
            If the stage was done on other input or a file it left is not as it left it.
        """
        key = self._key(kind, start)
        wanted = sha256_hex(canonical_json({"plan": self.plan.sha256(), **inputs}))
        try:
            begun = self.services.store.begin_stage(key, input_sha256=wanted)
        except StageConflict as error:
            remedy = "name another folder with --out (and another --store)"
            raise InputError([Problem(where="store", what=str(error), remedy=remedy)]) from error
        if begun.output_sha256 is not None:
            self._refuse_changed(key)
            return begun.output_sha256
        partial = self.out / PARTIAL
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        batch = work(partial)
        artefacts = publish(partial, self.out)
        done = sha256_hex(canonical_json({each.name: each.sha256 for each in artefacts}))
        store = self.services.store
        with store.transaction() as connection:
            store.finish_stage(key, done, artefacts=artefacts, connection=connection)
            if batch is not None:
                enqueue_batch(connection, batch)
        return done

    def is_done(self, kind: str) -> bool:
        """Tell whether a stage was finished by an earlier run."""
        return self.services.store.stage_done(self._key(kind)) is not None

    def _key(self, kind: str, start: datetime | None = None) -> StageKey:
        return StageKey(
            market=self.plan.rules.id,
            feeder=self.plan.feeder.id,
            kind=kind,
            first_period=start or self.plan.periods.start,
        )

    def _refuse_changed(self, key: StageKey) -> None:
        """Refuse to build on files that are not those of the stage."""
        remedy = "restore it, or run the day into a new folder (and a new --store)"
        problems = []
        for artefact in self.services.store.artefacts(key):
            path = self.out / artefact.name
            if not path.is_file():
                problems.append(Problem(where=artefact.name, what="is missing", remedy=remedy))
            elif _digest(path) != artefact.sha256:
                what = "is not as its stage left it"
                problems.append(Problem(where=artefact.name, what=what, remedy=remedy))
        refuse_if_any(problems)


@contextmanager
def working_alone(out: Path) -> Iterator[None]:
    """Hold the day folder for one process; the hold ends with the process, however it ends.

    Raises
    ------
    InputError
        If another process is at work in the folder.
    """
    out.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(out / LOCK, os.O_CREAT | os.O_RDWR, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        remedy = "wait until it has ended, or name another folder with --out"
        what = "another run is at work in this folder"
        raise InputError([Problem(where=str(out), what=what, remedy=remedy)]) from error
    finally:
        os.close(descriptor)


def publish(partial: Path, target: Path) -> tuple[Artefact, ...]:
    """Move every file of a finished stage to its place; timings are moved and not listed."""
    artefacts = []
    for path in sorted(path for path in partial.rglob("*") if path.is_file()):
        name = path.relative_to(partial).as_posix()
        if path.name not in NOT_HASHED:
            artefacts.append(
                Artefact(name=name, sha256=_digest(path), byte_count=path.stat().st_size)
            )
        place = target / name
        place.parent.mkdir(parents=True, exist_ok=True)
        path.replace(place)
    shutil.rmtree(partial)
    return tuple(artefacts)


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
