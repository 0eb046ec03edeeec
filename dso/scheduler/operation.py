"""What is operated: which feeders, under which rules, in which folders; plans made once a day."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from data.errors import InputError, Problem
from data.periods import DeliveryDay
from dso.bootstrap import Services, load_grid
from dso.config import (
    CONFIG_FOLDER,
    Feeder,
    MarketRules,
    load_feeder,
    load_market,
    market_file,
)
from dso.cycles.enter_register import enter_register
from dso.cycles.plan import ABOUT_FILE, DayPlan, plan_day
from dso.cycles.stage_report import write_about
from dso.cycles.stages import Approve, Desk
from dso.cycles.timetable import day_timetable, first_due
from dso.progress import SilentProgress
from dso.store import DueCycle, DueQueue

if TYPE_CHECKING:
    from data.readers.simbench import SimbenchGrid
    from data.records.network import Network
    from ledger_adapter.anchors import Anchoring
    from ledger_adapter.ports import Anchor

# Days whose plans are kept: a day's settlement runs while the next is traded and the one after is
# forecast.
PLANS_KEPT: Final = 4
# The rules of a day may change, but not how far ahead anybody trades: rule sets allow 7 days.
DAYS_AHEAD_MAX: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What one market operates.

    Parameters
    ----------
    feeders : tuple of str
        Ids of feeders, or TOML files.
    out : Path
        Folder in which each feeder has one folder for each delivery day.
    configs : Path
        Folder with ``markets/`` and ``feeders/``.
    received_until : datetime or None
        When the feed of readings stops, to rehearse that.
    """

    feeders: tuple[str, ...]
    out: Path
    configs: Path = CONFIG_FOLDER
    received_until: datetime | None = None

    def rules(self, feeder: str, day: date) -> tuple[Feeder, MarketRules]:
        """Return feeder and rule set in force on a day."""
        found = load_feeder(feeder, day, folder=self.configs)
        return found, load_market(found.market, day, folder=self.configs)

    def market_file(self, market: str, day: date) -> str:
        """Return the file of the rule set in force on a day."""
        return market_file(market, day, folder=self.configs)


