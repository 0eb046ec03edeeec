"""A grid without records follows those of another, element by element."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from data.errors import InputError
from data.readers.borrowed_profiles import borrow_profiles
from data.readers.simbench import SimbenchGrid, load_simbench
from data.study.network_reference import load_network


@pytest.fixture(scope="module")
def lender() -> SimbenchGrid:
    return load_simbench("1-LV-rural1--2-sw")


def test_each_load_has_its_own_power_times_a_recorded_share(lender: SimbenchGrid) -> None:
    network = load_network("pandapower:case33bw", Path())
    grid = borrow_profiles(network, lender)
    count = len(lender.network.loads.index)
    assert 0 < count < len(network.loads.index)  # so that they begin again
    shares = lender.profiles.load_p_mw / lender.profiles.load_p_mw_base
    for row, own in enumerate(network.loads.p_mw.tolist()):
        assert np.allclose(grid.profiles.load_p_mw[:, row], own * shares[:, row % count])
    assert grid.profiles.sgen_p_mw.shape == (len(lender.profiles.shares), 0)
    assert grid.profiles.start == lender.profiles.start


def test_nothing_can_be_borrowed_from_a_grid_without_such_elements(lender: SimbenchGrid) -> None:
    empty = dataclasses.replace(
        lender.profiles,
        load_p_column=np.zeros(0, dtype=np.int64),
        sgen_column=np.zeros(0, dtype=np.int64),
    )
    with pytest.raises(InputError) as caught:
        borrow_profiles(lender.network, dataclasses.replace(lender, profiles=empty))
    assert len(caught.value.problems) == 2
