"""The feeder as a drawing: positions, and the numbers the page's script paints it with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.spatial import cKDTree

from dso.report.colours import Scale, difference_scale, price_scale, voltage_scale
from dso.report.figures import short_names
from dso.report.plot_parts import rounded
from dso.report.states import STATES, feeder_order, period_states, period_to_open
from dso.report.views import SCENARIOS, DayView, FeederView, Floats

WIDTH: Final = 860.0
MARGIN: Final = 34.0
HEIGHT_MIN, HEIGHT_MAX = 480.0, 1040.0
DOT_DISTANCE: Final = 16.0
"""Buses nearer than this [drawing units] are moved apart, so that each can be seen."""
CROWDED: Final = 0.3
"""Share of the spacing at which buses would fill the frame, above which dots become smaller."""
LOADING_CLASSES: Final = ((0.0, "low"), (50.0, "middle"), (80.0, "high"), (100.0, "over"))
"""Lower bound of each class [percent of the branch's limit] and its name in the style sheet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dot:
    """A bus on the drawing."""

    position: int
    name: str
    x: float
    y: float
    colour: str
    substation: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Stroke:
    """A branch on the drawing; ``loading_class`` is one of `LOADING_CLASSES` or ``open``."""

    position: int
    name: str
    x1: float
    y1: float
    x2: float
    y2: float
    loading_class: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MapView:
    """The drawing at the period it opens with; colours and classes change by script.

    ``detail`` is the size of dots and strokes, 1 up to some hundred buses and less on larger grids.
    """

    width: float
    height: float
    dots: tuple[Dot, ...]
    strokes: tuple[Stroke, ...]
    drawn_as_tree: bool
    detail: float


def draw_map(day: DayView) -> MapView:
    """Place the feeder at the period the page opens with."""
    period = period_to_open(day)
    return draw_feeder(
        day.feeder,
        day.final.dlmp[:, period],
        day.final_grid.loading_percent[:, period],
        map_scales(day)["price"],
    )


def draw_feeder(
    feeder: FeederView, price_eur_per_mwh: Floats, loading_percent: Floats, scale: Scale
) -> MapView:
    """Place the feeder: by its coordinates, or as a tree where any is missing.

    Parameters
    ----------
    feeder : FeederView
        Buses and branches.
    price_eur_per_mwh : ndarray, shape (buses,)
        What buses are coloured by [EUR/MWh].
    loading_percent : ndarray, shape (branches,)
        What branches are drawn by [percent].
    scale : Scale
        Colours of the prices.
    """
    known = bool(np.isfinite(feeder.longitude).all() and np.isfinite(feeder.latitude).all())
    place = _by_coordinates(feeder) if known else _as_tree(feeder)
    names = short_names(feeder)
    dots = tuple(
        Dot(
            position=k,
            name=names[k],
            x=round(float(place[k, 0]), 1),
            y=round(float(place[k, 1]), 1),
            colour=scale.colour(float(price_eur_per_mwh[k])),
            substation=k == feeder.substation,
        )
        for k in range(len(feeder.bus))
    )
    strokes = tuple(
        Stroke(
            position=k,
            name=feeder.branch_name[k],
            x1=dots[int(feeder.branch_from[k])].x,
            y1=dots[int(feeder.branch_from[k])].y,
            x2=dots[int(feeder.branch_to[k])].x,
            y2=dots[int(feeder.branch_to[k])].y,
            loading_class=loading_class(
                float(loading_percent[k]),
                float(feeder.loading_percent_max[k]),
                in_service=bool(feeder.branch_in_service[k]),
            ),
        )
        for k in range(len(feeder.branch_name))
    )
    height = float(place[:, 1].max() + MARGIN)
    return MapView(
        width=WIDTH,
        height=round(height, 1),
        dots=dots,
        strokes=strokes,
        drawn_as_tree=not known,
        detail=round(_detail(len(dots)), 2),
    )


def map_scales(day: DayView) -> dict[str, Scale]:
    """Return the colour scales the map of a day can be painted with."""
    return scales_of(
        day.feeder,
        np.concatenate([day.final.dlmp.ravel(), day.day_ahead.dlmp.ravel()]),
        day.final.dlmp - day.import_price_eur_per_mwh,
        day.final_grid.vm_pu,
    )


def scales_of(
    feeder: FeederView, price: Floats, difference: Floats, vm_pu: Floats
) -> dict[str, Scale]:
    """Return the scales of prices, of their differences to upstream [EUR/MWh], of voltages [pu]."""
    inside = ~feeder.substation_node()
    low = feeder.vm_pu_min[inside]
    high = feeder.vm_pu_max[inside]
    return {
        "price": price_scale(price),
        "difference": difference_scale(difference),
        "voltage": voltage_scale(
            vm_pu,
            float(np.nanmax(low)) if np.isfinite(low).any() else math.nan,
            float(np.nanmin(high)) if np.isfinite(high).any() else math.nan,
        ),
    }


def loading_class(loading_percent: float, limit_percent: float, *, in_service: bool) -> str:
    """Return the class a branch is drawn in.

    Examples
    --------
    >>> loading_class(79.9, 100.0, in_service=True), loading_class(101.0, 100.0, in_service=True)
    ('middle', 'over')
    """
    if not in_service:
        return "open"
    if not math.isfinite(loading_percent):
        return "unknown"
    share = 100.0 * loading_percent / limit_percent
    # Exactly at the limit is not beyond it; a solver's last digit is no alarm.
    if share > 100.1:
        return "over"
    return [name for bound, name in LOADING_CLASSES[:-1] if share >= bound][-1]


def script_data(day: DayView) -> dict[str, object]:
    """Return what the page's script needs to repaint the map and fill the panels."""
    feeder = day.feeder
    index = {(kind, element): k for k, (kind, element) in enumerate(
        zip(feeder.branch_kind, feeder.branch_element, strict=True)
    )}  # fmt: skip
    bus_index = {int(bus): k for k, bus in enumerate(feeder.bus)}
    broken: dict[str, list[list[object]]] = {scenario: [] for scenario in SCENARIOS}
    for violation in day.violations:
        is_bus = violation.element_kind == "bus"
        place = (
            bus_index.get(violation.element)
            if is_bus
            else index.get((violation.element_kind, violation.element))
        )
        if place is not None:
            broken[violation.scenario].append(
                [violation.period, "bus" if is_bus else "branch", place,
                 round(violation.value, 4 if is_bus else 1)]
            )  # fmt: skip
    states = period_states(day)
    storage = [storage.delivered_mw for storage in day.storages]
    labels = [day.local_label(k) for k in range(len(day.periods))]
    return {
        "periods": labels,
        "utc": list(day.periods.labels()),
        "open": period_to_open(day),
        "states": [STATES.index(state) for state in states],
        "buses": list(short_names(feeder)),
        "busOrder": feeder_order(feeder).tolist(),
        "branches": list(feeder.branch_name),
        "inService": feeder.branch_in_service.tolist(),
        "loadingMax": feeder.loading_percent_max.tolist(),
        "vmMin": rounded(feeder.vm_pu_min, 4),
        "vmMax": rounded(feeder.vm_pu_max, 4),
        "atSubstation": feeder.substation_node().tolist(),
        "importPrice": rounded(day.import_price_eur_per_mwh, 2),
        "price": rounded(day.final.dlmp, 2),
        "parts": [
            rounded(part, 2)
            for part in (day.final.energy, day.final.loss, day.final.congestion, day.final.voltage)
        ],
        "voltage": rounded(day.final_grid.vm_pu, 4),
        "loading": rounded(day.final_grid.loading_percent, 1),
        "exchangeMw": rounded(day.exchange_mwh / day.periods.mtu_h, 2),
        "storageMw": rounded(np.sum(storage, axis=0), 2) if storage else None,
        "broken": broken,
        "scales": {
            name: {
                "low": scale.low, "high": scale.high, "unit": scale.unit,
                "digits": scale.digits, "stops": list(scale.stops),
            }
            for name, scale in map_scales(day).items()
        },
    }  # fmt: skip


def _by_coordinates(feeder: FeederView) -> Floats:
    """Equirectangular projection about the feeder's middle; buses on one spot are set apart."""
    shrink = math.cos(math.radians(float(feeder.latitude.mean())))
    x = (feeder.longitude - feeder.longitude.min()) * shrink
    y = feeder.latitude.max() - feeder.latitude
    reach_x, reach_y = float(x.max()) or 1e-9, float(y.max()) or 1e-9
    scale = (WIDTH - 2 * MARGIN) / reach_x
    height = min(max(reach_y * scale, HEIGHT_MIN), HEIGHT_MAX)
    scale = min(scale, height / reach_y)
    place = np.stack([x * scale + (WIDTH - reach_x * scale) / 2, y * scale + MARGIN], axis=1)
    return _set_apart(place, feeder)


def _set_apart(place: Floats, feeder: FeederView) -> Floats:
    spots: dict[tuple[float, float], list[int]] = {}
    for k, (x, y) in enumerate(place.round(1).tolist()):
        spots.setdefault((x, y), []).append(k)
    apart, detail = place.copy(), _detail(len(place))
    for members in spots.values():
        levels: dict[float, int] = {}
        for k in sorted(members, key=lambda k: (float(feeder.vn_kv[k]), k)):
            level = float(feeder.vn_kv[k])
            column = levels.get(level, 0)
            levels[level] = column + 1
            apart[k, 0] += 22.0 * detail * column
            apart[k, 1] -= 34.0 * detail * (len(levels) - 1)
    return _inside(_not_overlapping(apart, DOT_DISTANCE * detail))


def _detail(buses: int) -> float:
    """Size of dots on a drawing with as many: where they would cover it, they become smaller."""
    spacing = math.sqrt(WIDTH * HEIGHT_MAX / max(buses, 1))
    return min(1.0, CROWDED * spacing / DOT_DISTANCE)


def _not_overlapping(place: Floats, wanted: float) -> Floats:
    """Push dots apart that would hide each other, a little at a time."""
    apart = place.copy()
    for _ in range(80):
        near = cKDTree(apart).query_pairs(wanted + 0.5, output_type="ndarray")
        one, other = near[np.lexsort((near[:, 1], near[:, 0]))].T
        gap = apart[one] - apart[other]
        distance = np.maximum(np.hypot(gap[:, 0], gap[:, 1]), 1e-6)
        lack = wanted + 0.5 - distance
        if not (lack > 0.5).any():
            break
        push = gap * (lack / distance / 3)[:, None]
        np.add.at(apart, one, push)
        np.add.at(apart, other, -push)
    return apart


def _inside(place: Floats) -> Floats:
    """Move the drawing into its frame; what stands out on the right is put on its edge."""
    moved: Floats = place + np.maximum(MARGIN - place.min(axis=0), 0.0)
    moved[:, 0] = np.minimum(moved[:, 0], WIDTH - MARGIN)
    return moved


def _as_tree(feeder: FeederView) -> Floats:
    """Draw without coordinates: one row per bus in feeder order, depth to the right."""
    order: Sequence[int] = feeder_order(feeder).tolist()
    depth = _depths(feeder)
    step_x = (WIDTH - 2 * MARGIN) / max(*depth.values(), 1)
    step_y = HEIGHT_MAX / max(len(order), 1)
    place = np.zeros((len(order), 2))
    for row, bus in enumerate(order):
        place[bus] = (MARGIN + step_x * depth.get(bus, 0), MARGIN + step_y * row)
    return place


def _depths(feeder: FeederView) -> dict[int, int]:
    near: dict[int, set[int]] = {k: set() for k in range(len(feeder.bus))}
    ends = zip(feeder.branch_from.tolist(), feeder.branch_to.tolist(), strict=True)
    closed = [pair for pair, on in zip(ends, feeder.branch_in_service, strict=True) if on]
    for a, b in (*closed, *feeder.links):
        near[a].add(b)
        near[b].add(a)
    depth = {feeder.substation: 0}
    queue = [feeder.substation]
    for bus in queue:
        for other in sorted(near[bus] - depth.keys()):
            depth[other] = depth[bus] + 1
            queue.append(other)
    return depth
