"""`dso sweep`: many variants of a study, in parallel."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from dso.cli.cluster_options import add_cluster_options

DESCRIPTION: Final = """\
Clear many variants of a study in parallel and put them into one table (CSV, JSON and a page with a
plot). Each variant's folder is a study with its output, finished as a whole or not there. Stopped
by Ctrl-C or killed at any time, the same command goes on with what is missing, and the table has
the same bytes as if nothing had happened."""

EPILOG: Final = """\
examples:
  dso sweep sweep.toml --out out/sweep
  dso sweep sweep.toml --out out/sweep --workers 1 --retry-failed
  dso sweep sweep.toml --out /shared/sweep --cluster tcp://10.0.0.5:8786    on other machines
  dso show out/sweep/variants/NAME

sweep.toml:
  base = "my-study"                    # a study folder, relative to this file
  # template = "case33bw-pv"           # or a template instead: dso study templates
  [settings]                           # optional, for every variant
  "limits.vm_pu_max" = 1.05
  [grid]                               # every combination of the values
  "import_price.factor" = [0.8, 1.0, 1.2]
  "line.3.max_i_ka" = [0.15, 0.2, 0.25, 0.3]
  [[variant]]                          # and, or instead, one by one
  name = "with a battery"
  [variant.settings]
  "battery.b1" = {bus = 17, p_mw = 1.0, energy_mwh = 2.0, efficiency = 0.95}

What can be set: dso study set --help

exit codes:
  0  every variant is cleared, with or without slack
  2  bad input: every problem of the file and its base is listed and nothing is cleared
  3  some variants failed or are not certified: their rows say why
  130  interrupted: what was finished is kept"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `dso sweep`."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.add_argument("spec", type=Path, metavar="SPEC.toml", help="what to clear")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="where variants and table go"
    )
    parser.add_argument(
        "--workers", type=int, metavar="N", help="processes at a time (default: one per core)"
    )
    add_cluster_options(parser)
    parser.add_argument("--retry-failed", action="store_true", help="run again what failed before")
    parser.add_argument(
        "--force",
        action="store_true",
        help="write into DIR although it holds files that are no previous output",
    )
    parser.add_argument("--quiet", action="store_true", help="show no progress")


def run(arguments: argparse.Namespace) -> int:
    """Read, clear what is missing, write the table; return the exit code."""
    import os

    from data.errors import InputError, Problem
    from data.results import CERTIFIED
    from dso.cli.cluster_options import clearer_on_cluster
    from dso.cli.output_folder import refuse_foreign_folder
    from dso.cli.progress import make_progress
    from dso.studies.sweep import SPEC_FILE, run_sweep
    from dso.studies.sweep_spec import read_sweep

    cores = len(os.sched_getaffinity(0))
    workers = cores if arguments.workers is None else arguments.workers
    if workers < 1:
        raise InputError([Problem(where="--workers", what=f"is {workers}", remedy="at least 1")])
    refuse_foreign_folder(arguments.out, marker=SPEC_FILE, force=arguments.force)
    progress = make_progress(quiet=arguments.quiet)
    try:
        progress.stage("read the base")
        sweep = read_sweep(arguments.spec)
        with clearer_on_cluster(arguments) as clearer:
            outcomes = run_sweep(
                sweep,
                arguments.out,
                workers=workers,
                retry_failed=arguments.retry_failed,
                progress=progress,
                clearer=clearer,
            )
    finally:
        progress.close()
    ran = sum(outcome.ran for outcome in outcomes)
    bad = [outcome for outcome in outcomes if outcome.status not in CERTIFIED]
    print(
        f"{sweep.name}: {len(outcomes)} variants, {ran} cleared now, {len(outcomes) - ran} before"
    )
    for outcome in bad:
        print(f"  {outcome.name}: {outcome.status}: {outcome.reason}")
    print(f"table in {arguments.out}/sweep.csv, page in {arguments.out}/index.html")
    return 3 if bad else 0
