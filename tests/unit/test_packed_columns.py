"""Columns packed by the kernel: batches byte for byte as the driver makes them of the same rows."""

from datetime import UTC, date, datetime

import pyarrow as pa
import pytest
from cassandra import ConsistencyLevel
from cassandra.cqltypes import DateType, LongType, SimpleDateType, UTF8Type
from cassandra.protocol import BatchMessage, ProtocolHandler
from cassandra.query import BatchType

from udfs.logic.outgoing.cql_columns import pack_columns
from udfs.logic.outgoing.cql_rows import Inserts
from udfs.sinks.packed_batch import PackedProtocolHandler

QUERY_ID = bytes(range(16))
V5 = 5
DAY, AT = date(1969, 12, 31), datetime(2026, 1, 31, 23, 0, tzinfo=UTC)
TYPES = (UTF8Type, UTF8Type, SimpleDateType, DateType, LongType)
# A name of more than 255 bytes, none, and one of several bytes a letter.
ROWS = [(name, "view", DAY, AT, number) for number, name in enumerate(("a" * 300, "", "vidéo", "b", "c"), -2)]


def columns(rows: list[tuple[str, str, date, datetime, int]]) -> list[pa.Array]:
    kinds = (pa.string(), pa.string(), pa.date32(), pa.timestamp("ms", "UTC"), pa.int64())
    return [pa.array(column, kind) for column, kind in zip(zip(*rows, strict=True), kinds, strict=True)]


def frame(handler: type[ProtocolHandler], queries: object) -> bytes:
    message = BatchMessage(BatchType.UNLOGGED, queries, ConsistencyLevel.LOCAL_QUORUM, None, 123456, "ks")
    encoded = handler.encode_message(message, 7, V5, None, allow_beta_protocol_version=False)
    assert isinstance(encoded, bytes)
    return encoded


@pytest.mark.parametrize("rows_max", [1, 2, 5, 100])
def test_batches_are_those_of_the_driver(rows_max: int) -> None:
    packed = list(pack_columns(columns(ROWS), QUERY_ID, key_values=3, rows_max=rows_max, bytes_max=1 << 20))
    cuts = [ROWS[at : at + rows_max] for at in range(0, len(ROWS), rows_max)]
    assert [inserts.number for inserts in packed] == [len(cut) for cut in cuts]
    for inserts, cut in zip(packed, cuts, strict=True):
        values = [[kind.serialize(value, V5) for kind, value in zip(TYPES, row, strict=True)] for row in cut]
        driver = [(True, QUERY_ID, row) for row in values]
        assert frame(PackedProtocolHandler, inserts) == frame(ProtocolHandler, driver)
        assert inserts.routing_key == b"".join(len(v).to_bytes(2, "big") + v + b"\0" for v in values[0][:3])


def test_pieces_of_columns_are_the_same_rows() -> None:
    whole = pa.table(dict(zip("abcde", columns(ROWS), strict=True)))
    pieces = pa.concat_tables([whole.slice(0, 2), whole.slice(2, 1), whole.slice(3)])
    packed, expected = (
        list(pack_columns(one, QUERY_ID, key_values=3, rows_max=2, bytes_max=1 << 20))
        for one in (pieces.columns, whole.columns)
    )
    assert packed == expected
    (last,) = pack_columns(whole.slice(4).columns, QUERY_ID, key_values=3, rows_max=2, bytes_max=1 << 20)
    assert (last.number, last.body) == (1, expected[-1].body)


def test_of_no_rows_there_is_no_batch() -> None:
    empty: list[Inserts] = list(
        pack_columns([c.slice(0, 0) for c in columns(ROWS)], QUERY_ID, key_values=3, rows_max=2, bytes_max=1 << 20)
    )
    assert empty == []


def test_batches_are_cut_by_bytes() -> None:
    rows = [("c" * (1 + 500 * (n % 9)), "view", DAY, AT, n) for n in range(50)]
    cut, alone = (
        list(pack_columns(columns(rows), QUERY_ID, key_values=3, rows_max=rows_max, bytes_max=bytes_max))
        for rows_max, bytes_max in ((20, 6000), (1, 1))
    )
    assert b"".join(one.body for one in cut) == b"".join(one.body for one in alone)
    assert sum(one.number for one in cut) == len(rows)
    assert {len(one.body) > 4000 for one in cut} == {True, False}
    assert max(len(one.body) for one in cut) <= 6000
    at = 0
    for one in cut:
        following = alone[at + one.number : at + one.number + 1]
        assert not following or len(one.body) + len(following[0].body) > 6000
        at += one.number
