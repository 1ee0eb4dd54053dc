"""What a compacted topic says, for an operator that reads it to its end before its first element.

From then on it takes changes from a broadcast of the same topic, which begins where the job began and so repeats what
was read: `is_news` tells the two apart.

Of a topic without which counts are what they are it waits only until it is plain that Kafka is there and the topic, or
a partition of it, is not; `ReadBeside` goes on trying meanwhile.
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
from udfs.logic.wire.keyed_records import Reader, Refusal

log = logging.getLogger(__name__)

READ_TIMEOUT_S = 60.0
# So long a topic is tried that counts do without, while Kafka answers.
PATIENCE_S = 20.0
ANSWER_TIMEOUT_S = 5.0
AGAIN_S = 2.0
AGAIN_MAX_S = 60.0
# Records read and not taken yet; a title and what else is known of a video are some hundred bytes.
HELD_MAX = 10_000

Take = Callable[[str, bytes | None], None]


class CompactedTopic:
    """One topic, and how far it was read."""

    def __init__(self, bootstrap_servers: str, topic: str, read: Reader) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._topic = topic
        self._read = read
        self._read_through: dict[int, int] = {}

    @retry(
        retry=retry_if_exception_type(KafkaException),
        wait=wait_exponential(multiplier=0.5, max=5),
        before_sleep=before_sleep_log(log, logging.WARNING),
    )
    def read_however_long(self, take: Take) -> None:
        """Give `take` each key and rest as the topic holds them now, however long Kafka is away.

        From the beginning again when it was interrupted. Records that cannot be read are skipped: the stage before the
        broadcast makes dead letters of them.
        """
        self._read_once(lambda key, rest, _partition, _offset: take(key, rest))

    def read_if_there(self, take: Take) -> bool:
        """The same, but for a topic that is not there while Kafka is: then False, after PATIENCE_S."""
        return self.records_if_there(lambda key, rest, _partition, _offset: take(key, rest))

    def records_if_there(self, take: Callable[[str, bytes | None, int, int], None]) -> bool:
        """As `read_if_there`, with the partition and offset of each."""
        since_s = time.monotonic()
        while True:
            try:
                self._read_once(take)
            except KafkaException as error:
                waited_s = time.monotonic() - since_s
                if waited_s >= PATIENCE_S and self._kafka_answers():
                    log.error("%s cannot be read, and is done without: %s", self._topic, error)  # noqa: TRY400
                    return False
                log.warning("%s could not be read, trying again: %s", self._topic, error)
            else:
                return True
            time.sleep(AGAIN_S)

    def is_news(self, partition: int, offset: int) -> bool:
        """Whether a record of the broadcast came after what was read."""
        return offset > self._read_through.get(partition, -1)

    def _read_once(self, take: Callable[[str, bytes | None, int, int], None]) -> None:
        for key, value, partition, offset in read_to_end(self._bootstrap_servers, self._topic, READ_TIMEOUT_S):
            found = self._read(key, value)
            if not isinstance(found, Refusal):
                take(found.key, found.rest, partition, offset)
            self._read_through[partition] = offset

    def _kafka_answers(self) -> bool:
        try:
            AdminClient({"bootstrap.servers": self._bootstrap_servers}).list_topics(timeout=ANSWER_TIMEOUT_S)
        except KafkaException:
            return False
        return True


class ReadBeside:
    """A topic that counts do without, read by a thread of its own, for as long as it takes.

    One thread calls it. What the broadcast says of a key and what was read of it are told apart by their places.
    """

    def __init__(self, bootstrap_servers: str, topic: str, read: Reader) -> None:
        self._topic = CompactedTopic(bootstrap_servers, topic, read)
        # What was read and not taken, and None after the last one. The thread waits while it is full: the topic may
        # hold more than fits in memory.
        self._found: queue.Queue[tuple[str, bytes | None, int, int] | None] = queue.Queue(HELD_MAX)
        self._taken_through: dict[int, int] = {}
        # Where the broadcast's last record of a key lay, until all was taken.
        self._heard: dict[str, tuple[int, int]] = {}
        self.is_read = False
        threading.Thread(target=self._run, name=f"read {topic}", daemon=True).start()

    def take_read(self, take: Take, timeout_s: float = 0.0) -> None:
        """Give `take` each key and rest that was read since the last call, and wait for more until this time is up."""
        until_s = time.monotonic() + timeout_s
        # Once all is taken this is called for each element.
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
        """Whether a record of the broadcast came after what was taken."""
        if offset <= self._taken_through.get(partition, -1):
            return False
        if not self.is_read:
            self._heard[key] = partition, offset
        return True

    def _take_one(self, take: Take, key: str, rest: bytes | None, partition: int, offset: int) -> None:
        # A read that was interrupted begins again.
        if offset <= self._taken_through.get(partition, -1):
            return
        self._taken_through[partition] = offset
        heard = self._heard.get(key)
        # The broadcast begins with what is old, and may by now be ahead.
        if heard is None or heard[0] != partition or heard[1] < offset:
            take(key, rest)

    def _run(self) -> None:
        wait_s = AGAIN_S
        while not self._topic.records_if_there(lambda *found: self._found.put(found)):
            time.sleep(wait_s)
            wait_s = min(2 * wait_s, AGAIN_MAX_S)
        self._found.put(None)
