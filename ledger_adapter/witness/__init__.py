"""A witness: cosigns the heads of logs it knows, and never two that contradict each other.

A small process of its own (``python -m ledger_adapter.witness``), to be run by somebody else than
the operator of the log: a regulator, an auditor, another grid operator. Protocol:
https://c2sp.org/tlog-witness.
"""

from ledger_adapter.witness.core import Answer, Witness

__all__ = ["Answer", "Witness"]
