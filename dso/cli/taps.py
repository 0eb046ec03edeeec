"""`dso taps`: the best tap positions and capacitor steps of a study."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from dso.cli.planner_run import (
    add_output,
    read_studies,
    refuse_output,
    shown_progress,
    write_answer,
)

MARKER: Final = "taps.json"
DESCRIPTION: Final = """\
Find the tap positions and capacitor steps at which the market costs least, one position for all
periods: by clearing every combination, by following the gradient of the cost at fractional
positions and rounding, or both. The market is cleared anew with the positions fixed, so prices are
those of the fixed taps: dso clear on the study of --save gives the same."""

EPILOG: Final = """\
examples:
  dso taps study --out out/taps
  dso taps study --method relax --save out/study-with-taps --out out/taps
  dso taps study --bank 0:-0.3:4 --bank 1:-0.2:3 --out out/banks

--bank SHUNT:MVAR_PER_STEP:STEPS is a shunt of the network with equal steps; a capacitor has a
negative power. Parallel transformers move together. A transformer has a tap changer where the
network states tap_changer_type, tap_pos, tap_min and tap_max.

writes trials.csv (every clearing), taps.json and index.html

exit codes:
  0  found, the best positions are certified
  2  bad input: every problem is listed, nothing is written
  4  found, but certified with slack: limits that could not hold at any position tried"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `dso taps`."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.add_argument("study", metavar="STUDY", help="the study folder")
    parser.add_argument(
        "--trafo", action="append", type=int, metavar="ID",
        help="transformer that may move; may be repeated (default: all with a tap changer)",
    )  # fmt: skip
    parser.add_argument(
        "--bank", action="append", default=[], metavar="SHUNT:MVAR:STEPS",
        help="capacitor bank that may move; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--method", choices=("sweep", "relax", "both"), default="both", help="default: both"
    )
    parser.add_argument(
        "--combinations-max", type=int, default=2000, metavar="N",
        help="refuse a sweep of more (default 2000)",
    )  # fmt: skip
    parser.add_argument(
        "--save", type=Path, metavar="DIR", help="write the study with the best positions"
    )
    add_output(parser)


def run(arguments: argparse.Namespace) -> int:
    """Read, search, write; return the exit code of the best positions' status."""
    from dso.cli.output_folder import refuse_foreign_folder, staged_output

    refuse_output(arguments, MARKER)
    if arguments.save is not None:
        refuse_foreign_folder(arguments.save, marker="study.toml", force=arguments.force)
    ((name, study),) = read_studies([arguments.study])

    from data.records.clearing import EXIT_CODES
    from dso.studies import save_study
    from dso.studies.taps import find_taps, settings_of_positions, tap_files
    from dso.studies.taps_page import render_taps

    with shown_progress(arguments) as progress:
        answer = find_taps(
            name,
            study,
            trafos=arguments.trafo,
            banks=arguments.bank,
            method=arguments.method,
            combinations_max=arguments.combinations_max,
            progress=progress,
        )
    best = answer.best
    print(f"best: {' '.join(map(str, settings_of_positions(answer.controls, best.positions)))}")
    print(f"objective {best.cost_eur:,.4f} EUR, {best.status}")
    if answer.present is not None:
        print(f"now       {answer.present.cost_eur:,.4f} EUR, {answer.present.status}")
    for words, trial, count in (
        ("sweep", answer.by_sweep, answer.sweep_clearings),
        ("relax and round", answer.by_relaxation, answer.relaxation_clearings),
    ):
        if trial is not None:
            print(f"{words}: {trial.cost_eur:,.4f} EUR in {count} clearings")
    write_answer(arguments, MARKER, tap_files(answer), render_taps(answer))
    if arguments.save is not None:
        with staged_output(arguments.save, marker="study.toml", force=arguments.force) as folder:
            save_study(answer.fixed, folder)
        print(f"study with these positions in {arguments.save}")
    return EXIT_CODES[best.status]
