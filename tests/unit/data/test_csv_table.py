"""The fast table writer gives the bytes of the plain one, and reads back what it wrote."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data import csv_table
from data.canonical import csv_bytes, format_number
from data.csv_table import number_texts, read_table, round_significant, table_bytes
from data.errors import Problem

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=8)


@given(st.lists(st.tuples(TEXTS, FLOATS, st.integers(-(2**60), 2**60)), max_size=8))
def test_same_bytes_as_the_plain_writer(rows: list[tuple[str, float, int]]) -> None:
    fast = table_bytes(
        {
            "name": [text for text, _, _ in rows],
            "value": np.array([value for _, value, _ in rows], dtype=float),
            "count": np.array([count for _, _, count in rows], dtype=np.int64),
        }
    )
    assert fast == csv_bytes(("name", "value", "count"), rows)


@given(st.lists(FLOATS))
def test_numbers_are_written_as_one_at_a_time_and_rounding_is_what_reading_gives(
    values: list[float],
) -> None:
    array = np.array(values, dtype=float)
    texts = number_texts(array)
    assert texts == [format_number(value) for value in values]
    rounded = round_significant(array)
    assert rounded.tolist() == [float(text) for text in texts]
    assert np.array_equal(round_significant(rounded), rounded)
    assert not np.any(np.signbit(rounded[rounded == 0]))


def test_nan_is_blank_and_infinity_is_refused() -> None:
    assert table_bytes({"a": np.array([1.0, np.nan, -0.0])}) == b"a\n1\n\n0\n"
    assert table_bytes({"a": [], "b": np.zeros(0)}) == b"a,b\n"
    with pytest.raises(ValueError, match="infinite"):
        number_texts(np.array([np.inf]))


@given(st.lists(st.tuples(TEXTS, FLOATS), max_size=6))
def test_reading_gives_back_what_was_written(rows: list[tuple[str, float]]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.csv"
        values = round_significant(np.array([value for _, value in rows], dtype=float))
        path.write_bytes(table_bytes({"name": [text for text, _ in rows], "value": values}))
        problems: list[Problem] = []
        table = read_table(path, ("name", "value"), problems)
        assert table is not None
        assert table.columns["name"] == tuple(text for text, _ in rows)
        assert np.array_equal(table.numbers("value", problems), values)
        assert not problems


def test_row_numbers_stay_those_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("b,a\n1,2\n3\n4,x\n")
    problems: list[Problem] = []
    table = read_table(path, ("a", "b"), problems)
    assert table is not None
    assert table.columns == {"b": ("1", "4"), "a": ("2", "x")}
    table.numbers("a", problems)
    assert [str(p).split(" ->")[0] for p in problems] == [
        "t.csv row 3: 1 cells, not 2", "t.csv row 4: a is 'x'",
    ]  # fmt: skip


MARKS = st.text(st.sampled_from(list('a,1.\n\r" ')), max_size=40)


@given(MARKS, st.sampled_from(["a,b", "a", "b,a,c"]), st.sampled_from(["\n", "\r\n"]))
def test_cut_at_commas_a_table_is_what_it_is_read_mark_by_mark(
    body: str, header: str, end: str
) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        path = Path(folder) / "table.csv"
        path.write_bytes((header + end + body).encode())
        quick: list[Problem] = []
        cut = read_table(path, header.split(","), quick)
        patch.setattr(csv_table, "_plain_columns", lambda _: None)
        slow: list[Problem] = []
        marked = read_table(path, header.split(","), slow)
    assert quick == slow
    assert (cut is None) == (marked is None)
    if cut is not None and marked is not None:
        assert cut.columns == marked.columns
        assert tuple(cut.lines) == tuple(marked.lines)
