"""Alembic's entry: runs the migrations on the connection that `upgrade` hands over."""

from __future__ import annotations

from alembic import context

from dso.store.migrations import VERSION_TABLE
from dso.store.tables import METADATA

# Both databases can undo table changes; a kill between two migrations leaves neither half.
context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    version_table=VERSION_TABLE,
    transactional_ddl=True,
)
context.run_migrations()
