"""What is written down: ledger and anchor ports, the SQL Merkle log, the offline verifier."""
