"""Output folders: all of a result or nothing, and never on top of somebody else's files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data.errors import InputError, Problem


def refuse_foreign_folder(out: Path, *, marker: str, force: bool) -> None:
    """Refuse an output folder that holds files which are not a previous output.

    Parameters
    ----------
    out : Path
        The folder asked for; it need not exist.
    marker : str
        A file that every output of this command holds, e.g. ``summary.json``.
    force : bool
        Write into it all the same.

    Raises
    ------
    InputError
        If ``out`` is a file, or holds something and not ``marker``, without ``force``.
    """
    if out.exists() and not out.is_dir():
        problem = Problem(where=str(out), what="is a file", remedy="name a folder with --out")
        raise InputError([problem])
    if force or not out.exists() or (out / marker).is_file():
        return
    held = sorted(entry.name for entry in out.iterdir())
    if held:
        listed = ", ".join(held[:3]) + (", ..." if len(held) > 3 else "")
        raise InputError(
            [
                Problem(
                    where=str(out),
                    what=f"holds {len(held)} entries that this command did not write ({listed})",
                    remedy="name another folder with --out, or add --force to write into it",
                )
            ]
        )


@contextmanager
def staged_output(out: Path, *, marker: str, force: bool = False) -> Iterator[Path]:
    """Give a folder to write into; its entries reach ``out`` only when the block ends well.

    Entries of the same name are replaced, others stay. The marker moves last, so that a folder with
    a marker is always a whole output. After an error nothing is left and ``out`` is not created.

    Parameters
    ----------
    out, marker, force
        As in `refuse_foreign_folder`.

    Yields
    ------
    Path
        A new empty folder beside ``out``.
    """
    refuse_foreign_folder(out, marker=marker, force=force)
    made_here = [folder for folder in (out.parent, *out.parent.parents) if not folder.exists()]
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.parent / f".{out.name}.{os.getpid()}.partial"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
    except BaseException:
        shutil.rmtree(temporary)
        for folder in made_here:
            folder.rmdir()
        raise
    if out.exists():
        _merge(temporary, out, marker=marker)
    else:
        temporary.replace(out)


def _merge(source: Path, target: Path, *, marker: str) -> None:
    (target / marker).unlink(missing_ok=True)
    for entry in sorted(source.iterdir(), key=lambda entry: (entry.name == marker, entry.name)):
        place = target / entry.name
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        entry.replace(place)
    source.rmdir()
