"""Each item of the conformance list: passed by every adapter, failed by one broken just there."""

from __future__ import annotations

import importlib
import itertools
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from sqlalchemy import create_engine

from data.errors import InputError
from data.records.posting import Batch, Finality, Receipt
from ledger_adapter import check_adapter
from ledger_adapter.adapters import find_adapter
from ledger_adapter.conformance import CHECKS, Bench, NotConforming, OpenLedger, make_batch
from ledger_adapter.keys import load_or_create_keys, prepare_next_key
from ledger_adapter.ports import Ledger, LedgerError
from ledger_adapter.signers import Signer, public_key
from ledger_adapter.sql_log import SqlLog
from ledger_adapter.sql_schema import configure_sqlite
from ledger_adapter.verify.note import (
    Checkpoint,
    Note,
    format_checkpoint,
    format_note,
)

EXAMPLES = Path(__file__).resolve().parents[3] / "docs" / "examples"
METADATA = "Metadata-Version: 2.1\nName: file-ledger\nVersion: 1\n"


@pytest.fixture(scope="module")
def signers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Signer, Signer]:
    keys = load_or_create_keys(tmp_path_factory.mktemp("keys"), "dso.example/conformance")
    return keys.signer, prepare_next_key(keys.folder)


@pytest.fixture
def third_party(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OpenLedger:
    """The documented file ledger, installed as a package of somebody else would be."""
    installed = tmp_path / "site"
    (installed / "file_ledger-1.dist-info").mkdir(parents=True)
    (installed / "file_ledger-1.dist-info/METADATA").write_text(METADATA)
    (installed / "file_ledger-1.dist-info/entry_points.txt").write_text(
        "[gridclear.ledgers]\nfile = file_ledger:FileLedger\n"
    )
    (installed / "file_ledger.py").write_bytes((EXAMPLES / "file_ledger.py").read_bytes())
    monkeypatch.syspath_prepend(installed)
    importlib.invalidate_caches()
    monkeypatch.delitem(sys.modules, "file_ledger", raising=False)
    return find_adapter("file")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.service), "file"])
def bench(
    request: pytest.FixtureRequest, tmp_path: Path, signers: tuple[Signer, Signer]
) -> Iterator[Bench]:
    engines = []
    if request.param == "file":
        opener = request.getfixturevalue("third_party")
    else:

        def opener(location: str, signer: Signer) -> Ledger:
            engines.append(configure_sqlite(create_engine(location)))
            return SqlLog(engines[-1], signer)

    url = None
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_url")
    yield make_bench(opener, tmp_path, signers, kind=request.param, url=url)
    for engine in engines:
        engine.dispose()


def make_bench(
    opener: OpenLedger,
    folder: Path,
    signers: tuple[Signer, Signer],
    *,
    kind: str = "sqlite",
    url: str | None = None,
) -> Bench:
    numbers = itertools.count()

    def new_location() -> str:
        if url is not None:
            assert next(numbers) == 0, "one schema holds one log: every check opens one"
            return url
        path = folder / f"log-{next(numbers)}"
        return str(path) if kind == "file" else f"sqlite:///{path}"

    return Bench(
        open_ledger=opener,
        new_location=new_location,
        signer=signers[0],
        other_signer=signers[1],
    )


@pytest.mark.parametrize("item", CHECKS)
def test_every_adapter_passes(bench: Bench, item: str) -> None:
    CHECKS[item](bench)


def test_the_file_ledger_is_short_and_found_by_name(third_party: OpenLedger) -> None:
    assert len((EXAMPLES / "file_ledger.py").read_text().splitlines()) <= 60
    assert third_party.__name__ == "FileLedger"  # type: ignore[attr-defined]
    assert find_adapter("sql").__name__ == "open_sql_ledger"  # type: ignore[attr-defined]
    with pytest.raises(InputError, match=r"offered by 0 packages -> known: file, sql"):
        find_adapter("blockchain")


