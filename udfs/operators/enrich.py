"""Flink shell of udfs.logic.enrichment: joins counts with what is known of their videos, from broadcast state.

In: Row(shard key, Changes or Top) from the sink, and Row(video_id, about, ...) from the broadcast. Out: nothing.
Titles go to Cassandra and enriched counts to Kafka, and each element ends when all that it led to is acknowledged: what
is not, a restored job meets again.

Beside the path of the counts, which are on their way to Cassandra before they come here: PyFlink fuses no operator with
one that has a broadcast input, and a count must not wait for a title (docs/decisions/0014).
"""

from collections.abc import Iterator
from typing import Any

from pyflink.common import Row, Types
from pyflink.datastream import KeyedBroadcastProcessFunction, RuntimeContext
from pyflink.datastream.state import MapStateDescriptor

from settings import Settings
from udfs.logic.enrichment import Enrichment, Untitled
from udfs.logic.time_rules import next_turn_ms
from udfs.operators.cassandra_sink import top_lists
from udfs.operators.due import Due
from udfs.operators.keyed_records import broadcast_descriptor
from udfs.operators.window import Changes, Top
from udfs.sinks.about_writer import AboutWriter
from udfs.sinks.acknowledged import connect_however_long
from udfs.sinks.kafka_writer import BY_KEY, KafkaWriter

# Between two looks whether something is known by now of the videos of which nothing was.
FILL_IN_INTERVAL_MS = 2000
METADATA_STATE = "video-metadata"


class Enrich(KeyedBroadcastProcessFunction):
    """Keyed by the shard's key."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def open(self, runtime_context: RuntimeContext) -> None:
        """Connect, however long it takes."""
        octets = Types.PRIMITIVE_ARRAY(Types.BYTE())
        self._untitled = runtime_context.get_map_state(MapStateDescriptor("untitled", Types.STRING(), octets))
        self._descriptor = broadcast_descriptor(METADATA_STATE)
        # From the broadcast state, of which each look-up takes a millisecond; not before there is a first element.
        self._enrichment: Enrichment | None = None
        self._by_key: dict[int, Untitled] = {}
        self._fill_in_due = Due()
        self._writer = AboutWriter(connect_however_long(self._settings.cassandra), self._settings.cassandra)
        self._kafka = KafkaWriter(self._settings.kafka.bootstrap_servers)

    def process_broadcast_element(self, value: Row, ctx: KeyedBroadcastProcessFunction.Context) -> tuple[()]:
        """Learn what is known of one video."""
        video_id, about, _, _ = value
        state = ctx.get_broadcast_state(self._descriptor)
        enrichment = self._known(state)
        if about:
            state.put(video_id, about)
        elif enrichment.about(video_id.encode()) is not None:
            state.remove(video_id)
        enrichment.learn(video_id, bytes(about) or None)
        return ()

    def process_element(self, value: Changes | Top, ctx: KeyedBroadcastProcessFunction.ReadOnlyContext) -> tuple[()]:
        """Send counts on with what is known; title partitions and lists."""
        enrichment = self._known(ctx.get_broadcast_state(self._descriptor))
        if isinstance(value, Top):
            self._top(value, enrichment)
            return ()
        untitled = self._of(ctx.get_current_key())
        topic = self._settings.kafka.counts_topic
        for rows in value.counts:
            enriched = enrichment.enrich(rows)
            if enriched.titled:
                self._writer.titles(enriched.titled)
            self._kafka.send((topic, value, key, BY_KEY) for value, key in enriched.messages)
            untitled.add(enriched.untitled)
        self._keep(untitled, ctx)
        return ()

    def on_timer(self, timestamp: int, ctx: KeyedBroadcastProcessFunction.OnTimerContext) -> Iterator[Any]:
        """Title what could not be titled before."""
        key = ctx.get_current_key()
        untitled = self._of(key)
        if self._fill_in_due.take(key, timestamp):
            found = untitled.take_known(self._known(ctx.get_broadcast_state(self._descriptor)))
            if found:
                self._writer.titles(found)
        self._keep(untitled, ctx)
        return iter(())

    def _top(self, value: Top, enrichment: Enrichment) -> None:
        lists = []
        for top in top_lists(value):
            abouts = {video_id: enrichment.about(video_id) for video_id, *_ in top.videos}
            known = {video_id: about for video_id, about in abouts.items() if about is not None}
            if known:
                lists.append((top, known))
        self._writer.top(value.shard, lists)

    def _keep(self, untitled: Untitled, ctx: Any) -> None:
        """Store what changed, and have a turn again while there is anything untitled."""
        for video_id, packed in untitled.take_changed():
            if packed is None:
                self._untitled.remove(video_id)
            else:
                self._untitled.put(video_id, packed)
        if len(untitled):
            timers = ctx.timer_service()
            at_ms = next_turn_ms(timers.current_processing_time(), FILL_IN_INTERVAL_MS)
            self._fill_in_due.arm(timers, ctx.get_current_key(), at_ms)

    def _of(self, key: int) -> Untitled:
        untitled = self._by_key.get(key)
        if untitled is None:
            untitled = self._by_key[key] = Untitled(self._settings.job.untitled_max)
            untitled.restore((video_id, bytes(packed)) for video_id, packed in self._untitled.items())
        return untitled

    def _known(self, state: Any) -> Enrichment:
        if self._enrichment is None:
            self._enrichment = Enrichment()
            for video_id, about in state.items():
                self._enrichment.learn(video_id, bytes(about))
        return self._enrichment
