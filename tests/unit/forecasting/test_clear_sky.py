"""The clear sky against the textbook length of the day, and against its own night."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from data.periods import Periods
from forecasting.clear_sky import clear_sky_irradiance


@pytest.mark.parametrize(("month", "day"), [(1, 16), (3, 20), (7, 25), (10, 30)])
def test_length_of_the_day_follows_the_sunset_equation(month: int, day: int) -> None:
    """cos(w) = -tan(latitude) tan(declination), Cooper 1969 for the declination."""
    latitude = 53.64
    noon_day = Periods(start=datetime(2016, month, day, tzinfo=UTC), count=96)
    irradiance, night = clear_sky_irradiance(noon_day, latitude, 11.41)
    number = datetime(2016, month, day, tzinfo=UTC).timetuple().tm_yday
    declination = np.radians(23.45) * np.sin(2 * np.pi * (284 + number) / 365)
    hour_angle = np.arccos(-np.tan(np.radians(latitude)) * np.tan(declination))
    # The sun on a south plane is the direct part: count what exceeds a thin twilight.
    lit_h = (irradiance > 5.0).sum() / 4
    assert lit_h == pytest.approx(np.degrees(hour_angle) * 2 / 15, abs=1.0)
    assert (irradiance[night] == 0.0).all()
    peak = np.arange(96)[np.argmax(irradiance)] / 4
    assert peak == pytest.approx(12.0 - 11.41 / 15.0, abs=0.6)


def test_summer_noon_is_near_the_solar_constant_less_the_air() -> None:
    day = Periods(start=datetime(2016, 6, 21, tzinfo=UTC), count=96)
    irradiance, _ = clear_sky_irradiance(day, 53.64, 11.41)
    assert 850.0 < irradiance.max() < 1100.0
