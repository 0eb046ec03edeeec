"""SimBench's own networks in pandapower; its tables of all grids are read once per process."""

from __future__ import annotations

import copy
import warnings
from functools import cache
from typing import Any
from unittest.mock import patch

import pandas as pd


def simbench_net(code: str) -> Any:
    """A network as the simbench package ships it, a copy of the caller's own."""
    return copy.deepcopy(_net(code))


@cache
def _net(code: str) -> Any:
    with warnings.catch_warnings():
        # Deprecations inside simbench and pandapower concern their authors.
        warnings.simplefilter("ignore")
        import simbench
        from simbench.networks import extract_simbench_grids_from_csv as package

        with patch.object(package, "read_csv_data", _read_copy):
            return simbench.get_simbench_net(code)


def _read_copy(path: str, sep: str, tablename: str) -> pd.DataFrame:
    return _read(path, sep, tablename).copy()


@cache
def _read(path: str, sep: str, tablename: str) -> pd.DataFrame:
    from simbench.converter import read_and_write

    return read_and_write.read_csv_data(path, sep, tablename)
