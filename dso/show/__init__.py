"""One clearing on one page: prices, voltages, loadings, and why a price is what it is."""

from __future__ import annotations

from pathlib import Path


def build_show(
    folder: Path, *, study: Path | None = None, period: str | None = None, bus: str | None = None
) -> bytes:
    """Build the page of a clearing from its study and its output.

    Same files and choices, same bytes.

    Parameters
    ----------
    folder : Path
        Output of `dso clear`; it may hold the study as well.
    study : Path or None
        The study folder, where it is not with the output.
    period : str or None
        Period the page opens with: its number from 0, its local start ``13:00``, or its start in
        UTC; None takes the one in which limits move prices most.
    bus : str or None
        Bus whose path is shown: its number in the network, or its name; None takes the one whose
        price differs most from the upstream price.

    Returns
    -------
    bytes
        The page, UTF-8, with styles, scripts and data inside; it asks nobody for anything.

    Raises
    ------
    data.errors.InputError
        Missing files, an output that was not made from this study, an unknown period or bus.
    """
    from data.study.copy_study import study_of
    from dso.show.page import render_show
    from dso.show.read_output import read_view
    from dso.show.selection import select

    view = read_view(folder, study or study_of(folder))
    return render_show(view, select(view, period=period, bus=bus))


__all__ = ["build_show"]
