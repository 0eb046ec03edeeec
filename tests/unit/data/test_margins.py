"""``margins.csv``: what is written comes back, what is wrong is named."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from data.errors import InputError
from data.records.clearing import ClearingCase
from data.study import canonical_case, case_sha256, read_study, write_study
from data.study.copy_study import copy_study
from data.study.margins import MARGINS_FILE, no_margins
from tests.support.cases import generation, library_network, make_case

HEADER = "element_kind,element,side,period_start,margin,unit\n"
FIRST = "2026-06-01T00:00:00Z"
NETWORK = "pandapower:case33bw"


def plain_case() -> ClearingCase:
    case = make_case(
        library_network("case33bw"), [generation("pv", 17, 1.0, 0.0, 2)], periods=2, vm_pu_max=1.05,
        line_loading_percent_max=100.0,
    )  # fmt: skip
    return canonical_case(case)


def case_with_margins() -> ClearingCase:
    case = plain_case()
    margins = no_margins(case.network, 2)
    margins.vm_pu_upper[17] = (0.0, 1.0 / 300.0)
    margins.vm_pu_lower[5] = (0.002, 0.0)
    margins.line_loading_percent[3] = (12.5, 7.25)
    return canonical_case(dataclasses.replace(case, margins=margins))


@pytest.fixture
def study(tmp_path: Path) -> Path:
    write_study(plain_case(), tmp_path / "study", NETWORK)
    return tmp_path / "study"


def problems_of(study: Path, rows: str) -> str:
    (study / MARGINS_FILE).write_text(HEADER + rows)
    with pytest.raises(InputError) as caught:
        read_study(study)
    return str(caught.value)


def test_margins_come_back_from_their_study_folder(tmp_path: Path) -> None:
    case = case_with_margins()
    write_study(case, tmp_path / "study", NETWORK)
    found = read_study(tmp_path / "study")
    assert found.margins is not None
    assert case.margins is not None
    for field in dataclasses.fields(case.margins):
        assert np.array_equal(getattr(found.margins, field.name), getattr(case.margins, field.name))
    assert case_sha256(found) == case_sha256(case) != case_sha256(plain_case())


def test_only_margins_that_are_some_are_written_by_period(tmp_path: Path) -> None:
    write_study(case_with_margins(), tmp_path / "study", NETWORK)
    rows = (tmp_path / "study" / MARGINS_FILE).read_text().splitlines()
    assert rows[0] + "\n" == HEADER
    assert rows[1:] == [
        f"bus,5,lower,{FIRST},0.002,pu",
        f"line,3,,{FIRST},12.5,percent",
        "bus,17,upper,2026-06-01T01:00:00Z,0.00333333333333,pu",
        "line,3,,2026-06-01T01:00:00Z,7.25,percent",
    ]


def test_a_study_without_margins_has_no_such_file(tmp_path: Path, study: Path) -> None:
    assert not (study / MARGINS_FILE).exists()
    assert read_study(study).margins is None
    write_study(case_with_margins(), tmp_path / "again", NETWORK)
    write_study(plain_case(), tmp_path / "again", NETWORK)
    assert not (tmp_path / "again" / MARGINS_FILE).exists()


def test_margins_are_copied_with_their_study(tmp_path: Path) -> None:
    write_study(case_with_margins(), tmp_path / "study", NETWORK)
    copy_study(tmp_path / "study", tmp_path / "copy")
    assert case_sha256(read_study(tmp_path / "copy")) == case_sha256(case_with_margins())


def test_everything_wrong_is_listed_at_once(study: Path) -> None:
    text = problems_of(
        study,
        f"bus,99,upper,{FIRST},0.01,pu\n"
        f"bus,4,from,{FIRST},0.01,pu\n"
        f"line,3,,{FIRST},5,pu\n"
        f"line,3,,{FIRST},-5,percent\n"
        f"bus,4,upper,{FIRST},0.01,pu\n"
        f"bus,4,upper,{FIRST},0.02,pu\n"
        f"bus,4,upper,2026-07-01T00:00:00Z,0.01,pu\n"
        f"bus,6,upper,{FIRST},much,pu\n",
    )
    for part in (
        "row 2: bus 99", "row 3: bus 4, side 'from'", "row 4: line 3, side '', unit 'pu'",
        "row 5: the margin of line 3 is -5", "row 7: bus 4 has two margins", "row 8", "row 9",
    ):  # fmt: skip
        assert part in text, part


def test_margins_that_leave_nothing_of_a_limit_are_refused(study: Path) -> None:
    text = problems_of(
        study, f"bus,4,upper,{FIRST},0.6,pu\nline,3,,2026-06-01T01:00:00Z,100,percent\n"
    )
    assert f"{MARGINS_FILE} (bus 4): the margins leave nothing of its limits at {FIRST}" in text
    assert f"{MARGINS_FILE} (line 3): the margins leave nothing" in text
