"""Prometheus metrics and a health answer, read from the store at the moment they are asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from data.periods import parse_utc
from dso.clock import Clock
from dso.scheduler.operation import Operation
from dso.store import DATABASE_GONE
from dso.store.figures import SECONDS, Figures, read_figures
from ledger_adapter.outbox import queued_batches

LAG_S_MAX: Final = 900.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """Whether the market runs, in a few numbers; ``problems`` is empty where it does.

    ``lag_s`` is how long the oldest unfinished cycle has been due [s], ``head_age_s`` how long ago
    the last clearing or settlement that a head covers ended [s]; both None without any.
    """

    problems: tuple[str, ...]
    lag_s: float | None
    queued_batches: int
    head_size: int
    head_age_s: float | None
    held: int
    red: int


class Watch:
    """Looks at one operation.

    Parameters
    ----------
    operation : Operation
        What is operated.
    clock : Clock
        The market's time.
    """

    def __init__(self, operation: Operation, clock: Clock) -> None:
        self._operation = operation
        self._clock = clock

    def health(self) -> Health:
        """Return how the market is."""
        try:
            return self._look()
        except DATABASE_GONE as error:
            said = str(error).partition("\n")[0]
            return Health(
                problems=(f"database away: {said}",), lag_s=None, queued_batches=0, head_size=0,
                head_age_s=None, held=0, red=0,
            )  # fmt: skip

    def _look(self) -> Health:
        now, services = self._clock.now(), self._operation.services
        figures = read_figures(services.store)
        queued = len(queued_batches(services.store.engine))
        lag_s = _since_s(figures.oldest_due_at, now)
        lag_s = None if lag_s is None or lag_s < 0.0 else lag_s
        red = sum(count for (_, _, light), count in figures.cycles.items() if light == "red")
        held = sum(count for (_, state, _), count in figures.cycles.items() if state == "held")
        problems = []
        if lag_s is not None and lag_s > LAG_S_MAX:
            problems.append(f"a cycle has been due for {lag_s:.0f} s: do workers run?")
        if red:
            problems.append(f"{red} cycles failed without a fallback")
        if queued:
            problems.append(f"{queued} batches wait for the ledger")
        return Health(
            problems=tuple(problems),
            lag_s=lag_s,
            queued_batches=queued,
            head_size=services.ledger.head().size,
            head_age_s=_since_s(figures.posted_at, self._operation.queue.machine_now()),
            held=held,
            red=red,
        )

    def metrics(self) -> bytes:
        """Return the metrics in Prometheus' text format."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Families(tuple(self._families())))
        return generate_latest(registry)

    def _families(self) -> Iterator[Metric]:
        health = self.health()
        yield _gauge(
            "gridclear_up", "1 while the market runs without a problem", not health.problems
        )
        if health.lag_s is not None:
            yield _gauge("gridclear_cycle_lag_seconds", "age of the oldest due cycle", health.lag_s)
        if health.head_age_s is not None:
            yield _gauge(
                "gridclear_ledger_head_age_seconds", "since the last posted result",
                health.head_age_s,
            )  # fmt: skip
        yield _gauge("gridclear_ledger_leaves", "leaves of the record log", health.head_size)
        yield _gauge("gridclear_outbox_batches", "batches that wait", health.queued_batches)
        figures = read_figures(self._operation.services.store)
        cycles = GaugeMetricFamily(
            "gridclear_cycles", "cycles by state and light", labels=["cycle", "state", "light"]
        )
        for labels, count in sorted(figures.cycles.items()):
            cycles.add_metric(list(labels), count)
        yield cycles
        fallbacks = CounterMetricFamily(
            "gridclear_fallbacks", "results that rest on a fallback", labels=["cycle", "name"]
        )
        for named, count in sorted(self._operation.queue.fallbacks().items()):
            fallbacks.add_metric(list(named), count)
        yield fallbacks
        yield CounterMetricFamily(
            "gridclear_late_cycles", "cycles that began late", value=figures.late
        )
        yield from _durations(figures)
        certified = GaugeMetricFamily(
            "gridclear_clearings", "clearings that ended", labels=["cycle", "certified"]
        )
        for (cycle, held), count in sorted(figures.certificates.items()):
            certified.add_metric([cycle, "yes" if held else "no"], count)
        yield certified


def _durations(figures: Figures) -> Iterator[Metric]:
    """Yield how long attempts took and how many there were, by cycle and outcome."""
    total = CounterMetricFamily(
        "gridclear_attempts", "attempts at cycles", labels=["cycle", "outcome"]
    )
    spent = CounterMetricFamily(
        "gridclear_attempt_seconds", "time spent in them", labels=["cycle", "outcome"]
    )
    for labels, (count, seconds) in sorted(figures.attempts.items()):
        total.add_metric(list(labels), count)
        spent.add_metric(list(labels), seconds)
    yield total
    yield spent
    solved = HistogramMetricFamily(
        "gridclear_clearing_seconds", "how long a clearing took, files and all", labels=["cycle"]
    )
    bounds = (*(str(float(bound)) for bound in SECONDS), "+Inf")
    for cycle, (counts, seconds) in sorted(figures.clearing_seconds.items()):
        solved.add_metric([cycle], list(zip(bounds, counts, strict=True)), sum_value=seconds)
    yield solved


@dataclass(frozen=True, slots=True, eq=False)
class _Families:
    """What a registry asks for."""

    families: tuple[Metric, ...]

    def collect(self) -> Iterator[Metric]:
        """Yield the families."""
        yield from self.families


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=float(value))


def _since_s(at: str | None, now: datetime) -> float | None:
    return None if at is None else (now - parse_utc(at)).total_seconds()
