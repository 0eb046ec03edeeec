"""A result folder read back: the same bytes when written again; what is not whole is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from data.errors import InputError
from data.readers.result_folder import read_result
from data.records.clearing import ClearingCase
from data.results import write_result
from data.study import read_study
from tests.support.clearing_folder import write_clearing

FILES = (
    "awards.csv", "branches.csv", "buses.csv", "orders.csv", "price_parts.csv", "prices.csv",
    "substation.csv", "summary.json", "trades.csv",
)  # fmt: skip


@pytest.fixture(scope="module", params=[0.9, 0.93], ids=["certified", "with slack"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clearing")
    write_clearing(folder, vm_pu_min=request.param)
    return folder


@pytest.fixture(scope="module")
def case(folder: Path) -> ClearingCase:
    return read_study(folder)


def test_written_again_it_is_the_same(folder: Path, case: ClearingCase, tmp_path: Path) -> None:
    write_result(read_result(folder, case), case, tmp_path)
    for name in FILES:
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes(), name


def test_the_exchange_at_the_substation_covers_loads_and_losses(
    folder: Path, case: ClearingCase
) -> None:
    result = read_result(folder, case)
    injected = sum(award.injection_mw.sum(axis=0) for award in result.awards)
    losses = result.grid.import_mw + injected - case.load_p_mw.sum(axis=1)
    assert np.all((losses > 0) & (losses < 0.4))


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("awards.csv", "pv,17,", "pv,18,", "other buses than order pv"),
        ("awards.csv", "battery,24,", "batter,24,", "lacks rows of order battery"),
        ("prices.csv", "2026-06-01T01", "2026-06-07T01", "periods that the study does not have"),
        ("prices.csv", "\n3,2026", "\n99,2026", "buses that the study does not have"),
        ("prices.csv", "\n3,2026", "\n4,2026", "one per bus and period"),
        ("substation.csv", "2026-06-01T01", "2026-06-01T00", "not one per period"),
        ("orders.csv", "surplus_eur", "surplus", "orders.csv"),
    ],
)
def test_a_damaged_folder_is_refused(
    folder: Path, case: ClearingCase, tmp_path: Path, name: str, old: str, new: str, said: str
) -> None:
    for file in FILES:
        (tmp_path / file).write_bytes((folder / file).read_bytes())
    text = (tmp_path / name).read_text()
    assert old in text
    (tmp_path / name).write_text(text.replace(old, new))
    with pytest.raises(InputError, match=said):
        read_result(tmp_path, case)


def test_another_study_is_refused(folder: Path, case: ClearingCase, tmp_path: Path) -> None:
    summary = json.loads((folder / "summary.json").read_text())
    summary["input_sha256"] = "0" * 64
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    with pytest.raises(InputError, match="input_sha256 differs"):
        read_result(tmp_path, case)
    with pytest.raises(InputError, match=r"holds no summary\.json"):
        read_result(tmp_path / "absent", case)
