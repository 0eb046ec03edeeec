"""The manifest of a bundle: every file with its role and digest, and where each batch stands.

``sha256`` is null only for the checkpoint and the proofs. They are made after the manifest, from
the tree that already contains its digest, and are held by the signature instead.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ledger_adapter.verify.canonical import Malformed, parse_json, readable_json
from ledger_adapter.verify.opening import BUNDLE_FORMAT

MANIFEST: Final = "manifest.json"
CHECKPOINT: Final = "checkpoint"
BUNDLE_PROOF: Final = "proofs/bundle.tlog-proof"
CONSISTENCY_PROOF: Final = "proofs/log.consistency"
PROOF_SUFFIX: Final = ".tlog-proof"
CONTENT_FOLDERS: Final = ("inputs", "outputs", "settlement")
NAME = re.compile(r"[^/\\\x00-\x1f]+(/[^/\\\x00-\x1f]+)*")
_HEX = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchEntry:
    """A posted batch inside a bundle.

    Parameters
    ----------
    name, index, proof : str, int, str
        Its name, the index of its header leaf, and the file that proves it.
    folders : mapping
        Header field (``input_root``, ``output_root``) to the folder that has this root.
    digests : mapping
        Header field (``certificate_sha256``) to the file that has this SHA-256.
    records, disclosure : str or None
        Table whose rows the batch committed to, and the file with the run keys that open it.
    """

    name: str
    index: int
    proof: str
    folders: Mapping[str, str]
    digests: Mapping[str, str]
    records: str | None
    disclosure: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Content of ``manifest.json``; ``files`` maps a name to (role, SHA-256 in hex or None)."""

    origin: str
    run: Mapping[str, str | int]
    size_before: int
    root_before: str
    batches: tuple[BatchEntry, ...]
    files: Mapping[str, tuple[str, str | None]]


def proof_name(batch: str) -> str:
    """File that proves the header of a batch."""
    return f"proofs/{batch}{PROOF_SUFFIX}"


def made_after_manifest(batches: tuple[BatchEntry, ...]) -> dict[str, str]:
    """Name and role of the files that the signature holds instead of a digest."""
    found = {CHECKPOINT: "checkpoint", BUNDLE_PROOF: "proof", CONSISTENCY_PROOF: "proof"}
    return found | {batch.proof: "proof" for batch in batches}


def format_manifest(manifest: Manifest) -> bytes:
    """Write ``manifest.json``."""
    return readable_json(
        {
            "format": BUNDLE_FORMAT,
            "origin": manifest.origin,
            "run": dict(manifest.run),
            "log_before": {"size": manifest.size_before, "root": manifest.root_before},
            "batches": [
                {
                    "name": batch.name,
                    "index": batch.index,
                    "proof": batch.proof,
                    "folders": dict(batch.folders),
                    "digests": dict(batch.digests),
                    "records": batch.records,
                    "disclosure": batch.disclosure,
                }
                for batch in manifest.batches
            ],
            "files": [
                {"name": name, "role": role, "sha256": digest}
                for name, (role, digest) in sorted(manifest.files.items())
            ],
        }
    )


def parse_manifest(content: bytes) -> Manifest:
    """Read ``manifest.json``; refuse any other spelling of the same content.

    Raises
    ------
    Malformed
        If a field is missing, unknown or of another type, a name leaves the bundle, or a file
        that should carry a digest has none.
    """
    plain = parse_json(content)
    try:
        if plain["format"] != BUNDLE_FORMAT:
            raise Malformed(f"format is {plain['format']!r}, not {BUNDLE_FORMAT}")
        batches = tuple(_batch(item) for item in plain["batches"])
        manifest = Manifest(
            origin=_text(plain["origin"]),
            run=_run(plain["run"]),
            size_before=_count(plain["log_before"]["size"]),
            root_before=_digest(plain["log_before"]["root"]),
            batches=batches,
            files={_name(item["name"]): _role(item) for item in plain["files"]},
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise Malformed(f"a field is missing or of another type: {error}") from error
    if format_manifest(manifest) != content:
        raise Malformed("not in canonical form")
    late = made_after_manifest(batches)
    if len(late) != 3 + len(batches):
        raise Malformed("two batches share one proof file")
    for name, (role, digest) in manifest.files.items():
        if (digest is None) != (name in late) or (digest is None and role != late[name]):
            raise Malformed(f"{name} has the wrong role or no digest")
    if not late.keys() <= manifest.files.keys() or MANIFEST in manifest.files:
        raise Malformed("the checkpoint or a proof is not listed, or the manifest lists itself")
    return manifest


def _batch(item: Any) -> BatchEntry:  # noqa: ANN401 - parsed JSON
    batch = BatchEntry(
        name=_name(item["name"]),
        index=_count(item["index"]),
        proof=_name(item["proof"]),
        folders={_text(key): _name(value) for key, value in item["folders"].items()},
        digests={_text(key): _name(value) for key, value in item["digests"].items()},
        records=None if item["records"] is None else _name(item["records"]),
        disclosure=None if item["disclosure"] is None else _name(item["disclosure"]),
    )
    if batch.proof != proof_name(batch.name):
        raise Malformed(f"batch {batch.name} must be proven by {proof_name(batch.name)}")
    return batch


def _run(value: Any) -> dict[str, str | int]:  # noqa: ANN401 - parsed JSON
    found: dict[str, str | int] = {}
    for key, item in value.items():
        found[_text(key)] = item if isinstance(item, str) else _count(item)
    return found


def _role(item: Any) -> tuple[str, str | None]:  # noqa: ANN401 - parsed JSON
    digest = item["sha256"]
    return _text(item["role"]), None if digest is None else _digest(digest)


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise Malformed(f"expected text, found {value!r}")
    return value


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise Malformed(f"expected a non-negative integer, found {value!r}")
    return value


def _digest(value: object) -> str:
    if not isinstance(value, str) or not _HEX.fullmatch(value):
        raise Malformed(f"expected 64 hexadecimal digits, found {value!r}")
    return value


def _name(value: object) -> str:
    text = _text(value)
    if not NAME.fullmatch(text) or {".", ".."} & set(text.split("/")):
        raise Malformed(f"{text!r} is not a name inside the bundle")
    return text
