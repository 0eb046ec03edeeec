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
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from data.canonical import UNFINISHED, canonical_json, sha256_hex
from data.errors import InputError, Problem, refuse_if_any
from data.records.posting import Batch
from dso.bootstrap import Services
from dso.cycles.plan import DayPlan
from dso.cycles.positions import Positions
from dso.cycles.result_rows import stage_rows
from dso.progress import Progress
from dso.store import Artefact, Connection, StageConflict, StageKey
from ledger_adapter.outbox import enqueue_batch

PARTIAL: Final = ".partial"
HELD: Final = ".held"
LOCK: Final = ".lock"
NOT_HASHED: Final = frozenset({"timings.json"})
Work = Callable[[Path], Batch | None]
Approve = Callable[[str], bool]
Keep = Callable[[Connection], None]


class NeedsRelease(Exception):
    """A result waits for signatures; ``output_sha256`` is what has to be signed."""

    def __init__(self, key: StageKey, output_sha256: str) -> None:
        self.output_sha256 = output_sha256
        super().__init__(f"{key}: output {output_sha256} waits for its release")


def approve_all(_output_sha256: str) -> bool:
    """Let every result bind at once."""
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """Where a day is run: the plan, what it writes to, who listens, and who must approve.

    ``approve`` is asked with the digest of a clearing before it is published; where it says no,
    `NeedsRelease` is raised and nothing has changed but the folder ``.held``.
    ``out_of_time`` ends a clearing when it says so; None: it may take as long as it takes.
    """

    plan: DayPlan
    services: Services
    progress: Progress
    approve: Approve = approve_all
    out_of_time: Callable[[], bool] | None = None
    positions: Positions = field(default_factory=Positions)

    @property
    def out(self) -> Path:
        """The day folder."""
        return self.plan.out

    def run_stage(
        self,
        kind: str,
        inputs: Mapping[str, str],
        work: Work,
        *,
        start: datetime | None = None,
        binds: bool = False,
        revision: int = 0,
        keep: Keep | None = None,
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
        binds : bool
            Whether the result binds people, so that ``approve`` is asked.
        revision : int
            0, and one more for each new run on later input.
        keep : callable, optional
            Keeps what others may read of the published files, in the transaction of the result.

        Raises
        ------
        NeedsRelease
            If the result is not approved.
        InputError
            If the stage was done on other input or a file it left is not as it left it.
        """
        key = self._key(kind, start, revision)
        wanted = sha256_hex(canonical_json({"plan": self.plan.sha256(), **inputs}))
        try:
            begun = self.services.store.begin_stage(key, input_sha256=wanted)
        except StageConflict as error:
            remedy = "name another folder with --out (and another --store)"
            raise InputError([Problem(where="store", what=str(error), remedy=remedy)]) from error
        if begun.output_sha256 is not None:
            self._refuse_changed(key)
            return begun.output_sha256
        partial = self._clean_folder(begun.attempt)
        batch = work(partial)
        artefacts = list_artefacts(partial)
        done = sha256_hex(canonical_json({each.name: each.sha256 for each in artefacts}))
        held = self.out / HELD / f"{kind}-{key.first_period.strftime('%Y%m%dT%H%MZ')}"
        if binds and not self.approve(done):
            shutil.rmtree(held, ignore_errors=True)
            held.parent.mkdir(exist_ok=True)
            partial.rename(held)
            raise NeedsRelease(key, done)
        rows = stage_rows(self.plan, kind, start, partial)
        publish(partial, self.out)
        store = self.services.store
        with store.transaction() as connection:
            store.finish_stage(key, done, artefacts=artefacts, rows=rows, connection=connection)
            if batch is not None:
                enqueue_batch(connection, batch)
            if keep is not None:
                keep(connection)
        shutil.rmtree(held, ignore_errors=True)  # it has been decided on
        return done

    def is_done(self, kind: str, start: datetime | None = None, *, revision: int = 0) -> bool:
        """Tell whether a stage was finished by an earlier run."""
        return self.services.store.stage_done(self._key(kind, start, revision)) is not None

    def output_of(self, kind: str, start: datetime | None = None, *, revision: int = 0) -> str:
        """Return the digest of a stage that was finished before.

        Raises
        ------
        InputError
            If it was not.
        """
        key = self._key(kind, start, revision)
        done = self.services.store.stage_done(key)
        if done is None:
            what, remedy = "has not been run yet", "run the cycles of a day in their order"
            raise InputError([Problem(where=str(key), what=what, remedy=remedy)])
        return done

    def _clean_folder(self, attempt: int) -> Path:
        """Return an empty folder of this attempt's own, and clear away those of attempts before.

        Whoever still writes to one has lost its lease: it fails, and nothing of it is published.
        """
        shutil.rmtree(self.out / PARTIAL, ignore_errors=True)
        partial = self.out / PARTIAL / f"{attempt}-{os.getpid()}"
        partial.mkdir(parents=True)
        return partial

    def _key(self, kind: str, start: datetime | None, revision: int) -> StageKey:
        return StageKey(
            market=self.plan.rules.id,
            feeder=self.plan.feeder.id,
            kind=kind,
            first_period=start or self.plan.periods.start,
            revision=revision,
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
    with _locked(out, fcntl.LOCK_EX):
        for left in out.glob(f".*{UNFINISHED}"):  # by a process killed while it wrote the file
            left.unlink()
        yield


@contextmanager
def working_among_others(out: Path) -> Iterator[None]:
    """Hold the day folder together with other workers, who lease what they do, against a lone run.

    Raises
    ------
    InputError
        If a process works alone in the folder.
    """
    with _locked(out, fcntl.LOCK_SH):
        yield


@contextmanager
def _locked(out: Path, kind: int) -> Iterator[None]:
    out.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(out / LOCK, os.O_CREAT | os.O_RDWR, 0o644)
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        remedy = "wait until it has ended, or name another folder with --out"
        what = "another run is at work in this folder"
        raise InputError([Problem(where=str(out), what=what, remedy=remedy)]) from error
    finally:
        os.close(descriptor)


def list_artefacts(folder: Path) -> tuple[Artefact, ...]:
    """Return name, digest and size of every file below a folder; timings are not listed."""
    return tuple(
        Artefact(
            name=path.relative_to(folder).as_posix(),
            sha256=_digest(path),
            byte_count=path.stat().st_size,
        )
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in NOT_HASHED
    )


def publish(partial: Path, target: Path) -> None:
    """Move every file of a finished stage to its place."""
    for path in sorted(path for path in partial.rglob("*") if path.is_file()):
        place = target / path.relative_to(partial)
        place.parent.mkdir(parents=True, exist_ok=True)
        path.replace(place)
    shutil.rmtree(partial.parent)


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
