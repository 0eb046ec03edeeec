"""The operator's store: which stage of which cycle ran, on what and with what result."""

from dso.store.records import Artefact, StageConflict, StageKey, StageRun
from dso.store.store import Store

__all__ = ["Artefact", "StageConflict", "StageKey", "StageRun", "Store"]
