"""Encodes columns as the statements of CQL batches, in one pass over the rows (native protocol v5, section 4.1.7)."""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from udfs.logic.kernels.key_table import Bytes
from udfs.logic.kernels.numba_compat import njit
from udfs.logic.minutes.cells import put_bytes
from udfs.logic.outgoing.cql_rows import EPOCH_DATE, Inserts, cut, head_bytes, put_head, put_length

Numbers = npt.NDArray[np.int64]


@njit(cache=True)
def _pack(content, begins, sizes, query_id, rows_max, bytes_max):  # type: ignore[no-untyped-def]
    """Return (all CQL batches, where each ends, rows of each).

    Value c of row i is content[begins[c, i] :][: sizes[c, i]].
    """
    columns, rows = begins.shape
    total = 0
    for column in range(columns):
        for row in range(rows):
            total += sizes[column, row]
    out = np.empty(total + rows * (head_bytes(query_id) + 4 * columns), np.uint8)
    ends = np.empty(rows, np.int64)
    numbers = np.empty(rows, np.int64)
    batches = 0
    in_batch = 0
    batch_at = 0
    at = 0
    for row in range(rows):
        size = head_bytes(query_id) + 4 * columns
        for column in range(columns):
            size += sizes[column, row]
        if row == 0 or in_batch == rows_max or at + size - batch_at > bytes_max:
            batch_at = at
            batches += 1
            in_batch = 0
        in_batch += 1
        at = put_head(out, at, query_id, columns)
        for column in range(columns):
            begin, size = begins[column, row], sizes[column, row]
            at = put_bytes(out, put_length(out, at, size), content, begin, size)
        ends[batches - 1] = at
        numbers[batches - 1] = in_batch
    return out, ends[:batches], numbers[:batches]


def pack_columns(
    columns: Sequence[pa.Array | pa.ChunkedArray], query_id: bytes, *, key_values: int, rows_max: int, bytes_max: int
) -> Iterator[Inserts]:
    """Yield CQL batches that execute a prepared statement for each row, in order.

    A CQL batch has at most `rows_max` rows and `bytes_max` bytes, unless a single row has more bytes. Columns are
    string, int64, date32 or timestamp in ms, without nulls; texts have less than 64 KiB. The first `key_values` columns
    are the partition key.
    """
    rows = len(columns[0])
    if not rows:
        return
    encoded = [
        _encoded(column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column) for column in columns
    ]
    bases = np.cumsum([0, *(len(content) for content, _ in encoded)])
    begins = np.stack([base + ends[:-1] for base, (_, ends) in zip(bases, encoded, strict=False)])
    sizes = np.stack([np.diff(ends) for _, ends in encoded])
    query = np.frombuffer(query_id, np.uint8)
    content = np.concatenate([content for content, _ in encoded])
    out, ends, numbers = _pack(content, begins, sizes, query, rows_max, bytes_max)
    yield from cut(out, ends.tolist(), numbers.tolist(), head_bytes(query), key_values)


def _encoded(column: pa.Array) -> tuple[Bytes, Numbers]:
    """Return (the bytes of the values one after another, the end of each with a 0 before the first)."""
    assert not column.null_count
    if pa.types.is_string(column.type):
        offsets = np.frombuffer(column.buffers()[1], np.int32)[column.offset : column.offset + len(column) + 1]
        content = np.frombuffer(column.buffers()[2] or b"", np.uint8)[offsets[0] : offsets[-1]]
        return content, (offsets - offsets[0]).astype(np.int64)
    if pa.types.is_date32(column.type):
        numbers = (column.cast(pa.int32()).to_numpy().astype(np.int64) + EPOCH_DATE).astype(">u4")
    else:
        numbers = column.cast(pa.int64()).to_numpy().astype(">i8")
    return numbers.view(np.uint8), np.arange(len(column) + 1) * numbers.itemsize
