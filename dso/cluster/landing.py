"""Days that workers ran, landed in the operator's store by the client alone.

Workers write files and the day's own database in a folder of one attempt. The client is the one
writer of the operator's store, so that SQLite serves as well as PostgreSQL, no worker needs a way
to the database or its password, and rows arrive in the order of the jobs whoever was first.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from dso.bootstrap import STORE_FILE
from dso.cluster.jobs import Job, read_report
from dso.store import Store
from dso.store.landing import land_stages


def land_days(jobs: Sequence[Job], store: Store) -> tuple[int, int]:
    """Copy the finished stages of days into a store, each once, whoever asks how often.

    Parameters
    ----------
    jobs : sequence of Job
        Of kind ``day``; those that left no day are passed over.
    store : Store
        The operator's.

    Returns
    -------
    tuple of int
        Stages that were new, and stages that were there.

    Raises
    ------
    StageConflict
        If the store has a stage with another output.
    """
    new = known = 0
    for job in jobs:
        database = Path(job.folder) / STORE_FILE
        if read_report(job) is None or not database.is_file():
            continue
        with closing(Store.open(f"sqlite:///{database}")) as source:
            added, found = land_stages(source, store, folder=Path(job.folder).name)
        new += added
        known += found - added
    return new, known
