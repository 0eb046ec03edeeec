"""Due cycles: inserted once, in their order, one worker each, nothing lost and nothing twice."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, date, datetime, timedelta

import pytest

from dso.store import DueCycle, DueQueue, Ending, Fallback, LeasedCycle, Signature, Store
from dso.store.due import StoreClock, set_simulated_now
from dso.store.leader import Election
from tests.unit.store.conftest import NOW

MINUTE = timedelta(minutes=1)
FIRST = DueCycle(
    market="m", feeder="f", cycle="day_ahead", first_period=NOW + timedelta(hours=10),
    lane="market", day=date(2016, 7, 25), due_at=NOW, late_after=NOW + MINUTE,
    skip_after=NOW + timedelta(hours=10),
)  # fmt: skip
SECOND = dataclasses.replace(FIRST, cycle="intraday", due_at=NOW + MINUTE)
OTHER_LANE = dataclasses.replace(SECOND, cycle="real_time", lane="real_time")
DONE = Ending(outcome="done", light="yellow")
SHA = "a" * 64


@dataclasses.dataclass
class MovingClock:
    at: datetime = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.at


@pytest.fixture
def machine() -> MovingClock:
    return MovingClock()


@pytest.fixture
def queue(store: Store, machine: MovingClock) -> DueQueue:
    made = DueQueue(store, machine=machine)
    made.add([FIRST, SECOND, OTHER_LANE])
    return made


def take(queue: DueQueue, worker: str = "w1", minutes: int = 60) -> LeasedCycle | None:
    return queue.lease(worker, now=NOW + minutes * MINUTE, lease_s=10.0)


def taken(queue: DueQueue, worker: str = "w1", minutes: int = 60) -> LeasedCycle:
    leased = take(queue, worker, minutes)
    assert leased is not None
    return leased


def states(queue: DueQueue) -> list[str]:
    return [row["state"] for row in queue.states()]


def test_a_cycle_is_inserted_once(queue: DueQueue) -> None:
    assert queue.add([FIRST, dataclasses.replace(FIRST, due_at=NOW + MINUTE)]) == 0
    assert queue.add([dataclasses.replace(FIRST, revision=1)]) == 1
    assert len(queue.states()) == 4


def test_a_lane_is_worked_through_in_its_order(queue: DueQueue) -> None:
    assert take(queue, minutes=-1) is None  # not due yet
    first = taken(queue)
    assert first.due == FIRST
    other = taken(queue, "w2")
    assert other.due == OTHER_LANE  # setpoints do not wait for a clearing
    assert take(queue, "w3") is None  # the round does
    assert queue.finish(first, DONE)
    assert taken(queue, "w3").due == SECOND


def test_a_lease_ends_without_a_sign_of_life(queue: DueQueue, machine: MovingClock) -> None:
    first = taken(queue)
    machine.at += timedelta(seconds=9)
    assert queue.renew(first, lease_s=10.0)
    machine.at += timedelta(seconds=9)
    assert taken(queue, "w2").due == OTHER_LANE
    machine.at += timedelta(seconds=5)
    again = taken(queue, "w3")
    assert (again.due, again.attempt) == (FIRST, 2)
    # the first worker wakes up: it holds nothing any more, and says nothing
    assert not queue.renew(first, lease_s=10.0)
    assert not queue.finish(first, DONE)
    assert queue.finish(again, DONE)
    outcomes = [(row["attempt"], row["outcome"]) for row in queue.attempts() if row["due_id"] == 1]
    assert outcomes == [(1, "lost"), (2, "done")]


def test_a_worker_that_starts_again_takes_its_own_back(queue: DueQueue) -> None:
    assert taken(queue).due == FIRST
    again = taken(queue)
    assert (again.due, again.attempt, again.failures) == (FIRST, 2, 0)


def test_what_a_dead_worker_held_is_given_back(queue: DueQueue) -> None:
    taken(queue, "dead")
    queue.free("dead")
    assert taken(queue, "w2").due == FIRST


def test_many_at_once_take_each_cycle_once(store: Store, url: str) -> None:
    cycles = [dataclasses.replace(FIRST, feeder=f"f{number}") for number in range(12)]
    DueQueue(store).add(cycles)

    def work(number: int) -> list[str]:
        done = []
        with closing(Store.open(url)) as own:
            queue = DueQueue(own)
            while (leased := take(queue, f"w{number}")) is not None:
                done.append(leased.due.feeder)
                assert queue.finish(leased, DONE)
        return done

    with ThreadPoolExecutor(4) as pool:
        done = [feeder for own in pool.map(work, range(4)) for feeder in own]
    assert sorted(done) == sorted(cycle.feeder for cycle in cycles)


def test_failed_attempts_are_counted_and_final_ones_free_the_lane(queue: DueQueue) -> None:
    failed = Ending(outcome="failed", final=False, remark="ValueError: no")
    assert queue.finish(taken(queue), failed)
    again = taken(queue)
    assert (again.due, again.attempt, again.failures) == (FIRST, 2, 1)
    assert queue.finish(again, Ending(outcome="failed", light="red"))
    assert states(queue)[0] == "failed"
    assert [row["reason"] for row in queue.attempts()] == ["ValueError: no", ""]


def test_fallbacks_are_kept_by_name(queue: DueQueue) -> None:
    fallback = Fallback(name="solver_timeout", text="solver_timeout: over")
    leased = taken(queue)
    queue.finish(leased, dataclasses.replace(DONE, light="orange", fallbacks=(fallback,)))
    assert queue.fallbacks() == {("day_ahead", "solver_timeout"): 1}
    assert queue.states()[0]["light"] == "orange"


def test_a_held_clearing_waits_for_two_people(queue: DueQueue) -> None:
    queue.finish(taken(queue), Ending(outcome="held", remark=f"waits for {SHA}"))
    assert states(queue)[0] == "held"
    assert taken(queue, "w2").due == OTHER_LANE
    assert take(queue) is None
    assert [due for due, _ in queue.held()] == [FIRST]
    ada = Signature(actor="Ada", verdict="release", output_sha256=SHA, reason="")
    assert queue.sign(FIRST, ada, needed=2) == 1
    assert queue.sign(FIRST, ada, needed=2) == 1  # the same person twice is one person
    assert take(queue) is None
    ben = dataclasses.replace(ada, actor="Ben")
    assert queue.sign(FIRST, ben, needed=2) == 0
    again = taken(queue)
    assert (again.due, again.signatures) == (FIRST, (ada, ben))
    with pytest.raises(LookupError, match="not held"):
        queue.sign(FIRST, ada, needed=2)


@pytest.mark.parametrize("verdict", ["override", "withhold"])
def test_one_person_may_decide(queue: DueQueue, verdict: str) -> None:
    queue.finish(taken(queue), Ending(outcome="held"))
    decided = Signature(actor="Ada", verdict=verdict, output_sha256=SHA, reason="r")  # type: ignore[arg-type]  # one of three
    assert queue.sign(FIRST, decided, needed=2) == 0
    assert taken(queue).signatures == (decided,)


def test_what_is_never_released_is_taken_up_when_it_is_too_late(queue: DueQueue) -> None:
    queue.finish(taken(queue), Ending(outcome="held"))
    assert taken(queue, "w2").due == OTHER_LANE
    assert take(queue, minutes=599) is None
    assert taken(queue, minutes=600).due == FIRST


def test_the_clock_of_a_simulated_market(store: Store) -> None:
    clock = StoreClock(store)
    assert clock.now().year >= 2026
    set_simulated_now(store, NOW)
    assert clock.now() == NOW
    set_simulated_now(store, NOW + MINUTE)
    assert StoreClock(store).now() == NOW + MINUTE


def test_one_of_two_is_elected(store: Store, url: str) -> None:
    clock = MovingClock()
    with closing(Store.open(url)) as other:
        one = Election(store, role="scheduler", holder="one", machine=clock)
        two = Election(other, role="scheduler", holder="two", machine=clock)
        assert one.lead()
        assert not two.lead()
        assert one.lead()
        another = Election(other, role="another", holder="two")
        assert another.lead()
        another.resign()
        one.resign()
        assert two.lead()
        assert not one.lead()
        two.resign()
