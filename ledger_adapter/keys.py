"""The operator's key folder: signing key, verifier key, and the salts that can be erased.

``operator.key`` (Ed25519, private), ``operator.vkey`` (public, give it to auditors),
``salts.secret`` (makes the keys of new subjects) and ``subjects.json`` (the keys in use). A
subject's key is written down at its first use and made from the master secret, so that two runs
with copies of one folder agree. Erasing a subject deletes its key, replaces the master secret and
keeps a mark, so that the key can neither be derived again nor be made anew by accident.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from data.errors import InputError, Problem
from ledger_adapter.verify.canonical import (
    Malformed,
    format_base64,
    parse_base64,
)
from ledger_adapter.verify.note import (
    ED25519_TYPE,
    Checkpoint,
    Note,
    VerifierKey,
    check_key_name,
    ed25519_key_id,
    format_checkpoint,
    format_note,
    parse_verifier_key,
)

DEFAULT_NAME: Final = "gridclear.example/log"
SECRET_BYTES: Final = 32
PRIVATE_FILE: Final = "operator.key"
PUBLIC_FILE: Final = "operator.vkey"
MASTER_FILE: Final = "salts.secret"
SUBJECTS_FILE: Final = "subjects.json"
LOCK_FILE: Final = ".lock"


class SubjectErased(Exception):
    """The key of a subject was erased; nothing new can be committed under its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """Signs checkpoints of one log with Ed25519: equal heads give equal bytes."""

    key: VerifierKey
    seed: bytes = field(repr=False)

    def sign_checkpoint(self, size: int, root: bytes) -> str:
        """Return the signed note of a head whose origin is the key's name."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        text = format_checkpoint(Checkpoint(origin=self.key.name, size=size, root=root))
        signature = Ed25519PrivateKey.from_private_bytes(self.seed).sign(text.encode())
        return format_note(
            Note(text=text, signatures=((self.key.name, self.key.key_id, signature),))
        )


class SubjectKeys:
    """Erasable keys, one per subject (participant), kept in the key folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def run_keys(self, subjects: Iterable[str], batch_key: bytes) -> dict[str, bytes]:
        """Return HMAC-SHA256(subject key, batch key) for each subject; new subjects get a key.

        A run key opens the commitments of that run and of no other, so it can be disclosed.

        Raises
        ------
        SubjectErased
            If a subject was erased.
        """
        wanted = sorted(set(subjects))
        with _locked(self._folder):
            state = self._load()
            keys, marks = state["keys"], state["erased"]
            gone = [name for name in wanted if self._mark(state, name) in marks]
            if gone:
                raise SubjectErased(f"erased, cannot be committed again: {', '.join(gone)}")
            new = [name for name in wanted if name not in keys]
            if new:
                master = _read_hex(self._folder / MASTER_FILE)
                keys |= {
                    name: hmac.digest(master, f"subject:{name}".encode(), "sha256").hex()
                    for name in new
                }
                self._store(state)
        return {
            name: hmac.digest(bytes.fromhex(keys[name]), batch_key, "sha256") for name in wanted
        }

    def erase(self, subject: str) -> None:
        """Forget a subject's key for good; its leaves stay in the tree and open to nobody.

        Backups of the key folder have to be dealt with by whoever keeps them.
        """
        with _locked(self._folder):
            state = self._load()
            if self._mark(state, subject) in state["erased"]:
                return
            # The master goes first: were it last, a crash in between would leave the key derivable.
            _write_private(self._folder / MASTER_FILE, secrets.token_hex(SECRET_BYTES) + "\n")
            state["keys"].pop(subject, None)
            state["erased"][self._mark(state, subject)] = ""
            self._store(state)

    def _mark(self, state: Mapping[str, Mapping[str, str]], subject: str) -> str:
        secret = bytes.fromhex(state["marks"]["secret"])
        return hmac.digest(secret, subject.encode(), "sha256").hex()

    def _load(self) -> dict[str, dict[str, str]]:
        state: dict[str, dict[str, str]] = json.loads(
            (self._folder / SUBJECTS_FILE).read_text(encoding="utf-8")
        )
        return state

    def _store(self, state: Mapping[str, Mapping[str, str]]) -> None:
        text = json.dumps(state, sort_keys=True, indent=1, ensure_ascii=False)
        _write_private(self._folder / SUBJECTS_FILE, text + "\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorKeys:
    """What the key folder holds, ready for use."""

    folder: Path
    signer: Signer
    subjects: SubjectKeys

    @property
    def vkey_text(self) -> str:
        """Content of ``operator.vkey``: one line with its newline."""
        return self.signer.key.text + "\n"


def load_or_create_keys(folder: Path, name: str = DEFAULT_NAME) -> OperatorKeys:
    """Open a key folder; make it on first use (folder 0700, files 0600, public key 0644).

    Parameters
    ----------
    folder : Path
        Key folder, ``--keys`` on the command line.
    name : str
        Name of the log for a new folder, like ``dso.example/market``; an existing folder keeps
        the name it has.

    Raises
    ------
    InputError
        If the name is unusable, or a file of the folder is missing or damaged.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _locked(folder):
            if _is_new(folder):
                _create(folder, check_key_name(name))
            elif (folder / PRIVATE_FILE).exists() and not (folder / PUBLIC_FILE).exists():
                # The making was interrupted before the last file, which follows from the key.
                _write_private(folder / PUBLIC_FILE, _load_key(folder).text + "\n", mode=0o644)
            signer = _load_signer(folder)
            _check_secrets(folder)
    except (ValueError, KeyError, TypeError, OSError) as error:
        where = getattr(error, "filename", None) or folder
        raise InputError(
            [
                Problem(
                    where=f"key folder {where}",
                    what=str(error),
                    remedy="restore it or name another",
                )
            ]
        ) from error
    return OperatorKeys(folder=folder, signer=signer, subjects=SubjectKeys(folder))


def _is_new(folder: Path) -> bool:
    """Tell whether the folder was never finished; one that was in use and lost its key was."""
    if (folder / PRIVATE_FILE).exists() or (folder / PUBLIC_FILE).exists():
        return False
    if (folder / SUBJECTS_FILE).exists():
        state = json.loads((folder / SUBJECTS_FILE).read_text(encoding="utf-8"))
        return not state["keys"] and not state["erased"]
    return True


def _create(folder: Path, name: str) -> None:
    """Write a new folder; its public key comes last."""
    seed = secrets.token_bytes(SECRET_BYTES)
    key = _public_key(name, seed)
    marks = {"keys": {}, "erased": {}, "marks": {"secret": secrets.token_hex(SECRET_BYTES)}}
    _write_private(folder / SUBJECTS_FILE, json.dumps(marks, sort_keys=True, indent=1) + "\n")
    _write_private(folder / MASTER_FILE, secrets.token_hex(SECRET_BYTES) + "\n")
    material = format_base64(bytes([ED25519_TYPE]) + seed)
    text = f"PRIVATE+KEY+{name}+{key.key_id.hex()}+{material}"
    _write_private(folder / PRIVATE_FILE, text + "\n")
    _write_private(folder / PUBLIC_FILE, key.text + "\n", mode=0o644)


def _public_key(name: str, seed: bytes) -> VerifierKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    return VerifierKey(name=name, key_id=ed25519_key_id(name, public), public=public)


def _load_signer(folder: Path) -> Signer:
    key = _load_key(folder)
    public = parse_verifier_key((folder / PUBLIC_FILE).read_text(encoding="utf-8"))
    if key != public:
        raise Malformed(f"{PUBLIC_FILE} does not belong to {PRIVATE_FILE}")
    return Signer(key=key, seed=_load_seed(folder)[1])


def _load_key(folder: Path) -> VerifierKey:
    name, seed, key_id = _load_seed(folder)
    key = _public_key(check_key_name(name), seed)
    if key.key_id.hex() != key_id:
        raise Malformed(f"{PRIVATE_FILE} is damaged: its key id does not belong to it")
    return key


def _load_seed(folder: Path) -> tuple[str, bytes, str]:
    """Name, Ed25519 seed and key id as ``operator.key`` holds them."""
    parts = (folder / PRIVATE_FILE).read_text(encoding="utf-8").removesuffix("\n").split("+", 4)
    if len(parts) != 5 or parts[:2] != ["PRIVATE", "KEY"]:
        raise Malformed(f"{PRIVATE_FILE} does not read PRIVATE KEY name keyid base64, joined by +")
    raw = parse_base64(parts[4])
    if len(raw) != 1 + SECRET_BYTES or raw[0] != ED25519_TYPE:
        raise Malformed(f"{PRIVATE_FILE} holds no Ed25519 key")
    return parts[2], raw[1:], parts[3]


def _check_secrets(folder: Path) -> None:
    _read_hex(folder / MASTER_FILE)
    try:
        state = json.loads((folder / SUBJECTS_FILE).read_text(encoding="utf-8"))
        bytes.fromhex(state["marks"]["secret"])
        sizes = {len(bytes.fromhex(text)) for text in state["keys"].values()}
        complete = sizes <= {hashlib.sha256().digest_size} and isinstance(state["erased"], dict)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Malformed(f"{SUBJECTS_FILE} is damaged: {error}") from error
    if not complete:
        raise Malformed(f"{SUBJECTS_FILE} is damaged: a key has the wrong length")


def _read_hex(path: Path) -> bytes:
    try:
        secret = bytes.fromhex(path.read_text(encoding="utf-8").strip())
    except ValueError as error:
        raise Malformed(f"{path.name} is damaged") from error
    if len(secret) != SECRET_BYTES:
        raise Malformed(f"{path.name} is damaged")
    return secret


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder for one process at a time; the lock ends with the process."""
    descriptor = os.open(folder / LOCK_FILE, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write_private(path: Path, text: str, mode: int = 0o600) -> None:
    """Write a file whole or not at all, with its mode from the first byte on."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)
