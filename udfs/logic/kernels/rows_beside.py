"""Rows of a table that may be more than fit in memory: in a file, to be taken back hour by hour or day by day."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from udfs.logic.kernels.memory_budget import SpillFile

# So much waits for being written: few and long stretches of the file are read faster, and their places take less room.
WAITING_BYTES_MAX = 16 << 20


class RowsBeside:
    """Rows by a number of whoever puts them, such as their hour since 1970. The file ends with this object.

    OSError when the folder has no room.
    """

    def __init__(self, schema: pa.Schema, folder: str, waiting_bytes_max: int = WAITING_BYTES_MAX) -> None:
        self._schema = schema
        self._file = SpillFile(folder)
        self._waiting_bytes_max = waiting_bytes_max
        self._waiting: dict[int, list[pa.RecordBatch]] = {}
        self._waiting_bytes = 0
        # (place, length) in the file, by number.
        self._written: dict[int, list[tuple[int, int]]] = {}

    @property
    def numbers(self) -> set[int]:
        """Those of which there are rows."""
        return {*self._waiting, *self._written}

    @property
    def waiting_bytes(self) -> int:
        """In memory."""
        return self._waiting_bytes

    def put(self, rows: pa.Table, numbers: npt.NDArray[np.int64]) -> None:
        """Add rows of the schema; `numbers` has one for each of them."""
        if not rows.num_rows:
            return
        order = np.argsort(numbers, kind="stable")
        (batch,) = rows.take(pa.array(order)).combine_chunks().to_batches()
        found, starts = np.unique(numbers[order], return_index=True)
        ends = [*starts[1:].tolist(), rows.num_rows]
        for number, start, end in zip(found.tolist(), starts.tolist(), ends, strict=True):
            self._waiting.setdefault(number, []).append(batch.slice(start, end - start))
        self._waiting_bytes += batch.nbytes
        if self._waiting_bytes > self._waiting_bytes_max:
            self._write()

    def take(self, number: int) -> pa.Table:
        """The rows of a number, in the order in which they were put; there are none of it afterwards."""
        batches = []
        for place, length in self._written.pop(number, []):
            octets = self._file.get(place, length)
            batches.append(pa.ipc.read_record_batch(pa.py_buffer(octets), self._schema))
        return pa.Table.from_batches([*batches, *self._waiting.pop(number, [])], self._schema)

    def _write(self) -> None:
        for number, batches in self._waiting.items():
            (batch,) = pa.Table.from_batches(batches, self._schema).combine_chunks().to_batches()
            octets = np.frombuffer(batch.serialize(), np.uint8)
            self._written.setdefault(number, []).append((self._file.put(octets), len(octets)))
        self._waiting, self._waiting_bytes = {}, 0
