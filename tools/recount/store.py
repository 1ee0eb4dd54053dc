"""Reads what the product wrote to Cassandra, by its own queries."""

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from typing import Any

from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from cassandra.policies import ConstantReconnectionPolicy
from cassandra.query import tuple_factory

MINUTE_MS = 60_000
PAGE_ROWS = 10_000
TIMEOUT_S = 60.0
RECONNECT_S = 1.0
TALLIES = (
    "received", "counted", "duplicate", "late", "invalid", "blocked", "dead_lettered", "records",
    "unreadable_records", "clamped_records",
)  # fmt: skip


class Store:
    """A session on the tables, as a context manager."""

    def __init__(self, host: str, port: int, keyspace: str = "view_counts") -> None:
        profile = ExecutionProfile(request_timeout=TIMEOUT_S, row_factory=tuple_factory)
        self._cluster = Cluster(
            [host],
            port=port,
            protocol_version=5,
            execution_profiles={EXEC_PROFILE_DEFAULT: profile},
            # The driver connects again soon to a node that was away.
            reconnection_policy=ConstantReconnectionPolicy(RECONNECT_S, max_attempts=None),
        )
        try:
            self._session = self._cluster.connect(keyspace)
        except BaseException:
            self._cluster.shutdown()
            raise
        self._session.default_fetch_size = PAGE_ROWS

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self._cluster.shutdown()

    def cells(self) -> dict[tuple[str, str, int], int]:
        """The views by (video, kind, minute since 1970). Raises ValueError if the day of a row is not its minute's."""
        found: dict[tuple[str, str, int], int] = {}
        for video_id, kind, day, minute, views in self._rows(
            "SELECT video_id, kind, day, minute, views FROM views_by_minute"
        ):
            if views is None:
                continue
            number = _epoch_ms(minute) // MINUTE_MS
            if date(1970, 1, 1) + timedelta(minutes=number) != day.date():
                raise ValueError(f"views_by_minute: {video_id} {kind} {minute} has the wrong day={day}")
            found[video_id, kind, number] = views
        return found

    def ledger(self) -> dict[tuple[int, int], Counter[str]]:
        """The numbers of the ledger by (minute of arrival since 1970, salt)."""
        query = f"SELECT minute, salt, {', '.join(TALLIES)} FROM ledger"
        return {
            (_epoch_ms(minute) // MINUTE_MS, salt): Counter(
                {name: tally or 0 for name, tally in zip(TALLIES, tallies, strict=True)}
            )
            for minute, salt, *tallies in self._rows(query)
        }

    def records(self) -> int:
        """How many Kafka records are in the ledger, which shows how far the job has come."""
        return sum(row[0] or 0 for row in self._rows("SELECT records FROM ledger"))

    def closed_through_ms(self) -> dict[int, int]:
        """The end of the last closed minute in ms, by shard. Raises ValueError if a shard is beyond their number."""
        found = {}
        for _, shard, shards, closed in self._rows("SELECT pipeline, shard, shards, closed_through FROM progress"):
            if not 0 <= shard < shards:
                raise ValueError(f"progress: shard {shard} of {shards}")
            found[shard] = _epoch_ms(closed)
        return found

    def _rows(self, query: str) -> Any:
        return self._session.execute(query)


def _epoch_ms(at: datetime) -> int:
    return round(at.replace(tzinfo=UTC).timestamp() * 1000)
