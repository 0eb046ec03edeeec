"""One attempt at a job, on a worker: into a folder of its own, then one rename."""

from __future__ import annotations

import dataclasses
import errno
import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

from data.canonical import pretty_json, write_atomically
from data.errors import InputError, UnsupportedComponent
from dso.cluster.jobs import (
    FAILED,
    MARKER,
    REFUSED,
    Job,
    JobReport,
    content_sha256,
    read_report,
)
from dso.cluster.versions import Versions, differences, installed_versions

ATTEMPTS: Final = ".attempts"
_THERE_ALREADY: Final = (errno.ENOTEMPTY, errno.EEXIST)


def run_job(job: Job, expected: Versions | None = None) -> JobReport:
    """Do a job, unless its folder is there, and report what became of it.

    Parameters
    ----------
    job : Job
        What to do.
    expected : Versions, optional
        What the client runs on; a worker that joined later and differs refuses.

    Returns
    -------
    JobReport
        Bad input and faults of the work are results of their own: they would be the same on the
        next worker, so they are not tried again.

    Raises
    ------
    OSError, MemoryError
        What another attempt may not meet.
    """
    if expected is not None and (unlike := differences(expected, installed_versions())):
        return _refused(job, "versions differ: " + "; ".join(unlike))
    done = read_report(job)
    if done is not None:
        return done
    changed = _changed_inputs(job)
    if changed:
        return _refused(job, changed)
    folder = Path(job.folder)
    attempts = folder.parent / ATTEMPTS
    attempts.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=attempts))
    scratch.chmod(0o755)
    held = os.open(scratch, os.O_RDONLY | os.O_DIRECTORY)
    try:
        finished = _perform(job, scratch)
        # Cleared away meanwhile, and made anew by a later file: then earlier files are missing.
        if not os.path.samestat(os.fstat(held), scratch.stat()):
            raise FileNotFoundError(errno.ENOENT, "the attempt was cleared away", str(scratch))
        finished.rename(folder)
    except OSError as error:
        if error.errno not in _THERE_ALREADY:
            raise
        # Another attempt was first: its folder stays, this one goes.
    finally:
        os.close(held)
    shutil.rmtree(scratch, ignore_errors=True)
    report = read_report(job)
    if report is None:
        return _refused(job, f"{folder} holds something else; remove it or name another folder")
    return dataclasses.replace(report, ran=True)


def _perform(job: Job, scratch: Path) -> Path:
    """Do the work inside a scratch folder; return the finished folder, marker and all."""
    from dso.cluster.kinds import KINDS, VARIANT, clear_variant_job

    if job.kind == VARIANT:
        return clear_variant_job(job, scratch)
    place = scratch / "result"
    place.mkdir()
    try:
        status, reason = KINDS[job.kind](job, place)
    except InputError as error:
        status, reason = FAILED, "; ".join(str(problem) for problem in error.problems)
    except UnsupportedComponent as error:
        status, reason = FAILED, f"not modelled: {error}"
    except (OSError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 - one job's trouble is its row, not the end
        status, reason = FAILED, f"{type(error).__name__}: {error}"
    stored = {
        "key": job.key, "kind": job.kind, "name": job.name, "status": status, "reason": reason,
        "inputs": [each.sha256 for each in job.inputs], "parameters": job.parameters,
    }  # fmt: skip
    write_atomically(place / MARKER, pretty_json(stored))
    return place


def _changed_inputs(job: Job) -> str:
    """Return what is wrong with the inputs as this worker sees them, or nothing."""
    said = []
    for each in job.inputs:
        try:
            found = content_sha256(Path(each.path))
        except OSError as error:
            said.append(f"{each.path} cannot be read here: {error.strerror}")
            continue
        if found != each.sha256:
            said.append(f"{each.path} is not what it was when the job was made")
    return "; ".join(said)


def _refused(job: Job, reason: str) -> JobReport:
    return JobReport(
        name=job.name, key=job.key, status=REFUSED, reason=reason, output_sha256="", ran=True
    )
