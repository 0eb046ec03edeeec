"""Where the broker's program stands."""

from __future__ import annotations

import os
import shutil

PLACES = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin")


def find_program() -> str | None:
    """Return the path of Mosquitto, or None; packages put it where only root looks."""
    return shutil.which("mosquitto", path=os.pathsep.join([os.environ.get("PATH", ""), *PLACES]))
