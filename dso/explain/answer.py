"""One answer, as text for a terminal and as JSON: the same numbers in both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from data.canonical import pretty_json
from dso.explain.order_words import order_sentences
from dso.explain.plain import order_fields, price_fields, status_fields
from dso.explain.price_words import price_sentences, status_sentences
from dso.explain.words import line_words, money, sensitivity_words, shadow_words, when
from dso.report.numbers import fixed
from opf.explanations.order import explain_order
from opf.explanations.price import explain_price
from opf.explanations.published import Published
from opf.explanations.records import BestUse, OrderExplanation, PriceExplanation, PriceLine
from opf.explanations.shortage import explain_status

SCHEMA: Final = "gridclear explanation 1"
HEADER: Final = ("part", "sensitivity", "shadow price", "EUR/MWh")
LINES_MAX: Final = 8
FIRST_NOTE_SPOKEN: Final = (
    "paradoxical", "not_feasible", "no_clearing", "no_cycle_pays", "no_move_pays",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Two sentences, a small table, notes, and the fields of the JSON document.

    ``table`` has a header first; empty where there is nothing to tabulate.
    """

    sentences: tuple[str, str]
    table: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]
    fields: dict[str, object]

    def text(self) -> str:
        """Return the answer for a terminal."""
        blocks = ["\n".join(self.sentences)]
        if self.table:
            blocks.append("\n".join(_aligned(self.table)))
        if self.notes:
            blocks.append("\n".join(f"note: {note}" for note in self.notes))
        return "\n\n".join(blocks)

    def json(self) -> str:
        """Return the answer as a JSON document (docs/explain.md)."""
        document = {
            "schema": SCHEMA,
            "sentences": list(self.sentences),
            "notes": list(self.notes),
            **self.fields,
        }
        return pretty_json(document).decode().rstrip("\n")


def answer_price(
    published: Published, bus: int, period: int, *, names_orders: bool = True
) -> Answer:
    """Explain the price of a bus in a period.

    Parameters
    ----------
    published : Published
        The clearing.
    bus, period : int
        Which price.
    names_orders : bool
        Whether the reader may know whose orders could have helped a limit that did not hold.
    """
    price = explain_price(published, bus, period)
    if not names_orders:
        short = tuple(replace(each, helpers=()) for each in price.short)
        price = replace(price, short=short)
    return Answer(
        sentences=price_sentences(published, price),
        table=_parts_table(price.lines, price.dlmp_p_eur_per_mwh, "DLMP"),
        notes=_price_notes(price),
        fields={"run": _run(published), **price_fields(published, price)},
    )


def answer_order(published: Published, order_id: str) -> Answer:
    """Explain what an order got."""
    order = explain_order(published, order_id)
    # the sentences say these already
    spoken = 1 if order.reason in FIRST_NOTE_SPOKEN else 0
    return Answer(
        sentences=order_sentences(published, order),
        table=_order_table(published, order),
        notes=order.notes[spoken:],
        fields={"run": _run(published), **order_fields(published, order)},
    )


def answer_status(published: Published) -> Answer:
    """Explain what a clearing could not do."""
    status = explain_status(published)
    rows = [
        (
            short.name,
            f"{len(short.periods)}",
            when(published.case, short.worst_period),
            f"{fixed(max(short.mw_short), 6)}",
            ", ".join(helper.order for helper in short.helpers[:3]) or "none",
        )
        for short in status.shortages[:LINES_MAX]
    ]
    header = ("limit", "periods", "worst in", "short [MW]", "orders that help most")
    return Answer(
        sentences=status_sentences(published, status),
        table=(header, *rows) if rows else (),
        notes=(),
        fields={"run": _run(published), **status_fields(published, status)},
    )


def _run(published: Published) -> dict[str, object]:
    result = published.result
    return {
        "name": result.case_name,
        "status": result.status,
        "input_sha256": result.input_sha256,
    }


def _price_notes(price: PriceExplanation) -> tuple[str, ...]:
    found = price.price_range
    if found is None or not found.degenerate:
        return ()
    low, high = money(found.low_eur_per_mwh), money(found.high_eur_per_mwh)
    note = (
        f"limits and orders meet in a corner: any price between {low} and {high} EUR/MWh fits the "
        "same schedule; the published one is the analytic centre of the optimal multipliers"
    )
    return (note,)


def _parts_table(
    lines: Sequence[PriceLine], total: float, name: str
) -> tuple[tuple[str, ...], ...]:
    shown, rest = lines[:LINES_MAX], lines[LINES_MAX:]
    rows = [
        (line_words(line), sensitivity_words(line), shadow_words(line),
         fixed(line.part_eur_per_mwh, 6))
        for line in shown
    ]  # fmt: skip
    if rest:
        together = sum(line.part_eur_per_mwh for line in rest)
        rows.append((f"{len(rest)} other limits", "", "", fixed(together, 6)))
    return (HEADER, *rows, (name, "", "", fixed(total, 6)))


def _order_table(published: Published, order: OrderExplanation) -> tuple[tuple[str, ...], ...]:
    if order.best_use is not None:
        return _use_table(published, order.best_use)
    if not order.lines or order.market_price_eur_per_mwh is None:
        return ()
    names = {"bilateral": "difference of DLMP"}
    name = names.get(order.kind, "price it meets")
    table = _parts_table(order.lines, order.market_price_eur_per_mwh, name)
    if order.limit_price_eur_per_mwh is None:
        return table
    return (*table, ("price of the order", "", "", fixed(order.limit_price_eur_per_mwh, 6)))


def _use_table(published: Published, best: BestUse) -> tuple[tuple[str, ...], ...]:
    rows = [("best use at the published prices", "period", "EUR/MWh")]
    for name, period, price in (
        ("take", best.take_period, best.take_price_eur_per_mwh),
        ("give", best.give_period, best.give_price_eur_per_mwh),
    ):
        if period is not None:
            rows.append((name, when(published.case, period), fixed(price, 6)))
    return (*rows, ("breaks even at a cost of", "", fixed(best.worth_eur_per_mwh, 6)))


def _aligned(table: Sequence[Sequence[str]]) -> list[str]:
    """Pad columns; the first to the left, numbers to the right."""
    widths = [max(len(row[k]) for row in table) for k in range(len(table[0]))]
    return [
        "  ".join(
            cell.ljust(width) if k == 0 else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    ]
