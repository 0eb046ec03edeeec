"""``python -m ledger_adapter.witness --folder DIR --log operator.vkey --name NAME``."""

from ledger_adapter.witness.command import main

raise SystemExit(main())
