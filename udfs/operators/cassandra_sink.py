"""The sink: it writes in the background, and waits where the window stage relies on writes being finished.

Whatever is still being written when a checkpoint completes can be made again from that checkpoint: open cells and
tallies are in it, and lists are ranked again. A shard's Changes wait for the Changes before them, its lists for the
lists before them, and Closed and Settle wait for both.
"""

from collections.abc import Iterable
from functools import partial

from pyflink.common import Row, Types
from pyflink.common.typeinfo import TypeInformation
from pyflink.datastream import FlatMapFunction, RuntimeContext

from connectors.acknowledged import connect_however_long
from connectors.figures import WriteFigures
from connectors.write_behind import WriteBehind
from schemas.kinds import OF_KINDS
from schemas.progress import PIPELINE
from settings import CassandraSettings
from udfs.operators.elements import Changes, Closed, Settle, Top
from udfs.sinks.cassandra_writer import LISTS, CountWriter, TopList


def handed_on_type() -> TypeInformation:
    """Return the type of what the sink passes on: Row(shard key, Changes or Top)."""
    return Types.ROW([Types.INT(), Types.PICKLED_BYTE_ARRAY()])


class CassandraSink(FlatMapFunction):
    """Takes objects of udfs.operators.elements. With `hands_on`, it passes counts and lists on to the enrich stage."""

    def __init__(self, settings: CassandraSettings, shard_keys: list[int], *, hands_on: bool) -> None:
        self._settings = settings
        self._shard_keys = shard_keys
        self._hands_on = hands_on

    def open(self, runtime_context: RuntimeContext) -> None:
        """Connect, however long it takes, so that a job that starts while Cassandra is away waits for it."""
        session = connect_however_long(self._settings)
        figures = WriteFigures()
        figures.show(runtime_context.get_metrics_group(), (LISTS,))
        self._writer = CountWriter(session, self._settings, PIPELINE, len(self._shard_keys), figures)
        self._behind = WriteBehind()

    def flat_map(self, value: Changes | Closed | Settle | Top) -> Iterable[Row]:
        """Write one element."""
        changes, top = ("changes", value.shard), ("top", value.shard)
        if isinstance(value, Changes):
            self._behind.submit(changes, partial(self._changes, value))
        elif isinstance(value, Top):
            self._behind.submit(top, partial(self._top, value))
        else:
            self._behind.settle(changes)
            self._behind.settle(top)
            if isinstance(value, Closed):
                self._writer.closed(value.shard, value.minute)
            return ()
        if not self._hands_on or (isinstance(value, Changes) and not value.counts):
            return ()
        return (Row(self._shard_keys[value.shard], value),)

    def close(self) -> None:
        """Wait until all writes have ended."""
        self._behind.settle_all()

    def _changes(self, changes: Changes) -> None:
        for rows in changes.counts:
            self._writer.counts(rows)
        self._writer.ledger([(salt, *tally.values()) for salt, tally in changes.tallies])

    def _top(self, value: Top) -> None:
        self._writer.top(value.shard, [*lists_of_kinds(value), *top_lists(value)])


def top_lists(top: Top) -> list[TopList]:
    """Return the lists of an element, in the form in which they are written."""
    return [
        TopList(kind, ranking.span, ranking.minute, ranking.events, found)
        for ranking in top.rankings
        for kind, found in ranking.lists.items()
    ]


def lists_of_kinds(top: Top) -> list[TopList]:
    """Return the list of kinds of each span in which kinds were left out, in the form in which it is written."""
    return [
        TopList(OF_KINDS.encode(), ranking.span, ranking.minute, ranking.events, ranking.kinds)
        for ranking in top.rankings
        if ranking.kinds
    ]
