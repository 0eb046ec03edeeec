from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.spatial import cKDTree

from dso.report.feeder_map import DOT_DISTANCE, draw_feeder, draw_map, loading_class, map_scales
from dso.report.views import DayView


def test_north_is_up_and_nothing_leaves_the_frame(day: DayView) -> None:
    drawing = draw_map(day)
    place = {dot.name: (dot.x, dot.y) for dot in drawing.dots}
    assert place["North 2"][1] < place["busbar"][1] < place["South 2"][1]
    assert place["South 2"][0] < place["busbar"][0] < place["North 2"][0]
    for dot in drawing.dots:
        assert 0 < dot.x < drawing.width
        assert 0 < dot.y < drawing.height


def test_buses_on_one_spot_can_both_be_seen(day: DayView) -> None:
    crowded = replace(
        day,
        feeder=replace(
            day.feeder,
            longitude=np.full(7, 11.4) + np.arange(7) * 1e-6,
            latitude=np.full(7, 53.6) + np.array([0, 0, 0, 0, 0, 0, 1e-2]),
        ),
    )
    dots = draw_map(crowded).dots
    for one in dots:
        for other in dots:
            if one.position < other.position:
                assert np.hypot(one.x - other.x, one.y - other.y) >= DOT_DISTANCE - 1


def test_a_large_grid_keeps_its_places_and_gets_smaller_dots(day: DayView) -> None:
    buses, generator = 3000, np.random.default_rng(7)
    place = generator.normal(size=(buses, 2))
    crowded = replace(
        day.feeder,
        longitude=11.0 + place[:, 0],
        latitude=53.0 + place[:, 1],
        vn_kv=np.full(buses, 0.4),
        bus=np.arange(buses),
        bus_name=tuple(f"Bus {k}" for k in range(buses)),
    )
    drawing = draw_feeder(crowded, np.zeros(buses), np.zeros(7), map_scales(day)["price"])
    at = np.array([(dot.x, -dot.y) for dot in drawing.dots])
    assert drawing.detail < 0.4
    assert draw_map(day).detail == 1.0
    for axis in (0, 1):
        assert np.corrcoef(at[:, axis], place[:, axis])[0, 1] > 0.98
    nearest = cKDTree(at).query(at, k=2)[0][:, 1]
    assert np.quantile(nearest, 0.05) >= drawing.detail * DOT_DISTANCE - 1


def test_without_coordinates_the_feeder_is_a_tree_and_says_so(day: DayView) -> None:
    longitude = day.feeder.longitude.copy()
    longitude[4] = np.nan
    drawing = draw_map(replace(day, feeder=replace(day.feeder, longitude=longitude)))
    assert drawing.drawn_as_tree
    x = {dot.name: dot.x for dot in drawing.dots}
    assert x["HV"] < x["busbar"] < x["South 1"] < x["South 2"] < x["South <3>"]


def test_open_branch_is_drawn_open(day: DayView) -> None:
    strokes = {stroke.name: stroke.loading_class for stroke in draw_map(day).strokes}
    assert [name for name, kind in strokes.items() if kind == "open"] == ["Line 6"]


def test_loading_classes() -> None:
    classes = [loading_class(value, 100.0, in_service=True) for value in (0, 50, 80, 100, 101)]
    assert classes == ["low", "middle", "high", "high", "over"]
    assert loading_class(61.0, 60.0, in_service=True) == "over"
    assert loading_class(float("nan"), 100.0, in_service=True) == "unknown"
