"""A market that runs a day in seconds: a small feeder, four intraday rounds."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

FEEDER = "village"
MARKET = """\
id = "four-rounds"
version = 1
effective_from = 2016-01-01
timezone = "Europe/Berlin"
mtu_minutes = 15
[day_ahead]
days_before = 1
gate = "13:30"
result_by = "13:45"
[intraday]
every_minutes = 360
gate_lead_minutes = 30
binding_periods = 24
[price]
eur_per_mwh_min = -500.0
eur_per_mwh_max = 3000.0
tick_eur_per_mwh = 0.01
scarcity_eur_per_mwh = 4000.0
[order]
power_tick_mw = 0.000001
power_min_mw = 0.0
[settlement]
imbalance = "single"
refund = "pro_rata_withdrawal"
[cycles]
release_signatures = {signatures}
forecast_every_minutes = 720
"""
ROOT = Path(__file__).parents[2]


def write_configs(
    folder: Path,
    *,
    signatures: int = 0,
    source: str = "1-LV-rural1--2-sw",
    feeder: str = FEEDER,
) -> Path:
    """Write the configuration, the feeder after a shipped one; return its folder."""
    (folder / "markets").mkdir(parents=True)
    (folder / "feeders").mkdir()
    (folder / "markets/four-rounds.toml").write_text(MARKET.format(signatures=signatures))
    shipped = (ROOT / f"configs/feeders/{source}.toml").read_text(encoding="utf-8")
    own = shipped.replace(f'id = "{source}"', f'id = "{feeder}"')
    own = own.replace('market = "local-energy"', 'market = "four-rounds"')
    (folder / f"feeders/{feeder}.toml").write_text(own, encoding="utf-8")
    return folder


def options(out: Path, configs: Path, keys: Path, store: str | None) -> list[str]:
    """Return the options that say where the market is."""
    words = ["--out", str(out), "--feeder", FEEDER, "--configs", str(configs), "--keys", str(keys)]
    return [*words, *(["--store", store] if store else []), "--quiet"]


def readme_commands(heading: str) -> list[list[str]]:
    """Return the words after ``dso`` of every command in a section of the README."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    lines = section.replace("\\\n", " ").splitlines()
    commands = [shlex.split(line) for line in lines if line.startswith("    ")]
    assert all(words[0] == ".venv/bin/dso" for words in commands)
    return [words[1:] for words in commands]


def start(*words: str, cwd: Path = ROOT) -> subprocess.Popen[str]:
    """Start a `dso` command in a process of its own."""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "dso.cli.main", *words],
        text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=cwd, env=environment,
    )  # fmt: skip


def hashed_files(out: Path) -> dict[str, bytes]:
    """Return every file of a market that must be equal between two runs, by name."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file()
        and path.name not in ("timings.json", ".lock")
        and not path.name.startswith("store.sqlite")
    }


def write_tight_configs(folder: Path, settings: str) -> Path:
    """The configuration of a day of case33bw in one round, with a voltage limit it cannot keep.

    ``settings`` is added to the feeder's file.
    """
    configs = write_configs(folder, source="case33bw")
    feeder = configs / f"feeders/{FEEDER}.toml"
    text = feeder.read_text()
    assert "vm_pu_min = 0.9\n" in text
    feeder.write_text(text.replace("vm_pu_min = 0.9\n", "vm_pu_min = 0.9866\n") + settings)
    market = configs / "markets/four-rounds.toml"
    market.write_text(
        market.read_text()
        .replace("every_minutes = 360", "every_minutes = 1440")
        .replace("binding_periods = 24", "binding_periods = 96")
        .replace("forecast_every_minutes = 720", "forecast_every_minutes = 1440")
    )
    return configs
