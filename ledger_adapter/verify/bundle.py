"""Verify a bundle: pure and offline, from a folder and the operator's key.

Order of the checks, so that the file named is the one that was touched: the checkpoint against
the key; the bundle's own proof against the checkpoint; the manifest against the leaf in that
proof; every file against the manifest; every batch against its proof and its files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ledger_adapter.verify.canonical import Malformed, canonical_json, parse_json
from ledger_adapter.verify.manifest import (
    BUNDLE_PROOF,
    CHECKPOINT,
    CONSISTENCY_PROOF,
    MANIFEST,
    BatchEntry,
    Manifest,
    parse_manifest,
)
from ledger_adapter.verify.merkle import leaf_hash, root_hash, verify_consistency, verify_inclusion
from ledger_adapter.verify.note import (
    Checkpoint,
    VerifierKey,
    open_checkpoint,
    parse_verifier_key,
)
from ledger_adapter.verify.opening import (
    LEAF_FORMAT,
    RECORD_KINDS,
    RUN_KEY_BYTES,
    digest_of_files,
    key_of_run,
    read_rows,
    record_leaf,
)
from ledger_adapter.verify.proof import InclusionProof, parse_consistency, parse_inclusion

PROVES: Final = (
    "the holder of the operator's key signed a log head that contains this manifest",
    "every file is byte for byte the one the manifest names; no file is missing or added",
    (
        "each batch stands in the log; its matched input, output and certificate digests are of "
        "these files"
    ),
    "disclosed trades and statements are the ones whose commitments the batch header covers",
    "the log before this day is the beginning of the log after it",
)
DOES_NOT_PROVE: Final = (
    "that the results are right: re-clear the inputs (dso audit replay) and settle them again",
    (
        "that nobody was shown another log: who holds the key can rewrite and re-sign; only "
        "receipts kept by others, witnesses and anchors catch it"
    ),
    "when anything happened: the log carries no trusted time",
)


HEADER_DIGESTS: Final = frozenset({"input_root", "output_root", "certificate_sha256"})


class Unreadable(Exception):
    """The bundle or the key cannot be read at all (exit code 2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One thing that does not hold, and the file it is about."""

    file: str
    what: str

    def __str__(self) -> str:
        return f"{self.file}: {self.what}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Outcome of a verification.

    Parameters
    ----------
    holds : bool
        True if nothing failed.
    failures : tuple of Failure
        In the order of the checks; checks that need a failed part are not run.
    origin, size, root : str, int, str
        The log, its number of leaves and its root in hex, as far as the checkpoint holds.
    counts : mapping
        What was checked: files, bytes, batches, proofs, opened_records; and what the bundle gave
        nothing to check against: unopened_batches, unmatched_digests.
    proves, does_not_prove : tuple of str
        What a holding report means and what it does not.
    """

    holds: bool
    failures: tuple[Failure, ...]
    origin: str
    size: int
    root: str
    counts: Mapping[str, int]
    proves: tuple[str, ...] = PROVES
    does_not_prove: tuple[str, ...] = DOES_NOT_PROVE


@dataclass(slots=True)
class _Run:
    """State of one verification; a check adds failures and never raises them."""

    folder: Path
    key: VerifierKey
    files: dict[str, Path] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    empty_folders: list[str] = field(default_factory=list)
    head: Checkpoint | None = None
    checkpoint_text: str = ""
    counts: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(
            (
                *("files", "bytes", "batches", "proofs", "opened_records"),
                *("unopened_batches", "unmatched_digests"),
            ),
            0,
        )
    )

    def fail(self, file: str, what: str) -> None:
        self.failures.append(Failure(file=file, what=what))

    def read(self, name: str) -> bytes:
        """Return a file's bytes; one that is not there is malformed like any other."""
        if name not in self.files:
            raise Malformed("is missing")
        try:
            return self.files[name].read_bytes()
        except OSError as error:
            raise Unreadable(f"{name}: {error.strerror}") from error

    def about(self, name: str) -> _About:
        """Turn malformed content inside the block into a failure of the named file."""
        return _About(run=self, name=name)


@dataclass(frozen=True, slots=True, kw_only=True)
class _About:
    """Context of one file; a class, so that the type checker sees that it swallows errors."""

    run: _Run
    name: str

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: object
    ) -> bool:
        if isinstance(error, Malformed):
            self.run.fail(self.name, str(error))
            return True
        return False


