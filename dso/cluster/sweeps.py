"""Variants of a sweep as jobs of a cluster."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from dso.cluster.driver import Rules, iterate_jobs
from dso.cluster.kinds import variant_job
from dso.cluster.open import Cluster
from dso.cluster.tally import Tally
from dso.studies.variants import Clearer, Variant


def make_clearer(
    cluster: Cluster, rules: Rules, *, listen: Callable[[Tally], None] | None = None
) -> Clearer:
    """Return what `dso.studies.run_variants` takes to clear variants on a cluster.

    Parameters
    ----------
    cluster : Cluster
        From `open_cluster`.
    rules : Rules
        How stubborn it is.
    listen : callable, optional
        Hears how the run stands.
    """

    def clear(variants: Sequence[Variant], out: Path) -> Iterator[tuple[int, str]]:
        if variants:
            cluster.start()  # refused before anything is written here
        jobs = [variant_job(variant, out) for variant in variants]
        for job in jobs:  # asked for: what is there is unreadable, or shall be tried again
            shutil.rmtree(job.folder, ignore_errors=True)
        places = {job.key: place for place, job in enumerate(jobs)}
        for report in iterate_jobs(jobs, cluster, rules=rules, listen=listen):
            yield places[report.key], report.reason

    return clear
