"""Checks regularly that Kafka's topics are as ingest needs them.

Otherwise a topic could lose acknowledged events, or events could get a salt that no job reads, both without any error.
"""

import asyncio

import structlog
from confluent_kafka import KafkaException

from connectors.installation import check_topics
from connectors.kafka_admin import TopicMismatchError
from connectors.secret_files import SecretFileError
from settings import Settings

LOG = structlog.get_logger("ingest")
# The time between two checks while something is wrong.
WRONG_CHECK_S = 1.0
ANSWER_S = 10.0


class TopicWatch:
    """`trouble` is what the last check found, one difference a line; None if events may be written.

    `was_right` says whether any check has found nothing.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._noted: set[str] = set()
        self.trouble: str | None = "Kafka's topics were not checked yet"
        self.was_right = False
        # Whether nothing was checked yet, or somebody must mend topics or settings: waiting for Kafka would not help.
        self.is_wrong = True
        self._is_mismatch = False

    async def run(self) -> None:
        """Check until cancelled."""
        while True:
            found = await asyncio.to_thread(self._look)
            if found is not None and found != self.trouble:
                LOG.warning("not ready", reason=found)
            self.trouble = found
            self.is_wrong = self._is_mismatch
            self.was_right = self.was_right or found is None
            await asyncio.sleep(self._settings.ingest.topics_check_s if found is None else WRONG_CHECK_S)

    def _look(self) -> str | None:
        try:
            notes = check_topics(self._settings, ANSWER_S)
        except (TopicMismatchError, SecretFileError) as error:
            self._is_mismatch = True
            return str(error)
        except KafkaException as error:
            # The writer itself notices that Kafka is away, and topics do not change by that.
            servers = self._settings.kafka.bootstrap_servers
            return self.trouble if self.was_right else f"Kafka at {servers} does not answer: {error.args[0].str()}"
        self._is_mismatch = False
        for note in notes:
            if note.line not in self._noted:
                self._noted.add(note.line)
                LOG.warning("topics differ", note=note.line)
        return None
