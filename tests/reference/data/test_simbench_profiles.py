"""SimBench's profiles and network against the simbench package itself, and its clock."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.periods import DeliveryDay
from data.readers.simbench import SimbenchGrid, load_simbench, profiles_for
from tests.support.simbench_nets import simbench_net

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
CODE = "1-MV-rural--2-sw"


@pytest.fixture(scope="module")
def net() -> Any:
    return simbench_net(CODE)


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> SimbenchGrid:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        load_simbench(CODE)
        return load_simbench(CODE)  # what is compared went through the cache


def test_absolute_profiles_equal_simbench(net: Any, grid: SimbenchGrid) -> None:
    import simbench

    values = simbench.get_absolute_values(net, profiles_instead_of_study_cases=True)
    for key, ours in (
        (("load", "p_mw"), grid.profiles.load_p_mw),
        (("load", "q_mvar"), grid.profiles.load_q_mvar),
        (("sgen", "p_mw"), grid.profiles.sgen_p_mw),
    ):
        assert np.array_equal(values[key].to_numpy(), ours), key


def test_the_feeder_has_what_the_issue_says(grid: SimbenchGrid) -> None:
    network = grid.network
    assert (len(network.loads.index), len(network.sgens.index)) == (96, 102)
    assert len(network.storages.index) == 90
    wind = np.array([kind.startswith("Wind") for kind in network.sgens.technology])
    assert wind.sum() == 6
    assert network.sgens.p_mw[wind].sum() == pytest.approx(16.0, abs=0.5)
    assert set(network.storages.efficiency.tolist()) == {0.95}
    assert np.all(network.storages.p_mw_max > 0)
    assert network.bus_links.tolist() == [[0, 1], [2, 3]]
    assert (~network.lines.closed_from).sum() + (~network.lines.closed_to).sum() == 6
    assert np.all((network.buses.latitude > 47) & (network.buses.latitude < 55.5))


def test_open_switches_equal_the_tables(net: Any, grid: SimbenchGrid) -> None:
    opened = net.switch[(net.switch.et == "l") & ~net.switch.closed]
    lines = grid.network.lines
    for bus, line in zip(opened.bus, opened.element, strict=True):
        row = int(np.flatnonzero(lines.index == line)[0])
        closed = lines.closed_from if lines.from_bus[row] == bus else lines.closed_to
        assert not closed[row]


@pytest.mark.parametrize(
    ("day", "count"),
    [
        (date(2016, 1, 1), 96),
        (date(2016, 3, 27), 92),
        (date(2016, 7, 25), 96),
        (date(2016, 10, 30), 100),
        (date(2016, 12, 31), 96),
    ],
)
def test_a_local_day_takes_the_rows_that_simbench_labels_with_it(
    net: Any, grid: SimbenchGrid, day: date, count: int
) -> None:
    label = day.strftime("%d.%m.%Y")
    rows = np.flatnonzero(net.profiles["load"]["time"].str.startswith(label))
    profiles = profiles_for(grid, DeliveryDay(day=day).periods)
    assert len(rows) == count
    assert np.array_equal(profiles.load_p_mw, grid.profiles.load_p_mw[rows])
    assert np.array_equal(profiles.sgen_p_mw, grid.profiles.sgen_p_mw[rows])


def test_the_noon_of_pv_stays_in_utc_while_people_follow_the_wall_clock(net: Any) -> None:
    def week(profile: Any, first: int) -> Any:
        return profile.to_numpy(dtype=float)[first * 96 : (first + 14) * 96].reshape(14, 96).mean(0)

    change = (date(2016, 3, 27) - date(2016, 1, 1)).days
    before, after = change - 14, change + 1
    quarter = np.arange(96)

    def noon(first: int) -> float:
        power = week(net.profiles["renewables"]["PV3"], first)
        return float((power * quarter).sum() / power.sum() / 4.0)

    assert abs(noon(before) - noon(after)) < 0.5
    business = net.profiles["load"]["G0-A_pload"]
    shifts = range(-8, 9)
    match = [np.corrcoef(week(business, before), np.roll(week(business, after), s))[0, 1]
             for s in shifts]  # fmt: skip
    assert shifts[int(np.argmax(match))] == 4


def test_the_cache_loads_without_the_heavy_libraries(tmp_path: Path) -> None:
    import subprocess
    import sys

    code = "1-LV-rural1--0-sw"
    program = (
        "import sys, time; from data.readers.simbench import load_simbench; t = time.perf_counter()"
        f"; grid = load_simbench({code!r}); s = time.perf_counter() - t"
        "; print(s, *(name in sys.modules for name in ('pandas', 'pandapower', 'simbench')))"
        "; print(grid.profiles.load_p_mw.sum().hex(), grid.profiles.start)"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", program],
            env={"XDG_CACHE_HOME": str(tmp_path), "PATH": ""},
            cwd=Path(__file__).parents[3],
            capture_output=True, text=True, check=True,
        ).stdout.splitlines()
        for _ in range(2)
    ]  # fmt: skip
    seconds, *heavy = runs[1][0].split()
    assert heavy == ["False"] * 3
    assert float(seconds) < 1.0
    assert runs[0][1] == runs[1][1]
    assert str(datetime(2015, 12, 31, 23, tzinfo=UTC)) in runs[0][1]
    (cached,) = (tmp_path / "gridclear").iterdir()
    assert cached.name.startswith(code)
