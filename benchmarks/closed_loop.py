"""A whole day of real time over a real broker: what the one-minute correction leaves broken.

192 devices of 1-MV-rural--2-sw, each with its own agent and connection; 10 % are late by two or
three minutes, 5 % fall silent, 2 % lie about their state of charge. The same day runs without the
correction and with it; power-grid-model replays what the devices did.

    DSO_TEST_MQTT_URL=mqtt://127.0.0.1:1883 python -m benchmarks.closed_loop [HOURS [HH:MM]]

Where DSO_BENCH_OUT names a folder, tables and picture go there and the document stays as it is.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

from benchmarks.document import replace_section
from benchmarks.machine import REPOSITORY, describe_machine
from data.canonical import write_atomically
from dso.bootstrap import load_grid
from dso.config import load_feeder, load_market
from dso.cycles.plan import plan_day
from dso.realtime.day_files import SIZE, day_files, draw_day, summary
from dso.realtime.rehearsal import rehearse
from dso.realtime.simulation import Run, Scene

DAY = date(2016, 7, 25)
FEEDER = "1-MV-rural--2-sw"
PICTURE = REPOSITORY / "docs" / "pictures" / "closed-loop-light.png"


def say(text: str) -> None:
    """Tell what goes on."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def take_picture(page: str, path: Path) -> None:
    """Photograph a page."""
    from playwright.sync_api import sync_playwright

    program = os.environ.get("DSO_CHROMIUM", "/usr/bin/chromium")
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as scratch:
        browser = playwright.chromium.launch(
            executable_path=program, args=["--headless", "--no-sandbox", "--disable-gpu"]
        )
        file = Path(scratch) / "page.html"
        file.write_text(page, encoding="utf-8")
        shown = browser.new_page(viewport={"width": SIZE[0], "height": SIZE[1]})
        shown.goto(file.as_uri())
        shown.wait_for_selector(".main-svg")
        shown.screenshot(path=path)
        browser.close()


def describe(scene: Scene, runs: dict[str, Run], seconds: float) -> str:
    """Return the section of the document."""
    found = summary(scene, runs)
    who = f"{found['late']} late, {found['silent']} silent, {found['lying']} lying"
    what = f"{FEEDER}, {DAY}, {found['minutes']} minutes, {found['devices']} devices: {who}."
    head = (
        "run", "carried by", "violated MWh", "over all limits MWh", "minutes", "episodes",
        "longest min", "fed in MWh", "letters",
    )  # fmt: skip
    lines = [
        describe_machine(),
        "",
        f"{what} {seconds:.0f} s for both runs.",
        "",
        f"| {' | '.join(head)} |",
        "|---" * len(head) + "|",
    ]
    for name, run in runs.items():
        figures = run.figures
        lines.append(
            f"| {name} | {run.carrier.split(' ')[0]} | {figures.violated_mwh:.4f} | "
            f"{figures.violated_element_mwh:.4f} | {figures.minutes} | {len(figures.episodes)} | "
            f"{figures.longest_minutes} | {figures.fed_in_mwh:.2f} | {run.record.letters} |"
        )
    return "\n".join(lines)


def main() -> int:
    """Run, write the section and the picture."""
    hours = float(sys.argv[1]) if len(sys.argv) > 1 else None
    begin = sys.argv[2] if len(sys.argv) > 2 else "00:00"
    # More BLAS threads only wait for each other; the processes of the runs inherit this.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    broker = os.environ.get("DSO_TEST_MQTT_URL")
    if broker is None:
        sys.stderr.write("set DSO_TEST_MQTT_URL to a broker\n")
        return 2
    feeder = load_feeder(FEEDER, DAY)
    grid = load_grid(feeder)
    with tempfile.TemporaryDirectory() as scratch:
        plan = plan_day(
            day=DAY,
            out=Path(scratch) / "day",
            feeder=feeder,
            rules=load_market(feeder.market, DAY),
            grid=grid,
        )
        began = time.perf_counter()
        scene, runs = rehearse(plan, grid, begin=begin, hours=hours, broker=broker, told=say)
    seconds = time.perf_counter() - began
    section = describe(scene, runs, seconds)
    say(section)
    out = Path(os.environ.get("DSO_BENCH_OUT") or tempfile.mkdtemp())
    page = draw_day(scene, runs)
    files = {**day_files(scene, runs), "index.html": page.encode(), "section.md": section.encode()}
    for name, content in files.items():
        write_atomically(out / name, content)
    take_picture(page, out / PICTURE.name)
    say(f"tables, page and picture in {out}")
    if hours is None and "DSO_BENCH_OUT" not in os.environ:
        take_picture(page, PICTURE)
        replace_section("Real-time correction: a whole day over a broker", section)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
