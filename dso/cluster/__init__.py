"""Many feeders at once: clearings, sweeps, forecasts, settlements and days as tasks of a cluster.

A job names its inputs by path and SHA-256, is done by any worker, and leaves one folder under one
name, whole or not at all. Dask distributed moves small records about; the files stay where they
are.
"""

from __future__ import annotations

from dso.cluster.driver import Rules, iterate_jobs, run_jobs
from dso.cluster.jobs import Job, JobReport, Reference
from dso.cluster.open import LOCAL, Cluster, open_cluster
from dso.cluster.tally import Tally

__all__ = [
    "LOCAL",
    "Cluster",
    "Job",
    "JobReport",
    "Reference",
    "Rules",
    "Tally",
    "iterate_jobs",
    "open_cluster",
    "run_jobs",
]
