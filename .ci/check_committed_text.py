"""Refuse committed text that names a package host, a path of one machine or a private key.

A lock file holds names, versions and hashes; a document holds relative paths. Whatever else creeps
in tells strangers about the machine it was written on and breaks on every other.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

# Written with character classes so that this file does not match itself.
FORBIDDEN = {
    "a package index": re.compile(
        r"[i]ndex-url|/simpl[e]/|\"resolved\": \"[h]ttps?:|registry = \"[h]ttps?:"
    ),
    "a path of one machine": re.compile(r"(?<![\w.~}])/(?:wor[k]|far[m]|roo[t]|tm[p])/"),
    "a private key": re.compile(
        r"BEGIN [A-Z ]*PRIVATE [K]EY|PRIVATE[+]KEY[+]\S+[+][0-9a-f]{8}[+]\S{20}"
    ),
}


def committed_files() -> list[Path]:
    """Return the files under version control."""
    listing = subprocess.run(["git", "ls-files", "-z"], capture_output=True, check=True, text=True)
    return [Path(name) for name in listing.stdout.split("\0") if name]


def findings(path: Path) -> list[str]:
    """Return one line per forbidden text in a file; files that are not text have none."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (UnicodeDecodeError, FileNotFoundError):
        return []
    return [
        f"{path}:{number}: {what}: {line.strip()[:120]}"
        for number, line in enumerate(lines, start=1)
        for what, pattern in FORBIDDEN.items()
        if pattern.search(line)
    ]


def main() -> int:
    """Print every finding; 0 when there is none."""
    found = [line for path in committed_files() for line in findings(path)]
    if found:
        sys.stdout.write("\n".join(found) + "\n")
        return 1
    sys.stdout.write("No package host, machine path or private key in the committed files.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
