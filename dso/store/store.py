"""Opening the store and keeping stages in it; every call is one transaction."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from sqlite3 import SQLITE_BUSY
from sqlite3 import Error as SqliteError
from typing import Final

from sqlalchemy import Connection, Engine, Row, create_engine, delete, event, insert, select, update
from sqlalchemy.engine import make_url
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor
from sqlalchemy.exc import IntegrityError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from data.errors import InputError, Problem
from data.periods import format_utc
from dso.clock import Clock, Stopwatch, SystemClock
from dso.store.migrations import upgrade
from dso.store.records import Artefact, StageConflict, StageKey, StageRun
from dso.store.results import Rows, add_results
from dso.store.tables import ARTEFACT, CYCLE_RUN

# Longer than any transaction here; a second process waits for the writer instead of failing.
SQLITE_BUSY_TIMEOUT_MS = 30_000
# What calls raise while a database is stopped; the same call works once it is back.
DATABASE_GONE: Final = (OperationalError, InterfaceError)


def make_engine(url: str) -> Engine:
    """Make an engine; on SQLite write-ahead log, synchronous FULL, one writer at a time.

    Parameters
    ----------
    url : str
        SQLAlchemy URL, e.g. ``sqlite:///out/day/store.sqlite`` or
        ``postgresql+psycopg://user@host/name``. A folder missing for SQLite is made.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return create_engine(parsed, pool_pre_ping=True)
    if parsed.database and parsed.database != ":memory:":
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(parsed)
    event.listen(engine, "connect", _set_up_sqlite)
    event.listen(engine, "begin", _begin_immediately)
    return engine


