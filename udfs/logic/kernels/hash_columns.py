"""Converts hashes and ids of 16 bytes between columns of Arrow and the two uint64 that kernels take."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from udfs.logic.kernels.id_index import Ids

TYPE = pa.binary(16)


def halves_of(column: pa.Array | pa.ChunkedArray) -> Ids:
    """Return the column of TYPE as uint64[n, 2], read-only. It is copied only if it consists of several chunks."""
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    # A column without rows may have no buffer.
    content = np.frombuffer(whole.buffers()[1] or b"", np.uint64).reshape(-1, 2)
    return content[whole.offset : whole.offset + len(whole)]


def column_of(halves: npt.NDArray[np.uint64]) -> pa.Array:
    """Return uint64[n, 2] as a column of TYPE."""
    content = pa.py_buffer(np.ascontiguousarray(halves))
    return pa.FixedSizeBinaryArray.from_buffers(TYPE, len(halves), [None, content])
