from __future__ import annotations

import numpy as np
import pytest

from data.errors import InputError
from dso.show.selection import select
from dso.show.views import ShowView


def test_the_page_opens_where_a_limit_moves_prices_most(view: ShowView) -> None:
    chosen = select(view, period=None, bus=None)
    moved = np.abs(view.price - view.energy - view.loss)
    assert moved[:, chosen.period].max() == pytest.approx(moved.max(), abs=1e-6)
    assert moved.max() > 1.0
    away = np.abs(view.price[:, chosen.period] - view.import_price_eur_per_mwh[chosen.period])
    assert away[chosen.bus] == away.max()


@pytest.mark.parametrize("text", ["2", "04:00", "2026-06-01T02:00:00Z", "2026-06-01T04:00+02:00"])
def test_a_period_by_number_local_start_or_instant(view: ShowView, text: str) -> None:
    assert select(view, period=text, bus=None).period == 2


def test_a_bus_by_number_or_name(view: ShowView) -> None:
    assert select(view, period=None, bus="17").bus == 17
    name = view.feeder.bus_name[24]
    assert select(view, period=None, bus=name).bus == 24


def test_what_is_not_there_is_refused_together(view: ShowView) -> None:
    with pytest.raises(InputError) as raised:
        select(view, period="25:00", bus="nowhere")
    told = [str(problem) for problem in raised.value.problems]
    assert len(told) == 2
    assert "0 to 3" in told[0]
    assert "nowhere" in told[1]
