"""The batches of a day: what one clearing and one settlement write down.

The first leaf of a batch is its header (roots of inputs and outputs, digest of the certificate);
the leaves after it commit to the trades or statements, one each.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from data.canonical import sha256_hex
from data.errors import InputError, Problem, refuse_if_any
from data.records.posting import Batch
from ledger_adapter.commitment import RunFields, batch_key, commit_records, jcs
from ledger_adapter.keys import SubjectKeys
from ledger_adapter.verify.canonical import Malformed
from ledger_adapter.verify.merkle import root_hash
from ledger_adapter.verify.opening import (
    LEAF_FORMAT,
    RECORD_KINDS,
    digest_of_files,
    key_of_run,
    read_rows,
)

NOT_HASHED: Final = frozenset({"timings.json"})
"""Names that hold times and stand in no root and no bundle (market contract)."""


def folder_files(folder: Path) -> dict[str, str]:
    """SHA-256 in hex of every file below a folder, by relative name; timings stay out.

    Raises
    ------
    InputError
        If the folder does not exist, holds no file or holds something that is not a file.
    """
    if not folder.is_dir():
        raise InputError([Problem(where=str(folder), what="is not a folder")])
    found: dict[str, str] = {}
    odd: list[Problem] = []
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            odd.append(Problem(where=str(path), what="is not an ordinary file"))
        elif path.is_file() and path.name not in NOT_HASHED:
            found[path.relative_to(folder).as_posix()] = sha256_hex(path.read_bytes())
    if not found and not odd:
        odd.append(Problem(where=str(folder), what="holds no file"))
    refuse_if_any(odd)
    return found


def folder_root(folder: Path) -> str:
    """Root of a folder in hex: SHA-256 over JCS of {relative name: SHA-256 of the file}."""
    return digest_of_files(folder_files(folder))


def files_root(files: Mapping[str, Path]) -> str:
    """Root in hex of named files: that of a folder which holds these files and no other."""
    return digest_of_files({name: sha256_hex(path.read_bytes()) for name, path in files.items()})


def read_records(kind: str, table: Path) -> list[dict[str, str]]:
    """Read ``trades.csv`` (kind ``trade``) or ``lines.csv`` (kind ``statement``) as text rows.

    Raises
    ------
    InputError
        If the table cannot be read or lacks a column.
    """
    try:
        return read_rows(table.read_bytes(), RECORD_KINDS[kind].columns)
    except (Malformed, OSError) as error:
        raise InputError([Problem(where=str(table), what=str(error))]) from error


def batch_for_clearing(
    key_fields: RunFields,
    *,
    input_root: str,
    output_root: str,
    certificate_sha256: str,
    status: str,
    trades: Iterable[Mapping[str, str | int]],
    subjects: SubjectKeys,
) -> Batch:
    """Batch of one clearing.

    Parameters
    ----------
    key_fields : mapping
        What names the run: market, interval, run, revision. The kind is added here.
    input_root, output_root : str
        `folder_root` of the study folder and of the output folder.
    certificate_sha256 : str
        SHA-256 in hex of the file that holds the certificate.
    status : str
        Status of the clearing, e.g. ``certified``.
    trades : iterable of mapping
        Rows of ``trades.csv``, text or integers; they are committed to, never written.
    subjects : SubjectKeys
        Keys of the participants.

    Raises
    ------
    InputError
        With every digest or row that is wrong.
    SubjectErased
        If a participant was erased.
    """
    header: dict[str, object] = {
        "input_root": input_root,
        "output_root": output_root,
        "certificate_sha256": certificate_sha256,
        "status": status,
    }
    return commit_batch({**key_fields, "kind": "clearing"}, header, "trade", trades, subjects)


def batch_for_settlement(
    key_fields: RunFields,
    *,
    input_root: str,
    output_root: str,
    lines: Iterable[Mapping[str, str | int]],
    subjects: SubjectKeys,
) -> Batch:
    """Batch of one settlement revision; one commitment per participant's statement.

    Parameters
    ----------
    key_fields : mapping
        What names the run: market, interval, run, revision. The kind is added here.
    input_root, output_root : str
        `folder_root` of the settlement folder and of its output.
    lines : iterable of mapping
        Rows of ``lines.csv``, text or integers, in the order of the file.
    subjects : SubjectKeys
        Keys of the participants.

    Raises
    ------
    InputError
        With every digest or row that is wrong.
    SubjectErased
        If a participant was erased.
    """
    header: dict[str, object] = {"input_root": input_root, "output_root": output_root}
    return commit_batch({**key_fields, "kind": "settlement"}, header, "statement", lines, subjects)


def header_leaf(run: RunFields, kind: str, fields: Mapping[str, object]) -> bytes:
    """First leaf of a batch: its run in plain text, its key and the digests it commits to."""
    key = key_of_run(dict(run))
    return jcs({"format": LEAF_FORMAT, "key": key, "kind": kind, "run": dict(run), **fields})


def commit_batch(
    run: RunFields,
    header: Mapping[str, object],
    kind: str,
    rows: Iterable[Mapping[str, str | int]],
    subjects: SubjectKeys,
) -> Batch:
    """Batch of a header and the commitments to some rows of one kind.

    Header fields named ``..._root`` and ``..._sha256`` must be SHA-256 in hex.
    """
    key = batch_key(run)
    rule = RECORD_KINDS[kind]
    problems = [
        Problem(where=name, what=f"is not a SHA-256 in hex: {value!r}")
        for name, value in header.items()
        if name.endswith(("_root", "_sha256")) and not _is_digest(value)
    ]
    texts, faults = _text_rows(kind, rows, rule.columns)
    refuse_if_any(problems + faults)
    try:
        records = rule.records(texts)
    except ValueError as error:
        raise InputError([Problem(where=f"{kind} rows", what=str(error))]) from error
    leaves = commit_records(
        kind, records, subjects.run_keys((record.subject for record in records), key)
    )
    first = header_leaf(
        run,
        str(run["kind"]),
        {
            **header,
            "records_kind": kind,
            "records": len(leaves),
            "records_root": root_hash(leaves).hex(),
        },
    )
    return Batch(key=key, leaves=(first, *leaves))


def _text_rows(
    kind: str, rows: Iterable[Mapping[str, str | int]], columns: Sequence[str]
) -> tuple[list[dict[str, str]], list[Problem]]:
    """Rows as the text a CSV file holds; a float would have more than one spelling."""
    texts: list[dict[str, str]] = []
    problems: list[Problem] = []
    for number, row in enumerate(rows):
        text: dict[str, str] = {}
        for name in columns:
            value: object = row.get(name)
            if isinstance(value, bool) or not isinstance(value, str | int):
                problems.append(
                    Problem(where=f"{kind} row {number}", what=f"{name} is {value!r}",
                            remedy="give text or an integer")
                )  # fmt: skip
            text[name] = str(value)
        texts.append(text)
    return texts, problems


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")
