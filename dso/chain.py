"""What `dso day` and `dso chain` do on a chain: open it beside the log, anchor, mint."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from data.canonical import sha256_hex, write_atomically
from data.errors import InputError, Problem, refuse_if_any
from data.records.posting import Finality, Receipt
from dso.settlement.certificate_notes import CertificateNote, append_certificate
from ledger_adapter.anchors import AnchorBook, Anchoring, anchor_heads
from ledger_adapter.evm.anchor import EvmAnchor, read_chain_file
from ledger_adapter.evm.certificates import (
    QUARTER_S,
    Asset,
    CertificateDesk,
    Claim,
    Minted,
    claims_batch,
)
from ledger_adapter.evm.node import connect
from ledger_adapter.evm.sender import Sender, read_account
from ledger_adapter.open_log import open_logs
from ledger_adapter.ports import Caps, LedgerError
from ledger_adapter.publish import head_of_bundle
from ledger_adapter.sql_log import SqlLog

if TYPE_CHECKING:
    from data.records.settlement import SettlementCase


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenChain:
    """A log, its anchor on a chain, and what the anchor is known to hold."""

    log: SqlLog
    anchor: EvmAnchor
    book: AnchorBook
    sender: Sender | None


@contextmanager
def opened_chain(
    chain_file: Path, store: str, keys: Path | None, key: Path | None
) -> Iterator[OpenChain]:
    """Open a log and the chain its heads go to.

    Parameters
    ----------
    chain_file : Path
        What `dso chain deploy` wrote.
    store : str
        SQLite file or database URL of the log.
    keys : Path or None
        The operator's key folder; None: that of this user.
    key : Path or None
        Key file of the poster; None reads only.

    Raises
    ------
    InputError
        If a file cannot be used or the extra is missing.
    LedgerError
        If the node does not answer or is another, or the account may not post.
    """
    from dso.cli.day import default_keys

    place = read_chain_file(chain_file)
    connect(place.url)  # a missing extra is told before the database is opened
    account = None if key is None else read_account(key)
    opened = open_logs(store, keys or default_keys())
    logs = opened.__enter__()
    try:
        book = AnchorBook(logs.records.engine, logs.records.get)
        anchor = EvmAnchor(place, book.receipt, account=account)
        sender = None if account is None else Sender(anchor.chain, account)
        yield OpenChain(log=logs.records, anchor=anchor, book=book, sender=sender)
    finally:
        # Not by `with`: it would take an error of the chain for one of the store.
        opened.__exit__(None, None, None)


class OperatedAnchor:
    """The anchor of a running market: opened when it is first asked, again after it was down.

    Parameters
    ----------
    chain_file : Path
        What `dso chain deploy` wrote.
    key : Path
        Key file of the poster.
    book : AnchorBook
        What the anchor is known to hold.

    Raises
    ------
    InputError
        If a file cannot be used or the extra is missing.
    """

    def __init__(self, chain_file: Path, key: Path, book: AnchorBook) -> None:
        self._place = read_chain_file(chain_file)
        connect(self._place.url)  # a missing extra is told before anything begins
        self._account = read_account(key)
        self._book = book
        self._opened: EvmAnchor | None = None

    @property
    def caps(self) -> Caps:
        """What the chain can do."""
        return self._open().caps

    def submit(self, receipt: Receipt) -> Receipt:
        """Post a head; `EvmAnchor.submit`."""
        return self._open().submit(receipt)

    def status(self, key: bytes) -> Receipt:
        """Read how settled a key is; `EvmAnchor.status`."""
        return self._open().status(key)

    def evidence(self, key: bytes) -> bytes:
        """Return the evidence of a head; `EvmAnchor.evidence`."""
        return self._open().evidence(key)

    def _open(self) -> EvmAnchor:
        if self._opened is None:
            self._opened = EvmAnchor(self._place, self._book.receipt, account=self._account)
        return self._opened


def anchor_bundle(chain: OpenChain, bundle: Path | None, evidence: Path | None) -> Anchoring:
    """Anchor every head that is not final, that of a bundle last; write that one's evidence.

    The evidence is of the newest final block that holds the head, or of the newest block where
    none does yet.
    """
    if evidence is not None and bundle is None:
        what = "is of the head of a bundle"
        raise InputError([Problem(where="--evidence", what=what, remedy="give --bundle")])
    keys = chain.book.open_keys()
    wanted = None if bundle is None else head_of_bundle(chain.log, bundle).key
    if wanted is not None and wanted not in keys:
        keys.append(wanted)
        keys.sort(key=lambda key: _size(chain.log, key))
    done = anchor_heads(chain.book, chain.anchor, keys)
    if evidence is not None and wanted is not None and not done.waiting:
        reached = chain.anchor.status(wanted).finality
        block = "finalized" if reached is Finality.FINAL else "latest"
        write_atomically(evidence, chain.anchor.evidence(wanted, block=block))  # type: ignore[arg-type]
    return done


def anchor_day(
    *, out: Path, store: str | None, keys: Path | None, chain_file: Path, key: Path
) -> tuple[EvmAnchor, Anchoring]:
    """Anchor a finished day; its evidence stands beside its bundle, not in it."""
    from dso.bootstrap import STORE_FILE

    with opened_chain(chain_file, store or str(out / STORE_FILE), keys, key) as chain:
        return chain.anchor, anchor_bundle(chain, out / "bundle", out / "anchor-evidence.json")


def mint_settled(chain: OpenChain, settlement: Path, assets: Sequence[str]) -> list[Minted]:
    """Claim the settled injection of assets in the log, anchor the claims and mint them.

    Parameters
    ----------
    chain : OpenChain
        Opened with the poster's key.
    settlement : Path
        Settlement folder of the day.
    assets : sequence of str
        ``N=CONNECTION``: the registered asset of a connection.

    Raises
    ------
    InputError
        If a pair cannot be read, a connection is unknown or does not stand at the asset's bus, or
        periods are no quarter-hours.
    LedgerError
        If the chain refuses.
    """
    from dso.settlement.read_case import read_settlement

    case = read_settlement(settlement)
    desk = CertificateDesk(chain.anchor.place, chain.sender)
    claims = settled_claims(case, {desk.asset(n): name for n, name in _pairs(assets)})
    day = case.periods.start.isoformat()
    numbers = ",".join(map(str, sorted({claim.asset.number for claim in claims})))
    batch = claims_batch(
        {"run": "certificates", "interval": day, "assets": numbers, "revision": 0},
        claims,
        desk.registry.address,
    )
    receipt = chain.log.post(batch)
    done = anchor_heads(chain.book, chain.anchor, [*_open_before(chain, receipt.size), batch.key])
    if done.waiting:
        raise LedgerError(f"the claims are in the log and wait for the chain: {done.reason}")
    return desk.mint(claims, receipt, chain.log)


def retire_for(
    *, chain_file: Path, key: Path, token: int, energy_wh: int, participant: str, settlement: Path
) -> CertificateNote:
    """Retire certificates of the key's account for a participant and note it in a settlement.

    The proof is written to ``certificates/`` of the settlement folder and the row that its
    statement shows to ``certificates.csv``; `dso settle` puts both on the statement.

    Parameters
    ----------
    chain_file : Path
        What `dso chain deploy` wrote.
    key : Path
        Key file of the holder.
    token, energy_wh : int
        Class of the certificates and how much of it is retired [Wh].
    participant : str
        Whose statement it ends on.
    settlement : Path
        Settlement folder, or a copy of it.

    Raises
    ------
    InputError
        If the participant is none of the settlement or nothing was minted in the class.
    LedgerError
        If the chain refuses.
    """
    from dso.settlement.read_case import read_settlement

    case = read_settlement(settlement)
    if participant not in {position.participant for position in case.positions}:
        what = f"is no participant of {settlement}"
        raise InputError([Problem(where=f"--participant {participant}", what=what)])
    place = read_chain_file(chain_file)
    sender = Sender(connect(place.url), read_account(key))
    desk = CertificateDesk(place, sender)
    origin = desk.origin(token)
    # The digest of the settlement is known to its parties alone: others cannot guess the name.
    about = f"{participant}\n{sha256_hex((settlement / 'positions.csv').read_bytes())}"
    sent = desk.retire(token, energy_wh, bytes.fromhex(sha256_hex(about.encode())))
    proof, _ = desk.retirement_evidence(sender.address, token, sent["blockNumber"])
    digest = sha256_hex(proof)
    write_atomically(settlement / "certificates" / f"{digest[:16]}.json", proof)
    note = CertificateNote(
        participant=participant,
        start=datetime.fromtimestamp(origin.start_s, UTC),
        source=origin.asset.source,
        bus=str(origin.asset.bus),
        energy_wh=energy_wh,
        certificate=f"0x{token:064x}",
        proof_sha256=digest,
    )
    append_certificate(settlement, note)
    return note


def settled_claims(case: SettlementCase, connections: dict[Asset, str]) -> list[Claim]:
    """Return what each asset injected and was settled for, by quarter-hour; zeros are left out.

    Raises
    ------
    InputError
        If a connection is unknown or has several holders, or periods are no quarter-hours.
    """
    problems = []
    if case.periods.mtu_minutes * 60 != QUARTER_S:
        problems.append(Problem(where="settlement", what="its periods are no quarter-hours"))
    claims = []
    for asset, name in connections.items():
        held = [p for p in case.positions if p.connection == name and p.bus_to is None]
        if len(held) != 1:
            problems.append(Problem(where=f"connection {name}", what=f"stands {len(held)} times"))
            continue
        if str(held[0].bus) != str(asset.bus):
            what = f"stands at bus {held[0].bus}, the asset is registered at {asset.bus}"
            problems.append(Problem(where=f"connection {name}", what=what))
        claims += [
            Claim(asset=asset, start_s=round(start.timestamp()), energy_wh=energy)
            for start, energy in zip(case.periods.starts, held[0].meter_wh, strict=True)
            if energy > 0
        ]
    refuse_if_any(problems)
    return claims


def _pairs(assets: Sequence[str]) -> list[tuple[int, str]]:
    problems, found = [], []
    for text in assets:
        number, _, name = text.partition("=")
        if not (number.isdecimal() and name):
            what = f"{text!r} is no asset of a connection"
            problems.append(Problem(where="--asset", what=what, remedy="write --asset 1=NAME"))
        else:
            found.append((int(number), name))
    refuse_if_any(problems)
    return found


def _open_before(chain: OpenChain, size: int) -> list[bytes]:
    """Keys that wait and stand before a size: the chain takes heads in order only."""
    return [key for key in chain.book.open_keys() if _size(chain.log, key) < size]


def _size(log: SqlLog, key: bytes) -> int:
    receipt = log.get(key)
    if receipt is None:
        raise LedgerError(f"key {key.hex()} is not in the log")
    return receipt.size
