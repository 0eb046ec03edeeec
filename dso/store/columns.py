"""Kinds of columns: one rule for instants, energies, money and digests in every table.

Instants are UTC text ``YYYY-MM-DDTHH:MM:SSZ``: equal on every database, sorts in time, and is what
files and keys show. Energy is integer Wh, power integer W and var, money integer micro-EUR, prices
integer micro-EUR/MWh, voltage integer mV, frequency integer mHz: nothing rounds between writing and
reading, and sums are exact on both databases.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import BigInteger, Column, ForeignKey, MetaData, String
from sqlalchemy.dialects.postgresql import VARCHAR
from sqlalchemy.sql.type_api import TypeEngine

# Constraints carry names, or a later migration could not drop them on PostgreSQL.
METADATA: Final = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_N_label)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)
UTC_LENGTH: Final = 20
# Partitions are ranges of text, so their order must be that of bytes whatever the database's is.
UTC_TEXT: Final[TypeEngine[Any]] = String(UTC_LENGTH).with_variant(
    VARCHAR(UTC_LENGTH, collation="C"), "postgresql"
)


def identifier(name: str, *, key: bool = False, optional: bool = False) -> Column[Any]:
    """Return a column for the id of a party, asset, order, run or market."""
    return Column(name, String(100), primary_key=key, nullable=optional)


def utc(name: str, *, key: bool = False, optional: bool = False) -> Column[Any]:
    """Return a column for an instant, UTC text."""
    return Column(name, UTC_TEXT, primary_key=key, nullable=optional)


def whole(name: str, *, optional: bool = False) -> Column[Any]:
    """Return a column for an integer quantity; its name ends in the unit."""
    return Column(name, BigInteger, nullable=optional)


def digest(name: str, *, optional: bool = False) -> Column[Any]:
    """Return a column for a SHA-256 in hex."""
    return Column(name, String(64), nullable=optional)


def run_key() -> Column[Any]:
    """Return the column that says which stage of which cycle a row came from."""
    return Column("run_id", ForeignKey("cycle_run.id", ondelete="CASCADE"), primary_key=True)
