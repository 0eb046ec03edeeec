"""Energy certificates retired for a participant: shown on the statement, with their proof."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from data.canonical import csv_bytes, write_atomically
from data.periods import format_utc
from dso.settlement.html_parts import instant, kilo, table
from dso.settlement.tables import TableFolder

CERTIFICATES: Final = "certificates.csv"
CERTIFICATE_COLUMNS: Final = (
    "participant", "period_start", "source", "bus", "energy_wh", "certificate", "proof_sha256",
)  # fmt: skip
SHOWN: Final = 16
"""Signs shown of a digest; the table of the folder has all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateNote:
    """Certificates of one class that were retired for a participant.

    Parameters
    ----------
    participant : str
        Whom they were retired for.
    start : datetime
        Start of the quarter-hour in which the energy was injected.
    source, bus : str
        Technology of the asset and where it stands.
    energy_wh : int
        Energy retired [Wh].
    certificate : str
        Class of the certificate on the chain, hex after 0x.
    proof_sha256 : str
        SHA-256 of the proof of retirement, which `dso chain retire` writes.
    """

    participant: str
    start: datetime
    source: str
    bus: str
    energy_wh: int
    certificate: str
    proof_sha256: str


def read_certificates(files: TableFolder, known: Collection[str]) -> tuple[CertificateNote, ...]:
    """Read the table of retired certificates; problems are told to the folder."""
    if not (files.folder / CERTIFICATES).exists():
        return ()
    notes: list[CertificateNote] = []
    rows = files.table(CERTIFICATES, CERTIFICATE_COLUMNS).rows
    for row, (participant, label, source, bus, energy, certificate, proof) in rows:
        start = files.instant(CERTIFICATES, row, label)
        energy_wh = files.integer(CERTIFICATES, row, "energy_wh", energy)
        if participant not in known:
            files.complain(CERTIFICATES, f"unknown participant {participant!r}", row=row)
        if energy_wh is not None and energy_wh <= 0:
            files.complain(CERTIFICATES, f"energy_wh: {energy_wh} is not above 0", row=row)
        if start is not None and energy_wh is not None:
            notes.append(
                CertificateNote(
                    participant=participant,
                    start=start,
                    source=files.label(CERTIFICATES, row, "source", source),
                    bus=files.label(CERTIFICATES, row, "bus", bus),
                    energy_wh=energy_wh,
                    certificate=files.label(CERTIFICATES, row, "certificate", certificate),
                    proof_sha256=files.label(CERTIFICATES, row, "proof_sha256", proof),
                )
            )
    if len({note.proof_sha256 for note in notes}) < len(notes):
        files.complain(CERTIFICATES, "one proof stands for two rows", "a proof counts once")
    return tuple(sorted(notes, key=lambda note: (note.participant, note.start, note.certificate)))


def append_certificate(folder: Path, note: CertificateNote) -> None:
    """Add a row to the table of retired certificates of a settlement folder."""
    path = folder / CERTIFICATES
    known = path.read_bytes() if path.exists() else csv_bytes(CERTIFICATE_COLUMNS, [])
    row = (
        note.participant, format_utc(note.start), note.source, note.bus, str(note.energy_wh),
        note.certificate, note.proof_sha256,
    )  # fmt: skip
    added = csv_bytes(CERTIFICATE_COLUMNS, [row]).removeprefix(csv_bytes(CERTIFICATE_COLUMNS, []))
    write_atomically(path, known + added)


def certificate_section(notes: Sequence[CertificateNote]) -> str:
    """Return the certificates as a section of the statement; empty without any."""
    if not notes:
        return ""
    rows = [
        (
            instant(note.start),
            f"{note.source}\nat bus {note.bus}",
            kilo(note.energy_wh),
            f"{note.certificate[: SHOWN + 2]}\nproof {note.proof_sha256[:SHOWN]}",
        )
        for note in notes
    ]
    header = ("Injected from (UTC)", "Source", "Energy [kWh]", "Certificate and proof")
    total = kilo(sum(note.energy_wh for note in notes))
    return table("Certificates retired for you", header, rows, ("Sum", "", total, ""))
