"""Follows the topic of video metadata in a thread, and keeps an index of titles in step with it.

Kafka is on no request's path: an answer says how complete the index is. Each process reads the topic from its beginning
when it starts, half of the time of a core at most, so that answers do not wait for it.
"""

import threading
import time
from collections.abc import Callable
from typing import NamedTuple

import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from connectors.kafka_clients import client_config
from services.query.titles.index import IndexFullError, TitleIndex, Video
from settings import KafkaSettings
from udfs.logic.wire.keyed_records import Refusal
from udfs.logic.wire.metadata import decode_metadata, read_metadata

LOG = structlog.get_logger("query")
# So many records are taken over at a time, for some milliseconds. Whoever asks the index meanwhile waits for that.
BATCH = 100
POLL_S = 0.5
AGAIN_S = 5.0
# Partitions may have been added to the topic.
LOOK_AGAIN_S = 10.0
TIMEOUT_S = 2.0
STOP_S = 3.0
# Records that were read ahead.
QUEUE_KIB = 1024


FULL = "the index is full: raise VIEW_COUNTS_QUERY_SEARCH_BYTES_MAX"


class NotReadError(ConnectionError):
    """The index lacks something, and may have it later."""


class Progress(NamedTuple):
    """How complete the index is: it has what the topic had at `at_s` since 1970, unless `lacks` says why not."""

    at_s: float | None
    lacks: str | None


class Following:
    """The thread that follows. Call `start` once, and `stop` at the end. `index` may be asked at any time."""

    def __init__(self, kafka: KafkaSettings, bytes_max: int) -> None:
        self._kafka = kafka
        self._topic = kafka.metadata_topic
        self._bytes_max = bytes_max
        self.index = TitleIndex(bytes_max)
        self.progress = Progress(None, f"the topic {self._topic} is not read to its end yet")
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to read. Returns at once."""
        self._thread = threading.Thread(target=self._run, name="read titles", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread, and forget the index."""
        self._stopping.set()
        if self._thread is not None:
            # It may wait for a broker, and ends with the process.
            self._thread.join(STOP_S)
        self.index.close()

    def channel_of(self, video_id: str) -> str | None:
        """The channel that the metadata of a video names; None if it has none. Raises NotReadError if nobody knows.

        It waits for no search, so that an event loop may ask.
        """
        # In this order: the index may be replaced by a whole one between the two.
        lacks, channel_id = self.progress.lacks, self.index.channel_of(video_id)
        if channel_id is None and lacks is not None:
            raise NotReadError(lacks)
        return channel_id

    def _run(self) -> None:
        index = self.index
        while not self._stopping.is_set():
            try:
                self._follow(index)
            # Whatever it is, answers say that the index is not in step, and the thread tries again.
            except Exception as error:
                self._lack(f"the topic {self._topic} cannot be read: {error}")
            self._stopping.wait(AGAIN_S)
            # What was deleted meanwhile may not be in the topic any more. The old index answers until the new one can.
            index = TitleIndex(self._bytes_max)

    def _follow(self, index: TitleIndex) -> None:
        consumer = Consumer(
            {
                **client_config(self._kafka),
                # The client requires a name, but joins no group.
                "group.id": "view-counts-titles",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                # Of a topic that was made anew.
                "auto.offset.reset": "earliest",
                "queued.max.messages.kbytes": QUEUE_KIB,
            }
        )

        def reached() -> None:
            self.index = index
            self.progress = Progress(time.time(), FULL if reading.is_full else None)

        reading = _Reading(consumer, self._topic, index, reached, self._lack, self._stopping)
        try:
            reading.run()
        finally:
            consumer.close()

    def _lack(self, why: str) -> None:
        if why != self.progress.lacks:
            LOG.warning("search lacks videos", reason=why)
        self.progress = Progress(self.progress.at_s, why)