def _set_up_sqlite(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    # The driver's own BEGIN comes too late (before the first write) and not before DDL; with None
    # it stays out and `_begin_immediately` says when.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {SQLITE_BUSY_TIMEOUT_MS}")
    _switch_to_write_ahead(cursor)
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _switch_to_write_ahead(cursor: DBAPICursor) -> None:
    # SQLite does not apply its busy timeout to this switch when another process makes it on the
    # same new file, so we wait ourselves.
    watch = Stopwatch.start()
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
            return
        except SqliteError as error:
            locked = error.sqlite_errorcode == SQLITE_BUSY
            if not locked or watch.elapsed_s() * 1000 > SQLITE_BUSY_TIMEOUT_MS:
                raise
            time.sleep(0.01)


def _begin_immediately(connection: Connection) -> None:
    # Taking the writer's lock at once means that no transaction fails half-way to another's write.
    connection.exec_driver_sql("BEGIN IMMEDIATE")


class Store:
    """Stages of cycles by idempotency key, durable when a call returns.

    Open it with `Store.open`. It survives a kill at any point: a stage is either unknown, running
    (begun and not finished, to be run again) or done.

    Parameters
    ----------
    engine : Engine
        From `make_engine`; others, such as the ledger, may share it.
    clock : Clock
        Tells when stages began and ended, for people; nothing hashed holds it.
    """

    def __init__(self, engine: Engine, *, clock: Clock) -> None:
        self.engine = engine
        self._clock = clock

    @classmethod
    def open(cls, url: str, *, clock: Clock | None = None) -> Store:
        """Open the database and bring its tables to the newest version.

        Raises
        ------
        InputError
            If the URL cannot be read, its driver is not installed or the database does not answer.
        """
        try:
            store = cls(make_engine(url), clock=clock or SystemClock())
            with store.transaction() as connection:
                upgrade(connection)
        except (SQLAlchemyError, ModuleNotFoundError) as error:
            said = str(error).partition("\n")[0]
            remedy = "e.g. sqlite:///out/day/store.sqlite, postgresql+psycopg://user@host/name"
            problem = Problem(where="store", what=f"cannot be opened: {said}", remedy=remedy)
            raise InputError([problem]) from error
        return store

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Give a connection whose work is kept when the block ends well, else undone."""
        with self.engine.begin() as connection:
            yield connection

    def close(self) -> None:
        """Give back all connections."""
        self.engine.dispose()

    def begin_stage(self, key: StageKey, *, input_sha256: str) -> StageRun:
        """Begin a stage, or learn that it is done.

        Parameters
        ----------
        key : StageKey
            What is about to run.
        input_sha256 : str
            Digest of everything it reads.

        Returns
        -------
        StageRun
            ``done`` with its output's digest when it was finished before: do not run it again.
            Otherwise ``running``.

        Raises
        ------
        StageConflict
            If the stage is done on other input: run it under a new revision. A stage that died may
            begin again on other input, for it left nothing.
        """
        with self.transaction() as connection:
            found = self._find(connection, key, lock=True)
            if found is None:
                found = self._insert(connection, key, input_sha256)
                if found is not None:
                    return _to_run(key, found)
                # Another process began it between our look and our insert.
                found = self._find(connection, key, lock=True)
                if found is None:
                    raise StageConflict(f"{key}: begun and withdrawn by another process; run again")
            if found.state == "done":
                if found.input_sha256 != input_sha256:
                    raise StageConflict(
                        f"{key}: done on input {found.input_sha256}, asked for {input_sha256}; "
                        "use a new revision or a new output folder"
                    )
                return _to_run(key, found)
            row = connection.execute(
                update(CYCLE_RUN)
                .where(CYCLE_RUN.c.id == found.id)
                .values(
                    attempt=found.attempt + 1, input_sha256=input_sha256, begun_at=self._instant()
                )
                .returning(CYCLE_RUN)
            ).one()
            return _to_run(key, row)

    def finish_stage(
        self,
        key: StageKey,
        output_sha256: str,
        *,
        artefacts: Iterable[Artefact] = (),
        rows: Mapping[str, Rows] | None = None,
        connection: Connection | None = None,
    ) -> StageRun:
        """Keep that a stage is done; saying the same twice is no error.

        Parameters
        ----------
        key : StageKey
            A stage that was begun.
        output_sha256 : str
            Digest of everything it made.
        artefacts : iterable of Artefact
            The files it left.
        rows : mapping or None
            Its results by table; see `dso.store.results.add_results`.
        connection : Connection or None
            A transaction of `transaction` to do it in, so that the result and what announces it
            are kept together or not at all.

        Raises
        ------
        StageConflict
            If it was never begun, or is done with another output.
        """
        if connection is None:
            with self.transaction() as own:
                return self.finish_stage(
                    key, output_sha256, artefacts=artefacts, rows=rows, connection=own
                )
        found = self._find(connection, key, lock=True)
        if found is None:
            raise StageConflict(f"{key}: finished but never begun")
        if found.state == "done":
            if found.output_sha256 != output_sha256:
                raise StageConflict(
                    f"{key}: done with output {found.output_sha256}, now {output_sha256}; "
                    "the same input must give the same bytes"
                )
            return _to_run(key, found)
        row = connection.execute(
            update(CYCLE_RUN)
            .where(CYCLE_RUN.c.id == found.id)
            .values(state="done", output_sha256=output_sha256, finished_at=self._instant())
            .returning(CYCLE_RUN)
        ).one()
        connection.execute(delete(ARTEFACT).where(ARTEFACT.c.run_id == found.id))
        files = [
            {"run_id": found.id, "name": a.name, "sha256": a.sha256, "byte_count": a.byte_count}
            for a in artefacts
        ]
        if files:
            connection.execute(insert(ARTEFACT), files)
        add_results(connection, key, rows or {})
        return _to_run(key, row)

    def stage_done(self, key: StageKey) -> str | None:
        """Return the output's digest of a stage that is done, else None."""
        with self.transaction() as connection:
            found = self._find(connection, key)
        return None if found is None else found.output_sha256

    def artefacts(self, key: StageKey) -> tuple[Artefact, ...]:
        """Return the files that a stage left, by name; none while it is not done."""
        with self.transaction() as connection:
            found = self._find(connection, key)
            if found is None:
                return ()
            rows = connection.execute(
                select(ARTEFACT).where(ARTEFACT.c.run_id == found.id).order_by(ARTEFACT.c.name)
            ).all()
        return tuple(
            Artefact(name=row.name, sha256=row.sha256, byte_count=row.byte_count) for row in rows
        )

    def _instant(self) -> str:
        return format_utc(self._clock.now())

    def _find(
        self, connection: Connection, key: StageKey, *, lock: bool = False
    ) -> Row[tuple[object, ...]] | None:
        table = CYCLE_RUN.c
        query = select(CYCLE_RUN).where(
            table.market == key.market,
            table.feeder == key.feeder,
            table.kind == key.kind,
            table.first_period == format_utc(key.first_period),
            table.revision == key.revision,
        )
        return connection.execute(query.with_for_update() if lock else query).one_or_none()

    def _insert(
        self, connection: Connection, key: StageKey, input_sha256: str
    ) -> Row[tuple[object, ...]] | None:
        values = {
            "market": key.market,
            "feeder": key.feeder,
            "kind": key.kind,
            "first_period": format_utc(key.first_period),
            "revision": key.revision,
            "state": "running",
            "attempt": 1,
            "input_sha256": input_sha256,
            "begun_at": self._instant(),
        }
        try:
            with connection.begin_nested():
                return connection.execute(
                    insert(CYCLE_RUN).values(values).returning(CYCLE_RUN)
                ).one()
        except IntegrityError:
            return None


def _to_run(key: StageKey, row: Row[tuple[object, ...]]) -> StageRun:
    return StageRun(
        key=key,
        state=row.state,
        attempt=row.attempt,
        input_sha256=row.input_sha256,
        output_sha256=row.output_sha256,
    )
