from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from data.errors import InputError
from data.results import write_result
from data.study import read_study, write_study
from dso.cli.main import main
from dso.show import build_show
from opf.clearing import clear_case
from tests.support.cases import library_network, make_case
from tests.support.page_reader import PageReader


@pytest.fixture(scope="module")
def page(written: Path) -> str:
    return build_show(written).decode()


@pytest.fixture
def edited(written: Path, tmp_path: Path) -> Callable[[str, Callable[[str], str]], Path]:
    def change(name: str, rewrite: Callable[[str], str]) -> Path:
        folder = Path(shutil.copytree(written, tmp_path / "edited"))
        before = (folder / name).read_text(encoding="utf-8")
        after = rewrite(before)
        assert after != before
        (folder / name).write_text(after, encoding="utf-8")
        return folder

    return change


def test_same_files_same_bytes_wherever_they_lie(written: Path, page: str, tmp_path: Path) -> None:
    elsewhere = Path(shutil.copytree(written, tmp_path / "another place"))
    assert build_show(elsewhere).decode() == page
    assert str(written) not in page


def test_the_page_refers_to_nothing_outside_and_links_land(page: str) -> None:
    reader = PageReader(page)
    outside = [name for name in reader.addresses if not name.startswith(("#", "data:"))]
    assert outside == []
    assert "default-src 'none'" in page
    assert "url(" not in reader.islands["style"]
    assert len(reader.ids) == len(set(reader.ids))
    assert {name[1:] for name in reader.addresses if name.startswith("#")} <= set(reader.ids)


def test_island_carries_the_numbers_of_the_files(written: Path, page: str) -> None:
    island = json.loads(PageReader(page).islands["feeder-data"])
    rows = (written / "prices.csv").read_text(encoding="utf-8").splitlines()
    header = rows[0].split(",")
    for row in rows[1:]:
        cells = dict(zip(header, row.split(","), strict=True))
        period = int(cells["period_start"][11:13])  # the first period starts at midnight UTC
        shown = island["price"][int(cells["bus"])][period]
        assert shown == pytest.approx(float(cells["dlmp_p_eur_per_mwh"]), abs=5.1e-5)


def test_limits_that_could_not_hold_are_the_headline(scarce: Path) -> None:
    text = PageReader(build_show(scarce).decode()).text
    summary = json.loads((scarce / "summary.json").read_text(encoding="utf-8"))
    assert summary["violations"]
    assert "certified, limits bought off with slack" in text
    assert f"{len(summary['violations'])} limits and periods with slack" in text
    assert "Limits that could not hold, priced at scarcity" in text
    assert "every limit holds" not in text


def test_an_uncertified_clearing_never_looks_sound(
    edited: Callable[[str, Callable[[str], str]], Path],
) -> None:
    folder = edited(
        "summary.json",
        lambda text: text.replace('"status": "certified"', '"status": "uncertified"').replace(
            '"message": ""', '"message": "KKT residual 1 > 1e-06"'
        ),
    )
    text = PageReader(build_show(folder).decode()).text
    assert "Not certified" in text
    assert "KKT residual 1 > 1e-06" in text
    assert "every limit holds" not in text


def test_an_output_of_another_study_is_refused(
    edited: Callable[[str, Callable[[str], str]], Path],
) -> None:
    folder = edited("study.toml", lambda text: text.replace("0.9", "0.8"))
    with pytest.raises(InputError, match="input_sha256 differs"):
        build_show(folder)


def test_an_infeasible_clearing_is_refused_with_its_reason(tmp_path: Path) -> None:
    case = make_case(library_network("case33bw"), [], load_scale=np.array([20.0]))
    write_study(case, tmp_path, "pandapower:case33bw")
    case = read_study(tmp_path)
    result = clear_case(case)
    assert result.status == "infeasible"
    write_result(result, case, tmp_path)
    with pytest.raises(InputError, match="infeasible clearing") as raised:
        build_show(tmp_path)
    assert [problem.remedy for problem in raised.value.problems] == [result.message]


def test_rows_the_study_does_not_have_are_named(
    edited: Callable[[str, Callable[[str], str]], Path],
) -> None:
    folder = edited("prices.csv", lambda text: text.replace("\n3,", "\n3333,"))
    with pytest.raises(InputError, match="bus 3333"):
        build_show(folder)


def test_names_cannot_break_out_of_the_page(
    edited: Callable[[str, Callable[[str], str]], Path],
) -> None:
    evil = "</script><script>alert(1)</script>"
    folder = edited(
        "summary.json", lambda text: text.replace('"message": ""', f'"message": "{evil}"')
    )
    assert evil not in build_show(folder).decode()


def test_command_writes_beside_the_folder_or_where_told(
    written: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(written, tmp_path / "clearing"))
    assert main(["show", str(folder)]) == 0
    beside = tmp_path / "clearing.html"
    assert capsys.readouterr().out == f"Page: {beside}\n"
    assert beside.read_bytes() == build_show(folder)
    told = tmp_path / "deep" / "noon.html"
    assert main(["show", str(folder), "--period", "2", "--bus", "24", "--out", str(told)]) == 0
    island = json.loads(PageReader(told.read_text(encoding="utf-8")).islands["feeder-data"])
    assert (island["open"], island["bus"]) == (2, 24)


def test_command_takes_the_study_from_elsewhere(
    written: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = Path(shutil.copytree(written, tmp_path / "output"))
    for name in ("study.toml", "orders.json"):
        (output / name).unlink()
    assert main(["show", str(output)]) == 2
    assert "--study" in capsys.readouterr().err
    assert not (tmp_path / "output.html").exists()
    assert main(["show", str(output), "--study", str(written)]) == 0


def test_command_says_what_a_folder_lacks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert "2 problems" in told
    assert "dso clear STUDY --out DIR" in told


def test_refused_orders_stand_with_their_reason(written: Path, scarce: Path, page: str) -> None:
    with (written / "orders.csv").open(encoding="utf-8", newline="") as stream:
        (pv,) = [row for row in csv.DictReader(stream) if row["reason"]]
    assert pv["order"] == "pv"
    section = page.split('<section id="orders"')[1].split("</section>")[0]
    assert pv["reason"].replace('"', "&#34;") in section
    assert "1 of 2 orders" in section
    assert "dso explain RUN --order ID" in section
    assert "partial" in build_show(scarce).decode().split('<section id="orders"')[1]
