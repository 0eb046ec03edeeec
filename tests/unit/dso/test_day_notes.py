"""Notes of a day that are alike are one note."""

from __future__ import annotations

from dso.cycles.stage_report import notes_together


def test_what_is_noted_of_many_elements_is_said_once() -> None:
    flat, both = "the last 24 h of readings are one constant value", ["forecast", "round 1"]
    notes = {f"load:{k}: {flat}": both for k in (21, 24, 27, 30, 49)}
    notes["load: 2 like days of 3; all 15 days used"] = ["forecast"]
    notes[f"load:50: {flat}"] = ["round 1"]
    notes["sgen:3: no weather"] = ["forecast"]
    notes["sgen:4: no weather"] = ["forecast"]
    assert notes_together(notes) == (
        f"load:21, load:24, load:27 and 2 more: {flat} (forecast and 1 more)",
        "load: 2 like days of 3; all 15 days used (forecast)",
        f"load:50: {flat} (round 1)",
        "sgen:3 and sgen:4: no weather (forecast)",
    )
