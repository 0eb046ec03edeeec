"""The report of a delivery day: one self-contained HTML page, read from the day's folder only."""

from __future__ import annotations

from pathlib import Path


def build_report(folder: Path) -> bytes:
    """Build ``report.html`` of a delivery day from the files its stages left.

    Same files, same bytes: the page holds no time of making, no host and no random id.

    Parameters
    ----------
    folder : Path
        The day folder (``day.json``, ``clearing/``, ``forecast/``, ``dispatch/``,
        ``settlement/``, ``bundle/``).

    Returns
    -------
    bytes
        The page, UTF-8, with styles, scripts and data inside; it asks nobody for anything.

    Raises
    ------
    data.errors.InputError
        If files or columns are missing or numbers cannot be read; all problems together.
    """
    from dso.report.day_folder import read_day_folder
    from dso.report.page import render_page

    return render_page(read_day_folder(folder))


__all__ = ["build_report"]
