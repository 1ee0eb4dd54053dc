"""What a compacted topic says, for an operator that reads it to its end before its first element.

From then on it takes changes from a broadcast of the same topic, which begins where the job began and so repeats what
was read: `is_news` tells the two apart.
"""

import logging
from collections.abc import Callable

from confluent_kafka import KafkaException
from tenacity import before_sleep_log, retry, retry_if_exception_type, wait_exponential

from connectors.compacted_topic import read_to_end
from udfs.logic.keyed_records import Reader, Refusal

log = logging.getLogger(__name__)

READ_TIMEOUT_S = 60.0


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
        for key, value, partition, offset in read_to_end(self._bootstrap_servers, self._topic, READ_TIMEOUT_S):
            found = self._read(key, value)
            if not isinstance(found, Refusal):
                take(found.key, found.rest)
            self._read_through[partition] = offset

    def is_news(self, partition: int, offset: int) -> bool:
        """Whether a record of the broadcast came after what was read."""
        return offset > self._read_through.get(partition, -1)
