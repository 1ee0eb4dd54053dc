"""Writes what is known of videos beside their counts: columns of minute partitions, and of lists of top videos.

Titles are no counts: the later write stays, by ordinary timestamps. But in lists what is known stands under the list's
own timestamp, and goes with it.
"""

import struct
from collections.abc import Iterable, Iterator, Sequence

from cassandra.cluster import Session
from cassandra.query import BoundStatement

from settings import CassandraSettings
from udfs.logic.cql_rows import Inserts
from udfs.logic.enrichment import Partition
from udfs.logic.metadata import About, read_about
from udfs.sinks.acknowledged import prepare_however_long, write_all
from udfs.sinks.cassandra_writer import TopList, top_key
from udfs.sinks.packed_batch import PackedBatch, PackedProtocolHandler

# A day longer than the minutes beside them, since the last of these comes almost a day after the first.
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


class AboutWriter:
    """Writes through one session, which it does not own."""

    def __init__(self, session: Session, settings: CassandraSettings) -> None:
        self._session = session
        self._settings = settings
        session.client_protocol_handler = PackedProtocolHandler
        self._title = prepare_however_long(session, _TITLE)
        self._about = prepare_however_long(session, _ABOUT)

    def titles(self, titled: Sequence[tuple[Partition, bytes]]) -> None:
        """Give partitions of views_by_minute what is known of their videos."""
        batches = (PackedBatch(inserts, self._settings.keyspace) for inserts in self._inserts(titled))
        write_all(self._session, [(batch, None) for batch in batches], self._settings.concurrency)

    def top(self, shard: int, lists: Iterable[tuple[TopList, dict[bytes, bytes]]]) -> None:
        """Give a shard's lists what is known of their videos: an about by video."""
        rows: list[tuple[object, object]] = []
        for top, abouts in lists:
            row = BoundStatement(self._about)
            *key, timestamp = top_key(shard, top)
            row.values = [*key, about_map(abouts), timestamp]
            rows.append((row, None))
        write_all(self._session, rows, self._settings.concurrency)

    def _inserts(self, titled: Sequence[tuple[Partition, bytes]]) -> Iterator[Inserts]:
        """As many partitions in one batch as counts have."""
        most = self._settings.batch_partitions_max
        query_id = self._title.query_id
        head = b"\x01" + _SHORT.pack(len(query_id)) + query_id + _SHORT.pack(7)
        for start in range(0, len(titled), most):
            chosen = titled[start : start + most]
            statements = []
            first: tuple[bytes, ...] = ()
            for (video_id, kind, day), about in chosen:
                key = (video_id, kind, _UINT.pack(_EPOCH_DATE + day))
                first = first or key
                statements.append(head + b"".join(map(_value, (*key, *_columns(read_about(about))))))
            routing_key = b"".join(_SHORT.pack(len(part)) + part + b"\0" for part in first)
            yield Inserts(len(chosen), b"".join(statements), routing_key)


def _columns(about: About) -> tuple[bytes, bytes, bytes, bytes]:
    return about.title, about.channel_id, about.channel_name, _LONG.pack(about.created_ms)


def _value(value: bytes) -> bytes:
    return _INT.pack(len(value)) + value


def about_map(abouts: dict[bytes, bytes]) -> bytes:
    """A map of text to tuple (text, text, text, timestamp) (native protocol v5, sections 6.15 and 6.24)."""
    encoded = [_INT.pack(len(abouts))]
    # Frozen maps lie sorted by key.
    for video_id, about in sorted(abouts.items()):
        encoded += (_value(video_id), _value(b"".join(map(_value, _columns(read_about(about))))))
    return b"".join(encoded)
