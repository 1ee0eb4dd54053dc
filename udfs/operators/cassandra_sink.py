"""The sink: a blocking map, so that a checkpoint covers every write that its elements asked for."""

import logging
from dataclasses import astuple

from pyflink.datastream import MapFunction, RuntimeContext
from tenacity import before_sleep_log, retry, retry_if_exception_type, wait_exponential

from connectors.cassandra import CassandraAwayError, connect
from connectors.cassandra_writer import CountWriter, TopList
from settings import CassandraSettings
from udfs.logic.cells import unpack_dated_rows
from udfs.operators.window import Closed, Counts, Tallies, Top

log = logging.getLogger(__name__)
PIPELINE = "view_counts"


class CassandraSink(MapFunction):
    """Counts, Closed, Tallies and Top objects in, the number of rows written out."""

    def __init__(self, settings: CassandraSettings, shards: int) -> None:
        self._settings = settings
        self._shards = shards

    def open(self, runtime_context: RuntimeContext) -> None:  # noqa: ARG002
        """Connect, however long it takes: a job restarted while Cassandra is away waits for it."""
        self._writer = self._connect()

    def map(self, value: Counts | Closed | Tallies | Top) -> int:
        """Write one element."""
        if isinstance(value, Counts):
            # Sorted, so that the minutes of one partition meet in one batch, where they are one write.
            cells = sorted(unpack_dated_rows(value.rows))
            self._writer.counts(cells)
            return len(cells)
        if isinstance(value, Closed):
            self._writer.closed(value.shard, value.minute)
            return 1
        if isinstance(value, Top):
            lists = [
                TopList(
                    kind, ranking.span, ranking.minute, ranking.events,
                    [(ranked.video_id, ranked.views, ranked.views_before) for ranked in found],
                )
                for ranking in value.rankings
                for kind, found in ranking.lists.items()
            ]  # fmt: skip
            self._writer.top(value.shard, lists)
            return len(lists)
        self._writer.ledger(value.salt, [astuple(tally) for tally in value.tallies])
        return len(value.tallies)

    @retry(
        retry=retry_if_exception_type(CassandraAwayError),
        wait=wait_exponential(multiplier=0.5, max=5),
        before_sleep=before_sleep_log(log, logging.WARNING),
    )
    def _connect(self) -> CountWriter:
        return CountWriter(connect(self._settings), self._settings, PIPELINE, self._shards)
