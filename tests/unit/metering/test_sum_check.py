"""A stolen 3 %, two swapped meters and a dead meter are found and named among forty households."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from data.errors import InputError
from data.records.metering import MeterFinding
from dso.metering import FeederSeries, check_sums, validate_meters
from tests.support.metered_street import (
    RULES,
    ZONE,
    Street,
    batch_of,
    files_of,
    street,
    validated,
)

SEEDS = (0, 1, 2)


def findings(
    at: Street, wh: np.ndarray, mapping: dict[str, str], **extra: object
) -> list[MeterFinding]:
    checks = check_sums(validated(at, wh), mapping, at.feeders(**extra), ZONE)  # type: ignore[arg-type]
    return [finding for check in checks for finding in check.findings]


def named(found: list[MeterFinding]) -> set[tuple[str, tuple[str, ...]]]:
    return {(finding.kind, finding.subjects) for finding in found}


@pytest.mark.parametrize("seed", range(8))
def test_clean_streets_raise_no_alarm(seed: int) -> None:
    at = street(seed)
    assert findings(at, at.metered(), at.feeder) == []


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("rank", [0, 2, 5])
def test_stolen_three_percent_is_named(seed: int, rank: int) -> None:
    at, wh = street(seed), street(seed).metered()
    thief = at.place(at.biggest("A", rank))
    feeder_wh = at.true_wh[:, at.on("A")].sum()
    stolen = 0.03 * feeder_wh / at.true_wh[:, thief].sum()
    wh[:, thief] = np.rint(wh[:, thief] * (1 - stolen))
    found = findings(at, wh, at.feeder)
    assert named(found) == {("theft", (at.names[thief],))}
    assert found[0].energy_wh == pytest.approx(0.03 * feeder_wh, rel=0.25)


@pytest.mark.parametrize("seed", SEEDS)
def test_two_swapped_meters_are_named(seed: int) -> None:
    at = street(seed)
    pair = (at.biggest("A", 7), at.biggest("B", 12))
    mapping = {**at.feeder, pair[0]: "B", pair[1]: "A"}
    assert named(findings(at, at.metered(), mapping)) == {("swapped", tuple(sorted(pair)))}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("rank", [3, 10])
def test_dead_meter_is_named_from_the_day_it_died(seed: int, rank: int) -> None:
    at, wh = street(seed), street(seed).metered()
    dead = at.place(at.biggest("B", rank))
    wh[17 * 96 + 30 :, dead] = 0
    found = findings(at, wh, at.feeder)
    assert named(found) == {("dead", (at.names[dead],))}
    assert found[0].first == at.periods.starts[17 * 96 + 30]
    true_wh = at.true_wh[17 * 96 + 30 :, dead].sum()
    assert found[0].energy_wh == pytest.approx(true_wh, rel=0.35)


def test_all_three_at_once() -> None:
    at, wh = street(4), street(4).metered()
    thief, dead = at.place(at.biggest("A", 1)), at.place(at.biggest("B", 4))
    pair = (at.biggest("A", 9), at.biggest("B", 6))
    stolen = 0.03 * at.true_wh[:, at.on("A")].sum() / at.true_wh[:, thief].sum()
    wh[:, thief] = np.rint(wh[:, thief] * (1 - stolen))
    wh[14 * 96 :, dead] = 0
    found = findings(at, wh, {**at.feeder, pair[0]: "B", pair[1]: "A"})
    assert named(found) == {
        ("theft", (at.names[thief],)),
        ("dead", (at.names[dead],)),
        ("swapped", tuple(sorted(pair))),
    }


def test_an_empty_house_is_no_dead_meter() -> None:
    at = street(5)
    empty = at.place(at.biggest("A", 4))
    emptied = at.true_wh.copy()
    emptied[15 * 96 :, empty] = 0
    holiday = Street(
        names=at.names, true_wh=emptied, feeder=at.feeder, periods=at.periods, seed=at.seed
    )
    assert findings(holiday, holiday.metered(), at.feeder) == []


@pytest.mark.parametrize("seed", [0, 1])
def test_houses_that_feed_in_hide_nobody(seed: int) -> None:
    """Twelve of forty with PV under the same clouds: import and export registers, one thief."""
    at, generator = street(seed), np.random.default_rng(seed)
    hour = np.arange(at.periods.count) % 96 / 4
    clouds = np.repeat(generator.uniform(0.2, 1.0, at.periods.count // 16), 16)
    sun = np.clip(np.sin((hour - 6) / 12 * np.pi), 0, None) * clouds
    true_wh = at.true_wh.astype(float)
    for k in generator.choice(40, 12, replace=False):
        true_wh[:, k] -= generator.uniform(500, 1_500) * sun
    sunny = replace(at, true_wh=np.rint(true_wh).astype(np.int64))
    wh = sunny.metered()
    thief = sunny.place(sunny.biggest("A", 3))
    for stolen in (False, True):
        if stolen:
            wh[:, thief] = np.where(wh[:, thief] > 0, np.rint(0.5 * wh[:, thief]), wh[:, thief])
        batches = [
            batch_of(name, np.maximum(sign * wh[:, k], 0), at.periods, direction=direction)
            for k, name in enumerate(at.names)
            for sign, direction in ((1, "import"), (-1, "export"))
        ]
        files = replace(files_of(at.names, wh, at.periods, at.feeder), batches=tuple(batches))
        meters = validate_meters(files, at.periods, at.periods.end, RULES)
        checks = check_sums(meters, at.feeder, sunny.feeders(), ZONE)
        found = [finding for check in checks for finding in check.findings]
        assert named(found) == ({("theft", (at.names[thief],))} if stolen else set())


@pytest.mark.parametrize("seed", [0, 1])
def test_gaps_everywhere_leave_enough_to_judge_by(seed: int) -> None:
    """Every meter misses one value in twenty: hardly a quarter-hour has all forty."""
    at, generator = street(seed), np.random.default_rng(seed)
    wh, thief = at.metered(), at.place(at.biggest("A", 3))
    for stolen in (False, True):
        if stolen:
            wh[:, thief] = np.rint(0.5 * wh[:, thief])
        gaps = [np.flatnonzero(generator.random(at.periods.count) < 0.05) for _ in at.names]
        batches = tuple(
            batch_of(name, wh[:, k], at.periods, missing=gaps[k]) for k, name in enumerate(at.names)
        )
        files = replace(files_of(at.names, wh, at.periods, at.feeder), batches=batches)
        meters = validate_meters(files, at.periods, at.periods.end, RULES)
        assert np.any([meter.substituted for meter in meters], axis=0).mean() > 0.8
        checks = check_sums(meters, at.feeder, at.feeders(), ZONE)
        found = [finding for check in checks for finding in check.findings]
        assert named(found) == ({("theft", (at.names[thief],))} if stolen else set())
        assert checks[0].periods_used > 0.25 * at.periods.count


def test_energy_through_no_meter_is_said_without_a_name() -> None:
    at = street(6)
    tap = np.full(
        at.periods.count, round(0.03 * at.true_wh[:, at.on("B")].sum() / at.periods.count)
    )
    found = findings(at, at.metered(), at.feeder, extra_wh={"B": tap})
    assert named(found) == {("unmetered", ("B",))}
    assert found[0].energy_wh == pytest.approx(tap.sum(), rel=0.35)


def test_one_point_on_the_wrong_feeder() -> None:
    at = street(7)
    moved = at.biggest("A", 3)
    found = findings(at, at.metered(), {**at.feeder, moved: "B"})
    assert named(found) == {("wrong_feeder", (moved,))}
    assert "flows through A" in found[0].words


@pytest.mark.parametrize(
    "spoil",
    [
        lambda at: (validated(at, at.metered()), {}, at.feeders()),
        lambda at: (
            validated(at, at.metered()),
            at.feeder,
            [FeederSeries(feeder="A", energy_wh=np.zeros(3, dtype=np.int64))],
        ),
    ],
)
def test_bad_input_is_refused_with_every_point(
    spoil: Callable[[Street], tuple[object, ...]],
) -> None:
    with pytest.raises(InputError) as refused:
        check_sums(*spoil(street(0, days=15)), ZONE)  # type: ignore[arg-type]
    assert len(refused.value.problems) >= 20
