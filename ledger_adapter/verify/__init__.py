"""Verify what was cleared and settled, offline, without trusting who wrote it.

Standard library and ``cryptography`` only; nothing else of this product is imported. As one file
for an auditor: ``python -m ledger_adapter.verify.zipapp OUT.pyz``, then
``python OUT.pyz BUNDLE --key OPERATOR.vkey``.
"""

from ledger_adapter.verify.bundle import Failure, Report, Unreadable, verify_bundle

__all__ = ["Failure", "Report", "Unreadable", "verify_bundle"]
