"""The battery's limits and what it can still reach."""

from __future__ import annotations

import numpy as np
import pytest

from data.errors import InputError
from flexibility.battery import Battery, energy_path_mwh, power_limits_mw

BATTERY = Battery(
    energy_mwh_min=0.2, energy_mwh_max=2.0, efficiency_charge=0.9, efficiency_discharge=0.8
)


def test_a_round_trip_loses_both_efficiencies() -> None:
    path = energy_path_mwh(
        BATTERY, 1.0, np.array([1.0, 0.0]), np.array([0.0, 0.9 * 0.8]), mtu_h=0.5
    )
    assert path == pytest.approx([1.45, 1.0])


def test_self_discharge_is_that_of_a_day() -> None:
    leaky = Battery(
        energy_mwh_min=0.0, energy_mwh_max=2.0, efficiency_charge=1.0, efficiency_discharge=1.0,
        self_discharge_per_day=0.1,
    )  # fmt: skip
    idle = np.zeros(96)
    assert energy_path_mwh(leaky, 1.0, idle, idle, mtu_h=0.25)[-1] == pytest.approx(0.9)


def test_limits_at_the_bounds() -> None:
    assert power_limits_mw(BATTERY, 2.0, 0.25)[0] == 0.0
    assert power_limits_mw(BATTERY, 0.2, 0.25)[1] == 0.0
    charge, discharge = power_limits_mw(BATTERY, 1.1, 0.25)
    assert charge == pytest.approx(0.9 / (0.9 * 0.25))
    assert discharge == pytest.approx(0.9 * 0.8 / 0.25)


def test_all_bad_values_are_named_together() -> None:
    with pytest.raises(InputError) as caught:
        Battery(
            energy_mwh_min=3.0, energy_mwh_max=2.0, efficiency_charge=0.0,
            efficiency_discharge=95.0, self_discharge_per_day=1.0,
        )  # fmt: skip
    assert len(caught.value.problems) == 4
