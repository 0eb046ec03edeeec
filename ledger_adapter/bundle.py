"""Export a bundle: the files of a day, and the proofs that the log holds exactly these.

No circle: the manifest lists every file; its digest is posted as a leaf of its own; the checkpoint
and the proofs are made from the tree after that leaf. They are listed without a digest, and every
byte of them is held by the operator's signature and by having one spelling only.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from data.canonical import pretty_json, sha256_hex
from data.errors import InputError, Problem, refuse_if_any
from data.records.posting import Batch, Receipt
from ledger_adapter.batches import folder_files, header_leaf
from ledger_adapter.commitment import RunFields, batch_key
from ledger_adapter.keys import SubjectKeys
from ledger_adapter.ports import Ledger
from ledger_adapter.verify.canonical import parse_json
from ledger_adapter.verify.manifest import (
    BUNDLE_PROOF,
    CHECKPOINT,
    CONSISTENCY_PROOF,
    CONTENT_FOLDERS,
    MANIFEST,
    NAME,
    BatchEntry,
    Manifest,
    format_manifest,
    made_after_manifest,
    proof_name,
)
from ledger_adapter.verify.merkle import EMPTY_ROOT, leaf_hash, node_hash
from ledger_adapter.verify.note import parse_checkpoint, parse_note
from ledger_adapter.verify.opening import RECORD_KINDS, digest_of_files, read_rows
from ledger_adapter.verify.proof import (
    ConsistencyProof,
    InclusionProof,
    format_consistency,
    format_inclusion,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PostedBatch:
    """A posted batch and the bundle files its header speaks of.

    Parameters
    ----------
    name : str
        Name inside the bundle, e.g. ``day-ahead``; its proof is ``proofs/<name>.tlog-proof``.
    receipt : Receipt
        What the ledger answered.
    folders : mapping
        ``input_root`` and ``output_root`` to bundle folders, e.g. ``inputs/day-ahead``.
    digests : mapping
        ``certificate_sha256`` to a bundle file, e.g. ``outputs/day-ahead/summary.json``.
    records : str or None
        Table the batch committed to, e.g. ``outputs/day-ahead/trades.csv``.
    records_kind : str
        ``trade`` or ``statement``.
    """

    name: str
    receipt: Receipt
    folders: Mapping[str, str] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)
    records: str | None = None
    records_kind: str = "trade"


def export_bundle(
    target: Path,
    ledger: Ledger,
    *,
    key_fields: RunFields,
    folders: Mapping[str, Path | Mapping[str, Path]],
    batches: Sequence[PostedBatch],
    size_before: int,
    subjects: SubjectKeys | None = None,
) -> Receipt:
    """Post the digest of the manifest and write the bundle; a second call gives equal bytes.

    Parameters
    ----------
    target : Path
        Folder to write. It appears complete or not at all; one that exists is replaced.
    ledger : Ledger
        The ledger that holds the batches.
    key_fields : mapping
        What names the run: market, interval, run, revision. The kind ``bundle`` is added here.
    folders : mapping
        Bundle folder (below ``inputs``, ``outputs`` or ``settlement``) to source folder, or to
        its files by name where one source folder holds inputs and outputs. ``timings.json`` of a
        source folder is left out: it holds times.
    batches : sequence of PostedBatch
        The day's batches.
    size_before : int
        Number of leaves before the day's first batch, e.g. ``batches[0].receipt.first``.
    subjects : SubjectKeys or None
        Given: run keys of the participants go into the bundle, so that it opens the commitments
        (an auditor's bundle). None: commitments stay closed.

    Returns
    -------
    Receipt
        Of the bundle's own batch; its checkpoint is the bundle's.

    Raises
    ------
    InputError
        With every folder, name or batch that is wrong.
    KeyConflict
        If this run was exported before with other content: raise the revision.
    """
    _check(folders, batches, size_before)
    if target.exists() and any(target.iterdir()) and not (target / MANIFEST).is_file():
        raise InputError(
            [Problem(where=str(target), what="exists and is no bundle", remedy="name another")]
        )
    sources = {
        f"{place}/{name}": path
        for place, source in folders.items()
        for name, path in _files_of(source).items()
    }
    content = {name: path.read_bytes() for name, path in sources.items()}
    roles = {name: name.split("/", 1)[0] for name in content}
    entries = []
    for batch in batches:
        disclosure = None
        if subjects is not None and batch.records is not None:
            disclosure = f"proofs/{batch.name}.disclosure.json"
            content[disclosure] = _run_keys(batch, content, subjects)
            roles[disclosure] = "disclosure"
        entries.append(_entry(batch, disclosure))
    digests = {name: sha256_hex(body) for name, body in content.items()}
    refuse_if_any(
        problem for batch in batches for problem in _header_problems(ledger, batch, digests)
    )
    run = {**key_fields, "kind": "bundle"}
    manifest = _manifest(ledger, run, content, roles, tuple(entries), size_before)
    content[MANIFEST] = format_manifest(manifest)
    receipt = ledger.post(
        Batch(
            key=batch_key(run),
            leaves=(
                header_leaf(run, "bundle", {"manifest_sha256": sha256_hex(content[MANIFEST])}),
            ),
        )
    )
    content |= _proofs(ledger, manifest, receipt)
    _write_folder(target, content)
    return receipt


def receipt_for_leaf(
    ledger: Ledger, index: int, head: Receipt, checkpoint: str | None = None
) -> str:
    """Write the ``.tlog-proof`` of one leaf: the receipt to hand to a participant.

    Parameters
    ----------
    ledger : Ledger
        The ledger.
    index : int
        Index of the leaf; record ``k`` of a batch stands at ``receipt.first + 1 + k``.
    head : Receipt
        Head whose checkpoint goes into the file.
    checkpoint : str or None
        That checkpoint with cosignatures; None: as the log signed it.
    """
    (leaf,) = ledger.entries(index, index + 1)
    path = tuple(ledger.inclusion(index, head.size))
    return format_inclusion(
        InclusionProof(leaf=leaf, index=index, path=path, checkpoint=checkpoint or head.checkpoint)
    )


def _files_of(source: Path | Mapping[str, Path]) -> Mapping[str, Path]:
    if isinstance(source, Path):
        return {name: source / name for name in folder_files(source)}
    return source


def _check(folders: Collection[str], batches: Sequence[PostedBatch], size_before: int) -> None:
    problems = []
    for place in folders:
        top = place.split("/", 1)[0]
        if top not in CONTENT_FOLDERS or not NAME.fullmatch(place) or ".." in place.split("/"):
            problems.append(
                Problem(
                    where=f"bundle folder {place!r}",
                    what="is not below inputs, outputs or settlement",
                )
            )
        inside = [other for other in folders if other.startswith(f"{place}/")]
        problems += [
            Problem(where=f"bundle folder {other!r}", what=f"lies inside {place!r}")
            for other in inside
        ]
    names = [batch.name for batch in batches]
    problems += [
        Problem(where=f"batch {name!r}", what="stands twice or is named 'bundle'")
        for name in sorted(set(names))
        if names.count(name) > 1 or name == "bundle"
    ]
    for batch in batches:
        if batch.receipt.first < size_before:
            problems.append(
                Problem(where=f"batch {batch.name!r}", what="was posted before size_before")
            )
        problems += [
            Problem(where=f"batch {batch.name!r}", what=f"{place!r} is not in the bundle")
            for place in batch.folders.values()
            if place not in folders
        ]
    refuse_if_any(problems)


def _header_problems(
    ledger: Ledger, batch: PostedBatch, digests: Mapping[str, str]
) -> list[Problem]:
    """Compare the posted header with the files before anything more is posted."""
    (leaf,) = ledger.entries(batch.receipt.first, batch.receipt.first + 1)
    header = parse_json(leaf)
    source = {**batch.folders, **batch.digests}
    expected = {name: digests.get(file) for name, file in batch.digests.items()}
    for name, place in batch.folders.items():
        inside = {
            file.removeprefix(f"{place}/"): digest
            for file, digest in digests.items()
            if file.startswith(f"{place}/")
        }
        expected[name] = digest_of_files(inside)
    return [
        Problem(
            where=f"batch {batch.name!r}",
            what=f"{source[name]} is not the posted {name}",
            remedy="export the files as they were when the batch was posted",
        )
        for name, digest in sorted(expected.items())
        if header.get(name) != digest
    ]


def _entry(batch: PostedBatch, disclosure: str | None) -> BatchEntry:
    return BatchEntry(
        name=batch.name,
        index=batch.receipt.first,
        proof=proof_name(batch.name),
        folders=batch.folders,
        digests=batch.digests,
        records=batch.records if disclosure else None,
        disclosure=disclosure,
    )


def _run_keys(batch: PostedBatch, content: Mapping[str, bytes], subjects: SubjectKeys) -> bytes:
    """Run keys that open this batch and no other, by participant."""
    if batch.records is None or batch.records not in content:
        raise InputError([Problem(where=f"batch {batch.name!r}", what=f"no file {batch.records}")])
    rule = RECORD_KINDS[batch.records_kind]
    records = rule.records(read_rows(content[batch.records], rule.columns))
    keys = subjects.run_keys({record.subject for record in records}, batch.receipt.key)
    return pretty_json({name: key.hex() for name, key in keys.items()})


def _manifest(
    ledger: Ledger,
    run: RunFields,
    content: Mapping[str, bytes],
    roles: Mapping[str, str],
    batches: tuple[BatchEntry, ...],
    size_before: int,
) -> Manifest:
    files: dict[str, tuple[str, str | None]] = {
        name: (roles[name], sha256_hex(body)) for name, body in content.items()
    }
    files |= {name: (role, None) for name, role in made_after_manifest(batches).items()}
    head = ledger.head()
    return Manifest(
        origin=parse_checkpoint(parse_note(head.checkpoint.encode()).text).origin,
        run=run,
        size_before=size_before,
        root_before=_root_at(ledger, size_before).hex(),
        batches=batches,
        files=files,
    )


def _root_at(ledger: Ledger, size: int) -> bytes:
    """Root of an earlier size: the path of its last leaf has left siblings only."""
    if size == 0:
        return EMPTY_ROOT
    (leaf,) = ledger.entries(size - 1, size)
    root = leaf_hash(leaf)
    for sibling in ledger.inclusion(size - 1, size):
        root = node_hash(sibling, root)
    return root


def _proofs(ledger: Ledger, manifest: Manifest, receipt: Receipt) -> dict[str, bytes]:
    consistency = ConsistencyProof(
        old_size=manifest.size_before,
        old_root=bytes.fromhex(manifest.root_before),
        path=tuple(ledger.consistency(manifest.size_before, receipt.size)),
    )
    indices = {batch.proof: batch.index for batch in manifest.batches}
    indices[BUNDLE_PROOF] = receipt.first
    found = {
        name: receipt_for_leaf(ledger, index, receipt).encode() for name, index in indices.items()
    }
    return found | {
        CHECKPOINT: receipt.checkpoint.encode(),
        CONSISTENCY_PROOF: format_consistency(consistency).encode(),
    }


def _write_folder(target: Path, content: Mapping[str, bytes]) -> None:
    """Write all files beside the target, then put the folder in its place."""
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    for name, body in content.items():
        path = partial / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as stream:
            stream.write(body)
            stream.flush()
            os.fsync(stream.fileno())
    if target.exists():
        shutil.rmtree(target)
    partial.replace(target)
