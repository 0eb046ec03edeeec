"""``python -m ledger_adapter.verify BUNDLE --key FILE``."""

from ledger_adapter.verify.command import main

raise SystemExit(main())