def test_a_stranger_checks_an_adapter_from_the_command_line(
    third_party: OpenLedger, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    document = (EXAMPLES.parent / "auditor.md").read_text()
    commands = document.split("```adapter\n")[1].split("```")[0].splitlines()
    said = ""
    for line in commands:
        if line.startswith("# "):
            assert line[2:] in said
            continue
        assert check_adapter.main(line.split()[3:]) == 0
        said = capsys.readouterr().out
    monkeypatch.setattr("ledger_adapter.check_adapter.find_adapter", lambda _name: AddsANode)
    assert check_adapter.main(["broken", "--location", "sqlite:///{path}"]) == 1
    assert "FAILED  proof_with_extra_node: NotConforming: " in capsys.readouterr().out
    monkeypatch.undo()
    assert check_adapter.main(["blockchain"]) == 2


def test_a_file_cut_off_by_a_crash_goes_on(
    third_party: OpenLedger, tmp_path: Path, signers: tuple[Signer, Signer]
) -> None:
    path = tmp_path / "log"
    first = third_party(str(path), signers[0]).post(make_batch(1, 2))
    third_party(str(path), signers[0]).post(make_batch(2, 2))
    path.write_bytes(path.read_bytes()[:-40])
    ledger = third_party(str(path), signers[0])
    assert ledger.head() == first
    assert ledger.post(make_batch(2, 2)).size == 4


# Broken adapters: each wraps a ledger that conforms and does one thing wrong.


class Broken:
    """Passes everything on to a sound ledger; a subclass spoils one answer."""

    def __init__(self, location: str, signer: Signer) -> None:
        self.location, self.signer = location, signer
        self.sound = SqlLog(configure_sqlite(create_engine(location)), signer)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.sound, name)

    def post(self, batch: Batch) -> Receipt:
        return self.sound.post(batch)

    def signed(self, receipt: Receipt, text: str, signer: Signer | None = None) -> Receipt:
        """Sign another text for the head of a receipt."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        by = signer or self.signer
        line = Ed25519PrivateKey.from_private_bytes(by.seed).sign(text.encode())
        note = Note(text=text, signatures=((by.key.name, by.key.key_id, line),))
        return replace(receipt, checkpoint=format_note(note))


def text_of(receipt: Receipt, signer: Signer) -> str:
    return format_checkpoint(
        Checkpoint(origin=signer.key.name, size=receipt.size, root=receipt.root)
    )


class AppendsReplays(Broken):
    def post(self, batch: Batch) -> Receipt:
        if self.sound.get(batch.key) is not None:
            key = bytes([*batch.key[:-1], batch.key[-1] ^ 128])
            return self.sound.post(replace(batch, key=key, first=None))
        return self.sound.post(batch)


class IgnoresConflicts(Broken):
    def post(self, batch: Batch) -> Receipt:
        return self.sound.get(batch.key) or self.sound.post(batch)


class IgnoresTooLarge(Broken):
    def post(self, batch: Batch) -> Receipt:
        size = self.sound.head().size
        return self.sound.post(replace(batch, first=size) if (batch.first or 0) > size else batch)


class IgnoresTooSmall(Broken):
    def post(self, batch: Batch) -> Receipt:
        size = self.sound.head().size
        small = batch.first is not None and batch.first < size
        return self.sound.post(replace(batch, first=None) if small else batch)


class ForgetsKeysAtRestart(AppendsReplays):
    def __init__(self, location: str, signer: Signer) -> None:
        super().__init__(location, signer)
        self.mine: set[bytes] = set()

    def post(self, batch: Batch) -> Receipt:
        if batch.key in self.mine:
            return self.sound.post(batch)
        self.mine.add(batch.key)
        return super().post(batch)


class KeepsToItself(Broken):
    """Counts what it posted itself, from what it saw when it started."""

    def __init__(self, location: str, signer: Signer) -> None:
        super().__init__(location, signer)
        self.size = self.sound.head().size

    def post(self, batch: Batch) -> Receipt:
        receipt = self.sound.post(replace(batch, first=self.size))
        self.size += len(batch.leaves)
        return receipt


class TakesEmptyBatches(Broken):
    def post(self, batch: Batch) -> Receipt:
        return self.sound.post(batch) if batch.leaves else self.sound.head()


class ProvesTheOnlyLeaf(Broken):
    def inclusion(self, index: int, size: int) -> list[bytes]:
        path = self.sound.inclusion(index, size)
        return path or [self.sound.head().root]


class WrongAtPowersOfTwo(Broken):
    def consistency(self, old: int, new: int) -> list[bytes]:
        path = self.sound.consistency(old, new)
        # A common slip: to give the old root away although the verifier has it.
        return [bytes(32), *path] if path and old & (old - 1) == 0 else path


class AnswersAnything(Broken):
    def entries(self, start: int, stop: int) -> Iterator[bytes]:
        return self.sound.entries(start, min(stop, self.sound.head().size))


class ChangesARecord(Broken):
    def entries(self, start: int, stop: int) -> Iterator[bytes]:
        return (leaf.replace(b"leaf 2", b"leaf 9") for leaf in self.sound.entries(start, stop))


class SwapsLeaves(Broken):
    def entries(self, start: int, stop: int) -> Iterator[bytes]:
        return iter(sorted(self.sound.entries(start, stop), reverse=True))


class DropsTheTail(Broken):
    """Holds the newest batch back and writes it with the next."""

    waiting: Batch | None = None
    shown: Receipt | None = None

    def post(self, batch: Batch) -> Receipt:
        if self.waiting is not None:
            self.sound.post(self.waiting)
        self.waiting = batch
        shadow = SqlLog(configure_sqlite(create_engine("sqlite://")), self.signer)
        size = self.sound.head().size
        if size:
            shadow.post(Batch(key=b"s" * 32, leaves=tuple(self.sound.entries(0, size))))
        self.shown = shadow.post(batch)
        return self.shown

    def head(self, at: Finality = Finality.LOCAL) -> Receipt:
        return self.shown or self.sound.head(at)


class SignsAShorterLogAgain(Broken):
    """After a restart it begins anew, and signs that."""

    opened: ClassVar[dict[str, int]] = {}

    def __init__(self, location: str, signer: Signer) -> None:
        number = self.opened.get(location, 0)
        self.opened[location] = number + 1
        super().__init__(f"{location}-{number}", signer)


class ShowsTwoHeads(Broken):
    asked = 0

    def head(self, at: Finality = Finality.LOCAL) -> Receipt:
        ShowsTwoHeads.asked += 1
        head = self.sound.head(at)
        if ShowsTwoHeads.asked % 2:
            return head
        other = replace(head, root=bytes(32))
        return self.signed(other, text_of(other, self.signer))


class AddsANode(Broken):
    def inclusion(self, index: int, size: int) -> list[bytes]:
        return [*self.sound.inclusion(index, size), bytes(32)]


class CountsFromOne(Broken):
    def post(self, batch: Batch) -> Receipt:
        receipt = self.sound.post(batch)
        return replace(receipt, first=receipt.first + 1)


class SignsWithAnotherKey(Broken):
    def post(self, batch: Batch) -> Receipt:
        seed = bytes(32)
        other = Signer(key=public_key(self.signer.key.name, seed), seed=seed)
        receipt = self.sound.post(batch)
        return self.signed(receipt, text_of(receipt, self.signer), other)


class TakesAnyKey(Broken):
    first: ClassVar[dict[str, Signer]] = {}

    def __init__(self, location: str, signer: Signer) -> None:
        super().__init__(location, self.first.setdefault(location, signer))


class AddsAnExtensionLine(Broken):
    def post(self, batch: Batch) -> Receipt:
        receipt = self.sound.post(batch)
        return self.signed(receipt, text_of(receipt, self.signer) + "village\n")


class WritesALeadingZero(Broken):
    def post(self, batch: Batch) -> Receipt:
        receipt = self.sound.post(batch)
        text = text_of(receipt, self.signer)
        return self.signed(receipt, text.replace(f"\n{receipt.size}\n", f"\n0{receipt.size}\n"))


BROKEN: dict[str, Callable[[str, Signer], Any]] = {
    "replay": AppendsReplays,
    "conflict": IgnoresConflicts,
    "gap": IgnoresTooLarge,
    "out_of_order": IgnoresTooSmall,
    "crash_between_send_and_record": ForgetsKeysAtRestart,
    "two_workers": KeepsToItself,
    "no_leaves": TakesEmptyBatches,
    "one_leaf": ProvesTheOnlyLeaf,
    "sizes_around_powers_of_two": WrongAtPowersOfTwo,
    "outside_the_log": AnswersAnything,
    "changed_record": ChangesARecord,
    "swapped_leaves": SwapsLeaves,
    "dropped_tail": DropsTheTail,
    "truncated_and_signed_again": SignsAShorterLogAgain,
    "split_view": ShowsTwoHeads,
    "proof_with_extra_node": AddsANode,
    "index_off_by_one": CountsFromOne,
    "signature_by_other_key": SignsWithAnotherKey,
    "key_rotation": TakesAnyKey,
    "checkpoint_extension_lines": AddsAnExtensionLine,
    "size_with_leading_zero": WritesALeadingZero,
}


def test_every_item_has_a_broken_adapter() -> None:
    assert BROKEN.keys() == CHECKS.keys()


@pytest.mark.parametrize("item", BROKEN)
def test_a_broken_adapter_fails_its_item_and_passes_another(
    item: str, tmp_path: Path, signers: tuple[Signer, Signer]
) -> None:
    bench = make_bench(BROKEN[item], tmp_path, signers)
    with pytest.raises(NotConforming):
        CHECKS[item](bench)
    # It is broken in one place, not altogether.
    passed = []
    for name, check in CHECKS.items():
        try:
            check(bench)
        except (NotConforming, LedgerError):
            continue
        passed.append(name)
    assert len(passed) >= 5, passed
