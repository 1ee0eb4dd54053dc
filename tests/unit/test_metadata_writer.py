"""What is known of videos in CQL: byte for byte what the driver makes of the same values."""

from datetime import UTC, datetime
from typing import Any

from cassandra import ConsistencyLevel
from cassandra.cqltypes import DateType, MapType, TupleType, UTF8Type
from cassandra.protocol import BatchMessage, ProtocolHandler
from cassandra.query import BatchType

from schemas import registry
from settings import CassandraSettings
from tests.support.fake_cassandra import QUERY_ID, FakeCassandra
from udfs.logic.outgoing.cql_rows import Inserts
from udfs.logic.outgoing.enrichment import Partition
from udfs.logic.wire.keyed_records import Keyed
from udfs.logic.wire.metadata import read_metadata
from udfs.sinks.metadata_writer import MetadataWriter, Titled, about_map
from udfs.sinks.packed_batch import PackedProtocolHandler

CREATED = datetime(2020, 2, 29, 12, tzinfo=UTC)


def about(video_id: str, title: str = "") -> bytes:
    record = {
        "video_id": video_id, "title": title or f"Títle {video_id}", "channel_id": "c", "channel_name": "",
        "created_at": CREATED,
    }  # fmt: skip
    found = read_metadata(video_id.encode(), registry.encode("VideoMetadata", record))
    assert isinstance(found, Keyed)
    assert found.rest is not None
    return found.rest


def written(titled: list[Titled], settings: CassandraSettings) -> list[Inserts]:
    cassandra = FakeCassandra()
    with cassandra.driven():
        assert MetadataWriter(cassandra, settings).titles(titled) == []
    return cassandra.rows["views_by_minute"]


def test_a_batch_of_titles_is_the_one_that_the_driver_would_have_made() -> None:
    titled = [
        (Partition(name.encode(), b"view", day), about(name)) for name, day in (("ä", 0), ("b", 20_000), ("c", -1))
    ]
    batches = written(titled, CassandraSettings(batch_partitions_max=2))
    assert [batch.number for batch in batches] == [2, 1]
    created = round(CREATED.timestamp() * 1000).to_bytes(8, "big")
    values = [
        [video, kind, ((1 << 31) + day).to_bytes(4, "big"), "Títle ".encode() + video, b"c", b"", created]
        for (video, kind, day), _ in titled
    ]

    def message(queries: Any) -> BatchMessage:
        return BatchMessage(BatchType.UNLOGGED, queries, ConsistencyLevel.LOCAL_QUORUM, None, 123456, "ks")

    for batch, rows in zip(batches, (values[:2], values[2:]), strict=True):
        theirs = ProtocolHandler.encode_message(message([(True, QUERY_ID, row) for row in rows]), 7, 5, None, False)
        assert PackedProtocolHandler.encode_message(message(batch), 7, 5, None, False) == theirs
    assert batches[0].routing_key == b"\0\2\xc3\xa4\0\0\4view\0\0\4\x80\0\0\0\0"


def test_batches_of_long_titles_are_cut_by_bytes() -> None:
    titled = [(Partition(b"v%d" % n, b"view", 0), about("x" * 60, "t" * 2600)) for n in range(50)]
    batches = written(titled, CassandraSettings())
    assert sum(batch.number for batch in batches) == 50
    # Stock Cassandra refuses batches of more than 50 KiB.
    assert 30_000 < max(len(batch.body) for batch in batches) <= CassandraSettings().batch_bytes_max


def test_a_map_of_abouts_is_the_drivers() -> None:
    names = ["ä", "b", "a" * 64]
    of_tuple = TupleType.apply_parameters([UTF8Type, UTF8Type, UTF8Type, DateType])
    theirs = MapType.apply_parameters([UTF8Type, of_tuple]).to_binary(
        {name: (f"Títle {name}", "c", "", CREATED) for name in sorted(names, key=str.encode)}, 5
    )
    assert about_map({name.encode(): about(name) for name in names}) == theirs
