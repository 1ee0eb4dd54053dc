"""Rows that wait in a file come back as they were put, hour by hour."""

from pathlib import Path

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from udfs.logic.kernels.rows_beside import RowsBeside

SCHEMA = pa.schema({"video_id": pa.string(), "views": pa.int64()})
ROWS = st.lists(st.tuples(st.integers(-3, 3), st.text(max_size=3), st.integers(0, 9)), max_size=20)


def table_of(rows: list[tuple[int, str, int]]) -> pa.Table:
    return pa.table({"video_id": [one[1] for one in rows], "views": [one[2] for one in rows]}, schema=SCHEMA)


@given(pieces=st.lists(ROWS, max_size=6), most=st.sampled_from([0, 100, 1 << 20]))
def test_each_number_has_its_rows_in_their_order(pieces: list[list[tuple[int, str, int]]], most: int) -> None:
    beside = RowsBeside(SCHEMA, "/tmp", most)
    for piece in pieces:
        beside.put(table_of(piece), np.array([one[0] for one in piece], np.int64))
        assert beside.waiting_bytes <= most
    everything = [one for piece in pieces for one in piece]
    assert beside.numbers == {one[0] for one in everything}
    for number in range(-4, 5):
        assert beside.take(number) == table_of([one for one in everything if one[0] == number])
    assert beside.numbers == set()


def test_what_waits_in_memory_is_bounded_and_the_rest_is_in_the_folder(tmp_path: Path) -> None:
    beside = RowsBeside(SCHEMA, str(tmp_path), 10_000)
    rows = table_of([(0, "video", 1)] * 100)
    for hour in range(100):
        beside.put(rows, np.full(100, hour, np.int64))
        assert beside.waiting_bytes < 10_000
    assert beside.take(0) == rows
    assert list(tmp_path.iterdir()) == [], "the file has no name"