def verify_bundle(folder: Path, vkey_text: str) -> Report:
    """Check every byte of a bundle against the operator's key.

    Parameters
    ----------
    folder : Path
        The bundle.
    vkey_text : str
        The operator's verifier key, ``name+hexkeyid+base64``. It must come from outside the
        bundle.

    Returns
    -------
    Report
        ``holds`` and, if not, the failures with the file named.

    Raises
    ------
    Unreadable
        If the key is no key or the folder cannot be read.
    """
    try:
        key = parse_verifier_key(vkey_text)
    except Malformed as error:
        raise Unreadable(f"key: {error}") from error
    if not folder.is_dir():
        raise Unreadable(f"{folder}: not a folder")
    run = _Run(folder=folder, key=key)
    _walk(run)
    with run.about(CHECKPOINT):
        content = run.read(CHECKPOINT)
        run.head = open_checkpoint(content, key)
        run.checkpoint_text = content.decode()
    if run.head is not None:
        manifest = _manifest(run, run.head)
        if manifest is not None:
            _files(run, manifest)
            _log_before(run, manifest, run.head)
            for batch in manifest.batches:
                _batch(run, manifest, batch)
    for name in run.empty_folders:  # last, so that a file missing from it is named first
        run.fail(name, "is a folder without a file")
    head = run.head
    return Report(
        holds=not run.failures,
        failures=tuple(run.failures),
        origin="" if head is None else head.origin,
        size=0 if head is None else head.size,
        root="" if head is None else head.root.hex(),
        counts=run.counts,
    )


def _walk(run: _Run) -> None:
    """Collect the files; links, devices and folders without a file have no place in a bundle."""
    try:
        paths = sorted(run.folder.rglob("*"))
        for path in paths:
            name = path.relative_to(run.folder).as_posix()
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                run.fail(name, "is not an ordinary file")
            elif path.is_file():
                run.files[name] = path
            elif not any(path.iterdir()):
                run.empty_folders.append(name)
    except OSError as error:
        raise Unreadable(f"{error.filename}: {error.strerror}") from error


def _proven(run: _Run, name: str, head: Checkpoint) -> InclusionProof | None:
    """Read a proof file and check it against the checkpoint."""
    with run.about(name):
        proof = parse_inclusion(run.read(name))
        if proof.checkpoint != run.checkpoint_text:
            raise Malformed("carries another checkpoint than the bundle")
        leaf = leaf_hash(proof.leaf)
        if not verify_inclusion(leaf, proof.index, head.size, proof.path, head.root):
            raise Malformed("the proof does not lead to the root of the checkpoint")
        run.counts["proofs"] += 1
        return proof
    return None


def _leaf(proof: InclusionProof, kind: str | None = None) -> dict[str, Any]:
    """Read a header leaf and check its format, its spelling and that its key is its run's."""
    leaf = parse_json(proof.leaf)
    if not isinstance(leaf, dict) or leaf.get("format") != LEAF_FORMAT:
        raise Malformed(f"the leaf is not a {LEAF_FORMAT}")
    if canonical_json(leaf) != proof.leaf:
        raise Malformed("the leaf is not in canonical form")
    if kind is not None and leaf.get("kind") != kind:
        raise Malformed(f"the leaf is of kind {leaf.get('kind')!r}, not {kind!r}")
    if not isinstance(leaf.get("run"), dict) or leaf.get("key") != key_of_run(leaf["run"]):
        raise Malformed("the leaf is not a header, or its key does not belong to its run")
    return leaf


def _manifest(run: _Run, head: Checkpoint) -> Manifest | None:
    proof = _proven(run, BUNDLE_PROOF, head)
    leaf: dict[str, Any] | None = None
    if proof is not None:
        with run.about(BUNDLE_PROOF):
            leaf = _leaf(proof, "bundle")
    if leaf is None:
        if MANIFEST not in run.files:
            run.fail(MANIFEST, "is missing")
        return None
    with run.about(MANIFEST):
        content = run.read(MANIFEST)
        if hashlib.sha256(content).hexdigest() != leaf.get("manifest_sha256"):
            raise Malformed("is not the manifest that the log contains")
        manifest = parse_manifest(content)
        if manifest.origin != head.origin:
            raise Malformed(f"is of log {manifest.origin!r}, not {head.origin!r}")
        if dict(manifest.run) != leaf["run"]:
            raise Malformed("names another run than its leaf in the log")
        run.counts["files"] += 1
        run.counts["bytes"] += len(content)
        return manifest
    return None


