"""Minutes out of quarter-hours: recorded means to the last digit, and real variation."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dso.realtime.minutes import minute_powers


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(-0.05, 5.0), st.floats(0.0, 3.0), st.floats(0.0, 1.0)),
        min_size=1,
        max_size=8,
    ),
    st.text("abc/", max_size=5),
)
def test_keeps_every_recorded_mean_and_its_sign(
    rows: list[tuple[float, float, float]], seed: str
) -> None:
    quarters = np.array(rows)
    minutes = minute_powers(quarters, ["Wind_MV", "PV_MV", "load"], seed)
    assert minutes.shape == (15 * len(rows), 3)
    assert np.isfinite(minutes).all()
    means = minutes.reshape(len(rows), 15, 3).mean(axis=1)
    assert np.allclose(means, quarters, rtol=1e-12, atol=1e-15)
    assert (minutes * np.repeat(quarters, 15, axis=0) >= 0.0).all()


def test_varies_within_the_quarter_hour_as_much_as_it_says_and_the_same_way_again() -> None:
    quarters = np.full((200, 3), 2.0)
    minutes = minute_powers(quarters, ["PV_MV", "Wind_MV", "Hydro_MV"], "day")
    within = minutes.reshape(200, 15, 3).std(axis=1).mean(axis=0) / 2.0
    assert 0.03 < within[0] < 0.08
    assert 0.01 < within[1] < 0.04
    assert within[2] < 1e-12
    assert np.array_equal(minutes, minute_powers(quarters, ["PV_MV", "Wind_MV", "Hydro_MV"], "day"))
    other = minute_powers(quarters, ["PV_MV", "Wind_MV", "Hydro_MV"], "another")
    assert not np.array_equal(minutes, other)


def test_plants_of_a_technology_vary_partly_together() -> None:
    minutes = minute_powers(np.full((200, 4), 1.0), ["PV_MV", "PV_MV", "Wind_MV", "Wind_MV"], "x")
    together = np.corrcoef(minutes.T)
    assert together[0, 1] > 0.2
    assert together[2, 3] > 0.1
    assert abs(together[0, 2]) < 0.1