class Operation:
    """Desks and timetables of a site.

    Parameters
    ----------
    site : Site
        What is operated.
    services : Services
        Store, ledger and keys.
    grids : dict, optional
        Grids that are loaded already, by feeder.
    anchor : Anchor, optional
        Where heads of the ledger are published after each posting.
    """

    def __init__(
        self,
        site: Site,
        services: Services,
        grids: dict[str, SimbenchGrid] | None = None,
        *,
        anchor: Anchor | None = None,
    ) -> None:
        self.site = site
        self.services = services
        self.queue = DueQueue(services.store)
        self._anchor = anchor
        self._grids = {} if grids is None else grids
        self._desks: dict[tuple[str, date], Desk] = {}
        self._names: dict[str, str] = {}
        self._rules: dict[tuple[str, date], tuple[Feeder, MarketRules]] = {}
        self._inserted: set[tuple[str, date]] = set()
        self._entered: set[tuple[str, str]] = set()

    def insert_due(self, now: datetime, *, since: date, until: date | None = None) -> int:
        """Insert the cycles of every delivery day whose first cycle is due by now.

        Parameters
        ----------
        now : datetime
            The market's time.
        since : date
            First delivery day of this market.
        until : date, optional
            Last delivery day; None: as far ahead as anybody trades.

        Returns
        -------
        int
            How many were new.
        """
        added = 0
        last = min(until or date.max, now.date() + timedelta(days=DAYS_AHEAD_MAX))
        for day in _days(since, last):
            for feeder in self.site.feeders:
                found, rules = self.rules_on(feeder, day)
                self._enter_register(feeder, day, now)
                if (feeder, day) not in self._inserted and first_due(rules, day) <= now:
                    added += self.queue.add(
                        day_timetable(
                            rules,
                            found.id,
                            day,
                            requests=bool(found.congestion_points),
                            purchase_at=found.purchase_at,
                        )
                    )
                    self._inserted.add((feeder, day))
        return added

    def next_day_at(self, now: datetime, *, since: date, until: date) -> datetime | None:
        """Return when the next delivery day after those begun has its first cycle due."""
        found = [
            first_due(self.rules_on(feeder, day)[1], day)
            for day in _days(since, until)
            for feeder in self.site.feeders
        ]
        return min((at for at in found if at > now), default=None)

    def desk(
        self,
        due: DueCycle,
        *,
        approve: Approve,
        out_of_time: Callable[[], bool] | None = None,
    ) -> Desk:
        """Return the desk of a cycle's day; the day folder is made at its first cycle."""
        known = self._desks.get((due.feeder, due.day))
        if known is None:
            plan = self._plan(due)
            if not (plan.out / ABOUT_FILE).exists():
                write_about(plan)
            known = Desk(plan=plan, services=self.services, progress=SilentProgress())
            while len(self._desks) >= PLANS_KEPT:
                self._desks.pop(next(iter(self._desks)))
            self._desks[due.feeder, due.day] = known
        return replace(known, approve=approve, out_of_time=out_of_time)

    def rules_on(self, feeder: str, day: date) -> tuple[Feeder, MarketRules]:
        """Return feeder and rule set in force on a day, read once a day."""
        if (feeder, day) not in self._rules:
            self._rules[feeder, day] = self.site.rules(feeder, day)
        return self._rules[feeder, day]

    def rules_of(self, due: DueCycle) -> MarketRules:
        """Return the rule set of a cycle."""
        return self.rules_on(self._source(due), due.day)[1]

    def day_folder(self, due: DueCycle) -> Path:
        """Return where the files of a cycle's day are."""
        return self.site.out / due.feeder / due.day.isoformat()

    def anchor_heads(self) -> Anchoring | None:
        """Publish the heads that wait, where there is an anchor; one that is down delays them."""
        if self._anchor is None:
            return None
        from ledger_adapter.anchors import AnchorBook, anchor_heads

        services = self.services
        return anchor_heads(AnchorBook(services.store.engine, services.ledger.get), self._anchor)

    def network_on(self, feeder: str, day: date) -> Network:
        """Return the network of a feeder in force on a day."""
        return self._grid(self.rules_on(feeder, day)[0]).network

    def _enter_register(self, feeder: str, day: date, now: datetime) -> None:
        """Enter what a feeder and its rules in force on a day say, once for each of their files."""
        found, rules = self.rules_on(feeder, day)
        files = (found.sha256, rules.sha256)
        if files in self._entered:
            return
        delivery = DeliveryDay(day=day, timezone=rules.timezone, mtu_minutes=rules.mtu_minutes)
        text, network = self.site.market_file(found.market, day), self._grid(found).network
        with self.services.store.transaction() as connection:
            enter_register(
                connection, feeder=found, rules=rules, rules_text=text, network=network,
                delivery=delivery, at=now,
            )  # fmt: skip
        self._entered.add(files)

    def load_grids(self, day: date) -> None:
        """Load every grid in force on a day now, e.g. before workers are forked."""
        for feeder in self.site.feeders:
            self._grid(self.rules_on(feeder, day)[0])

    def _plan(self, due: DueCycle) -> DayPlan:
        feeder, rules = self.rules_on(self._source(due), due.day)
        return plan_day(
            day=due.day,
            out=self.day_folder(due),
            feeder=feeder,
            rules=rules,
            grid=self._grid(feeder),
            received_until=self.site.received_until,
        )

    def _grid(self, feeder: Feeder) -> SimbenchGrid:
        if feeder.network not in self._grids:
            self._grids[feeder.network] = load_grid(feeder)
        return self._grids[feeder.network]

    def _source(self, due: DueCycle) -> str:
        """Return the feeder of the site, id or file, that bears the id of a cycle."""
        if due.feeder not in self._names:
            for source in self.site.feeders:
                self._names[self.rules_on(source, due.day)[0].id] = source
        if due.feeder not in self._names:
            remedy = f"start the worker with --feeder {due.feeder}"
            what = "is not operated here"
            raise InputError([Problem(where=f"feeder {due.feeder}", what=what, remedy=remedy)])
        return self._names[due.feeder]


def _days(first: date, last: date) -> list[date]:
    return [first + timedelta(days=k) for k in range(max(0, (last - first).days + 1))]
