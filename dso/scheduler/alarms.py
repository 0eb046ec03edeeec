"""Alarms by rule: a red or orange light, a failure, a fallback; to a file or a webhook."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.error import URLError
from urllib.request import Request, urlopen

import structlog

from data.periods import format_utc
from dso.clock import Clock, SystemClock
from dso.store import Ending, LeasedCycle

WEBHOOK_S_MAX: Final = 5.0
RULES: Final = ("red", "orange", "failed", "held", "skipped", "late", "fallback")


def breached_rules(ending: Ending) -> tuple[str, ...]:
    """Return which rules the ending of a cycle breaks, in the order of `RULES`.

    Examples
    --------
    >>> breached_rules(Ending(outcome="failed", light="red", remark="late: began 90 s after"))
    ('red', 'failed', 'late')
    """
    found = {str(ending.light), ending.outcome}
    if ending.remark.startswith("late:"):
        found.add("late")
    if ending.fallbacks:
        found.add("fallback")
    return tuple(rule for rule in RULES if rule in found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarms:
    """Where alarms go.

    Parameters
    ----------
    file : Path or None
        One JSON line each is appended.
    webhook : str or None
        URL to which each is posted as JSON; one that does not answer is logged, never waited for.
    rules : tuple of str
        Which rules raise an alarm.
    clock : Clock
        What stands as its time.
    """

    file: Path | None = None
    webhook: str | None = None
    rules: tuple[str, ...] = ("red", "failed", "held", "skipped")
    clock: Clock = field(default_factory=SystemClock)

    def hear(self, leased: LeasedCycle, ending: Ending) -> None:
        """Raise an alarm where a cycle's ending breaks a rule."""
        breached = [rule for rule in breached_rules(ending) if rule in self.rules]
        if not breached:
            return
        alarm = {
            "at": format_utc(self.clock.now()),
            "rules": breached,
            "cycle": str(leased.due),
            "attempt": leased.attempt,
            "light": ending.light,
            "remark": ending.remark,
            "fallbacks": [{"name": each.name, "text": each.text} for each in ending.fallbacks],
        }
        line = json.dumps(alarm, ensure_ascii=False)
        if self.file is not None:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with self.file.open("a", encoding="utf-8") as stream:
                stream.write(line + "\n")
        if self.webhook is not None:
            self._post(self.webhook, line.encode())

    def _post(self, url: str, body: bytes) -> None:
        request = Request(url, data=body, headers={"Content-Type": "application/json"})  # noqa: S310 - checked at start
        try:
            urlopen(request, timeout=WEBHOOK_S_MAX).close()  # noqa: S310 - as above
        except (URLError, OSError) as error:
            structlog.get_logger().warning("webhook does not answer", url=url, error=str(error))
