"""A small study that clears in a moment: case33bw, a few hours, PV that lifts a voltage."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from dso.clock import ReplayClock
from dso.studies import Study, new_study, parse_settings
from dso.studies.history import create_study

SUN = [0.5, 3.0, 2.9, 0.0]
PV = 'kind="generation", participant="planner", bus=17, price_eur_per_mwh=0'
CLOCK = ReplayClock(at=datetime(2026, 6, 1, 9, 30, tzinfo=UTC))


def small_study(periods: int = 4) -> Study:
    """3 MW of PV at the end of case33bw and a battery beside it, at 40 EUR/MWh."""
    study = new_study(
        "pandapower:case33bw",
        name="small",
        periods=periods,
        mtu_minutes=60,
        import_price_eur_per_mwh=40.0,
        limits={"line_loading_percent_max": 100.0},
    )
    return study.with_settings(
        parse_settings(
            [
                "limits.vm_pu_max=1.05",
                "line.0.max_i_ka=0.4",
                f"order.pv={{{PV}, p_mw_max={(SUN * (1 + periods // 4))[:periods]}}}",
                "battery.b1={bus=24, p_mw=0.2, energy_mwh=0.4, efficiency=0.95}",
            ]
        )
    )


def small_folder(folder: Path, periods: int = 4) -> Path:
    """The same on disk, with a history."""
    create_study(small_study(periods), folder, origin="a test", clock=CLOCK)
    return folder
