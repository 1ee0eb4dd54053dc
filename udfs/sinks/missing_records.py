"""Writes rows that say which records Kafka had already deleted when the count job was started."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from connectors.kafka_gaps import Lost
from schemas.progress import PIPELINE, ShardProgress, complete_through

_PROGRESS = "SELECT shard, shards, closed_through FROM progress WHERE pipeline = %s"
_INSERT = (
    "INSERT INTO missing_records (pipeline, kafka_partition, first_offset, next_offset, viewed_from, viewed_to, "
    "noticed_at) VALUES (%s, %s, %s, %s, %s, %s, %s)"
)


class MissingRecords:
    """Writes through one session, which it does not own."""

    def __init__(self, session: Any) -> None:
        self._session = session

    def write(self, lost: Iterable[Lost], now: datetime, skew_ms: int) -> None:
        """Write a row for each range of lost records. A repeat for the same offsets adds no row.

        Events may have been viewed up to `skew_ms` after they arrived.
        """
        # Before this time the stream had everything that counts; None while that is not known.
        closed = complete_through([ShardProgress(*row) for row in self._session.execute(_PROGRESS, (PIPELINE,))])
        for one in lost:
            until = now if one.began_ms is None else datetime.fromtimestamp(one.began_ms / 1000, UTC)
            until = min(until, now) + timedelta(milliseconds=skew_ms)
            place = PIPELINE, one.partition, one.first, one.next
            self._session.execute(_INSERT, (*place, closed, until, now))
