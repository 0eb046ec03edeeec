"""The operator's store: what is known, what is due, which stage ran and with what result."""

from sqlalchemy import Connection

from dso.store.due import DueQueue
from dso.store.due_records import DueCycle, Ending, Fallback, LeasedCycle, Light, Signature
from dso.store.records import Artefact, StageConflict, StageKey, StageRun
from dso.store.store import DATABASE_GONE, Store

__all__ = [
    "DATABASE_GONE", "Artefact", "Connection", "DueCycle", "DueQueue", "Ending", "Fallback",
    "LeasedCycle", "Light", "Signature", "StageConflict", "StageKey", "StageRun", "Store",
]  # fmt: skip
