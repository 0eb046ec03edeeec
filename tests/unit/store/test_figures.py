"""Figures added up by each database are those of the rows one by one."""

from __future__ import annotations

from datetime import date, timedelta

from dso.clock import ReplayClock
from dso.store import DueCycle, DueQueue, Ending, Fallback, Store
from dso.store.figures import SECONDS, read_figures
from tests.unit.store.conftest import NOW

TOOK_S = (1, 3, 40)


def test_figures_of_a_few_clearings(store: Store) -> None:
    for number, took_s in enumerate(TOOK_S):
        at = NOW + timedelta(hours=number)
        due = DueCycle(
            market="m", feeder="f", cycle="intraday", first_period=at, lane="market",
            day=date(2016, 7, 25), due_at=at, late_after=at, skip_after=None,
        )  # fmt: skip
        begun = DueQueue(store, machine=ReplayClock(at=at))
        begun.add([due])
        leased = begun.lease("w", now=at, lease_s=60.0)
        assert leased is not None
        ended = DueQueue(store, machine=ReplayClock(at=at + timedelta(seconds=took_s)))
        fallbacks = (Fallback(name="solver_timeout", text="t"),) * (number == 2)
        ended.finish(leased, Ending(outcome="done", light="green", fallbacks=fallbacks))
    figures = read_figures(store)
    assert figures.cycles == {("intraday", "done", "green"): 3}
    assert figures.attempts == {("intraday", "done"): (3, sum(TOOK_S))}
    counts, seconds = figures.clearing_seconds["intraday"]
    assert counts == (*(sum(took <= bound for took in TOOK_S) for bound in SECONDS), 3)
    assert seconds == sum(TOOK_S)
    assert figures.certificates == {("intraday", True): 2, ("intraday", False): 1}
    assert (figures.late, figures.oldest_due_at) == (0, None)
    assert figures.posted_at == "2016-07-24T13:30:40Z"
