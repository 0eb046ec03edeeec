"""What a statement says beside its lines: what a price was made of, meters, tariff, disputes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape

from data.records.settlement import Activation, SettlementCase
from data.units import WH_PER_MWH
from dso.settlement.certificate_notes import CertificateNote, certificate_section
from dso.settlement.disputes import Addition, Dispute
from dso.settlement.exact import divide_half_even
from dso.settlement.flexibility import FlexibilityOutcome, rate_activation
from dso.settlement.html_parts import eur, instant, kilo, table
from dso.settlement.markets import DAY_AHEAD
from dso.settlement.meter_notes import MEASURED, MeterNote
from dso.settlement.report_inputs import ReportInputs
from dso.settlement.scores import DeliveryScore, score_delivery
from dso.settlement.tariffs import PEAK, TariffCharge, charge_tariff

ADDITIONS_SHOWN = 40
STATES = {"open": "open, its lines stand still", "accepted": "accepted", "rejected": "rejected"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PricePiece:
    """One part of the day-ahead price, over all energy of a participant [Wh, micro-EUR]."""

    name: str
    amount_micro_eur: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReactiveNote:
    """Reactive energy of a connection [varh] and what it is worth at its price [micro-EUR]."""

    connection: str
    q_varh: int
    worth_micro_eur: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CallNote:
    """One activation: what was ordered by which rule, and what came of it."""

    start: datetime
    activation: Activation
    outcome: FlexibilityOutcome


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementNotes:
    """Everything beside the lines, of one participant."""

    pieces: tuple[PricePiece, ...] = ()
    reactive: tuple[ReactiveNote, ...] = ()
    meters: tuple[MeterNote, ...] = ()
    charges: tuple[TariffCharge, ...] = ()
    calls: tuple[CallNote, ...] = ()
    score: DeliveryScore | None = None
    certificates: tuple[CertificateNote, ...] = ()
    disputes: tuple[Dispute, ...] = ()
    additions: tuple[Addition, ...] = ()
    revision: int = 0
    sources: tuple[tuple[str, str], ...] = ()


def collect_notes(
    case: SettlementCase,
    inputs: ReportInputs,
    *,
    disputes: Sequence[Dispute] = (),
    additions: Sequence[Addition] = (),
    revision: int = 0,
) -> dict[str, StatementNotes]:
    """Return the notes of every participant of a case."""
    charges: dict[str, list[TariffCharge]] = defaultdict(list)
    for charge in charge_tariff(case, inputs.tariff) if inputs.tariff is not None else ():
        charges[charge.participant].append(charge)
    scores = {score.participant: score for score in score_delivery(case)}
    calls: dict[str, list[CallNote]] = defaultdict(list)
    for call in sorted(case.activations, key=lambda a: (a.period, a.connection)):
        calls[call.participant].append(
            CallNote(
                start=case.periods.starts[call.period],
                activation=call,
                outcome=rate_activation(call, case.periods.mtu_minutes),
            )
        )
    added: dict[str, list[Addition]] = defaultdict(list)
    for addition in additions:
        added[addition.line.participant].append(addition)
    pieces = _price_pieces(case)
    notes = {}
    for participant in sorted({p.participant for p in case.positions}):
        notes[participant] = StatementNotes(
            pieces=pieces.get(participant, ()),
            reactive=_reactive_notes(case, participant),
            meters=_meters_of(case, inputs.meters, participant),
            charges=tuple(charges[participant]),
            calls=tuple(calls[participant]),
            score=scores.get(participant),
            certificates=tuple(c for c in inputs.certificates if c.participant == participant),
            disputes=tuple(d for d in disputes if d.participant == participant),
            additions=tuple(added[participant]),
            revision=revision,
            sources=tuple(sorted((inputs.sha256 or {}).items())),
        )
    return notes


def _price_pieces(case: SettlementCase) -> dict[str, tuple[PricePiece, ...]]:
    """Split every participant's day-ahead amount onto the parts of its prices.

    ``q x DLMP = q x energy price + sum over elements q x part + q x losses``; the losses are what
    is left. Pieces are exact sums, rounded once each.
    """
    energy_price = case.substation.da_energy_micro_eur_per_mwh
    if case.split == "none" or energy_price is None:
        return {}
    parts: dict[tuple[int, int], list[tuple[str, int]]] = defaultdict(list)
    for part in case.parts:
        if part.market == DAY_AHEAD and part.p_micro_eur_per_mwh:
            kind = "voltage limit at bus" if part.element_kind == "bus" else part.element_kind
            name = f"{kind} {part.element} ({part.side})"
            parts[part.bus, part.period].append((name, part.p_micro_eur_per_mwh))
    prices = {p.bus: p.dlmp_da_micro_eur_per_mwh for p in case.prices}
    sums: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for p in case.positions:
        if p.is_bilateral:
            continue
        own = sums[p.participant]
        for period, quantity_wh in enumerate(p.da_wh):
            if not quantity_wh:
                continue
            rest = prices[p.bus][period] - energy_price[period]
            own["energy"] += quantity_wh * energy_price[period]
            for name, price in parts.get((p.bus, period), ()):
                own[name] += quantity_wh * price
                rest -= price
            own["losses"] += quantity_wh * rest
    return {
        participant: tuple(
            PricePiece(name=name, amount_micro_eur=divide_half_even(value, WH_PER_MWH))
            for name, value in sorted(found.items(), key=_piece_place)
        )
        for participant, found in sums.items()
    }


def _piece_place(item: tuple[str, int]) -> tuple[bool, bool, int, str]:
    """Energy and losses first, then elements by what they weigh."""
    name, value = item
    return name != "energy", name != "losses", -abs(value), name


def _reactive_notes(case: SettlementCase, participant: str) -> tuple[ReactiveNote, ...]:
    if case.rules.settle_reactive:
        return ()
    energy: dict[str, int] = defaultdict(int)
    worth: dict[str, int] = defaultdict(int)
    for q in case.reactive:
        if q.participant == participant:
            energy[q.connection] += q.q_varh
            worth[q.connection] += q.q_varh * q.price_micro_eur_per_mvarh
    return tuple(
        ReactiveNote(
            connection=connection,
            q_varh=energy[connection],
            worth_micro_eur=divide_half_even(worth[connection], WH_PER_MWH),
        )
        for connection in sorted(energy)
    )


def _meters_of(
    case: SettlementCase, meters: Sequence[MeterNote], participant: str
) -> tuple[MeterNote, ...]:
    """Return notes at a participant's connections within the time he holds them."""
    found = []
    for p in case.positions:
        if p.participant != participant:
            continue
        held = [t for t in range(case.periods.count) if p.is_held(t)]
        if not held:
            continue
        first = case.periods.start + held[0] * case.periods.mtu
        last = case.periods.start + (held[-1] + 1) * case.periods.mtu
        found += [
            note
            for note in meters
            if note.connection == p.connection and note.start < last and note.end > first
        ]
    return tuple(sorted(found, key=lambda note: (note.connection, note.start)))


