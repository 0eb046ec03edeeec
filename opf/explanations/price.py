"""Why the price at a bus is what it is."""

from __future__ import annotations

from opf.explanations.degenerate import price_range
from opf.explanations.published import Published
from opf.explanations.records import PriceExplanation
from opf.explanations.shortage import list_shortages


def explain_price(published: Published, bus: int, period: int) -> PriceExplanation:
    """Take the price of a bus apart, by causes that add up to it.

    Parameters
    ----------
    published : Published
        A clearing with prices.
    bus : int
        Index of a bus in service.
    period : int
        Number of the period.

    Returns
    -------
    PriceExplanation

    Raises
    ------
    KeyError
        If the network has no such bus.
    """
    row, prices = published.row_of[bus], published.result.prices
    lines = published.lines({bus: 1.0}, period)
    limits = {str(line.key) for line in lines if line.part_eur_per_mwh}
    return PriceExplanation(
        bus=bus,
        period=period,
        dlmp_p_eur_per_mwh=float(prices.dlmp_p_eur_per_mwh[row, period]),
        dlmp_q_eur_per_mvarh=float(prices.dlmp_q_eur_per_mvarh[row, period]),
        import_price_eur_per_mwh=float(published.case.import_price_eur_per_mwh[period]),
        lines=tuple(line for line in lines if line.cause != "limit" or line.part_eur_per_mwh),
        price_range=price_range(published, {bus: 1.0}, period),
        short=tuple(
            short
            for short in list_shortages(published)
            if str(short.key) in limits and period in short.periods
        ),
    )
