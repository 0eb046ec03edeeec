"""Build the verifier as one file: ``python -m ledger_adapter.verify.zipapp OUT.pyz``.

Equal sources give equal bytes: names sorted, no times. The file needs Python and ``cryptography``.
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path
from typing import Final

EPOCH: Final = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip can carry
START: Final = b"""from ledger_adapter.verify.command import main

raise SystemExit(main())
"""


def build_zipapp(target: Path) -> Path:
    """Write the verifier to ``target`` and return it."""
    here = Path(__file__).parent
    sources = {"ledger_adapter/__init__.py": b"", "__main__.py": START}
    for path in here.glob("*.py"):
        sources[f"ledger_adapter/verify/{path.name}"] = path.read_bytes()
    with target.open("wb") as stream:
        stream.write(b"#!/usr/bin/env python3\n")
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
            for name in sorted(sources):
                archive.writestr(zipfile.ZipInfo(name, EPOCH), sources[name])
    target.chmod(0o755)
    return target


if __name__ == "__main__":
    build_zipapp(Path(sys.argv[1]))
