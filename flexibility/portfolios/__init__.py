"""Virtual power plants: many devices as one order, and its award back to each of them."""

from flexibility.portfolios.aggregate import (
    Portfolio,
    PortfolioBook,
    aggregate_storages,
    widest_loss,
)
from flexibility.portfolios.disaggregate import disaggregate, split_watts

__all__ = [
    "Portfolio",
    "PortfolioBook",
    "aggregate_storages",
    "disaggregate",
    "split_watts",
    "widest_loss",
]
