"""The operator's key folder: signing keys, verifier keys, and the salts that can be erased.

``operator.key`` (Ed25519, private) signs the heads of the record log, ``operator-mldsa.key``
(ML-DSA-44) cosigns them, ``actions.key`` signs the heads of the action log; each has a public
``.vkey`` beside it to give to auditors. ``salts.secret`` makes the keys of new subjects and
``subjects.json`` holds the keys in use. A subject's key is written down at its first use and made
from the master secret, so that two runs with copies of one folder agree. Erasing a subject deletes
its key, replaces the master secret and keeps a mark, so that the key can neither be derived again
nor be made anew by accident.
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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from data.errors import InputError, Problem
from ledger_adapter.signers import Cosigner, Signer, read_key, write_new_key, write_private
from ledger_adapter.verify.canonical import Malformed
from ledger_adapter.verify.note import (
    ED25519_TYPE,
    MLDSA44_COSIGNATURE_TYPE,
    check_key_name,
    parse_verifier_key,
    parse_verifier_keys,
)

DEFAULT_NAME: Final = "gridclear.example/log"
SECRET_BYTES: Final = 32
PRIVATE_FILE: Final = "operator.key"
PUBLIC_FILE: Final = "operator.vkey"
COSIGNER_FILE: Final = "operator-mldsa.key"
ACTIONS_FILE: Final = "actions.key"
ACTIONS_NAME: Final = "actions"
NEXT_FILE: Final = "operator-next.key"
RETIRED_FILE: Final = "retired.vkey"
MASTER_FILE: Final = "salts.secret"
SUBJECTS_FILE: Final = "subjects.json"
LOCK_FILE: Final = ".lock"


class SubjectErased(Exception):
    """The key of a subject was erased; nothing new can be committed under its name."""


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

    def payload_key(self, subject: str, batch_key: bytes) -> bytes:
        """Return the 32-byte key that encrypts a subject's payloads of one batch.

        It is another one than the run key, which goes to auditors.

        Raises
        ------
        SubjectErased
            If the subject was erased.
        """
        return self.run_keys([subject], hashlib.sha256(b"payload\0" + batch_key).digest())[subject]

    def erase(self, subject: str) -> None:
        """Forget a subject's key for good; its leaves stay in the tree and open to nobody.

        Backups of the key folder have to be dealt with by whoever keeps them.
        """
        with _locked(self._folder):
            state = self._load()
            if self._mark(state, subject) in state["erased"]:
                return
            # The master goes first: were it last, a crash in between would leave the key derivable.
            write_private(self._folder / MASTER_FILE, secrets.token_hex(SECRET_BYTES) + "\n")
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
        write_private(self._folder / SUBJECTS_FILE, text + "\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorKeys:
    """What the key folder holds, ready for use."""

    folder: Path
    signer: Signer
    cosigner: Cosigner
    actions: Signer
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
    with _problems_named(folder):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _locked(folder):
            if _is_new(folder):
                _create(folder, check_key_name(name))
            elif (folder / PRIVATE_FILE).exists() and not (folder / PUBLIC_FILE).exists():
                # The making was interrupted before the last file, which follows from the key.
                _write_public(folder / PRIVATE_FILE)
            signer = _load_signer(folder)
            _check_secrets(folder)
            _create_missing(folder / COSIGNER_FILE, signer.key.name, MLDSA44_COSIGNATURE_TYPE)
            _create_missing(folder / ACTIONS_FILE, f"{signer.key.name}/{ACTIONS_NAME}")
            cosigner = read_key(folder / COSIGNER_FILE, MLDSA44_COSIGNATURE_TYPE)
            actions = read_key(folder / ACTIONS_FILE)
    return OperatorKeys(
        folder=folder,
        signer=signer,
        cosigner=Cosigner(key=cosigner[0], seed=cosigner[1]),
        actions=Signer(key=actions[0], seed=actions[1]),
        subjects=SubjectKeys(folder),
    )


def prepare_next_key(folder: Path) -> Signer:
    """Draw the key that will replace the operator's, or return the one drawn before."""
    with _problems_named(folder), _locked(folder):
        current = _load_signer(folder)
        if not (folder / NEXT_FILE).exists():
            write_new_key(folder / NEXT_FILE, current.key.name)
        key, seed = read_key(folder / NEXT_FILE)
        return Signer(key=key, seed=seed, retired=(*current.retired, current.key))


def promote_next_key(folder: Path) -> None:
    """Make the next key the operator's; the log must hold the rotation by now.

    Safe to repeat after a crash at any point.
    """
    with _problems_named(folder), _locked(folder):
        current = _load_signer(folder)
        following = read_key(folder / NEXT_FILE)[0]
        retired = "".join(f"{key.text}\n" for key in (*current.retired, current.key))
        if current.key != following:
            write_private(folder / RETIRED_FILE, retired, mode=0o644)
            # The private file first: its public one can be made anew from it.
            (folder / PUBLIC_FILE).unlink(missing_ok=True)
            write_private(folder / PRIVATE_FILE, (folder / NEXT_FILE).read_text(encoding="utf-8"))
            _write_public(folder / PRIVATE_FILE)
        (folder / NEXT_FILE).unlink()


@contextmanager
def _problems_named(folder: Path) -> Iterator[None]:
    """Turn what is wrong with a key folder into one problem that names the file."""
    try:
        yield
    except (ValueError, KeyError, TypeError, OSError) as error:
        where = getattr(error, "filename", None) or folder
        problem = Problem(
            where=f"key folder {where}", what=str(error), remedy="restore it or name another"
        )
        raise InputError([problem]) from error


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
    marks = {"keys": {}, "erased": {}, "marks": {"secret": secrets.token_hex(SECRET_BYTES)}}
    write_private(folder / SUBJECTS_FILE, json.dumps(marks, sort_keys=True, indent=1) + "\n")
    write_private(folder / MASTER_FILE, secrets.token_hex(SECRET_BYTES) + "\n")
    write_new_key(folder / PRIVATE_FILE, name)
    _write_public(folder / PRIVATE_FILE)


def _create_missing(path: Path, name: str, kind: int = ED25519_TYPE) -> None:
    """Draw a further key where the folder has none yet."""
    if not path.exists():
        write_new_key(path, name, kind)
    if not path.with_suffix(".vkey").exists():
        _write_public(path, kind)


def _write_public(path: Path, kind: int = ED25519_TYPE) -> None:
    """Write the public key beside a private one."""
    key = read_key(path, kind)[0]
    write_private(path.with_suffix(".vkey"), f"{key.text}\n", mode=0o644)


def _load_signer(folder: Path) -> Signer:
    key, seed = read_key(folder / PRIVATE_FILE)
    public = parse_verifier_key((folder / PUBLIC_FILE).read_text(encoding="utf-8"))
    if key != public:
        raise Malformed(f"{PUBLIC_FILE} does not belong to {PRIVATE_FILE}")
    signer = Signer(key=key, seed=seed)
    if not (folder / RETIRED_FILE).exists():
        return signer
    retired = parse_verifier_keys((folder / RETIRED_FILE).read_text(encoding="utf-8"))
    # Between two files of a promotion the list names the key that is still in use.
    return replace(signer, retired=tuple(other for other in retired if other != key))


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
