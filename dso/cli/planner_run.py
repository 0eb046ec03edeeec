"""What planners' commands share: studies by folder, progress, files and a page in one folder."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from data.errors import InputError, Problem

if TYPE_CHECKING:
    from dso.progress import Progress
    from dso.studies import Study

PAGE_FILE = "index.html"


def add_output(parser: argparse.ArgumentParser) -> None:
    """Declare where the answer goes and how much is said."""
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="where tables and page go"
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="write into DIR although it holds files that are no previous output",
    )
    parser.add_argument("--quiet", action="store_true", help="show no progress")


def refuse_output(arguments: argparse.Namespace, marker: str) -> None:
    """Refuse an output folder before the work: nobody waits for an answer without a place."""
    from dso.cli.output_folder import refuse_foreign_folder

    refuse_foreign_folder(arguments.out, marker=marker, force=arguments.force)


def read_studies(folders: list[str]) -> list[tuple[str, Study]]:
    """Read studies; all problems of all of them at once.

    Returns
    -------
    list of (name, Study)
        Named by their folders.
    """
    from dso.studies import load_study

    problems: list[Problem] = []
    found = []
    for folder in folders:
        try:
            found.append((Path(folder).resolve().name, load_study(Path(folder))))
        except InputError as error:
            problems.extend(error.problems)
    if problems:
        raise InputError(problems)
    return found


@contextmanager
def shown_progress(arguments: argparse.Namespace) -> Iterator[Progress]:
    """Give a listener that shows progress as the terminal can."""
    from dso.cli.progress import make_progress

    progress = make_progress(quiet=arguments.quiet)
    try:
        yield progress
    finally:
        progress.close()


def write_answer(
    arguments: argparse.Namespace, marker: str, files: Mapping[str, bytes], page: bytes
) -> None:
    """Write all files and the page, or nothing."""
    from data.canonical import write_atomically
    from dso.cli.output_folder import staged_output

    with staged_output(arguments.out, marker=marker, force=arguments.force) as folder:
        for name, content in files.items():
            write_atomically(folder / name, content)
        write_atomically(folder / PAGE_FILE, page)
    print(f"tables and page in {arguments.out}")
