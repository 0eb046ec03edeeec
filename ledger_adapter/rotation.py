"""Replace the key of a log, in an order that a crash at any point leaves whole."""

from __future__ import annotations

from ledger_adapter.bundle import receipt_for_leaf
from ledger_adapter.keys import OperatorKeys, prepare_next_key, promote_next_key
from ledger_adapter.sql_log import SqlLog
from ledger_adapter.verify.note import VerifierKey


def rotate_key(log: SqlLog, keys: OperatorKeys) -> tuple[VerifierKey, bytes]:
    """Draw a key, post the hand-over signed by both, make the new key the operator's.

    Returns
    -------
    tuple
        The new public key and the ``.tlog-proof`` of the hand-over, for auditors.
    """
    following = prepare_next_key(keys.folder)
    receipt = log.post_rotation(following)
    promote_next_key(keys.folder)
    return following.key, receipt_for_leaf(log, receipt.first, receipt).encode()