class _Reading:
    """Reads all partitions of the topic from their beginning, until it is stopped or something raises.

    It calls `reached` whenever it knows that it has what the topic has, and `lacks` when it does not know any more.
    """

    def __init__(
        self,
        consumer: Consumer,
        topic: str,
        index: TitleIndex,
        reached: Callable[[], None],
        lacks: Callable[[str], None],
        stopping: threading.Event,
    ) -> None:
        self._consumer = consumer
        self._topic = topic
        self._index = index
        self._reached = reached
        self._lacks = lacks
        self._stopping = stopping
        self.is_full = False
        # Partitions, and those of them that were read to where their end was.
        self._partitions: set[int] = set()
        self._at_end: set[int] = set()
        # Whether each partition could be read when the brokers last said so.
        self._are_there = False
        self._look_at_s = 0.0

    def run(self) -> None:
        """Read. Raises KafkaException."""
        while not self._stopping.is_set():
            has_looked = time.monotonic() >= self._look_at_s and self._look()
            messages = self._consumer.consume(BATCH, timeout=POLL_S)
            began_s = time.monotonic()
            changes = [change for message in messages if (change := self._change(message)) is not None]
            if changes:
                self._take(changes)
            # Silence alone says nothing: the brokers may be away.
            if self._are_there and self._partitions <= self._at_end and (messages or has_looked):
                self._reached()
            # As long as it took, others may have the core.
            self._stopping.wait(time.monotonic() - began_s if changes else 0.0)

    def _look(self) -> bool:
        """Look which partitions there are, and whether brokers have them. Raises KafkaException if none ever was."""
        self._look_at_s = time.monotonic() + LOOK_AGAIN_S
        try:
            there = self._listed()
        except KafkaException as error:
            if not self._partitions:
                raise
            # The client goes on by itself when they are back.
            self._lacks(f"the topic {self._topic} cannot be read: {error}")
            return False
        new = set(there) - self._partitions
        if new:
            self._consumer.incremental_assign([TopicPartition(self._topic, one, OFFSET_BEGINNING) for one in new])
            self._partitions |= new
        # What the others say is nothing about one that has no leader.
        errors = [f"partition {one}: {error}" for one, error in there.items() if error is not None]
        self._are_there = not errors
        if errors:
            self._lacks(f"the topic {self._topic} cannot be read: {', '.join(errors)}")
        return not errors

    def _listed(self) -> dict[int, KafkaError | None]:
        found = self._consumer.list_topics(self._topic, timeout=TIMEOUT_S).topics[self._topic]
        if found.error is not None:
            raise KafkaException(found.error)
        return {one: partition.error for one, partition in found.partitions.items()}

    def _change(self, message: Message) -> tuple[str, Video | None] | None:
        error, partition = message.error(), message.partition() or 0
        if error is None:
            self._at_end.discard(partition)
            return change_of(message.key(), message.value())
        if error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001
            raise KafkaException(error)
        self._at_end.add(partition)
        return None

    def _take(self, changes: list[tuple[str, Video | None]]) -> None:
        if not self.is_full:
            try:
                self._index.put(changes)
            except IndexFullError:
                self.is_full = True
                self._lacks(FULL)
        if self.is_full:
            self._take_known(changes)

    def _take_known(self, changes: list[tuple[str, Video | None]]) -> None:
        """Take over what has become of the videos that the index has: it is full, and lacks others."""
        for video_id, video in changes:
            if self._index.channel_of(video_id) is None:
                continue
            try:
                self._index.put([(video_id, video)])
            except IndexFullError:
                # Rather not found than with a title and a channel that it has no more.
                self._index.put([(video_id, None)])


def change_of(key: bytes | None, value: bytes | None) -> tuple[str, Video | None] | None:
    """What a record says of a video. None for a record that cannot be read: the count job makes a dead letter of it."""
    found = read_metadata(key, value)
    if isinstance(found, Refusal):
        return None
    if found.rest is None:
        return found.key, None
    about = decode_metadata(found.rest)
    title, channel_id, channel_name = (text.decode() for text in (about.title, about.channel_id, about.channel_name))
    return found.key, Video(found.key, title, channel_id, channel_name, about.created_ms)
