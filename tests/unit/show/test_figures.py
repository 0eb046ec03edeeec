from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import pytest

from dso.report.colours import THEMES
from dso.show.figures import all_figures, bar_style, loading_over_time, path_parts, voltage_profile
from dso.show.read_output import read_view
from dso.show.selection import select
from dso.show.views import ShowView


def heights(trace: object) -> np.ndarray:
    assert isinstance(trace, dict)
    return np.array(trace["y"], dtype=float)


@pytest.mark.parametrize("bus", ["0", "17", "32"])
@pytest.mark.parametrize("period", ["0", "1", "2", "3"])
def test_the_bars_of_a_bus_sum_to_its_published_price(
    view: ShowView, written: Path, bus: str, period: str
) -> None:
    *bars, price = path_parts(view, select(view, period=period, bus=bus)).traces
    np.testing.assert_allclose(sum(heights(bar) for bar in bars), heights(price), atol=3e-4)
    start = view.periods.labels()[int(period)]
    with (written / "prices.csv").open(encoding="utf-8", newline="") as stream:
        rows = [r for r in csv.DictReader(stream) if r["bus"] == bus and r["period_start"] == start]
    assert heights(price)[-1] == pytest.approx(float(rows[0]["dlmp_p_eur_per_mwh"]), abs=1e-4)


def test_the_limit_that_binds_has_a_bar_of_its_own_and_only_then(view: ShowView) -> None:
    element = view.elements[0]
    assert element.name.endswith("upper voltage")
    for period in range(len(view.periods)):
        traces = path_parts(view, select(view, period=str(period), bus="17")).traces
        assert (element.name in [trace["name"] for trace in traces]) == (
            period in element.periods.tolist()
        )
    assert 0 < element.periods.size < len(view.periods)


def test_many_limits_are_shown_largest_first_and_the_rest_together(scarce: Path) -> None:
    view = read_view(scarce, scarce)
    chosen = select(view, period="0", bus="17")
    *bars, price = path_parts(view, chosen).traces
    names = [str(bar["name"]) for bar in bars]
    assert names[:2] == ["Energy", "Loss"]
    assert names[-1] == "6 other limits"
    assert len(names) == 9
    parts = [abs(heights(bar)[-1]) for bar in bars[2:-1]]
    assert parts == sorted(parts, reverse=True)
    np.testing.assert_allclose(sum(heights(bar) for bar in bars), heights(price), atol=1e-3)


def test_the_profile_stands_at_distances_and_voltages_with_the_limits(view: ShowView) -> None:
    figure = voltage_profile(view, select(view, period="1", bus="17"))
    dots = figure.traces[2]
    np.testing.assert_allclose(heights(dots), view.vm_pu[:, 1], atol=1e-5)
    np.testing.assert_allclose(np.array(dots["x"]), view.reach.distance_km, atol=1e-4)
    shapes = figure.layout["shapes"]
    assert isinstance(shapes, list)
    assert [shape["y0"] for shape in shapes] == [0.9, 1.05]
    assert heights(dots).max() == pytest.approx(1.05, abs=1e-5)


def test_limits_that_differ_stand_at_their_buses(view: ShowView) -> None:
    import dataclasses

    upper = view.feeder.vm_pu_max.copy()
    upper[5] = 1.02
    other = dataclasses.replace(view, feeder=dataclasses.replace(view.feeder, vm_pu_max=upper))
    figure = voltage_profile(other, select(view, period="1", bus="17"))
    ticks = figure.traces[-1]
    assert ticks["name"] == "Upper limit"
    assert 1.02 in heights(ticks).tolist()


def test_loading_is_a_share_of_the_limit_and_shows_the_fullest(view: ShowView) -> None:
    import dataclasses

    most = view.feeder.loading_percent_max.copy()
    most[7] = float(view.loading_percent[7].max())  # exactly full once
    other = dataclasses.replace(
        view, feeder=dataclasses.replace(view.feeder, loading_percent_max=most)
    )
    traces = loading_over_time(other).traces
    assert traces[0]["name"] == view.feeder.branch_name[7]
    assert heights(traces[0]).max() == pytest.approx(100.0, abs=0.1)


def test_plots_are_valid_in_the_eyes_of_plotly(view: ShowView, scarce: Path) -> None:
    for each in (view, read_view(scarce, scarce)):
        for figure in all_figures(each, select(each, period=None, bus=None)):
            text = json.dumps(figure.specification(), allow_nan=False)
            for token, colour in THEMES["light"].items():
                text = text.replace(f'"@{token}"', json.dumps(colour))
            assert "@" not in text
            specification = json.loads(text)
            layout = specification["layout"]
            drawn = go.Figure(data=specification["data"], layout=layout)
            assert len(drawn.data) == len(specification["data"])


def test_limits_look_different_from_each_other() -> None:
    looks = [json.dumps(bar_style(rank)) for rank in range(12)]
    assert len(set(looks)) == 12
