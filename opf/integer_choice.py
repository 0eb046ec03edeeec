"""What is decided about the orders that are all or nothing: which blocks, which on periods."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from data.records.clearing import ClearingCase
from data.records.order import BlockOrder, CurtailOrder

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class IntegerChoice:
    """A value for every integer of an order book.

    Parameters
    ----------
    accepted : frozenset of str
        Blocks whose ratio lies between its minimum and 1; all others have the ratio 0.
    on : mapping
        Curtail order to its on periods, in rising order; orders not named are never on.
    """

    accepted: frozenset[str] = frozenset()
    on: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def accepts(self, order: str) -> bool:
        """Whether a block is accepted, or a curtail order on in any period."""
        return order in self.accepted or bool(self.on.get(order))

    def pattern(self, order: str, periods: int) -> Bools:
        """Return in which periods a curtail order is on, shape (periods,)."""
        pattern = np.zeros(periods, dtype=bool)
        pattern[list(self.on.get(order, ()))] = True
        return pattern

    def key(self) -> tuple[object, ...]:
        """Return what makes two choices equal, sorted."""
        switched = sorted((name, periods) for name, periods in self.on.items() if periods)
        return tuple(sorted(self.accepted)), tuple(switched)


NOTHING_ACCEPTED: Final = IntegerChoice()


def runs_of(pattern: Bools) -> list[tuple[int, int]]:
    """Return (first, last) of every run of on periods.

    Examples
    --------
    >>> runs_of(np.array([True, True, False, True]))
    [(0, 1), (3, 3)]
    """
    edges = np.diff(np.concatenate([[0], pattern.astype(np.int64), [0]]))
    first, after = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    return list(zip(first.tolist(), (after - 1).tolist(), strict=True))


def integer_orders(case: ClearingCase) -> tuple[BlockOrder | CurtailOrder, ...]:
    """Return the orders of a case that carry an integer."""
    return tuple(order for order in case.orders if isinstance(order, BlockOrder | CurtailOrder))
