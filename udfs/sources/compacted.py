"""Reads a compacted topic to its end, for an operator that needs its content before the first element.

The operator then takes changes from a broadcast of the same topic. The broadcast begins at the offsets of the job's
source and so repeats records that were read here; `is_news` tells which records are new.

If counting does not need the topic, reading ends without it once it is certain that Kafka answers and that the topic,
or a partition of it, cannot be read. `ReadBeside` keeps trying in the background.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from tenacity import before_sleep_log, retry, retry_if_exception_type, wait_exponential

from connectors.compacted_topic import read_to_end
from connectors.kafka_clients import client_config
from settings import KafkaSettings
from udfs.logic.wire.keyed_records import Reader, Refusal

log = logging.getLogger(__name__)

READ_TIMEOUT_S = 60.0
# A topic that counting does not need is tried for so long while Kafka answers.
PATIENCE_S = 20.0
ANSWER_TIMEOUT_S = 5.0
AGAIN_S = 2.0
AGAIN_MAX_S = 60.0
# So many records may be read ahead. The metadata of a video takes some hundred bytes.
HELD_MAX = 10_000

Take = Callable[[str, bytes | None], None]


class CompactedTopic:
    """One compacted topic, and the offsets up to which it was read."""

    def __init__(self, kafka: KafkaSettings, topic: str, read: Reader) -> None:
        self._kafka = kafka
        self._topic = topic
        self._read = read
        self._read_through: dict[int, int] = {}

    @retry(
        retry=retry_if_exception_type(KafkaException),
        wait=wait_exponential(multiplier=0.5, max=5),
        before_sleep=before_sleep_log(log, logging.WARNING),
    )
    def read_however_long(self, take: Take) -> None:
        """Call `take` with each key and rest that the topic holds now. It waits as long as Kafka is away.

        If reading is interrupted, it begins again. Records that cannot be decoded are skipped: the stage before the
        broadcast makes dead letters of them.
        """
        self._read_once(lambda key, rest, _partition, _offset: take(key, rest))

    def read_if_there(self, take: Take) -> bool:
        """Do the same, but return False after PATIENCE_S if Kafka answers and the topic cannot be read."""
        return self.records_if_there(lambda key, rest, _partition, _offset: take(key, rest))

    def records_if_there(self, take: Callable[[str, bytes | None, int, int], None]) -> bool:
        """Do the same as `read_if_there`, and call `take` with partition and offset as well."""
        since_s = time.monotonic()
        while True:
            try:
                self._read_once(take)
            except KafkaException as error:
                waited_s = time.monotonic() - since_s
                if waited_s >= PATIENCE_S and self._kafka_answers():
                    log.error("%s cannot be read; the job goes on without it: %s", self._topic, error)  # noqa: TRY400
                    return False
                log.warning("%s could not be read, will try again: %s", self._topic, error)
            else:
                return True
            time.sleep(AGAIN_S)

    def is_news(self, partition: int, offset: int) -> bool:
        """Return whether a record of the broadcast is later than what was read."""
        return offset > self._read_through.get(partition, -1)

    def _read_once(self, take: Callable[[str, bytes | None, int, int], None]) -> None:
        for key, value, partition, offset, *_ in read_to_end(self._kafka, self._topic, READ_TIMEOUT_S):
            found = self._read(key, value)
            if not isinstance(found, Refusal):
                take(found.key, found.rest, partition, offset)
            self._read_through[partition] = offset

    def _kafka_answers(self) -> bool:
        try:
            AdminClient(client_config(self._kafka)).list_topics(timeout=ANSWER_TIMEOUT_S)
        except KafkaException:
            return False
        return True


class ReadBeside:
    """Reads a topic that counting does not need in a thread of its own, as long as it takes.

    Only one thread may call it. If the broadcast and the thread both have records of a key, the later offset wins.
    """

    def __init__(self, kafka: KafkaSettings, topic: str, read: Reader) -> None:
        self._topic = CompactedTopic(kafka, topic, read)
        # Records that were read and not taken yet, and None after the last one. The thread waits while the queue is
        # full, because the topic may hold more than fits in memory.
        self._found: queue.Queue[tuple[str, bytes | None, int, int] | None] = queue.Queue(HELD_MAX)
        self._taken_through: dict[int, int] = {}
        # The place of the broadcast's last record of each key, until everything that was read is taken.
        self._heard: dict[str, tuple[int, int]] = {}
        self.is_read = False
        threading.Thread(target=self._run, name=f"read {topic}", daemon=True).start()

    def take_read(self, take: Take, timeout_s: float = 0.0) -> None:
        """Call `take` with each key and rest that was read since the last call, and wait up to `timeout_s` for more."""
        until_s = time.monotonic() + timeout_s
        # This is called for each element, so it must be fast once everything is taken.
        while not self.is_read:
            try:
                found = self._found.get(timeout=max(until_s - time.monotonic(), 0.0))
            except queue.Empty:
                return
            if found is None:
                self.is_read = True
                self._heard.clear()
                return
            self._take_one(take, *found)

    def is_news(self, key: str, partition: int, offset: int) -> bool:
        """Return whether a record of the broadcast is later than what was taken."""
        if offset <= self._taken_through.get(partition, -1):
            return False
        if not self.is_read:
            self._heard[key] = partition, offset
        return True

    def _take_one(self, take: Take, key: str, rest: bytes | None, partition: int, offset: int) -> None:
        # Reading that was interrupted begins again, and repeats records.
        if offset <= self._taken_through.get(partition, -1):
            return
        self._taken_through[partition] = offset
        heard = self._heard.get(key)
        # The broadcast begins with older records, but may be ahead by now.
        if heard is None or heard[0] != partition or heard[1] < offset:
            take(key, rest)

    def _run(self) -> None:
        wait_s = AGAIN_S
        while not self._topic.records_if_there(lambda *found: self._found.put(found)):
            time.sleep(wait_s)
            wait_s = min(2 * wait_s, AGAIN_MAX_S)
        self._found.put(None)