def note_sections(notes: StatementNotes) -> list[str]:
    """Return the notes as sections of a page; empty ones are left out."""
    return [
        _dispute_section(notes.disputes),
        _addition_section(notes),
        _piece_section(notes.pieces),
        _meter_section(notes.meters),
        _call_section(notes.calls),
        _score_section(notes.score),
        certificate_section(notes.certificates),
        _reactive_section(notes.reactive),
        _tariff_section(notes.charges),
    ]


def _dispute_section(disputes: Sequence[Dispute]) -> str:
    """Tell every dispute in words: what is contested, the argument, how it ended."""
    if not disputes:
        return ""
    told = []
    for d in sorted(disputes, key=lambda d: (d.opened_at, d.id)):
        ended = "" if d.decided_at is None else f", {instant(d.decided_at)} UTC"
        decision = f"<p>Decision: {escape(d.reason)}</p>" if d.reason else ""
        told.append(
            f'<div class="note"><p><b>{escape(d.id)}: {STATES[d.state]}{ended}</b></p>'
            f'<p class="soft">{escape(_contested_text(d))}; opened {instant(d.opened_at)} UTC</p>'
            f"<p>You say: {escape(d.argument)}</p>{decision}</div>"
        )
    return f'<h2>Disputes</h2><section aria-label="Disputes">{"".join(told)}</section>'


def _contested_text(dispute: Dispute) -> str:
    where = dispute.connection or "all connections"
    return f"{where}, periods from {instant(dispute.start)} to {instant(dispute.end)}"


