"""A job of the cluster: what it reads, by reference, and the one folder it leaves.

The folder is named by the content of the job, so that two attempts, two clients or two days of work
on the same job leave one result. Its marker file is written last and the folder gets its name by
one rename.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from data.canonical import canonical_json, sha256_hex

FORMAT: Final = 1
MARKER: Final = "job.json"
FAILED: Final = "failed"
REFUSED: Final = "refused"
POISONED: Final = "poisoned"
# Seconds, and the database of a day, which knows when its stages ran.
NOT_HASHED: Final = frozenset({"timings.json", "store.sqlite"})
NAME_CHARACTERS_MAX: Final = 48


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A file or folder that a job reads: absolute path, and the SHA-256 it must have there."""

    path: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One piece of work that any worker can do.

    Parameters
    ----------
    kind : str
        Which work, as in `dso.cluster.kinds.KINDS`.
    name : str
        For people; unique in a run.
    key : str
        SHA-256 of all that decides the result.
    folder : str
        Absolute path of the folder it leaves.
    inputs : tuple of Reference
        What it reads.
    parameters : mapping
        The rest, as plain JSON; small, because it travels.
    marker : str
        The file of the folder that is written last and holds the key.
    """

    kind: str
    name: str
    key: str
    folder: str
    inputs: tuple[Reference, ...] = ()
    parameters: Mapping[str, object]
    marker: str = MARKER


@dataclass(frozen=True, slots=True, kw_only=True)
class JobReport:
    """What became of a job: all that travels back.

    Parameters
    ----------
    status : str
        What the result says of itself, or ``failed``. Where no folder was left: ``refused``, or
        ``poisoned`` where each attempt lost its worker.
    reason : str
        Why, where there is something to say.
    output_sha256 : str
        Over names and digests of the files of the folder; timings are not in it.
    ran : bool
        Whether it ran now; False where its folder was there.
    """

    name: str
    key: str
    status: str
    reason: str
    output_sha256: str
    ran: bool


def make_job(
    *,
    kind: str,
    name: str,
    out: Path,
    inputs: Sequence[Reference] = (),
    parameters: Mapping[str, object] | None = None,
) -> Job:
    """Return a job whose key and folder follow from its content.

    Parameters
    ----------
    kind, name, inputs, parameters
        As in `Job`.
    out : Path
        Folder in which the job's own folder will be.

    Examples
    --------
    >>> job = make_job(kind="clear", name="feeder 7", out=Path("/out"))
    >>> job.folder == f"/out/feeder-7-{job.key[:8]}"
    True
    """
    plain = {} if parameters is None else dict(parameters)
    key = sha256_hex(
        canonical_json(
            {
                "format": FORMAT,
                "kind": kind,
                "name": name,
                "inputs": [each.sha256 for each in inputs],
                "parameters": plain,
            }
        )
    )
    folder = out.resolve() / f"{readable_name(name)}-{key[:8]}"
    return Job(
        kind=kind, name=name, key=key, folder=str(folder), inputs=tuple(inputs), parameters=plain
    )


def readable_name(name: str) -> str:
    """Return a name as a folder can have it."""
    text = re.sub(r"[^A-Za-z0-9.=_+-]+", "-", name).strip("-.")[:NAME_CHARACTERS_MAX]
    return text or "job"


def reference(path: Path) -> Reference:
    """Return the reference of a file or folder as it is now.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    place = path.resolve()
    return Reference(path=str(place), sha256=content_sha256(place))


def content_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, or of names and digests of a folder's files.

    Hidden entries of a folder, timings and databases are left out.
    """
    if path.is_dir():
        return sha256_hex(canonical_json(folder_digests(path)))
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def folder_digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file below a folder by its relative path."""
    found = {}
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        hidden = any(part.startswith(".") for part in parts)
        if not hidden and path.name not in NOT_HASHED and path.is_file():
            found["/".join(parts)] = content_sha256(path)
    return found


def read_report(job: Job) -> JobReport | None:
    """Return what an earlier attempt left of a job; None where it is still to do."""
    folder = Path(job.folder)
    try:
        stored = json.loads((folder / job.marker).read_text(encoding="utf-8"))
        if stored["key"] != job.key:
            return None
        return JobReport(
            name=job.name,
            key=job.key,
            status=str(stored["status"]),
            reason=str(stored["reason"]),
            output_sha256=content_sha256(folder),
            ran=False,
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
