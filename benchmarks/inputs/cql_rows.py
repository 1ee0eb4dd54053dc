"""Encodes rows of a table as the statements of CQL batches, all rows at once (native protocol v5, section 4.1.7).

Every value of a column has the same number of bytes, so that a row is a record of fixed size and NumPy lays out
millions of them without a loop. The driver needs some ten times as long.
"""

import struct
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from udfs.logic.outgoing.cql_rows import Inserts, cut

# A date in CQL is the days since 1970 plus 2**31.
EPOCH_DATE = 1 << 31
BATCH_BYTES_MAX = 32 << 10

Column = npt.NDArray[Any]


def texts(values: Column, length: int) -> Column:
    """Texts of so many bytes each."""
    return np.asarray(values).astype(f"S{length}")


def text_of_all(value: str, rows: int) -> Column:
    """The same text in each row."""
    return np.full(rows, value.encode())


def dates(days: Column) -> Column:
    """Days since 1970."""
    return (np.asarray(days, np.int64) + EPOCH_DATE).astype(">u4")


def times(seconds: Column) -> Column:
    """Times in seconds since 1970."""
    return (np.asarray(seconds, np.int64) * 1000).astype(">i8")


def numbers(values: Column) -> Column:
    """Numbers of 64 bits."""
    return np.asarray(values).astype(">i8")


def statements(query_id: bytes, columns: Mapping[str, Column]) -> Column:
    """The bytes of a prepared statement's execution for each row: an array of rows by bytes."""
    rows = len(next(iter(columns.values())))
    fields: list[tuple[str, Any]] = [("_head", f"S{5 + len(query_id)}")]
    for name, column in columns.items():
        fields += [(f"_length_{name}", ">i4"), (name, column.dtype)]
    out = np.zeros(rows, np.dtype(fields))
    # Without the zero at its end, which a text of NumPy cannot keep, the head is still whole: the array began as zeros.
    out["_head"] = struct.pack(">BH", 1, len(query_id)) + query_id + struct.pack(">H", len(columns))
    for name, column in columns.items():
        out[f"_length_{name}"] = column.dtype.itemsize
        out[name] = column
    return out.view(np.uint8).reshape(rows, out.dtype.itemsize)


def batches(encoded: Column, query_id: bytes, *, rows_max: int, key_values: int) -> Iterator[Inserts]:
    """CQL batches of rows that stand next to each other, at most `rows_max` in each."""
    rows, size = encoded.shape
    step = max(1, min(rows_max, BATCH_BYTES_MAX // size))
    ends = [*range(step, rows, step), rows] if rows else []
    counts = [end - start for start, end in zip([0, *ends], ends, strict=False)]
    yield from cut(encoded.reshape(-1), [end * size for end in ends], counts, 5 + len(query_id), key_values)
