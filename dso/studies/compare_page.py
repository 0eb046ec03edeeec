"""The page of a comparison: what changed, where on the feeder, and which limits did it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from dso.report.colours import DIVERGING, Scale, price_scale
from dso.report.feeder_map import draw_feeder
from dso.report.numbers import fixed
from dso.report.page import STATUS_WORDS, Tile, Tone
from dso.report.page_parts import island, render_closed_page
from dso.report.plot_parts import rounded
from dso.report.views import Floats
from dso.show.figures import shown_names
from dso.studies.compare import Compared, difference, same_buses, when
from dso.studies.compare_figures import all_figures, colour_of, drawable
from dso.studies.key_figures import LABELS

TEMPLATES: Final = Path(__file__).parent / "templates"
LIMITS_SHOWN: Final = 40
DIFFERENCE_MIN: Final = 0.01
"""What the colours of price differences span at least [EUR/MWh]."""
TONES: Final[dict[str, Tone]] = {"certified": "good", "certified_with_slack": "warn"}
TILES: Final = ("objective_eur", "price_eur_per_mwh_mean", "curtailed_mwh", "losses_mwh")


def render_comparison(compared: Sequence[Compared]) -> bytes:
    """Render the page of a comparison; same studies, same bytes."""
    figures = all_figures(compared)
    mapped = _mapped(compared)
    scales = _scales(compared, mapped)
    shown = mapped[-1] if mapped else None
    return render_closed_page(
        "compare.html.j2",
        folder=TEMPLATES,
        script="compare.js",
        style="studies.css",
        context={
            "compared": compared,
            "networks": sorted({each.case.network.name for each in compared}),
            "tiles": _tiles(compared),
            "status_words": STATUS_WORDS,
            "tones": TONES,
            "rows": _figure_rows(compared),
            "colours": [colour_of(k).removeprefix("@") for k in range(len(compared))],
            "figures": {figure.name: figure for figure in figures},
            "map": None
            if shown is None
            else draw_feeder(
                compared[0].feeder,
                _mean_difference(compared, shown),
                _peak_loading(compared[shown]),
                scales["difference"],
            ),
            "mapped": mapped,
            "scales": scales,
            "limits": _limit_rows(compared),
            "specifications": island({f.name: f.specification() for f in figures}),
            "feeder_data": island(_script_data(compared, mapped, scales)),
        },
    )


def _mapped(compared: Sequence[Compared]) -> list[int]:
    """Return the places of studies whose prices can be set off against the first one's."""
    known = [place for place, _ in drawable(compared)]
    if 0 not in known:
        return []
    return [k for k in known if k and same_buses(compared[0], compared[k])]


def _mean_difference(compared: Sequence[Compared], place: int) -> Floats:
    means: list[Floats] = [compared[k].prices().mean(axis=1) for k in (0, place)]
    return means[1] - means[0]


def _peak_loading(each: Compared) -> Floats:
    loading = each.loadings()
    peak = np.where(np.isfinite(loading), loading, -np.inf).max(axis=1, initial=-np.inf)
    return np.where(np.isfinite(peak), peak, np.nan)


def _scales(compared: Sequence[Compared], mapped: Sequence[int]) -> dict[str, Scale]:
    differences = [_mean_difference(compared, place) for place in mapped]
    means = [each.prices().mean(axis=1) for _, each in drawable(compared)]
    return {
        "difference": _symmetric(float(np.abs(differences).max(initial=0.0))),
        "price": price_scale(np.concatenate(means or [np.zeros(1)])),
    }


def _symmetric(reach: float) -> Scale:
    """Return a scale about zero [EUR/MWh], to the reach rounded up to two digits."""
    if not reach > DIFFERENCE_MIN:
        reach = DIFFERENCE_MIN
    place = math.floor(math.log10(reach))
    step = 10.0 ** (place - 1)
    top = math.ceil(round(reach / step, 6)) * step
    return Scale(low=-top, high=top, unit="EUR/MWh", digits=max(1, 2 - place), stops=DIVERGING)


def _signed(value: float | None, digits: int) -> str:
    sign = "+" if value is not None and value > 0 and round(value, digits) else ""
    return sign + fixed(value, digits)


def _figure_rows(compared: Sequence[Compared]) -> list[tuple[str, str, list[tuple[str, str]]]]:
    """Return label, unit, and (value, difference to the first) of each study."""
    return [
        (
            label,
            unit,
            [
                (
                    fixed(getattr(each.figures, name), digits),
                    _signed(
                        difference(getattr(compared[0].figures, name), getattr(each.figures, name)),
                        digits,
                    )
                    if k
                    else "",
                )
                for k, each in enumerate(compared)
            ],
        )
        for name, (label, unit, digits) in LABELS.items()
    ]


def _tiles(compared: Sequence[Compared]) -> tuple[Tile, ...]:
    """Return the headline: how far the last study is from the first."""
    first, last = compared[0], compared[-1]
    tiles = []
    for name in TILES:
        label, unit, digits = LABELS[name]
        before, after = getattr(first.figures, name), getattr(last.figures, name)
        tiles.append(
            Tile(
                label=label,
                value=_signed(difference(before, after), digits),
                unit=unit,
                note=f"{fixed(before, digits)} in {first.name}, {fixed(after, digits)} in "
                f"{last.name}",
            )
        )
    return tuple(tiles)


def _limit_rows(compared: Sequence[Compared]) -> list[list[str]]:
    rows = []
    for each in compared:
        rows += [
            [
                each.name,
                limit.name,
                str(len(limit.periods)),
                when(each.case, limit.periods),
                f"{fixed(limit.shadow_price, 2)} {limit.unit}",
                fixed(limit.price_part_eur_per_mwh, 2),
            ]
            for limit in each.limits[:LIMITS_SHOWN]
        ]
    return rows


def _script_data(
    compared: Sequence[Compared], mapped: Sequence[int], scales: dict[str, Scale]
) -> dict[str, object]:
    feeder = compared[0].feeder
    drawn = [0, *mapped] if mapped else []
    return {
        "buses": list(shown_names(feeder)),
        "branches": list(feeder.branch_name),
        "studies": {
            str(place): {
                "name": compared[place].name,
                "mean": rounded(compared[place].prices().mean(axis=1), 4),
                "lowest": rounded(compared[place].prices().min(axis=1), 4),
                "highest": rounded(compared[place].prices().max(axis=1), 4),
                "difference": rounded(_mean_difference(compared, place), 4),
                "loading": rounded(_peak_loading(compared[place]), 2),
                "inService": compared[place].feeder.branch_in_service.tolist(),
            }
            for place in drawn
        },
        "loadingMax": rounded(feeder.loading_percent_max, 3),
        "scales": {
            name: {
                "low": scale.low, "high": scale.high, "unit": scale.unit,
                "digits": scale.digits, "stops": list(scale.stops),
            }
            for name, scale in scales.items()
        },
    }  # fmt: skip
