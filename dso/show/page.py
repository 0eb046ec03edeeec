"""The page of a clearing: status first, then the feeder, a price explained, and the proof."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from dso.report.feeder_map import LOADING_CLASSES, draw_feeder, scales_of
from dso.report.numbers import fixed, significant
from dso.report.page import CERTIFICATE_WORDS, STATUS_WORDS, Tile, Tone
from dso.report.page_parts import island, render_closed_page
from dso.report.plot_parts import rounded
from dso.report.states import feeder_order
from dso.show.figures import LIMITS_SHOWN, REST_STYLE, all_figures, bar_style, shown_names
from dso.show.views import ElementPart, Selection, ShowView

TEMPLATES: Final = Path(__file__).parent / "templates"
ELEMENTS_SHOWN: Final = 10
REFUSED_SHOWN: Final = 40
TONES: Final[dict[str, Tone]] = {"certified": "good", "certified_with_slack": "warn"}


def render_show(view: ShowView, selection: Selection) -> bytes:
    """Render the page of a clearing, opened at a period and a bus."""
    return render_closed_page(
        "show.html.j2",
        folder=TEMPLATES,
        script="show.js",
        style="show.css",
        context=_context(view, selection),
    )


def _context(view: ShowView, selection: Selection) -> dict[str, object]:
    scales = scales_of(
        view.feeder, view.price, view.price - view.import_price_eur_per_mwh, view.vm_pu
    )
    figures = all_figures(view, selection)
    period = selection.period
    return {
        "view": view,
        "selection": selection,
        "lowest": float(np.nanmin(view.price[:, period])),
        "highest": float(np.nanmax(view.price[:, period])),
        "period_label": view.local_label(period),
        "span": _span(view),
        "status_words": STATUS_WORDS.get(_text(view, "status"), _text(view, "status")),
        "tone": TONES.get(_text(view, "status"), "bad"),
        "message": _text(view, "message"),
        "tiles": _tiles(view),
        "map": draw_feeder(
            view.feeder, view.price[:, period], view.loading_percent[:, period], scales["price"]
        ),
        "scales": scales,
        "loading_classes": LOADING_CLASSES,
        "figures": {figure.name: figure for figure in figures},
        "path_rows": path_rows(view, selection),
        "bus_name": shown_names(view.feeder)[selection.bus],
        "elements": view.elements[:ELEMENTS_SHOWN],
        "largest": [_largest(element) for element in view.elements[:ELEMENTS_SHOWN]],
        "elements_count": len(view.elements),
        "refused": view.refused[:REFUSED_SHOWN],
        "certificate": _certificate(view),
        "input_sha256": _text(view, "input_sha256"),
        "specifications": island({figure.name: figure.specification() for figure in figures}),
        "feeder_data": island(script_data(view, selection)),
    }


def _text(view: ShowView, name: str) -> str:
    value = view.summary.get(name)
    return value if isinstance(value, str) else ""


def _number(view: ShowView, name: str) -> float | None:
    value = view.summary.get(name)
    return float(value) if isinstance(value, int | float) else None


def _span(view: ShowView) -> str:
    starts = view.local_starts()
    end = (view.periods.starts[-1] + view.periods.mtu).astimezone(starts[0].tzinfo)
    return f"{starts[0]:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} {end:%Z}"


def _tiles(view: ShowView) -> tuple[Tile, ...]:
    """Return the headline figures: is it sound, what did it cost, what moved prices."""
    status = _text(view, "status")
    held = "every limit holds" if status == "certified" else "see what speaks against it above"
    gap, short = _number(view, "gap"), len(view.shortages)
    moved = {int(period) for element in view.elements for period in element.periods}
    bound = f"gap to the bound {significant(gap)}" if gap is not None else "no bound"
    return (
        Tile(
            label="Status",
            value=STATUS_WORDS.get(status, status),
            unit="",
            note=f"{short} limits and periods with slack" if short else held,
            tone=TONES.get(status, "bad"),
        ),
        Tile(
            label="Cost",
            value=fixed(_number(view, "objective_eur"), 2),
            unit="EUR",
            note=f"of awards and import; {bound}",
        ),
        Tile(
            label="Price span",
            value=f"{fixed(float(np.nanmin(view.price)), 1)} to "
            f"{fixed(float(np.nanmax(view.price)), 1)}",
            unit="EUR/MWh",
            note=f"any bus and period; upstream {fixed(float(view.import_price_eur_per_mwh.min()))}"
            f" to {fixed(float(view.import_price_eur_per_mwh.max()))}",
        ),
        Tile(
            label="Limits in prices",
            value=str(len(view.elements)),
            unit="limits",
            note=f"reached in {len(moved)} of {len(view.periods)} periods",
        ),
    )


def path_rows(view: ShowView, selection: Selection) -> list[tuple[str, str, list[str]]]:
    """Return name, distance and parts of each bus on the way, as the table under the plot has."""
    names = shown_names(view.feeder)
    period = selection.period
    now = [
        element.p_eur_per_mwh[int(np.flatnonzero(element.periods == period)[0])]
        for element in view.elements
        if np.any(element.periods == period)
    ]
    return [
        (
            names[bus],
            fixed(float(view.reach.distance_km[bus]), 2),
            [
                fixed(float(value), 2)
                for value in (
                    view.price[bus, period], view.energy[bus, period], view.loss[bus, period],
                    *(part[bus] for part in now),
                )
            ],
        )
        for bus in view.reach.path(selection.bus)
    ]  # fmt: skip


def _largest(element: ElementPart) -> float:
    flat = element.p_eur_per_mwh.ravel()
    return float(flat[int(np.argmax(np.abs(flat)))])


def _certificate(view: ShowView) -> list[tuple[str, str, str]]:
    """Return label, value and unit of each line of the certificate."""
    certificate = view.summary.get("certificate")
    lines = []
    for name, value in certificate.items() if isinstance(certificate, dict) else ():
        label, unit = CERTIFICATE_WORDS.get(name, (name.replace("_", " "), ""))
        if isinstance(value, dict):
            value = ", ".join(f"{key}={item}" for key, item in value.items())
        text = significant(float(value)) if isinstance(value, int | float) else str(value or "n/a")
        lines.append((label, text, unit))
    return lines


def script_data(view: ShowView, selection: Selection) -> dict[str, object]:
    """Return what the page's script needs to show any period and bus."""
    feeder, reach = view.feeder, view.reach
    branch = {
        pair: k
        for k, pair in enumerate(zip(feeder.branch_kind, feeder.branch_element, strict=True))
    }
    position = {int(bus): k for k, bus in enumerate(feeder.bus)}
    scales = scales_of(feeder, view.price, view.price - view.import_price_eur_per_mwh, view.vm_pu)
    return {
        "periods": [view.local_label(k) for k in range(len(view.periods))],
        "open": selection.period,
        "bus": selection.bus,
        "buses": list(shown_names(feeder)),
        "busOrder": feeder_order(feeder).tolist(),
        "branches": list(feeder.branch_name),
        "inService": feeder.branch_in_service.tolist(),
        "loadingMax": rounded(feeder.loading_percent_max, 3),
        "atSubstation": feeder.substation_node().tolist(),
        "km": rounded(reach.distance_km, 4),
        "parent": reach.parent.tolist(),
        "importPrice": rounded(view.import_price_eur_per_mwh, 4),
        "price": rounded(view.price, 4),
        "energy": rounded(view.energy, 4),
        "loss": rounded(view.loss, 4),
        "elements": [
            {
                "name": element.name,
                "periods": element.periods.tolist(),
                "part": rounded(element.p_eur_per_mwh, 4),
                "marker": bar_style(rank),
                "bus": position.get(element.element) if element.element_kind == "bus" else None,
                "branch": branch.get((element.element_kind, element.element)),
            }
            for rank, element in enumerate(view.elements)
        ],
        "limitsShown": LIMITS_SHOWN,
        "restMarker": REST_STYLE,
        "short": [
            [short.period, short.element_kind == "bus",
             position.get(short.element) if short.element_kind == "bus"
             else branch.get((short.element_kind, short.element)),
             short.name, round(short.mw_short, 6)]
            for short in view.shortages
        ],
        "voltage": rounded(view.vm_pu, 5),
        "loading": rounded(view.loading_percent, 1),
        "scales": {
            name: {
                "low": scale.low, "high": scale.high, "unit": scale.unit,
                "digits": scale.digits, "stops": list(scale.stops),
            }
            for name, scale in scales.items()
        },
    }  # fmt: skip