def _addition_section(notes: StatementNotes) -> str:
    if not notes.revision:
        return ""
    rows = [
        (
            instant(a.line.period_start),
            eur(a.line.amount_micro_eur, 4),
            a.line.kind.replace("_", " "),
            "taken back" if a.reverses else "booked",
            kilo(a.line.quantity_wh),
            a.line.connection or "-",
        )
        for a in notes.additions[:ADDITIONS_SHOWN]
    ]
    left = len(notes.additions) - len(rows)
    if left:
        rows.append(
            (f"and {left} more\nin the folder deltas of the settlement", "", "", "", "", "")
        )
    total = sum(a.line.amount_micro_eur for a in notes.additions)
    if not rows:
        rows.append(("nothing changed for you", "", "", "", "", ""))
    return table(
        f"What revision {notes.revision} added",
        ("Period from (UTC)", "Amount [EUR]", "Kind", "Entry", "Energy [kWh]", "Connection"),
        rows,
        ("Difference", eur(total, 4), "", "", "", ""),
    )


def _piece_section(pieces: Sequence[PricePiece]) -> str:
    if not pieces:
        return ""
    rows = [(piece.name, eur(piece.amount_micro_eur, 4)) for piece in pieces]
    total = sum(piece.amount_micro_eur for piece in pieces)
    return table(
        "What your day-ahead prices were made of",
        ("Part of the price", "Your share [EUR]"),
        rows,
        ("Day-ahead", eur(total, 4)),
    )


def _meter_section(meters: Sequence[MeterNote]) -> str:
    if not meters:
        return ""
    rows = [
        (
            note.connection,
            note.meter,
            instant(note.start),
            instant(note.end),
            note.method if note.method == MEASURED else f"{note.method}\nsubstituted value",
            note.source[:12] or "-",
        )
        for note in meters
    ]
    header = ("Connection", "Meter", "From (UTC)", "To (UTC)", "Values", "Readings SHA-256")
    return table("Meters", header, rows)


def _call_section(calls: Sequence[CallNote]) -> str:
    """Show every call with its rule: what was paid for, and what was penalised."""
    if not calls:
        return ""
    rows: list[tuple[str, ...]] = [
        (
            instant(call.start),
            call.activation.rule.replace("_", " "),
            kilo(call.activation.baseline_w),
            kilo(call.activation.ordered_w),
            kilo(call.activation.meter_w),
            kilo(call.outcome.paid_wh),
            kilo(call.outcome.deficiency_wh),
        )
        for call in calls[:ADDITIONS_SHOWN]
    ]
    left = len(calls) - len(rows)
    if left:
        rows.append((f"and {left} more\nin the CSV beside this page", *[""] * 6))
    header = (
        "Called from (UTC)", "Rule", "Baseline [kW]", "Ordered [kW]", "Meter [kW]", "Paid [kWh]",
        "Short [kWh]",
    )  # fmt: skip
    return table("Calls for flexibility; withdrawal is positive here", header, rows)


def _score_section(score: DeliveryScore | None) -> str:
    if score is None:
        return ""
    row = (
        str(score.activations), str(score.complete), kilo(score.ordered_wh),
        kilo(score.delivered_wh), f"{eur(100 * score.score_ppm, 1)} %",
    )  # fmt: skip
    header = (
        "Periods called", "Delivered in full", "Ordered [kWh]", "Delivered [kWh]", "Reliability",
    )  # fmt: skip
    return table("Delivery of flexibility", header, [row])


def _reactive_section(reactive: Sequence[ReactiveNote]) -> str:
    if not reactive:
        return ""
    rows = [(r.connection, kilo(r.q_varh), eur(r.worth_micro_eur, 4)) for r in reactive]
    header = ("Connection", "Reactive energy [kvarh]", "Worth at its price, not paid [EUR]")
    return table("Reactive energy, for information", header, rows)


def _tariff_section(charges: Sequence[TariffCharge]) -> str:
    if not charges:
        return ""
    rows = []
    for c in charges:
        peak = c.item == PEAK
        name = "peak of the month" if peak else f"band {c.item}"
        rows.append(
            (
                f"{c.connection}, {c.month}",
                name,
                f"{eur(1000 * c.quantity, 3)} kW" if peak else f"{kilo(c.quantity)} kWh",
                f"{eur(c.price_micro_eur)} EUR/{'kW' if peak else 'MWh'}",
                eur(c.amount_micro_eur, 4),
            )
        )
    total = sum(c.amount_micro_eur for c in charges)
    return table(
        "Network tariff, for information: not part of the sum above",
        ("Connection and month", "Item", "Quantity", "Price", "Amount [EUR]"),
        rows,
        ("Tariff", "", "", "", eur(total, 4)),
    )
