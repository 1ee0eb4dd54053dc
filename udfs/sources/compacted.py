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
from functools import partial

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from tenacity import before_sleep_log, retry, retry_if_exception_type, wait_exponential

from connectors.compacted_topic import read_to_end
from udfs.logic.keyed_records import Reader, Refusal

log = logging.getLogger(__name__)

READ_TIMEOUT_S = 60.0
# So long a topic is tried that counts do without, while Kafka answers.
PATIENCE_S = 20.0
ANSWER_TIMEOUT_S = 5.0
AGAIN_S = 2.0
AGAIN_MAX_S = 60.0


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
    def read_however_long(self, take: Callable[[str, bytes | None], None]) -> None:
        """Give `take` each key and rest as the topic holds them now, however long Kafka is away.

        From the beginning again when it was interrupted. Records that cannot be read are skipped: the stage before the
        broadcast makes dead letters of them.
        """
        self._read_once(take)

    def read_if_there(self, take: Callable[[str, bytes | None], None]) -> bool:
        """The same, but for a topic that is not there while Kafka is: then False, after PATIENCE_S."""
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

    def _read_once(self, take: Callable[[str, bytes | None], None]) -> None:
        for key, value, partition, offset in read_to_end(self._bootstrap_servers, self._topic, READ_TIMEOUT_S):
            found = self._read(key, value)
            if not isinstance(found, Refusal):
                take(found.key, found.rest)
            self._read_through[partition] = offset

    def _kafka_answers(self) -> bool:
        try:
            AdminClient({"bootstrap.servers": self._bootstrap_servers}).list_topics(timeout=ANSWER_TIMEOUT_S)
        except KafkaException:
            return False
        return True

    def is_news(self, partition: int, offset: int) -> bool:
        """Whether a record of the broadcast came after what was read."""
        return offset > self._read_through.get(partition, -1)


class ReadBeside:
    """A topic that counts do without, read by a thread of its own, for as long as it takes.

    One thread calls it. Until `take_read` has handed over what was read, what comes from the broadcast is news.
    """

    def __init__(self, bootstrap_servers: str, topic: str, read: Reader) -> None:
        self._make = partial(CompactedTopic, bootstrap_servers, topic, read)
        self._done: queue.SimpleQueue[tuple[CompactedTopic, dict[str, bytes | None]]] = queue.SimpleQueue()
        self._compacted: CompactedTopic | None = None
        # Where the broadcast's last record of a key lay.
        self._heard: dict[str, tuple[int, int]] = {}
        threading.Thread(target=self._run, name=f"read {topic}", daemon=True).start()

    @property
    def is_read(self) -> bool:
        """Whether what the topic held was handed over."""
        return self._compacted is not None

    def take_read(self, take: Callable[[str, bytes | None], None], timeout_s: float = 0.0) -> None:
        """Give `take` each key and rest that was read, once, if that ends within this time."""
        if self._compacted is not None:
            return
        try:
            compacted, found = self._done.get(timeout=timeout_s) if timeout_s else self._done.get_nowait()
        except queue.Empty:
            return
        self._compacted = compacted
        for key, rest in found.items():
            # The broadcast begins with what is old, and may by now be ahead of what was read.
            place = self._heard.get(key)
            if place is None or not compacted.is_news(*place):
                take(key, rest)
        self._heard.clear()

    def is_news(self, key: str, partition: int, offset: int) -> bool:
        """Whether a record of the broadcast came after what was read."""
        if self._compacted is None:
            self._heard[key] = partition, offset
            return True
        return self._compacted.is_news(partition, offset)

    def _run(self) -> None:
        wait_s = AGAIN_S
        while True:
            compacted = self._make()
            found: dict[str, bytes | None] = {}
            if compacted.read_if_there(found.__setitem__):
                self._done.put((compacted, found))
                return
            time.sleep(wait_s)
            wait_s = min(2 * wait_s, AGAIN_MAX_S)
