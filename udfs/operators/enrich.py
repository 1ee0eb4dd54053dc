"""The enrich stage: a Flink operator that joins counts with video metadata (udfs.logic.outgoing.enrichment).

Input is Row(shard key, Changes or Top) from the sink, and Row(video_id, about, ...) from the broadcast. There is no
output: titles go to Cassandra and enriched counts to Kafka. An element ends when all that it led to is acknowledged, so
a restored job repeats what is not. Metadata is read from its topic before the first element, and later changes come by
the broadcast (docs/decisions/0018). If a table or a topic is out of order, this stage waits only until that is certain,
and then goes on without it (docs/decisions/0032).

Counts do not pass through this stage: they are on their way to Cassandra when they come here. PyFlink does not chain an
operator with one that has a broadcast input, and a count must not wait for a title (docs/decisions/0014).
"""

from collections.abc import Iterator
from typing import Any

from pyflink.common import Row, Types
from pyflink.datastream import KeyedBroadcastProcessFunction, RuntimeContext
from pyflink.datastream.state import MapStateDescriptor

from connectors.acknowledged import connect_however_long
from connectors.figures import WriteFigures
from settings import CassandraSettings, JobSettings, KafkaSettings
from udfs.logic.outgoing.enrichment import Enrichment, Untitled
from udfs.logic.stream.kept_settings import KeptSettings
from udfs.logic.stream.time_rules import next_turn_ms
from udfs.logic.wire.metadata import read_metadata
from udfs.operators.cassandra_sink import top_lists
from udfs.operators.due import Due
from udfs.operators.elements import Changes, Top
from udfs.operators.keyed_records import broadcast_descriptor
from udfs.operators.memory import show, spill_folder
from udfs.operators.state_settings import StateSettings
from udfs.sinks.kafka_writer import BY_KEY
from udfs.sinks.metadata_writer import ABOUTS, TITLES, MetadataWriter, Titled
from udfs.sinks.optional_topic import OptionalTopic
from udfs.sources.compacted import ReadBeside

# How often untitled partitions are looked up again.
FILL_IN_INTERVAL_MS = 2000
METADATA_STATE = "video-metadata"
# So long the first element waits for the metadata to be read. Later elements do not wait.
METADATA_WAIT_S = 30.0
# The name in metrics and logs.
COUNTS = "view_counts"


class Enrich(KeyedBroadcastProcessFunction):
    """Keyed by the shard's key."""

    def __init__(
        self, kafka: KafkaSettings, cassandra: CassandraSettings, job: JobSettings, kept: KeptSettings
    ) -> None:
        self._kafka = kafka
        self._job = job
        self._kept = kept
        self._cassandra = cassandra

    def open(self, runtime_context: RuntimeContext) -> None:
        """Connect, however long it takes, and read the metadata."""
        octets = Types.PRIMITIVE_ARRAY(Types.BYTE())
        self._untitled = runtime_context.get_map_state(MapStateDescriptor("untitled", Types.STRING(), octets))
        self._settings = StateSettings(runtime_context, self._kept, "the state of enrich")
        self._by_key: dict[int, Untitled] = {}
        self._fill_in_due = Due()
        self._figures = WriteFigures()
        self._metadata = ReadBeside(self._kafka, self._kafka.metadata_topic, read_metadata)
        self._writer = MetadataWriter(connect_however_long(self._cassandra), self._cassandra, self._figures)
        self._messages = OptionalTopic(self._kafka, COUNTS, self._figures)
        self._enrichment = Enrichment(self._job.metadata_bytes_max, spill_folder(self._job))
        self._metadata.take_read(self._enrichment.learn, METADATA_WAIT_S)
        gauges = runtime_context.get_metrics_group()
        self._figures.show(gauges, (TITLES, ABOUTS, COUNTS))
        gauges.gauge("metadata_unread", lambda: int(not self._metadata.is_read))
        show(runtime_context, self._enrichment, self._job.metadata_bytes_max)
        self._is_state_cleared = False

    def process_broadcast_element(self, value: Row, ctx: KeyedBroadcastProcessFunction.Context) -> tuple[()]:
        """Take the metadata of one video."""
        video_id, about, partition, offset = value
        if not self._is_state_cleared:
            # Earlier versions kept all metadata in this state, and wrote it again with each checkpoint.
            ctx.get_broadcast_state(broadcast_descriptor(METADATA_STATE)).clear()
            self._is_state_cleared = True
        if self._metadata.is_news(video_id, partition, offset):
            self._enrichment.learn(video_id, bytes(about) or None)
        return ()

    def process_element(self, value: Changes | Top, ctx: KeyedBroadcastProcessFunction.ReadOnlyContext) -> tuple[()]:
        """Send counts to Kafka with the metadata, and title partitions and lists."""
        self._metadata.take_read(self._enrichment.learn)
        if isinstance(value, Top):
            self._top(value)
            return ()
        untitled = self._of(ctx.get_current_key())
        topic = self._kafka.counts_topic
        for rows in value.counts:
            enriched = self._enrichment.enrich(rows)
            self._title(untitled, enriched.titled)
            self._messages.send((topic, value, key, BY_KEY) for value, key in enriched.messages)
            untitled.add(enriched.untitled)
        self._keep(untitled, ctx)
        return ()

    def on_timer(self, timestamp: int, ctx: KeyedBroadcastProcessFunction.OnTimerContext) -> Iterator[Any]:
        """Title what could not be titled before."""
        self._metadata.take_read(self._enrichment.learn)
        key = ctx.get_current_key()
        untitled = self._of(key)
        if self._fill_in_due.take(key, timestamp) and self._writer.takes_titles:
            # While Cassandra takes no titles, a single one is enough to find out whether it does again.
            videos_max = 1 if self._writer.has_trouble else None
            self._title(untitled, untitled.take_known(self._enrichment, videos_max))
        self._keep(untitled, ctx)
        return iter(())

    def _title(self, untitled: Untitled, titled: list[Titled]) -> None:
        """Title partitions. Those that cannot be titled now become untitled."""
        untitled.add(partition for partition, _ in self._writer.titles(titled))

    def _top(self, value: Top) -> None:
        lists = []
        for top in top_lists(value):
            known = self._enrichment.abouts([video_id for video_id, *_ in top.videos])
            if known:
                lists.append((top, known))
        self._writer.top(value.shard, lists)

    def _keep(self, untitled: Untitled, ctx: Any) -> None:
        """Store what has changed, and set a timer while there is anything untitled."""
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
            stored = [(video_id, bytes(packed)) for video_id, packed in self._untitled.items()]
            self._settings.check(is_new=not stored)
            untitled = self._by_key[key] = Untitled(self._job.untitled_max)
            untitled.restore(stored)
        return untitled
