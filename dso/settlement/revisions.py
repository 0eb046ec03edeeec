"""A revised settlement as additions to the first: lines are never edited."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from data.records.settlement import SettlementLine, SettlementResult


def delta_lines(before: SettlementResult, after: SettlementResult) -> tuple[SettlementLine, ...]:
    """Return the lines to add to ``before`` so that the sums are those of ``after``.

    A line that no longer holds is reversed (quantity and amount negated, same price), a new one
    is added. Both settlements sum to zero per market and period, so the deltas do too.

    Returns
    -------
    tuple of SettlementLine
        Sorted by period; of one period, the reversals come first.
    """
    old, new = Counter(before.lines), Counter(after.lines)
    reversals = [
        replace(line, quantity_wh=-line.quantity_wh, amount_micro_eur=-line.amount_micro_eur)
        for line in (old - new).elements()
    ]
    additions = list((new - old).elements())

    def place(entry: tuple[int, SettlementLine]) -> tuple[object, ...]:
        step, line = entry
        return (
            line.period_start, step, line.market, line.participant, line.connection, line.kind,
            line.quantity_wh, line.amount_micro_eur,
        )  # fmt: skip

    steps = [*((0, line) for line in reversals), *((1, line) for line in additions)]
    return tuple(line for _, line in sorted(steps, key=place))
