"""The schedule before a round, kept between rounds so that no file is read twice."""

from __future__ import annotations

from dso.cycles.plan import DayPlan, Round
from dso.cycles.schedule import Schedule, after_round, day_ahead_schedule


class Positions:
    """The last schedule that was read, and after which clearing it stands.

    A process that runs all rounds reads each clearing once; one that takes over in the middle
    reads those before. What is kept belongs to one day folder and to the digest of one clearing.
    """

    def __init__(self) -> None:
        self._kept: tuple[DayPlan, int, Schedule] | None = None
        self._digests: dict[int, str] = {}
        self._day_ahead: tuple[DayPlan, Schedule] | None = None
        self._bound: tuple[DayPlan, tuple[int, ...], Schedule] | None = None

    def day_ahead(self, plan: DayPlan) -> Schedule:
        """Return the schedule after the day-ahead clearing, which was published."""
        if self._day_ahead is None or self._day_ahead[0] is not plan:
            self._day_ahead = (plan, day_ahead_schedule(plan))
        return self._day_ahead[1]

    def bound(self, plan: DayPlan, rounds: tuple[Round, ...]) -> Schedule:
        """Return the schedule after the day-ahead clearing and some published rounds."""
        numbers = tuple(at.number for at in rounds)
        if self._bound is None or self._bound[0] is not plan or self._bound[1] != numbers:
            schedule = self.day_ahead(plan)
            for at in rounds:
                schedule = after_round(schedule, plan, at)
            self._bound = (plan, numbers, schedule)
        return self._bound[2]

    def before(self, plan: DayPlan, at: Round, previous_sha256: str) -> Schedule:
        """Return the schedule after every clearing before a round.

        Parameters
        ----------
        plan : DayPlan
            The day.
        at : Round
            The round.
        previous_sha256 : str
            Digest of the clearing just before it: another one than before, and everything is
            read anew.
        """
        kept = self._kept
        number, schedule = 0, None
        if kept is not None and kept[0] is plan and kept[1] < at.number:
            number, schedule = kept[1], kept[2]
        if self._digests.get(at.number - 1, previous_sha256) != previous_sha256:
            schedule = None
        if schedule is None:
            number, schedule = 0, self.day_ahead(plan)
        for each in plan.rounds()[number : at.number - 1]:
            schedule = after_round(schedule, plan, each)
        self._kept = (plan, at.number - 1, schedule)
        self._digests[at.number - 1] = previous_sha256
        return schedule
