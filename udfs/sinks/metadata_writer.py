"""Writes video metadata beside counts: to partitions of minutes (titles), and to top lists.

Titles have ordinary write timestamps, so the later write stays. Metadata in a list has the list's own write timestamp,
so it is replaced with the list. Counting does not need metadata: what Cassandra refuses is set aside
(docs/decisions/0032).
"""

import struct
from collections.abc import Iterable, Iterator, Sequence

from cassandra.cluster import Session
from cassandra.query import BoundStatement, PreparedStatement

from connectors.figures import WriteFigures
from settings import CassandraSettings
from udfs.logic.outgoing.cql_rows import Inserts
from udfs.logic.outgoing.enrichment import Partition
from udfs.logic.wire.metadata import VideoMetadata, decode_metadata
from udfs.sinks.cassandra_writer import TopList, top_key
from udfs.sinks.optional_rows import OptionalRows, Write
from udfs.sinks.packed_batch import PackedBatch, PackedProtocolHandler

# Titles live a day longer than minutes, since the last minute of a partition comes almost a day after the first.
_TTL_S = 9 * 86_400
_TITLE = (
    "INSERT INTO views_by_minute (video_id, kind, day, title, channel_id, channel_name, created_at) "
    f"VALUES (?, ?, ?, ?, ?, ?, ?) USING TTL {_TTL_S}"
)
_ABOUT = "INSERT INTO top_videos (kind, span, hour, minute, shard, about) VALUES (?, ?, ?, ?, ?, ?) USING TIMESTAMP ?"
# A date in CQL is the days since 1970 plus 2**31 (native protocol v5, section 6.7).
_EPOCH_DATE = 1 << 31
_SHORT = struct.Struct(">H")
_INT = struct.Struct(">i")
_UINT = struct.Struct(">I")
_LONG = struct.Struct(">q")
# What Cassandra stores with each of the four cells is larger than what is sent. This is the difference.
_ROW_BYTES_MORE = 48
# The names in metrics and logs.
TITLES = "titles"
ABOUTS = "about_of_lists"
# A partition with the metadata of its video, and a shard's list with the metadata of its videos.
Titled = tuple[Partition, bytes]
TitledList = tuple[int, TopList, dict[bytes, bytes]]


class MetadataWriter:
    """Writes through one session, which it does not own."""

    def __init__(self, session: Session, settings: CassandraSettings, figures: WriteFigures | None = None) -> None:
        self._settings = settings
        self._figures = figures or WriteFigures()
        session.client_protocol_handler = PackedProtocolHandler
        at_once = settings.concurrency
        self._titles = OptionalRows(session, TITLES, _TITLE, self._title_writes, self._figures, at_once)
        self._about = OptionalRows(session, ABOUTS, _ABOUT, _about_writes, self._figures, at_once)

    @property
    def takes_titles(self) -> bool:
        """Whether titles are written now. While Cassandra accepts none, they are only tried now and then."""
        return self._titles.is_due

    @property
    def has_trouble(self) -> bool:
        """Whether Cassandra has accepted no titles lately, so that the next one is an attempt."""
        return self._titles.is_out

    def titles(self, titled: Sequence[Titled]) -> list[Titled]:
        """Title partitions of views_by_minute. Return those that could not be titled now."""
        return self._titles.write(titled)

    def top(self, shard: int, lists: Iterable[tuple[TopList, dict[bytes, bytes]]]) -> None:
        """Write the metadata of the videos in a shard's lists: an about by video."""
        left = self._about.write([(shard, top, abouts) for top, abouts in lists])
        self._figures.note_set_aside(ABOUTS, len(left))

    def _title_writes(self, prepared: PreparedStatement, titled: Sequence[Titled]) -> Iterator[Write[Titled]]:
        """Make CQL batches with the same limits of partitions and bytes as those of counts."""
        keyspace = self._settings.keyspace
        query_id = prepared.query_id
        head = b"\x01" + _SHORT.pack(len(query_id)) + query_id + _SHORT.pack(7)
        rows: list[Titled] = []
        statements: list[bytes] = []
        size = 0
        for one in titled:
            (video_id, kind, day), about = one
            key = (video_id, kind, _UINT.pack(_EPOCH_DATE + day))
            statement = head + b"".join(map(_value, (*key, *_columns(decode_metadata(about)))))
            more = len(statement) + _ROW_BYTES_MORE
            if rows and (
                len(rows) == self._settings.batch_partitions_max or size + more > self._settings.batch_bytes_max
            ):
                yield _batch(rows, statements, keyspace)
                rows, statements, size = [], [], 0
            rows.append(one)
            statements.append(statement)
            size += more
        if rows:
            yield _batch(rows, statements, keyspace)


def _batch(rows: list[Titled], statements: list[bytes], keyspace: str) -> Write[Titled]:
    video_id, kind, day = rows[0][0]
    key = (video_id, kind, _UINT.pack(_EPOCH_DATE + day))
    routing_key = b"".join(_SHORT.pack(len(part)) + part + b"\0" for part in key)
    return Write(PackedBatch(Inserts(len(rows), b"".join(statements), routing_key), keyspace), None, rows)


def _about_writes(prepared: PreparedStatement, lists: Iterable[TitledList]) -> Iterator[Write[TitledList]]:
    for shard, top, abouts in lists:
        row = BoundStatement(prepared)
        *key, timestamp = top_key(shard, top)
        row.values = [*key, about_map(abouts), timestamp]
        yield Write(row, None, [(shard, top, abouts)])


def _columns(about: VideoMetadata) -> tuple[bytes, bytes, bytes, bytes]:
    return about.title, about.channel_id, about.channel_name, _LONG.pack(about.created_ms)


def _value(value: bytes) -> bytes:
    return _INT.pack(len(value)) + value


def about_map(abouts: dict[bytes, bytes]) -> bytes:
    """Encode a map of text to tuple (text, text, text, timestamp) (native protocol v5, sections 6.15 and 6.24)."""
    encoded = [_INT.pack(len(abouts))]
    # Frozen maps are sorted by key.
    for video_id, about in sorted(abouts.items()):
        encoded += (_value(video_id), _value(b"".join(map(_value, _columns(decode_metadata(about))))))
    return b"".join(encoded)