def _files(run: _Run, manifest: Manifest) -> None:
    """Compare the folder with the list: digests, missing files, unlisted files."""
    for name, (_, digest) in sorted(manifest.files.items()):
        with run.about(name):
            content = run.read(name)
            if digest is not None and hashlib.sha256(content).hexdigest() != digest:
                raise Malformed("is not the file that the manifest names (SHA-256 differs)")
            run.counts["files"] += 1
            run.counts["bytes"] += len(content)
    for name in sorted(run.files.keys() - manifest.files.keys() - {MANIFEST}):
        run.fail(name, "is not listed in the manifest")


def _log_before(run: _Run, manifest: Manifest, head: Checkpoint) -> None:
    if CONSISTENCY_PROOF not in run.files:
        return  # named as missing already
    with run.about(CONSISTENCY_PROOF):
        proof = parse_consistency(run.read(CONSISTENCY_PROOF))
        before = (manifest.size_before, manifest.root_before)
        if (proof.old_size, proof.old_root.hex()) != before:
            raise Malformed("starts from another head than the manifest names")
        if not verify_consistency(proof.old_size, head.size, proof.old_root, head.root, proof.path):
            raise Malformed("the log before this day is not the beginning of this log")
        run.counts["proofs"] += 1


def _batch(run: _Run, manifest: Manifest, batch: BatchEntry) -> None:
    if run.head is None or batch.proof not in run.files:
        return  # a missing proof is named already
    proof = _proven(run, batch.proof, run.head)
    if proof is None:
        return
    with run.about(batch.proof):
        leaf = _leaf(proof)
        if proof.index != batch.index:
            raise Malformed(f"proves leaf {proof.index}, the manifest names {batch.index}")
        with run.about(MANIFEST):
            _roots(manifest, batch, leaf)
            matched = {*batch.folders, *batch.digests}
            run.counts["unmatched_digests"] += len((leaf.keys() & HEADER_DIGESTS) - matched)
        _records(run, batch, leaf)
        run.counts["batches"] += 1


def _roots(manifest: Manifest, batch: BatchEntry, leaf: Mapping[str, Any]) -> None:
    """Compare the digests in a header with those of the listed files."""
    for name, folder in sorted(batch.folders.items()):
        inside = {
            file.removeprefix(f"{folder}/"): digest
            for file, (_, digest) in manifest.files.items()
            if file.startswith(f"{folder}/") and digest is not None
        }
        if digest_of_files(inside) != leaf.get(name):
            raise Malformed(f"{folder}/ is not the {name} of batch {batch.name} in the log")
    for name, file in sorted(batch.digests.items()):
        if manifest.files.get(file, ("", None))[1] != leaf.get(name):
            raise Malformed(f"{file} is not the {name} of batch {batch.name} in the log")


def _records(run: _Run, batch: BatchEntry, leaf: Mapping[str, Any]) -> None:
    """Open the committed records of a batch where the bundle discloses their salts."""
    if batch.records is None or batch.disclosure is None:
        run.counts["unopened_batches"] += "records_root" in leaf
        return
    if not {batch.records, batch.disclosure} <= run.files.keys():
        return  # named as missing already
    kind = str(leaf.get("records_kind"))
    if kind not in RECORD_KINDS:
        raise Malformed(f"the header names no known kind of record: {kind!r}")
    with run.about(batch.disclosure):
        keys = parse_json(run.read(batch.disclosure))
        if not isinstance(keys, dict) or not all(
            isinstance(text, str) and len(text) == 2 * RUN_KEY_BYTES for text in keys.values()
        ):
            raise Malformed("is not a list of participants with their run keys")
        with run.about(batch.records):
            rule = RECORD_KINDS[kind]
            try:
                records = rule.records(read_rows(run.read(batch.records), rule.columns))
                leaves = [
                    record_leaf(kind, record, bytes.fromhex(keys[record.subject]))
                    for record in records
                ]
            except (KeyError, ValueError) as error:
                raise Malformed(f"cannot be opened with {batch.disclosure}: {error}") from error
            if (len(leaves), root_hash(leaves).hex()) != (
                leaf.get("records"),
                leaf.get("records_root"),
            ):
                raise Malformed(f"its rows are not the {kind}s that batch {batch.name} committed")
            run.counts["opened_records"] += len(leaves)
