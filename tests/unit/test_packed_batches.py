"""Batches encoded by the kernel: byte for byte what the driver makes of the same rows, and cut by the same limits."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest
from cassandra import ConsistencyLevel
from cassandra.protocol import BatchMessage, ProtocolHandler
from cassandra.query import BatchType

from udfs.logic.minutes.cells import Cell, dated_row
from udfs.logic.outgoing.cql_rows import Inserts, pack_inserts
from udfs.sinks.packed_batch import PackedBatch, PackedProtocolHandler

MINUTE = 29_400_000
QUERY_ID = bytes(range(16))
CELLS = [
    Cell("vidéo".encode(), b"view", MINUTE + 1440, 7),
    Cell(b"b", b"like", MINUTE, (1 << 32) - 1),
    Cell(b"b", b"view", MINUTE + 1, 2),
    Cell(b"b", b"view", MINUTE, 1),
    Cell("vidéo".encode(), b"view", MINUTE, 3),
    # Before 1970, and the longest names.
    Cell(b"x" * 64, b"k" * 32, -1, 5),
]


def batches(
    cells: list[Cell], rows_max: int = 200, partitions_max: int = 20, bytes_max: int = 1 << 20
) -> list[Inserts]:
    rows = b"".join(map(dated_row, cells))
    limits = {"rows_max": rows_max, "partitions_max": partitions_max, "bytes_max": bytes_max}
    return list(pack_inserts(rows, QUERY_ID, **limits))


def message(queries: Any) -> BatchMessage:
    return BatchMessage(BatchType.UNLOGGED, queries, ConsistencyLevel.LOCAL_QUORUM, None, 123456, "ks")


def values(cell: Cell) -> list[bytes]:
    day = (1 << 31) + cell.minute // 1440
    start_ms = cell.minute * 60_000
    longs = (start_ms, cell.views, start_ms * 1000 + cell.views)
    return [
        cell.video_id, cell.kind, day.to_bytes(4, "big"), *(number.to_bytes(8, "big", signed=True) for number in longs),
    ]  # fmt: skip


def rows_in(batch: Inserts) -> Iterator[tuple[bytes, bytes, int, int]]:
    """(video, kind, epoch minute, views), read by hand."""
    body = batch.body
    at = 0
    while at < len(body):
        at += 3 + len(QUERY_ID) + 2
        found = []
        for _ in range(6):
            size = int.from_bytes(body[at : at + 4], "big")
            found.append(body[at + 4 : at + 4 + size])
            at += 4 + size
        yield (
            found[0],
            found[1],
            int.from_bytes(found[3], "big", signed=True) // 60_000,
            int.from_bytes(found[4], "big"),
        )


def test_a_frame_is_the_one_that_the_driver_would_have_made() -> None:
    (batch,) = batches(CELLS)
    order = [Cell(*row) for row in rows_in(batch)]
    assert sorted(order) == sorted(CELLS)
    # By name, as the connection calls it.
    ours = PackedProtocolHandler.encode_message(
        message(batch), 7, 5, compressor=None, allow_beta_protocol_version=False
    )
    theirs = ProtocolHandler.encode_message(
        message([(True, QUERY_ID, values(cell)) for cell in order]), 7, 5, None, False
    )
    assert ours == theirs


def test_a_message_can_be_sent_again_and_others_are_the_drivers_own() -> None:
    again = message(batches(CELLS)[0])
    assert PackedProtocolHandler.encode_message(again, 7, 5, None, False) == PackedProtocolHandler.encode_message(
        again, 7, 5, None, False
    )
    plain = message([(False, "INSERT", [])])
    assert PackedProtocolHandler.encode_message(plain, 1, 5, None, False) == ProtocolHandler.encode_message(
        plain, 1, 5, None, False
    )


def test_minutes_of_a_partition_meet_in_order_whatever_order_they_came_in() -> None:
    found = [list(rows_in(batch)) for batch in batches(CELLS, partitions_max=1)]
    assert len(found) == 5
    assert [(b"b", b"view", MINUTE, 1), (b"b", b"view", MINUTE + 1, 2)] in found


@pytest.mark.parametrize(
    ("rows_max", "partitions_max", "sizes"), [(4, 20, [4, 4, 2]), (200, 3, [6, 4]), (200, 20, [10])]
)
def test_batches_are_cut_by_rows_and_by_partitions(rows_max: int, partitions_max: int, sizes: list[int]) -> None:
    cells = [Cell(b"v%d" % video, b"view", MINUTE + at, 1) for video in range(5) for at in range(2)]
    cut = batches(cells, rows_max, partitions_max)
    assert [len(list(rows_in(batch))) for batch in cut] == sizes
    assert [batch.number for batch in cut] == sizes


@pytest.mark.parametrize("bytes_max", [1, 200, 700, 8 << 10])
def test_batches_are_cut_by_bytes(bytes_max: int) -> None:
    cells = [Cell(b"v" * (1 + n % 64), b"k" * (1 + n % 40), MINUTE + n, 1) for n in range(200)]
    cut = [list(rows_in(batch)) for batch in batches(cells, 500, 500, bytes_max)]
    assert Counter(row for rows in cut for row in rows) == Counter((c.video_id, c.kind, c.minute, 1) for c in cells)
    sizes = [[len(batches([Cell(*row)])[0].body) for row in rows] for rows in cut]
    assert all(sum(of_batch) <= bytes_max or len(of_batch) == 1 for of_batch in sizes)
    # No batch had room for the first row of the next one.
    assert all(sum(before) + after[0] > bytes_max for before, after in pairwise(sizes))


def test_a_batch_goes_to_a_replica_of_its_first_row() -> None:
    (batch,) = batches([Cell(b"video", b"view", MINUTE, 1)])
    day = (1 << 31) + (datetime.fromtimestamp(MINUTE * 60, UTC).date() - datetime(1970, 1, 1, tzinfo=UTC).date()).days
    assert batch.routing_key == b"\0\5video\0\0\4view\0\0\4" + day.to_bytes(4, "big") + b"\0"
    statement = PackedBatch(batch, "ks")
    assert (statement.routing_key, statement.keyspace) == (batch.routing_key, "ks")
