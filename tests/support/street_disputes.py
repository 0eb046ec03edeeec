"""The two disputes of the street, as they were opened and as they ended."""

from __future__ import annotations

from typing import Final

_HEADER: Final = "id,participant,connection,start,end,argument,opened_at,state,decided_at,reason\n"
_FIRST: Final = (
    "D-1,house-03,house-03,2026-06-05T00:00:00Z,2026-06-06T00:00:00Z,"
    '"The meter was read twice that day, I used half of it.",2026-07-02T09:00:00Z,'
)
_SECOND: Final = (
    "D-2,house-11,house-11,2026-06-08T00:00:00Z,2026-06-09T00:00:00Z,"
    '"I was not at home, so this cannot be mine.",2026-07-02T10:30:00Z,'
)
OPENED: Final = f"{_HEADER}{_FIRST}open,,\n{_SECOND}open,,\n"
DECIDED: Final = (
    f"{_HEADER}{_FIRST}accepted,2026-07-20T12:00:00Z,"
    '"Both messages carried the same day; the second one was taken out."\n'
    f"{_SECOND}rejected,2026-07-21T12:00:00Z,"
    '"The register confirms the intervals to the watt-hour."\n'
)
